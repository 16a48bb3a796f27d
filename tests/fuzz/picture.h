/*
 * picture - the property of every target that reads pictures: what is taken is
 * within the limits, the same when it is read again, and can be written and read
 * as a JPEG of the same size.
 */
#ifndef TESTS_FUZZ_PICTURE_H
#define TESTS_FUZZ_PICTURE_H

#include "common/base/clock.h"
#include "svc-content/image/jpeg.h"

#include <assert.h>
#include <stdint.h>

#define FUZZ_PIXELS ((uint64_t)1 << 20)
#define FUZZ_FIT    64

static inline bool fuzz_read(struct str in, struct picture *out)
{
	const struct picture_limits l = {.pixels = FUZZ_PIXELS,
	                                 .fit = FUZZ_FIT,
	                                 .deadline_ms = mono_ms() + 10000};

	if (picture_read(in, &l, out)) {
		assert(!out->rgb);
		return false;
	}
	assert(out->w >= 1 && out->w <= FUZZ_FIT);
	assert(out->h >= 1 && out->h <= FUZZ_FIT);
	return true;
}

static inline void fuzz_picture(struct str in, enum picture_format want)
{
	AUTO_PICTURE a = {0};
	AUTO_PICTURE b = {0};
	AUTO_PICTURE c = {0};
	AUTO_BUF ours = {0};

	if (picture_format(in) != want)
		return;
	if (!fuzz_read(in, &a) || !fuzz_read(in, &b))
		return;
	assert(a.w == b.w && a.h == b.h);
	assert(memcmp(a.rgb, b.rgb, picture_bytes(&a)) == 0);
	if (jpeg_write(&a, &ours))
		return;
	assert(fuzz_read(buf_view(&ours), &c) && c.w == a.w && c.h == a.h);
}

#endif
