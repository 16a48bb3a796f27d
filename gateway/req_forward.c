/* The service is asked, and what it answers becomes what is to be said. */
#include "gateway/req.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"
#include "gateway/again.h"
#include "gateway/visitor.h"
#include "gateway/vouch.h"

static void enter_services(struct req *rq)
{
	rq->entered_us = mono_us();
	overload_enter(&rq->loop->overload, rq->route->rate);
}

/* timed: how long it took says how busy they are. */
void req_left(struct req *rq, bool timed)
{
	uint64_t took_us = timed ? mono_us() - rq->entered_us : 0;

	if (!rq->entered_us)
		return;
	rq->entered_us = 0;
	overload_leave(&rq->loop->overload, rq->route->rate, took_us,
	               rq->loop->now_ms);
}

static const char *copied(struct arena *a, struct str s)
{
	return arena_str(a, s).p;
}

static void charge_tokens(const struct req *rq, struct str value)
{
	int64_t tokens = 0;

	if (str_to_i64(value, &tokens) && tokens > 0)
		req_charge(rq, (uint64_t)tokens);
}

/* As JSON; of a service that names another type, the text as it is. */
static bool write_body(struct req *rq, struct str body)
{
	struct mp m = mp_open(body);
	struct str text;

	if (!rq->media)
		return mp_to_json(body, &rq->out);
	if (!mp_get_str(&m, &text))
		return false;
	buf_str(&rq->out, text);
	return !rq->out.failed;
}

/* Its slices live only as long as this call, so they are transcoded now. */
enum err req_take_view(struct req *rq, const struct reply_view *v)
{
	rq->hop = v->times;
	rq->form = rq->forms == FORMS_TABLE ? FORM_JSON : rq->form;
	if (v->err) {
		rq->cx.problem = v->problem;
		return v->err;
	}
	rq->status = v->status ? v->status : 200;
	for (size_t i = 0; i < v->headers_n; i++) {
		size_t at = rq->extra_n;

		if (str_ieq(v->headers[i].name, STR(LIMIT_TOKENS_HEADER))) {
			charge_tokens(rq, v->headers[i].value);
			continue;
		}
		if (str_ieq(v->headers[i].name, STR(SESSION_HEADER))) {
			vouch_set(rq, v->headers[i].value);
			continue;
		}
		if (str_ieq(v->headers[i].name, STR("Content-Type"))) {
			rq->media = copied(rq->cx.arena, v->headers[i].value);
			if (!rq->media)
				return ERR_NOMEM;
			continue;
		}
		if (str_ieq(v->headers[i].name, STR(VISITOR_HEADER))) {
			visitor_set(rq, v->headers[i].value);
			continue;
		}
		rq->extra[at].name = copied(rq->cx.arena, v->headers[i].name);
		rq->extra[at].value = copied(rq->cx.arena, v->headers[i].value);
		if (!rq->extra[at].name || !rq->extra[at].value)
			return ERR_NOMEM;
		rq->extra_n++;
	}
	if (v->body.n == 0 || write_body(rq, v->body))
		return OK;
	if (rq->out.failed)
		return ERR_NOMEM;
	log_error(&rq->cx, "gateway.reply_unreadable",
	          LOG_TEXT("call", rq->route->call));
	return ERR_PEER_LOST;
}

enum err req_take_reply(struct req *rq, struct str bytes)
{
	struct reply_view v = {0};
	enum err e = reply_read(bytes, &rq->cx, &v);

	return e ? e : req_take_view(rq, &v);
}

/* What failed in the service itself is a reason to ask how it is. */
static void note_failure(const struct req *rq)
{
	unsigned status = rq->err ? err_http(rq->err) : rq->status;

	if (status >= 500 && rq->err != ERR_NOT_BUILT)
		monitor_note(rq->loop->site->monitor, rq->route->service);
}

void req_answered(struct req *rq, enum err e)
{
	rq->err = e;
	/* Refusals are quick and failures are neither: no measure. */
	req_left(rq, !rq->err || rq->err == ERR_TIMEOUT);
	/* What holds the key is our own first attempt: its answer is ours. */
	if (rq->err == ERR_KEY_BUSY && rq->resent) {
		again_wait(rq);
		return;
	}
	note_failure(rq);
	rq->step = STEP_REPLY;
	req_resume(rq);
}

