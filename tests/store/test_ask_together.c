/* Reads of one statement that go out together (common/db/ask.c). */
#include "common/base/trace.h"
#include "tests/alloc_fault.h"
#include "tests/store/ask_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static void pause_ms(unsigned ms)
{
	const struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

	(void)nanosleep(&t, NULL);
}

/* One of a group: a handler that reads, as a service runs it. */
struct asking {
	struct db_deferred d; /* first */
	struct ctx cx;
	struct db_pool *pool;
	int what;
	int64_t id;
	unsigned runs;
	int64_t n; /* the answer */
	uint64_t began_ms, took_ms;
	enum err e;
	bool answered;
};

static void run_handler(struct asking *a)
{
	char text[24];
	const struct db_sink sink = {take_i64, &a->n};
	struct db_val v = DB_I64(a->id);

	a->runs++;
	(void)snprintf(text, sizeof(text), "%lld", (long long)a->id);
	if (a->what == BY_TEXT)
		v = DB_TEXT(text);
	a->e = db_ask(a->pool, &a->cx, &st[a->what], &v, 1, &sink);
	/* What the first run had is gone when the question is sent. */
	memset(text, '9', sizeof(text));
	v = DB_I64(-1);
	if (db_deferred_asked(&a->d)) {
		MUST(a->e == ERR_BUSY);
		return;
	}
	db_deferred_end(&a->d);
	a->answered = true;
	a->took_ms = mono_ms() - a->began_ms;
}

static void on_answer(struct db_deferred *d)
{
	run_handler((struct asking *)(void *)d);
}

#define GROUP_MAX 70
struct group {
	struct db_pool *pool;
	struct asking all[GROUP_MAX];
	unsigned n;
	struct db_pool_stats before, after;
};

/* A pool of one connection. */
static void group_open(struct group *g)
{
	struct db_conf conf = store_conf(&store);

	*g = (struct group){0};
	conf.size = 1;
	conf.max_overflow = 0;
	MUST(db_pool_new(&conf, &g->pool) == OK);
	db_pool_stats(g->pool, &g->before);
}

static struct span *traced; /* of those that are asked now; or NULL */

static struct asking *group_ask(struct group *g, int what, int64_t id,
                                uint64_t ms)
{
	struct asking *a = &g->all[g->n++];

	MUST(g->n <= GROUP_MAX);
	*a = (struct asking){.d = {.done = on_answer},
	                     .cx = store_ctx(ms),
	                     .pool = g->pool,
	                     .what = what,
	                     .id = id,
	                     .n = -1,
	                     .began_ms = mono_ms()};
	a->cx.arena = arena_new(1 << 16);
	a->cx.deferred = &a->d;
	a->cx.span = traced;
	MUST(a->cx.arena);
	run_handler(a);
	return a;
}

static void group_go(struct group *g)
{
	struct db_deferred *asked[GROUP_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < g->n; i++)
		if (db_deferred_asked(&g->all[i].d))
			asked[n++] = &g->all[i].d;
	MUST(n == (store_is_postgres(&store) ? g->n : 0));
	db_ask_deferred(asked, n);
	for (unsigned i = 0; i < g->n; i++) {
		MUST(g->all[i].answered);
		arena_free(g->all[i].cx.arena);
	}
}

static void group_close(struct group *g)
{
	db_pool_stats(g->pool, &g->after);
	assert_int_equal(g->after.in_use, 0);
	db_pool_free(g->pool);
}

static void what_is_asked_together_goes_out_as_one_pipeline(void **state)
{
	static const int what[] = {GET, BYTES, BY_TEXT};
	struct group g;

	(void)state;
	group_open(&g);
	for (int i = 1; i <= 20; i++)
		(void)group_ask(&g, what[i % 3], i, 20000);
	group_go(&g);
	group_close(&g);
	for (unsigned i = 0; i < g.n; i++) {
		assert_int_equal(g.all[i].e, OK);
		if (g.all[i].what != BYTES)
			assert_int_equal(g.all[i].n, 7 * (i + 1));
		assert_int_equal(g.all[i].runs,
		                 store_is_postgres(&store) ? 2 : 1);
	}
	assert_int_equal(g.after.opened, 1);
	if (!store_is_postgres(&store))
		return;
	assert_int_equal(g.after.asked - g.before.asked, 20);
	assert_int_equal(g.after.batches - g.before.batches, 1);
}

