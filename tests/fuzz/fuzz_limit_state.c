/*
 * fuzz_limit_state - any order of takes, charges, returns and pauses on a
 * bucket: never more than the rule lets in, what was told to be left can be
 * taken, the wait that was told is enough and not too long, and nothing
 * overflows.
 */
#include "gateway/limit_gcra.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t number(const uint8_t **data, size_t *size)
{
	uint64_t v = 0;
	size_t n = *size < 5 ? *size : 5;

	memcpy(&v, *data, n);
	*data += n;
	*size -= n;
	return v;
}

static void wait_is_exact(const struct gcra *g, uint64_t tat, uint64_t now,
                          uint64_t n)
{
	uint64_t wait = gcra_wait_ns(g, tat, now, n), at = tat;

	if (wait == UINT64_MAX) {
		assert(n > g->span_ns / g->step_ns);
		return;
	}
	assert(gcra_take(g, &at, now + wait, n));
	at = tat;
	assert(wait == 0 || !gcra_take(g, &at, now + wait - 1, n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t quota = number(&data, &size) % GCRA_QUOTA_MAX + 1;
	struct gcra g =
		gcra_of(quota,
	                (unsigned)(number(&data, &size) % GCRA_WINDOW_MAX) + 1);
	uint64_t tat = 0, begin = number(&data, &size), now = begin, taken = 0;

	while (size > 0 && now < UINT64_MAX / 4) {
		uint8_t what = *data++;
		uint64_t n, left = gcra_left(&g, tat, now), at = tat;

		size--;
		n = number(&data, &size);
		assert(left <= quota);
		assert(left == 0 || gcra_take(&g, &at, now, left));
		at = tat;
		assert(!gcra_take(&g, &at, now, left + 1) && at == tat);
		if (what % 4 == 0) {
			now += n << (what >> 2 & 15);
		} else if (what % 4 == 1) {
			n %= quota;
			taken += gcra_take(&g, &tat, now, n) ? n : 0;
		} else if (what % 4 == 2) {
			gcra_charge(&g, &tat, now, n);
		} else if (n <= quota && gcra_take(&g, &tat, now, n)) {
			gcra_give_back(&g, &tat, n);
		}
		assert(taken <= quota + (now - begin) / g.step_ns);
		assert(gcra_full_ns(tat, now) <= GCRA_DEBT_SPANS * g.span_ns);
		wait_is_exact(&g, tat, now, n % (quota + 2));
	}
	return 0;
}
