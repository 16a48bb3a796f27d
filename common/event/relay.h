/*
 * relay - what empties the outbox, one turn at a time; internal to common/event.
 *
 * relay_thread.c  the thread that takes the turns: event_relay
 * relay.c         a turn: leases, targets, pauses
 * relay_send.c    one batch: fetch, send, settle
 *
 * Time comes from mono_ms() and the database, and all that leaves the process
 * goes through the database and conf.send: a simulation that stands in for
 * these (tests/sim/relay_*.c) runs this code as it is.
 *
 * Threads: relay_stats() any; the others one at a time.
 */
#ifndef EVENT_RELAY_H
#define EVENT_RELAY_H

#include "common/event/store.h"

#include "common/base/arena.h"
#include "common/base/ctx.h"

#define RELAY_PARKED_MAX  32
#define RELAY_BATCH_BYTES ((size_t)1 << 20)

/* --- a relay ------------------------------------------------------------------- */

struct relay;
struct relay *relay_new(const struct event_relay_conf *conf) MUST_CHECK;
/* Leaves the leases to run out, as a crash does. */
void relay_free(struct relay *r);
AUTO_TYPE(relay, struct relay *, relay_free)

/* Sends what can go now; says when to look again, if nobody kicks. */
uint64_t relay_turn(struct relay *r);
/* Sends what is due and gives up the leases. */
void relay_end(struct relay *r);
void relay_stats(struct relay *r, struct event_stats *out);

/* --- one batch ------------------------------------------------------------------- */

/* A subject that is left alone for a while. */
struct relay_parked {
	uint64_t hash; /* of its sub; a collision costs a pause */
	uint64_t until_ms;
	unsigned times;
};

struct relay_target {
	enum bus_peer peer;
	char after[EVENT_NAME_MAX + 1]; /* the next look begins behind it */
	bool progress;                  /* in this pass over the subjects */
	size_t batch;                   /* events in the next call, at most */
	uint64_t again_ms;              /* not before */
	unsigned failures;              /* in a row */
	size_t unanswered; /* events of the last call, if it failed */
	struct relay_parked parked[RELAY_PARKED_MAX];
	size_t parked_n;
};

struct relay_event {
	char id[37];
	struct str sub, type, body, tp;
	int64_t seq, at;
	struct span *span; /* of sending it; NULL: not sampled */
};

struct relay_batch {
	struct relay_target *target;
	struct arena *arena;
	uint64_t now_ms;
	size_t n, bytes, rows;
	struct str last; /* the last subject looked at */
	bool full;       /* there may be more */
	struct relay_event ev[EVENT_BATCH];
};

/* What one batch came to. */
struct relay_tally {
	uint64_t sent, acked, refused, lost;
	bool answered; /* an error is our own database's */
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
/* Leaves the batch's first subject alone for a while; true for the first time
 * in a row. */
bool relay_park_first(struct relay_batch *b);
/* Forgets subjects that have had no events for long. */
void relay_sweep(struct relay_target *t, uint64_t now_ms);

#endif
