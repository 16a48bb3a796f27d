/*
 * driver - what the pool needs from a database; internal to common/db.
 *
 * A driver is a table of functions.  The pool owns connections, queues and
 * reruns; the driver owns one connection's protocol and turns foreign codes
 * into ours.  postgres.c and sqlite.c are the two there are.
 *
 * Threads: a struct db is used by one thread at a time; db_pool as pool.c says.
 */
#ifndef DB_DRIVER_H
#define DB_DRIVER_H

#include "common/base/trace.h"
#include "common/db/db.h"

#include <pthread.h>
#include <stdatomic.h>

#define DB_PARAMS_MAX 64
#define DB_VALUE_MAX  ((size_t)64 << 20) /* bytes of one bound value */
#define DB_RESULT_MAX ((size_t)64 << 20) /* bytes of one answer */
#define DB_BATCH_MAX  64                 /* reads in one pipeline */

enum db_mode { DB_MODE_READ, DB_MODE_WRITE };

/* The head of every connection; drivers embed it first. */
struct db {
	const struct db_driver *driver;
	struct db_pool *pool;
	const struct ctx *cx; /* whose work this is: for log lines */
	uint64_t deadline_ms;
	uint64_t opened_ms, idle_ms; /* idle_ms: since when it is idle */
	uint64_t since_us; /* a statement was asked then, not now; or 0 */
	/*
	 * The first statement that failed in this transaction.  PostgreSQL
	 * refuses everything after it, so SQLite is made to do the same.
	 */
	enum err failed;
	bool dead;  /* the connection is lost: close it */
	bool again; /* the transaction left no trace: it may run again */
	struct db *next;
};

struct db_row {
	const struct db_driver *driver;
	void *result; /* the driver's */
	int row, cols;
	const struct str *blobs; /* decoded columns, or NULL */
};

/* What is told of each db_write(), db_read(), db_ask(): its time in cx->spent,
 * and a span, which is cx->span until the end, if the trace is sampled. */
struct db_told {
	struct span span, *before;
	uint64_t began_us;
};
void db_told_begin(struct db_told *t, const struct db_pool *p, struct ctx *cx,
                   const char *name);
/* It began before. */
void db_told_since(struct db_told *t, uint64_t began_us);
void db_told_end(struct db_told *t, struct ctx *cx, enum err e);

/* --- reads that share a round trip (ask.c) ---------------------------------- */

enum db_outcome {
	DB_OPEN,  /* no answer yet */
	DB_GIVEN, /* e and result */
	DB_AGAIN, /* it left no trace: ask again */
	DB_CUT,   /* not looked at, because a neighbour failed: ask alone */
};
struct db_answer {
	enum db_outcome outcome;
	enum err e;
	void *result; /* the driver's: rows, or what to tell; or NULL */
};

/* What the next result of a pipeline is, and whose. */
struct db_due {
	unsigned char what, whose;
};
struct db_batch {
	unsigned n, answered; /* answers come in order */
	struct db_answer answer[DB_BATCH_MAX];
	/* The driver's: */
	unsigned due_n, due_at, good;
	struct db_due due[3 * DB_BATCH_MAX + 1];
};

