#include "common/event/relay.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/base/uuid.h"

#include <sodium.h>
#include <stdlib.h>

#define LOOK_MS      250 /* without a kick */
#define LEASE_MS     5000
#define CALL_MS      5000
#define STATEMENT_MS 5000
#define AWAY_MS      50U /* doubles with each failure of a target */
#define AWAY_MAX_MS  2000
#define BACKLOG_MS   1000
#define DRAIN_MS     2000
#define ARENA_MAX    ((size_t)32 << 20)

struct relay {
	struct event_relay_conf conf;
	char *texts[2];
	pthread_mutex_t lock; /* stats; a leaf */
	struct event_stats stats;

	struct arena *arena, *cx_arena;
	struct relay_target targets[PEER_COUNT];
	size_t targets_n;
	uint64_t lease_until_ms, lease_again_ms;
	uint64_t backlog_ms;
	bool failing; /* our database, at the last attempt */
	struct relay_batch batch;
};

static struct ctx relay_ctx(struct relay *r, char id[UUID_MAX],
                            uint64_t deadline_ms)
{
	arena_reset(r->cx_arena);
	return (struct ctx){.service = r->conf.service,
	                    .arena = r->cx_arena,
	                    .deadline_ms = deadline_ms,
	                    .rid = uuid7(id),
	                    .role = ROLE_SERVICE,
	                    .principal = r->conf.service};
}

/* What our own database answered; told when it changes. */
static void note(struct relay *r, const struct ctx *cx, const char *step,
                 enum err e)
{
	if (!e) {
		if (r->failing)
			log_info(cx, "event.outbox_works");
		r->failing = false;
		return;
	}
	if (!r->failing)
		log_warn(cx, "event.outbox_failing", LOG_TEXT("step", step),
		         LOG_TEXT("error", err_name(e)));
	r->failing = true;
	GUARD(&r->lock);

	r->stats.errors++;
}

/* --- leases ---------------------------------------------------------------- */

struct lease {
	const struct relay *relay;
	size_t shards;
};

static enum err count_row(void *arg, const struct db_row *row)
{
	(void)row;
	++*(size_t *)arg;
	return OK;
}

static enum err renew(struct db *db, void *arg)
{
	struct lease *l = arg;
	const struct event_relay_conf *c = &l->relay->conf;
	const struct db_sink sink = {count_row, &l->shards};
	const struct db_val v[] = {DB_TEXT(c->owner),
	                           DB_I64((int64_t)c->lease_ms)};

	l->shards = 0;
	if (db_kind(db) == DB_SQLITE) {
		l->shards = EVENT_SHARDS;
		return OK;
	}
	return db_run(db, &c->store->st[ES_LEASE], v, COUNTOF(v), &sink);
}

/* True while shards are ours.  Renewed at half time, and asked for as often
 * by who has none.  Counted from before the request: never longer than the
 * database believes. */
static bool have_lease(struct relay *r)
{
	uint64_t now = mono_ms();
	char id[UUID_MAX];
	struct ctx cx = relay_ctx(r, id, now + STATEMENT_MS);
	struct lease l = {.relay = r};

	if (now >= r->lease_again_ms) {
		enum err e = db_write(r->conf.pool, &cx, renew, &l);

		r->lease_again_ms = now + r->conf.lease_ms / 2;
		note(r, &cx, "lease", e);
		if (!e && l.shards)
			r->lease_until_ms = now + r->conf.lease_ms;
	}
	return mono_ms() < r->lease_until_ms;
}

static enum err release(struct db *db, void *arg)
{
	const struct event_relay_conf *c = &((struct relay *)arg)->conf;
	const struct db_val owner = DB_TEXT(c->owner);

	return db_kind(db) == DB_SQLITE
	               ? OK
	               : db_run(db, &c->store->st[ES_RELEASE], &owner, 1, NULL);
}

/* --- one target ------------------------------------------------------------ */

static void count(struct relay *r, const struct relay_tally *t, size_t repeated,
                  bool failed)
{
	GUARD(&r->lock);

	r->stats.sent += t->sent;
	r->stats.acked += t->acked;
	r->stats.refused += t->refused;
	r->stats.lost += t->lost;
	r->stats.repeated += repeated;
	r->stats.failed += failed;
}

