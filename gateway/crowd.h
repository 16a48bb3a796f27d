/*
 * crowd - how many connections each address has, over all loops.
 *
 * Why:     one client that opens connections and says nothing must not have
 *          them all.
 * Form:    two rows of counters, each found by a hash with a secret; an address
 *          has at most what the smaller of its two says.  Nothing is stored per
 *          address, so nothing can be filled up; two addresses share a limit
 *          only where they meet in both rows.
 * Bounds:  CROWD_PLACES counters a row.
 * Threads: any, without a lock.
 */
#ifndef GATEWAY_CROWD_H
#define GATEWAY_CROWD_H

#include "common/base/attr.h"
#include "gateway/forwarded.h"

#define CROWD_PLACES 16384

struct crowd;

/* max 0: no limit.  NULL without memory. */
struct crowd *crowd_new(unsigned max);
void crowd_free(struct crowd *c);
AUTO_TYPE(crowd, struct crowd *, crowd_free)

/* Whether one more of this address may come. */
bool crowd_room(const struct crowd *c, const struct addr *a);
void crowd_enter(struct crowd *c, const struct addr *a);
void crowd_leave(struct crowd *c, const struct addr *a);

#endif
