#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/attr.h"
#include "common/base/cores.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static void a_quota_is_rounded_up(void **state)
{
	static const struct {
		const char *text;
		unsigned cores;
	} rows[] = {
		{"50000 100000\n", 1},
		{"100000 100000\n", 1},
		{"150000 100000\n", 2},
		{"400000 100000", 4},
		{"1 9223372036854775807\n", 1},
		{"9223372036854775807 1\n", UINT_MAX},
		{"max 100000\n", UINT_MAX},
		{"", UINT_MAX},
		{"100000\n", UINT_MAX},
		{"100000 0\n", UINT_MAX},
		{"-100000 100000\n", UINT_MAX},
		{"0 100000\n", UINT_MAX},
		{"1e5 100000\n", UINT_MAX},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(rows); i++)
		assert_int_equal(cores_of_quota(str_from(rows[i].text)),
		                 rows[i].cores);
}

static void write_file(const char *root, const char *name, const char *text)
{
	char path[512];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void make_folder(const char *root, const char *name)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

static void groups_above_count_too(void **state)
{
	static const struct {
		const char *groups;
		unsigned cores;
	} rows[] = {
		{"0::/a/b\n", 3},
		{"0::/a\n", 4},
		{"12:cpu:/x\n0::/a/b\n", 3},
		{"0::/a/b/none\n", 3},
		{"0::/\n", 8},
		{"0::/none\n", 8},
		{"12:cpu:/a\n", UINT_MAX}, /* version 1 */
		{"0::\n", UINT_MAX},
		{"", UINT_MAX},
	};
	static const char *const made[] = {"a/b/cpu.max", "a/b",
	                                   "a/cpu.max",   "a",
	                                   "cpu.max",     ""};
	char root[] = "/tmp/kae-cores-XXXXXX", path[64];

	(void)state;
	assert_non_null(mkdtemp(root));
	write_file(root, "cpu.max", "800000 100000\n");
	make_folder(root, "a");
	write_file(root, "a/cpu.max", "400000 100000\n");
	make_folder(root, "a/b");
	write_file(root, "a/b/cpu.max", "250000 100000\n");
	for (size_t i = 0; i < COUNTOF(rows); i++)
		assert_int_equal(cores_of_groups(root,
		                                 str_from(rows[i].groups)),
		                 rows[i].cores);
	for (size_t i = 0; i < COUNTOF(made); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", root, made[i]);
		assert_int_equal(remove(path), 0);
	}
}

static void what_the_process_may_not_run_on_does_not_count(void **state)
{
	unsigned all = cores_usable();
	cpu_set_t before, one;
	size_t cpu = 0;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	assert_in_range(all, 1, CPU_COUNT(&before));
	while (!CPU_ISSET(cpu, &before))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(cores_usable(), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
	assert_int_equal(cores_usable(), all);
}

#define TEST(f) cmocka_unit_test(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_quota_is_rounded_up),
		TEST(groups_above_count_too),
		TEST(what_the_process_may_not_run_on_does_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
