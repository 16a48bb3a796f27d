/* glibc's longjmp() with it refuses to go to another stack. */
#undef _FORTIFY_SOURCE
#include "tests/sim/context.h"

#include <assert.h>
#include <stdint.h>

/* makecontext() passes ints, and fn has two words. */
struct start {
	void (*fn)(void *arg);
	void *arg;
};

static void begin(unsigned high, unsigned low)
{
	const struct start *s =
		(const struct start *)(((uintptr_t)high << 32) | low);

	s->fn(s->arg);
	assert(!"a context returned");
}

void context_make(struct context *c, char *stack, size_t n,
                  void (*fn)(void *arg), void *arg)
{
	/* At the top of its stack, above the first frame. */
	size_t below = (n - sizeof(struct start)) & ~(size_t)15;
	struct start *s = (struct start *)(void *)(stack + below);
	int got = getcontext(&c->first);

	assert(got == 0);
	(void)got;
	*s = (struct start){fn, arg};
	c->first.uc_stack.ss_sp = stack;
	c->first.uc_stack.ss_size = below;
	c->first.uc_link = NULL;
	makecontext(&c->first, (void (*)(void))begin, 2,
	            (unsigned)((uintptr_t)s >> 32), (unsigned)(uintptr_t)s);
	c->begun = false;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

/* To the sanitizers a longjmp() leaves frames for ever. */
void context_switch(struct context *from, struct context *to)
{
	(void)swapcontext(&from->first, &to->first);
}

#else

void context_switch(struct context *from, struct context *to)
{
	from->begun = true;
	if (_setjmp(from->at))
		return;
	if (to->begun)
		_longjmp(to->at, 1);
	to->begun = true;
	(void)setcontext(&to->first);
}

#endif
