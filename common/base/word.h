/*
 * word - looks at eight bytes of text at once.
 *
 * Each test sets the top bit of every byte that is sought, and perhaps of bytes
 * above one in the word: so a result of 0 is certain, and any other says that
 * the caller must look byte by byte.  No test minds the order of the bytes.
 */
#ifndef BASE_WORD_H
#define BASE_WORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WORD_EACH(byte) (0x0101010101010101ULL * (unsigned char)(byte))
#define WORD_TOPS       WORD_EACH(0x80)

static inline uint64_t word_at(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* One to seven bytes: each stands in the word, some twice, and no other. */
static inline uint64_t word_few(const char *p, size_t n)
{
	uint32_t first, last;

	if (n < sizeof(first)) {
		first = (unsigned char)p[0] * 0x01010101U;
		last = (uint32_t)((unsigned char)p[n / 2] << 8 |
		                  (unsigned char)p[n - 1]) *
		       0x00010001U;
	} else {
		memcpy(&first, p, sizeof(first));
		memcpy(&last, p + n - sizeof(last), sizeof(last));
	}
	return (uint64_t)first << 32 | last;
}

/* All that is not ASCII. */
static inline uint64_t word_has_high(uint64_t v)
{
	return v;
}

static inline uint64_t word_has(uint64_t v, char c)
{
	return (v ^ WORD_EACH(c)) - WORD_EACH(1);
}

/* Control characters, quotes, backslashes, and all that is not ASCII. */
static inline uint64_t word_has_special(uint64_t v)
{
	return v | (v - WORD_EACH(0x20)) | word_has(v, '"') | word_has(v, '\\');
}

/* Control characters and DEL; what is not ASCII does not count. */
static inline uint64_t word_has_control(uint64_t v)
{
	return ((v - WORD_EACH(0x20)) | word_has(v, 0x7f)) & ~v;
}

/* True when it is certain that none of n bytes is sought. */
static inline bool word_none(const char *p, size_t n,
                             uint64_t (*seek)(uint64_t))
{
	size_t at = 0;

	if (n < 8)
		return n == 0 || !(seek(word_few(p, n)) & WORD_TOPS);
	for (; n - at > 8; at += 8)
		if (seek(word_at(p + at)) & WORD_TOPS)
			return false;
	return !(seek(word_at(p + n - 8)) & WORD_TOPS); /* some again */
}

/* Copies n bytes, and is true when it is certain that none of them is sought;
 * else what stands at `to` is of no use, though none beyond n was written. */
static inline bool word_copy(char *to, const char *p, size_t n,
                             uint64_t (*seek)(uint64_t))
{
	size_t at = 0;
	uint64_t v;

	if (n < 8) {
		if (n >= 4) {
			memcpy(to, p, 4);
			memcpy(to + n - 4, p + n - 4, 4);
		} else if (n > 0) {
			to[0] = p[0];
			to[n / 2] = p[n / 2];
			to[n - 1] = p[n - 1];
		}
		return n == 0 || !(seek(word_few(p, n)) & WORD_TOPS);
	}
	for (; n - at > 8; at += 8) {
		v = word_at(p + at);
		if (seek(v) & WORD_TOPS)
			return false;
		memcpy(to + at, &v, sizeof(v));
	}
	v = word_at(p + n - 8);
	memcpy(to + n - 8, &v, sizeof(v)); /* some again */
	return !(seek(v) & WORD_TOPS);
}

#endif
