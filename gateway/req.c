#include "gateway/req.h"

#include "common/base/clock.h"
#include "common/base/utf8.h"
#include "gateway/again.h"
#include "gateway/idemkey.h"
#include "gateway/language.h"
#include "gateway/query.h"
#include "gateway/secure.h"
#include "gateway/survey.h"
#include "gateway/visitor.h"
#include "gateway/vouch.h"

#include <assert.h>
#include <stdlib.h>

#define SPARES_MAX  256
#define KEPT_BUFFER ((size_t)64 << 10) /* larger ones are given back */
#define UA_MAX      256

/* --- a request and its memory ---------------------------------------------- */

struct req *req_new(struct loop *lo, struct conn *cn)
{
	struct req *rq = lo->spare_reqs;
	struct req kept;

	if (rq) {
		lo->spare_reqs = rq->spare;
		lo->spare_reqs_n--;
	} else {
		rq = calloc(1, sizeof(*rq));
		if (!rq)
			return NULL;
		rq->cx.arena = arena_new(REQ_ARENA_MAX);
		if (!rq->cx.arena) {
			free(rq);
			return NULL;
		}
	}
	kept = (struct req){.body = rq->body,
	                    .input = rq->input,
	                    .out = rq->out,
	                    .packed = rq->packed};
	kept.cx.arena = rq->cx.arena;
	*rq = kept;
	buf_clear(&rq->body);
	buf_clear(&rq->input);
	buf_clear(&rq->out);
	buf_clear(&rq->packed);
	rq->loop = lo;
	rq->conn = cn;
	rq->cx.service = "gateway";
	rq->cx.tier = TIER_LIMITED;
	rq->client = cn->peer;
	rq->https = cn->tls;
	rq->cx.ip = str_from(cn->ip);
	rq->began_ms = lo->now_ms;
	rq->began_us = mono_us();
	lo->requests++;
	cn->rq = rq;
	return rq;
}

static void destroy(struct req *rq)
{
	arena_free(rq->cx.arena);
	buf_fini(&rq->body);
	buf_fini(&rq->input);
	buf_fini(&rq->out);
	buf_fini(&rq->packed);
	free(rq);
}

/* A password may have been in it.  What is longer than a login is none. */
#define SECRET_BYTES_MAX ((size_t)16 << 10)

static void wipe(struct buf *b)
{
	if (b->n && b->n <= SECRET_BYTES_MAX)
		explicit_bzero(b->p, b->n);
}

static void trim(struct buf *b)
{
	if (b->cap > KEPT_BUFFER)
		buf_fini(b);
}

void req_stop_waiting(struct req *rq)
{
	switch (rq->wait) {
	case WAIT_BUS:
		req_left(rq, false);
		bus_client_cancel(rq->loop->bus, rq->call);
		rq->flow.open = false;
		break;
	case WAIT_IDENTITY:
		identity_forget(rq->loop->identity, rq);
		break;
	case WAIT_AGAIN:
		again_forget(rq);
		break;
	case WAIT_SURVEY:
		survey_stop(rq->survey);
		break;
	case WAIT_LIMIT:
		limit_wait_forget(rq);
		break;
	case WAIT_EVENTS:
	case WAIT_FLOW:
	case WAIT_NONE:
		break;
	}
	flow_stop(rq);
	events_stop(rq);
	rq->wait = WAIT_NONE;
}

void req_free(struct req *rq)
{
	struct loop *lo = rq->loop;

	req_stop_waiting(rq);
	wipe(&rq->body);
	wipe(&rq->input);
	if (rq->headed) {
		uint64_t took_us = mono_us() - rq->began_us;

		reqlog_completed(rq, took_us);
		explain_keep(rq, took_us);
		reqtrace_end(rq, took_us);
		meter_end(lo->site->meter, rq->route, rq->verb,
		          rq->answered ? rq->status : 499, rq->err, took_us);
	}
	front_put(rq->front);
	flow_fini(&rq->flow);
	events_fini(rq);
	lo->bodies -= rq->body.n;
	lo->requests--;
	rq->conn->rq = NULL;
	rq->conn->idle_seen = false;
	if (lo->spare_reqs_n == SPARES_MAX) {
		destroy(rq);
		return;
	}
	trim(&rq->body);
	trim(&rq->input);
	trim(&rq->out);
	trim(&rq->packed);
	arena_reset(rq->cx.arena);
	rq->spare = lo->spare_reqs;
	lo->spare_reqs = rq;
	lo->spare_reqs_n++;
}

void req_spares_free(struct loop *lo)
{
	while (lo->spare_reqs) {
		struct req *rq = lo->spare_reqs;

		lo->spare_reqs = rq->spare;
		destroy(rq);
	}
	lo->spare_reqs_n = 0;
}

