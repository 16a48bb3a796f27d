/* Pictures of four formats, as they are meant and as nobody means them. */
#include "tests/unit/image_fixture.h"

#include "common/base/clock.h"
#include "common/base/err.h"
#include "svc-content/image/exif.h"
#include "svc-content/image/jpeg.h"
#include "svc-content/image/shrink.h"
#include "tests/alloc_fault.h"

#include <zlib.h>

static const enum corner as_made[4] = {RED, GREEN, BLUE, WHITE};

static struct picture_limits limits(void)
{
	return (struct picture_limits){.pixels = 1u << 20,
	                               .fit = 1024,
	                               .deadline_ms = mono_ms() + 60000};
}

static enum picture_fault read_it(const struct buf *b, struct picture *out)
{
	struct picture_limits l = limits();

	return picture_read(buf_view(b), &l, out);
}

static void is_read(const struct buf *b, unsigned w, unsigned h,
                    const enum corner want[4], const char *what)
{
	AUTO_PICTURE p = {0};
	enum picture_fault f = read_it(b, &p);

	if (f || p.w != w || p.h != h)
		fail_msg("%s: fault %d, %u x %u", what, (int)f, p.w, p.h);
	has_corners(&p, want, what);
}

/* --- kinds ------------------------------------------------------------------------ */

static void every_kind_of_png_is_read(void **state)
{
	static const struct png_kind kinds[] = {
		{.type = PNG_COLOR_TYPE_RGB, .depth = 8},
		{.type = PNG_COLOR_TYPE_RGB, .depth = 16},
		{.type = PNG_COLOR_TYPE_RGBA, .depth = 8},
		{.type = PNG_COLOR_TYPE_RGBA, .depth = 16},
		{.type = PNG_COLOR_TYPE_PALETTE, .depth = 2},
		{.type = PNG_COLOR_TYPE_PALETTE, .depth = 4},
		{.type = PNG_COLOR_TYPE_PALETTE, .depth = 8},
		{.type = PNG_COLOR_TYPE_PALETTE, .depth = 8, .clear = true},
	};

	(void)state;
	for (size_t i = 0; i < 2 * COUNTOF(kinds); i++) {
		struct png_kind k = kinds[i / 2];
		AUTO_BUF b = {0};
		char what[64];

		k.interlaced = i % 2;
		png_of(&b, 37, 22, &k);
		(void)snprintf(what, sizeof(what), "png %zu%s", i / 2,
		               k.interlaced ? " interlaced" : "");
		is_read(&b, 37, 22, as_made, what);
	}
}

static void grey_is_read_at_every_depth(void **state)
{
	static const int depths[] = {2, 4, 8, 16};

	(void)state;
	for (size_t i = 0; i < COUNTOF(depths); i++) {
		const struct png_kind k = {PNG_COLOR_TYPE_GRAY, depths[i],
		                           .interlaced = i % 2};
		AUTO_BUF b = {0};
		AUTO_PICTURE p = {0};

		png_of(&b, 20, 20, &k);
		assert_int_equal(read_it(&b, &p), PICTURE_OK);
		for (unsigned c = 0; c < 4; c++)
			for (unsigned n = 0; n < 3; n++)
				assert_int_equal(pixel(&p, c % 2 ? 19 : 0,
				                       c / 2 ? 19 : 0)[n],
				                 c * 85);
	}
}

static void a_transparent_colour_is_white(void **state)
{
	static const enum corner want[4] = {WHITE, GREEN, BLUE, WHITE};
	const struct png_kind k = {PNG_COLOR_TYPE_RGB, 8, .clear = true};
	AUTO_BUF b = {0};

	(void)state;
	png_of(&b, 20, 20, &k);
	is_read(&b, 20, 20, want, "tRNS");
}

