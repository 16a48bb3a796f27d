/* Limits as a client meets them, over a gateway in this process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/gateway_fixture.h"

#define ON                                   \
	{                                    \
		"RATE_LIMIT_ENABLED", "true" \
	}
#define ORIGIN    "Origin: http://localhost:3000\r\n"
#define LOGIN     "/api/auth/login"
#define STATS     "/api/gamification/stats"
#define SUBTOPICS "/api/create_subtopics"

static unsigned status_of(const struct stack *s, const char *method,
                          const char *target, const char *headers,
                          const char *body)
{
	struct answer a = ask(s, method, target, headers, body);
	unsigned status = a.status;

	answer_fini(&a);
	return status;
}

static void a_refused_login_tells_when_to_come_again(void **state)
{
	static const struct stack_want want[] = {
		ON,
		{"RATE_LIMIT_LOGIN_PER_MINUTE", "3"},
		{"RATE_LIMIT_IP_PER_MINUTE", "0"}};
	struct stack *s = stack_start(want, COUNTOF(want));
	AUTO_BUF mp = {0};
	char want_left[40];
	struct answer a;
	int64_t wait_s = 0;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(status_of(s, "POST", LOGIN, JSON, "{}"), 200);
	a = ask(s, "POST", LOGIN, JSON ORIGIN, "{}");
	is_problem(&a, 429, "RATE_LIMIT_EXCEEDED");
	/* One comes back every 20 s; the machine may have been slow. */
	assert_true(str_to_i64(header_of(&a, "Retry-After"), &wait_s));
	assert_true(wait_s > 10 && wait_s <= 20);
	assert_int_equal(mp_find_i64(body_of(&a, &mp), "retry_after", 0),
	                 wait_s);
	assert_true(str_eq(header_of(&a, "X-RateLimit-Limit"), STR("3")));
	assert_true(str_eq(header_of(&a, "X-RateLimit-Remaining"), STR("0")));
	assert_true(str_eq(header_of(&a, "X-RateLimit-Reset"),
	                   header_of(&a, "Retry-After")));
	assert_true(str_eq(header_of(&a, "RateLimit-Policy"),
	                   STR("\"login\";q=3;w=60")));
	(void)snprintf(want_left, sizeof(want_left), "\"login\";r=0;t=%d",
	               (int)wait_s);
	assert_true(str_eq(header_of(&a, "RateLimit"), str_from(want_left)));
	/* Else a browser hides it. */
	assert_true(str_eq(header_of(&a, "Access-Control-Allow-Origin"),
	                   STR("http://localhost:3000")));
	answer_fini(&a);
	stack_stop(s);
}

static void what_is_refused_reaches_no_service(void **state)
{
	static const struct stack_want want[] = {
		ON, {"RATE_LIMIT_READ_PER_MINUTE", "2"}};
	struct stack *s = stack_start(want, COUNTOF(want));
	unsigned calls;

	(void)state;
	assert_int_equal(status_of(s, "GET", STATS, ALICE, NULL), 200);
	assert_int_equal(status_of(s, "HEAD", STATS, ALICE, NULL), 200);
	calls = s->fakes[PEER_GDPR].calls;
	for (int i = 0; i < 20; i++)
		problem(s, "GET", STATS, ALICE, NULL, 429,
		        "RATE_LIMIT_EXCEEDED");
	assert_int_equal(s->fakes[PEER_GDPR].calls, calls);
	/* Others are not refused for it. */
	assert_int_equal(
		status_of(s, "GET", STATS, "X-API-Key: sk_bob\r\n", NULL), 200);
	stack_stop(s);
}

static void an_address_is_refused_before_anybody_looks_at_it(void **state)
{
	static const struct stack_want want[] = {
		ON, {"RATE_LIMIT_IP_PER_MINUTE", "4"}};
	struct stack *s = stack_start(want, COUNTOF(want));

	(void)state;
	/* Guessing keys, logging in, looking around: all of it counts. */
	problem(s, "GET", STATS, "X-API-Key: sk_x\r\n", NULL, 401,
	        "INVALID_API_KEY");
	problem(s, "GET", STATS, NULL, NULL, 401, "AUTH_REQUIRED");
	problem(s, "GET", "/nowhere", NULL, NULL, 404, "NOT_FOUND");
	assert_int_equal(status_of(s, "OPTIONS", STATS, ORIGIN, NULL), 204);
	problem(s, "GET", STATS, "X-API-Key: sk_x\r\n", NULL, 429,
	        "RATE_LIMIT_EXCEEDED");
	problem(s, "GET", "/nowhere", NULL, NULL, 429, "RATE_LIMIT_EXCEEDED");
	problem(s, "POST", LOGIN, JSON, "{}", 429, "RATE_LIMIT_EXCEEDED");
	for (int i = 0; i < 9; i++)
		assert_int_equal(status_of(s, "GET", "/health", NULL, NULL),
		                 200);
	stack_stop(s);
}

