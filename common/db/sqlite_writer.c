/*
 * The one thread that writes to a file.
 *
 * Why:     SQLite has one writer at a time; threads that compete for it wait in
 *          sleeps, threads that queue wait exactly as long as they must.  And a
 *          durable commit costs an fsync whether it holds one transaction or
 *          sixty-four, so what is queued shares one, each in a savepoint.
 * Bounds:  GROUP_MAX functions or GROUP_MS milliseconds per commit.  The queue
 *          is as long as there are callers: each of them waits in it.
 * Threads: sqlite_write() any but the writer itself.
 */
#include "common/base/clock.h"
#include "common/base/ctx.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/db/sqlite.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

#define GROUP_MAX 64
#define GROUP_MS  20
#define RETRY_MS  50 /* after a failure to open or begin */

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE };

/* On the caller's stack: it does not return before the job is done or out of
 * the queue. */
struct job {
	db_fn *fn;
	void *arg;
	struct ctx *cx;
	enum job_state state;
	enum err e;
	uint64_t number; /* in order of arrival */
	pthread_cond_t done;
	struct job *prev, *next;
};

struct sqlite_writer {
	struct db_pool *pool;
	pthread_t thread;
	pthread_mutex_t lock; /* queue, states, ending; a leaf */
	pthread_cond_t some;
	struct job *first, *last;
	uint64_t arrived;
	bool ending;
	struct db *db; /* the thread's own */
};

struct group {
	struct job *job[GROUP_MAX];
	size_t n;
};

static const struct db_stmt BEGIN_WRITE = {"sqlite.begin_write",
                                           "BEGIN IMMEDIATE", NULL};
static const struct db_stmt SAVE = {"sqlite.savepoint", "SAVEPOINT job", NULL};
static const struct db_stmt KEEP = {"sqlite.release", "RELEASE job", NULL};
static const struct db_stmt UNDO = {"sqlite.undo", "ROLLBACK TO job", NULL};

/* --- the queue ------------------------------------------------------------- */

static void append(struct sqlite_writer *w, struct job *j)
{
	j->number = w->arrived++;
	j->prev = w->last;
	if (w->last)
		w->last->next = j;
	else
		w->first = j;
	w->last = j;
}

static void unlink_job(struct sqlite_writer *w, struct job *j)
{
	if (j->prev)
		j->prev->next = j->next;
	else
		w->first = j->next;
	if (j->next)
		j->next->prev = j->prev;
	else
		w->last = j->prev;
	j->prev = j->next = NULL;
}

/* The next of those that arrived before the one of that number. */
static struct job *next_job(struct sqlite_writer *w, uint64_t before)
{
	GUARD(&w->lock);
	struct job *j = w->first;

	if (j && j->number >= before)
		j = NULL;
	if (j) {
		unlink_job(w, j);
		j->state = JOB_RUNNING;
	}
	return j;
}

static void finish(struct sqlite_writer *w, struct job *j)
{
	GUARD(&w->lock);

	j->state = JOB_DONE;
	(void)pthread_cond_signal(&j->done);
}

/* False when there is nothing left to do.  *arrived: how many have come. */
static bool wait_for_work(struct sqlite_writer *w, uint64_t *arrived)
{
	GUARD(&w->lock);

	while (!w->first && !w->ending)
		(void)pthread_cond_wait(&w->some, &w->lock);
	*arrived = w->arrived;
	return w->first != NULL;
}

/* --- a group --------------------------------------------------------------- */

static void run_job(struct db *db, struct job *j)
{
	enum err e;

	db->cx = j->cx;
	db->deadline_ms = j->cx->deadline_ms;
	db->failed = OK;
	e = sqlite_steer(db, &SAVE);
	if (!e) {
		e = j->fn(db, j->arg);
		if (!e)
			e = db->failed;
		/* What steers must not be interrupted. */
		db->deadline_ms = UINT64_MAX;
		if (e && sqlite_in_transaction(db) && sqlite_steer(db, &UNDO))
			db->dead = true;
		if (sqlite_in_transaction(db) && sqlite_steer(db, &KEEP))
			db->dead = true;
	}
	db->deadline_ms = UINT64_MAX;
	db->cx = &db->pool->cx;
	j->e = e;
}

