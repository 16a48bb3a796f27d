/*
 * Reads of one statement each, which need no transaction of ours, and those of
 * several requests in one round trip.
 *
 * Why:     a round trip costs more than a read by key, on both sides: wake-ups,
 *          system calls, BEGIN and COMMIT.  A worker that has several requests
 *          which read lets each say its question (db_deferred), sends them all
 *          in one pipeline over one connection, and lets each go on as soon as
 *          its own answer is there.  Nobody waits for company, and no thread
 *          for another.
 * Bounds:  DB_BATCH_MAX reads or BYTES_MAX of values per pipeline.
 * Failing: a statement that fails takes down what stands behind it in its
 *          transaction unseen (DB_CUT); those are asked again, each in a
 *          transaction of its own.  What a lost connection left open is asked
 *          again as a transaction would be run again.  Who runs out of time is
 *          answered so then, and leaves the others alone.
 * Holding: done() is called while the pipeline's connection is held, so a
 *          function that puts off its read must not wait for a second one: it
 *          is refused (db.not_one_read).
 * Memory:  a question is copied into the arena of its request.  Once its done()
 *          has been called a read may be gone: nothing looks at it again.
 *
 * A driver that has no pipelines (SQLite) runs the statement on a connection
 * borrowed for it, without a transaction around it.
 */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/db/driver.h"

#include <assert.h>

#define BYTES_MAX ((size_t)1 << 20)
#define GRACE_MS  500 /* the server's own timeout comes first */

/* A pipeline.  asks: NULL is answered, or left. */
struct line {
	struct db_pool *pool;
	struct db *db;
	struct db_deferred **asks;
	unsigned waiting, handed;
	uint64_t moved_ms; /* when somebody was answered, or left */
	struct db_batch batch;
};

/* --- one read -------------------------------------------------------------------- */

/* *at is NULL afterwards, because done() may be the end of it. */
static void settle(struct db_deferred **at, enum err e, void *result)
{
	struct db_deferred *d = *at;

	*at = NULL;
	d->state = DB_DEFERRED_ANSWERED;
	d->e = e;
	d->result = result;
	if (d->done)
		d->done(d);
}

/* How many are left, at the front. */
static size_t close_up(struct db_deferred *d[], size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (d[i])
			d[kept++] = d[i];
	return kept;
}

static uint64_t earliest(struct db_deferred *const d[], size_t n)
{
	uint64_t ms = UINT64_MAX;

	for (size_t i = 0; i < n; i++)
		if (d[i] && d[i]->question.deadline_ms < ms)
			ms = d[i]->question.deadline_ms;
	return ms;
}

/* --- hearing --------------------------------------------------------------------- */

static void hand_one(struct line *l, unsigned i)
{
	struct db_answer *a = &l->batch.answer[i];
	struct db_deferred *d = l->asks[i];

	if (!d) {
		l->pool->driver->batch_drop(a);
		return;
	}
	l->waiting--;
	switch (a->outcome) {
	case DB_OPEN:
	case DB_GIVEN:
		settle(&l->asks[i], a->e, a->result);
		break;
	case DB_CUT:
		d->question.alone = true;
		break;
	case DB_AGAIN:
		if (a->e == ERR_DB_CONFLICT)
			db_pool_count(l->pool, &l->pool->stats.conflicts, 1);
		d->e = a->e;
		break;
	}
}

static void hand_out(struct line *l)
{
	while (l->handed < l->batch.answered)
		hand_one(l, l->handed++);
}

/* Those whose time is over. */
static void leave_late(struct line *l, uint64_t now_ms)
{
	for (unsigned i = l->handed; i < l->batch.n; i++) {
		struct db_deferred *d = l->asks[i];

		if (!d || now_ms < d->question.deadline_ms)
			continue;
		l->waiting--;
		settle(&l->asks[i], ERR_TIMEOUT, NULL);
	}
}

static void abandon(struct line *l)
{
	/* The server's own timeout is over too: it may be silent for all. */
	if (l->batch.answered < l->batch.n)
		atomic_store(&l->pool->doubt_ms, mono_ms());
	l->db->dead = true;
}

