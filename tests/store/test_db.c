/* What one transaction does and sees, and the values that it takes and gives. */
#include "tests/alloc_fault.h"
#include "tests/store/db_fixture.h"

/* --- transactions ------------------------------------------------------------ */

static void what_a_function_did_is_there_after_ok(void **state)
{
	enum err want = OK;

	(void)state;
	assert_int_equal(write_fn(insert_two, &want), OK);
	assert_int_equal(store_i64(pool, &st[COUNT]), 2);
}

static void what_a_function_did_is_undone_after_an_error(void **state)
{
	enum err want = ERR_NOT_FOUND;

	(void)state;
	assert_int_equal(write_fn(insert_two, &want), ERR_NOT_FOUND);
	assert_int_equal(store_i64(pool, &st[COUNT]), 0);
}

static enum err insert_twice(struct db *db, void *arg)
{
	bool swallow = *(bool *)arg;
	enum err e = insert_id(db, 1);

	MUST(e == OK);
	e = insert_id(db, 1);
	MUST(e == ERR_DB_DUPLICATE);
	return swallow ? OK : e;
}

static void a_repeated_key_is_a_duplicate(void **state)
{
	bool swallow = false;

	(void)state;
	assert_int_equal(write_fn(insert_twice, &swallow), ERR_DB_DUPLICATE);
	assert_int_equal(store_i64(pool, &st[COUNT]), 0);
}

static void a_failed_statement_fails_its_transaction_even_if_ignored(
	void **state)
{
	bool swallow = true;

	(void)state;
	assert_int_equal(write_fn(insert_twice, &swallow), ERR_DB_DUPLICATE);
	assert_int_equal(store_i64(pool, &st[COUNT]), 0);
}

static enum err go_on_after_failure(struct db *db, void *arg)
{
	(void)arg;
	MUST(db_run(db, &st[WRONG], NULL, 0, NULL) == ERR_INTERNAL);
	MUST(insert_id(db, 7) == ERR_INTERNAL);
	MUST(db_lock(db, 1) == ERR_INTERNAL);
	return OK;
}

static void nothing_runs_after_a_failed_statement(void **state)
{
	(void)state;
	assert_int_equal(write_fn(go_on_after_failure, NULL), ERR_INTERNAL);
	assert_int_equal(store_i64(pool, &st[COUNT]), 0);
}

static enum err write_in_read(struct db *db, void *arg)
{
	(void)arg;
	return insert_id(db, 1);
}

static void a_read_cannot_write(void **state)
{
	(void)state;
	assert_int_not_equal(read_fn(write_in_read, NULL), OK);
	assert_int_equal(store_i64(pool, &st[COUNT]), 0);
}

static void a_function_may_run_no_statement(void **state)
{
	enum err ok = OK, not_found = ERR_NOT_FOUND, conflict = ERR_DB_CONFLICT;

	(void)state;
	assert_int_equal(write_fn(nothing, &ok), OK);
	assert_int_equal(read_fn(nothing, &ok), OK);
	assert_int_equal(write_fn(nothing, &not_found), ERR_NOT_FOUND);
	assert_int_equal(write_fn(nothing, &conflict), ERR_CONFLICT);
}

struct snapshot {
	int64_t before, after;
};

static enum err count_twice(struct db *db, void *arg)
{
	struct snapshot *s = arg;
	enum err ok = OK, e;

	e = db_get_i64(db, &st[COUNT], NULL, 0, &s->before);
	if (!e)
		MUST(write_fn(insert_two, &ok) == OK);
	return e ? e : db_get_i64(db, &st[COUNT], NULL, 0, &s->after);
}

static void a_read_sees_one_snapshot(void **state)
{
	struct snapshot s = {-1, -1};

	(void)state;
	assert_int_equal(read_fn(count_twice, &s), OK);
	assert_int_equal(s.before, 0);
	assert_int_equal(s.after, 0);
	assert_int_equal(store_i64(pool, &st[COUNT]), 2);
}

static enum err change_rows(struct db *db, void *arg)
{
	const struct db_val some[] = {DB_I64(1), DB_I64(5)};
	const struct db_val none[] = {DB_I64(99), DB_I64(5)};
	int64_t n = -1;

	(void)arg;
	MUST(insert_id(db, 1) == OK);
	MUST(db_change(db, &st[BUMP], some, 2, &n) == OK);
	MUST(n == 1);
	MUST(db_change(db, &st[BUMP], none, 2, &n) == OK);
	MUST(n == 0);
	MUST(db_get_i64(db, &st[UPSERT], some, 1, &n) == OK);
	MUST(n == 6);
	return OK;
}

static void changed_rows_are_counted(void **state)
{
	(void)state;
	assert_int_equal(write_fn(change_rows, NULL), OK);
}

