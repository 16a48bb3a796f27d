#include "gateway/events.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/codec/mp.h"
#include "gateway/problem.h"
#include "gateway/req.h"
#include "gateway/sse.h"

#include <stdio.h>

#define BLOCK    ((size_t)16 << 10) /* that libmicrohttpd takes at once */
#define ASK_MS   5000               /* for one answer */
#define ASK_CALL "content.job_events"

/* --- how many are open ----------------------------------------------------------- */

enum err events_enter(struct req *rq)
{
	const struct settings *conf = rq->loop->site->conf;
	struct events_count *c = &rq->loop->site->events;
	struct events *ev = &rq->events;
	unsigned of_person = 0;
	GUARD(&c->lock);

	if (c->n >= conf->streams_max)
		return ctx_fail(&rq->cx, ERR_BUSY,
		                "Too many streams are open. Try again shortly, "
		                "or ask for application/json.");
	for (const struct events *o = c->first; o; o = o->each_next)
		of_person += str_eq(o->sub, rq->cx.sub);
	if (of_person >= conf->streams_per_person)
		return ctx_fail(&rq->cx, ERR_RATE_LIMITED,
		                "You have %u streams open. Close one first.",
		                of_person);
	ev->sub = rq->cx.sub;
	ev->each_prev = NULL;
	ev->each_next = c->first;
	if (c->first)
		c->first->each_prev = ev;
	c->first = ev;
	c->n++;
	return OK;
}

static void leave(struct req *rq)
{
	struct events_count *c = &rq->loop->site->events;
	struct events *ev = &rq->events;
	GUARD(&c->lock);

	*(ev->each_prev ? &ev->each_prev->each_next : &c->first) =
		ev->each_next;
	if (ev->each_next)
		ev->each_next->each_prev = ev->each_prev;
	ev->sub.p = NULL;
	c->n--;
}

/* --- to the client ------------------------------------------------------------------ */

static size_t untaken(const struct events *ev)
{
	return ev->waits.n - ev->used;
}

/* Something waits, or the end is to be seen. */
static void flush(struct req *rq)
{
	struct events *ev = &rq->events;

	ev->alive_ms =
		rq->loop->now_ms + rq->loop->site->conf->stream_keep_alive_ms;
	if (!ev->answers) {
		ev->answers = true;
		rq->err = OK;
		rq->status = 200;
		rq->step = STEP_REPLY;
		req_resume(rq);
	} else if (rq->wait == WAIT_FLOW) {
		req_resume(rq);
	}
}

/* The client has what it may come back behind, or the problem instead. */
static void fail(struct req *rq, enum err e)
{
	struct events *ev = &rq->events;
	AUTO_BUF json = {0};

	ev->phase = EVENTS_OVER;
	if (!ev->answers) {
		req_answered(rq, e);
		return;
	}
	log_warn(&rq->cx, "gateway.stream_failed",
	         LOG_TEXT("call", rq->route->call),
	         LOG_TEXT("error", err_name(e)));
	problem_write(&json, &rq->cx, e, rq->head.path,
	              rq->loop->site->conf->env == ENV_DEVELOPMENT);
	if (!json.failed)
		sse_text(&ev->waits, "error", buf_view(&json));
	flush(rq);
}

static ssize_t give(void *arg, uint64_t at, char *out, size_t max)
{
	struct req *rq = arg;
	struct events *ev = &rq->events;
	size_t n = untaken(ev);

	(void)at;
	if (n == 0 && (ev->phase == EVENTS_OVER || ev->phase == EVENTS_NONE ||
	               ev->waits.failed || rq->loop->ending))
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n == 0) {
		rq->wait = WAIT_FLOW;
		MHD_suspend_connection(rq->conn->mhd);
		return 0;
	}
	n = n < max ? n : max;
	memcpy(out, ev->waits.p + ev->used, n);
	ev->used += n;
	rq->out_sent += n;
	if (untaken(ev) == 0) {
		buf_clear(&ev->waits);
		ev->used = 0;
		rq->loop->events_due |= ev->noticed;
	}
	return (ssize_t)n;
}

struct MHD_Response *events_response(struct req *rq)
{
	return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, give,
	                                         rq, NULL);
}

/* --- from the service ------------------------------------------------------------------ */

static void rest(struct req *rq, uint64_t ms)
{
	rq->events.phase = EVENTS_RESTING;
	rq->events.ask_ms = rq->loop->now_ms + ms;
}

