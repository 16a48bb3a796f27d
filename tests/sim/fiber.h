/*
 * fiber - threads that one seed schedules, over a time that only it moves.
 *
 * Why:     a race that shows once in a million runs cannot be mended.  Here the
 *          threads of the code under test are fibers of one thread, what runs
 *          next is drawn from a seed, and a second of theirs costs nothing when
 *          nobody has anything to do: the same seed is the same run, for ever.
 *
 * A program linked with --wrap for the functions in fiber_posix.c has its
 * pthread_create() and join, mutexes, condition variables, clocks and random
 * numbers made of this.  Places where another fiber may go on are those calls
 * and fiber_yield(): enough to put every critical section between any two of
 * another fiber.
 *
 * An owner is a process: owner 0 is the world (network, database, checks), the
 * others are instances, each with a clock of its own that may be off and go too
 * fast or too slow.  One can be frozen, as by SIGSTOP, and killed: its fibers
 * never run again and nothing of theirs is unwound.
 *
 * Bounds:  FIBER_MAX fibers, FIBER_OWNERS owners, FIBER_STACK bytes a stack.
 * Threads: one.  There is one simulation at a time; what is wrapped has no
 *          argument to find it by, which is why this keeps it in a static.
 */
#ifndef TESTS_SIM_FIBER_H
#define TESTS_SIM_FIBER_H

#include "common/base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FIBER_MAX    128
#define FIBER_OWNERS 8
#define FIBER_STACK  ((size_t)96 << 10)
#define FIBER_NEVER  UINT64_MAX
/* A run that takes more has a loop in it. */
#define FIBER_SWITCHES 5000000

struct fiber_conf {
	uint64_t seed;
	unsigned yield_per_mille; /* how often another fiber goes on */
	unsigned nap_per_mille; /* how often one is not scheduled for a while */
	/* Each line of the story without its newline; NULL: it is not told. */
	void (*tell)(void *arg, const char *line, size_t n);
	void *arg;
};

void fiber_begin(const struct fiber_conf *conf);
/* How often another fiber goes on, and, of that, is not back for a while. */
void fiber_pace(unsigned yield_per_mille, unsigned nap_per_mille);
/* Until no fiber of the world is left: true; false: fiber_fail() was called. */
bool fiber_run(void) MUST_CHECK;
/* Drops every fiber that is left. */
void fiber_end(void);

/* Of the seed's numbers: evenly in 0 .. n - 1. */
uint64_t fiber_random(uint64_t n);
bool fiber_chance(unsigned per_mille);

uint64_t fiber_now_us(void);
uint64_t fiber_serial(void); /* one more at each call: orders what is at once */
unsigned fiber_owner(void);  /* of the fiber that runs */
/* How often a fiber was given the thread. */
uint64_t fiber_switches(void);

void fiber_clock(unsigned owner, uint64_t base_us, int64_t off_ppm);
uint64_t fiber_local_us(unsigned owner);
/* What its clock was or will be when the world's is at_us. */
uint64_t fiber_local_at(unsigned owner, uint64_t at_us);

/* Calls fn at that time (at once when it has passed), not on a fiber. */
void fiber_at(uint64_t at_us, void (*fn)(void *arg), void *arg);
void fiber_spawn(unsigned owner, const char *name, void (*fn)(void *arg),
                 void *arg);
void fiber_sleep_us(uint64_t us);
void fiber_yield(void);
/* Until fiber_wake() of the same address: true; or until then: false. */
bool fiber_wait(const void *on, uint64_t until_us);
/* The same by the clock of the fiber's owner. */
bool fiber_wait_local(const void *on, uint64_t until_us);
void fiber_wake(const void *on);

unsigned fiber_count(unsigned owner);
void fiber_freeze(unsigned owner, uint64_t until_us);
/* May be called by a fiber of the owner: then it does not return. */
void fiber_kill(unsigned owner);

/* Ends the run; does not return on a fiber. */
void fiber_fail(const char *fmt, ...) PRINTF(1, 2);
/* What fiber_fail() said; "" before. */
const char *fiber_failure(void);
bool fiber_telling(void);
void fiber_tell(const char *fmt, ...) PRINTF(1, 2);

#endif
