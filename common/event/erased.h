/*
 * erased - who is no more: what a service keeps of people that it has erased,
 * so that nothing of them comes back (design D44).
 *
 * A tombstone is a hash of the person's sub, when they were erased and in which
 * erasure.  A sub has 74 random bits, so the hash names nobody to who does not
 * have the sub already, as an old token or a late event does; and that is who
 * has to be recognised.  Tombstones are kept for ever: a backup that is restored
 * brings people back, and whoever reads it has to know.
 *
 * In a transaction: erased_check() and erased_among() say who is erased, and keep
 *     erased_bury() of another transaction waiting until their own ends.  So what
 *     a transaction writes behind a check is either there when the erasure looks,
 *     or refused.  They come before anything that locks rows, as erased_bury()
 *     does, so that the two cannot wait for each other.
 * In memory: erased_knows(), for requests that only read, and for answers from a
 *     cache.  What this process has erased it knows at once; of other replicas
 *     it hears within ERASED_POLL_MS, which is within the second that revoked
 *     tokens have (design D28).
 *
 * Who asks, in the places that all services share: event_apply() drops what comes
 * for the erased and acknowledges it; idem_write() refuses the effect and keeps
 * no answer; dispatch refuses the request as that of a revoked token.
 *
 * Bounds:  33 bytes of memory for each person erased in the last ERASED_YOUNG_MS,
 *          which is longer than any token lives; ERASED_MAX of them.  What is not
 *          in memory is found by the transactions all the same.
 * Threads: any; erased_watch() and erased_free() the owner's.
 */
#ifndef EVENT_ERASED_H
#define EVENT_ERASED_H

#include "common/base/uuid.h"
#include "common/db/db.h"

#define ERASED_POLL_MS  500
#define ERASED_YOUNG_MS (INT64_C(8) * 86400000)
#define ERASED_MAX      ((size_t)1 << 20)
#define ERASED_ID       64 /* characters of a tombstone's id */
#define ERASED_AMONG    256

/*
 * The table, a migration of each service.  id: BLAKE2b of the sub, in hex;
 * receipt: of the erasure; dropped: events that came later; report: msgpack
 * {table: rows erased}.
 *
 * On PostgreSQL a function locks and then looks: a statement sees what was
 * committed when it began, which would be before it had the lock, but each
 * statement of a volatile function sees what is committed then.
 */
#define ERASED_TABLE(t, bytes, num)                              \
	"CREATE TABLE " t "erased (id TEXT PRIMARY KEY, "        \
	"receipt TEXT NOT NULL, at " num " NOT NULL, "           \
	"dropped " num " NOT NULL DEFAULT 0, report " bytes ");" \
	"CREATE INDEX erased_at ON " t "erased (at);"
#define ERASED_TABLE_SQLITE ERASED_TABLE("", "BLOB", "INTEGER")
#define ERASED_TABLE_POSTGRES(schema)                                   \
	ERASED_TABLE(schema ".", "bytea", "bigint")                     \
	"CREATE FUNCTION " schema ".erased_among(ids text) "            \
	"RETURNS SETOF text LANGUAGE sql VOLATILE AS $$ "               \
	"SELECT pg_advisory_xact_lock_shared("                          \
	"hashtextextended('" schema ".' || i, 0)) FROM (SELECT i FROM " \
	"jsonb_array_elements_text($1::jsonb) AS i ORDER BY i) AS s; "  \
	"SELECT id FROM " schema ".erased WHERE id IN "                 \
	"(SELECT jsonb_array_elements_text($1::jsonb)) $$;"

struct erased;

/* service: the schema.  NULL without memory. */
struct erased *erased_new(const char *service);
void erased_free(struct erased *t); /* ends the watch; NULL is fine */
AUTO_TYPE(erased, struct erased *, erased_free)

/* Of the tombstone that a person has or would have. */
struct str erased_id(struct str sub, char out[ERASED_ID + 1]);

/* --- inside a db transaction function -------------------------------------- */

/* OK, or ERR_BAD_TOKEN: the person is erased. */
enum err erased_check(struct erased *t, struct db *db,
                      struct str sub) MUST_CHECK;
/* The same for n subs, ERASED_AMONG at most: gone[i] says it of subs[i]. */
enum err erased_among(struct erased *t, struct db *db, const struct str *subs,
                      size_t n, bool *gone) MUST_CHECK;
/* Events that came for somebody erased and were not applied. */
enum err erased_drop(struct erased *t, struct db *db, struct str sub,
                     uint64_t events) MUST_CHECK;
/*
 * The tombstone; first of all in the transaction that erases.  Waits for those
 * that have checked.  One that is there already stays as it is.
 */
enum err erased_bury(struct erased *t, struct db *db, struct str sub,
                     struct str receipt, int64_t now_ms) MUST_CHECK;
/* ERR_NOT_FOUND: nobody of that sub is erased. */
struct tombstone {
	char receipt[UUID_MAX];
	int64_t at_ms;
};
enum err erased_find(struct erased *t, struct db *db, struct str sub,
                     struct tombstone *out) MUST_CHECK;

/* Adds the rows of report, msgpack {table: rows}, to those that were reported of
 * earlier runs of the erasure, in whose transaction it is; all is the sum. */
enum err erased_report(struct erased *t, struct db *db, struct str sub,
                       struct str report, struct buf *all) MUST_CHECK;

/* --- in memory --------------------------------------------------------------- */

bool erased_knows(struct erased *t, struct str sub);
/* After the commit of erased_bury(). */
void erased_note(struct erased *t, struct str sub);
/* Reads what is young, and on PostgreSQL goes on reading what other replicas
 * bury, on a thread of its own.  Once, after the migration. */
enum err erased_watch(struct erased *t, struct db_pool *pool,
                      const char *service) MUST_CHECK;

struct erased_stats {
	uint64_t events;   /* dropped, though acknowledged */
	uint64_t effects;  /* refused in their transaction */
	uint64_t requests; /* refused before */
	uint64_t known;    /* in memory */
};
void erased_stats(const struct erased *t, struct erased_stats *out);
/* One more request refused; events are counted after their commit. */
void erased_count(struct erased *t, uint64_t events, uint64_t requests);

#endif
