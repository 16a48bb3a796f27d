/*
 * events - an answer that is told as it is made, to a client that asked for
 * text/event-stream (docs/streaming.md).
 *
 * Why:     the service is asked which job the request is, and from then on for
 *          what is behind the last event that the client has: when it pushes that
 *          there is more, or else every STREAM_POLL_MS.  Each ask is a call of
 *          its own that any replica answers and that may be sent again, so a
 *          stream outlives the process that makes it, and costs no thread of a
 *          service and nothing of a client that reads slowly but the few events
 *          that it has been given: it is asked for more when they are taken.
 * Head:    sent with the first event, or after STREAM_KEEP_ALIVE_MS of silence.
 *          What fails before is a problem as any other; what fails later is the
 *          event "error" with that problem, and the end.
 * Ends:    behind the last event; with "error" after STREAM_S and when the gateway
 *          is ending: the client comes back with Last-Event-ID.
 * Bounds:  STREAMS_MAX, and of one person STREAMS_PER_PERSON, in this process.
 * Threads: the loop's own; what all loops share has a lock, a leaf.
 *
 * Inside the gateway only; part of a struct req.
 */
#ifndef GATEWAY_EVENTS_H
#define GATEWAY_EVENTS_H

#include "common/base/uuid.h"
#include "common/bus/entry.h"

#include <microhttpd.h>
#include <pthread.h>

struct req;
struct loop;

enum events_phase {
	EVENTS_NONE,    /* no job is known */
	EVENTS_RESTING, /* until there is more */
	EVENTS_ASKING,
	EVENTS_OVER, /* nothing more comes from the service */
};

struct events {
	enum events_phase phase;
	bool answers; /* the head goes, or has gone */
	bool noticed; /* there is more than was asked for */
	char job[UUID_MAX];
	int64_t after;
	uint64_t call; /* while ASKING */
	uint64_t ask_ms, alive_ms, end_ms;
	struct buf waits;        /* the client has yet to take it */
	size_t used;             /* of it */
	struct req *next, *prev; /* of the loop's */
	/* Of all that are open; sub NULL: not counted. */
	struct events *each_next, *each_prev;
	struct str sub;
};

/* Of a site. */
struct events_count {
	pthread_mutex_t lock;
	struct events *first;
	unsigned n;
};

/* One more may be open: OK, ERR_BUSY or ERR_RATE_LIMITED. */
enum err events_enter(struct req *rq) MUST_CHECK;
/* The reply of the call that says which job it is; see bus_reply_fn. */
void events_opened(void *arg, enum err e, struct str bytes, bool more);
/* NULL without memory. */
struct MHD_Response *events_response(struct req *rq);
/* Ends what is under way; the client then gets what waits, and no more. */
void events_stop(struct req *rq);
void events_fini(struct req *rq);
/* A service says that a job has something new. */
void events_push(struct loop *lo, struct str job);
/* Once a turn; tick: times are looked at too. */
void events_turn(struct loop *lo, bool tick);

#endif
