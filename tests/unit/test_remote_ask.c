/* Gets for which nobody waits, on a real server: each is told once, in time. */
#include "tests/unit/remote_fixture.h"

#include "tests/alloc_fault.h"

#define MANY 500

static struct redis_server server;

struct told {
	atomic_uint times;
	enum err err;
	bool found;
	char text[64];
	uint64_t ttl_ms, at_ms;
	struct remote_marks marks;
};

static void tell(void *arg, const struct remote_answer *a)
{
	struct told *t = arg;

	t->err = a->e;
	t->found = a->found;
	t->ttl_ms = a->ttl_ms;
	t->marks = a->marks;
	t->at_ms = mono_ms();
	(void)snprintf(t->text, sizeof(t->text), "%.*s", STR_FMT(a->bytes));
	atomic_fetch_add(&t->times, 1);
}

static enum err ask(struct instance *in, const char *key, uint64_t ms,
                    struct told *t)
{
	const uint16_t slot = remote_slot(str_from(key));

	*t = (struct told){0};
	return remote_ask(in->remote, str_from(key), &slot, 1, mono_ms() + ms,
	                  tell, t);
}

static void what_is_there_is_told_with_the_time_it_has_left(void **state)
{
	struct instance *in = instance_new(&server);
	struct told t;

	(void)state;
	assert_true(put(in, "asked", "value"));
	assert_int_equal(ask(in, "asked", 5000, &t), OK);
	EVENTUALLY(atomic_load(&t.times));
	assert_int_equal(t.err, OK);
	assert_true(t.found);
	assert_string_equal(t.text, "value");
	assert_in_range(t.ttl_ms, 20000, 60000);
	instance_end(in);
}

static void what_is_not_there_is_told_with_what_to_set_it_by(void **state)
{
	struct instance *in = instance_new(&server);
	struct told t;

	(void)state;
	assert_int_equal(ask(in, "nothing", 5000, &t), OK);
	EVENTUALLY(atomic_load(&t.times));
	assert_int_equal(t.err, OK);
	assert_false(t.found);
	assert_true(t.marks.known);
	remote_set(in->remote, STR("nothing"), &t.marks, false, STR("now"),
	           60000, 0);
	EVENTUALLY(finds(in, "nothing", "now"));
	instance_end(in);
}

static void many_that_ask_at_once_are_each_told_once(void **state)
{
	static struct told t[MANY];
	struct instance *in = instance_new(&server);
	uint64_t gets, hits;
	char key[16];

	(void)state;
	for (unsigned i = 0; i < 7; i++) {
		(void)snprintf(key, sizeof(key), "many%u", i);
		assert_true(put(in, key, key));
	}
	gets = stats_of(in).gets;
	hits = stats_of(in).hits;
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(key, sizeof(key), "many%u", i % 7);
		assert_int_equal(ask(in, key, 10000, &t[i]), OK);
	}
	for (unsigned i = 0; i < MANY; i++) {
		EVENTUALLY(atomic_load(&t[i].times));
		(void)snprintf(key, sizeof(key), "many%u", i % 7);
		assert_string_equal(t[i].text, key);
	}
	assert_int_equal(stats_of(in).gets - gets, MANY);
	assert_int_equal(stats_of(in).hits - hits, MANY);
	instance_end(in);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(atomic_load(&t[i].times), 1);
}

static void a_server_that_stands_still_is_waited_for_as_long_as_was_given(
	void **state)
{
	struct instance *in = instance_new(&server);
	struct told late[REMOTE_FAILURES], well;
	uint64_t began = mono_ms();

	(void)state;
	assert_true(put(in, "slow", "value"));
	assert_int_equal(kill(server.pid, SIGSTOP), 0);
	for (unsigned i = 0; i < REMOTE_FAILURES; i++)
		assert_int_equal(ask(in, "slow", 150 + i, &late[i]), OK);
	for (unsigned i = 0; i < REMOTE_FAILURES; i++) {
		EVENTUALLY(atomic_load(&late[i].times));
		assert_int_equal(late[i].err, ERR_TIMEOUT);
		assert_false(late[i].marks.known);
		assert_true(late[i].at_ms >= began + 150);
	}
	/* They are a reason not to ask any more. */
	assert_int_equal(stats_of(in).breaker, BREAKER_OPEN);
	assert_int_equal(stats_of(in).timeouts, REMOTE_FAILURES);
	assert_int_equal(kill(server.pid, SIGCONT), 0);
	remote_breaker_reset(in->remote);
	EVENTUALLY(!ask(in, "slow", 5000, &well));
	EVENTUALLY(atomic_load(&well.times));
	/* What they had asked for came before it. */
	for (unsigned i = 0; i < REMOTE_FAILURES; i++)
		assert_int_equal(atomic_load(&late[i].times), 1);
	assert_string_equal(well.text, "value");
	instance_end(in);
}

static void a_lost_connection_is_told(void **state)
{
	struct instance *in = instance_new(&server);
	struct told t, none;

	(void)state;
	assert_int_equal(kill(server.pid, SIGSTOP), 0);
	assert_int_equal(ask(in, "lost", 60000, &t), OK);
	cut_off(in, true);
	EVENTUALLY(atomic_load(&t.times));
	assert_int_equal(t.err, ERR_UNAVAILABLE);
	assert_int_equal(ask(in, "lost", 60000, &none), ERR_UNAVAILABLE);
	assert_int_equal(kill(server.pid, SIGCONT), 0);
	instance_end(in);
	assert_int_equal(atomic_load(&t.times), 1);
	assert_int_equal(atomic_load(&none.times), 0);
}

static void an_end_leaves_nobody_without_an_answer(void **state)
{
	struct instance *in = instance_new(&server);
	struct told t[8];

	(void)state;
	assert_int_equal(kill(server.pid, SIGSTOP), 0);
	for (size_t i = 0; i < COUNTOF(t); i++)
		assert_int_equal(ask(in, "end", 60000, &t[i]), OK);
	instance_end(in);
	assert_int_equal(kill(server.pid, SIGCONT), 0);
	for (size_t i = 0; i < COUNTOF(t); i++) {
		assert_int_equal(atomic_load(&t[i].times), 1);
		assert_int_equal(t[i].err, ERR_UNAVAILABLE);
	}
}

static void without_memory_nothing_is_asked(void **state)
{
	struct instance *in = instance_new(&server);
	const uint16_t slot = remote_slot(STR("k"));
	struct told t = {0};

	(void)state;
	alloc_fault_arm(1);
	assert_int_equal(remote_ask(in->remote, STR("k"), &slot, 1,
	                            mono_ms() + 5000, tell, &t),
	                 ERR_NOMEM);
	(void)alloc_fault_disarm();
	instance_end(in);
	assert_int_equal(atomic_load(&t.times), 0);
}

static int start(void **state)
{
	(void)state;
	redis_start(&server);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	redis_end(&server);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			what_is_there_is_told_with_the_time_it_has_left),
		cmocka_unit_test(
			what_is_not_there_is_told_with_what_to_set_it_by),
		cmocka_unit_test(many_that_ask_at_once_are_each_told_once),
		cmocka_unit_test(
			a_server_that_stands_still_is_waited_for_as_long_as_was_given),
		cmocka_unit_test(a_lost_connection_is_told),
		cmocka_unit_test(an_end_leaves_nobody_without_an_answer),
		cmocka_unit_test(without_memory_nothing_is_asked),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