/* --- values ------------------------------------------------------------------ */

static char megabyte[1 << 20];

/* Constant forms of the macros of db.h. */
#define NIL                       \
	{                         \
		.type = DB_T_NULL \
	}
#define I64(x)                               \
	{                                    \
		.type = DB_T_I64, .v.i = (x) \
	}
#define F64(x)                               \
	{                                    \
		.type = DB_T_F64, .v.f = (x) \
	}
#define TEXT(z)                                                \
	{                                                      \
		.type = DB_T_STR, .v.s = {(z), sizeof(z) - 1 } \
	}
#define BLOB(z)                                                 \
	{                                                       \
		.type = DB_T_BLOB, .v.s = {(z), sizeof(z) - 1 } \
	}

/* clang-format off */
static const struct db_val kinds[][5] = {
	{I64(1), NIL, NIL, NIL, NIL},
	{I64(2), I64(INT64_MAX), F64(1.5), TEXT("plain"), BLOB("a\0b\xff\\x")},
	{I64(3), I64(INT64_MIN), F64(-0.1), TEXT(""), BLOB("")},
	{I64(4), I64(-1), F64(1e300),
	 TEXT("機械学習 \xd9\x85\xd8\xb1\xd8\xad e\xcc\x81 \xf0\x9f\x8e\x93"),
	 BLOB("\0")},
	{I64(5), I64(0), F64(0), TEXT("'; DROP TABLE t; -- $1 \" \\ %s"),
	 BLOB("'); DELETE FROM t; --")},
	/* A NULL pointer is empty, not NULL. */
	{I64(6), I64(1), F64(0), {.type = DB_T_STR}, {.type = DB_T_BLOB}},
	{I64(7), I64(1), F64(0),
	 {.type = DB_T_STR, .v.s = {megabyte, sizeof(megabyte)}},
	 {.type = DB_T_BLOB, .v.s = {megabyte, sizeof(megabyte)}}},
};
/* clang-format on */

static enum err same_value(void *arg, const struct db_row *r)
{
	size_t *at = arg;
	const struct db_val *v = kinds[*at];

	assert_int_equal(db_row_cols(r), 5);
	for (int c = 0; c < 5; c++) {
		assert_int_equal(db_row_null(r, c), v[c].type == DB_T_NULL);
		switch (v[c].type) {
		case DB_T_NULL:
			assert_int_equal(db_row_i64(r, c), 0);
			assert_true(db_row_f64(r, c) == 0);
			assert_int_equal(db_row_str(r, c).n, 0);
			break;
		case DB_T_I64:
			assert_true(db_row_i64(r, c) == v[c].v.i);
			break;
		case DB_T_F64:
			assert_true(db_row_f64(r, c) == v[c].v.f);
			break;
		case DB_T_STR:
		case DB_T_BLOB:
			assert_true(str_eq(db_row_str(r, c), v[c].v.s));
			break;
		}
	}
	++*at;
	return OK;
}

static enum err read_values(struct db *db, void *arg)
{
	const struct db_sink sink = {same_value, arg};

	*(size_t *)arg = 0;
	return db_run(db, &st[READ_ALL], NULL, 0, &sink);
}

static void values_come_back_as_they_were(void **state)
{
	size_t seen = 0;
	struct values a;

	(void)state;
	memset(megabyte, 'm', sizeof(megabyte));
	for (size_t i = 0; i < COUNTOF(kinds); i++) {
		memcpy(a.v, kinds[i], sizeof(a.v));
		assert_int_equal(write_fn(insert, &a), OK);
	}
	assert_int_equal(read_fn(read_values, &seen), OK);
	assert_int_equal(seen, COUNTOF(kinds));
}

static void text_that_one_database_refuses_is_refused_by_both(void **state)
{
	const struct str bad[] = {STR("a\0b"), STR("\xff"), STR("\xed\xa0\x80"),
	                          STR("\xc0\x80")};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bad); i++) {
		struct values a = {
			{DB_I64(1), DB_NULL, DB_NULL, DB_STR(bad[i]), DB_NULL}};

		assert_int_equal(write_fn(insert, &a), ERR_INVALID);
	}
	assert_int_equal(store_i64(pool, &st[COUNT]), 0);
}

static enum err find_by_text(struct db *db, void *arg)
{
	const struct db_val v[] = {DB_I64(2), DB_STR(STR("same"))};

	return db_get_i64(db, &st[FIND], v, 2, arg);
}

static void parameters_go_by_number_not_by_order(void **state)
{
	int64_t id = 0;

	(void)state;
	for (int64_t i = 1; i <= 2; i++) {
		struct values a = {{DB_I64(i), DB_NULL, DB_NULL,
		                    DB_STR(STR("same")), DB_NULL}};

		assert_int_equal(write_fn(insert, &a), OK);
	}
	assert_int_equal(read_fn(find_by_text, &id), OK);
	assert_int_equal(id, 2);
}

