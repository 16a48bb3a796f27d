#include "common/service/idempotency.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/service/idem_hash.h"

#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BUCKETS       64
#define REPLAYED      "Idempotent-Replayed"
#define PURGE_MIN_MS  1000
#define PURGE_MAX_MS  60000
#define PURGE_CALL_MS 10000

enum { S_FIND, S_PUT, S_PURGE, S_FORGET, S_COUNT };

static const struct db_stmt rows[S_COUNT] = {
	[S_FIND] = {"idempotency.find",
                    "SELECT print, answer FROM @idempotency "
                    "WHERE id = $1 AND at > $2",
                    NULL},
	/* What is there already is past its time: S_FIND has not seen it. */
	[S_PUT] = {"idempotency.put",
                   "INSERT INTO @idempotency (id, sub, print, answer, at) "
                   "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE "
                   "SET sub = excluded.sub, print = excluded.print, "
                   "answer = excluded.answer, at = excluded.at",
                   NULL},
	/* Replicas purge the same rows: none waits for another's. */
	[S_PURGE] = {"idempotency.purge",
                     "DELETE FROM @idempotency WHERE id IN (SELECT id "
                     "FROM @idempotency WHERE at <= $1 ORDER BY at LIMIT $2)",
                     "DELETE FROM @idempotency WHERE id IN (SELECT id "
                     "FROM @idempotency WHERE at <= $1 ORDER BY at LIMIT $2 "
                     "FOR UPDATE SKIP LOCKED)"},
	[S_FORGET] = {"idempotency.forget",
                      "DELETE FROM @idempotency WHERE sub = $1", NULL},
};

struct idem {
	struct idem_conf conf;
	struct db_stmt *st;
	bool seals;
	struct idem_seal seal;
	_Atomic uint64_t stored, replayed, reused, busy, purged;
	pthread_mutex_t lock;         /* of held and stopping; a leaf */
	struct effect *held[BUCKETS]; /* the keys in work */
	pthread_cond_t wake;
	bool stopping;
	pthread_t purger; /* the owner's, as is purges */
	bool purges;
};

/* --- the keys in work --------------------------------------------------------- */

static struct effect **bucket(struct idem *s, const struct effect *ef)
{
	return &s->held[ef->id[0] % BUCKETS];
}

/* False when another request holds the key. */
static bool hold(struct idem *s, struct effect *ef)
{
	struct effect **at = bucket(s, ef);
	GUARD(&s->lock);

	for (const struct effect *o = *at; o; o = o->next)
		if (memcmp(o->id, ef->id, IDEM_HASH) == 0)
			return false;
	ef->next = *at;
	*at = ef;
	ef->held = true;
	return true;
}

static void let_go(struct idem *s, struct effect *ef)
{
	struct effect **at = bucket(s, ef);
	GUARD(&s->lock);

	while (*at && *at != ef)
		at = &(*at)->next;
	if (*at)
		*at = ef->next;
	ef->held = false;
}

static enum err busy(struct idem *s, struct ctx *cx)
{
	atomic_fetch_add(&s->busy, 1);
	(void)ctx_fail(cx, ERR_KEY_BUSY, "%s", err_text(ERR_KEY_BUSY));
	cx->problem.retry_after_s = 1;
	return ERR_KEY_BUSY;
}

/* --- answers as they lie in the table -------------------------------------------- */

static struct str bytes_of(const unsigned char hash[IDEM_HASH])
{
	return (struct str){(const char *)hash, IDEM_HASH};
}

static void empty(struct reply *out)
{
	out->status = 0;
	out->headers_n = 0;
	out->replayed = false;
	buf_clear(&out->body);
}

static enum err pack_answer(const struct idem *s, const struct ctx *cx,
                            const struct reply *out, struct buf *packed)
{
	AUTO_BUF plain = {0};
	bool ok = true;

	/* One place is kept for what a replay adds. */
	if (out->headers_n == REPLY_HEADERS_MAX)
		return ERR_INTERNAL;
	reply_pack(s->seals ? &plain : packed, cx, OK, out);
	if (s->seals && !plain.failed)
		ok = s->seal.seal(s->seal.arg, buf_view(&plain),
		                  bytes_of(cx->effect->id), packed);
	if (plain.p)
		explicit_bzero(plain.p, plain.n);
	if (!ok || plain.failed || packed->failed)
		return ERR_NOMEM;
	/* Somebody let a list grow without bound: that is ours to mend. */
	return packed->n <= IDEM_ANSWER_MAX ? OK : ERR_INTERNAL;
}

