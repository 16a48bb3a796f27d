#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"
#include "tests/alloc_fault.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void says(const char *json, const char *want)
{
	AUTO_BUF mp = {0};
	AUTO_BUF back = {0};
	struct json_error at;

	if (!json_to_mp(str_from(json), &mp, &at))
		fail_msg("%s: refused at %zu: %s", json, at.offset, at.reason);
	assert_true(mp_valid(buf_view(&mp)));
	assert_true(mp_to_json(buf_view(&mp), &back));
	buf_char(&back, '\0');
	assert_string_equal(back.p, want);
}

static void values_come_back_as_they_were_meant(void **state)
{
	static const char *const cases[][2] = {
		{"null", "null"},
		{" true ", "true"},
		{"\t\r\n false\n", "false"},
		{"0", "0"},
		{"-1", "-1"},
		{"9223372036854775807", "9223372036854775807"},
		{"-9223372036854775808", "-9223372036854775808"},
		{"18446744073709551615", "18446744073709551615"},
		{"-0", "-0.0"},
		{"-0.0", "-0.0"},
		{"3.0", "3.0"},
		{"1e3", "1000.0"},
		{"1E+2", "100.0"},
		{"0.1", "0.1"},
		{"1e-400", "0.0"},
		{"1.7976931348623157e308", "1.7976931348623157e+308"},
		{"5e-324", "4.94065645841247e-324"},
		{"\"\"", "\"\""},
		{"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
	         "\"\\\"\\\\/\\b\\f\\n\\r\\t\""},
		{"\"\\u0041\\u00e9\\u20ac\"", "\"A\u00e9\u20ac\""},
		{"\"\\ud83d\\ude00\"", "\"\U0001f600\""},
		{"\"\\uDBFF\\uDFFF\"", "\"\U0010ffff\""},
		{"\"\x7f\"", "\"\x7f\""},
		{"\"<a>&\"", "\"\\u003ca\\u003e\\u0026\""},
		{"\"\u2028\u2029\"", "\"\\u2028\\u2029\""},
		{"\"\\u0001\\u001f\"", "\"\\u0001\\u001f\""},
		{"[]", "[]"},
		{"{}", "{}"},
		{"[[],{},[[]]]", "[[],{},[[]]]"},
		{"{ \"a\" : [ 1 , { \"b\" : null } ] , \"c\" : \"d\" }",
	         "{\"a\":[1,{\"b\":null}],\"c\":\"d\"}"},
		{"{\"\":{\"\":1}}", "{\"\":{\"\":1}}"},
		/* Equal keys in different objects are no duplicates. */
		{"[{\"a\":1},{\"a\":{\"a\":2}}]",
	         "[{\"a\":1},{\"a\":{\"a\":2}}]"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		says(cases[i][0], cases[i][1]);
}

static void text_of_every_script_is_kept_byte_for_byte(void **state)
{
	static const char *const cases[] = {
		"\"機械学習\"",
		"\"العربية עברית فارسی\"",
		"\"e\u0301 n\u0303 क्षि\"",
		"\"👩‍👩‍👧‍👦 🏳️‍🌈 𝒜\"",
		"\"a\u200c\u200db\u202ec\u202c\"",
		"{\"ключ\":\"значение\"}",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		says(cases[i], cases[i]);
}

static const struct {
	struct str in;
	size_t offset;
	const char *reason;
} refused[] = {
	{STR(""), 0, "too early"},
	{STR("  \n"), 3, "too early"},
	{STR("\xef\xbb\xbf{}"), 0, "byte order mark"},
	{STR("nul"), 3, "too early"},
	{STR("nulL"), 3, "not a JSON value"},
	{STR("True"), 0, "not a JSON value"},
	{STR("NaN"), 0, "not a JSON value"},
	{STR("Infinity"), 0, "not a JSON value"},
	{STR("-Infinity"), 1, "digit"},
	{STR("'a'"), 0, "not a JSON value"},
	{STR("\0"), 0, "not a JSON value"},
	{STR("1 2"), 2, "behind"},
	{STR("{}]"), 2, "behind"},
	{STR("{} null"), 3, "behind"},
	{STR("[1,]"), 3, "not a JSON value"},
	{STR("[,1]"), 1, "not a JSON value"},
	{STR("[1 2]"), 3, "comma or ]"},
	{STR("[1}"), 2, "comma or ]"},
	{STR("[1"), 2, "too early"},
	{STR("["), 1, "too early"},
	{STR("{\"a\":1]"), 6, "comma or }"},
	{STR("{\"a\":1,}"), 7, "key"},
	{STR("{,}"), 1, "key"},
	{STR("{a:1}"), 1, "key"},
	{STR("{1:1}"), 1, "key"},
	{STR("{\"a\"}"), 4, "colon"},
	{STR("{\"a\" 1}"), 5, "colon"},
	{STR("{\"a\":}"), 5, "not a JSON value"},
	{STR("{"), 1, "too early"},
	{STR("{\"a\""), 4, "too early"},
	{STR("// x\n1"), 0, "not a JSON value"},
	/* numbers */
	{STR("+1"), 0, "not a JSON value"},
	{STR(".5"), 0, "not a JSON value"},
	{STR("01"), 1, "begin with 0"},
	{STR("-01"), 2, "begin with 0"},
	{STR("-"), 1, "too early"},
	{STR("1."), 2, "too early"},
	{STR("1.e5"), 2, "digit"},
	{STR("1e"), 2, "too early"},
	{STR("1e+"), 3, "too early"},
	{STR("0x10"), 1, "behind"},
	{STR("18446744073709551616"), 0, "64 bits"},
	{STR("[12345678901234567890]"), 0, NULL},
	{STR("[99999999999999999999]"), 1, "64 bits"},
	{STR("-9223372036854775809"), 0, "64 bits"},
	{STR("[1e400]"), 1, "too large"},
	{STR("-1e400"), 0, "too large"},
	/* text */
	{STR("\"abc"), 4, "too early"},
	{STR("\"a\\"), 3, "too early"},
	{STR("\"a\\\""), 4, "too early"},
	{STR("\"\\x\""), 2, "backslash"},
	{STR("\"\\\0\""), 2, "backslash"},
	{STR("\"\\u12\""), 5, "hexadecimal"},
	{STR("\"\\u12g4\""), 5, "hexadecimal"},
	{STR("\"\\u00"), 5, "too early"},
	{STR("\"a\nb\""), 2, "control"},
	{STR("\"a\0b\""), 2, "control"},
	{STR("\"ok\\u0000\""), 3, "u0000"},
	{STR("\"\\ud800\""), 1, "surrogate"},
	{STR("\"\\udc00\""), 1, "surrogate"},
	{STR("\"\\ud800x\""), 1, "surrogate"},
	{STR("\"\\ud800\\n\""), 1, "surrogate"},
	{STR("\"\\ud83d\\ud83d\""), 1, "surrogate"},
	{STR("\"ab\xff\""), 3, "UTF-8"},
	{STR("\"\xc3\""), 1, "UTF-8"},
	{STR("\"\xc0\xaf\""), 1, "UTF-8"},         /* overlong */
	{STR("\"\xed\xa0\x80\""), 1, "UTF-8"},     /* surrogate */
	{STR("\"\xf4\x90\x80\x80\""), 1, "UTF-8"}, /* beyond */
	{STR("\"\xf0\x9f\x98"), 1, "UTF-8"},       /* cut */
	{STR("\"12345678\x80\""), 9, "UTF-8"},
	/* duplicate keys */
	{STR("{\"a\":1,\"a\":1}"), 7, "twice"},
	{STR("{\"a\":1,\"\\u0061\":2}"), 7, "twice"},
	{STR("{\"\":1,\"\":2}"), 6, "twice"},
	{STR("[{\"x\":{\"b\":{},\"b\":0}}]"), 14, "twice"},
};

/* What c must become inside a string; the same in every place. */
static void escaped(unsigned c, char out[8])
{
	static const char shorts[] = "\"\"\\\\\bb\tt\nn\ff\rr";

	for (size_t i = 0; shorts[i]; i += 2) {
		if ((unsigned char)shorts[i] == c) {
			(void)snprintf(out, 8, "\\%c", shorts[i + 1]);
			return;
		}
	}
	if (c < 0x20 || c == '<' || c == '>' || c == '&')
		(void)snprintf(out, 8, "\\u%04x", c);
	else
		(void)snprintf(out, 8, "%c", (int)c);
}

static void try_escapes(size_t n, size_t at)
{
	AUTO_BUF out = {0};
	AUTO_BUF want = {0};
	char text[32], esc[8];

	memset(text, 'x', n);
	for (unsigned c = 0; c < 0x80; c++) {
		text[at] = (char)c;
		escaped(c, esc);
		buf_clear(&out);
		buf_clear(&want);
		json_add_str(&out, (struct str){text, n});
		buf_char(&want, '"');
		buf_add(&want, text, at);
		buf_str(&want, str_from(esc));
		buf_add(&want, text + at + 1, n - at - 1);
		buf_char(&want, '"');
		if (!str_eq(buf_view(&out), buf_view(&want)))
			fail_msg("byte %u at %zu of %zu: %.*s", c, at, n,
			         STR_FMT(out));
	}
}

static void what_must_be_escaped_is_at_every_place_of_a_text(void **state)
{
	(void)state;
	for (size_t n = 1; n <= 20; n++)
		for (size_t at = 0; at < n; at++)
			try_escapes(n, at);
}

static void what_is_not_json_is_refused_where_it_stops(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(refused); i++) {
		AUTO_BUF out = {0};
		struct json_error at = {0};

		buf_str(&out, STR("before"));
		if (!refused[i].reason) {
			assert_true(json_to_mp(refused[i].in, &out, &at));
			continue;
		}
		if (json_to_mp(refused[i].in, &out, &at) ||
		    at.offset != refused[i].offset ||
		    !strstr(at.reason, refused[i].reason) || at.nomem)
			fail_msg("%.*s: %zu %s", STR_FMT(refused[i].in),
			         at.offset, at.reason ? at.reason : "accepted");
		assert_true(str_eq(buf_view(&out), STR("before")));
		assert_false(out.failed);
	}
}

static bool accepts(struct str json, struct json_error *at)
{
	AUTO_BUF out = {0};

	return json_to_mp(json, &out, at);
}

static void every_cut_of_a_document_is_refused(void **state)
{
	static const char doc[] =
		"{\"topic\":\"\\u00e9\\ud83d\\ude00 \xc3\xa9\",\"n\":[-1.5e3,"
		"true,null,{\"k\":\"\"}],\"long enough text\":0}";
	struct json_error at;

	(void)state;
	assert_true(accepts(STR(doc), &at));
	for (size_t n = 0; n < sizeof(doc) - 1; n++) {
		char *copy = malloc(n + 1);

		assert_non_null(copy);
		/* A block of its own lets ASan see a read past the end. */
		memcpy(copy, doc, n);
		assert_false(accepts((struct str){copy, n}, &at));
		assert_true(at.offset <= n);
		free(copy);
	}
}

static void depth_is_followed_to_the_bound_and_no_further(void **state)
{
	static const char *const pairs[] = {"[]", "{}"};
	struct json_error at;

	(void)state;
	for (size_t kind = 0; kind < COUNTOF(pairs); kind++) {
		for (size_t depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1;
		     depth++) {
			AUTO_BUF in = {0};

			for (size_t i = 0; i < depth; i++) {
				buf_char(&in, pairs[kind][0]);
				if (kind && i + 1 < depth)
					buf_str(&in, STR("\"k\":"));
			}
			for (size_t i = 0; i < depth; i++)
				buf_char(&in, pairs[kind][1]);
			assert_int_equal(accepts(buf_view(&in), &at),
			                 depth == JSON_DEPTH_MAX);
		}
	}
	assert_non_null(strstr(at.reason, "deep"));
}

static void a_megabyte_of_brackets_is_refused_at_the_bound(void **state)
{
	AUTO_BUF in = {0};
	struct json_error at;

	(void)state;
	assert_true(buf_reserve(&in, 1 << 20));
	memset(in.p, '[', 1 << 20);
	in.n = 1 << 20;
	assert_false(accepts(buf_view(&in), &at));
	assert_int_equal(at.offset, JSON_DEPTH_MAX);
}

static void many_keys(struct buf *in, unsigned n, unsigned twice)
{
	buf_char(in, '{');
	for (unsigned i = 0; i < n; i++)
		buf_printf(in, "%s\"k%u\":%u", i ? "," : "",
		           i == n - 1 ? twice : i, i);
	buf_char(in, '}');
}

static void a_duplicate_is_found_among_100_000_keys(void **state)
{
	static const unsigned sizes[] = {2,  15, 16, 17,    18,
	                                 31, 32, 33, 65537, 100000};
	struct json_error at;

	(void)state;
	for (size_t i = 0; i < COUNTOF(sizes); i++) {
		AUTO_BUF ok = {0};
		AUTO_BUF first = {0};
		AUTO_BUF last = {0};

		many_keys(&ok, sizes[i], sizes[i] - 1);
		many_keys(&first, sizes[i], 0);
		many_keys(&last, sizes[i], sizes[i] - 2);
		assert_true(accepts(buf_view(&ok), &at));
		assert_false(accepts(buf_view(&first), &at));
		assert_non_null(strstr(at.reason, "twice"));
		assert_false(accepts(buf_view(&last), &at));
	}
}

/* Each object within another has a table; closing one must not harm the rest.
 */
static void keys_of_nested_large_objects_stay_apart(void **state)
{
	AUTO_BUF in = {0};
	struct json_error at;

	(void)state;
	/* Two levels are left for the array and the object in it. */
	for (unsigned depth = 0; depth < JSON_DEPTH_MAX - 2; depth++) {
		buf_char(&in, '{');
		for (unsigned i = 0; i < 40; i++)
			buf_printf(&in, "\"k%u\":[{\"k0\":1}],", i);
		buf_str(&in, STR("\"z\":"));
	}
	buf_char(&in, '0');
	for (unsigned depth = 0; depth < JSON_DEPTH_MAX - 3; depth++)
		buf_str(&in, STR(",\"y\":1}"));
	assert_false(accepts(buf_view(&in), &at));
	buf_str(&in, STR(",\"y\":1}"));
	assert_true(accepts(buf_view(&in), &at));
	in.n -= 7;
	buf_str(&in, STR(",\"k39\":1}"));
	assert_false(accepts(buf_view(&in), &at));
	assert_non_null(strstr(at.reason, "twice"));
}

static void containers_of_every_header_width_come_back(void **state)
{
	static const unsigned sizes[] = {15, 16, 65535, 65536};

	(void)state;
	for (size_t i = 0; i < COUNTOF(sizes); i++) {
		AUTO_BUF in = {0};
		AUTO_BUF mp = {0};
		AUTO_BUF back = {0};
		struct json_error at;

		buf_str(&in, STR("[{\"a\":["));
		for (unsigned k = 0; k < sizes[i]; k++)
			buf_str(&in, k ? STR(",7") : STR("7"));
		buf_str(&in, STR("],\"b\":{"));
		for (unsigned k = 0; k < sizes[i]; k++)
			buf_printf(&in, "%s\"%u\":{}", k ? "," : "", k);
		buf_str(&in, STR("}},\"end\"]"));
		assert_true(json_to_mp(buf_view(&in), &mp, &at));
		assert_true(mp_valid(buf_view(&mp)));
		assert_true(mp_to_json(buf_view(&mp), &back));
		assert_true(str_eq(buf_view(&in), buf_view(&back)));
	}
}

static void a_megabyte_string_is_taken_whole(void **state)
{
	static const char *const fillers[] = {"x", "\u00e9", "\\n", "\\u00e9"};

	(void)state;
	for (size_t i = 0; i < COUNTOF(fillers); i++) {
		AUTO_BUF in = {0};
		AUTO_BUF mp = {0};
		AUTO_BUF again = {0};
		AUTO_BUF json = {0};
		struct json_error at;

		buf_char(&in, '"');
		while (in.n < 1 << 20)
			buf_str(&in, str_from(fillers[i]));
		buf_char(&in, '"');
		assert_true(json_to_mp(buf_view(&in), &mp, &at));
		assert_true(mp_to_json(buf_view(&mp), &json));
		assert_true(json_to_mp(buf_view(&json), &again, &at));
		assert_true(str_eq(buf_view(&mp), buf_view(&again)));
	}
}

static void a_megabyte_number_is_read_or_refused(void **state)
{
	AUTO_BUF in = {0};
	AUTO_BUF mp = {0};
	struct json_error at;
	struct mp m;
	double d = 0;

	(void)state;
	buf_str(&in, STR("0."));
	while (in.n < 1 << 20)
		buf_char(&in, '5');
	assert_true(json_to_mp(buf_view(&in), &mp, &at));
	m = mp_open(buf_view(&mp));
	assert_true(mp_get_f64(&m, &d));
	assert_true(d == 5.0 / 9);
	memset(in.p, '5', in.n);
	assert_false(accepts(buf_view(&in), &at));
	assert_non_null(strstr(at.reason, "64 bits"));
}

static void doubles_come_back_to_the_last_bit(void **state)
{
	static const double cases[] = {
		0.0,     -0.0,       1.0,      0.1,       1.0 / 3,
		2.0 / 3, 1e15,       1e16,     1e17,      1e22,
		1e23,    5e-324,     2.2e-308, 0x1p53,    0x1p63,
		-1e-7,   123456.789, 1e300,    0.1 + 0.2, 9007199254740993.0,
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF json = {0};
		AUTO_BUF mp = {0};
		struct json_error at;
		struct mp m;
		double d = 0;

		json_add_f64(&json, cases[i]);
		assert_true(json_to_mp(buf_view(&json), &mp, &at));
		m = mp_open(buf_view(&mp));
		assert_int_equal(mp_peek(&m), MP_FLOAT);
		assert_true(mp_get_f64(&m, &d));
		assert_memory_equal(&d, &cases[i], sizeof(d));
	}
}

static void what_json_cannot_say_is_null_base64_or_refused(void **state)
{
	static const struct {
		struct str mp;
		const char *want; /* NULL: refused */
	} cases[] = {
		{STR("\xcb\x7f\xf8\0\0\0\0\0\0"), "null"},
		{STR("\xcb\xff\xf0\0\0\0\0\0\0"), "null"},
		{STR("\xc4\x03\xff\xfe\xfd"), "\"//79\""},
		{STR("\xc4\x00"), "\"\""},
		{STR("\xd4\x01\x00"), NULL},
		{STR("\x81\x01\x02"), NULL},      /* key 1 */
		{STR("\x81\xc4\x01k\x02"), NULL}, /* key bin */
		{STR("\xa1\xff"), NULL},          /* not UTF-8 */
		{STR("\x91\xc1"), NULL},
		{STR("\x92\x01"), NULL},
		{STR("\x01\x02"), NULL},
		{STR(""), NULL},
		{STR("\x82\xa1"
	             "a\x01\xa1"
	             "b\x90"),
	         "{\"a\":1,\"b\":[]}"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF out = {0};

		buf_str(&out, STR("before"));
		assert_int_equal(mp_to_json(cases[i].mp, &out),
		                 cases[i].want != NULL);
		buf_char(&out, '\0');
		assert_string_equal(out.p + 6,
		                    cases[i].want ? cases[i].want : "");
	}
}

static void a_string_can_always_be_told(void **state)
{
	AUTO_BUF out = {0};

	(void)state;
	json_add_str(&out, STR("a\xff\"\n<\xc3\xa9\0"));
	assert_true(
		str_eq(buf_view(&out),
	               STR("\"a\xef\xbf\xbd\\\"\\n\\u003c\xc3\xa9\\u0000\"")));
}

static void a_full_buffer_is_told_as_lack_of_memory(void **state)
{
	AUTO_BUF out = {.max = 64};
	struct json_error at = {0};
	char in[256];

	(void)state;
	memset(in, 'x', sizeof(in));
	in[0] = in[sizeof(in) - 1] = '"';
	assert_false(json_to_mp((struct str){in, sizeof(in)}, &out, &at));
	assert_true(at.nomem);
	assert_true(out.failed);
	assert_int_equal(out.n, 0);
}

static void without_memory_it_fails_and_leaks_nothing(void **state)
{
	AUTO_BUF in = {0};
	bool more = true;

	(void)state;
	buf_char(&in, '[');
	many_keys(&in, 200, 199);
	buf_str(&in, STR(",\"a\\nb\",1.5,"));
	many_keys(&in, 20, 19);
	buf_char(&in, ']');
	for (unsigned nth = 1; more; nth++) {
		AUTO_BUF mp = {0};
		AUTO_BUF json = {0};
		struct json_error at = {0};
		bool ok, back;

		alloc_fault_arm(nth);
		ok = json_to_mp(buf_view(&in), &mp, &at);
		back = ok && mp_to_json(buf_view(&mp), &json);
		more = alloc_fault_disarm();
		assert_int_equal(ok && back, !more);
		if (!ok)
			assert_true(at.nomem);
		if (!more)
			assert_true(nth > 8); /* the sweep did reach it */
	}
}

/* 16 times the keys take 16 times as long, or 256 times where time grows with
 * the square; the bound leaves ten times the first. */
static uint64_t time_for(unsigned keys)
{
	AUTO_BUF in = {0};
	uint64_t best = UINT64_MAX;
	struct json_error at;

	many_keys(&in, keys, keys - 1);
	for (int i = 0; i < 5; i++) {
		uint64_t begin = mono_us(), took;

		assert_true(accepts(buf_view(&in), &at));
		took = mono_us() - begin;
		best = took < best ? took : best;
	}
	return best ? best : 1;
}

static void time_grows_with_the_keys_not_their_square(void **state)
{
	(void)state;
	assert_true(time_for(160000) < 160 * time_for(10000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_come_back_as_they_were_meant),
		cmocka_unit_test(text_of_every_script_is_kept_byte_for_byte),
		cmocka_unit_test(
			what_must_be_escaped_is_at_every_place_of_a_text),
		cmocka_unit_test(what_is_not_json_is_refused_where_it_stops),
		cmocka_unit_test(every_cut_of_a_document_is_refused),
		cmocka_unit_test(depth_is_followed_to_the_bound_and_no_further),
		cmocka_unit_test(
			a_megabyte_of_brackets_is_refused_at_the_bound),
		cmocka_unit_test(a_duplicate_is_found_among_100_000_keys),
		cmocka_unit_test(keys_of_nested_large_objects_stay_apart),
		cmocka_unit_test(containers_of_every_header_width_come_back),
		cmocka_unit_test(a_megabyte_string_is_taken_whole),
		cmocka_unit_test(a_megabyte_number_is_read_or_refused),
		cmocka_unit_test(doubles_come_back_to_the_last_bit),
		cmocka_unit_test(
			what_json_cannot_say_is_null_base64_or_refused),
		cmocka_unit_test(a_string_can_always_be_told),
		cmocka_unit_test(a_full_buffer_is_told_as_lack_of_memory),
		cmocka_unit_test(without_memory_it_fails_and_leaks_nothing),
		cmocka_unit_test(time_grows_with_the_keys_not_their_square),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
