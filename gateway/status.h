/*
 * status - the page for operators: each service, replica, pool, cache, breaker
 * and outbox, as they are now.
 *
 * Why:     who is woken at night wants one page before any dashboard.  It is on
 *          the admin port (/status), one piece of HTML that loads nothing and
 *          asks for itself again while it is looked at.
 * When:    every replica is asked for its figures each STATUS_EVERY_MS, while
 *          the page has been asked for within STATUS_LOOKED_MS.
 * Trust:   as survey.h: numbers of the services, and no words but our own.
 * Threads: status_turn() and status_free() the first loop's, status_page() any.
 *          One internal lock; within it those of the loops' figures.
 *
 * Inside the gateway only.
 */
#ifndef GATEWAY_STATUS_H
#define GATEWAY_STATUS_H

#include "common/base/buf.h"
#include "common/bus/bus.h"

#define STATUS_EVERY_MS  1000
#define STATUS_LOOKED_MS 10000

struct gateway;
struct status;

/* Both outlive it.  NULL without memory. */
struct status *status_new(struct gateway *g, struct bus_client *bus);
void status_free(struct status *st); /* NULL is fine */
AUTO_TYPE(status, struct status *, status_free)
/* Asks, if it is time to. */
void status_turn(struct status *st, uint64_t now_ms);
/* A health_page_fn.  Before there are figures it says so. */
void status_page(void *status, struct buf *out);

#endif
