#include "gateway/limit_table.h"

#include "common/base/guard.h"

#include <assert.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SUBJECT_MAX 64

struct bucket {
	uint64_t tag; /* 0: free */
	uint64_t tat_ns;
	uint32_t ahead, told;
};

struct limit_table {
	uint64_t sets; /* a power of two */
	unsigned char secret[crypto_shorthash_siphashx24_KEYBYTES];
	_Atomic uint64_t evicted;
	struct stripe {
		pthread_mutex_t lock;
	} stripes[LIMIT_STRIPES];
	struct bucket buckets[];
};

struct limit_table *limit_table_new(size_t buckets)
{
	struct limit_table *t;
	size_t sets = LIMIT_STRIPES;

	while (sets * LIMIT_WAYS < buckets)
		sets *= 2;
	t = calloc(1, sizeof(*t) + sets * LIMIT_WAYS * sizeof(t->buckets[0]));
	if (!t)
		return NULL;
	if (sodium_init() < 0) {
		free(t);
		return NULL;
	}
	t->sets = sets;
	randombytes_buf(t->secret, sizeof(t->secret));
	for (size_t i = 0; i < LIMIT_STRIPES; i++)
		(void)pthread_mutex_init(&t->stripes[i].lock, NULL);
	return t;
}

void limit_table_free(struct limit_table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < LIMIT_STRIPES; i++)
		(void)pthread_mutex_destroy(&t->stripes[i].lock);
	explicit_bzero(t->secret, sizeof(t->secret));
	free(t);
}

struct limit_key limit_key_of(const struct limit_table *t, unsigned policy,
                              struct str subject)
{
	unsigned char text[1 + SUBJECT_MAX];
	uint64_t hash[2];

	assert(policy < 256 && subject.n <= SUBJECT_MAX);
	text[0] = (unsigned char)policy;
	if (subject.n)
		memcpy(text + 1, subject.p, subject.n);
	_Static_assert(sizeof(hash) == crypto_shorthash_siphashx24_BYTES,
	               "two words");
	(void)crypto_shorthash_siphashx24((unsigned char *)hash, text,
	                                  1 + subject.n, t->secret);
	return (struct limit_key){hash[0] & (t->sets - 1), hash[1] | 1};
}

static pthread_mutex_t *lock_of(struct limit_table *t, struct limit_key k)
{
	return &t->stripes[k.set % LIMIT_STRIPES].lock;
}

static struct bucket *find(struct limit_table *t, struct limit_key k)
{
	struct bucket *set = &t->buckets[k.set * LIMIT_WAYS];

	for (size_t i = 0; i < LIMIT_WAYS; i++)
		if (set[i].tag == k.tag)
			return &set[i];
	return NULL;
}

/* The bucket of k, or the one of its set that is full or nearest to it, made
 * into that of k. */
static struct bucket *claim(struct limit_table *t, struct limit_key k,
                            uint64_t now_ns)
{
	struct bucket *set = &t->buckets[k.set * LIMIT_WAYS];
	struct bucket *b = find(t, k), *least = set;

	if (b)
		return b;
	for (size_t i = 1; i < LIMIT_WAYS; i++)
		if (set[i].tat_ns < least->tat_ns)
			least = &set[i];
	if (least->tag && least->tat_ns > now_ns)
		atomic_fetch_add_explicit(&t->evicted, 1, memory_order_relaxed);
	*least = (struct bucket){.tag = k.tag};
	return least;
}

bool limit_table_take(struct limit_table *t, struct limit_key k,
                      const struct gcra *g, uint64_t now_ns, uint64_t n,
                      unsigned lease, struct limit_taken *out)
{
	GUARD(lock_of(t, k));
	struct bucket *b = find(t, k);
	uint64_t tat = b ? b->tat_ns : 0;
	bool ok = n ? gcra_take(g, &tat, now_ns, n)
	            : gcra_left(g, tat, now_ns) > 0;

	*out = (struct limit_taken){.tat_ns = tat};
	if (!ok || n == 0)
		return ok;
	if (lease && b && b->ahead + b->told >= lease) {
		out->leased_out = true;
		return false;
	}
	b = claim(t, k, now_ns);
	b->tat_ns = tat;
	if (lease)
		b->ahead += (uint32_t)n;
	if (lease && b->told == 0) {
		out->tell = b->told = b->ahead;
		b->ahead = 0;
	}
	return true;
}

void limit_table_heard(struct limit_table *t, struct limit_key k,
                       const struct gcra *g, uint64_t now_ns, bool told,
                       bool known, uint64_t owed_ns)
{
	GUARD(lock_of(t, k));
	struct bucket *b = find(t, k);
	uint64_t tat;

	if (!b)
		return;
	if (told)
		b->told = 0;
	tat = now_ns + owed_ns + b->ahead * g->step_ns;
	if (known && tat > b->tat_ns)
		b->tat_ns = tat;
}

void limit_table_charge(struct limit_table *t, struct limit_key k,
                        const struct gcra *g, uint64_t now_ns, uint64_t n)
{
	GUARD(lock_of(t, k));

	gcra_charge(g, &claim(t, k, now_ns)->tat_ns, now_ns, n);
}

void limit_table_give_back(struct limit_table *t, struct limit_key k,
                           const struct gcra *g, uint64_t n, bool untell)
{
	GUARD(lock_of(t, k));
	struct bucket *b = find(t, k);

	if (!b)
		return;
	gcra_give_back(g, &b->tat_ns, n);
	if (untell) {
		b->ahead += b->told;
		b->told = 0;
	}
	b->ahead -= b->ahead > n ? (uint32_t)n : b->ahead;
}

uint64_t limit_table_evicted(const struct limit_table *t)
{
	return atomic_load_explicit(&t->evicted, memory_order_relaxed);
}
