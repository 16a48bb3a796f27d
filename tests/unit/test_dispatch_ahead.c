/* A request whose peek may look into the shared tier before it needs a worker. */
#include "common/service/cached.h"
#include "common/service/dispatch.h"

#include "tests/alloc_fault.h"
#include "tests/unit/remote_hand.h"

#include <errno.h>
#include <semaphore.h>

/* --- a service of one method ------------------------------------------------------ */

struct seen {
	struct cache *cache;
	struct source so;
	atomic_uint peeks, runs;
};

static void pack(struct reply *out, const struct cache_value *v,
                 const struct cache_info *info)
{
	mp_map(&out->body, 2);
	mp_kv_str(&out->body, "value", cache_bytes(v));
	mp_kv_i64(&out->body, "from", info->from);
}

static bool find_peek(void *state, struct ctx *cx, const void *in,
                      struct reply *out)
{
	struct seen *s = state;
	const struct cache_want w = tagged(&s->so);
	AUTO(cache_value) v = NULL;
	struct cache_info info;

	(void)in;
	atomic_fetch_add(&s->peeks, 1);
	if (cached_peek(cx, s->cache, w.key, &v, &info) == CACHE_HIT) {
		pack(out, v, &info);
		return true;
	}
	cached_fetch_say(cx, s->cache, &w);
	return false;
}

static enum err find(void *state, struct ctx *cx, const void *in,
                     struct reply *out)
{
	struct seen *s = state;
	const struct cache_want w = tagged(&s->so);
	AUTO(cache_value) v = NULL;
	struct cache_info info;
	enum err e;

	(void)in;
	atomic_fetch_add(&s->runs, 1);
	e = cached_load(cx, s->cache, &w, &v, &info);
	if (!e)
		pack(out, v, &info);
	return e;
}

static const struct method methods[] = {{.name = "find",
                                         .lane = LANE_DB,
                                         .caller = CALL_GATEWAY,
                                         .again = AGAIN_READ,
                                         .in_size = 1,
                                         .run = find,
                                         .peek = find_peek}};

/* --- the transport ---------------------------------------------------------------- */

struct item {
	atomic_int ends, refusals;
	sem_t ended;
	enum err refused;
	struct buf reply;
	bool cancelled;
};

static void on_end(void *arg, struct str bytes)
{
	struct item *it = arg;

	buf_str(&it->reply, bytes);
	atomic_fetch_add(&it->ends, 1);
	(void)sem_post(&it->ended);
}

static void on_refuse(void *arg, enum err e)
{
	struct item *it = arg;

	it->refused = e;
	atomic_fetch_add(&it->refusals, 1);
	(void)sem_post(&it->ended);
}

static bool is_cancelled(void *arg)
{
	return ((struct item *)arg)->cancelled;
}

struct rig {
	struct seen seen;
	struct lane_pool *db;
	struct dispatch *d;
	struct arena *arena;
	struct item it;
	struct buf bytes;
};

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
	const struct ctx cx = {.rid = STR("r-1")};

	assert_non_null(r);
	assert_int_equal(sem_init(&r->it.ended, 0, 0), 0);
	r->seen.cache = shared();
	r->seen.so.text = "loaded";
	r->arena = arena_new(1 << 20);
	r->db = lane_new(&(struct lane_conf){"db", 1, 8, 0});
	conf.lanes[LANE_DB] = r->db;
	r->d = dispatch_new(&conf);
	assert_true(r->seen.cache && r->arena && r->db && r->d);
	dispatch_open(r->d, &r->seen);
	entry_pack(&r->bytes, &cx, &(struct entry){.op = STR("find")});
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	dispatch_close(r->d);
	assert_true(dispatch_idle(r->d, mono_ms() + 10000));
	lane_free(r->db);
	dispatch_free(r->d);
	cache_free(r->seen.cache);
	arena_free(r->arena);
	buf_fini(&r->bytes);
	buf_fini(&r->it.reply);
	(void)sem_destroy(&r->it.ended);
	free(r);
	return 0;
}

static struct dispatch_item item_of(struct rig *r)
{
	return (struct dispatch_item){.item = &r->it,
	                              .bytes = buf_view(&r->bytes),
	                              .deadline_ms = FAR_MS,
	                              .peer = PEER_GATEWAY};
}

static void submit(struct rig *r)
{
	const struct dispatch_item it = item_of(r);

	dispatch_item(r->d, &it);
}

static int ended(struct rig *r)
{
	return atomic_load(&r->it.ends) + atomic_load(&r->it.refusals);
}

static void wait_end(struct rig *r)
{
	while (sem_wait(&r->it.ended))
		assert_int_equal(errno, EINTR);
}

/* Returns where the time went. */
static struct hop_times expect_reply(struct rig *r, const char *text,
                                     enum cache_from from)
{
	struct ctx cx = {.arena = r->arena};
	struct reply_view v = {0};

