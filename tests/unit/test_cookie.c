/* The session's cookie in a Cookie header, and what stands against forgery. */
#include "gateway/cookie.h"
#include "gateway/csrf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* --- Cookie ---------------------------------------------------------------- */

static void one_cookie_is_found_among_others(void **state)
{
	static const struct {
		const char *header;
		enum cookie found;
		const char *value;
	} cases[] = {
		{"k=v", COOKIE_ONE, "v"},
		{"a=1; k=v; b=2", COOKIE_ONE, "v"},
		{"a=1;k=v;b=2", COOKIE_ONE, "v"},
		{";;  ; k = v ;", COOKIE_ONE, "v"},
		{"\tk=v\t", COOKIE_ONE, "v"},
		{"k=\"v\"", COOKIE_ONE, "v"},
		{"k=a=b==", COOKIE_ONE, "a=b=="},
		{"k=v; K=w", COOKIE_ONE, "v"}, /* names have a case */
		{"", COOKIE_NONE, NULL},
		{";", COOKIE_NONE, NULL},
		{"k", COOKIE_NONE, NULL},
		{"k=", COOKIE_NONE, NULL},
		{"k=\"\"", COOKIE_NONE, NULL},
		{"kk=v", COOKIE_NONE, NULL},
		{"xk=v", COOKIE_NONE, NULL},
		{"=k=v", COOKIE_NONE, NULL},
		{"a=k=v", COOKIE_NONE, NULL},
		{"a=k; =v", COOKIE_NONE, NULL},
		/* Twice, also when one is empty or both are the same. */
		{"k=v; k=w", COOKIE_BAD, NULL},
		{"k=v; k=v", COOKIE_BAD, NULL},
		{"k=; k=v", COOKIE_BAD, NULL},
		{"k; k=v", COOKIE_BAD, NULL},
		/* No other cookie swallows ours with a mark... */
		{"a=\"; k=v", COOKIE_ONE, "v"},
		{"a=\"x; k=v; b=y\"", COOKIE_ONE, "v"},
		/* ... and ours has no bytes that a value may not have. */
		{"k=\"v", COOKIE_BAD, NULL},
		{"k=v w", COOKIE_BAD, NULL},
		{"k=v,w", COOKIE_BAD, NULL},
		{"k=v\\", COOKIE_BAD, NULL},
		{"k=\xc3\xa9", COOKIE_BAD, NULL},
		{"k=v\x7f", COOKIE_BAD, NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct str out = STR("untouched");
		enum cookie found =
			cookie_find(str_from(cases[i].header), STR("k"), &out);

		if (found != cases[i].found ||
		    !str_eq(out, cases[i].value ? str_from(cases[i].value)
		                                : STR("untouched")))
			fail_msg("%s", cases[i].header);
	}
}

static void a_value_has_at_most_four_kibibytes(void **state)
{
	static char header[COOKIE_VALUE_MAX + 8];
	struct str out = {0};

	(void)state;
	memset(header, 'v', sizeof(header));
	memcpy(header, "k=", 2);
	assert_int_equal(cookie_find((struct str){header, COOKIE_VALUE_MAX + 2},
	                             STR("k"), &out),
	                 COOKIE_ONE);
	assert_int_equal(out.n, COOKIE_VALUE_MAX);
	assert_int_equal(cookie_find((struct str){header, COOKIE_VALUE_MAX + 3},
	                             STR("k"), &out),
	                 COOKIE_BAD);
}

static void it_is_set_for_this_host_alone(void **state)
{
	static const struct {
		bool https;
		const char *token, *want;
	} cases[] = {
		{true, "t",
	         "__Host-kae_session=t; Path=/; Max-Age=60; HttpOnly; "
	         "SameSite=Strict; Secure"},
		{false, "t",
	         "kae_session=t; Path=/; Max-Age=60; HttpOnly; "
	         "SameSite=Strict"},
		{true, "",
	         "__Host-kae_session=; Path=/; Max-Age=0; HttpOnly; "
	         "SameSite=Strict; Secure"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF b = {0};

		session_cookie_write(&b, cases[i].https,
		                     str_from(cases[i].token), 60);
		assert_true(str_eq(buf_view(&b), str_from(cases[i].want)));
	}
}

/* --- forgery --------------------------------------------------------------- */

#define SESSION STR("eyJ.this.one")
#define NOW     ((int64_t)1800000000)

static void a_token_is_of_one_session_and_ends(void **state)
{
	char mine[CSRF_TOKEN + 1], other[CSRF_TOKEN + 1],
		nobodys[CSRF_TOKEN + 1], old[CSRF_TOKEN + 1],
		cut[CSRF_TOKEN + 1], forged[CSRF_TOKEN + 1];

	(void)state;
	(void)csrf_make(SESSION, NOW + 1, mine);
	(void)csrf_make(STR("eyJ.another.one"), NOW + 1, other);
	(void)csrf_make((struct str){0}, NOW + 1, nobodys);
	(void)csrf_make(SESSION, NOW, old);
	memcpy(cut, mine, sizeof(cut));
	cut[CSRF_TOKEN - 1] = '\0';
	memcpy(forged, old, sizeof(forged)); /* a later end, the same HMAC */
	forged[15] = forged[15] == 'f' ? 'e' : 'f';
	{
		const struct {
			struct str token;
			enum err want;
		} cases[] = {
			{str_from(mine), OK},
			{str_from(other), ERR_CSRF_MISMATCH},
			{str_from(nobodys), ERR_CSRF_SESSION},
			{str_from(old), ERR_CSRF_INVALID},
			{str_from(forged), ERR_CSRF_MISMATCH},
			{str_from(cut), ERR_CSRF_INVALID},
			/* What the front end invents. */
			{STR("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
		         ERR_CSRF_INVALID},
			{STR(""), ERR_CSRF_INVALID},
			{STR("."), ERR_CSRF_INVALID},
		};

		for (size_t i = 0; i < COUNTOF(cases); i++)
			assert_int_equal(csrf_token_check(SESSION,
			                                  cases[i].token, NOW),
			                 cases[i].want);
	}
	assert_int_equal(csrf_token_check((struct str){0}, str_from(nobodys),
	                                  NOW),
	                 ERR_CSRF_SESSION);
	mine[3] = 'A'; /* hex in upper case is not ours */
	assert_int_equal(csrf_token_check(SESSION, str_from(mine), NOW),
	                 ERR_CSRF_INVALID);
}

static void two_tokens_of_a_session_differ(void **state)
{
	char a[CSRF_TOKEN + 1], b[CSRF_TOKEN + 1];

	(void)state;
	(void)csrf_make(SESSION, NOW, a);
	(void)csrf_make(SESSION, NOW, b);
	assert_string_not_equal(a, b);
}

static void what_the_browser_says_decides_and_a_token_where_it_is_silent(
	void **state)
{
	static const struct settings conf = {
		.env = ENV_PRODUCTION,
		.cors_enabled = true,
		.cors_origins = {"https://app.example", 19},
	};
	static const struct settings star = {
		.env = ENV_DEVELOPMENT,
		.cors_enabled = true,
		.cors_origins = {"*", 1},
	};
	static const struct {
		const char *site, *origin;
		char token; /* g: good, b: bad, 0: none */
		enum err want;
	} cases[] = {
		{"same-origin", "", 0, OK},
		{"same-origin", "", 'b', OK}, /* the front end invents one */
		{"same-origin", "https://learn.example", 0, OK},
		{"", "https://learn.example", 0, OK},
		{"", "HTTPS://LEARN.example", 0, OK},
		{"", "https://app.example", 0, OK},
		{"same-site", "https://app.example", 0, OK},
		{"cross-site", "https://app.example", 0, OK},
		{"", "", 'g', OK},
		{"", "", 0, ERR_CSRF_MISSING},
		{"", "", 'b', ERR_CSRF_MISMATCH},
		/* No token helps against what the browser says. */
		{"cross-site", "", 'g', ERR_CSRF_INVALID},
		{"same-site", "", 'g', ERR_CSRF_INVALID},
		{"none", "", 'g', ERR_CSRF_INVALID},
		{"Same-Origin", "", 'g', ERR_CSRF_INVALID},
		{"same-origin, cross-site", "", 'g', ERR_CSRF_INVALID},
		{"", "null", 'g', ERR_CSRF_INVALID},
		{"", "http://learn.example", 'g', ERR_CSRF_INVALID},
		{"", "https://learn.example:444", 'g', ERR_CSRF_INVALID},
		{"", "https://learn.example.evil.example", 'g',
	         ERR_CSRF_INVALID},
		{"", "https://evil.example", 'g', ERR_CSRF_INVALID},
		{"", "https://learn.example/", 'g', ERR_CSRF_INVALID},
		{"", "learn.example", 'g', ERR_CSRF_INVALID},
		{"", "https://", 'g', ERR_CSRF_INVALID},
	};
	char good[CSRF_TOKEN + 1], bad[CSRF_TOKEN + 1];
	const char *why = NULL;
	AUTO(cors) cors = cors_new(&conf, &why);
	AUTO(cors) any = cors_new(&star, &why);

	(void)state;
	assert_non_null(cors);
	assert_non_null(any);
	(void)csrf_make(SESSION, NOW + 9, good);
	(void)csrf_make(STR("x"), NOW + 9, bad);
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct csrf_request r = {
			.session = SESSION,
			.sec_fetch_site = str_from(cases[i].site),
			.origin = str_from(cases[i].origin),
			.host = STR("learn.example"),
			.token = cases[i].token == 'g'   ? str_from(good)
		                 : cases[i].token == 'b' ? str_from(bad)
		                                         : (struct str){0},
			.https = true,
			.now_s = NOW,
		};

		if (csrf_check(&r, cors, &why) != cases[i].want)
			fail_msg("%s | %s", cases[i].site, cases[i].origin);
	}
	{
		/* "*" lets pages read, and makes none of them ours. */
		const struct csrf_request r = {
			.session = SESSION,
			.origin = STR("https://evil.example"),
			.host = STR("learn.example"),
			.https = true,
			.now_s = NOW,
		};

		assert_int_equal(csrf_check(&r, any, &why), ERR_CSRF_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_cookie_is_found_among_others),
		cmocka_unit_test(a_value_has_at_most_four_kibibytes),
		cmocka_unit_test(it_is_set_for_this_host_alone),
		cmocka_unit_test(a_token_is_of_one_session_and_ends),
		cmocka_unit_test(two_tokens_of_a_session_differ),
		cmocka_unit_test(
			what_the_browser_says_decides_and_a_token_where_it_is_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
