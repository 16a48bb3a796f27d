/*
 * entry - what travels in an item: one request or one reply, as a msgpack map
 * with short keys (design D7).
 *
 *   request  v 1 · op method · rid · tp · sub hnd role tier scp sid jti at ·
 *            ip ua lang idk form vis trk lei · q p b (maps; absent when empty)
 *   reply    st HTTP status · b body  or  e {c code number, d detail,
 *            ra retry_after_s, ch challenge, f [[pointer, code,
 *            message]...], qu [period, tier, usage, limit, reset_s]} ·
 *            h {header: value} · t [lane, handler, database, cache] where its
 *            time went, in microseconds
 *
 * Absent keys mean empty (role: guest, tier: limited).  Unknown keys are
 * skipped, so later versions may add; role and tier travel by name, scp as the
 * SCOPE_* bits, so that a reader may ignore bits it does not know.
 *
 * Bounds:  each text as in the table below; what the reader finds longer, not
 *          UTF-8, twice or of another type makes the whole entry ERR_INVALID.
 *          A packer cuts ua to its bound and leaves it out where it is not
 *          UTF-8, since clients choose it freely; the other texts were checked
 *          where they came in.
 * Owns:    nothing; readers lend slices of the bytes.
 * Threads: any.
 */
#ifndef BUS_ENTRY_H
#define BUS_ENTRY_H

#include "common/base/buf.h"
#include "common/base/ctx.h"

#define ENTRY_OP_MAX      64
#define ENTRY_RID_MAX     128
#define ENTRY_SUB_MAX     64
#define ENTRY_HND_MAX     128
#define ENTRY_SID_MAX     64
#define ENTRY_IP_MAX      64
#define ENTRY_UA_MAX      256
#define ENTRY_IDK_MAX     255
#define ENTRY_VISITOR_MAX 128
#define ENTRY_LEI_MAX     64

struct entry {
	struct str op;                /* never empty */
	struct str query, path, body; /* msgpack of a map, or empty */
};

/* What entry_read() makes of what entry_pack() writes of `from`, without the bytes:
 * for a service in the same process, which believes that its bounds were kept. */
void entry_hand(const struct ctx *from, struct ctx *cx);
/* Packs cx's identity and trace with the call.  Failure sticks in the buf. */
void entry_pack(struct buf *b, const struct ctx *cx, const struct entry *e);
/* Where the digits of the span's id in "tp" stand in what entry_pack() has
 * written; 0: it has none of the usual form. */
size_t entry_span_at(struct str packed);
/*
 * Reads a request: slices go into *cx (arena, service, deadline_ms and
 * principal are the caller's) and *e.  ERR_INVALID on anything else.
 */
enum err entry_read(struct str bytes, struct ctx *cx,
                    struct entry *e) MUST_CHECK;

#define REPLY_HEADERS_MAX 8
/* From svc-auth to the gateway, never to a client: what the session cookie is
 * to hold, "<seconds> <token>", or "0": nothing any more. */
#define SESSION_HEADER "KAE-Session"
/* From svc-content to the gateway, likewise: what the cookie of a visitor is to
 * hold, "<seconds> <value>". */
#define VISITOR_HEADER "KAE-Visitor"

struct reply {
	unsigned status; /* HTTP; 0 means 200 */
	struct buf body; /* msgpack of the body; empty: no body */
	/* For stream.h: where parts go; NULL: nowhere.  begun: some have. */
	enum err (*part)(void *to, struct str bytes);
	void *to;
	bool begun;
	/* A stored answer: nothing was done now.  Not sent; see
	 * common/service/idempotency.h. */
	bool replayed;
	size_t headers_n;
	struct {
		struct str name, value; /* borrowed until packed */
	} headers[REPLY_HEADERS_MAX];
};

/*
 * Packs a success, or with e != OK the problem of cx, if it is the problem of
 * e, else the default words of e.  Codes that stay inside become ERR_INTERNAL.
 * r may be NULL with an error; its body is not sent then, its headers are.
 * cx->spent goes along unless all of it is 0.
 */
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
	struct hop_times times; /* zeros: not told */
};

/*
 * cx gives the arena for faults.  ERR_PEER_LOST when bytes are no reply: that
 * includes header names that are no tokens and values with control characters,
 * which could otherwise write headers of their own.  ERR_NOMEM.
 */
enum err reply_read(struct str bytes, struct ctx *cx,
                    struct reply_view *out) MUST_CHECK;
/* The same of a success without the bytes: slices of r.  False: it would be no
 * reply, and has to be packed for others to see that. */
bool reply_hand(const struct ctx *cx, const struct reply *r,
                struct reply_view *out) MUST_CHECK;

/*
 * A call within one process: cx and entry are what would be packed.  A success
 * goes to take(), and what it shows is gone when that returns; of anything else
 * *out has the bytes (failed: no memory).
 */
struct entry_near {
	const struct ctx *cx;
	const struct entry *entry;
	void (*take)(void *arg, const struct reply_view *v);
	void *arg;
	struct buf *out;
};

#endif
