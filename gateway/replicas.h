/*
 * replicas - those of one service, as all loops together see them: each loop has
 * a connection of its own to each.  As of the loops' last ticks.
 *
 * Threads: any.  Takes the locks of the loops' figures, one after the other.
 *
 * Inside the gateway only.
 */
#ifndef GATEWAY_REPLICAS_H
#define GATEWAY_REPLICAS_H

#include "gateway/inside.h"

/* What all of them have to do. */
struct work {
	unsigned conns, requests;
};
struct work work_of(struct gateway *g);

struct replica_seen {
	char url[sizeof(((struct bus_replica *)NULL)->url)];
	unsigned connections, in_flight;
	uint64_t replied, failed;
	/* Down: no loop has a connection; suspect: one of them gets no answer. */
	enum bus_state state;
};

struct replicas {
	size_t n;
	struct replica_seen at[REPLICAS_SHOWN];
};

void replicas_of(struct gateway *g, enum bus_peer peer, struct replicas *out);
const char *replica_state_name(enum bus_state s); /* "up", ... */

#endif
