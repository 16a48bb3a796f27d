#include "svc-auth/blocklist.h"

#include "svc-auth/blocklist_bits.h"

bool blocklist_has(const int32_t *cp, size_t n)
{
	uint32_t bit[BLOCKLIST_PICKS];
	uint64_t all = 1;

	blocklist_pick(cp, n, bit);
	for (size_t i = 0; i < BLOCKLIST_PICKS; i++)
		all &= blocklist_cells[bit[i] / 64] >> (bit[i] % 64);
	explicit_bzero(bit, sizeof(bit));
	return all != 0;
}

unsigned blocklist_words(void)
{
	return blocklist_listed;
}
