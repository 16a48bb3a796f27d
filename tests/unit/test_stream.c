/*
 * Replies that are too large to hold: their head, how a service makes them and
 * how a thread that blocks takes them.
 */
#include "common/bus/stream.h"
#include "common/service/dispatch.h"
#include "tests/unit/bus_fixture.h"

#define METHODS_DEF "tests/unit/stream_methods.def"
#define METHODS_TABLE
#include "common/service/methods.h"

/* --- the head ----------------------------------------------------------------- */

static enum err keep_part(void *to, struct str bytes)
{
	buf_str(to, bytes);
	return OK;
}

static void pack_stream(struct buf *out)
{
	const struct ctx cx = {.service = "test"};
	struct reply r = {.status = 203, .part = keep_part, .to = out};

	mp_map(&r.body, 1);
	mp_kv_i64(&r.body, "length", 5);
	assert_int_equal(stream_begin(&cx, &r), OK);
	assert_int_equal(stream_send(&r, STR("hello")), OK);
	buf_fini(&r.body);
}

static void a_head_is_found_however_it_is_cut(void **state)
{
	AUTO_BUF all = {0};

	(void)state;
	pack_stream(&all);
	assert_true(stream_is(buf_view(&all)));
	for (size_t step = 1; step <= all.n; step++) {
		AUTO(arena) a = arena_new(4096);
		struct ctx cx = {.arena = a};
		struct stream_in in = {{0}, false};
		struct reply_view v = {0};
		AUTO_BUF rest = {0};

		for (size_t at = 0; at < all.n; at += step) {
			size_t n = all.n - at < step ? all.n - at : step;
			struct str piece = {all.p + at, n};

			if (stream_take(&in, &piece))
				buf_str(&rest, piece);
		}
		assert_true(in.whole);
		assert_true(str_eq(buf_view(&rest), STR("hello")));
		assert_int_equal(reply_read(stream_head(&in), &cx, &v), OK);
		assert_int_equal(v.status, 203);
		assert_int_equal(mp_find_i64(v.body, "length", 0), 5);
		buf_fini(&in.head);
	}
}

static void a_head_that_can_be_none_is_refused(void **state)
{
	static const struct str bad[] = {
		STR("\x81\xa2st"), /* a reply as any other */
		STR("\0\0\0\0x"),   STR("\0\1\0\0x"),
		STR("\0\0\x40\1x"), STR("\xff\xff\xff\xff"),
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bad); i++) {
		struct stream_in in = {{0}, false};
		struct str bytes = bad[i];

		assert_false(stream_take(&in, &bytes));
		assert_true(in.head.failed);
		buf_fini(&in.head);
	}
	assert_false(stream_is(bad[0]));
	assert_false(stream_is((struct str){0}));
}

static void nothing_is_streamed_where_nobody_takes_it(void **state)
{
	const struct ctx cx = {.service = "test"};
	struct reply r = {0};

	(void)state;
	assert_int_equal(stream_begin(&cx, &r), ERR_INTERNAL);
	assert_int_equal(stream_send(&r, STR("x")), ERR_INTERNAL);
}

/* --- a service that makes one -------------------------------------------------- */

enum err method_flow(void *state, struct ctx *cx, const void *in,
                     struct reply *out)
{
	const struct flow_in *q = in;
	int64_t left = q->n;
	enum err e = OK;

	(void)state;
	if (left == 0 && q->fails)
		return ctx_fail(cx, err_from_int(q->fails), "before");
	e = stream_begin(cx, out);
	for (; !e && left > 0; left--)
		e = stream_send(out, STR("x"));
	return e ? e : err_from_int(q->fails);
}

enum err method_flow_inline(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	(void)state;
	(void)in;
	return stream_begin(cx, out);
}

struct asked {
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool ended, refused;
	enum err why;
	struct buf parts, end;
	size_t parts_max; /* ERR_PEER_LOST beyond */
};

static enum err on_part(void *item, struct str bytes)
{
	struct asked *a = item;

	buf_str(&a->parts, bytes);
	return a->parts.n > a->parts_max ? ERR_PEER_LOST : OK;
}

static void over(struct asked *a, bool refused, enum err why, struct str end)
{
	GUARD(&a->lock);

	assert_false(a->ended || a->refused);
	a->ended = !refused;
	a->refused = refused;
	a->why = why;
	buf_str(&a->end, end);
	(void)pthread_cond_signal(&a->over);
}

static void on_end(void *item, struct str bytes)
{
	over(item, false, OK, bytes);
}

static void on_refuse(void *item, enum err e)
{
	over(item, true, e, (struct str){0});
}

