/*
 * health - what a program says of itself, and the admin port that says it
 * (design D14).
 *
 * /livez, /healthz   200 while the process turns; looks at nothing else
 * /readyz            200, or 503 while starting, draining, or while a critical
 *                    dependency has been down for 10 s.  JSON lists every
 *                    dependency with its state; /readyz/<service> is one part;
 *                    ?verbose also what a dependency consists of
 * /metrics           Prometheus text
 * /status            HTML for people, where the program has such a page
 *
 * A check is a function that says how a dependency is now; it must not block
 * (report what the library already knows) nor call this library.  Checks run
 * when somebody asks; how long a dependency has been down counts from the first
 * answer that found it down.
 *
 * Bounds:  HEALTH_PARTS_MAX parts, HEALTH_CHECKS_MAX checks, names of up to 31
 *          bytes.
 * Threads: any.
 */
#ifndef OBS_HEALTH_H
#define OBS_HEALTH_H

#include "common/obs/metrics.h"

#include "common/base/err.h"

#define HEALTH_PARTS_MAX  8
#define HEALTH_CHECKS_MAX 64
#define HEALTH_GRACE_MS   10000 /* a critical dependency may be down so long */

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
 * program unready.  False when a bound is reached.  A part begins as starting.
 */
bool health_check(struct health *h, const char *part, const char *name,
                  bool critical, health_check_fn *fn, void *arg) MUST_CHECK;

/* Appends JSON values with commas between; as little may be waited for. */
typedef void health_list_fn(void *arg, struct buf *out);
/*
 * What the dependency consists of, told as the member `list` of its check to
 * whoever asks for all there is.  After health_check(), whose arg is fn's.
 * False: there is no such check.
 */
bool health_list(struct health *h, const char *part, const char *name,
                 const char *list, health_list_fn *fn) MUST_CHECK;

enum health_phase { PHASE_STARTING, PHASE_READY, PHASE_DRAINING };
void health_phase(struct health *h, const char *part, enum health_phase p);
/* Before what the checks of part look at is freed: after it returns, none of
 * them is running and none ever will again.  The phase stays. */
void health_forget(struct health *h, const char *part);
bool health_has(struct health *h, const char *part);
/*
 * part NULL: all.  now_ms is of any clock that does not jump.  Appends the JSON:
 *   {"ready":true,"status":"ready","parts":{"auth":{"ready":true,
 *    "status":"degraded","checks":{"redis":{"status":"down","critical":false,
 *    "down_s":7,"detail":"connection refused"}}}}}
 * status of a part: starting, draining, down, degraded or ready.  verbose: with
 * the lists of health_list().  True: ready.
 */
struct health_ask {
	const char *part;
	int64_t now_ms;
	bool verbose;
};
bool health_render(struct health *h, const struct health_ask *ask,
                   struct buf *out);

/*
 * What one part says, as msgpack for those who ask over the bus:
 *   {"checks": {"database": {"status": "up", "message": "SQLite, ..."}},
 *    "ready": true, "status": "ready"}
 * A part of which nothing is known is starting.
 */
void health_pack(struct health *h, const char *part, int64_t now_ms,
                 struct buf *out);

/* Appends a page; as a check, it must not block. */
typedef void health_page_fn(void *arg, struct buf *out);
/* What /status shows from now on, until health_forget() of the part. */
void health_page(struct health *h, const char *part, health_page_fn *fn,
                 void *arg);
/* False: there is none. */
bool health_show(struct health *h, struct buf *out) MUST_CHECK;

/* The same as Prometheus text: kae_ready and kae_dependency_state. */
void health_metrics(struct health *h, int64_t now_ms, struct buf *out);

/*
 * The admin port: one small thread, at most ADMIN_CONNECTIONS_MAX connections,
 * each idle for at most ADMIN_IDLE_S.  GET and HEAD; anything else is a JSON
 * problem.  Queries other than ?verbose are ignored.
 */
#define ADMIN_CONNECTIONS_MAX 32
#define ADMIN_IDLE_S          10

struct admin;
struct admin_conf {
	const char *bind;
	unsigned port; /* 0: a free one */
	struct metrics *metrics;
	struct health *health;
};
/* ERR_EXISTS: the port is taken.  ERR_INVALID: bind is no address of this
 * machine.  Metrics and health must live until admin_stop(). */
enum err admin_start(const struct admin_conf *conf,
                     struct admin **out) MUST_CHECK;
unsigned admin_port(const struct admin *a);
void admin_stop(struct admin *a);
AUTO_TYPE(admin, struct admin *, admin_stop)

#endif
