#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/codec/fields.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"
#include "common/codec/text.h"
#include "tests/alloc_fault.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct in {
	struct str topic, note, style, id;
	struct strs focus;
	struct str raw;
	struct file photo;
	int64_t count, limit;
	double score, ratio;
	bool deep, verbose;
};

#define ROW(from, type, name, required, min, max, text, num)                \
	{                                                                   \
#name, FROM_##from, FIELD_##type, required, min, max, text, \
			num, offsetof(struct in, name)                      \
	}

/* Every type, from every place that it may come from. */
static const struct field fields[] = {
	ROW(BODY, LINE, topic, true, 1, 20, NULL, 0),
	ROW(BODY, TEXT, note, false, 0, 5, "none", 0),
	ROW(BODY, LOOSE, style, false, 1, 10, "General", 0),
	ROW(BODY, LINES, focus, false, 1, 3, NULL, 0),
	ROW(BODY, ANY, raw, false, 0, 16, NULL, 0),
	ROW(BODY, FILE, photo, false, 1, 6, NULL, 0),
	ROW(BODY, INT, count, false, 1, 20, NULL, 3),
	ROW(BODY, NUM, score, false, 0, 100, NULL, -1),
	ROW(BODY, BOOL, deep, false, 0, 1, NULL, 1),
	ROW(QUERY, INT, limit, false, 1, 100, NULL, 10),
	ROW(QUERY, NUM, ratio, false, 0, 1, NULL, 0.5),
	ROW(QUERY, BOOL, verbose, false, 0, 1, NULL, 0),
	ROW(PATH, TRIM, id, false, 3, 3, "---", 0),
};

struct run {
	struct arena *arena;
	struct ctx cx;
	struct in in;
	struct buf body, query, path;
	enum err e;
};

static void pack(struct buf *b, const char *json)
{
	struct json_error at;

	if (*json && !json_to_mp(str_from(json), b, &at))
		fail_msg("%s: %s", json, at.reason);
}

static void read_packed(struct run *r)
{
	r->arena = arena_new(1 << 16);
	assert_non_null(r->arena);
	r->cx = (struct ctx){.arena = r->arena};
	memset(&r->in, 0x5a, sizeof(r->in));
	r->e = fields_read(&r->cx, fields, COUNTOF(fields), buf_view(&r->body),
	                   buf_view(&r->query), buf_view(&r->path), &r->in);
}

static void run_auto(struct run *r)
{
	arena_free(r->arena);
	buf_fini(&r->body);
	buf_fini(&r->query);
	buf_fini(&r->path);
}

#define RUN __attribute__((cleanup(run_auto))) struct run

static void read_json(struct run *r, const char *body, const char *query,
                      const char *path)
{
	pack(&r->body, body);
	pack(&r->query, query);
	pack(&r->path, path);
	read_packed(r);
}

static void every_type_lands_in_its_member(void **state)
{
	RUN r = {0};

	(void)state;
	read_json(
		&r,
		"{\"topic\":\" C++ \",\"note\":\" a\\nb\",\"style\":\"Visual\","
		"\"focus\":[\"one\",\" two \"],\"raw\":{\"x\":1},"
		"\"count\":7,\"score\":99.5,\"deep\":false,"
		"\"language\":\"fr\"}",
		"{\"limit\":\"50\",\"ratio\":\"0.25\",\"verbose\":\"1\"}",
		"{\"id\":\"abc\"}");
	assert_int_equal(r.e, OK);
	assert_true(str_eq(r.in.topic, STR("C++")));
	assert_true(str_eq(r.in.note, STR(" a\nb")));
	assert_true(str_eq(r.in.style, STR("Visual")));
	assert_int_equal(r.in.focus.n, 2);
	assert_true(str_eq(r.in.focus.v[0], STR("one")));
	assert_true(str_eq(r.in.focus.v[1], STR("two")));
	assert_true(str_eq(r.in.raw, STR("\x81\xa1x\x01")));
	assert_int_equal(r.in.count, 7);
	assert_true(r.in.score == 99.5);
	assert_false(r.in.deep);
	assert_int_equal(r.in.limit, 50);
	assert_true(r.in.ratio == 0.25);
	assert_true(r.in.verbose);
	assert_true(str_eq(r.in.id, STR("abc")));
	assert_int_equal(r.cx.problem.faults_n, 0);
}

