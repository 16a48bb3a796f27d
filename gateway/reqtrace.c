/* The trace of a request, and the gateway's own spans of it (docs/tracing.md).
 * A span is memory of the request and there only where it is sampled. */
#include "gateway/req.h"

#include "common/base/trace.h"

#include <stdio.h>

/* Ids of traces must differ, not be unguessable (splitmix64). */
static uint64_t next_id(struct loop *lo)
{
	uint64_t z = lo->seed += 0x9e3779b97f4a7c15U;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
	z = (z ^ z >> 27) * 0x94d049bb133111ebU;
	return (z ^ z >> 31) | 1;
}

static struct span *new_span(struct req *rq)
{
	return arena_alloc(rq->cx.arena, sizeof(struct span));
}

void reqtrace_begin(struct req *rq)
{
	struct trace_parent p;
	bool from = trace_parse(rq->head.traceparent, &p);
	struct span *s = NULL;

	if (!from)
		p = (struct trace_parent){
			.id = {next_id(rq->loop), next_id(rq->loop)}};
	/* Where nobody listens, the flag is for those behind us. */
	if (trace_heard())
		p.sampled = sampler_takes(&rq->loop->site->sampler,
		                          from ? &p : NULL, p.id[1]);
	if (p.sampled && trace_heard())
		s = new_span(rq);
	if (s) {
		span_root(s, &p, "gateway", SPAN_SERVER, (struct str){0});
		s->start_us = rq->began_us;
		rq->cx.span = s;
		rq->cx.tp = span_tp(s, rq->tp);
		return;
	}
	if (!from)
		p.span = next_id(rq->loop);
	rq->cx.tp = trace_write(&p, rq->tp);
}

struct str reqtrace_ask(struct req *rq, char tp[TRACE_PARENT_MAX])
{
	rq->asking = rq->cx.span ? new_span(rq) : NULL;
	if (!rq->asking)
		return rq->cx.tp;
	span_child(rq->asking, rq->cx.span, SPAN_CLIENT, STR("identity"));
	span_text(rq->asking, "rpc.system", STR("kae"));
	span_text(rq->asking, "rpc.service", STR("auth"));
	return span_tp(rq->asking, tp);
}

void reqtrace_asked(struct req *rq, enum err e)
{
	if (!rq->asking)
		return;
	if (e && err_http(e) >= 500)
		span_fail(rq->asking, err_code(e));
	span_end(rq->asking);
	rq->asking = NULL;
}

/* A path that a client fills in may name a person: it is told as its pattern,
 * and what is no address of ours not at all. */
static void describe(const struct req *rq, struct span *s, unsigned status)
{
	struct str verb = str_from(
		rq->verb == VERB_OTHER ? "_OTHER" : verb_name(rq->verb));
	char name[SPAN_TEXT_MAX / 2];

	if (rq->route)
		(void)snprintf(name, sizeof(name), "%.*s %s", STR_FMT(verb),
		               rq->route->path);
	else
		(void)snprintf(name, sizeof(name), "%s",
		               rq->verb == VERB_OTHER ? "HTTP" : verb.p);
	span_name(s, str_from(name));
	span_text(s, "http.request.method", verb);
	span_text(s, "url.scheme", rq->https ? STR("https") : STR("http"));
	if (rq->route) {
		span_text(s, "http.route", str_from(rq->route->path));
		span_text(s, "url.path", str_from(rq->route->path));
	}
	if (rq->answered)
		span_number(s, "http.response.status_code", status);
	if (rq->limit.refused)
		span_text(s, "kae.limited_by",
		          str_from(limit_name(
				  rq->limit.items[rq->limit.n - 1].policy)));
	if (rq->shed)
		span_text(s, "kae.limited_by", STR("overload"));
	if (!rq->answered)
		span_fail(s, "client_gone");
	else if (status >= 500)
		span_fail(s, rq->err ? err_code(rq->err) : "500");
	span_text(s, "kae.request_id", rq->cx.rid);
}

void reqtrace_end(struct req *rq, uint64_t took_us)
{
	struct span *s = rq->cx.span;

	if (!s)
		return;
	if (rq->asking)
		span_fail(rq->asking, "cancelled");
	reqtrace_asked(rq, OK);
	if (rq->route)
		bus_trip_spans(&rq->trip, s, rq->route->service,
		               str_from(rq->route->call));
	describe(rq, s, rq->status);
	span_end_at(s, rq->began_us + took_us);
}
