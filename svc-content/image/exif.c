#include "svc-content/image/exif.h"

#include <stdint.h>
#include <stdlib.h>

#define TAG_ORIENTATION 0x0112
#define TYPE_SHORT      3
#define ENTRY_BYTES     12
#define ENTRIES_MAX     512

struct tiff {
	struct str bytes;
	bool little;
};

/* 0 where the bytes end before. */
static uint32_t number(const struct tiff *t, size_t at, unsigned n)
{
	const unsigned char *p = (const unsigned char *)t->bytes.p + at;
	uint32_t v = 0;

	if (at > t->bytes.n || t->bytes.n - at < n)
		return 0;
	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[t->little ? n - 1 - i : i];
	return v;
}

unsigned exif_orientation(struct str s)
{
	static const struct str prefix = {"Exif\0", 6};
	struct tiff t = {s, false};
	size_t at, entries;

	if (str_starts(s, prefix))
		t.bytes = (struct str){s.p + prefix.n, s.n - prefix.n};
	if (t.bytes.n < 8)
		return 1;
	t.little = t.bytes.p[0] == 'I';
	if (number(&t, 0, 2) != (t.little ? 0x4949 : 0x4d4d) ||
	    number(&t, 2, 2) != 42)
		return 1;
	at = number(&t, 4, 4);
	entries = number(&t, at, 2);
	if (entries > ENTRIES_MAX)
		return 1;
	for (at += 2; entries > 0; entries--, at += ENTRY_BYTES) {
		uint32_t v = number(&t, at + 8, 2);

		if (number(&t, at, 2) == TAG_ORIENTATION &&
		    number(&t, at + 2, 2) == TYPE_SHORT)
			return v >= 1 && v <= 8 ? v : 1;
	}
	return 1;
}

/*
 * What the orientations mean, as steps from the picture that is stored to the
 * one that is meant: first rows and columns change places, then it is mirrored.
 */
static const struct {
	bool swap, mirror_x, mirror_y;
} steps[9] = {
	[2] = {false, true, false}, /* mirrored left to right */
	[3] = {false, true, true},  /* upside down */
	[4] = {false, false, true}, /* mirrored top to bottom */
	[5] = {true, false, false}, /* transposed */
	[6] = {true, true, false},  /* a quarter to the right */
	[7] = {true, true, true},   /* transposed the other way */
	[8] = {true, false, true},  /* a quarter to the left */
};

bool exif_turn(struct picture *p, unsigned orientation)
{
	unsigned o = orientation <= 8 ? orientation : 1;
	struct picture q = *p;

	if (o <= 1)
		return true;
	q.rgb = malloc(picture_bytes(p));
	if (!q.rgb)
		return false;
	if (steps[o].swap) {
		q.w = p->h;
		q.h = p->w;
	}
	for (unsigned y = 0; y < q.h; y++)
		for (unsigned x = 0; x < q.w; x++) {
			unsigned mx = steps[o].mirror_x ? q.w - 1 - x : x;
			unsigned my = steps[o].mirror_y ? q.h - 1 - y : y;
			size_t from = steps[o].swap ? (size_t)mx * p->w + my
			                            : (size_t)my * p->w + mx;

			memcpy(q.rgb + ((size_t)y * q.w + x) * 3,
			       p->rgb + from * 3, 3);
		}
	picture_fini(p);
	*p = q;
	return true;
}
