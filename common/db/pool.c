/*
 * The pool: who may use a connection when, and what is run again.
 *
 * Why:     borrowers queue in order of arrival, and only the first may take, so
 *          nobody starves and who gives up at its deadline leaves nothing to
 *          hand on.  Connections open on demand; the last returned is lent
 *          first, so the rest grow old and are not missed.
 * Bounds:  size + max_overflow connections, those above size closed when nobody
 *          waits.  A server that refuses one is asked again after about 0.1 s,
 *          by the first in the queue alone, until its deadline.
 * Threads: any.  One lock, a leaf; nothing is opened, closed or run under it.
 */
#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/db/driver.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <time.h>

#define PING_AFTER_MS   5000 /* a server that idled less is believed */
#define REFUSED_WAIT_MS 100  /* between two tries at a full server */
#define COMPLAIN_MS     1000
#define RUNS_MAX        8 /* of one transaction */
#define RERUN_WAIT_MS   4 /* doubles with each run */

struct waiter {
	pthread_cond_t turn;
	struct waiter *next;
};

unsigned db_jitter(unsigned max)
{
	return max ? randombytes_uniform(max) : 0;
}

bool db_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t a;
	bool made;

	if (pthread_condattr_init(&a))
		return false;
	made = pthread_condattr_setclock(&a, CLOCK_MONOTONIC) == 0 &&
	       pthread_cond_init(c, &a) == 0;
	(void)pthread_condattr_destroy(&a);
	return made;
}

bool db_cond_wait(pthread_cond_t *c, pthread_mutex_t *m, uint64_t deadline_ms)
{
	const struct timespec t = {
		.tv_sec = (time_t)(deadline_ms / 1000),
		.tv_nsec = (long)(deadline_ms % 1000) * 1000000,
	};

	return pthread_cond_timedwait(c, m, &t) != ETIMEDOUT;
}

/* Under the lock. */
static void note(struct db_pool *p, enum err e)
{
	p->stats.usable = e == OK;
	if (!e)
		p->stats.unusable_since_ms = 0;
	else if (p->stats.unusable_since_ms == 0)
		p->stats.unusable_since_ms = wall_ms();
}

void db_pool_note(struct db_pool *p, enum err e)
{
	GUARD(&p->lock);

	note(p, e);
}

void db_pool_count(struct db_pool *p, uint64_t *counter, uint64_t by)
{
	GUARD(&p->lock);

	*counter += by;
}

bool db_pool_may_complain(struct db_pool *p)
{
	uint64_t now = mono_ms();
	GUARD(&p->lock);

	if (p->complained_ms && now - p->complained_ms < COMPLAIN_MS)
		return false;
	p->complained_ms = now;
	return true;
}

const double db_wait_bounds[DB_WAIT_BOUNDS] = {0.0001, 0.0005, 0.001, 0.005,
                                               0.01,   0.05,   0.1,   0.5,
                                               1,      5,      10,    30};

void db_pool_waited(struct db_pool *p, uint64_t us, bool borrowed)
{
	size_t i = 0;
	GUARD(&p->lock);

	while (i < DB_WAIT_BOUNDS && (double)us > db_wait_bounds[i] * 1e6)
		i++;
	p->stats.waits[i]++;
	p->stats.wait_us += us;
	p->stats.borrows += borrowed;
}

/* --- borrowing ------------------------------------------------------------ */

static unsigned ceiling(const struct db_pool *p)
{
	return p->conf.size + p->conf.max_overflow;
}

static bool available(const struct db_pool *p, uint64_t now_ms)
{
	return p->idle ||
	       (p->open < ceiling(p) && now_ms >= p->refused_until_ms);
}

static void wake_first(struct db_pool *p)
{
	if (p->first)
		(void)pthread_cond_signal(&p->first->turn);
}

static void enqueue(struct db_pool *p, struct waiter *w, bool front)
{
	if (front || !p->first) {
		w->next = p->first;
		p->first = w;
		if (!p->last)
			p->last = w;
	} else {
		p->last->next = w;
		p->last = w;
	}
	p->queued++;
}

static void dequeue(struct db_pool *p, struct waiter *w)
{
	struct waiter **at = &p->first, *before = NULL;

	while (*at != w) {
		before = *at;
		at = &before->next;
	}
	*at = w->next;
	if (p->last == w)
		p->last = before;
	p->queued--;
}

/*
 * Waits to be the first in the queue while a connection is there to take.
 * Nobody is handed one: the first takes, so who gives up leaves nothing behind.
 */
static enum err wait_turn(struct db_pool *p, uint64_t until_ms, bool front)
{
	struct waiter w = {0};
	enum err e = OK;