static void add_header(struct reply *out, struct str name, struct str value)
{
	out->headers[out->headers_n].name = name;
	out->headers[out->headers_n].value = value;
	out->headers_n++;
}

/* bytes live as long as the request. */
static enum err give_answer(struct str bytes, struct ctx *cx, struct reply *out)
{
	struct reply_view v = {0};
	enum err e = reply_read(bytes, cx, &v);

	if (e || v.err || v.headers_n == REPLY_HEADERS_MAX)
		return e == ERR_NOMEM ? e : ERR_INTERNAL;
	empty(out);
	out->status = v.status;
	buf_str(&out->body, v.body);
	for (size_t i = 0; i < v.headers_n; i++)
		add_header(out, v.headers[i].name, v.headers[i].value);
	add_header(out, STR(REPLAYED), STR("true"));
	out->replayed = true;
	return out->body.failed ? ERR_NOMEM : OK;
}

/* --- looking for one --------------------------------------------------------------- */

struct job {
	struct idem *s;
	struct ctx *cx;
	idem_fn *fn;
	void *arg;
	struct reply *out;
};

static enum err open_answer(const struct idem *s, const struct ctx *cx,
                            struct str kept, struct str *out)
{
	AUTO_BUF plain = {0};

	if (!s->seals) {
		*out = arena_str(cx->arena, kept);
		return out->p ? OK : ERR_NOMEM;
	}
	if (!s->seal.unseal(s->seal.arg, kept, bytes_of(cx->effect->id),
	                    &plain))
		return plain.failed ? ERR_NOMEM : ERR_INTERNAL;
	*out = arena_str(cx->arena, buf_view(&plain));
	explicit_bzero(plain.p, plain.n);
	return out->p ? OK : ERR_NOMEM;
}

static enum err take_row(void *arg, const struct db_row *row)
{
	const struct job *j = arg;
	struct str answer = {0};
	enum err e;

	if (!str_eq(db_row_str(row, 0), bytes_of(j->cx->effect->print)))
		return ERR_OTHER_BODY;
	e = open_answer(j->s, j->cx, db_row_str(row, 1), &answer);
	return e ? e : give_answer(answer, j->cx, j->out);
}

/* A db_fn: out->replayed when there was one. */
static enum err find(struct db *db, void *arg)
{
	struct job *j = arg;
	struct idem *s = j->s;
	int64_t since = wall_ms() - (int64_t)s->conf.retention_ms;
	const struct db_val v[] = {DB_BLOB(bytes_of(j->cx->effect->id)),
	                           DB_I64(since)};
	const struct db_sink sink = {take_row, j};

	empty(j->out);
	return db_run(db, &s->st[S_FIND], v, COUNTOF(v), &sink);
}

static enum err found(struct idem *s, enum err e, const struct reply *out)
{
	if (e == ERR_OTHER_BODY)
		atomic_fetch_add(&s->reused, 1);
	else if (!e && out->replayed)
		atomic_fetch_add(&s->replayed, 1);
	return e;
}

static enum err hash(const struct idem *s, struct ctx *cx)
{
	const unsigned char *key = s->seals ? s->seal.key : NULL;
	struct effect *ef = cx->effect;

	if (cx->sub.n == 0 && cx->idk.n < IDEM_ANONYMOUS_MIN)
		return ctx_fail(
			cx, ERR_BAD_REQUEST,
			"Without a login an Idempotency-Key needs at least %d characters, best a random UUID: whoever knows it could ask for the answer.",
			IDEM_ANONYMOUS_MIN);
	idem_hash_id(key, cx, ef, ef->id);
	return idem_hash_print(key, cx, ef, ef->print) ? OK : ERR_INVALID;
}

enum err idem_begin(struct idem *s, struct ctx *cx, struct reply *out)
{
	struct job j = {.s = s, .cx = cx, .out = out};
	enum err e;

	if (cx->idk.n == 0)
		return OK;
	e = hash(s, cx);
	if (e)
		return e;
	if (!hold(s, cx->effect))
		return busy(s, cx);
	e = found(s, db_read(s->conf.pool, cx, find, &j), out);
	if (!e && out->replayed)
		cx->effect->written = true;
	return e;
}

void idem_end(struct idem *s, struct ctx *cx)
{
	if (cx->effect->held)
		let_go(s, cx->effect);
}

/* --- the transaction ------------------------------------------------------------------ */

