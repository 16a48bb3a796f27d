/*
 * stepup - whether somebody has just proven who they are, for what a session
 * left open or a stolen token must not be able to do: factors, keys, erasure
 * (ASVS 5.0 7.5.1).
 *
 * Why:     a session lasts a day, so that it is there says little of who sits
 *          before it now.
 * Enough:  a login at most STEP_UP_MAX_AGE_S ago, as auth_time says (a request
 *          with X-API-Key is one), or else a proof in the body.  Of somebody with
 *          a second factor (factor.h) a code, unless that login has had one: no
 *          password and no key stands in for it.
 * Threads: lanes that may block; not within a transaction, it makes its own.
 */
#ifndef SVC_AUTH_STEPUP_H
#define SVC_AUTH_STEPUP_H

#include "svc-auth/auth.h"

/* Fields of the body, all optional; p is NULL where absent. */
struct proofs {
	struct str password, api_key, code;
};
/* From the input of a method that has the three as FIELDs. */
#define PROOFS(in)                                          \
	(&(const struct proofs){.password = (in)->password, \
	                        .api_key = (in)->api_key,   \
	                        .code = (in)->code})

/*
 * OK; else ERR_REAUTH, whose detail says what this person can give, or
 * ERR_BAD_TOKEN (the person is gone) or an error of the database.  Before the
 * transaction of the effect.
 */
enum err stepup_check(struct auth *au, struct ctx *cx,
                      const struct proofs *p) MUST_CHECK;

#endif
