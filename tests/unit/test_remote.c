#include "tests/unit/remote_fixture.h"

#include "tests/alloc_fault.h"

#include <pthread.h>

/* What instances that share a server see of each other. */

static struct redis_server server;

/* --- values ---------------------------------------------------------------------- */

static void what_one_sets_all_get_with_the_time_it_has_left(void **state)
{
	struct instance *a = instance_new(&server), *b = instance_new(&server);
	struct got g;

	(void)state;
	assert_true(put(a, "shared", "value"));
	g = get(b, "shared");
	assert_true(g.found && !g.negative);
	assert_string_equal(g.text, "value");
	assert_in_range(g.ttl_ms, 40000, 60000);
	assert_int_equal(g.stale_ms, 30000);
	instance_end(a);
	instance_end(b);
}

static void what_a_loader_did_not_find_is_remembered_too(void **state)
{
	struct instance *in = instance_new(&server);
	struct got g = get(in, "none");

	(void)state;
	assert_false(g.found);
	remote_set(in->remote, STR("none"), &g.marks, true, STR(""), 60000, 0);
	g = get(in, "none");
	assert_true(g.found && g.negative);
	assert_int_equal(g.n, 0);
	instance_end(in);
}

static void a_value_past_its_freshness_is_only_to_fall_back_on(void **state)
{
	struct instance *in = instance_new(&server);
	struct got g = get(in, "stale");

	(void)state;
	remote_set(in->remote, STR("stale"), &g.marks, false, STR("old"), 0,
	           60000);
	g = get(in, "stale");
	assert_true(g.found);
	assert_int_equal(g.ttl_ms, 0);
	assert_in_range(g.stale_ms, 40000, 60000);
	instance_end(in);
}

static void what_is_set_late_lives_no_longer(void **state)
{
	struct instance *in = instance_new(&server);
	struct got g = get(in, "old");

	(void)state;
	g.marks.asked_ms -= 20000; /* as after a load that long, or a stop */
	remote_set(in->remote, STR("old"), &g.marks, false, STR("v"), 60000, 0);
	g = get(in, "old");
	assert_true(g.found);
	assert_in_range(g.ttl_ms, 30000, 40000);
	g.marks.asked_ms -= 20000;
	remote_set(in->remote, STR("older"), &g.marks, false, STR("v"), 20000,
	           0);
	assert_false(get(in, "older").found);
	instance_end(in);
}

static void values_of_every_size_come_back_whole(void **state)
{
	static const size_t sizes[] = {0, 1, 16383, 16384, REMOTE_VALUE_MAX};
	static char bytes[REMOTE_VALUE_MAX + 1];
	struct instance *in = instance_new(&server);
	const uint16_t slot = remote_slot(STR("size"));

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 31 >> 3);
	for (size_t i = 0; i < COUNTOF(sizes); i++) {
		struct got g = get(in, "size");
		struct remote_found f = {0};

		remote_set(in->remote, STR("size"), &g.marks, false,
		           (struct str){bytes, sizes[i]}, 60000, 0);
		assert_int_equal(remote_get(in->remote, STR("size"), &slot, 1,
		                            mono_ms() + 5000, &f, &g.marks),
		                 OK);
		assert_true(f.found);
		assert_int_equal(f.bytes.n, sizes[i]);
		if (sizes[i])
			assert_memory_equal(f.bytes.p, bytes, sizes[i]);
		buf_fini(&f.bytes);
	}
	instance_end(in);
}

static void what_is_too_large_or_has_no_time_is_not_set(void **state)
{
	static char bytes[REMOTE_VALUE_MAX + 1];
	struct instance *in = instance_new(&server);
	struct got g = get(in, "refused");
	struct remote_marks unknown = {0};
	struct str key = STR("refused");

	(void)state;
	remote_set(in->remote, key, &g.marks, false,
	           (struct str){bytes, sizeof(bytes)}, 60000, 0);
	remote_set(in->remote, key, &g.marks, false, STR("x"), 0, 0);
	remote_set(in->remote, key, &g.marks, false, STR("x"), UINT64_MAX, 1);
	remote_set(in->remote, key, &g.marks, false, STR("x"), INT64_MAX, 1);
	remote_set(in->remote, key, &unknown, false, STR("x"), 60000, 0);
	assert_int_equal(stats_of(in).sets_dropped, 5);
	assert_false(get(in, "refused").found);
	instance_end(in);
}

