#include "gateway/flow.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/codec/mp.h"
#include "gateway/req.h"

#define BLOCK ((size_t)32 << 10) /* that libmicrohttpd takes at once */

/* --- from the service ---------------------------------------------------------------- */

/* The head as any other reply; its body says how long the stream is. */
static enum err take_head(struct req *rq)
{
	struct flow *f = &rq->flow;
	struct reply_view v = {0};
	struct ctx scratch = {.arena = rq->cx.arena};
	enum err e = reply_read(stream_head(&f->head), &scratch, &v);
	int64_t length = e || v.err ? -1 : mp_find_i64(v.body, "length", -1);

	if (length < 0)
		return e ? e : ERR_PEER_LOST;
	f->length = (uint64_t)length;
	e = req_take_reply(rq, stream_head(&f->head));
	buf_clear(&rq->out); /* the length is for us */
	return e;
}

static void add(struct flow *f, struct str bytes)
{
	size_t left = f->waits.n - f->used;

	if (f->used && left)
		memmove(f->waits.p, f->waits.p + f->used, left);
	f->waits.n = left;
	f->used = 0;
	buf_str(&f->waits, bytes);
}

/* The reader finds what has come, or that no more will. */
static void flows(struct req *rq, enum err e, struct str bytes, bool more)
{
	struct flow *f = &rq->flow;

	f->open = more;
	if (!e)
		add(f, bytes);
	else
		log_warn(&rq->cx, "gateway.stream_cut",
		         LOG_TEXT("call", rq->route->call),
		         LOG_TEXT("error", err_name(e)));
	if (f->waits.failed)
		flow_stop(rq);
	if (rq->wait == WAIT_FLOW)
		req_resume(rq);
}

void flow_replied(void *arg, enum err e, struct str bytes, bool more)
{
	struct req *rq = arg;
	struct flow *f = &rq->flow;

	if (f->answers) {
		flows(rq, e, bytes, more);
		return;
	}
	rq->told_us = mono_us();
	f->open = more;
	if (!e && !more && f->head.head.n == 0 && !stream_is(bytes)) {
		req_replied(rq, OK, bytes);
		return;
	}
	if (!e && !stream_take(&f->head, &bytes)) {
		if (more && !f->head.head.failed)
			return;
		e = ERR_PEER_LOST;
	}
	if (!e)
		e = take_head(rq);
	f->answers = !e;
	if (e || rq->verb == VERB_HEAD)
		flow_stop(rq); /* nobody takes the body */
	else
		add(f, bytes);
	req_answered(rq, e);
}

void flow_stop(struct req *rq)
{
	if (rq->flow.open)
		bus_client_cancel(rq->loop->bus, rq->call);
	rq->flow.open = false;
}

void flow_fini(struct flow *f)
{
	buf_fini(&f->head.head);
	buf_fini(&f->waits);
}

/* --- to the client --------------------------------------------------------------------- */

static ssize_t give(void *arg, uint64_t at, char *out, size_t max)
{
	struct req *rq = arg;
	struct flow *f = &rq->flow;
	size_t n = f->waits.n - f->used;

	(void)at;
	if (n == 0 && (!f->open || rq->loop->ending))
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (n == 0) {
		rq->wait = WAIT_FLOW;
		MHD_suspend_connection(rq->conn->mhd);
		return 0;
	}
	n = n < max ? n : max;
	memcpy(out, f->waits.p + f->used, n);
	f->used += n;
	rq->out_sent += n;
	if (f->open)
		bus_client_credit(rq->loop->bus, rq->call, n);
	return (ssize_t)n;
}

struct MHD_Response *flow_response(struct req *rq)
{
	return MHD_create_response_from_callback(rq->flow.length, BLOCK, give,
	                                         rq, NULL);
}
