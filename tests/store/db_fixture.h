/*
 * db_fixture - a table that is emptied before each test, statements about it,
 * and functions that run them in a transaction.
 *
 * Header only: each store test is one program.
 */
#ifndef TESTS_STORE_DB_FIXTURE_H
#define TESTS_STORE_DB_FIXTURE_H

#include "tests/store/store.h"

#include <stdlib.h>

static struct store store;
static struct db_pool *pool;

/* @ is the schema; rows are qualified in db_tests(). */
enum {
	CREATE,
	EMPTY,
	INSERT,
	COUNT,
	SUM,
	BUMP,
	READ_ALL,
	FIND,
	MANY,
	SLOW,
	WRONG,
	BACKEND,
	TERMINATE,
	DATA_FOLDER,
	UPSERT,
	FLOOD,
	FORGET,
	STATEMENTS
};
static const struct db_stmt rows[STATEMENTS] = {
	[CREATE] = {"t.create",
                    "CREATE TABLE IF NOT EXISTS @t (id INTEGER PRIMARY KEY, "
                    "n INTEGER, f REAL, s TEXT, b BLOB)",
                    "CREATE TABLE IF NOT EXISTS @t (id bigint PRIMARY KEY, "
                    "n bigint, f double precision, s text, b bytea)"},
	[EMPTY] = {"t.empty", "DELETE FROM @t", NULL},
	[INSERT] = {"t.insert",
                    "INSERT INTO @t (id, n, f, s, b) "
                    "VALUES ($1, $2, $3, $4, $5)",
                    NULL},
	[COUNT] = {"t.count", "SELECT count(*) FROM @t", NULL},
	[SUM] = {"t.sum", "SELECT sum(n) FROM @t", NULL},
	[BUMP] = {"t.bump", "UPDATE @t SET n = n + $2 WHERE id = $1", NULL},
	[READ_ALL] = {"t.read_all", "SELECT id, n, f, s, b FROM @t ORDER BY id",
                      NULL},
	/* $2 stands before $1: positions, not order, decide. */
	[FIND] = {"t.find", "SELECT id FROM @t WHERE s = $2 AND id >= $1",
                  NULL},
	[MANY] = {"t.many",
                  "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL "
                  "SELECT i + 1 FROM c WHERE i < 1000) SELECT i FROM c",
                  NULL},
	[SLOW] = {"t.slow",
                  "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL "
                  "SELECT i + 1 FROM c WHERE i < 2000000000) "
                  "SELECT count(*) FROM c",
                  NULL},
	[WRONG] = {"t.wrong", "SELECT nothing FROM nowhere", NULL},
	[BACKEND] = {"t.backend", "SELECT 0", "SELECT pg_backend_pid()"},
	[TERMINATE] = {"t.terminate", "SELECT 0",
                       "SELECT pg_terminate_backend($1::int)::int"},
	[DATA_FOLDER] = {"t.data_folder", "SELECT ''", "SHOW data_directory"},
	[FLOOD] = {"t.flood",
                   "INSERT INTO @t (id, n) WITH RECURSIVE c(i) AS "
                   "(SELECT 1000 UNION ALL SELECT i + 1 FROM c "
                   "WHERE i < 2000000000) SELECT i, 0 FROM c",
                   NULL},
	[FORGET] = {"t.forget", "SELECT 1", "DEALLOCATE ALL"},
	[UPSERT] = {"t.upsert",
                    "INSERT INTO @t (id, n) VALUES ($1, 1) "
                    "ON CONFLICT (id) DO UPDATE SET n = @t.n + 1 "
                    "RETURNING n",
                    "INSERT INTO @t AS t (id, n) VALUES ($1, 1) "
                    "ON CONFLICT (id) DO UPDATE SET n = t.n + 1 "
                    "RETURNING n"},
};
static struct db_stmt *st;

struct values {
	struct db_val v[5];
};

static inline enum err insert(struct db *db, void *arg)
{
	const struct values *a = arg;

	return db_run(db, &st[INSERT], a->v, 5, NULL);
}

static inline enum err insert_id(struct db *db, int64_t id)
{
	struct values a = {{DB_I64(id), DB_I64(0), DB_NULL, DB_NULL, DB_NULL}};

	return insert(db, &a);
}

static inline enum err write_fn(db_fn *fn, void *arg)
{
	struct ctx cx = store_ctx(20000);

	return db_write(pool, &cx, fn, arg);
}

static inline enum err read_fn(db_fn *fn, void *arg)
{
	struct ctx cx = store_ctx(20000);

	return db_read(pool, &cx, fn, arg);
}

static inline enum err empty(struct db *db, void *arg)
{
	(void)arg;
	return db_run(db, &st[EMPTY], NULL, 0, NULL);
}

static inline enum err create(struct db *db, void *arg)
{
	(void)arg;
	return db_run(db, &st[CREATE], NULL, 0, NULL);
}

static inline int each(void **state)
{
	(void)state;
	return write_fn(empty, NULL) != OK;
}

static inline enum err insert_two(struct db *db, void *arg)
{
	enum err e = insert_id(db, 1);

	if (!e)
		e = insert_id(db, 2);
	return e ? e : *(enum err *)arg;
}

static inline enum err nothing(struct db *db, void *arg)
{
	(void)db;
	return *(enum err *)arg;
}

static inline enum err insert_1(struct db *db, void *arg)
{
	(void)arg;
	return insert_id(db, 1);
}

#define TEST(name) cmocka_unit_test_setup(name, each)

/* Runs n tests; the last of them, as many as postgres_only, need a server. */
static inline int db_tests(const struct CMUnitTest *tests, size_t n,
                           size_t postgres_only)
{
	int failed;

	store_open(&store, "test_db");
	st = db_stmts_for(rows, STATEMENTS, store.service);
	assert_non_null(st);
	pool = store_pool(&store);
	if (store_is_postgres(&store))
		store_exec(pool, "CREATE SCHEMA test_db");
	assert_int_equal(write_fn(create, NULL), OK);
	if (!store_is_postgres(&store))
		n -= postgres_only;
	failed = _cmocka_run_group_tests("db", tests, n, NULL, NULL);
	db_pool_free(pool);
	free(st);
	store_close(&store);
	return failed;
}

#endif