static enum err keep(struct db *db, const struct job *j)
{
	const struct effect *ef = j->cx->effect;
	AUTO_BUF answer = {0};
	enum err e = pack_answer(j->s, j->cx, j->out, &answer);
	const struct db_val v[] = {
		DB_BLOB(bytes_of(ef->id)),
		DB_STR(ef->about.n ? ef->about : j->cx->sub),
		DB_BLOB(bytes_of(ef->print)),
		DB_BLOB(buf_view(&answer)),
		DB_I64(wall_ms()),
	};

	return e ? e : db_run(db, &j->s->st[S_PUT], v, COUNTOF(v), NULL);
}

/* What could not be said must not be committed. */
static enum err fill(struct db *db, const struct job *j)
{
	enum err e;

	empty(j->out);
	e = j->fn(db, j->arg, j->out);
	return !e && j->out->body.failed ? ERR_NOMEM : e;
}

/* First of all in a transaction that writes; see event/erased.h. */
static enum err check_erased(struct db *db, const struct job *j)
{
	const struct effect *ef = j->cx->effect;

	if (!j->s->conf.erased || j->cx->sub.n == 0 || (ef && ef->erases))
		return OK;
	return erased_check(j->s->conf.erased, db, j->cx->sub);
}

/* A db_fn: without a key. */
static enum err plain(struct db *db, void *arg)
{
	enum err e = check_erased(db, arg);

	return e ? e : fill(db, arg);
}

/* A db_fn: without a key, of what only reads. */
static enum err look(struct db *db, void *arg)
{
	return fill(db, arg);
}

static int64_t lock_number(const struct effect *ef)
{
	int64_t n;

	memcpy(&n, ef->id, sizeof(n));
	return n;
}

/* A db_fn: with a key. */
static enum err once(struct db *db, void *arg)
{
	struct job *j = arg;
	bool got = false;
	enum err e = check_erased(db, j);

	if (!e)
		e = db_try_lock(db, lock_number(j->cx->effect), &got);
	if (!e && !got)
		return ERR_KEY_BUSY;
	/* Another replica may have been here since idem_begin(). */
	if (!e)
		e = find(db, j);
	if (e || j->out->replayed)
		return e;
	e = fill(db, j);
	return e || j->cx->effect->erases ? e : keep(db, j);
}

static enum err written(struct job *j, enum err e)
{
	struct effect *ef = j->cx->effect;

	if (e)
		empty(j->out);
	else if (ef)
		ef->written = true;
	if (!ef || !ef->held)
		return e;
	if (e == ERR_KEY_BUSY)
		return busy(j->s, j->cx);
	if (!e && !j->out->replayed)
		atomic_fetch_add(&j->s->stored, 1);
	return found(j->s, e, j->out);
}

static bool keyed(const struct ctx *cx)
{
	return cx->effect && cx->effect->held;
}

/*
 * The connection was lost behind COMMIT.  A row says that it was done, and by
 * us, since we hold the key; none says nothing, for it may be on its way.
 */
static enum err was_committed(struct job *j)
{
	if (db_read(j->s->conf.pool, j->cx, find, j) || !j->out->replayed)
		return ERR_PEER_LOST;
	j->out->replayed = false;
	j->out->headers_n--;
	return OK;
}

enum err idem_write(struct idem *s, struct ctx *cx, idem_fn *fn, void *arg,
                    struct reply *out)
{
	struct job j = {s, cx, fn, arg, out};
	enum err e;

	if (!keyed(cx))
		return written(&j, db_write(s->conf.pool, cx, plain, &j));
	e = db_write(s->conf.pool, cx, once, &j);
	if (e == ERR_PEER_LOST)
		e = was_committed(&j);
	return written(&j, e);
}

enum err idem_read(struct idem *s, struct ctx *cx, idem_fn *fn, void *arg,
                   struct reply *out)
{
	struct job j = {s, cx, fn, arg, out};

	if (keyed(cx))
		return idem_write(s, cx, fn, arg, out);
	return written(&j, db_read(s->conf.pool, cx, look, &j));
}

enum err idem_forget(struct idem *s, struct db *db, struct str sub,
                     int64_t *rows_n)
{
	const struct db_val v[] = {DB_STR(sub)};

	return db_change(db, &s->st[S_FORGET], v, COUNTOF(v), rows_n);
}

/* --- the purge ------------------------------------------------------------------------ */

struct purge {
	struct idem *s;
	int64_t until;
	int64_t changed;
};

/* A db_fn. */
static enum err purge_batch(struct db *db, void *arg)
{
	struct purge *p = arg;
	const struct db_val v[] = {DB_I64(p->until), DB_I64(IDEM_BATCH)};

