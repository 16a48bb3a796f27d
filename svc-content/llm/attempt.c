/* One request to one provider, over libcurl. */
#include "svc-content/llm/inner.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#define FAULT_BODY_MAX ((size_t)64 << 10) /* of an answer that is none */

static struct provider *provider_of(const struct llm_call *c)
{
	return &c->llm->providers[c->at];
}

/* --- what comes ------------------------------------------------------------------ */

static bool fail(struct attempt *a, enum why why)
{
	a->fault = (struct llm_fault){.why = why};
	return false;
}

static bool take_piece(struct llm_call *c, struct str json)
{
	struct attempt *a = &c->a;
	bool spoke = a->reply.spoke;
	enum reply_is is;

	buf_clear(&a->piece);
	is = reply_take(&a->reply, json, &a->piece, &a->hints, &a->fault);
	if (is == REPLY_ERROR)
		return false;
	if (is == REPLY_UNLIKE)
		return fail(a, WHY_MALFORMED);
	if (is == REPLY_NOMEM)
		return fail(a, WHY_NO_MEMORY);
	a->heard_ms = mono_ms();
	if (is == REPLY_DONE)
		a->done_ms = a->heard_ms;
	if (a->reply.spoke && !spoke) {
		a->first_ms = a->heard_ms;
		figures_llm_first(c->llm->figures, provider_of(c),
		                  a->first_ms - a->began_ms);
	}
	if (a->piece.n && !call_text(c, buf_view(&a->piece)))
		return fail(a, WHY_TOO_LONG);
	return true;
}

/* A sse_fn. */
static bool take_event(void *arg, struct str data)
{
	struct llm_call *c = arg;

	/* Behind its end nothing is believed. */
	return c->a.done_ms || take_piece(c, data);
}

static bool take_whole(struct attempt *a, struct str bytes)
{
	size_t max = a->status == 200 ? LLM_ANSWER_MAX : FAULT_BODY_MAX;

	a->heard_ms = mono_ms();
	if (bytes.n > max - a->whole.n)
		bytes.n = max - a->whole.n;
	buf_str(&a->whole, bytes);
	return !a->whole.failed || fail(a, WHY_NO_MEMORY);
}

/* A stream is known by how it begins: not all say so in Content-Type. */
static void look_at_first(struct attempt *a, struct str bytes)
{
	size_t i = 0;

	while (i < bytes.n && strchr(" \t\r\n", bytes.p[i]))
		i++;
	if (i == bytes.n)
		return;
	a->known = true;
	a->stream = (a->can & CAN_STREAM) && !strchr("{[<", bytes.p[i]);
}

static bool take(struct llm_call *c, struct str bytes)
{
	struct attempt *a = &c->a;
	enum err e;

	a->got += bytes.n;
	if (a->got > LLM_ANSWER_MAX)
		return fail(a, WHY_TOO_LONG);
	if (a->status == 0)
		(void)curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE,
		                        &a->status);
	if (!a->known && a->status == 200)
		look_at_first(a, bytes);
	if (!a->stream)
		return take_whole(a, bytes);
	e = sse_feed(&a->sse, bytes, take_event, c);
	if (e)
		return fail(a, e == ERR_NOMEM ? WHY_NO_MEMORY : WHY_TOO_LONG);
	return a->fault.why == WHY_NONE;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	return take(arg, (struct str){p, size * n}) ? size * n : 0;
}

/* The provider's name of the request, for its support: what can stand in a log. */
static void note_request_id(struct attempt *a, struct str id)
{
	size_t n = 0;

	while (n < id.n && n < sizeof(a->request_id) - 1 && id.p[n] > ' ' &&
	       id.p[n] <= '~') {
		a->request_id[n] = id.p[n];
		n++;
	}
	a->request_id[n] = '\0';
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct llm_call *c = arg;
	struct str line = {p, size * n}, value;

	while (line.n &&
	       (line.p[line.n - 1] == '\r' || line.p[line.n - 1] == '\n'))
		line.n--;
	if (str_starts(line, STR("HTTP/"))) /* of 100, or a proxy, before */
		c->a.hints = (struct hints){.told = false};
	hints_header(&c->a.hints, line, wall_ms() / 1000);
	value = line;
	if (str_ieq(str_cut(&value, ':'), STR("x-request-id")))
		note_request_id(&c->a, str_trim(value));
	return size * n;
}

