/* Connections that are lent, that die or are replaced, and that cannot be had. */
#include "tests/store/db_fixture.h"

#include <stdatomic.h>

static void an_old_connection_is_replaced(void **state)
{
	struct db_conf conf = store_conf(&store);
	struct db_pool *p = NULL;
	struct db_pool_stats s;
	struct ctx cx;
	enum err ok = OK;

	(void)state;
	conf.recycle_s = 0;
	assert_int_equal(db_pool_new(&conf, &p), OK);
	for (int i = 0; i < 3; i++) {
		cx = store_ctx(5000);
		assert_int_equal(db_read(p, &cx, nothing, &ok), OK);
	}
	db_pool_stats(p, &s);
	assert_int_equal(s.opened, 3);
	assert_int_equal(s.recycled, 2);
	db_pool_free(p);
}

static void a_database_that_is_away_is_said_at_once(void **state)
{
	const char *urls[] = {"postgresql://nobody@127.0.0.1:1/none",
	                      "sqlite:////proc/none/x.db"};
	(void)state;
	for (size_t i = 0; i < COUNTOF(urls); i++) {
		struct db_conf conf = store_conf(&store);
		struct ctx cx = store_ctx(10000);
		struct db_pool_stats s;
		struct db_pool *p = NULL;
		enum err ok = OK;
		uint64_t before = mono_ms();

		conf.url = str_from(urls[i]);
		assert_int_equal(db_pool_new(&conf, &p), OK);
		assert_int_equal(db_read(p, &cx, nothing, &ok), ERR_DATABASE);
		assert_int_equal(db_write(p, &cx, nothing, &ok), ERR_DATABASE);
		assert_int_equal(db_pool_ping(p, cx.deadline_ms), ERR_DATABASE);
		assert_true(mono_ms() - before < 5000);
		db_pool_stats(p, &s);
		assert_false(s.usable);
		assert_true(s.unusable_since_ms > 0);
		assert_int_equal(s.in_use, 0);
		db_pool_free(p);
	}
}

static void a_ping_is_answered(void **state)
{
	(void)state;
	assert_int_equal(db_pool_ping(pool, mono_ms() + 5000), OK);
}

/* --- PostgreSQL alone --------------------------------------------------------- */

static enum err terminate(struct db *db, void *arg)
{
	const struct db_val v = DB_I64(*(int64_t *)arg);
	int64_t done = 0;

	return db_get_i64(db, &st[TERMINATE], &v, 1, &done);
}

struct victim {
	struct db_pool *killer;
	unsigned runs, killed_runs;
	bool before_commit;
};

/* Kills its own backend in its first runs, then goes on. */
static enum err killed_in_the_middle(struct db *db, void *arg)
{
	struct victim *v = arg;
	struct ctx cx = store_ctx(5000);
	int64_t pid = 0;
	enum err e = db_get_i64(db, &st[BACKEND], NULL, 0, &pid);

	if (e)
		return e;
	if (v->runs++ < v->killed_runs)
		MUST(db_write(v->killer, &cx, terminate, &pid) == OK);
	return v->before_commit ? OK : insert_id(db, (int64_t)v->runs);
}

static void a_killed_backend_costs_a_rerun_not_an_error(void **state)
{
	struct victim v = {.killed_runs = 2};

	(void)state;
	v.killer = store_pool(&store);
	assert_int_equal(write_fn(killed_in_the_middle, &v), OK);
	assert_int_equal(v.runs, 3);
	assert_int_equal(store_i64(pool, &st[COUNT]), 1);
	db_pool_free(v.killer);
}

static enum err my_pid(struct db *db, void *arg)
{
	return db_get_i64(db, &st[BACKEND], NULL, 0, arg);
}

static void an_idle_connection_that_died_is_not_lent(void **state)
{
	struct db_conf conf = store_conf(&store);
	struct db_pool *p = NULL, *killer;
	int64_t pid = 0, next = 0;
	struct ctx cx = store_ctx(5000);

	(void)state;
	conf.size = 1;
	conf.max_overflow = 0;
	killer = store_pool(&store);
	assert_int_equal(db_pool_new(&conf, &p), OK);
	assert_int_equal(db_read(p, &cx, my_pid, &pid), OK);
	assert_int_equal(db_write(killer, &cx, terminate, &pid), OK);
	assert_int_equal(db_read(p, &cx, my_pid, &next), OK);
	assert_true(next != pid);
	db_pool_free(p);
	db_pool_free(killer);
}

struct folder {
	char path[512];
};

static enum err take_path(void *arg, const struct db_row *r)
{
	struct str s = db_row_str(r, 0);

