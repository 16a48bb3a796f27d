/*
 * flow - the body of an answer that a service streams, on its way to a client.
 *
 * Why:     an export may be larger than what anybody wants to hold.  What the
 *          client has taken is credited to the service, which sends no further
 *          ahead than 256 KiB, so a slow client costs that much and no more.
 * Whole:   the head has said how long the body is.  Where the stream ends
 *          otherwise than with its end, the connection is cut: the client sees
 *          fewer bytes than Content-Length has promised.
 * Bounds:  what the credit of the bus allows, and the head.
 * Threads: the loop's own.
 *
 * Inside the gateway only; part of a struct req.
 */
#ifndef GATEWAY_FLOW_H
#define GATEWAY_FLOW_H

#include "common/bus/stream.h"

#include <microhttpd.h>

struct req;

struct flow {
	struct stream_in head;
	struct buf waits; /* the client has yet to take it */
	size_t used;      /* of it */
	uint64_t length;  /* of the body */
	bool open;        /* the call is under way */
	bool answers;     /* the head was whole, and is a success */
};

/* On the reply of a call with stream and hold_credit; see bus_reply_fn. */
void flow_replied(void *arg, enum err e, struct str bytes, bool more);
/* NULL without memory. */
struct MHD_Response *flow_response(struct req *rq);
/* Ends the call, if it is open; the client then gets no more. */
void flow_stop(struct req *rq);
void flow_fini(struct flow *f);

#endif
