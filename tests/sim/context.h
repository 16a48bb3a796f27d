/*
 * context - a place in a program to come back to, with a stack of its own: what
 * tasks and fibers are made of.
 *
 * swapcontext() asks the kernel for the mask of signals each time, which took four
 * fifths of a simulation's time. Here that happens once, when a context begins.
 *
 * Threads: all contexts that switch to each other are of one thread.
 */
#ifndef TESTS_SIM_CONTEXT_H
#define TESTS_SIM_CONTEXT_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <ucontext.h>

struct context {
	ucontext_t first; /* where it begins */
	jmp_buf at;       /* where it was left */
	bool begun;
};

/* What the first switch to it calls, on that stack; fn must not return. */
void context_make(struct context *c, char *stack, size_t n,
                  void (*fn)(void *arg), void *arg);
/* Leaves the running one, whose place goes to *from, and returns when somebody
 * switches to that. One that was never made may be left, not begun. */
void context_switch(struct context *from, struct context *to);

#endif
