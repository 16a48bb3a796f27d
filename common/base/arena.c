#include "common/base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#define BLOCK_MIN ((size_t)4096)

struct block {
	struct block *next;
	size_t used, size;
	alignas(max_align_t) unsigned char data[];
};

struct arena {
	struct block *head;
	size_t left, max;
};

struct arena *arena_new(size_t max_bytes)
{
	struct arena *a = calloc(1, sizeof(*a));

	if (a)
		a->left = a->max = max_bytes;
	return a;
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	while (a->head) {
		struct block *b = a->head;

		a->head = b->next;
		free(b);
	}
	free(a);
}

void *arena_alloc(struct arena *a, size_t n)
{
	const size_t mask = alignof(max_align_t) - 1;
	struct block *b = a->head;

	/* The cap also bounds n, so the rounding below cannot wrap. */
	if (n > a->left || n > SIZE_MAX / 2)
		return NULL;
	n = (n + mask) & ~mask;
	if (!b || b->size - b->used < n) {
		size_t size = n > BLOCK_MIN ? n : BLOCK_MIN;

		b = malloc(sizeof(*b) + size);
		if (!b)
			return NULL;
		*b = (struct block){.next = a->head, .size = size};
		a->head = b;
	}
	a->left -= n < a->left ? n : a->left;
	b->used += n;
	return b->data + (b->used - n);
}

void arena_reset(struct arena *a)
{
	struct block *first = a->head;

	while (first && first->next) {
		struct block *next = first->next;

		free(first);
		first = next;
	}
	if (first)
		first->used = 0;
	a->head = first;
	a->left = a->max;
}

struct str arena_str(struct arena *a, struct str s)
{
	char *p = s.n < SIZE_MAX ? arena_alloc(a, s.n + 1) : NULL;

	if (!p)
		return (struct str){NULL, 0};
	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return (struct str){p, s.n};
}