static void no_row_is_not_found(void **state)
{
	int64_t id = 77;

	(void)state;
	assert_int_equal(read_fn(find_by_text, &id), ERR_NOT_FOUND);
	assert_int_equal(id, 77);
}

static enum err too_few_values(struct db *db, void *arg)
{
	(void)arg;
	return db_run(db, &st[FIND], NULL, 0, NULL);
}

static void a_missing_value_is_our_mistake(void **state)
{
	(void)state;
	assert_int_equal(read_fn(too_few_values, NULL), ERR_INTERNAL);
}

struct stop {
	int at, seen;
};

static enum err stop_at(void *arg, const struct db_row *row)
{
	struct stop *s = arg;

	(void)row;
	return ++s->seen == s->at ? ERR_TOO_LARGE : OK;
}

static enum err stop_early(struct db *db, void *arg)
{
	const struct db_sink sink = {stop_at, arg};
	int64_t n;

	MUST(db_run(db, &st[MANY], NULL, 0, &sink) == ERR_TOO_LARGE);
	/* That was the callback's wish; the transaction is whole. */
	return db_get_i64(db, &st[COUNT], NULL, 0, &n);
}

static void a_row_callback_ends_the_statement_only(void **state)
{
	struct stop s = {.at = 3};

	(void)state;
	assert_int_equal(read_fn(stop_early, &s), OK);
	assert_int_equal(s.seen, 3);
}

static void statements_work_without_being_prepared(void **state)
{
	struct db_conf conf = store_conf(&store);
	struct db_pool *all = pool;
	size_t seen = 0;
	struct values a;

	(void)state;
	conf.prepare = false;
	conf.echo = true;
	assert_int_equal(db_pool_new(&conf, &pool), OK);
	for (size_t i = 0; i + 1 < COUNTOF(kinds); i++) {
		memcpy(a.v, kinds[i], sizeof(a.v));
		assert_int_equal(write_fn(insert, &a), OK);
	}
	assert_int_equal(read_fn(read_values, &seen), OK);
	assert_int_equal(seen, COUNTOF(kinds) - 1);
	db_pool_free(pool);
	pool = all;
}

/* --- memory ------------------------------------------------------------------- */

static enum err read_from_second(struct db *db, void *arg)
{
	const struct db_sink sink = {same_value, arg};

	*(size_t *)arg = 1;
	return db_run(db, &st[READ_ALL], NULL, 0, &sink);
}

static enum err session(struct db_pool **p)
{
	struct db_conf conf = store_conf(&store);
	struct ctx cx = store_ctx(20000);
	struct values a;
	size_t at = 0;
	enum err e = db_pool_new(&conf, p);

	memcpy(a.v, kinds[1], sizeof(a.v));
	if (!e)
		e = db_write(*p, &cx, empty, NULL);
	if (!e)
		e = db_write(*p, &cx, insert, &a);
	return e ? e : db_read(*p, &cx, read_from_second, &at);
}

static void every_allocation_of_a_session_may_fail(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned n = 1; failed; n++) {
		struct db_pool *p = NULL;
		enum err e;

		assert_true(n < 500);
		alloc_fault_arm(n);
		e = session(&p);
		failed = alloc_fault_disarm();
		/* Some failures cost nothing but a log line. */
		assert_true(failed || e == OK);
		assert_true(e == OK || e == ERR_NOMEM || e == ERR_DATABASE);
		db_pool_free(p);
	}
	/* What fails leaves the pool of everybody else alone. */
	assert_int_equal(write_fn(empty, NULL), OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_a_function_did_is_there_after_ok),
		TEST(what_a_function_did_is_undone_after_an_error),
		TEST(a_repeated_key_is_a_duplicate),
		TEST(a_failed_statement_fails_its_transaction_even_if_ignored),
		TEST(nothing_runs_after_a_failed_statement),
		TEST(a_read_cannot_write),
		TEST(a_function_may_run_no_statement),
		TEST(a_read_sees_one_snapshot),
		TEST(changed_rows_are_counted),
		TEST(values_come_back_as_they_were),
		TEST(text_that_one_database_refuses_is_refused_by_both),
		TEST(parameters_go_by_number_not_by_order),
		TEST(no_row_is_not_found),
		TEST(a_missing_value_is_our_mistake),
		TEST(a_row_callback_ends_the_statement_only),
		TEST(statements_work_without_being_prepared),
		TEST(every_allocation_of_a_session_may_fail),
	};

	return db_tests(tests, COUNTOF(tests), 0);
}