	return db_change(db, &p->s->st[S_PURGE], v, COUNTOF(v), &p->changed);
}

enum err idem_purge(struct idem *s, struct ctx *cx, int64_t now_ms, uint64_t *n)
{
	struct purge p = {.s = s,
	                  .until = now_ms - (int64_t)s->conf.retention_ms};
	enum err e = OK;

	*n = 0;
	for (unsigned i = 0; i < IDEM_BATCHES; i++) {
		p.changed = 0;
		e = db_write(s->conf.pool, cx, purge_batch, &p);
		if (e)
			break;
		*n += (uint64_t)p.changed;
		if (p.changed < IDEM_BATCH)
			break;
	}
	atomic_fetch_add(&s->purged, *n);
	return e;
}

/* A tenth of the retention, so that rows live little longer than it. */
static uint64_t purge_every_ms(const struct idem *s)
{
	uint64_t ms = s->conf.retention_ms / 10;

	return ms < PURGE_MIN_MS   ? PURGE_MIN_MS
	       : ms > PURGE_MAX_MS ? PURGE_MAX_MS
	                           : ms;
}

/* False: it is the end. */
static bool doze(struct idem *s, uint64_t until_ms)
{
	const struct timespec ts = {(time_t)(until_ms / 1000),
	                            (long)(until_ms % 1000) * 1000000};
	GUARD(&s->lock);

	while (!s->stopping)
		if (pthread_cond_timedwait(&s->wake, &s->lock, &ts) != 0)
			break;
	return !s->stopping;
}

static void *purger(void *arg)
{
	struct idem *s = arg;

	while (doze(s, mono_ms() + purge_every_ms(s))) {
		struct ctx cx = {.service = s->conf.service,
		                 .rid = STR("idempotency-purge"),
		                 .deadline_ms = mono_ms() + PURGE_CALL_MS};
		uint64_t n = 0;
		enum err e = idem_purge(s, &cx, wall_ms(), &n);

		/* Rows past their time are not answered from: no harm is done
		 * by one that stays until the next turn. */
		if (e)
			log_warn(&cx, "idempotency.purge_failed",
			         LOG_TEXT("error", err_name(e)),
			         LOG_U64("deleted", n));
	}
	return NULL;
}

enum err idem_purge_start(struct idem *s)
{
	if (s->purges)
		return OK;
	if (pthread_create(&s->purger, NULL, purger, s))
		return ERR_NOMEM;
	(void)pthread_setname_np(s->purger, "idem-purge");
	s->purges = true;
	return OK;
}

/* --- life ------------------------------------------------------------------------------- */

static bool make_locks(struct idem *s)
{
	pthread_condattr_t attr;
	bool ok = pthread_condattr_init(&attr) == 0;

	if (!ok)
		return false;
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	ok = pthread_cond_init(&s->wake, &attr) == 0;
	(void)pthread_condattr_destroy(&attr);
	if (ok && pthread_mutex_init(&s->lock, NULL)) {
		(void)pthread_cond_destroy(&s->wake);
		ok = false;
	}
	return ok;
}

struct idem *idem_new(const struct idem_conf *conf)
{
	struct idem *s = sodium_init() < 0 ? NULL : calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->conf = *conf;
	s->st = db_stmts_for(rows, S_COUNT, conf->service);
	if (!s->st || !make_locks(s)) {
		free(s->st);
		free(s);
		return NULL;
	}
	return s;
}

static void tell_to_end(struct idem *s)
{
	GUARD(&s->lock);

	s->stopping = true;
	(void)pthread_cond_signal(&s->wake);
}

void idem_free(struct idem *s)
{
	if (!s)
		return;
	if (s->purges) {
		tell_to_end(s);
		(void)pthread_join(s->purger, NULL);
	}
	(void)pthread_cond_destroy(&s->wake);
	(void)pthread_mutex_destroy(&s->lock);
	explicit_bzero(&s->seal, sizeof(s->seal));
	free(s->st);
	free(s);
}

void idem_seal(struct idem *s, const struct idem_seal *seal)
{
	s->seal = *seal;
	s->seals = true;
}

void idem_stats(const struct idem *s, struct idem_stats *out)
{
	*out = (struct idem_stats){
		.stored = atomic_load(&s->stored),
		.replayed = atomic_load(&s->replayed),
		.reused = atomic_load(&s->reused),
		.busy = atomic_load(&s->busy),
		.purged = atomic_load(&s->purged),
	};
}
