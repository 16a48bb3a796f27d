/*
 * secure - what came in clear and should not have (FORCE_HTTPS).
 *
 * Why:     a page that is asked for by http:// is led to https://, since people
 *          type names and follow old links.  Everything else, the API too, is
 *          refused with 403 and no effect: a redirect would send a key, a token or a body twice,
 *          once in clear, and work, so nobody would ever notice.  (426 would
 *          promise an upgrade of this connection, which nobody implements.)
 * Whether: a request came by HTTPS over our own TLS, or where one of
 *          TRUSTED_PROXIES says so (forwarded.h).  The Host that a client sends
 *          says nothing.
 * Exempt:  balancers ask for health by address, in clear; and what comes from
 *          this very machine was on no wire.
 * Threads: a request's loop.
 */
#ifndef GATEWAY_SECURE_H
#define GATEWAY_SECURE_H

#include "gateway/req.h"

#include <stdio.h>

#define SECURE_HSTS "max-age=31536000; includeSubDomains"

/* False after a line on complaints: forced where nothing could comply. */
bool secure_check(const struct settings *conf, FILE *complaints) MUST_CHECK;
/* Sets rq->https, once the head has been read and the client is known. */
void secure_look(struct req *rq);
/* OK, and with rq->status set the redirect is the answer; or ERR_HTTPS_NEEDED. */
enum err secure_demand(struct req *rq) MUST_CHECK;

#endif
