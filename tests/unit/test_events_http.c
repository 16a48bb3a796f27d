/* Answers that are told as they are made: what the client sees, and how the
 * service is asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gateway/sse.h"
#include "tests/unit/gateway_fixture.h"

#define JOB      "01900000-0000-7000-8000-0000000000f1"
#define LIVE     "Accept: text/event-stream\r\n"
#define TARGET   "/api/create_subtopics"
#define LATE_MS  60000
#define BATCH    32
#define NEVER_MS "60000" /* longer than any of these tests */

/* What svc-content has of the one job; each event is {"n": its number}, and as
 * much text as told. */
static struct {
	_Atomic unsigned events, batch;
	_Atomic size_t text; /* bytes of each */
	const char *_Atomic state;
	_Atomic int failure; /* an err, of state "failed" */
	_Atomic unsigned opened, asked, busy;
	const char *_Atomic type; /* of all events; NULL: "item" */
	_Atomic bool backwards;   /* their numbers */
	char last_event[80];
} job;

/* Most tests share one that never asks by itself, so what comes was pushed. */
static struct stack *st, *shared;

static void pack_events(struct buf *b, int64_t after)
{
	unsigned n = job.events - (unsigned)after;
	unsigned batch = job.batch;

	n = n < batch ? n : batch;
	mp_kv_array(b, "events", n);
	for (unsigned i = 1; i <= n; i++) {
		int64_t seq = after + i;
		AUTO_BUF text = {0};

		for (size_t k = 0; k < job.text; k++)
			buf_char(&text, 'x');
		mp_array(b, 3);
		mp_i64(b, job.backwards ? 1 : seq);
		mp_text(b, job.type ? job.type : "item");
		mp_map(b, job.text ? 2 : 1);
		mp_kv_i64(b, "n", seq);
		if (job.text)
			mp_kv_str(b, "text", buf_view(&text));
	}
}

static void answer_follow(struct bus_item *it, struct ctx *cx,
                          const struct entry *en)
{
	int64_t after = mp_find_i64(en->body, "after", -1);
	bool more = job.events - (unsigned)after >= job.batch;
	bool failed = !more && strcmp(job.state, "failed") == 0;
	struct reply r = {0};

	job.asked++;
	if (job.busy) {
		job.busy--;
		end_with(it, cx, ERR_BUSY, &r);
		return;
	}
	mp_map(&r.body, failed ? 3 : 2);
	mp_kv_text(&r.body, "state", more ? "more" : job.state);
	pack_events(&r.body, after);
	if (failed) {
		struct ctx of = {.service = "fake", .arena = cx->arena};
		AUTO_BUF why = {0};

		(void)ctx_fail(&of, (enum err)job.failure, "why it failed");
		of.problem.retry_after_s = 9;
		reply_pack(&why, &of, (enum err)job.failure, NULL);
		mp_text(&r.body, "error");
		mp_bin(&r.body, buf_view(&why));
	}
	end_with(it, cx, OK, &r);
}

static bool content(struct fake *f, struct bus_item *it, struct ctx *cx,
                    const struct entry *en)
{
	struct reply r = {0};
	int64_t after = 0;

	(void)f;
	if (str_eq(en->op, STR("content.job_events"))) {
		answer_follow(it, cx, en);
		return true;
	}
	if (!str_eq(cx->form, STR("events")) ||
	    !str_eq(mp_find_str(en->body, "topic", STR("")), STR("t")))
		return false;
	(void)snprintf(job.last_event, sizeof(job.last_event), "%.*s",
	               STR_FMT(cx->last_event));
	job.opened++;
	if (str_eq(cx->last_event, STR(JOB ".99"))) {
		r.status = 204;
	} else {
		if (str_starts(cx->last_event, STR(JOB ".")))
			after = strtol(cx->last_event.p + sizeof(JOB), NULL,
			               10);
		mp_map(&r.body, 2);
		mp_kv_text(&r.body, "job", JOB);
		mp_kv_i64(&r.body, "after", after);
	}
	end_with(it, cx, OK, &r);
	return true;
}

static void reset(void)
{
	job.events = 0;
	job.batch = BATCH;
	job.text = 0;
	job.state = "running";
	job.failure = OK;
	job.opened = job.asked = job.busy = 0;
	job.type = NULL;
	job.backwards = false;
	st->fakes[PEER_CONTENT].own = content;
}

static void begin_with(const struct stack_want *want, size_t n)
{
	st = stack_start(want, n);
	reset();
}

