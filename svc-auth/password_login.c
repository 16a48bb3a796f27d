#include "svc-auth/password_login.h"

#include "svc-auth/audit.h"
#include "svc-auth/session.h"

#include "common/base/log.h"

struct entrance {
	struct auth *au;
	struct password_proof proof;
	char fresh[PASSWORD_TEXT_MAX]; /* its new hash; empty: none is due */
	struct session_grant grant;
	struct revoke_batch batch;
};

/*
 * Says in the transaction that opens the session that the password is the one
 * that was verified, and renews its hash where the settings have changed.
 */
static enum err still_the_password(struct db *db, struct entrance *en)
{
	const struct password_owner *was = &en->proof.owner;
	struct str sub = str_from(was->user.sub);
	const char *hash = en->fresh[0] ? en->fresh : was->hash;
	enum err e = password_replace(db, sub, was->hash, hash, 0);

	if (!e)
		e = throttle_good(db, &en->proof.throttle);
	return e == ERR_CONFLICT ? ERR_BAD_LOGIN : e;
}

/* An idem_fn. */
static enum err enter(struct db *db, void *arg, struct reply *out)
{
	struct entrance *en = arg;
	const struct user *u = &en->proof.owner.user;
	const struct session_begin b = {
		.sub = str_from(u->sub),
		.method = "password",
		.scopes = role_scopes(u->role),
		.now_ms = en->proof.throttle.now_ms,
	};
	enum err e = still_the_password(db, en);

	en->batch.n = 0;
	if (!e)
		e = session_open(en->au, db, &b, &en->grant, &en->batch);
	/* Disabled between the two: as if the password had been wrong. */
	if (e == ERR_NOT_FOUND)
		e = ERR_BAD_LOGIN;
	if (!e)
		session_answer(&out->body, &en->grant, "You are logged in.", 0);
	return e;
}

static enum err run(struct entrance *en, struct ctx *cx, struct reply *out)
{
	struct auth *au = en->au;
	enum err e = password_prove(au, cx, &en->proof);

	if (e)
		return e;
	/* Without memory for it the old one does for another time. */
	if (password_is_old(&au->hasher, en->proof.owner.hash) &&
	    password_hash(&au->hasher, en->proof.typed, en->fresh))
		en->fresh[0] = '\0';
	e = idem_write(au->conf.idem, cx, enter, en, out);
	if (!e && !out->replayed)
		auth_committed(au, &en->batch);
	return e;
}

enum err password_login(struct auth *au, struct ctx *cx,
                        const struct password_login *want, struct reply *out)
{
	bool mail = want->email.n != 0;
	struct entrance en = {
		.au = au,
		.proof = {.by = mail ? PASSWORD_BY_EMAIL : PASSWORD_BY_HANDLE,
	                  .name = mail ? want->email : want->user_id,
	                  .typed = want->password},
	};
	enum err e = run(&en, cx, out);

	if (e == ERR_BAD_LOGIN) {
		audit_tell_failed(au, cx, str_from(en.proof.owner.user.sub),
		                  "password", en.proof.throttle.now_ms);
		log_info(cx, "auth.login_refused", LOG_TEXT("by", "password"));
	}
	session_grant_fini(&en.grant);
	return e;
}
