/*
 * sqlite - the SQLite driver; internal to common/db.
 *
 * sqlite.c is one connection: opening, statements, codes.  sqlite_writer.c is
 * the one thread that writes to a file.
 */
#ifndef DB_SQLITE_H
#define DB_SQLITE_H

#include "common/db/driver.h"

struct sqlite_writer;

/* A connection that may write: the writer's own. */
enum err sqlite_open_writer(struct db_pool *p, struct db **out) MUST_CHECK;
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

#endif
