#include "common/service/retention.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define DAY_MS      INT64_C(86400000)
#define DEADLINE_MS 30000
#define LOCK_NUMBER 0x7265746e /* "retn" */

static const char *const category_names[RETENTION_CATEGORIES] = {
#define CATEGORY(id, name, days, setting) name,
#include "common/service/retention.def"
#undef CATEGORY
};

struct retention {
	struct retention_conf conf;
	_Atomic uint64_t purged[RETENTION_CATEGORIES];
	_Atomic uint64_t runs, failed, last_success_s;
	atomic_bool stopping;
	pthread_mutex_t lock; /* for the wait alone; a leaf */
	pthread_cond_t wake;
	pthread_t thread;
	bool runs_thread; /* the owner's */
};

void retention_settings(const struct settings *s, struct retention_conf *out)
{
	out->every_ms = s->retention_every_s * 1000;
#define CATEGORY(id, name, days_, setting) \
	out->days[RETENTION_##id] = s->setting;
#include "common/service/retention.def"
#undef CATEGORY
}

/* --- one run ------------------------------------------------------------------- */

struct batch {
	const struct retention_rule *rule;
	const struct ctx *cx;
	int64_t lock, now_ms, limit, changed;
	bool got;
};

/* A db_fn. */
static enum err run_batch(struct db *db, void *arg)
{
	struct batch *b = arg;
	const struct db_val v[] = {DB_I64(b->limit), DB_I64(RETENTION_BATCH)};
	enum err e = db_try_lock(db, b->lock, &b->got);

	b->changed = 0;
	if (e || !b->got)
		return e;
	if (b->rule->run)
		return b->rule->run(db, b->cx, b->now_ms, RETENTION_BATCH,
		                    &b->changed);
	return db_change(db, b->rule->st, v, COUNTOF(v), &b->changed);
}

/* Services may share a server: each has locks of its own. */
static int64_t lock_of(const struct retention *r, size_t rule)
{
	uint32_t h = 2166136261U;

	for (const char *p = r->conf.service; *p; p++)
		h = (h ^ (unsigned char)*p) * 16777619U;
	return (int64_t)LOCK_NUMBER << 32 | (int64_t)(h % 1000003) << 8 |
	       (int64_t)rule;
}

static enum err run_rule(struct retention *r, struct ctx *cx,
                         uint64_t deadline_ms, size_t i, int64_t now_ms,
                         uint64_t *rows)
{
	const struct retention_rule *rule = &r->conf.rules[i];
	int64_t kept = (int64_t)r->conf.days[rule->category] * DAY_MS;
	struct batch b = {.rule = rule,
	                  .cx = cx,
	                  .lock = lock_of(r, i),
	                  .now_ms = now_ms,
	                  .limit = now_ms - kept};
	uint64_t n = 0;
	enum err e;

	do {
		cx->deadline_ms = mono_ms() + deadline_ms;
		e = db_write(r->conf.pool, cx, run_batch, &b);
		if (!e && !b.got)
			e = ERR_BUSY;
		if (!e)
			n += (uint64_t)b.changed;
	} while (!e && b.changed >= (rule->run ? 1 : RETENTION_BATCH) &&
	         !atomic_load(&r->stopping));
	atomic_fetch_add(&r->purged[rule->category], n);
	*rows += n;
	if (n)
		log_info(cx, "retention.purged",
		         LOG_TEXT("category", category_names[rule->category]),
		         LOG_TEXT("table", rule->table), LOG_U64("rows", n));
	if (e && e != ERR_BUSY)
		log_warn(cx, "retention.failed",
		         LOG_TEXT("category", category_names[rule->category]),
		         LOG_TEXT("table", rule->table),
		         LOG_TEXT("error", err_name(e)));
	return e;
}

enum err retention_run(struct retention *r, struct ctx *cx,
                       uint64_t deadline_ms, int64_t now_ms, uint64_t *rows)
{
	enum err first = OK;

	*rows = 0;
	atomic_fetch_add(&r->runs, 1);
	/* One rule that fails does not keep the others from their work. */
	for (size_t i = 0; i < r->conf.n && !atomic_load(&r->stopping); i++) {
		enum err e = run_rule(r, cx, deadline_ms, i, now_ms, rows);

		if (!first)
			first = e;
	}
	if (first)
		atomic_fetch_add(&r->failed, first != ERR_BUSY);
	else if (!atomic_load(&r->stopping))
		atomic_store(&r->last_success_s, (uint64_t)(now_ms / 1000));
	return first;
}

/* --- the thread ---------------------------------------------------------------- */

/* False: it is the end. */
static bool doze(struct retention *r, uint64_t until_ms)
{
	const struct timespec ts = {(time_t)(until_ms / 1000),
	                            (long)(until_ms % 1000) * 1000000};
	GUARD(&r->lock);

	while (!atomic_load(&r->stopping))
		if (pthread_cond_timedwait(&r->wake, &r->lock, &ts) != 0)
			break;
	return !atomic_load(&r->stopping);
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void *keeper(void *arg)
{
	struct retention *r = arg;
	/* Replicas that start together do not all ask at once. */
	uint64_t wait_ms = randombytes_uniform(
		(uint32_t)least(RETENTION_FIRST_MS, r->conf.every_ms));

	while (doze(r, mono_ms() + wait_ms)) {
		struct ctx cx = {.service = r->conf.service,
		                 .rid = STR("retention")};
		uint64_t rows;
		enum err e =
			retention_run(r, &cx, DEADLINE_MS, wall_ms(), &rows);

		wait_ms = e ? least(RETENTION_AGAIN_MS, r->conf.every_ms)
		            : r->conf.every_ms;
	}
	return NULL;
}

enum err retention_start(struct retention *r)
{
	if (r->runs_thread)
		return OK;
	if (pthread_create(&r->thread, NULL, keeper, r))
		return ERR_NOMEM;
	(void)pthread_setname_np(r->thread, "retention");
	r->runs_thread = true;
	return OK;
}

/* --- life ---------------------------------------------------------------------- */

static bool make_locks(struct retention *r)
{
	pthread_condattr_t attr;
	bool ok = pthread_condattr_init(&attr) == 0;

	if (!ok)
		return false;
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	ok = pthread_cond_init(&r->wake, &attr) == 0;
	(void)pthread_condattr_destroy(&attr);
	if (ok && pthread_mutex_init(&r->lock, NULL)) {
		(void)pthread_cond_destroy(&r->wake);
		ok = false;
	}
	return ok;
}

struct retention *retention_new(const struct retention_conf *conf)
{
	struct retention *r = sodium_init() < 0 ? NULL : calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->conf = *conf;
	if (make_locks(r))
		return r;
	free(r);
	return NULL;
}

static void tell_to_end(struct retention *r)
{
	GUARD(&r->lock);

	atomic_store(&r->stopping, true);
	(void)pthread_cond_signal(&r->wake);
}

void retention_free(struct retention *r)
{
	if (!r)
		return;
	if (r->runs_thread) {
		tell_to_end(r);
		(void)pthread_join(r->thread, NULL);
	}
	(void)pthread_cond_destroy(&r->wake);
	(void)pthread_mutex_destroy(&r->lock);
	free(r);
}

void retention_stats(const struct retention *r, struct retention_stats *out)
{
	for (size_t i = 0; i < RETENTION_CATEGORIES; i++)
		out->purged[i] = atomic_load(&r->purged[i]);
	out->runs = atomic_load(&r->runs);
	out->failed = atomic_load(&r->failed);
	out->last_success_s = atomic_load(&r->last_success_s);
}
