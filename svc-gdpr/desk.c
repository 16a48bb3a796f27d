/* The desk that erasures are worked on: its worker, its gauges, its life. */
#include "svc-gdpr/desk.h"

#include "svc-gdpr/stmts.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define TICK_MS    500
#define FIGURES_MS 2000
#define ARENA_MAX  ((size_t)8 << 20)
#define HOUR_MS    3600000

/* What root keys are used for. */
#define WHO              "kae-erasure-who"
#define RECEIPT_KEYS_USE "kae-receipt-keys"

const struct desk_conf *desk_conf_of(const struct eraser_desk *d)
{
	return &d->conf;
}

bool desk_is_ending(struct eraser_desk *d)
{
	GUARD(&d->lock);

	return d->stopping;
}

/* --- the worker -------------------------------------------------------------------------------- */

struct looking {
	bool found;
	char receipt[UUID_MAX];
	int64_t n, oldest_ms, due_ms, overdue;
};

static enum err take_next(void *arg, const struct db_row *row)
{
	struct looking *l = arg;

	l->found = true;
	(void)snprintf(l->receipt, sizeof(l->receipt), "%.*s",
	               STR_FMT(db_row_str(row, 0)));
	return OK;
}

/* A db_fn. */
static enum err find_next(struct db *db, void *arg)
{
	const struct db_val v[] = {DB_I64(wall_ms())};
	const struct db_sink sink = {take_next, arg};

	return db_run(db, STMT(ERASURE_NEXT), v, COUNTOF(v), &sink);
}

static enum err take_sums(void *arg, const struct db_row *row)
{
	struct looking *l = arg;

	l->n = db_row_i64(row, 0);
	l->oldest_ms = db_row_i64(row, 1);
	l->due_ms = db_row_i64(row, 2);
	l->overdue = db_row_i64(row, 3);
	return OK;
}

/* A db_fn. */
static enum err find_sums(struct db *db, void *arg)
{
	const struct db_val v[] = {DB_I64(wall_ms())};
	const struct db_sink sink = {take_sums, arg};

	return db_run(db, STMT(ERASURE_SUMS), v, COUNTOF(v), &sink);
}

static void show(struct eraser_desk *d, struct ctx *cx)
{
	struct looking l = {0};
	int64_t now = wall_ms();

	if (d->conf.root)
		root_key_look(d->conf.root, d->conf.pool, cx);
	if (db_read_one(d->conf.pool, cx, find_sums, &l))
		return;
	metric_set(d->gauge[PENDING], (double)l.n);
	metric_set(d->gauge[OLDEST],
	           l.n ? (double)(now - l.oldest_ms) / 1000 : 0);
	metric_set(d->gauge[DUE], l.n ? (double)(l.due_ms - now) / 1000 : 0);
	metric_set(d->gauge[OVERDUE], (double)l.overdue);
	if (l.overdue && now - d->told_ms >= HOUR_MS) {
		d->told_ms = now;
		log_error(cx, "erase.overdue", LOG_I64("erasures", l.overdue));
	}
}

static void work(struct eraser_desk *d, struct arena *arena, bool figures)
{
	char rid[UUID_MAX];
	struct ctx cx = {.service = "gdpr",
	                 .arena = arena,
	                 .rid = uuid7(rid),
	                 .role = ROLE_SERVICE,
	                 .deadline_ms = mono_ms() + DESK_CALL_MS};
	struct looking l = {0};

	if (figures)
		show(d, &cx);
	if (db_read_one(d->conf.pool, &cx, find_next, &l) || !l.found)
		return;
	/* For as long as it takes: each step has its own deadline. */
	cx.deadline_ms = mono_ms() + (uint64_t)HOUR_MS;
	(void)!erasure_run(d, &cx, str_from(l.receipt));
}

static bool doze(struct eraser_desk *d, uint64_t until_ms)
{
	const struct timespec ts = {(time_t)(until_ms / 1000),
	                            (long)(until_ms % 1000) * 1000000};
	GUARD(&d->lock);

	while (!d->stopping && !d->kicked)
		if (pthread_cond_timedwait(&d->wake, &d->lock, &ts) != 0)
			break;
	d->kicked = false;
	return !d->stopping;
}

static void *worker(void *arg)
{
	struct eraser_desk *d = arg;
	AUTO(arena) arena = arena_new(ARENA_MAX);
	uint64_t figures_ms = 0;

	while (doze(d, mono_ms() + TICK_MS)) {
		bool figures = mono_ms() >= figures_ms;

		if (figures)
			figures_ms = mono_ms() + FIGURES_MS;
		if (!arena)
			arena = arena_new(ARENA_MAX);
		if (arena) {
			work(d, arena, figures);
			arena_reset(arena);
		}
	}
	return NULL;
}

