/*
 * rules - what a handle, an API key and a scope may be (design D24, D25).
 *
 * Why:     these decisions are pure, so they stand apart from the database and
 *          are tested as tables.
 * Bounds:  HANDLE_MAX, API_KEY_MAX, KEYS_LIVE_MAX.
 * Owns:    nothing.  What is a secret is the caller's to wipe.
 * Threads: any.
 */
#ifndef SVC_AUTH_RULES_H
#define SVC_AUTH_RULES_H

#include "common/base/ctx.h"

#include <sodium.h>

#define HANDLE_MIN 3
#define HANDLE_MAX 64

enum handle_verdict {
	HANDLE_GOOD,
	HANDLE_LENGTH,
	HANDLE_LETTERS,
	HANDLE_RESERVED,
};

/*
 * Reserved names are those that clients send when they mean nobody ("null",
 * "undefined") and those that people would trust ("admin", "support").
 */
enum handle_verdict handle_check(struct str handle);
const char *handle_words(enum handle_verdict v); /* for the person */
const char *handle_code(enum handle_verdict v);
/* The form that is unique: ASCII lower case.  For a handle that passed
 * handle_check() or is at most HANDLE_MAX bytes; longer ones are cut. */
struct str handle_fold(struct str handle, char out[HANDLE_MAX + 1]);

#define API_KEY_BYTES  32
#define API_KEY_MAX    64 /* of those we make: "sk_" and 43 characters */
#define API_KEY_PREFIX 11 /* characters that a list shows */
#define API_KEY_HASH   crypto_hash_sha256_BYTES
#define KEYS_LIVE_MAX  20 /* live keys of one person */

/* A new key in out, NUL terminated. */
struct str api_key_make(char out[API_KEY_MAX]);
/* "sk_" and 43 characters of base64url. */
bool api_key_well_formed(struct str key);
void api_key_hash(struct str key, unsigned char out[API_KEY_HASH]);

/* Everything a role may do; a key or token never has more. */
uint32_t role_scopes(enum role r);
/* What a new key gets unless its owner says otherwise. */
#define SCOPES_USUAL (SCOPE_READ | SCOPE_WRITE | SCOPE_GENERATE)

/*
 * "2027-01-31T12:00:00Z", with optional fraction and with an offset in place of
 * the Z (RFC 3339, 5.6).  False for anything else.
 */
bool time_from_iso(struct str s, int64_t *epoch_ms);

#endif
