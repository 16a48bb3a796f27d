/*
 * visitor - somebody without a login, on the routes where that counts (heeds.def):
 * the cookie by which they are known again, and what their browser asks of us.
 *
 * Cookie:  svc-content makes what it holds and alone knows whether it is genuine
 *          (svc-content/social/visitor.h); here it is carried both ways.  A value
 *          that none can be is as none.
 * Forged:  a page of another site must not make a visitor like or rate, nor
 *          make new visitors by the dozen.  With the cookie the rules are those
 *          of a session's (csrf.h).  Without one there is nothing to forge a
 *          request with, but a browser that says it comes from elsewhere is
 *          refused all the same.
 * Track:   Sec-GPC: 1 or DNT: 1 travel along as cx.track, "no".
 * Threads: a request's loop.
 *
 * Inside the gateway only.
 */
#ifndef GATEWAY_VISITOR_H
#define GATEWAY_VISITOR_H

#include "gateway/req.h"

/* Sets cx.visitor and cx.track; the first is a slice of the head. */
void visitor_look(struct req *rq);
/* Of a request that no login stands behind: OK, or the CSRF codes. */
enum err visitor_meant(struct req *rq) MUST_CHECK;
/* The value of svc-content's VISITOR_HEADER. */
void visitor_set(struct req *rq, struct str value);

#endif
