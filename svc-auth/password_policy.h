/*
 * password_policy - what a password may be (design D25; ASVS 6.2).
 *
 * PASSWORD_MIN to PASSWORD_MAX code points of any kind: no rules of composition,
 * no expiry.  It must not be among the common ones, also not with the changes
 * that everybody makes (case, accents, digits and marks at the ends, "0" for
 * "o", said twice), and not be about the account or the product.
 *
 * All of it looks at a folded copy.  What is hashed and verified is the text
 * exactly as it was typed, byte for byte: ASVS 6.2.8 forbids to change it, and
 * input methods compose characters, so one person's typing gives one form.
 *
 * Threads: any; it allocates nothing and wipes what it copied.
 */
#ifndef SVC_AUTH_PASSWORD_POLICY_H
#define SVC_AUTH_PASSWORD_POLICY_H

#include "common/base/ctx.h"

#define PASSWORD_MIN 8
#define PASSWORD_MAX 256

enum password_verdict {
	PASSWORD_GOOD,
	PASSWORD_SHORT,
	PASSWORD_LONG,
	PASSWORD_COMMON,
	PASSWORD_PERSONAL, /* the handle or the address with little added */
	PASSWORD_PRODUCT,  /* our name with little added */
};

/* handle and email may be empty. */
enum password_verdict password_judge(struct str typed, struct str handle,
                                     struct str email);
/* ERR_INVALID with a fault at pointer, such as "/new_password"; or OK. */
enum err password_good(struct ctx *cx, const char *pointer, struct str typed,
                       struct str handle, struct str email);

#endif