static bool on_cancelled(void *item)
{
	(void)item;
	return false;
}

static void call_method(struct asked *a, const char *op, int64_t n,
                        int64_t fails)
{
	AUTO(lane)
	slow = lane_new(&(struct lane_conf){
		.name = "slow", .threads = 1, .queue_max = 4});
	const struct dispatch_conf conf = {.service = "test",
	                                   .self = PEER_AUTH,
	                                   .methods = methods,
	                                   .methods_n = COUNTOF(methods),
	                                   .lanes = {[LANE_SLOW] = slow},
	                                   .end = on_end,
	                                   .refuse = on_refuse,
	                                   .cancelled = on_cancelled,
	                                   .part = on_part};
	AUTO(dispatch) d = dispatch_new(&conf);
	const struct ctx cx = {.rid = STR("r")};
	struct entry en = {.op = str_from(op)};
	AUTO_BUF body = {0};
	AUTO_BUF entry = {0};

	assert_non_null(d);
	mp_map(&body, 2);
	mp_kv_i64(&body, "n", n);
	mp_kv_i64(&body, "fails", fails);
	en.body = buf_view(&body);
	entry_pack(&entry, &cx, &en);
	*a = (struct asked){.parts_max = a->parts_max ? a->parts_max : 1 << 20};
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->over, NULL);
	dispatch_open(d, NULL);
	dispatch_item(d,
	              &(struct dispatch_item){.item = a,
	                                      .bytes = buf_view(&entry),
	                                      .deadline_ms = mono_ms() + 20000,
	                                      .peer = PEER_GDPR});
	pthread_mutex_lock(&a->lock);
	while (!a->ended && !a->refused)
		(void)pthread_cond_wait(&a->over, &a->lock);
	pthread_mutex_unlock(&a->lock);
	dispatch_close(d);
	assert_true(dispatch_idle(d, mono_ms() + 20000));
}

static void asked_fini(struct asked *a)
{
	buf_fini(&a->parts);
	buf_fini(&a->end);
}

static enum err error_of(const struct asked *a)
{
	AUTO(arena) arena = arena_new(4096);
	struct ctx cx = {.arena = arena};
	struct reply_view v = {0};

	assert_int_equal(reply_read(buf_view(&a->end), &cx, &v), OK);
	return v.err;
}

static void a_stream_ends_with_nothing_more(void **state)
{
	struct asked a = {0};
	struct stream_in in = {{0}, false};
	struct str bytes;

	(void)state;
	call_method(&a, "flow", 1000, 0);
	assert_true(a.ended);
	assert_int_equal(a.end.n, 0);
	bytes = buf_view(&a.parts);
	assert_true(stream_take(&in, &bytes));
	assert_int_equal(bytes.n, 1000);
	buf_fini(&in.head);
	asked_fini(&a);
}

static void an_error_before_the_first_part_is_a_reply_as_any(void **state)
{
	struct asked a = {0};

	(void)state;
	call_method(&a, "flow", 0, ERR_NOT_FOUND);
	assert_true(a.ended);
	assert_int_equal(a.parts.n, 0);
	assert_int_equal(error_of(&a), ERR_NOT_FOUND);
	asked_fini(&a);
}

static void an_error_behind_it_refuses_the_item(void **state)
{
	struct asked a = {0};

	(void)state;
	call_method(&a, "flow", 10, ERR_DATABASE);
	assert_true(a.refused);
	assert_int_equal(a.why, ERR_DATABASE);
	asked_fini(&a);
	/* Nobody is there any more. */
	a = (struct asked){.parts_max = 50};
	call_method(&a, "flow", 1000, 0);
	assert_true(a.refused);
	assert_int_equal(a.why, ERR_PEER_LOST);
	assert_int_equal(a.parts.n, 51);
	asked_fini(&a);
}

static void the_receive_callback_never_waits_for_credit(void **state)
{
	struct asked a = {0};

	(void)state;
	call_method(&a, "flow.inline", 0, 0);
	assert_true(a.ended);
	assert_int_equal(error_of(&a), ERR_INTERNAL);
	asked_fini(&a);
}

/* --- a thread that takes one ------------------------------------------------------ */

struct taken {
	struct service *sv;
	size_t n, ahead; /* ahead: most that was sent beyond what was taken */
	size_t stop_at;  /* ERR_TOO_LARGE then; 0: never */
};

static enum err take(void *arg, struct str bytes)
{
	struct taken *t = arg;
	size_t ahead;

