#include "gateway/replicas.h"

#include "common/base/guard.h"

#include <stdio.h>

struct work work_of(struct gateway *g)
{
	struct work w = {0};

	for (size_t i = 0; i < g->loops_n; i++) {
		struct loop *lo = &g->loops[i];
		GUARD(&lo->shown_lock);

		w.conns += lo->shown_conns;
		w.requests += lo->shown_requests;
	}
	return w;
}

static struct replica_seen *entry_of(struct replicas *l, const char *url)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->at[i].url, url) == 0)
			return &l->at[i];
	if (l->n == COUNTOF(l->at))
		return NULL;
	l->at[l->n] = (struct replica_seen){.state = BUS_DOWN};
	(void)snprintf(l->at[l->n].url, sizeof(l->at[l->n].url), "%s", url);
	return &l->at[l->n++];
}

static void gather(struct loop *lo, enum bus_peer peer, struct replicas *l)
{
	GUARD(&lo->shown_lock);

	for (size_t i = 0; i < lo->shown_n; i++) {
		const struct bus_replica *r = &lo->shown[i];
		struct replica_seen *is =
			r->peer == peer ? entry_of(l, r->url) : NULL;

		if (!is)
			continue;
		is->connections += r->state != BUS_DOWN;
		is->in_flight += r->in_flight;
		is->replied += r->replied;
		is->failed += r->failed;
		if (r->state == BUS_SUSPECT ||
		    (r->state == BUS_UP && is->state == BUS_DOWN))
			is->state = r->state;
	}
}

void replicas_of(struct gateway *g, enum bus_peer peer, struct replicas *out)
{
	out->n = 0;
	for (size_t i = 0; i < g->loops_n; i++)
		gather(&g->loops[i], peer, out);
}

const char *replica_state_name(enum bus_state s)
{
	static const char *const names[] = {[BUS_DOWN] = "down",
	                                    [BUS_UP] = "up",
	                                    [BUS_SUSPECT] = "suspect"};

	return names[s];
}
