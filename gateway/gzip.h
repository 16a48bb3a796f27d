/*
 * gzip - an answer in fewer bytes, for clients that say they can read it (RFC
 * 9110, 12.5.3).
 *
 * Why:     JSON of lessons shrinks to a third or less, which a phone notices
 *          far more than the fraction of a millisecond that it costs here.
 * Bounds:  nothing below GZIP_MIN, where the frame eats the gain, and nothing
 *          beyond GZIP_MAX, because the loop answers nobody else meanwhile: at
 *          level 1 that is some milliseconds.  Levels
 *          above 1 save a few bytes in a hundred for two to four times the
 *          time.
 * Owns:    the window and tables of one compression, some 270 KB, which are
 *          used over and over.
 * Threads: one; each loop has its own.
 */
#ifndef GATEWAY_GZIP_H
#define GATEWAY_GZIP_H

#include "common/base/buf.h"

#define GZIP_MIN   ((size_t)1 << 10)
#define GZIP_MAX   ((size_t)256 << 10)
#define GZIP_LEVEL 1

struct gzip;

struct gzip *gzip_new(int level); /* NULL without memory */
void gzip_free(struct gzip *g);   /* NULL is fine */
AUTO_TYPE(gzip, struct gzip *, gzip_free)

/* Appends.  False without memory or where it would not be shorter; *out is then
 * as before, but that out->failed may be set. */
bool gzip_write(struct gzip *g, struct str in, struct buf *out) MUST_CHECK;

/*
 * Whether Accept-Encoding takes a coding ("gzip", "br") at least as gladly as
 * the plain bytes.  An empty header takes nothing, as one that is not there.
 */
bool gzip_taken(struct str accept_encoding, struct str coding);

#endif
