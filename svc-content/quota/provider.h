/*
 * provider - how much a provider may be asked by this process, so that its own
 * limits are not met (contract 4.4.7).
 *
 * Why:     a provider that refuses has cost a round trip, and some count what
 *          they refuse.  Whoever is refused here asks the next provider, or
 *          answers offline; a learner never sees it.
 * What:    requests and tokens in any 60 seconds, and of the UTC day; each times
 *          QUOTA_SAFETY_PERCENT.  In memory, per process.
 *
 *   if (!provider_take(p, i, estimate, wall_ms(), &t))
 *           try provider i + 1
 *   ... the call ...
 *   provider_settle(p, &t, tokens_in + tokens_out);   also 0: it failed
 *
 * Threads: any; one internal lock, a leaf.  Allocates nothing after _new().
 */
#ifndef SVC_CONTENT_QUOTA_PROVIDER_H
#define SVC_CONTENT_QUOTA_PROVIDER_H

#include "common/base/attr.h"
#include "common/base/conf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROVIDERS_MAX 16

struct provider_limits {
	uint64_t rpm, rpd, tpm, tpd; /* 0: none.  Safety is taken off already */
};
/* What the settings say for a provider; gemini: those that are not set are
 * Gemini's, else none. */
struct provider_limits provider_limits_of(const struct settings *conf,
                                          bool gemini);

struct provider_quota;
struct provider_take {
	unsigned provider;
	uint64_t tokens;
	int64_t second;
	bool by_tokens; /* refused, and not for the number of requests */
};

/* n <= PROVIDERS_MAX, copied.  NULL without memory. */
struct provider_quota *provider_new(const struct provider_limits *limits,
                                    unsigned n);
void provider_free(struct provider_quota *p); /* NULL is fine */
AUTO_TYPE(provider, struct provider_quota *, provider_free)

/* False: not now.  A provider that is not there is never refused. */
bool provider_take(struct provider_quota *p, unsigned provider, uint64_t tokens,
                   int64_t now_ms, struct provider_take *out);
/* What it really was. */
void provider_settle(struct provider_quota *p, const struct provider_take *t,
                     uint64_t tokens);

struct provider_usage {
	struct provider_limits limits;
	uint64_t requests_minute, requests_day, tokens_minute, tokens_day;
};
void provider_usage(struct provider_quota *p, unsigned provider, int64_t now_ms,
                    struct provider_usage *out);

#endif