	if (!db_cond_init(&w.turn))
		return ERR_NOMEM;
	enqueue(p, &w, front);
	for (;;) {
		uint64_t now = mono_ms(), limit = until_ms;

		if (p->first == &w && available(p, now))
			break;
		if (now >= until_ms) {
			e = ERR_DATABASE;
			p->stats.timeouts++;
			break;
		}
		if (p->first == &w && p->refused_until_ms > now &&
		    p->refused_until_ms < limit)
			limit = p->refused_until_ms;
		(void)db_cond_wait(&w.turn, &p->lock, limit);
	}
	dequeue(p, &w);
	(void)pthread_cond_destroy(&w.turn);
	if (e)
		wake_first(p);
	return e;
}

/* OK: *db is an idle connection, or NULL with the right to open one. */
static enum err take(struct db_pool *p, uint64_t until_ms, bool front,
                     struct db **db)
{
	enum err e;
	GUARD(&p->lock);

	if ((p->first && !front) || !available(p, mono_ms())) {
		e = wait_turn(p, until_ms, front);
		if (e)
			return e;
	}
	*db = p->idle;
	if (p->idle)
		p->idle = p->idle->next;
	else
		p->open++;
	p->in_use++;
	wake_first(p);
	return OK;
}

/* Gives back the right to a connection: it was refused, not opened, or closed. */
enum ending { REFUSED, UNOPENED, CLOSED };
static void untake(struct db_pool *p, enum ending how)
{
	bool refused = how == REFUSED;
	GUARD(&p->lock);

	p->open--;
	p->in_use--;
	p->closing -= how == CLOSED;
	/* Full with connections of ours is busy; full of others is away. */
	if (refused && p->in_use == 0 && !p->idle)
		note(p, ERR_DATABASE);
	if (refused)
		p->refused_until_ms = mono_ms() + REFUSED_WAIT_MS / 2 +
		                      db_jitter(REFUSED_WAIT_MS);
	if (p->in_use == 0)
		(void)pthread_cond_broadcast(&p->returned);
	wake_first(p);
}

static bool needs_ping(struct db_pool *p, const struct db *db)
{
	return p->conf.pre_ping && (mono_ms() - db->idle_ms >= PING_AFTER_MS ||
	                            db->idle_ms <= atomic_load(&p->doubt_ms));
}

/*
 * False: the connection is not to be used again.  Of connections that fell
 * silent together only one is asked in vain, so that they cost a borrower one
 * ping and not his whole deadline.
 */
static bool fit(struct db_pool *p, struct db *db)
{
	if (mono_ms() - db->opened_ms >= (uint64_t)p->conf.recycle_s * 1000) {
		db_pool_count(p, &p->stats.recycled, 1);
		return false;
	}
	if (db->idle_ms <= atomic_load(&p->lost_ms)) {
		db->dead = true; /* nothing more is to be heard from it */
		return false;
	}
	if (p->driver->alive(db)) {
		if (!needs_ping(p, db) || p->driver->ping(db) == OK)
			return true;
		db_pool_count(p, &p->stats.failed_pings, 1);
	}
	if (db->idle_ms <= atomic_load(&p->doubt_ms))
		atomic_store(&p->lost_ms, db->idle_ms);
	return false;
}

static void lend(struct db *db, const struct ctx *cx, uint64_t deadline_ms)
{
	db->cx = cx;
	db->deadline_ms = deadline_ms;
}

/* ERR_BUSY: the server has none to spare now. */
static enum err open_one(struct db_pool *p, uint64_t until_ms, struct db **out)
{
	enum err e = p->driver->open(p, p->conf.url, until_ms, out);

	if (!e) {
		db_pool_count(p, &p->stats.opened, 1);
		return OK;
	}
	untake(p, e == ERR_BUSY ? REFUSED : UNOPENED);
	if (e == ERR_BUSY)
		return e;
	db_pool_note(p, e);
	return e == ERR_NOMEM ? e : ERR_DATABASE;
}

static enum err borrow(struct db_pool *p, const struct ctx *cx,
                       uint64_t deadline_ms, uint64_t until_ms, struct db **out)
{
	bool front = false;
	enum err e;

	do {
		struct db *db = NULL;

		e = take(p, until_ms, front, &db);
		if (e)
			return e;
		if (db) {
			lend(db, cx, deadline_ms);
			if (!fit(p, db)) {
				p->driver->close(db);
				db = NULL;
			}
		}
		if (!db)
			e = open_one(p, until_ms, &db);
		if (!e) {
			lend(db, cx, deadline_ms);
			*out = db;
		}
		front = true;
	} while (e == ERR_BUSY);
	return e;
}

