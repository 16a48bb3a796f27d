/*
 * consent_methods - what a person has agreed to: to see it, to change it, and
 * what it was before (contract 2.3.1, 2.3.2).
 */
#include "svc-gdpr/audit.h"
#include "svc-gdpr/consent.h"
#include "svc-gdpr/methods.h"
#include "svc-gdpr/state.h"

#include "common/base/clock.h"

#include <stdio.h>

static enum err packed(const struct reply *out)
{
	return out->body.failed ? ERR_NOMEM : OK;
}

/* --- seeing it -------------------------------------------------------------- */

static size_t count(bool cookie)
{
	size_t n = 0;

	for (size_t i = 0; i < CONSENT_COUNT; i++)
		n += (consent_types[i].kind != CONSENT_POLICY) == cookie;
	return n;
}

static void view_policies(struct buf *b,
                          const struct consent_state now[CONSENT_COUNT])
{
	mp_kv_map(b, "consents", count(false));
	for (size_t i = 0; i < CONSENT_COUNT; i++) {
		if (consent_types[i].kind != CONSENT_POLICY)
			continue;
		mp_kv_map(b, consent_types[i].name, 4);
		mp_kv_bool(b, "given", now[i].given);
		mp_kv_text(b, "version", now[i].version);
		mp_kv_text(b, "current_version", consent_types[i].version);
		mp_kv_time(b, "timestamp", now[i].at);
	}
}

static void view_cookies(struct buf *b,
                         const struct consent_state now[CONSENT_COUNT])
{
	mp_kv_map(b, "cookie_preferences", count(true));
	for (size_t i = 0; i < CONSENT_COUNT; i++)
		if (consent_types[i].kind != CONSENT_POLICY)
			mp_kv_bool(b, consent_types[i].name, now[i].given);
}

struct look {
	struct str sub;
	struct consent_state now[CONSENT_COUNT];
};

static enum err look(struct db *db, void *arg)
{
	struct look *l = arg;

	return consent_get(db, l->sub, l->now);
}

enum err method_gdpr_consent(void *state, struct ctx *cx, const void *in,
                             struct reply *out)
{
	struct gdpr_state *st = state;
	struct look l = {.sub = cx->sub};
	const struct consent_state *terms = &l.now[CONSENT_TERMS];
	struct buf *b = &out->body;
	enum err e = db_read(st->pool, cx, look, &l);

	(void)in;
	if (e)
		return e;
	mp_map(b, 5);
	mp_kv_str(b, "user_id", cx->hnd);
	view_policies(b, l.now);
	view_cookies(b, l.now);
	mp_kv_bool(b, "consent_given", terms->given);
	mp_kv_time(b, "consent_given_at", terms->given ? terms->at : 0);
	return packed(out);
}

/* --- changing it ------------------------------------------------------------ */

struct setting {
	const struct gdpr_state *st;
	struct ctx *cx;
	bool told; /* the outbox has something */
	const char *mechanism;
	int64_t now_ms;
	size_t n;
	struct consent_change v[CONSENT_COUNT + 1]; /* a policy, and cookies */
};

/* "terms_of_service, privacy_policy, ..." */
static enum err unknown(struct ctx *cx, const char *pointer, bool cookie)
{
	char names[100] = "";
	size_t n = 0;

	for (size_t i = 0; i < CONSENT_COUNT; i++)
		if ((consent_types[i].kind != CONSENT_POLICY) == cookie &&
		    n < sizeof(names))
			n += (size_t)snprintf(names + n, sizeof(names) - n,
			                      "%s%s", n ? ", " : "",
			                      consent_types[i].name);
	return ctx_fault(cx, pointer, "UNKNOWN", "It must be one of %s.",
	                 names);
}

static enum err read_policy(struct ctx *cx, const struct gdpr_consent_set_in *r,
                            struct setting *s)
{
	struct str name = r->type.p ? r->type : STR("terms_of_service");
	struct consent_change *c = &s->v[s->n];
	struct str current;

	if (!consent_from_name(name, false, &c->which))
		return unknown(cx, "/type", false);
	current = str_from(consent_types[c->which].version);
	/* To agree to a text that is not in force would prove nothing. */
	if (r->given && r->version.p && !str_eq(r->version, current))
		return ctx_fault(cx, "/version", "VERSION",
		                 "The version in force is %.*s.",
		                 STR_FMT(current));
	c->given = r->given;
	s->n++;
	return OK;
}