struct db_driver {
	enum db_kind kind;
	/* Checks the URL and makes p->shared; opens nothing. */
	enum err (*start)(struct db_pool *p);
	void (*stop)(struct db_pool *p);
	/*
	 * ERR_INVALID: will never work; ERR_BUSY: the server has no connection
	 * to spare; ERR_DATABASE: away.  Told on the log, but for ERR_BUSY.
	 */
	enum err (*open)(struct db_pool *p, struct str url,
	                 uint64_t deadline_ms, struct db **out);
	void (*close)(struct db *db);
	/* False when the connection is known to be lost; no round trip. */
	bool (*alive)(struct db *db);
	enum err (*ping)(struct db *db);
	enum err (*begin)(struct db *db, enum db_mode mode);
	enum err (*commit)(struct db *db);
	void (*rollback)(struct db *db);
	enum err (*run)(struct db *db, const struct db_stmt *st,
	                const struct db_val *v, size_t n,
	                const struct db_sink *sink, int64_t *changed);
	/* db_later(), where something is gained by it; or NULL. */
	enum err (*later)(struct db *db, const struct db_stmt *st,
	                  const struct db_val *v, size_t n,
	                  const struct db_sink *sink);
	enum err (*script)(struct db *db, const char *sql);
	enum err (*lock)(struct db *db, int64_t number);
	enum err (*lock_later)(struct db *db, int64_t number);
	enum err (*try_lock)(struct db *db, int64_t number, bool *got);
	/* How writes run when not on a pooled connection; or NULL. */
	enum err (*write)(struct db_pool *p, struct ctx *cx, db_fn *fn,
	                  void *arg);
	/*
	 * How reads share a round trip, or NULL: send looks at q[] (one that
	 * goes alone is the only one) and does not wait; take fills in what has
	 * come and is true when no more will; wait ends when something has
	 * come.  A lost connection answers DB_AGAIN to what is open.
	 */
	void (*batch_send)(struct db *db, struct db_batch *b,
	                   const struct db_question *const q[]);
	bool (*batch_take)(struct db *db, struct db_batch *b);
	void (*batch_wait)(struct db *db, uint64_t until_ms);
	/* On the asker's thread: hands over the rows, or tells; frees them. */
	enum err (*batch_rows)(const struct ctx *cx, const struct db_stmt *st,
	                       struct db_answer *a, const struct db_sink *sink);
	void (*batch_drop)(struct db_answer *a);
	bool (*row_null)(const struct db_row *r, int col);
	int64_t (*row_i64)(const struct db_row *r, int col);
	double (*row_f64)(const struct db_row *r, int col);
	struct str (*row_str)(const struct db_row *r, int col);
};

extern const struct db_driver db_postgres, db_sqlite;

struct waiter;
struct db_pool {
	struct db_conf conf; /* its texts are the pool's own copies */
	char *texts[3];
	const struct db_driver *driver;
	struct ctx cx;        /* of log lines that belong to no request */
	struct db_pool *self; /* statistics of a const pool need its lock */
	void *shared;         /* the driver's */
	_Atomic bool prepare; /* off once a pooler has shown it cannot */
	/*
	 * Connections last heard from before doubt_ms are pinged however
	 * short they idled (the driver met silence then); those before
	 * lost_ms are closed unasked (a ping met it).
	 */
	_Atomic uint64_t doubt_ms, lost_ms;

	struct db_stmt *migrate; /* db_migrate()'s; it runs alone */

	pthread_mutex_t lock; /* all below; a leaf */
	pthread_cond_t returned;
	struct db *idle;               /* the last returned first */
	struct waiter *first, *last;   /* only the first may take */
	unsigned open, in_use, queued; /* open: with those being opened, */
	unsigned closing;              /* and these, which will be gone */
	uint64_t refused_until_ms;     /* the server is full until then */
	uint64_t complained_ms;
	struct db_pool_stats stats; /* the counters of it */
};

/* Borrows in order of arrival; sets db->cx and db->deadline_ms. */
enum err db_pool_borrow(struct db_pool *p, const struct ctx *cx,
                        uint64_t deadline_ms, struct db **out) MUST_CHECK;
void db_pool_return(struct db_pool *p, struct db *db);
/* What the last attempt to use the database came to. */
void db_pool_note(struct db_pool *p, enum err e);
/* True at most once a second: every request meets the same outage. */
bool db_pool_may_complain(struct db_pool *p);
/* How long a borrower waited, and whether it came to a connection. */
void db_pool_waited(struct db_pool *p, uint64_t us, bool borrowed);
void db_pool_count(struct db_pool *p, uint64_t *counter, uint64_t by);

/* A function that may make one read has asked for more: our mistake. */
void db_not_one_read(const struct ctx *cx, const char *what);

/* Whether to run a transaction again after its run-th run (from 0); waits a
 * little first. */
bool db_pool_rerun(unsigned run, uint64_t deadline_ms);

/* One run of a transaction on a connection, no reruns. */
enum err db_transact(struct db *db, enum db_mode mode, db_fn *fn,
                     void *arg) MUST_CHECK;
/* Marks the transaction as failed, once; returns e. */
enum err db_fail(struct db *db, enum err e);

/* Milliseconds, evenly from [0, max): spreads those who retry. */
unsigned db_jitter(unsigned max);
/* A condition whose timed waits take mono_ms(); false without resources. */
bool db_cond_init(pthread_cond_t *c);
/* False when deadline_ms has passed. */
bool db_cond_wait(pthread_cond_t *c, pthread_mutex_t *m, uint64_t deadline_ms);

bool db_is_postgres(struct str url);
/*
 * Makes the folders above a file, 0700 each; errno tells why not.
 */
bool db_make_parents(const char *file);

#endif
