/* The routes of administrators over services that answer well, badly, late. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/service/figures.h"
#include "tests/alloc_fault.h"
#include "tests/unit/gateway_shared.h"

static int figures_as_before(void **state)
{
	(void)state;
	for (int p = PEER_AUTH; p < PEER_COUNT; p++) {
		st->fakes[p].figures = NULL;
		st->fakes[p].operated = 0;
	}
	return 0;
}

static struct str member(struct str map, const char *key)
{
	struct str out = {0};

	if (!mp_find(map, key, &out))
		fail_msg("no %s", key);
	return out;
}

static void services_know_every_figure_that_is_asked_for(void **state)
{
	const struct service_figures none = {0};
	AUTO_BUF b = {0};
	struct str at;

	(void)state;
	figures_pack(&none, &b);
	assert_true(mp_valid(buf_view(&b)));
	for (size_t i = 0; i < SURVEY_NUMBERS; i++)
		if (!mp_find(buf_view(&b), survey_figure((enum survey_number)i),
		             &at))
			fail_msg("no %s", survey_figure((enum survey_number)i));
}

static void figures_of_all_replicas_are_added(void **state)
{
	struct answer a = ask(st, "GET", "/api/metrics", ADMIN, NULL);
	AUTO_BUF mp = {0};
	struct str cache;

	(void)state;
	assert_int_equal(a.status, 200);
	cache = member(body_of(&a, &mp), "cache");
	/* Three replicas, and hits in memory, negative ones and remote ones. */
	assert_int_equal(mp_find_i64(cache, "hits", -1), 27);
	assert_int_equal(mp_find_i64(cache, "keys", -1), 9);
	answer_fini(&a);
}

static unsigned answered(struct str services, const char *name)
{
	struct mp m = mp_open(member(services, name));
	struct str one = {0};
	uint32_t n = 0;

	assert_true(mp_get_array(&m, &n));
	assert_int_equal(n, 1);
	assert_true(mp_skip(&m, &one));
	return mp_find_bool(one, "answered", false);
}

static void an_answer_that_is_none_is_left_out(void **state)
{
	static const struct {
		const char *figures;
		unsigned answered;
	} cases[] = {{"garbage", 0}, {"error", 0}, {"words", 1}};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF mp = {0};
		struct answer a;
		struct str body;

		st->fakes[PEER_GDPR].figures = cases[i].figures;
		a = ask(st, "GET", "/api/metrics", ADMIN, NULL);
		assert_int_equal(a.status, 200);
		body = body_of(&a, &mp);
		assert_int_equal(answered(member(body, "services"), "gdpr"),
		                 cases[i].answered);
		assert_int_equal(answered(member(body, "services"), "auth"), 1);
		answer_fini(&a);
	}
}

static void what_one_has_not_done_is_no_success(void **state)
{
	static const char *const bad[] = {"garbage", "error"};
	struct answer a = ask(st, "POST", "/api/cache/clear", ADMIN, "");

	(void)state;
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	for (size_t i = 0; i < COUNTOF(bad); i++) {
		st->fakes[PEER_CONTENT].figures = bad[i];
		problem(st, "POST", "/api/cache/clear", ADMIN, "", 503,
		        "SERVICE_UNAVAILABLE");
	}
	for (int p = PEER_AUTH; p < PEER_COUNT; p++)
		assert_int_equal(st->fakes[p].operated, 3);
}

/* Closed: what the audit log cannot be told of is not done. */
static void what_cannot_be_noted_is_not_done(void **state)
{
	static const char *const bad[] = {"broken", "busy", "garbage"};
	static const char *const targets[] = {
		"/api/cache/clear",
		"/api/cache/invalidate",
		"/api/circuit-breaker/gdpr/reset",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bad); i++) {
		st->fakes[PEER_AUTH].mode = bad[i];
		for (size_t k = 0; k < COUNTOF(targets); k++)
			problem(st, "POST", targets[k], ADMIN, "", 503,
			        "SERVICE_UNAVAILABLE");
	}
	st->fakes[PEER_AUTH].mode = NULL;
	for (int p = PEER_AUTH; p < PEER_COUNT; p++)
		assert_int_equal(st->fakes[p].operated, 0);
}

/* One that is refused is no act, and one that was asked twice is two. */
static void each_act_is_noted_once_before_it_is_done(void **state)
{
	struct answer a;

	(void)state;
	st->fakes[PEER_AUTH].calls = 0;
	problem(st, "POST", "/api/circuit-breaker/none/reset", ADMIN, "", 404,
	        "NOT_FOUND");
	assert_int_equal(st->fakes[PEER_AUTH].calls, 0);
	for (unsigned i = 1; i <= 2; i++) {
		a = ask(st, "POST", "/api/circuit-breaker/gdpr/reset",
		        ADMIN "Idempotency-Key: the-same\r\n", "");
		assert_int_equal(a.status, 200);
		answer_fini(&a);
		assert_int_equal(st->fakes[PEER_AUTH].calls, i);
	}
}

