/*
 * picture - a PNG, JPEG, GIF or WebP of anybody, as pixels that fit a square
 * (docs/images.md).
 *
 * Why:     what comes in is hostile until it is pixels: a few bytes may claim
 *          sixty thousand columns, a scan may be repeated ten thousand times, a
 *          file may end in the middle.
 * Format:  by the first bytes, never by a name or a type that somebody gave.
 * Limits:  width, height and pixels, from the header and before anything is
 *          allocated for them; the deadline, with each row or scan.  Memory is
 *          O(pixels) where a format hands out no rows in their order (interlaced
 *          PNG and GIF, WebP, progressive JPEG), else O(width).
 * Whole:   what is truncated or corrupt is refused, also where a library would
 *          fill the rest with grey.  Of a GIF and an animated WebP the first
 *          frame counts, on a white canvas.
 * Made:    8 bits RGB; alpha lies on white; turned as Exif says, which is not
 *          kept, nor is anything else but pixels.  Colour profiles are ignored.
 * Owns:    the pixels of a picture; picture_fini() frees them.
 * Threads: any.  In the service only worker.h calls picture_read(), in a process
 *          of its own.
 */
#ifndef SVC_CONTENT_IMAGE_PICTURE_H
#define SVC_CONTENT_IMAGE_PICTURE_H

#include "common/base/attr.h"
#include "common/base/str.h"

#define PICTURE_SIDE_MAX  16384 /* pixels in a row or column of what comes in */
#define PICTURE_SCANS_MAX 100   /* of a progressive JPEG; usual are 10 */

enum picture_format {
	PICTURE_UNKNOWN,
	PICTURE_PNG,
	PICTURE_JPEG,
	PICTURE_GIF,
	PICTURE_WEBP,
};

enum picture_fault {
	PICTURE_OK,
	PICTURE_OTHER,       /* none of the four formats */
	PICTURE_BROKEN,      /* truncated or corrupt */
	PICTURE_UNSUPPORTED, /* a kind that the format has and we do not read */
	PICTURE_LARGE,       /* more pixels than allowed, or too long a side */
	PICTURE_SLOW,        /* the deadline has passed */
	PICTURE_MEMORY,      /* it needs more than there is */
	PICTURE_FAULTS,
};

struct picture_limits {
	uint64_t pixels;      /* of what comes in */
	unsigned fit;         /* the longest side of what goes out */
	uint64_t deadline_ms; /* mono_ms() */
};

struct picture {
	unsigned w, h;
	unsigned char *rgb; /* w * h * 3, rows from the top */
};

enum picture_format picture_format(struct str bytes);
const char *picture_format_name(enum picture_format f);
enum picture_fault picture_read(struct str bytes,
                                const struct picture_limits *limits,
                                struct picture *out) MUST_CHECK;
void picture_fini(struct picture *p);
static inline size_t picture_bytes(const struct picture *p)
{
	return (size_t)p->w * p->h * 3;
}

static inline void picture_auto(struct picture *p)
{
	picture_fini(p);
}
/* A picture that frees itself: AUTO_PICTURE p = {0}; */
#define AUTO_PICTURE __attribute__((cleanup(picture_auto))) struct picture

#endif
