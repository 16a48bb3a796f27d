/*
 * breach_methods - entering a breach, what people are told of it, and what is
 * due (contract 2.3.2, 4.6.6).
 */
#include "svc-gdpr/audit.h"
#include "svc-gdpr/breach.h"
#include "svc-gdpr/methods.h"
#include "svc-gdpr/state.h"

#include "common/base/clock.h"
#include "common/codec/text.h"

#include <stdio.h>

#define HANDLE_CHARS_MAX   64
#define AFFECTED_CHARS_MAX 200

static const char *const severities[] = {"low", "medium", "high", "critical"};

static enum err packed(const struct buf *b)
{
	return b->failed ? ERR_NOMEM : OK;
}

/* --- reading a request ------------------------------------------------------------ */

struct notifying {
	struct ctx *cx;
	struct breach b;
	const struct str *handles;
	size_t handles_n;
	int64_t now_ms;
};

/* One text of a list, trimmed; the fault says which. */
static enum err one_text(struct ctx *cx, struct mp *m, const char *field,
                         uint32_t i, size_t max, struct str *out)
{
	char pointer[48];
	size_t length = 0;
	bool fine = mp_get_str(m, out) && out->p;

	if (fine) {
		*out = text_trim(*out);
		fine = text_check(*out, true, &length) && length >= 1 &&
		       length <= max;
	}
	if (fine)
		return OK;
	(void)snprintf(pointer, sizeof(pointer), "/%s/%u", field, i);
	return ctx_fault(cx, pointer, "TEXT",
	                 "It must be text of 1 to %zu characters.", max);
}

/* A text, or a list of texts: a line each. */
static enum err read_affected(struct ctx *cx, struct str value, struct str *out)
{
	struct mp m = mp_open(value);
	AUTO_BUF lines = {0};
	uint32_t n = 1;
	bool list = mp_get_array(&m, &n);

	if (!list && mp_peek(&m) != MP_STR)
		return ctx_fault(cx, "/affected_data", "TYPE",
		                 "It must be text or a list of texts.");
	if (n < 1 || n > BREACH_AFFECTED_MAX)
		return ctx_fault(cx, "/affected_data", "ITEMS",
		                 "It must have 1 to %d items.",
		                 BREACH_AFFECTED_MAX);
	for (uint32_t i = 0; i < n; i++) {
		struct str one;
		enum err e = one_text(cx, &m, "affected_data", i,
		                      AFFECTED_CHARS_MAX, &one);

		if (e)
			return e;
		if (i)
			buf_char(&lines, '\n');
		buf_str(&lines, one);
	}
	*out = lines.failed ? (struct str){0}
	                    : arena_str(cx->arena, buf_view(&lines));
	return out->p ? OK : ERR_NOMEM;
}

static enum err read_people(struct ctx *cx, struct str value,
                            struct notifying *no)
{
	struct mp m = mp_open(value);
	struct str text, *v;
	uint32_t n;

	if (mp_get_str(&m, &text) && str_eq(text, STR("all"))) {
		no->b.everyone = true;
		return OK;
	}
	if (!mp_get_array(&m, &n))
		return ctx_fault(cx, "/user_ids", "TYPE",
		                 "It must be a list of user_ids, or \"all\".");
	if (n < 1 || n > BREACH_PEOPLE_MAX)
		return ctx_fault(cx, "/user_ids", "ITEMS",
		                 "It must have 1 to %d items; more are told "
		                 "in several notices, or with \"all\".",
		                 BREACH_PEOPLE_MAX);
	v = arena_alloc(cx->arena, n * sizeof(*v));
	if (!v)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < n; i++) {
		enum err e = one_text(cx, &m, "user_ids", i, HANDLE_CHARS_MAX,
		                      &v[i]);

		if (e)
			return e;
	}
	no->handles = v;
	no->handles_n = n;
	return OK;
}

static enum err read_notify(struct ctx *cx,
                            const struct gdpr_breach_notify_in *r,
                            struct notifying *no)
{
	enum err e;
	bool known = false;

