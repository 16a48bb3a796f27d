/*
 * Tombstones, on the database that KAE_TEST_DATABASE_URL names or on SQLite.
 */
#include "common/event/erased.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/codec/mp.h"
#include "tests/store/store.h"

#include <pthread.h>
#include <stdlib.h>

#define SCHEMA  "test_erased"
#define ADA     STR("0190a000-0000-7000-8000-00000000ada0")
#define BOB     STR("0190a000-0000-7000-8000-00000000b0b0")
#define RECEIPT STR("0190a000-0000-7000-8000-0000000000e1")
#define OTHER   STR("0190a000-0000-7000-8000-0000000000e2")

static const struct db_migration migrations[] = {
	{1, "erased",
         ERASED_TABLE_SQLITE "CREATE TABLE note (sub TEXT NOT NULL);",
         ERASED_TABLE_POSTGRES(SCHEMA) "CREATE TABLE " SCHEMA
                                       ".note (sub TEXT NOT NULL);"},
};
static const struct db_stmt note_add = {"test.add",
                                        "INSERT INTO note (sub) VALUES ($1)",
                                        "INSERT INTO " SCHEMA
                                        ".note (sub) VALUES ($1)"};
static const struct db_stmt note_drop = {"test.drop",
                                         "DELETE FROM note WHERE sub = $1",
                                         "DELETE FROM " SCHEMA
                                         ".note WHERE sub = $1"};
static const struct db_stmt note_count = {"test.count",
                                          "SELECT COUNT(*) FROM note",
                                          "SELECT COUNT(*) FROM " SCHEMA
                                          ".note"};
static const struct db_stmt clear = {"test.clear", "DELETE FROM erased",
                                     "DELETE FROM " SCHEMA ".erased"};

static struct {
	struct store store;
	struct db_pool *pool;
	struct erased *t;
	/* Of the transaction that is held where it has checked. */
	pthread_mutex_t lock;
	pthread_cond_t moved;
	bool checked, go_on, buried;
} fx = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static int up(void **state)
{
	(void)state;
	store_open(&fx.store, SCHEMA);
	fx.pool = store_pool(&fx.store);
	fx.t = erased_new(SCHEMA);
	return db_migrate(fx.pool, migrations, COUNTOF(migrations));
}

static int down(void **state)
{
	(void)state;
	erased_free(fx.t);
	db_pool_free(fx.pool);
	store_close(&fx.store);
	return 0;
}

static enum err write_with(db_fn *fn, void *arg)
{
	struct ctx cx = store_ctx(30000);

	return db_write(fx.pool, &cx, fn, arg);
}

static enum err empty(struct db *db, void *arg)
{
	(void)arg;
	return db_run(db, &clear, NULL, 0, NULL);
}

static int each(void **state)
{
	(void)state;
	return write_with(empty, NULL) ? -1 : 0;
}

static enum err bury(struct db *db, void *arg)
{
	const struct str *receipt = arg;

	return erased_bury(fx.t, db, ADA, *receipt, wall_ms());
}

static enum err check(struct db *db, void *arg)
{
	const struct str *sub = arg;

	return erased_check(fx.t, db, *sub);
}

static enum err find(struct db *db, void *arg)
{
	return erased_find(fx.t, db, ADA, arg);
}

static void whoever_is_buried_is_known_and_nobody_else(void **state)
{
	struct str first = RECEIPT, second = OTHER, ada = ADA, bob = BOB;
	struct tombstone tomb = {0};

	(void)state;
	assert_int_equal(write_with(check, &ada), OK);
	assert_int_equal(write_with(find, &tomb), ERR_NOT_FOUND);
	assert_int_equal(write_with(bury, &first), OK);
	assert_int_equal(write_with(bury, &second), OK);
	assert_int_equal(write_with(check, &ada), ERR_BAD_TOKEN);
	assert_int_equal(write_with(check, &bob), OK);
	assert_int_equal(write_with(find, &tomb), OK);
	assert_true(str_eq(str_from(tomb.receipt), first));
}

static enum err among(struct db *db, void *arg)
{
	const struct str subs[] = {BOB, ADA, BOB, ADA};

	return erased_among(fx.t, db, subs, COUNTOF(subs), arg);
}

static void of_many_each_is_told(void **state)
{
	bool gone[4] = {true, false, true, false};
	struct str receipt = RECEIPT;

	(void)state;
	assert_int_equal(write_with(bury, &receipt), OK);
	assert_int_equal(write_with(among, gone), OK);
	assert_true(!gone[0] && gone[1] && !gone[2] && gone[3]);
}

static enum err report(struct db *db, void *arg)
{
	AUTO_BUF now = {0};

