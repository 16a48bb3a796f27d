/*
 * admin - the gateway's routes for administrators: figures, breakers, caches.
 *
 * A row's `ask` puts its question to the replicas (survey.h); when they have
 * answered, or cannot, `run` writes the answer from what came and from what the
 * gateway counts itself.  What a service says in words is never passed on.
 *
 * Breakers: "redis" is the one before the cache's shared tier, of which each
 * replica of a service has its own; "auth", "content" and "gdpr" are the
 * gateway's own view of their replicas: open when none can be asked, half open
 * when some cannot.
 *
 * Inside the gateway only; the loop's own thread.
 */
#ifndef GATEWAY_ADMIN_H
#define GATEWAY_ADMIN_H

#include "gateway/req.h"
#include "gateway/survey.h"

own_fn admin_ask_stats, admin_metrics, admin_stats;
own_fn admin_ask_clear, admin_ask_invalidate, admin_invalidated;
own_fn admin_ask_breaker, admin_breaker;
own_fn admin_ask_reset, admin_reset;
/* For the rows' `note`. */
enum err admin_note_clear(struct req *rq, struct buf *body);
enum err admin_note_invalidate(struct req *rq, struct buf *body);
enum err admin_note_reset(struct req *rq, struct buf *body);

/* Of the replicas that answered. */
double admin_sum(const struct survey *s, enum survey_number n);
/* Puts a question to the services of peers; for the rows' `ask`. */
enum err admin_ask(struct req *rq, unsigned peers, const char *op,
                   struct str body) MUST_CHECK;

enum admin_breaker_state { ADMIN_CLOSED, ADMIN_OPEN, ADMIN_HALF_OPEN };
struct admin_breaker {
	enum admin_breaker_state state;
	double failures, successes;
};
const char *admin_breaker_name(enum admin_breaker_state s);
/* What is known of the replicas of a service, or of those that ask Redis. */
void admin_breaker_of(const struct survey *s, enum bus_peer peer,
                      struct admin_breaker *out);
void admin_breaker_of_redis(const struct survey *s, struct admin_breaker *out);
/* Whether a service has told that it has a shared tier. */
bool admin_has_redis(const struct req *rq);

#endif
