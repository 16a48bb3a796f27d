/*
 * resolve - follows what host names stand for, on a thread of its own.
 *
 * A headless Kubernetes service or a scaled compose service is one name with an
 * address per replica.  Names are looked up when watched and every
 * RESOLVE_EVERY_MS; a changed set of addresses is kept until it is taken.  A
 * failed look-up changes nothing: a sick name server must not take replicas
 * away that work.
 *
 * Bounds:  RESOLVE_ADDRS addresses a name, the first in sorted order.
 * Threads: resolver_new(), watch, next and free are the owner's; changed() is
 *          called on the resolver's thread.
 */
#ifndef BUS_RESOLVE_H
#define BUS_RESOLVE_H

#include "common/bus/url.h"

#define RESOLVE_EVERY_MS 2000
#define RESOLVE_ADDRS    64
#define RESOLVE_ADDR_MAX 64 /* "tls+tcp://[v6]:port" */

struct resolver;

struct resolved {
	unsigned tag; /* as given to watch */
	size_t name;  /* counts from 0 in the order of watching */
	size_t n;
	char url[RESOLVE_ADDRS][RESOLVE_ADDR_MAX];
};

/* every_ms 0: RESOLVE_EVERY_MS. */
struct resolver *resolver_new(void (*changed)(void *arg), void *arg,
                              unsigned every_ms);
/* May wait for a look-up that is under way. */
void resolver_free(struct resolver *rs);
AUTO_TYPE(resolver, struct resolver *, resolver_free)
enum err resolver_watch(struct resolver *rs, const struct bus_url *u,
                        unsigned tag) MUST_CHECK;
/* Takes the next name that has changed; false: none. */
bool resolver_next(struct resolver *rs, struct resolved *out);

#endif
