/*
 * login - the method that opens a session: whoever proves who they are gets an
 * access token and a refresh token, or a cookie.
 */
#include "svc-auth/admit.h"
#include "svc-auth/audit.h"
#include "svc-auth/cookie.h"
#include "svc-auth/keys.h"
#include "svc-auth/methods.h"
#include "svc-auth/password_login.h"

#include "common/base/clock.h"

/* --- with an API key ------------------------------------------------------- */

/* An admit_fn. */
static enum err still_the_key(struct db *db, void *arg, struct session_begin *b)
{
	struct key_search *s = arg;
	const struct key_owner *o = &s->owner;
	enum err e = key_search(db, s);

	*b = (struct session_begin){
		.sub = str_from(o->user.sub),
		.method = "api_key",
		.key_id = o->id,
		.scopes = o->scopes,
		.ends_ms = o->expires_ms,
		.now_ms = s->now_ms,
	};
	return e;
}

/* A db_fn. */
static enum err charge(struct db *db, void *arg)
{
	return throttle_take(db, arg);
}

/* A key cannot be guessed, but who tries many is no better than who tries many
 * passwords, and pays from the same account.  A good one is never charged. */
static enum err refused(struct auth *au, struct ctx *cx, int64_t now_ms)
{
	struct throttle t; /* of keys that are none */
	enum err e;

	audit_tell_failed(au, cx, STR(""), "api_key", now_ms);
	throttle_init(&t, &au->throttle, "", (struct str){0}, cx->ip, now_ms);
	e = db_write(au->conf.pool, cx, charge, &t);
	if (e == ERR_RATE_LIMITED)
		return throttle_refuse(cx, &t);
	return e ? e : ERR_BAD_KEY;
}

static enum err by_key(struct admit *a, struct ctx *cx, struct str key,
                       struct reply *out)
{
	struct key_search s = {.now_ms = wall_ms()};
	enum err e;

	/* No look at its form first: a malformed key and an unknown one take
	 * the same way and the same time (design D30). */
	api_key_hash(key, s.hash);
	e = db_read_one(a->au->conf.pool, cx, key_search, &s);
	if (e == ERR_BAD_KEY)
		return refused(a->au, cx, s.now_ms);
	if (e)
		return e;
	a->sub = str_from(s.owner.user.sub);
	a->who = still_the_key;
	a->arg = &s;
	e = admit(a, cx, out);
	/* Disabled between the two: as if the key had not been found. */
	if (e == ERR_NOT_FOUND)
		e = ERR_BAD_KEY;
	if (!e && !out->replayed)
		used_note(&a->au->used, str_from(s.owner.id),
		          s.owner.last_used_ms, s.now_ms);
	return e;
}

/* --- with a challenge ------------------------------------------------------ */

struct comeback {
	struct challenge challenge;
	struct key_owner owner;
};

/* An admit_fn. */
static enum err still_challenged(struct db *db, void *arg,
                                 struct session_begin *b)
{
	struct comeback *c = arg;

	return challenge_take(db, &c->challenge, &c->owner, b);
}

static enum err by_challenge(struct admit *a, struct ctx *cx, struct str text,
                             struct reply *out)
{
	struct comeback c = {.owner = {.scopes = 0}};
	enum err e;

	if (a->code.n == 0)
		return ctx_fault(cx, "/code", "REQUIRED",
		                 "code or recovery_code is required.");
	challenge_open(&c.challenge, text, cx->ip, wall_ms());
	e = db_read_one(a->au->conf.pool, cx, challenge_find, &c.challenge);
	a->sub = str_from(c.challenge.sub);
	a->who = still_challenged;
	a->arg = &c;
	a->challenged = true;
	if (!e)
		e = admit(a, cx, out);
	if (e == ERR_NOT_FOUND)
		e = ERR_BAD_LOGIN;
	if (e == ERR_BAD_LOGIN && cx->problem.code != e)
		return ctx_fail(
			cx, e,
			"This login was not finished in time, or was already. Begin anew.");
	return e;
}

/* --- with a password ------------------------------------------------------- */

static enum err by_password(struct admit *a, struct ctx *cx,
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
	return password_login(a, cx, &p, out);
}

enum err method_auth_login(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	const struct auth_login_in *want = in;
	struct admit a = {.au = state,
	                  .code = want->recovery_code.n ? want->recovery_code
	                                                : want->code};

	if (!cookie_asked(cx, want->session, &a.cookie))
		return ERR_INVALID;
	if (want->challenge.n)
		return by_challenge(&a, cx, want->challenge, out);
	if (want->password.n)
		return by_password(&a, cx, want, out);
	if (want->api_key.n == 0)
		return ctx_fault(
			cx, want->email.n ? "/password" : "/api_key",
			"REQUIRED",
			want->email.n
				? "password is required."
				: "api_key is required, or password with email or user_id.");
	return by_key(&a, cx, want->api_key, out);
}