/* --- forgetting ------------------------------------------------------------------ */

static void what_one_forgets_the_others_hear_and_do_not_believe(void **state)
{
	struct instance *a = instance_new(&server), *b = instance_new(&server);
	uint64_t before;

	(void)state;
	assert_true(put(a, "gone", "value"));
	before = heard(b, "gone");
	forget(a, "gone");
	assert_false(get(a, "gone").found);
	assert_false(get(b, "gone").found);
	EVENTUALLY(heard(b, "gone") > before);
	/* Once by answer and message together. */
	assert_int_equal(heard(a, "gone"), 1);
	instance_end(a);
	instance_end(b);
}

static void to_forget_a_tag_is_to_disbelieve_all_that_carry_it(void **state)
{
	struct instance *in = instance_new(&server);
	const uint16_t slots[] = {remote_slot(STR("k")), remote_slot(STR("t"))};
	struct remote_found f = {0};
	struct remote_marks m;

	(void)state;
	assert_int_equal(remote_get(in->remote, STR("k"), slots, 2,
	                            mono_ms() + 5000, &f, &m),
	                 OK);
	remote_set(in->remote, STR("k"), &m, false, STR("v"), 60000, 0);
	assert_int_equal(remote_get(in->remote, STR("k"), slots, 2,
	                            mono_ms() + 5000, &f, &m),
	                 OK);
	assert_true(f.found);
	/* With other tags it is not the same value. */
	assert_int_equal(remote_get(in->remote, STR("k"), slots, 1,
	                            mono_ms() + 5000, &f, &m),
	                 OK);
	assert_false(f.found);
	remote_forget(in->remote, slots[1], STR(""));
	assert_int_equal(remote_get(in->remote, STR("k"), slots, 2,
	                            mono_ms() + 5000, &f, &m),
	                 OK);
	assert_false(f.found);
	buf_fini(&f.bytes);
	instance_end(in);
}

static void to_forget_everything_is_one_generation(void **state)
{
	struct instance *a = instance_new(&server), *b = instance_new(&server);
	uint64_t before = b->forgotten[CACHE_SLOT_ALL];

	(void)state;
	assert_true(put(a, "one", "1") && put(a, "two", "2"));
	remote_forget(a->remote, CACHE_SLOT_ALL, STR(""));
	assert_false(get(a, "one").found);
	assert_false(get(b, "two").found);
	EVENTUALLY(b->forgotten[CACHE_SLOT_ALL] > before);
	instance_end(a);
	instance_end(b);
}

static void a_value_loaded_before_it_was_forgotten_is_not_set(void **state)
{
	struct instance *a = instance_new(&server), *b = instance_new(&server);
	struct got g = get(a, "race");

	(void)state;
	forget(b, "race");
	assert_false(get(b, "race").found); /* it has been done */
	remote_set(a->remote, STR("race"), &g.marks, false, STR("old"), 60000,
	           0);
	assert_false(get(a, "race").found);
	assert_int_equal(stats_of(a).sets, 0);
	assert_int_equal(stats_of(a).sets_dropped, 1);
	instance_end(a);
	instance_end(b);
}

/* --- outages --------------------------------------------------------------------- */

