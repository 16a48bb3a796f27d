#include "tests/sim/heap.h"

#include "tests/sim/fiber.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
void __wrap_free(void *p);

#define BLOCKS_MAX ((size_t)1 << 14) /* a power of two */

/* Open addressing; a block that is freed leaves `p` as GONE. */
#define GONE ((void *)1)

struct block {
	void *p;
	size_t n;
	unsigned owner;
};

static struct {
	struct block *blocks;
	size_t used; /* GONE ones too */
	size_t blocks_n[FIBER_OWNERS], bytes[FIBER_OWNERS];
	unsigned fail[FIBER_OWNERS];
} H;

static size_t place(const void *p)
{
	uint64_t h = (uint64_t)(uintptr_t)p * 0x9e3779b97f4a7c15;

	return (size_t)(h >> 40) & (BLOCKS_MAX - 1);
}

static struct block *find(const void *p)
{
	size_t i;

	if (!H.blocks || !p)
		return NULL;
	for (i = place(p); H.blocks[i].p; i = (i + 1) & (BLOCKS_MAX - 1))
		if (H.blocks[i].p == p)
			return &H.blocks[i];
	return NULL;
}

/* Drops what is GONE. */
static void rehash(void)
{
	struct block *old = H.blocks;

	H.blocks = __real_calloc(BLOCKS_MAX, sizeof(*H.blocks));
	assert(H.blocks);
	H.used = 0;
	for (size_t i = 0; i < BLOCKS_MAX; i++) {
		size_t at;

		if (!old[i].p || old[i].p == GONE)
			continue;
		at = place(old[i].p);
		while (H.blocks[at].p)
			at = (at + 1) & (BLOCKS_MAX - 1);
		H.blocks[at] = old[i];
		H.used++;
	}
	__real_free(old);
}

static void *add(void *p, size_t n)
{
	unsigned owner = fiber_owner();
	size_t i;

	if (!p || owner == 0 || !H.blocks)
		return p;
	if (H.used > BLOCKS_MAX / 2)
		rehash();
	assert(H.used <= BLOCKS_MAX / 2);
	i = place(p);
	while (H.blocks[i].p && H.blocks[i].p != GONE)
		i = (i + 1) & (BLOCKS_MAX - 1);
	H.used += !H.blocks[i].p;
	H.blocks[i] = (struct block){p, n, owner};
	H.blocks_n[owner]++;
	H.bytes[owner] += n;
	return p;
}

static void forget(struct block *b)
{
	H.blocks_n[b->owner]--;
	H.bytes[b->owner] -= b->n;
	b->p = GONE;
}

static bool fails(void)
{
	unsigned owner = fiber_owner();

	return owner > 0 && H.fail[owner] > 0 && fiber_chance(H.fail[owner]);
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : add(__real_malloc(n), n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : add(__real_calloc(n, size), n * size);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	return fails() ? NULL : add(__real_aligned_alloc(align, n), n);
}

void *__wrap_realloc(void *p, size_t n)
{
	struct block *b = find(p);
	void *moved;

	if (fails())
		return NULL;
	moved = __real_realloc(p, n);
	if (!moved)
		return NULL;
	if (b)
		forget(b);
	return add(moved, n);
}

void __wrap_free(void *p)
{
	struct block *b = find(p);

	if (b)
		forget(b);
	__real_free(p);
}

void heap_begin(void)
{
	memset(&H, 0, sizeof(H));
	H.blocks = __real_calloc(BLOCKS_MAX, sizeof(*H.blocks));
	assert(H.blocks);
}

size_t heap_blocks(unsigned owner)
{
	return H.blocks_n[owner];
}

size_t heap_bytes(unsigned owner)
{
	return H.bytes[owner];
}

void heap_drop(unsigned owner)
{
	for (size_t i = 0; i < BLOCKS_MAX && H.blocks_n[owner] > 0; i++) {
		struct block *b = &H.blocks[i];

		if (!b->p || b->p == GONE || b->owner != owner)
			continue;
		__real_free(b->p);
		forget(b);
	}
}

void heap_end(void)
{
	for (unsigned owner = 1; owner < FIBER_OWNERS; owner++)
		heap_drop(owner);
	__real_free(H.blocks);
	H.blocks = NULL;
}

void heap_fail(unsigned owner, unsigned per_mille)
{
	H.fail[owner] = per_mille;
}

void *heap_world_new(size_t n)
{
	void *p = __real_calloc(1, n);

	assert(p);
	return p;
}

void heap_world_free(void *p)
{
	__real_free(p);
}
