/*
 * cookie - the answer of a login whose session is for a browser's cookie
 * (design D29).
 *
 * The access token goes to the gateway in a header between us, which makes
 * Set-Cookie of it (gateway/cookie.h); the body has none, so that no script of
 * the page ever sees it.  Nor has it a refresh token: what a page needs to go
 * on is the cookie.
 *
 *     KAE-Session: 86400 eyJ...      how long in seconds, and the token
 *     KAE-Session: 0                 away with it
 *
 * Threads: any.
 */
#ifndef SVC_AUTH_COOKIE_H
#define SVC_AUTH_COOKIE_H

#include "svc-auth/session.h"

#include "common/bus/entry.h"

/* "session" of a login: absent, or "cookie".  False with a fault for others. */
bool cookie_asked(struct ctx *cx, struct str session, bool *out) MUST_CHECK;
/* The texts live in the arena a.  ERR_NOMEM. */
enum err cookie_answer(struct arena *a, const struct session_grant *g,
                       const char *message, struct reply *out) MUST_CHECK;
/* Adds the header that ends it. */
void cookie_clear(struct reply *out);

#endif
