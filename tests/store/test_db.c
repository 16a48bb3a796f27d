#include "tests/alloc_fault.h"
#include "tests/store/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static struct store store;
static struct db_pool *pool;

/* @ is the schema; rows are qualified in main(). */
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

static enum err insert(struct db *db, void *arg)
{
	const struct values *a = arg;

	return db_run(db, &st[INSERT], a->v, 5, NULL);
}

static enum err insert_id(struct db *db, int64_t id)
{
	struct values a = {{DB_I64(id), DB_I64(0), DB_NULL, DB_NULL, DB_NULL}};

	return insert(db, &a);
}

static enum err write_fn(db_fn *fn, void *arg)
{
	struct ctx cx = store_ctx(20000);

	return db_write(pool, &cx, fn, arg);
}

static enum err read_fn(db_fn *fn, void *arg)
{
	struct ctx cx = store_ctx(20000);

	return db_read(pool, &cx, fn, arg);
}

static enum err empty(struct db *db, void *arg)
{
	(void)arg;
	return db_run(db, &st[EMPTY], NULL, 0, NULL);
}

static enum err create(struct db *db, void *arg)
{
	(void)arg;
	return db_run(db, &st[CREATE], NULL, 0, NULL);
}

static int each(void **state)
{
	(void)state;
	return write_fn(empty, NULL) != OK;
}

/* --- transactions ------------------------------------------------------------ */

static enum err insert_two(struct db *db, void *arg)
{
	enum err e = insert_id(db, 1);

	if (!e)
		e = insert_id(db, 2);
	return e ? e : *(enum err *)arg;
}

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

static enum err nothing(struct db *db, void *arg)
{
	(void)db;
	return *(enum err *)arg;
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

/* --- threads ----------------------------------------------------------------- */

static enum err bump(struct db *db, void *arg)
{
	const struct db_val v[] = {DB_I64(1), DB_I64(1)};

	(void)arg;
	return db_run(db, &st[BUMP], v, 2, NULL);
}

static void *bump_50(void *arg)
{
	_Atomic unsigned *failed = arg;

	for (int i = 0; i < 50; i++) {
		if (write_fn(bump, NULL))
			atomic_fetch_add(failed, 1);
	}
	return NULL;
}

static enum err insert_1(struct db *db, void *arg)
{
	(void)arg;
	return insert_id(db, 1);
}

static void increments_of_eight_threads_all_count(void **state)
{
	_Atomic unsigned failed = 0;

	(void)state;
	assert_int_equal(write_fn(insert_1, NULL), OK);
	store_threads(8, bump_50, &failed);
	assert_int_equal(failed, 0);
	assert_int_equal(store_i64(pool, &st[SUM]), 400);
}

static _Atomic int64_t next_id;

static enum err insert_or_fail(struct db *db, void *arg)
{
	int64_t id = *(int64_t *)arg;
	enum err e = insert_id(db, id);

	return e ? e : id == 13 ? ERR_QUOTA : OK;
}

static void *insert_own(void *arg)
{
	int64_t id = atomic_fetch_add(&next_id, 1);
	enum err e = write_fn(insert_or_fail, &id);

	if (e != (id == 13 ? ERR_QUOTA : OK))
		atomic_fetch_add((_Atomic unsigned *)arg, 1);
	return NULL;
}

static void one_of_64_writers_fails_alone(void **state)
{
	_Atomic unsigned wrong = 0;

	(void)state;
	atomic_store(&next_id, 0);
	store_threads(64, insert_own, &wrong);
	assert_int_equal(wrong, 0);
	assert_int_equal(store_i64(pool, &st[COUNT]), 63);
}

/* Two transactions that lock two rows in opposite order: a deadlock. */
static _Atomic unsigned order;

static enum err bump_both(struct db *db, void *arg)
{
	const int64_t *first = arg;
	const struct db_val a[] = {DB_I64(*first), DB_I64(1)};
	const struct db_val b[] = {DB_I64(3 - *first), DB_I64(1)};
	enum err e = db_run(db, &st[BUMP], a, 2, NULL);

