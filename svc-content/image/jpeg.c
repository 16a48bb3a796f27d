#include "svc-content/image/jpeg.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#define STEP_BYTES 16384

/* See read_png.c: it outlives a longjmp. */
struct writing {
	struct jpeg_error_mgr errors;
	struct jpeg_destination_mgr to;
	struct jpeg_compress_struct j;
	struct buf *out;
	bool failed;
	jmp_buf failure;
	unsigned char step[STEP_BYTES];
};

static _Noreturn void on_error(j_common_ptr j)
{
	struct writing *w = j->client_data;

	w->failed = true;
	longjmp(w->failure, 1);
}

static void on_message(j_common_ptr j, int level)
{
	(void)j;
	(void)level;
}

static void on_output(j_common_ptr j)
{
	(void)j;
}

static void on_begin(j_compress_ptr j)
{
	struct writing *w = j->client_data;

	w->to.next_output_byte = w->step;
	w->to.free_in_buffer = STEP_BYTES;
}

static boolean on_full(j_compress_ptr j)
{
	struct writing *w = j->client_data;

	buf_add(w->out, w->step, STEP_BYTES);
	on_begin(j);
	return TRUE;
}

static void on_end(j_compress_ptr j)
{
	struct writing *w = j->client_data;

	buf_add(w->out, w->step, STEP_BYTES - w->to.free_in_buffer);
}

static void write_all(struct writing *w, const struct picture *p)
{
	if (setjmp(w->failure))
		return;
	jpeg_create_compress(&w->j);
	w->j.dest = &w->to;
	w->j.image_width = p->w;
	w->j.image_height = p->h;
	w->j.input_components = 3;
	w->j.in_color_space = JCS_RGB;
	jpeg_set_defaults(&w->j);
	jpeg_set_quality(&w->j, JPEG_QUALITY, TRUE);
	jpeg_start_compress(&w->j, TRUE);
	while (w->j.next_scanline < p->h) {
		JSAMPROW row = p->rgb + (size_t)w->j.next_scanline * p->w * 3;

		(void)jpeg_write_scanlines(&w->j, &row, 1);
	}
	jpeg_finish_compress(&w->j);
}

enum err jpeg_write(const struct picture *p, struct buf *out)
{
	struct writing *w = calloc(1, sizeof(*w));
	bool ok;

	if (!w)
		return ERR_NOMEM;
	w->out = out;
	w->j.err = jpeg_std_error(&w->errors);
	w->errors.error_exit = on_error;
	w->errors.emit_message = on_message;
	w->errors.output_message = on_output;
	w->to.init_destination = on_begin;
	w->to.empty_output_buffer = on_full;
	w->to.term_destination = on_end;
	w->j.client_data = w;
	write_all(w, p);
	jpeg_destroy_compress(&w->j);
	ok = !w->failed && !out->failed;
	free(w);
	return ok ? OK : ERR_NOMEM;
}
