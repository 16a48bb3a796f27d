#include "common/bus/wheel.h"

_Static_assert(WHEEL_SLOTS % 64 == 0, "whole words of bits");

/* The first tick at whose start the time has come. */
static uint64_t tick_of(uint64_t due_ms)
{
	return due_ms / WHEEL_TICK_MS + (due_ms % WHEEL_TICK_MS != 0);
}

void wheel_init(struct wheel *w, uint64_t now_ms)
{
	for (unsigned i = 0; i < WHEEL_SLOTS; i++)
		ring_init(&w->slots[i]);
	for (unsigned i = 0; i < WHEEL_SLOTS / 64; i++)
		w->used[i] = 0;
	w->tick = now_ms / WHEEL_TICK_MS;
}

void wheel_add(struct wheel *w, struct wheel_node *n)
{
	uint64_t tick = tick_of(n->due_ms);
	unsigned slot;

	if (tick < w->tick)
		tick = w->tick; /* in the past: at the next look */
	slot = tick % WHEEL_SLOTS;
	n->slot = slot;
	ring_add(&w->slots[slot], &n->at);
	w->used[slot / 64] |= UINT64_C(1) << slot % 64;
}

void wheel_del(struct wheel *w, struct wheel_node *n)
{
	if (!n->at.next)
		return;
	ring_del(&n->at);
	if (ring_empty(&w->slots[n->slot]))
		w->used[n->slot / 64] &= ~(UINT64_C(1) << n->slot % 64);
}

/* Ticks from `tick` to the next slot in use; WHEEL_SLOTS: none. */
static unsigned next_used(const struct wheel *w, uint64_t tick)
{
	unsigned from = tick % WHEEL_SLOTS;

	for (unsigned gone = 0; gone < WHEEL_SLOTS;) {
		unsigned at = (from + gone) % WHEEL_SLOTS;
		uint64_t bits = w->used[at / 64] >> at % 64;

		if (bits)
			return gone + (unsigned)__builtin_ctzll(bits);
		gone += 64 - at % 64;
	}
	return WHEEL_SLOTS;
}

static struct wheel_node *due_in(struct wheel *w, unsigned slot,
                                 uint64_t now_ms)
{
	struct ring *head = &w->slots[slot];

	for (struct ring *at = head->next; at != head; at = at->next) {
		struct wheel_node *n = RING_OF(struct wheel_node, at, at);

		if (n->due_ms <= now_ms) {
			wheel_del(w, n);
			return n;
		}
	}
	return NULL;
}

struct wheel_node *wheel_due(struct wheel *w, uint64_t now_ms)
{
	uint64_t now = now_ms / WHEEL_TICK_MS;

	/* A stall of more than a round need not look at a slot twice. */
	if (now >= w->tick + WHEEL_SLOTS)
		w->tick = now - WHEEL_SLOTS + 1;
	while (w->tick <= now) {
		unsigned skip = next_used(w, w->tick);
		struct wheel_node *n;

		if (skip >= WHEEL_SLOTS || w->tick + skip > now) {
			w->tick = now + 1;
			return NULL;
		}
		w->tick += skip;
		n = due_in(w, w->tick % WHEEL_SLOTS, now_ms);
		if (n)
			return n;
		w->tick++;
	}
	return NULL;
}

uint64_t wheel_timeout_ms(const struct wheel *w, uint64_t now_ms)
{
	unsigned skip = next_used(w, w->tick);
	uint64_t at;

	if (skip >= WHEEL_SLOTS)
		return UINT64_MAX;
	at = (w->tick + skip) * WHEEL_TICK_MS;
	return at > now_ms ? at - now_ms : 0;
}
