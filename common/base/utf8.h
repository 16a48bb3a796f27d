/*
 * utf8 - well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms).
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "common/base/str.h"

/*
 * Decodes the code point at s.p[*at] and moves *at behind it.  False, with *at
 * unmoved, at the end or where the bytes are not well formed.
 */
bool utf8_next(struct str s, size_t *at, uint32_t *cp);
bool utf8_valid(struct str s);
/* Code points; only meaningful for valid text. */
size_t utf8_length(struct str s);
/* Appends cp to out (room for 4 bytes); returns the bytes written. */
size_t utf8_put(uint32_t cp, char *out);

#endif