static void a_pipeline_has_a_most(void **state)
{
	struct group g;

	(void)state;
	group_open(&g);
	for (int i = 1; i <= GROUP_MAX; i++)
		(void)group_ask(&g, GET, i, 20000);
	group_go(&g);
	group_close(&g);
	for (unsigned i = 0; i < g.n; i++) {
		assert_int_equal(g.all[i].e, OK);
		assert_int_equal(g.all[i].n, 7 * (i + 1));
	}
	assert_int_equal(g.after.batches - g.before.batches, 2);
}

static void what_fails_fails_alone(void **state)
{
	static const int what[] = {GET,    WRONG,  GET,  WRONG,  GET,
	                           INSERT, GET,    BUMP, HIDDEN, GET,
	                           WRONG,  NO_ROW, GET};
	struct group g;

	(void)state;
	group_open(&g);
	for (size_t i = 0; i < COUNTOF(what); i++)
		(void)group_ask(&g, what[i], 1, 20000);
	group_go(&g);
	group_close(&g);
	for (size_t i = 0; i < COUNTOF(what); i++) {
		bool fails = what[i] == WRONG || what[i] == INSERT ||
		             what[i] == BUMP || what[i] == HIDDEN;

		assert_int_equal(g.all[i].e, fails ? ERR_INTERNAL : OK);
		if (what[i] == GET)
			assert_int_equal(g.all[i].n, 7);
	}
	/* All at once, then each of those behind the first that failed. */
	assert_true(g.after.batches - g.before.batches <= COUNTOF(what));
	assert_int_equal(store_i64(pool, &st[COUNT]), 1000);
}

/*
 * The first answer is there long before the last: what is long makes the
 * server send what it has.
 */
static void an_answer_is_given_as_soon_as_it_is_there(void **state)
{
	struct asking *first, *last;
	struct group g;

	(void)state;
	group_open(&g);
	first = group_ask(&g, GET, 1, 20000);
	(void)group_ask(&g, LONG, 1, 20000);
	last = group_ask(&g, SLEEP, 1, 20000);
	group_go(&g);
	group_close(&g);
	assert_int_equal(first->e, OK);
	assert_int_equal(last->e, OK);
	assert_true(last->took_ms >= 1000);
	/* It came first, so with the last answer it would have taken longest. */
	assert_true(first->took_ms < last->took_ms - 100);
	assert_int_equal(g.after.batches - g.before.batches, 1);
}

/* One that runs out of time, one behind it that does too, and one that has
 * time: it is asked again when the server has ended the slow one. */
static void who_runs_out_of_time_leaves_the_others_alone(void **state)
{
	struct asking *slow, *hasty, *calm;
	struct group g;

	(void)state;
	group_open(&g);
	slow = group_ask(&g, SLEEP, 60, 2000);
	hasty = group_ask(&g, GET, 2, 400);
	calm = group_ask(&g, GET, 3, 20000);
	group_go(&g);
	group_close(&g);
	assert_int_equal(slow->e, ERR_TIMEOUT);
	assert_true(slow->took_ms >= 2000 && slow->took_ms < 20000);
	assert_int_equal(hasty->e, ERR_TIMEOUT);
	assert_true(hasty->took_ms >= 400 && hasty->took_ms < slow->took_ms);
	assert_int_equal(calm->e, OK);
	assert_int_equal(calm->n, 21);
	assert_true(calm->took_ms < 10000);
	/* The connection has survived it. */
	assert_int_equal(g.after.opened, 1);
}

/* Holds the only connection for a moment. */
struct holder {
	struct db_pool *pool;
	_Atomic bool inside;
};

static enum err hold(struct db *db, void *arg)
{
	struct holder *h = arg;

	(void)db;
	atomic_store(&h->inside, true);
	pause_ms(300);
	return OK;
}

static void *hold_it(void *arg)
{
	struct holder *h = arg;
	struct ctx cx = store_ctx(20000);

	MUST(db_read(h->pool, &cx, hold, h) == OK);
	return NULL;
}

