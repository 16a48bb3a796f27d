/* The gateway against bytes: what no HTTP client would send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <microhttpd.h>

#include "tests/alloc_fault.h"
#include "tests/unit/gateway_shared.h"

#define BYTES(literal) ((struct str){(literal), sizeof(literal) - 1})

/* --- heads ------------------------------------------------------------------------ */

static void heads_that_mean_two_things_are_refused_and_closed(void **state)
{
	static const struct {
		const char *name;
		struct str bytes;
		unsigned status;
		const char *code;
		bool theirs; /* of libmicrohttpd 1.0: gateway/raw.def */
	} cases[] = {
		{"NUL in the target",
	         BYTES("GET /he\0alth HTTP/1.1\r\n" H "\r\n"), 400,
	         "INVALID_INPUT", true},
		{"%00", BYTES("GET /health?a=%00 HTTP/1.1\r\n" H "\r\n"), 400,
	         "INVALID_INPUT", false},
		{"tab", BYTES("GET /he\talth HTTP/1.1\r\n" H "\r\n"), 400,
	         "INVALID_INPUT", false},
		{"blank", BYTES("GET /he alth HTTP/1.1\r\n" H "\r\n"), 400,
	         "INVALID_INPUT", true},
		{"two blanks", BYTES("GET  /health HTTP/1.1\r\n" H "\r\n"), 400,
	         "INVALID_INPUT", true},
		{"two blanks behind",
	         BYTES("GET /health  HTTP/1.1\r\n" H "\r\n"), 400,
	         "INVALID_INPUT", true},
		{"no Host", BYTES("GET /health HTTP/1.1\r\n\r\n"), 400,
	         "INVALID_INPUT", true},
		{"two Hosts", BYTES("GET /health HTTP/1.1\r\n" H H "\r\n"), 400,
	         "INVALID_INPUT", false},
		{"length and chunked",
	         BYTES(LOGIN "Content-Length: 4\r\n"
	                     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	         400, "INVALID_INPUT", true},
		{"two lengths",
	         BYTES(LOGIN "Content-Length: 2\r\nContent-Length: 2\r\n"
	                     "\r\n{}"),
	         400, "INVALID_INPUT", false},
		{"gzip, chunked",
	         BYTES(LOGIN "Transfer-Encoding: gzip, chunked\r\n\r\n"), 400,
	         "INVALID_INPUT", true},
		{"identity", BYTES(LOGIN "Transfer-Encoding: identity\r\n\r\n"),
	         400, "INVALID_INPUT", true},
		{"blank before the colon",
	         BYTES("GET /health HTTP/1.1\r\nHost : x\r\n\r\n"), 400,
	         "INVALID_INPUT", true},
		{"no token",
	         BYTES("GET /health HTTP/1.1\r\n" H "X(a): b\r\n\r\n"), 400,
	         "INVALID_INPUT", false},
		{"control in a value",
	         BYTES("GET /health HTTP/1.1\r\n" H "X-A: a\x01z\r\n\r\n"), 400,
	         "INVALID_INPUT", false},
		{"bare CR in a value",
	         BYTES("GET /health HTTP/1.1\r\n" H "X-A: a\rz\r\n\r\n"), 400,
	         "INVALID_INPUT", true},
		{"authority", BYTES("CONNECT a:1 HTTP/1.1\r\n" H "\r\n"), 400,
	         "INVALID_INPUT", false},
		{"expectation",
	         BYTES(LOGIN "Expect: magic\r\nContent-Length: 2\r\n\r\n{}"),
	         417, "EXPECTATION_FAILED", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct client c = client_to(st);
		struct answer a;

		client_send(&c, cases[i].bytes);
		a = client_answer(&c, false, 5000);
		if (cases[i].theirs && MHD_VERSION >= 0x01000000) {
			assert_true(a.status == 0 || a.status == 400);
		} else {
			if (a.status != cases[i].status)
				fail_msg("%s: %u", cases[i].name, a.status);
			is_problem(&a, cases[i].status, cases[i].code);
		}
		if (!client_sees_end(&c, 5000))
			fail_msg("%s: stays open", cases[i].name);
		answer_fini(&a);
		client_close(&c);
	}
}

static void add_headers(struct buf *b, unsigned n, size_t each)
{
	for (unsigned i = 0; i < n; i++) {
		buf_printf(b, "X-%03u: ", i);
		for (size_t at = 0; at < each; at++)
			buf_char(b, 'a');
		buf_str(b, STR("\r\n"));
	}
}

static void heads_that_are_too_large_have_their_own_answers(void **state)
{
	static const struct {
		size_t target;
		unsigned headers;
		size_t each;
		unsigned status;
	} cases[] = {
		{7, 99, 110, 200}, /* Host makes it 100, and 12 KiB */
		{7, 100, 10, 431}, /* one header too many */
		{7, 2, 6500, 431}, /* 13 KiB in all */
		{7, 1, 8180, 200}, /* one header as long as may be */
		{7, 1, 8190, 431}, /* and longer */
		{4000, 1, 1, 404}, /* a line that fits */
		{4090, 1, 1, 414}, /* and one that does not */
		{4000, 60, 110, 404},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct client c = client_to(st);
		AUTO_BUF b = {0};
		struct answer a;

		buf_str(&b, STR("GET /health"));
		for (size_t at = 7; at < cases[i].target; at++)
			buf_char(&b, 'a');
		buf_str(&b, STR(" HTTP/1.1\r\n" H));
		add_headers(&b, cases[i].headers, cases[i].each);
		buf_str(&b, STR("\r\n"));
		client_send(&c, buf_view(&b));
		a = client_answer(&c, false, 5000);
		if (a.status != cases[i].status)
			fail_msg("case %zu: %u", i, a.status);
		if (a.status != 200)
			is_problem(&a, a.status,
			           a.status == 431   ? "HEADERS_TOO_LARGE"
			           : a.status == 414 ? "URI_TOO_LONG"
			                             : "NOT_FOUND");
		answer_fini(&a);
		client_close(&c);
	}
}

static void a_query_of_many_parameters_is_refused_in_words(void **state)
{
	static const int counts[] = {65, 500, 2000};

	(void)state;
	for (size_t i = 0; i < COUNTOF(counts); i++) {
		struct client c = client_to(st);
		AUTO_BUF b = {0};
		struct answer a;

		buf_str(&b, STR("GET /health?"));
		for (int n = 0; n < counts[i]; n++)
			buf_str(&b, STR("a&"));
		buf_str(&b, STR(" HTTP/1.1\r\n" H "\r\n"));
		client_send(&c, buf_view(&b));
		a = client_answer(&c, false, 5000);
		is_problem(&a, 400, "INVALID_INPUT");
		answer_fini(&a);
		client_close(&c);
	}
}

/* docs/errors.md lists these from the same table. */
static void what_libmicrohttpd_answers_itself_is_as_documented(void **state)
{
	static const struct {
		const char *what;
		struct str bytes;
		const char *statuses[2];
	} cases[] = {
#define RAW(what, bytes, v0, v1) {what, BYTES(bytes), {v0, v1}},
#include "gateway/raw.def"
#undef RAW
	};
	static const char *const versions[2] = {"0.9.75", "1.0.1"};
	size_t v = 0;

	(void)state;
	while (v < 2 && strcmp(MHD_get_version(), versions[v]) != 0)
		v++;
	if (v == 2) {
		print_message("not known of libmicrohttpd %s\n",
		              MHD_get_version());
		return;
	}
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct client c = client_to(st);
		AUTO_BUF seen = {0};
		const char *at;
		bool ours;

		client_send(&c, cases[i].bytes);
		while (client_more(&c, 2000))
			;
		buf_char(&c.in, '\0');
		for (at = c.in.p; (at = strstr(at, "HTTP/1.1 ")); at += 9)
			if (at[9] >= '0' && at[9] <= '9')
				buf_printf(&seen, "%s%.3s", seen.n ? " " : "",
				           at + 9);
		buf_char(&seen, '\0');
		ours = strcmp(cases[i].statuses[v], "ours") == 0;
		if (strcmp(seen.p, ours ? "400" : cases[i].statuses[v]) != 0)
			fail_msg("%s: \"%s\"", cases[i].what, seen.p);
		if (ours)
			assert_non_null(strstr(c.in.p, "problem+json"));
		else if (*seen.p)
			assert_non_null(strstr(c.in.p, "<html>"));
		client_close(&c);
	}
}

static void other_forms_of_a_target_are_understood(void **state)
{
	static const struct {
		const char *head;
		unsigned status;
	} cases[] = {
		{"GET http://any.host/health HTTP/1.1\r\n" H "\r\n", 200},
		{"OPTIONS * HTTP/1.1\r\n" H "\r\n", 204},
		{"GET /health HTTP/1.0\r\n\r\n", 200},
		{"\r\nGET /health HTTP/1.1\r\n" H "\r\n", 200},
		{"get /health HTTP/1.1\r\n" H "\r\n", 405},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct client c = client_to(st);
		struct answer a;

		client_text(&c, cases[i].head);
		a = client_answer(&c, false, 5000);
		if (a.status != cases[i].status)
			fail_msg("%s: %u", cases[i].head, a.status);
		answer_fini(&a);
		client_close(&c);
	}
}

/* --- bodies ------------------------------------------------------------------------- */

static void a_body_over_the_limit_is_refused_without_reading_on(void **state)
{
	static const char *const heads[] = {
		LOGIN JSON "Content-Length: 9000\r\n\r\n",
		LOGIN JSON "Content-Length: 99999999999\r\n\r\n",
		LOGIN JSON "Expect: 100-continue\r\nContent-Length: 9000\r\n"
			   "\r\n",
		"GET /health HTTP/1.1\r\n" H "Content-Length: 70000\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(heads); i++) {
		struct client c = client_to(st);
		struct answer a;

		/* Not one byte of the body is sent. */
		client_text(&c, heads[i]);
		a = client_answer(&c, false, 5000);
		is_problem(&a, 413, "REQUEST_TOO_LARGE");
		assert_true(str_eq(header_of(&a, "Connection"), STR("close")));
		answer_fini(&a);
		client_close(&c);
	}
}

/* A client that sends all before it reads must still find the answer. */
static void the_refusal_reaches_a_client_that_goes_on_sending(void **state)
{
	static char body[300000];

	(void)state;
	memset(body, 'a', sizeof(body));
	for (int i = 0; i < 10; i++) {
		struct client c = client_to(st);
		struct answer a;

		client_text(&c, LOGIN JSON "Content-Length: 300000\r\n\r\n");
		client_send(&c, (struct str){body, sizeof(body)});
		a = client_answer(&c, false, 5000);
		is_problem(&a, 413, "REQUEST_TOO_LARGE");
		answer_fini(&a);
		client_close(&c);
	}
}

static void chunks_are_counted_as_they_come(void **state)
{
	struct client c = client_to(st);
	AUTO_BUF chunk = {0};
	struct answer a;

	(void)state;
	client_text(&c, LOGIN JSON "Transfer-Encoding: chunked\r\n\r\n"
	                           "10\r\n{\"api_key\":\"abc\"\r\n1\r\n}\r\n"
	                           "0\r\n\r\n");
	a = client_answer(&c, false, 5000);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	buf_str(&chunk, STR("800\r\n"));
	for (int i = 0; i < 0x800; i++)
		buf_char(&chunk, 'a');
	buf_str(&chunk, STR("\r\n"));
	client_text(&c, LOGIN JSON "Transfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 5; i++)
		client_send(&c, buf_view(&chunk));
	a = client_answer(&c, false, 5000);
	is_problem(&a, 413, "REQUEST_TOO_LARGE");
	answer_fini(&a);
	client_close(&c);
}

static void a_client_that_asks_first_is_answered_first(void **state)
{
	struct client c = client_to(st);
	struct answer a;

	(void)state;
	client_text(&c, LOGIN JSON "Expect: 100-continue\r\n"
	                           "Content-Length: 2\r\n\r\n");
	while (c.in.n < 25 && client_more(&c, 5000))
		;
	assert_true(c.in.n >= 25);
	assert_memory_equal(c.in.p, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	buf_clear(&c.in);
	client_text(&c, "{}");
	a = client_answer(&c, false, 5000);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	client_close(&c);
	c = client_to(st);
	client_text(&c, "POST /api/quiz/submit HTTP/1.1\r\n" H JSON
	                "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	a = client_answer(&c, false, 5000);
	is_problem(&a, 401, "AUTH_REQUIRED");
	answer_fini(&a);
	client_close(&c);
}

/* --- figures and logs ------------------------------------------------------------------------ */

static void requests_are_counted_per_route(void **state)
{
	struct stack *s = stack_start(NULL, 0);
	AUTO_BUF text = {0};
	struct answer a = ask(s, "GET", "/api/gamification/stats", ALICE, NULL);
	static const char *const lines[] = {
		"http_requests_total{method=\"GET\","
		"endpoint=\"/api/gamification/stats\",status=\"200\"} 1",
		"http_requests_total{method=\"GET\",endpoint=\"unmatched\","
		"status=\"404\"} 1",
		"http_requests_in_progress{method=\"GET\","
		"endpoint=\"/api/gamification/stats\"} 0",
		"http_request_duration_seconds_count{method=\"GET\","
		"endpoint=\"/api/gamification/stats\",status_class=\"2xx\"} 1",
		"http_request_duration_seconds_count{method=\"GET\","
		"endpoint=\"unmatched\",status_class=\"4xx\"} 1",
		"app_info{",
		"kae_bus_requests_total{",
		"kae_identity_entries",
	};

	(void)state;
	answer_fini(&a);
	problem(s, "GET", "/no/such/path", NULL, NULL, 404, "NOT_FOUND");
	gateway_drain(s->gateway, 0, 1000);
	metrics_render(s->metrics, &text);
	buf_char(&text, '\0');
	for (size_t i = 0; i < COUNTOF(lines); i++)
		if (!strstr(text.p, lines[i]))
			fail_msg("%s is not in\n%s", lines[i], text.p);
	stack_stop(s);
}

static void logs_tell_two_events_and_no_secret(void **state)
{
	static const char *const planted[] = {
		"sk_alice",     "planted-token", "planted-query",
		"planted-body", "alice",         "planted-idk",
	};
	static char text[65536];
	int fds[2];
	struct stack *s;
	struct answer a;
	ssize_t n;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_true(log_start(fds[1], "gateway"));
	atomic_store(&log_threshold, LOG_DEBUG);
	s = stack_start(NULL, 0);
	a = ask(s, "POST", "/api/create_subtopics?x=planted-query",
	        ALICE JSON "X-Request-ID: trace-me\r\n"
	                   "Authorization: Bearer null\r\n"
	                   "Idempotency-Key: planted-idk\r\n"
	                   "Referer: http://a.test/p?planted-query\r\n"
	                   "User-Agent: agent \"x\"\\\r\n",
	        "{\"topic\":\"planted-body\"}");
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	a = ask(s, "GET", "/api/progress",
	        "Authorization: Bearer planted-token\r\n", NULL);
	assert_int_equal(a.status, 401);
	answer_fini(&a);
	gateway_drain(s->gateway, 0, 1000);
	stack_stop(s);
	log_stop();
	quiet();
	n = read(fds[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	(void)close(fds[0]);
	(void)close(fds[1]);
	assert_non_null(strstr(text, "\"event\":\"request.started\","
	                             "\"request_id\":\"trace-me\""));
	assert_non_null(strstr(text, "\"event\":\"request.completed\","
	                             "\"request_id\":\"trace-me\""));
	assert_non_null(strstr(text, people[0].sub));
	assert_non_null(strstr(text, "\"status\":401"));
	for (size_t i = 0; i < COUNTOF(planted); i++)
		if (strstr(text, planted[i]))
			fail_msg("%s is in the log", planted[i]);
}

/* --- memory -------------------------------------------------------------------------------- */

/* The n-th allocation anywhere fails while a request is served: the client gets
 * an answer or an end, and the next request is served as ever. */
static void without_memory_a_request_fails_and_nothing_else(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 60; n++) {
		struct client c = client_to(st);
		struct answer a;

		assert_true(buf_reserve(&c.in, 1 << 18));
		alloc_fault_arm(n);
		client_text(
			&c,
			n % 2 ? "GET /api/progress?topic=a HTTP/1.1\r\n" H ALICE
				"\r\n"
			      : "POST /api/quiz/submit HTTP/1.1\r\n" H ALICE
					JSON "Content-Length: 13\r\n\r\n"
				"{\"topic\":\"a\"}");
		/* Up to the first byte only, into memory that is there: the
		 * failure is meant for the gateway, not for this client. */
		(void)client_more(&c, 15000);
		(void)alloc_fault_disarm();
		a = client_answer(&c, false, 5000);
		if (a.status)
			assert_true(a.status == 200 || a.status >= 500);
		else
			assert_true(client_sees_end(&c, 5000));
		answer_fini(&a);
		client_close(&c);
		a = ask(st, "GET", "/health", NULL, NULL);
		assert_int_equal(a.status, 200);
		answer_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			heads_that_mean_two_things_are_refused_and_closed),
		cmocka_unit_test(
			heads_that_are_too_large_have_their_own_answers),
		cmocka_unit_test(
			a_query_of_many_parameters_is_refused_in_words),
		cmocka_unit_test(
			what_libmicrohttpd_answers_itself_is_as_documented),
		cmocka_unit_test(other_forms_of_a_target_are_understood),
		cmocka_unit_test(
			a_body_over_the_limit_is_refused_without_reading_on),
		cmocka_unit_test(
			the_refusal_reaches_a_client_that_goes_on_sending),
		cmocka_unit_test(chunks_are_counted_as_they_come),
		cmocka_unit_test(a_client_that_asks_first_is_answered_first),
		cmocka_unit_test(requests_are_counted_per_route),
		cmocka_unit_test(logs_tell_two_events_and_no_secret),
		cmocka_unit_test(
			without_memory_a_request_fails_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, start_shared, stop_shared);
}
