#include "svc-auth/rules.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void handles_are_letters_digits_and_three_marks(void **state)
{
	static const struct {
		const char *handle;
		enum handle_verdict want;
	} cases[] = {
		{"abc", HANDLE_GOOD},
		{"A.b-C_9", HANDLE_GOOD},
		{"...", HANDLE_GOOD},
		{A64, HANDLE_GOOD},
		{A64 "a", HANDLE_LENGTH},
		{"ab", HANDLE_LENGTH},
		{"", HANDLE_LENGTH},
		{"a b", HANDLE_LETTERS},
		{"a@b.de", HANDLE_LETTERS},
		{"a/../b", HANDLE_LETTERS},
		{"a\nb", HANDLE_LETTERS},
		{"a'b", HANDLE_LETTERS},
		{"<b>", HANDLE_LETTERS},
		{"m\xc3\xbcller", HANDLE_LETTERS},
		{"\xd0\xb0"
	         "dmin",
	         HANDLE_LETTERS}, /* Cyrillic a */
		{"admin", HANDLE_RESERVED},
		{"ADMIN", HANDLE_RESERVED},
		{"Root", HANDLE_RESERVED},
		{"system", HANDLE_RESERVED},
		{"anonymous", HANDLE_RESERVED},
		{"guest", HANDLE_RESERVED},
		{"null", HANDLE_RESERVED},
		{"undefined", HANDLE_RESERVED},
		{"test_user", HANDLE_RESERVED},
		{"admin2", HANDLE_GOOD},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		if (handle_check(str_from(cases[i].handle)) != cases[i].want)
			fail_msg("%s", cases[i].handle);
	assert_int_equal(handle_check((struct str){"a\0c", 3}), HANDLE_LETTERS);
	assert_int_equal(handle_check((struct str){NULL, 0}), HANDLE_LENGTH);
	/* Two letters long, so the length says it first. */
	assert_int_equal(handle_check(STR("me")), HANDLE_LENGTH);
}

static void handles_are_folded_as_ascii_in_any_locale(void **state)
{
	char out[HANDLE_MAX + 1];

	(void)state;
	assert_true(
		str_eq(handle_fold(STR("ALICE.I-9"), out), STR("alice.i-9")));
	assert_int_equal(handle_fold(STR(A64 A64), out).n, HANDLE_MAX);
	assert_int_equal(out[HANDLE_MAX], '\0');
}

static void a_new_key_is_well_formed_and_like_no_other(void **state)
{
	char a[API_KEY_MAX], b[API_KEY_MAX];
	unsigned char ha[API_KEY_HASH], hb[API_KEY_HASH];
	struct str x = api_key_make(a), y = api_key_make(b);

	(void)state;
	assert_int_equal(x.n, 46);
	assert_int_equal(strlen(a), 46);
	assert_true(api_key_well_formed(x) && api_key_well_formed(y));
	assert_false(str_eq(x, y));
	api_key_hash(x, ha);
	api_key_hash(y, hb);
	assert_memory_not_equal(ha, hb, sizeof(ha));
	api_key_hash(x, hb);
	assert_memory_equal(ha, hb, sizeof(ha));
}

static void what_is_no_key_is_told_apart(void **state)
{
	static const char *const bad[] = {
		"",
		"sk_",
		"sk_AAAA",
		"sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB", /* spare bits */
		"sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"pk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		" sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	};

	(void)state;
	assert_true(api_key_well_formed(
		STR("sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")));
	for (size_t i = 0; i < COUNTOF(bad); i++)
		if (api_key_well_formed(str_from(bad[i])))
			fail_msg("%s", bad[i]);
}

static void only_administrators_have_the_admin_scope(void **state)
{
	(void)state;
	assert_int_equal(role_scopes(ROLE_USER), SCOPES_USUAL);
	assert_int_equal(role_scopes(ROLE_ADMIN), SCOPES_USUAL | SCOPE_ADMIN);
	assert_int_equal(role_scopes(ROLE_GUEST), 0);
	assert_int_equal(role_scopes(ROLE_SERVICE), 0);
}

static void times_are_read_as_rfc_3339_says(void **state)
{
	static const struct {
		const char *text;
		int64_t want; /* -1: refused */
	} cases[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"2030-01-31T12:00:00Z", 1896091200000},
		{"2030-01-31t12:00:00z", 1896091200000},
		{"2030-01-31T12:00:00.5Z", 1896091200500},
		{"2030-01-31T12:00:00.1239999Z", 1896091200123},
		{"2030-01-31T14:00:00+02:00", 1896091200000},
		{"2030-01-31T06:30:00-05:30", 1896091200000},
		{"2028-02-29T00:00:00Z", 1835395200000},
		{"2030-02-29T00:00:00Z", -1},
		{"2030-13-01T00:00:00Z", -1},
		{"2030-00-01T00:00:00Z", -1},
		{"2030-01-31T24:00:00Z", -1},
		{"2030-01-31T12:60:00Z", -1},
		{"2030-01-31T12:00:00", -1},
		{"2030-01-31 12:00:00Z", -1},
		{"2030-01-31", -1},
		{"2030-01-31T12:00:00.Z", -1},
		{"2030-01-31T12:00:00+0200", -1},
		{"2030-01-31T12:00:00+24:00", -1},
		{"2030-01-31T12:00:00Zx", -1},
		{"-030-01-31T12:00:00Z", -1},
		{"", -1},
		{"tomorrow", -1},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		int64_t got = -1;

		if (!time_from_iso(str_from(cases[i].text), &got))
			got = -1;
		if (got != cases[i].want)
			fail_msg("%s", cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handles_are_letters_digits_and_three_marks),
		cmocka_unit_test(handles_are_folded_as_ascii_in_any_locale),
		cmocka_unit_test(a_new_key_is_well_formed_and_like_no_other),
		cmocka_unit_test(what_is_no_key_is_told_apart),
		cmocka_unit_test(only_administrators_have_the_admin_scope),
		cmocka_unit_test(times_are_read_as_rfc_3339_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
