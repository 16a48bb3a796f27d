/*
 * buf - a growing run of bytes.
 *
 * Failure is sticky: after a failed append (no memory, or past max) the buffer
 * stays as it was, `failed` is set, and later appends do nothing, so a writer
 * checks once at the end.
 *
 * Bounds:  max bytes; 0 means BUF_MAX_DEFAULT.
 * Owns:    its bytes; buf_fini() frees them.  A zeroed struct is a valid buf.
 * Threads: one at a time.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "common/base/attr.h"
#include "common/base/str.h"

#define BUF_MAX_DEFAULT ((size_t)64 << 20)

struct buf {
	char *p;
	size_t n, cap, max;
	bool failed;
};

void buf_fini(struct buf *b);
void buf_clear(struct buf *b); /* n = 0, failed = false; keeps the memory */
bool buf_grow(struct buf *b, size_t n) MUST_CHECK; /* for buf_reserve() */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);

/*
 * Room for n more bytes at b->p + b->n; the caller then adds to b->n.
 *
 * What appends is inline: a body is written in pieces of a few bytes, most of
 * which find room, and a call would cost more than the piece.
 */
static inline bool MUST_CHECK buf_reserve(struct buf *b, size_t n)
{
	if (n <= b->cap - b->n && !b->failed)
		return true;
	return buf_grow(b, n);
}

static inline void buf_add(struct buf *b, const void *p, size_t n)
{
	if (n == 0 || !buf_reserve(b, n))
		return;
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

static inline void buf_str(struct buf *b, struct str s)
{
	buf_add(b, s.p, s.n);
}

static inline void buf_char(struct buf *b, char c)
{
	if (buf_reserve(b, 1))
		b->p[b->n++] = c;
}

static inline struct str buf_view(const struct buf *b)
{
	return (struct str){b->p, b->n};
}

static inline void buf_auto(struct buf *b)
{
	buf_fini(b);
}
/* A buf that frees itself: AUTO_BUF b = {0}; */
#define AUTO_BUF __attribute__((cleanup(buf_auto))) struct buf

#endif
