/*
 * What gateways tell each other: leases in the table, and the thread against a
 * real Redis that comes, goes and stands still.
 */
#include "gateway/limit.h"
#include "tests/alloc_fault.h"

#include "common/base/log.h"
#include "common/cache/redis_wire.h"

#include <stdatomic.h>

#include "tests/unit/redis_server.h"

#define S  ((uint64_t)1000000000)
#define T0 (1000 * S)

/* --- leases ------------------------------------------------------------------------ */

static void no_more_than_a_lease_is_taken_before_others_hear(void **state)
{
	AUTO(limit_table) t = limit_table_new(64);
	struct limit_key k = limit_key_of(t, 0, STR("a"));
	struct gcra g = gcra_of(60, 60);
	struct limit_taken out;

	(void)state;
	/* The first is told at once, two more wait behind it. */
	assert_true(limit_table_take(t, k, &g, T0, 1, 3, &out));
	assert_int_equal(out.tell, 1);
	for (int i = 0; i < 2; i++) {
		assert_true(limit_table_take(t, k, &g, T0, 1, 3, &out));
		assert_int_equal(out.tell, 0);
	}
	assert_false(limit_table_take(t, k, &g, T0, 1, 3, &out));
	assert_true(out.leased_out);
	limit_table_heard(t, k, &g, T0, true, true, S);
	/* With this one the two that waited are told. */
	assert_true(limit_table_take(t, k, &g, T0, 1, 3, &out));
	assert_int_equal(out.tell, 3);
	assert_false(limit_table_take(t, k, &g, T0, 1, 3, &out));
}

static void what_others_have_used_is_gone_here_too(void **state)
{
	AUTO(limit_table) t = limit_table_new(64);
	struct limit_key k = limit_key_of(t, 0, STR("a"));
	struct gcra g = gcra_of(60, 60);
	struct limit_taken out;

	(void)state;
	assert_true(limit_table_take(t, k, &g, T0, 1, 3, &out));
	limit_table_heard(t, k, &g, T0, true, true, 60 * S);
	assert_false(limit_table_take(t, k, &g, T0, 1, 3, &out));
	assert_false(out.leased_out);
	assert_true(limit_table_take(t, k, &g, T0 + S, 1, 3, &out));
	/* A Redis that forgot makes nobody richer. */
	limit_table_heard(t, k, &g, T0 + S, true, true, 0);
	assert_false(limit_table_take(t, k, &g, T0 + S, 1, 3, &out));
}

static void what_nobody_heard_opens_the_lease_again(void **state)
{
	AUTO(limit_table) t = limit_table_new(64);
	struct limit_key k = limit_key_of(t, 0, STR("a"));
	struct gcra g = gcra_of(60, 60);
	struct limit_taken out;

	(void)state;
	assert_true(limit_table_take(t, k, &g, T0, 1, 1, &out));
	assert_false(limit_table_take(t, k, &g, T0, 1, 1, &out));
	limit_table_heard(t, k, &g, T0, true, false, 0);
	assert_true(limit_table_take(t, k, &g, T0, 1, 1, &out));
	limit_table_give_back(t, k, &g, 1, true);
	assert_true(limit_table_take(t, k, &g, T0, 1, 1, &out));
	/* Alone there are no leases. */
	assert_true(limit_table_take(t, k, &g, T0, 1, 0, &out));
}

/* --- the thread -------------------------------------------------------------------- */

#define ANSWERS 64

struct heard {
	_Atomic unsigned n;
	struct limit_answer each[ANSWERS];
};

static void answered(void *arg, const struct limit_question *q,
                     const struct limit_answer *a)
{
	struct heard *h = arg;
	unsigned n = atomic_load(&h->n);

	if (q->n == 0)
		return;
	assert_true(n < ANSWERS);
	h->each[n] = *a;
	atomic_store(&h->n, n + 1);
}

static struct limit_shared *shared_over(const struct redis_wire *w,
                                        struct heard *h)
{
	const struct limit_shared_conf conf = {
		.wire = redis_wire_of(w),
		.connect_ms = 1000,
		.silence_ms = 500,
		.answered = answered,
		.arg = h,
	};

	return limit_shared_new(&conf);
}

static void wait_for_up(const struct limit_shared *s, bool up)
{
	uint64_t until = mono_ms() + 20000;

	while (limit_shared_up(s) != up && mono_ms() < until)
		nap();
	assert_int_equal(limit_shared_up(s), up);
}

static struct limit_answer asked(struct limit_shared *s, struct heard *h,
                                 const struct limit_question *q)
{
	unsigned before = atomic_load(&h->n);
	uint64_t until = mono_ms() + 20000;

	/* A machine that is busy may have seemed away meanwhile. */
	while (!limit_shared_ask(s, q) && mono_ms() < until)
		nap();
	while (atomic_load(&h->n) == before && mono_ms() < until)
		nap();
	assert_int_equal(atomic_load(&h->n), before + 1);
	return h->each[before];
}

static struct limit_question question(const char *a, const char *b)
{
	struct limit_question q = {.n = 2, .cost = {{.n = 1}, {.n = 1}}};

	(void)snprintf(q.cost[0].name, LIMIT_NAME_MAX, "%s", a);
	(void)snprintf(q.cost[1].name, LIMIT_NAME_MAX, "%s", b);
	q.cost[0].rule = gcra_of(2, 60);
	q.cost[1].rule = gcra_of(5, 86400);
	return q;
}

