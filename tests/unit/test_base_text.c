#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <time.h>

#include <cmocka.h>

#include "common/base/attr.h"
#include "common/base/b64.h"
#include "common/base/clock.h"
#include "common/base/str.h"
#include "common/base/utf8.h"
#include "common/base/uuid.h"

#include <stdio.h>
#include <stdlib.h>

static void equality_is_of_bytes_and_lengths(void **state)
{
	struct str nothing = {NULL, 0};

	(void)state;
	assert_true(str_eq(STR("a\0b"), STR("a\0b")));
	assert_false(str_eq(STR("a\0b"), STR("a\0c")));
	assert_false(str_eq(STR("a"), STR("ab")));
	assert_true(str_eq(nothing, STR("")));
	assert_true(str_ieq(STR("Bearer"), STR("bEARER")));
	assert_false(str_ieq(STR("\xc3\x89"), STR("\xc3\xa9")));
	assert_true(str_ieq(nothing, STR("")));
	assert_true(str_starts(STR("ab"), STR("a")));
	assert_true(str_starts(nothing, nothing));
	assert_false(str_starts(STR("a"), STR("ab")));
	assert_int_equal(str_from(NULL).n, 0);
}

static void cutting_walks_over_every_part(void **state)
{
	static const struct {
		struct str in;
		const char *want; /* parts joined by '|' */
	} cases[] = {
		{STR("a,b,c"), "a|b|c|"},
		{STR("a"), "a|"},
		{STR(",a,"), "|a|"}, /* what follows the last sep is empty */
		{STR(",,"), "||"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct str rest = cases[i].in;
		char got[32];
		size_t n = 0;

		while (rest.n) {
			struct str part = str_cut(&rest, ',');

			memcpy(got + n, part.p, part.n);
			n += part.n;
			got[n++] = '|';
		}
		got[n] = '\0';
		assert_string_equal(got, cases[i].want);
	}
	{
		struct str nothing = {NULL, 0};

		assert_int_equal(str_cut(&nothing, ',').n, 0);
		assert_null(nothing.p);
	}
}

static void trimming_takes_blanks_and_tabs_only(void **state)
{
	(void)state;
	assert_true(str_eq(str_trim(STR(" \ta b\t ")), STR("a b")));
	assert_true(str_eq(str_trim(STR("\na ")), STR("\na")));
	assert_int_equal(str_trim(STR("  \t")).n, 0);
	assert_int_equal(str_trim((struct str){NULL, 0}).n, 0);
}

static void integers_are_whole_or_refused(void **state)
{
	static const struct {
		struct str in;
		bool ok;
		int64_t want;
	} cases[] = {
		{STR("0"), true, 0},
		{STR("-0"), true, 0},
		{STR("007"), true, 7},
		{STR("9223372036854775807"), true, INT64_MAX},
		{STR("-9223372036854775808"), true, INT64_MIN},
		{STR("9223372036854775808"), false, 0},
		{STR("-9223372036854775809"), false, 0},
		{STR("99999999999999999999"), false, 0},
		{STR(""), false, 0},
		{STR("-"), false, 0},
		{STR("--1"), false, 0},
		{STR("+1"), false, 0},
		{STR(" 1"), false, 0},
		{STR("1 "), false, 0},
		{STR("1.0"), false, 0},
		{STR("0x1"), false, 0},
		{STR("1\0"), false, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		int64_t v = 42;

		assert_int_equal(str_to_i64(cases[i].in, &v), cases[i].ok);
		assert_true(v == (cases[i].ok ? cases[i].want : 42));
	}
}

static void every_code_point_comes_back_and_surrogates_do_not(void **state)
{
	(void)state;
	for (uint32_t cp = 0; cp <= 0x110000; cp++) {
		char bytes[4];
		struct str s = {bytes, utf8_put(cp, bytes)};
		bool good = cp < 0xd800 || (cp > 0xdfff && cp < 0x110000);
		size_t at = 0;
		uint32_t back = 0;

		if (utf8_valid(s) != good)
			fail_msg("U+%04X", (unsigned)cp);
		if (!good)
			continue;
		assert_true(utf8_next(s, &at, &back));
		assert_int_equal(back, cp);
		assert_int_equal(at, s.n);
		assert_int_equal(utf8_length(s), 1);
	}
}

static void malformed_utf8_is_refused_without_moving(void **state)
{
	static const struct str cases[] = {
		STR("\x80"),
		STR("\xbf"),
		STR("\xc0\x80"),
		STR("\xc1\xbf"),
		STR("\xe0\x80\x80"),
		STR("\xe0\x9f\xbf"),
		STR("\xf0\x8f\xbf\xbf"),
		STR("\xf4\x90\x80\x80"),
		STR("\xf5\x80\x80\x80"),
		STR("\xff"),
		STR("\xc3"),
		STR("\xe2\x82"),
		STR("\xf0\x9f\x98"),
		STR("\xc3("),
		STR("\xe2\x82("),
		STR("\xed\xa0\x80"),
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		size_t at = 0;
		uint32_t cp = 42;
		char *copy = malloc(cases[i].n);

		assert_non_null(copy);
		memcpy(copy, cases[i].p, cases[i].n);
		assert_false(
			utf8_next((struct str){copy, cases[i].n}, &at, &cp));
		assert_int_equal(at, 0);
		assert_int_equal(cp, 42);
		assert_false(utf8_valid(cases[i]));
		free(copy);
	}
	assert_true(utf8_valid((struct str){NULL, 0}));
	assert_int_equal(utf8_length(STR("aé機😀")), 4);
}

static void uuids_are_version_7_sorted_and_distinct(void **state)
{
	char a[UUID_MAX], b[UUID_MAX];
	int64_t before = wall_ms(), after, ms;
	struct str s = uuid7(a);

	(void)state;
	after = wall_ms();
	assert_true(uuid_valid(s));
	assert_int_equal(a[14], '7');
	assert_non_null(strchr("89ab", a[19]));
	assert_string_not_equal(a, uuid7(b).p);
	a[8] = '\0';
	ms = (int64_t)(strtoull(a, NULL, 16) << 16);
	a[13] = '\0';
	ms |= (int64_t)strtoull(a + 9, NULL, 16);
	assert_true(before <= ms && ms <= after);
}

static void a_pool_gives_distinct_uuids_and_keeps_none(void **state)
{
	enum { MANY = 100 };
	static const unsigned char wiped[UUID_RANDOM];
	struct uuid_pool pool = {.left = 0};
	static char all[MANY][UUID_MAX];

	(void)state;
	for (size_t i = 0; i < MANY; i++) {
		struct str s = uuid7_from(&pool, all[i]);

		assert_true(uuid_valid(s));
		assert_int_equal(s.p[14], '7');
		assert_non_null(strchr("89ab", s.p[19]));
		assert_true(pool.left < sizeof(pool.random));
		assert_memory_equal(pool.random + pool.left, wiped,
		                    sizeof(wiped));
		/* The random part differs, not only the time. */
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(all[i] + 19, all[k] + 19);
	}
}

static void what_is_no_uuid_is_refused(void **state)
{
	static const char *const cases[] = {
		"",
		"0190b6a0-0000-7000-8000-00000000000",
		"0190b6a0-0000-7000-8000-0000000000011",
		"0190B6A0-0000-7000-8000-000000000001",
		"0190b6a0x0000-7000-8000-000000000001",
		"0190b6a0-0000-7000-8000-00000000000g",
		"{190b6a0-0000-7000-8000-00000000000}",
	};

	(void)state;
	assert_true(uuid_valid(STR("0190b6a0-0000-7000-8000-000000000001")));
	for (size_t i = 0; i < COUNTOF(cases); i++)
		assert_false(uuid_valid(str_from(cases[i])));
}

static void times_are_written_as_rfc_3339(void **state)
{
	static const struct {
		int64_t ms;
		const char *want;
		int64_t day;
	} cases[] = {
		{0, "1970-01-01T00:00:00.000Z", 0},
		{-1, "1969-12-31T23:59:59.999Z", -1},
		{951782400123, "2000-02-29T00:00:00.123Z", 11016},
		{4102444799999, "2099-12-31T23:59:59.999Z", 47481},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		char out[CLOCK_ISO_MAX];

		assert_string_equal(clock_iso(cases[i].ms, out).p,
		                    cases[i].want);
		assert_true(clock_utc_day(cases[i].ms) == cases[i].day);
	}
	assert_int_equal(clock_left(5, 3), 2);
	assert_int_equal(clock_left(3, 5), 0);
}

static void dates_agree_with_the_c_library(void **state)
{
	const int64_t step = 29 * 86400000LL + 12345678;

	(void)state;
	/* From the year 1 to the year 9999. */
	for (int64_t ms = -62135596800000; ms < 253402300799999; ms += step) {
		time_t s = (time_t)(ms / 1000 - (ms % 1000 < 0));
		char out[CLOCK_ISO_MAX], want[64];
		struct tm tm;

		assert_non_null(gmtime_r(&s, &tm));
		(void)snprintf(want, sizeof(want),
		               "%04d-%02d-%02dT%02d:%02d:%02d",
		               tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
		               tm.tm_hour, tm.tm_min, tm.tm_sec);
		assert_memory_equal(clock_iso(ms, out).p, want, 19);
	}
}

static void every_day_of_three_centuries_is_named_right(void **state)
{
	const int64_t first = -25567, last = 84006; /* 1900 to 2199 */

	(void)state;
	for (int64_t day = first; day <= last; day++) {
		int64_t ms = day * 86400000 + 45296789;
		time_t t = (time_t)(day * 86400 + 45296);
		char out[CLOCK_ISO_MAX], want[32];
		struct tm tm;

		assert_non_null(gmtime_r(&t, &tm));
		assert_true(strftime(want, sizeof(want),
		                     "%Y-%m-%dT%H:%M:%S.789Z", &tm) > 0);
		assert_string_equal(clock_iso(ms, out).p, want);
		assert_true(clock_utc_day(ms) == day);
	}
}

static void extreme_times_overrun_nothing(void **state)
{
	static const int64_t cases[] = {INT64_MIN, INT64_MAX};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		char out[CLOCK_ISO_MAX];

		assert_true(clock_iso(cases[i], out).n < CLOCK_ISO_MAX);
		(void)clock_utc_day(cases[i]);
	}
}

static void base64url_comes_back_and_refuses_other_alphabets(void **state)
{
	static const struct str bad[] = {
		STR(""),     STR("A"),   STR("AA=="),     STR("A+/="),
		STR("AB\n"), STR("A A"), STR("AAAAAAAA"), /* more than max */
	};
	unsigned char bytes[5] = {0xff, 0xfe, 0, 1, 2}, back[5];
	char text[B64_LEN(5) + 1], digits[11];
	size_t n = 0;

	(void)state;
	assert_true(str_eq(b64url(bytes, 5, text), STR("__4AAQI")));
	assert_true(b64url_decode(STR("__4AAQI"), back, 5, &n));
	assert_int_equal(n, 5);
	assert_memory_equal(back, bytes, 5);
	assert_true(str_eq(hex(bytes, 5, digits), STR("fffe000102")));
	for (size_t i = 0; i < COUNTOF(bad); i++)
		assert_false(b64url_decode(bad[i], back, 5, &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equality_is_of_bytes_and_lengths),
		cmocka_unit_test(cutting_walks_over_every_part),
		cmocka_unit_test(trimming_takes_blanks_and_tabs_only),
		cmocka_unit_test(integers_are_whole_or_refused),
		cmocka_unit_test(
			every_code_point_comes_back_and_surrogates_do_not),
		cmocka_unit_test(malformed_utf8_is_refused_without_moving),
		cmocka_unit_test(uuids_are_version_7_sorted_and_distinct),
		cmocka_unit_test(a_pool_gives_distinct_uuids_and_keeps_none),
		cmocka_unit_test(what_is_no_uuid_is_refused),
		cmocka_unit_test(times_are_written_as_rfc_3339),
		cmocka_unit_test(dates_agree_with_the_c_library),
		cmocka_unit_test(every_day_of_three_centuries_is_named_right),
		cmocka_unit_test(extreme_times_overrun_nothing),
		cmocka_unit_test(
			base64url_comes_back_and_refuses_other_alphabets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
