/* A look into memory and into the shared tier, before a worker is needed. */
#include "common/service/dispatch_inner.h"

#include <stddef.h>

/* On the shared tier's thread, which must not be kept: a peek does not wait. */
static void fetched(struct cached_fetch *f)
{
	char *at = (char *)f - offsetof(struct request, fetch);
	struct request *rq = (struct request *)(void *)at;

	if (rq->d->conf.cancelled(rq->it.item))
		request_refuse(rq, ERR_TIMEOUT);
	else if (!request_peeked(rq))
		request_enter_lane(rq, dispatch_lane_of(rq->row->m));
}

bool request_looked(struct request *rq)
{
	cached_fetch_init(&rq->fetch, fetched);
	rq->cx.fetch = &rq->fetch;
	return request_peeked(rq) || cached_fetch_begin(&rq->fetch);
}
