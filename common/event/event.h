/*
 * event - what one service must tell another, exactly once (design D21).
 *
 * Sending:   event_emit() writes an outbox row in the transaction of the cause;
 *            seq counts per (target, sub) under a counter row, so the order per
 *            person is the order of commits.
 * Relay:     a thread that owns shards of hash(sub) by lease, sends what is in
 *            the outbox as the method "event.apply" of the target and deletes a
 *            row once it is acknowledged.  It keeps no cursor.  event_kick()
 *            after the commit makes it look at once; else every 250 ms.
 * Receiving: event_accept() in the transaction of the effect says whether this
 *            is seq = last + 1 (apply), a repeat (acknowledge) or ahead (ask
 *            for the gap: the relay sends from `want`).
 *
 * The relay always sends a subject from its oldest row on, so a gap that the
 * receiver asks for closes by itself; one that begins before our oldest row
 * cannot be closed: it is told on the log, counted, and tried again every 30 s.
 * A receiver that is away is tried again after up to 2 s, and so is a subject
 * whose event it could not apply; neither holds up the others.  On SQLite the
 * process that holds the file owns all shards, without leases.
 *
 * Bounds:    one call at a time per relay, of EVENT_BATCH events or 1 MiB; half
 *            as many after each call that fails, so that a receiver that needs
 *            longer for them than a call may last gets ahead all the same, and
 *            one event that it refuses as a whole is found and waits alone.
 *            Memory does not grow with the backlog.
 *
 * Log:       event.target_away, event.target_back; event.gap (somebody must
 *            act: events are missing); event.failed (at the receiver: an event
 *            cannot be applied); event.refused; event.outbox_failing,
 *            event.outbox_works.
 *
 * Nothing here depends on Redis.  Tables outbox, outbox_seq, outbox_lease and
 * inbox belong to each service: their statements and migration text are
 * EVENT_TABLES_* and EVENT_TRACE_* below, to be put into each service's migrations.
 *
 * Threads: event_emit() and event_accept() inside a db transaction function;
 *          event_kick() any.
 */
#ifndef EVENT_EVENT_H
#define EVENT_EVENT_H

#include "common/bus/bus.h"
#include "common/db/db.h"
#include "common/event/erased.h"

/* Table definitions for both drivers, part of a service's first migration.
 * On PostgreSQL names are qualified: schema is a string literal, "content". */
#define EVENT_TABLES_SQLITE                                                  \
	"CREATE TABLE outbox_seq (target TEXT NOT NULL, sub TEXT NOT NULL, " \
	"seq INTEGER NOT NULL, PRIMARY KEY (target, sub)) WITHOUT ROWID;"    \
	"CREATE TABLE outbox (id TEXT PRIMARY KEY, target TEXT NOT NULL, "   \
	"sub TEXT NOT NULL, seq INTEGER NOT NULL, shard INTEGER NOT NULL, "  \
	"type TEXT NOT NULL, body BLOB NOT NULL, at INTEGER NOT NULL, "      \
	"UNIQUE (target, sub, seq));"                                        \
	"CREATE INDEX outbox_shard ON outbox (shard, at, seq);"              \
	"CREATE TABLE outbox_lease (shard INTEGER PRIMARY KEY, "             \
	"owner TEXT NOT NULL, until INTEGER NOT NULL);"                      \
	"CREATE TABLE inbox (source TEXT NOT NULL, sub TEXT NOT NULL, "      \
	"seq INTEGER NOT NULL, PRIMARY KEY (source, sub)) WITHOUT ROWID;"
#define EVENT_TABLES_POSTGRES(schema)                                         \
	"CREATE TABLE " schema ".outbox_seq (target text NOT NULL, "          \
	"sub text NOT NULL, seq bigint NOT NULL, PRIMARY KEY (target, sub));" \
	"CREATE TABLE " schema ".outbox (id text PRIMARY KEY, "               \
	"target text NOT NULL, sub text NOT NULL, seq bigint NOT NULL, "      \
	"shard bigint NOT NULL, type text NOT NULL, body bytea NOT NULL, "    \
	"at bigint NOT NULL, UNIQUE (target, sub, seq));"                     \
	"CREATE INDEX outbox_shard ON " schema ".outbox (shard, at, seq);"    \
	"CREATE TABLE " schema ".outbox_lease (shard bigint PRIMARY KEY, "    \
	"owner text NOT NULL, until bigint NOT NULL);"                        \
	"CREATE TABLE " schema ".inbox (source text NOT NULL, "               \
	"sub text NOT NULL, seq bigint NOT NULL, PRIMARY KEY (source, sub));"

/* A migration of its own, after the former: the trace that an event is of. */
#define EVENT_TRACE_SQLITE \
	"ALTER TABLE outbox ADD COLUMN tp TEXT NOT NULL DEFAULT '';"
#define EVENT_TRACE_POSTGRES(schema)     \
	"ALTER TABLE " schema ".outbox " \
	"ADD COLUMN tp text NOT NULL DEFAULT '';"

