/*
 * sqlite - the SQLite driver; internal to common/db.
 *
 * sqlite.c is one connection: statements, rows, codes.  sqlite_file.c is the
 * file under it.  sqlite_writer.c is the one thread that writes to a file.
 */
#ifndef DB_SQLITE_H
#define DB_SQLITE_H

#include "common/db/driver.h"

#include <sqlite3.h>

#define SQLITE_BUCKETS 64

struct prepared;
struct sqlite_writer;

struct sqlite_conn {
	struct db db;
	sqlite3 *h;
	bool writes;
	uint64_t looked_ms; /* when the file was last looked at, */
	sqlite3_int64 size; /* and how long it was then */
	struct prepared *prepared[SQLITE_BUCKETS];
};

/* What the connections of one pool share. */
struct sqlite_shared {
	struct sqlite_writer *writer;
	_Atomic sqlite3_int64 size; /* of the file, about; 0: not seen yet */
};

static inline struct sqlite_conn *sqlite_of(struct db *db)
{
	return (struct sqlite_conn *)db;
}

/* sqlite_file.c */
enum err sqlite_open(struct db_pool *p, bool writes,
                     struct db **out) MUST_CHECK;
void sqlite_shut(struct db *db);
/*
 * False, told, and the connection is dead: the file is not the one that was
 * opened, or not a database any more.
 */
bool sqlite_in_place(struct sqlite_conn *c);

/* sqlite.c */
/* Ours for what the last call came to; told unless it is part of daily life. */
enum err sqlite_failure(struct sqlite_conn *c, const char *name) MUST_CHECK;
void sqlite_forget_prepared(struct sqlite_conn *c);
/* Runs one of the statements that steer transactions. */
enum err sqlite_steer(struct db *db, const struct db_stmt *st) MUST_CHECK;
/* False once SQLite has given up the transaction, as it does when it runs out
 * of memory or space, or a write is interrupted. */
bool sqlite_in_transaction(const struct db *db);

extern const struct db_stmt STEER_COMMIT, STEER_ROLLBACK;

struct sqlite_writer *sqlite_writer_new(struct db_pool *p);
/* Runs what is queued, then ends. */
void sqlite_writer_free(struct sqlite_writer *w);
enum err sqlite_write(struct db_pool *p, struct ctx *cx, db_fn *fn, void *arg);

/* db_scrub(). */
enum err sqlite_scrub(struct db_pool *p) MUST_CHECK;

#endif