static void what_is_absent_or_null_takes_its_fallback(void **state)
{
	static const char *const bodies[] = {
		"{\"topic\":\"x\"}",
		"{\"topic\":\"x\",\"note\":null,\"style\":null,\"focus\":null,"
		"\"raw\":null,\"count\":null,\"score\":null,\"deep\":null}",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bodies); i++) {
		RUN r = {0};

		read_json(&r, bodies[i], "", "");
		assert_int_equal(r.e, OK);
		assert_true(str_eq(r.in.note, STR("none")));
		assert_true(str_eq(r.in.style, STR("General")));
		assert_int_equal(r.in.focus.n, 0);
		assert_int_equal(r.in.raw.n, 0);
		assert_null(r.in.photo.data.p);
		assert_int_equal(r.in.count, 3);
		assert_true(r.in.score == -1);
		assert_true(r.in.deep);
		assert_int_equal(r.in.limit, 10);
		assert_true(r.in.ratio == 0.5);
		assert_false(r.in.verbose);
		assert_true(str_eq(r.in.id, STR("---")));
	}
}

static void a_file_is_what_a_form_brings(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		enum err e;
		const char *code;
	} cases[] = {
		{"", 0, ERR_INVALID, "LENGTH"},
		{"\x89", 1, OK, ""},
		{"\x89PNG\0\n", 6, OK, ""},
		{"\x89PNG\0\nx", 7, ERR_INVALID, "LENGTH"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct str bytes = {cases[i].bytes, cases[i].n};
		RUN r = {0};

		mp_map(&r.body, 2);
		mp_kv_text(&r.body, "topic", "x");
		mp_kv_map(&r.body, "photo", 3);
		mp_kv_text(&r.body, "name", "p.png");
		mp_kv_text(&r.body, "type", "image/png");
		mp_text(&r.body, "data");
		mp_bin(&r.body, bytes);
		read_packed(&r);
		assert_int_equal(r.e, cases[i].e);
		if (r.e) {
			assert_string_equal(r.cx.problem.faults[0].pointer,
			                    "/photo");
			assert_string_equal(r.cx.problem.faults[0].code,
			                    cases[i].code);
			continue;
		}
		assert_true(str_eq(r.in.photo.data, bytes));
		assert_true(str_eq(r.in.photo.name, STR("p.png")));
		assert_true(str_eq(r.in.photo.type, STR("image/png")));
	}
}

static void a_style_that_is_no_text_counts_as_absent(void **state)
{
	static const char *const bodies[] = {
		"{\"topic\":\"x\",\"style\":{}}",
		"{\"topic\":\"x\",\"style\":[1]}",
		"{\"topic\":\"x\",\"style\":5}",
		"{\"topic\":\"x\",\"style\":true}",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bodies); i++) {
		RUN r = {0};

		read_json(&r, bodies[i], "", "");
		assert_int_equal(r.e, OK);
		assert_true(str_eq(r.in.style, STR("General")));
	}
}

