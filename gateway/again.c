#include "gateway/again.h"

#include "common/base/clock.h"

void again_wait(struct req *rq)
{
	struct loop *lo = rq->loop;
	uint64_t pause_ms = (uint64_t)AGAIN_MS << rq->again_n;

	if (pause_ms < AGAIN_MAX_MS)
		rq->again_n++;
	else
		pause_ms = AGAIN_MAX_MS;
	rq->wait = WAIT_AGAIN;
	rq->again_ms = mono_ms() + pause_ms;
	/* The last look is at the deadline, where the answer is a timeout. */
	if (rq->again_ms > rq->cx.deadline_ms)
		rq->again_ms = rq->cx.deadline_ms;
	rq->again_prev = NULL;
	rq->again_next = lo->again;
	if (lo->again)
		lo->again->again_prev = rq;
	lo->again = rq;
}

void again_forget(struct req *rq)
{
	if (rq->again_prev)
		rq->again_prev->again_next = rq->again_next;
	else
		rq->loop->again = rq->again_next;
	if (rq->again_next)
		rq->again_next->again_prev = rq->again_prev;
	rq->again_next = rq->again_prev = NULL;
	rq->wait = WAIT_NONE;
}

static void ask(struct req *rq)
{
	again_forget(rq);
	rq->err = OK;
	rq->cx.problem = (struct problem){0};
	rq->step = STEP_FORWARD;
	if (req_forward(rq) != WAIT)
		req_resume(rq);
}

void again_turn(struct loop *lo)
{
	struct req *rq, *next;

	for (rq = lo->again; rq; rq = next) {
		next = rq->again_next;
		if (lo->now_ms >= rq->again_ms)
			ask(rq);
	}
}

uint64_t again_timeout_ms(const struct loop *lo, uint64_t now_ms)
{
	uint64_t least = UINT64_MAX;

	for (const struct req *rq = lo->again; rq; rq = rq->again_next) {
		uint64_t ms = clock_left(rq->again_ms, now_ms);

		if (ms < least)
			least = ms;
	}
	return least;
}
