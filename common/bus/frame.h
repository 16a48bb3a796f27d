/*
 * frame - the bytes that travel between two programs, version 1.
 *
 * A frame is a head, a MAC when keys are set, and items.  All numbers are
 * big-endian.  docs/bus.md is the specification; tests/golden/ has the bytes.
 *
 *   head   0 'K'  1 version  2 sender  3 flags
 *          4 boot   8   chosen at random by the sender for this connection
 *         12 nonce  8   the receiver's boot, given back; 0 in the greeting
 *         20 seq    8   1, 2, 3 ... without a gap
 *         28 ack    8   highest seq received
 *         36 at_ms  8   the sender's wall clock
 *         44 MAC   16   when FRAME_SIGNED: keyed BLAKE2b over all other bytes
 *   item   0 length 4   of the bytes after the item head
 *          4 kind   1    5 flags 1    6 code 2
 *          8 cid    8   correlation id, chosen by the client, opaque here
 *         16 arg    4   remaining ms of a request, bytes of credit
 *         20 bytes
 *
 * Why:     boot and nonce bind every frame to one connection of two living
 *          processes, so a frame recorded elsewhere or left in a queue for a
 *          predecessor is refused whatever its MAC says.
 * Bounds:  BUS_FRAME_MAX bytes and BUS_FRAME_ITEMS items; item bytes at most
 *          BUS_PART_MAX.
 * Owns:    nothing; slices point into the bytes given.
 * Threads: any.
 */
#ifndef BUS_FRAME_H
#define BUS_FRAME_H

#include "common/bus/bus.h"

#define FRAME_VERSION   1
#define FRAME_HEAD      44
#define FRAME_MAC       16
#define FRAME_HEAD_MAX  (FRAME_HEAD + FRAME_MAC)
#define FRAME_MAX       (FRAME_HEAD_MAX + BUS_FRAME_MAX)
#define FRAME_WINDOW_MS 30000 /* clocks may differ by this much */
#define ITEM_HEAD       20

/* Bits of the head's flags. */
enum {
	FRAME_SIGNED = 1,
	FRAME_BYE = 2, /* empty, and the last that its sender sends */
};

enum item_kind {
	ITEM_REQUEST = 1, /* client: a whole request */
	ITEM_REPLY,       /* server: a whole reply, final */
	ITEM_PART,        /* both: of a request or reply; LAST is final */
	ITEM_CREDIT,      /* both: arg more bytes of parts may be sent */
	ITEM_CANCEL,      /* client: stop working on it; still answered */
	ITEM_REFUSE,      /* server: final, code says why, no work was done */
	ITEM_PUSH,        /* server: belongs to no request, cid 0 */
	ITEM_DRAIN,       /* server: call others from now on, cid 0 */
	ITEM_KINDS
};

/* Bits of an item's flags. */
enum { ITEM_FIRST = 1, ITEM_LAST = 2 };

struct frame_head {
	enum bus_peer from;
	bool is_signed, bye;
	uint64_t boot, nonce, seq, ack;
	int64_t at_ms;
};

struct item {
	uint64_t cid;
	enum item_kind kind;
	unsigned flags, code;
	uint32_t arg;
	struct str bytes;
};

enum frame_fault {
	FRAME_OK,
	FRAME_SHORT,       /* ends inside the head or an item */
	FRAME_OVERSIZE,    /* beyond a bound above */
	FRAME_BAD_VERSION, /* not ours, or a version we do not speak */
	FRAME_BAD_HEAD,    /* a field that has no such value */
	FRAME_BAD_ITEM,    /* kind, flags or bytes that cannot be */
	FRAME_BAD_MAC,     /* absent, or of another key */
	FRAME_BAD_TIME,    /* clock outside FRAME_WINDOW_MS */
	FRAME_REPLAY,      /* seq or nonce of another frame or connection */
	FRAME_BAD_EDGE,    /* this peer may not call us, or is not who it was */
	FRAME_FAULTS
};
const char *frame_fault_name(enum frame_fault f); /* "bad_mac", for logs */

static inline size_t frame_head_size(bool is_signed)
{
	return is_signed ? FRAME_HEAD_MAX : FRAME_HEAD;
}

/* Writes frame_head_size() bytes at p, the MAC as zeros. */
void frame_head_put(char *p, const struct frame_head *h);
/* Fills in the MAC of a whole frame of n bytes with head.is_signed. */
void frame_sign(char *p, size_t n, const unsigned char key[32]);
/* True if the MAC is right under one of the keys; false if there is none. */
bool frame_is_signed(struct str frame, const struct bus_secret *secret);
/*
 * Reads the head and checks the form of everything, so that a frame is either
 * wholly usable or not looked at.  *items goes to item_next().
 */
enum frame_fault frame_read(struct str frame, struct frame_head *head,
                            struct str *items) MUST_CHECK;

/* Writes ITEM_HEAD bytes at p; the item's bytes follow. */
void item_head_put(char *p, const struct item *it);
/* Cuts the next item; false at the end.  Only on items of frame_read(). */
bool item_next(struct str *items, struct item *out);
/*
 * Takes waited_ms off the remaining time of every request in it: what stood in
 * a queue before sending must not look fresh to the service.
 */
void items_age(char *p, size_t n, uint64_t waited_ms);

#endif