	assert_int_equal(atomic_load(&r->it.ends), 1);
	assert_int_equal(reply_read(buf_view(&r->it.reply), &cx, &v), OK);
	assert_int_equal(v.err, OK);
	assert_true(
		str_eq(mp_find_str(v.body, "value", STR("")), str_from(text)));
	assert_int_equal(mp_find_i64(v.body, "from", -1), from);
	return v.times;
}

/* --- claims ----------------------------------------------------------------------- */

static void what_the_shared_tier_has_needs_no_worker(void **state)
{
	struct rig *r = *state;
	struct hop_times t;

	lane_stop(r->db);
	remote_has("shared", 40000, 0);
	submit(r);
	assert_int_equal(ended(r), 0);
	assert_int_equal(the.asks, 1);
	(void)usleep(1000);
	assert_true(answer_comes());
	t = expect_reply(r, "shared", CACHE_FROM_REMOTE);
	/* What was waited for is part of what it took. */
	assert_true(t.cache >= 1000);
	assert_true(t.handler >= t.cache);
	assert_int_equal(atomic_load(&r->seen.runs), 0);
	assert_int_equal(atomic_load(&r->seen.peeks), 2);
	assert_int_equal(the.gets, 0);
}

static void what_memory_has_is_not_asked_for(void **state)
{
	struct rig *r = *state;
	const struct cache_want w = tagged(&r->seen.so);

	(void)expect(r->seen.cache, &w, "loaded");
	submit(r);
	(void)expect_reply(r, "loaded", CACHE_FROM_MEMORY);
	assert_int_equal(the.asks, 0);
}

static void what_it_has_not_is_made_by_a_worker_who_asks_no_more(void **state)
{
	struct rig *r = *state;

	submit(r);
	assert_int_equal(atomic_load(&r->seen.runs), 0);
	assert_true(answer_comes());
	wait_end(r);
	(void)expect_reply(r, "loaded", CACHE_FROM_LOADER);
	assert_int_equal(the.gets, 0);
	assert_int_equal(the.sets, 1);
}

static void one_that_cannot_be_asked_holds_nobody_up(void **state)
{
	struct rig *r = *state;

	the.ask_err = ERR_UNAVAILABLE;
	submit(r);
	wait_end(r);
	(void)expect_reply(r, "loaded", CACHE_FROM_LOADER);
	assert_int_equal(the.asks, 1);
	assert_int_equal(the.gets, 0);
}

static void who_has_left_meanwhile_gets_no_answer(void **state)
{
	struct rig *r = *state;

	remote_has("shared", 40000, 0);
	submit(r);
	r->it.cancelled = true;
	assert_true(answer_comes());
	assert_int_equal(atomic_load(&r->it.refusals), 1);
	assert_int_equal(r->it.refused, ERR_TIMEOUT);
	assert_int_equal(atomic_load(&r->it.ends), 0);
	assert_int_equal(atomic_load(&r->seen.peeks), 1);
}

static void a_caller_who_is_answered_at_once_does_not_ask(void **state)
{
	struct rig *r = *state;
	struct ctx cx = {.arena = r->arena};
	struct entry e;
	const struct entry_near near = {.cx = &cx,
	                                .entry = &e,
	                                .out = &r->it.reply};

	assert_int_equal(entry_read(item_of(r).bytes, &cx, &e), OK);
	cx.deadline_ms = item_of(r).deadline_ms;
	assert_false(dispatch_at_once(r->d, &near));
	assert_int_equal(the.asks, 0);
	assert_int_equal(ended(r), 0);
}

static void an_end_waits_for_what_is_asked(void **state)
{
	struct rig *r = *state;

	remote_has("shared", 40000, 0);
	submit(r);
	dispatch_close(r->d);
	assert_false(dispatch_idle(r->d, mono_ms()));
	assert_true(answer_comes());
	assert_true(dispatch_idle(r->d, mono_ms()));
	(void)expect_reply(r, "shared", CACHE_FROM_REMOTE);
}

static void without_memory_it_is_refused_or_answered_once(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned n = 1; failed; n++) {
		struct rig *r;
		void *made;

		(void)set_up(&made);
		r = made;
		remote_has("shared", 40000, 0);
		alloc_fault_arm(n);
		submit(r);
		(void)answer_comes();
		failed = alloc_fault_disarm();
		wait_end(r);
		assert_int_equal(ended(r), 1);
		(void)tear_down(&made);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_the_shared_tier_has_needs_no_worker),
		TEST(what_memory_has_is_not_asked_for),
		TEST(what_it_has_not_is_made_by_a_worker_who_asks_no_more),
		TEST(one_that_cannot_be_asked_holds_nobody_up),
		TEST(who_has_left_meanwhile_gets_no_answer),
		TEST(a_caller_who_is_answered_at_once_does_not_ask),
		TEST(an_end_waits_for_what_is_asked),
		cmocka_unit_test(without_memory_it_is_refused_or_answered_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
