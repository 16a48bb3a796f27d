/*
 * accounts - the methods of people: register, log in, be validated, log out,
 * and the administrator's way to make a key for somebody.
 */
#include "svc-auth/auth.h"
#include "svc-auth/methods.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <stdio.h>

#define HEADER_MAX 8192

/* usage_instructions {header, example}: how to present what was just given. */
static void pack_usage(struct buf *b, const char *header, const char *scheme,
                       struct str secret)
{
	char text[HEADER_MAX];
	int n = snprintf(text, sizeof(text), "%s: %s%.*s", header, scheme,
	                 STR_FMT(secret));

	mp_kv_map(b, "usage_instructions", 2);
	mp_kv_text(b, "header", header);
	mp_kv_str(b, "example",
	          (struct str){text, n > 0 && n < HEADER_MAX ? (size_t)n : 0});
	explicit_bzero(text, sizeof(text));
}

/* False, with a fault, when text is given and names no tier. */
static bool asked_tier(struct ctx *cx, struct str text, enum tier *out)
{
	if (!text.p || tier_from_str(text, out))
		return true;
	(void)ctx_fault(
		cx, "/quota_tier", "INVALID",
		"quota_tier is one of limited, free, basic, premium, unlimited.");
	return false;
}

static enum err check_handle(struct ctx *cx, struct str handle)
{
	enum handle_verdict v = handle_check(handle);

	if (v == HANDLE_GOOD)
		return OK;
	return ctx_fault(cx, "/user_id", handle_code(v), "%s", handle_words(v));
}

/* --- register ------------------------------------------------------------- */

struct registration {
	struct auth *au;
	struct user user;
	struct new_key key;
	enum tier asked;
};

static void registered(struct buf *b, const struct registration *r)
{
	enum tier asked = r->asked;
	char words[200];
	size_t n;

	(void)snprintf(words, sizeof(words),
	               "Keep this API key safe: it is shown only this once.");
	n = strlen(words);
	if (asked != TIER_FREE)
		(void)snprintf(
			words + n, sizeof(words) - n,
			" You asked for the tier %s; every new account starts as free.",
			tier_name(asked));
	mp_map(b, 5);
	mp_kv_text(b, "api_key", r->key.text);
	mp_kv_text(b, "user_id", r->user.handle);
	mp_kv_text(b, "quota_tier", tier_name(r->user.tier));
	mp_kv_text(b, "message", words);
	pack_usage(b, "X-API-Key", "", str_from(r->key.text));
}

/* An idem_fn. */
static enum err add_person(struct db *db, void *arg, struct reply *out)
{
	struct registration *r = arg;
	enum err e = user_add(db, r->au->conf.events, &r->user);

	if (!e)
		e = key_add(db, str_from(r->user.sub), &r->key);
	out->status = 201;
	registered(&out->body, r);
	return e;
}

enum err method_auth_register(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	static const struct revoke_batch none;
	const struct auth_register_in *want = in;
	struct registration r = {.au = state, .asked = TIER_FREE};
	enum err e;

	if (!want->user_id.p && (want->email.p || want->password.p))
		return ctx_fail(
			cx, ERR_NOT_BUILT,
			"Registering with e-mail and password is not built yet. Send user_id.");
	if (!want->user_id.p)
		return ctx_fault(cx, "/user_id", "REQUIRED",
		                 "user_id is required.");
	e = check_handle(cx, want->user_id);
	if (!asked_tier(cx, want->quota_tier, &r.asked) || e)
		return ERR_INVALID;
	user_init(&r.user, want->user_id, ROLE_USER, TIER_FREE, wall_ms());
	new_key_make(&r.key);
	r.key.name = STR("registration");
	r.key.scopes = SCOPES_USUAL;
	r.key.origin = "self";
	r.key.created_ms = r.user.created_ms;
	e = idem_write(r.au->conf.idem, cx, add_person, &r, out);
	if (e == ERR_DB_DUPLICATE)
		e = ctx_fail(cx, ERR_EXISTS,
		             "This user_id is taken. Choose another one.");
	if (!e && !out->replayed) {
		auth_committed(r.au, &none);
		log_info(cx, "auth.registered", LOG_TEXT("sub", r.user.sub));
	}
	new_key_wipe(&r.key);
	return e;
}

/* --- login ---------------------------------------------------------------- */

static enum err issue(struct auth *au, const struct key_owner *o,
                      int64_t now_ms, int64_t *lasts_s, struct buf *token)
{
	const struct settings *s = au->conf.settings;
	char sid[UUID_MAX];
	int64_t issued = now_ms / 1000;
	struct token_claims c = {
		.issuer = s->token_issuer,
		.audience = s->token_audience,
		.sub = o->user.sub,
		.hnd = o->user.handle,
		.sid = sid,
		.key = o->id,
		.role = o->user.role,
		.tier = o->user.tier,
		.scopes = o->scopes,
		.auth_time_s = issued,
	};

	(void)uuid7(sid);
	/* iat counts seconds, not_before milliseconds: a token of the second in
	 * which the others were ended says the next one, or it would be dead
	 * from the start. */
	if (issued <= o->user.not_before_ms / 1000)
		issued = o->user.not_before_ms / 1000 + 1;
	c.issued_s = issued;
	c.expires_s = now_ms / 1000 + au->token_ttl_s;
	/* A session does not outlive the key that opened it. */
	if (o->expires_ms && c.expires_s > o->expires_ms / 1000)
		c.expires_s = o->expires_ms / 1000;
	*lasts_s = c.expires_s - now_ms / 1000;
	return signing_issue(au->signing, &c, token);
}