static void what_was_forgotten_while_cut_off_is_said_when_back(void **state)
{
	struct instance *a = instance_new(&server), *b = instance_new(&server);
	uint64_t before;

	(void)state;
	assert_true(put(b, "late", "old") && put(b, "other", "kept"));
	cut_off(a, true);
	assert_int_equal(get(a, "late").err, ERR_UNAVAILABLE);
	before = heard(b, "late");
	forget(a, "late");
	forget(a, "late");
	assert_int_equal(stats_of(a).pending, 1);
	/* Nobody can tell b yet. */
	assert_true(finds(b, "late", "old"));
	cut_off(a, false);
	/* In step, a believes it no more at once; b knows when it was told. */
	assert_false(get(a, "late").found);
	EVENTUALLY(heard(b, "late") > before);
	assert_false(get(b, "late").found);
	assert_true(finds(a, "other", "kept"));
	assert_int_equal(stats_of(a).pending, 0);
	instance_end(a);
	instance_end(b);
}

static void what_others_forgot_meanwhile_is_forgotten_when_back(void **state)
{
	struct instance *a = instance_new(&server), *b = instance_new(&server);
	uint64_t sum;

	(void)state;
	assert_true(put(a, "x", "1") && put(a, "y", "2"));
	cut_off(a, true);
	sum = a->forgotten_sum;
	forget(b, "x");
	assert_false(get(b, "x").found);
	cut_off(a, false);
	assert_int_equal(a->forgotten_sum, sum + 1);
	assert_int_equal(heard(a, "x"), 1);
	assert_true(finds(a, "y", "2"));
	/* And only once: a second outage finds nothing new. */
	cut_off(a, true);
	cut_off(a, false);
	assert_int_equal(a->forgotten_sum, sum + 1);
	instance_end(a);
	instance_end(b);
}

static void every_slot_may_be_pending(void **state)
{
	struct instance *a = instance_new(&server), *b = instance_new(&server);

	(void)state;
	cut_off(a, true);
	for (unsigned s = 0; s <= CACHE_SLOT_ALL; s++)
		remote_forget(a->remote, s, STR(""));
	assert_int_equal(stats_of(a).pending, CACHE_SLOTS + 1);
	cut_off(a, false);
	for (unsigned s = 0; s <= CACHE_SLOT_ALL; s++)
		EVENTUALLY(b->forgotten[s] > 0);
	assert_int_equal(stats_of(a).pending, 0);
	instance_end(a);
	instance_end(b);
}

static void proof_is_renewed_while_in_step_and_not_while_cut_off(void **state)
{
	struct instance *in = instance_new(&server);
	uint64_t proof = remote_proof_ms(in->remote), asked;

	(void)state;
	assert_true(proof > 0);
	EVENTUALLY(remote_proof_ms(in->remote) > proof);
	cut_off(in, true);
	proof = remote_proof_ms(in->remote);
	asked = mono_ms();
	EVENTUALLY(mono_ms() > asked + 2 * (uint64_t)REMOTE_PROBE_MS);
	assert_int_equal(remote_proof_ms(in->remote), proof);
	cut_off(in, false);
	assert_true(remote_proof_ms(in->remote) > asked);
	instance_end(in);
}

static void an_end_says_what_is_still_to_be_forgotten(void **state)
{
	struct instance *a = instance_new(&server), *b = instance_new(&server);
	uint64_t before;

	(void)state;
	assert_true(put(b, "last", "words"));
	before = heard(b, "last");
	forget(a, "last");
	instance_end(a);
	EVENTUALLY(heard(b, "last") > before);
	assert_false(get(b, "last").found);
	instance_end(b);
}

static void an_end_that_is_late_says_it_too(void **state)
{
	struct instance *a = instance_new(&server), *b = instance_new(&server);
	uint64_t before;

	(void)state;
	assert_true(put(b, "late", "words"));
	before = heard(b, "late");
	a->slow_ms = 200; /* longer than an end waits for answers */
	forget(a, "anything");
	EVENTUALLY(a->slow_n > 0);
	forget(a, "late");
	instance_end(a);
	EVENTUALLY(heard(b, "late") > before);
	assert_false(get(b, "late").found);
	instance_end(b);
}

