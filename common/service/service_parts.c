#include "common/service/service_inner.h"

#include "common/base/cores.h"
#include "common/service/wiring.h"

#include <stdio.h>

#define THREADS_PER_CORE 2

static enum err make_pool(struct service *sv)
{
	AUTO_BUF url = {0};
	struct db_conf c;

	if (!wiring_db_url(sv->env.conf, sv->def->self, &url))
		return ERR_NOMEM;
	wiring_db_conf(sv->env.conf, sv->def->self, buf_view(&url), &c);
	return db_pool_new(&c, &sv->pool);
}

static enum err make_caller(struct service *sv)
{
	const struct bus_client_conf conf = {
		.self = sv->def->self,
		.keys = sv->env.keys,
		.in_flight_max = (unsigned)sv->env.conf->bus_in_flight,
		.suspect_ms = (unsigned)sv->env.conf->bus_suspect_ms};
	enum err e = OK;

	sv->caller = bus_caller_new(&conf);
	if (!sv->caller)
		return ERR_NOMEM;
	for (enum bus_peer p = 0; !e && p < PEER_COUNT; p++)
		if (sv->env.urls[p] && bus_edge_allowed(sv->def->self, p))
			e = bus_caller_add(sv->caller, p,
			                   str_from(sv->env.urls[p]));
	return e;
}

static enum err make_lane(struct service *sv, enum lane lane, const char *kind,
                          unsigned threads)
{
	char name[16];
	struct lane_conf c = {
		.name = name,
		.threads = threads,
		.queue_max = (unsigned)sv->env.conf->lane_queue,
	};

	(void)snprintf(name, sizeof(name), "%.7s-%.4s", sv->def->name, kind);
	if (lane == LANE_SLOW && sv->def->slow_lane)
		sv->def->slow_lane(sv->env.conf, &c);
	sv->lanes[lane] = lane_new(&c);
	return sv->lanes[lane] ? OK : ERR_NOMEM;
}

static unsigned db_threads(const struct settings *conf)
{
	return conf->db_threads ? (unsigned)conf->db_threads
	                        : THREADS_PER_CORE * cores_usable();
}

static enum err make_lanes(struct service *sv)
{
	unsigned slow = sv->def->slow_threads ? sv->def->slow_threads : 1;
	enum err e = make_lane(sv, LANE_DB, "db", db_threads(sv->env.conf));

	return e ? e : make_lane(sv, LANE_SLOW, "slow", slow);
}

static enum err make_erased(struct service *sv)
{
	if (!sv->def->erase)
		return OK;
	sv->erased = erased_new(sv->def->name);
	return sv->erased ? OK : ERR_NOMEM;
}

static enum err make_root_key(struct service *sv)
{
	if (!sv->def->root_probe)
		return OK;
	sv->root_key = root_key_new(sv->def->name);
	return sv->root_key ? OK : ERR_NOMEM;
}

static enum err make_events(struct service *sv)
{
	sv->events = event_store_new(sv->def->name);
	if (!sv->events)
		return ERR_NOMEM;
	event_store_erased(sv->events, sv->erased);
	return OK;
}

static enum err make_idem(struct service *sv)
{
	sv->idem = idem_new(&(struct idem_conf){
		.service = sv->def->name,
		.pool = sv->pool,
		.retention_ms = sv->env.conf->idempotency_retention_s * 1000,
		.erased = sv->erased});
	return sv->idem ? OK : ERR_NOMEM;
}

static enum err make_retention(struct service *sv)
{
	struct retention_conf conf = {.service = sv->def->name,
	                              .pool = sv->pool,
	                              .rules = sv->def->retention,
	                              .n = sv->def->retention_n};

	retention_settings(sv->env.conf, &conf);
	sv->retention = retention_new(&conf);
	return sv->retention ? OK : ERR_NOMEM;
}

static enum err make_erase(struct service *sv)
{
	if (!sv->def->erase)
		return OK;
	sv->erase = erase_new(&(struct erase_conf){.def = sv->def->erase,
	                                           .service = sv->def->name,
	                                           .settings = sv->env.conf,
	                                           .pool = sv->pool,
	                                           .events = sv->events,
	                                           .idem = sv->idem,
	                                           .erased = sv->erased});
	return sv->erase ? OK : ERR_NOMEM;
}

enum err service_make_parts(struct service *sv)
{
	static enum err (*const steps[])(struct service *) = {
		make_pool,           make_erased,
		make_root_key,       make_events,
		make_idem,           make_erase,
		make_retention,      make_caller,
		make_lanes,          service_make_dispatch,
		service_make_server,
	};
	enum err e = OK;

	for (size_t i = 0; !e && i < COUNTOF(steps); i++)
		e = steps[i](sv);
	return e;
}

void service_free_parts(struct service *sv)
{
	bus_server_free(sv->server);
	bus_caller_free(sv->caller);
	dispatch_free(sv->dispatch);
	for (size_t i = 0; i < LANE_COUNT; i++)
		lane_free(sv->lanes[i]);
	retention_free(sv->retention);
	erase_free(sv->erase);
	idem_free(sv->idem);
	event_store_free(sv->events);
	erased_free(sv->erased);
	root_key_free(sv->root_key);
	db_pool_free(sv->pool);
}
