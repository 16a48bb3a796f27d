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

struct job {
	enum rate rate;
	uint64_t came_us;
};

struct line {
	struct job jobs[QUEUE];
	size_t head, n;
};

/* One queue for all classes, as one CPU is; highest rate first means nothing
 * to it. */
struct sim {
	struct overload o;
	bool limited;
	unsigned workers;
	unsigned
		waiting; /* who writes, waits for the answer, and writes again */
	uint64_t work_us, now_us;
	uint64_t stalled_us; /* nothing is done before */
	struct line queue;
	/* One in so many needs no worker, and is answered after so long. */
	unsigned slow_one_in, came;
	uint64_t slow_us;
	struct line elsewhere;
	double credit; /* work that the workers can do by now, in jobs */
	uint64_t served[RATE_COUNT], fast[RATE_COUNT], refused[RATE_COUNT];
	double due[RATE_COUNT];
};

/* What a client still waits for. */
#define PATIENCE_US 300000

static void append(struct line *l, struct job j)
{
	assert_true(l->n < QUEUE);
	l->jobs[(l->head + l->n++) % QUEUE] = j;
}

static void come(struct sim *s, enum rate rate)
{
	struct job j = {rate, s->now_us};

	if (s->limited && !overload_room(&s->o, rate)) {
		overload_refuse(&s->o, rate);
		s->refused[rate]++;
		return;
	}
	overload_enter(&s->o, rate);
	if (s->slow_one_in && ++s->came % s->slow_one_in == 0)
		append(&s->elsewhere, j);
	else
		append(&s->queue, j);
}

static void answer_first(struct sim *s, struct line *l, uint64_t work_us)
{
	struct job *j = &l->jobs[l->head];
	uint64_t took = s->now_us - j->came_us + work_us;

	l->head = (l->head + 1) % QUEUE;
	l->n--;
	s->served[j->rate]++;
	s->fast[j->rate] += took <= PATIENCE_US;
	overload_leave(&s->o, j->rate, took, s->now_us / 1000);
}

static void serve(struct sim *s)
{
	struct line *e = &s->elsewhere;

	if (s->now_us < s->stalled_us)
		return;
	while (e->n && e->jobs[e->head].came_us + s->slow_us <= s->now_us)
		answer_first(s, e, 0);
	s->credit += (double)s->workers * STEP_US / (double)s->work_us;
	for (; s->credit >= 1 && s->queue.n; s->credit--)
		answer_first(s, &s->queue, s->work_us);
	if (s->queue.n == 0 && s->credit > s->workers)
		s->credit = s->workers;
}

static size_t inside(const struct sim *s)
{
	return s->queue.n + s->elsewhere.n;
}

static const double nobody[RATE_COUNT] = {0};
static const double a_few[RATE_COUNT] = {[RATE_WRITE] = 20};
/* Three times what can be done, most of it the least important. */
static const double a_flood[RATE_COUNT] = {[RATE_READ] = 2000,
                                           [RATE_WRITE] = 500,
                                           [RATE_LOGIN] = 200,
                                           [RATE_GENERATE] = 12000};

