/* Failed logins as they are counted for the audit log. */
#include "svc-auth/audit_failed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define ADA "01900000-0000-7000-8000-0000000000ad"
#define NOW INT64_C(1767268800000)

static struct audit_failed failed;
static struct failed_login out[2 * FAILED_MAX];

static int up(void **state)
{
	(void)state;
	return audit_failed_init(&failed) ? 0 : -1;
}

static int down(void **state)
{
	(void)state;
	audit_failed_fini(&failed);
	return 0;
}

static void fail_from(const char *ip, const char *sub, int64_t now_ms)
{
	const struct ctx cx = {.ip = str_from(ip), .rid = STR("req")};

	audit_failed_note(&failed, &cx, str_from(sub), "api_key", now_ms);
}

static size_t due(int64_t now_ms)
{
	return audit_failed_due(&failed, now_ms, false, out);
}

/* What upkeep does when the commit succeeds. */
static size_t tell(int64_t now_ms)
{
	size_t n = due(now_ms);

	audit_failed_told(&failed, out, n, now_ms);
	return n;
}

static void the_first_is_told_at_once_and_the_rest_counted(void **state)
{
	(void)state;
	assert_int_equal(tell(NOW), 0);
	fail_from("203.0.113.7", "", NOW);
	assert_int_equal(tell(NOW), 1);
	assert_int_equal(out[0].count, 1);
	for (int i = 0; i < 1000; i++)
		fail_from("203.0.113.8", "", NOW + i); /* the same network */
	assert_int_equal(tell(NOW + FAILED_EVERY_MS - 1), 0);
	assert_int_equal(tell(NOW + FAILED_EVERY_MS), 1);
	assert_int_equal(out[0].count, 1000);
	assert_int_equal(out[0].at_ms, NOW + 999);
	assert_string_equal(out[0].ip, "203.0.113.8");
	assert_string_equal(out[0].prefix, "203.0.113.0/24");
	assert_int_equal(tell(NOW + 2 * FAILED_EVERY_MS), 0);
}

static void accounts_and_networks_are_counted_apart(void **state)
{
	(void)state;
	fail_from("203.0.113.7", "", NOW);
	fail_from("203.0.113.7", ADA, NOW);
	fail_from("198.51.100.7", ADA, NOW);
	fail_from("198.51.100.9", ADA, NOW);
	fail_from("", "", NOW); /* no address that can be read */
	assert_int_equal(tell(NOW), 4);
}

/* A commit that fails leaves all as it was; what comes meanwhile is not lost. */
static void nothing_is_lost_when_the_database_is_away(void **state)
{
	(void)state;
	fail_from("203.0.113.7", ADA, NOW);
	assert_int_equal(due(NOW), 1);
	assert_int_equal(due(NOW + 1), 1);
	fail_from("203.0.113.7", ADA, NOW + 2);
	audit_failed_told(&failed, out, 1, NOW + 2);
	assert_int_equal(due(NOW + 3), 0);
	assert_int_equal(audit_failed_due(&failed, NOW + 3, true, out), 1);
	assert_int_equal(out[0].count, 1);
}

static void a_flood_from_everywhere_has_a_bound(void **state)
{
	int64_t sum = 0;
	char ip[32];
	size_t n;

	(void)state;
	for (int i = 0; i < 5000; i++) {
		(void)snprintf(ip, sizeof(ip), "10.%d.%d.1", i / 250, i % 250);
		fail_from(ip, "", NOW);
	}
	fail_from("203.0.113.7", ADA, NOW); /* has its own room */
	n = tell(NOW);
	assert_int_equal(n, FAILED_MAX + 1);
	for (size_t i = 0; i < n; i++)
		sum += out[i].count;
	assert_int_equal(sum, 5001);
	assert_string_equal(out[FAILED_MAX - 1].prefix, "");
	assert_string_equal(out[FAILED_MAX].sub, ADA);
	/* Entries that rest for a minute make room again. */
	assert_int_equal(tell(NOW + FAILED_EVERY_MS), 0);
	fail_from("10.0.0.1", "", NOW + FAILED_EVERY_MS);
	assert_int_equal(tell(NOW + FAILED_EVERY_MS), 1);
	assert_string_equal(out[0].prefix, "10.0.0.0/24");
}

/* A clock that was set back must not silence the log. */
static void a_clock_set_back_tells_at_once(void **state)
{
	(void)state;
	fail_from("203.0.113.7", ADA, NOW);
	assert_int_equal(tell(NOW), 1);
	fail_from("203.0.113.7", ADA, NOW - 1000);
	assert_int_equal(tell(NOW - 1000), 1);
}

static void long_texts_are_cut(void **state)
{
	char many[600];
	struct ctx cx = {.ip = {many, sizeof(many)},
	                 .ua = {many, sizeof(many)},
	                 .rid = {many, sizeof(many)}};

	(void)state;
	memset(many, 'a', sizeof(many));
	audit_failed_note(&failed, &cx, (struct str){many, sizeof(many)},
	                  "a method with a long name", NOW);
	assert_int_equal(due(NOW), 1);
	assert_int_equal(strlen(out[0].rid), sizeof(out[0].rid) - 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_first_is_told_at_once_and_the_rest_counted),
		TEST(accounts_and_networks_are_counted_apart),
		TEST(nothing_is_lost_when_the_database_is_away),
		TEST(a_flood_from_everywhere_has_a_bound),
		TEST(a_clock_set_back_tells_at_once),
		TEST(long_texts_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
