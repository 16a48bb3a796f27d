/* Answers in fewer bytes, and validators of what was sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/attr.h"
#include "gateway/etag.h"
#include "gateway/gzip.h"
#include "tests/alloc_fault.h"

#include <stdlib.h>
#include <zlib.h>

static void a_coding_is_taken_by_name_weight_or_star(void **state)
{
	static const struct {
		const char *header;
		bool gzip;
	} cases[] = {
		{"", false},
		{"gzip", true},
		{"GZip", true},
		{"gzip, deflate, br", true},
		{"deflate, gzip;q=0.5", true},
		{"gzip;q=0", false},
		{"gzip;q=0.000", false},
		{"gzip;q=0.001", true},
		{"*", true},
		{"*;q=0", false},
		{"gzip;q=0, *", false},
		{"gzip, *;q=0", true},
		{"br", false},
		{"identity", false},
		{"identity;q=0.5, gzip;q=1", true},
		{"identity, gzip;q=0.5", false},
		{"identity;q=0, gzip;q=0.1", true},
		{"gzip;q=2", false},
		{"gzip;q=x", false},
		{"gzipped", false},
		{"x-gzip-y", false},
		{",, ,gzip , ", true},
		{";q=1", false},
		{"gzip;", true},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		if (gzip_taken(str_from(cases[i].header), STR("gzip")) !=
		    cases[i].gzip)
			fail_msg("%s", cases[i].header);
}

/* Text that shrinks. */
static void fill(struct buf *b, size_t n)
{
	for (unsigned i = 0; b->n < n; i++)
		buf_printf(b, "{\"id\":%u,\"topic\":\"photosynthesis\"},", i);
	b->n = n;
}

static void unpacks_to(struct str packed, struct str want)
{
	AUTO_BUF out = {0};
	z_stream z = {0};
	union {
		const char *p;
		void *v;
	} in = {packed.p};

	assert_true(buf_reserve(&out, want.n + 1));
	z.next_in = in.v;
	z.avail_in = (unsigned)packed.n;
	z.next_out = (Bytef *)(void *)out.p;
	z.avail_out = (unsigned)want.n + 1;
	assert_int_equal(inflateInit2(&z, 31), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	out.n = want.n + 1 - z.avail_out;
	(void)inflateEnd(&z);
	assert_true(str_eq(buf_view(&out), want));
}

static void one_compressor_packs_many_bodies(void **state)
{
	static const size_t sizes[] = {200, GZIP_MIN, 65536, GZIP_MAX, 3000};
	AUTO(gzip) g = gzip_new(GZIP_LEVEL);

	(void)state;
	assert_non_null(g);
	for (size_t i = 0; i < COUNTOF(sizes); i++) {
		AUTO_BUF in = {0};
		AUTO_BUF out = {0};

		fill(&in, sizes[i]);
		buf_str(&out, STR("before"));
		assert_true(gzip_write(g, buf_view(&in), &out));
		assert_true(out.n - 6 < in.n);
		unpacks_to((struct str){out.p + 6, out.n - 6}, buf_view(&in));
	}
}

static void what_would_not_shrink_is_left_alone(void **state)
{
	AUTO(gzip) g = gzip_new(GZIP_LEVEL);
	AUTO_BUF in = {0};
	AUTO_BUF out = {0};
	uint64_t x = 88172645463325252U;

	(void)state;
	assert_false(gzip_write(g, STR(""), &out));
	assert_false(gzip_write(g, STR("x"), &out));
	for (int i = 0; i < 1000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		buf_add(&in, &x, sizeof(x));
	}
	assert_false(gzip_write(g, buf_view(&in), &out));
	assert_int_equal(out.n, 0);
	buf_clear(&in);
	fill(&in, 5000);
	assert_true(gzip_write(g, buf_view(&in), &out)); /* and goes on */
	unpacks_to(buf_view(&out), buf_view(&in));
}

static void without_memory_there_is_no_compressor_and_no_leak(void **state)
{
	AUTO_BUF in = {0};
	bool failed = true;

	(void)state;
	fill(&in, 5000);
	for (unsigned n = 1; failed && n < 100; n++) {
		struct gzip *g;
		AUTO_BUF out = {0};
		bool ok;

		alloc_fault_arm(n);
		g = gzip_new(GZIP_LEVEL);
		ok = g && gzip_write(g, buf_view(&in), &out);
		failed = alloc_fault_disarm();
		assert_int_equal(ok, !failed);
		if (!ok)
			assert_int_equal(out.n, 0);
		gzip_free(g);
	}
	assert_false(failed);
}

static void a_tag_names_bytes_and_coding(void **state)
{
	char a[ETAG_MAX], b[ETAG_MAX], c[ETAG_MAX];

	(void)state;
	(void)etag_of(STR("one"), NULL, a);
	(void)etag_of(STR("one"), NULL, b);
	assert_string_equal(a, b);
	assert_int_equal(strlen(a), 34);
	assert_int_equal(a[0], '"');
	assert_int_equal(a[33], '"');
	(void)etag_of(STR("two"), NULL, c);
	assert_string_not_equal(a, c);
	(void)etag_of(STR("one"), "gzip", c);
	assert_string_not_equal(a, c);
	assert_non_null(strstr(c, "-gzip\""));
	(void)etag_of(STR(""), NULL, c);
	assert_int_equal(strlen(c), 34);
}

static void a_list_is_compared_weakly_and_a_range_strongly(void **state)
{
	static const struct {
		const char *header;
		bool listed, same;
	} cases[] = {
		{"", false, false},
		{"*", true, false},
		{" * ", true, false},
		{"\"ab\"", true, true},
		{" \"ab\" ", true, true},
		{"W/\"ab\"", true, false},
		{"w/\"ab\"", false, false},
		{"\"x\", \"ab\"", true, false},
		{"\"x\",W/\"ab\"", true, false},
		{"\"a,b\", \"ab\"", true, false},
		{"\"x\"\"ab\"", true, false},
		{"ab", false, false},
		{"\"ab", false, false},
		{"\"", false, false},
		{"W/", false, false},
		{",,,", false, false},
		{"\"AB\"", false, false},
		{"\"abc\"", false, false},
		{"\"x\", *", false, false},
		{"Sun, 06 Nov 1994 08:49:37 GMT", false, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct str h = str_from(cases[i].header);

		if (etag_listed(h, STR("\"ab\"")) != cases[i].listed ||
		    etag_same(h, STR("\"ab\"")) != cases[i].same)
			fail_msg("%s", cases[i].header);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_coding_is_taken_by_name_weight_or_star),
		cmocka_unit_test(one_compressor_packs_many_bodies),
		cmocka_unit_test(what_would_not_shrink_is_left_alone),
		cmocka_unit_test(
			without_memory_there_is_no_compressor_and_no_leak),
		cmocka_unit_test(a_tag_names_bytes_and_coding),
		cmocka_unit_test(
			a_list_is_compared_weakly_and_a_range_strongly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
