/* What is asked of a service, by whom, and what that comes to; in which lane:
 * test_dispatch_lane.c. */
#include "tests/alloc_fault.h"
#include "tests/unit/dispatch_fixture.h"

static void a_call_reaches_its_handler_with_checked_fields(void **state)
{
	struct rig *r = *state;
	AUTO_BUF bytes = {0};
	struct item it;
	struct reply_view v;

	pack_echo(&bytes, STR("  Python "));
	v = ask(r, &it, &bytes, &(struct call){0});
	assert_int_equal(v.err, OK);
	assert_int_equal(v.status, 201);
	assert_true(
		str_eq(mp_find_str(v.body, "topic", STR("")), STR("Python")));
	assert_int_equal(mp_find_i64(v.body, "count", 0), 3);
	assert_int_equal(mp_find_i64(v.body, "limit", 0), 7);
	buf_fini(&it.reply);
}

static void a_bad_field_is_told_and_the_handler_not_run(void **state)
{
	static const struct {
		struct call call;
		const char *pointer;
	} cases[] = {
		{{.op = "echo"}, "/topic"}, /* missing */
		{{.op = "echo", .key = "topic", .number = 3}, "/topic"},
		{{.op = "work", .key = "n", .number = 0}, "/n"},
		{{.op = "work", .key = "n", .number = 10}, "/n"},
		{{.op = "work", .key = "m", .number = 1}, "/n"},
		{{.op = "look", .key = "n", .number = 77}, "/n"},
	};
	struct rig *r = *state;

	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF bytes = {0};
		struct item it;
		struct reply_view v;

		pack_call(&bytes, &cases[i].call);
		v = ask(r, &it, &bytes, &cases[i].call);
		assert_int_equal(v.err, ERR_INVALID);
		assert_int_equal(v.status, 400);
		assert_int_equal(v.problem.faults_n, 1);
		assert_string_equal(v.problem.faults[0].pointer,
		                    cases[i].pointer);
		buf_fini(&it.reply);
	}
	assert_int_equal(atomic_load(&r->seen.runs), 0);
}

static void what_is_no_entry_is_refused(void **state)
{
	const struct call c = {.op = "look"};
	struct rig *r = *state;
	AUTO_BUF bytes = {0};
	struct item it;

	buf_str(&bytes, STR("no msgpack"));
	assert_int_equal(ask(r, &it, &bytes, &c).err, ERR_INVALID);
	assert_int_equal(atomic_load(&it.refusals), 1);
	assert_int_equal(atomic_load(&r->seen.runs), 0);
}

static void an_unknown_method_is_not_built(void **state)
{
	static const char *const names[] = {"nothing", "ech", "echoo", "ECHO",
	                                    "",        "z",   "\x01",  "a"};

	for (size_t i = 0; i < COUNTOF(names); i++) {
		enum err e = err_of(*state, &(struct call){.op = names[i]});

		/* An entry without a method is none at all. */
		assert_true(e == ERR_NOT_BUILT ||
		            (!*names[i] && e == ERR_INVALID));
	}
}

static void only_those_who_may_call_do(void **state)
{
	static const struct {
		struct call call;
		enum err want;
	} cases[] = {
		{{"whoami", PEER_GATEWAY, "s-1", ROLE_USER, 0, NULL, 0}, OK},
		{{"whoami", PEER_GATEWAY, "s-1", ROLE_ADMIN, 0, NULL, 0}, OK},
		{{"whoami", PEER_GATEWAY, "", ROLE_GUEST, 0, NULL, 0},
	         ERR_LOGIN_NEEDED},
		/* A service may not speak for a person. */
		{{"whoami", PEER_CONTENT, "s-1", ROLE_USER, 0, NULL, 0},
	         ERR_DENIED},
		{{"rule", PEER_GATEWAY, "s-1", ROLE_ADMIN, 0, NULL, 0}, OK},
		{{"rule", PEER_GATEWAY, "s-1", ROLE_USER, 0, NULL, 0},
	         ERR_ADMIN_ONLY},
		{{"rule", PEER_GATEWAY, "", ROLE_GUEST, 0, NULL, 0},
	         ERR_ADMIN_ONLY},
		{{"rule", PEER_AUTH, "s-1", ROLE_ADMIN, 0, NULL, 0},
	         ERR_DENIED},
		{{"inner", PEER_AUTH, "", ROLE_SERVICE, 0, NULL, 0}, OK},
		{{"inner", PEER_GATEWAY, "", ROLE_GUEST, 0, NULL, 0}, OK},
		{{"inner", PEER_GATEWAY, "s-1", ROLE_ADMIN, 0, NULL, 0},
	         ERR_DENIED},
		{{"event.apply", PEER_CONTENT, "", ROLE_SERVICE, 0, "x", 1},
	         OK},
		{{"event.apply", PEER_GATEWAY, "s-1", ROLE_USER, 0, "x", 1},
	         ERR_DENIED},
		{{"service.health", PEER_GATEWAY, "", ROLE_GUEST, 0, NULL, 0},
	         OK},
		{{"service.health", PEER_AUTH, "", ROLE_SERVICE, 0, NULL, 0},
	         OK},
		{{"service.health", PEER_GATEWAY, "s-1", ROLE_ADMIN, 0, NULL,
	          0},
	         ERR_DENIED},
		{{"echo", PEER_CONTENT, "", ROLE_SERVICE, 0, NULL, 0},
	         ERR_DENIED},
		/* No such edge in the design. */
		{{"inner", PEER_GDPR, "", ROLE_SERVICE, 0, NULL, 0},
	         ERR_DENIED},
	};

	for (size_t i = 0; i < COUNTOF(cases); i++)
		assert_int_equal(err_of(*state, &cases[i].call), cases[i].want);
}

