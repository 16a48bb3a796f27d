/* POST /api/analytics: what a browser tells of itself (docs/site-analytics.md). */
#include "svc-content/content.h"
#include "svc-content/methods.h"
#include "svc-content/restricted.h"
#include "svc-content/site/consent.h"
#include "svc-content/site/event.h"
#include "svc-content/social/day.h"
#include "svc-content/stmts.h"

#include "common/base/clock.h"
#include "common/base/uuid.h"

enum outcome { STORED, UNKNOWN, REFUSED, NO_CONSENT, RESTRICTED };
static const char *const reasons[] = {
	[STORED] = "stored",
	[UNKNOWN] = "unknown_event_type",
	[REFUSED] = "tracking_refused",
	[NO_CONSENT] = "no_consent",
	[RESTRICTED] = "restricted",
};

struct ingesting {
	struct ctx *cx;
	struct site_event ev;
	struct str data;
	int64_t now_ms;
	enum outcome outcome;
};

/* A person is kept only after they agreed, and others are not known. */
static enum err may_keep(struct db *db, struct ingesting *in)
{
	bool restricted = false, agreed = false;
	enum err e;

	if (in->outcome != STORED || in->cx->sub.n == 0)
		return OK;
	e = restricted_is(db, in->cx->sub, &restricted);
	if (!e)
		e = site_consent_is(db, in->cx->sub, &agreed);
	if (!e && (restricted || !agreed))
		in->outcome = restricted ? RESTRICTED : NO_CONSENT;
	return e;
}

static struct db_val text_or_null(const struct site_event *ev,
                                  enum site_column c)
{
	return ev->has[c] ? DB_STR(ev->text[c]) : DB_NULL;
}

static struct db_val f64_or_null(const struct site_event *ev,
                                 enum site_column c)
{
	return ev->has[c] ? DB_F64(ev->number[c]) : DB_NULL;
}

static struct db_val i64_or_null(const struct site_event *ev,
                                 enum site_column c)
{
	return ev->has[c] ? DB_I64((int64_t)ev->number[c]) : DB_NULL;
}

static enum err store(struct db *db, const struct ingesting *in)
{
	const struct site_event *ev = &in->ev;
	struct str type = str_from(site_type_name(ev->type));
	const struct str visit[] = {STR("session"), ev->session};
	const struct str event[] = {STR("event"), ev->session, type,
	                            ev->timestamp, in->data};
	char session[DAY_HASH], same[DAY_HASH], fresh[UUID_MAX];
	struct str id = uuid7(fresh), of = {NULL, 0};
	struct day_key k;
	enum err e = OK;

	if (ev->session.n) {
		e = day_key_get(db, in->now_ms, &k);
		if (e)
			return e;
		of = day_hash(&k, visit, COUNTOF(visit), session);
		if (ev->timestamp.n)
			id = day_hash(&k, event, COUNTOF(event), same);
	}
	const struct db_val v[] = {
		DB_STR(id),
		DB_I64(in->now_ms),
		DB_STR(type),
		DB_STR(in->cx->sub),
		DB_STR(of),
		text_or_null(ev, SITE_COL_NAME),
		text_or_null(ev, SITE_COL_MESSAGE),
		f64_or_null(ev, SITE_COL_DURATION),
		f64_or_null(ev, SITE_COL_FCP),
		f64_or_null(ev, SITE_COL_LCP),
		f64_or_null(ev, SITE_COL_TTFB),
		i64_or_null(ev, SITE_COL_STATUS),
		i64_or_null(ev, SITE_COL_RATING),
		DB_I64(ev->failed),
		DB_TEXT(ev->device),
		DB_TEXT(ev->browser),
	};

	return db_run(db, STMT(SITE_ADD), v, COUNTOF(v), NULL);
}

/* An idem_fn. */
static enum err ingest(struct db *db, void *arg, struct reply *out)
{
	struct ingesting *in = arg;
	bool kept;
	enum err e = may_keep(db, in);

	kept = in->outcome == STORED;
	if (!e && kept)
		e = store(db, in);
	if (e)
		return e;
	mp_map(&out->body, kept ? 2 : 3);
	mp_kv_bool(&out->body, "success", true);
	mp_kv_bool(&out->body, "stored", kept);
	if (!kept)
		mp_kv_text(&out->body, "reason", reasons[in->outcome]);
	return out->body.failed ? ERR_NOMEM : OK;
}

enum err method_ingest(void *state, struct ctx *cx, const void *in,
                       struct reply *out)
{
	const struct ingest_in *r = in;
	struct content *ct = state;
	struct ingesting job = {.cx = cx, .data = r->data, .now_ms = wall_ms()};
	struct mp m = mp_open(r->data);
	enum site_type type;
	enum err e = OK;

	if (r->data.p && mp_peek(&m) != MP_MAP)
		return ctx_fault(cx, "/data", "TYPE",
		                 "data must be an object.");
	if (!site_type_from_str(r->eventType, &type))
		job.outcome = UNKNOWN;
	else
		e = site_event_read(cx->arena, type, r->data, cx->ua, &job.ev);
	if (str_eq(cx->track, STR("no")))
		job.outcome = REFUSED;
	e = e ? e : idem_write(ct->idem, cx, ingest, &job, out);
	if (!e && !out->replayed && ct->site_events)
		metric_add(metric_series(ct->site_events,
		                         &reasons[job.outcome]),
		           1);
	return e;
}
