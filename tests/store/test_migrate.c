#include "tests/store/store.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

static struct store store;

#define SCHEMA "test_migrate"

/* Two statements each: a migration is a script. */
static const struct db_migration good[] = {
	{1, "first", "CREATE TABLE a (n INTEGER); INSERT INTO a VALUES (1);",
         "CREATE TABLE " SCHEMA ".a (n bigint); "
         "INSERT INTO " SCHEMA ".a VALUES (1);"},
	{2, "second", "CREATE TABLE b (n INTEGER); INSERT INTO a VALUES (2);",
         "CREATE TABLE " SCHEMA ".b (n bigint); "
         "INSERT INTO " SCHEMA ".a VALUES (2);"},
};

enum { SUM, NUMBERS, COUNT };
static const struct db_stmt rows[COUNT] = {
	[SUM] = {"t.sum", "SELECT sum(n) FROM @a", NULL},
	[NUMBERS] = {"t.numbers", "SELECT count(*) FROM @schema_migrations",
                     NULL},
};
static struct db_stmt *st;

static int fresh(void **state)
{
	(void)state;
	store_open(&store, SCHEMA);
	return 0;
}

static int close_it(void **state)
{
	(void)state;
	store_close(&store);
	return 0;
}

static enum err migrate(const struct db_migration *m, size_t n)
{
	struct db_pool *p = store_pool(&store);
	enum err e = db_migrate(p, m, n);

	db_pool_free(p);
	return e;
}

static void expect(int64_t sum, int64_t numbers)
{
	struct db_pool *p = store_pool(&store);

	assert_int_equal(store_i64(p, &st[SUM]), sum);
	assert_int_equal(store_i64(p, &st[NUMBERS]), numbers);
	db_pool_free(p);
}

static void what_is_missing_is_applied_once(void **state)
{
	(void)state;
	assert_int_equal(migrate(good, 1), OK);
	expect(1, 1);
	assert_int_equal(migrate(good, 2), OK);
	expect(3, 2);
	assert_int_equal(migrate(good, 2), OK);
	expect(3, 2);
}

static void a_newer_schema_is_refused(void **state)
{
	(void)state;
	assert_int_equal(migrate(good, 2), OK);
	assert_int_equal(migrate(good, 1), ERR_INVALID);
	expect(3, 2);
}

static void a_changed_migration_is_refused(void **state)
{
	struct db_migration changed[2];

	(void)state;
	memcpy(changed, good, sizeof(changed));
	changed[0].sqlite = "CREATE TABLE a (n INTEGER, m INTEGER);";
	changed[0].postgres = "CREATE TABLE " SCHEMA ".a (n int, m int);";
	assert_int_equal(migrate(good, 1), OK);
	assert_int_equal(migrate(changed, 2), ERR_INVALID);
	expect(1, 1);
}

static void a_migration_that_fails_leaves_nothing(void **state)
{
	const struct db_migration bad[] = {
		good[0],
		{2, "broken", "INSERT INTO a VALUES (7); SELECT nonsense;",
	         "INSERT INTO " SCHEMA ".a VALUES (7); SELECT nonsense;"}};

	(void)state;
	assert_int_equal(migrate(bad, 2), ERR_INVALID);
	expect(1, 1);
	assert_int_equal(migrate(good, 2), OK);
	expect(3, 2);
}

static void a_gap_in_the_numbers_is_refused(void **state)
{
	struct db_migration gap[2];

	(void)state;
	memcpy(gap, good, sizeof(gap));
	gap[1].number = 3;
	assert_int_equal(migrate(gap, 2), ERR_INVALID);
}

static void *migrate_all(void *arg)
{
	if (migrate(good, 2))
		atomic_fetch_add((_Atomic unsigned *)arg, 1);
	return NULL;
}

static void starters_that_meet_apply_once(void **state)
{
	_Atomic unsigned failed = 0;

	(void)state;
	store_threads(4, migrate_all, &failed);
	assert_int_equal(failed, 0);
	expect(3, 2);
}

static const struct db_migration wider[] = {
	{1, "first", "CREATE TABLE a (n INTEGER); INSERT INTO a VALUES (1);",
         "CREATE TABLE " SCHEMA ".a (n bigint); "
         "INSERT INTO " SCHEMA ".a VALUES (1);"},
	{2, "wider", "ALTER TABLE a ADD COLUMN m INTEGER;",
         "ALTER TABLE " SCHEMA ".a ADD COLUMN m bigint;"},
};

