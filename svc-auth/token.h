/*
 * token - makes access tokens: ES256 JWTs, through libjwt (design D26).
 *
 * Header alg ES256, typ JWT, kid.  Claims iss aud sub hnd sid jti iat exp
 * auth_time scp role tier, and two more:
 *   key        the id of the API key that opened the session, so that revoking
 *              a key ends what was opened with it
 *   token_use  "access".  What RFC 9068 says by typ at+jwt is said here, because
 *              libjwt before 1.12 writes typ JWT over whatever was set
 *
 * libjwt takes the key as PEM text at each call.  That costs about 20 us, which
 * a login can afford; the gateway, which verifies at each request, does not use
 * it (see gateway/jwt.h).
 *
 * Threads: any.
 */
#ifndef SVC_AUTH_TOKEN_H
#define SVC_AUTH_TOKEN_H

#include "common/base/buf.h"
#include "common/base/ctx.h"

struct token_claims {
	struct str issuer, audience;
	const char *sub, *hnd, *sid;
	const char *key; /* or NULL */
	enum role role;
	enum tier tier;
	uint32_t scopes;
	int64_t auth_time_s, issued_s, expires_s;
};

/*
 * Appends the token to *out; jti is made here.  ERR_NOMEM, or ERR_INTERNAL
 * (logged) when libjwt refuses.
 */
enum err token_issue(const struct token_claims *c, const char *kid,
                     struct str pem, struct buf *out) MUST_CHECK;

#endif
