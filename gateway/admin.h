/*
 * admin - the gateway's routes for administrators: figures, breakers, caches.
 *
 * A row's `ask` puts its question to the replicas (survey.h); when they have
 * answered, or cannot, `run` writes the answer from what came and from what the
 * gateway counts itself.  What a service says in words is never passed on.
 *
 * Breakers: "redis" is the one before the cache's shared tier, of which each
 * replica of a service has its own, and "google_ai" those before the providers
 * of language models, whichever they are; "auth", "content" and "gdpr" are the
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
	double failed_s; /* since 1970; 0: never, or not known */
};
const char *admin_breaker_name(enum admin_breaker_state s);
/* What is known of the replicas of a service. */
void admin_breaker_of(const struct survey *s, enum bus_peer peer,
                      struct admin_breaker *out);

/* What services have a breaker of their own before. */
struct admin_backend {
	const char *name;
	unsigned peers;    /* who has one: bits, 1 << PEER_... */
	const char *reset; /* an act of common/service/operate.h */
	enum survey_number state;
	bool (*is_there)(const struct req *rq); /* as services have told */
	void (*count)(const struct survey *s, struct admin_breaker *out);
};
/* Those that are there, one after the other from *i = 0; NULL: no more. */
const struct admin_backend *admin_backend_next(const struct req *rq, size_t *i);
const struct admin_backend *admin_backend_from(const struct req *rq,
                                               struct str name);
void admin_breaker_before(const struct survey *s, const struct admin_backend *b,
                          struct admin_breaker *out);
bool admin_has_redis(const struct req *rq);

#endif
