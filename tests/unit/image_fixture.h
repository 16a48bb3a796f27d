/*
 * image_fixture - pictures of every kind, made by the libraries' own writers.
 *
 * The picture is four fields of one colour each, so that a pixel of a corner
 * tells how it was turned:
 *
 *     red    green
 *     blue   white (or clear, where there is alpha)
 *
 * Header only: each unit test is one program.
 */
#ifndef TESTS_UNIT_IMAGE_FIXTURE_H
#define TESTS_UNIT_IMAGE_FIXTURE_H

#include "common/base/buf.h"
#include "svc-content/image/picture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <gif_lib.h>
#include <jpeglib.h>
#include <png.h>
#include <webp/encode.h>

enum corner { RED, GREEN, BLUE, WHITE };
static const unsigned char colours[4][3] = {
	{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 255, 255}};

static enum corner colour_at(unsigned x, unsigned y, unsigned w, unsigned h)
{
	return (enum corner)((x >= w / 2) + 2 * (y >= h / 2));
}

/* "Exif\0\0" and a TIFF of one entry. */
static __attribute__((unused)) struct str exif_of(unsigned orientation)
{
	static char exif[] = "Exif\0\0MM\0*\0\0\0\10\0\1\1\22\0\3\0\0\0\1\0"
			     "\1\0\0\0\0\0\0";

	exif[6 + 8 + 2 + 9] = (char)orientation;
	return (struct str){exif, sizeof(exif) - 1};
}

/* --- PNG ----------------------------------------------------------------------- */

struct png_kind {
	int type, depth;
	bool interlaced, clear; /* clear: a transparent colour or palette */
	unsigned orientation;
};

static __attribute__((unused)) void png_to_buf(png_structp png, png_bytep p,
                                               size_t n)
{
	buf_add(png_get_io_ptr(png), p, n);
}

static __attribute__((unused)) void png_no_flush(png_structp png)
{
	(void)png;
}

static __attribute__((unused)) void png_sample(unsigned char *row, size_t i,
                                               int depth, unsigned v)
{
	if (depth == 16) {
		row[2 * i] = (unsigned char)v;
		row[2 * i + 1] = (unsigned char)v;
	} else if (depth == 8)
		row[i] = (unsigned char)v;
	else
		row[i * (unsigned)depth / 8] |=
			(unsigned char)(v << (8 - (unsigned)depth -
		                              i * (unsigned)depth % 8));
}

static __attribute__((unused)) void png_fill(unsigned char *row, unsigned y,
                                             unsigned w, unsigned h,
                                             const struct png_kind *k)
{
	/* Grey has no colours: from black to white. */
	static const unsigned char grey[4] = {0, 85, 170, 255};
	bool alpha = k->type & PNG_COLOR_MASK_ALPHA;
	unsigned n = k->type == PNG_COLOR_TYPE_PALETTE ? 1
	             : k->type & PNG_COLOR_MASK_COLOR  ? 3
	                                               : 1;

	for (unsigned x = 0; x < w; x++) {
		enum corner c = colour_at(x, y, w, h);
		size_t at = (size_t)x * (n + alpha);

		if (k->type == PNG_COLOR_TYPE_PALETTE)
			png_sample(row, at, k->depth, c);
		else if (n == 1)
			png_sample(row, at, k->depth,
			           k->depth < 8
			                   ? (unsigned)grey[c] >> (8 - k->depth)
			                   : grey[c]);
		else
			for (unsigned i = 0; i < 3; i++)
				png_sample(row, at + i, k->depth,
				           alpha && c == WHITE ? 7
				                               : colours[c][i]);
		if (alpha)
			png_sample(row, at + n, k->depth, c == WHITE ? 0 : 255);
	}
}

