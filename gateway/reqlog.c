/* The two events of a request (design D34): ids, sizes and times, and never a
 * handle, a query, a body or a credential. */
#include "gateway/req.h"

#include "common/base/log.h"

#define AGENT_MAX   100
#define REFERER_MAX 200

/* A path parameter may be a handle, so such a path is told as its pattern. */
static struct str shown_path(const struct req *rq)
{
	for (size_t i = 0; i < rq->match.params_n; i++)
		if (str_eq(rq->match.params[i].name, STR("user_id")))
			return rq->route ? str_from(rq->route->path) : STR("-");
	return rq->head.path;
}

static struct str method_of(const struct req *rq)
{
	return str_from(verb_name(rq->verb));
}

/* Thousands of refusals a second would cost more than answering some: the loop
 * tells how many there were. */
static enum log_level level_of(const struct req *rq, enum log_level level)
{
	return rq->shed ? LOG_DEBUG : level;
}

void reqlog_started(const struct req *rq)
{
	const struct head *h = &rq->head;
	struct str agent = rq->cx.ua, referer = h->referer;

	agent.n = agent.n < AGENT_MAX ? agent.n : AGENT_MAX;
	referer = str_cut(&referer, '?');
	referer = str_cut(&referer, '#');
	referer.n = referer.n < REFERER_MAX ? referer.n : REFERER_MAX;
	LOG_AT(level_of(rq, LOG_INFO), &rq->cx, "request.started",
	       LOG_STR("method", method_of(rq)),
	       LOG_STR("path", shown_path(rq)), LOG_STR("client_ip", rq->cx.ip),
	       LOG_STR("user_agent", agent), LOG_STR("referer", referer),
	       LOG_U64("content_length", h->length),
	       LOG_STR("content_type", h->content_type));
}

static const char *limited_by(const struct req *rq)
{
	const struct limit_decision *d = &rq->limit;

	if (rq->shed)
		return "overload";
	return d->refused ? limit_name(d->items[d->n - 1].policy) : "";
}

void reqlog_completed(const struct req *rq, uint64_t took_us)
{
	unsigned status = rq->answered ? rq->status : 499;
	enum log_level level = status >= 500   ? LOG_ERROR
	                       : status >= 400 ? LOG_WARN
	                                       : LOG_INFO;

	LOG_AT(level_of(rq, level), &rq->cx, "request.completed",
	       LOG_STR("method", method_of(rq)),
	       LOG_STR("path", shown_path(rq)), LOG_U64("status", status),
	       LOG_MS("duration_ms", took_us), LOG_STR("user", rq->cx.sub),
	       LOG_TEXT("user_role", role_name(rq->cx.role)),
	       LOG_STR("client_ip", rq->cx.ip),
	       LOG_U64("response_size", rq->out_sent),
	       LOG_TEXT("limited_by", limited_by(rq)),
	       LOG_TEXT("error", rq->err ? err_name(rq->err) : ""));
}
