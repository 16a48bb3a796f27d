/*
 * store - the rows of generations that are asked for as events: a job, and what
 * there is to be told of it.
 *
 * Why:     whoever loses the connection must neither lose what was made nor have
 *          it made twice, on whichever replica they come back.  So a job and
 *          each of its events are rows, and nothing of them is elsewhere.
 * Once:    one job of a person and a request runs at a time (a unique index).
 *          Who asks the same while it runs, or join_ms after it is done, joins.
 * Lease:   a job that runs belongs to one run of it, until its lease is over;
 *          then it is abandoned, and who takes it has the next run.  What an
 *          earlier run still writes is refused: each write names its run.
 * Time:    epoch milliseconds; the clocks of replicas may differ by less than a
 *          lease.
 * Bounds:  JOB_EVENTS_MAX events of a job; JOB_BATCH of them in one read.
 * Threads: any that may block on the pool.
 */
#ifndef SVC_CONTENT_JOBS_STORE_H
#define SVC_CONTENT_JOBS_STORE_H

#include "common/base/uuid.h"
#include "common/db/db.h"

#define JOB_EVENTS_MAX 512
#define JOB_ITEMS_MAX  64 /* places of items */
#define JOB_BATCH      32

enum job_state { JOB_RUNNING, JOB_DONE, JOB_FAILED };

struct job {
	char id[UUID_MAX];
	enum job_state state;
	int64_t seq; /* of the last event; they begin with 1 */
	int64_t run;
	int64_t lease;               /* until when; 0: it does not run */
	struct str request, outcome; /* of job_find(): in the arena */
	struct str lang, method;
};

/* Which run writes, and until when the job is its own by that. */
struct job_run {
	char id[UUID_MAX];
	int64_t run;
	int64_t now, lease_ms, keep_ms;
};

struct job_ask {
	struct str sub, method, digest, request, lang;
	int64_t now, lease_ms, keep_ms, join_ms;
	int64_t most; /* that a person may have running */
};

/*
 * In a transaction: the job of that request, or a new one, which is then *ours.
 * ERR_RATE_LIMITED: the person has as many running as may be.
 */
enum err job_open(struct db *db, struct ctx *cx, const struct job_ask *a,
                  struct job *out, bool *ours) MUST_CHECK;

/* Of this person; method may be empty.  ERR_NOT_FOUND: none, or too old. */
struct job_key {
	struct str id, sub, method;
	int64_t now;
};
enum err job_find(struct db *db, struct ctx *cx, const struct job_key *k,
                  struct job *out) MUST_CHECK;

/* In a transaction: the next run of a job that is abandoned or has failed, as
 * of j; r->id names it.  *got is false when somebody else has it. */
enum err job_take(struct db *db, const struct job *j, struct job_run *r,
                  bool *got) MUST_CHECK;

struct job_event {
	int64_t seq;
	struct str type; /* "item", "progress", "done" */
	int64_t place;   /* of an item; else -1 */
	struct str data; /* msgpack of a map */
};
/* In a transaction.  ERR_CONFLICT: the job is not this run's any more. */
enum err job_append(struct db *db, const struct job_run *r,
                    const struct job_event *v, size_t n) MUST_CHECK;
/* The same, and the end of the job; outcome: of one that failed. */
enum err job_end(struct db *db, const struct job_run *r, enum job_state state,
                 struct str outcome, int64_t seq) MUST_CHECK;
/* In a transaction: the job stays this run's.  ERR_CONFLICT as above. */
enum err job_renew(struct db *db, const struct job_run *r) MUST_CHECK;

typedef enum err job_event_fn(void *arg, const struct job_event *ev);
/* The first JOB_BATCH behind a number; what is lent lives during the call. */
enum err job_after(struct db *db, struct str id, int64_t after,
                   job_event_fn *fn, void *arg) MUST_CHECK;
/* Every item, in order; a later one of a place counts. */
enum err job_items(struct db *db, struct str id, job_event_fn *fn,
                   void *arg) MUST_CHECK;

/* At most `most` jobs that are too old go, with their events. */
enum err job_purge(struct db *db, int64_t now, int64_t most,
                   int64_t *n) MUST_CHECK;

#endif