static void every_kind_of_jpeg_is_read(void **state)
{
	static const struct jpeg_kind kinds[] = {
		{.components = 3},
		{.components = 3, .progressive = true},
		{.components = 4},
		{.components = 4, .adobe = true},
		{.components = 4, .adobe = true, .progressive = true},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(kinds); i++) {
		AUTO_BUF b = {0};
		char what[64];

		(void)snprintf(what, sizeof(what), "jpeg %zu", i);
		jpeg_of(&b, 64, 48, &kinds[i]);
		is_read(&b, 64, 48, as_made, what);
	}
}

static void a_grey_jpeg_is_read(void **state)
{
	const struct jpeg_kind k = {.components = 1};
	AUTO_BUF b = {0};
	AUTO_PICTURE p = {0};

	(void)state;
	jpeg_of(&b, 32, 32, &k);
	assert_int_equal(read_it(&b, &p), PICTURE_OK);
	for (unsigned c = 0; c < 4; c++) {
		const unsigned char v = (unsigned char)(c * 85);
		const unsigned char want[3] = {v, v, v};

		assert_true(is_near(pixel(&p, c % 2 ? 30 : 1, c / 2 ? 30 : 1),
		                    want));
	}
}

static void of_a_gif_the_first_frame_is_read(void **state)
{
	static const struct gif_kind kinds[] = {
		{.animated = false},
		{.interlaced = true},
		{.clear = true},
		{.clear = true, .interlaced = true, .animated = true},
		{.animated = true},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(kinds); i++) {
		AUTO_BUF b = {0};
		char what[64];

		(void)snprintf(what, sizeof(what), "gif %zu", i);
		gif_of(&b, 33, 21, &kinds[i]);
		is_read(&b, 33, 21, as_made, what);
	}
}

static void around_a_frame_the_canvas_is_white(void **state)
{
	const struct gif_kind k = {.left = 5, .top = 3, .more = 4};
	AUTO_BUF b = {0};
	AUTO_PICTURE p = {0};

	(void)state;
	gif_of(&b, 10, 10, &k);
	assert_int_equal(read_it(&b, &p), PICTURE_OK);
	assert_int_equal(p.w, 19);
	assert_int_equal(p.h, 17);
	assert_true(is_near(pixel(&p, 4, 3), colours[WHITE]));
	assert_true(is_near(pixel(&p, 5, 2), colours[WHITE]));
	assert_true(is_near(pixel(&p, 5, 3), colours[RED]));
	assert_true(is_near(pixel(&p, 14, 3), colours[GREEN]));
	assert_true(is_near(pixel(&p, 15, 3), colours[WHITE]));
}

static void every_kind_of_webp_is_read(void **state)
{
	static const struct webp_kind kinds[] = {
		{.lossless = false},
		{.lossless = true},
		{.lossless = false, .clear = true},
		{.lossless = true, .clear = true},
		{.animated = true},
		{.animated = true, .lossless = true},
		{.animated = true, .clear = true},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(kinds); i++) {
		AUTO_BUF b = {0};
		char what[64];

		(void)snprintf(what, sizeof(what), "webp %zu", i);
		webp_of(&b, 64, 48, &kinds[i]);
		is_read(&b, 64, 48, as_made, what);
	}
}

/* --- turning ------------------------------------------------------------------------ */

/* What is seen in the corners of a picture that is stored as it is made. */
static const enum corner turned[9][4] = {
	[1] = {RED, GREEN, BLUE, WHITE}, [2] = {GREEN, RED, WHITE, BLUE},
	[3] = {WHITE, BLUE, GREEN, RED}, [4] = {BLUE, WHITE, RED, GREEN},
	[5] = {RED, BLUE, GREEN, WHITE}, [6] = {BLUE, RED, WHITE, GREEN},
	[7] = {WHITE, GREEN, BLUE, RED}, [8] = {GREEN, WHITE, RED, BLUE},
};