	for (size_t i = 0; i < COUNTOF(severities); i++)
		known = known || str_eq(r->severity, str_from(severities[i]));
	if (!known)
		return ctx_fault(cx, "/severity", "UNKNOWN",
		                 "It must be low, medium, high or critical.");
	no->b.type = r->breach_type;
	no->b.severity = r->severity;
	no->b.description = r->description;
	e = read_affected(cx, r->affected_data, &no->b.affected);
	return e ? e : read_people(cx, r->user_ids, no);
}

/* --- entering ---------------------------------------------------------------------- */

/* An idem_fn. */
static enum err notify(struct db *db, void *arg, struct reply *out)
{
	struct notifying *no = arg;
	struct breach *b = &no->b;
	enum err e;

	no->cx->problem.faults_n = 0; /* it may run again */
	e = breach_add(db, no->cx, b, no->handles, no->handles_n, no->now_ms);
	if (!e && !b->repeat) {
		const struct audit_note note = {
			.event = AUDIT_IS(BREACH_NOTIFIED),
			.resource_type = "breach",
			.resource_id = str_from(b->id),
			.data = {{"severity", b->severity, 0},
		                 {"notified", {NULL, 0}, b->notified}},
		};

		e = audit_append(db, no->cx, &note); /* last: audit.h */
	}
	if (e)
		return e;
	mp_map(&out->body, 4);
	mp_kv_text(&out->body, "message",
	           "The breach is entered, and those affected see it.");
	mp_kv_text(&out->body, "breach_id", b->id);
	mp_kv_i64(&out->body, "notified_users", b->notified);
	mp_kv_time(&out->body, "notification_deadline", b->at + BREACH_DUE_MS);
	return packed(&out->body);
}

enum err method_gdpr_breach_notify(void *state, struct ctx *cx, const void *in,
                                   struct reply *out)
{
	struct gdpr_state *st = state;
	struct notifying no = {.cx = cx, .now_ms = wall_ms()};
	enum err e = read_notify(cx, in, &no);

	if (!e)
		e = idem_write(st->idem, cx, notify, &no, out);
	if (!e && !out->replayed)
		breach_watch_now(st->watch);
	return e;
}

/* --- lists ---------------------------------------------------------------------------- */

struct listing {
	struct str sub, before;
	int64_t limit, now_ms;
	struct buf rows;
	size_t n, unseen;
	bool more;
	char last[BREACH_ID_MAX];
};

static void view_affected(struct buf *b, struct str lines)
{
	size_t n = 1;

	for (size_t i = 0; i < lines.n; i++)
		n += lines.p[i] == '\n';
	mp_kv_array(b, "affected_data", n);
	for (; n > 0; n--)
		mp_str(b, str_cut(&lines, '\n'));
}

static void view_head(struct buf *b, const struct breach *br)
{
	mp_kv_text(b, "breach_id", br->id);
	mp_kv_str(b, "breach_type", br->type);
	mp_kv_str(b, "severity", br->severity);
	view_affected(b, br->affected);
	mp_kv_str(b, "description", br->description);
	mp_kv_time(b, "notified_at", br->at);
}

static enum err add_notice(void *arg, const struct breach *br)
{
	struct listing *l = arg;
	struct buf *b = &l->rows;

	l->n++;
	l->unseen += br->seen_at == 0;
	mp_map(b, 7);
	view_head(b, br);
	mp_kv_time(b, "acknowledged_at", br->seen_at);
	return packed(b);
}

static enum err add_breach(void *arg, const struct breach *br)
{
	struct listing *l = arg;
	struct buf *b = &l->rows;
	int64_t due = br->at + BREACH_DUE_MS;

	if ((int64_t)l->n == l->limit) { /* one more than asked for */
		l->more = true;
		return OK;
	}
	l->n++;
	memcpy(l->last, br->id, sizeof(l->last));
	mp_map(b, 12);
	view_head(b, br);
	mp_kv_bool(b, "everyone", br->everyone);
	mp_kv_i64(b, "notified_users", br->notified);
	mp_kv_i64(b, "acknowledged_users", br->seen);
	mp_kv_time(b, "notification_deadline", due);
	mp_kv_time(b, "reported_at", br->reported_at);
	mp_kv_bool(b, "overdue",
	           (br->reported_at ? br->reported_at : l->now_ms) > due);
	return packed(b);
}

static void restart(struct listing *l)
{
	buf_clear(&l->rows);
	l->n = l->unseen = 0;
	l->more = false;
}

