/*
 * idemkey - the value of an Idempotency-Key field
 * (draft-ietf-httpapi-idempotency-key-header).
 *
 * Form:    "..." is a string of RFC 8941, in which \" and \\ stand for " and \
 *          and blanks are allowed; anything else is taken as it stands, as
 *          clients send it, and may hold visible ASCII only.  Both forms of one
 *          text are one key.  A string with parameters behind it is refused.
 * Bounds:  ENTRY_IDK_MAX characters, at least one.
 * Owns:    what stood in quotes is a copy in the arena, else *out is a slice.
 */
#ifndef GATEWAY_IDEMKEY_H
#define GATEWAY_IDEMKEY_H

#include "common/base/ctx.h"

/* field.p NULL: none was sent.  ERR_BAD_REQUEST with the words in cx. */
enum err idemkey_read(struct ctx *cx, struct str field,
                      struct str *out) MUST_CHECK;

#endif
