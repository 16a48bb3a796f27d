/*
 * peer - the inside of bus_server: one connected client, and its requests.
 *
 * A peer lives in the server's table from the moment its pipe is added until it
 * is removed, and its memory until the server is freed: a spent one is used
 * again for the next connection.
 *
 * Locks:   server->lock guards the table; peer->lock all else of a peer.  Never
 *          held together, nothing is called under them but nng_msg_*.
 * Threads: nng calls the receive callback on one thread at a time; replies and
 *          parts come from any.
 */
#ifndef BUS_PEER_H
#define BUS_PEER_H

#include "common/bus/link.h"
#include "common/bus/ring.h"

#include <pthread.h>
#include <stdatomic.h>

#define PEER_BUCKETS    256
#define PEERS_MAX       1024
#define ITEMS_MAX       8192
#define ITEM_KEEP       4096 /* an item at rest keeps a buffer up to this */
#define ASSEMBLY_MAX    ((size_t)128 << 20) /* of requests still arriving */
#define PUSH_WAIT_MAX   64 /* frames; a peer that does not read gets no more */
#define SERVER_QUIET_MS 1000 /* for answers to arrive at the end */
#define SERVER_BYE_MS   300  /* for the others' bye */
#define SILENCE_MS      100  /* before a bad peer's pipe is closed */

enum item_state {
	ITEM_ARRIVING, /* parts of the request are still to come */
	ITEM_WORKING,  /* with the callee */
	ITEM_LEAVING,  /* parts of the reply are still to go */
};

struct bus_item {
	struct ring at; /* in a bucket of the peer, or among its spare ones */
	struct peer *p;
	enum bus_peer from;
	uint64_t cid;
	enum item_state state;
	atomic_bool cancelled;
	uint64_t deadline_ms;
	struct buf bytes;  /* the request */
	struct buf reply;  /* what leaves in parts */
	struct bulk bulk;  /* its way out, and the credit of all parts */
	size_t room, owed; /* credit given for parts of the request */
};

struct peer {
	struct bus_server *s;
	struct ring at;   /* in the server's table or spare list, or none */
	struct ring made; /* in the server's list of all */
	atomic_uint refs;
	uint32_t pipe;
	nng_aio *send;

	pthread_mutex_t lock;
	pthread_cond_t credit; /* more of it, or the end */
	bool gone;             /* nothing is sent or taken any more */
	bool connected;
	unsigned noise; /* frames that came although it is gone */
	bool busy;      /* a send is in progress */
	bool receiving; /* replies collect until the callback's end */
	struct link link;
	struct ring bucket[PEER_BUCKETS];
	struct ring spare;
};

/* Older ones stay to the end, because a peer may be looking at them; there are as
 * many as rotations. */
struct server_keys {
	struct bus_keys k;
	struct server_keys *older;
};

struct bus_server {
	struct bus_server_conf conf;
	struct server_keys *_Atomic keys; /* never NULL */
	nng_socket sock;
	nng_aio *recv, *tick;
	atomic_bool ticking; /* some peer is gone but not its pipe */
	unsigned port;
	atomic_uint in_work;
	atomic_size_t arriving; /* bytes of requests not yet whole */
	atomic_bool draining;
	atomic_bool ending;
	uint64_t logged_ms; /* receive callback only */

	pthread_mutex_t lock;
	pthread_cond_t quiet; /* a peer has acknowledged or gone: */
	uint64_t changes;     /* counts that */
	struct ring table, spare, made;
	bool closing;      /* no new peers */
	atomic_uint peers; /* changed under the lock */

	struct {
		atomic_ullong frames_in, frames_out, items, replies, refused,
			expired, bad_frames, bad_form, bad_version, oversize,
			bad_mac, bad_time, replayed, bad_edge;
	} n;
};

#define COUNT(s, what) \
	atomic_fetch_add_explicit(&(s)->n.what, 1, memory_order_relaxed)

/* --- peer.c -------------------------------------------------------------- */

struct peer *peer_new(struct bus_server *s);
/* No callback of it can come any more. */
void peer_free(struct peer *p);
/* A new connection; p is in no use. */
void peer_begin(struct peer *p, uint32_t pipe);
/* The connection is over: items end or are marked cancelled. */
void peer_end(struct peer *p);
/*
 * Under the lock: has done with a connection that cannot go on, as peer_end().
 * Its pipe is closed by server_tick() once it is silent (see link.h).
 */
void peer_shun(struct peer *p);
void peer_unref(struct peer *p); /* to the spare list with the last one */

/* Takes a frame and calls on_item for its requests.  Receive callback only. */
enum frame_fault peer_frame(struct peer *p, struct str frame) MUST_CHECK;
/*
 * Ends the section that took p->lock, and sends what is due.  Everything that
 * puts something into the link ends with it.
 */
void peer_unlock_and_send(struct peer *p);
/* Under the lock: an item that belongs to no request. */
void peer_put(struct peer *p, enum item_kind kind, struct str bytes);

/* --- server.c -------------------------------------------------------------- */

void server_tick_later(struct bus_server *s);

/* --- item.c, all under the peer's lock ------------------------------------ */

struct bus_item *item_find(struct peer *p, uint64_t cid);
struct bus_item *item_new(struct peer *p, uint64_t cid, uint32_t left_ms,
                          uint64_t now_ms);
void item_free(struct bus_item *it);
/* A final item without work done; false: no memory, close the pipe. */
bool item_refuse_cid(struct peer *p, uint64_t cid, enum err e) MUST_CHECK;

#endif
