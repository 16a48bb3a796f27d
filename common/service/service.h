/*
 * service - the life of a service: a value with methods, lanes and stores, so
 * that local/main.c can start several in one process (design D2, D4, D13, D15).
 *
 * A service is described by a `struct service_def` (static, const) and runs as
 * a `struct service`.  Its methods are rows of its methods.def; this library
 * reads the entry, finds the method, decodes its fields, enforces who may call,
 * picks the lane, runs the handler and packs the reply.
 *
 * Lanes:  INLINE  answered on the receive callback, memory only
 *         DB      worker threads, two per core, may block on the pool
 *         SLOW    few threads of its own: hashing, generation, export; and
 *                 any request that brings a SECRET field, whatever its row says
 * A method of the DB lane may have a `peek`, tried on the receive callback
 * first: true means that it has answered.  What it says that it looks for in
 * the shared tier (cached.h) is fetched from there, and it is tried once more,
 * on that tier's thread, before a worker is needed.
 * A full lane answers ERR_BUSY at once; an item whose deadline has passed is
 * dropped and counted.
 */
#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H

#include "common/base/conf.h"
#include "common/bus/bus.h"
#include "common/bus/entry.h"
#include "common/cache/cache.h"
#include "common/codec/fields.h"
#include "common/codec/mp.h"
#include "common/db/db.h"
#include "common/event/event.h"
#include "common/obs/health.h"
#include "common/obs/metrics.h"
#include "common/service/idempotency.h"
#include "common/service/retention.h"
#include "common/service/root_key.h"

struct service;
struct figures;
struct service_figures;
struct erase;
struct erase_def;
struct lane_conf;
struct program_flag;

enum lane {
	LANE_INLINE, /* at once, on the thread that receives: from memory */
	LANE_DB,
	/* The DB lane, of a method whose one db_ask() or db_read_one() is all
	 * that it waits for: what several of them read goes out together. */
	LANE_READ,
	LANE_SLOW, /* may take seconds */
	LANE_COUNT
};
/* What sending a call again does (design D8, D20). */
enum again {
	AGAIN_READ,  /* nothing: it has no effect */
	AGAIN_RETRY, /* an effect, which a repeat does not double */
	AGAIN_ONCE,  /* an effect; the bus sends it again with a key only */
	/* As RETRY, of the session rather than of the person: a key that was
	 * used in one session says nothing in another. */
	AGAIN_SESSION,
	/* As RETRY, of the erasure itself: it runs for somebody who is erased
	 * already, too, and its answer is not kept. */
	AGAIN_ERASE,
};
enum caller {
	CALL_GATEWAY, /* only the gateway, on behalf of anyone */
	CALL_USER,    /* only the gateway, with a person */
	CALL_ADMIN,   /* only the gateway, with an administrator */
	CALL_SERVICE, /* only a service principal, or the gateway itself */
};

/* state is the service's own (service_def.start). */
typedef enum err method_fn(void *state, struct ctx *cx, const void *in,
                           struct reply *out);
typedef bool peek_fn(void *state, struct ctx *cx, const void *in,
                     struct reply *out);
struct method;
/* Instead of m->run, on the DB lane, where a request's form is "events"; its
 * fields, read from body, are good.  Answers as a method that is RETRY. */
typedef enum err events_fn(void *state, struct ctx *cx, const struct method *m,
                           struct str body, struct reply *out);

struct method {
	const char *name; /* "quiz.submit" */
	enum lane lane;
	enum caller caller;
	enum again again;
	const struct field *fields;
	size_t fields_n, in_size;
	method_fn *run;
	peek_fn *peek; /* or NULL */
};

/*
 * methods.def is read several times, with these names defined differently:
 *
 *   METHOD(quiz_submit, "quiz.submit", DB, USER, ONCE, NULL)
 *   FIELD(quiz_submit, BODY, LINE, topic, REQUIRED, 1, 200, NULL, 0)
 *   END(quiz_submit)
 *
 * METHOD(id, name, INLINE|DB|READ|SLOW, caller, READ|RETRY|ONCE|SESSION|ERASE,
 * peek): run is method_<id>.  What is not again READ answers out of idem_write()
 * or idem_read(), so that an Idempotency-Key holds; one that succeeds without
 * fails instead.
 * FIELD(id, from, type, name, REQUIRED|OPTIONAL, min, max, text, number).
 * See service/methods.h for how a service includes it.
 */

