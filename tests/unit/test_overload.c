/*
 * The limiter against a service that is simulated: so many workers, so long a
 * piece of work, and a queue that never ends.
 */
#include "gateway/overload.h"

#include "common/base/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define QUEUE   65536
#define STEP_US 100

/* One queue for all classes, as one CPU is; highest rate first means nothing
 * to it. */
struct sim {
	struct overload o;
	bool limited;
	unsigned workers;
	unsigned
		waiting; /* who writes, waits for the answer, and writes again */
	uint64_t work_us, now_us;
	struct job {
		enum rate rate;
		uint64_t came_us;
	} queue[QUEUE];
	size_t head, n;
	double credit; /* work that the workers can do by now, in jobs */
	uint64_t served[RATE_COUNT], fast[RATE_COUNT], refused[RATE_COUNT];
	double due[RATE_COUNT];
};

/* What a client still waits for. */
#define PATIENCE_US 300000

static void come(struct sim *s, enum rate rate)
{
	if (s->limited && !overload_room(&s->o, rate)) {
		overload_refuse(&s->o, rate);
		s->refused[rate]++;
		return;
	}
	overload_enter(&s->o, rate);
	assert_true(s->n < QUEUE);
	s->queue[(s->head + s->n++) % QUEUE] = (struct job){rate, s->now_us};
}

static void serve(struct sim *s)
{
	struct job *j = &s->queue[s->head];
	uint64_t took = s->now_us - j->came_us + s->work_us;

	s->head = (s->head + 1) % QUEUE;
	s->n--;
	s->served[j->rate]++;
	s->fast[j->rate] += took <= PATIENCE_US;
	overload_leave(&s->o, j->rate, took, s->now_us / 1000);
}

/* rates: requests a second of each class. */
static void run(struct sim *s, const double rates[RATE_COUNT], uint64_t ms)
{
	uint64_t until = s->now_us + ms * 1000;

	for (; s->now_us < until; s->now_us += STEP_US) {
		for (int r = 0; r < RATE_COUNT; r++)
			for (s->due[r] += rates[r] * STEP_US / 1e6;
			     s->due[r] >= 1; s->due[r]--)
				come(s, (enum rate)r);
		for (size_t i = s->n; i < s->waiting; i++)
			come(s, RATE_WRITE);
		s->credit += (double)s->workers * STEP_US / (double)s->work_us;
		for (; s->credit >= 1 && s->n; s->credit--)
			serve(s);
		if (s->n == 0 && s->credit > s->workers)
			s->credit = s->workers;
	}
}

static void forget(struct sim *s)
{
	memset(s->served, 0, sizeof(s->served));
	memset(s->fast, 0, sizeof(s->fast));
	memset(s->refused, 0, sizeof(s->refused));
}

/* 4 workers of 1 ms: 4000 a second. */
static struct sim *service(bool limited)
{
	struct sim *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->limited = limited;
	s->workers = 4;
	s->work_us = 1000;
	s->now_us = 1000000;
	return s;
}

static void at_three_times_the_capacity_the_work_done_is_still_wanted(
	void **state)
{
	const double normal[RATE_COUNT] = {[RATE_READ] = 2000};
	const double thrice[RATE_COUNT] = {[RATE_READ] = 12000};
	struct sim *with = service(true), *without = service(false);

	(void)state;
	run(with, normal, 2000);
	assert_int_equal(with->refused[RATE_READ], 0);
	run(with, thrice, 2000);
	forget(with);
	run(with, thrice, 4000);
	assert_true((double)with->fast[RATE_READ] >= 0.9 * 4 * 4000);
	/* The proof that the simulation can fail. */
	run(without, normal, 2000);
	run(without, thrice, 2000);
	forget(without);
	run(without, thrice, 4000);
	assert_int_equal(without->fast[RATE_READ], 0);
	free(with);
	free(without);
}

static void the_least_important_is_cut_first(void **state)
{
	const double normal[RATE_COUNT] = {
		[RATE_READ] = 1000, [RATE_WRITE] = 500, [RATE_LOGIN] = 100};
	const double crowd[RATE_COUNT] = {[RATE_READ] = 2000,
	                                  [RATE_WRITE] = 500,
	                                  [RATE_LOGIN] = 200,
	                                  [RATE_GENERATE] = 12000};
	struct sim *s = service(true);

	(void)state;
	run(s, normal, 2000);
	run(s, crowd, 3000);
	forget(s);
	run(s, crowd, 3000);
	assert_true((double)s->fast[RATE_LOGIN] >= 0.95 * 3 * 200);
	assert_true((double)s->fast[RATE_READ] >= 0.9 * 3 * 2000);
	assert_true((double)s->fast[RATE_WRITE] >= 0.9 * 3 * 500);
	assert_true(s->refused[RATE_GENERATE] > 12000);
	assert_true(s->served[RATE_GENERATE] > 0);
	free(s);
}

