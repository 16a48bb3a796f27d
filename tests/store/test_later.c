/*
 * db_later() on the database that KAE_TEST_DATABASE_URL names, or on SQLite: what
 * nobody waits for is done in order, and fails the transaction it is in.
 */
#include "tests/store/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define MANY 100 /* more than any driver holds back */

static struct store store;
static struct db_pool *pool;

enum { CREATE, EMPTY, INSERT, BUMP, COUNT, SUM, BACKEND, PATIENT, STATEMENTS };
static const struct db_stmt rows[STATEMENTS] = {
	[CREATE] = {"t.create",
                    "CREATE TABLE @t (id INTEGER PRIMARY KEY, n INTEGER)",
                    "CREATE TABLE @t (id bigint PRIMARY KEY, n bigint)"},
	[EMPTY] = {"t.empty", "DELETE FROM @t", NULL},
	[INSERT] = {"t.insert", "INSERT INTO @t (id, n) VALUES ($1, $2)", NULL},
	[BUMP] = {"t.bump", "UPDATE @t SET n = n + 1 WHERE id = $1", NULL},
	[COUNT] = {"t.count", "SELECT count(*) FROM @t", NULL},
	[SUM] = {"t.sum", "SELECT coalesce(sum(n), 0) FROM @t", NULL},
	[BACKEND] = {"t.backend", "SELECT 0", "SELECT pg_backend_pid()"},
	/* Does not look for deadlocks, so it is not the one that is ended. */
	[PATIENT] = {"t.patient", "SELECT 0",
                     "SET LOCAL deadlock_timeout = '20s'"},
};
static struct db_stmt *st;

static enum err write_fn(db_fn *fn, void *arg)
{
	struct ctx cx = store_ctx(20000);

	return db_write(pool, &cx, fn, arg);
}

static enum err insert_later(struct db *db, int64_t id, int64_t n)
{
	const struct db_val v[] = {DB_I64(id), DB_I64(n)};

	return db_later(db, &st[INSERT], v, COUNTOF(v), NULL);
}

static enum err take(void *arg, const struct db_row *row)
{
	int64_t *v = arg;

	v[0] = db_row_i64(row, 0);
	v[1]++;
	return OK;
}

static void exec(int which)
{
	store_exec(pool, store_is_postgres(&store) ? st[which].postgres
	                                           : st[which].sqlite);
}

static int each(void **state)
{
	(void)state;
	exec(EMPTY);
	return 0;
}

/* --- what works ------------------------------------------------------------------ */

static enum err count_after_two(struct db *db, void *arg)
{
	int64_t *seen = arg; /* {count, calls} after one, then after two */
	const struct db_sink sink = {take, seen};
	enum err e = insert_later(db, 1, 10);

	if (!e)
		e = db_later(db, &st[COUNT], NULL, 0, &sink);
	if (!e)
		e = insert_later(db, 2, 20);
	return e ? e : db_get_i64(db, &st[COUNT], NULL, 0, &seen[2]);
}

static void statements_run_in_order_and_rows_come_before_the_answer(
	void **state)
{
	int64_t seen[3] = {0};

	(void)state;
	assert_int_equal(write_fn(count_after_two, seen), OK);
	assert_int_equal(seen[0], 1);
	assert_int_equal(seen[1], 1);
	assert_int_equal(seen[2], 2);
	assert_int_equal(store_i64(pool, &st[SUM]), 30);
}

static enum err many(struct db *db, void *arg)
{
	enum err e = OK;

	(void)arg;
	for (int64_t i = 0; i < MANY && !e; i++)
		e = insert_later(db, i, 1);
	return e;
}

static void as_many_as_one_likes_go_with_the_commit(void **state)
{
	(void)state;
	assert_int_equal(write_fn(many, NULL), OK);
	assert_int_equal(store_i64(pool, &st[SUM]), MANY);
}

static enum err ask_and_leave(struct db *db, void *arg)
{
	const struct db_sink sink = {take, arg};
	enum err e = insert_later(db, 1, 1);

	return e ? e : db_later(db, &st[COUNT], NULL, 0, &sink);
}

static void nobody_is_called_who_has_returned(void **state)
{
	int64_t seen[2] = {0};

	(void)state;
	assert_int_equal(write_fn(ask_and_leave, seen), OK);
	assert_int_equal(store_i64(pool, &st[COUNT]), 1);
	assert_int_equal(seen[1], store_is_postgres(&store) ? 0 : 1);
}

static enum err lock_and_count(struct db *db, void *arg)
{
	enum err e = db_lock_later(db, 7);

	if (!e)
		e = insert_later(db, 1, 1);
	return e ? e : db_get_i64(db, &st[COUNT], NULL, 0, arg);
}

static void a_lock_may_go_with_the_next(void **state)
{
	int64_t n = 0;

	(void)state;
	assert_int_equal(write_fn(lock_and_count, &n), OK);
	assert_int_equal(n, 1);
}

/* --- what fails -------------------------------------------------------------------- */

static enum err twice_then_count(struct db *db, void *arg)
{
	enum err e = insert_later(db, 1, 1);

	if (!e)
		e = insert_later(db, 1, 1);
	if (!e)
		e = insert_later(db, 2, 1);
	return e ? e : db_get_i64(db, &st[COUNT], NULL, 0, arg);
}

