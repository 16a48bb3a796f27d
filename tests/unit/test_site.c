/* What is taken of a browser's event, and how it is shown. */
#include "svc-content/site/event.h"
#include "svc-content/site/site.h"

#include "common/codec/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena *arena;

static int up(void **state)
{
	(void)state;
	arena = arena_new((size_t)1 << 20);
	return arena ? 0 : -1;
}

static int down(void **state)
{
	(void)state;
	arena_free(arena);
	return 0;
}

static struct site_event read(const char *type, const char *json)
{
	AUTO_BUF b = {0};
	struct json_error at;
	struct site_event ev;
	enum site_type t;

	assert_true(json_to_mp(str_from(json), &b, &at));
	assert_true(site_type_from_str(str_from(type), &t));
	assert_int_equal(site_event_read(arena, t,
	                                 arena_str(arena, buf_view(&b)),
	                                 STR("x Firefox/1"), &ev),
	                 OK);
	return ev;
}

static void only_what_the_table_names_is_taken(void **state)
{
	struct site_event ev = read(
		"page_load",
		"{\"sessionId\":\"s\",\"userId\":\"user_1\",\"timestamp\":1,"
		"\"pageName\":\"Homepage\",\"loadTime\":1200,\"referrer\":\"r\","
		"\"metrics\":{\"FCP\":10.5,\"LCP\":\"x\"},"
		"\"timeToFirstByte\":-1}");

	(void)state;
	assert_true(str_eq(ev.text[SITE_COL_NAME], STR("Homepage")));
	assert_float_equal(ev.number[SITE_COL_DURATION], 1200, 0);
	assert_float_equal(ev.number[SITE_COL_FCP], 10.5, 0);
	assert_false(ev.has[SITE_COL_LCP]);  /* no number */
	assert_false(ev.has[SITE_COL_TTFB]); /* out of bounds */
	assert_false(ev.failed);
	assert_string_equal(ev.browser, "Firefox");
}

static void a_call_has_failed_by_any_of_three_signs(void **state)
{
	static const struct {
		const char *data;
		bool failed;
	} cases[] = {
		{"{\"status\":200,\"success\":true,\"error\":null}", false},
		{"{\"status\":404}", true},
		{"{\"success\":false}", true},
		{"{\"status\":200,\"error\":\"timeout\"}", true},
		{"{\"error\":false}", false},
		{"{}", false},
		{"{\"status\":\"500\"}", false}, /* not a number: not taken */
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		assert_int_equal(read("api_call", cases[i].data).failed,
		                 cases[i].failed);
	assert_true(read("error", "{}").failed);
	assert_true(
		str_eq(read("error", "{\"message\":7}").text[SITE_COL_MESSAGE],
	               STR("unknown")));
	assert_true(read("task_completion", "{\"success\":false}").failed);
	assert_false(read("task_completion", "{}").failed);
}

static void what_may_name_somebody_is_cut_out_of_texts(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"TypeError: x is undefined", "TypeError: x is undefined"},
		{"mail ada@example.org failed", "mail … failed"},
		{"GET /api/progress?topic=my+illness 500",
	         "GET /api/progress 500"},
		{"https://a.example/x#token=1", "https://a.example/x"},
		{"key sk_ab12cd34ef56gh78ij90 bad", "key … bad"},
		{"/u/0190a000-0000-7000-8000-00000000ada0/x", "/u/…/x"},
		{"averylongwordwithoutanydigitatall",
	         "averylongwordwithoutanydigitatall"},
		{" \t two\n words ", "two words"},
		{"", ""},
	};
	struct str out;
	char big[1200];

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		assert_int_equal(site_clean(arena, str_from(cases[i].in), 200,
		                            &out),
		                 OK);
		if (!str_eq(out, str_from(cases[i].out)))
			fail_msg("%s: %.*s", cases[i].in, STR_FMT(out));
	}
	/* Cut between characters: é has two bytes. */
	for (size_t i = 0; i + 1 < sizeof(big); i += 2)
		memcpy(big + i, "é", 2);
	assert_int_equal(site_clean(arena, (struct str){big, sizeof(big)}, 99,
	                            &out),
	                 OK);
	assert_int_equal(out.n, 98);
}

static void browsers_are_told_apart_by_family(void **state)
{
	static const struct {
		const char *ua, *device, *browser;
	} cases[] = {
		{"Mozilla/5.0 (X11; Linux) Chrome/1 Safari/1", "Desktop",
	         "Chrome"},
		{"Mozilla/5.0 (Windows) Chrome/1 Safari/1 Edg/1", "Desktop",
	         "Edge"},
		{"Mozilla/5.0 (iPhone) Version/1 Mobile/1 Safari/1", "Mobile",
	         "Safari"},
		{"Mozilla/5.0 (Android; Tablet) Firefox/1", "Tablet",
	         "Firefox"},
		{"curl/8", "Desktop", "Other"},
		{"", "Desktop", "Other"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		assert_string_equal(site_device(str_from(cases[i].ua)),
		                    cases[i].device);
		assert_string_equal(site_browser(str_from(cases[i].ua)),
		                    cases[i].browser);
	}
}

static void a_cell_runs_in_no_spreadsheet(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"plain", "\"plain\""},
		{"=1+1", "\"'=1+1\""},
		{"+1", "\"'+1\""},
		{"-1", "\"'-1\""},
		{"@SUM(A1)", "\"'@SUM(A1)\""},
		{"\t=1", "\"'\t=1\""},
		{"\r=1", "\"'\r=1\""},
		{"a\"b,c", "\"a\"\"b,c\""},
		{"\"=1", "\"\"\"=1\""},
		{"", "\"\""},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF b = {0};

		site_csv_cell(&b, str_from(cases[i].in));
		if (!str_eq(buf_view(&b), str_from(cases[i].out)))
			fail_msg("%.*s", STR_FMT(buf_view(&b)));
	}
}

static void rates_and_cohorts(void **state)
{
	const int64_t thursday = INT64_C(1767268800000); /* 2026-01-01 */
	const int64_t day = INT64_C(86400000);

	(void)state;
	assert_float_equal(site_rate(1, 3), 33.33, 1e-9);
	assert_float_equal(site_rate(2, 3), 66.67, 1e-9);
	assert_float_equal(site_rate(1, 0), 0, 0);
	/* Monday 2025-12-29, and the one before */
	assert_int_equal(site_cohort_begin(false, thursday, 0),
	                 INT64_C(1766966400000));
	assert_int_equal(site_cohort_begin(false, thursday, 1),
	                 INT64_C(1766966400000) - 7 * day);
	/* the first of January, of December, of next February */
	assert_int_equal(site_cohort_begin(true, thursday, 0),
	                 INT64_C(1767225600000));
	assert_int_equal(site_cohort_begin(true, thursday, 1),
	                 INT64_C(1767225600000) - 31 * day);
	assert_int_equal(site_cohort_begin(true, thursday, -1),
	                 INT64_C(1767225600000) + 31 * day);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_the_table_names_is_taken),
		cmocka_unit_test(a_call_has_failed_by_any_of_three_signs),
		cmocka_unit_test(what_may_name_somebody_is_cut_out_of_texts),
		cmocka_unit_test(browsers_are_told_apart_by_family),
		cmocka_unit_test(a_cell_runs_in_no_spreadsheet),
		cmocka_unit_test(rates_and_cohorts),
	};

	return cmocka_run_group_tests(tests, up, down);
}
