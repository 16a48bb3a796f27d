/*
 * totp - one-time passwords of an authenticator app (RFC 6238 over RFC 4226):
 * HMAC-SHA1, six digits, a step of 30 s.
 *
 * Why SHA-1: what authenticator apps do; several ignore the algorithm that the
 * URI names.  HMAC rests on no collision resistance, so SHA-1 is sound in it.
 *
 * Window:  one step before and one after the present one are taken, for clocks
 *          and for people who type.  A step is taken once (RFC 6238, 5.2): the
 *          caller keeps the last one.
 * Owns:    nothing.  A secret is the caller's to wipe.
 * Threads: any.
 */
#ifndef SVC_AUTH_TOTP_H
#define SVC_AUTH_TOTP_H

#include "common/base/attr.h"
#include "common/base/str.h"

#define TOTP_SECRET  20 /* bytes: the output of SHA-1 (RFC 4226, 4) */
#define TOTP_DIGITS  6
#define TOTP_STEP_MS 30000
#define TOTP_WINDOW  1 /* steps to each side */

/* RFC 4648, 6: upper-case and without padding. */
#define BASE32_LEN(n) (((n)*8 + 4) / 5)
/* out takes BASE32_LEN(n) + 1 bytes and is NUL terminated. */
struct str base32(const unsigned char *p, size_t n, char *out);

/* The password of a counter; false without memory. */
bool hotp(const unsigned char *key, size_t n, uint64_t counter, unsigned digits,
          uint32_t *out) MUST_CHECK;
/*
 * Whether code is that of a step in the window behind the step `last`.  *step:
 * which one, the last of them if there are several.  Takes the same time for any code of
 * TOTP_DIGITS digits.
 */
bool totp_match(const unsigned char secret[TOTP_SECRET], struct str code,
                int64_t now_ms, int64_t last, int64_t *step) MUST_CHECK;

#define TOTP_URI_MAX 256
/* otpauth://totp/..., as apps read it from a QR code.  The handle is one that
 * handle_check() took: nothing in it needs an escape. */
struct str totp_uri(const unsigned char secret[TOTP_SECRET], struct str handle,
                    char out[TOTP_URI_MAX]);

#endif
