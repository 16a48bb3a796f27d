/*
 * blocklist_bits - the form of the filter that blocklist_tool.c writes and
 * blocklist.c reads: a Bloom filter of folded words.
 *
 * 2^22 bits (512 KiB) and 8 of them per word: with n words a word that is not
 * listed is found with probability (1 - exp(-8 n / 2^22))^8, which is 5 in ten
 * million for 94,000 words.
 */
#ifndef SVC_AUTH_BLOCKLIST_BITS_H
#define SVC_AUTH_BLOCKLIST_BITS_H

#include <sodium.h>
#include <stdint.h>
#include <string.h>

#define BLOCKLIST_BITS  ((uint32_t)1 << 22)
#define BLOCKLIST_CELLS (BLOCKLIST_BITS / 64)
#define BLOCKLIST_PICKS 8

extern const uint64_t blocklist_cells[BLOCKLIST_CELLS];
extern const unsigned blocklist_listed; /* words */

/* The bits of a word: each one takes its own step from a common start. */
static inline void blocklist_pick(const int32_t *cp, size_t n,
                                  uint32_t out[BLOCKLIST_PICKS])
{
	unsigned char hash[crypto_generichash_BYTES_MIN];
	uint64_t start, step;

	(void)crypto_generichash(hash, sizeof(hash), (const void *)cp,
	                         n * sizeof(*cp), NULL, 0);
	memcpy(&start, hash, sizeof(start));
	memcpy(&step, hash + sizeof(start), sizeof(step));
	for (unsigned i = 0; i < BLOCKLIST_PICKS; i++)
		out[i] = (uint32_t)((start + i * (step | 1)) % BLOCKLIST_BITS);
	explicit_bzero(hash, sizeof(hash));
}

#endif