enum err db_pool_borrow(struct db_pool *p, const struct ctx *cx,
                        uint64_t deadline_ms, struct db **out)
{
	uint64_t before = mono_us();
	uint64_t until = before / 1000 + (uint64_t)p->conf.timeout_s * 1000;
	enum err e = borrow(p, cx, deadline_ms,
	                    deadline_ms < until ? deadline_ms : until, out);

	db_pool_waited(p, mono_us() - before, e == OK);
	return e;
}

/* True when the connection was kept; else it is to be closed. */
static bool keep(struct db_pool *p, struct db *db)
{
	GUARD(&p->lock);
	bool surplus = p->open - p->closing > p->conf.size;

	/* An overflow connection stays while somebody waits for one. */
	if (db->dead || (surplus && !p->first)) {
		p->closing++;
		return false;
	}
	db->next = p->idle;
	p->idle = db;
	p->in_use--;
	if (p->in_use == 0)
		(void)pthread_cond_broadcast(&p->returned);
	wake_first(p);
	return true;
}

void db_pool_return(struct db_pool *p, struct db *db)
{
	db->cx = &p->cx;
	db->idle_ms = mono_ms();
	if (keep(p, db))
		return;
	p->driver->close(db);
	untake(p, CLOSED);
}

/* --- transactions ---------------------------------------------------------- */

enum err db_transact(struct db *db, enum db_mode mode, db_fn *fn, void *arg)
{
	enum err e;

	db->failed = OK;
	db->again = false;
	e = db->driver->begin(db, mode);
	if (!e)
		e = fn(db, arg);
	if (db->failed && (!e || db->again))
		e = db->failed;
	if (!e)
		return db->driver->commit(db);
	db->driver->rollback(db);
	return e;
}

bool db_pool_rerun(unsigned run, uint64_t deadline_ms)
{
	unsigned ms = db_jitter((unsigned)RERUN_WAIT_MS << run);
	const struct timespec t = {.tv_nsec = (long)ms * 1000000};

	if (run + 1 >= RUNS_MAX || clock_left(deadline_ms, mono_ms()) <= ms)
		return false;
	(void)nanosleep(&t, NULL);
	return true;
}

static enum err run_until_done(struct db_pool *p, const struct ctx *cx,
                               enum db_mode mode, db_fn *fn, void *arg)
{
	for (unsigned run = 0;; run++) {
		struct db *db = NULL;
		bool again, dead;
		enum err e;

		e = db_pool_borrow(p, cx, cx->deadline_ms, &db);
		if (e)
			return e;
		e = db_transact(db, mode, fn, arg);
		again = db->again || e == ERR_DB_CONFLICT;
		dead = db->dead;
		db_pool_return(p, db);
		db_pool_note(p, dead ? ERR_DATABASE : OK);
		if (!again)
			return e;
		if (e == ERR_DB_CONFLICT)
			db_pool_count(p, &p->stats.conflicts, 1);
		if (!db_pool_rerun(run, cx->deadline_ms))
			return e;
	}
}

/* ERR_DB_CONFLICT is spoken only inside. */
static enum err outward(enum err e)
{
	return e == ERR_DB_CONFLICT ? ERR_CONFLICT : e;
}

void db_told_begin(struct db_told *t, const struct db_pool *p, struct ctx *cx,
                   const char *name)
{
	t->began_us = mono_us();
	t->before = cx->span;
	if (!span_begin(&t->span, cx->span, SPAN_CLIENT, name))
		return;
	span_text(&t->span, "db.system.name",
	          p->driver->kind == DB_SQLITE ? STR("sqlite")
	                                       : STR("postgresql"));
	span_text(&t->span, "db.namespace", str_from(p->conf.service));
	cx->span = &t->span;
}

void db_told_since(struct db_told *t, uint64_t began_us)
{
	t->began_us = began_us;
	t->span.start_us = began_us;
}

void db_told_end(struct db_told *t, struct ctx *cx, enum err e)
{
	cx->spent.database += mono_us() - t->began_us;
	if (!t->before)
		return;
	cx->span = t->before;
	/* What was looked for and is not there is no failure. */
	if (e && e != ERR_NOT_FOUND)
		span_fail(&t->span, err_name(e));
	span_end(&t->span);
}

/* Whether it may begin a transaction. */
static enum err may_begin(const struct ctx *cx)
{
	if (cx->deferred) {
		db_not_one_read(cx, "a transaction");
		return ERR_INTERNAL;
	}
	return mono_ms() >= cx->deadline_ms ? ERR_TIMEOUT : OK;
}

enum err db_write(struct db_pool *p, struct ctx *cx, db_fn *fn, void *arg)
{
	struct db_told told;
	enum err e = may_begin(cx);

