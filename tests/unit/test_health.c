#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/codec/mp.h"
#include "common/obs/health.h"
#include "tests/alloc_fault.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

struct fake {
	enum health_state state;
	const char *detail;
	unsigned asked;
};

static enum health_state look(void *arg, char *detail, size_t max)
{
	struct fake *f = arg;

	f->asked++;
	if (f->detail)
		(void)snprintf(detail, max, "%s", f->detail);
	return f->state;
}

static bool ready(struct health *h, const char *part, int64_t now_ms)
{
	AUTO_BUF out = {0};
	bool is = health_render(
		h, &(struct health_ask){.part = part, .now_ms = now_ms}, &out);
	json_t *j = json_loadb(out.p, out.n, 0, NULL);

	assert_non_null(j);
	assert_int_equal(json_is_true(json_object_get(j, "ready")), is);
	json_decref(j);
	return is;
}

/* Text at "part" or at "part/checks/check", member `status`. */
static void status_is(struct health *h, int64_t now_ms, const char *part,
                      const char *check, const char *want)
{
	AUTO_BUF out = {0};
	json_t *j, *at;

	(void)health_render(h, &(struct health_ask){.now_ms = now_ms}, &out);
	j = json_loadb(out.p, out.n, 0, NULL);
	assert_non_null(j);
	at = j;
	if (part)
		at = json_object_get(json_object_get(j, "parts"), part);
	if (check)
		at = json_object_get(json_object_get(at, "checks"), check);
	assert_string_equal(json_string_value(json_object_get(at, "status")),
	                    want);
	json_decref(j);
}

static void a_program_is_ready_between_start_and_drain(void **state)
{
	AUTO(health) h = health_new();

	(void)state;
	assert_false(ready(h, NULL, 0)); /* nothing known yet */
	health_phase(h, "auth", PHASE_STARTING);
	assert_false(ready(h, NULL, 0));
	status_is(h, 0, NULL, NULL, "starting");
	health_phase(h, "auth", PHASE_READY);
	assert_true(ready(h, NULL, 0));
	status_is(h, 0, NULL, NULL, "ready");
	health_phase(h, "auth", PHASE_DRAINING);
	assert_false(ready(h, NULL, 0));
	status_is(h, 0, "auth", NULL, "draining");
}

static void a_critical_dependency_may_be_down_for_ten_seconds(void **state)
{
	AUTO(health) h = health_new();
	struct fake db = {.state = HEALTH_UP};

	(void)state;
	health_phase(h, "auth", PHASE_READY);
	assert_true(health_check(h, "auth", "database", true, look, &db));
	assert_true(ready(h, NULL, 1000));
	db.state = HEALTH_DOWN;
	assert_true(ready(h, NULL, 2000));
	status_is(h, 2000, "auth", NULL, "degraded");
	assert_true(ready(h, NULL, 11999));
	assert_false(ready(h, NULL, 12000));
	status_is(h, 12000, "auth", "database", "down");
	status_is(h, 12000, NULL, NULL, "down");

	/* Back, and the count begins anew. */
	db.state = HEALTH_UP;
	assert_true(ready(h, NULL, 13000));
	db.state = HEALTH_DOWN;
	assert_true(ready(h, NULL, 14000));
	assert_true(ready(h, NULL, 23999));
	db.state = HEALTH_DEGRADED; /* usable again, if badly */
	assert_true(ready(h, NULL, 24000));
	db.state = HEALTH_DOWN;
	assert_true(ready(h, NULL, 25000));
	assert_false(ready(h, NULL, 35000));
}

static void other_dependencies_only_degrade(void **state)
{
	AUTO(health) h = health_new();
	struct fake redis = {.state = HEALTH_DOWN};

	(void)state;
	health_phase(h, "content", PHASE_READY);
	assert_true(health_check(h, "content", "redis", false, look, &redis));
	assert_true(ready(h, NULL, 0));
	assert_true(ready(h, NULL, 1000000));
	status_is(h, 1000000, "content", NULL, "degraded");
}

