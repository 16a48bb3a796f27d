#include "common/service/service_inner.h"

#include "common/base/clock.h"
#include "common/base/guard.h"

#include <stdio.h>

#define OUTBOX_LATE_MS 10000

static enum health_state check_database(void *arg, char *detail, size_t max)
{
	struct service *sv = arg;
	struct db_pool_stats st;

	db_pool_stats(sv->pool, &st);
	(void)snprintf(detail, max, "%s, %u of %u connections in use",
	               st.kind == DB_SQLITE ? "SQLite" : "PostgreSQL",
	               st.in_use, st.size);
	if (st.usable)
		return HEALTH_UP;
	if (st.unusable_since_ms)
		(void)snprintf(detail, max, "unusable for %lld s",
		               (long long)(wall_ms() - st.unusable_since_ms) /
		                       1000);
	return HEALTH_DOWN;
}

static enum health_state check_peer(void *arg, char *detail, size_t max)
{
	const struct probe *p = arg;
	unsigned up = bus_caller_up(p->sv->caller, p->peer);

	(void)snprintf(detail, max, "%u replicas", up);
	return up ? HEALTH_UP : HEALTH_DOWN;
}

static void relay_stats(struct service *sv, struct event_stats *out)
{
	GUARD(&sv->lock);

	if (sv->relay)
		event_relay_stats(sv->relay, out);
}

static enum health_state check_outbox(void *arg, char *detail, size_t max)
{
	struct event_stats st = {0};

	relay_stats(arg, &st);
	(void)snprintf(detail, max, "%llu events wait, the oldest for %lld s",
	               (unsigned long long)st.backlog,
	               (long long)st.oldest_age_ms / 1000);
	return st.oldest_age_ms > OUTBOX_LATE_MS ? HEALTH_DEGRADED : HEALTH_UP;
}

static void state_figures(struct service *sv, struct service_figures *out)
{
	GUARD(&sv->lock);

	if (sv->shown && sv->def->figures)
		sv->def->figures(sv->state, out);
}

void service_give_figures(void *arg, struct service_figures *out)
{
	struct service *sv = arg;
	struct cached *cached = atomic_load(&sv->cached);

	db_pool_stats(sv->pool, &out->pool);
	lane_stats(sv->lanes[LANE_DB], &out->db_lane);
	lane_stats(sv->lanes[LANE_SLOW], &out->slow_lane);
	bus_server_stats(sv->server, &out->bus);
	relay_stats(sv, &out->events);
	idem_stats(sv->idem, &out->idem);
	retention_stats(sv->retention, &out->retention);
	if (sv->erased)
		erased_stats(sv->erased, &out->erased);
	if (cached)
		cached_figures(cached, &out->cache);
	state_figures(sv, out);
}

enum err service_show(struct service *sv)
{
	struct health *h = sv->env.health;
	const char *name = sv->def->name;
	bool ok = !sv->env.figures ||
	          figures_add(sv->env.figures, name, service_give_figures, sv);

	if (!h)
		return ok ? OK : ERR_NOMEM;
	ok = ok &&
	     health_check(h, name, "database", true, check_database, sv) &&
	     health_check(h, name, "outbox", false, check_outbox, sv);

	if (sv->root_key)
		ok = ok && health_check(h, name, "key_encryption_key", false,
		                        root_key_check, sv->root_key);
	for (enum bus_peer p = 0; ok && p < PEER_COUNT; p++) {
		sv->probes[p] = (struct probe){sv, p};
		if (sv->env.urls[p] && bus_edge_allowed(sv->def->self, p))
			ok = health_check(h, name, bus_peer_name(p), false,
			                  check_peer, &sv->probes[p]);
	}
	return ok ? OK : ERR_NOMEM;
}

void service_set_phase(struct service *sv, enum health_phase p)
{
	if (sv->env.health)
		health_phase(sv->env.health, sv->def->name, p);
}
