/* What requests read that wait together (LANE_READ), from the entry to the reply. */
#include "common/service/dispatch.h"

#include "tests/store/store.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define FAR_MS (UINT64_MAX / 2)
#define READS  20

static struct store store;
static struct db_pool *pool;
static const struct db_stmt TWICE = {"together.twice",
                                     "SELECT 2 * CAST($1 AS INTEGER)",
                                     "SELECT 2 * CAST($1::text AS bigint)"};

/* --- the service ------------------------------------------------------------------ */

struct seen {
	sem_t inside, go;
	atomic_uint runs;
};

struct find_in {
	struct str n;
};
static const struct field find_fields[] = {
	{.name = "n",
         .from = FROM_BODY,
         .type = FIELD_LINE,
         .required = true,
         .min = 1,
         .max = 9,
         .offset = offsetof(struct find_in, n)},
};

static enum err hold(void *state, struct ctx *cx, const void *in,
                     struct reply *out)
{
	struct seen *s = state;

	(void)cx;
	(void)in;
	(void)sem_post(&s->inside);
	while (sem_wait(&s->go))
		continue;
	mp_text(&out->body, "held");
	return OK;
}

static enum err take(void *arg, const struct db_row *row)
{
	*(int64_t *)arg = db_row_i64(row, 0);
	return OK;
}

/* Begins an answer, and a problem, before it reads. */
static enum err find(void *state, struct ctx *cx, const void *in,
                     struct reply *out)
{
	struct seen *s = state;
	int64_t n = -1;
	const struct db_sink sink = {take, &n};
	const struct db_val v = DB_STR(((const struct find_in *)in)->n);
	enum err e;

	atomic_fetch_add(&s->runs, 1);
	mp_array(&out->body, 1);
	e = db_ask(pool, cx, &TWICE, &v, 1, &sink);
	if (e) {
		out->status = 203;
		return ctx_fail(cx, e, "nothing was read");
	}
	mp_i64(&out->body, n);
	return OK;
}

static const struct method methods[] = {
	{"hold", LANE_DB, CALL_GATEWAY, AGAIN_ONCE, NULL, 0, 1, hold, NULL},
	{"find", LANE_READ, CALL_GATEWAY, AGAIN_READ, find_fields, 1,
         sizeof(struct find_in), find, NULL},
};

/* --- the transport ------------------------------------------------------------------ */

struct item {
	struct buf bytes, reply;
	sem_t ended;
	atomic_bool cancelled;
	enum err refused;
};

static void on_end(void *arg, struct str bytes)
{
	struct item *it = arg;

	buf_str(&it->reply, bytes);
	(void)sem_post(&it->ended);
}

static void on_refuse(void *arg, enum err e)
{
	struct item *it = arg;

	it->refused = e;
	(void)sem_post(&it->ended);
}

static bool is_cancelled(void *arg)
{
	return atomic_load(&((struct item *)arg)->cancelled);
}

struct rig {
	struct seen seen;
	struct lane_pool *lane;
	struct dispatch *d;
	struct item held, reads[READS];
};

static void submit(struct rig *r, struct item *it, const char *op, struct str n)
{
	const struct ctx cx = {.rid = STR("r-1")};
	AUTO_BUF body = {0};

	*it = (struct item){.refused = OK};
	(void)sem_init(&it->ended, 0, 0);
	mp_map(&body, 1);
	mp_kv_str(&body, "n", n);
	entry_pack(&it->bytes, &cx,
	           &(struct entry){.op = str_from(op),
	                           .body = buf_view(&body)});
	dispatch_item(r->d,
	              &(struct dispatch_item){.item = it,
	                                      .bytes = buf_view(&it->bytes),
	                                      .deadline_ms = FAR_MS,
	                                      .peer = PEER_GATEWAY});
}

static void wait_end(struct item *it)
{
	struct timespec end;

	/* Not sem_clockwait(), which ThreadSanitizer does not know. */
	(void)clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 20;
	while (sem_timedwait(&it->ended, &end))
		assert_int_equal(errno, EINTR);
}

/* The status and body of an answer that was not refused. */
static struct reply_view view(struct item *it, struct arena *arena)
{
	struct ctx cx = {.arena = arena};
	struct reply_view v = {0};

	wait_end(it);
	assert_int_equal(it->refused, OK);
	assert_int_equal(reply_read(buf_view(&it->reply), &cx, &v), OK);
	return v;
}

static void drop(struct item *it)
{
	buf_fini(&it->bytes);
	buf_fini(&it->reply);
	(void)sem_destroy(&it->ended);
}