static void pause_target(struct relay_target *t)
{
	unsigned ms = AWAY_MS << (t->failures < 6 ? t->failures : 6);

	if (ms > AWAY_MAX_MS)
		ms = AWAY_MAX_MS;
	t->failures++;
	t->again_ms = mono_ms() + ms / 2 + randombytes_uniform(ms / 2 + 1);
}

static void halve(struct relay_target *t)
{
	if (t->batch > 1)
		t->batch /= 2;
}

/*
 * After a full batch the subjects behind it come next, so that a long queue of
 * one does not hold up the others.  True: look again at once, which after the
 * last subject makes sense only if this pass got somewhere.
 */
static bool move_on(struct relay_target *t, const struct relay_batch *b,
                    bool progress)
{
	bool again;

	t->progress |= progress;
	if (b->full && b->last.n < sizeof(t->after)) {
		memcpy(t->after, b->last.p, b->last.n);
		t->after[b->last.n] = '\0';
		return true;
	}
	again = t->progress && (b->full || *t->after);
	*t->after = '\0';
	t->progress = false;
	return again;
}

/* An answer that no retry of the same call will change. */
static bool is_refusal(enum err e)
{
	return !err_may_retry(e) && e != ERR_CONFLICT;
}

/* The call had no answer, or only an error.  True: look again at once. */
static bool failed_call(struct relay *r, const struct ctx *cx,
                        struct relay_target *t, enum err e)
{
	struct relay_batch *b = &r->batch;

	t->unanswered = b->n;
	halve(t);
	/* Which of them it is, only smaller calls tell. */
	if (is_refusal(e) && b->n > 1)
		return true;
	if (is_refusal(e)) {
		if (relay_park_first(b))
			log_error(cx, "event.refused",
			          LOG_TEXT("target", bus_peer_name(t->peer)),
			          LOG_TEXT("id", b->ev[0].id),
			          LOG_TEXT("error", err_name(e)));
		b->full = true;
		(void)move_on(t, b, false);
	} else if (t->failures == 0) {
		log_warn(cx, "event.target_away",
		         LOG_TEXT("target", bus_peer_name(t->peer)),
		         LOG_TEXT("error", err_name(e)));
	}
	pause_target(t);
	return false;
}

static void answered(const struct ctx *cx, struct relay_target *t)
{
	if (t->failures)
		log_info(cx, "event.target_back",
		         LOG_TEXT("target", bus_peer_name(t->peer)));
	t->failures = 0;
	t->unanswered = 0;
	t->batch = t->batch < EVENT_BATCH / 2 ? t->batch * 2 : EVENT_BATCH;
}

/* True: look again at once. */
static bool serve(struct relay *r, struct relay_target *t)
{
	char id[UUID_MAX];
	uint64_t now = mono_ms(), deadline = now + CALL_MS;
	struct ctx cx = relay_ctx(r, id, now + STATEMENT_MS);
	struct relay_job job = {&r->conf, &cx, &r->batch};
	struct relay_tally tally = {0};
	size_t repeated;
	enum err e;

	if (now < t->again_ms)
		return false;
	r->batch.target = t;
	r->batch.arena = r->arena;
	e = relay_fetch(&job);
	note(r, &cx, "fetch", e);
	if (e) {
		halve(t); /* it may have been too much to bring */
		pause_target(t);
		return false;
	}
	if (r->batch.n == 0)
		return move_on(t, &r->batch, false);
	/* Another may send from the moment the lease ends. */
	if (deadline > r->lease_until_ms)
		deadline = r->lease_until_ms;
	cx.deadline_ms = deadline + STATEMENT_MS;
	repeated = t->unanswered < r->batch.n ? t->unanswered : r->batch.n;
	e = relay_deliver(&job, deadline, &tally);
	count(r, &tally, repeated, e && !tally.answered);
	if (!tally.answered)
		return failed_call(r, &cx, t, e);
	answered(&cx, t);
	note(r, &cx, "settle", e);
	if (e) {
		t->unanswered = r->batch.n;
		pause_target(t);
		return false;
	}
	return move_on(t, &r->batch, tally.acked > 0);
}

/* --- the outbox as a whole ------------------------------------------------- */

struct backlog {
	const struct relay *relay;
	int64_t rows, oldest;
};

static enum err take_backlog(void *arg, const struct db_row *row)
{
	struct backlog *b = arg;

	b->rows = db_row_i64(row, 0);
	b->oldest = db_row_i64(row, 1);
	return OK;
}

static enum err read_backlog(struct db *db, void *arg)
{
	struct backlog *b = arg;
	const struct db_sink sink = {take_backlog, b};