static bool add_event(struct events *ev, struct mp *m)
{
	struct str type, data;
	int64_t seq;
	uint32_t n;

	if (!mp_get_array(m, &n) || n != 3 || !mp_get_i64(m, &seq) ||
	    !mp_get_str(m, &type) || !mp_skip(m, &data) || seq <= ev->after ||
	    !sse_event(&ev->waits, str_from(ev->job), seq, type, data))
		return false;
	ev->after = seq;
	return true;
}

static bool add_events(struct events *ev, struct str body, bool *some)
{
	struct str list = {NULL, 0};
	struct mp m;
	uint32_t n;

	if (!mp_find(body, "events", &list))
		return false;
	m = mp_open(list);
	if (!mp_get_array(&m, &n))
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (!add_event(ev, &m))
			return false;
	*some = n > 0;
	return true;
}

/* Why the job has failed, as its service packed it. */
static enum err read_failure(struct req *rq, struct str body)
{
	struct reply_view v = {0};
	struct str field, packed;
	struct mp m;

	if (!mp_find(body, "error", &field))
		return ERR_PEER_LOST;
	m = mp_open(field);
	if (!mp_get_bin(&m, &packed) || reply_read(packed, &rq->cx, &v) ||
	    !v.err)
		return ERR_PEER_LOST;
	rq->cx.problem = v.problem;
	return v.err;
}

static void take(struct req *rq, struct str body)
{
	struct events *ev = &rq->events;
	struct str state = mp_find_str(body, "state", STR(""));
	bool some = false, ended;

	if (!add_events(ev, body, &some) || ev->waits.failed) {
		fail(rq, ev->waits.failed ? ERR_NOMEM : ERR_PEER_LOST);
		return;
	}
	ended = str_eq(state, STR("done"));
	if (ended)
		ev->phase = EVENTS_OVER;
	else
		rest(rq, rq->loop->site->conf->stream_poll_ms);
	if (str_eq(state, STR("more")))
		ev->noticed = rq->loop->events_due = true;
	/* A client that has nothing yet sees a failure as the answer. */
	if (str_eq(state, STR("failed")) && (!some || ev->answers))
		fail(rq, read_failure(rq, body));
	else if (str_eq(state, STR("failed")))
		ev->ask_ms = rq->loop->now_ms;
	if (some || ended)
		flush(rq);
}

static void replied(void *arg, enum err e, struct str bytes, bool more)
{
	struct req *rq = arg;
	struct reply_view v = {0};
	struct ctx scratch = {.arena = rq->cx.arena};

	(void)more;
	rq->loop->events_due = true;
	rest(rq, rq->loop->site->conf->stream_poll_ms);
	if (!e)
		e = reply_read(bytes, &scratch, &v);
	if (!e)
		e = v.err;
	if (!e) {
		take(rq, v.body);
	} else if (err_http(e) < 500) {
		rq->cx.problem = v.problem;
		fail(rq, e);
	} else {
		/* A replica less, or one that is busy: the next may answer. */
		log_warn(&rq->cx, "gateway.stream_waits",
		         LOG_TEXT("error", err_name(e)));
	}
}

static void ask(struct req *rq)
{
	struct loop *lo = rq->loop;
	struct events *ev = &rq->events;
	struct ctx cx = rq->cx;
	AUTO_BUF body = {0};
	struct bus_call call = {
		.to = rq->route->service,
		.route_class = RATE_READ,
		.retry = true,
		.deadline_ms = lo->now_ms + ASK_MS,
		.max_reply = (size_t)8 << 20,
		.on_reply = replied,
		.arg = rq,
	};

	cx.form = cx.last_event = cx.idk = (struct str){0};
	mp_map(&body, 2);
	mp_kv_text(&body, "job", ev->job);
	mp_kv_i64(&body, "after", ev->after);
	buf_clear(&lo->entry);
	entry_pack(&lo->entry, &cx,
	           &(struct entry){.op = STR(ASK_CALL),
	                           .body = buf_view(&body)});
	call.bytes = buf_view(&lo->entry);
	ev->noticed = false;
	if (lo->entry.failed || body.failed ||
	    bus_client_call(lo->bus, &call, &ev->call) != OK)
		rest(rq, lo->site->conf->stream_poll_ms);
	else
		ev->phase = EVENTS_ASKING;
}

