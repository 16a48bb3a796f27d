/* What a request says becomes msgpack; what the gateway answers itself, it does. */
#include "gateway/req.h"

#include "common/base/clock.h"
#include "common/codec/json.h"
#include "gateway/multipart.h"
#include "gateway/noted.h"
#include "gateway/query.h"
#include "gateway/survey.h"
#include "gateway/vouch.h"

static bool is_map(struct str mp)
{
	unsigned char c = mp.n ? (unsigned char)mp.p[0] : 0;

	return (c & 0xf0) == 0x80 || c == 0xde || c == 0xdf;
}

static enum err decode_form(struct req *rq)
{
	struct multipart_error at;
	struct str boundary;

	if (!multipart_boundary(rq->head.content_type, &boundary))
		return ctx_fail(&rq->cx, ERR_BAD_JSON,
		                "The Content-Type names no boundary, or one "
		                "that none can be.");
	if (multipart_to_mp(buf_view(&rq->body), boundary, &rq->input, &at))
		return OK;
	if (at.nomem)
		return ERR_NOMEM;
	if (at.part.n)
		return ctx_fail(&rq->cx, ERR_BAD_JSON,
		                "The form is not valid: %s, at byte %zu, in "
		                "the part \"%.*s\".",
		                at.reason, at.offset, STR_FMT(at.part));
	return ctx_fail(&rq->cx, ERR_BAD_JSON,
	                "The form is not valid: %s, at byte %zu.", at.reason,
	                at.offset);
}

static enum err decode_body(struct req *rq)
{
	struct json_error at = {0};
	size_t before = rq->input.n;
	bool files = route_takes_files(rq->route);

	if (rq->body.n == 0 || rq->route->body_max == 0)
		return OK;
	if (files && multipart_is(rq->head.content_type))
		return decode_form(rq);
	if (!head_is_json(rq->head.content_type))
		return files ? ctx_fail(&rq->cx, ERR_MEDIA_TYPE,
		                        "Send this as multipart/form-data or "
		                        "application/json.")
		             : ERR_MEDIA_TYPE;
	if (!json_to_mp(buf_view(&rq->body), &rq->input, &at)) {
		if (at.nomem)
			return ERR_NOMEM;
		return ctx_fail(&rq->cx, ERR_BAD_JSON,
		                "The body is not valid JSON: %s, at byte %zu.",
		                at.reason, at.offset);
	}
	if (!is_map((struct str){rq->input.p + before, rq->input.n - before}))
		return ctx_fault(&rq->cx, "", "INVALID_TYPE",
		                 "The body must be a JSON object.");
	return OK;
}

static unsigned forms_of(enum stream s)
{
	return s == STREAM_PAGE   ? FORMS_PAGE
	       : s == STREAM_LIVE ? FORMS_LIVE
	                          : FORMS_JSON;
}

/* What a service answers is JSON; what we answer has its forms in own.c. */
static enum err choose_form(struct req *rq, unsigned forms)
{
	if (forms == FORMS_FILE ||
	    accept_choose(rq->head.accept, forms, &rq->form))
		return OK;
	return ctx_fail(&rq->cx, ERR_NOT_ACCEPTABLE,
	                "This address answers with %s%s.",
	                form_type(forms & FORMS_JSON   ? FORM_JSON
	                          : forms & FORMS_HTML ? FORM_HTML
	                                               : FORM_CSS),
	                forms == FORMS_PAGE    ? " or text/html"
	                : forms == FORMS_TABLE ? " or text/csv"
	                : forms == FORMS_LIVE  ? " or text/event-stream"
	                                       : "");
}

enum next own_go_on(struct req *rq)
{
	const struct own *own = own_find(rq->route->call);
	enum err e = own->ask ? own->ask(rq) : OK;

	if (!e && rq->survey && rq->survey->open) {
		rq->wait = WAIT_SURVEY;
		return WAIT;
	}
	return req_fail(rq, e ? e : own->run(rq));
}

static enum next run_own(struct req *rq)
{
	const struct own *own = own_find(rq->route->call);
	enum err e;

	rq->forms = own->forms ? own->forms : FORMS_JSON;
	e = choose_form(rq, rq->forms);
	if (!e && !own->drops)
		e = decode_body(rq);
	if (e)
		return req_fail(rq, e);
	return own->note ? noted_begin(rq, own) : own_go_on(rq);
}

/* What cannot be an id of ours travels as one that nobody has. */
static struct str last_event(const struct req *rq)
{
	struct str id = rq->head.last_event_id;

	if (id.n > ENTRY_LEI_MAX)
		return STR("?");
	for (size_t i = 0; i < id.n; i++)
		if (id.p[i] <= ' ' || id.p[i] > '~')
			return STR("?");
	return id;
}

/* Query, path parameters and body stand one behind the other in rq->input. */
enum next req_decode(struct req *rq)
{
	enum err e;

	rq->allowed_us = mono_us();
	if (rq->route->service == PEER_GATEWAY)
		return run_own(rq);
	rq->streams = route_streams(rq->route);
	rq->forms = route_gives_csv(rq->route) ? FORMS_TABLE
	                                       : forms_of(rq->streams);
	e = choose_form(rq, rq->forms);
	if (!e && rq->form == FORM_EVENTS)
		e = events_enter(rq);
	if (e)
		return req_fail(rq, e);
	e = query_pack(&rq->cx, rq->head.query, &rq->input);
	rq->query_n = rq->input.n;
	if (!e)
		e = query_pack_params(&rq->cx, rq->match.params,
		                      rq->match.params_n, &rq->input);
	rq->path_n = rq->input.n - rq->query_n;
	if (!e)
		e = decode_body(rq);
	if (!e && rq->route->service == PEER_AUTH)
		e = vouch_allowed(rq);
	/* A service that streams writes the form itself. */
	if (rq->streams == STREAM_PAGE && rq->form == FORM_HTML)
		rq->cx.form = STR("html");
	if (rq->form == FORM_CSV)
		rq->cx.form = STR("csv");
	if (rq->form == FORM_EVENTS) {
		rq->cx.form = STR("events");
		rq->cx.last_event = last_event(rq);
	}
	return e ? req_fail(rq, e) : req_go(rq, STEP_FORWARD);
}