static void one_part_can_be_asked_alone(void **state)
{
	AUTO(health) h = health_new();
	struct fake db = {.state = HEALTH_DOWN}, other = {.state = HEALTH_UP};

	(void)state;
	health_phase(h, "auth", PHASE_READY);
	health_phase(h, "gdpr", PHASE_READY);
	assert_true(health_check(h, "auth", "database", true, look, &db));
	assert_true(health_check(h, "gdpr", "database", true, look, &other));
	(void)ready(h, NULL, 0);
	assert_false(ready(h, NULL, 10000));
	assert_false(ready(h, "auth", 10000));
	assert_true(ready(h, "gdpr", 10000));
	assert_false(ready(h, "nobody", 10000));
	assert_true(health_has(h, "gdpr"));
	assert_false(health_has(h, "nobody"));
}

static void a_part_that_only_has_checks_is_starting(void **state)
{
	AUTO(health) h = health_new();
	struct fake db = {.state = HEALTH_UP};

	(void)state;
	assert_true(health_check(h, "auth", "database", true, look, &db));
	assert_false(ready(h, NULL, 0));
	status_is(h, 0, "auth", NULL, "starting");
}

static void hostile_details_do_not_break_the_json(void **state)
{
	AUTO(health) h = health_new();
	struct fake db = {.state = HEALTH_DOWN,
	                  .detail = "\"},\n\\u\xff </script>"};
	AUTO_BUF out = {0};
	json_t *j, *check;

	(void)state;
	health_phase(h, "a\"b", PHASE_READY);
	assert_true(health_check(h, "a\"b", "d\nb", true, look, &db));
	(void)health_render(h, &(struct health_ask){.now_ms = 5000}, &out);
	buf_clear(&out);
	(void)health_render(h, &(struct health_ask){.now_ms = 9999}, &out);
	j = json_loadb(out.p, out.n, 0, NULL);
	assert_non_null(j);
	check = json_object_get(
		json_object_get(json_object_get(json_object_get(j, "parts"),
	                                        "a\"b"),
	                        "checks"),
		"d\nb");
	assert_string_equal(json_string_value(json_object_get(check, "detail")),
	                    "\"},\n\\u\xef\xbf\xbd </script>");
	assert_int_equal(json_integer_value(json_object_get(check, "down_s")),
	                 4);
	assert_true(json_is_true(json_object_get(check, "critical")));
	json_decref(j);
}

static void a_forgotten_check_is_never_asked_again(void **state)
{
	AUTO(health) h = health_new();
	struct fake mine = {.state = HEALTH_UP}, other = {.state = HEALTH_UP};

	(void)state;
	health_phase(h, "auth", PHASE_READY);
	health_phase(h, "gdpr", PHASE_READY);
	assert_true(health_check(h, "auth", "database", true, look, &mine));
	assert_true(health_check(h, "gdpr", "database", true, look, &other));
	health_forget(h, "auth");
	health_forget(h, "nobody");
	(void)ready(h, NULL, 0);
	assert_int_equal(mine.asked, 0);
	assert_int_equal(other.asked, 1);
}

static void packed_is(struct health *h, int64_t now_ms, const char *part,
                      bool is_ready, const char *status, const char *database,
                      const char *message)
{
	AUTO_BUF out = {0};
	struct str checks = {0}, found = STR("");

	health_pack(h, part, now_ms, &out);
	assert_true(mp_valid(buf_view(&out)));
	assert_int_equal(mp_find_bool(buf_view(&out), "ready", !is_ready),
	                 is_ready);
	assert_true(str_eq(mp_find_str(buf_view(&out), "status", STR("")),
	                   str_from(status)));
	assert_true(mp_find(buf_view(&out), "checks", &checks));
	assert_int_equal(mp_find(checks, "database", &found), database != NULL);
	if (!database)
		return;
	assert_true(str_eq(mp_find_str(found, "status", STR("")),
	                   str_from(database)));
	assert_true(str_eq(mp_find_str(found, "message", STR("-")),
	                   str_from(message)));
}

static void a_part_is_packed_as_it_is_written(void **state)
{
	AUTO(health) h = health_new();
	struct fake db = {.state = HEALTH_UP, .detail = "2 of 10"};
	struct fake other = {.state = HEALTH_DOWN};

	(void)state;
	packed_is(h, 0, "auth", false, "starting", NULL, NULL);
	health_phase(h, "auth", PHASE_READY);
	packed_is(h, 0, "auth", true, "ready", NULL, NULL);
	assert_true(health_check(h, "auth", "outbox", false, look, &db));
	assert_true(health_check(h, "auth", "database", true, look, &db));
	assert_true(health_check(h, "gdpr", "database", true, look, &other));
	packed_is(h, 0, "auth", true, "ready", "up", "2 of 10");
	db.state = HEALTH_DOWN;
	db.detail = NULL;
	packed_is(h, 1000, "auth", true, "degraded", "down", "");
	packed_is(h, 1000 + HEALTH_GRACE_MS, "auth", false, "down", "down", "");
	health_forget(h, "auth");
	health_phase(h, "auth", PHASE_DRAINING);
	packed_is(h, 0, "auth", false, "draining", NULL, NULL);
}