	t->n += bytes.n;
	ahead = atomic_load(&t->sv->streamed) > t->n - bytes.n
	                ? atomic_load(&t->sv->streamed) - (t->n - bytes.n)
	                : 0;
	t->ahead = ahead > t->ahead ? ahead : t->ahead;
	return t->stop_at && t->n >= t->stop_at ? ERR_TOO_LARGE : OK;
}

static struct bus_caller *caller_of(const struct service *sv)
{
	const struct bus_client_conf conf = {.self = PEER_GDPR};
	struct bus_caller *c = bus_caller_new(&conf);

	assert_non_null(c);
	assert_int_equal(bus_caller_add(c, PEER_AUTH, str_from(sv->url)), OK);
	for (uint64_t end = mono_ms() + 5000;
	     bus_caller_up(c, PEER_AUTH) == 0 && mono_ms() < end;)
		(void)usleep(1000);
	return c;
}

static enum err stream(struct bus_caller *c, const char *what, struct taken *t)
{
	const struct bus_call call = {.to = PEER_AUTH,
	                              .deadline_ms = mono_ms() + 20000,
	                              .max_reply = (size_t)64 << 20,
	                              .bytes = str_from(what)};

	return bus_caller_stream(c, &call, take, t);
}

static void a_thread_takes_all_of_it_and_little_waits(void **state)
{
	struct service *sv = service_new("inproc", 0, NULL);
	struct bus_caller *c = caller_of(sv);
	struct taken t = {.sv = sv};

	(void)state;
	assert_int_equal(stream(c, "p20000000", &t), OK);
	assert_int_equal(t.n, 20000000);
	/* What the credit allows, and a part that is being made. */
	assert_true(t.ahead <= ((size_t)512 << 10) + 10000);
	t = (struct taken){.sv = sv};
	assert_int_equal(stream(c, "e is short", &t), OK);
	assert_int_equal(t.n, 10);
	t = (struct taken){.sv = sv};
	assert_int_equal(stream(c, "p0", &t), OK);
	assert_int_equal(t.n, 0);
	bus_caller_free(c);
	service_end(sv);
}

static void a_thread_that_wants_no_more_ends_it(void **state)
{
	struct service *sv = service_new("inproc", 0, NULL);
	struct bus_caller *c = caller_of(sv);
	struct taken t = {.sv = sv, .stop_at = 1000000};

	(void)state;
	assert_int_equal(stream(c, "p20000000", &t), ERR_TOO_LARGE);
	for (uint64_t end = mono_ms() + 20000;
	     atomic_load(&sv->part_err) != ERR_PEER_LOST && mono_ms() < end;)
		(void)usleep(1000);
	assert_int_equal(atomic_load(&sv->part_err), ERR_PEER_LOST);
	/* The caller is as good as new. */
	t = (struct taken){.sv = sv};
	assert_int_equal(stream(c, "p300000", &t), OK);
	assert_int_equal(t.n, 300000);
	bus_caller_free(c);
	service_end(sv);
}

static void a_refusal_and_a_bound_reach_the_thread(void **state)
{
	struct service *sv = service_new("inproc", 0, NULL);
	struct bus_caller *c = caller_of(sv);
	struct taken t = {.sv = sv};
	char refuse[8];
	struct bus_call call = {.to = PEER_AUTH,
	                        .deadline_ms = mono_ms() + 20000,
	                        .max_reply = 1000000,
	                        .bytes = STR("p20000000")};

	(void)state;
	(void)snprintf(refuse, sizeof(refuse), "r%d", ERR_BUSY);
	assert_int_equal(stream(c, refuse, &t), ERR_BUSY);
	assert_int_equal(bus_caller_stream(c, &call, take, &t), ERR_TOO_LARGE);
	call.deadline_ms = mono_ms();
	assert_int_equal(bus_caller_stream(c, &call, take, &t), ERR_TIMEOUT);
	bus_caller_free(c);
	service_end(sv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_head_is_found_however_it_is_cut),
		cmocka_unit_test(a_head_that_can_be_none_is_refused),
		cmocka_unit_test(nothing_is_streamed_where_nobody_takes_it),
		cmocka_unit_test(a_stream_ends_with_nothing_more),
		cmocka_unit_test(
			an_error_before_the_first_part_is_a_reply_as_any),
		cmocka_unit_test(an_error_behind_it_refuses_the_item),
		cmocka_unit_test(the_receive_callback_never_waits_for_credit),
		cmocka_unit_test(a_thread_takes_all_of_it_and_little_waits),
		cmocka_unit_test(a_thread_that_wants_no_more_ends_it),
		cmocka_unit_test(a_refusal_and_a_bound_reach_the_thread),
	};

	bus_global_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
