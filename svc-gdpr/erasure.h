/*
 * erasure - carries out erasures until they are complete, and proves them
 * (design D44; docs/erasure.md).
 *
 *   DELETE /api/user/delete
 *      │ auth.erase: who is it? tombstone, revocation, account gone: committed
 *      ▼                                            │ event user.erased, if we
 *   ordered ◀───────────────────────────────────────┘ die before the row is there
 *      │ service.erase of each store; its report is kept
 *      ▼
 *   erased everywhere
 *      │ service.scan of each store        findings: an error, and again from
 *      ▼                                   the store that has them
 *   verified everywhere
 *      │ the receipt is signed; who it was is forgotten here, too
 *      ▼
 *   complete
 *
 * Each arrow is a row of erasure_stores, so whoever goes on, the thread of the
 * request, the worker here or another replica's, goes on from there.  One at a
 * time: by a lease of DESK_LEASE_MS on the row.  What cannot be done now is tried
 * again after half a second, a second, ... DESK_AGAIN_MAX_MS, for ever.
 *
 * Whom it is about lies sealed in the row until it is complete.
 *
 * Log:     erase.store_failed, erase.findings (somebody must act),
 *          erase.complete, erase.overdue (somebody must act, now).
 * Threads: desk_new() and desk_free() the owner's; the others any.
 */
#ifndef SVC_GDPR_ERASURE_H
#define SVC_GDPR_ERASURE_H

#include "common/base/conf.h"
#include "common/bus/bus.h"
#include "common/obs/metrics.h"
#include "common/service/erase.h"
#include "common/service/root_key.h"

#define DESK_LEASE_MS     5000 /* two at once do no harm */
#define DESK_CALL_MS      20000
#define DESK_AGAIN_MS     500
#define DESK_AGAIN_MAX_MS 30000
#define DESK_STORES       3

struct eraser_desk;
struct desk_conf {
	const struct settings *settings;
	struct db_pool *pool;
	const struct root_keys *keys; /* while desk_new() runs */
	struct root_key *root;        /* looked at by the worker; or NULL */
	struct bus_caller *caller;
	struct erase *erase;     /* of our own rows */
	struct metrics *metrics; /* or NULL */
	struct cache *cache;
	void *state; /* for erasers */
};
enum err desk_new(const struct desk_conf *conf,
                  struct eraser_desk **out) MUST_CHECK;
void desk_free(struct eraser_desk *d); /* ends the worker; NULL is fine */
void desk_kick(struct eraser_desk *d); /* perhaps there is something to do */

/* A root_probe_fn: whether svc-gdpr has worked with that key. */
root_probe_fn desk_probe;

/* Inside a transaction: the event user.erased of svc-auth. */
enum err erasure_ordered(struct eraser_desk *d, struct db *db,
                         struct str body) MUST_CHECK;

struct store_row {
	char name[16], state[16];
	int64_t attempts;
	char last_error[64];
	struct str report, scan; /* msgpack, or empty */
};
struct erasure {
	char receipt[UUID_MAX];
	char subject[2 * 32 + 1];
	int64_t requested_ms, due_ms, attempts, completed_ms;
	struct str who; /* sealed; empty when it is complete */
	struct str rule, jws;
	size_t stores_n;
	struct store_row stores[DESK_STORES];
};
/* Inside a transaction; texts are in the arena.  ERR_NOT_FOUND. */
enum err erasure_get(struct db *db, struct arena *arena, struct str receipt,
                     struct erasure *out) MUST_CHECK;

/*
 * One attempt at all that is left to do of it; ERR_BUSY while somebody else is at
 * it, OK when it is complete, else why it is not.
 */
enum err erasure_run(struct eraser_desk *d, struct ctx *cx,
                     struct str receipt) MUST_CHECK;

/* Calls a method of a peer with a msgpack body; view is in the arena of cx. */
enum err desk_call(struct eraser_desk *d, struct ctx *cx, enum bus_peer to,
                   const char *op, struct str body, struct buf *bytes,
                   struct reply_view *view) MUST_CHECK;
const struct desk_conf *desk_conf_of(const struct eraser_desk *d);
#endif
