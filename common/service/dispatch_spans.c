#include "common/service/dispatch_inner.h"

#include "common/base/clock.h"
#include "common/base/trace.h"

struct str request_method(const struct request *rq)
{
	return rq->row->m ? str_from(rq->row->m->name) : rq->entry.op;
}

void request_begin_spans(struct request *rq)
{
	struct trace_parent from;
	struct ctx *cx = &rq->cx;

	if (!trace_heard() || !trace_parse(cx->tp, &from) || !from.sampled)
		return;
	span_root(&rq->span, &from, cx->service, SPAN_SERVER, (struct str){0});
	cx->span = &rq->span;
}

void request_tell_wait(const struct request *rq)
{
	struct span s;

	if (!span_begin(&s, rq->cx.span, SPAN_INTERNAL, "lane"))
		return;
	s.start_us = rq->job.queued_us;
	span_end(&s);
}

void request_begin_handler(struct request *rq)
{
	rq->started_us = mono_us();
	if (span_begin(&rq->inner, rq->cx.span, SPAN_INTERNAL, "handler"))
		rq->cx.span = &rq->inner;
}

void request_end_handler(struct request *rq)
{
	if (rq->started_us)
		rq->cx.spent.handler += mono_us() - rq->started_us;
	rq->started_us = 0;
	if (rq->cx.span != &rq->inner)
		return;
	span_end(&rq->inner);
	rq->cx.span = &rq->span;
}

void request_end_spans(struct request *rq, enum err e)
{
	struct span *s = &rq->span;

	if (!rq->cx.span)
		return;
	span_name(s, request_method(rq));
	span_text(s, "rpc.system", STR("kae"));
	span_text(s, "rpc.service", str_from(rq->cx.service));
	span_text(s, "rpc.method", request_method(rq));
	if (e && err_http(e) >= 500)
		span_fail(s, err_name(e));
	else if (e)
		span_text(s, "kae.error_code", str_from(err_code(e)));
	span_text(s, "kae.request_id", rq->cx.rid);
	span_end(s);
}
