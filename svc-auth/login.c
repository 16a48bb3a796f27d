/*
 * login - the method that opens a session: whoever proves who they are gets an
 * access token and a refresh token.
 */
#include "svc-auth/audit.h"
#include "svc-auth/methods.h"
#include "svc-auth/session.h"

#include "common/base/clock.h"

struct entrance {
	struct auth *au;
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

static enum err by_key(struct entrance *en, struct ctx *cx, struct str key,
                       struct reply *out)
{
	const struct key_owner *o = &en->search.owner;
	enum err e;

	/* No look at its form first: a malformed key and an unknown one take
	 * the same way and the same time (design D30). */
	api_key_hash(key, en->search.hash);
	/* Guesses do not get as far as the writer. */
	e = db_read_one(en->au->conf.pool, cx, key_search, &en->search);
	if (!e)
		e = idem_write(en->au->conf.idem, cx, enter, en, out);
	if (e == ERR_BAD_KEY)
		audit_tell_failed(en->au, cx, STR(""), "api_key",
		                  en->search.now_ms);
	if (e || out->replayed)
		return e;
	auth_committed(en->au, &en->batch);
	used_note(&en->au->used, str_from(o->id), o->last_used_ms,
	          en->search.now_ms);
	return OK;
}

enum err method_auth_login(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	const struct auth_login_in *want = in;
	struct entrance en = {.au = state, .search.now_ms = wall_ms()};
	enum err e;

	if (!want->api_key.p && (want->email.p || want->password.p))
		return ctx_fail(
			cx, ERR_NOT_BUILT,
			"Logging in with e-mail and password is not built yet. Send api_key.");
	if (want->api_key.n == 0)
		return ctx_fault(cx, "/api_key", "REQUIRED",
		                 "api_key is required.");
	e = by_key(&en, cx, want->api_key, out);
	session_grant_fini(&en.grant);
	return e;
}
