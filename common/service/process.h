/*
 * process - what /metrics says of the process as such: build, CPU time, memory,
 * file descriptors, threads, log lines dropped.  The names without kae_ are
 * those that Prometheus' own clients use.
 *
 * Threads: any; reads /proc at each scrape.
 */
#ifndef SERVICE_PROCESS_H
#define SERVICE_PROCESS_H

#include "common/base/attr.h"
#include "common/obs/metrics.h"

struct process_info {
	const char *program, *version; /* static text */
	int64_t started_ms;            /* wall_ms() */
};

/* info lives as long as the metrics.  False without memory. */
bool process_metrics(struct metrics *m, struct process_info *info) MUST_CHECK;

#endif
