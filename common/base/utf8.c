#include "common/base/utf8.h"

#include "common/base/word.h"

bool utf8_next(struct str s, size_t *at, uint32_t *cp)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	const unsigned char *p = (const unsigned char *)s.p + *at;
	size_t left = s.n - *at, more;
	uint32_t v;

	if (left == 0)
		return false;
	v = p[0];
	if (v < 0x80) {
		*cp = v;
		*at += 1;
		return true;
	}
	if (v < 0xc2 || v > 0xf4)
		return false;
	more = v >= 0xf0 ? 3 : v >= 0xe0 ? 2 : 1;
	if (left <= more)
		return false;
	v &= 0x3fU >> more;
	for (size_t i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return false;
		v = v << 6 | (p[i] & 0x3f);
	}
	if (v < least[more] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
		return false;
	*cp = v;
	*at += more + 1;
	return true;
}

bool utf8_valid(struct str s)
{
	size_t at = 0;
	uint32_t cp;

	if (word_none(s.p, s.n, word_has_high))
		return true;
	while (at < s.n)
		if (!utf8_next(s, &at, &cp))
			return false;
	return true;
}

size_t utf8_length(struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

size_t utf8_put(uint32_t cp, char *out)
{
	if (cp < 0x80) {
		out[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (char)(0xc0 | cp >> 6);
		out[1] = (char)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		out[0] = (char)(0xe0 | cp >> 12);
		out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
		out[2] = (char)(0x80 | (cp & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | cp >> 18);
	out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
	out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
	out[3] = (char)(0x80 | (cp & 0x3f));
	return 4;
}
