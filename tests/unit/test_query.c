#include "common/codec/mp.h"
#include "gateway/language.h"
#include "gateway/query.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void queries_become_maps_of_text(void **state)
{
	static const struct {
		const char *query, *key, *want;
	} cases[] = {
		{"topic=a", "topic", "a"},
		{"topic=a%20b+c", "topic", "a b c"},
		{"topic=%e6%a9%9f", "topic", "\xe6\xa9\x9f"},
		{"topic", "topic", ""},
		{"topic=", "topic", ""},
		{"a=b=c", "a", "b=c"},
		{"&&a=1&&", "a", "1"},
		{"%61=1", "a", "1"},
		{"=1", "", "1"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO(arena) a = arena_new(65536);
		struct ctx cx = {.arena = a};
		AUTO_BUF b = {0};

		assert_int_equal(query_pack(&cx, str_from(cases[i].query), &b),
		                 OK);
		assert_true(mp_valid(buf_view(&b)));
		assert_true(str_eq(mp_find_str(buf_view(&b), cases[i].key,
		                               STR("(absent)")),
		                   str_from(cases[i].want)));
	}
}

static void malformed_queries_are_refused(void **state)
{
	static const char *const queries[] = {
		"a=1&a=2", "a=1&%61=2", "a=%",   "a=%4",     "a=%zz",
		"%ff=1",   "a=%ff",     "a=%00", "a=%c0%80", "a=%ed%a0%80",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(queries); i++) {
		AUTO(arena) a = arena_new(65536);
		struct ctx cx = {.arena = a};
		AUTO_BUF b = {0};

		if (query_pack(&cx, str_from(queries[i]), &b) != ERR_INVALID)
			fail_msg("%s", queries[i]);
		assert_int_equal(cx.problem.code, ERR_INVALID);
		assert_int_equal(b.n, 0);
	}
}

static void too_many_parameters_are_refused(void **state)
{
	AUTO(arena) a = arena_new(65536);
	struct ctx cx = {.arena = a};
	AUTO_BUF query = {0};
	AUTO_BUF b = {0};

	(void)state;
	for (int i = 0; i < QUERY_MAX; i++)
		buf_printf(&query, "a%d&", i);
	assert_false(query_too_long(buf_view(&query)));
	assert_int_equal(query_pack(&cx, buf_view(&query), &b), OK);
	buf_str(&query, STR("b&"));
	assert_true(query_too_long(buf_view(&query)));
	assert_int_equal(query_pack(&cx, buf_view(&query), &b), ERR_INVALID);
}

static void no_parameters_are_no_map(void **state)
{
	AUTO(arena) a = arena_new(65536);
	struct ctx cx = {.arena = a};
	AUTO_BUF b = {0};

	(void)state;
	assert_int_equal(query_pack(&cx, STR(""), &b), OK);
	assert_int_equal(query_pack(&cx, STR("&"), &b), OK);
	assert_int_equal(query_pack_params(&cx, NULL, 0, &b), OK);
	assert_int_equal(b.n, 0);
}

static void path_parameters_keep_their_plus(void **state)
{
	const struct route_param params[] = {
		{STR("id"), STR("a+b%2Fc")},
		{STR("name"), STR("%")},
	};
	AUTO(arena) a = arena_new(65536);
	struct ctx cx = {.arena = a};
	AUTO_BUF b = {0};

	(void)state;
	assert_int_equal(query_pack_params(&cx, params, 1, &b), OK);
	assert_true(
		str_eq(mp_find_str(buf_view(&b), "id", STR("")), STR("a+b/c")));
	assert_int_equal(query_pack_params(&cx, params, 2, &b), ERR_INVALID);
}

static void languages_go_by_weight_then_order(void **state)
{
	static const struct {
		const char *header, *want;
	} cases[] = {
		{"", "en"},
		{"fr", "fr"},
		{"fr-FR,fr;q=0.9", "fr"},
		{"fr,en;q=0.9", "fr"},
		{"en;q=0.8, de;q=0.9", "de"},
		{"de;q=0.5,es;q=0.5", "de"},
		{"ZH-hans-CN", "zh"},
		{"xx, yy;q=0.9, ja;q=0.1", "ja"},
		{"de;q=0", "en"},
		{"de;q=0, *", "en"},
		{"*", "en"},
		{"de;q=1.5,es;q=0.1", "es"},
		{"de;q=abc", "en"},
		{"de;q=", "en"},
		{"de;q=0.0001", "en"},
		{"de ; q=0.3 , es ; q=0.301", "es"},
		{"de;level=1;q=0.7", "de"},
		{",,,;;;===", "en"},
		{"d", "en"},
		{"deutsch", "en"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		if (!str_eq(language_choose(str_from(cases[i].header)),
		            str_from(cases[i].want)))
			fail_msg("%s", cases[i].header);
}

static void no_memory_is_told(void **state)
{
	(void)state;
	for (unsigned n = 1;; n++) {
		AUTO(arena) a = arena_new(65536);
		struct ctx cx = {.arena = a};
		AUTO_BUF b = {0};
		enum err e;
		bool failed;

		alloc_fault_arm(n);
		e = query_pack(&cx, STR("a=1&b=2"), &b);
		failed = alloc_fault_disarm();
		assert_int_equal(e, failed ? ERR_NOMEM : OK);
		if (!failed)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queries_become_maps_of_text),
		cmocka_unit_test(malformed_queries_are_refused),
		cmocka_unit_test(too_many_parameters_are_refused),
		cmocka_unit_test(no_parameters_are_no_map),
		cmocka_unit_test(path_parameters_keep_their_plus),
		cmocka_unit_test(languages_go_by_weight_then_order),
		cmocka_unit_test(no_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
