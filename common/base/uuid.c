#include "common/base/uuid.h"

#include "common/base/clock.h"

#include <sodium.h>

struct str uuid7(char out[UUID_MAX])
{
	static const char hex[] = "0123456789abcdef";
	uint64_t ms = (uint64_t)wall_ms();
	uint8_t b[16];
	size_t at = 0;

	randombytes_buf(b, sizeof(b));
	for (int i = 0; i < 6; i++)
		b[i] = (uint8_t)(ms >> (40 - 8 * i));
	b[6] = (uint8_t)(0x70 | (b[6] & 0x0f));
	b[8] = (uint8_t)(0x80 | (b[8] & 0x3f));
	for (size_t i = 0; i < sizeof(b); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[at++] = '-';
		out[at++] = hex[b[i] >> 4];
		out[at++] = hex[b[i] & 15];
	}
	out[at] = '\0';
	return (struct str){out, at};
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