static void hear(struct line *l)
{
	const struct db_driver *driver = l->pool->driver;

	while (!driver->batch_take(l->db, &l->batch)) {
		uint64_t now = mono_ms(), until;
		unsigned before = l->waiting;

		hand_out(l);
		leave_late(l, now);
		if (l->waiting != before)
			l->moved_ms = now;
		/* With nobody left the connection is worth a moment: the end
		 * of the pipeline may be right behind. */
		until = l->waiting ? earliest(l->asks, l->batch.n)
		                   : l->moved_ms + GRACE_MS;
		if (l->waiting == 0 && now >= until) {
			abandon(l);
			break;
		}
		driver->batch_wait(l->db, until);
	}
	hand_out(l);
}

/* --- asking ---------------------------------------------------------------------- */

/*
 * OK, or some are answered with the error: all of them, unless it only took too
 * long for those.
 */
static enum err borrow(struct db_pool *p, struct db_deferred *d[], unsigned n,
                       struct db **db)
{
	uint64_t until = mono_ms() + (uint64_t)p->conf.timeout_s * 1000;
	uint64_t first = earliest(d, n);
	bool too_long;
	enum err e =
		db_pool_borrow(p, d[0]->cx, first < until ? first : until, db);

	if (!e)
		return OK;
	too_long = mono_ms() >= first;
	for (unsigned i = 0; i < n; i++)
		if (!too_long || d[i]->question.deadline_ms <= first)
			settle(&d[i], e, NULL);
	return e;
}

static void ask(struct db_pool *p, struct db_deferred *d[], unsigned n)
{
	struct line l = {.pool = p, .asks = d, .waiting = n, .batch = {.n = n}};
	const struct db_question *questions[DB_BATCH_MAX];

	if (borrow(p, d, n, &l.db))
		return;
	/* The connection may outlive the request that it was borrowed for. */
	l.db->cx = &p->cx;
	for (unsigned i = 0; i < n; i++) {
		questions[i] = &d[i]->question;
		l.batch.answer[i] = (struct db_answer){.outcome = DB_OPEN};
	}
	db_pool_count(p, &p->stats.batches, 1);
	db_pool_count(p, &p->stats.asked, n);
	p->driver->batch_send(l.db, &l.batch, questions);
	hear(&l);
	db_pool_note(p, l.db->dead ? ERR_DATABASE : OK);
	db_pool_return(p, l.db);
}

static size_t bytes_of(const struct db_question *q)
{
	size_t n = 0;

	for (size_t i = 0; i < q->n; i++) {
		if (q->v[i].type == DB_T_STR || q->v[i].type == DB_T_BLOB)
			n += q->v[i].v.s.n;
	}
	return n;
}

/*
 * How many of the first go out together.  Never more than one transaction: a
 * pooler believes a server free at the first end of one and hands the answers
 * of the next to somebody else.
 */
static unsigned together(struct db_deferred *const d[], size_t n)
{
	size_t bytes = bytes_of(&d[0]->question);
	unsigned k = 1;

	if (d[0]->question.alone)
		return 1;
	while (k < n && k < DB_BATCH_MAX && d[k]->pool == d[0]->pool &&
	       !d[k]->question.alone) {
		bytes += bytes_of(&d[k]->question);
		if (bytes > BYTES_MAX)
			break;
		k++;
	}
	return k;
}

/* Those to be asked again although no neighbour failed: they wait a little. */
static void rest(struct db_deferred *d[], unsigned n, unsigned *run)
{
	uint64_t last = 0;

	for (unsigned i = 0; i < n; i++)
		if (d[i] && d[i]->e && d[i]->question.deadline_ms > last)
			last = d[i]->question.deadline_ms;
	if (!last || db_pool_rerun((*run)++, last))
		return;
	for (unsigned i = 0; i < n; i++)
		if (d[i] && d[i]->e)
			settle(&d[i], d[i]->e, NULL);
}