static void a_client_behind_a_trusted_proxy_counts_by_itself(void **state)
{
	static const struct stack_want want[] = {
		ON,
		{"RATE_LIMIT_IP_PER_MINUTE", "1"},
		{"TRUSTED_PROXIES", "127.0.0.0/8"},
		{"FORCE_HTTPS", "false"}};
	struct stack *s = stack_start(want, COUNTOF(want));

	(void)state;
#define FROM(a) "X-Forwarded-For: 1.2.3.4, " a "\r\n"
	problem(s, "GET", STATS, FROM("192.0.2.1"), NULL, 401, "AUTH_REQUIRED");
	problem(s, "GET", STATS, FROM("192.0.2.1"), NULL, 429,
	        "RATE_LIMIT_EXCEEDED");
	problem(s, "GET", STATS, FROM("192.0.2.2"), NULL, 401, "AUTH_REQUIRED");
	problem(s, "GET", STATS, FROM("2001:db8::1"), NULL, 401,
	        "AUTH_REQUIRED");
	problem(s, "GET", STATS, "Forwarded: for=\"[2001:db8::2]:9\"\r\n", NULL,
	        429, "RATE_LIMIT_EXCEEDED");
	stack_stop(s);
}

static void nobody_else_may_say_whose_request_it_is(void **state)
{
	static const struct stack_want want[] = {
		ON, {"RATE_LIMIT_IP_PER_MINUTE", "1"}};
	struct stack *s = stack_start(want, COUNTOF(want));

	(void)state;
	problem(s, "GET", STATS, FROM("192.0.2.1"), NULL, 401, "AUTH_REQUIRED");
	problem(s, "GET", STATS, FROM("192.0.2.2"), NULL, 429,
	        "RATE_LIMIT_EXCEEDED");
#undef FROM
	stack_stop(s);
}

static void tokens_count_once_used_and_are_nobody_elses_to_see(void **state)
{
	static const struct stack_want want[] = {ON,
	                                         {"QUOTA_FREE_TPM", "100"},
	                                         {"QUOTA_FREE_RPM", "50"}};
	struct stack *s = stack_start(want, COUNTOF(want));
	struct answer a =
		ask(s, "POST", SUBTOPICS, ALICE JSON, "{\"topic\":\"tokens\"}");

	(void)state;
	assert_int_equal(a.status, 200);
	assert_null(header_of(&a, "KAE-Tokens").p);
	answer_fini(&a);
	problem(s, "POST", SUBTOPICS, ALICE JSON, "{\"topic\":\"tokens\"}", 429,
	        "QUOTA_EXCEEDED");
	/* Reading goes on. */
	assert_int_equal(status_of(s, "GET", STATS, ALICE, NULL), 200);
	stack_stop(s);
}

static void switched_off_there_is_no_limit_and_no_header(void **state)
{
	static const struct stack_want want[] = {
		{"RATE_LIMIT_ENABLED", "false"},
		{"RATE_LIMIT_LOGIN_PER_MINUTE", "1"}};
	struct stack *s = stack_start(want, COUNTOF(want));

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct answer a = ask(s, "POST", LOGIN, JSON, "{}");

		assert_int_equal(a.status, 200);
		assert_null(header_of(&a, "RateLimit").p);
		assert_null(header_of(&a, "X-RateLimit-Limit").p);
		answer_fini(&a);
	}
	stack_stop(s);
}

static void a_proxy_that_is_no_address_ends_the_start(void **state)
{
	static const struct stack_want want[] = {{"TRUSTED_PROXIES", "nginx"}};
	struct stack *s = stack_new(want, 1);

	(void)state;
	assert_int_equal(stack_run(s), ERR_INVALID);
	stack_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refused_login_tells_when_to_come_again),
		cmocka_unit_test(what_is_refused_reaches_no_service),
		cmocka_unit_test(
			an_address_is_refused_before_anybody_looks_at_it),
		cmocka_unit_test(
			a_client_behind_a_trusted_proxy_counts_by_itself),
		cmocka_unit_test(nobody_else_may_say_whose_request_it_is),
		cmocka_unit_test(
			tokens_count_once_used_and_are_nobody_elses_to_see),
		cmocka_unit_test(switched_off_there_is_no_limit_and_no_header),
		cmocka_unit_test(a_proxy_that_is_no_address_ends_the_start),
	};

	quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