static enum err list_notices(struct db *db, void *arg)
{
	struct listing *l = arg;

	restart(l);
	return breach_notices(db, l->sub, l->limit, add_notice, l);
}

static enum err list_breaches(struct db *db, void *arg)
{
	struct listing *l = arg;

	restart(l);
	return breach_list(db, l->before, l->limit + 1, add_breach, l);
}

enum err method_gdpr_breaches(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	struct gdpr_state *st = state;
	struct listing l = {.sub = cx->sub, .limit = BREACH_PAGE_MAX};
	struct buf *b = &out->body;
	enum err e = db_read(st->pool, cx, list_notices, &l);

	(void)in;
	if (!e) {
		mp_map(b, 4);
		mp_kv_str(b, "user_id", cx->hnd);
		mp_kv_array(b, "breaches", l.n);
		mp_raw(b, buf_view(&l.rows));
		mp_kv_i64(b, "count", (int64_t)l.n);
		mp_kv_i64(b, "unacknowledged", (int64_t)l.unseen);
		e = packed(b);
	}
	buf_fini(&l.rows);
	return e;
}

enum err method_gdpr_breach_list(void *state, struct ctx *cx, const void *in,
                                 struct reply *out)
{
	const struct gdpr_breach_list_in *r = in;
	struct gdpr_state *st = state;
	struct listing l = {.before = r->before,
	                    .limit = r->limit,
	                    .now_ms = wall_ms()};
	struct buf *b = &out->body;
	enum err e = db_read(st->pool, cx, list_breaches, &l);

	if (!e) {
		mp_map(b, 3);
		mp_kv_array(b, "breaches", l.n);
		mp_raw(b, buf_view(&l.rows));
		mp_kv_i64(b, "count", (int64_t)l.n);
		if (l.more)
			mp_kv_text(b, "next_before", l.last);
		else
			mp_kv_nil(b, "next_before");
		e = packed(b);
	}
	buf_fini(&l.rows);
	return e;
}

/* --- what follows ------------------------------------------------------------------ */

struct marking {
	struct ctx *cx;
	struct str id;
	int64_t now_ms, at;
};

static enum err not_found(struct ctx *cx, enum err e)
{
	return e == ERR_NOT_FOUND
	               ? ctx_fail(cx, e, "There is no breach with this id.")
	               : e;
}

/* An idem_fn. */
static enum err acknowledge(struct db *db, void *arg, struct reply *out)
{
	struct marking *k = arg;
	enum err e = breach_seen(db, k->cx->sub, k->id, k->now_ms, &k->at);

	if (e)
		return not_found(k->cx, e);
	mp_map(&out->body, 3);
	mp_kv_text(&out->body, "message", "You have seen this notice.");
	mp_kv_str(&out->body, "breach_id", k->id);
	mp_kv_time(&out->body, "acknowledged_at", k->at);
	return packed(&out->body);
}

enum err method_gdpr_breach_acknowledge(void *state, struct ctx *cx,
                                        const void *in, struct reply *out)
{
	const struct gdpr_breach_acknowledge_in *r = in;
	struct gdpr_state *st = state;
	struct marking k = {.cx = cx, .id = r->breach_id, .now_ms = wall_ms()};

	return idem_write(st->idem, cx, acknowledge, &k, out);
}

/* An idem_fn. */
static enum err report(struct db *db, void *arg, struct reply *out)
{
	struct marking *k = arg;
	enum err e = breach_reported(db, k->id, k->now_ms, &k->at);

	if (e)
		return not_found(k->cx, e);
	mp_map(&out->body, 3);
	mp_kv_text(&out->body, "message",
	           "It is noted that the authority has been told.");
	mp_kv_str(&out->body, "breach_id", k->id);
	mp_kv_time(&out->body, "reported_at", k->at);
	return packed(&out->body);
}

enum err method_gdpr_breach_reported(void *state, struct ctx *cx,
                                     const void *in, struct reply *out)
{
	const struct gdpr_breach_reported_in *r = in;
	struct gdpr_state *st = state;
	struct marking k = {.cx = cx, .id = r->breach_id, .now_ms = wall_ms()};
	enum err e = idem_write(st->idem, cx, report, &k, out);

	if (!e && !out->replayed)
		breach_watch_now(st->watch);
	return e;
}
