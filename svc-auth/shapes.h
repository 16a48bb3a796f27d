/*
 * shapes - what several methods take or answer in the same form.
 *
 * Threads: any.
 */
#ifndef SVC_AUTH_SHAPES_H
#define SVC_AUTH_SHAPES_H

#include "svc-auth/users.h"

#include "common/base/buf.h"

/* "usage_instructions" {header, example}: how to present what was just given. */
void shape_usage(struct buf *b, const char *header, const char *scheme,
                 struct str secret);
/* "email": the address, or null. */
void shape_email(struct buf *b, const struct user *u);
/* "user": the User of contract 2.1.2. */
void shape_user(struct buf *b, const struct user *u);
/* False, with a fault, when text is given and names no tier; absent, *out is
 * left alone. */
bool asked_tier(struct ctx *cx, struct str text, enum tier *out);

#endif
