/*
 * link - one end of one connection: sequence, acknowledgement, window, the
 * frame being filled, and large messages leaving in parts.
 *
 * Both ends use the same struct, so what they promise each other stands in one
 * place.  The listening end sends a greeting, an empty frame with its boot; the
 * dialling end answers with an empty frame that gives this boot back as nonce.
 * From then on each frame names both ends.
 *
 * An empty frame only acknowledges and is itself not acknowledged: idle ends
 * fall silent.  The serving end owes an acknowledgement for each frame with
 * items at once, because the client judges its life by it; the client
 * acknowledges with its next frame, or at the latest every LINK_ACK_LAZY
 * frames, because nobody measures it.
 *
 * Before an end closes the connection it says bye and waits for the other's
 * bye: nng 1.5 never gives up a pipe that it closes while a message is coming
 * in, and with it every other pipe of the process.  After both byes the wire is
 * silent and closing is safe.
 *
 * Bounds:  BUS_WINDOW unacknowledged frames with items.  What does not fit
 *          waits here: at most one frame's worth per BUS_FRAME_ITEMS small
 *          items (the users bound those) and BUS_CREDIT of parts per stream.
 * Owns:    its frames; a bulk's bytes are the user's until it is done.
 * Threads: one at a time; the server holds its peer's lock.
 */
#ifndef BUS_LINK_H
#define BUS_LINK_H

#include "common/bus/frame.h"
#include "common/bus/ring.h"

#include <nng/nng.h>

#define BUS_CREDIT    ((size_t)256 << 10) /* of parts, before any is granted */
#define LINK_ACK_LAZY 8

static inline void msg_free(nng_msg *m)
{
	nng_msg_free(m);
}
AUTO_TYPE(msg, nng_msg *, msg_free)

/* A message of more than BUS_PART_MAX on its way out. */
struct bulk {
	struct ring at; /* in one of the link's lists, or none */
	uint64_t cid;
	struct str left;      /* not yet in a frame */
	size_t credit;        /* bytes that the receiver has room for */
	uint64_t deadline_ms; /* goes into the first part */
	uint64_t ordinal;     /* of the frame with the first part; see link */
	bool begun;           /* FIRST has been put */
};

struct link_sent {
	uint64_t seq, at_ms;
};

struct link_full {
	nng_msg *m;
	uint64_t open_ms;
};

struct link {
	/* Set by link_init(). */
	enum bus_peer self;
	bool serving;
	const struct bus_keys *keys;

	/* This connection. */
	enum bus_peer peer;
	bool met;                 /* the peer has been heard */
	uint64_t boot, peer_boot; /* never 0 when set */
	uint64_t seq_out, seq_in, acked;
	unsigned owed; /* frames with items not yet acknowledged by us */
	bool eager;    /* acknowledge at once */
	bool greet;    /* the greeting or its answer is due */
	bool bye;      /* a bye is due */
	bool mute;     /* it has been sent: nothing follows */
	bool heard_bye;
	struct link_sent sent[BUS_WINDOW];
	unsigned sent_head, sent_n;

	/*
	 * Frames with items are numbered as they are opened; those up to `left`
	 * have been handed over.  An item in a frame beyond it has provably not
	 * left this process.
	 */
	uint64_t opened, left;
	bool last_had_items; /* the frame of the last link_next() */

	/* Filled frames that wait in order, then the open one. */
	struct link_full *full;
	size_t full_head, full_n, full_cap;
	nng_msg *open;
	unsigned open_items;
	size_t size_hint;       /* of the last frame: the next one's room */
	uint64_t open_ms;       /* when its first item was put */
	struct ring ready, dry; /* bulks with credit, and without */
	struct ring done;       /* wholly in frames: the user takes them */
};

/* peer: whom the dialling end expects; the listening end learns it. */
void link_init(struct link *l, enum bus_peer self, bool serving,
               enum bus_peer peer, const struct bus_keys *keys);
void link_fini(struct link *l);
/*
 * A new connection: new boot, empty window.  What waited is dropped and bulks
 * leave their lists.
 */
void link_reset(struct link *l);
/* Drops what waits; the next frame is the last. */
void link_bye(struct link *l);

/*
 * Checks a frame against the connection and takes its acknowledgement.  OK: the
 * items may be executed.  A frame that fails must end the connection.
 */
enum frame_fault link_accept(struct link *l, struct str frame, int64_t now_ms,
                             struct str *items) MUST_CHECK;
/* ERR_NOMEM leaves everything as it was. */
enum err link_put(struct link *l, const struct item *it,
                  uint64_t now_ms) MUST_CHECK;
/* The ordinal of the frame that the next link_put() fills, compare with left. */
uint64_t link_ordinal(const struct link *l);

/* b->cid, left, credit, deadline_ms and begun are set; the link sends it. */
void link_bulk(struct link *l, struct bulk *b);
void link_bulk_credit(struct link *l, struct bulk *b, size_t n);
void link_bulk_drop(struct bulk *b); /* in a list or not */
/* A bulk whose last part is in a frame, or NULL. */
struct bulk *link_bulk_done(struct link *l);

/*
 * The next frame to send, without the SP header; the caller owns it.  NULL:
 * nothing to send, the window is shut, or (*e) no memory.
 */
nng_msg *link_next(struct link *l, uint64_t now_ms, enum err *e);
/* The frame of the last link_next() could not be handed over. */
void link_unsend(struct link *l);
/* True if link_next() would give a frame. */
bool link_has_work(const struct link *l);
/* True if everything put has been sent and acknowledged. */
bool link_is_quiet(const struct link *l);
/* Frames with items that have not been handed over, with the open one. */
unsigned link_waiting(const struct link *l);
/* When the oldest unacknowledged frame was sent; 0: none. */
uint64_t link_oldest_ms(const struct link *l);

/* Never 0. */
uint64_t link_random(void);

#endif
