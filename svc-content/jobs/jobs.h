/*
 * jobs - generations that are asked for as events (docs/streaming.md).
 *
 * Why:     a generation takes long, and a connection may end before it does.  So
 *          what is asked for as events is a job: it has rows of its own
 *          (store.h), runs on a thread of its own until its end, whoever looks,
 *          and anybody who is asked for its events reads them from the rows: a
 *          follower holds no thread, and may come to any replica.
 * Told:    each gateway is pushed the id of a job that has something new; who
 *          misses it asks again within a second.
 * Dies:    a job whose process has ended is abandoned when its lease is over,
 *          and who asks for its events next begins its next run, which is given
 *          the items that are there (generate/sink.h), with the rights of who
 *          asks.  The same happens to one that has failed, when its person comes
 *          back for it.
 * Bounds:  `threads` run and `waiting` wait in a process; `per_person` run of
 *          one person.
 * Locks:   one, a leaf.
 * Threads: any that may block on the pool; jobs_new() and jobs_free() the owner.
 */
#ifndef SVC_CONTENT_JOBS_JOBS_H
#define SVC_CONTENT_JOBS_JOBS_H

#include "svc-content/generate/generate.h"

#include "common/service/lane.h"
#include "common/service/service.h"

struct jobs;

/* A row of jobs.def. */
struct job_kind {
	struct str method;
	const char *items, *kind;
	generate_fn *run;
};
extern const struct job_kind job_kinds[];
extern const size_t job_kinds_n;

struct jobs_conf {
	struct db_pool *pool;
	struct idem *idem;
	struct content *content; /* of the methods; or NULL, in tests */
	const struct method *methods;
	size_t methods_n;
	const struct job_kind *kinds;
	size_t kinds_n;
	unsigned threads, waiting, per_person;
	uint64_t run_ms;   /* one run may take */
	uint64_t lease_ms; /* without a sign of life */
	uint64_t keep_ms;  /* behind the last */
	uint64_t join_ms;  /* the same again is the same, once it is done */
	/* Any thread: the job has something new. */
	void (*tell)(void *arg, struct str id);
	void *arg;
};

/* NULL without memory or threads. */
struct jobs *jobs_new(const struct jobs_conf *conf);
/* What runs is waited for; what waits is given up, for another replica, and what
 * would begin is not begun.  Twice is fine, and so is NULL. */
void jobs_stop(struct jobs *js);
void jobs_free(struct jobs *js); /* stops first; NULL is fine */
AUTO_TYPE(jobs, struct jobs *, jobs_free)

/*
 * Answers {job, after}: which job it is, and behind which event to ask.  Without
 * cx->last_event a new job or one to join; with it, "<job>.<number>", that one
 * (204: there is nothing behind it and will be nothing).  ERR_NOT_ACCEPTABLE:
 * the method has no row in jobs.def.  ERR_NOT_FOUND: no such job of this person
 * and method, or no such event of it.  ERR_BUSY; ERR_RATE_LIMITED.
 */
enum err jobs_open(struct jobs *js, struct ctx *cx, const struct method *m,
                   struct str body, struct reply *out) MUST_CHECK;
/*
 * Answers {state, events: [[number, type, data] ...], error}: what is behind
 * `after`, at most JOB_BATCH of them; whether others are there ("more"), are to
 * come ("running") or are not ("done", "failed"); of what failed why, as
 * reply_pack() says it.
 */
enum err jobs_follow(struct jobs *js, struct ctx *cx, struct str id,
                     int64_t after, struct reply *out) MUST_CHECK;

/* Of the lane that runs jobs; NULL is fine: zeros. */
void jobs_stats(const struct jobs *js, struct lane_stats *out);

/* Splits "<job>.<number>", as events are named; false: it is none. */
bool jobs_event_id(struct str text, struct str *id, int64_t *number) MUST_CHECK;

/* One turn of what the thread of its own does: leases go on, old jobs go. */
void jobs_tend(struct jobs *js, int64_t now);

#endif
