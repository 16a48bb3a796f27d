#include "common/codec/text.h"

#include "common/base/utf8.h"

struct range {
	uint32_t first, last;
};

/* Both tables ascend. */
static const struct range spaces[] = {
	{0x0009, 0x000d}, {0x0020, 0x0020}, {0x0085, 0x0085}, {0x00a0, 0x00a0},
	{0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f},
	{0x205f, 0x205f}, {0x3000, 0x3000},
};

static const struct range refused[] = {
	{0x0000, 0x001f},    /* C0 controls */
	{'<', '<'},          /* opens a tag */
	{'>', '>'},          /* closes one */
	{0x007f, 0x009f},    /* DEL and C1 controls */
	{0x2028, 0x2029},    /* line and paragraph separator */
	{0x202a, 0x202e},    /* bidirectional embedding and override */
	{0x2066, 0x2069},    /* bidirectional isolates */
	{0xe000, 0xf8ff},    /* private use */
	{0xfdd0, 0xfdef},    /* noncharacters */
	{0xfeff, 0xfeff},    /* byte order mark */
	{0xf0000, 0x10ffff}, /* private use planes */
};

static bool within(const struct range *r, size_t n, uint32_t cp)
{
	for (size_t i = 0; i < n && cp >= r[i].first; i++)
		if (cp <= r[i].last)
			return true;
	return false;
}

bool text_is_space(uint32_t cp)
{
	return within(spaces, COUNTOF(spaces), cp);
}

bool text_is_line(uint32_t cp)
{
	/* The last two code points of each plane are noncharacters. */
	return (cp & 0xfffe) != 0xfffe &&
	       !within(refused, COUNTOF(refused), cp);
}

struct str text_trim(struct str s)
{
	size_t at = 0, begin = 0, end = 0;
	bool started = false;

	while (at < s.n) {
		size_t here = at;
		uint32_t cp;

		if (!utf8_next(s, &at, &cp))
			return s;
		if (text_is_space(cp))
			continue;
		if (!started)
			begin = here;
		started = true;
		end = at;
	}
	return (struct str){s.p ? s.p + begin : NULL, end - begin};
}

bool text_check(struct str s, bool line, size_t *length)
{
	size_t at = 0, n = 0;
	uint32_t cp;

	for (; at < s.n; n++) {
		if (!utf8_next(s, &at, &cp) || cp == 0 ||
		    (line && !text_is_line(cp)))
			return false;
	}
	*length = n;
	return true;
}
