/*
 * control - how a test tells a running program which of its calls shall fail.
 *
 * The file that KAE_FAULT_CONTROL names is mapped by the program and by the
 * test: the test arms a class of calls with a number, the call that counts it
 * down to zero fails, and so do all after it where the fault is to last.  Only
 * test builds contain this: alloc.c is linked into build/<flavor>/faulty/, io.c
 * is a library for LD_PRELOAD.
 *
 * Threads: any; a call is counted once.
 */
#ifndef TESTS_FAULTY_CONTROL_H
#define TESTS_FAULTY_CONTROL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Numbers that tests/faulty/faulty.py knows too. */
enum fault_class {
	FAULT_NONE,
	FAULT_MEMORY,  /* malloc and its like in our own code */
	FAULT_RECEIVE, /* read, recv, ... of a socket: connection reset */
	FAULT_SEND,    /* write, send, ... of a socket: connection reset */
	FAULT_OPEN,    /* open, socket, accept, ...: no descriptor left */
	FAULT_FILE,    /* pread, pwrite, fsync, ...: input/output error, full */
	FAULT_THREAD,  /* pthread_create */
};

struct fault_control {
	_Atomic int32_t armed;      /* enum fault_class */
	_Atomic int32_t lasts;      /* all calls after it fail too */
	_Atomic int64_t countdown;  /* the call that makes it 0 fails */
	_Atomic uint64_t delivered; /* calls that failed */
	_Atomic uint64_t mapped;    /* 1: a program listens */
};

/* Maps the file, at the start of the program; without one nothing fails. */
struct fault_control *fault_control_map(void);

static inline bool fault_due(struct fault_control *c, enum fault_class what)
{
	int64_t left;

	if (!c || atomic_load(&c->armed) != (int32_t)what)
		return false;
	left = atomic_fetch_sub(&c->countdown, 1);
	if (left > 1 || (left < 1 && !atomic_load(&c->lasts)))
		return false;
	atomic_fetch_add(&c->delivered, 1);
	return true;
}

#endif