/* --- begin ------------------------------------------------------------------------- */

static bool set_limits(struct llm_call *c, uint64_t now_ms)
{
	struct attempt *a = &c->a;
	const struct provider *p = provider_of(c);
	uint64_t total = clock_left(c->deadline_ms, now_ms);

	a->by_deadline = total <= p->total_ms;
	if (!a->by_deadline)
		total = p->total_ms;
	return !curl_easy_setopt(a->easy, CURLOPT_CONNECTTIMEOUT_MS,
	                         (long)p->connect_ms) &&
	       !curl_easy_setopt(a->easy, CURLOPT_TIMEOUT_MS, (long)total);
}

/* No redirects, no other protocols, no compression, no cookies, no .netrc. */
static bool set_up(struct llm_call *c)
{
	struct attempt *a = &c->a;
	const struct provider *p = provider_of(c);
	CURL *e = a->easy;

	if (c->llm->ca_file &&
	    curl_easy_setopt(e, CURLOPT_CAINFO, c->llm->ca_file))
		return false;
	return !curl_easy_setopt(e, CURLOPT_URL, p->url) &&
	       !curl_easy_setopt(e, CURLOPT_HTTPHEADER, p->headers) &&
	       !curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") &&
	       !curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) &&
	       !curl_easy_setopt(e, CURLOPT_POST, 1L) &&
	       !curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE,
	                         (curl_off_t)a->body.n) &&
	       !curl_easy_setopt(e, CURLOPT_POSTFIELDS, a->body.p) &&
	       !curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) &&
	       !curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L) &&
	       !curl_easy_setopt(e, CURLOPT_USERAGENT,
	                         "knowalledge/" KAE_VERSION) &&
	       !curl_easy_setopt(e, CURLOPT_PRIVATE, c) &&
	       !curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) &&
	       !curl_easy_setopt(e, CURLOPT_HEADERDATA, c) &&
	       !curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) &&
	       !curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
}

bool attempt_begin(struct llm_call *c, enum breaker_pass pass, uint64_t now_ms)
{
	struct attempt *a = &c->a;
	const struct provider *p = provider_of(c);

	*a = (struct attempt){.pass = pass,
	                      .began_ms = now_ms,
	                      .heard_ms = now_ms,
	                      .body.max = 2 * LLM_REQUEST_MAX,
	                      .whole.max = LLM_ANSWER_MAX,
	                      .piece.max = LLM_ANSWER_MAX,
	                      .can = p->can};
	request_write(&a->body, &c->request, p->model, a->can);
	a->easy = a->body.failed ? NULL : curl_easy_init();
	if (a->easy && set_up(c) && set_limits(c, now_ms) &&
	    curl_multi_add_handle(c->llm->multi, a->easy) == CURLM_OK) {
		c->result.tries++;
		return true;
	}
	attempt_end(c);
	return false;
}

/* --- end ------------------------------------------------------------------------------ */

static void count_tokens(struct llm_call *c)
{
	const struct completion *r = &c->a.reply;
	struct llm_result *of = &c->result;
	uint64_t in = r->tokens_in, out = r->tokens_out, cost;

	if (!r->spoke && !r->counted)
		return;
	if (!r->counted) {
		in = c->tokens_in;
		out = llm_tokens(buf_view(&c->text));
		of->estimated = true;
	}
	of->tokens_in += in;
	of->tokens_out += out;
	cost = llm_cost(c->llm, c->at, in, out);
	of->cost += cost;
	figures_llm_tokens(c->llm->figures, c, provider_of(c), in + out, cost);
}

void attempt_end(struct llm_call *c)
{
	struct attempt *a = &c->a;
	uint64_t before = c->result.tokens_in + c->result.tokens_out;

	count_tokens(c);
	if (c->llm->quota)
		quota_provider_settle(c->llm->quota, &c->taken,
		                      c->result.tokens_in +
		                              c->result.tokens_out - before);
	if (a->easy) {
		(void)curl_multi_remove_handle(c->llm->multi, a->easy);
		curl_easy_cleanup(a->easy);
	}
	sse_fini(&a->sse);
	buf_fini(&a->body);
	buf_fini(&a->whole);
	buf_fini(&a->piece);
	a->easy = NULL;
}