static void drop(struct sqlite_writer *w, struct group *g, size_t i)
{
	finish(w, g->job[i]);
	memmove(&g->job[i], &g->job[i + 1],
	        (g->n - i - 1) * sizeof(struct job *));
	g->n--;
}

/*
 * Some failures make SQLite roll back the whole transaction.  The job that met
 * one (the last) gets its error; the others run again without it.
 */
static void run_again(struct sqlite_writer *w, struct group *g)
{
	while (g->n > 0 && !sqlite_in_transaction(w->db)) {
		enum err e;
		size_t i;

		if (!g->job[g->n - 1]->e)
			g->job[g->n - 1]->e = ERR_DATABASE;
		drop(w, g, g->n - 1);
		e = sqlite_steer(w->db, &BEGIN_WRITE);
		for (i = 0; i < g->n; i++) {
			struct job *j = g->job[i];

			if (e)
				j->e = j->e ? j->e : e;
			else if (!j->e)
				run_job(w->db, j);
			if (!e && !sqlite_in_transaction(w->db))
				break;
		}
		if (e)
			return;
		if (i < g->n) { /* make it the last, to be dropped */
			struct job *culprit = g->job[i];

			g->job[i] = g->job[g->n - 1];
			g->job[g->n - 1] = culprit;
		}
	}
}

static void run_group(struct sqlite_writer *w, struct group *g)
{
	uint64_t end = mono_ms() + GROUP_MS;

	g->n = 0;
	do {
		struct job *j = next_job(w, UINT64_MAX);

		if (!j)
			break;
		g->job[g->n++] = j;
		run_job(w->db, j);
		if (!sqlite_in_transaction(w->db))
			run_again(w, g);
	} while (g->n < GROUP_MAX && !w->db->dead &&
	         sqlite_in_transaction(w->db) && mono_ms() < end);
}

static enum err commit(struct sqlite_writer *w)
{
	enum err e;

	if (w->db->dead || !sqlite_in_transaction(w->db))
		return ERR_DATABASE;
	e = sqlite_steer(w->db, &STEER_COMMIT);
	/*
	 * Broken by an I/O error, the commit may still be found in the WAL by
	 * the next start.  And what has gone to a file without a name will not
	 * be, whatever SQLite says.
	 */
	if (w->db->dead || (!e && !sqlite_in_place(sqlite_of(w->db))))
		return ERR_PEER_LOST;
	return e;
}

/* After this everybody in the group knows. */
static void commit_group(struct sqlite_writer *w, struct group *g)
{
	enum err e = commit(w);

	if (sqlite_in_transaction(w->db) &&
	    sqlite_steer(w->db, &STEER_ROLLBACK))
		w->db->dead = true;
	db_pool_note(w->pool, e);
	if (!e) {
		db_pool_count(w->pool, &w->pool->stats.commits, 1);
		db_pool_count(w->pool, &w->pool->stats.committed, g->n);
	}
	for (size_t i = 0; i < g->n; i++) {
		if (e && !g->job[i]->e)
			g->job[i]->e = e;
		finish(w, g->job[i]);
	}
}

/* --- the thread ------------------------------------------------------------ */

static bool is_old(const struct sqlite_writer *w)
{
	return mono_ms() - w->db->opened_ms >=
	       (uint64_t)w->pool->conf.recycle_s * 1000;
}

static enum err ready_to_write(struct sqlite_writer *w)
{
	enum err e = OK;

	if (w->db && !w->db->dead && is_old(w)) {
		db_pool_count(w->pool, &w->pool->stats.recycled, 1);
		w->db->dead = true;
	}
	if (w->db && (w->db->dead || !sqlite_in_place(sqlite_of(w->db)))) {
		w->db->driver->close(w->db);
		w->db = NULL;
	}
	if (!w->db)
		e = sqlite_open(w->pool, true, &w->db);
	return e ? e : sqlite_steer(w->db, &BEGIN_WRITE);
}

