/*
 * refresh_methods - the method that goes on with a session: by its refresh
 * token, or by an access token that is still good and ends with it.
 *
 * Whatever is wrong with a refresh token, the answer is the same bytes: who has
 * a dead one learns nothing from it.
 */
#include "svc-auth/methods.h"
#include "svc-auth/refresh.h"

#include "common/base/clock.h"
#include "common/base/log.h"

struct renewal {
	struct auth *au;
	struct str token, sub, sid, jti;
	int64_t now_ms;
	bool stolen;
	struct session_grant grant;
	struct revoke_batch batch;
};

static void renewed(const struct renewal *r, struct reply *out)
{
	session_answer(&out->body, &r->grant, "Your session goes on.", 0);
}

/* An idem_fn. */
static enum err by_token(struct db *db, void *arg, struct reply *out)
{
	struct renewal *r = arg;
	enum err e = refresh_rotate(r->au, db, r->token, r->now_ms, &r->grant,
	                            &r->stolen);

	if (!e)
		renewed(r, out);
	return e;
}

/* An idem_fn. */
static enum err by_bearer(struct db *db, void *arg, struct reply *out)
{
	struct renewal *r = arg;
	enum err e;

	r->batch.n = 0;
	e = refresh_bearer(r->au, db, r->sub, r->sid, r->jti, r->now_ms,
	                   &r->grant, &r->batch);
	if (!e)
		renewed(r, out);
	return e;
}

/* --- a token that was used before ------------------------------------------ */

/* A db_fn.  Another request may have ended it meanwhile. */
static enum err end_family(struct db *db, void *arg)
{
	struct renewal *r = arg;
	enum err e;

	r->batch.n = 0;
	e = session_end(r->au, db, str_from(r->grant.user.sub),
	                str_from(r->grant.sid), "reuse", r->now_ms, &r->batch);
	return e == ERR_NOT_FOUND ? OK : e;
}

/*
 * A transaction of its own: the one of the exchange left nothing behind, as any
 * that is refused.  When it fails the client hears of that and asks again.
 */
static enum err alarm(struct renewal *r, struct ctx *cx)
{
	enum err e = db_write(r->au->conf.pool, cx, end_family, r);

	if (e)
		return e;
	auth_committed(r->au, &r->batch);
	if (r->batch.n)
		log_warn(
			cx, "audit.refresh_reused",
			LOG_TEXT("sub", r->grant.user.sub),
			LOG_TEXT("sid", r->grant.sid),
			LOG_TEXT(
				"cause",
				"a refresh token came again after its grace; the session is ended"));
	return OK;
}

static enum err refuse(struct ctx *cx)
{
	return ctx_fail(cx, ERR_BAD_TOKEN,
	                "This refresh token is not valid. Log in again.");
}

static enum err rotate(struct renewal *r, struct ctx *cx, struct reply *out)
{
	enum err e = idem_write(r->au->conf.idem, cx, by_token, r, out);

	if (e == ERR_BAD_TOKEN && r->stolen) {
		enum err failed = alarm(r, cx);

		if (failed)
			return failed;
	}
	return e == ERR_BAD_TOKEN ? refuse(cx) : e;
}

/* --- the method ------------------------------------------------------------- */

static enum err renew(struct renewal *r, struct ctx *cx, struct reply *out)
{
	enum err e;

	if (cx->sub.n == 0)
		return ctx_fail(
			cx, ERR_LOGIN_NEEDED,
			"Send refresh_token, or an access token that is still valid.");
	if (!uuid_valid(cx->sid) || !uuid_valid(cx->jti))
		return ctx_fail(
			cx, ERR_BAD_REQUEST,
			"There is no session to go on with: this request came with an API key.");
	e = idem_write(r->au->conf.idem, cx, by_bearer, r, out);
	if (!e && !out->replayed)
		auth_committed(r->au, &r->batch);
	return e;
}

enum err method_auth_refresh(void *state, struct ctx *cx, const void *in,
                             struct reply *out)
{
	const struct auth_refresh_in *want = in;
	struct renewal r = {.au = state,
	                    .token = want->refresh_token,
	                    .sub = cx->sub,
	                    .sid = cx->sid,
	                    .jti = cx->jti,
	                    .now_ms = wall_ms()};
	enum err e = want->refresh_token.p ? rotate(&r, cx, out)
	                                   : renew(&r, cx, out);

	session_grant_fini(&r.grant);
	return e;
}
