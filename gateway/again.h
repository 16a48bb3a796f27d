/*
 * again - requests that wait for their own first attempt (design D20).
 *
 * Why:     a call with an Idempotency-Key that was lost with its replica goes
 *          to another one, and there meets the lock that the first attempt
 *          still holds: "409, being worked on".  The client has sent the
 *          request once, so that is no answer for it.  The gateway waits and
 *          asks again until the deadline; then the stored answer is there, or
 *          the lock is free and the request runs.  A client that has itself
 *          sent two gets the 409.
 * Bounds:  at most one entry per request; the pauses double from AGAIN_MS to
 *          AGAIN_MAX_MS.
 * Threads: the loop's own.
 *
 * Inside the gateway only.
 */
#ifndef GATEWAY_AGAIN_H
#define GATEWAY_AGAIN_H

#include "gateway/req.h"

#define AGAIN_MS     20
#define AGAIN_MAX_MS 320

/* The connection stays suspended. */
void again_wait(struct req *rq);
void again_forget(struct req *rq); /* while WAIT_AGAIN */
/* Asks for those whose time has come. */
void again_turn(struct loop *lo);
/* Milliseconds until one is due; UINT64_MAX: none waits. */
uint64_t again_timeout_ms(const struct loop *lo, uint64_t now_ms);

#endif
