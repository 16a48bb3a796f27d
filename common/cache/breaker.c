#include "common/cache/breaker.h"

uint64_t backoff_ms(uint64_t first_ms, uint64_t last_ms, unsigned n,
                    uint64_t random)
{
	uint64_t ms = first_ms;

	while (n-- > 0 && ms < last_ms)
		ms *= 2;
	if (ms > last_ms)
		ms = last_ms;
	return ms - random % (ms / 2 + 1);
}

enum breaker_pass breaker_ask(struct breaker *b, uint64_t now_ms)
{
	if (b->state == BREAKER_CLOSED)
		return BREAKER_PASSED;
	if (b->state == BREAKER_OPEN && now_ms >= b->until_ms)
		b->state = BREAKER_HALF_OPEN;
	if (b->state == BREAKER_OPEN || b->probing)
		return BREAKER_REFUSED;
	b->probing = true;
	return BREAKER_PROBE;
}

void breaker_worked(struct breaker *b, enum breaker_pass pass)
{
	if (pass == BREAKER_PROBE && b->probing)
		breaker_reset(b);
	else if (b->state == BREAKER_CLOSED)
		b->failures = 0;
}

static void open_it(struct breaker *b, uint64_t now_ms, uint64_t random)
{
	b->state = BREAKER_OPEN;
	b->probing = false;
	b->failures = 0;
	b->until_ms = now_ms + backoff_ms(BREAKER_FIRST_MS, BREAKER_LAST_MS,
	                                  b->opened++, random);
}

bool breaker_failed(struct breaker *b, enum breaker_pass pass, uint64_t now_ms,
                    uint64_t random)
{
	bool probe = pass == BREAKER_PROBE && b->probing;

	if (!probe &&
	    (b->state != BREAKER_CLOSED || ++b->failures < REMOTE_FAILURES))
		return false;
	open_it(b, now_ms, random);
	return true;
}

void breaker_unsure(struct breaker *b, enum breaker_pass pass)
{
	if (pass == BREAKER_PROBE)
		b->probing = false;
}

void breaker_reset(struct breaker *b)
{
	*b = (struct breaker){.state = BREAKER_CLOSED};
}
