/* Answers that a service streams: what the client sees of good and bad ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/gateway_fixture.h"

static struct stack *st;

static int start(void **state)
{
	(void)state;
	quiet();
	st = stack_start(NULL, 0);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	stack_stop(st);
	return 0;
}

/* mode is as it stands in a query. */
static struct answer get(const char *verb, const char *mode, const char *accept)
{
	struct client c = client_to(st);
	AUTO_BUF b = {0};
	struct answer a;

	buf_printf(&b,
	           "%s /api/user/export?mode=%s HTTP/1.1\r\nHost: test\r\n"
	           "X-API-Key: sk_alice\r\nAccept: %s\r\n\r\n",
	           verb, mode, accept);
	client_send(&c, buf_view(&b));
	a = client_answer(&c, strcmp(verb, "HEAD") == 0, 60000);
	client_close(&c);
	return a;
}

static void expect(const char *mode, unsigned status, const char *body)
{
	struct answer a = get("GET", mode, "application/json");

	assert_int_equal(a.status, status);
	if (body)
		assert_true(str_eq(a.body, str_from(body)));
	answer_fini(&a);
}

static void a_stream_is_the_body_and_its_head_the_headers(void **state)
{
	struct answer a = get("GET", "flow+5+hello", "*/*");

	(void)state;
	assert_int_equal(a.status, 200);
	assert_true(str_eq(a.body, STR("hello")));
	assert_true(str_eq(header_of(&a, "Content-Length"), STR("5")));
	assert_true(
		str_eq(header_of(&a, "Content-Type"), STR("application/json")));
	assert_true(str_eq(header_of(&a, "Content-Disposition"), STR("json")));
	assert_true(str_eq(header_of(&a, "Cache-Control"), STR("no-store")));
	answer_fini(&a);
	expect("flow+0+", 200, "");
}

static void a_page_is_asked_for_by_accept_and_runs_nothing(void **state)
{
	struct answer a = get("GET", "flow+4+page", "text/html");

	(void)state;
	assert_int_equal(a.status, 200);
	assert_true(str_eq(header_of(&a, "Content-Disposition"), STR("html")));
	assert_true(str_eq(header_of(&a, "Content-Type"),
	                   STR("text/html; charset=utf-8")));
	assert_true(str_starts(header_of(&a, "Content-Security-Policy"),
	                       STR("sandbox; default-src 'none'")));
	answer_fini(&a);
	a = get("GET", "flow+4+page", "image/png");
	assert_int_equal(a.status, 406);
	answer_fini(&a);
}

static void head_is_told_the_length_and_no_more(void **state)
{
	struct answer a = get("HEAD", "flow+5+hello", "*/*");

	(void)state;
	assert_int_equal(a.status, 200);
	assert_true(str_eq(header_of(&a, "Content-Length"), STR("5")));
	assert_int_equal(a.body.n, 0);
	answer_fini(&a);
}

/* The connection ends before the length does: no client takes it for whole. */
static void a_stream_that_is_too_short_is_cut(void **state)
{
	struct client c = client_to(st);

	(void)state;
	client_text(&c, "GET /api/user/export?mode=flow+10+hello HTTP/1.1\r\n"
	                "Host: test\r\nX-API-Key: sk_alice\r\n\r\n");
	while (client_more(&c, 60000))
		;
	assert_true(client_sees_end(&c, 0));
	assert_non_null(memmem(c.in.p, c.in.n, "Content-Length: 10\r\n", 20));
	assert_memory_equal(c.in.p + c.in.n - 9, "\r\n\r\nhello", 9);
	client_close(&c);
}

static void a_stream_that_is_too_long_ends_where_it_said(void **state)
{
	(void)state;
	expect("flow+3+hello", 200, "hel");
}

static void what_is_no_stream_is_an_error_as_any(void **state)
{
	(void)state;
	expect("flow+-1+hello", 502, NULL);
	expect("flow+x+hello", 502, NULL);
	expect("garbage", 502, NULL);
	expect("busy", 503, NULL);
	expect("broken", 500, NULL);
	expect("NOT_FOUND", 404, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_is_the_body_and_its_head_the_headers),
		cmocka_unit_test(
			a_page_is_asked_for_by_accept_and_runs_nothing),
		cmocka_unit_test(head_is_told_the_length_and_no_more),
		cmocka_unit_test(a_stream_that_is_too_short_is_cut),
		cmocka_unit_test(a_stream_that_is_too_long_ends_where_it_said),
		cmocka_unit_test(what_is_no_stream_is_an_error_as_any),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
