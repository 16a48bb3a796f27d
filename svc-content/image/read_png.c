#include "svc-content/image/exif.h"
#include "svc-content/image/reading.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>

#define CHUNK_BYTES_MAX ((png_alloc_size_t)1 << 20) /* unpacked; not of IDAT */
#define CHUNKS_MAX      64

/*
 * What outlives a longjmp is here, in the caller's frame: locals of the function
 * that calls setjmp() would be indeterminate.
 */
struct png {
	struct reading *r;
	png_structp png;
	png_infop info;
	size_t at; /* bytes read */
	unsigned char *rows;
	enum picture_fault fault;
	jmp_buf out;
};

static _Noreturn void leave(struct png *p, enum picture_fault f)
{
	if (!p->fault)
		p->fault = f;
	longjmp(p->out, 1);
}

static void must(struct png *p, enum picture_fault f)
{
	if (f)
		leave(p, f);
}

static _Noreturn void on_error(png_structp png, png_const_charp why)
{
	(void)why;
	leave(png_get_error_ptr(png), PICTURE_BROKEN);
}

static void on_warning(png_structp png, png_const_charp why)
{
	(void)png;
	(void)why;
}

static png_voidp give(png_structp png, png_alloc_size_t n)
{
	struct png *p = png_get_mem_ptr(png);
	void *m = malloc(n);

	if (!m)
		p->fault = PICTURE_MEMORY;
	return m;
}

static void take(png_structp png, png_voidp m)
{
	(void)png;
	free(m);
}

static void on_read(png_structp png, png_bytep to, size_t n)
{
	struct png *p = png_get_io_ptr(png);

	must(p, reading_time(p->r)); /* what is packed may not end to unpack */
	if (n > p->r->bytes.n - p->at)
		leave(p, PICTURE_BROKEN);
	memcpy(to, p->r->bytes.p + p->at, n);
	p->at += n;
}

/* Texts and profiles, which may be bombs of their own, are not looked at. */
static void be_careful(png_structp png)
{
	static const png_byte skipped[] = "iCCP\0iTXt\0tEXt\0zTXt\0sPLT\0hIST\0"
					  "pCAL\0sCAL\0tIME\0pHYs";

	png_set_user_limits(png, PICTURE_SIDE_MAX, PICTURE_SIDE_MAX);
	png_set_chunk_malloc_max(png, CHUNK_BYTES_MAX);
	png_set_chunk_cache_max(png, CHUNKS_MAX);
	png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, skipped,
	                            sizeof(skipped) / 5);
}

/* 8 bits RGB or RGBA, whatever is stored. */
static void want_rgb(png_structp png)
{
	png_set_expand(png);
	png_set_scale_16(png);
	png_set_gray_to_rgb(png);
}

static void read_in_order(struct png *p, unsigned h, unsigned channels)
{
	for (unsigned y = 0; y < h; y++) {
		png_read_row(p->png, p->rows, NULL);
		must(p, reading_row(p->r, p->rows, channels));
	}
}

static void read_interlaced(struct png *p, unsigned h, unsigned channels,
                            int passes)
{
	size_t n = png_get_rowbytes(p->png, p->info);

	for (int pass = 0; pass < passes; pass++)
		for (unsigned y = 0; y < h; y++) {
			must(p, reading_time(p->r));
			png_read_row(p->png, p->rows + y * n, NULL);
		}
	for (unsigned y = 0; y < h; y++)
		must(p, reading_row(p->r, p->rows + y * n, channels));
}

static void read_rows(struct png *p)
{
	unsigned w = png_get_image_width(p->png, p->info);
	unsigned h = png_get_image_height(p->png, p->info);
	unsigned channels;
	int passes;

	must(p, reading_begin(p->r, w, h));
	want_rgb(p->png);
	passes = png_set_interlace_handling(p->png);
	png_read_update_info(p->png, p->info);
	channels = png_get_channels(p->png, p->info);
	if (png_get_rowbytes(p->png, p->info) != (size_t)w * channels ||
	    (channels != 3 && channels != 4))
		leave(p, PICTURE_UNSUPPORTED);
	p->rows = calloc(passes > 1 ? h : 1, (size_t)w * channels);
	must(p, p->rows ? PICTURE_OK : PICTURE_MEMORY);
	if (passes > 1)
		read_interlaced(p, h, channels, passes);
	else
		read_in_order(p, h, channels);
}

static void read_orientation(struct png *p)
{
	png_uint_32 n = 0;
	png_bytep exif = NULL;

	if (png_get_eXIf_1(p->png, p->info, &n, &exif) && exif)
		p->r->orientation =
			exif_orientation((struct str){(char *)exif, n});
}

static void read_all(struct png *p)
{
	if (setjmp(p->out))
		return;
	be_careful(p->png);
	png_set_read_fn(p->png, p, on_read);
	png_read_info(p->png, p->info);
	read_rows(p);
	png_read_end(p->png, p->info); /* or it is truncated */
	read_orientation(p);
}

/* IHDR is always first, so what it claims is known before libpng is asked, which
 * would call a large picture a broken one. */
static enum picture_fault check_claim(const struct reading *r)
{
	const unsigned char *at = (const unsigned char *)r->bytes.p + 16;

	if (r->bytes.n < 24 || memcmp(at - 4, "IHDR", 4) != 0)
		return PICTURE_BROKEN;
	return reading_size(r, png_get_uint_32(at), png_get_uint_32(at + 4));
}

enum picture_fault read_png(struct reading *r)
{
	struct png p = {.r = r, .fault = check_claim(r)};

	if (p.fault)
		return p.fault;

	/* An error before read_all() comes back as NULL: out is not set yet, so
	 * libpng keeps its own. */
	p.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, NULL, NULL,
	                                 on_warning, &p, give, take);
	if (!p.png)
		return p.fault ? p.fault : PICTURE_UNSUPPORTED;
	png_set_error_fn(p.png, &p, on_error, on_warning);
	p.info = png_create_info_struct(p.png);
	if (p.info)
		read_all(&p);
	else
		p.fault = PICTURE_MEMORY;
	png_destroy_read_struct(&p.png, &p.info, NULL);
	free(p.rows);
	return p.fault;
}
