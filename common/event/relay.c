#include "common/event/relay.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/base/uuid.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <time.h>

#define LOOK_MS      250 /* without a kick */
#define LEASE_MS     5000
#define CALL_MS      5000
#define STATEMENT_MS 5000
#define AWAY_MS      50U /* doubles with each failure of a target */
#define AWAY_MAX_MS  2000
#define BACKLOG_MS   1000
#define DRAIN_MS     2000
#define ARENA_MAX    ((size_t)32 << 20)

struct event_relay {
	struct event_relay_conf conf;
	struct event_relay
		*self; /* statistics of a const relay need its lock */
	char *texts[2];
	pthread_t thread;
	pthread_mutex_t lock; /* kicked, ending, stats; a leaf */
	pthread_cond_t wake;
	bool kicked, ending;
	struct event_stats stats;

	/* The thread's own. */
	struct arena *arena, *cx_arena;
	struct relay_target targets[PEER_COUNT];
	size_t targets_n;
	uint64_t lease_until_ms, lease_again_ms;
	uint64_t backlog_ms;
	struct relay_batch batch;
};

static struct ctx relay_ctx(struct event_relay *r, char id[UUID_MAX],
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

/* --- leases ---------------------------------------------------------------- */

struct lease {
	const struct event_relay *relay;
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
static bool have_lease(struct event_relay *r)
{
	uint64_t now = mono_ms();
	char id[UUID_MAX];
	struct ctx cx = relay_ctx(r, id, now + STATEMENT_MS);
	struct lease l = {.relay = r};

	if (now >= r->lease_again_ms) {
		r->lease_again_ms = now + r->conf.lease_ms / 2;
		if (db_write(r->conf.pool, &cx, renew, &l) == OK && l.shards)
			r->lease_until_ms = now + r->conf.lease_ms;
	}
	return mono_ms() < r->lease_until_ms;
}

static enum err release(struct db *db, void *arg)
{
	const struct event_relay_conf *c = &((struct event_relay *)arg)->conf;
	const struct db_val owner = DB_TEXT(c->owner);

	return db_kind(db) == DB_SQLITE
	               ? OK
	               : db_run(db, &c->store->st[ES_RELEASE], &owner, 1, NULL);
}

/* --- one target ------------------------------------------------------------ */

static void count(struct event_relay *r, const struct relay_tally *t,
                  size_t repeated, bool failed)
{
	GUARD(&r->lock);

	r->stats.sent += t->sent;
	r->stats.acked += t->acked;
	r->stats.refused += t->refused;
	r->stats.lost += t->lost;
	r->stats.repeated += repeated;
	r->stats.failed += failed;
}

static void back_off(const struct ctx *cx, struct relay_target *t, enum err e)
{
	unsigned ms = AWAY_MS << (t->failures < 6 ? t->failures : 6);

	if (ms > AWAY_MAX_MS)
		ms = AWAY_MAX_MS;
	if (t->failures++ == 0)
		log_warn(cx, "event.target_away",
		         LOG_TEXT("target", bus_peer_name(t->peer)),
		         LOG_TEXT("error", err_name(e)));
	t->again_ms = mono_ms() + ms / 2 + randombytes_uniform(ms / 2 + 1);
}

/*
 * After a full batch the shards behind it come next, so that a long queue in
 * one does not hold up the others.  True: look again at once, which after the
 * last shard makes sense only if this pass got somewhere.
 */
static bool move_on(struct relay_target *t, const struct relay_batch *b,
                    bool progress)
{
	bool again;

	t->progress |= progress;
	if (b->full && b->last_shard + 1 < EVENT_SHARDS) {
		t->shard = b->last_shard + 1;
		return true;
	}
	again = t->progress && (b->full || t->shard > 0);
	t->shard = 0;
	t->progress = false;
	return again;
}

/* True: look again at once. */
static bool serve(struct event_relay *r, struct relay_target *t)
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
	if (relay_fetch(&job))
		return false;
	if (r->batch.n == 0)
		return move_on(t, &r->batch, false);
	/* Another may send from the moment the lease ends. */
	if (deadline > r->lease_until_ms)
		deadline = r->lease_until_ms;
	repeated = t->unanswered < r->batch.n ? t->unanswered : r->batch.n;
	e = relay_deliver(&job, deadline, &tally);
	count(r, &tally, repeated, e != OK);
	if (e) {
		t->unanswered = r->batch.n;
		back_off(&cx, t, e);
		return false;
	}
	t->unanswered = 0;
	t->failures = 0;
	return move_on(t, &r->batch, tally.acked > 0);
}

/* --- the outbox as a whole ------------------------------------------------- */

struct backlog {
	const struct event_relay *relay;
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

static void look_at_backlog(struct event_relay *r)
{
	uint64_t now = mono_ms();
	char id[UUID_MAX];
	struct ctx cx = relay_ctx(r, id, now + STATEMENT_MS);
	struct backlog b = {.relay = r};
	int64_t age;

	if (now < r->backlog_ms)
		return;
	r->backlog_ms = now + BACKLOG_MS;
	if (db_read(r->conf.pool, &cx, read_backlog, &b))
		return;
	age = b.rows ? wall_ms() - b.oldest : 0;
	GUARD(&r->lock);
	r->stats.backlog = (uint64_t)b.rows;
	r->stats.oldest_age_ms = age > 0 ? age : 0;
}

/* --- the thread ------------------------------------------------------------ */

static bool is_ending(struct event_relay *r)
{
	GUARD(&r->lock);

	return r->ending;
}

static uint64_t next_look(const struct event_relay *r)
{
	uint64_t now = mono_ms(), at = now + LOOK_MS;

	for (size_t i = 0; i < r->targets_n; i++) {
		uint64_t again = r->targets[i].again_ms;

		if (again > now && again < at)
			at = again;
	}
	return at;
}

static void sleep_until_due(struct event_relay *r)
{
	uint64_t at = next_look(r);
	const struct timespec t = {.tv_sec = (time_t)(at / 1000),
	                           .tv_nsec = (long)(at % 1000) * 1000000};
	GUARD(&r->lock);

	while (!r->kicked && !r->ending) {
		if (pthread_cond_timedwait(&r->wake, &r->lock, &t) == ETIMEDOUT)
			break;
	}
	r->kicked = false;
}

/* Until nothing is left that could go now. */
static void drain(struct event_relay *r, uint64_t until_ms)
{
	bool more = true;

	while (more && mono_ms() < until_ms) {
		more = false;
		for (size_t i = 0; i < r->targets_n && have_lease(r); i++)
			more |= serve(r, &r->targets[i]);
	}
}

static void *relay_main(void *arg)
{
	struct event_relay *r = arg;
	char id[UUID_MAX];
	struct ctx cx;

	while (!is_ending(r)) {
		drain(r, mono_ms() + LOOK_MS);
		look_at_backlog(r);
		sleep_until_due(r);
	}
	for (size_t i = 0; i < r->targets_n; i++)
		r->targets[i].again_ms = 0;
	drain(r, mono_ms() + DRAIN_MS);
	cx = relay_ctx(r, id, mono_ms() + DRAIN_MS);
	/* Who cannot say so leaves the leases to run out. */
	if (db_write(r->conf.pool, &cx, release, r))
		log_warn(&cx, "event.leases_kept");
	return NULL;
}

void event_kick(struct event_relay *r)
{
	GUARD(&r->lock);

	r->kicked = true;
	(void)pthread_cond_signal(&r->wake);
}

static void copy_stats(struct event_relay *r, struct event_stats *out)
{
	GUARD(&r->lock);

	*out = r->stats;
}

void event_relay_stats(const struct event_relay *r, struct event_stats *out)
{
	copy_stats(r->self, out);
}

/* --- life ------------------------------------------------------------------ */

static bool fill(struct event_relay *r, const struct event_relay_conf *conf)
{
	r->self = r;
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
		r->targets[r->targets_n++].peer = (enum bus_peer)p;
	}
	return true;
}

static void discard(struct event_relay *r)
{
	arena_free(r->arena);
	arena_free(r->cx_arena);
	free(r->texts[0]);
	free(r->texts[1]);
	free(r);
}

static bool start_thread(struct event_relay *r)
{
	pthread_condattr_t a;

	if (pthread_mutex_init(&r->lock, NULL))
		return false;
	if (pthread_condattr_init(&a))
		goto no_attr;
	if (pthread_condattr_setclock(&a, CLOCK_MONOTONIC) ||
	    pthread_cond_init(&r->wake, &a))
		goto no_cond;
	(void)pthread_condattr_destroy(&a);
	if (pthread_create(&r->thread, NULL, relay_main, r) == 0) {
		(void)pthread_setname_np(r->thread, "event-relay");
		return true;
	}
	(void)pthread_cond_destroy(&r->wake);
	(void)pthread_mutex_destroy(&r->lock);
	return false;
no_cond:
	(void)pthread_condattr_destroy(&a);
no_attr:
	(void)pthread_mutex_destroy(&r->lock);
	return false;
}

struct event_relay *event_relay_new(const struct event_relay_conf *conf)
{
	struct event_relay *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	if (fill(r, conf) && start_thread(r))
		return r;
	discard(r);
	return NULL;
}

static void tell_to_end(struct event_relay *r)
{
	GUARD(&r->lock);

	r->ending = true;
	(void)pthread_cond_signal(&r->wake);
}

void event_relay_free(struct event_relay *r)
{
	if (!r)
		return;
	tell_to_end(r);
	(void)pthread_join(r->thread, NULL);
	(void)pthread_cond_destroy(&r->wake);
	(void)pthread_mutex_destroy(&r->lock);
	discard(r);
}
