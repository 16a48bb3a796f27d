#include "common/codec/keys.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

void keys_open(struct keys *k)
{
	assert(k->depth < KEYS_DEPTH);
	k->level[k->depth++] = (struct key_level){.first = k->n};
}

void keys_close(struct keys *k)
{
	struct key_level *l;

	assert(k->depth > 0);
	l = &k->level[--k->depth];
	k->n = l->first;
	free(l->slots);
	l->slots = NULL;
}

void keys_fini(struct keys *k)
{
	while (k->depth)
		keys_close(k);
	free(k->v);
	k->v = NULL;
	k->cap = 0;
}

static uint64_t hash(const struct keys *k, const char *p, size_t n)
{
	uint64_t h;

	_Static_assert(crypto_shorthash_BYTES == sizeof(h), "one word");
	_Static_assert(crypto_shorthash_KEYBYTES == sizeof(k->seed), "seed");
	(void)crypto_shorthash((unsigned char *)&h, (const unsigned char *)p, n,
	                       k->seed);
	return h;
}

static void place(const struct keys *k, struct key_level *l, size_t index)
{
	size_t i = k->v[index].hash & l->mask;

	while (l->slots[i])
		i = (i + 1) & l->mask;
	l->slots[i] = (uint32_t)index + 1;
}

/* A table of n slots, a power of two, with the keys that there are. */
static bool rebuild(struct keys *k, struct key_level *l, size_t n)
{
	uint32_t *slots = calloc(n, sizeof(*slots));

	if (!slots)
		return false;
	free(l->slots);
	l->slots = slots;
	l->mask = n - 1;
	for (size_t i = l->first; i < k->n; i++)
		place(k, l, i);
	return true;
}

/* The object has outgrown comparing one by one. */
static bool begin_table(struct keys *k, struct key_level *l, const char *base)
{
	if (!k->seeded)
		randombytes_buf(k->seed, sizeof(k->seed));
	k->seeded = true;
	for (size_t i = l->first; i < k->n; i++)
		k->v[i].hash = hash(k, base + k->v[i].at, k->v[i].n);
	return rebuild(k, l, (size_t)4 * KEYS_FEW);
}

static bool same(const struct key *a, const char *base, const char *p, size_t n)
{
	return a->n == n && (n == 0 || memcmp(base + a->at, p, n) == 0);
}

static bool known(const struct keys *k, const struct key_level *l,
                  const char *base, const struct key *want)
{
	const char *p = base + want->at;

	if (!l->slots) {
		for (size_t i = l->first; i < k->n; i++)
			if (same(&k->v[i], base, p, want->n))
				return true;
		return false;
	}
	for (size_t i = want->hash & l->mask; l->slots[i];
	     i = (i + 1) & l->mask) {
		const struct key *have = &k->v[l->slots[i] - 1];

		if (have->hash == want->hash && same(have, base, p, want->n))
			return true;
	}
	return false;
}

/* Room for one key more, here and in the object's table. */
static bool grow(struct keys *k, struct key_level *l)
{
	size_t cap = k->cap ? 2 * k->cap : KEYS_FEW;
	struct key *v;

	if (k->n == k->cap) {
		v = k->n < UINT32_MAX / 2 ? realloc(k->v, cap * sizeof(*v))
		                          : NULL;
		if (!v)
			return false;
		k->v = v;
		k->cap = cap;
	}
	/* At most half full, so that runs stay short. */
	return !l->slots || 2 * (k->n - l->first) < l->mask ||
	       rebuild(k, l, 2 * (l->mask + 1));
}

enum keys_result keys_add(struct keys *k, const char *base, size_t at, size_t n)
{
	struct key_level *l;
	struct key new = {.at = at, .n = n};

	assert(k->depth > 0);
	l = &k->level[k->depth - 1];
	if (!l->slots && k->n - l->first == KEYS_FEW &&
	    !begin_table(k, l, base))
		return KEYS_NOMEM;
	if (!grow(k, l))
		return KEYS_NOMEM;
	if (l->slots)
		new.hash = hash(k, base + at, n);
	if (known(k, l, base, &new))
		return KEYS_TWICE;
	k->v[k->n++] = new;
	if (l->slots)
		place(k, l, k->n - 1);
	return KEYS_NEW;
}
