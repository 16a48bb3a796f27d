/*
 * word - looks at eight bytes of text at once.
 *
 * Each test sets the top bit of every byte that is sought, and perhaps of bytes
 * above one in the word: so a result of 0 is certain, and any other says that
 * the caller must look byte by byte.
 */
#ifndef CODEC_WORD_H
#define CODEC_WORD_H

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

static inline uint64_t word_has(uint64_t v, char c)
{
	return (v ^ WORD_EACH(c)) - WORD_EACH(1);
}

/* Control characters, quotes, backslashes, and all that is not ASCII. */
static inline uint64_t word_has_special(uint64_t v)
{
	return v | (v - WORD_EACH(0x20)) | word_has(v, '"') | word_has(v, '\\');
}

#endif
