#include "tests/sim/fiber_inner.h"

#include "tests/sim/sim.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#if defined(WITH_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

/* For what has an effect, which assert() must not have. */
static void must(bool claim)
{
	assert(claim);
}

#define NAP_MAX_US 30000
#define LINE_MAX   512

struct timer {
	uint64_t at_us, serial;
	void (*fn)(void *arg);
	void *arg;
};

struct owner {
	uint64_t base_us;
	int64_t off_ppm;
	uint64_t frozen_us;
};

static struct fibers {
	struct fiber_conf conf;
	struct sim_rng random;
	uint64_t now_us, serial, ids, switches;
	struct fiber fibers[FIBER_MAX];
	size_t top; /* those beyond were never used */
	unsigned alive[FIBER_OWNERS];
	struct fiber *current; /* NULL: the scheduler, or no simulation */
	struct context scheduler;
	void *scheduler_fake;
	const void *scheduler_stack;
	size_t scheduler_stack_n;
	struct owner owners[FIBER_OWNERS];
	struct timer *timers; /* a heap, the next one first */
	size_t timers_n, timers_cap;
	unsigned yield_per_mille, nap_per_mille;
	bool running, failed;
	char failure[LINE_MAX];
} S;

/* --- numbers, time, story ---------------------------------------------------- */

uint64_t fiber_random(uint64_t n)
{
	assert(n > 0);
	return sim_below(&S.random, n);
}

bool fiber_chance(unsigned per_mille)
{
	return fiber_random(1000) < per_mille;
}

uint64_t fiber_now_us(void)
{
	return S.now_us;
}

uint64_t fiber_serial(void)
{
	return ++S.serial;
}

struct fiber *fiber_current(void)
{
	return S.current;
}

void fiber_tick(void)
{
	S.now_us++;
}

unsigned fiber_owner(void)
{
	return S.current ? S.current->owner : 0;
}

uint64_t fiber_switches(void)
{
	return S.switches;
}

void fiber_clock(unsigned owner, uint64_t base_us, int64_t off_ppm)
{
	S.owners[owner].base_us = base_us;
	S.owners[owner].off_ppm = off_ppm;
}

uint64_t fiber_local_at(unsigned owner, uint64_t at_us)
{
	const struct owner *o = &S.owners[owner];
	int64_t off = (int64_t)at_us / 1000 * o->off_ppm / 1000;

	return o->base_us + at_us + (uint64_t)off;
}

uint64_t fiber_local_us(unsigned owner)
{
	return fiber_local_at(owner, S.now_us);
}

uint64_t fiber_when(unsigned owner, uint64_t local_us)
{
	const struct owner *o = &S.owners[owner];
	uint64_t now = fiber_local_us(owner);
	uint64_t left = local_us > now ? local_us - now : 0;

	if (left > FIBER_NEVER / 4)
		return FIBER_NEVER;
	return S.now_us + left * 1000000 / (uint64_t)(1000000 + o->off_ppm) + 2;
}

bool fiber_telling(void)
{
	return S.conf.tell != NULL;
}

/* The second is no list of arguments, so PRINTF() does not fit. */
static void tell_args(const char *fmt, va_list args)
	__attribute__((format(printf, 1, 0)));