static void bounds_are_kept(void **state)
{
	AUTO(health) h = health_new();
	struct fake db = {.state = HEALTH_UP};

	(void)state;
	assert_false(health_check(h, "a name of more than 31 characters", "x",
	                          true, look, &db));
	assert_false(health_check(h, "", "x", true, look, &db));
	for (int i = 0; i < HEALTH_CHECKS_MAX; i++)
		assert_true(health_check(h, "a", "x", true, look, &db));
	assert_false(health_check(h, "a", "x", true, look, &db));
	health_forget(h, "a");
	for (int i = 1; i < HEALTH_PARTS_MAX; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "p%d", i);
		assert_true(health_check(h, name, "x", true, look, &db));
	}
	assert_false(health_check(h, "one more", "x", true, look, &db));
}

static void tell_two(void *arg, struct buf *out)
{
	(void)arg;
	buf_str(out, STR("{\"address\":\"a\"},{\"address\":\"b\"}"));
}

static size_t listed(struct health *h, bool verbose)
{
	AUTO_BUF out = {0};
	json_t *j, *at;
	size_t n;

	(void)health_render(h, &(struct health_ask){.verbose = verbose}, &out);
	j = json_loadb(out.p, out.n, 0, NULL);
	assert_non_null(j);
	at = json_object_get(json_object_get(j, "parts"), "gateway");
	at = json_object_get(json_object_get(at, "checks"), "auth");
	n = json_array_size(json_object_get(at, "replicas"));
	json_decref(j);
	return n;
}

static void a_list_is_told_to_whom_asks_for_all(void **state)
{
	AUTO(health) h = health_new();
	struct fake up = {.state = HEALTH_UP};

	(void)state;
	assert_false(health_list(h, "gateway", "auth", "replicas", tell_two));
	assert_true(health_check(h, "gateway", "auth", false, look, &up));
	assert_int_equal(listed(h, true), 0);
	assert_false(health_list(h, "gateway", "gdpr", "replicas", tell_two));
	assert_true(health_list(h, "gateway", "auth", "replicas", tell_two));
	assert_int_equal(listed(h, true), 2);
	assert_int_equal(listed(h, false), 0);
	health_forget(h, "gateway");
	assert_int_equal(listed(h, true), 0);
}

static void without_memory_the_text_fails_not_the_program(void **state)
{
	AUTO(health) h = health_new();
	struct fake db = {.state = HEALTH_UP, .detail = "fine"};
	bool more = true;

	(void)state;
	health_phase(h, "auth", PHASE_READY);
	assert_true(health_check(h, "auth", "database", true, look, &db));
	assert_true(health_list(h, "auth", "database", "list", tell_two));
	for (unsigned nth = 1; more; nth++) {
		AUTO_BUF out = {0};

		alloc_fault_arm(nth);
		(void)health_render(h, &(struct health_ask){.verbose = true},
		                    &out);
		health_pack(h, "auth", 0, &out);
		more = alloc_fault_disarm();
		assert_int_equal(out.failed, more);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_program_is_ready_between_start_and_drain),
		cmocka_unit_test(
			a_critical_dependency_may_be_down_for_ten_seconds),
		cmocka_unit_test(other_dependencies_only_degrade),
		cmocka_unit_test(one_part_can_be_asked_alone),
		cmocka_unit_test(a_part_that_only_has_checks_is_starting),
		cmocka_unit_test(hostile_details_do_not_break_the_json),
		cmocka_unit_test(a_forgotten_check_is_never_asked_again),
		cmocka_unit_test(a_part_is_packed_as_it_is_written),
		cmocka_unit_test(bounds_are_kept),
		cmocka_unit_test(a_list_is_told_to_whom_asks_for_all),
		cmocka_unit_test(without_memory_the_text_fails_not_the_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