static void a_picture_is_turned_as_its_exif_says(void **state)
{
	(void)state;
	for (unsigned o = 1; o <= 8; o++) {
		const struct jpeg_kind jpeg = {.components = 3,
		                               .orientation = o};
		const struct png_kind png = {PNG_COLOR_TYPE_RGB, 8,
		                             .orientation = o};
		const struct webp_kind webp = {.lossless = true,
		                               .orientation = o};
		unsigned w = o < 5 ? 64 : 48, h = o < 5 ? 48 : 64;
		AUTO_BUF a = {0};
		AUTO_BUF b = {0};
		AUTO_BUF c = {0};

		jpeg_of(&a, 64, 48, &jpeg);
		png_of(&b, 64, 48, &png);
		webp_of(&c, 64, 48, &webp);
		is_read(&a, w, h, turned[o], "jpeg");
		is_read(&b, w, h, turned[o], "png");
		is_read(&c, w, h, turned[o], "webp");
	}
}

static void exif_that_is_not_is_ignored(void **state)
{
	struct str whole = exif_of(6);
	char bytes[64];

	(void)state;
	assert_int_equal(exif_orientation(whole), 6);
	assert_int_equal(
		exif_orientation((struct str){whole.p + 6, whole.n - 6}), 6);
	assert_int_equal(exif_orientation(exif_of(0)), 1);
	assert_int_equal(exif_orientation(exif_of(9)), 1);
	whole = exif_of(6);
	for (size_t n = 0; n < whole.n; n++) {
		char *copy = malloc(n ? n : 1); /* its end is watched */

		assert_non_null(copy);
		memcpy(copy, whole.p, n);
		assert_true(exif_orientation((struct str){copy, n}) <= 8);
		free(copy);
	}
	/* An offset to nowhere, and more entries than there are bytes. */
	memcpy(bytes, whole.p, whole.n);
	memset(bytes + 10, 0xff, 4);
	assert_int_equal(exif_orientation((struct str){bytes, whole.n}), 1);
	memcpy(bytes, whole.p, whole.n);
	memset(bytes + 14, 1, 2);
	bytes[17] = 0;
	assert_int_equal(exif_orientation((struct str){bytes, whole.n}), 1);
}

/* --- making smaller ------------------------------------------------------------------ */

static void what_is_large_is_made_to_fit(void **state)
{
	static const struct {
		unsigned w, h, to_w, to_h;
	} sizes[] = {
		{1024, 1024, 1024, 1024},
		{1025, 512, 1024, 512},
		{1500, 500, 1024, 341},
		{500, 1500, 341, 1024},
		{3, 4096, 1, 1024},
		{16384, 1, 1024, 1},
		{1, 1, 1, 1},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(sizes); i++) {
		const struct png_kind k = {PNG_COLOR_TYPE_RGB, 8, false, false,
		                           0};
		AUTO_BUF b = {0};
		AUTO_PICTURE p = {0};

		png_of(&b, sizes[i].w, sizes[i].h, &k);
		assert_int_equal(read_it(&b, &p), PICTURE_OK);
		assert_int_equal(p.w, sizes[i].to_w);
		assert_int_equal(p.h, sizes[i].to_h);
	}
}

static void a_large_jpeg_keeps_its_corners(void **state)
{
	const struct jpeg_kind k = {.components = 3};
	struct picture_limits l = limits();
	AUTO_BUF b = {0};
	AUTO_PICTURE p = {0};

	(void)state;
	jpeg_of(&b, 1000, 600, &k);
	l.fit = 50; /* libjpeg then makes an eighth of it, and the rest is ours */
	assert_int_equal(picture_read(buf_view(&b), &l, &p), PICTURE_OK);
	assert_int_equal(p.w, 50);
	assert_int_equal(p.h, 30);
	has_corners(&p, as_made, "scaled");
}

