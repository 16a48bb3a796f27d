#include "common/service/erase.h"

#include "common/base/clock.h"
#include "common/base/conf.h"
#include "common/base/log.h"
#include "common/codec/mp.h"

#include <stdlib.h>

struct erase {
	struct erase_conf conf;
	struct scan *scan;
};

/* --- the transaction -------------------------------------------------------------- */

static enum err run_eraser(const struct eraser *er, struct db *db, void *arg,
                           const struct erasee *who, int64_t *rows)
{
	const struct db_val v[] = {DB_STR(who->sub)};

	if (er->run)
		return er->run(arg, db, who, rows);
	return db_change(db, &er->st, v, COUNTOF(v), rows);
}

static enum err run_shared(struct erase *er, struct db *db,
                           const struct erasee *who, struct buf *report)
{
	int64_t events[EVENT_FORGET_TABLES] = {0}, answers = 0;
	enum err e = event_forget(er->conf.events, db, who->sub, events);

	if (!e)
		e = idem_forget(er->conf.idem, db, who->sub, &answers);
	for (size_t i = 0; i < EVENT_FORGET_TABLES; i++)
		mp_kv_i64(report, event_forget_tables[i], events[i]);
	mp_kv_i64(report, "idempotency", answers);
	return e;
}

enum err erase_in(struct erase *er, struct db *db, void *arg,
                  const struct erasee *who, struct buf *report)
{
	const struct erase_def *def = er->conf.def;
	AUTO_BUF now = {0};
	enum err e = erased_bury(er->conf.erased, db, who->sub, who->receipt,
	                         who->now_ms);

	mp_map(&now, def->erasers_n + EVENT_FORGET_TABLES + 1);
	for (size_t i = 0; !e && i < def->erasers_n; i++) {
		int64_t rows = 0;

		e = run_eraser(&def->erasers[i], db, arg, who, &rows);
		mp_kv_i64(&now, def->erasers[i].table, rows);
	}
	if (!e)
		e = run_shared(er, db, who, &now);
	if (!e && now.failed)
		e = ERR_NOMEM;
	return e ? e
	         : erased_report(er->conf.erased, db, who->sub, buf_view(&now),
	                         report);
}

/* --- around it ----------------------------------------------------------------------- */

void erase_committed(struct erase *er, struct cache *c,
                     const struct erasee *who)
{
	erased_note(er->conf.erased, who->sub);
	if (c)
		cache_forget(c, who->sub);
}

struct job {
	struct erase *er;
	void *arg;
	const struct erasee *who;
	struct buf *report;
};

/* A db_fn. */
static enum err in_one(struct db *db, void *arg)
{
	struct job *j = arg;

	return erase_in(j->er, db, j->arg, j->who, j->report);
}

static void forget_tags(struct cache *c, const struct erase_traces *t)
{
	for (size_t i = 0; c && i < t->tags_n; i++)
		cache_forget_tag(c, t->tags[i]);
}

/* A redis_scan_fn. */
static bool holds_word(void *arg, struct str key, struct str value)
{
	const struct erase_traces *t = arg;

	(void)key;
	/* What is no text there, as the hash of generations, has no value. */
	for (size_t i = 0; value.n && i < t->words_n; i++)
		if (memmem(value.p, value.n, t->words[i].p, t->words[i].n))
			return true;
	return false;
}

/* What cannot be reached there ends with its time to live, and nobody can use it
 * any more: no reason to keep the person's rows. */
static void sweep_shared(struct erase *er, struct ctx *cx,
                         struct erase_traces *t)
{
	const struct settings *conf = er->conf.settings;
	uint64_t keys = 0;
	enum err e;

	if (!conf || conf->redis_url.n == 0 || t->words_n == 0)
		return;
	e = cached_scan(conf, er->conf.service, cx->deadline_ms, holds_word, t,
	                &keys);
	if (e)
		log_warn(cx, "erase.shared_left",
		         LOG_TEXT("error", err_name(e)), LOG_U64("keys", keys));
}

enum err erase_person(struct erase *er, struct ctx *cx, void *arg,
                      struct cache *c, const struct erasee *who,
                      struct buf *report)
{
	struct job j = {er, arg, who, report};
	struct erase_traces *t = arena_alloc(cx->arena, sizeof(*t));
	enum err e = t ? OK : ERR_NOMEM;

	if (e)
		return e;
	*t = (struct erase_traces){0};
	if (er->conf.def->traces)
		e = er->conf.def->traces(arg, cx, who, t);
	if (e)
		return e;
	forget_tags(c, t);
	e = db_write(er->conf.pool, cx, in_one, &j);
	if (e)
		return e;
	erase_committed(er, c, who);
	forget_tags(c, t);
	sweep_shared(er, cx, t);
	log_info(cx, "erase.erased", LOG_STR("receipt_id", who->receipt));
	return OK;
}

/* --- the methods ------------------------------------------------------------------------ */

/* What is asked here is whose data to destroy: svc-gdpr's word alone counts. */
static enum err read_who(struct ctx *cx, struct str body, struct erasee *who)
{
	if (!cx->principal || strcmp(cx->principal, "gdpr") != 0)
		return ctx_fail(cx, ERR_DENIED, "Only svc-gdpr asks for that.");
	*who = (struct erasee){
		.sub = mp_find_str(body, "sub", STR("")),
		.receipt = mp_find_str(body, "receipt", STR("")),
		.hnd = mp_find_str(body, "hnd", STR("")),
		.email = mp_find_str(body, "email", STR("")),
		.now_ms = wall_ms(),
	};
	if (!uuid_valid(who->sub))
		return ctx_fail(cx, ERR_INVALID, "sub is a UUID.");
	return OK;
}

enum err erase_method(struct erase *er, struct ctx *cx, void *arg,
                      struct cache *c, struct str body, struct buf *reply)
{
	AUTO_BUF report = {0};
	struct erasee who;
	enum err e = read_who(cx, body, &who);

	if (!e && !uuid_valid(who.receipt))
		e = ctx_fail(cx, ERR_INVALID, "receipt is a UUID.");
	if (!e)
		e = erase_person(er, cx, arg, c, &who, &report);
	if (e)
		return e;
	mp_map(reply, 1);
	mp_text(reply, "tables");
	mp_raw(reply, buf_view(&report));
	return reply->failed ? ERR_NOMEM : OK;
}

enum err erase_scan_method(struct erase *er, struct ctx *cx, struct cache *c,
                           struct str body, struct buf *reply)
{
	struct erasee who;
	struct scan_ask ask = {.cache = c};
	enum err e = read_who(cx, body, &who);

	if (e)
		return e;
	ask.sub = who.sub;
	ask.hnd = who.hnd;
	ask.email = who.email;
	ask.from = mp_find_i64(body, "from", 0);
	return scan_run(er->scan, cx, &ask, reply);
}

/* --- life ---------------------------------------------------------------------------------- */

struct erase *erase_new(const struct erase_conf *conf)
{
	struct erase *er = calloc(1, sizeof(*er));

	if (!er)
		return NULL;
	er->conf = *conf;
	er->scan = scan_new(&(struct scan_conf){
		.service = conf->service,
		.settings = conf->settings,
		.pool = conf->pool,
		.kept = conf->def->kept,
		.kept_n = conf->def->kept_n,
	});
	if (!er->scan) {
		free(er);
		return NULL;
	}
	return er;
}

void erase_free(struct erase *er)
{
	if (!er)
		return;
	scan_free(er->scan);
	free(er);
}

struct erased *erase_erased(struct erase *er)
{
	return er->conf.erased;
}
