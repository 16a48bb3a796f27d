/*
 * ask_fixture - a thousand numbered rows, and statements that ask for them.
 *
 * Header only: each store test is one program.
 */
#ifndef TESTS_STORE_ASK_FIXTURE_H
#define TESTS_STORE_ASK_FIXTURE_H

#include "tests/store/store.h"

#include <stdlib.h>

static struct store store;
static struct db_pool *pool;

enum {
	CREATE,
	FILL,
	GET,
	BY_TEXT,
	BYTES,
	COUNT,
	MANY,
	SLOW,
	SLEEP,
	WRONG,
	NO_ROW,
	LONG,
	INSERT,
	BUMP,
	HIDDEN,
	KILL_SLEEPER,
	KILL_ALL,
	FORGET,
	STATEMENTS
};
static const struct db_stmt rows[STATEMENTS] = {
	[CREATE] = {"a.create",
                    "CREATE TABLE @t (id INTEGER PRIMARY KEY, n INTEGER, "
                    "b BLOB)",
                    "CREATE TABLE @t (id bigint PRIMARY KEY, n bigint, "
                    "b bytea)"},
	[FILL] = {"a.fill",
                  "INSERT INTO @t (id, n, b) WITH RECURSIVE c(i) AS "
                  "(SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1000) "
                  "SELECT i, 7 * i, x'00ff' FROM c",
                  "INSERT INTO @t (id, n, b) SELECT i, 7 * i, '\\x00ff' "
                  "FROM generate_series(1, 1000) i"},
	[GET] = {"a.get", "SELECT n FROM @t WHERE id = $1", NULL},
	[BY_TEXT] = {"a.by_text",
                     "SELECT n FROM @t WHERE id = CAST($1 AS INTEGER)",
                     "SELECT n FROM @t WHERE id = CAST($1::text AS bigint)"},
	[BYTES] = {"a.bytes", "SELECT b FROM @t WHERE id = $1", NULL},
	[COUNT] = {"a.count", "SELECT count(*) FROM @t WHERE n = 7 * id", NULL},
	[MANY] = {"a.many", "SELECT id FROM @t ORDER BY id", NULL},
	[SLOW] = {"a.slow",
                  "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL "
                  "SELECT i + 1 FROM c WHERE i < 2000000000) "
                  "SELECT count(*) FROM c",
                  NULL},
	[SLEEP] = {"a.sleep", "SELECT 0",
                   "SELECT 1 FROM (SELECT pg_sleep($1)) s"},
	[WRONG] = {"a.wrong", "SELECT nothing FROM nowhere WHERE $1 = 1", NULL},
	[NO_ROW] = {"a.no_row", "SELECT n FROM @t WHERE id = -$1", NULL},
	[LONG] = {"a.long", "SELECT 0",
                  "SELECT 1, repeat('x', 65536 * $1::int)"},
	[INSERT] = {"a.insert", "INSERT INTO @t (id) VALUES (-1)", NULL},
	[BUMP] = {"a.bump", "UPDATE @t SET n = 0 WHERE id = 1 RETURNING n",
                  NULL},
	[HIDDEN] = {"a.hidden", "DELETE FROM @t RETURNING id",
                    "WITH gone AS (DELETE FROM @t RETURNING id) "
                    "SELECT id FROM gone"},
	[KILL_SLEEPER] = {"a.kill_sleeper", "SELECT 0",
                          "SELECT count(pg_terminate_backend(pid)) FROM "
                          "pg_stat_activity WHERE wait_event = 'PgSleep'"},
	[KILL_ALL] = {"a.kill_all", "SELECT 0",
                      "SELECT count(pg_terminate_backend(pid)) FROM "
                      "pg_stat_activity WHERE pid <> pg_backend_pid() AND "
                      "backend_type = 'client backend'"},
	[FORGET] = {"a.forget", "SELECT 1", "DEALLOCATE ALL"},
};
static struct db_stmt *st;

static inline enum err take_i64(void *arg, const struct db_row *row)
{
	*(int64_t *)arg = db_row_i64(row, 0);
	return OK;
}

static inline enum err ask_by(struct db_pool *p, uint64_t ms, int what,
                              int64_t id, int64_t *out)
{
	const struct db_sink sink = {take_i64, out};
	const struct db_val v = DB_I64(id);
	struct ctx cx = store_ctx(ms);

	return db_ask(p, &cx, &st[what], &v, 1, &sink);
}

static inline enum err ask(int what, int64_t id, int64_t *out)
{
	return ask_by(pool, 20000, what, id, out);
}

static inline enum err run_one(struct db *db, void *arg)
{
	return db_run(db, arg, NULL, 0, NULL);
}

static inline void write_one(struct db_pool *p, int what)
{
	struct ctx cx = store_ctx(20000);

	assert_int_equal(db_write(p, &cx, run_one, &st[what]), OK);
}

static inline enum err get_third(struct db *db, void *arg)
{
	const struct db_val v = DB_I64(3);

	MUST((db_kind(db) == DB_POSTGRES) == store_is_postgres(&store));
	return db_get_i64(db, &st[GET], &v, 1, arg);
}

static inline void kill_with(int what, int64_t want)
{
	struct db_conf conf = store_conf(&store);
	struct db_pool *killer = NULL;
	uint64_t end = mono_ms() + 10000;
	int64_t n = 0;

	assert_int_equal(db_pool_new(&conf, &killer), OK);
	for (int64_t killed = 0; killed < want; killed += n) {
		assert_true(mono_ms() < end);
		n = store_i64(killer, &st[what]);
	}
	db_pool_free(killer);
}

/* Runs n tests in the schema of that name; the last of them, as many as
 * postgres_only, need a server. */
static inline int ask_tests(const char *name, const struct CMUnitTest *tests,
                            size_t n, size_t postgres_only)
{
	int failed;

	store_open(&store, name);
	st = db_stmts_for(rows, STATEMENTS, store.service);
	assert_non_null(st);
	pool = store_pool(&store);
	if (store_is_postgres(&store)) {
		char sql[64];

		(void)snprintf(sql, sizeof(sql), "CREATE SCHEMA %s", name);
		store_exec(pool, sql);
	}
	write_one(pool, CREATE);
	write_one(pool, FILL);
	if (!store_is_postgres(&store))
		n -= postgres_only;
	failed = _cmocka_run_group_tests(name, tests, n, NULL, NULL);
	db_pool_free(pool);
	free(st);
	store_close(&store);
	return failed;
}

#endif