/* Against the mean by its definition, in numbers that divide and that do not. */
static void each_pixel_is_the_mean_of_what_it_covers(void **state)
{
	enum { W = 7, H = 5, FIT = 3 };
	unsigned char in[H][W][3];
	struct shrink *s = shrink_new(W, H, FIT);
	AUTO_PICTURE p = {0};

	(void)state;
	assert_non_null(s);
	for (unsigned y = 0; y < H; y++) {
		for (unsigned x = 0; x < W; x++)
			for (unsigned c = 0; c < 3; c++)
				in[y][x][c] = (unsigned char)(x * 31 + y * 57 +
				                              c * 101);
		assert_false(shrink_take(s, &p));
		shrink_row(s, in[y][0]);
	}
	assert_true(shrink_take(s, &p));
	assert_int_equal(p.w, 3);
	assert_int_equal(p.h, 2);
	for (unsigned oy = 0; oy < p.h; oy++)
		for (unsigned ox = 0; ox < p.w; ox++) {
			double sum = 0;

			for (unsigned y = 0; y < H * p.h; y++)
				for (unsigned x = 0; x < W * p.w; x++)
					if (x / W == ox && y / H == oy)
						sum += in[y / p.h][x / p.w][1];
			assert_true(abs((int)pixel(&p, ox, oy)[1] * W * H -
			                (int)sum) <= W * H / 2 + 1);
		}
	shrink_free(s);
}

/* --- what is refused ----------------------------------------------------------------- */

static void is_refused(struct str s, enum picture_fault want, const char *what)
{
	struct picture_limits l = limits();
	AUTO_PICTURE p = {0};
	enum picture_fault f = picture_read(s, &l, &p);

	if (f != want)
		fail_msg("%s: fault %d, not %d", what, (int)f, (int)want);
	assert_null(p.rgb);
}

static void what_is_no_picture_is_told(void **state)
{
	static const char *const others[] = {
		"",
		"\x89PNG",
		"GIF88a......",
		"BM6.....",
		"<svg/>",
		"%PDF-1.7",
		"RIFF....WAVEfmt ",
		"\xff\xd8",
		"PK\3\4",
		"\0\0\0\x20"
		"ftypheic",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(others); i++)
		is_refused((struct str){others[i],
		                        i == 9 ? 12 : strlen(others[i])},
		           PICTURE_OTHER, others[i]);
}

/* One file of each format; the index says which. */
static void make(struct buf *b, unsigned format, unsigned w, unsigned h)
{
	static const struct png_kind png[] = {
		{PNG_COLOR_TYPE_RGB, 8, .orientation = 6},
		{PNG_COLOR_TYPE_PALETTE, 8, .interlaced = true},
	};
	static const struct jpeg_kind jpeg[] = {
		{.components = 3},
		{.components = 3, .progressive = true},
	};
	static const struct gif_kind gif[] = {{.animated = false},
	                                      {.interlaced = true}};
	static const struct webp_kind webp[] = {{.lossless = false},
	                                        {.lossless = true}};

	switch (format / 2) {
	case 0:
		png_of(b, w, h, &png[format % 2]);
		break;
	case 1:
		jpeg_of(b, w, h, &jpeg[format % 2]);
		break;
	case 2:
		gif_of(b, w, h, &gif[format % 2]);
		break;
	default:
		webp_of(b, w, h, &webp[format % 2]);
		break;
	}
}

#define FILES 8

static void what_is_truncated_is_refused(void **state)
{
	(void)state;
	for (unsigned f = 0; f < FILES; f++) {
		AUTO_BUF b = {0};
		char what[64];
		size_t last;

		make(&b, f, 97, 83);
		/* Behind its only frame, a GIF has an end mark that is not
		 * missed. */
		last = b.n - (f / 2 == 2 ? 1 : 0);
		for (size_t n = 0; n <= last; n += n < last - 40 ? 64 : 1) {
			char *copy = malloc(n ? n : 1);

			assert_non_null(copy);
			memcpy(copy, b.p, n);
			(void)snprintf(what, sizeof(what), "file %u at %zu", f,
			               n);
			if (n < last)
				is_refused(
					(struct str){copy, n},
					n < 12 && picture_format((struct str){
							  copy, n}) ==
								PICTURE_UNKNOWN
						? PICTURE_OTHER
						: PICTURE_BROKEN,
					what);
			free(copy);
		}
	}
}