static const struct {
	const char *body, *query, *path; /* body: more of an object */
	const char *pointer, *code, *message;
} faulty[] = {
	{"\"topic\":null", "", "", "/topic", "REQUIRED", "topic is required."},
	{"\"topic\":5", "", "", "/topic", "TYPE", "topic must be text."},
	{"\"topic\":[]", "", "", "/topic", "TYPE", "topic must be text."},
	{"\"topic\":\"\"", "", "", "/topic", "LENGTH",
         "topic must have 1 to 20 characters."},
	{"\"topic\":\" \\t\u3000\"", "", "", "/topic", "LENGTH",
         "topic must have 1 to 20 characters."},
	{"\"topic\":\"123456789012345678901\"", "", "", "/topic", "LENGTH",
         "topic must have 1 to 20 characters."},
	{"\"topic\":\"a<b\"", "", "", "/topic", "CHARACTERS",
         "topic must not contain control characters, < or >."},
	{"\"topic\":\"a\\nb\"", "", "", "/topic", "CHARACTERS",
         "topic must not contain control characters, < or >."},
	{"\"note\":\"123456\"", "", "", "/note", "LENGTH",
         "note must have at most 5 characters."},
	{"\"style\":\"12345678901\"", "", "", "/style", "LENGTH",
         "style must have 1 to 10 characters."},
	{"\"focus\":[]", "", "", "/focus", "ITEMS",
         "focus must have 1 to 3 items."},
	{"\"focus\":[\"1\",\"2\",\"3\",\"4\"]", "", "", "/focus", "ITEMS",
         "focus must have 1 to 3 items."},
	{"\"focus\":\"one\"", "", "", "/focus", "TYPE",
         "focus must be a list of texts."},
	{"\"focus\":{}", "", "", "/focus", "TYPE",
         "focus must be a list of texts."},
	{"\"focus\":[\"1\",2]", "", "", "/focus/1", "TYPE",
         "Each item of focus must be text."},
	{"\"focus\":[\"1\",\"2\",null]", "", "", "/focus/2", "TYPE",
         "Each item of focus must be text."},
	{"\"focus\":[\" \"]", "", "", "/focus/0", "LENGTH",
         "Each item of focus must have 1 to 200 characters."},
	{"\"focus\":[\"\\u202e\"]", "", "", "/focus/0", "CHARACTERS",
         "Each item of focus must not contain control characters, < "
         "or >."},
	{"\"raw\":\"a text that takes seventeen\"", "", "", "/raw", "LENGTH",
         "raw must have at most 16 bytes."},
	{"\"photo\":\"UE5H\"", "", "", "/photo", "TYPE",
         "photo must be a file."},
	{"\"photo\":{}", "", "", "/photo", "TYPE", "photo must be a file."},
	{"\"photo\":{\"name\":\"x\",\"data\":\"UE5H\"}", "", "", "/photo",
         "TYPE", "photo must be a file."},
	{"\"count\":0", "", "", "/count", "RANGE",
         "count must be a whole number from 1 to 20."},
	{"\"count\":21", "", "", "/count", "RANGE",
         "count must be a whole number from 1 to 20."},
	{"\"count\":18446744073709551615", "", "", "/count", "RANGE",
         "count must be a whole number from 1 to 20."},
	{"\"count\":3.5", "", "", "/count", "TYPE",
         "count must be a whole number from 1 to 20."},
	{"\"count\":1e300", "", "", "/count", "TYPE",
         "count must be a whole number from 1 to 20."},
	{"\"count\":\"3\"", "", "", "/count", "TYPE",
         "count must be a whole number from 1 to 20."},
	{"\"score\":100.01", "", "", "/score", "RANGE",
         "score must be a number from 0 to 100."},
	{"\"score\":-1", "", "", "/score", "RANGE",
         "score must be a number from 0 to 100."},
	{"\"score\":\"1\"", "", "", "/score", "TYPE",
         "score must be a number from 0 to 100."},
	{"\"deep\":1", "", "", "/deep", "TYPE", "deep must be true or false."},
	{"\"deep\":\"true\"", "", "", "/deep", "TYPE",
         "deep must be true or false."},
	{"", "{\"limit\":\"ten\"}", "", "?limit", "TYPE",
         "limit must be a whole number from 1 to 100."},
	{"", "{\"limit\":\"\"}", "", "?limit", "TYPE",
         "limit must be a whole number from 1 to 100."},
	{"", "{\"limit\":\"1 \"}", "", "?limit", "TYPE",
         "limit must be a whole number from 1 to 100."},
	{"", "{\"limit\":\"101\"}", "", "?limit", "RANGE",
         "limit must be a whole number from 1 to 100."},
	{"", "{\"limit\":\"99999999999999999999\"}", "", "?limit", "TYPE",
         "limit must be a whole number from 1 to 100."},
	{"", "{\"ratio\":\"nan\"}", "", "?ratio", "TYPE",
         "ratio must be a number from 0 to 1."},
	{"", "{\"ratio\":\"[1]\"}", "", "?ratio", "TYPE",
         "ratio must be a number from 0 to 1."},
	{"", "{\"ratio\":\"\\\"1\\\"\"}", "", "?ratio", "TYPE",
         "ratio must be a number from 0 to 1."},
	{"", "{\"ratio\":\"1.01\"}", "", "?ratio", "RANGE",
         "ratio must be a number from 0 to 1."},
	{"", "{\"verbose\":\"yes\"}", "", "?verbose", "TYPE",
         "verbose must be true or false."},
	{"", "", "{\"id\":\"abcd\"}", "{id}", "LENGTH",
         "id must have exactly 3 characters."},
	{"", "[]", "", "?", "TYPE", "The query is malformed."},
	{"", "", "5", "{}", "TYPE", "The path is malformed."},
};

static void each_fault_has_its_pointer_code_and_sentence(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(faulty); i++) {
		char body[256];
		const struct problem *pb;
		RUN r = {0};
		bool topic = strstr(faulty[i].body, "topic") != NULL;

		(void)snprintf(body, sizeof(body), "{%s%s%s}",
		               topic ? "" : "\"topic\":\"x\"",
		               topic || !*faulty[i].body ? "" : ",",
		               faulty[i].body);
		read_json(&r, body, faulty[i].query, faulty[i].path);
		pb = &r.cx.problem;
		assert_int_equal(r.e, ERR_INVALID);
		assert_int_equal(pb->code, ERR_INVALID);
		assert_int_equal(pb->faults_n, 1);
		assert_string_equal(pb->faults[0].pointer, faulty[i].pointer);
		assert_string_equal(pb->faults[0].code, faulty[i].code);
		assert_string_equal(pb->faults[0].message, faulty[i].message);
	}
}

