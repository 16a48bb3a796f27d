/* How a request meets the front end: when it is asked, and what it says. */
#include "gateway/req.h"

bool front_is_asked(const struct req *rq)
{
	const struct site *st = rq->loop->site;

	/* Rows win, but for "/", which has one for a gateway without a front
	 * end. */
	return st->front && (rq->verb == VERB_GET || rq->verb == VERB_HEAD) &&
	       (!rq->matched || str_eq(rq->head.path, STR("/"))) &&
	       front_owns(rq->head.path);
}

enum err front_run(struct req *rq)
{
	const struct head *h = &rq->head;
	const struct front_ask ask = {
		.path = h->path,
		.accept = h->accept,
		.accept_encoding = h->accept_encoding,
		.if_none_match = h->if_none_match,
		.if_modified_since = h->if_modified_since,
		.range = h->range,
		.if_range = h->if_range,
		.is_head = rq->verb == VERB_HEAD,
	};
	enum err e;

	if (!rq->loop->site->front)
		return ERR_NOT_FOUND;
	rq->front = front_get(rq->loop->site->front);
	e = front_answer(rq->front, &ask, &rq->file);
	if (e)
		return e;
	rq->page = rq->file.bytes;
	rq->status = rq->file.part ? 206 : 200;
	return OK;
}