void req_replied(struct req *rq, enum err e, struct str bytes)
{
	rq->told_us = mono_us();
	req_answered(rq, e ? e : req_take_reply(rq, bytes));
}

static void replied(void *arg, enum err e, struct str bytes, bool more)
{
	(void)more; /* never with stream = false */
	req_replied(arg, e, bytes);
}

static struct entry entry_of(const struct req *rq)
{
	const char *query = rq->input.p, *path = query + rq->query_n;
	const char *body = path + rq->path_n;

	return (struct entry){
		.op = str_from(rq->route->call),
		.query = {query, rq->query_n},
		.path = {path, rq->path_n},
		.body = {body, rq->input.n - rq->query_n - rq->path_n},
	};
}

/* What the service took ends here; what follows is ours. */
static void told(struct req *rq)
{
	req_left(rq, true);
	rq->told_us = mono_us();
}

static void take_near(void *arg, const struct reply_view *v)
{
	struct req *rq = arg;

	told(rq);
	rq->err = req_take_view(rq, v);
}

/* True when the service is in this process and has it in memory. */
static bool answered_at_once(struct req *rq, const struct entry *en)
{
	struct loop *lo = rq->loop;
	const struct near *n = &lo->near[rq->route->service];
	const struct entry_near near = {.cx = &rq->cx,
	                                .entry = en,
	                                .take = take_near,
	                                .arg = rq,
	                                .out = &lo->reply};

	if (!n->ask || rq->streams != STREAM_NONE)
		return false;
	/* As one of those in the services: how quick they are tells that what
	 * takes long beside them is no queue. */
	enter_services(rq);
	rq->asked_us = rq->entered_us;
	rq->told_us = 0;
	buf_clear(&lo->reply);
	if (!n->ask(n->service, &near)) {
		req_left(rq, false);
		return false;
	}
	if (!rq->told_us) { /* an error, as bytes */
		told(rq);
		rq->err = lo->reply.failed
		                  ? ERR_NOMEM
		                  : req_take_reply(rq, buf_view(&lo->reply));
	}
	rq->trip.attempts = rq->trip.n = 1;
	rq->trip.at[0] = (struct bus_attempt){.from_us = rq->asked_us,
	                                      .to_us = rq->told_us};
	note_failure(rq);
	rq->step = STEP_REPLY;
	return true;
}

enum next req_forward(struct req *rq)
{
	struct bus_call call = {
		.to = rq->route->service,
		.route_class = rq->route->rate,
		/* With a key a repeat is known (design D8). */
		.retry = rq->route->retry || rq->cx.idk.n > 0,
		.deadline_ms = rq->cx.deadline_ms,
		.max_reply = (size_t)8 << 20,
		.resent = &rq->resent,
		.trip = &rq->trip,
		.on_reply = replied,
		.arg = rq,
	};
	const struct entry en = entry_of(rq);
	struct buf *packed = &rq->loop->entry;
	enum err e;

	if (answered_at_once(rq, &en))
		return NEXT;
	if (rq->form == FORM_EVENTS)
		call.on_reply = events_opened;
	if (rq->streams == STREAM_PAGE) {
		call.stream = call.hold_credit = true;
		call.max_reply = SIZE_MAX / 2;
		call.on_reply = flow_replied;
	}
	buf_clear(packed);
	entry_pack(packed, &rq->cx, &en);
	call.bytes = buf_view(packed);
	rq->trip.span_at =
		rq->cx.span && !packed->failed ? entry_span_at(call.bytes) : 0;
	e = packed->failed ? ERR_NOMEM
	                   : bus_client_call(rq->loop->bus, &call, &rq->call);
	if (e)
		return req_fail(rq, e);
	rq->flow.open = call.stream;
	enter_services(rq);
	if (!rq->asked_us)
		rq->asked_us = rq->entered_us;
	rq->wait = WAIT_BUS;
	return WAIT;
}