#define EVENT_SHARDS   16
#define EVENT_BATCH    256                /* events in one call, at most */
#define EVENT_NAME_MAX 128                /* bytes of a sub or a type */
#define EVENT_BODY_MAX ((size_t)64 << 10) /* bytes of a body */

/*
 * The statements of one service, made once from its schema name; NULL without
 * memory.  Lives longer than the pools it is used with.
 */
struct event_store;
struct event_store *event_store_new(const char *service);
void event_store_free(struct event_store *s);
AUTO_TYPE(event_store, struct event_store *, event_store_free)
/* From now on event_apply() drops what comes for the erased: it acknowledges and
 * counts it, in one transaction.  Lives longer; before the first event. */
void event_store_erased(struct event_store *s, struct erased *t);
/*
 * In the transaction that erases a person: what waits to be told of them, and
 * how far their events have come.  *rows of outbox, outbox_seq and inbox.
 */
#define EVENT_FORGET_TABLES 3
extern const char *const event_forget_tables[EVENT_FORGET_TABLES];
enum err event_forget(struct event_store *s, struct db *db, struct str sub,
                      int64_t rows[EVENT_FORGET_TABLES]) MUST_CHECK;

struct event {
	char id[37]; /* UUIDv7, the unique cause in ledgers */
	struct str source, sub, type, body; /* body: msgpack */
	int64_t seq, at;                    /* at: wall_ms() of the cause */
	struct str tp;                      /* traceparent of it, or empty */
};

/* body: msgpack; sub and type: not empty; all within the bounds above.
 * ERR_INTERNAL otherwise: the receiver would refuse it for ever. */
enum err event_emit(struct event_store *s, struct db *db, enum bus_peer target,
                    struct str sub, struct str type, struct str body,
                    int64_t now_ms) MUST_CHECK;

enum event_verdict { EVENT_APPLY, EVENT_REPEAT, EVENT_AHEAD };
/* *want is the seq that is next.  On EVENT_APPLY the inbox row is advanced. */
enum err event_accept(struct event_store *s, struct db *db,
                      const struct event *ev, enum event_verdict *verdict,
                      int64_t *want) MUST_CHECK;

/*
 * The wire form of "event.apply": body {src, events: [{id, sub, type, seq, at,
 * b, tp}]}, reply {acks: [{sub, ok: seq, want: seq}]}.  A service's handler calls
 * event_apply(), which runs `apply` for each event that is due, all in one
 * transaction.  The subject of an event that cannot be applied waits; what
 * comes before and behind it is applied without.  It appends the reply's body.
 * src must be the peer that called (cx->principal), else ERR_DENIED.
 */
typedef enum err event_apply_fn(void *arg, struct db *db,
                                const struct event *ev);
enum err event_apply(struct event_store *s, struct db_pool *pool,
                     struct ctx *cx, struct str body, event_apply_fn *apply,
                     void *arg, struct buf *reply) MUST_CHECK;
/*
 * The same for effects that must come at the end of a transaction, because they
 * take a lock that all wait for: once `apply` has been called for each event of
 * a transaction, `last` is called with those that are due, in their order.
 */
typedef enum err event_last_fn(void *arg, struct db *db,
                               const struct event *const *ev, size_t n);
enum err event_apply_last(struct event_store *s, struct db_pool *pool,
                          struct ctx *cx, struct str body,
                          event_apply_fn *apply, event_last_fn *last, void *arg,
                          struct buf *reply) MUST_CHECK;

/*
 * How a body of "event.apply" reaches its target: appends the reply's body.
 * What it returns is the call's outcome; any error means "ask again".
 */
typedef enum err event_send_fn(void *arg, enum bus_peer target, struct str body,
                               uint64_t deadline_ms, struct buf *reply);

struct event_relay;
struct event_relay_conf {
	struct event_store *store;
	struct db_pool *pool;
	struct bus_caller *caller;
	const char *service; /* source name on the wire */
	const char *owner;   /* unique per process: an instance id */
	unsigned lease_ms;   /* 0: 5000 */
	event_send_fn *send; /* NULL: over the caller */
	void *send_arg;
};
struct event_relay *event_relay_new(const struct event_relay_conf *conf);
void event_relay_free(struct event_relay *r); /* sends what is due, gives up
                                                 the leases, joins */
AUTO_TYPE(event_relay, struct event_relay *, event_relay_free)
void event_kick(struct event_relay *r);

struct event_stats {
	uint64_t sent, acked;  /* events; sent counts each time */
	uint64_t repeated;     /* events sent again after no answer */
	uint64_t failed;       /* calls without an answer */
	uint64_t refused;      /* events the receiver could not take yet */
	uint64_t lost;         /* subjects it wants from before our outbox */
	uint64_t errors;       /* of our own database */
	uint64_t waiting;      /* subjects that a receiver cannot take now */
	uint64_t backlog;      /* rows in the outbox at the last look */
	int64_t oldest_age_ms; /* of the oldest of them */
};
void event_relay_stats(const struct event_relay *r, struct event_stats *out);

#endif
