/*
 * relay - what relay.c (the thread, its leases and pauses) and relay_send.c
 * (one batch: fetch, send, settle) share; internal to common/event.
 */
#ifndef EVENT_RELAY_H
#define EVENT_RELAY_H

#include "common/event/store.h"

#include "common/base/arena.h"
#include "common/base/ctx.h"

#define RELAY_PARKED_MAX  32
#define RELAY_BATCH_BYTES ((size_t)1 << 20)

/* A subject that is left alone for a while. */
struct relay_parked {
	uint64_t hash; /* of its sub; a collision costs a pause */
	uint64_t until_ms;
	unsigned times;
};

struct relay_target {
	enum bus_peer peer;
	int64_t shard;     /* where the next look begins */
	bool progress;     /* in this pass over the shards */
	uint64_t again_ms; /* not before */
	unsigned failures; /* in a row */
	size_t unanswered; /* events of the last call, if it failed */
	struct relay_parked parked[RELAY_PARKED_MAX];
	size_t parked_n;
};

struct relay_event {
	char id[37];
	struct str sub, type, body;
	int64_t seq, at;
};

struct relay_batch {
	struct relay_target *target;
	struct arena *arena;
	uint64_t now_ms;
	size_t n, bytes, rows;
	int64_t last_shard;
	bool full; /* there may be more */
	struct relay_event ev[EVENT_BATCH];
};

/* What one batch came to. */
struct relay_tally {
	uint64_t sent, acked, refused, lost;
};

struct relay_job {
	const struct event_relay_conf *conf;
	struct ctx *cx;
	struct relay_batch *batch;
};

enum err relay_fetch(struct relay_job *j) MUST_CHECK;
/* Sends the batch and deletes what is acknowledged. */
enum err relay_deliver(struct relay_job *j, uint64_t deadline_ms,
                       struct relay_tally *tally) MUST_CHECK;

#endif