static void begin(void)
{
	const struct stack_want want[] = {{"STREAM_POLL_MS", NEVER_MS},
	                                  {"STREAMS_PER_PERSON", "20"}};

	if (!shared)
		shared = stack_start(want, COUNTOF(want));
	st = shared;
	reset();
}

static void end(void)
{
	if (st != shared)
		stack_stop(st);
}

static int stop(void **state)
{
	(void)state;
	if (shared)
		stack_stop(shared);
	return 0;
}

static void push(void)
{
	bus_server_push(st->fakes[PEER_CONTENT].server, STR(JOB));
}

static void tell(unsigned events, const char *state)
{
	job.state = state;
	job.events = events;
	push();
}

static bool has_asked(const void *n)
{
	return job.asked >= *(const unsigned *)n;
}

static void until_asked(unsigned n)
{
	assert_true(wait_until(has_asked, &n, LATE_MS));
}

/* --- a client --------------------------------------------------------------------- */

static struct client post(const char *version, const char *headers)
{
	struct client c = client_to(st);
	AUTO_BUF b = {0};

	buf_printf(&b,
	           "POST " TARGET " HTTP/%s\r\nHost: test\r\n" JSON "%s"
	           "Content-Length: 13\r\n\r\n{\"topic\":\"t\"}",
	           version, headers);
	client_send(&c, buf_view(&b));
	return c;
}

static struct client live(void)
{
	return post("1.1", ALICE LIVE);
}

static bool seen(const struct client *c, const char *text)
{
	return c->in.n && memmem(c->in.p, c->in.n, text, strlen(text));
}

static void until_seen(struct client *c, const char *text)
{
	while (!seen(c, text))
		if (!client_more(c, LATE_MS))
			fail_msg("no %s in: %.*s", text,
			         STR_FMT(buf_view(&c->in)));
}

static void until_end(struct client *c)
{
	until_seen(c, "\r\n0\r\n\r\n");
}

static unsigned times(const struct client *c, const char *text)
{
	const char *at = c->in.p, *end = c->in.p + c->in.n;
	unsigned n = 0;

	while ((at = memmem(at, (size_t)(end - at), text, strlen(text)))) {
		at++;
		n++;
	}
	return n;
}

static void status_is(const struct client *c, const char *code)
{
	assert_true(c->in.n > 12);
	assert_memory_equal(c->in.p + 9, code, 3);
}

/* --- tests --------------------------------------------------------------------------- */

static void events_are_sent_when_they_are_told(void **state)
{
	struct client c;

	(void)state;
	begin();
	c = live();
	until_asked(1);
	tell(1, "running");
	until_seen(&c, "id: " JOB ".1\nevent: item\ndata: {\"n\":1}\n\n");
	assert_false(seen(&c, JOB ".2"));
	status_is(&c, "200");
	assert_true(seen(&c, "Content-Type: text/event-stream\r\n"));
	assert_true(seen(&c, "Cache-Control: no-store\r\n"));
	assert_true(seen(&c, "X-Accel-Buffering: no\r\n"));
	assert_true(seen(&c, "Vary: Origin, Accept\r\n"));
	assert_true(seen(&c, "X-Request-ID: "));
	tell(3, "done");
	until_end(&c);
	assert_int_equal(times(&c, "event: item\n"), 3);
	assert_true(seen(&c, "id: " JOB ".3\n"));
	assert_int_equal(job.opened, 1);
	client_close(&c);
	end();
}

static void without_a_push_it_is_asked_for_all_the_same(void **state)
{
	struct client c;

	(void)state;
	begin_with(&(struct stack_want){"STREAM_POLL_MS", "50"}, 1);
	c = live();
	until_asked(2);
	job.state = "done";
	job.events = 1;
	until_end(&c);
	assert_int_equal(times(&c, "event: item\n"), 1);
	client_close(&c);
	end();
}

static void many_events_come_in_batches_and_in_order(void **state)
{
	struct client c;

	(void)state;
	begin();
	job.batch = 3;
	job.events = 100;
	job.state = "done";
	c = live();
	until_end(&c);
	assert_int_equal(times(&c, "event: item\n"), 100);
	for (unsigned i = 1, last = 0; i <= 100; i++) {
		AUTO_BUF id = {0};
		const char *at;

		buf_printf(&id, "id: " JOB ".%u\n", i);
		at = memmem(c.in.p, c.in.n, id.p, id.n);
		assert_non_null(at);
		assert_true(i == 1 || (unsigned)(at - c.in.p) > last);
		last = (unsigned)(at - c.in.p);
	}
	client_close(&c);
	end();
}

