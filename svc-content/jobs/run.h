/*
 * run - one run of a job: the handler of its method, with a sink that makes
 * events of what it tells, and of its answer what it has not told.
 *
 * Inside svc-content/jobs only.
 */
#ifndef SVC_CONTENT_JOBS_RUN_H
#define SVC_CONTENT_JOBS_RUN_H

#include "svc-content/jobs/jobs.h"
#include "svc-content/jobs/store.h"

#include "common/service/lane.h"

#include <pthread.h>
#include <stdatomic.h>

#define RUN_HASH 16

/* An item as it was told last. */
struct run_place {
	bool told;
	unsigned char hash[RUN_HASH];
	struct str packed; /* of an earlier run; else empty */
};

struct run {
	struct lane_job job; /* first: a job is its run */
	struct sink sink;
	struct run *next, *prev; /* of those that live here */
	struct jobs *js;
	struct arena *arena;
	struct ctx cx;
	const struct method *m;
	const struct job_kind *kind;
	struct str body;
	struct job_run at;
	int64_t seq;
	bool lost;           /* another run has the job */
	int64_t done, total; /* as told last; -1: never */
	struct run_place places[JOB_ITEMS_MAX];
};

struct jobs {
	struct jobs_conf conf;
	struct lane_pool *lane;
	atomic_uint busy;
	atomic_bool ending;
	pthread_mutex_t lock; /* of the rest */
	pthread_cond_t wake;
	struct run *runs;
	pthread_t thread;
	bool tends;
	int64_t purged_at;
};

/* Of a run that the lane has; frees it. */
void run_work(struct lane_job *job);
void run_drop(struct lane_job *job, enum err why);
/* jobs.c: it is over. */
void jobs_ended(struct run *r);
/* A context for what is written down of jobs. */
struct ctx jobs_ctx(struct arena *a);

/* answer.c: the items of an answer, and all else of it as a map. */
bool answer_items(struct str answer, const char *name, struct str *list);
bool answer_rest(struct str answer, const char *name, struct buf *out);

#endif
