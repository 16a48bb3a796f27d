/*
 * sse - reads server-sent events (HTML standard, 9.2) as bytes come.
 *
 * Lines end with CR, LF or CRLF, also across reads; a BOM before the first one,
 * comments and all fields but `data` are passed over.  An event whose blank line
 * never came is told by sse_end(): providers forget it, and whether its data is
 * whole the JSON in it says.
 *
 * Bounds:  SSE_EVENT_MAX bytes of a line, and of the data of an event.
 * Owns:    what of a line and an event has come; a zeroed struct is a valid
 *          reader, sse_fini() frees it.
 * Threads: one at a time.
 */
#ifndef SVC_CONTENT_LLM_SSE_H
#define SVC_CONTENT_LLM_SSE_H

#include "common/base/buf.h"
#include "common/base/err.h"

#define SSE_EVENT_MAX ((size_t)1 << 20)

struct sse {
	struct buf line; /* what has come of it */
	struct buf data; /* of the event, its lines joined by LF */
	bool has_data;
	bool begun;    /* the first line is over */
	bool after_cr; /* an LF that comes now belongs to it */
};

/* data is good during the call.  False: no more is wanted. */
typedef bool sse_fn(void *arg, struct str data);

/* ERR_TOO_LARGE: a line or an event beyond the bound.  ERR_NOMEM.  After an
 * error, or when fn has said false, the reader is only fit for sse_fini(). */
enum err sse_feed(struct sse *s, struct str bytes, sse_fn *fn,
                  void *arg) MUST_CHECK;
/* There are no more bytes. */
enum err sse_end(struct sse *s, sse_fn *fn, void *arg) MUST_CHECK;
void sse_fini(struct sse *s);

#endif