static enum err read_cookie(struct ctx *cx, struct str name, struct mp *m,
                            struct setting *s)
{
	struct consent_change *c = &s->v[s->n];
	char pointer[72];

	if (!consent_from_name(name, true, &c->which))
		return unknown(cx, "/cookie_preferences", true);
	(void)snprintf(pointer, sizeof(pointer), "/cookie_preferences/%s",
	               consent_types[c->which].name);
	if (!mp_get_bool(m, &c->given))
		return ctx_fault(cx, pointer, "TYPE",
		                 "It must be true or false.");
	if (consent_types[c->which].kind == CONSENT_ALWAYS) {
		if (c->given)
			return OK; /* it is, whoever says so */
		return ctx_fault(cx, pointer, "REQUIRED",
		                 "Without these cookies nothing works.");
	}
	s->n++;
	return OK;
}

static enum err read_cookies(struct ctx *cx, struct str map, struct setting *s)
{
	struct mp m = mp_open(map);
	uint32_t n;

	if (!mp_get_map(&m, &n))
		return ctx_fault(cx, "/cookie_preferences", "TYPE",
		                 "It must be an object.");
	/* Keys are unique (D3), so more of them cannot all be known. */
	if (n > CONSENT_COUNT)
		return unknown(cx, "/cookie_preferences", true);
	for (uint32_t i = 0; i < n; i++) {
		struct str name;
		enum err e = mp_get_str(&m, &name) ? OK : ERR_INVALID;

		if (!e)
			e = read_cookie(cx, name, &m, s);
		if (e)
			return e;
	}
	return OK;
}

static const char *mechanism(struct str asked)
{
	static const char *const all[] = {"api", "banner", "settings",
	                                  "registration"};

	if (!asked.p)
		return all[0];
	for (size_t i = 0; i < COUNTOF(all); i++)
		if (str_eq(asked, str_from(all[i])))
			return all[i];
	return NULL;
}

static enum err read_setting(struct ctx *cx,
                             const struct gdpr_consent_set_in *r,
                             struct setting *s)
{
	enum err e = OK;

	s->mechanism = mechanism(r->mechanism);
	if (!s->mechanism)
		return ctx_fault(cx, "/mechanism", "UNKNOWN",
		                 "It must be one of api, banner, settings, "
		                 "registration.");
	/* Cookies alone say nothing about the terms. */
	if (r->type.p || r->given || !r->cookie_preferences.p)
		e = read_policy(cx, r, s);
	if (!e && r->cookie_preferences.p)
		e = read_cookies(cx, r->cookie_preferences, s);
	if (!e && s->n == 0)
		e = ctx_fault(cx, "/cookie_preferences", "REQUIRED",
		              "There is nothing to record in this request.");
	return e;
}

static void view_change(struct buf *b, const struct consent_change *c)
{
	const struct consent_type *t = &consent_types[c->which];

	mp_kv_text(b, "type", t->name);
	mp_kv_text(b, "consent_type",
	           t->kind == CONSENT_POLICY ? t->name : t->stored);
	mp_kv_bool(b, "given", c->now.given);
	mp_kv_time(b, "timestamp", c->now.at);
	mp_kv_text(b, "version", c->now.version);
}

/* What changed; a repeat of the same state has changed nothing. */
static enum err tell(struct db *db, const struct setting *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct consent_change *c = &s->v[i];
		const struct audit_note note = {
			.event = AUDIT_IS(CONSENT_UPDATE),
			.sub = s->cx->sub,
			.resource_type = "consent",
			.resource_id = str_from(consent_types[c->which].stored),
			.data = {{"given", {NULL, 0}, c->given},
		                 {"version", str_from(c->now.version), 0}},
		};
		enum err e = c->recorded ? audit_append(db, s->cx, &note) : OK;

		if (e)
			return e;
	}
	return OK;
}

/* svc-content keeps events of those alone who have agreed to analytics.  The
 * policy and the category of cookies are two doors to one thing: what was said
 * last counts, and of both in one request the no. */