static void all_of_a_question_is_taken_or_none(void **state)
{
	struct redis_server server = {.pid = 0};
	struct redis_url url;
	struct heard h = {.n = 0};
	struct limit_question q = question("a", "b"), used = q, look = q;
	struct limit_answer a;

	(void)state;
	redis_start(&server);
	url = redis_at_path(&server);
	{
		AUTO(redis_wire) w = redis_wire_new(&url, STR("test"));
		AUTO(limit_shared) s = shared_over(w, &h);

		wait_for_up(s, true);
		for (int i = 0; i < 2; i++) {
			a = asked(s, &h, &q);
			assert_true(a.known);
			assert_int_equal(a.refused, 0);
		}
		assert_true(a.owed_ns[0] > 50 * S && a.owed_ns[0] <= 60 * S);
		a = asked(s, &h, &q);
		assert_int_equal(a.refused, 1);
		/* Of the second nothing was taken: two of five are owed. */
		assert_true(a.owed_ns[1] <= 2 * 17280 * S);
		/* Looking takes nothing; what was used is owed. */
		look.cost[0] = q.cost[1];
		look.cost[0].n = 0;
		look.n = 1;
		assert_int_equal(asked(s, &h, &look).refused, 0);
		used.used = true;
		used.cost[0].n = 100;
		a = asked(s, &h, &used);
		assert_int_equal(a.refused, 0);
		assert_true(a.owed_ns[0] <= 120 * S);
		assert_true(a.owed_ns[0] > 110 * S);
	}
	redis_end(&server);
}

static void a_redis_that_goes_is_noticed_and_found_again(void **state)
{
	struct redis_server server = {.pid = 0};
	struct redis_url url;
	struct heard h = {.n = 0};
	const struct limit_question q = question("a", "b");

	(void)state;
	redis_start(&server);
	url = redis_at_path(&server);
	{
		AUTO(redis_wire) w = redis_wire_new(&url, STR("test"));
		AUTO(limit_shared) s = shared_over(w, &h);

		wait_for_up(s, true);
		redis_kill(&server);
		wait_for_up(s, false);
		assert_false(limit_shared_ask(s, &q));
		redis_start(&server);
		wait_for_up(s, true);
		assert_true(asked(s, &h, &q).known);
		/* Frozen: what was asked is answered, as not known. */
		assert_int_equal(kill(server.pid, SIGSTOP), 0);
		assert_false(asked(s, &h, &q).known);
		assert_false(limit_shared_up(s));
		assert_int_equal(kill(server.pid, SIGCONT), 0);
		wait_for_up(s, true);
		assert_true(limit_shared_outages(s) >= 2);
	}
	redis_end(&server);
}

static void an_answer_that_is_an_error_is_not_known(void **state)
{
	struct redis_server server = {.pid = 0};
	struct redis_url url;
	struct heard h = {.n = 0};
	const struct limit_question q = question("a", "b");

	(void)state;
	redis_start(&server);
	url = redis_at_path(&server);
	{
		AUTO(redis_wire) w = redis_wire_new(&url, STR("test"));
		AUTO(limit_shared) s = shared_over(w, &h);

		wait_for_up(s, true);
		/* Somebody else's value under our name. */
		REDIS_TELL(&server, "LPUSH", "a", "x");
		assert_false(asked(s, &h, &q).known);
		REDIS_TELL(&server, "DEL", "a");
		assert_true(asked(s, &h, &q).known);
	}
	redis_end(&server);
}

static void the_script_is_sent_once_and_again_when_it_was_forgotten(
	void **state)
{
	struct redis_server server = {.pid = 0};
	struct redis_url url;
	struct heard h = {.n = 0};
	const struct limit_question q = question("a", "b");

	(void)state;
	redis_start(&server);
	url = redis_at_path(&server);
	{
		AUTO(redis_wire) w = redis_wire_new(&url, STR("test"));
		AUTO(limit_shared) s = shared_over(w, &h);
		int64_t whole;

		wait_for_up(s, true);
		whole = redis_calls(&server, "eval");
		for (int i = 0; i < 3; i++)
			assert_true(asked(s, &h, &q).known);
		assert_int_equal(redis_calls(&server, "eval"), whole);
		assert_int_equal(redis_calls(&server, "evalsha"), 3);
		REDIS_TELL(&server, "SCRIPT", "FLUSH");
		assert_false(asked(s, &h, &q).known);
		assert_true(asked(s, &h, &q).known);
		assert_true(asked(s, &h, &q).known);
		assert_int_equal(redis_calls(&server, "eval"), whole + 1);
	}
	redis_end(&server);
}

static void without_memory_nothing_is_shared(void **state)
{
	struct redis_url url = {.is_path = true, .host = "/nowhere"};
	AUTO(redis_wire) w = redis_wire_new(&url, STR("test"));
	struct heard h = {.n = 0};

	(void)state;
	assert_non_null(w);
	alloc_fault_arm(1);
	assert_null(shared_over(w, &h));
	assert_true(alloc_fault_disarm());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			no_more_than_a_lease_is_taken_before_others_hear),
		cmocka_unit_test(what_others_have_used_is_gone_here_too),
		cmocka_unit_test(what_nobody_heard_opens_the_lease_again),
		cmocka_unit_test(all_of_a_question_is_taken_or_none),
		cmocka_unit_test(a_redis_that_goes_is_noticed_and_found_again),
		cmocka_unit_test(an_answer_that_is_an_error_is_not_known),
		cmocka_unit_test(
			the_script_is_sent_once_and_again_when_it_was_forgotten),
		cmocka_unit_test(without_memory_nothing_is_shared),
	};

	atomic_store(&log_threshold, -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