static void must_be(struct item *it, int64_t want)
{
	AUTO(arena) arena = arena_new(1 << 16);
	struct reply_view v = view(it, arena);
	struct mp m = mp_open(v.body);
	uint32_t n = 0;
	int64_t got = 0;

	assert_int_equal(v.err, OK);
	assert_int_equal(v.status, 200);
	assert_true(mp_get_array(&m, &n) && n == 1);
	assert_true(mp_get_i64(&m, &got));
	assert_int_equal(got, want);
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct dispatch_conf conf = {.service = "test",
	                             .self = PEER_GDPR,
	                             .methods = methods,
	                             .methods_n = COUNTOF(methods),
	                             .end = on_end,
	                             .refuse = on_refuse,
	                             .cancelled = is_cancelled};

	assert_non_null(r);
	(void)sem_init(&r->seen.inside, 0, 0);
	(void)sem_init(&r->seen.go, 0, 0);
	r->lane = lane_new(&(struct lane_conf){"db", 1, 2 * READS, 0});
	assert_non_null(r->lane);
	conf.lanes[LANE_DB] = conf.lanes[LANE_SLOW] = r->lane;
	r->d = dispatch_new(&conf);
	assert_non_null(r->d);
	dispatch_open(r->d, &r->seen);
	/* Its first call shows that what the method reads may be put off. */
	submit(r, &r->held, "find", STR("4"));
	must_be(&r->held, 8);
	drop(&r->held);
	atomic_store(&r->seen.runs, 0);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	dispatch_close(r->d);
	assert_true(dispatch_idle(r->d, mono_ms() + 10000));
	lane_free(r->lane);
	dispatch_free(r->d);
	free(r);
	return 0;
}

/* Keeps the only thread of the lane from looking at the queue. */
static void shut(struct rig *r)
{
	submit(r, &r->held, "hold", STR(""));
	while (sem_wait(&r->seen.inside))
		continue;
}

static void let_go(struct rig *r)
{
	(void)sem_post(&r->seen.go);
	wait_end(&r->held);
	drop(&r->held);
}

/* --- tests --------------------------------------------------------------------------- */

static void what_waits_together_is_read_in_one_pipeline(void **state)
{
	struct rig *r = *state;
	struct db_pool_stats before, after;
	struct lane_stats lane;
	char text[READS][8];

	shut(r);
	db_pool_stats(pool, &before);
	for (int i = 0; i < READS; i++)
		submit(r, &r->reads[i], "find",
		       (struct str){text[i], (size_t)snprintf(text[i], 8, "%d",
		                                              100 + i)});
	let_go(r);
	for (int i = 0; i < READS; i++) {
		must_be(&r->reads[i], 2 * (100 + i));
		drop(&r->reads[i]);
	}
	lane_stop(r->lane);
	db_pool_stats(pool, &after);
	lane_stats(r->lane, &lane);
	assert_int_equal(lane.busy, 0);
	assert_int_equal(lane.done, READS + 2);
	if (!store_is_postgres(&store)) {
		assert_int_equal(r->seen.runs, READS);
		return;
	}
	assert_int_equal(after.asked - before.asked, READS);
	assert_int_equal(after.batches - before.batches, 1);
	assert_int_equal(r->seen.runs, 2 * READS);
}

/* One that nobody waits for, one that is wrong, and one that fails in the
 * database, among others. */
static void each_has_its_own_end(void **state)
{
	static const char *const n[] = {"1", "2", "1234567890", "x", "5"};
	AUTO(arena) arena = arena_new(1 << 16);
	struct rig *r = *state;
	struct reply_view v;

	shut(r);
	for (int i = 0; i < 5; i++)
		submit(r, &r->reads[i], "find", str_from(n[i]));
	atomic_store(&r->reads[1].cancelled, true);
	let_go(r);
	must_be(&r->reads[0], 2);
	must_be(&r->reads[4], 10);
	wait_end(&r->reads[1]);
	assert_int_equal(r->reads[1].refused, ERR_TIMEOUT);
	v = view(&r->reads[2], arena);
	assert_int_equal(v.err, ERR_INVALID);
	if (store_is_postgres(&store)) {
		v = view(&r->reads[3], arena);
		assert_int_equal(v.err, ERR_INTERNAL);
	} else {
		must_be(&r->reads[3], 0); /* SQLite takes it for a number */
	}
	for (int i = 0; i < 5; i++)
		drop(&r->reads[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			what_waits_together_is_read_in_one_pipeline, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(each_has_its_own_end, set_up,
	                                        tear_down),
	};
	int failed;

	store_open(&store, "test_together");
	pool = store_pool(&store);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	db_pool_free(pool);
	store_close(&store);
	return failed;
}
