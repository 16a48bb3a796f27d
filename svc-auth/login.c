/*
 * login - the method that opens a session: whoever proves who they are gets an
 * access token and a refresh token.
 */
#include "svc-auth/audit.h"
#include "svc-auth/methods.h"
#include "svc-auth/password_login.h"
#include "svc-auth/session.h"

#include "common/base/clock.h"

struct entrance {
	struct auth *au;
	struct throttle throttle; /* of keys that are none */
	struct key_search search;
	struct session_grant grant;
	struct revoke_batch batch;
};

/* An idem_fn. */
static enum err enter(struct db *db, void *arg, struct reply *out)
{
	struct entrance *en = arg;
	const struct key_owner *o = &en->search.owner;
	enum err e = key_search(db, &en->search);
	const struct session_begin b = {
		.sub = str_from(o->user.sub),
		.method = "api_key",
		.key_id = o->id,
		.scopes = o->scopes,
		.ends_ms = o->expires_ms,
		.now_ms = en->search.now_ms,
	};

	en->batch.n = 0;
	if (!e)
		e = session_open(en->au, db, &b, &en->grant, &en->batch);
	/* Disabled between the two: as if the key had not been found. */
	if (e == ERR_NOT_FOUND)
		e = ERR_BAD_KEY;
	if (!e)
		session_answer(&out->body, &en->grant, "You are logged in.", 0);
	return e;
}

/* A db_fn. */
static enum err charge(struct db *db, void *arg)
{
	return throttle_take(db, arg);
}

/* A key cannot be guessed, but who tries many is no better than who tries many
 * passwords, and pays from the same account.  A good one is never charged. */
static enum err refused(struct entrance *en, struct ctx *cx)
{
	enum err e;

	audit_tell_failed(en->au, cx, STR(""), "api_key", en->search.now_ms);
	throttle_init(&en->throttle, &en->au->throttle, "", (struct str){0},
	              cx->ip, en->search.now_ms);
	e = db_write(en->au->conf.pool, cx, charge, &en->throttle);
	if (e == ERR_RATE_LIMITED)
		return throttle_refuse(cx, &en->throttle);
	return e ? e : ERR_BAD_KEY;
}

static enum err by_key(struct entrance *en, struct ctx *cx, struct str key,
                       struct reply *out)
{
	const struct key_owner *o = &en->search.owner;
	enum err e;

	/* No look at its form first: a malformed key and an unknown one take
	 * the same way and the same time (design D30). */
	api_key_hash(key, en->search.hash);
	e = db_read_one(en->au->conf.pool, cx, key_search, &en->search);
	if (e == ERR_BAD_KEY)
		return refused(en, cx);
	if (!e)
		e = idem_write(en->au->conf.idem, cx, enter, en, out);
	if (e || out->replayed)
		return e;
	auth_committed(en->au, &en->batch);
	used_note(&en->au->used, str_from(o->id), o->last_used_ms,
	          en->search.now_ms);
	return OK;
}

static enum err by_password(struct auth *au, struct ctx *cx,
                            const struct auth_login_in *want, struct reply *out)
{
	const struct password_login p = {.email = want->email,
	                                 .user_id = want->user_id,
	                                 .password = want->password};

	if (want->api_key.n)
		return ctx_fail(cx, ERR_BAD_REQUEST,
		                "Send either api_key or a password, not both.");
	if (!want->email.n == !want->user_id.n)
		return ctx_fault(
			cx, want->email.n ? "/user_id" : "/email",
			want->email.n ? "AMBIGUOUS" : "REQUIRED",
			"Send either email or user_id with a password.");
	return password_login(au, cx, &p, out);
}

enum err method_auth_login(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	const struct auth_login_in *want = in;
	struct entrance en = {.au = state, .search.now_ms = wall_ms()};
	enum err e;

	if (want->password.n)
		return by_password(state, cx, want, out);
	if (want->api_key.n == 0)
		return ctx_fault(
			cx, want->email.n ? "/password" : "/api_key",
			"REQUIRED",
			want->email.n
				? "password is required."
				: "api_key is required, or password with email or user_id.");
	e = by_key(&en, cx, want->api_key, out);
	session_grant_fini(&en.grant);
	return e;
}
