#include "svc-auth/password_policy.h"

#include "svc-auth/email.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define X64 "xjq4zvkpwnth7mbdyc2rgfls8xjq4zvkpwnth7mbdyc2rgfls8xjq4zvkpwnth7m"

struct judged {
	const char *typed;
	enum password_verdict want;
};

static void check(const struct judged *cases, size_t n, const char *handle,
                  const char *email)
{
	for (size_t i = 0; i < n; i++) {
		enum password_verdict v =
			password_judge(str_from(cases[i].typed),
		                       str_from(handle), str_from(email));

		if (v != cases[i].want)
			fail_msg("%s: %d", cases[i].typed, (int)v);
	}
}

static void length_counts_characters_and_nothing_else_is_asked_for(void **state)
{
	static const struct judged cases[] = {
		{"", PASSWORD_SHORT},
		{"kq7vzx3", PASSWORD_SHORT},
		{"kq7vzx3w", PASSWORD_GOOD},
		/* No digit, no capital, no mark. */
		{"gravel otter lampshade", PASSWORD_GOOD},
		{"        kq7vzx3w        ", PASSWORD_GOOD},
		/* Seven and eight characters of three bytes. */
		{"\xe6\xb1\x89\xe5\xad\x97\xe5\xaf\x86\xe7\xa0\x81\xe5\xbe\x88"
	         "\xe5\xa5\xbd\xe5\x90\x83",
	         PASSWORD_SHORT},
		{"\xe6\xb1\x89\xe5\xad\x97\xe5\xaf\x86\xe7\xa0\x81\xe5\xbe\x88"
	         "\xe5\xa5\xbd\xe5\x90\x83\xe9\xa5\xad",
	         PASSWORD_GOOD},
		{X64 X64 X64 X64 "q", PASSWORD_LONG},
		/* Four times the same is no more than once, and that is fine. */
		{X64 X64 X64 X64, PASSWORD_GOOD},
	};

	(void)state;
	check(cases, COUNTOF(cases), NULL, NULL);
}

static void common_ones_are_refused_however_they_are_dressed_up(void **state)
{
	static const struct judged cases[] = {
		{"password", PASSWORD_COMMON},
		{"PassWord", PASSWORD_COMMON},
		{"password1", PASSWORD_COMMON},
		{"Password2024", PASSWORD_COMMON},
		{"!!password!!", PASSWORD_COMMON},
		{"p@ssw0rd", PASSWORD_COMMON},
		{"P@$$w0rd123!", PASSWORD_COMMON},
		{"passwordpassword", PASSWORD_COMMON},
		{"dragondragon", PASSWORD_COMMON},
		{"monkey12", PASSWORD_COMMON},
		{"p\xc3\xa4ssword", PASSWORD_COMMON},
		{"\xef\xbd\x90\xef\xbd\x81\xef\xbd\x93\xef\xbd\x93\xef\xbd\x97"
	         "\xef\xbd\x8f\xef\xbd\x92\xef\xbd\x84", /* full width */
	         PASSWORD_COMMON},
		{"pass\xc2\xad"
	         "word\xc2\xad",
	         PASSWORD_COMMON}, /* soft hyphen */
		{"12345678", PASSWORD_COMMON},
		{"qwertyuiop", PASSWORD_COMMON},
		{"iloveyou", PASSWORD_COMMON},
		{"aaaaaaaaaaaa", PASSWORD_COMMON},
		{"abababababab", PASSWORD_COMMON},
		{"ijklmnopqrst", PASSWORD_COMMON},
		{"tsrqponmlkji", PASSWORD_COMMON},
		{"\xe2\x80\x8b\xe2\x80\x8b\xe2\x80\x8b\xe2\x80\x8b\xe2\x80\x8b"
	         "\xe2\x80\x8b\xe2\x80\x8b\xe2\x80\x8b", /* nothing to see */
	         PASSWORD_COMMON},
		/* More than a little is added. */
		{"password-otter-gravel", PASSWORD_GOOD},
		{"83726password51849", PASSWORD_GOOD},
	};

	(void)state;
	check(cases, COUNTOF(cases), NULL, NULL);
}

