#include "common/service/dispatch_inner.h"

#include "common/base/clock.h"

#include <assert.h>
#include <stddef.h>

/* Requests of a worker whose reads go out together. */
#define TOGETHER_MAX 64

static void lane_run(struct lane_job *job);
static void lane_drop(struct lane_job *job, enum err why);
static void read_came(struct db_deferred *d);

static void clear_reply(struct request *rq)
{
	assert(!rq->reply.begun);
	rq->reply.status = 0;
	rq->reply.headers_n = 0;
	buf_clear(&rq->reply.body);
	rq->cx.problem = (struct problem){0};
}

/* The next handler starts afresh on what this one may have begun. */
static void start_afresh(struct request *rq)
{
	clear_reply(rq);
	rq->started_us = 0;
	if (rq->cx.span)
		rq->cx.span = &rq->span; /* that was no handler's work */
}

/* Whether its read may be put off. */
static bool reads_once(const struct request *rq)
{
	return rq->row->m->lane == LANE_READ && !request_wants_events(rq);
}

void request_enter_lane(struct request *rq, enum lane lane)
{
	enum err e;

	rq->cx.quick = lane != LANE_SLOW && rq->d->conf.lanes[LANE_SLOW];
	rq->cx.slow = false;
	rq->deferred = (struct db_deferred){.done = read_came};
	rq->cx.deferred = reads_once(rq) ? &rq->deferred : NULL;
	rq->job = (struct lane_job){.deadline_ms = rq->it.deadline_ms,
	                            .joins = rq->cx.deferred &&
	                                     atomic_load(&rq->row->reads),
	                            .run = lane_run,
	                            .drop = lane_drop};
	e = lane_push(rq->d->conf.lanes[lane], &rq->job);
	if (e)
		request_refuse(rq, e);
}

bool request_run(struct request *rq)
{
	builtin_fn *builtin = rq->row->builtin;
	enum err e;

	if (!rq->started_us)
		request_begin_handler(rq);
	e = builtin ? builtin(rq->d->conf.builtin_arg, &rq->cx, rq->entry.body,
	                      &rq->reply.body)
	            : request_run_method(rq);
	if (db_deferred_asked(&rq->deferred)) {
		clear_reply(rq);
		return true;
	}
	db_deferred_end(&rq->deferred);
	if (e && rq->cx.slow) {
		start_afresh(rq);
		request_enter_lane(rq, LANE_SLOW);
		return false;
	}
	request_answer(rq, e);
	return false;
}

bool request_peeked(struct request *rq)
{
	enum err e;

	request_begin_handler(rq);
	e = rq->in ? OK : request_read_fields(rq);
	if (e || rq->row->m->peek(rq->d->state, &rq->cx, rq->in, &rq->reply)) {
		request_answer(rq, e ? e : rq->cx.problem.code);
		return true;
	}
	start_afresh(rq);
	return false;
}

/* Runs it again, with the answer to its read. */
static void read_came(struct db_deferred *d)
{
	char *at = (char *)d - offsetof(struct request, deferred);

	(void)request_run((struct request *)(void *)at);
}

/* Its read, if it has put it off; else it has ended. */
static struct db_deferred *begin_job(struct lane_job *job)
{
	struct request *rq = (struct request *)(void *)job;
	bool may = rq->cx.deferred, asked;
	struct row *row = rq->row;

	rq->cx.spent.lane += mono_us() - rq->job.queued_us;
	rq->reply.part = rq->d->conf.part;
	request_tell_wait(rq);
	if (rq->d->conf.cancelled(rq->it.item)) {
		request_refuse(rq, ERR_TIMEOUT);
		return NULL;
	}
	asked = request_run(rq);
	if (may && asked != atomic_load(&row->reads))
		atomic_store(&row->reads, asked);
	return asked ? &rq->deferred : NULL;
}

static void lane_run(struct lane_job *job)
{
	struct lane_pool *lane =
		((struct request *)(void *)job)->d->conf.lanes[LANE_DB];
	struct lane_job *jobs[TOGETHER_MAX] = {job};
	struct db_deferred *reads[TOGETHER_MAX];
	unsigned n = 1, asked = 0;

	if (job->joins)
		n += lane_more(lane, &jobs[1], TOGETHER_MAX - 1);
	for (unsigned i = 0; i < n; i++) {
		reads[asked] = begin_job(jobs[i]);
		if (reads[asked])
			asked++;
	}
	if (asked)
		db_ask_deferred(reads, asked);
	if (n > 1)
		lane_ran(lane, n - 1);
}

static void lane_drop(struct lane_job *job, enum err why)
{
	request_refuse((struct request *)(void *)job, why);
}