static enum err tell_analytics(struct db *db, const struct setting *s,
                               bool *told)
{
	bool given = true;
	AUTO_BUF body = {0};

	*told = false;
	for (size_t i = 0; i < s->n; i++) {
		const struct consent_change *c = &s->v[i];

		if (!c->recorded || (c->which != CONSENT_ANALYTICS &&
		                     c->which != CONSENT_COOKIE_ANALYTICS))
			continue;
		given = given && c->given;
		*told = true;
	}
	if (!*told)
		return OK;
	mp_map(&body, 3);
	mp_kv_bool(&body, "given", given);
	mp_kv_str(&body, "hnd", s->cx->hnd);
	mp_kv_i64(&body, "at", s->now_ms);
	if (body.failed)
		return ERR_NOMEM;
	return event_emit(s->st->events, db, PEER_CONTENT, s->cx->sub,
	                  STR("consent.analytics"), buf_view(&body), s->now_ms);
}

/* An idem_fn. */
static enum err set(struct db *db, void *arg, struct reply *out)
{
	struct setting *s = arg;
	struct look l = {.sub = s->cx->sub};
	struct buf *b = &out->body;
	enum err e =
		consent_record(db, s->cx, s->mechanism, s->now_ms, s->v, s->n);

	if (!e)
		e = look(db, &l);
	if (!e)
		e = tell_analytics(db, s, &s->told);
	if (!e)
		e = tell(db, s); /* last: audit.h */
	if (e)
		return e;
	mp_map(b, 4);
	mp_kv_text(b, "message",
	           s->v[0].given ? "Your consent is recorded."
	                         : "Your withdrawal is recorded.");
	mp_kv_map(b, "consent", 6);
	mp_kv_str(b, "user_id", s->cx->hnd);
	view_change(b, &s->v[0]);
	mp_kv_array(b, "recorded", s->n);
	for (size_t i = 0; i < s->n; i++) {
		mp_map(b, 5);
		view_change(b, &s->v[i]);
	}
	view_cookies(b, l.now);
	return packed(out);
}

enum err method_gdpr_consent_set(void *state, struct ctx *cx, const void *in,
                                 struct reply *out)
{
	struct gdpr_state *st = state;
	struct setting s = {.st = st, .cx = cx, .now_ms = wall_ms()};
	enum err e = read_setting(cx, in, &s);

	if (!e)
		e = idem_write(st->idem, cx, set, &s, out);
	if (!e && !out->replayed && s.told)
		gdpr_kick(st);
	return e;
}

/* --- what it was before ------------------------------------------------------ */

struct page {
	const struct gdpr_consent_history_in *ask;
	struct ctx *cx;
	struct buf rows;
	size_t n;
	int64_t last, next;
};

static enum err add_row(void *arg, const struct consent_row *r)
{
	struct page *p = arg;
	struct buf *b = &p->rows;

	if ((int64_t)p->n == p->ask->limit) { /* one more than asked for */
		p->next = p->last;
		return OK;
	}
	p->n++;
	p->last = r->seq;
	mp_map(b, 8);
	mp_kv_str(b, "type", r->type);
	mp_kv_text(b, "category", r->cookie ? "cookie" : "policy");
	mp_kv_bool(b, "given", r->given);
	mp_kv_str(b, "version", r->version);
	mp_kv_time(b, "timestamp", r->at);
	mp_kv_str(b, "mechanism", r->mechanism);
	mp_kv_str(b, "network", r->network);
	mp_kv_str(b, "user_agent", r->agent);
	return b->failed ? ERR_NOMEM : OK;
}

static enum err list(struct db *db, void *arg)
{
	struct page *p = arg;

	buf_clear(&p->rows);
	p->n = 0;
	p->next = 0;
	return consent_history(db, p->cx->sub, p->ask->before,
	                       p->ask->limit + 1, add_row, p);
}

enum err method_gdpr_consent_history(void *state, struct ctx *cx,
                                     const void *in, struct reply *out)
{
	struct gdpr_state *st = state;
	struct page p = {.ask = in, .cx = cx};
	struct buf *b = &out->body;
	enum err e = db_read(st->pool, cx, list, &p);

	if (!e) {
		mp_map(b, 4);
		mp_kv_str(b, "user_id", cx->hnd);
		mp_kv_array(b, "history", p.n);
		mp_raw(b, buf_view(&p.rows));
		mp_kv_i64(b, "count", (int64_t)p.n);
		if (p.next)
			mp_kv_i64(b, "next_before", p.next);
		else
			mp_kv_nil(b, "next_before");
		e = packed(out);
	}
	buf_fini(&p.rows);
	return e;
}