static void it_is_not_about_its_owner_or_about_us(void **state)
{
	static const struct judged cases[] = {
		{"zephyrine", PASSWORD_PERSONAL},
		{"Zephyrine77", PASSWORD_PERSONAL},
		{"z3phyr1n3!", PASSWORD_PERSONAL},
		{"my-zephyrine-1", PASSWORD_PERSONAL},
		{"quokkas.x@example.org", PASSWORD_PERSONAL},
		{"xx quokkas.x", PASSWORD_PERSONAL},
		/* Without the name it is a password still. */
		{"zephyrine gravel otter", PASSWORD_GOOD},
		{"KnowAllEdge", PASSWORD_PRODUCT},
		{"knowalledge123", PASSWORD_PRODUCT},
		{"kn0w4ll3dg3", PASSWORD_PRODUCT},
		{"knowalledge gravel otter", PASSWORD_GOOD},
	};

	(void)state;
	check(cases, COUNTOF(cases), "Zephyrine", "Quokkas.X@example.org");
	/* A name of three letters stands in too many words. */
	assert_int_equal(password_judge(STR("annual gravel"), STR("ann"),
	                                (struct str){0}),
	                 PASSWORD_GOOD);
}

static void a_refusal_says_where_and_why(void **state)
{
	AUTO(arena) a = arena_new(4096);
	struct ctx cx = {.arena = a};

	(void)state;
	assert_int_equal(password_good(&cx, "/new_password", STR("password"),
	                               STR(""), STR("")),
	                 ERR_INVALID);
	assert_int_equal(cx.problem.faults_n, 1);
	assert_string_equal(cx.problem.faults[0].pointer, "/new_password");
	assert_string_equal(cx.problem.faults[0].code, "COMMON");
	assert_int_equal(password_good(&cx, "/password", STR("gravel otter"),
	                               STR(""), STR("")),
	                 OK);
	assert_int_equal(cx.problem.faults_n, 1);
}

#define L63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void addresses_are_of_the_usual_form(void **state)
{
	static const struct {
		const char *text;
		bool want;
	} cases[] = {
		{"ada@example.org", true},
		{"Ada.Lovelace+x@Mail.Example.org", true},
		{"o'brien!#$%&*=?^_`{|}~-/@a-b.co", true},
		{"a@xn--bcher-kva.example", true},
		{L63 "a@example.org", true},
		{L63 "ab@example.org", false},
		{"a@" L63 ".org", true},
		{"a@" L63 "a.org", false},
		{L63 "@" L63 "." L63 "." L63 ".ab", false}, /* 259 */
		{"a@" L63 "." L63 "." L63 "." L63 ".ab", false},
		{"a@" L63 "." L63 "." L63 ".org", true},
		{"", false},
		{"ada", false},
		{"@", false},
		{"@example.org", false},
		{"ada@", false},
		{"ada@localhost", false},
		{"ada@example.", false},
		{"ada@.example.org", false},
		{"ada@example..org", false},
		{".ada@example.org", false},
		{"ada.@example.org", false},
		{"a..da@example.org", false},
		{"a@b@example.org", false},
		{"ada@-example.org", false},
		{"ada@example-.org", false},
		{"ada@[192.0.2.1]", false},
		{"ada@192.0.2.1", false},
		{"\"ada\"@example.org", false},
		{"ada @example.org", false},
		{"ada@example.org ", false},
		{"ada@example.org\n", false},
		{"ada<@example.org", false},
		{"\xc3\xa4"
	         "da@example.org",
	         false},
		{"ada@b\xc3\xbc"
	         "cher.example",
	         false},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		if (email_valid(str_from(cases[i].text)) != cases[i].want)
			fail_msg("%s", cases[i].text);
	assert_false(email_valid((struct str){"a\0b@example.org", 15}));
	assert_false(email_valid((struct str){NULL, 0}));
}

static void addresses_are_one_in_any_case_of_letters(void **state)
{
	char out[EMAIL_MAX + 1];

	(void)state;
	assert_true(str_eq(email_fold(STR("Ada@EXAMPLE.org"), out),
	                   STR("ada@example.org")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			length_counts_characters_and_nothing_else_is_asked_for),
		cmocka_unit_test(
			common_ones_are_refused_however_they_are_dressed_up),
		cmocka_unit_test(it_is_not_about_its_owner_or_about_us),
		cmocka_unit_test(a_refusal_says_where_and_why),
		cmocka_unit_test(addresses_are_of_the_usual_form),
		cmocka_unit_test(addresses_are_one_in_any_case_of_letters),
	};

	return sodium_init() < 0 ? 1
	                         : cmocka_run_group_tests(tests, NULL, NULL);
}