/* rates: requests a second of each class. */
static void run(struct sim *s, const double rates[RATE_COUNT], uint64_t ms)
{
	uint64_t until = s->now_us + ms * 1000;

	for (; s->now_us < until; s->now_us += STEP_US) {
		for (int r = 0; r < RATE_COUNT; r++)
			for (s->due[r] += rates[r] * STEP_US / 1e6;
			     s->due[r] >= 1; s->due[r]--)
				come(s, (enum rate)r);
		for (size_t i = inside(s); i < s->waiting; i++)
			come(s, RATE_WRITE);
		serve(s);
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

/* Limited, and asked for so much for two seconds. */
static struct sim *used_to(const double rates[RATE_COUNT])
{
	struct sim *s = service(true);

	run(s, rates, 2000);
	return s;
}

static void at_three_times_the_capacity_the_work_done_is_still_wanted(
	void **state)
{
	const double normal[RATE_COUNT] = {[RATE_READ] = 2000};
	const double thrice[RATE_COUNT] = {[RATE_READ] = 12000};
	struct sim *with = used_to(normal), *without = service(false);

	(void)state;
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
	struct sim *s = used_to(normal);

	(void)state;
	run(s, a_flood, 3000);
	forget(s);
	run(s, a_flood, 3000);
	assert_true((double)s->fast[RATE_LOGIN] >= 0.95 * 3 * 200);
	assert_true((double)s->fast[RATE_READ] >= 0.9 * 3 * 2000);
	assert_true((double)s->fast[RATE_WRITE] >= 0.9 * 3 * 500);
	assert_true(s->refused[RATE_GENERATE] > 12000);
	assert_true(s->served[RATE_GENERATE] > 0);
	free(s);
}

static void who_is_let_in_is_answered_in_time(void **state)
{
	struct sim *s = used_to(a_few);

	(void)state;
	run(s, a_flood, 3000);
	forget(s);
	run(s, a_flood, 30000);
	assert_int_equal(s->fast[RATE_LOGIN], s->served[RATE_LOGIN]);
	assert_int_equal(s->fast[RATE_READ], s->served[RATE_READ]);
	assert_int_equal(s->fast[RATE_WRITE], s->served[RATE_WRITE]);
	free(s);
}

/* Whose windows take two seconds, in which others might grow twofold. */
static void a_few_logins_hold_back_who_stands_behind(void **state)
{
	const double normal[RATE_COUNT] = {[RATE_LOGIN] = 5};
	const double crowd[RATE_COUNT] = {
		[RATE_LOGIN] = 5, [RATE_GENERATE] = 12000};
	struct sim *s = service(true);

	(void)state;
	run(s, normal, 5000);
	forget(s);
	run(s, crowd, 120000);
	assert_true((double)s->fast[RATE_LOGIN] >= 0.95 * 120 * 5);
	assert_true((double)s->served[RATE_GENERATE] >= 0.9 * 120 * 4000);
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
	struct sim *s = used_to(normal);

	(void)state;
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
	struct sim *s = service(true);

	(void)state;
	s->work_us = 5000;
	run(s, a_few, 2000);
	s->waiting = 64;
	run(s, nobody, 10000);
	assert_int_equal(s->refused[RATE_WRITE], 0);
	assert_true(s->served[RATE_WRITE] > 7500);
	free(s);
}

/* Who waits for his answer before he asks again, as wrk and browsers do. */
static struct sim *service_for(unsigned waiting)
{
	struct sim *s = used_to(a_few);

	s->waiting = waiting;
	run(s, nobody, 2000);
	assert_int_equal(s->refused[RATE_WRITE], 0);
	return s;
}

static void stall(struct sim *s, const double rates[RATE_COUNT], uint64_t ms)
{
	s->stalled_us = s->now_us + ms * 1000;
	run(s, rates, ms);
}

static void a_stall_of_300_ms_costs_the_limit_nothing(void **state)
{
	struct sim *s = service_for(200);
	unsigned before = overload_limit(&s->o, GROUP_WRITE);

	(void)state;
	stall(s, nobody, 300);
	run(s, nobody, 500);
	assert_true(overload_limit(&s->o, GROUP_WRITE) >= before);
	assert_int_equal(s->refused[RATE_WRITE], 0);
	free(s);
}

/* The cut is right: two hundred take a second where 200 a second are done. */
static void the_limit_is_back_ten_windows_after_what_it_was_cut_for(
	void **state)
{
	struct sim *s = service_for(200);
	unsigned before = overload_limit(&s->o, GROUP_WRITE);

	(void)state;
	s->work_us = 20000;
	run(s, nobody, 5000);
	assert_true(overload_limit(&s->o, GROUP_WRITE) < before / 3);
	s->work_us = 1000;
	run(s, nobody, (uint64_t)10 * OVERLOAD_WINDOW_MS);
	assert_true(overload_limit(&s->o, GROUP_WRITE) >= 200);
	forget(s);
	run(s, nobody, 2000);
	assert_int_equal(s->refused[RATE_WRITE], 0);
	free(s);
}

/* What is late because all stood still for a moment, while it was cut already,
 * is no proof that to cut is in vain.  Whenever the moment comes. */
static void a_stall_after_a_cut_does_not_undo_it(void **state)
{
	(void)state;
	for (uint64_t ms = 1000; ms < 5000; ms += 100) {
		struct sim *s = service_for(200);

		s->work_us = 20000;
		run(s, nobody, ms);
		stall(s, nobody, 700);
		run(s, nobody, 3000);
		assert_true(overload_limit(&s->o, GROUP_WRITE) < 200 / 3);
		free(s);
	}
}

static void a_closed_loop_of_64_is_not_refused(void **state)
{
	struct sim *s = service(true);

	(void)state;
	s->workers = 8;
	s->work_us = 20000;
	run(s, a_few, 2000);
	s->waiting = 64;
	for (int i = 0; i < 10; i++) {
		run(s, nobody, 3000);
		stall(s, nobody, 300);
	}
	assert_int_equal(s->refused[RATE_WRITE], 0);
	free(s);
}

static void a_class_of_which_1_percent_is_slow_is_not_cut(void **state)
{
	const double reads[RATE_COUNT] = {[RATE_READ] = 1000};
	struct sim *s = used_to(reads);

	(void)state;
	s->slow_one_in = 100;
	s->slow_us = 200000;
	run(s, reads, 10000);
	assert_int_equal(s->refused[RATE_READ], 0);
	assert_true(overload_limit(&s->o, GROUP_READ) >= OVERLOAD_FIRST);
	free(s);
}

/* No queue: as many are answered at a time as are asked, and to let in less
 * makes nobody's wait shorter. */
static void a_service_that_has_become_slow_is_cut_for_seconds_only(void **state)
{
	static const struct {
		unsigned one_in;
		uint64_t us;
	} slow[] = {{1, 1000000}, {3, 2000000}};
	const double reads[RATE_COUNT] = {[RATE_READ] = 150};

	(void)state;
	for (size_t i = 0; i < COUNTOF(slow); i++) {
		struct sim *s = used_to(reads);

		s->slow_one_in = slow[i].one_in;
		s->slow_us = slow[i].us;
		run(s, reads, 10000);
		forget(s);
		run(s, reads, 10000);
		assert_int_equal(s->refused[RATE_READ], 0);
		free(s);
	}
}

/* Eight at a time make no queue. */
static void a_few_that_are_slow_are_not_cut(void **state)
{
	struct sim *s = used_to(a_few);

	(void)state;
	s->slow_one_in = 1;
	s->slow_us = 350000;
	run(s, a_few, 10000);
	assert_true(overload_limit(&s->o, GROUP_WRITE) >= OVERLOAD_FIRST);
	free(s);
}

static void enter_all(struct overload *o, enum rate rate, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		overload_enter(o, rate);
}

static void leave_all(struct overload *o, enum rate rate, unsigned n,
                      uint64_t took_us, uint64_t now_ms)
{
	for (unsigned i = 0; i < n; i++)
		overload_leave(o, rate, took_us, now_ms);
}

/* Its own answers come soon, from a store of its own maybe; that says nothing
 * of those it was cut for. */
static void who_was_cut_for_others_grows_back_slowly(void **state)
{
	struct overload o = {.turn_ms = 0};
	uint64_t now = 1;
	unsigned cut;

	(void)state;
	enter_all(&o, RATE_WRITE, 200);
	for (int i = 0; i < 20; i++) {
		now += 200;
		enter_all(&o, RATE_READ, 20);
		leave_all(&o, RATE_READ, 20, i < 10 ? 1000 : 900000, now);
	}
	leave_all(&o, RATE_WRITE, 200, 1000, now);
	cut = overload_limit(&o, GROUP_WRITE);
	assert_true(cut < 200);
	now += 5000; /* who was late has gone */
	for (int i = 0; i < 3; i++) {
		now += 200;
		enter_all(&o, RATE_WRITE, cut);
		leave_all(&o, RATE_WRITE, cut, 1000, now);
	}
	assert_in_range(overload_limit(&o, GROUP_WRITE), cut + 1,
	                cut + cut / 4);
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
		enter_all(&o, RATE_READ, n);
		now += 200;
		leave_all(&o, RATE_READ, n, 500 + turn_us, now);
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
		enter_all(&o, RATE_READ, n);
		assert_false(overload_room(&o, RATE_READ));
		now += 200;
		leave_all(&o, RATE_READ, n, round < 1000 ? 1000 : 60000000,
		          now);
		assert_int_equal(o.each[GROUP_READ].in_flight, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			at_three_times_the_capacity_the_work_done_is_still_wanted),
		cmocka_unit_test(the_least_important_is_cut_first),
		cmocka_unit_test(who_is_let_in_is_answered_in_time),
		cmocka_unit_test(a_few_logins_hold_back_who_stands_behind),
		cmocka_unit_test(when_the_crowd_has_gone_all_are_let_in_again),
		cmocka_unit_test(
			a_service_that_is_slow_by_itself_is_not_strangled),
		cmocka_unit_test(a_class_that_hands_in_together_is_let_in),
		cmocka_unit_test(a_stall_of_300_ms_costs_the_limit_nothing),
		cmocka_unit_test(
			the_limit_is_back_ten_windows_after_what_it_was_cut_for),
		cmocka_unit_test(a_stall_after_a_cut_does_not_undo_it),
		cmocka_unit_test(a_closed_loop_of_64_is_not_refused),
		cmocka_unit_test(a_class_of_which_1_percent_is_slow_is_not_cut),
		cmocka_unit_test(
			a_service_that_has_become_slow_is_cut_for_seconds_only),
		cmocka_unit_test(a_few_that_are_slow_are_not_cut),
		cmocka_unit_test(who_was_cut_for_others_grows_back_slowly),
		cmocka_unit_test(generation_may_take_as_long_as_it_takes),
		cmocka_unit_test(health_is_never_refused),
		cmocka_unit_test(a_busy_loop_is_no_busy_service),
		cmocka_unit_test(limits_stay_within_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
