#include "common/cache/hold.h"

#include <assert.h>
#include <stdlib.h>

#define COUNTED 1u

bool holds_init(struct holds *h, size_t cores_n)
{
	*h = (struct holds){.cores_n = cores_n};
	h->cores = aligned_alloc(_Alignof(struct hold_core),
	                         cores_n * sizeof(*h->cores));
	if (!h->cores)
		return false;
	memset(h->cores, 0, cores_n * sizeof(*h->cores));
	return true;
}

void holds_fini(struct holds *h)
{
	for (size_t c = 0; h->cores && c < h->cores_n; c++)
		for (size_t i = 0; i < HOLDS_PER_CORE; i++)
			assert(!atomic_load(&h->cores[c].noted[i]));
	free(h->cores);
}

struct cache_value *hold_take(struct holds *h, size_t core,
                              struct cache_value *v)
{
	struct hold_core *c = &h->cores[core];

	for (size_t i = 0; i < HOLDS_PER_CORE; i++) {
		struct cache_value *shown = &c->shown[i];
		uintptr_t none = 0;

		if (atomic_load_explicit(&c->noted[i], memory_order_relaxed) ||
		    !atomic_compare_exchange_strong(&c->noted[i], &none,
		                                    (uintptr_t)v))
			continue;
		shown->bytes = v->bytes;
		shown->noted = &c->noted[i];
		return shown;
	}
	return value_share(v);
}

void hold_leave(struct cache_value *shown)
{
	uintptr_t was = atomic_exchange(shown->noted, 0);

	if (was & COUNTED)
		cache_put_back(
			(struct cache_value *)(was & ~(uintptr_t)COUNTED));
}

/* Counted first: one who leaves right after it is marked takes that off. */
static void count_one(_Atomic uintptr_t *noted, struct cache_value *v)
{
	uintptr_t uncounted = (uintptr_t)v;

	if (atomic_load(noted) != uncounted)
		return;
	(void)value_share(v);
	if (!atomic_compare_exchange_strong(noted, &uncounted,
	                                    (uintptr_t)v | COUNTED))
		cache_put_back(v); /* it was given back meanwhile */
}

void holds_count(struct holds *h, struct cache_value *v)
{
	for (size_t c = 0; c < h->cores_n; c++)
		for (size_t i = 0; i < HOLDS_PER_CORE; i++)
			count_one(&h->cores[c].noted[i], v);
}
