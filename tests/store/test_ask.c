/* Reads of one statement that several threads ask together (common/db/ask.c). */
#include "tests/alloc_fault.h"
#include "tests/store/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

static struct store store;
static struct db_pool *pool;

enum {
	CREATE,
	FILL,
	GET,
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

static enum err take_i64(void *arg, const struct db_row *row)
{
	*(int64_t *)arg = db_row_i64(row, 0);
	return OK;
}

static enum err ask_by(struct db_pool *p, uint64_t ms, int what, int64_t id,
                       int64_t *out)
{
	const struct db_sink sink = {take_i64, out};
	const struct db_val v = DB_I64(id);
	struct ctx cx = store_ctx(ms);

	return db_ask(p, &cx, &st[what], &v, 1, &sink);
}

static enum err ask(int what, int64_t id, int64_t *out)
{
	return ask_by(pool, 20000, what, id, out);
}

static enum err run_one(struct db *db, void *arg)
{
	return db_run(db, arg, NULL, 0, NULL);
}

static void write_one(struct db_pool *p, int what)
{
	struct ctx cx = store_ctx(20000);

	assert_int_equal(db_write(p, &cx, run_one, &st[what]), OK);
}

static void pause_ms(unsigned ms)
{
	const struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

	(void)nanosleep(&t, NULL);
}

/* --- one at a time ------------------------------------------------------------- */

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

static enum err get_third(struct db *db, void *arg)
{
	const struct db_val v = DB_I64(3);

	MUST((db_kind(db) == DB_POSTGRES) == store_is_postgres(&store));
	return db_get_i64(db, &st[GET], &v, 1, arg);
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

/* --- many threads --------------------------------------------------------------- */

static _Atomic unsigned seeds;

/* Right and wrong questions, short and long deadlines, in any mixture. */
static void *ask_at_random(void *arg)
{
	uint64_t x = atomic_fetch_add(&seeds, 1) + 1;

	for (int i = 0; i < 200; i++) {
		int64_t id = 1 + (int64_t)((x >> 33) % 1000), n = -1;
		unsigned kind = (unsigned)(x >> 20) % 32;
		enum err e;

		x = x * 6364136223846793005u + 1442695040888963407u;
		if (kind == 0) {
			e = ask(WRONG, id, &n);
			if (e != ERR_INTERNAL || n != -1)
				atomic_fetch_add((_Atomic unsigned *)arg, 1);
		} else if (kind == 1) {
			e = ask_by(pool, (uint64_t)(i % 3), GET, id, &n);
			if (e != ERR_TIMEOUT && e != ERR_DATABASE &&
			    (e || n != 7 * id))
				atomic_fetch_add((_Atomic unsigned *)arg, 1);
		} else {
			e = ask(GET, id, &n);
			if (e || n != 7 * id)
				atomic_fetch_add((_Atomic unsigned *)arg, 1);
		}
	}
	return NULL;
}

static void everybody_gets_its_own_answer(void **state)
{
	_Atomic unsigned wrong = 0;
	struct db_pool_stats s;

	(void)state;
	store_threads(16, ask_at_random, &wrong);
	assert_int_equal(wrong, 0);
	db_pool_stats(pool, &s);
	assert_int_equal(s.in_use, 0);
	assert_int_equal(s.asking, 0);
}

/* --- one pipeline, put together by hand --------------------------------------------
 *
 * A pool of one connection, which is held while askers queue up in a known
 * order.  Then it is let go.
 */

struct gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool inside, open;
};

static enum err hold(struct db *db, void *arg)
{
	struct gate *g = arg;