static void bounds_are_inside_on_both_ends(void **state)
{
	static const char *const bodies[] = {
		"{\"topic\":\"1\",\"count\":1,\"score\":0,\"focus\":[\"1\"]}",
		"{\"topic\":\"12345678901234567890\",\"count\":20}",
		"{\"topic\":\"x\",\"score\":100,\"note\":\"12345\"}",
		"{\"topic\":\"x\",\"focus\":[\"1\",\"2\",\"3\"]}",
		/* Twenty characters, eighty bytes. */
		"{\"topic\":\"😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀\"}",
		"{\"topic\":\"x\",\"count\":3.0}",
		"{\"topic\":\"x\",\"count\":2e0,\"score\":-0.0}",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bodies); i++) {
		RUN r = {0};

		read_json(&r, bodies[i], "", "");
		assert_int_equal(r.e, OK);
	}
}

static void all_faults_are_told_at_once(void **state)
{
	RUN r = {0};

	(void)state;
	read_json(&r, "{\"count\":99,\"focus\":[1,\"ok\",2]}",
	          "{\"limit\":\"x\"}", "");
	assert_int_equal(r.e, ERR_INVALID);
	assert_int_equal(r.cx.problem.faults_n, 5);
	assert_string_equal(r.cx.problem.faults[0].pointer, "/topic");
	assert_string_equal(r.cx.problem.faults[1].pointer, "/focus/0");
	assert_string_equal(r.cx.problem.faults[2].pointer, "/focus/2");
	assert_string_equal(r.cx.problem.faults[3].pointer, "/count");
	assert_string_equal(r.cx.problem.faults[4].pointer, "?limit");
	assert_string_equal(r.cx.problem.detail, "topic is required.");
}

static void a_body_that_is_no_object_is_one_fault(void **state)
{
	static const char *const bodies[] = {"[]",    "[{}]", "5",
	                                     "\"x\"", "null", "true"};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bodies); i++) {
		RUN r = {0};

		read_json(&r, bodies[i], "", "");
		assert_int_equal(r.e, ERR_INVALID);
		assert_int_equal(r.cx.problem.faults_n, 1);
		assert_string_equal(r.cx.problem.faults[0].pointer, "");
		assert_string_equal(r.cx.problem.faults[0].message,
		                    "The body must be a JSON object.");
	}
}

static void a_body_nobody_asked_for_is_ignored(void **state)
{
	static const struct field none[] = {
		ROW(QUERY, INT, limit, false, 1, 100, NULL, 10),
	};
	AUTO(arena) a = arena_new(4096);
	struct ctx cx = {.arena = a};
	struct str empty = {NULL, 0};
	struct in in = {.limit = 0};

	(void)state;
	assert_int_equal(
		fields_read(&cx, none, 1, STR("\x90"), empty, empty, &in), OK);
	assert_int_equal(in.limit, 10);
	assert_int_equal(
		fields_read(&cx, none, 0, STR("\xc1"), empty, empty, &in), OK);
}

static void hostile_msgpack_is_refused(void **state)
{
	static const struct str bodies[] = {
		STR("\xdf\xff\xff\xff\xff"),
		STR("\x81\xa5topic"),
		STR("\x82\xa5topic\xa1x"),
		STR("\xc1"),
		STR("\x81\xa5topic\xa2\xc3\x28"), /* not UTF-8 */
		STR("\x81\xa5topic\xa3x\0b"),     /* U+0000 */
		STR("\x81\xa5topic\xc4\x01x"),    /* bin */
		STR("\x81\xc4\x05topic\xa1x"),    /* key of bin */
		STR("\x82\xa5topic\xa1x\xa5score\xcb\x7f\xf8\0\0\0\0\0\0"), /* NaN */
		STR("\x82\xa5topic\xa1x\xa5score\xcb\x7f\xf0\0\0\0\0\0\0"), /* infinity */
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bodies); i++) {
		RUN r = {0};

		buf_str(&r.body, bodies[i]);
		read_packed(&r);
		assert_int_equal(r.e, ERR_INVALID);
		assert_true(r.cx.problem.faults_n > 0);
	}
}

