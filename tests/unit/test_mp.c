#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/codec/mp.h"
#include "tests/alloc_fault.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BYTES(literal) STR(literal)

static void integers_take_the_shortest_form_and_come_back(void **state)
{
	static const struct {
		int64_t v;
		size_t bytes;
	} cases[] = {
		{0, 1},
		{127, 1},
		{128, 2},
		{255, 2},
		{256, 3},
		{65535, 3},
		{65536, 5},
		{UINT32_MAX, 5},
		{(int64_t)UINT32_MAX + 1, 9},
		{INT64_MAX, 9},
		{-1, 1},
		{-32, 1},
		{-33, 2},
		{-128, 2},
		{-129, 3},
		{-32768, 3},
		{-32769, 5},
		{INT32_MIN, 5},
		{(int64_t)INT32_MIN - 1, 9},
		{INT64_MIN, 9},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF b = {0};
		struct mp m;
		int64_t back = 42;

		mp_i64(&b, cases[i].v);
		assert_int_equal(b.n, cases[i].bytes);
		m = mp_open(buf_view(&b));
		assert_int_equal(mp_peek(&m), MP_INT);
		assert_true(mp_get_i64(&m, &back));
		assert_true(back == cases[i].v);
		assert_int_equal(mp_peek(&m), MP_END);
	}
}

static void integers_beyond_int64_are_a_type_of_their_own(void **state)
{
	AUTO_BUF b = {0};
	uint64_t u = 0;
	int64_t i = 7;
	double d = 0;
	struct mp m;

	(void)state;
	mp_u64(&b, UINT64_MAX);
	m = mp_open(buf_view(&b));
	assert_int_equal(mp_peek(&m), MP_UINT);
	assert_false(mp_get_i64(&m, &i));
	assert_int_equal(i, 7);
	assert_true(mp_get_u64(&m, &u));
	assert_true(u == UINT64_MAX);
	m = mp_open(buf_view(&b));
	assert_true(mp_get_f64(&m, &d));
	assert_true(d == 0x1p64);

	buf_clear(&b);
	mp_i64(&b, -1);
	m = mp_open(buf_view(&b));
	assert_false(mp_get_u64(&m, &u));
	assert_true(mp_get_f64(&m, &d));
	assert_true(d == -1.0);
}

static void floats_of_both_widths_are_read(void **state)
{
	struct mp m = mp_open(BYTES("\xca\x3f\xc0\x00\x00\xcb\x40\x09\x21\xfb"
	                            "\x54\x44\x2d\x18"));
	double d = 0;

	(void)state;
	assert_int_equal(mp_peek(&m), MP_FLOAT);
	assert_true(mp_get_f64(&m, &d));
	assert_true(d == 1.5);
	assert_true(mp_get_f64(&m, &d));
	assert_true(d == M_PI);
}

static void texts_and_bins_of_every_header_width_come_back(void **state)
{
	static const size_t sizes[] = {0,   1,     31,    32,    255,
	                               256, 65535, 65536, 200000};
	AUTO_BUF text = {0};

	(void)state;
	assert_true(buf_reserve(&text, 200000));
	memset(text.p, 'x', 200000);
	for (size_t i = 0; i < COUNTOF(sizes); i++) {
		AUTO_BUF b = {0};
		struct str in = {text.p, sizes[i]}, out = {NULL, 0};
		struct mp m;

		mp_str(&b, in);
		mp_bin(&b, in);
		m = mp_open(buf_view(&b));
		assert_int_equal(mp_peek(&m), MP_STR);
		assert_false(mp_get_bin(&m, &out));
		assert_true(mp_get_str(&m, &out));
		assert_true(str_eq(in, out));
		assert_int_equal(mp_peek(&m), MP_BIN);
		assert_true(mp_get_bin(&m, &out));
		assert_true(str_eq(in, out));
		assert_int_equal(mp_peek(&m), MP_END);
	}
}

