/*
 * arena - memory that dies together, at the end of one request.
 *
 * Bounds:  max_bytes over all allocations.  Beyond it, or without memory,
 *          arena_alloc() returns NULL.
 * Threads: one at a time.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "common/base/attr.h"
#include "common/base/str.h"

struct arena;

struct arena *arena_new(size_t max_bytes);
void arena_free(struct arena *a);
/* Forgets all allocations and keeps the first block for the next request. */
void arena_reset(struct arena *a);
/* Aligned for any type, contents undefined.  n may be 0. */
void *arena_alloc(struct arena *a, size_t n) MUST_CHECK;
/* A NUL-terminated copy; p is NULL without memory. */
struct str arena_str(struct arena *a, struct str s) MUST_CHECK;
AUTO_TYPE(arena, struct arena *, arena_free)

#endif