static void when_the_crowd_has_gone_all_are_let_in_again(void **state)
{
	const double normal[RATE_COUNT] = {[RATE_READ] = 2000};
	const double crowd[RATE_COUNT] = {[RATE_READ] = 20000};
	struct sim *s = service(true);

	(void)state;
	run(s, normal, 1000);
	run(s, crowd, 3000);
	run(s, normal, 1000);
	forget(s);
	run(s, normal, 2000);
	assert_int_equal(s->refused[RATE_READ], 0);
	free(s);
}

static void a_service_that_is_slow_by_itself_is_not_strangled(void **state)
{
	const double normal[RATE_COUNT] = {[RATE_READ] = 1000};
	struct sim *s = service(true);

	(void)state;
	run(s, normal, 2000);
	/* Forty times slower, with as many more workers. */
	s->work_us = 40000;
	s->workers = 160;
	run(s, normal, 30000);
	forget(s);
	run(s, normal, 3000);
	assert_true(s->refused[RATE_READ] < 100);
	free(s);
}

/* 64 people against a database that commits 800 times a second: each waits for
 * 80 ms, which is better than to be refused. */
static void a_class_that_hands_in_together_is_let_in(void **state)
{
	const double one[RATE_COUNT] = {[RATE_WRITE] = 20};
	const double none[RATE_COUNT] = {0};
	struct sim *s = service(true);

	(void)state;
	s->work_us = 5000;
	run(s, one, 2000);
	s->waiting = 64;
	run(s, none, 10000);
	assert_int_equal(s->refused[RATE_WRITE], 0);
	assert_true(s->served[RATE_WRITE] > 7500);
	free(s);
}

static void generation_may_take_as_long_as_it_takes(void **state)
{
	const double slow[RATE_COUNT] = {[RATE_GENERATE] = 2};
	struct sim *s = service(true);

	(void)state;
	s->work_us = 10000000;
	s->workers = 100;
	run(s, slow, 60000);
	assert_int_equal(s->refused[RATE_GENERATE], 0);
	free(s);
}

static void health_is_never_refused(void **state)
{
	struct overload o = {.each = {{.limit = OVERLOAD_MIN}}};

	(void)state;
	for (int i = 0; i < 100000; i++) {
		assert_true(overload_room(&o, RATE_HEALTH));
		overload_enter(&o, RATE_HEALTH);
	}
	overload_leave(&o, RATE_HEALTH, 1000000, 5);
}

/* A loop that is busy with refusing makes each reply wait; to let in less would
 * only leave the services with nothing to do. */
static void a_busy_loop_is_no_busy_service(void **state)
{
	struct overload o = {.turn_ms = 0};
	uint64_t now = 1;

	(void)state;
	for (int round = 0; round < 300; round++) {
		unsigned n = overload_limit(&o, GROUP_READ);
		uint64_t turn_us = round < 20 ? 100 : 30000;

		overload_turned(&o, turn_us);
		for (unsigned i = 0; i < n; i++)
			overload_enter(&o, RATE_READ);
		now += 200;
		for (unsigned i = 0; i < n; i++)
			overload_leave(&o, RATE_READ, 500 + turn_us, now);
	}
	assert_true(overload_limit(&o, GROUP_READ) >= OVERLOAD_FIRST / 2);
}

static void limits_stay_within_bounds(void **state)
{
	struct overload o = {.turn_ms = 0};
	uint64_t now = 1;

	(void)state;
	for (int round = 0; round < 2000; round++) {
		unsigned n = overload_limit(&o, GROUP_READ);

		assert_true(n >= OVERLOAD_MIN && n <= OVERLOAD_MAX);
		for (unsigned i = 0; i < n; i++)
			overload_enter(&o, RATE_READ);
		assert_false(overload_room(&o, RATE_READ));
		now += 200;
		for (unsigned i = 0; i < n; i++)
			overload_leave(&o, RATE_READ,
			               round < 1000 ? 1000 : 60000000, now);
		assert_int_equal(o.each[GROUP_READ].in_flight, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			at_three_times_the_capacity_the_work_done_is_still_wanted),
		cmocka_unit_test(the_least_important_is_cut_first),
		cmocka_unit_test(when_the_crowd_has_gone_all_are_let_in_again),
		cmocka_unit_test(
			a_service_that_is_slow_by_itself_is_not_strangled),
		cmocka_unit_test(a_class_that_hands_in_together_is_let_in),
		cmocka_unit_test(generation_may_take_as_long_as_it_takes),
		cmocka_unit_test(health_is_never_refused),
		cmocka_unit_test(a_busy_loop_is_no_busy_service),
		cmocka_unit_test(limits_stay_within_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