static void who_finds_no_connection_leaves_at_its_deadline(void **state)
{
	struct asking *hasty, *calm;
	struct holder h;
	struct group g;
	pthread_t holder;

	(void)state;
	group_open(&g);
	h = (struct holder){.pool = g.pool};
	assert_int_equal(pthread_create(&holder, NULL, hold_it, &h), 0);
	while (!atomic_load(&h.inside))
		pause_ms(1);
	hasty = group_ask(&g, GET, 1, 100);
	calm = group_ask(&g, GET, 2, 20000);
	group_go(&g);
	assert_int_equal(pthread_join(holder, NULL), 0);
	group_close(&g);
	assert_int_equal(hasty->e, ERR_DATABASE);
	assert_true(hasty->took_ms >= 100 && hasty->took_ms < 3000);
	assert_int_equal(calm->e, OK);
	assert_int_equal(calm->n, 14);
	assert_true(g.after.timeouts >= 1);
}

static void who_comes_back_with_another_question_is_our_mistake(void **state)
{
	struct asking *a;
	struct group g;

	(void)state;
	group_open(&g);
	a = group_ask(&g, GET, 2, 20000);
	a->what = BY_TEXT;
	group_go(&g);
	group_close(&g);
	assert_int_equal(a->e, ERR_INTERNAL);
	assert_int_equal(a->runs, 2);
}

/* With its answer a connection is held: nobody may wait for another one. */
static void on_answer_ask_again(struct db_deferred *d)
{
	struct asking *a = (struct asking *)(void *)d;
	struct db_val v = DB_I64(3);

	if (!a->answered)
		run_handler(a);
	MUST(db_ask(a->pool, &a->cx, &st[GET], &v, 1, NULL) == ERR_INTERNAL);
	MUST(db_read(a->pool, &a->cx, get_third, &a->n) == ERR_INTERNAL);
	MUST(db_write(a->pool, &a->cx, get_third, &a->n) == ERR_INTERNAL);
}

static void who_may_read_once_gets_nothing_more(void **state)
{
	struct asking *a;
	struct group g;

	(void)state;
	group_open(&g);
	a = group_ask(&g, GET, 2, 20000);
	a->d.done = on_answer_ask_again;
	if (!store_is_postgres(&store))
		on_answer_ask_again(&a->d);
	group_go(&g);
	group_close(&g);
	assert_int_equal(a->n, 14);
}

/* The handler's second run does not ask: nothing is left behind. */
static void on_answer_nobody_wants(struct db_deferred *d)
{
	struct asking *a = (struct asking *)(void *)d;

	db_deferred_end(d);
	a->answered = true;
}

static void an_answer_that_nobody_takes_is_dropped(void **state)
{
	struct asking *a;
	struct group g;

	(void)state;
	group_open(&g);
	a = group_ask(&g, BYTES, 2, 20000);
	a->d.done = on_answer_nobody_wants;
	group_go(&g);
	group_close(&g);
	assert_int_equal(a->runs, 1);
	assert_null(a->d.result);
}

struct told {
	unsigned n;
	uint64_t least_us; /* that one of them took */
	bool read, statement, failed;
};

static void take_span(void *arg, const struct span *s)
{
	struct told *t = arg;
	uint64_t us = s->end_us - s->start_us;

	t->least_us = t->n++ && t->least_us < us ? t->least_us : us;
	t->read |= str_eq(span_name_of(s), STR("read"));
	t->statement |= str_eq(span_name_of(s), STR("a.get"));
	t->failed |= s->failed;
}

/* Of a trace that somebody asks for: the wait is in it, and nothing twice. */
static void what_was_put_off_is_told_from_when_it_was_asked(void **state)
{
	const struct trace_parent from = {.id = {1, 2}, .sampled = true};
	struct told told = {0};
	struct asking *a;
	struct group g;
	struct span root;

	(void)state;
	group_open(&g);
	trace_listen(take_span, &told);
	span_root(&root, &from, "test", SPAN_SERVER, STR("request"));
	traced = &root;
	a = group_ask(&g, GET, 2, 20000);
	traced = NULL;
	assert_int_equal(told.n, 0);
	pause_ms(20);
	group_go(&g);
	trace_listen(NULL, NULL);
	group_close(&g);
	assert_int_equal(a->n, 14);
	assert_ptr_equal(a->cx.span, &root);
	assert_int_equal(told.n, 2);
	assert_true(told.read && told.statement && !told.failed);
	assert_true(told.least_us >= 20000);
}

/* --- many threads --------------------------------------------------------------- */

static _Atomic unsigned seeds;

static unsigned ask_some(uint64_t x)
{
	struct group g = {.pool = pool};
	unsigned wrong = 0, n = 1 + (unsigned)(x >> 40) % 8;

	for (unsigned i = 0; i < n; i++)
		(void)group_ask(&g, i % 3 == 2 ? BY_TEXT : GET,
		                1 + (int64_t)((x >> 33) + i) % 1000, 20000);
	group_go(&g);
	for (unsigned i = 0; i < n; i++)
		wrong += g.all[i].e || g.all[i].n != 7 * g.all[i].id;
	return wrong;
}