static void tell(struct eraser_desk *d, bool stop)
{
	GUARD(&d->lock);

	d->stopping |= stop;
	d->kicked = true;
	(void)pthread_cond_signal(&d->wake);
}

void desk_kick(struct eraser_desk *d)
{
	tell(d, false);
}

/* --- a key from before there were root keys ---------------------------------------------------- */

struct probe {
	struct seal_key key;
	bool any, opens;
};

/* Rows of a label and what is sealed with it. */
static enum err try_row(void *arg, const struct db_row *row)
{
	struct probe *p = arg;
	AUTO_BUF plain = {0};

	p->any = true;
	if (unseal_buf(&p->key, db_row_str(row, 1), db_row_str(row, 0), &plain))
		p->opens = true;
	if (plain.p)
		explicit_bzero(plain.p, plain.cap);
	return OK;
}

static enum err probe_use(struct db *db, const struct seal_key *key,
                          const char *use, const struct db_stmt *st,
                          struct probe *p)
{
	const struct db_sink sink = {try_row, p};
	enum err e;

	seal_key_for(key, use, &p->key);
	e = db_run(db, st, NULL, 0, &sink);
	explicit_bzero(&p->key, sizeof(p->key));
	return e;
}

enum err desk_probe(struct db *db, const struct seal_key *key,
                    enum root_claim *out)
{
	struct probe p = {.any = false};
	int64_t events = 0;
	enum err e = probe_use(db, key, RECEIPT_KEYS_USE,
	                       STMT(RECEIPT_KEYS_SEALED), &p);

	if (!e)
		e = probe_use(db, key, WHO, STMT(ERASURES_SEALED), &p);
	/* Nothing to try it on, but another version of us may be at work. */
	if (!e && !p.any)
		e = db_get_i64(db, STMT(INBOX_USED), NULL, 0, &events);
	if (e)
		return e;
	if (p.any)
		*out = p.opens ? ROOT_FITS : ROOT_REFUSES;
	else
		*out = events ? ROOT_FITS : ROOT_UNUSED;
	return OK;
}

/* --- life ------------------------------------------------------------------------------------------ */

static void derive(struct eraser_desk *d, const struct root_keys *keys)
{
	seal_key_for(&keys->seal, WHO, &d->who);
	seal_key_for(&keys->seal, RECEIPT_KEYS_USE, &d->keys);
	seal_key_for(&keys->hash, "kae-erasure-sub", &d->subject);
}

static void make_gauges(struct eraser_desk *d)
{
	static const struct {
		const char *name, *help;
	} rows[GAUGES] = {
		[PENDING] = {"kae_erasures_pending",
	                     "Erasures that are not complete."},
		[OLDEST] = {"kae_erasure_oldest_seconds",
	                    "Since when the oldest of them was asked for."},
		[DUE] = {"kae_dsr_due_seconds",
	                 "Until the first of them is due; negative: overdue."},
		[OVERDUE] = {"kae_erasures_overdue",
	                     "Erasures past the month that the law gives."},
	};

	for (size_t i = 0; d->conf.metrics && i < GAUGES; i++) {
		struct metric_family *f =
			metrics_family(d->conf.metrics, METRIC_GAUGE,
		                       rows[i].name, rows[i].help, NULL, NULL,
		                       0);

		d->gauge[i] = f ? metric_series(f, NULL) : NULL;
	}
}

enum err desk_new(const struct desk_conf *conf, struct eraser_desk **out)
{
	struct eraser_desk *d = calloc(1, sizeof(*d));
	pthread_condattr_t attr;
	enum err e = d && sodium_init() >= 0 ? OK : ERR_NOMEM;

	if (!e) {
		d->conf = *conf;
		derive(d, conf->keys);
		d->conf.keys = NULL; /* they are the caller's to wipe */
	}
	if (e) {
		free(d);
		return e;
	}
	make_gauges(d);
	(void)pthread_mutex_init(&d->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&d->wake, &attr);
	(void)pthread_condattr_destroy(&attr);
	if (conf->caller && pthread_create(&d->worker, NULL, worker, d)) {
		desk_free(d);
		return ERR_NOMEM;
	}
	d->works = conf->caller != NULL;
	if (d->works)
		(void)pthread_setname_np(d->worker, "gdpr-erasures");
	*out = d;
	return OK;
}

void desk_free(struct eraser_desk *d)
{
	if (!d)
		return;
	if (d->works) {
		tell(d, true);
		(void)pthread_join(d->worker, NULL);
	}
	(void)pthread_cond_destroy(&d->wake);
	(void)pthread_mutex_destroy(&d->lock);
	explicit_bzero(&d->who, sizeof(d->who));
	explicit_bzero(&d->subject, sizeof(d->subject));
	explicit_bzero(&d->keys, sizeof(d->keys));
	free(d);
}
