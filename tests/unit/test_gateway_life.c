/* How a gateway starts, drains and ends, and what it does without a service. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "tests/alloc_fault.h"
#include "tests/unit/gateway_shared.h"

static void a_service_that_is_away_is_503_and_comes_back_by_itself(void **state)
{
	struct stack *s = stack_start(NULL, 0);
	uint64_t began;
	struct answer a;
	unsigned status = 0;

	(void)state;
	fake_stop(&s->fakes[PEER_CONTENT]);
	began = mono_ms();
	a = ask(s, "GET", "/api/progress", ALICE, NULL);
	is_problem(&a, 503, "SERVICE_UNAVAILABLE");
	assert_true(header_of(&a, "Retry-After").n > 0);
	assert_true(mono_ms() - began < 10000);
	answer_fini(&a);
	a = ask(s, "GET", "/api/gamification/stats", ALICE, NULL);
	assert_int_equal(a.status, 200); /* the others go on */
	answer_fini(&a);
	a = ask(s, "GET", "/ready", NULL, NULL);
	assert_int_equal(a.status, 503);
	answer_fini(&a);
	a = ask(s, "GET", "/health", NULL, NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	fake_start(s, PEER_CONTENT);
	began = mono_ms();
	while (status != 200 && mono_ms() - began < 10000) {
		a = ask(s, "GET", "/api/progress", ALICE, NULL);
		status = a.status;
		answer_fini(&a);
	}
	assert_int_equal(status, 200);
	stack_stop(s);
}

struct drain {
	struct stack *s;
	uint64_t grace_ms;
	pthread_t thread;
};

static void *drain(void *arg)
{
	struct drain *d = arg;

	gateway_drain(d->s->gateway, 0, d->grace_ms);
	return NULL;
}

static bool not_ready(const void *g)
{
	return !gateway_ready(g);
}

static void a_drain_lets_requests_in_flight_end(void **state)
{
	struct stack *s = stack_start(NULL, 0);
	struct drain d = {.s = s, .grace_ms = 20000};
	struct fake *f = &s->fakes[PEER_CONTENT];
	struct client c = client_to(s), late;
	struct reply r = {.status = 200};
	const struct ctx cx = {.rid = STR("r")};
	struct answer a;

	(void)state;
	client_text(&c,
	            "GET /api/progress?mode=hold HTTP/1.1\r\n" H ALICE "\r\n");
	assert_true(wait_until(is_held, f, 5000));
	late = client_to(s);
	client_text(&late, "GET /health HTTP/1.1\r\n" H "\r\n");
	a = client_answer(&late, false, 5000);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	assert_int_equal(pthread_create(&d.thread, NULL, drain, &d), 0);
	assert_true(wait_until(not_ready, s->gateway, 5000));
	/* Who is connected is still served, and told to go. */
	client_text(&late, "GET /health HTTP/1.1\r\n" H "\r\n");
	a = client_answer(&late, false, 5000);
	assert_int_equal(a.status, 200);
	assert_true(str_eq(header_of(&a, "Connection"), STR("close")));
	answer_fini(&a);
	f->held_n = 0;
	mp_map(&r.body, 0);
	end_with(f->held[0], &cx, OK, &r);
	a = client_answer(&c, false, 10000);
	assert_int_equal(a.status, 200);
	assert_true(str_eq(header_of(&a, "Connection"), STR("close")));
	answer_fini(&a);
	assert_int_equal(pthread_join(d.thread, NULL), 0);
	client_close(&c);
	client_close(&late);
	stack_stop(s);
}

static void after_the_grace_time_the_rest_is_told_503(void **state)
{
	struct stack *s = stack_start(NULL, 0);
	struct client c = client_to(s);
	struct answer a;

	(void)state;
	client_text(&c,
	            "GET /api/progress?mode=hold HTTP/1.1\r\n" H ALICE "\r\n");
	assert_true(wait_until(is_held, &s->fakes[PEER_CONTENT], 5000));
	gateway_drain(s->gateway, 0, 50);
	a = client_answer(&c, false, 5000);
	is_problem(&a, 503, "SERVICE_UNAVAILABLE");
	answer_fini(&a);
	client_close(&c);
	stack_stop(s);
}

static void settings_that_cannot_work_refuse_to_start(void **state)
{
	static const struct {
		struct stack_want want[2];
		enum err e;
	} cases[] = {
		{{{"BIND", "not-an-address"}, {"PORT", "0"}}, ERR_INVALID},
		{{{"BIND", "203.0.113.1"}, {"PORT", "0"}}, ERR_INVALID},
		{{{"ENVIRONMENT", "production"}, {"CORS_ORIGINS", "*"}},
	         ERR_INVALID},
		{{{"CORS_ORIGINS", "nonsense"}, {"PORT", "0"}}, ERR_INVALID},
	};
	char port[12];
	struct stack_want taken[] = {{"PORT", port}};
	struct stack *s;

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		s = stack_new(cases[i].want, 2);
		assert_int_equal(stack_run(s), cases[i].e);
		stack_stop(s);
	}
	(void)snprintf(port, sizeof(port), "%u", gateway_port(st->gateway));
	s = stack_new(taken, 1);
	assert_int_equal(stack_run(s), ERR_EXISTS);
	stack_stop(s);
}

/* Until a start needs no failure; what failed must have left nothing behind. */
static void without_memory_it_does_not_start(void **state)
{
	enum err e = ERR_NOMEM;
	bool failed = true;

	(void)state;
	for (unsigned n = 1; failed; n++) {
		struct stack *s = stack_new(NULL, 0);

		alloc_fault_arm(n);
		e = stack_run(s);
		failed = alloc_fault_disarm();
		if (e)
			assert_true(failed);
		stack_stop(s);
	}
	assert_int_equal(e, OK);
}

static void several_loops_share_the_port_and_nobody_elses(void **state)
{
	static const struct stack_want want[] = {{"GATEWAY_THREADS", "3"}};
	struct stack *s = stack_start(want, 1);
	char port[12];
	struct stack_want taken[] = {{"PORT", port}};
	struct stack *other;

	(void)state;
	for (int i = 0; i < 30; i++) {
		struct answer a = ask(s, "GET", "/api/progress", ALICE, NULL);

		assert_int_equal(a.status, 200);
		answer_fini(&a);
	}
	(void)snprintf(port, sizeof(port), "%u", gateway_port(s->gateway));
	other = stack_new(taken, 1);
	assert_int_equal(stack_run(other), ERR_EXISTS);
	stack_stop(other);
	stack_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_service_that_is_away_is_503_and_comes_back_by_itself),
		cmocka_unit_test(a_drain_lets_requests_in_flight_end),
		cmocka_unit_test(after_the_grace_time_the_rest_is_told_503),
		cmocka_unit_test(settings_that_cannot_work_refuse_to_start),
		cmocka_unit_test(without_memory_it_does_not_start),
		cmocka_unit_test(several_loops_share_the_port_and_nobody_elses),
	};

	return cmocka_run_group_tests(tests, start_shared, stop_shared);
}