/* A backup, say, or an export: it has looked at the table and goes on. */
static enum err migrate_meanwhile(struct db *db, void *arg)
{
	int64_t sum = 0;
	enum err e = db_get_i64(db, &st[SUM], NULL, 0, &sum);

	if (!e)
		*(enum err *)arg = migrate(wider, 2);
	/* It has not been waiting until the server sent this one away. */
	return e ? e : db_get_i64(db, &st[SUM], NULL, 0, &sum);
}

static void who_reads_a_table_holds_up_its_migration_alone(void **state)
{
	struct db_pool *p = store_pool(&store);
	struct ctx cx = store_ctx(20000);
	enum err e = OK;

	(void)state;
	assert_int_equal(migrate(wider, 1), OK);
	assert_int_equal(db_read(p, &cx, migrate_meanwhile, &e), OK);
	/* On SQLite nobody waits for who reads. */
	assert_int_equal(e, store_is_postgres(&store) ? ERR_DATABASE : OK);
	assert_int_equal(store_i64(p, &st[SUM]), 1);
	assert_int_equal(migrate(wider, 2), OK);
	expect(1, 2);
	db_pool_free(p);
}

static void a_database_that_is_away_can_be_tried_again(void **state)
{
	struct db_conf conf = store_conf(&store);
	struct db_pool *p = NULL;

	(void)state;
	conf.url = STR("postgresql://nobody@127.0.0.1:1/none");
	assert_int_equal(db_pool_new(&conf, &p), OK);
	assert_int_equal(db_migrate(p, good, 2), ERR_DATABASE);
	db_pool_free(p);
}

static void a_folder_that_cannot_be_made_is_for_ever(void **state)
{
	const char *const urls[] = {"sqlite:////proc/none/x.db",
	                            "sqlite:////dev/null/x.db"};

	(void)state;
	for (size_t i = 0; i < COUNTOF(urls); i++) {
		struct db_conf conf = store_conf(&store);
		struct db_pool *p = NULL;

		conf.url = str_from(urls[i]);
		assert_int_equal(db_pool_new(&conf, &p), OK);
		assert_int_equal(db_migrate(p, good, 2), ERR_INVALID);
		db_pool_free(p);
	}
}

static void migrations_may_take_another_way(void **state)
{
	struct db_conf conf = store_conf(&store);
	struct db_pool *p = NULL;

	(void)state;
	conf.url = STR("postgresql://nobody@127.0.0.1:1/none");
	conf.migration_url = str_from(store.url);
	assert_int_equal(db_pool_new(&conf, &p), OK);
	assert_int_equal(db_migrate(p, good, 2), OK);
	db_pool_free(p);
	expect(3, 2);
}

static void files_and_folders_are_ours_alone(void **state)
{
	struct db_conf conf = store_conf(&store);
	struct db_pool *p = NULL;
	char url[256], path[256];
	struct stat s;

	(void)state;
	(void)snprintf(url, sizeof(url), "sqlite:///%s/a/b/x.db", store.folder);
	conf.url = str_from(url);
	assert_int_equal(db_pool_new(&conf, &p), OK);
	assert_int_equal(db_migrate(p, good, 2), OK);
	(void)snprintf(path, sizeof(path), "%s/a/b", store.folder);
	assert_int_equal(stat(path, &s), 0);
	assert_int_equal(s.st_mode & 0777, 0700);
	(void)snprintf(path, sizeof(path), "%s/a/b/x.db", store.folder);
	assert_int_equal(stat(path, &s), 0);
	assert_int_equal(s.st_mode & 0777, 0600);
	db_pool_free(p);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, close_it)
	const struct CMUnitTest both[] = {
		T(what_is_missing_is_applied_once),
		T(a_newer_schema_is_refused),
		T(a_changed_migration_is_refused),
		T(a_migration_that_fails_leaves_nothing),
		T(a_gap_in_the_numbers_is_refused),
		T(starters_that_meet_apply_once),
		T(who_reads_a_table_holds_up_its_migration_alone),
		T(a_database_that_is_away_can_be_tried_again),
		T(a_folder_that_cannot_be_made_is_for_ever),
		/* By the last: one of each kind of database. */
		T(migrations_may_take_another_way),
		T(files_and_folders_are_ours_alone),
	};
	struct CMUnitTest tests[COUNTOF(both) - 1];
	int failed;

	memcpy(tests, both, sizeof(tests));
	store_open(&store, SCHEMA);
	if (!store_is_postgres(&store))
		tests[COUNTOF(tests) - 1] = both[COUNTOF(both) - 1];
	store_close(&store);
	st = db_stmts_for(rows, COUNT, SCHEMA);
	assert_non_null(st);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(st);
	return failed;
}
