#include "tests/sim/task.h"

#include "tests/sim/context.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#define STACK_BYTES ((size_t)256 << 10)

struct task {
	struct tasks *tasks;
	void (*fn)(void *arg);
	void *arg;
	struct context context;
	char *stack;
	bool ended;
	struct task *next; /* in the list of those to use again */
};

struct tasks {
	struct context outside;
	struct task *running, *spare;
	const void *outside_stack; /* as the sanitizer knows it */
	size_t outside_size;
};

/* The sanitizer must know on which stack it looks for addresses. */
static void leave_for(struct task *t, void **fake)
{
#ifdef __SANITIZE_ADDRESS__
	if (t->tasks->running == t)
		__sanitizer_start_switch_fiber(fake, t->stack, STACK_BYTES);
	else
		__sanitizer_start_switch_fiber(t->ended ? NULL : fake,
		                               t->tasks->outside_stack,
		                               t->tasks->outside_size);
#else
	(void)t;
	(void)fake;
#endif
}

static void arrive(struct task *t, void *fake, bool inside)
{
#ifdef __SANITIZE_ADDRESS__
	if (inside)
		__sanitizer_finish_switch_fiber(fake, &t->tasks->outside_stack,
		                                &t->tasks->outside_size);
	else
		__sanitizer_finish_switch_fiber(fake, NULL, NULL);
#else
	(void)t;
	(void)fake;
	(void)inside;
#endif
}

static void switch_out(struct task *t)
{
	void *fake = NULL;

	t->tasks->running = NULL;
	leave_for(t, &fake);
	context_switch(&t->context, &t->tasks->outside);
	arrive(t, fake, true);
}

static void begin(void *arg)
{
	struct task *t = arg;

	arrive(t, NULL, true);
	t->fn(t->arg);
	t->ended = true;
	switch_out(t);
}

struct tasks *tasks_new(void)
{
	return calloc(1, sizeof(struct tasks));
}

void tasks_free(struct tasks *ts)
{
	if (!ts)
		return;
	assert(!ts->running);
	while (ts->spare) {
		struct task *t = ts->spare;

		ts->spare = t->next;
		free(t->stack);
		free(t);
	}
	free(ts);
}

static struct task *spare_or_new(struct tasks *ts)
{
	struct task *t = ts->spare;

	if (t) {
		ts->spare = t->next;
		return t;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->stack = malloc(STACK_BYTES);
	if (!t->stack) {
		free(t);
		return NULL;
	}
	t->tasks = ts;
	return t;
}

struct task *task_new(struct tasks *ts, void (*fn)(void *arg), void *arg)
{
	struct task *t = spare_or_new(ts);

	if (!t)
		return NULL;
	t->fn = fn;
	t->arg = arg;
	t->ended = false;
	context_make(&t->context, t->stack, STACK_BYTES, begin, t);
	return t;
}

bool task_resume(struct tasks *ts, struct task *t)
{
	void *fake = NULL;

	assert(!ts->running && !t->ended);
	ts->running = t;
	leave_for(t, &fake);
	context_switch(&ts->outside, &t->context);
	arrive(t, fake, false);
	if (!t->ended)
		return true;
	t->next = ts->spare;
	ts->spare = t;
	return false;
}

void task_yield(struct tasks *ts)
{
	assert(ts->running);
	switch_out(ts->running);
}
