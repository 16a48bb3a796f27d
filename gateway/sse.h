/*
 * sse - events as a browser reads them (WHATWG HTML, 9.2, text/event-stream).
 *
 *   id: 0190....7.3          of events that a client may come back behind
 *   event: item
 *   data: {"index":0, ...}   JSON in one line
 *   (empty line)
 *
 * Bounds:  none of its own; failure sticks in the buf.
 * Owns:    nothing.
 * Threads: any.
 */
#ifndef GATEWAY_SSE_H
#define GATEWAY_SSE_H

#include "common/base/attr.h"
#include "common/base/buf.h"

#include <stdint.h>

/*
 * job and seq make the id; seq 0: none.  type: letters, digits, - and _.  packed:
 * msgpack.  False, and nothing is added, where any of them is something else.
 */
bool sse_event(struct buf *out, struct str job, int64_t seq, struct str type,
               struct str packed) MUST_CHECK;
/* The same, of what is JSON in one line already, and without an id. */
void sse_text(struct buf *out, const char *type, struct str json);
/* What no client looks at, and no proxy in between takes for silence. */
void sse_comment(struct buf *out);

#endif
