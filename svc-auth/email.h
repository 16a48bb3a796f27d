/*
 * email - the addresses that an account may have.
 *
 * The dot-atom form of RFC 5321 within its lengths (local part 64, all 254,
 * label 63), a domain of at least two labels.  Quoted local parts, address
 * literals and comments are refused: nobody's provider gives such an address.
 * ASCII only: two addresses that look alike must not be two accounts, and that
 * cannot be said of all of Unicode; an international domain is given in its
 * xn-- form.
 *
 * Threads: any.
 */
#ifndef SVC_AUTH_EMAIL_H
#define SVC_AUTH_EMAIL_H

#include "common/base/attr.h"
#include "common/base/str.h"

#define EMAIL_MAX       254 /* bytes of an address */
#define EMAIL_LOCAL_MAX 64
#define EMAIL_LABEL_MAX 63

bool email_valid(struct str s);
/* The form that is unique: ASCII lower case, of both parts.  Longer ones are
 * cut. */
struct str email_fold(struct str s, char out[EMAIL_MAX + 1]);

#endif
