/*
 * db - one interface over PostgreSQL (libpq) and SQLite: a pool, named
 * statements, transactions, migrations (design D17 to D19).
 *
 *     static enum err add(struct db *db, void *arg)
 *     {
 *             struct add *a = arg;
 *             const struct db_val v[] = {DB_STR(a->sub), DB_I64(a->xp)};
 *
 *             return db_run(db, STMT(LEDGER_ADD), v, COUNTOF(v), NULL);
 *     }
 *     e = db_write(pool, cx, add, &a);
 *
 * A transaction is a function: the pool borrows the connection, begins, calls
 * it, commits on OK and rolls back on anything else.  The function may run
 * again (serialization failure, deadlock, a connection found dead before the
 * commit was sent), so it must do nothing but talk to db and fill its arg.
 * On SQLite writes of one file run on its single writer thread, several in one
 * durable commit (a savepoint each); db_write() returns after the commit.
 *
 * Statements are rows of a stmts.def: a name, the text for both drivers (or one
 * text each).  Parameters are $1, $2 ... in both.  Values are bound, never
 * printed into the text.  A statement and its texts must outlive the pool:
 * connections remember what they have prepared by its address.
 *
 * The two databases are made to agree:
 *   - a statement that fails fails its transaction: what follows it returns the
 *     same error, and it is rolled back even if the function returns OK.  Use
 *     ON CONFLICT for what may be there already.  (An error of a row callback
 *     and ERR_NOT_FOUND are not failures of the statement.)
 *   - text must be UTF-8 without NUL (ERR_INVALID); blobs are any bytes.
 *   - a str whose p is NULL is empty; only DB_NULL is NULL.
 *   - on PostgreSQL I64 is bigint, F64 double precision, STR text, BLOB bytea;
 *     other column types need a cast in the statement.
 *
 * Isolation: writes are READ COMMITTED on PostgreSQL, alone on SQLite.  Reads
 * are REPEATABLE READ READ ONLY.  On PostgreSQL the BEGIN, the statement
 * timeout (what is left of the deadline) and the first statement travel
 * together, a function that runs no statement costs nothing, and nobody waits
 * for the COMMIT of a read: one statement is one round trip to read, two to
 * write.  An answer past 64 MiB on PostgreSQL is ERR_TOO_LARGE; SQLite hands
 * over row by row.
 *
 * A read of one statement needs no BEGIN: a statement is a snapshot of its own.
 * db_ask() and db_read_one() send no more than that, still read only, and those
 * of several requests go out as one pipeline (struct db_deferred).
 *
 * Errors: ERR_DATABASE away or out of connections by the deadline (503),
 * ERR_TIMEOUT, ERR_DB_DUPLICATE a unique constraint, ERR_CONFLICT when the
 * retries of a conflict are used up, ERR_INTERNAL what is our mistake (logged
 * with the statement's name and SQLSTATE, never with values).
 * A commit whose outcome is unknown (connection lost after COMMIT was sent, an
 * I/O error in a commit of SQLite) is ERR_PEER_LOST and is not run again.
 *
 * On SQLite a disk that is full, a file that another program keeps locked and
 * one that was moved, cut or overwritten are ERR_DATABASE, told on the log; what
 * is mended works again without a restart.  A file that is gone is not made
 * again: an empty database would hide the loss.
 */
#ifndef DB_DB_H
#define DB_DB_H

#include "common/base/attr.h"
#include "common/base/buf.h"
#include "common/base/ctx.h"

enum db_kind { DB_SQLITE, DB_POSTGRES };
struct db_pool;
struct db; /* a borrowed connection inside a transaction function */

/* --- statements and values ---------------------------------------------- */

struct db_stmt {
	const char *name;     /* "ledger.add", unique per service */
	const char *sqlite;   /* text for SQLite */
	const char *postgres; /* text for PostgreSQL; NULL: the same text */
};

/*
 * For statements shared by several services: copies rows whose texts name
 * tables as @table, which becomes service.table on PostgreSQL and table on
 * SQLite.  One block, for free(); NULL without memory or when service is no
 * name of a schema.
 */
struct db_stmt *db_stmts_for(const struct db_stmt *rows, size_t n,
                             const char *service) MUST_CHECK;

enum db_type { DB_T_NULL, DB_T_I64, DB_T_F64, DB_T_STR, DB_T_BLOB };
struct db_val {
	enum db_type type;
	union {
		int64_t i;
		double f;
		struct str s;
	} v;
};
#define DB_NULL    ((struct db_val){.type = DB_T_NULL})
#define DB_I64(x)  ((struct db_val){.type = DB_T_I64, .v.i = (x)})
#define DB_F64(x)  ((struct db_val){.type = DB_T_F64, .v.f = (x)})
#define DB_STR(x)  ((struct db_val){.type = DB_T_STR, .v.s = (x)})
#define DB_TEXT(z) DB_STR(str_from(z))
#define DB_BLOB(x) ((struct db_val){.type = DB_T_BLOB, .v.s = (x)})

