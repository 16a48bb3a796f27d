/*
 * session_methods - the methods on the session that one has: is it good, and
 * end it.
 */
#include "svc-auth/auth.h"
#include "svc-auth/methods.h"
#include "svc-auth/session.h"

#include "common/base/clock.h"

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
	if (e == ERR_NOT_FOUND || (!e && p.user.state != USER_ACTIVE))
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
	struct str sub, sid;
	int64_t now_ms;
	struct revoke_batch batch;
};

/* An idem_fn. */
static enum err end_session(struct db *db, void *arg, struct reply *out)
{
	struct logout *l = arg;
	enum err e;

	l->batch.n = 0;
	mp_map(&out->body, 1);
	mp_kv_text(&out->body, "message", "You are logged out.");
	e = session_end(l->au, db, l->sub, l->sid, "logout", l->now_ms,
	                &l->batch);
	/* Its row is gone, but its token may be good: it dies all the same. */
	if (e == ERR_NOT_FOUND)
		e = auth_revoke(l->au, db, REVOKE_JTI, l->sid, l->now_ms,
		                &l->batch);
	return e;
}

enum err method_auth_logout(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	struct logout l = {.au = state,
	                   .sub = cx->sub,
	                   .sid = cx->sid,
	                   .now_ms = wall_ms()};
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
