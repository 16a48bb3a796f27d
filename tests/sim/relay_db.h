/*
 * relay_db - common/db/db.h for the simulation of the relay: SQLite in memory,
 * on the caller's thread, stopped and failed where the simulation says.
 *
 * Why:     a thousand seeds a second need no files, no writer thread and no
 *          real time; the statements are the real ones, in their PostgreSQL
 *          texts where SQLite can read them, because only there the leases are
 *          used.
 *
 * These take the place of db_read, db_write, db_run, db_later, db_change, db_get_i64,
 * db_kind and the row functions (Makefile, wrap).  The transactions of one
 * database do not overlap; everything between them may.
 */
#ifndef TESTS_SIM_RELAY_DB_H
#define TESTS_SIM_RELAY_DB_H

#include "common/db/db.h"

struct sim_db; /* the database of one service */

/* tables: statements that make the tables besides those of events. */
struct sim_db *sim_db_new(const char *tables);
void sim_db_free(struct sim_db *d);
void sim_db_clear(struct sim_db *d); /* empties every table */
/* Its own clock, as now() in statements. */
void sim_db_set_clock(struct sim_db *d, int64_t now_ms);
/* First column of the first row of what is asked; 0 without a row. */
int64_t sim_db_i64(struct sim_db *d, const char *sql);
/* Calls take() with the rows' columns as numbers and texts, in order. */
typedef bool sim_row_fn(void *arg, const char *const texts[]);
bool sim_db_rows(struct sim_db *d, const char *sql, sim_row_fn *take,
                 void *arg);

/* Where a transaction is when the simulation is asked. */
enum db_point {
	POINT_BEFORE,    /* nothing has been done; may yield */
	POINT_STATEMENT, /* an error fails the transaction */
	POINT_AGAIN,     /* an error makes it run once more */
	POINT_COMMIT,    /* an error rolls it back */
	POINT_AFTER      /* it is committed, whatever is answered; may yield */
};

/* A process's way to a database; the simulation's own. */
struct db_pool {
	struct sim_db *db;
	enum err (*at)(void *arg, enum db_point point);
	void *arg;
};

#endif