/* --- the head ---------------------------------------------------------------- */

static enum MHD_Result each_header(void *arg, enum MHD_ValueKind kind,
                                   const char *key, size_t key_n,
                                   const char *value, size_t value_n)
{
	(void)kind;
	head_line(arg, (struct str){key, key_n},
	          (struct str){value ? value : "", value ? value_n : 0});
	return MHD_YES;
}

void req_name(struct req *rq)
{
	const struct head *h = &rq->head;

	if (head_request_id_valid(h->request_id)) {
		memcpy(rq->rid, h->request_id.p, h->request_id.n);
		rq->cx.rid = (struct str){rq->rid, h->request_id.n};
	} else {
		rq->cx.rid = uuid7_from(&rq->loop->uuids, rq->rid);
	}
	reqtrace_begin(rq);
}

static struct limit_who counted(const struct req *rq)
{
	struct str sid = rq->cx.sid, by_key = STR(IDENTITY_KEY_SID);

	return (struct limit_who){
		.client = rq->client,
		.sub = rq->cx.sub,
		.key = str_starts(sid, by_key) ? (struct str){sid.p + by_key.n,
	                                                      sid.n - by_key.n}
	                                       : (struct str){0},
		.tier = rq->cx.tier,
	};
}

/* The turn's clock is behind: what it would let in, it would let in late. */
static uint64_t limit_now_ns(void)
{
	return mono_us() * 1000;
}

/* Before anything is looked up for it. */
static enum err count_address(struct req *rq, bool here_only)
{
	const struct limit_who who = counted(rq);
	enum rate rate = rq->route ? rq->route->rate : RATE_READ;

	if (limits_address(rq->loop->site->limits, &who, rate, here_only,
	                   limit_now_ns(), &rq->limit))
		return OK;
	return limit_refuse(&rq->cx, &rq->limit);
}

/* Whether too much is in the services already. */
static bool is_full(const struct req *rq)
{
	const struct route *r = rq->route;

	return r && r->service != PEER_GATEWAY &&
	       !overload_room(&rq->loop->overload, r->rate);
}

/* Told before a body is taken in. */
static enum err shed(struct req *rq)
{
	overload_refuse(&rq->loop->overload, rq->route->rate);
	rq->shed = true;
	return ERR_BUSY;
}

static struct str cut_text(struct str s, size_t max)
{
	while (s.n > max || (s.n && !utf8_valid(s)))
		s.n = s.n > max ? max : s.n - 1;
	return s;
}

/* Which row answers; the first thing that is wrong, if anything. */
static enum err match(struct req *rq)
{
	const struct head *h = &rq->head;

	if (rq->verb == VERB_OPTIONS && str_eq(h->path, STR("*")))
		return OK;
	rq->matched = route_find(rq->loop->site->tree, h->path, &rq->match);
	if (front_is_asked(rq)) {
		rq->route = rq->loop->site->front_route;
		return OK;
	}
	if (!rq->matched)
		return ERR_NOT_FOUND;
	if (rq->verb == VERB_OPTIONS)
		return OK;
	rq->route = route_for(&rq->match, rq->verb);
	if (!rq->route)
		return ERR_BAD_METHOD;
	if (rq->route->access != ACCESS_ANYONE && h->authorization.n == 0 &&
	    h->api_key.n == 0 && rq->cookie.n == 0 && !rq->cookie_bad)
		return ERR_LOGIN_NEEDED; /* before a body is taken in */
	if (!h->has_length && !h->chunked && route_needs_body(rq->route))
		return ERR_LENGTH_NEEDED;
	return OK;
}

size_t req_body_max(const struct req *rq)
{
	if (rq->err || !rq->route || rq->route->body_max == 0)
		return DRAIN_MAX;
	return rq->route->body_max;
}

/* Whether b begins one byte behind a, or somewhere else altogether: in a
 * libmicrohttpd that keeps the parts apart there is nothing to compare. */
static bool adjoin(uintptr_t a, size_t a_n, uintptr_t b)
{
	return b - a > HEAD_REQUEST_MAX * 4 || b == a + a_n + 1;
}

static void find_client(struct req *rq)
{
	const struct conn *cn = rq->conn;

	rq->client = forwarded_client(rq->loop->site->proxies, &cn->peer,
	                              &rq->head.forwarded,
	                              &rq->head.x_forwarded_for);
	if (!addr_eq(&rq->client, &cn->peer))
		rq->cx.ip = addr_text(&rq->client, rq->client_ip);
}