/*
 * One row at a time: called for each; returning anything but OK ends the
 * statement with it.  The row is valid during the call.
 */
struct db_row;
typedef enum err db_row_fn(void *arg, const struct db_row *row);
struct db_sink {
	db_row_fn *row;
	void *arg;
};
/* Columns by position, from 0; asserts on a position that is not there. */
bool db_row_null(const struct db_row *r, int col);
int64_t db_row_i64(const struct db_row *r, int col); /* 0 when NULL */
double db_row_f64(const struct db_row *r, int col);
struct str db_row_str(const struct db_row *r, int col); /* text or blob */
int db_row_cols(const struct db_row *r);

/* Runs a statement; sink may be NULL.  Inside a transaction function only. */
enum err db_run(struct db *db, const struct db_stmt *st, const struct db_val *v,
                size_t n, const struct db_sink *sink) MUST_CHECK;
/*
 * The same, but nobody waits for the answer where that is a round trip: the
 * statement goes out with the next one that is waited for, or with the COMMIT,
 * and what it fails with comes from there.  For what the steps up to then do not
 * depend on; statements still run in order.  Values are copied; the sink's rows
 * come before the answer of the one that is waited for (on SQLite at once), and
 * not at all if the function returns first.
 */
enum err db_later(struct db *db, const struct db_stmt *st,
                  const struct db_val *v, size_t n,
                  const struct db_sink *sink) MUST_CHECK;
/* The same; *changed is the rows inserted, updated or deleted. */
enum err db_change(struct db *db, const struct db_stmt *st,
                   const struct db_val *v, size_t n,
                   int64_t *changed) MUST_CHECK;
/* First column of the first row; ERR_NOT_FOUND when there is no row. */
enum err db_get_i64(struct db *db, const struct db_stmt *st,
                    const struct db_val *v, size_t n, int64_t *out) MUST_CHECK;
enum db_kind db_kind(const struct db *db);
/* Of the request that the transaction is for. */
const struct ctx *db_cx(const struct db *db);
/*
 * Exclusive among all processes until this transaction ends, by number:
 * advisory lock on PostgreSQL, nothing on SQLite (its writer is alone).
 */
enum err db_lock(struct db *db, int64_t number) MUST_CHECK;
/* The same as db_later() is: before the next statement. */
enum err db_lock_later(struct db *db, int64_t number) MUST_CHECK;
/* The same without waiting: *got is false while another transaction has it. */
enum err db_try_lock(struct db *db, int64_t number, bool *got) MUST_CHECK;

/* --- pool ---------------------------------------------------------------- */

struct db_conf {
	const char
		*service; /* "auth": schema on PostgreSQL, part of file name */
	struct str url;   /* of this service; sqlite stem already resolved */
	struct str migration_url; /* or empty */
	unsigned size, max_overflow, timeout_s, recycle_s;
	bool pre_ping, prepare, echo;
};

/*
 * Opens nothing yet; ERR_INVALID (told on the log) for an URL that is neither
 * sqlite:/// nor postgres(ql)://.
 */
enum err db_pool_new(const struct db_conf *conf,
                     struct db_pool **out) MUST_CHECK;
/* Waits for borrowed connections. */
void db_pool_free(struct db_pool *p);
AUTO_TYPE(db_pool, struct db_pool *, db_pool_free)

typedef enum err db_fn(struct db *db, void *arg);
/* Deadline and trace come from cx.  Both block: DB lane threads only. */
enum err db_write(struct db_pool *p, struct ctx *cx, db_fn *fn,
                  void *arg) MUST_CHECK;
/* Read only: one consistent snapshot. */
enum err db_read(struct db_pool *p, struct ctx *cx, db_fn *fn,
                 void *arg) MUST_CHECK;

/*
 * A read of one statement.  For short reads, by key: a slow one keeps those that
 * share its pipeline waiting, each at most until its own deadline.  A statement
 * that writes is ERR_INTERNAL.  The sink is called on this thread, when all rows
 * are there (on SQLite one by one); no connection is held by then on PostgreSQL.
 * ERR_BUSY with cx->deferred: it was put off.  Else it blocks: DB lane threads
 * only.
 */
enum err db_ask(struct db_pool *p, struct ctx *cx, const struct db_stmt *st,
                const struct db_val *v, size_t n,
                const struct db_sink *sink) MUST_CHECK;
/*
 * The same for a function that runs one statement or none; a second one is
 * ERR_INTERNAL.  fn is called once.
 */
enum err db_read_one(struct db_pool *p, struct ctx *cx, db_fn *fn,
                     void *arg) MUST_CHECK;