	(void)db;
	pthread_mutex_lock(&g->lock);
	g->inside = true;
	pthread_cond_broadcast(&g->changed);
	while (!g->open)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
	return OK;
}

struct asking {
	pthread_t thread;
	int what;
	int64_t id;
	uint64_t ms; /* to the deadline */
	int64_t n;   /* the answer */
	uint64_t took_ms;
	enum err e;
};

#define QUEUE_MAX 70
struct queue {
	struct db_pool *pool;
	struct gate gate;
	pthread_t holder;
	struct asking all[QUEUE_MAX];
	unsigned n;
	struct db_pool_stats before, after;
};

static struct queue *running;

static void *hold_it(void *arg)
{
	struct queue *q = arg;
	struct ctx cx = store_ctx(20000);

	MUST(db_read(q->pool, &cx, hold, &q->gate) == OK);
	return NULL;
}

static void *ask_it(void *arg)
{
	struct asking *a = arg;
	uint64_t before = mono_ms();

	a->e = ask_by(running->pool, a->ms, a->what, a->id, &a->n);
	a->took_ms = mono_ms() - before;
	return NULL;
}

static void queue_open(struct queue *q)
{
	struct db_conf conf = store_conf(&store);

	*q = (struct queue){.gate = {PTHREAD_MUTEX_INITIALIZER,
	                             PTHREAD_COND_INITIALIZER, false, false}};
	running = q;
	conf.size = 1;
	conf.max_overflow = 0;
	assert_int_equal(db_pool_new(&conf, &q->pool), OK);
	assert_int_equal(pthread_create(&q->holder, NULL, hold_it, q), 0);
	pthread_mutex_lock(&q->gate.lock);
	while (!q->gate.inside)
		pthread_cond_wait(&q->gate.changed, &q->gate.lock);
	pthread_mutex_unlock(&q->gate.lock);
	db_pool_stats(q->pool, &q->before);
}

static struct asking *queue_ask(struct queue *q, int what, int64_t id,
                                uint64_t ms)
{
	struct asking *a = &q->all[q->n++];
	uint64_t end = mono_ms() + 10000;
	struct db_pool_stats s;

	assert_true(q->n <= QUEUE_MAX);
	*a = (struct asking){.what = what, .id = id, .ms = ms, .n = -1};
	assert_int_equal(pthread_create(&a->thread, NULL, ask_it, a), 0);
	do {
		db_pool_stats(q->pool, &s);
		assert_true(mono_ms() < end);
	} while (store_is_postgres(&store) && s.asking < q->n);
	return a;
}

static void queue_let_go(struct queue *q)
{
	pthread_mutex_lock(&q->gate.lock);
	q->gate.open = true;
	pthread_cond_broadcast(&q->gate.changed);
	pthread_mutex_unlock(&q->gate.lock);
	assert_int_equal(pthread_join(q->holder, NULL), 0);
	for (unsigned i = 0; i < q->n; i++)
		assert_int_equal(pthread_join(q->all[i].thread, NULL), 0);
	db_pool_stats(q->pool, &q->after);
	assert_int_equal(q->after.in_use, 0);
	assert_int_equal(q->after.asking, 0);
	db_pool_free(q->pool);
}

static void what_waits_goes_out_as_one_pipeline(void **state)
{
	struct queue q;

	(void)state;
	queue_open(&q);
	for (int i = 1; i <= 20; i++)
		(void)queue_ask(&q, i % 2 ? GET : BYTES, i, 20000);
	queue_let_go(&q);
	for (unsigned i = 0; i < q.n; i++) {
		assert_int_equal(q.all[i].e, OK);
		if (q.all[i].what == GET)
			assert_int_equal(q.all[i].n, 7 * (i + 1));
	}
	assert_int_equal(q.after.opened, 1);
	if (!store_is_postgres(&store))
		return;
	assert_int_equal(q.after.asked - q.before.asked, 20);
	assert_int_equal(q.after.batches - q.before.batches, 1);
}

static void a_pipeline_has_a_most(void **state)
{
	struct queue q;

	(void)state;
	queue_open(&q);
	for (int i = 1; i <= QUEUE_MAX; i++)
		(void)queue_ask(&q, GET, i, 20000);
	queue_let_go(&q);
	for (unsigned i = 0; i < q.n; i++) {
		assert_int_equal(q.all[i].e, OK);
		assert_int_equal(q.all[i].n, 7 * (i + 1));
	}
	assert_int_equal(q.after.batches - q.before.batches, 2);
}

static void what_fails_fails_alone(void **state)
{
	static const int what[] = {GET,    WRONG,  GET,  WRONG,  GET,
	                           INSERT, GET,    BUMP, HIDDEN, GET,
	                           WRONG,  NO_ROW, GET};
	struct queue q;

	(void)state;
	queue_open(&q);
	for (size_t i = 0; i < COUNTOF(what); i++)
		(void)queue_ask(&q, what[i], 1, 20000);
	queue_let_go(&q);
	for (size_t i = 0; i < COUNTOF(what); i++) {
		bool fails = what[i] == WRONG || what[i] == INSERT ||
		             what[i] == BUMP || what[i] == HIDDEN;

		assert_int_equal(q.all[i].e, fails ? ERR_INTERNAL : OK);
		if (what[i] == GET)
			assert_int_equal(q.all[i].n, 7);
	}
	/* All at once, then each of those behind the first that failed. */
	assert_true(q.after.batches - q.before.batches <= COUNTOF(what));
	assert_int_equal(store_i64(pool, &st[COUNT]), 1000);
}

/*
 * The leader's answer is there long before the last: what is long makes the
 * server send what it has.
 */
static void a_leader_leaves_with_its_own_answer(void **state)
{
	struct asking *first, *last;
	struct queue q;

	(void)state;
	queue_open(&q);
	first = queue_ask(&q, GET, 1, 20000);
	(void)queue_ask(&q, LONG, 1, 20000);
	last = queue_ask(&q, SLEEP, 1, 20000);
	queue_let_go(&q);
	assert_int_equal(first->e, OK);
	assert_int_equal(last->e, OK);
	assert_true(last->took_ms >= 1000);
	/* It came first, so with the last answer it would have taken longest. */
	assert_true(first->took_ms < last->took_ms - 100);
	assert_int_equal(q.after.batches - q.before.batches, 1);
}

/* A leader that runs out of time, one behind it that does too, and one that
 * has time: it is asked again when the server has ended the slow one. */
static void who_runs_out_of_time_leaves_the_others_alone(void **state)
{
	struct asking *slow, *hasty, *calm;
	struct queue q;

	(void)state;
	queue_open(&q);
	slow = queue_ask(&q, SLEEP, 60, 2000);
	hasty = queue_ask(&q, GET, 2, 400);
	calm = queue_ask(&q, GET, 3, 20000);
	queue_let_go(&q);
	assert_int_equal(slow->e, ERR_TIMEOUT);
	assert_true(slow->took_ms >= 2000 && slow->took_ms < 20000);
	assert_int_equal(hasty->e, ERR_TIMEOUT);
	assert_true(hasty->took_ms >= 400 && hasty->took_ms < slow->took_ms);
	assert_int_equal(calm->e, OK);
	assert_int_equal(calm->n, 21);
	assert_true(calm->took_ms < 10000);
	/* The connection has survived it. */
	assert_int_equal(q.after.opened, 1);
}

static void who_finds_no_connection_leaves_at_its_deadline(void **state)
{
	struct asking *hasty, *calm;
	struct queue q;

	(void)state;
	queue_open(&q);
	hasty = queue_ask(&q, GET, 1, 100);
	calm = queue_ask(&q, GET, 2, 20000);
	pause_ms(300);
	queue_let_go(&q);
	assert_int_equal(hasty->e, ERR_DATABASE);
	assert_true(hasty->took_ms >= 100 && hasty->took_ms < 3000);
	assert_int_equal(calm->e, OK);
	assert_int_equal(calm->n, 14);
	assert_true(q.after.timeouts >= 1);
}

/* --- PostgreSQL alone ------------------------------------------------------------- */

static void kill_with(int what, int64_t want)
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

static void *kill_sleeper(void *arg)
{
	(void)arg;
	kill_with(KILL_SLEEPER, 1);
	return NULL;
}

static void a_killed_backend_costs_another_ask_not_an_error(void **state)
{
	struct queue q;
	pthread_t killer;

	(void)state;
	queue_open(&q);
	(void)queue_ask(&q, GET, 1, 20000);
	(void)queue_ask(&q, SLEEP, 1, 20000);
	for (int i = 3; i <= 12; i++)
		(void)queue_ask(&q, GET, i, 20000);
	assert_int_equal(pthread_create(&killer, NULL, kill_sleeper, NULL), 0);
	queue_let_go(&q);
	assert_int_equal(pthread_join(killer, NULL), 0);
	for (unsigned i = 0; i < q.n; i++) {
		assert_int_equal(q.all[i].e, OK);
		if (q.all[i].what == GET)
			assert_int_equal(q.all[i].n, 7 * q.all[i].id);
	}
	assert_true(q.after.opened >= 2);
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

/* --- memory that fails -------------------------------------------------------------- */

static enum err take_bytes(void *arg, const struct db_row *row)
{
	*(bool *)arg = str_eq(db_row_str(row, 0), STR("\0\xff"));
	return OK;
}

static enum err session(bool *right)
{
	struct db_conf conf = store_conf(&store);
	const struct db_sink sink = {take_bytes, right};
	const struct db_val v = DB_I64(1);
	AUTO(db_pool) p = NULL;
	struct ctx cx = store_ctx(5000);
	enum err e = db_pool_new(&conf, &p);

	*right = false;
	return e ? e : db_ask(p, &cx, &st[BYTES], &v, 1, &sink);
}

static void every_allocation_may_fail(void **state)
{
	bool failed = true, right = false;

	(void)state;
	for (unsigned n = 1; failed; n++) {
		enum err e;

		assert_true(n < 200);
		alloc_fault_arm(n);
		e = session(&right);
		failed = alloc_fault_disarm();
		assert_true(e == OK ? right : failed);
		assert_true(e == OK || e == ERR_NOMEM || e == ERR_DATABASE);
	}
}

#define POSTGRES_ONLY 8 /* at the end of the list */

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
		cmocka_unit_test(everybody_gets_its_own_answer),
		cmocka_unit_test(what_waits_goes_out_as_one_pipeline),
		cmocka_unit_test(what_fails_fails_alone),
		cmocka_unit_test(
			who_finds_no_connection_leaves_at_its_deadline),
		cmocka_unit_test(every_allocation_may_fail),
		/* What only a server can do. */
		cmocka_unit_test(a_pipeline_has_a_most),
		cmocka_unit_test(a_leader_leaves_with_its_own_answer),
		cmocka_unit_test(who_runs_out_of_time_leaves_the_others_alone),
		cmocka_unit_test(
			a_killed_backend_costs_another_ask_not_an_error),
		cmocka_unit_test(a_connection_that_died_idle_is_not_used),
		cmocka_unit_test(
			a_server_that_forgot_is_asked_without_preparing),
		cmocka_unit_test(a_database_that_is_away_is_said_at_once),
	};
	size_t n = COUNTOF(tests);
	int failed;

	store_open(&store, "test_ask");
	st = db_stmts_for(rows, STATEMENTS, store.service);
	assert_non_null(st);
	pool = store_pool(&store);
	if (store_is_postgres(&store))
		store_exec(pool, "CREATE SCHEMA test_ask");
	write_one(pool, CREATE);
	write_one(pool, FILL);
	if (!store_is_postgres(&store))
		n -= POSTGRES_ONLY;
	failed = _cmocka_run_group_tests("ask", tests, n, NULL, NULL);
	db_pool_free(pool);
	free(st);
	store_close(&store);
	return failed;
}
