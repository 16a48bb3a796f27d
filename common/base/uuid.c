#include "common/base/uuid.h"

#include "common/base/clock.h"

#include <sodium.h>

/* b ends in UUID_RANDOM random bytes; the rest is written here. */
static struct str write_uuid(uint8_t b[16], char out[UUID_MAX])
{
	static const char hex[] = "0123456789abcdef";
	uint64_t ms = (uint64_t)wall_ms();
	size_t at = 0;

	for (int i = 0; i < 6; i++)
		b[i] = (uint8_t)(ms >> (40 - 8 * i));
	b[6] = (uint8_t)(0x70 | (b[6] & 0x0f));
	b[8] = (uint8_t)(0x80 | (b[8] & 0x3f));
	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[at++] = '-';
		out[at++] = hex[b[i] >> 4];
		out[at++] = hex[b[i] & 15];
	}
	out[at] = '\0';
	return (struct str){out, at};
}

struct str uuid7(char out[UUID_MAX])
{
	uint8_t b[16];

	randombytes_buf(b + 16 - UUID_RANDOM, UUID_RANDOM);
	return write_uuid(b, out);
}

struct str uuid7_from(struct uuid_pool *pool, char out[UUID_MAX])
{
	unsigned char *random;
	uint8_t b[16];

	if (pool->left == 0) {
		randombytes_buf(pool->random, sizeof(pool->random));
		pool->left = sizeof(pool->random);
	}
	pool->left -= UUID_RANDOM;
	random = pool->random + pool->left;
	memcpy(b + 16 - UUID_RANDOM, random, UUID_RANDOM);
	explicit_bzero(random, UUID_RANDOM);
	return write_uuid(b, out);
}

bool uuid_valid(struct str s)
{
	if (s.n != UUID_MAX - 1)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (c != '-')
				return false;
		} else if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) {
			return false;
		}
	}
	return true;
}
