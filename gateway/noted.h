/*
 * noted - acts of administrators that the gateway does itself are told to the
 * audit log before they are done.
 *
 * The gateway keeps nothing, so it asks svc-auth (method "auth.audit"), whose
 * outbox brings the note to svc-gdpr also when that is away.  It fails closed:
 * without the note there is no act, 503.  svc-auth is what every administrator
 * needs anyway, and what these acts mend (caches, breakers) mends itself in
 * time.  A note whose act fails then, or whose client goes away, stays: it says
 * that the act was begun.
 *
 * Inside the gateway only; the loop's own thread.
 */
#ifndef GATEWAY_NOTED_H
#define GATEWAY_NOTED_H

#include "gateway/req.h"

#define NOTED_MS 2000

/* The request is checked by own->note first.  NEXT: rq->err says why not. */
enum next noted_begin(struct req *rq, const struct own *own);
/* {event, resource_type, resource_id}: what own->note appends. */
void noted_pack(struct buf *b, const char *event, const char *resource_type,
                struct str resource_id);

#endif