static void one_that_does_not_answer_ends_with_the_survey(void **state)
{
	uint64_t from_ms = mono_ms();
	struct answer a;

	(void)state;
	st->fakes[PEER_GDPR].figures = "hold";
	a = ask(st, "GET", "/api/stats", ADMIN, NULL);
	assert_int_equal(a.status, 200);
	assert_in_range(mono_ms() - from_ms, SURVEY_MS - 50, SURVEY_MS * 5);
	answer_fini(&a);
}

static void only_administrators_ask_and_no_service_hears_of_others(void **state)
{
	static const char *const targets[] = {
		"/api/cache/clear",
		"/api/cache/invalidate",
		"/api/circuit-breaker/gdpr/reset",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(targets); i++) {
		problem(st, "POST", targets[i], ALICE, "", 403,
		        "ADMIN_REQUIRED");
		problem(st, "POST", targets[i], NULL, "", 401, "AUTH_REQUIRED");
	}
	for (int p = PEER_AUTH; p < PEER_COUNT; p++)
		assert_int_equal(st->fakes[p].operated, 0);
}

static void bodies_are_checked_before_anybody_is_asked(void **state)
{
	static const struct {
		const char *headers, *body;
		unsigned status;
	} cases[] = {
		{ADMIN JSON, "{\"namespace\":7}", 400},
		{ADMIN JSON, "{\"namespace\":\"\"}", 400},
		{ADMIN JSON, "[]", 400},
		{ADMIN JSON, "{", 400},
		{ADMIN "Content-Type: text/plain\r\n", "x", 415},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct answer a = ask(st, "POST", "/api/cache/invalidate",
		                      cases[i].headers, cases[i].body);

		assert_int_equal(a.status, cases[i].status);
		answer_fini(&a);
	}
	for (int p = PEER_AUTH; p < PEER_COUNT; p++)
		assert_int_equal(st->fakes[p].operated, 0);
}

/* Of its own, since it ends under the question. */
static void a_client_or_a_gateway_that_goes_leaves_nothing(void **state)
{
	struct stack *s = stack_start(NULL, 0);
	struct client c = client_to(s), stays = client_to(s);

	(void)state;
	s->fakes[PEER_AUTH].figures = "hold";
	client_text(&c, "GET /api/stats HTTP/1.1\r\nHost: t\r\n" ADMIN "\r\n");
	assert_true(wait_until(is_held, &s->fakes[PEER_AUTH], 10000));
	client_close(&c);
	client_text(&stays,
	            "GET /api/stats HTTP/1.1\r\nHost: t\r\n" ADMIN "\r\n");
	gateway_drain(s->gateway, 0, 0);
	client_close(&stays);
	stack_stop(s);
}

/* The n-th allocation anywhere, for each n that one is delivered for. */
static void it_answers_or_refuses_whatever_memory_fails(void **state)
{
	unsigned spared = 0;

	(void)state;
	for (unsigned n = 1; spared < 3; n++) {
		struct client c = client_to(st);
		struct answer a;

		assert_true(n < 1000);
		assert_true(buf_reserve(&c.in, 1 << 18));
		alloc_fault_arm(n);
		client_text(&c, "POST /api/cache/clear HTTP/1.1\r\nHost: t\r\n"
		                "Content-Length: 0\r\n" ADMIN "\r\n");
		/* The failure is meant for the others, not for this client. */
		(void)client_more(&c, 15000);
		spared = alloc_fault_disarm() ? 0 : spared + 1;
		a = client_answer(&c, false, 5000);
		if (a.status)
			assert_true(a.status == 200 || a.status >= 500);
		else
			assert_true(client_sees_end(&c, 5000));
		if (spared)
			assert_int_equal(a.status, 200);
		answer_fini(&a);
		client_close(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(services_know_every_figure_that_is_asked_for),
		cmocka_unit_test(figures_of_all_replicas_are_added),
		cmocka_unit_test_setup(an_answer_that_is_none_is_left_out,
	                               figures_as_before),
		cmocka_unit_test_setup(what_one_has_not_done_is_no_success,
	                               figures_as_before),
		cmocka_unit_test_setup(what_cannot_be_noted_is_not_done,
	                               figures_as_before),
		cmocka_unit_test_setup(each_act_is_noted_once_before_it_is_done,
	                               figures_as_before),
		cmocka_unit_test_setup(
			one_that_does_not_answer_ends_with_the_survey,
			figures_as_before),
		cmocka_unit_test_setup(
			only_administrators_ask_and_no_service_hears_of_others,
			figures_as_before),
		cmocka_unit_test_setup(
			bodies_are_checked_before_anybody_is_asked,
			figures_as_before),
		cmocka_unit_test(
			a_client_or_a_gateway_that_goes_leaves_nothing),
		cmocka_unit_test_setup(
			it_answers_or_refuses_whatever_memory_fails,
			figures_as_before),
	};

	return cmocka_run_group_tests(tests, start_shared, stop_shared);
}