static void a_text_without_bytes_packs_nil(void **state)
{
	AUTO_BUF b = {0};
	struct mp m;

	(void)state;
	mp_str(&b, (struct str){NULL, 0});
	mp_text(&b, NULL);
	mp_text(&b, "");
	m = mp_open(buf_view(&b));
	assert_true(mp_get_nil(&m));
	assert_true(mp_get_nil(&m));
	assert_int_equal(mp_peek(&m), MP_STR);
}

static void a_reader_of_the_wrong_type_moves_nothing(void **state)
{
	AUTO_BUF b = {0};
	struct str s = STR("kept");
	uint32_t n = 9;
	bool flag = true;
	struct mp m;
	double d;

	(void)state;
	mp_bool(&b, false);
	m = mp_open(buf_view(&b));
	assert_false(mp_get_str(&m, &s));
	assert_false(mp_get_map(&m, &n));
	assert_false(mp_get_array(&m, &n));
	assert_false(mp_get_nil(&m));
	assert_false(mp_get_f64(&m, &d));
	assert_true(str_eq(s, STR("kept")));
	assert_int_equal(n, 9);
	assert_ptr_equal(m.p, b.p);
	assert_true(mp_get_bool(&m, &flag));
	assert_false(flag);
	assert_false(mp_get_bool(&m, &flag));
}

static void a_header_that_promises_more_than_is_there_is_bad(void **state)
{
	static const struct str cases[] = {
		BYTES("\xc1"), /* never used */
		BYTES("\xa5"
	              "abcd"), /* text */
		BYTES("\xd9"),
		BYTES("\xd9\x01"),
		BYTES("\xda\x00"),
		BYTES("\xdb\xff\xff\xff\xff"), /* 4 GiB of text */
		BYTES("\xc6\xff\xff\xff\xff"), /* of bin */
		BYTES("\xc9\xff\xff\xff\xff"), /* of ext */
		BYTES("\xdd\xff\xff\xff\xff"), /* 4 Gi of items */
		BYTES("\xdf\xff\xff\xff\xff"), /* of pairs */
		BYTES("\x81\xa1"
	              "a"), /* a pair without its value */
		BYTES("\x92\x01"),
		BYTES("\xcd\x01"),
		BYTES("\xcb\x00\x00"),
		BYTES("\xd4\x01"),
		BYTES("\xd8\x01\x02"),
		BYTES("\xc7\x01\x05"),
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct mp m = mp_open(cases[i]);

		assert_false(mp_skip(&m, NULL));
		assert_ptr_equal(m.p, cases[i].p);
		assert_false(mp_valid(cases[i]));
	}
}

