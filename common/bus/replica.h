/*
 * replica - the client's connection to one address of one service.
 *
 * nng calls back on its own threads; these callbacks only fill the inbox of
 * their replica under the hub's lock, put the replica on the hub's list and
 * wake the owner if it sleeps.  Everything else belongs to the owner's thread.
 *
 * The inbox holds the id of the pipe that is there now instead of a list of
 * connects and disconnects: however often a peer comes and goes between two
 * turns, the inbox stays as small, and messages know their pipe.
 *
 * Bounds:  INBOX_MAX messages wait; then receiving pauses until the next turn.
 * Owns:    socket, aios, messages.
 */
#ifndef BUS_REPLICA_H
#define BUS_REPLICA_H

#include "common/bus/link.h"
#include "common/bus/url.h"

#include <pthread.h>

#define INBOX_MAX 64

struct hub {
	pthread_mutex_t lock;
	struct replica *dirty; /* list, by next_dirty */
	pthread_cond_t came;   /* the list is not empty, see hub_wait() */
	bool resolved;         /* a name has other addresses */
	bool closing;          /* no new connection is taken */
	bool sleeping;         /* the owner waits for wake() */
	void (*wake)(void *arg);
	void *arg;
};

struct inbox {
	nng_msg *msgs[INBOX_MAX];
	unsigned n;
	uint32_t pipe;  /* 0: not connected */
	bool sent;      /* the send has ended */
	bool failed;    /* and the message did not leave */
	bool paused;    /* receiving: full */
	bool want_sent; /* wake the owner when a send ends */
};

struct latency {
	double ms;
	uint64_t at_us; /* of the last sample, dispatch or decay */
};

struct replica {
	struct hub *hub;
	enum bus_peer to;
	char url[BUS_URL_MAX];
	nng_socket sock;
	nng_aio *send, *recv;

	/* Under hub->lock. */
	struct inbox in;
	bool dirty;
	struct replica *next_dirty;

	/* The owner's. */
	struct link link;
	uint32_t pipe;        /* that link belongs to; 0: none */
	uint32_t there;       /* pipe that was connected at the last look */
	uint64_t pipe_ms;     /* since when */
	uint32_t shunned;     /* pipe that sent a bad frame */
	uint64_t shun_end_ms; /* when it is closed, if it has been silent */
	bool busy;            /* a send is in progress */
	bool up, suspect, draining;
	bool leaving;          /* its address is gone: no new calls */
	uint64_t leave_end_ms; /* closed at the latest then */
	unsigned fails;        /* connections lost since the last reply */
	uint64_t ejected_ms;   /* avoided until then */
	unsigned refusals;    /* periods since the last reply: it is starting */
	uint64_t refusing_ms; /* not asked until then; 0: it is */
	size_t name;          /* of the resolver's that gave it, or SIZE_MAX */
	unsigned in_flight;   /* requests without a final item */
	struct ring calls;    /* struct call */
	struct latency latency[BUS_CLASSES];
	uint64_t sent, replied, failed, moved, late, bad_frames;
};

enum err hub_init(struct hub *h, void (*wake)(void *arg), void *arg) MUST_CHECK;
void hub_fini(struct hub *h);
/* The owner is awake: takes the list; *resolved: names have changed. */
struct replica *hub_take(struct hub *h, bool *resolved);
/* True: wake() will be called for what comes.  False: something is here. */
bool hub_may_sleep(struct hub *h);
/* Waits in the owner's thread until something is here, at most to end_ms. */
void hub_wait(struct hub *h, uint64_t end_ms);
/* Any thread. */
void hub_resolved(struct hub *h);
/* From now on a connection that comes about is ended before a byte of a message
 * is read from it. */
void hub_close(struct hub *h);

/* Dials in the background.  ERR_INVALID: nng will not have the address. */
enum err replica_new(struct hub *h, enum bus_peer to, const char *url,
                     enum bus_peer self, const struct bus_keys *keys,
                     struct replica **out) MUST_CHECK;
/* Callbacks have ended when it returns; not from one of them. */
void replica_free(struct replica *r);
AUTO_TYPE(replica, struct replica *, replica_free)

/* Moves the inbox out; its messages become the caller's. */
void replica_collect(struct replica *r, struct inbox *out);
/* Takes a message for the pipe; r->busy until the inbox says sent. */
void replica_send(struct replica *r, nng_msg *m);
/* True: the send has ended after all.  False: the owner will be woken. */
bool replica_want_sent(struct replica *r);
/* Waits for the send to end; true if the message did not leave. */
bool replica_cancel_send(struct replica *r);

/* Decayed milliseconds of a route class. */
double replica_latency(struct replica *r, unsigned cls, uint64_t now_us);
void replica_sample(struct replica *r, unsigned cls, uint64_t now_us,
                    double ms);
void replica_touch(struct replica *r, unsigned cls, uint64_t now_us);

#endif