	return db_run(db, &b->relay->conf.store->st[ES_BACKLOG], NULL, 0,
	              &sink);
}

/* Counting takes longer the more there is: a twentieth of the time at most. */
static void look_at_backlog(struct relay *r)
{
	uint64_t now = mono_ms(), took;
	char id[UUID_MAX];
	struct ctx cx = relay_ctx(r, id, now + STATEMENT_MS);
	struct backlog b = {.relay = r};
	uint64_t waiting = 0;
	int64_t age;
	enum err e;

	if (now < r->backlog_ms)
		return;
	e = db_read(r->conf.pool, &cx, read_backlog, &b);
	took = mono_ms() - now;
	r->backlog_ms =
		now + took + (20 * took > BACKLOG_MS ? 20 * took : BACKLOG_MS);
	note(r, &cx, "backlog", e);
	if (e)
		return;
	age = b.rows ? wall_ms() - b.oldest : 0;
	for (size_t i = 0; i < r->targets_n; i++) {
		relay_sweep(&r->targets[i], now);
		waiting += r->targets[i].parked_n;
	}
	GUARD(&r->lock);
	r->stats.backlog = (uint64_t)b.rows;
	r->stats.oldest_age_ms = age > 0 ? age : 0;
	r->stats.waiting = waiting;
}

/* --- turns ----------------------------------------------------------------- */

static uint64_t next_look(const struct relay *r)
{
	uint64_t now = mono_ms(), at = now + LOOK_MS;

	for (size_t i = 0; i < r->targets_n; i++) {
		uint64_t again = r->targets[i].again_ms;

		if (again > now && again < at)
			at = again;
	}
	return at;
}

/* Until nothing is left that could go now. */
static void drain(struct relay *r, uint64_t until_ms)
{
	bool more = true;

	while (more && mono_ms() < until_ms) {
		more = false;
		for (size_t i = 0; i < r->targets_n && have_lease(r); i++)
			more |= serve(r, &r->targets[i]);
	}
}

uint64_t relay_turn(struct relay *r)
{
	drain(r, mono_ms() + LOOK_MS);
	look_at_backlog(r);
	return next_look(r);
}

void relay_end(struct relay *r)
{
	char id[UUID_MAX];
	struct ctx cx;

	for (size_t i = 0; i < r->targets_n; i++)
		r->targets[i].again_ms = 0;
	drain(r, mono_ms() + DRAIN_MS);
	cx = relay_ctx(r, id, mono_ms() + DRAIN_MS);
	/* Who cannot say so leaves the leases to run out. */
	if (db_write(r->conf.pool, &cx, release, r))
		log_warn(&cx, "event.leases_kept");
}

void relay_stats(struct relay *r, struct event_stats *out)
{
	GUARD(&r->lock);

	*out = r->stats;
}

/* --- life ------------------------------------------------------------------ */

static bool fill(struct relay *r, const struct event_relay_conf *conf)
{
	r->conf = *conf;
	r->texts[0] = strdup(conf->service);
	r->texts[1] = strdup(conf->owner);
	r->arena = arena_new(ARENA_MAX);
	r->cx_arena = arena_new(ARENA_MAX);
	if (!r->texts[0] || !r->texts[1] || !r->arena || !r->cx_arena)
		return false;
	r->conf.service = r->texts[0];
	r->conf.owner = r->texts[1];
	if (r->conf.lease_ms == 0)
		r->conf.lease_ms = LEASE_MS;
	for (int p = 0; p < PEER_COUNT; p++) {
		/* The gateway has no events to apply. */
		if (p == PEER_GATEWAY ||
		    strcmp(bus_peer_name((enum bus_peer)p), conf->service) == 0)
			continue;
		r->targets[r->targets_n++] =
			(struct relay_target){.peer = (enum bus_peer)p,
		                              .batch = EVENT_BATCH};
	}
	return true;
}

struct relay *relay_new(const struct event_relay_conf *conf)
{
	AUTO(relay) r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	(void)pthread_mutex_init(&r->lock, NULL); /* cannot fail on Linux */
	return fill(r, conf) ? STEAL(r) : NULL;
}

void relay_free(struct relay *r)
{
	if (!r)
		return;
	(void)pthread_mutex_destroy(&r->lock);
	arena_free(r->arena);
	arena_free(r->cx_arena);
	free(r->texts[0]);
	free(r->texts[1]);
	free(r);
}
