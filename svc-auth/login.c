/*
 * login - the method that exchanges an API key for an access token.
 */
#include "svc-auth/auth.h"
#include "svc-auth/methods.h"
#include "svc-auth/shapes.h"

#include "common/base/clock.h"

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
	shape_usage(b, "Authorization", "Bearer ", token);
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
