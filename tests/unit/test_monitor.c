/*
 * monitor over a bus of our own: each call is kept until the test answers it,
 * and the clock is the test's.
 */
#include "gateway/monitor.h"

#include "common/base/log.h"
#include "common/bus/entry.h"
#include "common/codec/mp.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct world {
	struct monitor *m;
	uint64_t now_ms;
	enum err refuse; /* what the bus says to a call */
	unsigned calls[PEER_COUNT], wakes;
	struct { /* the call that is open, if fn */
		bus_reply_fn *fn;
		void *arg;
		uint64_t deadline_ms;
	} open[PEER_COUNT];
};

static enum err fake_call(void *bus, const struct bus_call *call, uint64_t *id)
{
	struct world *w = bus;
	struct entry entry = {0};
	struct ctx cx = {0};

	w->calls[call->to]++;
	if (w->refuse)
		return w->refuse;
	assert_null(w->open[call->to].fn); /* one at a time */
	assert_int_equal(entry_read(call->bytes, &cx, &entry), OK);
	assert_true(str_eq(entry.op, STR("service.health")));
	assert_int_equal(cx.sub.n, 0);
	w->open[call->to].fn = call->on_reply;
	w->open[call->to].arg = call->arg;
	w->open[call->to].deadline_ms = call->deadline_ms;
	*id = call->to + 1U;
	return OK;
}

static void fake_wake(void *arg)
{
	((struct world *)arg)->wakes++;
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	const struct monitor_conf conf = {
		.call = fake_call, .bus = w, .wake = fake_wake, .arg = w};

	assert_non_null(w);
	w->now_ms = 1000000;
	w->m = monitor_new(&conf);
	assert_non_null(w->m);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	monitor_free(w->m);
	free(w);
	return 0;
}

static void turn(struct world *w, uint64_t later_ms)
{
	w->now_ms += later_ms;
	monitor_turn(w->m, w->now_ms);
}

static void end(struct world *w, enum bus_peer p, enum err e, struct str bytes)
{
	bus_reply_fn *fn = w->open[p].fn;

	assert_non_null(fn);
	w->open[p].fn = NULL;
	fn(w->open[p].arg, e, bytes, false);
}

/* more: the check beside the database's, or NULL. */
static void pack_with(struct buf *b, bool ready, const char *status,
                      const char *database, const char *more,
                      const char *more_status)
{
	const struct ctx cx = {.rid = STR("r")};
	struct reply r = {0};

	mp_map(&r.body, 3);
	mp_kv_bool(&r.body, "ready", ready);
	mp_kv_text(&r.body, "status", status);
	mp_kv_map(&r.body, "checks", more ? 2 : 1);
	mp_kv_map(&r.body, "database", 1);
	mp_kv_text(&r.body, "status", database);
	if (more) {
		mp_kv_map(&r.body, more, 1);
		mp_kv_text(&r.body, "status", more_status);
	}
	reply_pack(b, &cx, OK, &r);
	buf_fini(&r.body);
}

/* redis NULL: it has none. */
static void pack_health(struct buf *b, bool ready, const char *status,
                        const char *database, const char *redis)
{
	pack_with(b, ready, status, database, redis ? "redis" : NULL, redis);
}

static void answer(struct world *w, enum bus_peer p, bool ready,
                   const char *status, const char *database)
{
	AUTO_BUF b = {0};

	pack_health(&b, ready, status, database, NULL);
	end(w, p, OK, buf_view(&b));
}

static void all_well(struct world *w)
{
	turn(w, 0);
	for (int p = PEER_AUTH; p < PEER_COUNT; p++)
		answer(w, (enum bus_peer)p, true, "ready", "up");
}

static void is(struct world *w, enum bus_peer p, enum monitor_state service,
               enum monitor_state database)
{
	struct monitor_view v = monitor_view(w->m, p, w->now_ms);

	assert_int_equal(v.service, service);
	assert_int_equal(v.database, database);
}

/* --- tests ---------------------------------------------------------------- */

