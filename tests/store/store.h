/*
 * store - what the store tests share: which database, a fresh schema, threads.
 *
 * KAE_TEST_DATABASE_URL names the database; a SQLite file in a new folder when
 * it is unset or empty.  Every test runs over either.  KAE_TEST_DB_PREPARE=off
 * is what a user would set behind a transaction pooler.
 */
#ifndef TESTS_STORE_STORE_H
#define TESTS_STORE_STORE_H

#include "common/base/clock.h"
#include "common/base/ctx.h"
#include "common/db/db.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct store {
	char url[1200];
	char folder[64]; /* SQLite only */
	const char *service;
};

/* Finds the database and empties the service's schema. */
void store_open(struct store *s, const char *service);
void store_close(struct store *s); /* removes the folder */
bool store_is_postgres(const struct store *s);
/* Before store_open(): for the list of tests. */
bool store_will_be_postgres(void);
struct db_conf store_conf(const struct store *s);
struct db_pool *store_pool(const struct store *s);
/* A context whose deadline is that many milliseconds ahead. */
struct ctx store_ctx(uint64_t ms);
/* Runs one statement without values, in a transaction of its own. */
void store_exec(struct db_pool *p, const char *sql);
int64_t store_i64(struct db_pool *p, const struct db_stmt *st);
/* Exit status of a command, -1 when it could not run. */
int store_spawn(const char *const argv[]);

/*
 * For transaction functions and threads, which cmocka's assertions must not
 * leave by a long jump: says what was claimed and aborts.
 */
#define MUST(claim) store_must((claim), #claim)
void store_must(bool claim, const char *what);

#define STORE_THREADS_MAX 64
/* Runs fn(arg) on n threads at once and joins them. */
void store_threads(unsigned n, void *(*fn)(void *arg), void *arg);

#endif