/* Those that were there when it failed: for later ones it has not. */
static void refuse(struct sqlite_writer *w, uint64_t before, enum err e)
{
	struct job *j;

	while ((j = next_job(w, before)) != NULL) {
		j->e = e;
		finish(w, j);
	}
}

static bool is_ending(struct sqlite_writer *w)
{
	GUARD(&w->lock);

	return w->ending;
}

static void tell_locked(struct db_pool *p)
{
	if (db_pool_may_complain(p))
		log_warn(&p->cx, "db.locked",
		         LOG_TEXT("why", "another process writes to the file"));
}

static void *writer_main(void *arg)
{
	const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000L};
	struct sqlite_writer *w = arg;
	struct group g;
	uint64_t arrived;

	while (wait_for_work(w, &arrived)) {
		enum err e = ready_to_write(w);

		if (!e) {
			run_group(w, &g);
			commit_group(w, &g);
			continue;
		}
		db_pool_note(w->pool, e);
		/* A file that another program has locked is waited for, by
		 * each until its deadline; the rest fails now. */
		if (e == ERR_DATABASE && w->db && !w->db->dead &&
		    !is_ending(w)) {
			tell_locked(w->pool);
			(void)nanosleep(&pause, NULL);
		} else {
			refuse(w, arrived, e == ERR_NOMEM ? e : ERR_DATABASE);
		}
	}
	if (w->db)
		w->db->driver->close(w->db);
	return NULL;
}

struct sqlite_writer *sqlite_writer_new(struct db_pool *p)
{
	struct sqlite_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->pool = p;
	if (pthread_mutex_init(&w->lock, NULL))
		goto no_lock;
	if (pthread_cond_init(&w->some, NULL))
		goto no_cond;
	if (pthread_create(&w->thread, NULL, writer_main, w) == 0) {
		(void)pthread_setname_np(w->thread, "db-writer");
		return w;
	}
	(void)pthread_cond_destroy(&w->some);
no_cond:
	(void)pthread_mutex_destroy(&w->lock);
no_lock:
	free(w);
	return NULL;
}

static void tell_to_end(struct sqlite_writer *w)
{
	GUARD(&w->lock);

	w->ending = true;
	(void)pthread_cond_signal(&w->some);
}

void sqlite_writer_free(struct sqlite_writer *w)
{
	if (!w)
		return;
	tell_to_end(w);
	(void)pthread_join(w->thread, NULL);
	(void)pthread_cond_destroy(&w->some);
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
}

/* False when it was taken out of the queue: it has not run and will not. */
static bool wait_done(struct sqlite_writer *w, struct job *j,
                      uint64_t deadline_ms)
{
	GUARD(&w->lock);

	append(w, j);
	(void)pthread_cond_signal(&w->some);
	while (j->state != JOB_DONE) {
		if (j->state == JOB_RUNNING)
			(void)pthread_cond_wait(&j->done, &w->lock);
		else if (!db_cond_wait(&j->done, &w->lock, deadline_ms) &&
		         j->state == JOB_QUEUED) {
			unlink_job(w, j);
			return false;
		}
	}
	return true;
}

enum err sqlite_write(struct db_pool *p, struct ctx *cx, db_fn *fn, void *arg)
{
	const struct sqlite_shared *sh = p->shared;
	struct sqlite_writer *w = sh->writer;
	struct job j = {.fn = fn, .arg = arg, .cx = cx};
	uint64_t before = mono_us();
	uint64_t until = before / 1000 + (uint64_t)p->conf.timeout_s * 1000;

	/* A write inside a write would wait for itself. */
	assert(!pthread_equal(pthread_self(), w->thread));
	if (!db_cond_init(&j.done))
		return ERR_NOMEM;
	if (cx->deadline_ms < until)
		until = cx->deadline_ms;
	if (!wait_done(w, &j, until)) {
		j.e = ERR_DATABASE;
		db_pool_count(p, &p->stats.timeouts, 1);
	}
	(void)pthread_cond_destroy(&j.done);
	db_pool_waited(p, mono_us() - before, true);
	return j.e;
}
