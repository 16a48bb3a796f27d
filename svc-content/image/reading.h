/*
 * reading - what the readers of the formats share: limits, and rows that are
 * laid on white and made smaller as they come.
 *
 * A reader says once how large the picture is (reading_size(), which checks the
 * limits, then reading_begin()), gives each row from the top (reading_row()),
 * and sets orientation.  What is not PICTURE_OK ends the reading.
 */
#ifndef SVC_CONTENT_IMAGE_READING_H
#define SVC_CONTENT_IMAGE_READING_H

#include "svc-content/image/picture.h"
#include "svc-content/image/shrink.h"

struct reading {
	struct str bytes;
	struct picture_limits limits;
	struct shrink *shrink;
	unsigned char *line;  /* a row on white */
	unsigned orientation; /* of Exif: 1 to 8 */
};

enum picture_fault reading_size(const struct reading *r, uint64_t w,
                                uint64_t h) MUST_CHECK;
enum picture_fault reading_begin(struct reading *r, unsigned w,
                                 unsigned h) MUST_CHECK;
/* PICTURE_SLOW when the deadline has passed. */
enum picture_fault reading_time(const struct reading *r) MUST_CHECK;
/* channels: 3 RGB, 4 RGBA. */
enum picture_fault reading_row(struct reading *r, const unsigned char *row,
                               unsigned channels) MUST_CHECK;

enum picture_fault read_png(struct reading *r) MUST_CHECK;
enum picture_fault read_jpeg(struct reading *r) MUST_CHECK;
enum picture_fault read_gif(struct reading *r) MUST_CHECK;
enum picture_fault read_webp(struct reading *r) MUST_CHECK;

#endif
