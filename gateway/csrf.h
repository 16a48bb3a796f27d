/*
 * csrf - whether a request that a cookie vouches for was meant by whoever has
 * the cookie (design D29; contract 1.6).
 *
 * Why:     a browser sends the cookie with whatever any page makes it send.
 *          SameSite=Strict keeps it from those of other sites; what is left are
 *          pages of sibling hosts, and browsers that do not know the attribute.
 * Passes:  Sec-Fetch-Site: same-origin, or an Origin that is our own or one of
 *          CORS_ORIGINS.  A browser writes both and no page can.  Where either
 *          is there and none passes, the request is another site's, whatever
 *          token it brings.  Where both are absent a token is asked for.
 * Token:   nonce "." HMAC-SHA256, 64 lower-case hex digits each.  The first
 *          eight bytes of the nonce are the second it ends, the others random.
 *          The key of the HMAC is the session cookie itself: that binds it to
 *          the session, lets every gateway check it and none keep it, and is a
 *          secret that whoever forges a request does not have.
 * Threads: any.
 */
#ifndef GATEWAY_CSRF_H
#define GATEWAY_CSRF_H

#include "common/base/err.h"
#include "gateway/cors.h"

#define CSRF_HEX   64
#define CSRF_TOKEN (2 * CSRF_HEX + 1) /* characters */

/* session: the cookie's value, empty without one: such a token is good for no
 * session. */
struct str csrf_make(struct str session, int64_t ends_s,
                     char out[CSRF_TOKEN + 1]);
/*
 * ERR_CSRF_INVALID: it is no token, or too old; ERR_CSRF_SESSION: it was made
 * without a session; ERR_CSRF_MISMATCH: made for another one, or by nobody.
 */
enum err csrf_token_check(struct str session, struct str token,
                          int64_t now_s) MUST_CHECK;

/* What a request says of where it comes from; empty where absent. */
struct csrf_request {
	struct str session; /* the cookie's value */
	struct str sec_fetch_site, origin, host, token;
	bool https;
	int64_t now_s;
};
/* The codes above, or ERR_CSRF_MISSING; with a word for the client in *why
 * where the code does not say it all, else NULL. */
enum err csrf_check(const struct csrf_request *r, const struct cors *cors,
                    const char **why) MUST_CHECK;

#endif