static void settle_late(struct db_deferred *d[], size_t n)
{
	uint64_t now = mono_ms();

	for (size_t i = 0; i < n; i++)
		if (now >= d[i]->question.deadline_ms)
			settle(&d[i], d[i]->e ? d[i]->e : ERR_TIMEOUT, NULL);
}

void db_ask_deferred(struct db_deferred *d[], size_t n)
{
	unsigned run = 0;

	for (;;) {
		unsigned k;

		settle_late(d, n);
		n = close_up(d, n);
		if (n == 0)
			return;
		k = together(d, n);
		for (unsigned i = 0; i < k; i++)
			d[i]->e = OK;
		ask(d[0]->pool, d, k);
		rest(d, k, &run);
		n = close_up(d, n);
	}
}

bool db_deferred_asked(const struct db_deferred *d)
{
	return d->state == DB_DEFERRED_ASKED;
}

void db_deferred_end(struct db_deferred *d)
{
	struct db_answer a = {.result = d->result};

	if (d->result)
		d->pool->driver->batch_drop(&a);
	d->result = NULL;
	d->state = DB_DEFERRED_USED;
}

/* --- putting off ------------------------------------------------------------------- */

/* False without memory. */
static bool copy_values(struct arena *a, struct db_question *q)
{
	struct db_val *v = arena_alloc(a, q->n * sizeof(*v));

	for (size_t i = 0; i < q->n && v; i++) {
		struct str *s = &v[i].v.s;

		v[i] = q->v[i];
		if ((v[i].type != DB_T_STR && v[i].type != DB_T_BLOB) || !s->n)
			continue;
		*s = arena_str(a, *s);
		if (!s->p)
			return false;
	}
	q->v = v;
	return v;
}

static bool put_off(struct db_deferred *d, struct db_pool *p, struct ctx *cx,
                    struct db_question q)
{
	if (!copy_values(cx->arena, &q))
		return false;
	d->pool = p;
	d->cx = cx;
	d->question = q;
	d->began_us = mono_us();
	d->state = DB_DEFERRED_ASKED;
	return true;
}

/* What is echoed waits by itself: two lines would tell of it. */
static bool may_put_off(const struct db_pool *p, const struct ctx *cx)
{
	return cx->deferred && cx->deferred->state == DB_DEFERRED_NEW &&
	       p->driver->batch_send && !p->conf.echo;
}

void db_not_one_read(const struct ctx *cx, const char *what)
{
	log_error(cx, "db.not_one_read", LOG_TEXT("statement", what));
}

/* --- what looks like a connection ------------------------------------------------
 *
 * A function for db_read() gets a struct db and runs statements on it.  This one
 * has no connection behind it: what it is told to run is asked, or put off.
 */

struct asker {
	struct db db;
	struct ctx *cx;
	bool may_put_off, has_answer, asked;
};

static enum err take(struct db_pool *p, const struct ctx *cx,
                     const struct db_stmt *st, struct db_deferred *d,
                     const struct db_sink *sink)
{
	struct db_answer a = {.outcome = DB_GIVEN,
	                      .e = d->e,
	                      .result = d->result};

	d->result = NULL;
	d->state = DB_DEFERRED_USED;
	return p->driver->batch_rows(cx, st, &a, sink);
}

static enum err ask_now(struct asker *as, const struct db_question *q,
                        const struct db_sink *sink)
{
	struct db_deferred d = {.pool = as->db.pool,
	                        .cx = as->cx,
	                        .question = *q,
	                        .state = DB_DEFERRED_ASKED};

	db_ask_deferred((struct db_deferred *[]){&d}, 1);
	return take(as->db.pool, as->cx, q->st, &d, sink);
}

static enum err run_alone(struct db_pool *p, const struct ctx *cx,
                          const struct db_question *q,
                          const struct db_sink *sink)
{
	struct db *db = NULL;
	enum err e = db_pool_borrow(p, cx, q->deadline_ms, &db);

	if (e)
		return e;
	db->failed = OK;
	e = p->driver->run(db, q->st, q->v, q->n, sink, NULL);
	db_pool_note(p, db->dead ? ERR_DATABASE : OK);
	db_pool_return(p, db);
	return e;
}

