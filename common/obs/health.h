/*
 * health - what a program says of itself, and the admin port that says it
 * (design D14).
 *
 * /livez, /healthz   200 while the process turns; looks at nothing else
 * /readyz            200, or 503 while starting, draining, or while a critical
 *                    dependency has been down for 10 s.  JSON lists every
 *                    dependency with its state; /readyz/<service> is one part
 * /metrics           Prometheus text
 *
 * A check is a function that says how a dependency is now; it must not block
 * (report what the library already knows).
 *
 * Threads: any.
 */
#ifndef OBS_HEALTH_H
#define OBS_HEALTH_H

#include "common/obs/metrics.h"

#include "common/base/err.h"

enum health_state { HEALTH_UP, HEALTH_DEGRADED, HEALTH_DOWN };
const char *health_state_name(enum health_state s); /* "up", ... */

struct health;
struct health *health_new(void);
void health_free(struct health *h);
AUTO_TYPE(health, struct health *, health_free)

/* detail takes 160 bytes, for people; never internals of a person. */
typedef enum health_state health_check_fn(void *arg, char *detail,
                                          size_t detail_max);
/*
 * part: whose dependency ("auth", "gateway"); critical: DOWN for 10 s makes the
 * program unready.  False without memory.
 */
bool health_check(struct health *h, const char *part, const char *name,
                  bool critical, health_check_fn *fn, void *arg) MUST_CHECK;

enum health_phase { PHASE_STARTING, PHASE_READY, PHASE_DRAINING };
void health_phase(struct health *h, const char *part, enum health_phase p);
/* part NULL: all.  Appends the JSON; true: ready. */
bool health_render(struct health *h, const char *part, int64_t now_ms,
                   struct buf *out);

struct admin; /* the admin port: one small thread */
struct admin_conf {
	const char *bind;
	unsigned port; /* 0: a free one */
	struct metrics *metrics;
	struct health *health;
};
/* ERR_EXISTS: the port is taken. */
enum err admin_start(const struct admin_conf *conf,
                     struct admin **out) MUST_CHECK;
unsigned admin_port(const struct admin *a);
void admin_stop(struct admin *a);
AUTO_TYPE(admin, struct admin *, admin_stop)

#endif
