/*
 * monitor - how the services are, asked of them in the background.
 *
 * Why:     the bus knows within milliseconds whether a service is there, but
 *          not whether its database is.  Health routes must not ask for it
 *          either, or whoever polls them would load what he watches; so they
 *          tell what was found last.
 * When:    every MONITOR_START_MS until a service is well for the first time;
 *          then every MONITOR_EVERY_MS, every MONITOR_UNWELL_MS while it is not
 *          well or does not answer, at once when it says that it has started,
 *          and at once after a failure that monitor_note() tells of, though not
 *          within MONITOR_SOON_MS.
 * Bounds:  one call per service at a time.
 * Trust:   of an answer only states are kept.  Its words never are, so what a
 *          service says of itself cannot leak through a public route.
 * Threads: monitor_note() and monitor_view() any; the rest the loop that owns
 *          the bus.  One internal lock, a leaf.
 */
#ifndef GATEWAY_MONITOR_H
#define GATEWAY_MONITOR_H

#include "common/bus/bus.h"

#define MONITOR_START_MS  100
#define MONITOR_EVERY_MS  60000
#define MONITOR_UNWELL_MS 2000
#define MONITOR_SOON_MS   1000
#define MONITOR_ANSWER_MS 2000   /* a service may take so long */
#define MONITOR_OLD_MS    180000 /* then what was found is not known any more */

/* From best to worst. */
enum monitor_state {
	MONITOR_UP,
	MONITOR_UNKNOWN,
	MONITOR_DEGRADED,
	MONITOR_DOWN
};
enum monitor_state monitor_worse(enum monitor_state a, enum monitor_state b);

struct monitor;

struct monitor_conf {
	/* As bus_client_call(); called from monitor_turn(). */
	enum err (*call)(void *bus, const struct bus_call *call, uint64_t *id);
	void *bus;
	/* Any thread: a turn is due. */
	void (*wake)(void *arg);
	void *arg;
};

struct monitor *monitor_new(const struct monitor_conf *conf);
void monitor_free(struct monitor *m); /* no callback may come any more */
AUTO_TYPE(monitor, struct monitor *, monitor_free)

/* Asks whom it is time to ask. */
void monitor_turn(struct monitor *m, uint64_t now_ms);
uint64_t monitor_timeout_ms(const struct monitor *m, uint64_t now_ms);

/* It says that it has started: the next turn asks it, or, while a question is
 * under way that it may have answered before, the turn after the answer. */
void monitor_started(struct monitor *m, enum bus_peer service);

/* A call of this service has failed. */
void monitor_note(struct monitor *m, enum bus_peer service);

struct monitor_view {
	/* As the service says.  DOWN: starting, draining, or without what it
	 * cannot do without.  UNKNOWN: it has not answered the last question,
	 * or not for MONITOR_OLD_MS. */
	enum monitor_state service;
	enum monitor_state database;
	/* The cache's tier that instances share, where it has one. */
	bool has_redis;
	enum monitor_state redis;
	/* The providers of a language model, where some are configured. */
	bool has_llm;
	enum monitor_state llm;
};
struct monitor_view monitor_view(struct monitor *m, enum bus_peer service,
                                 uint64_t now_ms);

#endif
