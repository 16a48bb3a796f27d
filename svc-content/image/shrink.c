#include "svc-content/image/shrink.h"

#include <stdint.h>
#include <stdlib.h>

/*
 * Along one side, n pixels become m.  Measured in parts of 1 / (n * m) of the
 * side, a source pixel is m parts long and one of the result n, so all borders
 * are whole numbers.
 */
struct shrink {
	unsigned from_w, from_h;
	unsigned rows;    /* that have come */
	uint32_t *across; /* the row made narrower: sums of from_w parts */
	uint64_t *sum;    /* of the result's row under way */
	struct picture made;
};

static unsigned fitted(unsigned side, unsigned longest, unsigned fit)
{
	uint64_t n = ((uint64_t)side * fit + longest / 2) / longest;

	return n > 0 ? (unsigned)n : 1;
}

struct shrink *shrink_new(unsigned w, unsigned h, unsigned fit)
{
	AUTO(shrink) s = calloc(1, sizeof(*s));
	unsigned longest = w > h ? w : h;

	if (!s)
		return NULL;
	s->from_w = w;
	s->from_h = h;
	s->made.w = longest > fit ? fitted(w, longest, fit) : w;
	s->made.h = longest > fit ? fitted(h, longest, fit) : h;
	s->across = calloc((size_t)s->made.w * 3, sizeof(*s->across));
	s->sum = calloc((size_t)s->made.w * 3, sizeof(*s->sum));
	s->made.rgb = malloc(picture_bytes(&s->made));
	return s->across && s->sum && s->made.rgb ? STEAL(s) : NULL;
}

void shrink_free(struct shrink *s)
{
	if (!s)
		return;
	free(s->across);
	free(s->sum);
	picture_fini(&s->made);
	free(s);
}

unsigned shrink_width(const struct shrink *s)
{
	return s->from_w;
}

static void narrow(struct shrink *s, const unsigned char *rgb)
{
	unsigned w = s->made.w, room = s->from_w;
	uint32_t *to = s->across;

	memset(to, 0, (size_t)w * 3 * sizeof(*to));
	for (unsigned x = 0; x < s->from_w; x++, rgb += 3) {
		unsigned left = w;

		while (left > 0) {
			unsigned part = left < room ? left : room;

			for (unsigned c = 0; c < 3; c++)
				to[c] += rgb[c] * part;
			left -= part;
			room -= part;
			if (room == 0) {
				room = s->from_w;
				to += 3;
			}
		}
	}
}

static void emit(struct shrink *s, unsigned row)
{
	size_t n = (size_t)s->made.w * 3;
	uint64_t all = (uint64_t)s->from_w * s->from_h;
	unsigned char *to = s->made.rgb + n * row;

	for (size_t i = 0; i < n; i++) {
		to[i] = (unsigned char)((s->sum[i] + all / 2) / all);
		s->sum[i] = 0;
	}
}

void shrink_row(struct shrink *s, const unsigned char *rgb)
{
	size_t n = (size_t)s->made.w * 3;
	uint64_t at = (uint64_t)s->rows * s->made.h, end = at + s->made.h;

	if (s->rows == s->from_h)
		return;
	narrow(s, rgb);
	s->rows++;
	while (at < end) {
		uint64_t row = at / s->from_h;
		uint64_t border = (row + 1) * s->from_h;
		uint64_t to = border < end ? border : end;

		for (size_t i = 0; i < n; i++)
			s->sum[i] += s->across[i] * (to - at);
		if (to == border)
			emit(s, (unsigned)row);
		at = to;
	}
}

bool shrink_take(struct shrink *s, struct picture *out)
{
	if (s->rows < s->from_h || !s->made.rgb)
		return false;
	*out = s->made;
	s->made.rgb = NULL;
	return true;
}
