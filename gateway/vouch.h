/*
 * vouch - a request and the session cookie: read from its head, held against
 * forgery, set and taken away with its answer (design D29; cookie.h, csrf.h).
 *
 * Where:   over HTTPS, and in clear on this very machine.  Elsewhere no cookie is
 *          believed and none is given.
 * Threads: a request's loop.
 *
 * Inside the gateway only.
 */
#ifndef GATEWAY_VOUCH_H
#define GATEWAY_VOUCH_H

#include "gateway/req.h"

/* Sets rq->cookie, once it is known how the request came. */
void vouch_look(struct req *rq);
/* What identity says: a cookie that is none (any more) is taken away. */
void vouch_known(struct req *rq, enum err e);
/* Of a request that nothing but the cookie vouches for: OK, or the CSRF codes. */
enum err vouch_meant(struct req *rq) MUST_CHECK;
/* The same for another cookie, of this value. */
enum err vouch_meant_by(struct req *rq, struct str cookie) MUST_CHECK;
/* ERR_HTTPS_NEEDED: it asks svc-auth for a cookie where none is given. */
enum err vouch_allowed(struct req *rq) MUST_CHECK;
/* The value of svc-auth's SESSION_HEADER. */
void vouch_set(struct req *rq, struct str value);
/* The own route GET /api/csrf-token. */
enum err vouch_token(struct req *rq);

#endif
