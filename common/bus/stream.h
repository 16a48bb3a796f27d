/*
 * stream - a reply that is too large to hold: a head, then bytes as they are
 * made, in parts with credit (bus.h).
 *
 *   u32 n, big-endian · n bytes: a reply as entry.h packs it · the bytes
 *
 * The end of the stream is the end of the item, and an item that ends otherwise
 * (refused, the peer gone) was no whole reply.  A handler that fails before
 * stream_begin() answers as any other; its reply begins with no zero byte, as
 * the head does, which is less than STREAM_HEAD_MAX.
 *
 * Bounds:  STREAM_HEAD_MAX for the head; nothing is held of the bytes.
 * Threads: a reply's writer: its handler's.  A reader: one at a time.
 */
#ifndef BUS_STREAM_H
#define BUS_STREAM_H

#include "common/bus/entry.h"

#define STREAM_HEAD_MAX ((size_t)16 << 10)

/*
 * Sends r, with its status, headers and body, as the head; r->body may then be
 * used for other things.  ERR_INTERNAL: nobody takes a stream here.  The others
 * as bus_item_part(), which both may wait for.
 */
enum err stream_begin(const struct ctx *cx, struct reply *r) MUST_CHECK;
enum err stream_send(struct reply *r, struct str bytes) MUST_CHECK;

/* What a reader has of the head.  Zeroed at first; buf_fini(&in.head). */
struct stream_in {
	struct buf head; /* with its length before it */
	bool whole;
};
/*
 * Takes what belongs to the head off *bytes.  True: all of it is here, and *bytes
 * are what follows.  A head that can be none makes in->head.failed.
 */
bool stream_take(struct stream_in *in, struct str *bytes);
/* The packed reply, once it is whole. */
struct str stream_head(const struct stream_in *in);
/* Whether bytes, the first of a reply, are of a stream. */
bool stream_is(struct str bytes);

#endif
