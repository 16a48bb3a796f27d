#include "common/service/service_inner.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/base/uuid.h"

#include <stdlib.h>

/* --- what the state may use ----------------------------------------------- */

const struct settings *service_conf(const struct service *sv)
{
	return sv->env.conf;
}

struct db_pool *service_pool(struct service *sv)
{
	return sv->pool;
}

struct bus_caller *service_caller(struct service *sv)
{
	return sv->caller;
}

struct event_store *service_events(struct service *sv)
{
	return sv->events;
}

struct idem *service_idem(struct service *sv)
{
	return sv->idem;
}

struct erase *service_erase(struct service *sv)
{
	return sv->erase;
}

const struct root_keys *service_root_keys(const struct service *sv)
{
	return &sv->root_keys;
}

struct root_key *service_root_key(struct service *sv)
{
	return sv->root_key;
}

struct metrics *service_metrics(struct service *sv)
{
	return sv->env.metrics;
}

const char *service_instance(const struct service *sv)
{
	return sv->instance;
}

void service_kick(struct service *sv)
{
	GUARD(&sv->lock);

	if (sv->relay)
		event_kick(sv->relay);
}

void service_push(struct service *sv, struct str bytes)
{
	bus_server_push(sv->server, bytes);
}

struct cache *service_cache(struct service *sv)
{
	struct cached *c = atomic_load(&sv->cached);

	if (c)
		return cached_cache(c);
	c = cached_new(sv->env.conf, sv->def->name);
	if (!c)
		return NULL;
	atomic_store(&sv->cached, c);
	if (sv->env.health && cached_is_shared(c) &&
	    !health_check(sv->env.health, sv->def->name, "redis", false,
	                  cached_check, c))
		return NULL; /* freed with the service */
	return cached_cache(c);
}

enum err service_rekey(struct service *sv, const struct bus_keys *keys)
{
	enum err e = bus_server_rekey(sv->server, keys);

	if (!e)
		bus_caller_rekey(sv->caller, keys);
	return e;
}

bool service_ready(const struct service *sv)
{
	return atomic_load(&sv->ready);
}

bool service_failed(const struct service *sv)
{
	return atomic_load(&sv->failed);
}

/* --- life ----------------------------------------------------------------------- */

static struct service *service_new(const struct service_def *def,
                                   const struct service_env *env)
{
	struct service *sv = calloc(1, sizeof(*sv));
	pthread_condattr_t attr;

	if (!sv)
		return NULL;
	sv->def = def;
	sv->env = *env;
	(void)uuid7(sv->instance);
	pthread_mutex_init(&sv->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&sv->stop_asked, &attr);
	pthread_condattr_destroy(&attr);
	return sv;
}

enum err service_start(const struct service_def *def,
                       const struct service_env *env, struct service **out)
{
	struct service *sv = service_new(def, env);
	enum err e = sv ? OK : ERR_NOMEM;

	if (sv)
		service_set_phase(sv, PHASE_STARTING);
	if (!e)
		e = service_make_parts(sv);
	if (!e)
		e = service_show(sv);
	if (!e)
		e = service_make_starter(sv);
	if (e) {
		service_stop(sv, 0);
		return e;
	}
	*out = sv;
	return OK;
}

static void ask_stop(struct service *sv)
{
	GUARD(&sv->lock);

	sv->stopping = true;
	atomic_store(&sv->ready, false);
	pthread_cond_broadcast(&sv->stop_asked);
}

static struct event_relay *take_relay(struct service *sv)
{
	GUARD(&sv->lock);

	return STEAL(sv->relay);
}

void service_drain(struct service *sv, uint64_t grace_ms)
{
	const uint64_t until_ms = mono_ms() + grace_ms;

	if (!sv || sv->drained)
		return;
	sv->drained = true;
	ask_stop(sv);
	service_set_phase(sv, PHASE_DRAINING);
	if (sv->server)
		bus_server_drain(sv->server);
	if (sv->starter_runs)
		pthread_join(sv->starter, NULL);
	/* Again, in case it became ready just then. */
	service_set_phase(sv, PHASE_DRAINING);
	if (sv->dispatch) {
		dispatch_close(sv->dispatch);
		if (!dispatch_idle(sv->dispatch, until_ms))
			log_warn(&(struct ctx){.service = sv->def->name},
			         "service.grace_over",
			         LOG_U64("in_work",
			                 bus_server_in_work(sv->server)));
	}
	for (size_t i = 0; i < LANE_COUNT; i++)
		if (sv->lanes[i])
			lane_stop(sv->lanes[i]);
	if (sv->state && sv->def->drain)
		sv->def->drain(sv->state);
	event_relay_free(take_relay(sv));
}

/* Nobody looks at the state any more when this returns. */
static void hide_state(struct service *sv)
{
	GUARD(&sv->lock);

	sv->shown = false;
}

void service_stop(struct service *sv, uint64_t grace_ms)
{
	if (!sv)
		return;
	service_drain(sv, grace_ms);
	if (sv->env.health)
		health_forget(sv->env.health, sv->def->name);
	if (sv->env.figures)
		figures_remove(sv->env.figures, sv);
	cached_free(atomic_load(&sv->cached));
	/* Its threads may still push and call. */
	hide_state(sv);
	if (sv->state && sv->def->stop)
		sv->def->stop(sv->state);
	service_free_parts(sv);
	pthread_cond_destroy(&sv->stop_asked);
	pthread_mutex_destroy(&sv->lock);
	free(sv);
}