static void every_service_is_asked_at_start_and_each_minute(void **state)
{
	struct world *w = *state;

	is(w, PEER_GDPR, MONITOR_UNKNOWN, MONITOR_UNKNOWN);
	assert_int_equal(monitor_timeout_ms(w->m, w->now_ms), 0);
	all_well(w);
	for (int p = PEER_AUTH; p < PEER_COUNT; p++) {
		assert_int_equal(w->calls[p], 1);
		is(w, (enum bus_peer)p, MONITOR_UP, MONITOR_UP);
	}
	assert_int_equal(w->calls[PEER_GATEWAY], 0);
	assert_int_equal(monitor_timeout_ms(w->m, w->now_ms), MONITOR_EVERY_MS);
	turn(w, MONITOR_EVERY_MS - 1);
	assert_int_equal(w->calls[PEER_AUTH], 1);
	turn(w, 1);
	assert_int_equal(w->calls[PEER_AUTH], 2);
	assert_int_equal(w->open[PEER_AUTH].deadline_ms,
	                 w->now_ms + MONITOR_ANSWER_MS);
	/* While they are open nobody is asked again. */
	assert_true(monitor_timeout_ms(w->m, w->now_ms) == UINT64_MAX);
	turn(w, MONITOR_EVERY_MS);
	assert_int_equal(w->calls[PEER_AUTH], 2);
}

static void a_failure_is_looked_into_at_once_but_not_twice_a_second(
	void **state)
{
	struct world *w = *state;

	all_well(w);
	w->now_ms += 30000;
	monitor_note(w->m, PEER_CONTENT);
	monitor_note(w->m, PEER_CONTENT);
	assert_int_equal(w->wakes, 1);
	assert_int_equal(monitor_timeout_ms(w->m, w->now_ms), 0);
	turn(w, 0);
	assert_int_equal(w->calls[PEER_CONTENT], 2);
	assert_int_equal(w->calls[PEER_AUTH], 1);
	/* What fails while the question is under way may have come after the
	 * service looked. */
	monitor_note(w->m, PEER_CONTENT);
	answer(w, PEER_CONTENT, true, "ready", "up");
	turn(w, MONITOR_SOON_MS - 1);
	assert_int_equal(w->calls[PEER_CONTENT], 2);
	assert_int_equal(monitor_timeout_ms(w->m, w->now_ms), 1);
	turn(w, 1);
	assert_int_equal(w->calls[PEER_CONTENT], 3);
	answer(w, PEER_CONTENT, true, "ready", "up");
	turn(w, MONITOR_SOON_MS);
	assert_int_equal(w->calls[PEER_CONTENT], 3);
}

static void who_is_not_well_is_asked_again_soon(void **state)
{
	struct world *w = *state;

	all_well(w);
	monitor_note(w->m, PEER_GDPR);
	turn(w, MONITOR_SOON_MS);
	answer(w, PEER_GDPR, true, "degraded", "down");
	is(w, PEER_GDPR, MONITOR_DEGRADED, MONITOR_DOWN);
	is(w, PEER_AUTH, MONITOR_UP, MONITOR_UP);
	turn(w, MONITOR_UNWELL_MS - 1);
	assert_int_equal(w->calls[PEER_GDPR], 2);
	turn(w, 1);
	answer(w, PEER_GDPR, true, "ready", "up");
	is(w, PEER_GDPR, MONITOR_UP, MONITOR_UP);
	turn(w, MONITOR_EVERY_MS - 1);
	assert_int_equal(w->calls[PEER_GDPR], 3);
}

static void states_are_taken_as_they_are_told(void **state)
{
	static const struct {
		bool ready;
		const char *status, *database;
		enum monitor_state want, want_database;
	} cases[] = {
		{true, "ready", "up", MONITOR_UP, MONITOR_UP},
		{true, "degraded", "up", MONITOR_DEGRADED, MONITOR_UP},
		{true, "ready", "degraded", MONITOR_UP, MONITOR_DEGRADED},
		{false, "down", "down", MONITOR_DOWN, MONITOR_DOWN},
		{false, "starting", "down", MONITOR_DOWN, MONITOR_DOWN},
		{false, "draining", "up", MONITOR_DOWN, MONITOR_UP},
		/* What a later version may say. */
		{true, "merry", "merry", MONITOR_DEGRADED, MONITOR_UNKNOWN},
	};
	struct world *w = *state;

	for (size_t i = 0; i < COUNTOF(cases); i++) {
		turn(w, MONITOR_EVERY_MS);
		answer(w, PEER_AUTH, cases[i].ready, cases[i].status,
		       cases[i].database);
		is(w, PEER_AUTH, cases[i].want, cases[i].want_database);
	}
}

