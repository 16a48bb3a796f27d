#include "svc-auth/stepup.h"

#include "svc-auth/factor.h"
#include "svc-auth/keys.h"
#include "svc-auth/password.h"

#include "common/base/clock.h"

static bool is_fresh(const struct auth *au, const struct ctx *cx,
                     int64_t now_ms)
{
	int64_t age_s = now_ms / 1000 - cx->auth_time_s;

	return age_s <= (int64_t)au->conf.settings->step_up_max_age_s;
}

struct look {
	struct str sub, sid;
	struct factor factor;
};

/* A db_fn. */
static enum err look(struct db *db, void *arg)
{
	struct look *l = arg;

	return factor_read(db, l->sub, l->sid, &l->factor);
}

static enum err by_code(struct auth *au, struct ctx *cx, struct str code)
{
	enum err e;

	if (code.n == 0)
		return ctx_fail(
			cx, ERR_REAUTH,
			"Send a code of your authenticator app, or a recovery code, with it.");
	e = factor_prove(au, cx, cx->sub, code);
	if (e == ERR_BAD_LOGIN)
		return ctx_fail(cx, ERR_REAUTH,
		                "This code is not valid, or was used already.");
	return e == ERR_NOT_FOUND ? ERR_REAUTH : e;
}

static enum err by_key(struct auth *au, struct ctx *cx, struct str key,
                       int64_t now_ms)
{
	struct key_search s = {.now_ms = now_ms};
	enum err e;

	api_key_hash(key, s.hash);
	e = db_read_one(au->conf.pool, cx, key_search, &s);
	if (e == ERR_BAD_KEY ||
	    (!e && !str_eq(str_from(s.owner.user.sub), cx->sub)))
		return ctx_fail(cx, ERR_REAUTH,
		                "This api_key is no live key of yours.");
	return e;
}

static enum err by_password(struct auth *au, struct ctx *cx, struct str typed)
{
	enum err e = password_check(au, cx, cx->sub, typed);

	if (e == ERR_BAD_LOGIN)
		return ctx_fail(cx, ERR_REAUTH, "This password is not yours.");
	return e;
}

enum err stepup_check(struct auth *au, struct ctx *cx, const struct proofs *p)
{
	/* An API key has no session, and so none that had the factor. */
	struct look l = {.sub = cx->sub, .sid = cx->sid};
	int64_t now_ms = wall_ms();
	bool fresh = is_fresh(au, cx, now_ms);
	enum err e = db_read_one(au->conf.pool, cx, look, &l);

	if (e)
		return e;
	if (fresh && (!l.factor.active || l.factor.session_had))
		return OK;
	if (l.factor.active)
		return by_code(au, cx, p->code);
	if (p->api_key.n)
		return by_key(au, cx, p->api_key, now_ms);
	if (p->password.n)
		return by_password(au, cx, p->password);
	return ctx_fail(
		cx, ERR_REAUTH,
		"Your login is too long ago for this. Send your api_key or your password with it, or log in again.");
}
