#include "gateway/credcache.h"

#include <sodium.h>
#include <stdlib.h>

struct slot {
	struct digest d;
	struct cred v;
};

/* The first half of a digest in each way; 0 is an empty way. */
struct set {
	uint64_t tag[CREDCACHE_WAYS];
};

struct credcache {
	unsigned char key[CRED_KINDS][crypto_shorthash_siphashx24_KEYBYTES];
	size_t mask; /* sets - 1, a power of two less one */
	struct set *sets;
	struct slot *slots; /* CREDCACHE_WAYS per set */
	struct {
		uint8_t used, hand; /* bits per way; next way to look at */
	} * clock;
	struct credcache_stats stats;
};

struct credcache *credcache_new(size_t slots)
{
	AUTO(credcache) c = calloc(1, sizeof(*c));
	size_t sets = 1;

	while (sets * CREDCACHE_WAYS < slots)
		sets *= 2;
	if (!c)
		return NULL;
	c->mask = sets - 1;
	c->sets = calloc(sets, sizeof(*c->sets));
	c->clock = calloc(sets, sizeof(*c->clock));
	c->slots = calloc(sets * CREDCACHE_WAYS, sizeof(*c->slots));
	if (!c->sets || !c->clock || !c->slots)
		return NULL;
	randombytes_buf(c->key, sizeof(c->key));
	return STEAL(c);
}

void credcache_free(struct credcache *c)
{
	if (!c)
		return;
	free(c->sets);
	free(c->clock);
	free(c->slots);
	explicit_bzero(c->key, sizeof(c->key));
	free(c);
}

struct digest credcache_digest(const struct credcache *c, enum cred_kind kind,
                               struct str secret)
{
	struct digest d;

	(void)crypto_shorthash_siphashx24(d.b, (const unsigned char *)secret.p,
	                                  secret.n, c->key[kind]);
	return d;
}

static uint64_t half(const struct digest *d, size_t which)
{
	uint64_t v;

	memcpy(&v, d->b + 8 * which, sizeof(v));
	return v;
}

static uint64_t tag_of(const struct digest *d)
{
	uint64_t tag = half(d, 0);

	return tag ? tag : 1;
}

/* The way that holds d, or CREDCACHE_WAYS. */
static size_t find(const struct credcache *c, size_t set,
                   const struct digest *d)
{
	uint64_t tag = tag_of(d);

	for (size_t w = 0; w < CREDCACHE_WAYS; w++)
		if (c->sets[set].tag[w] == tag &&
		    memcmp(&c->slots[set * CREDCACHE_WAYS + w].d, d,
		           sizeof(*d)) == 0)
			return w;
	return CREDCACHE_WAYS;
}

static void empty(struct credcache *c, size_t set, size_t way)
{
	c->sets[set].tag[way] = 0;
	c->clock[set].used &= (uint8_t) ~(1u << way);
	c->stats.entries--;
}

struct cred *credcache_get(struct credcache *c, const struct digest *d,
                           uint64_t now_ms)
{
	size_t set = half(d, 1) & c->mask;
	size_t way = find(c, set, d);
	struct cred *v;

	if (way == CREDCACHE_WAYS)
		return NULL;
	v = &c->slots[set * CREDCACHE_WAYS + way].v;
	if (v->until_ms <= now_ms) {
		empty(c, set, way);
		return NULL;
	}
	c->clock[set].used |= (uint8_t)(1u << way);
	return v;
}

/* An empty or outdated way, or with `refusal` one that may be taken from a
 * refusal; CREDCACHE_WAYS: none. */
static size_t spare(const struct credcache *c, size_t set, uint64_t now_ms,
                    bool refusal)
{
	for (size_t w = 0; w < CREDCACHE_WAYS; w++) {
		const struct cred *v = &c->slots[set * CREDCACHE_WAYS + w].v;

		if (c->sets[set].tag[w] == 0 || v->until_ms <= now_ms ||
		    (refusal && v->verdict))
			return w;
	}
	return CREDCACHE_WAYS;
}

/* The clock hand: the first way not used since it last passed. */
static size_t coldest(struct credcache *c, size_t set)
{
	for (;;) {
		size_t w = c->clock[set].hand;
		uint8_t bit = (uint8_t)(1u << w);

		c->clock[set].hand = (uint8_t)((w + 1) % CREDCACHE_WAYS);
		if (!(c->clock[set].used & bit))
			return w;
		c->clock[set].used &= (uint8_t)~bit;
	}
}

void credcache_put(struct credcache *c, const struct digest *d,
                   const struct cred *v, uint64_t now_ms)
{
	size_t set = half(d, 1) & c->mask;
	size_t way = find(c, set, d);
	struct slot *s;

	if (way == CREDCACHE_WAYS)
		way = spare(c, set, now_ms, v->verdict != OK);
	if (way == CREDCACHE_WAYS) {
		if (v->verdict)
			return;
		way = coldest(c, set);
		c->stats.evicted++;
	}
	if (c->sets[set].tag[way] == 0)
		c->stats.entries++;
	s = &c->slots[set * CREDCACHE_WAYS + way];
	s->d = *d;
	s->v = *v;
	c->sets[set].tag[way] = tag_of(d);
	c->clock[set].used &= (uint8_t) ~(1u << way);
}

void credcache_drop(struct credcache *c, const struct digest *d)
{
	size_t set = half(d, 1) & c->mask;
	size_t way = find(c, set, d);

	if (way < CREDCACHE_WAYS)
		empty(c, set, way);
}

struct credcache_stats credcache_stats(const struct credcache *c)
{
	return c->stats;
}
