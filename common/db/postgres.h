/*
 * postgres - the PostgreSQL driver; internal to common/db.
 *
 * postgres.c is what the pool calls: transactions and rows.  pg_wire.c sends
 * statements in libpq's pipeline mode and reads the answers, both with a
 * deadline.  pg_connect.c opens connections.
 *
 * Why pipeline mode: BEGIN, the statement timeout, a PREPARE and the first
 * statement make one round trip, and the COMMIT of a read need not be waited
 * for.  libpq's blocking calls would also wait past any deadline.
 */
#ifndef DB_POSTGRES_H
#define DB_POSTGRES_H

#include "common/base/attr.h"
#include "common/db/driver.h"

#include <libpq-fe.h>

#define PG_BUCKETS   64
#define PG_GRACE_MS  500 /* the server's own timeout comes first */
#define PG_QUEUE_MAX 4   /* statements before one sync */

struct pg_prepared;

/* What one statement of a pipeline will have prepared if it succeeds. */
struct pg_pending {
	struct pg_prepared *node;
	unsigned after; /* this many results */
};

struct pg {
	struct db db;
	PGconn *c;
	enum db_mode mode;
	bool begun;          /* BEGIN has been sent */
	bool silent;         /* lost without an answer to what was sent */
	bool owes;           /* a COMMIT whose answer has not been read */
	uint64_t limit_ms;   /* the deadline that the server knows */
	uint64_t timeout_ms; /* as a length, when it was told */
	struct pg_prepared *prepared[PG_BUCKETS];
	struct pg_pending pending[PG_QUEUE_MAX];
	unsigned pending_n, queued_n;
};

AUTO_TYPE(pg_result, PGresult *, PQclear)

static inline struct pg *pg_of(struct db *db)
{
	return (struct pg *)db;
}

/* pg_connect.c */
enum err pg_open(struct db_pool *p, struct str url, uint64_t deadline_ms,
                 struct db **out) MUST_CHECK;
void pg_close(struct db *db);

/* pg_wire.c */
/* Adds a statement to the pipeline; an error leaves the connection dead. */
enum err pg_queue(struct pg *g, const struct db_stmt *st,
                  const struct db_val *v, size_t n) MUST_CHECK;
/* Ends the pipeline and sends it. */
enum err pg_sync(struct pg *g, uint64_t until_ms) MUST_CHECK;
/* Reads up to the next sync.  *last is the last statement's result. */
enum err pg_collect(struct pg *g, const char *name, uint64_t until_ms,
                    PGresult **last) MUST_CHECK;
/* Several statements in one text, outside the pipeline. */
enum err pg_script(struct pg *g, const char *sql, uint64_t until_ms) MUST_CHECK;
/* Takes in what the server has said unasked. */
void pg_listen(struct pg *g);
void pg_forget_prepared(struct pg *g);

#endif