static void a_count_is_never_more_than_the_bytes_can_hold(void **state)
{
	static const struct {
		struct str in;
		bool array, map;
	} cases[] = {
		{STR("\x92\x01\x01"), true, false},
		{STR("\x93\x01\x01"), false, false},
		{STR("\x82\x01\x01\x01\x01"), false, true},
		{STR("\x83\x01\x01\x01\x01\x01"), false, false},
		{STR("\xdc\x00\x02\x01"), false, false},
		{STR("\xde\x00\x02\x01\x01\x01"), false, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct mp m = mp_open(cases[i].in);
		uint32_t n = 0;

		if (!cases[i].array && !cases[i].map)
			assert_int_equal(mp_peek(&m), MP_BAD);
		assert_int_equal(mp_get_array(&m, &n), cases[i].array);
		assert_int_equal(mp_get_map(&m, &n), cases[i].map);
	}
}

static void ext_of_every_form_is_skipped_whole(void **state)
{
	static const struct str cases[] = {
		BYTES("\xd4\x01\xaa"),
		BYTES("\xd5\x01\xaa\xbb"),
		BYTES("\xd6\xff\x00\x00\x00\x00"),
		BYTES("\xd7\xff\x00\x00\x00\x00\x00\x00\x00\x00"),
		BYTES("\xd8\x01"
	              "0123456789abcdef"),
		BYTES("\xc7\x00\x01"),
		BYTES("\xc7\x02\x01\xaa\xbb"),
		BYTES("\xc8\x00\x01\x01\xaa"),
		BYTES("\xc9\x00\x00\x00\x01\x01\xaa"),
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct mp m = mp_open(cases[i]);

		assert_int_equal(mp_peek(&m), MP_EXT);
		assert_true(mp_valid(cases[i]));
	}
}

static void nested(struct buf *b, unsigned depth, bool maps)
{
	for (unsigned i = 0; i < depth; i++) {
		if (maps) {
			mp_map(b, 1);
			mp_text(b, "k");
		} else {
			mp_array(b, 1);
		}
	}
	mp_nil(b);
}

static void nesting_is_followed_to_the_bound_and_no_further(void **state)
{
	(void)state;
	for (int maps = 0; maps < 2; maps++) {
		AUTO_BUF ok = {0};
		AUTO_BUF deep = {0};

		nested(&ok, MP_DEPTH_MAX, maps);
		nested(&deep, MP_DEPTH_MAX + 1, maps);
		assert_true(mp_valid(buf_view(&ok)));
		assert_false(mp_valid(buf_view(&deep)));
	}
}

static void next_takes_values_whole_and_of_containers_the_header(void **state)
{
	static const struct {
		struct str in;
		enum mp_type type;
		uint64_t v;
		size_t taken;
	} cases[] = {
		{BYTES("\xc0"), MP_NIL, 0, 1},
		{BYTES("\xc3"), MP_BOOL, 1, 1},
		{BYTES("\x07"), MP_INT, 7, 1},
		{BYTES("\xff"), MP_INT, UINT64_MAX, 1},
		{BYTES("\xd0\x80"), MP_INT, (uint64_t)-128, 2},
		{BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), MP_UINT,
	         UINT64_MAX, 9},
		{BYTES("\xca\x3f\x80\x00\x00"), MP_FLOAT, 0x3ff0000000000000,
	         5},
		{BYTES("\xa2xyz"), MP_STR, 2, 3},
		{BYTES("\xc4\x01xyz"), MP_BIN, 1, 3},
		{BYTES("\xd4\x05xyz"), MP_EXT, 2, 3},
		{BYTES("\x92\x01\x02"), MP_ARRAY, 2, 1},
		{BYTES("\x81\x01\x02"), MP_MAP, 1, 1},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct mp m = mp_open(cases[i].in);
		struct mp_item it = {.type = MP_BAD};

		assert_true(mp_next(&m, &it));
		assert_int_equal(it.type, cases[i].type);
		assert_true(it.v == cases[i].v);
		assert_int_equal(m.p - cases[i].in.p, cases[i].taken);
	}
}

static void next_takes_nothing_of_what_is_cut_short(void **state)
{
	static const struct str cases[] = {
		STR(""),           BYTES("\xc1"),      BYTES("\xcd\x01"),
		BYTES("\xa2x"),    BYTES("\xc4\x02x"), BYTES("\xd5\x01"),
		BYTES("\x92\x01"), BYTES("\x81\x01"),  BYTES("\xdb\xff"),
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct mp m = mp_open(cases[i]);
		struct mp_item it;

		assert_false(mp_next(&m, &it));
		assert_ptr_equal(m.p, cases[i].p);
	}
}

static void one_value_and_nothing_behind_it_is_valid(void **state)
{
	(void)state;
	assert_true(mp_valid(BYTES("\x80")));
	assert_true(mp_valid(BYTES("\x92\x90\x80")));
	assert_false(mp_valid(BYTES("")));
	assert_false(mp_valid((struct str){NULL, 0}));
	assert_false(mp_valid(BYTES("\x01\x02")));
}