static void logged_in(struct buf *b, const struct user *u, int64_t lasts_s,
                      struct str token)
{
	mp_map(b, 8);
	mp_kv_str(b, "token", token);
	mp_kv_str(b, "access_token", token);
	mp_kv_text(b, "token_type", "Bearer");
	mp_kv_i64(b, "expires_in", lasts_s);
	mp_kv_text(b, "user_id", u->handle);
	mp_kv_text(b, "quota_tier", tier_name(u->tier));
	mp_kv_text(b, "message", "You are logged in.");
	pack_usage(b, "Authorization", "Bearer ", token);
}

struct entrance {
	struct auth *au;
	struct key_search search;
};

/* An idem_fn. */
static enum err enter(struct db *db, void *arg, struct reply *out)
{
	struct entrance *en = arg;
	const struct key_owner *o = &en->search.owner;
	AUTO_BUF token = {0};
	int64_t lasts_s = 0;
	enum err e = key_search(db, &en->search);

	if (!e)
		e = issue(en->au, o, en->search.now_ms, &lasts_s, &token);
	if (!e)
		logged_in(&out->body, &o->user, lasts_s, buf_view(&token));
	return e;
}

enum err method_auth_login(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	const struct auth_login_in *want = in;
	struct entrance en = {.au = state, .search.now_ms = wall_ms()};
	const struct key_owner *o = &en.search.owner;
	enum err e;

	if (!want->api_key.p && (want->email.p || want->password.p))
		return ctx_fail(
			cx, ERR_NOT_BUILT,
			"Logging in with e-mail and password is not built yet. Send api_key.");
	if (want->api_key.n == 0)
		return ctx_fault(cx, "/api_key", "REQUIRED",
		                 "api_key is required.");
	/* No look at its form first: a malformed key and an unknown one take
	 * the same way and the same time (design D30). */
	api_key_hash(want->api_key, en.search.hash);
	e = idem_read(en.au->conf.idem, cx, enter, &en, out);
	if (!e && !out->replayed)
		used_note(&en.au->used, o->id, o->last_used_ms,
		          en.search.now_ms);
	return e;
}

/* --- validate and log out ------------------------------------------------- */

struct person {
	struct str sub;
	struct user user;
};

/* A db_fn. */
static enum err find_person(struct db *db, void *arg)
{
	struct person *p = arg;

	return user_by_sub(db, p->sub, &p->user);
}

enum err method_auth_validate(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	struct auth *au = state;
	struct person p = {.sub = cx->sub};
	enum err e = db_read_one(au->conf.pool, cx, find_person, &p);

	(void)in;
	if (e == ERR_NOT_FOUND || (!e && !p.user.active))
		return ERR_BAD_TOKEN;
	if (e)
		return e;
	mp_map(&out->body, 6);
	mp_kv_bool(&out->body, "valid", true);
	mp_kv_text(&out->body, "user_id", p.user.handle);
	mp_kv_text(&out->body, "role", role_name(p.user.role));
	mp_kv_text(&out->body, "quota_tier", tier_name(p.user.tier));
	mp_kv_nil(&out->body, "email");
	mp_kv_time(&out->body, "created_at", p.user.created_ms);
	return OK;
}

struct logout {
	struct auth *au;
	struct str sid;
	int64_t now_ms;
	struct revoke_batch batch;
};

/* An idem_fn. */
static enum err end_session(struct db *db, void *arg, struct reply *out)
{
	struct logout *l = arg;

	l->batch.n = 0;
	mp_map(&out->body, 1);
	mp_kv_text(&out->body, "message", "You are logged out.");
	return auth_revoke(l->au, db, REVOKE_JTI, l->sid, l->now_ms, &l->batch);
}

enum err method_auth_logout(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	struct logout l = {.au = state, .sid = cx->sid, .now_ms = wall_ms()};
	enum err e;

	(void)in;
	if (!uuid_valid(l.sid))
		return ctx_fail(
			cx, ERR_BAD_REQUEST,
			"There is no session to end: this request came with an API key. Revoke the key instead.");
	e = idem_write(l.au->conf.idem, cx, end_session, &l, out);
	if (!e && !out->replayed)
		auth_committed(l.au, &l.batch);
	return e;
}

/* --- the administrator's way ---------------------------------------------- */

struct grant {
	struct auth *au;
	struct str handle;
	bool has_role, has_tier;
	enum role role;
	enum tier tier;
	struct new_key key;
	int64_t now_ms;
	struct user user; /* as it is after the transaction */
	struct revoke_batch batch;
};