static void what_fails_before_an_event_is_a_problem(void **state)
{
	struct answer a;

	(void)state;
	begin();
	job.state = "failed";
	job.failure = ERR_QUOTA;
	a = ask(st, "POST", TARGET, ALICE LIVE JSON, "{\"topic\":\"t\"}");
	is_problem(&a, 429, "QUOTA_EXCEEDED");
	assert_true(str_eq(header_of(&a, "Retry-After"), STR("9")));
	assert_non_null(memmem(a.body.p, a.body.n, "why it failed", 13));
	answer_fini(&a);
	problem(st, "POST", TARGET, ALICE LIVE JSON,
	        "{\"topic\":\"NOT_FOUND\"}", 404, "NOT_FOUND");
	problem(st, "POST", TARGET, LIVE JSON, "{\"topic\":\"t\"}", 401,
	        "AUTH_REQUIRED");
	problem(st, "POST", TARGET, ALICE LIVE JSON, "{", 400,
	        "INVALID_FORMAT");
	problem(st, "POST", TARGET, ALICE "Accept: text/html\r\n" JSON,
	        "{\"topic\":\"t\"}", 406, "NOT_ACCEPTABLE");
	end();
}

static void what_fails_later_is_an_event_and_the_end(void **state)
{
	struct client c;

	(void)state;
	begin();
	c = live();
	tell(1, "running");
	until_seen(&c, JOB ".1\n");
	job.failure = ERR_QUOTA;
	tell(2, "failed");
	until_end(&c);
	assert_true(seen(&c, JOB ".2\n"));
	assert_int_equal(times(&c, "event: error\ndata: {\"type\":"), 1);
	assert_true(seen(&c, "\"error_code\":\"QUOTA_EXCEEDED\""));
	assert_true(seen(&c, "\"retry_after\":9"));
	assert_int_equal(times(&c, "id: "), 2);
	client_close(&c);
	/* The same when both are there at once. */
	c = live();
	until_end(&c);
	assert_int_equal(times(&c, "event: item\n"), 2);
	assert_int_equal(times(&c, "event: error\n"), 1);
	client_close(&c);
	end();
}

static void silence_is_filled_with_comments(void **state)
{
	const struct stack_want want[] = {{"STREAM_POLL_MS", "50"},
	                                  {"STREAM_KEEP_ALIVE_MS", "100"}};
	struct client c;

	(void)state;
	begin_with(want, COUNTOF(want));
	c = live();
	until_seen(&c, "\r\n:\n\n\r\n");
	status_is(&c, "200");
	while (times(&c, "\r\n:\n\n\r\n") < 2)
		assert_true(client_more(&c, LATE_MS));
	/* It is asked for more all the while. */
	until_asked(job.asked + 2);
	job.failure = ERR_QUOTA;
	tell(0, "failed");
	until_end(&c);
	assert_int_equal(times(&c, "event: error\n"), 1);
	client_close(&c);
	end();
}

static void a_stream_that_lasts_too_long_ends_with_an_error(void **state)
{
	const struct stack_want want[] = {{"STREAM_POLL_MS", NEVER_MS},
	                                  {"STREAM_S", "1"}};
	struct client c, silent;

	(void)state;
	begin_with(want, COUNTOF(want));
	job.events = 1;
	c = live();
	until_end(&c);
	assert_int_equal(times(&c, "event: item\n"), 1);
	assert_true(seen(&c, "event: error\n"));
	assert_true(seen(&c, "\"error_code\":\"GATEWAY_TIMEOUT\""));
	client_close(&c);
	job.events = 0;
	silent = live();
	until_seen(&silent, "GATEWAY_TIMEOUT");
	status_is(&silent, "504");
	client_close(&silent);
	end();
}

static void a_service_that_is_away_is_asked_again(void **state)
{
	struct client c;

	(void)state;
	begin_with(&(struct stack_want){"STREAM_POLL_MS", "50"}, 1);
	job.busy = 3;
	job.events = 1;
	job.state = "done";
	c = live();
	until_end(&c);
	status_is(&c, "200");
	assert_int_equal(times(&c, "event: item\n"), 1);
	client_close(&c);
	end();
}

static void what_is_no_event_ends_it(void **state)
{
	struct client c;

	(void)state;
	begin();
	job.events = 2;
	job.type = "a\nid: forged";
	problem(st, "POST", TARGET, ALICE LIVE JSON, "{\"topic\":\"t\"}", 502,
	        "BAD_GATEWAY");
	job.type = NULL;
	job.backwards = true;
	job.events = 1;
	c = live();
	until_seen(&c, JOB ".1\n");
	tell(2, "running");
	until_end(&c);
	assert_true(seen(&c, "event: error\n"));
	assert_int_equal(times(&c, "event: item\n"), 1);
	client_close(&c);
	end();
}

