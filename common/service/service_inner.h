/*
 * service_inner - the inside of a service, shared by its files and nobody else.
 *
 *     service.c            what its state may use; it starts, drains, stops
 *     service_parts.c      what it has (pool, lanes, stores) is made and freed
 *     service_requests.c   from the bus, or this process, to dispatch
 *     service_builtin.c    the methods that every service has
 *     service_health.c     its checks of health and its figures
 *     service_starter.c    the thread that migrates and brings it up
 */
#ifndef SERVICE_SERVICE_INNER_H
#define SERVICE_SERVICE_INNER_H

#include "common/service/dispatch.h"
#include "common/service/erase.h"
#include "common/service/figures.h"
#include "common/service/lane.h"
#include "common/service/service.h"

#include <pthread.h>
#include <stdatomic.h>

struct probe { /* one bus peer, as a health check sees it */
	struct service *sv;
	enum bus_peer peer;
};

struct service {
	const struct service_def *def;
	struct service_env env;
	char instance[UUID_MAX];

	struct db_pool *pool;
	struct event_store *events;
	struct idem *idem;
	struct erased *erased; /* these two: NULL where def->erase is */
	struct erase *erase;
	struct root_key *root_key;  /* NULL where def->root_probe is */
	struct root_keys root_keys; /* while def->start() runs */
	struct bus_caller *caller;
	struct bus_server *server;
	struct lane_pool *lanes[LANE_COUNT];
	struct dispatch *dispatch;
	struct probe probes[PEER_COUNT];

	pthread_t starter;
	bool starter_runs, drained;
	/* The starter's own, others look after it was joined or is ready. */
	bool migrated;
	void *state;

	atomic_bool ready, failed;
	_Atomic(struct cached *) cached;
	pthread_mutex_t lock; /* of the four below */
	pthread_cond_t stop_asked;
	bool stopping;
	bool shown; /* the state can be looked at, from any thread */
	struct event_relay *relay;
	struct retention *retention;
};

/* --- service_parts.c -------------------------------------------------------------- */

/* On an error some are made; service_free_parts() frees those that are. */
enum err service_make_parts(struct service *sv) MUST_CHECK;
void service_free_parts(struct service *sv);

/* --- service_requests.c ----------------------------------------------------------- */

enum err service_make_dispatch(struct service *sv) MUST_CHECK;
enum err service_make_server(struct service *sv) MUST_CHECK; /* and listens */

/* --- service_builtin.c ------------------------------------------------------------ */

/* Those that it has; their arg is sv. */
void service_builtins(const struct service *sv, builtin_fn *out[BUILTIN_COUNT]);

/* --- service_health.c ------------------------------------------------------------- */

void service_give_figures(void *service, struct service_figures *out);
/* Figures and checks can be asked from now on. */
enum err service_show(struct service *sv) MUST_CHECK;
/* Not under our lock: health asks its checks, which take ours, under its own. */
void service_set_phase(struct service *sv, enum health_phase p);

/* --- service_starter.c ------------------------------------------------------------ */

enum err service_make_starter(struct service *sv) MUST_CHECK;

#endif
