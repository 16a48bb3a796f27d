/*
 * state - what the handlers of svc-gdpr share.
 *
 * Cache: replies of gdpr.stats by sub and of gdpr.leaderboard by limit, as
 * packed bodies, so that a hit is one copy on the receive callback.  What this
 * process writes is forgotten after its commit, so its own readers never see
 * anything older than what they were told is done.  Another replica may have
 * written too: without REDIS_URL they live at most STATS_TTL_MS for that; with
 * it replicas tell each other, and CACHE_DEGRADED_TTL_S bounds what is served
 * while they cannot.
 *
 * While the database is away, what was last known is served for a while, and
 * Cache-Status says so.  The leaderboard is renewed before its time is over,
 * without anybody waiting for it.
 */
#ifndef SVC_GDPR_STATE_H
#define SVC_GDPR_STATE_H

#include "common/cache/cache.h"
#include "common/service/service.h"

#define STATS_TTL_MS   500
#define STATS_STALE_MS 10000
#define BOARD_TAG      STR("board")
/* Who is on it is a question of permission (design D23): no replica serves it
 * for longer, whatever it has not heard. */
#define BOARD_TTL_MAX_MS 1000
#define BOARD_STALE_MS   60000
#define BOARD_SOFT_MS    200
#define BOARD_EAGER      80 /* percent of the time to live */
#define BOARD_LOAD_MS    5000

struct breach_watch;

struct eraser_desk; /* erasure.h */

struct exports; /* export.h */

struct gdpr_state {
	struct db_pool *pool;
	struct event_store *events;
	struct cache *cache;
	struct idem *idem;
	uint64_t ttl_ms;       /* see above; tests have time */
	uint64_t board_ttl_ms; /* the same, and at most BOARD_TTL_MAX_MS */
	/* Tells the relay that the outbox has something; NULL in tests. */
	void (*kick)(void *arg);
	void *arg;
	struct breach_watch *watch; /* or NULL, in tests */
	struct eraser_desk *desk;   /* of erasures; NULL in tests without */
	struct bus_caller *caller;
	struct str folder;   /* where exports are spooled */
	uint64_t export_max; /* bytes of one */
	struct exports *exports;
};

static inline void gdpr_kick(const struct gdpr_state *st)
{
	if (st->kick)
		st->kick(st->arg);
}

enum err gdpr_start(struct service *sv, void **state) MUST_CHECK;
void gdpr_stop(void *state);

#endif