	if (e)
		return e;
	db_told_begin(&told, p, cx, "transaction");
	e = outward(p->driver->write
	                    ? p->driver->write(p, cx, fn, arg)
	                    : run_until_done(p, cx, DB_MODE_WRITE, fn, arg));
	db_told_end(&told, cx, e);
	return e;
}

enum err db_read(struct db_pool *p, struct ctx *cx, db_fn *fn, void *arg)
{
	struct db_told told;
	enum err e = may_begin(cx);

	if (e)
		return e;
	db_told_begin(&told, p, cx, "snapshot");
	e = outward(run_until_done(p, cx, DB_MODE_READ, fn, arg));
	db_told_end(&told, cx, e);
	return e;
}

enum err db_pool_ping(struct db_pool *p, uint64_t deadline_ms)
{
	struct db *db = NULL;
	enum err e = db_pool_borrow(p, &p->cx, deadline_ms, &db);

	if (e)
		return e;
	e = p->driver->ping(db);
	db_pool_return(p, db);
	db_pool_note(p, e);
	return e;
}

/* --- life ------------------------------------------------------------------ */

static char *copy(struct str s)
{
	return s.p ? strndup(s.p, s.n) : strdup("");
}

static const struct db_driver *driver_for(struct str url)
{
	struct str path;

	if (db_is_postgres(url))
		return &db_postgres;
	return db_sqlite_path(url, &path) ? &db_sqlite : NULL;
}

static bool fill(struct db_pool *p, const struct db_conf *conf)
{
	p->conf = *conf;
	p->texts[0] = copy(str_from(conf->service));
	p->texts[1] = copy(conf->url);
	p->texts[2] = copy(conf->migration_url);
	if (!p->texts[0] || !p->texts[1] || !p->texts[2])
		return false;
	p->conf.service = p->texts[0];
	p->cx.service = p->texts[0];
	p->conf.url = str_from(p->texts[1]);
	p->conf.migration_url = str_from(p->texts[2]);
	if (p->conf.size + p->conf.max_overflow == 0)
		p->conf.size = 1;
	atomic_init(&p->prepare, conf->prepare);
	p->stats.unusable_since_ms = wall_ms();
	return true;
}

enum err db_pool_new(const struct db_conf *conf, struct db_pool **out)
{
	const struct db_driver *driver = driver_for(conf->url);
	struct db_pool *p;
	enum err e;

	if (!driver) {
		const struct ctx cx = {.service = conf->service};

		/* The URL itself may hold a password. */
		log_error(&cx, "db.bad_url",
		          LOG_TEXT("want", "sqlite:///path or postgresql://"));
		return ERR_INVALID;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return ERR_NOMEM;
	if (!fill(p, conf) || pthread_mutex_init(&p->lock, NULL)) {
		e = ERR_NOMEM;
		goto no_lock;
	}
	if (!db_cond_init(&p->returned)) {
		e = ERR_NOMEM;
		goto no_cond;
	}
	p->self = p;
	p->driver = driver;
	e = driver->start(p);
	if (!e) {
		*out = p;
		return OK;
	}
	(void)pthread_cond_destroy(&p->returned);
no_cond:
	(void)pthread_mutex_destroy(&p->lock);
no_lock:
	for (size_t i = 0; i < COUNTOF(p->texts); i++)
		free(p->texts[i]);
	free(p);
	return e;
}

static void wait_for_borrowed(struct db_pool *p)
{
	GUARD(&p->lock);

	while (p->in_use > 0)
		(void)pthread_cond_wait(&p->returned, &p->lock);
}

void db_pool_free(struct db_pool *p)
{
	if (!p)
		return;
	wait_for_borrowed(p);
	while (p->idle) {
		struct db *db = p->idle;

		p->idle = db->next;
		p->driver->close(db);
	}
	p->driver->stop(p);
	(void)pthread_cond_destroy(&p->returned);
	(void)pthread_mutex_destroy(&p->lock);
	for (size_t i = 0; i < COUNTOF(p->texts); i++)
		free(p->texts[i]);
	free(p->migrate);
	free(p);
}

static void copy_stats(struct db_pool *p, struct db_pool_stats *out)
{
	GUARD(&p->lock);

	*out = p->stats;
	out->kind = p->driver->kind;
	out->size = p->conf.size;
	out->ceiling = ceiling(p);
	out->in_use = p->in_use;
	out->overflow = p->open > p->conf.size ? p->open - p->conf.size : 0;
	out->waiters = p->queued;
}

void db_pool_stats(const struct db_pool *p, struct db_pool_stats *out)
{
	copy_stats(p->self, out);
}