/* --- which job it is ----------------------------------------------------------------------- */

static enum err take_job(struct req *rq, struct str bytes)
{
	struct events *ev = &rq->events;
	struct reply_view v = {0};
	struct ctx scratch = {.arena = rq->cx.arena};
	struct str job;
	enum err e = req_take_reply(rq, bytes);

	if (e || rq->status == 204)
		return e;
	buf_clear(&rq->out); /* that was for us */
	e = reply_read(bytes, &scratch, &v);
	job = mp_find_str(v.body, "job", STR(""));
	if (e || !uuid_valid(job))
		return ERR_PEER_LOST;
	memcpy(ev->job, job.p, job.n);
	ev->job[job.n] = '\0';
	ev->after = mp_find_i64(v.body, "after", 0);
	return OK;
}

void events_opened(void *arg, enum err e, struct str bytes, bool more)
{
	struct req *rq = arg;
	struct loop *lo = rq->loop;
	struct events *ev = &rq->events;

	(void)more;
	rq->told_us = mono_us();
	if (!e)
		e = take_job(rq, bytes);
	if (e || rq->status == 204) {
		req_answered(rq, e);
		return;
	}
	req_left(rq, true);
	rq->wait = WAIT_EVENTS;
	ev->next = lo->streams;
	ev->prev = NULL;
	if (lo->streams)
		lo->streams->events.prev = rq;
	lo->streams = rq;
	ev->noticed = lo->events_due = true;
	ev->alive_ms = lo->now_ms + lo->site->conf->stream_keep_alive_ms;
	ev->end_ms = rq->began_ms + lo->site->conf->stream_s * 1000;
	rest(rq, 0);
}

void events_stop(struct req *rq)
{
	struct events *ev = &rq->events;

	if (ev->phase == EVENTS_NONE)
		return;
	if (ev->phase == EVENTS_ASKING)
		bus_client_cancel(rq->loop->bus, ev->call);
	*(ev->prev ? &ev->prev->events.next : &rq->loop->streams) = ev->next;
	if (ev->next)
		ev->next->events.prev = ev->prev;
	ev->next = ev->prev = NULL;
	ev->phase = EVENTS_NONE;
}

void events_fini(struct req *rq)
{
	events_stop(rq);
	if (rq->events.sub.p)
		leave(rq);
	buf_fini(&rq->events.waits);
}

/* --- turning ----------------------------------------------------------------------------------- */

void events_push(struct loop *lo, struct str job)
{
	for (struct req *rq = lo->streams; rq; rq = rq->events.next)
		if (str_eq(job, str_from(rq->events.job)))
			rq->events.noticed = lo->events_due = true;
}

/* What ends a stream from here; OK: nothing does. */
static enum err over(struct req *rq)
{
	if (rq->loop->shut)
		return ctx_fail(&rq->cx, ERR_UNAVAILABLE,
		                "This server is ending. Come back with "
		                "Last-Event-ID.");
	if (rq->loop->now_ms >= rq->events.end_ms)
		return ctx_fail(&rq->cx, ERR_TIMEOUT,
		                "It is still being worked on. Come back with "
		                "Last-Event-ID.");
	return OK;
}

/* True: it has ended. */
static bool ends(struct req *rq)
{
	struct events *ev = &rq->events;
	enum err e = over(rq);

	if (e && ev->phase == EVENTS_ASKING)
		bus_client_cancel(rq->loop->bus, ev->call);
	if (e)
		fail(rq, e);
	return e != OK;
}

/* A comment that waits to be taken keeps nobody from asking for more: it comes
 * last. */
static void look(struct req *rq, bool tick)
{
	struct events *ev = &rq->events;
	uint64_t now_ms = rq->loop->now_ms;

	if (ev->phase == EVENTS_OVER || (tick && ends(rq)) || untaken(ev))
		return;
	if (ev->phase == EVENTS_RESTING &&
	    (ev->noticed || now_ms >= ev->ask_ms))
		ask(rq);
	if (tick && now_ms >= ev->alive_ms) {
		sse_comment(&ev->waits);
		flush(rq);
	}
}

void events_turn(struct loop *lo, bool tick)
{
	struct req *next;

	if (!tick && !lo->events_due)
		return;
	lo->events_due = false;
	for (struct req *rq = lo->streams; rq; rq = next) {
		next = rq->events.next;
		look(rq, tick);
	}
}