static void the_last_event_travels(void **state)
{
	struct client c;
	struct answer a;
	char headers[256];

	(void)state;
	begin();
	job.events = 5;
	job.state = "done";
	c = post("1.1", ALICE LIVE "Last-Event-ID: " JOB ".3\r\n");
	until_end(&c);
	assert_string_equal(job.last_event, JOB ".3");
	assert_int_equal(times(&c, "event: item\n"), 2);
	client_close(&c);
	a = ask(st, "POST", TARGET,
	        ALICE LIVE JSON "Last-Event-ID: " JOB ".99\r\n",
	        "{\"topic\":\"t\"}");
	assert_int_equal(a.status, 204);
	assert_int_equal(a.body.n, 0);
	answer_fini(&a);
	/* What no id can be travels as one that nobody has. */
	(void)snprintf(headers, sizeof(headers),
	               ALICE LIVE "Last-Event-ID: %0100d\r\n", 1);
	c = post("1.1", headers);
	until_end(&c);
	assert_string_equal(job.last_event, "?");
	client_close(&c);
	c = post("1.1", ALICE LIVE "Last-Event-ID: a\xff\r\n");
	until_end(&c);
	assert_string_equal(job.last_event, "?");
	client_close(&c);
	problem(st, "POST", TARGET,
	        ALICE LIVE JSON "Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n",
	        "{\"topic\":\"t\"}", 400, "INVALID_INPUT");
	end();
}

static unsigned now_open(const char *verb, const char *headers)
{
	struct answer a =
		ask(st, verb, TARGET, headers,
	            strcmp(verb, "POST") ? NULL : "{\"topic\":\"t\"}");
	unsigned status = a.status;

	answer_fini(&a);
	return status;
}

static void who_does_not_ask_for_events_gets_json(void **state)
{
	static const char *const accepts[] = {
		"", "Accept: */*\r\n", "Accept: application/json\r\n",
		"Accept: text/event-stream;q=0.5, application/json\r\n"};

	(void)state;
	begin();
	for (size_t i = 0; i < COUNTOF(accepts); i++) {
		char headers[256];
		struct answer a;

		(void)snprintf(headers, sizeof(headers), ALICE JSON "%s",
		               accepts[i]);
		a = ask(st, "POST", TARGET, headers, "{\"topic\":\"t\"}");
		assert_int_equal(a.status, 200);
		assert_true(str_eq(header_of(&a, "Content-Type"),
		                   STR("application/json")));
		assert_true(
			str_eq(header_of(&a, "Vary"), STR("Origin, Accept")));
		answer_fini(&a);
	}
	assert_int_equal(job.opened, 0);
	assert_int_equal(now_open("HEAD", ALICE LIVE), 405);
	end();
}

static void a_client_of_old_gets_it_until_the_connection_ends(void **state)
{
	struct client c;

	(void)state;
	begin();
	job.events = 2;
	job.state = "done";
	c = post("1.0", ALICE LIVE);
	while (client_more(&c, LATE_MS))
		;
	status_is(&c, "200");
	assert_false(seen(&c, "Transfer-Encoding"));
	assert_int_equal(times(&c, "event: item\n"), 2);
	assert_memory_equal(c.in.p + c.in.n - 2, "\n\n", 2);
	client_close(&c);
	end();
}

/* 64 MiB wait for who does not read; few are fetched, and others are served. */
static void who_does_not_read_is_not_fetched_for(void **state)
{
	struct client slow, quick;

	(void)state;
	begin();
	job.text = 16384;
	job.events = 4096;
	job.state = "done";
	slow = live();
	until_asked(1);
	for (int i = 0; i < 3; i++) {
		quick = post("1.1",
		             ALICE LIVE "Last-Event-ID: " JOB ".4090\r\n");
		until_end(&quick);
		assert_int_equal(times(&quick, "event: item\n"), 6);
		client_close(&quick);
	}
	assert_true(job.asked < 64);
	client_close(&slow);
	end();
}

static bool takes_another(const void *headers)
{
	struct client c = post("1.1", headers);
	bool good;

	while (!seen(&c, "\r\n\r\n"))
		assert_true(client_more(&c, LATE_MS));
	good = memcmp(c.in.p + 9, "200", 3) == 0;
	client_close(&c);
	return good;
}

