/*
 * entry - what travels in an item: one request or one reply, as a msgpack map
 * with short keys (design D7).
 *
 *   request  v 1 · op method · rid · tp · sub hnd role tier scp sid at ·
 *            ip ua lang idk · q p b (maps; absent when empty)
 *   reply    st HTTP status · b body  or  e {c code number, d detail,
 *            ra retry_after_s, f [[pointer, code, message]...]} ·
 *            h {header: value}
 *
 * Absent keys mean empty.  Unknown keys are skipped, so later versions may add.
 */
#ifndef BUS_ENTRY_H
#define BUS_ENTRY_H

#include "common/base/buf.h"
#include "common/base/ctx.h"

struct entry {
	struct str op;
	struct str query, path, body; /* msgpack of a map, or empty */
};

/* Packs cx's identity and trace with the call.  Failure sticks in the buf. */
void entry_pack(struct buf *b, const struct ctx *cx, const struct entry *e);
/*
 * Reads a request: slices go into *cx (arena, service, deadline_ms and
 * principal are the caller's) and *e.  ERR_INVALID on anything else.
 */
enum err entry_read(struct str bytes, struct ctx *cx,
                    struct entry *e) MUST_CHECK;

#define REPLY_HEADERS_MAX 8

struct reply {
	unsigned status; /* HTTP; 0 means 200 */
	struct buf body; /* msgpack of the body; empty: no body */
	size_t headers_n;
	struct {
		struct str name, value; /* borrowed until packed */
	} headers[REPLY_HEADERS_MAX];
};

/* Packs a success, or with e != OK the problem of cx (default words of e). */
void reply_pack(struct buf *b, const struct ctx *cx, enum err e,
                const struct reply *r);

struct reply_view {
	unsigned status;
	struct str body;        /* msgpack, or empty */
	enum err err;           /* OK unless the reply is an error */
	struct problem problem; /* faults in cx->arena of reply_read() */
	size_t headers_n;
	struct {
		struct str name, value;
	} headers[REPLY_HEADERS_MAX];
};

/* cx gives the arena for faults.  ERR_PEER_LOST when bytes are no reply. */
enum err reply_read(struct str bytes, struct ctx *cx,
                    struct reply_view *out) MUST_CHECK;

#endif