static void of_two_equal_keys_the_first_counts(void **state)
{
	RUN r = {0};

	(void)state;
	mp_map(&r.body, 2);
	mp_kv_text(&r.body, "topic", "first");
	mp_kv_text(&r.body, "topic", "second");
	read_packed(&r);
	assert_int_equal(r.e, OK);
	assert_true(str_eq(r.in.topic, STR("first")));
}

static void a_list_is_bounded_before_it_costs_memory(void **state)
{
	RUN r = {0};

	(void)state;
	mp_map(&r.body, 2);
	mp_kv_text(&r.body, "topic", "x");
	mp_kv_array(&r.body, "focus", 100000);
	for (int i = 0; i < 100000; i++)
		mp_nil(&r.body);
	read_packed(&r);
	assert_int_equal(r.e, ERR_INVALID);
	assert_string_equal(r.cx.problem.faults[0].code, "ITEMS");
	assert_int_equal(r.cx.problem.faults_n, 1);
}

static void characters_that_do_harm_are_refused_and_no_others(void **state)
{
	static const uint32_t good[] = {
		'a',    ' ',     '&',     '"',     '\'',   0xa0,
		0xe9,   0x301,   0x5d0,   0x627,   0x200c, 0x200d,
		0x200e, 0x200f,  0x2013,  0x3000,  0x6a5f, 0xfe0f,
		0xfffd, 0x1f600, 0x1d49c, 0x20000,
	};
	static const uint32_t bad[] = {
		0,      '\t',   '\n',   0x1b,    0x1f,    0x7f,     0x80,
		0x85,   0x9f,   '<',    '>',     0x2028,  0x2029,   0x202a,
		0x202e, 0x2066, 0x2069, 0xe000,  0xf8ff,  0xfdd0,   0xfdef,
		0xfeff, 0xfffe, 0xffff, 0x1fffe, 0xf0000, 0x10ffff,
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(good); i++)
		assert_true(text_is_line(good[i]));
	for (size_t i = 0; i < COUNTOF(bad); i++)
		assert_false(text_is_line(bad[i]));
	assert_true(text_is_line(0x202f) && text_is_line(0x2065) &&
	            text_is_line(0x206a) && text_is_line(0xfdcf) &&
	            text_is_line(0xfdf0) && text_is_line(0xa1));
}

static void trimming_takes_white_space_of_every_script(void **state)
{
	static const char *const cases[][2] = {
		{"", ""},
		{" ", ""},
		{" a b ", "a b"},
		{"\u00a0\u3000x\u2003\n", "x"},
		{"\u200dx\u200d", "\u200dx\u200d"},
		{" \xff ", " \xff "},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		assert_true(str_eq(text_trim(str_from(cases[i][0])),
		                   str_from(cases[i][1])));
}

static void without_memory_it_fails_and_leaks_nothing(void **state)
{
	AUTO_BUF body = {0};
	AUTO_BUF query = {0};
	bool more = true;

	(void)state;
	pack(&body, "{\"topic\":\"x\",\"focus\":[\"a\",\"b\"]}");
	pack(&query, "{\"ratio\":\"0.75\"}");
	for (unsigned nth = 1; more; nth++) {
		AUTO(arena) a = arena_new(1 << 16);
		struct ctx cx = {.arena = a};
		struct in in;
		enum err e;

		alloc_fault_arm(nth);
		e = fields_read(&cx, fields, COUNTOF(fields), buf_view(&body),
		                buf_view(&query), (struct str){NULL, 0}, &in);
		more = alloc_fault_disarm();
		assert_int_equal(e, more ? ERR_NOMEM : OK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_lands_in_its_member),
		cmocka_unit_test(what_is_absent_or_null_takes_its_fallback),
		cmocka_unit_test(a_file_is_what_a_form_brings),
		cmocka_unit_test(a_style_that_is_no_text_counts_as_absent),
		cmocka_unit_test(each_fault_has_its_pointer_code_and_sentence),
		cmocka_unit_test(bounds_are_inside_on_both_ends),
		cmocka_unit_test(all_faults_are_told_at_once),
		cmocka_unit_test(a_body_that_is_no_object_is_one_fault),
		cmocka_unit_test(a_body_nobody_asked_for_is_ignored),
		cmocka_unit_test(hostile_msgpack_is_refused),
		cmocka_unit_test(of_two_equal_keys_the_first_counts),
		cmocka_unit_test(a_list_is_bounded_before_it_costs_memory),
		cmocka_unit_test(
			characters_that_do_harm_are_refused_and_no_others),
		cmocka_unit_test(trimming_takes_white_space_of_every_script),
		cmocka_unit_test(without_memory_it_fails_and_leaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