static void so_many_may_be_open(void **state)
{
	const struct stack_want want[] = {{"STREAM_POLL_MS", NEVER_MS},
	                                  {"STREAMS_MAX", "3"},
	                                  {"STREAMS_PER_PERSON", "2"}};
	static const char bob[] = "X-API-Key: sk_bob\r\n" LIVE JSON;
	struct client c[3];

	(void)state;
	begin_with(want, COUNTOF(want));
	job.events = 1;
	for (int i = 0; i < 2; i++) {
		c[i] = live();
		until_seen(&c[i], JOB ".1\n");
	}
	assert_int_equal(now_open("POST", ALICE LIVE JSON), 429);
	assert_int_equal(now_open("POST", ALICE JSON), 200);
	c[2] = post("1.1", "X-API-Key: sk_bob\r\n" LIVE);
	until_seen(&c[2], JOB ".1\n");
	assert_int_equal(now_open("POST", bob), 503);
	for (int i = 0; i < 3; i++)
		client_close(&c[i]);
	assert_true(wait_until(takes_another, ALICE LIVE, LATE_MS));
	end();
}

static void twenty_at_once_get_all_of_it(void **state)
{
	struct client c[20];

	(void)state;
	begin();
	for (size_t i = 0; i < COUNTOF(c); i++)
		c[i] = live();
	until_asked(COUNTOF(c));
	for (unsigned n = 1; n < 10; n++)
		tell(n, "running");
	tell(10, "done");
	for (size_t i = 0; i < COUNTOF(c); i++) {
		until_end(&c[i]);
		assert_int_equal(times(&c[i], "event: item\n"), 10);
		client_close(&c[i]);
	}
	end();
}

static void a_gateway_that_ends_says_so(void **state)
{
	struct client c;

	(void)state;
	begin_with(NULL, 0);
	job.events = 1;
	c = live();
	until_seen(&c, JOB ".1\n");
	gateway_stop(st->gateway, 30000);
	st->gateway = NULL;
	until_end(&c);
	assert_true(seen(&c, "event: error\n"));
	assert_true(seen(&c, "SERVICE_UNAVAILABLE"));
	client_close(&c);
	end();
}

static void what_is_written_is_an_event_or_nothing(void **state)
{
	AUTO_BUF out = {0};

	(void)state;
	assert_true(sse_event(&out, STR("j"), 7, STR("item"),
	                      STR("\xa3"
	                          "a\nb")));
	assert_true(str_eq(buf_view(&out),
	                   STR("id: j.7\nevent: item\ndata: \"a\\nb\"\n\n")));
	buf_clear(&out);
	assert_true(sse_event(&out, STR(""), 0, STR("x"), STR("\x80")));
	assert_true(str_eq(buf_view(&out), STR("event: x\ndata: {}\n\n")));
	assert_false(sse_event(&out, STR("j"), 1, STR(""), STR("\x80")));
	assert_false(sse_event(&out, STR("j"), 1, STR("a b"), STR("\x80")));
	assert_false(sse_event(&out, STR("j"), 1, STR("a\r"), STR("\x80")));
	assert_false(sse_event(&out, STR("j\n"), 1, STR("a"), STR("\x80")));
	assert_false(sse_event(&out, STR("j"), -1, STR("a"), STR("\x80")));
	assert_false(sse_event(&out, STR("j"), 1, STR("a"), STR("\xc1")));
	assert_false(sse_event(&out, STR("j"), 1, STR("a"), STR("")));
	assert_true(str_eq(buf_view(&out), STR("event: x\ndata: {}\n\n")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_an_event_or_nothing),
		cmocka_unit_test(events_are_sent_when_they_are_told),
		cmocka_unit_test(without_a_push_it_is_asked_for_all_the_same),
		cmocka_unit_test(many_events_come_in_batches_and_in_order),
		cmocka_unit_test(what_fails_before_an_event_is_a_problem),
		cmocka_unit_test(what_fails_later_is_an_event_and_the_end),
		cmocka_unit_test(silence_is_filled_with_comments),
		cmocka_unit_test(
			a_stream_that_lasts_too_long_ends_with_an_error),
		cmocka_unit_test(a_service_that_is_away_is_asked_again),
		cmocka_unit_test(what_is_no_event_ends_it),
		cmocka_unit_test(the_last_event_travels),
		cmocka_unit_test(who_does_not_ask_for_events_gets_json),
		cmocka_unit_test(
			a_client_of_old_gets_it_until_the_connection_ends),
		cmocka_unit_test(who_does_not_read_is_not_fetched_for),
		cmocka_unit_test(so_many_may_be_open),
		cmocka_unit_test(twenty_at_once_get_all_of_it),
		cmocka_unit_test(a_gateway_that_ends_says_so),
	};

	quiet();
	return cmocka_run_group_tests(tests, NULL, stop);
}
