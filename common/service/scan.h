/*
 * scan - whether anything a service keeps still names a person: every row of
 * every table, and the cache.
 *
 * Why:     what an erasure deletes is a list that people wrote, and a list can
 *          be incomplete.  So what is looked at is not taken from it: all tables
 *          of the database's own catalogue, and in them all columns that can hold
 *          text or bytes.
 * Looks for: the sub, anywhere; the e-mail address, anywhere, as a whole; the
 *          handle where it stands for a person: as the whole of a column called
 *          so, or as a member called so of a msgpack or JSON map (scan_match.h).
 *          Elsewhere a handle is a word as any other: whoever is called
 *          "python" does not own that topic.
 * Files:   at the end those of SQLite are scrubbed (db_scrub()).
 * Does not see: what is sealed or hashed; what others keep (logs, backups).
 * Cache:   in memory, whether the sub is a key; it cannot be listed, which is said
 *          so.  In Redis every key below ours and its value.
 * Cost:    reads all there is, in steps: PostgreSQL SCAN_BLOCKS blocks a time,
 *          SQLite a table.  A call ends after SCAN_CALL_MS and says where to go
 *          on.
 * Threads: any that may block on the pool.
 */
#ifndef SERVICE_SCAN_H
#define SERVICE_SCAN_H

#include "common/base/conf.h"
#include "common/cache/cache.h"
#include "common/db/db.h"

#define SCAN_BLOCKS       4096
#define SCAN_CALL_MS      2000
#define SCAN_FINDINGS_MAX 32

/* A column that may go on holding a sub, and until when. */
struct scan_kept {
	const char *table, *column, *why;
};

struct scan;
struct scan_conf {
	const char *service;
	const struct settings *settings;
	struct db_pool *pool;
	const struct scan_kept *kept;
	size_t kept_n;
};
struct scan *scan_new(const struct scan_conf *conf); /* NULL: no memory */
void scan_free(struct scan *s);
AUTO_TYPE(scan, struct scan *, scan_free)

struct scan_ask {
	struct str sub, hnd, email; /* the two may be empty */
	struct cache *cache;        /* or NULL */
	int64_t from;               /* 0, or what the last call said */
};
/* Appends the reply of "service.scan" (erase.h). */
enum err scan_run(struct scan *s, struct ctx *cx, const struct scan_ask *ask,
                  struct buf *reply) MUST_CHECK;

#endif