/* Each byte changed: no matter what comes of it, nothing is read or written that
 * is not ours (ASan tells), and what is taken is of the size that is told. */
static void what_is_changed_does_no_harm(void **state)
{
	struct picture_limits l = limits();

	(void)state;
	for (unsigned f = 0; f < FILES; f++) {
		AUTO_BUF b = {0};

		make(&b, f, 24, 20);
		for (size_t n = 0; n < b.n; n++)
			for (unsigned k = 0; k < 3; k++) {
				static const char masks[] = {1, (char)0x80,
				                             (char)0xff};
				AUTO_PICTURE p = {0};

				b.p[n] ^= masks[k];
				if (!picture_read(buf_view(&b), &l, &p))
					assert_true(p.w <= 1024 &&
					            p.h <= 1024 &&
					            (uint64_t)p.w * p.h <=
					                    l.pixels);
				b.p[n] ^= masks[k];
			}
	}
}

/* Where each format says how large it is. */
static void claims_of_size_are_refused_before_memory_is_taken(void **state)
{
	static const unsigned char png[] = {0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60};
	AUTO_BUF b = {0};
	char *at;

	(void)state;
	make(&b, 0, 20, 20);
	memcpy(b.p + 16, png, 8);
	/* Its checksum is right, so that it is refused for its size. */
	{
		uLong crc = crc32(0, (const Bytef *)b.p + 12, 17);

		for (unsigned i = 0; i < 4; i++)
			b.p[29 + i] = (char)(crc >> (24 - 8 * i));
	}
	is_refused(buf_view(&b), PICTURE_LARGE, "png");
	buf_clear(&b);
	make(&b, 2, 20, 20);
	at = memmem(b.p, b.n, "\xff\xc0", 2);
	assert_non_null(at);
	memcpy(at + 5, "\xea\x60\xea\x60", 4);
	is_refused(buf_view(&b), PICTURE_LARGE, "jpeg");
	buf_clear(&b);
	make(&b, 4, 20, 20);
	memcpy(b.p + 6, "\x60\xea\x60\xea", 4);
	is_refused(buf_view(&b), PICTURE_LARGE, "gif");
	buf_clear(&b);
	webp_of(&b, 20, 20, &(const struct webp_kind){.animated = true});
	at = memmem(b.p, b.n, "VP8X", 4);
	assert_non_null(at);
	memcpy(at + 12, "\x5f\xea\0\x5f\xea\0", 6);
	is_refused(buf_view(&b), PICTURE_LARGE, "webp");
}

static void the_limit_of_pixels_is_exact(void **state)
{
	(void)state;
	for (unsigned f = 0; f < FILES; f++) {
		struct picture_limits l = limits();
		AUTO_BUF b = {0};
		AUTO_PICTURE p = {0};

		make(&b, f, 40, 30);
		l.pixels = 40 * 30 - 1;
		assert_int_equal(picture_read(buf_view(&b), &l, &p),
		                 PICTURE_LARGE);
		l.pixels++;
		assert_int_equal(picture_read(buf_view(&b), &l, &p),
		                 PICTURE_OK);
	}
}

static void nothing_is_read_after_the_deadline(void **state)
{
	(void)state;
	for (unsigned f = 0; f < FILES; f++) {
		struct picture_limits l = limits();
		AUTO_BUF b = {0};
		AUTO_PICTURE p = {0};

		make(&b, f, 40, 30);
		l.deadline_ms = mono_ms();
		assert_int_equal(picture_read(buf_view(&b), &l, &p),
		                 PICTURE_SLOW);
	}
}

