/*
 * spool - a file without a name that holds what is too large for memory.
 *
 * Why:     an export must be whole before its first byte is sent, and may be
 *          larger than anybody wants to hold.  The file has no name, so it is
 *          gone with its last descriptor, also when the process is killed.
 * Bounds:  max bytes: ERR_TOO_LARGE beyond.  SPOOL_BLOCK of memory for writing,
 *          and the same for reading, or one value.
 * Errors:  ERR_UNAVAILABLE: the folder or the disk does not take it; told on
 *          the log.
 * Threads: one at a time.
 */
#ifndef SVC_GDPR_SPOOL_H
#define SVC_GDPR_SPOOL_H

#include "common/base/buf.h"
#include "common/base/ctx.h"

#define SPOOL_BLOCK     ((size_t)60 << 10) /* less than a part of the bus */
#define SPOOL_VALUE_MAX ((size_t)16 << 20)

struct spool {
	int fd; /* -1: none */
	uint64_t n, max;
	struct buf block; /* not yet written; n counts it */
	const struct ctx *cx;
};

/* spool_fini() also after an error. */
enum err spool_open(struct spool *s, const struct ctx *cx, struct str folder,
                    uint64_t max) MUST_CHECK;
void spool_fini(struct spool *s);
enum err spool_add(struct spool *s, struct str bytes) MUST_CHECK;
/* Before it is read. */
enum err spool_flush(struct spool *s) MUST_CHECK;

/* Reads from one place to another. */
struct spool_in {
	const struct spool *s;
	uint64_t at, end;
	struct buf block;
	size_t used; /* of block */
};
void spool_in_fini(struct spool_in *in);
/* The next block, which lives until the next call; empty at the end. */
enum err spool_block(struct spool_in *in, struct str *out) MUST_CHECK;
/* The next msgpack value in the same way; not together with spool_block(). */
enum err spool_value(struct spool_in *in, struct str *out) MUST_CHECK;

#endif