static bool connected(const struct attempt *a)
{
	curl_off_t us = 0;

	(void)curl_easy_getinfo(a->easy, CURLINFO_PRETRANSFER_TIME_T, &us);
	return us > 0;
}

/* Which of its limits has passed: curl has one word for all. */
static enum why why_late(const struct llm_call *c)
{
	const struct attempt *a = &c->a;

	if (!connected(a) &&
	    mono_ms() - a->began_ms >= provider_of(c)->connect_ms)
		return WHY_CONNECT_TIMEOUT;
	return a->by_deadline ? WHY_DEADLINE : WHY_TOTAL_TIMEOUT;
}

static enum why why_of_curl(const struct llm_call *c, CURLcode code)
{
	static const struct {
		CURLcode code;
		enum why why;
	} rows[] = {
		{CURLE_COULDNT_RESOLVE_HOST, WHY_CONNECT},
		{CURLE_COULDNT_RESOLVE_PROXY, WHY_CONNECT},
		{CURLE_COULDNT_CONNECT, WHY_CONNECT},
		{CURLE_SSL_CONNECT_ERROR, WHY_CONNECT},
		{CURLE_PEER_FAILED_VERIFICATION, WHY_TLS},
		{CURLE_SSL_CACERT_BADFILE, WHY_TLS},
		{CURLE_SSL_ISSUER_ERROR, WHY_TLS},
		{CURLE_OUT_OF_MEMORY, WHY_NO_MEMORY},
		{CURLE_WEIRD_SERVER_REPLY, WHY_MALFORMED},
		{CURLE_UNSUPPORTED_PROTOCOL, WHY_MALFORMED},
	};

	if (code == CURLE_OPERATION_TIMEDOUT)
		return why_late(c);
	for (size_t i = 0; i < COUNTOF(rows); i++)
		if (rows[i].code == code)
			return rows[i].why;
	return WHY_LOST;
}

/* All has come: whether it is an answer. */
static void look_at_end(struct llm_call *c)
{
	struct attempt *a = &c->a;
	const struct completion *r = &a->reply;

	if (a->stream) {
		if (sse_end(&a->sse, take_event, c))
			(void)fail(a, WHY_NO_MEMORY);
	} else {
		(void)take_piece(c, buf_view(&a->whole));
	}
	if (a->fault.why != WHY_NONE)
		return;
	if (a->stream && !r->finished && !a->done_ms)
		(void)fail(a, WHY_CUT_OFF);
	else if (c->text.n == 0 && (!r->finished || r->finish == LLM_STOP ||
	                            r->finish == LLM_OTHER))
		(void)fail(a, WHY_EMPTY);
}

struct llm_fault attempt_fault(struct llm_call *c, CURLcode code)
{
	struct attempt *a = &c->a;
	bool whole = code == CURLE_OK || a->done_ms ||
	             (a->stream && a->reply.finished);

	(void)curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &a->status);
	if (a->fault.why != WHY_NONE)
		return a->fault;
	/* An error that was cut short is still that error. */
	if (a->status && a->status != 200 &&
	    (whole || code == CURLE_WRITE_ERROR || code == CURLE_PARTIAL_FILE))
		a->fault = fault_of(a->status, &a->hints, buf_view(&a->whole));
	else if (!whole)
		(void)fail(a, why_of_curl(c, code));
	else
		look_at_end(c);
	return a->fault;
}

bool attempt_is_over(struct llm_call *c, uint64_t now_ms, uint64_t *next_ms)
{
	struct attempt *a = &c->a;
	const struct provider *p = provider_of(c);
	bool awaits_first = (a->can & CAN_STREAM) && !a->first_ms &&
	                    (a->stream || !a->known);
	uint64_t due;

	if (a->done_ms)
		due = a->done_ms + LLM_DONE_MS;
	else if (awaits_first)
		due = a->began_ms + p->first_token_ms;
	else if (a->got)
		due = a->heard_ms + p->idle_ms;
	else
		return false; /* only the whole is limited, which curl does */
	if (now_ms < due) {
		if (due < *next_ms)
			*next_ms = due;
		return false;
	}
	if (!a->done_ms)
		(void)fail(a,
		           awaits_first ? WHY_FIRST_TIMEOUT : WHY_IDLE_TIMEOUT);
	return true;
}