static void what_a_service_says_of_a_person_is_wiped(void **state)
{
	struct rig *r = *state;

	assert_int_equal(err_of(r, &(struct call){.op = "inner",
	                                          .from = PEER_AUTH,
	                                          .sub = "s-1",
	                                          .role = ROLE_ADMIN}),
	                 OK);
	assert_int_equal(r->seen.sub.n, 0);
	assert_int_equal(r->seen.role, ROLE_SERVICE);
	assert_int_equal(r->seen.scopes, 0);
	assert_int_equal(err_of(r, &(struct call){.op = "rule",
	                                          .sub = "s-1",
	                                          .role = ROLE_ADMIN}),
	                 OK);
	assert_int_equal(r->seen.sub.n, 3);
	assert_int_equal(r->seen.role, ROLE_ADMIN);
}

/* Whatever lane the method has, and whatever its peek knows. */
static void what_is_asked_for_as_events_is_the_service_s_own(void **state)
{
	static const char *const ops[] = {"look", "grind", "whoami"};
	struct rig *r = *state;
	struct call c = {.sub = "ada", .key = "n", .number = 1};

	call_form = "events";
	for (size_t i = 0; i < COUNTOF(ops); i++) {
		AUTO_BUF bytes = {0};
		struct item it;
		struct reply_view v;

		c.op = ops[i];
		pack_call(&bytes, &c);
		v = ask(r, &it, &bytes, &c);
		assert_int_equal(v.err, OK);
		assert_true(str_eq(mp_find_str(v.body, "op", STR("")),
		                   str_from(ops[i])));
		assert_true(str_eq(mp_find_str(v.body, "behind", STR("")),
		                   STR("j.7")));
		assert_int_equal(mp_find_i64(v.body, "n", 0), 1);
		buf_fini(&it.reply);
	}
	c.op = "look";
	c.number = 99; /* is looked at before */
	assert_int_equal(err_of(r, &c), ERR_INVALID);
	c.op = "whoami";
	c.sub = "";
	assert_int_equal(err_of(r, &c), ERR_LOGIN_NEEDED);
	c.op = "service.health";
	assert_int_equal(err_of(r, &c), OK);
	assert_int_equal(atomic_load(&r->seen.runs), 3);
	c.op = "work";
	call_form = "html"; /* says nothing to it */
	c.number = 2;
	assert_int_equal(err_of(r, &c), OK);
	assert_int_equal(atomic_load(&r->seen.runs), 4);
	call_form = NULL;
}

static void errors_keep_their_words_and_ours_become_internal(void **state)
{
	struct rig *r = *state;
	static const struct {
		int64_t how;
		enum err want;
		const char *detail; /* NULL: any */
	} cases[] = {
		{ERR_DENIED, ERR_DENIED, "not on a Sunday"},
		{ERR_NOT_FOUND, ERR_NOT_FOUND, NULL},
		{ERR_DATABASE, ERR_DATABASE, NULL},
		{ERR_INTERNAL, ERR_INTERNAL, NULL},
		/* Codes that are only spoken inside. */
		{ERR_DB_DUPLICATE, ERR_INTERNAL, NULL},
		{ERR_DB_CONFLICT, ERR_INTERNAL, NULL},
		{999, ERR_NOT_FOUND, "There is nothing at this address."},
		{1000, ERR_NOMEM, NULL},
	};

	for (size_t i = 0; i < COUNTOF(cases); i++) {
		const struct call c = {.op = "break",
		                       .key = "how",
		                       .number = cases[i].how};
		AUTO_BUF bytes = {0};
		struct item it;
		struct reply_view v;

		pack_call(&bytes, &c);
		v = ask(r, &it, &bytes, &c);
		assert_int_equal(v.err, cases[i].want);
		assert_int_equal(v.problem.code, cases[i].want);
		if (cases[i].detail)
			assert_string_equal(v.problem.detail, cases[i].detail);
		buf_fini(&it.reply);
	}
}

