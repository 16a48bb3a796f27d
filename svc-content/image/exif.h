/*
 * exif - how a picture is to be turned, the one thing of Exif that is of use.
 */
#ifndef SVC_CONTENT_IMAGE_EXIF_H
#define SVC_CONTENT_IMAGE_EXIF_H

#include "svc-content/image/picture.h"

/* 1 to 8; 1 (as it is) for whatever says nothing, or is malformed.  s is a TIFF
 * header with what follows, with or without "Exif\0\0" before it. */
unsigned exif_orientation(struct str s);
/* Turns and mirrors; false without memory, and p is as before. */
bool exif_turn(struct picture *p, unsigned orientation) MUST_CHECK;

#endif
