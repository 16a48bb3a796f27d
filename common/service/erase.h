/*
 * erase - what a service has of a person, taken away in one transaction, and the
 * proof that it is gone (design D44).
 *
 * A service says in a struct erase_def which tables hold people (erasers), and
 * which columns may go on naming one, with the reason (scan.h).  This library
 * adds what every service has: outbox, outbox_seq, inbox, idempotency, the
 * tombstone (event/erased.h) and the cache, and answers two methods that only
 * svc-gdpr may call:
 *
 *   service.erase  {sub, hnd, email, receipt}
 *                  -> {tables: {name: rows}}, counted over all runs
 *   service.scan   {sub, hnd, email, from}
 *                  -> {tables, rows, shared, kept: [[table, column, rows, why]],
 *                     findings: [[table, column, rows]], next}
 *                  next: ask again with it as from; -1: that was all
 *
 * Erasing twice is harmless and counts what was left over, as after a crash.
 * Forgetting the cache comes before the transaction too, so that a crash behind
 * the commit leaves nothing there.
 *
 * Threads: any that may block on the pool.
 */
#ifndef SERVICE_ERASE_H
#define SERVICE_ERASE_H

#include "common/event/event.h"
#include "common/service/cached.h"
#include "common/service/idempotency.h"
#include "common/service/scan.h"

struct erasee {
	struct str sub, receipt;
	struct str hnd, email; /* empty: there is none */
	int64_t now_ms;
};

struct eraser {
	const char *table;
	struct db_stmt st; /* takes rows by their sub, $1; or, without name: */
	/* Anything else; arg is the service's state.  *rows: how many. */
	enum err (*run)(void *arg, struct db *db, const struct erasee *who,
	                int64_t *rows);
};
/* A row of a list of erasers: "auth", api_keys. */
#define ERASER(schema, table)                                                  \
	{                                                                      \
#table, {"erase." #table,                                      \
		         "DELETE FROM " #table " WHERE sub = $1",              \
		         "DELETE FROM " schema "." #table " WHERE sub = $1" }, \
		         NULL                                                  \
	}
#define ERASER_BY(table, fn)                  \
	{                                     \
		table, {NULL, NULL, NULL}, fn \
	}

#define ERASE_TRACES_MAX 512
#define ERASE_WORD_MIN   4

/* What the cache may hold of a person besides what has the sub as its key. */
struct erase_traces {
	size_t tags_n, words_n;
	struct str tags[ERASE_TRACES_MAX];
	/* Texts of theirs: values of the shared tier that contain one are
	 * removed, as a tag makes them unusable and leaves them lying there.
	 * Of ERASE_WORD_MIN bytes at least. */
	struct str words[ERASE_TRACES_MAX];
};

struct erase_def {
	const struct eraser *erasers; /* in this order */
	size_t erasers_n;
	const struct scan_kept *kept;
	size_t kept_n;
	/* Before the transaction; texts are in the arena of cx.  NULL: none. */
	enum err (*traces)(void *arg, struct ctx *cx, const struct erasee *who,
	                   struct erase_traces *out);
};

struct erase;
struct erase_conf {
	const struct erase_def *def;
	const char *service;
	const struct settings *settings; /* of the shared cache */
	struct db_pool *pool;
	struct event_store *events;
	struct idem *idem;
	struct erased *erased;
};
/* NULL without memory. */
struct erase *erase_new(const struct erase_conf *conf);
void erase_free(struct erase *er);
AUTO_TYPE(erase, struct erase *, erase_free)
struct erased *erase_erased(struct erase *er);

/*
 * Inside a transaction of the caller's; report: msgpack {table: rows}.  After the
 * commit erase_committed(), with c the service's cache or NULL.
 */
enum err erase_in(struct erase *er, struct db *db, void *arg,
                  const struct erasee *who, struct buf *report) MUST_CHECK;
void erase_committed(struct erase *er, struct cache *c,
                     const struct erasee *who);
/* All of it: tags, the transaction, the cache. */
enum err erase_person(struct erase *er, struct ctx *cx, void *arg,
                      struct cache *c, const struct erasee *who,
                      struct buf *report) MUST_CHECK;

/* The two methods; append the reply's body. */
enum err erase_method(struct erase *er, struct ctx *cx, void *arg,
                      struct cache *c, struct str body,
                      struct buf *reply) MUST_CHECK;
enum err erase_scan_method(struct erase *er, struct ctx *cx, struct cache *c,
                           struct str body, struct buf *reply) MUST_CHECK;

#endif
