/*
 * calls - the inside of bus_client: its calls and where they are.
 *
 * A call lives in a slot.  Its id is (generation, slot); on the wire the number
 * of the attempt is added, so that a late answer to an earlier attempt is never
 * taken for a part of this one.  A call is either with a replica (in its list)
 * or held (in the client's list) until one is up.
 *
 *   cid   63........24 23..20  19......0
 *         generation   attempt slot
 *
 * calls.c chooses replicas and starts, moves and ends calls; client.c is the
 * loop and what comes off the wire.
 */
#ifndef BUS_CALLS_H
#define BUS_CALLS_H

#include "common/bus/replica.h"
#include "common/bus/resolve.h"
#include "common/bus/wheel.h"

#include <stdatomic.h>

#define REPLICAS_MAX  64 /* per service */
#define IN_FLIGHT_MAX 1024
#define SUSPECT_MS    50
#define SUSPECT_LOST  10000 /* a peer this long silent is given up */
#define GREETING_MS   2000  /* for the first word of a new connection */
#define SHUN_MS       1000  /* between a bad frame and dialling again */
#define SILENCE_MS    200   /* before a bad peer's pipe is closed */
#define PART_MS       300   /* for the others' bye at the end */
#define LEAVE_MS      60000 /* for a removed address to finish */
#define MOVES_MAX     2     /* times it may be begun after the first */
#define ATTEMPTS_MAX  15 /* with those that were not begun; 4 bits of the cid */
#define MOVE_SECONDS  10
#define MOVE_PERCENT  20
#define MOVE_FLOOR    64 /* so that the first calls may be retried too */
#define REPLY_DEFAULT ((size_t)1 << 20)
#define SLOT_BITS     20
#define SLOTS_CHUNK   64
#define BUFFER_KEEP   4096 /* a slot keeps a buffer up to this size */

struct call {
	struct ring at; /* in replica->calls or client->held */
	struct wheel_node timer;
	uint64_t id; /* 0: free */
	uint32_t slot;
	unsigned attempt, moves; /* of the attempts, those that may have run */

	enum bus_peer to;
	unsigned route_class;
	bool retry, stream, hold_credit;
	uint64_t deadline_ms, held_until_ms;
	size_t max_reply;
	bus_reply_fn *on_reply;
	void *arg;
	bool *resent;          /* the caller's; or NULL */
	struct bus_trip *trip; /* likewise */

	/* No other may be chosen; never held, so it ends before it is freed. */
	const struct replica *only;
	struct replica *r; /* NULL: held */
	uint64_t ordinal;  /* of the frame it is in; see link */
	uint64_t start_us;
	bool left_before; /* an earlier attempt left this process */
	bool delivered;   /* the caller has seen a part */
	struct buf bytes; /* the entry: for parts and for other replicas */
	struct bulk bulk;

	struct buf reply;  /* parts so far, unless stream */
	bool parts;        /* one has come */
	size_t got;        /* bytes of them */
	size_t room, owed; /* credit: what may come, what is not yet granted */
};

/* Calls and moves of each of the last MOVE_SECONDS seconds. */
struct budget {
	uint64_t second;
	unsigned calls[MOVE_SECONDS], moves[MOVE_SECONDS];
};

struct bus_client {
	struct bus_client_conf conf;
	struct bus_keys keys;
	struct hub hub;
	struct resolver *names; /* NULL until a name is watched */

	struct {
		struct replica *v[REPLICAS_MAX];
		unsigned n;
	} of[PEER_COUNT];
	atomic_uint up[PEER_COUNT];

	struct call **chunks; /* SLOTS_CHUNK slots each, never moved */
	uint32_t slots;
	struct ring free;
	uint64_t generation;
	struct ring held;
	unsigned held_n[PEER_COUNT];
	struct wheel wheel;
	struct budget budget;
	bool unsent; /* something was put since the last flush */
	uint64_t logged_ms;
	uint64_t bad_frames;
};

/* trip.c: an attempt begins, which is told to nobody before trip_put(), and is
 * over.  NULL is fine. */
void trip_name(struct bus_trip *t, struct buf *bytes);
void trip_put(struct bus_trip *t, const char *replica, uint64_t now_us);
void trip_over(struct bus_trip *t, enum err outcome);

void calls_init(struct bus_client *c, uint64_t now_ms);
void calls_fini(struct bus_client *c);
enum err calls_start(struct bus_client *c, const struct bus_call *in,
                     uint64_t *id) MUST_CHECK;
/* The call of an id or cid; NULL: none, or another attempt (cid only). */
struct call *calls_find(struct bus_client *c, uint64_t id);
struct call *calls_find_cid(struct bus_client *c, uint64_t cid);
/* Ends it and tells the caller; the call is gone when this returns. */
void calls_end(struct bus_client *c, struct call *k, enum err e,
               struct str bytes);
/* Its replica need not go on; in_flight counts it until the final item. */
void calls_tell_cancel(struct bus_client *c, struct call *k);
/* n bytes of parts have been consumed: lets the peer send as many again. */
void calls_grant(struct bus_client *c, struct call *k, size_t n);
/* Forgets it, tells the peer, not the caller. */
void calls_drop(struct bus_client *c, struct call *k);
/* Tries another replica, or holds it; ends it when neither can be. */
void calls_move(struct bus_client *c, struct call *k, enum err why);
/* The replica's connection is gone: every call on it moves or ends. */
void calls_lost(struct bus_client *c, struct replica *r);
/* The replica is suspect: what may run elsewhere moves. */
void calls_suspect(struct bus_client *c, struct replica *r);
void calls_up(struct bus_client *c, enum bus_peer to); /* send what is held */
void calls_expire(struct bus_client *c, uint64_t now_ms);

#endif
