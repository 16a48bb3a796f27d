/*
 * limit - how often who may ask for what: rate limits and quotas.
 *
 * Why:     one client must not take what all share, and a learner's tier is a
 *          promise in both directions (contract 4.4.4).
 * What:    every request but health counts for its address (of IPv6 the /64);
 *          then for the policies of its route's rate class: reads and writes
 *          per person, logins per address, generation per person by the
 *          quotas of the tier, in requests and in tokens of the model.  A
 *          person's keys and sessions count together, so more keys are not
 *          more quota; and each API key counts for itself besides, so that one
 *          script that runs away leaves its owner something.  A quota of 0 sets
 *          no limit.
 * Form:    GCRA (limit_gcra.h): a burst of the whole quota, then one unit every
 *          window / quota.  All policies of a request are taken or none.
 * Tokens:  a request is let in while there is at least one; what it used is
 *          charged when the service has said so in KAE-Tokens.
 * Shared:  with REDIS_URL gateways count together.  Logins, generation and
 *          exports ask Redis (limits_ask(), up to LIMIT_WAIT_MS, and then stand
 *          as counted here), and so does what is so rare that a lease would be
 *          one unit.  Anything else is counted here and told in the background:
 *          a gateway is at most one lease of max(1, quota / 20) ahead of what
 *          the others know, so that together they let in at most
 *          quota + burst + (gateways - 1) * lease in a window, burst = quota.
 *          While Redis is away each gateway counts for itself.
 * Bounds:  LIMIT_BUCKETS buckets in memory asked for at start; a decision
 *          allocates nothing and never waits.
 * Threads: any.
 */
#ifndef GATEWAY_LIMIT_H
#define GATEWAY_LIMIT_H

#include "common/base/conf.h"
#include "common/base/ctx.h"
#include "gateway/forwarded.h"
#include "gateway/limit_shared.h"
#include "gateway/route.h"

#define LIMIT_BUCKETS 131072
/* What a service used of the model for a reply: a header of the reply that no
 * client sees. */
#define LIMIT_TOKENS_HEADER "KAE-Tokens"

enum limit_policy {
#define LIMIT(id, name, seconds, counts, in) LIMIT_##id,
#include "gateway/limit.def"
#undef LIMIT
	LIMIT_POLICIES,
};

const char *limit_name(enum limit_policy p);

struct limits;

/* NULL without memory.  conf is read here only. */
struct limits *limits_new(const struct settings *conf);
void limits_free(struct limits *l);
AUTO_TYPE(limits, struct limits *, limits_free)

struct limit_who {
	struct addr client;
	struct str sub; /* empty: a guest, whom no policy per person counts */
	struct str key; /* the id of the API key; empty: asked without one */
	enum tier tier;
};

/* How one policy stands after a request. */
struct limit_item {
	enum limit_policy policy;
	uint64_t quota, left;
	unsigned window_s;
	unsigned reset_s; /* none left: until one is; else until all are */
};

#define LIMIT_ITEMS (1 + LIMIT_COSTS)
struct limit_decision {
	bool refused; /* by the last of items */
	size_t n;
	struct limit_item items[LIMIT_ITEMS];
};

/*
 * What can be said before it is known who asks: the address.  False: refused.
 * *d is added to by both.  here_only: the others are not told, since nothing
 * will come of this request anyway.
 */
bool limits_address(struct limits *l, const struct limit_who *who,
                    enum rate rate, bool here_only, uint64_t now_ns,
                    struct limit_decision *d);
bool limits_class(struct limits *l, const struct limit_who *who, enum rate rate,
                  uint64_t now_ns, struct limit_decision *d);
/*
 * Begins to count together with other gateways over wire; answers to
 * limits_ask() come on a thread of its own.  False without memory.
 */
bool limits_share(struct limits *l, const struct limit_shared_conf *conf);
/* After limits_class() has let it in: false when that was all. */
bool limits_ask(struct limits *l, const struct limit_who *who, enum rate rate,
                void *asker, uint64_t serial);
/* The answer to it.  False: refused after all, as *d now says. */
bool limits_settle(struct limits *l, const struct limit_who *who,
                   enum rate rate, uint64_t now_ns,
                   const struct limit_answer *a, struct limit_decision *d);
bool limits_are_shared(const struct limits *l); /* just now */

/* What the model used for a request that was let in. */
void limits_tokens(struct limits *l, const struct limit_who *who,
                   uint64_t tokens, uint64_t now_ns);

/* The words for the client, in cx; returns the error. */
enum err limit_refuse(struct ctx *cx, const struct limit_decision *d);
/* The item that binds most: of fewest left. NULL: nothing was counted. */
const struct limit_item *limit_tightest(const struct limit_decision *d);
/* draft-ietf-httpapi-ratelimit-headers-10.  Each takes LIMIT_HEADER_MAX. */
#define LIMIT_HEADER_MAX 384
void limit_write_policy(const struct limit_decision *d,
                        char out[LIMIT_HEADER_MAX]);
void limit_write_left(const struct limit_decision *d,
                      char out[LIMIT_HEADER_MAX]);

struct limit_figures {
	struct {
		uint64_t taken, refused;
	} of[LIMIT_POLICIES];
	uint64_t evicted; /* buckets forgotten before they were full again */
	/* Answers that did not come in time; times that none came. */
	uint64_t unheard, outages;
};
void limits_figures(const struct limits *l, struct limit_figures *out);

#endif
