/*
 * content - the state that the handlers of svc-content share.
 *
 * Threads: read-only after start(); cache, pool and dictionary take any thread.
 */
#ifndef SVC_CONTENT_CONTENT_H
#define SVC_CONTENT_CONTENT_H

#include "svc-content/generate/setup.h"
#include "svc-content/image/decode.h"
#include "svc-content/llm/llm.h"
#include "svc-content/offline/wordnet.h"
#include "svc-content/quota/quota.h"

#include "common/base/ctx.h"
#include "common/cache/cache.h"
#include "common/db/db.h"
#include "common/event/event.h"
#include "common/obs/metrics.h"
#include "common/service/idempotency.h"

struct jobs;

struct content {
	struct db_pool *pool;
	struct event_store *events;
	struct idem *idem;
	struct cache *cache;
	struct jobs *jobs;  /* NULL: nothing is asked for as events */
	struct wordnet *wn; /* NULL: no dictionary, study plans only */
	struct llm *llm;    /* NULL: no provider, offline answers only */
	struct generation gen;
	struct quota *quota;
	struct decoder *decoder; /* of pictures */
	uint64_t image_pixels, image_ttl_ms;
	uint64_t outline_ttl_ms, quiz_ttl_ms;
	struct metric_family *site_events; /* by outcome; NULL in tests */
	struct metric_family *generated;   /* by endpoint and source; as well */
	/* Tells the relay that the outbox has something; NULL in tests. */
	void (*kick)(void *arg);
	void *arg;
};

static inline void content_kick(const struct content *ct)
{
	if (ct->kick)
		ct->kick(ct->arg);
}

#endif