	return e ? e : db_run(db, &st[BUMP], b, 2, NULL);
}

static void *bump_both_often(void *arg)
{
	int64_t first = 1 + (int64_t)(atomic_fetch_add(&order, 1) % 2);

	for (int i = 0; i < 25; i++) {
		if (write_fn(bump_both, &first))
			atomic_fetch_add((_Atomic unsigned *)arg, 1);
	}
	return NULL;
}

static void deadlocks_are_run_again(void **state)
{
	_Atomic unsigned failed = 0;
	enum err ok = OK;

	(void)state;
	assert_int_equal(write_fn(insert_two, &ok), OK);
	store_threads(2, bump_both_often, &failed);
	assert_int_equal(failed, 0);
	assert_int_equal(store_i64(pool, &st[SUM]), 100);
}

struct locked {
	_Atomic int inside, most;
};

static enum err under_lock(struct db *db, void *arg)
{
	struct locked *l = arg;
	int64_t n;
	enum err e = db_lock(db, 42);
	int now;

	if (e)
		return e;
	now = atomic_fetch_add(&l->inside, 1) + 1;
	if (now > atomic_load(&l->most))
		atomic_store(&l->most, now);
	e = db_get_i64(db, &st[MANY], NULL, 0, &n);
	atomic_fetch_sub(&l->inside, 1);
	return e;
}

static void *lock_often(void *arg)
{
	for (int i = 0; i < 10; i++)
		MUST(write_fn(under_lock, arg) == OK);
	return NULL;
}

static void a_lock_admits_one_transaction(void **state)
{
	struct locked l = {0};

	(void)state;
	store_threads(6, lock_often, &l);
	assert_int_equal(l.most, 1);
}

/* --- bounds of time and number ------------------------------------------------ */

static enum err slow(struct db *db, void *arg)
{
	int64_t n;

	(void)arg;
	return db_get_i64(db, &st[SLOW], NULL, 0, &n);
}

static void a_statement_ends_at_the_deadline(void **state)
{
	uint64_t before = mono_ms();
	struct ctx cx = store_ctx(200);

	(void)state;
	assert_int_equal(db_read(pool, &cx, slow, NULL), ERR_TIMEOUT);
	cx = store_ctx(200);
	assert_int_equal(db_write(pool, &cx, slow, NULL), ERR_TIMEOUT);
	assert_true(mono_ms() - before < 4000);
	/* And the connection is as good as before. */
	assert_int_equal(write_fn(insert_1, NULL), OK);
}

static void nothing_runs_after_the_deadline(void **state)
{
	struct ctx cx = store_ctx(0);

	(void)state;
	assert_int_equal(db_write(pool, &cx, insert_1, NULL), ERR_TIMEOUT);
	assert_int_equal(db_read(pool, &cx, slow, NULL), ERR_TIMEOUT);
	assert_int_equal(store_i64(pool, &st[COUNT]), 0);
}

static enum err flood(struct db *db, void *arg)
{
	(void)arg;
	return db_run(db, &st[FLOOD], NULL, 0, NULL);
}

/* SQLite gives up the whole group when it interrupts a write: the others in it
 * must not notice. */
static void *flood_or_insert(void *arg)
{
	int64_t id = atomic_fetch_add(&next_id, 1);
	struct ctx cx = store_ctx(id % 4 == 0 ? 150 : 20000);
	enum err e = id % 4 == 0 ? db_write(pool, &cx, flood, NULL)
	                         : db_write(pool, &cx, insert_or_fail, &id);

	/* Who waited behind another flood was too late to start. */
	if (id % 4 == 0 ? e != ERR_TIMEOUT && e != ERR_DATABASE
	                : e != (id == 13 ? ERR_QUOTA : OK))
		atomic_fetch_add((_Atomic unsigned *)arg, 1);
	return NULL;
}

static void a_write_past_its_deadline_fails_alone(void **state)
{
	_Atomic unsigned wrong = 0;

	(void)state;
	atomic_store(&next_id, 0);
	store_threads(32, flood_or_insert, &wrong);
	assert_int_equal(wrong, 0);
	assert_int_equal(store_i64(pool, &st[COUNT]), 23);
}

struct gate {
	struct db_pool *pool;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned inside;
	bool open;
};

static enum err hold(struct db *db, void *arg)
{
	struct gate *g = arg;

