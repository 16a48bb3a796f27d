/*
 * lane - a bounded queue with worker threads of its own (design D13).
 *
 * Why:     what blocks (database, hashing, generation) must not run on the
 *          threads that receive, and a slow kind of work must not take the
 *          threads of a quick one.
 * Bounds:  threads and queued jobs, fixed at lane_new().  A full lane refuses
 *          at once: a queue that grows only turns overload into time-outs.
 *          A job whose deadline passed while it waited is not run, nor one
 *          that waited for longer than the lane lets any.
 * Owns:    its threads.  A job is lent from lane_push() until run or drop is
 *          called, exactly one of them, exactly once; a push never allocates.
 * Threads: lane_push(), lane_stats() any; lane_more(), lane_ran() its workers.
 *          The others: the owner.
 */
#ifndef SERVICE_LANE_H
#define SERVICE_LANE_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdint.h>

struct lane_job {
	struct lane_job *next; /* the lane's, while it has the job */
	uint64_t deadline_ms;  /* mono_ms() */
	uint64_t queued_us;    /* set by lane_push() */
	/* One worker may do it beside others: run calls lane_more() first. */
	bool joins;
	void (*run)(struct lane_job *job);
	/* ERR_TIMEOUT: the deadline passed.  ERR_BUSY: it waited for longer
	 * than wait_max_ms.  ERR_UNAVAILABLE: lane_stop(). */
	void (*drop)(struct lane_job *job, enum err why);
};

struct lane_conf {
	const char *name; /* of the threads, cut at 12 characters */
	unsigned threads, queue_max;
	unsigned wait_max_ms; /* in the queue; 0: until the deadline */
};

struct lane_pool;

/* NULL without memory or threads. */
struct lane_pool *lane_new(const struct lane_conf *conf);
/* OK; ERR_BUSY when full; ERR_UNAVAILABLE after lane_stop().  On an error the
 * job was not taken. */
enum err lane_push(struct lane_pool *l, struct lane_job *job) MUST_CHECK;
/* Drops what is queued, waits for what runs, joins.  Twice is fine. */
void lane_stop(struct lane_pool *l);
void lane_free(struct lane_pool *l); /* stops first; NULL is fine */
AUTO_TYPE(lane, struct lane_pool *, lane_free)

/*
 * For a worker that runs a job which joins: up to max of those that wait behind
 * it, as long as they join, too.  They are the caller's to run, and then to be
 * counted by lane_ran().
 */
unsigned lane_more(struct lane_pool *l, struct lane_job *jobs[],
                   unsigned max) MUST_CHECK;
void lane_ran(struct lane_pool *l, unsigned jobs);

struct lane_stats {
	unsigned threads, busy, queued, queue_max;
	uint64_t done, refused; /* refused: full, or waited for too long */
	uint64_t expired;
	uint64_t wait_us; /* sum over the jobs that were run */
};
void lane_stats(struct lane_pool *l, struct lane_stats *out);

#endif
