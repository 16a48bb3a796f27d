/*
 * password_login - the login by e-mail address or handle with a password.
 */
#ifndef SVC_AUTH_PASSWORD_LOGIN_H
#define SVC_AUTH_PASSWORD_LOGIN_H

#include "svc-auth/admit.h"

struct password_login {
	struct str email, user_id; /* one of the two */
	struct str password;
};
/* As auth.login answers, going on as a says.  ERR_BAD_LOGIN alike for all that is
 * not right. */
enum err password_login(struct admit *a, struct ctx *cx,
                        const struct password_login *want,
                        struct reply *out) MUST_CHECK;

#endif