	mp_map(&now, 2);
	mp_kv_i64(&now, "a", 2);
	mp_kv_i64(&now, "b", 1);
	return erased_report(fx.t, db, ADA, buf_view(&now), arg);
}

static void reports_of_all_runs_are_added_up(void **state)
{
	struct str receipt = RECEIPT;
	AUTO_BUF sum = {0};

	(void)state;
	assert_int_equal(write_with(bury, &receipt), OK);
	assert_int_equal(write_with(report, &sum), OK);
	assert_int_equal(write_with(report, &sum), OK);
	assert_int_equal(mp_find_i64(buf_view(&sum), "a", 0), 4);
	assert_int_equal(mp_find_i64(buf_view(&sum), "b", 0), 2);
}

/* --- a request that was under way ------------------------------------------------- */

static void set(bool *what)
{
	GUARD(&fx.lock);

	*what = true;
	(void)pthread_cond_broadcast(&fx.moved);
}

static void wait_for(const bool *what)
{
	GUARD(&fx.lock);

	while (!*what)
		(void)pthread_cond_wait(&fx.moved, &fx.lock);
}

static enum err check_and_write(struct db *db, void *arg)
{
	const struct db_val v = DB_STR(ADA);
	enum err e = erased_check(fx.t, db, ADA);

	(void)arg;
	if (e)
		return e;
	set(&fx.checked);
	wait_for(&fx.go_on);
	return db_run(db, &note_add, &v, 1, NULL);
}

static void *request(void *arg)
{
	*(enum err *)arg = write_with(check_and_write, NULL);
	return NULL;
}

static enum err erase(struct db *db, void *arg)
{
	const struct db_val v = DB_STR(ADA);
	enum err e = erased_bury(fx.t, db, ADA, RECEIPT, wall_ms());

	(void)arg;
	return e ? e : db_run(db, &note_drop, &v, 1, NULL);
}

static void *eraser(void *arg)
{
	*(enum err *)arg = write_with(erase, NULL);
	set(&fx.buried);
	return NULL;
}

static enum err count(struct db *db, void *arg)
{
	return db_get_i64(db, &note_count, NULL, 0, arg);
}

static void what_has_checked_is_seen_by_the_erasure(void **state)
{
	enum err asked = ERR_INTERNAL, erased = ERR_INTERNAL;
	struct str ada = ADA;
	int64_t notes = -1;
	pthread_t a, b;

	(void)state;
	assert_int_equal(pthread_create(&a, NULL, request, &asked), 0);
	wait_for(&fx.checked);
	assert_int_equal(pthread_create(&b, NULL, eraser, &erased), 0);
	/* The eraser cannot be through whenever this is looked at. */
	{
		GUARD(&fx.lock);

		assert_false(fx.buried);
	}
	set(&fx.go_on);
	assert_int_equal(pthread_join(a, NULL), 0);
	assert_int_equal(pthread_join(b, NULL), 0);
	assert_int_equal(asked, OK);
	assert_int_equal(erased, OK);
	assert_int_equal(write_with(count, &notes), OK);
	assert_int_equal(notes, 0);
	assert_int_equal(write_with(check, &ada), ERR_BAD_TOKEN);
}

/* --- in memory ------------------------------------------------------------------------ */

static void memory_knows_what_was_noted_and_what_is_in_the_table(void **state)
{
	AUTO(erased) later = erased_new(SCHEMA);
	struct str receipt = RECEIPT;
	struct erased_stats st;
	char id[UUID_MAX];

	(void)state;
	assert_false(erased_knows(later, ADA));
	assert_int_equal(write_with(bury, &receipt), OK);
	assert_int_equal(erased_watch(later, fx.pool, "test"), OK);
	assert_true(erased_knows(later, ADA));
	assert_false(erased_knows(later, BOB));
	for (int i = 0; i < 1000; i++)
		erased_note(later, uuid7(id));
	erased_note(later, BOB);
	assert_true(erased_knows(later, ADA) && erased_knows(later, BOB));
	assert_false(erased_knows(later, uuid7(id)));
	erased_stats(later, &st);
	assert_int_equal(st.known, 1002);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			whoever_is_buried_is_known_and_nobody_else, each),
		cmocka_unit_test_setup(of_many_each_is_told, each),
		cmocka_unit_test_setup(reports_of_all_runs_are_added_up, each),
		cmocka_unit_test_setup(what_has_checked_is_seen_by_the_erasure,
	                               each),
		cmocka_unit_test_setup(
			memory_knows_what_was_noted_and_what_is_in_the_table,
			each),
	};

	return cmocka_run_group_tests(tests, up, down);
}