/* The last scan of a progressive JPEG, again and again. */
static void a_jpeg_of_a_thousand_scans_is_refused(void **state)
{
	AUTO_BUF b = {0};
	AUTO_BUF bomb = {0};
	const char *scan = NULL, *at;

	(void)state;
	make(&b, 3, 64, 64);
	for (at = b.p;
	     (at = memmem(at, b.n - (size_t)(at - b.p), "\xff\xda", 2)) != NULL;
	     at++)
		scan = at;
	assert_non_null(scan);
	buf_add(&bomb, b.p, (size_t)(scan - b.p));
	for (unsigned i = 0; i < 1000; i++)
		buf_add(&bomb, scan, b.n - 2 - (size_t)(scan - b.p));
	buf_str(&bomb, STR("\xff\xd9"));
	{
		struct picture_limits l = limits();
		AUTO_PICTURE p = {0};
		enum picture_fault f = picture_read(buf_view(&bomb), &l, &p);

		assert_true(f == PICTURE_SLOW || f == PICTURE_BROKEN);
	}
}

/* --- memory and writing ------------------------------------------------------------------ */

static void every_failing_allocation_is_told(void **state)
{
	(void)state;
	for (unsigned f = 0; f < FILES; f++) {
		AUTO_BUF b = {0};

		make(&b, f, 30, 20);
		for (unsigned n = 1;; n++) {
			AUTO_PICTURE p = {0};
			enum picture_fault got;
			bool failed;

			alloc_fault_arm(n);
			got = read_it(&b, &p);
			failed = alloc_fault_disarm();
			if (!failed) {
				assert_int_equal(got, PICTURE_OK);
				break;
			}
			assert_int_equal(got, PICTURE_MEMORY);
			assert_null(p.rgb);
		}
	}
}

static void a_jpeg_of_ours_has_pixels_and_nothing_else(void **state)
{
	const struct jpeg_kind k = {.components = 3, .orientation = 6};
	AUTO_BUF b = {0};
	AUTO_BUF ours = {0};
	AUTO_PICTURE p = {0};

	(void)state;
	jpeg_of(&b, 300, 200, &k);
	assert_non_null(memmem(b.p, b.n, "Exif", 4));
	assert_int_equal(read_it(&b, &p), PICTURE_OK);
	assert_int_equal(jpeg_write(&p, &ours), OK);
	assert_null(memmem(ours.p, ours.n, "Exif", 4));
	is_read(&ours, 200, 300, turned[6], "written");
	for (unsigned n = 1;; n++) {
		AUTO_BUF out = {0};
		enum err e;

		alloc_fault_arm(n);
		e = jpeg_write(&p, &out);
		if (!alloc_fault_disarm()) {
			assert_int_equal(e, OK);
			break;
		}
		assert_int_equal(e, ERR_NOMEM);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_png_is_read),
		cmocka_unit_test(grey_is_read_at_every_depth),
		cmocka_unit_test(a_transparent_colour_is_white),
		cmocka_unit_test(every_kind_of_jpeg_is_read),
		cmocka_unit_test(a_grey_jpeg_is_read),
		cmocka_unit_test(of_a_gif_the_first_frame_is_read),
		cmocka_unit_test(around_a_frame_the_canvas_is_white),
		cmocka_unit_test(every_kind_of_webp_is_read),
		cmocka_unit_test(a_picture_is_turned_as_its_exif_says),
		cmocka_unit_test(exif_that_is_not_is_ignored),
		cmocka_unit_test(what_is_large_is_made_to_fit),
		cmocka_unit_test(a_large_jpeg_keeps_its_corners),
		cmocka_unit_test(each_pixel_is_the_mean_of_what_it_covers),
		cmocka_unit_test(what_is_no_picture_is_told),
		cmocka_unit_test(what_is_truncated_is_refused),
		cmocka_unit_test(what_is_changed_does_no_harm),
		cmocka_unit_test(
			claims_of_size_are_refused_before_memory_is_taken),
		cmocka_unit_test(the_limit_of_pixels_is_exact),
		cmocka_unit_test(nothing_is_read_after_the_deadline),
		cmocka_unit_test(a_jpeg_of_a_thousand_scans_is_refused),
		cmocka_unit_test(every_failing_allocation_is_told),
		cmocka_unit_test(a_jpeg_of_ours_has_pixels_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
