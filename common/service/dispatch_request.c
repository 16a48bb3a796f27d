#include "common/service/dispatch_inner.h"

#include "common/base/guard.h"

#include <stdlib.h>

/* What is larger goes back to the heap instead of to the spare requests. */
#define SPARE_BYTES_MAX ((size_t)64 << 10)

static void request_free(struct request *rq)
{
	if (!rq)
		return;
	arena_free(rq->arena);
	buf_fini(&rq->reply.body);
	buf_fini(&rq->packed);
	free(rq);
}

static struct request *request_new(struct dispatch *d)
{
	struct request *rq = calloc(1, sizeof(*rq));

	if (!rq)
		return NULL;
	rq->d = d;
	rq->arena = arena_new(DISPATCH_ARENA_MAX);
	/* A first block of the usual size, because that is the one which
	 * arena_reset() keeps. */
	if (!rq->arena || !arena_alloc(rq->arena, 0)) {
		request_free(rq);
		return NULL;
	}
	return rq;
}

static struct request *take_spare(struct dispatch *d)
{
	GUARD(&d->lock);
	struct request *rq = d->spare;

	if (rq) {
		d->spare = rq->next_spare;
		d->spare_n--;
	}
	return rq;
}

static bool keep_spare(struct dispatch *d, struct request *rq)
{
	GUARD(&d->lock);

	if (d->spare_n == DISPATCH_SPARE_MAX)
		return false;
	rq->next_spare = d->spare;
	d->spare = rq;
	d->spare_n++;
	return true;
}

void dispatch_leave(struct dispatch *d)
{
	if (atomic_fetch_sub(&d->in_work, 1) == 1 &&
	    !atomic_load(&d->serving)) {
		GUARD(&d->lock);

		pthread_cond_broadcast(&d->idle);
	}
}

void request_release(struct request *rq)
{
	struct dispatch *d = rq->d;

	if (rq->cx.fetch)
		cached_fetch_end(rq->cx.fetch);
	arena_reset(rq->arena);
	if (rq->reply.body.cap > SPARE_BYTES_MAX ||
	    rq->packed.cap > SPARE_BYTES_MAX || !keep_spare(d, rq))
		request_free(rq);
	dispatch_leave(d);
}

struct request *request_get(struct dispatch *d, const struct dispatch_item *it)
{
	struct request *rq = take_spare(d);

	if (!rq)
		rq = request_new(d);
	if (!rq)
		return NULL;
	rq->it = *it;
	rq->cx = (struct ctx){.service = d->conf.service,
	                      .arena = rq->arena,
	                      .deadline_ms = it->deadline_ms,
	                      .principal = bus_peer_name(it->peer)};
	rq->row = &d->unknown;
	rq->in = NULL;
	rq->near = NULL;
	rq->started_us = 0;
	rq->reply.status = 0;
	rq->reply.headers_n = 0;
	rq->reply.replayed = false;
	rq->reply.begun = false;
	/* The receive callback must not wait for credit: see begin_job(). */
	rq->reply.part = NULL;
	rq->reply.to = it->item;
	buf_clear(&rq->reply.body);
	buf_clear(&rq->packed);
	return rq;
}

void dispatch_free_spare(struct dispatch *d)
{
	struct request *rq;

	while ((rq = take_spare(d)))
		request_free(rq);
}