/* --- threads --------------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS  400

static void *hammer(void *arg)
{
	struct instance *in = arg;
	char key[16];

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct got g;

		(void)snprintf(key, sizeof(key), "k%u", i % 17);
		g = get_within(in, key, i % 50 == 0 ? 0 : 1000);
		if (!g.err && g.found && strcmp(g.text, key) != 0)
			abort();
		if (!g.err && !g.found)
			remote_set(in->remote, str_from(key), &g.marks, false,
			           str_from(key), 60000, 0);
		if (i % 13 == 0)
			forget(in, key);
		(void)stats_of(in);
		(void)remote_proof_ms(in->remote);
	}
	return NULL;
}

static void many_threads_share_one_while_connections_come_and_go(void **state)
{
	struct instance *in = instance_new(&server);
	pthread_t t[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer, in), 0);
	for (int i = 0; i < 5; i++) {
		nap();
		REDIS_TELL(&server, "CLIENT", "KILL", "TYPE",
		           i % 2 ? "pubsub" : "normal");
		remote_breaker_reset(in->remote);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	EVENTUALLY(put(in, "after", "all"));
	instance_end(in);
}

/* --- memory ---------------------------------------------------------------------- */

static void use_it_a_little(struct instance *in)
{
	await_in_step(in);
	(void)put(in, "sweep", "value");
	forget(in, "sweep");
	(void)get(in, "sweep");
	cut_off(in, true);
	forget(in, "sweep");
	in->cut = false;
}

static void without_memory_it_fails_cleanly_and_forgets_all_the_same(
	void **state)
{
	struct instance *other = instance_new(&server);
	struct redis_url url = redis_at_path(&server);
	unsigned nth = 0, reached = 0;
	bool failed;

	(void)state;
	do {
		struct instance *in;
		uint64_t before = heard(other, "sweep");

		alloc_fault_arm(++nth);
		in = instance_try(&url, 5000);
		if (in)
			use_it_a_little(in);
		failed = alloc_fault_disarm();
		if (in) {
			await_in_step(in);
			EVENTUALLY(stats_of(in).pending == 0);
			EVENTUALLY(heard(other, "sweep") > before);
			assert_true(put(in, "sweep", "value"));
			forget(in, "sweep");
			reached++;
		}
		instance_end(in);
	} while (failed);
	assert_true(reached > 10);
	instance_end(other);
}

static int start_server(void **state)
{
	(void)state;
	redis_start(&server);
	return 0;
}

static int end_server(void **state)
{
	(void)state;
	redis_end(&server);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			what_one_sets_all_get_with_the_time_it_has_left),
		cmocka_unit_test(what_a_loader_did_not_find_is_remembered_too),
		cmocka_unit_test(
			a_value_past_its_freshness_is_only_to_fall_back_on),
		cmocka_unit_test(what_is_set_late_lives_no_longer),
		cmocka_unit_test(values_of_every_size_come_back_whole),
		cmocka_unit_test(what_is_too_large_or_has_no_time_is_not_set),
		cmocka_unit_test(
			what_one_forgets_the_others_hear_and_do_not_believe),
		cmocka_unit_test(
			to_forget_a_tag_is_to_disbelieve_all_that_carry_it),
		cmocka_unit_test(to_forget_everything_is_one_generation),
		cmocka_unit_test(
			a_value_loaded_before_it_was_forgotten_is_not_set),
		cmocka_unit_test(
			what_was_forgotten_while_cut_off_is_said_when_back),
		cmocka_unit_test(
			what_others_forgot_meanwhile_is_forgotten_when_back),
		cmocka_unit_test(every_slot_may_be_pending),
		cmocka_unit_test(
			proof_is_renewed_while_in_step_and_not_while_cut_off),
		cmocka_unit_test(an_end_says_what_is_still_to_be_forgotten),
		cmocka_unit_test(an_end_that_is_late_says_it_too),
		cmocka_unit_test(
			many_threads_share_one_while_connections_come_and_go),
		cmocka_unit_test(
			without_memory_it_fails_cleanly_and_forgets_all_the_same),
	};

	return cmocka_run_group_tests(tests, start_server, end_server);
}
