/* The pool's own bookkeeping (common/db/pool.c), over connections that are none and
 * take as long to close as the test likes. */
#include "common/base/clock.h"
#include "common/db/driver.h"

#include <setjmp.h> /* cmocka.h needs these three */
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <semaphore.h>
#include <stdlib.h>

#define SIZE    2
#define CEILING 5
#define SLOW    (CEILING - SIZE) /* so many closes wait to be let go on */

static sem_t closing, go_on;
static atomic_uint closes;

static enum err open_none(struct db_pool *p, struct str url,
                          uint64_t deadline_ms, struct db **out)
{
	(void)url;
	(void)deadline_ms;
	*out = calloc(1, sizeof(**out));
	assert_non_null(*out);
	(*out)->driver = p->driver;
	(*out)->pool = p;
	(*out)->opened_ms = mono_ms();
	return OK;
}

static void close_slowly(struct db *db)
{
	if (atomic_fetch_add(&closes, 1) < SLOW) {
		assert_int_equal(sem_post(&closing), 0);
		assert_int_equal(sem_wait(&go_on), 0);
	}
	free(db);
}

static bool is_alive(struct db *db)
{
	return !db->dead;
}

static struct db_pool *pool_of(struct db_driver *driver)
{
	const struct db_conf conf = {.service = "test",
	                             .url = STR("sqlite:///test_pool"),
	                             .size = SIZE,
	                             .max_overflow = CEILING - SIZE,
	                             .timeout_s = 20,
	                             .recycle_s = 3600};
	struct db_pool *p = NULL;

	assert_int_equal(db_pool_new(&conf, &p), OK);
	*driver = *p->driver;
	driver->open = open_none;
	driver->close = close_slowly;
	driver->alive = is_alive;
	p->driver = driver;
	assert_int_equal(sem_init(&closing, 0, 0), 0);
	assert_int_equal(sem_init(&go_on, 0, 0), 0);
	atomic_store(&closes, 0);
	return p;
}

static void *give_back(void *arg)
{
	struct db *db = arg;

	db_pool_return(db->pool, db);
	return NULL;
}

static void borrow_all(struct db_pool *p, struct db *db[CEILING])
{
	static const struct ctx cx = {.service = "test", .rid = STR("r-1")};

	for (int i = 0; i < CEILING; i++)
		assert_int_equal(
			db_pool_borrow(p, &cx, mono_ms() + 20000, &db[i]), OK);
}

/* Those that are being closed no longer count for those that come behind them. */
static void expect_size_to_be_kept(struct db_pool *p, struct db *db[CEILING])
{
	int kept = 0;
	pthread_t t[SLOW];

	for (int i = 0; i < SLOW; i++) {
		assert_int_equal(pthread_create(&t[i], NULL, give_back, db[i]),
		                 0);
		assert_int_equal(sem_wait(&closing), 0);
	}
	for (int i = SLOW; i < CEILING; i++)
		db_pool_return(p, db[i]);
	assert_int_equal(atomic_load(&closes), SLOW);
	for (int i = 0; i < SLOW; i++)
		assert_int_equal(sem_post(&go_on), 0);
	for (int i = 0; i < SLOW; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	for (const struct db *d = p->idle; d; d = d->next)
		kept++;
	assert_int_equal(kept, SIZE);
	assert_int_equal(p->open, SIZE);
	assert_int_equal(p->in_use + p->closing, 0);
}

static void overflow_that_comes_back_together_leaves_the_size(void **state)
{
	struct db_driver driver;
	struct db_pool *p = pool_of(&driver);
	struct db *db[CEILING];

	(void)state;
	borrow_all(p, db);
	expect_size_to_be_kept(p, db);
	db_pool_free(p);
}

static void lost_ones_that_come_back_together_take_no_good_one_along(
	void **state)
{
	struct db_driver driver;
	struct db_pool *p = pool_of(&driver);
	struct db *db[CEILING];

	(void)state;
	borrow_all(p, db);
	for (int i = 0; i < SLOW; i++)
		db[i]->dead = true;
	expect_size_to_be_kept(p, db);
	db_pool_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			overflow_that_comes_back_together_leaves_the_size),
		cmocka_unit_test(
			lost_ones_that_come_back_together_take_no_good_one_along),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