static void a_shared_cache_is_told_where_there_is_one(void **state)
{
	struct world *w = *state;
	struct monitor_view v;
	AUTO_BUF b = {0};

	all_well(w);
	assert_false(monitor_view(w->m, PEER_GDPR, w->now_ms).has_redis);
	turn(w, MONITOR_EVERY_MS);
	pack_health(&b, true, "degraded", "up", "down");
	end(w, PEER_GDPR, OK, buf_view(&b));
	v = monitor_view(w->m, PEER_GDPR, w->now_ms);
	assert_true(v.has_redis);
	assert_int_equal(v.redis, MONITOR_DOWN);
	assert_int_equal(v.service, MONITOR_DEGRADED);
}

static void models_are_told_of_where_there_are_some(void **state)
{
	struct world *w = *state;
	struct monitor_view v;
	AUTO_BUF b = {0};

	all_well(w);
	assert_false(monitor_view(w->m, PEER_CONTENT, w->now_ms).has_llm);
	turn(w, MONITOR_EVERY_MS);
	pack_with(&b, true, "degraded", "up", "llm", "degraded");
	end(w, PEER_CONTENT, OK, buf_view(&b));
	v = monitor_view(w->m, PEER_CONTENT, w->now_ms);
	assert_true(v.has_llm);
	assert_int_equal(v.llm, MONITOR_DEGRADED);
	assert_int_equal(v.service, MONITOR_DEGRADED);
}

static void without_answers_what_was_found_is_doubted_then_unknown(void **state)
{
	struct world *w = *state;

	all_well(w);
	turn(w, MONITOR_EVERY_MS);
	end(w, PEER_AUTH, ERR_TIMEOUT, STR(""));
	is(w, PEER_AUTH, MONITOR_UNKNOWN, MONITOR_UP);
	w->now_ms += MONITOR_OLD_MS - MONITOR_EVERY_MS;
	is(w, PEER_AUTH, MONITOR_UNKNOWN, MONITOR_UP);
	w->now_ms++;
	is(w, PEER_AUTH, MONITOR_UNKNOWN, MONITOR_UNKNOWN);
	/* A loop whose turn began before the answer came. */
	turn(w, 0);
	answer(w, PEER_AUTH, true, "ready", "up");
	w->now_ms -= 5;
	is(w, PEER_AUTH, MONITOR_UP, MONITOR_UP);
	w->now_ms += 5;
	/* What was bad stays bad while nobody says better. */
	turn(w, MONITOR_EVERY_MS);
	answer(w, PEER_AUTH, false, "down", "down");
	turn(w, MONITOR_UNWELL_MS);
	end(w, PEER_AUTH, ERR_UNAVAILABLE, STR(""));
	is(w, PEER_AUTH, MONITOR_DOWN, MONITOR_DOWN);
}

static void who_has_not_started_is_asked_often_until_it_has(void **state)
{
	struct world *w = *state;

	turn(w, 0);
	answer(w, PEER_AUTH, false, "starting", "down");
	turn(w, MONITOR_START_MS - 1);
	assert_int_equal(w->calls[PEER_AUTH], 1);
	turn(w, 1);
	assert_int_equal(w->calls[PEER_AUTH], 2);
	answer(w, PEER_AUTH, true, "ready", "up");
	turn(w, MONITOR_EVERY_MS - 1);
	assert_int_equal(w->calls[PEER_AUTH], 2);
	turn(w, 1);
	answer(w, PEER_AUTH, false, "down", "down");
	turn(w, MONITOR_UNWELL_MS - 1);
	assert_int_equal(w->calls[PEER_AUTH], 3);
}

static void who_says_that_it_has_started_is_asked_at_once(void **state)
{
	struct world *w = *state;

	turn(w, 0);
	/* What is under way may have been answered before. */
	monitor_started(w->m, PEER_AUTH);
	assert_true(monitor_timeout_ms(w->m, w->now_ms) == UINT64_MAX);
	answer(w, PEER_AUTH, false, "starting", "down");
	assert_int_equal(monitor_timeout_ms(w->m, w->now_ms), 0);
	turn(w, 0);
	assert_int_equal(w->calls[PEER_AUTH], 2);
	answer(w, PEER_AUTH, true, "ready", "up");
	turn(w, MONITOR_EVERY_MS - 1);
	assert_int_equal(w->calls[PEER_AUTH], 2);
	/* Also one that has been well before: it was started again. */
	monitor_started(w->m, PEER_AUTH);
	turn(w, 0);
	assert_int_equal(w->calls[PEER_AUTH], 3);
}

