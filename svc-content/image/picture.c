#include "svc-content/image/picture.h"

#include "svc-content/image/exif.h"
#include "svc-content/image/reading.h"

#include "common/base/clock.h"

#include <stdlib.h>

static const struct {
	const char *name;
	enum picture_fault (*read)(struct reading *r);
} formats[] = {
	[PICTURE_UNKNOWN] = {"unknown", NULL},
	[PICTURE_PNG] = {"png", read_png},
	[PICTURE_JPEG] = {"jpeg", read_jpeg},
	[PICTURE_GIF] = {"gif", read_gif},
	[PICTURE_WEBP] = {"webp", read_webp},
};

enum picture_format picture_format(struct str s)
{
	if (str_starts(s, STR("\x89PNG\r\n\x1a\n")))
		return PICTURE_PNG;
	if (str_starts(s, STR("\xff\xd8\xff")))
		return PICTURE_JPEG;
	if (str_starts(s, STR("GIF87a")) || str_starts(s, STR("GIF89a")))
		return PICTURE_GIF;
	if (s.n >= 12 && str_starts(s, STR("RIFF")) &&
	    memcmp(s.p + 8, "WEBP", 4) == 0)
		return PICTURE_WEBP;
	return PICTURE_UNKNOWN;
}

const char *picture_format_name(enum picture_format f)
{
	return formats[f].name;
}

/* --- what readers call ------------------------------------------------------- */

enum picture_fault reading_size(const struct reading *r, uint64_t w, uint64_t h)
{
	if (w == 0 || h == 0)
		return PICTURE_BROKEN;
	return w > PICTURE_SIDE_MAX || h > PICTURE_SIDE_MAX ||
	                       w * h > r->limits.pixels
	               ? PICTURE_LARGE
	               : PICTURE_OK;
}

enum picture_fault reading_begin(struct reading *r, unsigned w, unsigned h)
{
	enum picture_fault f = reading_size(r, w, h);

	if (f)
		return f;
	r->shrink = shrink_new(w, h, r->limits.fit);
	r->line = malloc((size_t)w * 3);
	return r->shrink && r->line ? PICTURE_OK : PICTURE_MEMORY;
}

enum picture_fault reading_time(const struct reading *r)
{
	return mono_ms() < r->limits.deadline_ms ? PICTURE_OK : PICTURE_SLOW;
}

static void lay_on_white(unsigned char *to, const unsigned char *rgba, size_t n)
{
	for (; n > 0; n--, rgba += 4, to += 3)
		for (unsigned c = 0; c < 3; c++)
			to[c] = (unsigned char)((rgba[c] * rgba[3] +
			                         255 * (255 - rgba[3]) + 127) /
			                        255);
}

enum picture_fault reading_row(struct reading *r, const unsigned char *row,
                               unsigned channels)
{
	enum picture_fault f = reading_time(r);

	if (f)
		return f;
	if (channels == 4) {
		lay_on_white(r->line, row, shrink_width(r->shrink));
		row = r->line;
	}
	shrink_row(r->shrink, row);
	return PICTURE_OK;
}

/* --- reading ------------------------------------------------------------------ */

enum picture_fault picture_read(struct str bytes,
                                const struct picture_limits *limits,
                                struct picture *out)
{
	enum picture_format format = picture_format(bytes);
	struct reading r = {.bytes = bytes,
	                    .limits = *limits,
	                    .orientation = 1};
	AUTO_PICTURE p = {0};
	enum picture_fault f;

	if (!formats[format].read)
		return PICTURE_OTHER;
	f = formats[format].read(&r);
	if (!f && !shrink_take(r.shrink, &p))
		f = PICTURE_BROKEN;
	if (!f && !exif_turn(&p, r.orientation))
		f = PICTURE_MEMORY;
	shrink_free(r.shrink);
	free(r.line);
	if (f)
		return f;
	*out = p;
	p.rgb = NULL;
	return PICTURE_OK;
}

void picture_fini(struct picture *p)
{
	free(p->rgb);
	p->rgb = NULL;
}
