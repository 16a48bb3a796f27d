/* What the gateway keeps of a request when it ends, and how it is told. */
#include "gateway/req.h"

#include "common/base/clock.h"
#include "common/base/trace.h"
#include "gateway/recent.h"

#include <stdio.h>

static void copy(char *out, size_t size, struct str s)
{
	size_t n = s.n < size ? s.n : size - 1;

	if (n)
		memcpy(out, s.p, n);
	out[n] = '\0';
}

static uint64_t between(uint64_t from_us, uint64_t to_us)
{
	return from_us && to_us > from_us ? to_us - from_us : 0;
}

/* The first that is there. */
static uint64_t first(uint64_t a_us, uint64_t b_us)
{
	return a_us ? a_us : b_us;
}

static struct recent_times times_of(const struct req *rq, uint64_t took_us)
{
	uint64_t end_us = rq->began_us + took_us;
	uint64_t known_us = first(rq->known_us, rq->whole_us);
	struct recent_times t = {
		.received = between(rq->began_us, first(rq->whole_us, end_us)),
		.identity = between(rq->whole_us, rq->known_us),
		.limits = between(known_us, rq->allowed_us),
		.decode = between(rq->allowed_us, rq->asked_us),
		.service = between(rq->asked_us, rq->told_us),
		.reply = between(rq->told_us, end_us),
		.hop = rq->hop,
		.total = took_us,
	};

	t.bus = between(t.hop.lane + t.hop.handler, t.service);
	return t;
}

void explain_keep(const struct req *rq, uint64_t took_us)
{
	struct recent_entry e = {
		.at_ms = wall_ms(),
		.route = rq->route,
		.verb = rq->verb,
		.status = rq->answered ? rq->status : 499,
		.err = rq->err,
		.role = rq->cx.role,
		.known_at_once = !rq->identity_asked,
		.shed = rq->shed,
		.limit = rq->limit,
		.trip = rq->trip,
		.times = times_of(rq, took_us),
	};

	copy(e.rid, sizeof(e.rid), rq->cx.rid);
	copy(e.trace, sizeof(e.trace), trace_id_of(rq->cx.tp));
	copy(e.sub, sizeof(e.sub), rq->cx.sub);
	for (size_t i = 0; i < rq->extra_n; i++)
		if (strcmp(rq->extra[i].name, "Cache-Status") == 0)
			copy(e.cache, sizeof(e.cache),
			     str_from(rq->extra[i].value));
	recent_put(rq->loop->site->recent, &e);
}

enum err explain_tell(struct req *rq)
{
	struct str rid = rq->match.params[0].value;
	struct recent_entry e;

	if (!head_request_id_valid(rid))
		return ctx_fail(&rq->cx, ERR_BAD_REQUEST,
		                "That is not a request ID.");
	if (!recent_find(rq->loop->site->recent, rid, &e))
		return ctx_fail(&rq->cx, ERR_NOT_FOUND,
		                "This gateway does not remember that request: "
		                "it keeps the last %d.",
		                RECENT_MAX);
	recent_write(&rq->out, &e);
	return rq->out.failed ? ERR_NOMEM : OK;
}