static void tell_args(const char *fmt, va_list args)
{
	struct fiber *teller = S.current;
	char line[LINE_MAX];
	int n = snprintf(line, sizeof(line), "%10.6f %-14s ",
	                 (double)S.now_us / 1e6,
	                 S.current ? S.current->name : "-");
	int more;

	assert(n > 0 && (size_t)n < sizeof(line));
	more = vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, args);
	n += more;
	S.current = NULL; /* what the listener does is not its doing */
	S.conf.tell(S.conf.arg, line,
	            (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
	S.current = teller;
}

void fiber_tell(const char *fmt, ...)
{
	va_list args;

	if (!S.conf.tell)
		return;
	va_start(args, fmt);
	tell_args(fmt, args);
	va_end(args);
}

const char *fiber_failure(void)
{
	return S.failure;
}

/* --- stacks ------------------------------------------------------------------ */

/* Kept for the whole program: a run takes and leaves some fifty. */
static struct {
	char *free[FIBER_MAX];
	size_t n;
} stacks;

static char *stack_take(void)
{
	char *p;

	if (stacks.n > 0)
		return stacks.free[--stacks.n];
	p = mmap(NULL, FIBER_STACK, PROT_READ | PROT_WRITE,
	         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert(p != MAP_FAILED);
	/* The lowest page stops one that grows too deep. */
	must(mprotect(p, 4096, PROT_NONE) == 0);
	return p;
}

static void stack_leave(struct fiber *f)
{
#if defined(WITH_ASAN)
	/* Its frames never returned. */
	__asan_unpoison_memory_region(f->stack + 4096, FIBER_STACK - 4096);
#endif
	stacks.free[stacks.n++] = f->stack;
	f->stack = NULL;
}

/* --- switching --------------------------------------------------------------- */

static void switch_to(struct fiber *f)
{
#if defined(WITH_ASAN)
	__sanitizer_start_switch_fiber(&S.scheduler_fake, f->stack,
	                               FIBER_STACK);
#endif
	S.current = f;
	S.switches++;
	context_switch(&S.scheduler, &f->at);
	S.current = NULL;
#if defined(WITH_ASAN)
	__sanitizer_finish_switch_fiber(S.scheduler_fake, NULL, NULL);
#endif
}

static void switch_back(void)
{
	struct fiber *f = S.current;

#if defined(WITH_ASAN)
	__sanitizer_start_switch_fiber(f->state == FIBER_OVER ? NULL
	                                                      : &f->fake_stack,
	                               S.scheduler_stack, S.scheduler_stack_n);
#endif
	context_switch(&f->at, &S.scheduler);
#if defined(WITH_ASAN)
	__sanitizer_finish_switch_fiber(f->fake_stack, &S.scheduler_stack,
	                                &S.scheduler_stack_n);
#endif
}

static void first_steps(void *arg)
{
	struct fiber *f = arg;

#if defined(WITH_ASAN)
	__sanitizer_finish_switch_fiber(NULL, &S.scheduler_stack,
	                                &S.scheduler_stack_n);
#endif
	if (f->thread)
		f->result = f->thread(f->arg);
	else
		f->fn(f->arg);
	f->state = FIBER_OVER;
	S.alive[f->owner]--;
	fiber_wake(f);
	switch_back();
}

/* --- fibers ------------------------------------------------------------------ */

static struct fiber *unused_fiber(void)
{
	struct fiber *f = S.fibers;

	while (f < S.fibers + FIBER_MAX && f->state != FIBER_NONE)
		f++;
	assert(f < S.fibers + FIBER_MAX);
	if (f == S.fibers + S.top)
		S.top++;
	return f;
}

struct fiber *fiber_new(unsigned owner, const char *name)
{
	struct fiber *f = unused_fiber();

	*f = (struct fiber){.state = FIBER_READY,
	                    .owner = owner,
	                    .id = ++S.ids,
	                    .stack = stack_take()};
	S.alive[owner]++;
	(void)snprintf(f->name, sizeof(f->name), "%s", name);
	context_make(&f->at, f->stack, FIBER_STACK, first_steps, f);
	return f;
}

static void fiber_free(struct fiber *f)
{
	S.alive[f->owner] -= f->state != FIBER_OVER;
	stack_leave(f);
	f->state = FIBER_NONE;
}

void fiber_spawn(unsigned owner, const char *name, void (*fn)(void *arg),
                 void *arg)
{
	struct fiber *f = fiber_new(owner, name);

	f->fn = fn;
	f->arg = arg;
}

bool fiber_wait(const void *on, uint64_t until_us)
{
	struct fiber *f = S.current;

	assert(f);
	f->on = on;
	f->until_us = until_us;
	f->woken = false;
	f->state = FIBER_WAITING;
	switch_back();
	return f->woken;
}

bool fiber_wait_local(const void *on, uint64_t until_us)
{
	return fiber_wait(on, fiber_when(S.current->owner, until_us));
}

static void make_ready(struct fiber *f, bool woken)
{
	f->woken = woken;
	f->on = NULL;
	f->state = FIBER_READY;
}

void fiber_wake(const void *on)
{
	for (struct fiber *f = S.fibers; f < S.fibers + S.top; f++)
		if (f->state == FIBER_WAITING && f->on == on)
			make_ready(f, true);
}

const struct fiber *fiber_waiting(const void *on)
{
	for (struct fiber *f = S.fibers; f < S.fibers + S.top; f++)
		if (f->state == FIBER_WAITING && f->on == on)
			return f;
	return NULL;
}

struct fiber *fiber_of_thread(uint64_t id)
{
	for (struct fiber *f = S.fibers; f < S.fibers + S.top; f++)
		if (f->state != FIBER_NONE && f->joinable && f->id == id)
			return f;
	return NULL;
}

void fiber_wake_one(const void *on)
{
	struct fiber *found[FIBER_MAX];
	size_t n = 0;

	for (struct fiber *f = S.fibers; f < S.fibers + S.top; f++)
		if (f->state == FIBER_WAITING && f->on == on)
			found[n++] = f;
	if (n > 0)
		make_ready(found[fiber_random(n)], true);
}

void fiber_sleep_us(uint64_t us)
{
	(void)fiber_wait(NULL, S.now_us + us);
}

void fiber_yield(void)
{
	if (!S.current || !fiber_chance(S.yield_per_mille))
		return;
	if (fiber_chance(S.nap_per_mille))
		S.current->not_before_us = S.now_us + fiber_random(NAP_MAX_US);
	switch_back();
}

unsigned fiber_count(unsigned owner)
{
	return S.alive[owner];
}

void fiber_freeze(unsigned owner, uint64_t until_us)
{
	S.owners[owner].frozen_us = until_us;
}

void fiber_kill(unsigned owner)
{
	bool self = S.current && S.current->owner == owner;

	for (struct fiber *f = S.fibers; f < S.fibers + S.top; f++) {
		if (f->state == FIBER_NONE || f->owner != owner)
			continue;
		f->joinable = false;
		if (f != S.current) {
			fiber_free(f);
			continue;
		}
		f->state = FIBER_OVER; /* its stack is in use */
		S.alive[owner]--;
	}
	if (self)
		switch_back();
}

void fiber_fail(const char *fmt, ...)
{
	va_list args;

	if (!S.failed) {
		va_start(args, fmt);
		(void)vsnprintf(S.failure, sizeof(S.failure), fmt, args);
		va_end(args);
		fiber_tell("FAILED: %s", S.failure);
	}
	S.failed = true;
	if (S.current)
		switch_back();
}

/* --- timers: a binary heap ------------------------------------------------------ */

static bool sooner(const struct timer *a, const struct timer *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us
	                            : a->serial < b->serial;
}

static void swap_timers(size_t a, size_t b)
{
	struct timer t = S.timers[a];

	S.timers[a] = S.timers[b];
	S.timers[b] = t;
}

void fiber_at(uint64_t at_us, void (*fn)(void *arg), void *arg)
{
	size_t i = S.timers_n;

	if (i == S.timers_cap) {
		S.timers_cap = S.timers_cap ? S.timers_cap * 2 : 64;
		S.timers =
			reallocarray(S.timers, S.timers_cap, sizeof(*S.timers));
		assert(S.timers);
	}
	S.timers[S.timers_n++] = (struct timer){at_us, fiber_serial(), fn, arg};
	for (; i > 0 && sooner(&S.timers[i], &S.timers[(i - 1) / 2]);
	     i = (i - 1) / 2)
		swap_timers(i, (i - 1) / 2);
}

static struct timer pop_timer(void)
{
	struct timer first = S.timers[0];
	size_t i = 0, child;

	S.timers[0] = S.timers[--S.timers_n];
	for (;;) {
		child = 2 * i + 1;
		if (child >= S.timers_n)
			return first;
		if (child + 1 < S.timers_n &&
		    sooner(&S.timers[child + 1], &S.timers[child]))
			child++;
		if (!sooner(&S.timers[child], &S.timers[i]))
			return first;
		swap_timers(i, child);
		i = child;
	}
}

/* --- the run ------------------------------------------------------------------- */

void fiber_begin(const struct fiber_conf *conf)
{
	struct timer *timers = S.timers;
	size_t cap = S.timers_cap;

	memset(&S, 0, sizeof(S));
	S.timers = timers;
	S.timers_cap = cap;
	S.conf = *conf;
	S.random = sim_rng(conf->seed);
	S.running = true;
}

void fiber_pace(unsigned yield_per_mille, unsigned nap_per_mille)
{
	S.yield_per_mille = yield_per_mille;
	S.nap_per_mille = nap_per_mille;
}

void fiber_end(void)
{
	for (struct fiber *f = S.fibers; f < S.fibers + S.top; f++)
		if (f->state != FIBER_NONE)
			fiber_free(f);
	free(S.timers);
	S.timers = NULL;
	S.timers_n = S.timers_cap = 0;
	S.running = false;
}

/* When f can run, now at the earliest. */
static uint64_t ready_us(const struct fiber *f)
{
	uint64_t at = f->state == FIBER_READY     ? f->not_before_us
	              : f->state == FIBER_WAITING ? f->until_us
	                                          : FIBER_NEVER;
	uint64_t frozen_us = S.owners[f->owner].frozen_us;

	return at > frozen_us ? at : frozen_us;
}

/* Drops what is over; the next to run, or NULL and when there is one. */
static struct fiber *choose(uint64_t *next_us)
{
	struct fiber *can[FIBER_MAX];
	size_t n = 0;
	uint64_t at;

	*next_us = FIBER_NEVER;
	for (struct fiber *f = S.fibers; f < S.fibers + S.top; f++) {
		if (f->state == FIBER_OVER && !f->joinable)
			fiber_free(f);
		if (f->state != FIBER_READY && f->state != FIBER_WAITING)
			continue;
		at = ready_us(f);
		if (at <= S.now_us)
			can[n++] = f;
		else if (at < *next_us)
			*next_us = at;
	}
	return n > 0 ? can[fiber_random(n)] : NULL;
}

bool fiber_run(void)
{
	struct fiber *f;
	uint64_t next_us;

	while (!S.failed && fiber_count(0) > 0) {
		while (!S.failed && S.timers_n > 0 &&
		       S.timers[0].at_us <= S.now_us) {
			struct timer t = pop_timer();

			t.fn(t.arg);
		}
		f = choose(&next_us);
		if (f) {
			if (f->state == FIBER_WAITING)
				make_ready(f, false);
			f->not_before_us = 0;
			/* To run takes time, or a loop would hold it still. */
			S.now_us++;
			if (S.switches == FIBER_SWITCHES)
				fiber_fail("it does not come to an end");
			switch_to(f);
			continue;
		}
		if (S.timers_n > 0 && S.timers[0].at_us < next_us)
			next_us = S.timers[0].at_us;
		if (next_us == FIBER_NEVER)
			fiber_fail("nothing will ever happen again");
		else
			S.now_us = next_us;
	}
	return !S.failed;
}
