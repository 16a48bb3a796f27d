#include "svc-auth/stepup.h"

#include "svc-auth/keys.h"

#include "common/base/clock.h"

static bool is_fresh(const struct auth *au, const struct ctx *cx,
                     int64_t now_ms)
{
	int64_t age_s = now_ms / 1000 - cx->auth_time_s;

	return age_s <= (int64_t)au->conf.settings->step_up_max_age_s;
}

/* OK, or ERR_REAUTH: no live key of this person. */
static enum err key_proves(struct auth *au, struct ctx *cx, struct str key,
                           int64_t now_ms)
{
	struct key_search s = {.now_ms = now_ms};
	enum err e;

	api_key_hash(key, s.hash);
	e = db_read_one(au->conf.pool, cx, key_search, &s);
	if (e == ERR_BAD_KEY)
		return ERR_REAUTH;
	if (e)
		return e;
	return str_eq(str_from(s.owner.user.sub), cx->sub) ? OK : ERR_REAUTH;
}

enum err stepup_check(struct auth *au, struct ctx *cx, const struct proofs *p)
{
	int64_t now_ms = wall_ms();
	enum err e = ERR_REAUTH;

	if (is_fresh(au, cx, now_ms))
		return OK;
	if (p->api_key.n)
		e = key_proves(au, cx, p->api_key, now_ms);
	if (e != ERR_REAUTH)
		return e;
	return ctx_fail(
		cx, e, "%s",
		p->api_key.n
			? "This api_key is no live key of yours."
			: "Your login is too long ago for this. Send your api_key with it, or log in again.");
}
