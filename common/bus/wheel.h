/*
 * wheel - timers of calls: add and remove in constant time.
 *
 * Why:     every call has a deadline and nearly none of them is reached, so
 *          adding and removing is what costs; a heap moves entries about.
 * Bounds:  an entry is due at most WHEEL_TICK_MS late.  Entries further away
 *          than one round stay in their slot until their round comes.
 * Owns:    nothing; nodes are part of the user's structs.
 * Threads: one.
 */
#ifndef BUS_WHEEL_H
#define BUS_WHEEL_H

#include "common/bus/ring.h"

#include <stdint.h>

#define WHEEL_SLOTS   512
#define WHEEL_TICK_MS 8

struct wheel_node {
	struct ring at;
	uint64_t due_ms;
	unsigned slot;
};

struct wheel {
	struct ring slots[WHEEL_SLOTS];
	uint64_t used[WHEEL_SLOTS / 64]; /* a bit for each slot not empty */
	uint64_t tick;                   /* all before it have been looked at */
};

void wheel_init(struct wheel *w, uint64_t now_ms);
/* n->due_ms is set; n is in no wheel. */
void wheel_add(struct wheel *w, struct wheel_node *n);
void wheel_del(struct wheel *w, struct wheel_node *n); /* or in none */
/* Takes one entry that is due, or NULL.  Call until NULL. */
struct wheel_node *wheel_due(struct wheel *w, uint64_t now_ms);
/* Until wheel_due() may give one; UINT64_MAX: empty.  May be early. */
uint64_t wheel_timeout_ms(const struct wheel *w, uint64_t now_ms);

#endif
