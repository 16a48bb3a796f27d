/*
 * cores - how many processors this process may use.
 *
 * Why:     threads that compute are as many as there are processors for them.  In
 *          a container the machine's are seen, and most of them are others': what
 *          counts is the affinity of the process (sched_getaffinity(2)) and the
 *          quota of its control group (cgroup v2, `cpu.max`) and of those above.
 * Threads: any.
 */
#ifndef BASE_CORES_H
#define BASE_CORES_H

#include "common/base/str.h"

/* At least 1.  A part of a processor counts as a whole one. */
unsigned cores_usable(void);

/* What `cpu.max` says, "QUOTA PERIOD" in microseconds: the processors that are.
 * UINT_MAX: "max", or it is no such text. */
unsigned cores_of_quota(struct str cpu_max);
/* The least of the quotas below root, where the groups are mounted, of the group
 * that a text such as /proc/self/cgroup names and of those above it. */
unsigned cores_of_groups(const char *root, struct str groups);

#endif
