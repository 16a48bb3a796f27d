#include "common/service/scan_match.h"

#include "common/base/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SUB "0190a000-0000-7000-8000-00000000ada0"

static const struct scan_needles ada = {STR(SUB), {"Ada", 3}, {"a@b.de", 6}};

static const struct {
	const char *claim, *column;
	struct str value;
	bool named;
} cases[] = {
	{"the sub is found alone", "sub", {SUB, 36}, true},
	{"in capitals", "x", STR("0190A000-0000-7000-8000-00000000ADA0"), true},
	{"within a text", "cause", STR("achievement:x:" SUB), true},
	{"behind a NUL", "body", STR("\0\0" SUB "\0"), true},
	{"another sub is not it", "sub",
         STR("0190a000-0000-7000-8000-00000000ada1"), false},
	{"a value that ends within it is not", "sub",
         STR("0190a000-0000-7000-8000-00000000ada"), false},
	{"nothing is nobody", "sub", {NULL, 0}, false},

	{"the address is found alone", "email", STR("a@b.de"), true},
	{"in capitals", "email", STR("A@B.DE"), true},
	{"within a sentence", "x", STR("write to a@b.de."), true},
	{"the end of a longer name is not it", "x", STR("lisa@b.de"), false},
	{"nor behind a dot", "x", STR("lis.a@b.de"), false},
	{"the beginning of a longer domain is not", "x", STR("a@b.dev"), false},
	{"nor before a dot", "x", STR("a@b.de.example"), false},

	{"the handle is found in a column for it", "handle", STR("ADA"), true},
	{"a longer handle is not it", "handle", STR("adam"), false},
	{"in another column it is a word", "topic", STR("ada"), false},
	{"and in a sentence", "topic", STR("programming in Ada"), false},
	{"as a member of msgpack", "body",
         STR("\x81\xa3hnd\xa3"
             "Ada"),
         true},
	{"as a long text there", "body",
         STR("\x81\xa7user_id\xd9\x03"
             "ada"),
         true},
	{"as a member of JSON", "body", STR("{\"user_id\": \"ada\"}"), true},
	{"a member of another name is not", "body",
         STR("\x81\xa5topic\xa3"
             "ada"),
         false},
	{"nor one whose name ends so", "body", STR("{\"xuser_id\":\"ada\"}"),
         false},
	{"nor the beginning of a longer text", "body",
         STR("\x81\xa3hnd\xa4"
             "adam"),
         false},
};

static void a_value_names_a_person_or_does_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		if (scan_names(&ada, str_from(cases[i].column),
		               cases[i].value) != cases[i].named)
			fail_msg("%zu: %s", i, cases[i].claim);
}

static void what_is_not_given_is_not_found(void **state)
{
	const struct scan_needles nobody = {STR(SUB), {NULL, 0}, {NULL, 0}};

	(void)state;
	assert_false(scan_names(&nobody, STR("handle"), STR("")));
	assert_false(scan_names(&nobody, STR("handle"), STR("ada")));
	assert_false(scan_names(&nobody, STR("x"), STR("{\"user_id\":\"\"}")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_value_names_a_person_or_does_not),
		cmocka_unit_test(what_is_not_given_is_not_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
