/* One-time passwords and recovery codes: the vectors of the RFCs, windows. */
#include "svc-auth/recovery.h"
#include "svc-auth/totp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define KEY ((const unsigned char *)"12345678901234567890")

static void base32_is_that_of_rfc_4648(void **state)
{
	static const char *const cases[][2] = {
		{"", ""},
		{"f", "MY"},
		{"fo", "MZXQ"},
		{"foo", "MZXW6"},
		{"foob", "MZXW6YQ"},
		{"fooba", "MZXW6YTB"},
		{"foobar", "MZXW6YTBOI"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		size_t n = strlen(cases[i][0]);
		char out[16];

		assert_true(n <= 6);
		assert_true(str_eq(base32((const unsigned char *)cases[i][0], n,
		                          out),
		                   str_from(cases[i][1])));
		assert_int_equal(BASE32_LEN(n), strlen(cases[i][1]));
	}
}

static void hotp_gives_the_values_of_rfc_4226(void **state)
{
	static const uint32_t want[] = {755224, 287082, 359152, 969429, 338314,
	                                254676, 287922, 162583, 399871, 520489};

	(void)state;
	for (size_t i = 0; i < COUNTOF(want); i++) {
		uint32_t v = 0;

		assert_true(hotp(KEY, 20, i, 6, &v));
		assert_int_equal(v, want[i]);
	}
}

/* RFC 6238, appendix B: eight digits; the last six are what we take. */
static const struct {
	int64_t at_s;
	uint32_t totp;
} vectors[] = {
	{59, 94287082},         {1111111109, 7081804},  {1111111111, 14050471},
	{1234567890, 89005924}, {2000000000, 69279037}, {20000000000, 65353130},
};

static void totp_gives_the_values_of_rfc_6238(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(vectors); i++) {
		uint64_t step = (uint64_t)vectors[i].at_s / 30;
		char code[16];
		int64_t found = 0;
		uint32_t v = 0;

		assert_true(hotp(KEY, 20, step, 8, &v));
		assert_int_equal(v, vectors[i].totp);
		(void)snprintf(code, sizeof(code), "%06u", v % 1000000);
		assert_true(totp_match(KEY, str_from(code),
		                       vectors[i].at_s * 1000, 0, &found));
		assert_int_equal(found, step);
	}
}

static void a_code_is_good_one_step_early_and_late_and_once(void **state)
{
	/* That of 1234567890 s, step 41152263: from ...890 on for 30 s. */
	static const int64_t at = (int64_t)1234567890 * 1000;
	static const struct {
		int64_t now_ms, last;
		bool good;
	} cases[] = {
		{at, 0, true},          {at + 29999, 0, true},
		{at + 30000, 0, true},  {at + 59999, 0, true},
		{at + 60000, 0, false}, {at - 1, 0, true},
		{at - 30000, 0, true},  {at - 30001, 0, false},
		{at, 41152262, true},   {at, 41152263, false}, /* seen */
		{at, 41152264, false}, /* a later one was */
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		int64_t step = 0;

		assert_int_equal(totp_match(KEY, STR("005924"), cases[i].now_ms,
		                            cases[i].last, &step),
		                 cases[i].good);
		assert_int_equal(step, cases[i].good ? 41152263 : 0);
	}
}

static void what_is_not_six_digits_is_no_code(void **state)
{
	static const char *const cases[] = {
		"",       "00592",   "0059244", "89005924", "00592a", " 005924",
		"+05924", "005 924", "-05924",  "005924\n", "٠٠٥٩٢٤",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		int64_t step = 0;

		assert_false(totp_match(KEY, str_from(cases[i]),
		                        (int64_t)1234567890 * 1000, 0, &step));
	}
	{
		int64_t step = 0;

		assert_false(totp_match(KEY, (struct str){0}, 0, -1, &step));
	}
}

static void the_uri_is_what_apps_read(void **state)
{
	char out[TOTP_URI_MAX], longest[65];

	(void)state;
	assert_true(
		str_eq(totp_uri(KEY, STR("ada.lovelace"), out),
	               STR("otpauth://totp/KnowAllEdge:ada.lovelace?secret="
	                   "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=KnowAllEdge"
	                   "&algorithm=SHA1&digits=6&period=30")));
	memset(longest, 'x', 64);
	longest[64] = '\0';
	assert_true(totp_uri(KEY, str_from(longest), out).n > 64);
}

static void a_recovery_code_is_read_as_people_type_it(void **state)
{
	static const char *const cases[][2] = {
		{"JBSW-Y3DP-EHPK-3PXP-7Q2A-MZ4K", "JBSWY3DPEHPK3PXP7Q2AMZ4K"},
		{"jbsw y3dp ehpk 3pxp 7q2a mz4k", "JBSWY3DPEHPK3PXP7Q2AMZ4K"},
		{"123 456", "123456"},
		{"", ""},
		{"- -", ""},
		{"JBSW-Y3DP-EHPK-3PXP-7Q2A-MZ4K-X", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		char out[RECOVERY_PLAIN + 1];

		assert_true(str_eq(code_fold(str_from(cases[i][0]), out),
		                   str_from(cases[i][1])));
	}
}

static void recovery_codes_differ_and_hash_by_key_and_person(void **state)
{
	static const struct seal_key k = {{1}}, other = {{2}};
	char a[RECOVERY_MAX], b[RECOVERY_MAX], folded[RECOVERY_PLAIN + 1];
	unsigned char h[4][RECOVERY_HASH];
	struct str f;

	(void)state;
	recovery_make(a);
	recovery_make(b);
	assert_int_equal(strlen(a), RECOVERY_MAX - 1);
	assert_string_not_equal(a, b);
	f = code_fold(str_from(a), folded);
	assert_int_equal(f.n, RECOVERY_PLAIN);
	recovery_hash(&k, STR("s"), f, h[0]);
	recovery_hash(&k, STR("s"), f, h[1]);
	recovery_hash(&k, STR("t"), f, h[2]);
	recovery_hash(&other, STR("s"), f, h[3]);
	assert_memory_equal(h[0], h[1], RECOVERY_HASH);
	assert_memory_not_equal(h[0], h[2], RECOVERY_HASH);
	assert_memory_not_equal(h[0], h[3], RECOVERY_HASH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base32_is_that_of_rfc_4648),
		cmocka_unit_test(hotp_gives_the_values_of_rfc_4226),
		cmocka_unit_test(totp_gives_the_values_of_rfc_6238),
		cmocka_unit_test(
			a_code_is_good_one_step_early_and_late_and_once),
		cmocka_unit_test(what_is_not_six_digits_is_no_code),
		cmocka_unit_test(the_uri_is_what_apps_read),
		cmocka_unit_test(a_recovery_code_is_read_as_people_type_it),
		cmocka_unit_test(
			recovery_codes_differ_and_hash_by_key_and_person),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