static void a_failure_comes_with_the_next_answer(void **state)
{
	int64_t n = -1;

	(void)state;
	assert_int_equal(write_fn(twice_then_count, &n), ERR_DB_DUPLICATE);
	assert_int_equal(n, -1);
	assert_int_equal(store_i64(pool, &st[COUNT]), 0);
}

struct
try {
	bool twice;
	enum err says; /* what the function returns */
	int64_t backend;
};

static enum err insert_and_say(struct db *db, void *arg)
{
	struct try *t = arg;
	enum err e = db_get_i64(db, &st[BACKEND], NULL, 0, &t->backend);

	if (!e)
		e = insert_later(db, 1, 1);
	if (!e && t->twice)
		e = insert_later(db, 1, 1);
	return e ? e : t->says;
}

/* The pool has one connection, which goes on to be used. */
static void expect(struct try t, enum err e, int64_t left)
{
	struct try next = {.twice = false};

	exec(EMPTY);
	assert_int_equal(write_fn(insert_and_say, &t), e);
	assert_int_equal(store_i64(pool, &st[COUNT]), left);
	exec(EMPTY);
	assert_int_equal(write_fn(insert_and_say, &next), OK);
	assert_int_equal(store_i64(pool, &st[COUNT]), 1);
	assert_int_equal(t.backend, next.backend);
}

static void a_failure_that_comes_with_the_commit_undoes_all(void **state)
{
	(void)state;
	expect((struct try){.twice = true}, ERR_DB_DUPLICATE, 0);
}

static void a_function_that_fails_leaves_nothing(void **state)
{
	(void)state;
	expect((struct try){.says = ERR_CONFLICT}, ERR_CONFLICT, 0);
	expect((struct try){.twice = true, .says = ERR_CONFLICT},
	       store_is_postgres(&store) ? ERR_CONFLICT : ERR_DB_DUPLICATE, 0);
}

/* --- each holds a row that the other wants ------------------------------------------- */

static pthread_barrier_t met, ended;
static struct db_pool *two;

struct side {
	int64_t own, other;
	bool patient;
	unsigned runs;
	enum err e;
};

static enum err cross(struct db *db, void *arg)
{
	struct side *s = arg;
	const struct db_val own = DB_I64(s->own), other = DB_I64(s->other);
	int64_t n;
	enum err e;

	/* Who was ended could take its row once more before the other, who has
	 * waited for it, has been told. */
	if (s->runs == 1)
		(void)pthread_barrier_wait(&ended);
	e = s->patient ? db_run(db, &st[PATIENT], NULL, 0, NULL) : OK;

	if (!e)
		e = db_change(db, &st[BUMP], &own, 1, &n);
	if (s->runs++ == 0)
		(void)pthread_barrier_wait(&met);
	return e ? e : db_later(db, &st[BUMP], &other, 1, NULL);
}

static void *cross_over(void *arg)
{
	struct side *s = arg;
	struct ctx cx = store_ctx(20000);

	s->e = db_write(two, &cx, cross, s);
	if (s->runs < 2)
		(void)pthread_barrier_wait(&ended);
	return NULL;
}

static void a_deadlock_at_the_commit_is_run_again(void **state)
{
	struct side s[] = {{.own = 0, .other = 1},
	                   {.own = 1, .other = 0, .patient = true}};
	struct db_conf conf = store_conf(&store);
	pthread_t t[2];

	(void)state;
	conf.size = 2;
	assert_int_equal(db_pool_new(&conf, &two), OK);
	assert_int_equal(write_fn(many, NULL), OK);
	assert_int_equal(pthread_barrier_init(&met, NULL, 2), 0);
	assert_int_equal(pthread_barrier_init(&ended, NULL, 2), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, cross_over, &s[i]),
		                 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(t[i], NULL), 0);
		assert_int_equal(s[i].e, OK);
	}
	(void)pthread_barrier_destroy(&met);
	(void)pthread_barrier_destroy(&ended);
	db_pool_free(two);
	assert_int_equal(s[0].runs, 2);
	assert_int_equal(s[1].runs, 1);
	assert_int_equal(store_i64(pool, &st[SUM]), MANY + 4);
}

#define T(name) cmocka_unit_test_setup(name, each)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(statements_run_in_order_and_rows_come_before_the_answer),
		T(as_many_as_one_likes_go_with_the_commit),
		T(nobody_is_called_who_has_returned),
		T(a_lock_may_go_with_the_next),
		T(a_failure_comes_with_the_next_answer),
		T(a_failure_that_comes_with_the_commit_undoes_all),
		T(a_function_that_fails_leaves_nothing),
		/* SQLite has one writer. */
		T(a_deadlock_at_the_commit_is_run_again),
	};
	struct db_conf conf;
	size_t n = COUNTOF(tests);
	int failed;

	store_open(&store, "test_later");
	st = db_stmts_for(rows, STATEMENTS, store.service);
	assert_non_null(st);
	conf = store_conf(&store);
	conf.size = 1;
	conf.max_overflow = 0;
	assert_int_equal(db_pool_new(&conf, &pool), OK);
	if (store_is_postgres(&store))
		store_exec(pool, "CREATE SCHEMA test_later");
	else
		n--;
	exec(CREATE);
	failed = _cmocka_run_group_tests("later", tests, n, NULL, NULL);
	db_pool_free(pool);
	free(st);
	store_close(&store);
	return failed;
}
