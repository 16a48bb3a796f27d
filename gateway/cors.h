/*
 * cors - which other origins' pages may read our answers.
 *
 * Why:     the old system answered any origin.  Here an origin is on the list,
 *          compared whole after folding the case of scheme and host, or it gets
 *          no CORS header at all: look-alike suffixes, other ports and schemes
 *          and "null" are simply other origins.
 * Star:    "*" is taken in development only, and never with credentials.
 * Bounds:  CORS_ORIGINS_MAX origins.
 * Owns:    copies of the origins.
 * Threads: read-only once made.
 */
#ifndef GATEWAY_CORS_H
#define GATEWAY_CORS_H

#include "common/base/attr.h"
#include "common/base/conf.h"

#define CORS_ORIGINS_MAX 64

#define CORS_METHODS "GET, POST, PUT, PATCH, DELETE, OPTIONS"
#define CORS_HEADERS                                                       \
	"Content-Type, Authorization, X-API-Key, X-CSRF-Token, "           \
	"Accept-Language, X-User-ID, X-Request-ID, X-Timestamp, "          \
	"X-Signature, X-Encrypted-Request, Idempotency-Key, traceparent, " \
	"Last-Event-ID"
#define CORS_EXPOSED                                                    \
	"X-Request-ID, X-RateLimit-Limit, X-RateLimit-Remaining, "      \
	"X-RateLimit-Reset, RateLimit, RateLimit-Policy, Retry-After, " \
	"Idempotent-Replayed, Quota-Warning"
#define CORS_MAX_AGE "3600"

struct cors;

/*
 * Reads CORS_ENABLED, CORS_ORIGINS and the environment.  NULL with a reason in
 * why (static text) when the list is not one that may be served.
 */
struct cors *cors_new(const struct settings *conf, const char **why);
void cors_free(struct cors *c);
AUTO_TYPE(cors, struct cors *, cors_free)

enum cors_verdict {
	CORS_NO,    /* no header but Vary */
	CORS_ANY,   /* "*" */
	CORS_EXACT, /* this origin, with credentials */
};
enum cors_verdict cors_check(const struct cors *c, struct str origin);

#endif