struct service_def {
	enum bus_peer self;
	const char *name; /* "auth": also the PostgreSQL schema */
	const struct method *methods;
	size_t methods_n;
	const struct db_migration *migrations;
	size_t migrations_n;
	/* What it lets go when it is too old. */
	const struct retention_rule *retention;
	size_t retention_n;
	unsigned slow_threads; /* of the SLOW lane */
	/* Or NULL.  Says otherwise of the SLOW lane's threads and queue. */
	void (*slow_lane)(const struct settings *conf, struct lane_conf *lane);
	/* Or NULL: it has no root keys.  Its migrations then have the table of
	 * root_key.h. */
	root_probe_fn *root_probe;
	/*
	 * Builds the state; the database is migrated and the bus caller works.
	 * ERR_DATABASE: tried again.  The method table is not served before.
	 */
	enum err (*start)(struct service *sv, void **state);
	/* Or NULL.  Adds checks of the state, which stays until they are
	 * forgotten: not in start(), whose state may yet be freed.  False when a
	 * bound of health.h is reached. */
	bool (*show)(void *state, struct health *h);
	/* Requests have ended, and all of the service is still there: ends what
	 * works by itself; or NULL.  Before stop(). */
	void (*drain)(void *state);
	/* Requests have ended; ends threads and frees the state. */
	void (*stop)(void *state);
	/* Or NULL.  What the state counts; and an operator closes the breakers of
	 * the language models.  Called under a lock: neither waits nor calls
	 * anything of service_*(). */
	void (*figures)(void *state, struct service_figures *out);
	void (*llm_reset)(void *state);
	/* Events for this service (design D21), or NULL. */
	event_apply_fn *apply;
	/* Answers as they are made, to be followed; or NULL: there are none. */
	events_fn *events;
	/* What it has of people, or NULL.  Its migrations then have the table of
	 * event/erased.h. */
	const struct erase_def *erase;
	const struct program_flag *flags; /* of its own program (program.h) */
	size_t flags_n;
};

/* What the state may use; all live as long as the service. */
const struct settings *service_conf(const struct service *sv);
struct db_pool *service_pool(struct service *sv);
struct bus_caller *service_caller(struct service *sv);
struct event_store *service_events(struct service *sv);
struct idem *service_idem(struct service *sv);
struct erase *service_erase(struct service *sv); /* NULL: def has none */
/* While start() runs, which derives its keys from them. */
const struct root_keys *service_root_keys(const struct service *sv);
struct root_key *service_root_key(struct service *sv); /* NULL: def has none */
struct metrics *service_metrics(struct service *sv);
const char *service_instance(const struct service *sv); /* unique per process */
void service_kick(struct service *sv); /* outbox has something: after commit */
/* To every gateway that is connected (revocations). */
void service_push(struct service *sv, struct str bytes);
/*
 * The cache of the service (design D22), made by the first call, from start();
 * NULL without memory.  It is freed before stop(): its loads use the state.
 */
struct cache *service_cache(struct service *sv) MUST_CHECK;

struct service_env {
	const struct settings *conf;
	struct metrics *metrics; /* shared in one process */
	struct health *health;   /* or NULL */
	struct figures *figures; /* or NULL: what it counts is not shown */
	/* Any thread: service_ready() or service_failed() has become true. */
	void (*changed)(void *arg);
	void *arg;
	const char *listen;           /* bus URL to listen on */
	const char *urls[PEER_COUNT]; /* of the others; NULL: never called */
	const struct bus_keys *keys;
};

/*
 * Starts in the background: listens, migrates with back-off until the database
 * is there, calls def->start, then is ready.  ERR_EXISTS: address taken.
 * ERR_INVALID: will never work (told on the log).
 */
enum err service_start(const struct service_def *def,
                       const struct service_env *env,
                       struct service **out) MUST_CHECK;
bool service_ready(const struct service *sv);
/* True when the service has given up (newer schema, bad setting): exit 2. */
bool service_failed(const struct service *sv);
/*
 * For a gateway in the same process, while the service runs (struct near of gateway.h):
 * answers its entry from memory on the calling thread, or false.
 */
bool service_at_once(void *service, const struct entry_near *near) MUST_CHECK;
/* Other secrets of the bus from now on; see bus_client_rekey().  ERR_NOMEM: all
 * is as before. */
enum err service_rekey(struct service *sv,
                       const struct bus_keys *keys) MUST_CHECK;
/*
 * Refuses new work, finishes what runs within grace_ms, sends the outbox.
 * Health and figures can still be asked.
 */
void service_drain(struct service *sv, uint64_t grace_ms);
/*
 * Drains if that is still to do, and frees.  What waits in a lane after
 * grace_ms is refused; what runs is waited for, its own deadline bounds it.
 * Forgets the checks of health that have the service's name.
 */
void service_stop(struct service *sv, uint64_t grace_ms);

/*
 * main() of a single service: settings, flags, log, admin port, signals,
 * drain.  See program.h.
 */
int service_main(const struct service_def *def, int argc, char **argv);

#endif
