/* Many transactions at once, and what bounds each in time and number. */
#include "tests/store/db_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(increments_of_eight_threads_all_count),
		TEST(one_of_64_writers_fails_alone),
		TEST(deadlocks_are_run_again),
		TEST(a_lock_admits_one_transaction),
		TEST(a_statement_ends_at_the_deadline),
		TEST(nothing_runs_after_the_deadline),
		TEST(a_write_past_its_deadline_fails_alone),
		TEST(who_finds_all_borrowed_waits_to_the_deadline),
	};

	return db_tests(tests, COUNTOF(tests), 0);
}