void req_head(struct req *rq, struct str method, struct str version)
{
	struct head *h = &rq->head;

	rq->headed = true;
	head_target(h, method, rq->target, version);
	/* libmicrohttpd keeps the request line in one piece.  A gap in it was
	 * a NUL or a blank too many, which another reader may see otherwise. */
	if (!h->err &&
	    (!adjoin((uintptr_t)method.p, method.n, rq->target_begin) ||
	     !adjoin(rq->target_begin, rq->target.n, (uintptr_t)version.p))) {
		h->err = ERR_BAD_REQUEST;
		h->reason = "The request line is malformed.";
	}
	(void)MHD_get_connection_values_n(rq->conn->mhd, MHD_HEADER_KIND,
	                                  each_header, h);
	rq->err = head_end(h);
	find_client(rq);
	secure_look(rq);
	vouch_look(rq);
	rq->verb = verb_from_str(method);
	req_name(rq);
	rq->cx.ua = cut_text(h->user_agent, UA_MAX);
	rq->cx.lang = language_choose(h->accept_language);
	if (rq->err) {
		(void)ctx_fail(&rq->cx, rq->err, "%s", h->reason);
		rq->close = true;
	} else {
		enum err matched = match(rq);
		bool full = is_full(rq);

		/* Too many is told also where nothing is, or a login is due:
		 * guessing is what this counts. */
		rq->err = count_address(rq, full);
		if (!rq->err)
			rq->err = secure_demand(rq);
		if (!rq->err && !rq->status)
			rq->err = matched;
		if (!rq->err && !rq->status && full)
			rq->err = shed(rq);
	}
	if (!rq->err)
		rq->err = idemkey_read(&rq->cx, rq->head.idempotency_key,
		                       &rq->cx.idk);
	rq->step = rq->err || rq->status ? STEP_REPLY : STEP_IDENTIFY;
	reqlog_started(rq);
	meter_begin(rq->loop->site->meter, rq->route, rq->verb);
}

/* --- steps --------------------------------------------------------------------- */

void req_resume(struct req *rq)
{
	rq->wait = WAIT_NONE;
	rq->loop->resumed = true;
	if (!rq->held)
		MHD_resume_connection(rq->conn->mhd);
	rq->held = false;
}

/* An open route that heeds a login does without one that is no good; whether
 * it is good has to be known. */
static bool goes_on_without(const struct req *rq, enum err e)
{
	return rq->route->access == ACCESS_ANYONE && e != ERR_UNAVAILABLE &&
	       e != ERR_DENIED;
}

static void identified(void *arg, enum err e, const struct who *who)
{
	struct req *rq = arg;

	rq->known_us = mono_us();
	reqtrace_asked(rq, e);
	vouch_known(rq, e);
	if (!e)
		rq->who = *who;
	else if (!goes_on_without(rq, e))
		rq->err = e;
	rq->step = rq->err ? STEP_REPLY : e ? STEP_GUEST : STEP_AUTHORIZE;
	req_resume(rq);
}

static enum next without(struct req *rq, enum err e)
{
	return goes_on_without(rq, e) ? req_go(rq, STEP_GUEST)
	                              : req_fail(rq, e);
}

/* Of an open route that would have heeded a login, and there is none. */
static enum next step_guest(struct req *rq)
{
	enum err e = visitor_meant(rq);

	if (!e && !rq->route->built)
		e = ERR_NOT_BUILT;
	return e ? req_fail(rq, e) : req_go(rq, STEP_LIMIT);
}

static enum next step_identify(struct req *rq)
{
	struct credentials c = {
		.authorization = rq->head.authorization,
		.api_key = rq->head.api_key,
	};
	char tp[TRACE_PARENT_MAX];
	enum err e;

	/* Open routes look at no credential, or do without one that is no good:
	 * a login must work with a stale token beside it, as clients send
	 * them. */
	if (!rq->route)
		return req_go(rq, STEP_REPLY); /* OPTIONS */
	rq->cx.deadline_ms = rq->loop->now_ms + rq->route->deadline_ms;
	if (rq->route->access == ACCESS_ANYONE && !route_heeds_login(rq->route))
		return rq->route->built ? req_go(rq, STEP_LIMIT)
		                        : req_fail(rq, ERR_NOT_BUILT);
	if (rq->route->access == ACCESS_ANYONE)
		visitor_look(rq);
	if (route_heeds_cookie(rq->route)) {
		c.cookie = rq->cookie;
		e = rq->cookie_bad ? ERR_BAD_TOKEN : OK;
		vouch_known(rq, e);
		if (e)
			return without(rq, e);
	}
	rq->wait = WAIT_IDENTITY;
	c.tp = reqtrace_ask(rq, tp);
	e = identity_check(rq->loop->identity, &c, rq->loop->now_ms,
	                   rq->cx.deadline_ms, &rq->who, identified, rq);
	rq->identity_asked = e == ERR_BUSY;
	if (e == ERR_BUSY)
		return WAIT;
	rq->asking = NULL; /* it was known: there is nothing to tell */
	rq->known_us = mono_us();
	rq->wait = WAIT_NONE;
	vouch_known(rq, e);
	if (!e)
		return req_go(rq, STEP_AUTHORIZE);
	return without(rq, e);
}