static void a_bus_that_takes_no_call_is_no_answer(void **state)
{
	struct world *w = *state;

	w->refuse = ERR_UNAVAILABLE;
	turn(w, 0);
	is(w, PEER_AUTH, MONITOR_UNKNOWN, MONITOR_UNKNOWN);
	turn(w, MONITOR_START_MS - 1);
	assert_int_equal(w->calls[PEER_AUTH], 1);
	w->refuse = OK;
	turn(w, 1);
	answer(w, PEER_AUTH, true, "ready", "up");
	is(w, PEER_AUTH, MONITOR_UP, MONITOR_UP);
}

static void answers_that_are_none_change_nothing_for_the_better(void **state)
{
	const struct str bodies[] = {
		STR(""),     /* none */
		STR("\x80"), /* says nothing */
		STR("\xc0"),
		STR("\x93\x01\x02\x03"),
		STR("\x81\xa6status\x01"),
		STR("\x81\xa6status\xa0"),
	};
	const struct ctx cx = {.rid = STR("r")};
	struct world *w = *state;

	for (size_t i = 0; i < COUNTOF(bodies); i++) {
		AUTO_BUF b = {0};
		struct reply r = {0};

		turn(w, MONITOR_EVERY_MS);
		mp_raw(&r.body, bodies[i]);
		reply_pack(&b, &cx, OK, &r);
		buf_fini(&r.body);
		end(w, PEER_AUTH, OK, buf_view(&b));
		is(w, PEER_AUTH, MONITOR_UNKNOWN, MONITOR_UNKNOWN);
	}
	turn(w, MONITOR_EVERY_MS);
	end(w, PEER_AUTH, OK, STR("\xc1\xc1 no reply at all"));
	is(w, PEER_AUTH, MONITOR_UNKNOWN, MONITOR_UNKNOWN);
}

/* Any byte of an answer wrong, or its end missing. */
static void hostile_answers_are_survived(void **state)
{
	struct world *w = *state;
	AUTO_BUF good = {0};
	uint64_t seed = 3;

	pack_health(&good, true, "ready", "up", "up");
	for (size_t i = 0; i < 4000; i++) {
		AUTO_BUF b = {0};

		buf_str(&b, buf_view(&good));
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		if (i < good.n)
			b.n = i;
		else
			b.p[(seed >> 40) % b.n] = (char)(seed >> 33);
		turn(w, MONITOR_EVERY_MS);
		end(w, PEER_AUTH, OK, buf_view(&b));
		(void)monitor_view(w->m, PEER_AUTH, w->now_ms);
	}
	turn(w, MONITOR_EVERY_MS);
	end(w, PEER_AUTH, OK, buf_view(&good));
	is(w, PEER_AUTH, MONITOR_UP, MONITOR_UP);
}

static void without_memory_an_answer_is_missed_and_asked_for_again(void **state)
{
	struct world *w = *state;
	AUTO_BUF good = {0};
	const struct monitor_conf conf = {.call = fake_call};
	bool more = true;

	alloc_fault_arm(1);
	assert_null(monitor_new(&conf));
	assert_true(alloc_fault_disarm());
	pack_health(&good, true, "ready", "up", "up");
	for (unsigned n = 1; more; n++) {
		alloc_fault_arm(n);
		turn(w, MONITOR_EVERY_MS);
		if (w->open[PEER_AUTH].fn)
			end(w, PEER_AUTH, OK, buf_view(&good));
		more = alloc_fault_disarm();
	}
	is(w, PEER_AUTH, MONITOR_UP, MONITOR_UP);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_service_is_asked_at_start_and_each_minute),
		TEST(a_failure_is_looked_into_at_once_but_not_twice_a_second),
		TEST(who_is_not_well_is_asked_again_soon),
		TEST(who_has_not_started_is_asked_often_until_it_has),
		TEST(who_says_that_it_has_started_is_asked_at_once),
		TEST(states_are_taken_as_they_are_told),
		TEST(a_shared_cache_is_told_where_there_is_one),
		TEST(models_are_told_of_where_there_are_some),
		TEST(without_answers_what_was_found_is_doubted_then_unknown),
		TEST(a_bus_that_takes_no_call_is_no_answer),
		TEST(answers_that_are_none_change_nothing_for_the_better),
		TEST(hostile_answers_are_survived),
		TEST(without_memory_an_answer_is_missed_and_asked_for_again),
	};

	/* What becomes of a service is logged; it is what is tested here. */
	atomic_store(&log_threshold, -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
