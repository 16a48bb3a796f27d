#include "gateway/idemkey.h"

#include "common/bus/entry.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void a_key_is_read_bare_or_in_quotes(void **state)
{
	static const struct {
		const char *field, *key; /* NULL: refused */
	} cases[] = {
		{"k", "k"},
		{"\"k\"", "k"},
		{"8e03978e-40d5-43dd-bc93-6894a57f9324",
	         "8e03978e-40d5-43dd-bc93-6894a57f9324"},
		{"!~", "!~"},
		{"a\"b", "a\"b"},
		{"a\\b", "a\\b"},
		{"\"a b\"", "a b"},
		{"\"a\\\"b\"", "a\"b"},
		{"\"a\\\\\"", "a\\"},
		{"\" \"", " "},
		{"", NULL},
		{"\"\"", NULL},
		{"\"", NULL},
		{"\"k", NULL},
		{"\"a\\\"", NULL},
		{"\"a\\b\"", NULL},
		{"\"a\"b\"", NULL},
		{"\"a\";p=1", NULL},
		{"\"a\", \"b\"", NULL},
		{"a b", NULL},
		{"a\tb", NULL},
		{"\"a\tb\"", NULL},
		{"a\x7f", NULL},
		{"\"\x7f\"", NULL},
		{"k\xc3\xa9", NULL},
		{"\"k\xc3\xa9\"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO(arena) a = arena_new(4096);
		struct ctx cx = {.arena = a};
		struct str key = STR("untouched");
		enum err e = idemkey_read(&cx, str_from(cases[i].field), &key);

		if (e != (cases[i].key ? OK : ERR_BAD_REQUEST) ||
		    !str_eq(key, str_from(cases[i].key ? cases[i].key
		                                       : "untouched")))
			fail_msg("%s: %s, %.*s", cases[i].field, err_name(e),
			         STR_FMT(key));
		assert_int_equal(cx.problem.code, e);
	}
}

static void none_is_sent_and_none_is_read(void **state)
{
	struct ctx cx = {0};
	struct str key = {0};

	(void)state;
	assert_int_equal(idemkey_read(&cx, (struct str){0}, &key), OK);
	assert_int_equal(key.n, 0);
}

static void the_bound_is_of_the_key_and_not_of_its_quotes(void **state)
{
	char field[2 * ENTRY_IDK_MAX + 8];
	AUTO(arena) a = arena_new(65536);
	struct ctx cx = {.arena = a};
	struct str key = {0};

	(void)state;
	for (size_t n = ENTRY_IDK_MAX; n <= ENTRY_IDK_MAX + 1; n++) {
		enum err want = n > ENTRY_IDK_MAX ? ERR_BAD_REQUEST : OK;

		memset(field, 'x', n);
		assert_int_equal(
			idemkey_read(&cx, (struct str){field, n}, &key), want);
		field[0] = '"';
		memset(field + 1, 'x', n);
		field[n + 1] = '"';
		assert_int_equal(idemkey_read(&cx, (struct str){field, n + 2},
		                              &key),
		                 want);
		for (size_t i = 0; i < n; i++)
			memcpy(field + 1 + 2 * i, "\\\"", 2);
		field[2 * n + 1] = '"';
		assert_int_equal(
			idemkey_read(&cx, (struct str){field, 2 * n + 2}, &key),
			want);
		assert_int_equal(key.n, ENTRY_IDK_MAX);
	}
}

static void without_memory_it_says_so(void **state)
{
	AUTO(arena) a = arena_new(4096);
	struct ctx cx = {.arena = a};
	struct str key = {0};

	(void)state;
	assert_non_null(a);
	alloc_fault_arm(1);
	assert_int_equal(idemkey_read(&cx, STR("\"k\""), &key), ERR_NOMEM);
	assert_true(alloc_fault_disarm());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_is_read_bare_or_in_quotes),
		cmocka_unit_test(none_is_sent_and_none_is_read),
		cmocka_unit_test(the_bound_is_of_the_key_and_not_of_its_quotes),
		cmocka_unit_test(without_memory_it_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