static enum err run(struct db *db, const struct db_stmt *st,
                    const struct db_val *v, size_t n,
                    const struct db_sink *sink,
                    int64_t *changed) /* NOLINT: the drivers' type */
{
	struct asker *as = (struct asker *)db;
	struct db_deferred *d = as->cx->deferred;
	struct db_pool *p = db->pool;
	const struct db_question q = {st, v, n, db->deadline_ms, false};
	enum err e;

	if (as->asked || changed || (as->has_answer && d->question.st != st)) {
		db_not_one_read(db->cx, st->name);
		return db_fail(db, ERR_INTERNAL);
	}
	as->asked = true;
	if (!p->driver->batch_send)
		e = run_alone(p, db->cx, &q, sink);
	else if (as->may_put_off && put_off(d, p, as->cx, q))
		return db_fail(db, ERR_BUSY);
	else if (as->has_answer)
		e = take(p, db->cx, st, d, sink);
	else
		e = ask_now(as, &q, sink);
	return e == ERR_DB_CONFLICT ? ERR_CONFLICT : e;
}

static enum err lock(struct db *db, int64_t number)
{
	(void)number;
	return db_fail(db,
	               ERR_INTERNAL); /* there is no transaction to end it */
}

static const struct db_driver asking = {.run = run,
                                        .lock = lock,
                                        .lock_later = lock};

struct question {
	const struct db_stmt *st;
	const struct db_val *v;
	size_t n;
	const struct db_sink *sink;
};

/* A db_fn. */
static enum err one(struct db *db, void *arg)
{
	const struct question *q = arg;

	return db_run(db, q->st, q->v, q->n, q->sink);
}

static enum err read_it(struct asker *as, db_fn *fn, void *arg)
{
	struct db_told told;
	enum err e;

	db_told_begin(&told, as->db.pool, as->cx, "read");
	if (as->has_answer)
		db_told_since(&told, as->cx->deferred->began_us);
	e = fn(&as->db, arg);
	e = e ? e : as->db.failed;
	db_told_end(&told, as->cx, e);
	if (as->cx->deferred)
		db_deferred_end(as->cx->deferred);
	return e;
}

/* It is told of when it has its answer. */
static enum err say_question(struct asker *as, db_fn *fn, void *arg)
{
	struct span *span = as->cx->span;
	enum err e;

	as->cx->span = NULL;
	e = fn(&as->db, arg);
	as->cx->span = span;
	e = e ? e : as->db.failed;
	if (!db_deferred_asked(as->cx->deferred))
		db_deferred_end(as->cx->deferred);
	return e;
}

enum err db_read_one(struct db_pool *p, struct ctx *cx, db_fn *fn, void *arg)
{
	const struct db_deferred *d = cx->deferred;
	struct asker as = {.db = {.driver = &asking,
	                          .pool = p,
	                          .cx = cx,
	                          .deadline_ms = cx->deadline_ms},
	                   .cx = cx,
	                   .may_put_off = may_put_off(p, cx),
	                   .has_answer = d && d->state == DB_DEFERRED_ANSWERED};

	if (d && d->state == DB_DEFERRED_USED) {
		db_not_one_read(cx, "a second read");
		return ERR_INTERNAL;
	}
	if (as.has_answer) {
		as.db.since_us = d->began_us;
		as.db.deadline_ms = UINT64_MAX; /* it is not too late */
	} else if (mono_ms() >= cx->deadline_ms) {
		return ERR_TIMEOUT;
	}
	return as.may_put_off ? say_question(&as, fn, arg)
	                      : read_it(&as, fn, arg);
}

enum err db_ask(struct db_pool *p, struct ctx *cx, const struct db_stmt *st,
                const struct db_val *v, size_t n, const struct db_sink *sink)
{
	struct question q = {st, v, n, sink};

	return db_read_one(p, cx, one, &q);
}
