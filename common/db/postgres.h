/*
 * postgres - the PostgreSQL driver; internal to common/db.
 *
 * postgres.c is what the pool calls: transactions and rows.  pg_wire.c sends
 * statements in libpq's pipeline mode and reads the answers, both with a
 * deadline; pg_error.c says what a failed one means.  pg_connect.c opens
 * connections, pg_names.c finds addresses.  pg_ask.c sends many reads at once.
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
#define PG_QUEUE_MAX (DB_BATCH_MAX + 2) /* statements before one sync */
#define PG_LATER_MAX 16   /* of them, those that nobody waits for */
#define PG_PING_MS   1000 /* a server that lives answers by then */
#define PG_HOSTS_MAX 16   /* in one URL */
#define PG_ADDRS_MAX 8    /* of one host */
#define PG_ADDR_MAX  64
#define PG_LATE_MAX  16
#define PG_SILENT    64

struct pg_prepared;

/* What one statement of a pipeline will have prepared if it succeeds. */
struct pg_pending {
	struct pg_prepared *node;
	unsigned after; /* this many results */
};

/* A statement that goes out with the next one that is waited for. */
struct pg_later {
	const struct db_stmt *st;
	struct db_sink sink; /* row is NULL: nobody wants them */
	unsigned at;         /* its result is the at-th, from 1 */
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
	struct pg_later later[PG_LATER_MAX];
	unsigned later_n, later_at; /* later_at: whose result is next */
	enum err later_err;         /* the first of a sink */
};

AUTO_TYPE(pg_result, PGresult *, PQclear)

static inline struct pg *pg_of(struct db *db)
{
	return (struct pg *)db;
}

/* pg_names.c: as good as getaddrinfo(), and never later than until_ms. */
struct pg_addrs {
	unsigned n;
	char at[PG_ADDRS_MAX][PG_ADDR_MAX]; /* "10.0.0.1", "fe80::1%eth0" */
};
struct pg_names;
struct pg_names *pg_names_new(void); /* NULL without memory */
void pg_names_free(struct pg_names *ns);
/* ERR_NOT_FOUND no such host, ERR_TIMEOUT, ERR_NOMEM. */
enum err pg_resolve(struct pg_names *ns, const char *host, uint64_t until_ms,
                    struct pg_addrs *out) MUST_CHECK;

/* What the connections of one pool share. */
struct pg_shared {
	struct pg_names *names;
	/* Servers by hash of their address, under the pool's lock. */
	uint64_t silent_until_ms[PG_SILENT];
};

/* pg_connect.c */
enum err pg_open(struct db_pool *p, struct str url, uint64_t deadline_ms,
                 struct db **out) MUST_CHECK;
void pg_close(struct db *db);

/* pg_wire.c */
/* Adds a statement to the pipeline; an error leaves the connection dead. */
enum err pg_queue(struct pg *g, const struct db_stmt *st,
                  const struct db_val *v, size_t n) MUST_CHECK;
/* The same without preparing it: for what runs once. */
enum err pg_queue_text(struct pg *g, const struct db_stmt *st,
                       const struct db_val *v, size_t n) MUST_CHECK;
/* Ends the pipeline and sends it. */
enum err pg_sync(struct pg *g, uint64_t until_ms) MUST_CHECK;
/* Reads up to the next sync.  *last is the last statement's result; the rows of
 * those before it that nobody waited for go to their sinks. */
enum err pg_collect(struct pg *g, const char *name, uint64_t until_ms,
                    PGresult **last) MUST_CHECK;
/* False when until_ms has passed.  Both directions: a server that is answering
 * may not read before it is read from. */
bool pg_wait(struct pg *g, short events, uint64_t until_ms);
/* Of what is queued and to be prepared, `results` statements succeeded. */
void pg_settle(struct pg *g, unsigned results);
/* The connection is gone, and with it the transaction. */
enum err pg_lost(struct pg *g);
/* Several statements in one text, outside the pipeline. */
enum err pg_script(struct pg *g, const char *sql, uint64_t until_ms) MUST_CHECK;
/* Takes in what the server has said unasked. */
void pg_listen(struct pg *g);
void pg_forget_prepared(struct pg *g);

/* pg_error.c */
/* Of a failed result; "" when it has none. */
const char *pg_field(const PGresult *r, int code);
void pg_tell(const struct ctx *cx, const char *name, const PGresult *r);
/* Our code for a failed result; marks the connection by it.  *tell: somebody
 * should put it on the log. */
enum err pg_judge(struct pg *g, const PGresult *r, bool *tell) MUST_CHECK;

/* postgres.c */
enum err pg_rows(PGresult *r, const struct db_sink *sink) MUST_CHECK;

/* pg_ask.c; see struct db_driver */
void pg_batch_send(struct db *db, struct db_batch *b,
                   const struct db_question *const q[]);
bool pg_batch_take(struct db *db, struct db_batch *b);
void pg_batch_wait(struct db *db, uint64_t until_ms);
enum err pg_batch_rows(const struct ctx *cx, const struct db_stmt *st,
                       struct db_answer *a, const struct db_sink *sink);
void pg_batch_drop(struct db_answer *a);

#endif
