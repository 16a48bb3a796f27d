/*
 * shrink - makes a picture smaller while its rows come, by area average: each
 * pixel of the result is the mean of what it covers, parts of pixels counted as
 * parts, in whole numbers and so the same on every machine.
 *
 * Bounds:  memory O(width of the source) and the result; sides up to
 *          PICTURE_SIDE_MAX.  Never makes anything larger.
 * Threads: one at a time.
 */
#ifndef SVC_CONTENT_IMAGE_SHRINK_H
#define SVC_CONTENT_IMAGE_SHRINK_H

#include "svc-content/image/picture.h"

struct shrink;

/* w and h are at least 1; fit is the longest side of the result.  NULL without
 * memory. */
struct shrink *shrink_new(unsigned w, unsigned h, unsigned fit) MUST_CHECK;
void shrink_free(struct shrink *s); /* NULL is fine */
AUTO_TYPE(shrink, struct shrink *, shrink_free)
unsigned shrink_width(const struct shrink *s); /* of the source */
/* The next row, w * 3 bytes; rows beyond the last are dropped. */
void shrink_row(struct shrink *s, const unsigned char *rgb);
/* The result, once, when all rows have come; else false. */
bool shrink_take(struct shrink *s, struct picture *out) MUST_CHECK;

#endif
