#include "common/cache/breaker.h"

static const struct breaker_rule *rule_of(const struct breaker *b)
{
	static const struct breaker_rule remote = {
		.failures = REMOTE_FAILURES,
		.successes = 1,
		.first_ms = BREAKER_FIRST_MS,
		.last_ms = BREAKER_LAST_MS,
	};

	return b->rule ? b->rule : &remote;
}

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
	if (pass == BREAKER_PROBE && b->probing) {
		b->probing = false;
		if (++b->worked >= rule_of(b)->successes)
			breaker_reset(b);
	} else if (b->state == BREAKER_CLOSED) {
		b->failures = 0;
	}
}

void breaker_trip(struct breaker *b, uint64_t now_ms, uint64_t random)
{
	const struct breaker_rule *r = rule_of(b);

	b->state = BREAKER_OPEN;
	b->probing = false;
	b->failures = 0;
	b->worked = 0;
	b->until_ms = now_ms +
	              backoff_ms(r->first_ms, r->last_ms, b->opened++, random);
}

bool breaker_failed(struct breaker *b, enum breaker_pass pass, uint64_t now_ms,
                    uint64_t random)
{
	bool probe = pass == BREAKER_PROBE && b->probing;

	if (!probe && (b->state != BREAKER_CLOSED ||
	               ++b->failures < rule_of(b)->failures))
		return false;
	breaker_trip(b, now_ms, random);
	return true;
}

void breaker_unsure(struct breaker *b, enum breaker_pass pass)
{
	if (pass == BREAKER_PROBE)
		b->probing = false;
}

void breaker_reset(struct breaker *b)
{
	*b = (struct breaker){.rule = b->rule, .state = BREAKER_CLOSED};
}
