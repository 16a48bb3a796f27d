/*
 * b64 - base64url without padding (RFC 4648, 5) and lower-case hex.
 */
#ifndef BASE_B64_H
#define BASE_B64_H

#include "common/base/str.h"

#define B64_LEN(n) (((n)*4 + 2) / 3)

/* out takes B64_LEN(n) + 1 bytes and is NUL terminated. */
struct str b64url(const void *p, size_t n, char *out);
/* False when s is not base64url or needs more than max bytes. */
bool b64url_decode(struct str s, void *out, size_t max, size_t *n);
/* out takes 2 * n + 1 bytes and is NUL terminated. */
struct str hex(const void *p, size_t n, char *out);

#endif
