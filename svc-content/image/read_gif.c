#include "svc-content/image/reading.h"

#include <gif_lib.h>
#include <stdlib.h>

#define PASSES 4 /* of an interlaced frame */

struct gif {
	struct reading *r;
	size_t at; /* bytes read */
	GifFileType *f;
	int transparent;     /* of the colours; -1: none */
	unsigned w, h;       /* the canvas */
	unsigned char *rgba; /* a row of it */
	GifPixelType *frame; /* all rows when interlaced, else one */
};

static int on_read(GifFileType *f, GifByteType *to, int n)
{
	struct gif *g = f->UserData;
	size_t left = g->r->bytes.n - g->at;
	size_t k = n > 0 && (size_t)n < left ? (size_t)n : left;

	if (n <= 0)
		return 0;
	memcpy(to, g->r->bytes.p + g->at, k);
	g->at += k;
	return (int)k;
}

static enum picture_fault fault_of(int code)
{
	return code == D_GIF_ERR_NOT_ENOUGH_MEM ? PICTURE_MEMORY
	                                        : PICTURE_BROKEN;
}

static enum picture_fault read_extension(struct gif *g)
{
	GifByteType *block;
	int code;

	if (DGifGetExtension(g->f, &code, &block) == GIF_ERROR)
		return fault_of(g->f->Error);
	while (block) {
		GraphicsControlBlock gcb;
		enum picture_fault late = reading_time(g->r);

		if (late)
			return late;
		if (code == GRAPHICS_EXT_FUNC_CODE && block[0] == 4 &&
		    DGifExtensionToGCB(block[0], block + 1, &gcb) == GIF_OK)
			g->transparent = gcb.TransparentColor;
		if (DGifGetExtensionNext(g->f, &block) == GIF_ERROR)
			return fault_of(g->f->Error);
	}
	return PICTURE_OK;
}

/* As far as the first frame's pixels. */
static enum picture_fault find_frame(struct gif *g)
{
	for (;;) {
		enum picture_fault f = reading_time(g->r);
		GifRecordType type;

		if (f)
			return f;
		if (DGifGetRecordType(g->f, &type) == GIF_ERROR)
			return fault_of(g->f->Error);
		if (type == IMAGE_DESC_RECORD_TYPE)
			return DGifGetImageDesc(g->f) == GIF_ERROR
			               ? fault_of(g->f->Error)
			               : PICTURE_OK;
		if (type != EXTENSION_RECORD_TYPE)
			return PICTURE_BROKEN;
		f = read_extension(g);
		if (f)
			return f;
	}
}

/* A frame that sticks out of the screen makes it larger. */
static enum picture_fault make_canvas(struct gif *g)
{
	const GifImageDesc *i = &g->f->Image;
	uint64_t w = (uint64_t)(unsigned)i->Left + (unsigned)i->Width;
	uint64_t h = (uint64_t)(unsigned)i->Top + (unsigned)i->Height;
	enum picture_fault f;

	if (i->Left < 0 || i->Top < 0 || i->Width <= 0 || i->Height <= 0)
		return PICTURE_BROKEN;
	if (g->f->SWidth > 0 && w < (unsigned)g->f->SWidth)
		w = (unsigned)g->f->SWidth;
	if (g->f->SHeight > 0 && h < (unsigned)g->f->SHeight)
		h = (unsigned)g->f->SHeight;
	f = reading_size(g->r, w, h);
	if (f)
		return f;
	g->w = (unsigned)w;
	g->h = (unsigned)h;
	g->rgba = calloc(g->w, 4);
	g->frame = malloc((i->Interlace ? (size_t)i->Height : 1) *
	                  (size_t)i->Width);
	if (!g->rgba || !g->frame)
		return PICTURE_MEMORY;
	return reading_begin(g->r, g->w, g->h);
}

static enum picture_fault get_line(struct gif *g, GifPixelType *to)
{
	enum picture_fault f = reading_time(g->r);

	if (f)
		return f;
	return DGifGetLine(g->f, to, g->f->Image.Width) == GIF_ERROR
	               ? fault_of(g->f->Error)
	               : PICTURE_OK;
}

static enum picture_fault get_interlaced(struct gif *g)
{
	static const int first[PASSES] = {0, 4, 2, 1},
			 step[PASSES] = {8, 8, 4, 2};
	size_t w = (size_t)g->f->Image.Width;
	enum picture_fault f = PICTURE_OK;

	for (int pass = 0; pass < PASSES; pass++)
		for (int y = first[pass]; y < g->f->Image.Height && !f;
		     y += step[pass])
			f = get_line(g, g->frame + (size_t)y * w);
	return f;
}

static enum picture_fault paint(struct gif *g, const GifPixelType *from)
{
	const GifImageDesc *i = &g->f->Image;
	const ColorMapObject *map = i->ColorMap ? i->ColorMap : g->f->SColorMap;
	unsigned char *to = g->rgba + (size_t)i->Left * 4;

	for (int x = 0; x < i->Width; x++, to += 4) {
		const GifColorType *c;

		to[3] = from[x] == g->transparent ? 0 : 255;
		if (!to[3])
			continue;
		if (from[x] >= map->ColorCount)
			return PICTURE_BROKEN;
		c = &map->Colors[from[x]];
		to[0] = c->Red;
		to[1] = c->Green;
		to[2] = c->Blue;
	}
	return PICTURE_OK;
}

static enum picture_fault paint_canvas(struct gif *g)
{
	const GifImageDesc *i = &g->f->Image;
	unsigned top = (unsigned)i->Top, bottom = top + (unsigned)i->Height;
	enum picture_fault f = PICTURE_OK;

	if (!(i->ColorMap ? i->ColorMap : g->f->SColorMap))
		return PICTURE_BROKEN;
	if (i->Interlace)
		f = get_interlaced(g);
	for (unsigned y = 0; y < g->h && !f; y++) {
		GifPixelType *row = g->frame;

		memset(g->rgba, 0, (size_t)g->w * 4);
		if (y >= top && y < bottom) {
			if (i->Interlace)
				row += (size_t)(y - top) * (size_t)i->Width;
			else
				f = get_line(g, row);
			if (!f)
				f = paint(g, row);
		}
		if (!f)
			f = reading_row(g->r, g->rgba, 4);
	}
	return f;
}

enum picture_fault read_gif(struct reading *r)
{
	struct gif g = {.r = r, .transparent = -1};
	enum picture_fault f;
	int code = 0;

	g.f = DGifOpen(&g, on_read, &code);
	if (!g.f)
		return fault_of(code);
	f = find_frame(&g);
	if (!f)
		f = make_canvas(&g);
	if (!f)
		f = paint_canvas(&g);
	(void)DGifCloseFile(g.f, &code);
	free(g.rgba);
	free(g.frame);
	return f;
}