/* Right and wrong questions, short and long deadlines, alone and together, in
 * any mixture. */
static void *ask_at_random(void *arg)
{
	uint64_t x = atomic_fetch_add(&seeds, 1) + 1;
	_Atomic unsigned *wrong = arg;

	for (int i = 0; i < 200; i++) {
		int64_t id = 1 + (int64_t)((x >> 33) % 1000), n = -1;
		unsigned kind = (unsigned)(x >> 20) % 32;
		enum err e;

		x = x * 6364136223846793005u + 1442695040888963407u;
		if (kind == 0) {
			e = ask(WRONG, id, &n);
			if (e != ERR_INTERNAL || n != -1)
				atomic_fetch_add(wrong, 1);
		} else if (kind == 1) {
			e = ask_by(pool, (uint64_t)(i % 3), GET, id, &n);
			if (e != ERR_TIMEOUT && e != ERR_DATABASE &&
			    (e || n != 7 * id))
				atomic_fetch_add(wrong, 1);
		} else if (kind < 8) {
			atomic_fetch_add(wrong, ask_some(x));
		} else {
			e = ask(GET, id, &n);
			if (e || n != 7 * id)
				atomic_fetch_add(wrong, 1);
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
}

/* --- PostgreSQL alone ------------------------------------------------------------- */

static void *kill_sleeper(void *arg)
{
	(void)arg;
	kill_with(KILL_SLEEPER, 1);
	return NULL;
}

static void a_killed_backend_costs_another_ask_not_an_error(void **state)
{
	struct group g;
	pthread_t killer;

	(void)state;
	group_open(&g);
	(void)group_ask(&g, GET, 1, 20000);
	(void)group_ask(&g, SLEEP, 1, 20000);
	for (int i = 3; i <= 12; i++)
		(void)group_ask(&g, GET, i, 20000);
	assert_int_equal(pthread_create(&killer, NULL, kill_sleeper, NULL), 0);
	group_go(&g);
	assert_int_equal(pthread_join(killer, NULL), 0);
	group_close(&g);
	for (unsigned i = 0; i < g.n; i++) {
		assert_int_equal(g.all[i].e, OK);
		if (g.all[i].what == GET)
			assert_int_equal(g.all[i].n, 7 * g.all[i].id);
	}
	assert_true(g.after.opened >= 2);
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
	AUTO(arena) arena = arena_new(1 << 16);
	struct db_deferred d = {0};
	struct ctx cx = store_ctx(5000);
	enum err e = arena ? db_pool_new(&conf, &p) : ERR_NOMEM;

	*right = false;
	cx.arena = arena;
	cx.deferred = &d;
	for (int run = 0; run < 2 && !e; run++) {
		e = db_ask(p, &cx, &st[BYTES], &v, 1, &sink);
		if (!db_deferred_asked(&d))
			break;
		db_ask_deferred((struct db_deferred *[]){&d}, 1);
		e = OK;
	}
	db_deferred_end(&d);
	return e;
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
		cmocka_unit_test(everybody_gets_its_own_answer),
		cmocka_unit_test(
			what_is_asked_together_goes_out_as_one_pipeline),
		cmocka_unit_test(what_fails_fails_alone),
		cmocka_unit_test(who_may_read_once_gets_nothing_more),
		cmocka_unit_test(every_allocation_may_fail),
		/* What only a server can do. */
		cmocka_unit_test(
			who_comes_back_with_another_question_is_our_mistake),
		cmocka_unit_test(an_answer_that_nobody_takes_is_dropped),
		cmocka_unit_test(
			what_was_put_off_is_told_from_when_it_was_asked),
		cmocka_unit_test(
			who_finds_no_connection_leaves_at_its_deadline),
		cmocka_unit_test(a_pipeline_has_a_most),
		cmocka_unit_test(an_answer_is_given_as_soon_as_it_is_there),
		cmocka_unit_test(who_runs_out_of_time_leaves_the_others_alone),
		cmocka_unit_test(
			a_killed_backend_costs_another_ask_not_an_error),
	};

	return ask_tests("test_ask_together", tests, COUNTOF(tests),
	                 POSTGRES_ONLY);
}
