#include "svc-content/image/exif.h"
#include "svc-content/image/reading.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

/* Coefficients of a picture that is not told apart line by line: 2 bytes for
 * each of 3 components, 4 with black, and what libjpeg needs besides. */
#define BYTES_PER_PIXEL 8
#define BYTES_BESIDES   ((long)16 << 20)

/* See read_png.c: it outlives a longjmp. */
struct jpeg {
	struct jpeg_error_mgr errors; /* first: libjpeg hands it back */
	struct jpeg_progress_mgr progress;
	struct jpeg_decompress_struct j;
	struct reading *r;
	unsigned char *row, *rgb;
	enum picture_fault fault;
	jmp_buf out;
};

static struct jpeg *of(j_common_ptr j)
{
	return j->client_data;
}

static _Noreturn void leave(struct jpeg *p, enum picture_fault f)
{
	p->fault = f;
	longjmp(p->out, 1);
}

static void must(struct jpeg *p, enum picture_fault f)
{
	if (f)
		leave(p, f);
}

static enum picture_fault fault_of(int code)
{
	switch (code) {
	case JERR_OUT_OF_MEMORY:
	case JERR_NO_BACKING_STORE:
		return PICTURE_MEMORY;
	case JERR_ARITH_NOTIMPL:
	case JERR_BAD_PRECISION:
	case JERR_CONVERSION_NOTIMPL:
	case JERR_FRACT_SAMPLE_NOTIMPL:
	case JERR_SOF_UNSUPPORTED:
		return PICTURE_UNSUPPORTED;
	default:
		return PICTURE_BROKEN;
	}
}

static _Noreturn void on_error(j_common_ptr j)
{
	leave(of(j), fault_of(j->err->msg_code));
}

/* Warnings are errors, since most say that what follows is made up; but for
 * those that real cameras and editors cause and that lose no pixel. */
static void on_message(j_common_ptr j, int level)
{
	if (level >= 0)
		return;
	switch (j->err->msg_code) {
	case JWRN_ADOBE_XFORM:
	case JWRN_BOGUS_ICC:
	case JWRN_EXTRANEOUS_DATA:
	case JWRN_JFIF_MAJOR:
		return;
	default:
		leave(of(j), PICTURE_BROKEN);
	}
}

static void on_output(j_common_ptr j)
{
	(void)j;
}

/* With each row of blocks of each scan. */
static void on_progress(j_common_ptr j)
{
	struct jpeg *p = of(j);

	must(p, reading_time(p->r));
	if (p->j.input_scan_number > PICTURE_SCANS_MAX)
		leave(p, PICTURE_SLOW);
}

static void read_orientation(struct jpeg *p)
{
	const struct jpeg_marker_struct *m = p->j.marker_list;

	for (; m; m = m->next) {
		struct str s = {(const char *)m->data, m->data_length};

		if (!str_starts(s, (struct str){"Exif\0", 6}))
			continue;
		p->r->orientation = exif_orientation(s);
		return;
	}
}

/* What libjpeg can make smaller by itself at no cost, and more than twice as
 * large as is wanted, so that the area average still decides. */
static void choose_scale(struct jpeg *p)
{
	unsigned w = p->j.image_width, h = p->j.image_height;
	uint64_t longest = w > h ? w : h;
	unsigned eighths = 8;

	while (eighths > 1 &&
	       longest * (eighths - 1) / 8 >= (uint64_t)p->r->limits.fit * 2)
		eighths--;
	p->j.scale_num = eighths;
	p->j.scale_denom = 8;
}

/* Adobe's programs write what is left of the white, others the ink. */
static void cmyk_to_rgb(struct jpeg *p, unsigned w)
{
	const unsigned char *from = p->row;
	unsigned char *to = p->rgb, turn = p->j.saw_Adobe_marker ? 0 : 255;

	for (; w > 0; w--, from += 4, to += 3) {
		unsigned k = from[3] ^ turn;

		for (unsigned c = 0; c < 3; c++)
			to[c] = (unsigned char)(((unsigned)(from[c] ^ turn) *
			                                 k +
			                         127) /
			                        255);
	}
}

static void read_rows(struct jpeg *p)
{
	bool cmyk = p->j.num_components == 4;
	unsigned w, h;

	choose_scale(p);
	p->j.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
	jpeg_calc_output_dimensions(&p->j);
	w = p->j.output_width;
	h = p->j.output_height;
	must(p, reading_begin(p->r, w, h));
	p->row = malloc((size_t)w * 4);
	p->rgb = malloc((size_t)w * 3);
	must(p, p->row && p->rgb ? PICTURE_OK : PICTURE_MEMORY);
	(void)jpeg_start_decompress(&p->j);
	while (p->j.output_scanline < h) {
		JSAMPROW to = cmyk ? p->row : p->rgb;

		(void)jpeg_read_scanlines(&p->j, &to, 1);
		if (cmyk)
			cmyk_to_rgb(p, w);
		must(p, reading_row(p->r, p->rgb, 3));
	}
	(void)jpeg_finish_decompress(&p->j); /* or it is truncated */
}

/* A function of its own: what is kept in variables here would be indeterminate
 * in the one that calls setjmp(). */
static __attribute__((noinline)) void read_parts(struct jpeg *p)
{
	jpeg_create_decompress(&p->j);
	p->j.progress = &p->progress;
	jpeg_mem_src(&p->j, (const unsigned char *)p->r->bytes.p,
	             (unsigned long)p->r->bytes.n);
	jpeg_save_markers(&p->j, JPEG_APP0 + 1, 0xffff);
	(void)jpeg_read_header(&p->j, TRUE);
	must(p, reading_size(p->r, p->j.image_width, p->j.image_height));
	p->j.mem->max_memory_to_use =
		(long)p->j.image_width * p->j.image_height * BYTES_PER_PIXEL +
		BYTES_BESIDES;
	read_orientation(p);
	read_rows(p);
}

static void read_all(struct jpeg *p)
{
	if (setjmp(p->out) == 0)
		read_parts(p);
}

enum picture_fault read_jpeg(struct reading *r)
{
	struct jpeg p = {.r = r};

	p.j.err = jpeg_std_error(&p.errors);
	p.errors.error_exit = on_error;
	p.errors.emit_message = on_message;
	p.errors.output_message = on_output;
	p.progress.progress_monitor = on_progress;
	p.j.client_data = &p;
	read_all(&p);
	jpeg_destroy_decompress(&p.j); /* fine with one half made */
	free(p.row);
	free(p.rgb);
	return p.fault;
}
