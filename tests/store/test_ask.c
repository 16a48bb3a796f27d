/* Reads of one statement, each by itself (common/db/ask.c); those that go out
 * together: test_ask_together.c. */
#include "tests/store/ask_fixture.h"

static void an_ask_reads_what_is_there(void **state)
{
	int64_t n = 5;
	struct ctx cx = store_ctx(20000);

	(void)state;
	assert_int_equal(ask(GET, 3, &n), OK);
	assert_int_equal(n, 21);
	/* No row is no failure, as with db_run(). */
	assert_int_equal(ask(NO_ROW, 3, &n), OK);
	assert_int_equal(n, 21);
	assert_int_equal(db_ask(pool, &cx, &st[COUNT], NULL, 0, NULL), OK);
}

static void a_statement_that_writes_is_our_mistake(void **state)
{
	const int writes[] = {INSERT, BUMP, HIDDEN};

	(void)state;
	for (int i = 0; i < 6; i++) {
		struct ctx cx = store_ctx(20000);

		assert_int_equal(db_ask(pool, &cx, &st[writes[i % 3]], NULL, 0,
		                        NULL),
		                 ERR_INTERNAL);
	}
	assert_int_equal(store_i64(pool, &st[COUNT]), 1000);
}

static void a_wrong_question_is_refused(void **state)
{
	const struct db_val bad = DB_STR(STR("\xff"));
	struct ctx cx = store_ctx(20000);
	int64_t n = 0;

	(void)state;
	assert_int_equal(ask(WRONG, 1, &n), ERR_INTERNAL);
	assert_int_equal(db_ask(pool, &cx, &st[GET], NULL, 0, NULL),
	                 ERR_INTERNAL);
	assert_int_equal(db_ask(pool, &cx, &st[GET], &bad, 1, NULL),
	                 ERR_INVALID);
	assert_int_equal(ask(GET, 1, &n), OK);
}

static enum err stop_at_third(void *arg, const struct db_row *row)
{
	(void)row;
	return ++*(int *)arg == 3 ? ERR_TOO_LARGE : OK;
}

static enum err ask_for_each(void *arg, const struct db_row *row)
{
	int64_t n = 0;
	enum err e = ask(GET, db_row_i64(row, 0), &n);

	*(int64_t *)arg += n;
	return e;
}

static void a_row_callback_may_stop_or_ask_itself(void **state)
{
	int seen = 0;
	int64_t sum = 0;
	const struct db_sink stops = {stop_at_third, &seen};
	const struct db_sink asks = {ask_for_each, &sum};
	struct ctx cx = store_ctx(20000);

	(void)state;
	assert_int_equal(db_ask(pool, &cx, &st[MANY], NULL, 0, &stops),
	                 ERR_TOO_LARGE);
	assert_int_equal(seen, 3);
	assert_int_equal(db_ask(pool, &cx, &st[MANY], NULL, 0, &asks), OK);
	assert_int_equal(sum, 7 * 500500);
}

static enum err get_two(struct db *db, void *arg)
{
	enum err e = get_third(db, arg);

	return e ? e : db_get_i64(db, &st[COUNT], NULL, 0, arg);
}

static enum err ignore_second(struct db *db, void *arg)
{
	return get_two(db, arg) == ERR_INTERNAL ? OK : ERR_INVALID;
}

static enum err get_none(struct db *db, void *arg)
{
	(void)db;
	return *(int64_t *)arg == 21 ? OK : ERR_INVALID;
}

static enum err get_missing(struct db *db, void *arg)
{
	const struct db_val v = DB_I64(3);

	return db_get_i64(db, &st[NO_ROW], &v, 1, arg);
}

static enum err change_something(struct db *db, void *arg)
{
	return db_change(db, &st[INSERT], NULL, 0, arg);
}

static enum err lock_something(struct db *db, void *arg)
{
	(void)arg;
	return db_lock(db, 1);
}

