/*
 * heap - whose memory it is, for simulations of several processes in one.
 *
 * Why:     an instance that is killed leaves its memory behind, which is no
 *          leak of the code; one that has ended in order must leave none.
 *
 * Replaces malloc() and its like in a program linked with --wrap: what a fiber
 * of an instance (owner > 0) allocates is its own until it is freed, by whoever
 * frees it.  May make a part of them fail.
 *
 * Threads: one.
 */
#ifndef TESTS_SIM_HEAP_H
#define TESTS_SIM_HEAP_H

#include "common/base/attr.h"

#include <stddef.h>

void heap_begin(void);
size_t heap_blocks(unsigned owner);
size_t heap_bytes(unsigned owner);
/* As the kernel does for a process that has ended. */
void heap_drop(unsigned owner);
void heap_end(void);
/* That many of a thousand allocations of the owner fail. */
void heap_fail(unsigned owner, unsigned per_mille);

/* Of the world, whichever fiber runs. */
void *heap_world_new(size_t n) MUST_CHECK;
void heap_world_free(void *p);

#endif