static void nothing_is_served_before_open_and_after_close(void **state)
{
	struct rig *r = *state;
	const struct call c = {.op = "grind"};
	struct rig fresh = {.db = r->db, .slow = r->slow, .arena = r->arena};

	fresh.d = dispatch_of(&fresh);
	assert_int_equal(err_of(&fresh, &c), ERR_UNAVAILABLE);
	dispatch_free(fresh.d);
	assert_int_equal(err_of(r, &c), OK);
	dispatch_close(r->d);
	assert_int_equal(err_of(r, &c), ERR_UNAVAILABLE);
}

static void health_is_told_before_open_and_after_close(void **state)
{
	struct rig *r = *state;
	const struct call health = {.op = "service.health"};
	struct rig fresh = {.db = r->db, .slow = r->slow, .arena = r->arena};

	fresh.d = dispatch_of(&fresh);
	assert_int_equal(err_of(&fresh, &health), OK);
	/* Nothing else, be it unknown or no entry at all. */
	assert_int_equal(err_of(&fresh, &(struct call){.op = "nothing"}),
	                 ERR_UNAVAILABLE);
	assert_int_equal(err_of(&fresh, &(struct call){.op = "event.apply",
	                                               .from = PEER_AUTH}),
	                 ERR_UNAVAILABLE);
	dispatch_free(fresh.d);
	dispatch_close(r->d);
	assert_int_equal(err_of(r, &health), OK);
	assert_true(dispatch_idle(r->d, mono_ms() + 10000));
}

static void hostile_bytes_get_exactly_one_answer(void **state)
{
	struct rig *r = *state;
	AUTO_BUF good = {0};
	uint64_t seed = 7;

	pack_echo(&good, STR("Python"));
	for (unsigned i = 0; i < 3000; i++) {
		AUTO_BUF bytes = {0};
		struct item it;

		buf_str(&bytes, buf_view(&good));
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		if (i < good.n)
			bytes.n = i; /* cut */
		else
			bytes.p[(seed >> 40) % bytes.n] = (char)(seed >> 33);
		/* ask() fails when there is not exactly one answer. */
		(void)ask(r, &it, &bytes, &(struct call){0});
		arena_reset(r->arena);
		buf_fini(&it.reply);
	}
}

struct many {
	struct rig *r;
	unsigned good;
};

static void *ask_many(void *arg)
{
	struct many *m = arg;
	AUTO_BUF bytes = {0};

	pack_echo(&bytes, STR("Python"));
	for (unsigned i = 0; i < 1000; i++) {
		struct item it = {0};

		submit(m->r, &it, &bytes, &(struct call){0});
		m->good += atomic_load(&it.ends) == 1;
		buf_fini(&it.reply);
	}
	return NULL;
}

static void many_threads_may_ask_at_once(void **state)
{
	struct rig *r = *state;
	struct many m[4];
	pthread_t t[COUNTOF(m)];

	for (size_t i = 0; i < COUNTOF(m); i++) {
		m[i] = (struct many){.r = r};
		assert_int_equal(pthread_create(&t[i], NULL, ask_many, &m[i]),
		                 0);
	}
	for (size_t i = 0; i < COUNTOF(m); i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(m[i].good, 1000);
	}
}

/* New, opened, asked once, freed: with the n-th allocation failing. */
static bool live_a_life(struct rig *r, const struct buf *bytes)
{
	struct rig once = {.db = r->db, .slow = r->slow};
	struct item it = {0};

	once.d = dispatch_of(&once);
	if (!once.d)
		return false;
	dispatch_open(once.d, &once.seen);
	submit(&once, &it, bytes, &(struct call){0});
	assert_int_equal(it.ends + it.refusals, 1);
	if (it.refusals)
		assert_int_equal(it.refused, ERR_NOMEM);
	buf_fini(&it.reply);
	dispatch_free(once.d);
	return true;
}

static void every_allocation_may_fail(void **state)
{
	AUTO_BUF bytes = {0};
	unsigned n = 1;

	pack_echo(&bytes, STR("Python"));
	for (;; n++) {
		alloc_fault_arm(n);
		(void)live_a_life(*state, &bytes);
		if (!alloc_fault_disarm())
			break;
	}
	assert_true(n > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_call_reaches_its_handler_with_checked_fields),
		TEST(a_bad_field_is_told_and_the_handler_not_run),
		TEST(what_is_no_entry_is_refused),
		TEST(an_unknown_method_is_not_built),
		TEST(only_those_who_may_call_do),
		TEST(what_a_service_says_of_a_person_is_wiped),
		TEST(what_is_asked_for_as_events_is_the_service_s_own),
		TEST(errors_keep_their_words_and_ours_become_internal),
		TEST(nothing_is_served_before_open_and_after_close),
		TEST(health_is_told_before_open_and_after_close),
		TEST(hostile_bytes_get_exactly_one_answer),
		TEST(many_threads_may_ask_at_once),
		TEST(every_allocation_may_fail),
	};

	/* Refusals are logged; they are what is tested here. */
	atomic_store(&log_threshold, -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
