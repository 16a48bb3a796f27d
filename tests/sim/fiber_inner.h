/*
 * fiber_inner - the inside of fiber, for what stands in for pthreads and clocks
 * (fiber_posix.c) and nobody else.
 */
#ifndef TESTS_SIM_FIBER_INNER_H
#define TESTS_SIM_FIBER_INNER_H

#include "tests/sim/context.h"
#include "tests/sim/fiber.h"

enum fiber_state { FIBER_NONE, FIBER_READY, FIBER_WAITING, FIBER_OVER };

struct fiber {
	enum fiber_state state;
	unsigned owner;
	uint64_t id; /* never again in this run: a join may come late */
	char name[24];
	struct context at;
	char *stack;
	void *fake_stack; /* of the address sanitizer */
	void (*fn)(void *arg);
	void *(*thread)(void *arg); /* of pthread_create() */
	void *arg;
	void *result;
	bool joinable;
	const void *on; /* what a waiting one waits for */
	uint64_t until_us;
	uint64_t not_before_us;
	bool woken;
};

/* NULL: the scheduler runs, or there is no simulation. */
struct fiber *fiber_current(void);
/* A microsecond passes. */
void fiber_tick(void);
/* When the owner's clock says so: never early, at most two us late. */
uint64_t fiber_when(unsigned owner, uint64_t local_us);

struct fiber *fiber_new(unsigned owner, const char *name);
struct fiber *fiber_of_thread(uint64_t id); /* NULL: none to be joined */
/* One that waits on it, or NULL. */
const struct fiber *fiber_waiting(const void *on);
/* Wakes one of them, whichever the seed says. */
void fiber_wake_one(const void *on);

#endif