static void a_function_reads_with_one_statement_at_most(void **state)
{
	static const struct {
		db_fn *fn;
		enum err want;
	} cases[] = {
		{get_third, OK},
		{get_none, OK},
		{get_missing, ERR_NOT_FOUND},
		{get_two, ERR_INTERNAL},
		{ignore_second, ERR_INTERNAL},
		{change_something, ERR_INTERNAL},
		{lock_something, ERR_INTERNAL},
	};
	int64_t n = 0;

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct ctx cx = store_ctx(20000);

		assert_int_equal(db_read_one(pool, &cx, cases[i].fn, &n),
		                 cases[i].want);
		assert_int_equal(n, 21);
	}
}

static void nothing_is_asked_after_the_deadline(void **state)
{
	struct ctx cx = store_ctx(0);
	int64_t n = 77;

	(void)state;
	assert_int_equal(ask_by(pool, 0, GET, 1, &n), ERR_TIMEOUT);
	assert_int_equal(db_read_one(pool, &cx, get_third, &n), ERR_TIMEOUT);
	assert_int_equal(n, 77);
}

static void a_slow_ask_ends_at_its_deadline(void **state)
{
	uint64_t before = mono_ms();
	int64_t n = 77;

	(void)state;
	assert_int_equal(ask_by(pool, 200, SLOW, 1, &n), ERR_TIMEOUT);
	assert_true(mono_ms() - before < 4000);
	assert_int_equal(n, 77);
	assert_int_equal(ask(GET, 1, &n), OK);
}

static void a_connection_that_died_idle_is_not_used(void **state)
{
	int64_t n = 0;

	(void)state;
	assert_int_equal(ask(GET, 1, &n), OK);
	kill_with(KILL_ALL, 1);
	assert_int_equal(ask(GET, 2, &n), OK);
	assert_int_equal(n, 14);
}

static enum err forget(struct db *db, void *arg)
{
	(void)arg;
	return db_run(db, &st[FORGET], NULL, 0, NULL);
}

static void a_server_that_forgot_is_asked_without_preparing(void **state)
{
	struct db_conf conf = store_conf(&store);
	struct db_pool *p = NULL;
	struct ctx cx = store_ctx(20000);
	int64_t n = 0;

	(void)state;
	conf.size = 1;
	conf.max_overflow = 0;
	assert_int_equal(db_pool_new(&conf, &p), OK);
	assert_int_equal(ask_by(p, 20000, GET, 1, &n), OK);
	assert_int_equal(db_write(p, &cx, forget, NULL), OK);
	assert_int_equal(ask_by(p, 20000, GET, 2, &n), OK);
	assert_int_equal(n, 14);
	db_pool_free(p);
}

static void a_database_that_is_away_is_said_at_once(void **state)
{
	struct db_conf conf = store_conf(&store);
	struct db_pool *p = NULL;
	uint64_t before = mono_ms();
	int64_t n = 0;

	(void)state;
	conf.url = STR("postgresql://nobody@127.0.0.1:1/none");
	assert_int_equal(db_pool_new(&conf, &p), OK);
	assert_int_equal(ask_by(p, 10000, GET, 1, &n), ERR_DATABASE);
	assert_true(mono_ms() - before < 5000);
	db_pool_free(p);
}

#define POSTGRES_ONLY 3 /* at the end of the list */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ask_reads_what_is_there),
		cmocka_unit_test(a_statement_that_writes_is_our_mistake),
		cmocka_unit_test(a_wrong_question_is_refused),
		cmocka_unit_test(a_row_callback_may_stop_or_ask_itself),
		cmocka_unit_test(a_function_reads_with_one_statement_at_most),
		cmocka_unit_test(nothing_is_asked_after_the_deadline),
		cmocka_unit_test(a_slow_ask_ends_at_its_deadline),
		/* What only a server can do. */
		cmocka_unit_test(a_connection_that_died_idle_is_not_used),
		cmocka_unit_test(
			a_server_that_forgot_is_asked_without_preparing),
		cmocka_unit_test(a_database_that_is_away_is_said_at_once),
	};

	return ask_tests("test_ask", tests, COUNTOF(tests), POSTGRES_ONLY);
}
