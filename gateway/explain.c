/* What the gateway keeps of a request when it ends, and how it is told. */
#include "gateway/req.h"

#include "common/base/clock.h"
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

void explain_keep(const struct req *rq, uint64_t took_us)
{
	const struct limit_item *tight = limit_tightest(&rq->limit);
	struct recent_entry e = {
		.at_ms = wall_ms(),
		.route = rq->route,
		.verb = rq->verb,
		.status = rq->answered ? rq->status : 499,
		.err = rq->err,
		.role = rq->cx.role,
		.attempts = rq->trip.attempts,
		.known_at_once = !rq->identity_asked,
		.limited = rq->limit.refused,
		.shed = rq->shed,
		.policies = (unsigned)rq->limit.n,
		.quota = tight ? tight->quota : 0,
		.left = tight ? tight->left : 0,
		.received_us = between(rq->began_us, rq->whole_us),
		.before_us = between(rq->whole_us, rq->asked_us),
		.service_us = between(rq->asked_us, rq->told_us),
		.total_us = took_us,
	};

	copy(e.rid, sizeof(e.rid), rq->cx.rid);
	copy(e.sub, sizeof(e.sub), rq->cx.sub);
	copy(e.replica, sizeof(e.replica), str_from(rq->trip.replica));
	for (size_t i = 0; i < rq->extra_n; i++)
		if (strcmp(rq->extra[i].name, "Cache-Status") == 0)
			copy(e.cache, sizeof(e.cache),
			     str_from(rq->extra[i].value));
	recent_put(rq->loop->site->recent, &e);
}

enum err explain_tell(struct req *rq)
{
	struct recent_entry e;

	if (!recent_find(rq->loop->site->recent, rq->match.params[0].value, &e))
		return ctx_fail(&rq->cx, ERR_NOT_FOUND,
		                "This gateway does not remember that request: "
		                "it keeps the last %d.",
		                RECENT_MAX);
	recent_write(&rq->out, &e);
	return rq->out.failed ? ERR_NOMEM : OK;
}