static void a_map_is_searched_by_text_keys_only(void **state)
{
	AUTO_BUF b = {0};
	struct str v = STR("untouched"), map;

	(void)state;
	mp_map(&b, 5);
	mp_i64(&b, 1);
	mp_text(&b, "number key");
	mp_array(&b, 1);
	mp_text(&b, "deep");
	mp_nil(&b);
	mp_kv_text(&b, "deep", "value");
	mp_kv_i64(&b, "n", -5);
	mp_kv_bool(&b, "yes", true);
	map = buf_view(&b);
	assert_true(str_eq(mp_find_str(map, "deep", STR("?")), STR("value")));
	assert_int_equal(mp_find_i64(map, "n", 1), -5);
	assert_true(mp_find_bool(map, "yes", false));
	assert_true(str_eq(mp_find_str(map, "n", STR("?")), STR("?")));
	assert_int_equal(mp_find_i64(map, "deep", 8), 8);
	assert_false(mp_find_bool(map, "absent", false));
	assert_false(mp_find(map, "absent", &v));
	assert_false(mp_find(STR("\x90"), "a", &v));
	assert_false(mp_find((struct str){map.p, map.n - 1}, "absent", &v));
	assert_true(str_eq(v, STR("untouched")));
}

static void every_kv_packs_a_key_and_a_value(void **state)
{
	AUTO_BUF b = {0};
	struct str time;

	(void)state;
	mp_map(&b, 8);
	mp_kv_str(&b, "s", STR("x"));
	mp_kv_f64(&b, "f", 0.5);
	mp_kv_nil(&b, "nil");
	mp_kv_map(&b, "map", 0);
	mp_kv_array(&b, "array", 0);
	mp_kv_time(&b, "time", 1000);
	mp_kv_time(&b, "never", 0);
	mp_text(&b, "raw");
	mp_raw(&b, BYTES("\x92\x01\x02"));
	assert_false(b.failed);
	assert_true(mp_valid(buf_view(&b)));
	time = mp_find_str(buf_view(&b), "time", STR(""));
	assert_true(str_eq(time, STR("1970-01-01T00:00:01.000Z")));
	assert_true(str_eq(mp_find_str(buf_view(&b), "never", STR("nil")),
	                   STR("nil")));
}

static void counts_that_msgpack_cannot_say_fail_the_buf(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		AUTO_BUF b = {0};
		size_t n = (size_t)UINT32_MAX + 1;

		if (i == 0)
			mp_map(&b, n);
		else if (i == 1)
			mp_array(&b, n);
		else
			mp_str_head(&b, n);
		assert_true(b.failed);
		assert_int_equal(b.n, 0);
	}
}

static void without_memory_nothing_half_is_left(void **state)
{
	char text[3000];
	bool more = true;

	(void)state;
	memset(text, 'x', sizeof(text));
	for (unsigned nth = 1; more; nth++) {
		AUTO_BUF b = {0};
		size_t whole;

		alloc_fault_arm(nth);
		mp_array(&b, 2);
		mp_str(&b, (struct str){text, 200});
		whole = b.n;
		mp_str(&b, (struct str){text, sizeof(text)});
		more = alloc_fault_disarm();
		assert_int_equal(b.failed, more);
		if (more)
			assert_int_equal(b.n, whole);
		else
			assert_true(mp_valid(buf_view(&b)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_take_the_shortest_form_and_come_back),
		cmocka_unit_test(integers_beyond_int64_are_a_type_of_their_own),
		cmocka_unit_test(floats_of_both_widths_are_read),
		cmocka_unit_test(
			texts_and_bins_of_every_header_width_come_back),
		cmocka_unit_test(a_text_without_bytes_packs_nil),
		cmocka_unit_test(a_reader_of_the_wrong_type_moves_nothing),
		cmocka_unit_test(
			a_header_that_promises_more_than_is_there_is_bad),
		cmocka_unit_test(a_count_is_never_more_than_the_bytes_can_hold),
		cmocka_unit_test(ext_of_every_form_is_skipped_whole),
		cmocka_unit_test(
			nesting_is_followed_to_the_bound_and_no_further),
		cmocka_unit_test(
			next_takes_values_whole_and_of_containers_the_header),
		cmocka_unit_test(next_takes_nothing_of_what_is_cut_short),
		cmocka_unit_test(one_value_and_nothing_behind_it_is_valid),
		cmocka_unit_test(a_map_is_searched_by_text_keys_only),
		cmocka_unit_test(every_kv_packs_a_key_and_a_value),
		cmocka_unit_test(counts_that_msgpack_cannot_say_fail_the_buf),
		cmocka_unit_test(without_memory_nothing_half_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
