/*
 * ring - a doubly linked list through its members, around a head.
 *
 * Removing needs no head, and a whole list moves in constant time; both matter
 * where callbacks change the lists that are being walked.
 */
#ifndef BUS_RING_H
#define BUS_RING_H

#include <stdbool.h>
#include <stddef.h>

struct ring {
	struct ring *prev, *next; /* of a member: NULL when in no list */
};

/* The struct that has p as its member. */
#define RING_OF(type, member, p) \
	((type *)(void *)((char *)(p)-offsetof(type, member)))

static inline void ring_init(struct ring *head)
{
	head->prev = head->next = head;
}

static inline bool ring_empty(const struct ring *head)
{
	return head->next == head;
}

static inline void ring_add(struct ring *head, struct ring *m)
{
	m->prev = head->prev;
	m->next = head;
	head->prev->next = m;
	head->prev = m;
}

/* Nothing happens when it is in no list. */
static inline void ring_del(struct ring *m)
{
	if (!m->next)
		return;
	m->prev->next = m->next;
	m->next->prev = m->prev;
	m->prev = m->next = NULL;
}

/* Moves all members of from behind the head to, which was not in use. */
static inline void ring_take(struct ring *to, struct ring *from)
{
	ring_init(to);
	if (ring_empty(from))
		return;
	*to = *from;
	to->prev->next = to;
	to->next->prev = to;
	ring_init(from);
}

#endif