static __attribute__((unused)) void png_of(struct buf *out, unsigned w,
                                           unsigned h, const struct png_kind *k)
{
	png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL,
	                                          NULL, NULL);
	png_infop info = png_create_info_struct(png);
	size_t n = (size_t)w * 8 + 8;
	unsigned char *row = malloc(n);
	int passes;

	assert_non_null(row);
	assert_false(setjmp(png_jmpbuf(png)));
	png_set_write_fn(png, out, png_to_buf, png_no_flush);
	png_set_IHDR(png, info, w, h, k->depth, k->type,
	             k->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
	             PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	if (k->type == PNG_COLOR_TYPE_PALETTE) {
		png_color palette[4];
		png_byte clear[4] = {255, 255, 255, 0};

		for (unsigned i = 0; i < 4; i++)
			palette[i] = (png_color){colours[i][0], colours[i][1],
			                         colours[i][2]};
		if (k->clear)
			palette[WHITE] = (png_color){7, 7, 7};
		png_set_PLTE(png, info, palette, 4);
		if (k->clear)
			png_set_tRNS(png, info, clear, 4, NULL);
	} else if (k->clear) { /* red becomes white */
		png_color_16 red = {.red = 255};

		png_set_tRNS(png, info, NULL, 0, &red);
	}
	if (k->orientation) {
		struct str exif = exif_of(k->orientation);

		png_set_eXIf_1(png, info, (unsigned)exif.n - 6,
		               (png_bytep)(uintptr_t)exif.p + 6);
	}
	png_write_info(png, info);
	passes = png_set_interlace_handling(png);
	for (int pass = 0; pass < passes; pass++)
		for (unsigned y = 0; y < h; y++) {
			memset(row, 0, n);
			png_fill(row, y, w, h, k);
			png_write_row(png, row);
		}
	png_write_end(png, info);
	png_destroy_write_struct(&png, &info);
	free(row);
}

/* --- JPEG ---------------------------------------------------------------------- */

struct jpeg_kind {
	int components; /* 1 grey, 3, 4 CMYK */
	bool progressive, adobe;
	unsigned orientation;
};

static __attribute__((unused)) void jpeg_pixel(unsigned char *to, enum corner c,
                                               const struct jpeg_kind *k)
{
	for (unsigned i = 0; i < 3; i++)
		to[i < (unsigned)k->components ? i : 0] =
			k->components == 1 ? (unsigned char)(c * 85)
			: k->components == 3 || k->adobe
				? colours[c][i]
				: (unsigned char)(255 - colours[c][i]);
	if (k->components == 4)
		to[3] = k->adobe ? 255 : 0;
}

static __attribute__((unused)) void jpeg_of(struct buf *out, unsigned w,
                                            unsigned h,
                                            const struct jpeg_kind *k)
{
	static const J_COLOR_SPACE spaces[5] = {
		[1] = JCS_GRAYSCALE, [3] = JCS_RGB, [4] = JCS_CMYK};
	struct jpeg_compress_struct j;
	struct jpeg_error_mgr errors;
	unsigned char *bytes = NULL;
	unsigned long n = 0;
	JSAMPROW row = malloc((size_t)w * 4);

	assert_non_null(row);
	j.err = jpeg_std_error(&errors);
	jpeg_create_compress(&j);
	jpeg_mem_dest(&j, &bytes, &n);
	j.image_width = w;
	j.image_height = h;
	j.input_components = k->components;
	j.in_color_space = spaces[k->components];
	jpeg_set_defaults(&j);
	jpeg_set_quality(&j, 95, TRUE);
	j.write_Adobe_marker = k->adobe ? TRUE : FALSE;
	if (k->progressive)
		jpeg_simple_progression(&j);
	jpeg_start_compress(&j, TRUE);
	if (k->orientation)
		jpeg_write_marker(&j, JPEG_APP0 + 1,
		                  (const JOCTET *)exif_of(k->orientation).p,
		                  (unsigned)exif_of(k->orientation).n);
	for (unsigned y = 0; y < h; y++) {
		for (unsigned x = 0; x < w; x++)
			jpeg_pixel(row + (size_t)x * (unsigned)k->components,
			           colour_at(x, y, w, h), k);
		(void)jpeg_write_scanlines(&j, &row, 1);
	}
	jpeg_finish_compress(&j);
	jpeg_destroy_compress(&j);
	buf_add(out, bytes, n);
	free(bytes);
	free(row);
}

