/* What a gateway does with a connection: one request after another, clients that
 * leave, and time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/gateway_shared.h"

static void a_connection_serves_one_request_after_another(void **state)
{
	struct client c = client_to(st);

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct answer a;

		client_text(&c, i % 2 ? "GET /health HTTP/1.1\r\n" H "\r\n"
		                      : "GET /api/progress HTTP/1.1\r\n" H ALICE
		                        "\r\n");
		a = client_answer(&c, false, 5000);
		assert_int_equal(a.status, 200);
		answer_fini(&a);
	}
	client_text(&c, "POST /api/create_subtopics HTTP/1.1\r\n" H ALICE JSON
	                "Content-Length: 1\r\n\r\n{");
	{
		struct answer a = client_answer(&c, false, 5000);

		is_problem(&a, 400, "INVALID_FORMAT");
		answer_fini(&a);
	}
	client_text(&c, "GET /health HTTP/1.1\r\n" H "\r\n");
	{
		struct answer a = client_answer(&c, false, 5000);

		assert_int_equal(a.status, 200);
		answer_fini(&a);
	}
	client_close(&c);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	struct client c = client_to(st);
	AUTO_BUF b = {0};

	(void)state;
	for (int i = 0; i < 30; i++)
		buf_printf(&b,
		           "%s /api/progress?n=%d HTTP/1.1\r\n" H ALICE
		           "X-Request-ID: n%d\r\n\r\n",
		           "GET", i, i);
	client_send(&c, buf_view(&b));
	for (int i = 0; i < 30; i++) {
		struct answer a = client_answer(&c, false, 5000);
		char want[16];

		(void)snprintf(want, sizeof(want), "n%d", i);
		assert_int_equal(a.status, 200);
		assert_true(
			str_eq(header_of(&a, "X-Request-ID"), str_from(want)));
		answer_fini(&a);
	}
	client_close(&c);
}

static void a_request_that_comes_byte_by_byte_is_served(void **state)
{
	static const char text[] =
		LOGIN JSON "Content-Length: 15\r\n\r\n{\"api_key\":\"k\"}";
	struct client c = client_to(st);
	struct answer a;

	(void)state;
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		client_send(&c, (struct str){text + i, 1});
		if (i % 16 == 0)
			(void)poll(NULL, 0, 1);
	}
	a = client_answer(&c, false, 5000);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	client_close(&c);
}

static bool is_cancelled(const void *f)
{
	return bus_item_cancelled(((const struct fake *)f)->held[0]);
}

static void a_client_that_leaves_takes_its_call_along(void **state)
{
	struct stack *s = stack_start(NULL, 0);
	struct fake *f = &s->fakes[PEER_CONTENT];
	struct client c = client_to(s);
	struct answer a;

	(void)state;
	client_text(&c,
	            "GET /api/progress?mode=hold HTTP/1.1\r\n" H ALICE "\r\n");
	assert_true(wait_until(is_held, f, 5000));
	client_close(&c);
	assert_true(wait_until(is_cancelled, f, 5000));
	a = ask(s, "GET", "/api/progress", ALICE, NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	stack_stop(s);
}

/* docs/errors.md says how far libmicrohttpd lets us go. */
static void a_client_may_end_its_side_before_our_own_answers(void **state)
{
	struct stack *s = stack_start(NULL, 0);

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct client c = client_to(s);
		struct answer a;

		client_text(&c, "GET /health HTTP/1.1\r\n" H "\r\n");
		assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
		a = client_answer(&c, false, 5000);
		assert_int_equal(a.status, 200);
		answer_fini(&a);
		/* It is not kept for a request that cannot come. */
		assert_true(client_sees_end(&c, 10000));
		client_close(&c);
	}
	stack_stop(s);
}

/* Those that a loop has taken and not read when it looks who is idle, too: of
 * so many, some are. */
static void an_end_loses_no_request_that_came_before_it(void **state)
{
	static const struct stack_want want[] = {{"GATEWAY_THREADS", "2"},
	                                         {"CONNECTIONS_PER_IP", "0"}};
	struct stack *s = stack_start(want, COUNTOF(want));
	unsigned lost = 0;

	(void)state;
	for (int i = 0; i < 6000; i++) {
		struct client c = client_to(s);
		char first;

		client_text(&c, "GET /health HTTP/1.1\r\n" H "\r\n");
		assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
		lost += recv(c.fd, &first, 1, 0) != 1;
		client_close(&c);
	}
	assert_int_equal(lost, 0);
	stack_stop(s);
}

static void a_client_that_ends_its_side_takes_its_call_along(void **state)
{
	struct stack *s = stack_start(NULL, 0);
	struct fake *f = &s->fakes[PEER_CONTENT];
	struct client c = client_to(s);

	(void)state;
	client_text(&c,
	            "GET /api/progress?mode=hold HTTP/1.1\r\n" H ALICE "\r\n");
	assert_true(wait_until(is_held, f, 5000));
	assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
	assert_true(wait_until(is_cancelled, f, 5000));
	assert_true(client_sees_end(&c, 5000));
	client_close(&c);
	stack_stop(s);
}

/* --- time -------------------------------------------------------------------------------- */

static void slow_requests_get_a_408_and_are_closed(void **state)
{
	static const struct stack_want want[] = {{"REQUEST_READ_S", "1"}};
	static const char *const starts[] = {
		"GET /hea",
		"GET /health HTTP/1.1\r\nHost: ",
		LOGIN JSON "Content-Length: 1000\r\n\r\n{",
	};
	struct stack *s = stack_start(want, 1);

	(void)state;
	for (size_t i = 0; i < COUNTOF(starts); i++) {
		struct client c = client_to(s);
		uint64_t until = mono_ms() + 10000;
		struct answer a = {0};

		client_text(&c, starts[i]);
		/* One more byte now and then keeps no connection open. */
		while (a.status == 0 && mono_ms() < until) {
			client_text(&c, "a");
			a = client_answer(&c, false, 100);
		}
		is_problem(&a, 408, "REQUEST_TIMEOUT");
		answer_fini(&a);
		assert_true(client_sees_end(&c, 10000));
		client_close(&c);
	}
	stack_stop(s);
}

/* A keep-alive connection that does nothing is not a slow request. */
static void an_idle_connection_is_kept(void **state)
{
	static const struct stack_want want[] = {{"REQUEST_READ_S", "1"}};
	struct stack *s = stack_start(want, 1);
	struct client c = client_to(s);

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct answer a;

		client_text(&c, "GET /health HTTP/1.1\r\n" H "\r\n");
		a = client_answer(&c, false, 5000);
		assert_int_equal(a.status, 200);
		answer_fini(&a);
		assert_false(client_sees_end(&c, 1600));
	}
	client_close(&c);
	stack_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_serves_one_request_after_another),
		cmocka_unit_test(pipelined_requests_are_answered_in_order),
		cmocka_unit_test(a_request_that_comes_byte_by_byte_is_served),
		cmocka_unit_test(a_client_that_leaves_takes_its_call_along),
		cmocka_unit_test(
			a_client_may_end_its_side_before_our_own_answers),
		cmocka_unit_test(an_end_loses_no_request_that_came_before_it),
		cmocka_unit_test(
			a_client_that_ends_its_side_takes_its_call_along),
		cmocka_unit_test(slow_requests_get_a_408_and_are_closed),
		cmocka_unit_test(an_idle_connection_is_kept),
	};

	return cmocka_run_group_tests(tests, start_shared, stop_shared);
}