	(void)snprintf(arg, sizeof(struct folder), "%.*s", STR_FMT(s));
	return OK;
}

static enum err data_folder(struct db *db, void *arg)
{
	const struct db_sink sink = {take_path, arg};

	return db_run(db, &st[DATA_FOLDER], NULL, 0, &sink);
}

static void the_pool_survives_a_restart_of_the_server(void **state)
{
	struct folder f = {{0}};
	const char *const restart[] = {"python3", "tests/harness/postgres.py",
	                               "--restart", f.path, NULL};
	struct db_pool_stats s;

	(void)state;
	assert_int_equal(read_fn(data_folder, &f), OK);
	assert_int_equal(store_spawn(restart), 0);
	assert_int_equal(write_fn(insert_1, NULL), OK);
	assert_int_equal(store_i64(pool, &st[COUNT]), 1);
	db_pool_stats(pool, &s);
	assert_true(s.usable);
	assert_int_equal(s.unusable_since_ms, 0);
}

static void *read_often(void *arg)
{
	for (int i = 0; i < 20; i++) {
		int64_t n;

		if (read_fn(my_pid, &n))
			atomic_fetch_add((_Atomic unsigned *)arg, 1);
	}
	return NULL;
}

/* The server has two connections for a pool that would like eight. */
static void a_full_server_is_waited_for(void **state)
{
	struct db_conf conf = store_conf(&store);
	struct db_pool *all = pool;
	_Atomic unsigned failed = 0;
	char url[1300];
	const char *at = strchr(store.url, '@');

	(void)state;
	store_exec(all, "DROP ROLE IF EXISTS test_db_few");
	store_exec(all, "CREATE ROLE test_db_few LOGIN CONNECTION LIMIT 2");
	assert_non_null(at);
	(void)snprintf(url, sizeof(url), "postgresql://test_db_few%s", at);
	conf.url = str_from(url);
	assert_int_equal(db_pool_new(&conf, &pool), OK);
	store_threads(8, read_often, &failed);
	db_pool_free(pool);
	pool = all;
	assert_int_equal(failed, 0);
}

/* The backend ends while it commits: did it, or did it not? */
static void a_commit_without_an_answer_is_not_run_again(void **state)
{
	enum err ok = OK;

	(void)state;
	store_exec(pool,
	           "CREATE OR REPLACE FUNCTION test_db.die() RETURNS trigger "
	           "LANGUAGE plpgsql AS $$ BEGIN "
	           "PERFORM pg_terminate_backend(pg_backend_pid()); "
	           "PERFORM pg_sleep(1); RETURN NULL; END $$");
	store_exec(pool,
	           "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON test_db.t "
	           "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
	           "EXECUTE FUNCTION test_db.die()");
	assert_int_equal(write_fn(insert_two, &ok), ERR_PEER_LOST);
	store_exec(pool, "DROP TRIGGER die ON test_db.t");
	assert_int_equal(write_fn(insert_two, &ok), OK);
	assert_int_equal(store_i64(pool, &st[COUNT]), 2);
}

static enum err forget(struct db *db, void *arg)
{
	(void)arg;
	return db_run(db, &st[FORGET], NULL, 0, NULL);
}

/* As behind a pooler that hands the next transaction another server. */
static void a_server_that_forgot_costs_prepared_statements(void **state)
{
	struct db_conf conf = store_conf(&store);
	struct db_pool *all = pool;
	enum err ok = OK;

	(void)state;
	conf.size = 1;
	conf.max_overflow = 0;
	assert_int_equal(db_pool_new(&conf, &pool), OK);
	assert_int_equal(store_i64(pool, &st[COUNT]), 0);
	assert_int_equal(write_fn(forget, NULL), OK);
	assert_int_equal(write_fn(insert_two, &ok), OK);
	assert_int_equal(store_i64(pool, &st[COUNT]), 2);
	db_pool_free(pool);
	pool = all;
}

#define POSTGRES_ONLY 6 /* at the end of the list */

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_old_connection_is_replaced),
		TEST(a_database_that_is_away_is_said_at_once),
		TEST(a_ping_is_answered),
		/* What only a server can do. */
		TEST(a_killed_backend_costs_a_rerun_not_an_error),
		TEST(an_idle_connection_that_died_is_not_lent),
		TEST(the_pool_survives_a_restart_of_the_server),
		TEST(a_full_server_is_waited_for),
		TEST(a_commit_without_an_answer_is_not_run_again),
		TEST(a_server_that_forgot_costs_prepared_statements),
	};

	return db_tests(tests, COUNTOF(tests), POSTGRES_ONLY);
}