/* --- GIF ----------------------------------------------------------------------- */

struct gif_kind {
	bool interlaced, clear, animated;
	int left, top, more; /* where the frame lies; how much larger the screen
	                        is than the frame's far corner */
};

static __attribute__((unused)) int gif_to_buf(GifFileType *f,
                                              const GifByteType *p, int n)
{
	buf_add(f->UserData, p, (size_t)n);
	return n;
}

static __attribute__((unused)) void gif_frame(GifFileType *f, unsigned w,
                                              unsigned h,
                                              const struct gif_kind *k,
                                              unsigned turn)
{
	static const unsigned first[] = {0, 4, 2, 1, 0},
			      step[] = {8, 8, 4, 2, 1};
	GraphicsControlBlock gcb = {
		.TransparentColor = k->clear ? WHITE : NO_TRANSPARENT_COLOR};
	GifByteType ext[4];
	GifPixelType *row = malloc(w);

	assert_non_null(row);
	assert_int_equal(EGifGCBToExtension(&gcb, ext), 4);
	assert_int_equal(EGifPutExtension(f, GRAPHICS_EXT_FUNC_CODE, 4, ext),
	                 GIF_OK);
	assert_int_equal(EGifPutImageDesc(f, k->left, k->top, (int)w, (int)h,
	                                  k->interlaced, NULL),
	                 GIF_OK);
	for (unsigned pass = k->interlaced ? 0 : 4;
	     pass < (k->interlaced ? 4 : 5); pass++)
		for (unsigned y = first[pass]; y < h; y += step[pass]) {
			for (unsigned x = 0; x < w; x++)
				row[x] = (GifPixelType)((colour_at(x, y, w, h) +
				                         turn) %
				                        4);
			assert_int_equal(EGifPutLine(f, row, (int)w), GIF_OK);
		}
	free(row);
}

static __attribute__((unused)) void gif_of(struct buf *out, unsigned w,
                                           unsigned h, const struct gif_kind *k)
{
	int code = 0;
	GifFileType *f = EGifOpen(out, gif_to_buf, &code);
	GifColorType c[4];
	ColorMapObject *map;

	assert_non_null(f);
	for (unsigned i = 0; i < 4; i++)
		c[i] = (GifColorType){colours[i][0], colours[i][1],
		                      colours[i][2]};
	if (k->clear)
		c[WHITE] = (GifColorType){7, 7, 7};
	map = GifMakeMapObject(4, c);
	EGifSetGifVersion(f, true);
	assert_int_equal(EGifPutScreenDesc(f, (int)w + k->left + k->more,
	                                   (int)h + k->top + k->more, 8, 0,
	                                   map),
	                 GIF_OK);
	gif_frame(f, w, h, k, 0);
	if (k->animated)
		gif_frame(f, w, h, k, 1);
	assert_int_equal(EGifCloseFile(f, &code), GIF_OK);
	GifFreeMapObject(map);
}

/* --- WebP ---------------------------------------------------------------------- */

struct webp_kind {
	bool lossless, clear, animated;
	unsigned orientation;
};

static __attribute__((unused)) void le(struct buf *out, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		buf_char(out, (char)(v >> (8 * i)));
}

static __attribute__((unused)) void riff_chunk(struct buf *out, const char *tag,
                                               struct str s)
{
	buf_add(out, tag, 4);
	le(out, s.n, 4);
	buf_str(out, s);
	if (s.n % 2)
		buf_char(out, 0);
}