/*
 * A read put off, to go out in one round trip with those of other requests.
 *
 *     cx->deferred = &d;            zero, but for done
 *     e = handler(cx);              its first db_ask() or db_read_one() says its
 *                                   question and returns ERR_BUSY
 *     if (db_deferred_asked(&d))    forget what it made; with more of them:
 *             db_ask_deferred(all, n);
 *
 * and done(), on this thread and as soon as its own answer is there, runs the
 * handler again, from the start: the same call now has the answer.  So it must
 * have no effect, and that read must be all that it does with the database, the
 * same one each time: done() is called while a connection is held.  What else it
 * asks for is ERR_INTERNAL, on every database.  Behind each run that was not put
 * off, db_deferred_end().
 *
 * On SQLite nothing is put off, nor what is echoed.
 */
enum db_deferred_state {
	DB_DEFERRED_NEW,
	DB_DEFERRED_ASKED,
	DB_DEFERRED_ANSWERED,
	DB_DEFERRED_USED,
};
struct db_question {
	const struct db_stmt *st;
	const struct db_val *v;
	size_t n;
	uint64_t deadline_ms;
	bool alone; /* a neighbour's failure must not be felt again */
};
struct db_deferred {
	void (*done)(struct db_deferred *d); /* d may be gone behind it */
	/* All below is ask.c's. */
	enum db_deferred_state state;
	struct db_pool *pool;
	struct ctx *cx;
	struct db_question question;
	uint64_t began_us;
	enum err e;
	void *result; /* the driver's */
};
/* Whether it was put off. */
bool db_deferred_asked(const struct db_deferred *d);
/* Asks them all, a pipeline at a time, until done() has been called for each.
 * Uses d[] up.  Blocks: DB lane threads only. */
void db_ask_deferred(struct db_deferred *d[], size_t n);
/* An answer that nobody has taken is dropped. */
void db_deferred_end(struct db_deferred *d);

/* Upper bounds in seconds; one more bucket has what took longer. */
#define DB_WAIT_BOUNDS 12
extern const double db_wait_bounds[DB_WAIT_BOUNDS];

struct db_pool_stats {
	enum db_kind kind;
	unsigned size, in_use, overflow, waiters, ceiling;
	uint64_t opened, recycled, failed_pings, timeouts, conflicts;
	uint64_t borrows;
	/* Waits for a connection, whether one came or not. */
	uint64_t waits[DB_WAIT_BOUNDS + 1], wait_us;
	uint64_t asked, batches; /* reads sent in pipelines; pipelines */
	/* SQLite: commits of groups, and writes in them. */
	uint64_t commits, committed;
	bool usable;               /* the last attempt worked */
	int64_t unusable_since_ms; /* wall_ms(); 0 while usable */
};
void db_pool_stats(const struct db_pool *p, struct db_pool_stats *out);
/*
 * After rows were deleted that must not be left in files: SQLite writes its log
 * back and cuts it (what is deleted is overwritten as it goes).  ERR_DATABASE: a
 * reader has held it up; try again.  PostgreSQL: nothing to be done from here, its
 * VACUUM does it in its own time.
 */
enum err db_scrub(struct db_pool *p) MUST_CHECK;
/* One "SELECT 1" round trip. */
enum err db_pool_ping(struct db_pool *p, uint64_t deadline_ms) MUST_CHECK;

/* --- migrations ----------------------------------------------------------- */

struct db_migration {
	unsigned number; /* 1, 2, ... without a gap */
	const char *name;
	const char *sqlite, *postgres; /* several statements each */
};

/*
 * Applies what is missing, each in a transaction, under a lock.  Refuses, with
 * a line on the log: a newer schema than the table knows, a checksum that
 * changed (ERR_INVALID; do not retry).  ERR_DATABASE: try again later, also where
 * it would have to wait for somebody who has a table: those who came meanwhile
 * would wait behind it.
 */
enum err db_migrate(struct db_pool *p, const struct db_migration *m,
                    size_t n) MUST_CHECK;

/*
 * DATA_DIR/.lock, or beside the SQLite stem: held by this process until exit.
 * ERR_EXISTS fills holder with who has it ("pid 123 (knowalledge)").
 * db_dir_lock() is for a program that uses the whole folder.  Programs that
 * share it, each with files of its own, use db_dir_share(): they keep out that
 * program and a second one of their own name, not each other.
 * ERR_INVALID: the folder cannot be made or written (told on the log).
 */
enum err db_dir_lock(struct str dir, const char *program, char *holder,
                     size_t holder_max) MUST_CHECK;
enum err db_dir_share(struct str dir, const char *program, char *holder,
                      size_t holder_max) MUST_CHECK;
/* "sqlite:///x.db" -> "sqlite:///x-auth.db"; other URLs are copied. */
bool db_url_for(struct str url, const char *service,
                struct buf *out) MUST_CHECK;
/* The path in a sqlite URL; false: it is none, or has what we refuse. */
bool db_sqlite_path(struct str url, struct str *path);

#endif