	(void)db;
	pthread_mutex_lock(&g->lock);
	g->inside++;
	pthread_cond_broadcast(&g->changed);
	while (!g->open)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
	return OK;
}

static void *borrow_and_hold(void *arg)
{
	struct gate *g = arg;
	struct ctx cx = store_ctx(20000);

	MUST(db_read(g->pool, &cx, hold, g) == OK);
	return NULL;
}

static void wait_inside(struct gate *g, unsigned n)
{
	pthread_mutex_lock(&g->lock);
	while (g->inside < n)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

static void open_gate(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->open = true;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

static void who_finds_all_borrowed_waits_to_the_deadline(void **state)
{
	struct gate g = {.lock = PTHREAD_MUTEX_INITIALIZER,
	                 .changed = PTHREAD_COND_INITIALIZER};
	struct db_conf conf = store_conf(&store);
	struct db_pool_stats s;
	pthread_t t[2];
	struct ctx cx;
	uint64_t before;

	(void)state;
	conf.size = 1;
	conf.max_overflow = 1;
	assert_int_equal(db_pool_new(&conf, &g.pool), OK);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&t[i], NULL, borrow_and_hold, &g), 0);
	wait_inside(&g, 2);
	db_pool_stats(g.pool, &s);
	assert_int_equal(s.in_use, 2);
	assert_int_equal(s.overflow, 1);
	assert_int_equal(s.ceiling, 2);

	before = mono_ms();
	cx = store_ctx(100);
	assert_int_equal(db_read(g.pool, &cx, slow, NULL), ERR_DATABASE);
	assert_true(mono_ms() - before >= 100);
	assert_true(mono_ms() - before < 5000);
	open_gate(&g);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	db_pool_stats(g.pool, &s);
	assert_int_equal(s.timeouts, 1);
	assert_int_equal(s.in_use, 0);
	assert_int_equal(s.overflow, 0); /* closed on return */
	assert_true(s.usable);
	db_pool_free(g.pool);
}

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

#define POSTGRES_ONLY 6 /* at the end of the list */

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, each)
		T(what_a_function_did_is_there_after_ok),
		T(what_a_function_did_is_undone_after_an_error),
		T(a_repeated_key_is_a_duplicate),
		T(a_failed_statement_fails_its_transaction_even_if_ignored),
		T(nothing_runs_after_a_failed_statement),
		T(a_read_cannot_write),
		T(a_function_may_run_no_statement),
		T(a_read_sees_one_snapshot),
		T(changed_rows_are_counted),
		T(values_come_back_as_they_were),
		T(text_that_one_database_refuses_is_refused_by_both),
		T(parameters_go_by_number_not_by_order),
		T(no_row_is_not_found),
		T(a_missing_value_is_our_mistake),
		T(a_row_callback_ends_the_statement_only),
		T(increments_of_eight_threads_all_count),
		T(one_of_64_writers_fails_alone),
		T(deadlocks_are_run_again),
		T(a_lock_admits_one_transaction),
		T(a_statement_ends_at_the_deadline),
		T(nothing_runs_after_the_deadline),
		T(a_write_past_its_deadline_fails_alone),
		T(who_finds_all_borrowed_waits_to_the_deadline),
		T(an_old_connection_is_replaced),
		T(statements_work_without_being_prepared),
		T(a_database_that_is_away_is_said_at_once),
		T(a_ping_is_answered),
		T(every_allocation_of_a_session_may_fail),
		/* What only a server can do. */
		T(a_killed_backend_costs_a_rerun_not_an_error),
		T(an_idle_connection_that_died_is_not_lent),
		T(the_pool_survives_a_restart_of_the_server),
		T(a_full_server_is_waited_for),
		T(a_commit_without_an_answer_is_not_run_again),
		T(a_server_that_forgot_costs_prepared_statements),
	};
	size_t n = COUNTOF(tests);
	int failed;

	store_open(&store, "test_db");
	st = db_stmts_for(rows, STATEMENTS, store.service);
	assert_non_null(st);
	pool = store_pool(&store);
	if (store_is_postgres(&store))
		store_exec(pool, "CREATE SCHEMA test_db");
	assert_int_equal(write_fn(create, NULL), OK);
	if (!store_is_postgres(&store))
		n -= POSTGRES_ONLY;
	failed = _cmocka_run_group_tests("db", tests, n, NULL, NULL);
	db_pool_free(pool);
	free(st);
	store_close(&store);
	return failed;
}
