/*
 * jwt - verifies access tokens with keys that were parsed once (design D27).
 *
 * Why not libjwt: version 1.10 parses PEM text at each call (365 us against 50)
 * and believes the token about its algorithm; it also accepts expired tokens.
 * Here the algorithm is ES256 or nothing, and whatever else a header says about
 * keys (jku, jwk, x5u, x5c) is not looked at.  tests/unit/test_jwt.c runs both
 * over one corpus.
 *
 * A token is three parts of strict base64url.  Header: alg ES256, typ JWT (or
 * at+jwt, which a later issuer may write), a kid, no crit.  Claims: all that
 * svc-auth/token.h names, each once, each of its type; iss, aud and token_use
 * exactly ours; JSON strict (common/codec/json.h).
 *
 * Bounds:  JWT_MAX bytes of token, JWT_KEYS_MAX keys.
 * Owns:    struct jwt_keys owns its keys and never changes.
 * Threads: any.
 */
#ifndef GATEWAY_JWT_H
#define GATEWAY_JWT_H

#include "gateway/identity.h"

#define JWT_MAX      4096
#define JWT_KEYS_MAX 32
#define JWT_LEEWAY_S 30 /* of clocks, for iat and nbf; exp gets none */

struct jwt_keys;

/*
 * From the msgpack of a JWKS.  Keys that are not P-256 for ES256 are passed
 * over.  ERR_INVALID: no JWKS, or no key in it can be used.
 */
enum err jwt_keys_read(struct str jwks, struct jwt_keys **out) MUST_CHECK;
void jwt_keys_free(struct jwt_keys *k); /* NULL is fine */
AUTO_TYPE(jwt_keys, struct jwt_keys *, jwt_keys_free)

struct jwt_policy {
	struct str issuer, audience;
};

#define JWT_ID_MAX 40

struct jwt_claims {
	struct who who;
	char key[JWT_ID_MAX]; /* API key that opened the session, or empty */
	int64_t issued_s;
};

/*
 * ERR_BAD_TOKEN, ERR_EXPIRED (the signature is good), ERR_NOT_FOUND: signed
 * with a kid that is not among the keys, nothing else was checked; ERR_NOMEM.
 */
enum err jwt_verify(const struct jwt_keys *k, const struct jwt_policy *p,
                    struct str token, int64_t now_s,
                    struct jwt_claims *out) MUST_CHECK;
/* The claims alone, as JSON text: the second half of jwt_verify(). */
enum err jwt_claims_read(struct str json, const struct jwt_policy *p,
                         int64_t now_s, struct jwt_claims *out) MUST_CHECK;

#endif
