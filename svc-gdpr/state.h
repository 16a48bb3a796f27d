/*
 * state - what the handlers of svc-gdpr share.
 *
 * Cache: replies of gdpr.stats by sub and of gdpr.leaderboard by limit, as
 * packed bodies, so that a hit is one copy on the receive callback.  They live
 * at most STATS_TTL_MS, because another replica may have written; what this
 * process writes is forgotten after its commit, so its own readers never see
 * anything older than what they were told is done.
 */
#ifndef SVC_GDPR_STATE_H
#define SVC_GDPR_STATE_H

#include "common/cache/cache.h"
#include "common/service/service.h"

#define STATS_TTL_MS 500
#define BOARD_TAG    STR("board")

struct gdpr_state {
	struct db_pool *pool;
	struct event_store *events;
	struct cache *cache;
	uint64_t ttl_ms; /* STATS_TTL_MS; tests have time */
};

enum err gdpr_start(struct service *sv, void **state) MUST_CHECK;
void gdpr_stop(void *state);

#endif
