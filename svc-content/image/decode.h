/*
 * decode - picture_read() in a process of its own (worker.h), for services.
 *
 * Bounds:  `workers` processes at a time, who comes later waits; each has
 *          DECODE_MS, or less where the deadline is sooner, and is then killed;
 *          its memory is limited by the pixels that are allowed.
 * Cost:    a process: see docs/images.md.
 * Threads: any.
 */
#ifndef SVC_CONTENT_IMAGE_DECODE_H
#define SVC_CONTENT_IMAGE_DECODE_H

#include "svc-content/image/picture.h"

#include "common/base/err.h"

#define DECODE_MS  10000
#define DECODE_FIT 1024 /* the longest side of what goes out */

struct decoder;

struct decode_conf {
	uint64_t pixels;
	unsigned workers;
};

/* NULL without memory. */
struct decoder *decoder_new(const struct decode_conf *conf) MUST_CHECK;
/* Nobody is inside any more.  NULL is fine. */
void decoder_free(struct decoder *d);
AUTO_TYPE(decoder, struct decoder *, decoder_free)

/*
 * OK: look at *fault; out is filled where that is PICTURE_OK.  A worker that died
 * over the bytes makes them PICTURE_BROKEN, with a line on the log
 * (image.worker_died).  ERR_BUSY: no worker was free before the deadline.
 * ERR_UNAVAILABLE: no process can be made, or it cannot be jailed: a line on the
 * log (image.no_worker).  ERR_NOMEM.
 */
enum err decode_picture(struct decoder *d, struct str bytes,
                        uint64_t deadline_ms, enum picture_fault *fault,
                        struct picture *out) MUST_CHECK;

#endif
