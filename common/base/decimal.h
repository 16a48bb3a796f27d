/*
 * decimal - whole numbers as text, where printf would be most of the work.
 *
 * Threads: any.
 */
#ifndef BASE_DECIMAL_H
#define BASE_DECIMAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DECIMAL_MAX 21 /* of any uint64_t, with the NUL */

/* Writes the digits of v so that the last stands before end; the first. */
static inline char *decimal_before(char *end, uint64_t v)
{
	do {
		*--end = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return end;
}

/* As a string; how many digits. */
static inline size_t decimal_write(char out[DECIMAL_MAX], uint64_t v)
{
	char text[DECIMAL_MAX], *end = text + sizeof(text);
	char *at = decimal_before(end, v);
	size_t n = (size_t)(end - at);

	memcpy(out, at, n);
	out[n] = '\0';
	return n;
}

#endif
