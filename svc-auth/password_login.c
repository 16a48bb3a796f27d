#include "svc-auth/password_login.h"

#include "svc-auth/audit.h"
#include "svc-auth/password.h"

#include "common/base/log.h"

struct entrance {
	struct password_proof proof;
	char fresh[PASSWORD_TEXT_MAX]; /* its new hash; empty: none is due */
};

/*
 * An admit_fn: the password is the one that was verified.  Renews its hash where
 * the settings have changed.
 */
static enum err still_the_password(struct db *db, void *arg,
                                   struct session_begin *b)
{
	struct entrance *en = arg;
	const struct password_owner *was = &en->proof.owner;
	const struct user *u = &was->user;
	const char *hash = en->fresh[0] ? en->fresh : was->hash;
	enum err e = password_replace(db, str_from(u->sub), was->hash, hash, 0);

	if (!e)
		e = throttle_good(db, &en->proof.throttle);
	*b = (struct session_begin){
		.sub = str_from(u->sub),
		.method = "password",
		.scopes = role_scopes(u->role),
		.now_ms = en->proof.throttle.now_ms,
	};
	return e == ERR_CONFLICT ? ERR_BAD_LOGIN : e;
}

static enum err run(struct admit *a, struct ctx *cx, struct entrance *en,
                    struct reply *out)
{
	const struct hasher *h = &a->au->hasher;
	enum err e = password_prove(a->au, cx, &en->proof);

	if (e)
		return e;
	/* Without memory for it the old one does for another time. */
	if (password_is_old(h, en->proof.owner.hash) &&
	    password_hash(h, en->proof.typed, en->fresh))
		en->fresh[0] = '\0';
	a->sub = str_from(en->proof.owner.user.sub);
	a->who = still_the_password;
	a->arg = en;
	e = admit(a, cx, out);
	/* Disabled between the two: as if the password had been wrong. */
	return e == ERR_NOT_FOUND ? ERR_BAD_LOGIN : e;
}

enum err password_login(struct admit *a, struct ctx *cx,
                        const struct password_login *want, struct reply *out)
{
	bool mail = want->email.n != 0;
	struct entrance en = {
		.proof = {.by = mail ? PASSWORD_BY_EMAIL : PASSWORD_BY_HANDLE,
	                  .name = mail ? want->email : want->user_id,
	                  .typed = want->password},
	};
	enum err e = run(a, cx, &en, out);

	if (e == ERR_BAD_LOGIN) {
		audit_tell_failed(a->au, cx, str_from(en.proof.owner.user.sub),
		                  "password", en.proof.throttle.now_ms);
		log_info(cx, "auth.login_refused", LOG_TEXT("by", "password"));
	}
	return e;
}
