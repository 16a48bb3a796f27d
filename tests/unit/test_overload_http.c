/* What is refused because of overload, over a gateway in this process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/guard.h"
#include "gateway/inside.h"
#include "tests/alloc_fault.h"
#include "tests/unit/gateway_fixture.h"
#include "tests/unit/redis_server.h"

#define STATS     "/api/gamification/stats"
#define GET_STATS "GET " STATS " HTTP/1.1\r\nHost: x\r\n" ALICE "\r\n"

static const struct stack_want one_loop[] = {{"GATEWAY_THREADS", "1"}};

/* As if so many were in the services.  Between requests nothing looks at it
 * but the tick, which only copies. */
static void fill(const struct stack *s, enum overload_group g)
{
	struct overload_state *st = &s->gateway->loops[0].overload.each[g];

	st->limit = OVERLOAD_MIN;
	st->in_flight = OVERLOAD_MIN;
}

static void reads_are_refused_and_health_and_logins_are_not(void **state)
{
	struct stack *s = stack_start(one_loop, 1);
	struct answer a;

	(void)state;
	fill(s, GROUP_READ);
	a = ask(s, "GET", STATS, ALICE "Origin: http://localhost:3000\r\n",
	        NULL);
	is_problem(&a, 503, "SERVICE_UNAVAILABLE");
	assert_true(str_eq(header_of(&a, "Retry-After"), STR("1")));
	assert_true(header_of(&a, "Access-Control-Allow-Origin").n > 0);
	answer_fini(&a);
	assert_int_equal(s->fakes[PEER_GDPR].calls, 0);
	a = ask(s, "GET", "/health", NULL, NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	a = ask(s, "POST", "/api/auth/login", JSON, "{}");
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	stack_stop(s);
}

/* Asks over a connection and reads into memory that is there already. */
static void ask_without_memory(int fd, const char *bytes, char *in, size_t max)
{
	size_t n = 0;

	assert_int_equal(send(fd, bytes, strlen(bytes), 0), strlen(bytes));
	while (n < max - 1) {
		ssize_t got = recv(fd, in + n, max - 1 - n, 0);

		assert_true(got > 0);
		n += (size_t)got;
		in[n] = '\0';
		if (strstr(in, "\"retry_after\":"))
			return;
	}
}

/* Other threads may ask for memory of their own now and then; the request
 * itself would each time. */
static bool some_round_needs_no_memory(const struct stack *s, const char *bytes,
                                       const char *status)
{
	static char in[65536];
	struct client c = client_to(s);
	bool none = false;

	/* The first makes what is kept between requests. */
	ask_without_memory(c.fd, bytes, in, sizeof(in));
	for (int i = 0; i < 50 && !none; i++) {
		alloc_fault_arm(1);
		ask_without_memory(c.fd, bytes, in, sizeof(in));
		none = !alloc_fault_disarm();
		assert_non_null(strstr(in, status));
	}
	client_close(&c);
	return none;
}

static void what_is_refused_allocates_nothing_of_ours(void **state)
{
	static const struct stack_want limited[] = {
		{"GATEWAY_THREADS", "1"},
		{"RATE_LIMIT_ENABLED", "true"},
		{"RATE_LIMIT_IP_PER_MINUTE", "1"}};
	struct stack *s = stack_start(one_loop, 1);

	(void)state;
	fill(s, GROUP_READ);
	assert_true(some_round_needs_no_memory(s, GET_STATS, " 503 "));
	assert_int_equal(s->fakes[PEER_GDPR].calls, 0);
	stack_stop(s);
	s = stack_start(limited, COUNTOF(limited));
	problem(s, "GET", "/nowhere", NULL, NULL, 404, "NOT_FOUND");
	assert_true(some_round_needs_no_memory(s, GET_STATS, " 429 "));
	assert_int_equal(s->fakes[PEER_GDPR].calls, 0);
	stack_stop(s);
}

/* How many scripts Redis has run. */
static int64_t scripts_run(const struct redis_server *redis)
{
	return redis_calls(redis, "eval") + redis_calls(redis, "evalsha");
}

static bool is_shared(const void *arg)
{
	const struct stack *s = arg;

	return limits_are_shared(s->gateway->site.limits);
}

static struct redis_server redis;

static bool has_run_two(const void *arg)
{
	(void)arg;
	return scripts_run(&redis) >= 2;
}

/* The first script is the question whether Redis is there; what is told of a
 * request that is let in stands behind all that was to be told before. */
static void what_is_refused_is_not_told_to_redis(void **state)
{
	char url[64];
	const struct stack_want want[] = {{"GATEWAY_THREADS", "1"},
	                                  {"RATE_LIMIT_ENABLED", "true"},
	                                  {"RATE_LIMIT_IP_PER_MINUTE", "60"},
	                                  {"REDIS_URL", url}};
	struct stack *s;
	struct answer a;

	(void)state;
	redis_start(&redis);
	(void)snprintf(url, sizeof(url), "redis://127.0.0.1:%d", redis.port);
	s = stack_start(want, COUNTOF(want));
	assert_true(wait_until(is_shared, s, 20000));
	assert_int_equal(scripts_run(&redis), 1);
	fill(s, GROUP_READ);
	for (int i = 0; i < 20; i++)
		problem(s, "GET", STATS, ALICE, NULL, 503,
		        "SERVICE_UNAVAILABLE");
	s->gateway->loops[0].overload.each[GROUP_READ].in_flight = 0;
	a = ask(s, "GET", "/api/gamification/achievements", NULL, NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	assert_true(wait_until(has_run_two, NULL, 20000));
	assert_int_equal(scripts_run(&redis), 2);
	stack_stop(s);
	redis_end(&redis);
}

/* What the log says by now of those refused; no line of a request. */
static uint64_t told_refused(const char *text)
{
	uint64_t n = 0;

	assert_null(strstr(text, "\"event\":\"request."));
	for (const char *at = text; (at = strstr(at, "\"refused\":")); at++)
		n += strtoull(at + 10, NULL, 10);
	return n;
}

static void the_log_counts_what_is_refused(void **state)
{
	static char text[65536];
	struct stack *s = stack_start(one_loop, 1);
	size_t n = 0;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_true(log_start(fds[1], "gateway"));
	atomic_store(&log_threshold, LOG_INFO);
	fill(s, GROUP_READ);
	for (int i = 0; i < 20; i++)
		problem(s, "GET", STATS, ALICE, NULL, 503,
		        "SERVICE_UNAVAILABLE");
	while (told_refused(text) < 20) {
		struct pollfd p = {.fd = fds[0], .events = POLLIN};
		ssize_t got;

		assert_int_equal(poll(&p, 1, 20000), 1);
		got = read(fds[0], text + n, sizeof(text) - 1 - n);
		assert_true(got > 0);
		n += (size_t)got;
	}
	assert_int_equal(told_refused(text), 20);
	assert_non_null(strstr(text, "\"event\":\"gateway.overload\""));
	assert_non_null(strstr(text, "\"class\":\"read\""));
	stack_stop(s);
	log_stop();
	quiet();
	assert_int_equal(close(fds[0]), 0);
	assert_int_equal(close(fds[1]), 0);
}

static unsigned inside(const struct stack *s, unsigned *requests)
{
	struct loop *lo = &s->gateway->loops[0];
	unsigned n = 0;
	GUARD(&lo->shown_lock);

	for (size_t i = 0; i < OVERLOAD_GROUPS; i++)
		n += lo->shown_overload.each[i].in_flight;
	*requests = lo->shown_requests;
	return n;
}

static bool is_empty(const void *arg)
{
	unsigned requests = 0;

	return inside(arg, &requests) == 0 && requests == 0;
}

static bool has_one(const void *arg)
{
	unsigned requests = 0;

	return inside(arg, &requests) == 1;
}

/* Whatever way a request ends, it no longer counts as being in a service. */
static void who_has_left_is_not_counted_any_more(void **state)
{
	static const char *const modes[] = {"",       "busy",  "faults",
	                                    "broken", "empty", "garbage"};
	struct stack *s = stack_start(one_loop, 1);
	struct client c = client_to(s);

	(void)state;
	for (size_t i = 0; i < COUNTOF(modes); i++) {
		char target[64];
		struct answer a;

		(void)snprintf(target, sizeof(target), STATS "?mode=%s",
		               modes[i]);
		a = ask(s, "GET", target, ALICE, NULL);
		assert_true(a.status >= 200);
		answer_fini(&a);
	}
	/* A client that goes while the service has its request. */
	client_text(&c, "GET " STATS "?mode=hold HTTP/1.1\r\nHost: x\r\n" ALICE
	                "\r\n");
	assert_true(wait_until(has_one, s, 10000));
	client_close(&c);
	assert_true(wait_until(is_empty, s, 10000));
	stack_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			reads_are_refused_and_health_and_logins_are_not),
		cmocka_unit_test(what_is_refused_allocates_nothing_of_ours),
		cmocka_unit_test(what_is_refused_is_not_told_to_redis),
		cmocka_unit_test(the_log_counts_what_is_refused),
		cmocka_unit_test(who_has_left_is_not_counted_any_more),
	};

	quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