/*
 * Clients of the old system name themselves in a header or in the query.  It
 * is taken when it is the truth and refused when it is not (design D24); an
 * administrator's query names somebody else on purpose.
 */
static bool claims_another(const struct req *rq)
{
	struct str hnd = str_from(rq->who.hnd);
	struct str query = rq->head.query;
	char buf[sizeof(rq->who.hnd) * 3];

	if (rq->head.user_id.n && !str_ieq(rq->head.user_id, hnd))
		return true;
	if (rq->route->access == ACCESS_ADMIN)
		return false;
	while (query.n) {
		struct str value = str_cut(&query, '&');
		struct str name = str_cut(&value, '=');
		size_t n = 0;

		if (!str_eq(name, STR("user_id")) || value.n == 0)
			continue;
		if (value.n > sizeof(buf) ||
		    !query_decode(value, true, buf, &n) ||
		    !str_ieq((struct str){buf, n}, hnd))
			return true;
	}
	return false;
}

static enum next step_authorize(struct req *rq)
{
	const struct route *r = rq->route;
	struct ctx *cx = &rq->cx;
	const struct who *w = &rq->who;
	enum err e;

	cx->sub = str_from(w->sub);
	cx->hnd = str_from(w->hnd);
	cx->sid = str_from(w->sid);
	cx->jti = str_from(w->jti);
	cx->role = w->role;
	cx->tier = w->tier;
	cx->scopes = w->scopes;
	cx->auth_time_s = w->auth_time_s;
	e = w->by_cookie ? vouch_meant(rq) : OK;
	if (e)
		return req_fail(rq, e);
	if (r->access == ACCESS_ADMIN && w->role != ROLE_ADMIN)
		return req_fail(rq, ERR_ADMIN_ONLY);
	if ((w->scopes & r->scope) != r->scope)
		return req_fail(rq, ctx_fail(cx, ERR_DENIED,
		                             "These credentials lack the scope "
		                             "that this needs."));
	if (claims_another(rq))
		return req_fail(rq, ctx_fail(cx, ERR_DENIED,
		                             "The user_id is not that of these "
		                             "credentials."));
	if ((r->access == ACCESS_ADMIN || r->rate == RATE_PRIVACY) &&
	    identity_stale(rq->loop->identity, rq->loop->now_ms))
		return req_fail(rq,
		                ctx_fail(cx, ERR_UNAVAILABLE,
		                         "svc-auth cannot be reached, so it is "
		                         "not certain who may do this. Try "
		                         "again shortly."));
	return r->built ? req_go(rq, STEP_LIMIT) : req_fail(rq, ERR_NOT_BUILT);
}

static enum next step_limit(struct req *rq)
{
	const struct limit_who who = counted(rq);

	if (!limits_class(rq->loop->site->limits, &who, rq->route->rate,
	                  limit_now_ns(), &rq->limit))
		return req_fail(rq, limit_refuse(&rq->cx, &rq->limit));
	rq->step = STEP_DECODE;
	return limit_wait_begin(rq, &who) ? WAIT : NEXT;
}

/* What the model used for it counts from the next request on. */
void req_charge(const struct req *rq, uint64_t tokens)
{
	const struct limit_who who = counted(rq);

	limits_tokens(rq->loop->site->limits, &who, tokens, limit_now_ns());
}

void req_limited(struct req *rq, const struct limit_answer *a)
{
	const struct limit_who who = counted(rq);

	if (!limits_settle(rq->loop->site->limits, &who, rq->route->rate,
	                   limit_now_ns(), a, &rq->limit)) {
		rq->err = limit_refuse(&rq->cx, &rq->limit);
		rq->step = STEP_REPLY;
	}
	req_resume(rq);
}

static enum next step_reply(struct req *rq)
{
	(void)rq;
	return DONE;
}

static enum next (*const steps[STEP_COUNT])(struct req *) = {
	[STEP_IDENTIFY] = step_identify, [STEP_AUTHORIZE] = step_authorize,
	[STEP_GUEST] = step_guest,       [STEP_LIMIT] = step_limit,
	[STEP_DECODE] = req_decode,      [STEP_FORWARD] = req_forward,
	[STEP_REPLY] = step_reply,
};

enum next req_run(struct req *rq)
{
	enum next n;

	do {
		assert(rq->step < STEP_COUNT);
		n = steps[rq->step](rq);
	} while (n == NEXT);
	return n;
}
