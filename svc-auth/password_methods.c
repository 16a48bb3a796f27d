/*
 * password_methods - the method that changes one's password, or sets a first
 * one for an account that was made with an API key.
 */
#include "svc-auth/audit.h"
#include "svc-auth/methods.h"
#include "svc-auth/password_policy.h"
#include "svc-auth/session.h"

#include "common/base/clock.h"
#include "common/base/log.h"

struct change {
	struct auth *au;
	struct str sub, sid;
	bool keep_sessions;
	struct password_owner owner; /* as it was */
	struct password_proof proof; /* of who had a password */
	char hash[PASSWORD_TEXT_MAX];
	int64_t now_ms;
	struct revoke_batch batch;
};

/* A db_fn. */
static enum err find(struct db *db, void *arg)
{
	struct change *c = arg;

	return password_find(db, PASSWORD_BY_SUB, c->sub, &c->owner);
}

/* An idem_fn. */
static enum err replace(struct db *db, void *arg, struct reply *out)
{
	struct change *c = arg;
	const struct audit_note note = {
		.event = c->owner.hash[0] ? AUDIT_IS(PASSWORD_CHANGED)
	                                  : AUDIT_IS(PASSWORD_SET),
		.sub = c->sub,
	};
	enum err e =
		password_replace(db, c->sub, c->owner.hash, c->hash, c->now_ms);

	c->batch.n = 0;
	if (!e)
		e = audit_tell(c->au, db, db_cx(db), &note);
	if (!e && c->owner.hash[0])
		e = throttle_good(db, &c->proof.throttle);
	if (!e && !c->keep_sessions)
		e = session_end_others(c->au, db, c->sub, c->sid, "password",
		                       c->now_ms, &c->batch);
	mp_map(&out->body, 1);
	mp_kv_text(
		&out->body, "message",
		c->keep_sessions
			? "Your password is changed."
			: "Your password is changed. All other sessions have ended.");
	return e;
}

static enum err check(const struct change *c, struct ctx *cx,
                      const struct auth_change_password_in *want)
{
	const struct user *u = &c->owner.user;
	enum err e = password_good(cx, "/new_password", want->new_password,
	                           str_from(u->handle), str_from(u->email));

	if (want->confirm_password.p &&
	    !str_eq(want->confirm_password, want->new_password))
		e = ctx_fault(cx, "/confirm_password", "MISMATCH",
		              "confirm_password is not the new_password.");
	if (c->owner.hash[0] && want->current_password.n == 0)
		e = ctx_fault(cx, "/current_password", "REQUIRED",
		              "current_password is required.");
	else if (c->owner.hash[0] &&
	         str_eq(want->current_password, want->new_password))
		e = ctx_fault(cx, "/new_password", "SAME",
		              "The new password is the current one.");
	return e;
}

static enum err prove(struct change *c, struct ctx *cx, struct str current)
{
	int64_t fresh_s = (int64_t)c->au->conf.settings->step_up_max_age_s;
	enum err e;

	/* No password is there to ask for: a fresh login proves it. */
	if (!c->owner.hash[0])
		return cx->auth_time_s >= c->now_ms / 1000 - fresh_s
		               ? OK
		               : ctx_fail(cx, ERR_REAUTH,
		                          "Log in again to set a password.");
	c->proof = (struct password_proof){.by = PASSWORD_BY_SUB,
	                                   .name = c->sub,
	                                   .typed = current};
	e = password_prove(c->au, cx, &c->proof);
	if (e == ERR_BAD_LOGIN) {
		audit_tell_failed(c->au, cx, c->sub, "password", c->now_ms);
		return ctx_fail(cx, e, "The current password is not right.");
	}
	return e;
}

static enum err run(struct change *c, struct ctx *cx,
                    const struct auth_change_password_in *want,
                    struct reply *out)
{
	struct auth *au = c->au;
	enum err e = db_read_one(au->conf.pool, cx, find, c);

	if (e == ERR_NOT_FOUND || (!e && c->owner.user.state != USER_ACTIVE))
		return ERR_BAD_TOKEN;
	if (!e)
		e = check(c, cx, want);
	if (!e)
		e = prove(c, cx, want->current_password);
	if (!e)
		e = password_hash(&au->hasher, want->new_password, c->hash);
	if (!e)
		e = idem_write(au->conf.idem, cx, replace, c, out);
	if (e == ERR_CONFLICT)
		return ctx_fail(
			cx, e,
			"Your password was changed by somebody else at this moment.");
	if (e || out->replayed)
		return e;
	auth_committed(au, &c->batch);
	log_info(cx, "auth.password_changed", LOG_STR("sub", c->sub),
	         LOG_BOOL("first", !c->owner.hash[0]),
	         LOG_BOOL("sessions_kept", c->keep_sessions));
	return OK;
}

enum err method_auth_change_password(void *state, struct ctx *cx,
                                     const void *in, struct reply *out)
{
	const struct auth_change_password_in *want = in;
	struct change c = {.au = state,
	                   .sub = cx->sub,
	                   .sid = cx->sid,
	                   .keep_sessions = want->keep_sessions,
	                   .now_ms = wall_ms()};

	return run(&c, cx, want, out);
}
