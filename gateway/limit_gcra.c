#include "gateway/limit_gcra.h"

#include <assert.h>

#define SECOND_NS 1000000000U

struct gcra gcra_of(uint64_t quota, unsigned window_s)
{
	uint64_t window_ns = (uint64_t)window_s * SECOND_NS;
	struct gcra g;

	assert(quota > 0 && quota <= GCRA_QUOTA_MAX);
	assert(window_s > 0 && window_s <= GCRA_WINDOW_MAX);
	g.step_ns = (window_ns + quota - 1) / quota;
	g.span_ns = g.step_ns * quota;
	return g;
}

static uint64_t debt(uint64_t tat_ns, uint64_t now_ns)
{
	return tat_ns > now_ns ? tat_ns - now_ns : 0;
}

bool gcra_take(const struct gcra *g, uint64_t *tat_ns, uint64_t now_ns,
               uint64_t n)
{
	if (gcra_left(g, *tat_ns, now_ns) < n)
		return false;
	*tat_ns = now_ns + debt(*tat_ns, now_ns) + n * g->step_ns;
	return true;
}

void gcra_charge(const struct gcra *g, uint64_t *tat_ns, uint64_t now_ns,
                 uint64_t n)
{
	uint64_t max = GCRA_DEBT_SPANS * g->span_ns;
	uint64_t owed = debt(*tat_ns, now_ns);
	uint64_t room = owed < max ? (max - owed) / g->step_ns : 0;

	owed += (n < room ? n : room) * g->step_ns;
	*tat_ns = now_ns + owed;
}

void gcra_give_back(const struct gcra *g, uint64_t *tat_ns, uint64_t n)
{
	uint64_t units = *tat_ns / g->step_ns;

	*tat_ns -= (n < units ? n : units) * g->step_ns;
}

uint64_t gcra_left(const struct gcra *g, uint64_t tat_ns, uint64_t now_ns)
{
	uint64_t owed = debt(tat_ns, now_ns);

	return owed < g->span_ns ? (g->span_ns - owed) / g->step_ns : 0;
}

uint64_t gcra_wait_ns(const struct gcra *g, uint64_t tat_ns, uint64_t now_ns,
                      uint64_t n)
{
	uint64_t owed = debt(tat_ns, now_ns), free_ns;

	if (n > g->span_ns / g->step_ns)
		return UINT64_MAX;
	free_ns = g->span_ns - n * g->step_ns;
	/* Nothing can be taken at any time, also in debt. */
	return n > 0 && owed > free_ns ? owed - free_ns : 0;
}

uint64_t gcra_full_ns(uint64_t tat_ns, uint64_t now_ns)
{
	return debt(tat_ns, now_ns);
}
