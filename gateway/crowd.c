#include "gateway/crowd.h"

#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>

#define ROWS 2

struct crowd {
	unsigned max;
	unsigned char secret[crypto_shorthash_siphashx24_KEYBYTES];
	_Atomic unsigned n[ROWS][CROWD_PLACES];
};

struct crowd *crowd_new(unsigned max)
{
	struct crowd *c = calloc(1, sizeof(*c));

	if (!c || sodium_init() < 0) {
		free(c);
		return NULL;
	}
	c->max = max;
	randombytes_buf(c->secret, sizeof(c->secret));
	return c;
}

void crowd_free(struct crowd *c)
{
	free(c);
}

static void places_of(const struct crowd *c, const struct addr *a,
                      size_t at[ROWS])
{
	struct addr net = addr_network(a);
	uint64_t hash[ROWS];

	_Static_assert(sizeof(hash) == crypto_shorthash_siphashx24_BYTES,
	               "a word for each row");
	(void)crypto_shorthash_siphashx24((unsigned char *)hash, net.b,
	                                  sizeof(net.b), c->secret);
	for (size_t i = 0; i < ROWS; i++)
		at[i] = hash[i] % CROWD_PLACES;
}

bool crowd_room(const struct crowd *c, const struct addr *a)
{
	size_t at[ROWS];

	if (c->max == 0)
		return true;
	places_of(c, a, at);
	for (size_t i = 0; i < ROWS; i++)
		if (atomic_load_explicit(&c->n[i][at[i]],
		                         memory_order_relaxed) < c->max)
			return true;
	return false;
}

void crowd_enter(struct crowd *c, const struct addr *a)
{
	size_t at[ROWS];

	places_of(c, a, at);
	for (size_t i = 0; i < ROWS; i++)
		atomic_fetch_add_explicit(&c->n[i][at[i]], 1,
		                          memory_order_relaxed);
}

void crowd_leave(struct crowd *c, const struct addr *a)
{
	size_t at[ROWS];

	places_of(c, a, at);
	for (size_t i = 0; i < ROWS; i++)
		atomic_fetch_sub_explicit(&c->n[i][at[i]], 1,
		                          memory_order_relaxed);
}
