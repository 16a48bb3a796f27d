#include "svc-gdpr/breach.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "svc-gdpr/stmts.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define LOOK_DEADLINE_MS 5000

struct breach_watch {
	struct db_pool *pool;
	struct metrics *metrics;
	_Atomic int64_t open, earliest; /* earliest: wall ms, 0: none */
	pthread_mutex_t lock;           /* of the two flags; a leaf */
	pthread_cond_t wake;
	bool stopping, asked;
	pthread_t thread;
};

static void collect(void *arg, struct buf *out)
{
	struct breach_watch *w = arg;
	int64_t at = atomic_load(&w->earliest);

	metrics_head(out, METRIC_GAUGE, "kae_breaches_open",
	             "Breaches of which the authority has not been told.");
	metrics_line(out, "kae_breaches_open", "",
	             (double)atomic_load(&w->open));
	if (at == 0)
		return; /* none: a number would be an alarm or a lie */
	metrics_head(out, METRIC_GAUGE, "kae_breach_deadline_seconds",
	             "Until the first deadline of those; negative: overdue.");
	metrics_line(out, "kae_breach_deadline_seconds", "",
	             (double)(at + BREACH_DUE_MS - wall_ms()) / 1000);
}

struct look {
	int64_t open, earliest;
};

static enum err read_look(void *arg, const struct db_row *row)
{
	*(struct look *)arg =
		(struct look){db_row_i64(row, 0), db_row_i64(row, 1)};
	return OK;
}

static enum err look(struct db *db, void *arg)
{
	const struct db_sink sink = {read_look, arg};

	return db_run(db, STMT(BREACH_EARLIEST), NULL, 0, &sink);
}

static void look_now(struct breach_watch *w)
{
	struct ctx cx = {.service = "gdpr",
	                 .rid = STR("breach-watch"),
	                 .deadline_ms = mono_ms() + LOOK_DEADLINE_MS};
	struct look l = {0};

	/* The pool has told what is wrong with the database; the next look
	 * comes soon, and until then the last one holds. */
	if (db_read(w->pool, &cx, look, &l))
		return;
	atomic_store(&w->open, l.open);
	atomic_store(&w->earliest, l.open ? l.earliest : 0);
}

/* False: it is the end. */
static bool doze(struct breach_watch *w, uint64_t until_ms)
{
	const struct timespec ts = {(time_t)(until_ms / 1000),
	                            (long)(until_ms % 1000) * 1000000};
	GUARD(&w->lock);

	while (!w->stopping && !w->asked)
		if (pthread_cond_timedwait(&w->wake, &w->lock, &ts) != 0)
			break;
	w->asked = false;
	return !w->stopping;
}

static void *watch(void *arg)
{
	struct breach_watch *w = arg;

	do
		look_now(w);
	while (doze(w, mono_ms() + BREACH_LOOK_MS));
	return NULL;
}

static bool make_locks(struct breach_watch *w)
{
	pthread_condattr_t attr;
	bool ok = pthread_condattr_init(&attr) == 0;

	if (!ok)
		return false;
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	ok = pthread_cond_init(&w->wake, &attr) == 0;
	(void)pthread_condattr_destroy(&attr);
	if (ok && pthread_mutex_init(&w->lock, NULL)) {
		(void)pthread_cond_destroy(&w->wake);
		ok = false;
	}
	return ok;
}

static void unmake(struct breach_watch *w)
{
	(void)pthread_cond_destroy(&w->wake);
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
}

struct breach_watch *breach_watch_new(struct db_pool *pool, struct metrics *m)
{
	struct breach_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->pool = pool;
	w->metrics = m;
	if (!make_locks(w)) {
		free(w);
		return NULL;
	}
	if (!metrics_collector(m, collect, w)) {
		unmake(w);
		return NULL;
	}
	if (pthread_create(&w->thread, NULL, watch, w)) {
		metrics_forget(m, collect, w);
		unmake(w);
		return NULL;
	}
	(void)pthread_setname_np(w->thread, "breach-watch");
	return w;
}

static void wake(struct breach_watch *w, bool *flag)
{
	GUARD(&w->lock);

	*flag = true;
	(void)pthread_cond_signal(&w->wake);
}

void breach_watch_free(struct breach_watch *w)
{
	if (!w)
		return;
	wake(w, &w->stopping);
	(void)pthread_join(w->thread, NULL);
	metrics_forget(w->metrics, collect, w);
	unmake(w);
}

void breach_watch_now(struct breach_watch *w)
{
	if (w)
		wake(w, &w->asked);
}