/* The bare file of one frame. */
static __attribute__((unused)) void webp_frame(struct buf *out, unsigned w,
                                               unsigned h,
                                               const struct webp_kind *k,
                                               unsigned turn)
{
	unsigned char *rgba = malloc((size_t)w * h * 4);
	unsigned char *bytes = NULL;
	size_t n;

	assert_non_null(rgba);
	for (unsigned y = 0; y < h; y++)
		for (unsigned x = 0; x < w; x++) {
			unsigned char *to = rgba + ((size_t)y * w + x) * 4;
			unsigned c = (colour_at(x, y, w, h) + turn) % 4;

			memcpy(to, colours[c], 3);
			to[3] = k->clear && c == WHITE ? 0 : 255;
			if (!to[3])
				memset(to, 7, 3);
		}
	n = k->lossless ? WebPEncodeLosslessRGBA(rgba, (int)w, (int)h,
	                                         (int)w * 4, &bytes)
	                : WebPEncodeRGBA(rgba, (int)w, (int)h, (int)w * 4, 90,
	                                 &bytes);
	assert_true(n > 0);
	buf_add(out, bytes, n);
	WebPFree(bytes);
	free(rgba);
}

/* One frame in the extended form: the chunks of the bare file, and around them
 * what says that there are more, or how to turn it. */
static __attribute__((unused)) void webp_extended(struct buf *out, unsigned w,
                                                  unsigned h,
                                                  const struct webp_kind *k)
{
	AUTO_BUF body = {0};

	buf_str(&body, STR("WEBP"));
	buf_str(&body, STR("VP8X"));
	le(&body, 10, 4);
	le(&body,
	   (k->animated ? 2u : 0) | (k->orientation ? 8u : 0) |
	           (k->clear ? 16u : 0),
	   4);
	le(&body, w - 1, 3);
	le(&body, h - 1, 3);
	if (k->animated)
		riff_chunk(&body, "ANIM", (struct str){"\0\0\0\0\0\0", 6});
	for (unsigned i = 0; i < (k->animated ? 2 : 1); i++) {
		AUTO_BUF bare = {0};
		AUTO_BUF frame = {0};
		size_t at = k->animated ? 16 : 0;

		webp_frame(&bare, w, h, k, i);
		if (k->animated) {
			le(&frame, 0, 6);
			le(&frame, w - 1, 3);
			le(&frame, h - 1, 3);
			le(&frame, 100, 3);
			le(&frame, 0, 1);
		}
		/* Behind RIFF, its size and WEBP; a lossy one with alpha has
		 * a VP8X of its own before the rest. */
		buf_str(&frame, (struct str){bare.p + 12, bare.n - 12});
		if (memcmp(frame.p + at, "VP8X", 4) == 0) {
			frame.n -= 18;
			memmove(frame.p + at, frame.p + at + 18, frame.n - at);
		}
		if (k->animated)
			riff_chunk(&body, "ANMF", buf_view(&frame));
		else
			buf_str(&body, buf_view(&frame));
	}
	if (k->orientation)
		riff_chunk(&body, "EXIF", exif_of(k->orientation));
	riff_chunk(out, "RIFF", buf_view(&body));
}

static __attribute__((unused)) void webp_of(struct buf *out, unsigned w,
                                            unsigned h,
                                            const struct webp_kind *k)
{
	if (k->animated || k->orientation)
		webp_extended(out, w, h, k);
	else
		webp_frame(out, w, h, k, 0);
}

/* --- looking at what came out ---------------------------------------------------- */

static __attribute__((unused)) const unsigned char *pixel(
	const struct picture *p, unsigned x, unsigned y)
{
	assert_true(x < p->w && y < p->h);
	return p->rgb + ((size_t)y * p->w + x) * 3;
}

static __attribute__((unused)) bool is_near(const unsigned char *p,
                                            const unsigned char *want)
{
	for (unsigned i = 0; i < 3; i++)
		if (abs(p[i] - want[i]) > 12)
			return false;
	return true;
}

/* Of each corner, from the top left, by rows. */
static __attribute__((unused)) void has_corners(const struct picture *p,
                                                const enum corner want[4],
                                                const char *what)
{
	for (unsigned i = 0; i < 4; i++) {
		const unsigned char *c =
			pixel(p, i % 2 ? p->w - 2 : 1, i / 2 ? p->h - 2 : 1);

		if (!is_near(c, colours[want[i]]))
			fail_msg("%s: corner %u is %u %u %u", what, i, c[0],
			         c[1], c[2]);
	}
}

#endif