static enum err change_person(struct db *db, struct grant *g)
{
	enum role role = g->has_role ? g->role : g->user.role;
	enum tier tier = g->has_tier ? g->tier : g->user.tier;
	enum err e;

	if (role == g->user.role && tier == g->user.tier)
		return OK;
	if (str_ieq(g->handle, STR("admin")))
		return ERR_DENIED;
	g->user.role = role;
	g->user.tier = tier;
	g->user.not_before_ms = g->now_ms;
	/* Tokens carry role and tier: those issued before say the old ones. */
	e = user_grant(db, &g->user);
	if (!e)
		e = auth_revoke(g->au, db, REVOKE_SUB, str_from(g->user.sub),
		                g->now_ms, &g->batch);
	return e;
}

static void granted(struct buf *b, const struct grant *g)
{
	mp_map(b, 5);
	mp_kv_text(b, "api_key", g->key.text);
	mp_kv_text(b, "user_id", g->user.handle);
	mp_kv_text(b, "role", role_name(g->user.role));
	mp_kv_text(b, "quota_tier", tier_name(g->user.tier));
	mp_kv_text(
		b, "message",
		"Hand this API key over safely: it is shown only this once.");
}

/* An idem_fn. */
static enum err grant_key(struct db *db, void *arg, struct reply *out)
{
	struct grant *g = arg;
	enum err e;

	g->batch.n = 0;
	e = user_by_handle(db, g->handle, &g->user);
	if (e == ERR_NOT_FOUND) {
		user_init(&g->user, g->handle, g->role, g->tier, g->now_ms);
		e = user_add(db, g->au->conf.events, &g->user);
	} else if (!e) {
		e = user_lock(db, str_from(g->user.sub));
		if (!e)
			e = change_person(db, g);
	}
	if (!e)
		e = key_room(db, str_from(g->user.sub), g->now_ms);
	g->key.scopes = role_scopes(g->user.role);
	if (!e)
		e = key_add(db, str_from(g->user.sub), &g->key);
	out->status = 201;
	granted(&out->body, g);
	return e;
}

static enum err check_grant(struct ctx *cx,
                            const struct auth_admin_generate_key_in *want,
                            struct grant *g)
{
	/* A reserved handle may have a key once it exists: "admin" does. */
	enum handle_verdict v = handle_check(want->user_id);
	bool bad = v != HANDLE_GOOD && !str_ieq(want->user_id, STR("admin"));

	if (bad)
		(void)ctx_fault(cx, "/user_id", handle_code(v), "%s",
		                handle_words(v));
	if (!asked_tier(cx, want->quota_tier, &g->tier))
		bad = true;
	if (want->role.p && (!role_from_str(want->role, &g->role) ||
	                     (g->role != ROLE_USER && g->role != ROLE_ADMIN))) {
		(void)ctx_fault(cx, "/role", "INVALID",
		                "role is user or admin.");
		bad = true;
	}
	g->has_role = want->role.p != NULL;
	g->has_tier = want->quota_tier.p != NULL;
	return bad ? ERR_INVALID : OK;
}

static enum err grant_refused(struct ctx *cx, enum err e)
{
	if (e == ERR_DENIED)
		return ctx_fail(
			cx, ERR_CONFLICT,
			"The bootstrap administrator keeps its role and tier.");
	if (e == ERR_CONFLICT)
		return ctx_fail(
			cx, e,
			"This person has %d live keys already. Revoke one first.",
			KEYS_LIVE_MAX);
	if (e == ERR_DB_DUPLICATE)
		return ctx_fail(
			cx, ERR_CONFLICT,
			"This person is being made by somebody else at this moment. Try again.");
	return e;
}

enum err method_auth_admin_generate_key(void *state, struct ctx *cx,
                                        const void *in, struct reply *out)
{
	const struct auth_admin_generate_key_in *want = in;
	struct grant g = {.au = state,
	                  .handle = want->user_id,
	                  .role = ROLE_USER,
	                  .tier = TIER_FREE,
	                  .now_ms = wall_ms()};
	enum err e = check_grant(cx, want, &g);

	if (e)
		return e;
	new_key_make(&g.key);
	g.key.name = STR("made by an administrator");
	g.key.origin = "admin";
	g.key.created_ms = g.now_ms;
	e = grant_refused(cx,
	                  idem_write(g.au->conf.idem, cx, grant_key, &g, out));
	if (!e && !out->replayed) {
		auth_committed(g.au, &g.batch);
		log_info(cx, "audit.key_generated", LOG_STR("by", cx->sub),
		         LOG_TEXT("sub", g.user.sub),
		         LOG_TEXT("key_id", g.key.id),
		         LOG_TEXT("role", role_name(g.user.role)),
		         LOG_TEXT("tier", tier_name(g.user.tier)),
		         LOG_BOOL("changed", g.batch.n > 0));
	}
	new_key_wipe(&g.key);
	return e;
}
