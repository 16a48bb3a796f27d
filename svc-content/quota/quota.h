/*
 * quota - what a person may have of the language models, and what they had
 * (docs/quotas.md).
 *
 * Why:     a call costs money when it is over, so what it may cost is reserved
 *          before it and settled after it.  Parallel calls, in several threads
 *          or replicas, cannot together spend more than is left.
 *
 *   struct quota_hold h;
 *   const struct quota_ask ask = {"create_presentation", 20 * 2000};
 *
 *   e = quota_hold(ct->quota, cx, &ask, &h);
 *   if (e)
 *           return e;                 ERR_QUOTA: the problem is in cx
 *   if (h.offline)
 *           answer from the offline provider, with h.warning among the warnings
 *   else
 *           call providers; each call that ended: quota_used(&h, ...)
 *   e = idem_write(...);              the answer, or its error
 *   ... quota_settle(ct->quota, cx, &h) in either case
 *   quota_tell(&h, cx, out);
 *
 * One hold is one generation of a person, however many calls it makes.  It is
 * taken only for what must be made: an answer out of the cache takes none, and of
 * a single flight only the one that loads.  The offline provider takes a request
 * and no tokens (ask.tokens 0).
 *
 * Requests a day that are spent are a refusal.  Tokens that are spent are none:
 * the offline provider costs nothing, so the answer comes from there and says so.
 *
 * Bounds:  QUOTA_USES models in one hold; numbers up to QUOTA_TOKENS_MAX, what is
 *          beyond counts as that.
 * Lives:   a hold that nobody settles, because its process died, ends by itself
 *          QUOTA_GRACE_MS after the deadline of its request.
 * Owns:    nothing; a hold is plain data, and belongs to one thread at a time.
 * Threads: any; the functions with a cx block on the database (DB and SLOW lanes).
 */
#ifndef SVC_CONTENT_QUOTA_QUOTA_H
#define SVC_CONTENT_QUOTA_QUOTA_H

#include "common/base/conf.h"
#include "common/base/uuid.h"
#include "common/bus/entry.h"
#include "common/db/db.h"
#include "common/event/erased.h"
#include "common/obs/metrics.h"
#include "svc-content/quota/provider.h"

#define QUOTA_TOKENS_MAX  INT64_C(1000000000000)
#define QUOTA_USES        8
#define QUOTA_MODEL_MAX   64
#define QUOTA_GRACE_MS    60000
#define QUOTA_WARNING_MAX 200

struct quota;

/* NULL without memory.  metrics and erased may be NULL. */
struct quota *quota_new(const struct settings *conf, struct db_pool *pool,
                        struct erased *erased, struct metrics *metrics);
void quota_free(struct quota *q); /* NULL is fine */
AUTO_TYPE(quota, struct quota *, quota_free)

/* The clock; for tests, before the first hold. */
void quota_clock(struct quota *q, int64_t (*now_ms)(void));

/*
 * The providers in the order in which they are asked; copied.  Before the first
 * request, also where there are none: their figures are shown from then on.
 * Without prices, estimates use those of Gemini.
 */
struct quota_provider {
	const char *name, *model;
	uint64_t price_in, price_out; /* micro-dollars for a million tokens */
};
enum err quota_providers(struct quota *q, const struct quota_provider *list,
                         unsigned n) MUST_CHECK;
/* For svc-content/llm, before each try and behind it: whether this process may send that provider one more request of about so many
 * tokens now (provider.h).  False: ask the next one, or answer offline. */
bool quota_provider_take(struct quota *q, unsigned provider, uint64_t tokens,
                         struct provider_take *out) MUST_CHECK;
void quota_provider_settle(struct quota *q, const struct provider_take *t,
                           uint64_t tokens);

struct quota_ask {
	const char *route; /* static: "create_presentation" */
	uint64_t tokens;   /* in and out, of all calls; an estimate */
};

struct quota_use {
	char provider[QUOTA_MODEL_MAX + 1], model[QUOTA_MODEL_MAX + 1];
	uint64_t calls, tokens_in, tokens_out;
	uint64_t cost; /* micro-dollars */
};

struct quota_hold {
	char id[UUID_MAX]; /* empty: there is none, as after a settle */
	const char *route;
	/* Tokens are spent: no provider may be called. */
	bool offline;
	/* For the answer's warnings; empty: nothing to say. */
	char warning[QUOTA_WARNING_MAX];
	/* How the person stands, for quota_tell(); empty: below 75 %. */
	char standing[160];
	size_t uses_n;
	struct quota_use uses[QUOTA_USES];
};

/*
 * Reserves for the person of cx (sub and tier; a guest's is ERR_LOGIN_NEEDED).
 * ERR_QUOTA: the requests of the day are spent; cx->problem says of which
 * period, how much and until when.  ERR_BAD_TOKEN: they are erased.  An error of
 * the database reserves nothing.
 */
enum err quota_hold(struct quota *q, struct ctx *cx,
                    const struct quota_ask *ask,
                    struct quota_hold *out) MUST_CHECK;
/* Adds to what is to be settled; memory only.  Calls of the same model are
 * summed, those of more than QUOTA_USES models under the last one. */
void quota_used(struct quota_hold *h, const char *provider, const char *model,
                uint64_t tokens_in, uint64_t tokens_out, uint64_t cost);
/*
 * Turns the hold into usage: what was really used, also when that is more than
 * was held, or the hold has expired.  A second one does nothing.  It does not
 * stop at a deadline that has passed: what was spent has to be written down.
 * An error leaves the hold, to try again or to expire.
 */
enum err quota_settle(struct quota *q, struct ctx *cx,
                      struct quota_hold *h) MUST_CHECK;
/* Gives it back: nothing was made.  What quota_used() has told was paid all the
 * same and is written down.  Errors are for the log: it expires. */
void quota_drop(struct quota *q, struct ctx *cx, struct quota_hold *h);
/* Headers, copied into the arena of cx: how the person stands, where 75 % are
 * used; and what the gateway counts per minute.  Last of all. */
void quota_tell(const struct quota_hold *h, struct ctx *cx, struct reply *out);

#endif
