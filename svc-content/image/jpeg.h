/*
 * jpeg - pixels as a JPEG of quality 85, with nothing in it but pixels: what a
 * provider gets to see.
 */
#ifndef SVC_CONTENT_IMAGE_JPEG_H
#define SVC_CONTENT_IMAGE_JPEG_H

#include "svc-content/image/picture.h"

#include "common/base/buf.h"
#include "common/base/err.h"

#define JPEG_QUALITY 85

/* Appends to out; ERR_NOMEM. */
enum err jpeg_write(const struct picture *p, struct buf *out) MUST_CHECK;

#endif
