#include "svc-content/image/exif.h"
#include "svc-content/image/reading.h"

#include <stdlib.h>
#include <webp/decode.h>
#include <webp/demux.h>

#define STEP_BYTES 65536 /* between two looks at the clock */

struct webp {
	struct reading *r;
	WebPDemuxer *demux;
	WebPIterator frame;
	unsigned w, h;       /* the canvas */
	unsigned char *rgba; /* the frame */
	unsigned char *row;  /* of the canvas */
};

static enum picture_fault fault_of(VP8StatusCode code)
{
	switch (code) {
	case VP8_STATUS_OK:
		return PICTURE_OK;
	case VP8_STATUS_OUT_OF_MEMORY:
		return PICTURE_MEMORY;
	case VP8_STATUS_UNSUPPORTED_FEATURE:
		return PICTURE_UNSUPPORTED;
	case VP8_STATUS_INVALID_PARAM:
	case VP8_STATUS_BITSTREAM_ERROR:
	case VP8_STATUS_SUSPENDED:
	case VP8_STATUS_USER_ABORT:
	case VP8_STATUS_NOT_ENOUGH_DATA:
		break;
	}
	return PICTURE_BROKEN;
}

/* What the frame's own header says must be what the container says, by which
 * the memory is sized. */
static enum picture_fault check_frame(struct webp *p)
{
	const WebPIterator *i = &p->frame;
	WebPBitstreamFeatures is;
	enum picture_fault f = fault_of(
		WebPGetFeatures(i->fragment.bytes, i->fragment.size, &is));

	if (f)
		return f;
	if (!i->complete || is.width != i->width || is.height != i->height ||
	    i->width <= 0 || i->height <= 0 || i->x_offset < 0 ||
	    i->y_offset < 0 ||
	    (uint64_t)(unsigned)i->x_offset + (unsigned)i->width > p->w ||
	    (uint64_t)(unsigned)i->y_offset + (unsigned)i->height > p->h)
		return PICTURE_BROKEN;
	return PICTURE_OK;
}

static enum picture_fault feed(struct webp *p, WebPIDecoder *d)
{
	const WebPData *in = &p->frame.fragment;
	VP8StatusCode code = VP8_STATUS_SUSPENDED;

	for (size_t n = 0; n < in->size && code == VP8_STATUS_SUSPENDED;) {
		enum picture_fault f = reading_time(p->r);

		if (f)
			return f;
		n = in->size - n > STEP_BYTES ? n + STEP_BYTES : in->size;
		code = WebPIUpdate(d, in->bytes, n);
	}
	return fault_of(code);
}

static enum picture_fault read_frame(struct webp *p)
{
	size_t stride = (size_t)p->frame.width * 4;
	size_t n = stride * (size_t)p->frame.height;
	enum picture_fault f;
	WebPIDecoder *d;

	p->rgba = malloc(n);
	if (!p->rgba)
		return PICTURE_MEMORY;
	d = WebPINewRGB(MODE_RGBA, p->rgba, n, (int)stride);
	if (!d)
		return PICTURE_MEMORY;
	f = feed(p, d);
	WebPIDelete(d);
	return f;
}

static enum picture_fault paint_canvas(struct webp *p)
{
	size_t stride = (size_t)p->frame.width * 4;
	unsigned top = (unsigned)p->frame.y_offset;
	unsigned bottom = top + (unsigned)p->frame.height;
	enum picture_fault f = reading_begin(p->r, p->w, p->h);

	p->row = calloc(p->w, 4);
	if (!f && !p->row)
		f = PICTURE_MEMORY;
	for (unsigned y = 0; y < p->h && !f; y++) {
		unsigned char *to = p->row + (size_t)p->frame.x_offset * 4;

		if (y >= top && y < bottom)
			memcpy(to, p->rgba + (y - top) * stride, stride);
		else
			memset(to, 0, stride);
		f = reading_row(p->r, p->row, 4);
	}
	return f;
}

static void read_orientation(struct webp *p)
{
	WebPChunkIterator it;

	if (!WebPDemuxGetChunk(p->demux, "EXIF", 1, &it))
		return;
	p->r->orientation = exif_orientation(
		(struct str){(const char *)it.chunk.bytes, it.chunk.size});
	WebPDemuxReleaseChunkIterator(&it);
}

static enum picture_fault read_all(struct webp *p)
{
	enum picture_fault f;

	p->w = WebPDemuxGetI(p->demux, WEBP_FF_CANVAS_WIDTH);
	p->h = WebPDemuxGetI(p->demux, WEBP_FF_CANVAS_HEIGHT);
	f = reading_size(p->r, p->w, p->h);
	if (f)
		return f;
	if (!WebPDemuxGetFrame(p->demux, 1, &p->frame))
		return PICTURE_BROKEN;
	f = check_frame(p);
	if (!f)
		f = read_frame(p);
	if (!f)
		f = paint_canvas(p);
	if (!f)
		read_orientation(p);
	WebPDemuxReleaseIterator(&p->frame);
	return f;
}

enum picture_fault read_webp(struct reading *r)
{
	WebPData in = {(const uint8_t *)r->bytes.p, r->bytes.n};
	struct webp p = {.r = r};
	enum picture_fault f = PICTURE_BROKEN;

	p.demux = WebPDemux(&in); /* NULL also of one that is not whole */
	if (p.demux)
		f = read_all(&p);
	WebPDemuxDelete(p.demux);
	free(p.rgba);
	free(p.row);
	return f;
}
