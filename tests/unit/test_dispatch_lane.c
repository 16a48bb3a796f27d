/* In which lane a request of a service runs, or in none, and what ends it there. */
#include "tests/unit/dispatch_fixture.h"

static void each_lane_runs_its_methods(void **state)
{
	struct rig *r = *state;
	struct lane_stats st;

	assert_int_equal(err_of(r, &(struct call){.op = "work",
	                                          .key = "n",
	                                          .number = 5}),
	                 OK);
	assert_int_equal(err_of(r, &(struct call){.op = "grind"}), OK);
	assert_int_equal(atomic_load(&r->seen.runs), 2);
	lane_stop(r->db);
	lane_stop(r->slow);
	lane_stats(r->db, &st);
	assert_int_equal(st.done, 1);
	lane_stats(r->slow, &st);
	assert_int_equal(st.done, 1);
}

static void peek_answers_without_a_worker(void **state)
{
	struct rig *r = *state;
	AUTO_BUF bytes = {0};
	struct call c = {.op = "look", .key = "n", .number = 1};
	struct item it;
	struct reply_view v;

	lane_stop(r->db);
	pack_call(&bytes, &c);
	v = ask(r, &it, &bytes, &c);
	assert_int_equal(v.status, 203);
	assert_int_equal(atomic_load(&r->seen.runs), 0);
	buf_fini(&it.reply);
	assert_int_equal(err_of(r, &(struct call){.op = "look",
	                                          .key = "n",
	                                          .number = 3}),
	                 ERR_NOT_FOUND);
}

/* The handler answers, in the runs-th run; nothing stands behind what it says. */
static void answered_by_the_handler(struct rig *r, const struct call *c,
                                    int runs)
{
	AUTO_BUF bytes = {0};
	struct item it;
	struct reply_view v;
	struct str text;
	struct mp m;

	pack_call(&bytes, c);
	v = ask(r, &it, &bytes, c);
	assert_int_equal(v.err, OK);
	assert_int_equal(v.status, 200);
	m = mp_open(v.body);
	assert_true(mp_get_str(&m, &text));
	assert_true(str_eq(text, STR("from the lane")));
	assert_true(m.p == m.end);
	assert_int_equal(atomic_load(&r->seen.runs), runs);
	buf_fini(&it.reply);
}

static void what_peek_began_does_not_reach_the_reply(void **state)
{
	struct rig *r = *state;
	AUTO_BUF bytes = {0};
	struct call c = {.op = "look", .key = "n", .number = 2};
	struct item it;
	struct reply_view v;

	answered_by_the_handler(r, &c, 1);
	c.number = 4;
	pack_call(&bytes, &c);
	v = ask(r, &it, &bytes, &c);
	assert_string_equal(v.problem.detail, "the handler says no");
	assert_int_equal(v.problem.faults_n, 0);
	buf_fini(&it.reply);
}

static void what_takes_long_is_run_again_in_the_slow_lane(void **state)
{
	struct rig *r = *state;
	struct call c = {.op = "look", .key = "n", .number = 5};

	answered_by_the_handler(r, &c, 2);
	/* Where that one takes nothing, it is too busy. */
	lane_stop(r->slow);
	assert_int_equal(err_of(r, &c), ERR_UNAVAILABLE);
	assert_int_equal(atomic_load(&r->seen.runs), 3);
}

static void what_came_too_late_is_not_run(void **state)
{
	struct rig *r = *state;
	struct call c = {.op = "whoami", .sub = "s", .deadline_ms = mono_ms()};

	assert_int_equal(err_of(r, &c), ERR_TIMEOUT);
	assert_int_equal(atomic_load(&r->seen.runs), 0);
}

/* Holds the one worker of the DB lane. */
static void occupy(struct rig *r, struct item *it, struct buf *bytes,
                   const struct call *c)
{
	pack_call(bytes, c);
	shut(&r->seen, true);
	submit(r, it, bytes, c);
	wait_inside(&r->seen, 1);
}

static void what_expires_or_is_cancelled_in_the_queue_is_not_run(void **state)
{
	struct rig *r = *state;
	const struct call c = {.op = "work", .key = "n", .number = 1};
	struct call soon = c;
	AUTO_BUF bytes = {0};
	struct item busy = {0}, late = {0}, gone = {0};

	occupy(r, &busy, &bytes, &c);
	soon.deadline_ms = mono_ms() + 10;
	submit(r, &late, &bytes, &soon);
	submit(r, &gone, &bytes, &c);
	atomic_store(&gone.cancelled, true);
	while (mono_ms() < soon.deadline_ms)
		(void)usleep(500);
	shut(&r->seen, false);
	wait_end(&busy);
	wait_end(&late);
	wait_end(&gone);
	assert_int_equal(late.refused, ERR_TIMEOUT);
	assert_int_equal(atomic_load(&gone.refusals), 1);
	assert_int_equal(atomic_load(&r->seen.runs), 1);
	buf_fini(&busy.reply);
}

static void a_full_lane_is_busy_at_once(void **state)
{
	struct rig *r = *state;
	const struct call c = {.op = "work", .key = "n", .number = 1};
	AUTO_BUF bytes = {0};
	struct item busy = {0}, waiting[2] = {{0}}, last;

	occupy(r, &busy, &bytes, &c);
	submit(r, &waiting[0], &bytes, &c);
	submit(r, &waiting[1], &bytes, &c);
	assert_int_equal(ask(r, &last, &bytes, &c).err, ERR_BUSY);
	/* Other lanes have room. */
	assert_int_equal(err_of(r, &(struct call){.op = "grind"}), OK);
	shut(&r->seen, false);
	wait_end(&busy);
	wait_end(&waiting[0]);
	wait_end(&waiting[1]);
	buf_fini(&busy.reply);
	buf_fini(&waiting[0].reply);
	buf_fini(&waiting[1].reply);
}

static void pack_confession(struct buf *b, struct str pin)
{
	const struct ctx cx = {.rid = STR("r-1")};
	AUTO_BUF body = {0};

	mp_map(&body, 2);
	mp_kv_text(&body, "name", "ada");
	if (pin.n)
		mp_kv_str(&body, "pin", pin);
	else
		mp_kv_nil(&body, "pin");
	entry_pack(b, &cx,
	           &(struct entry){.op = STR("confess"),
	                           .body = buf_view(&body)});
}

static void what_brings_a_secret_runs_in_the_slow_lane_and_is_wiped(
	void **state)
{
	struct rig *r = *state;
	const struct call call = {.op = "work", .key = "n", .number = 1};
	AUTO_BUF held = {0};
	AUTO_BUF with = {0};
	AUTO_BUF without = {0};
	struct item holds, it, waits = {0};
	struct lane_stats st;
	struct reply_view v;

	holds = (struct item){0};
	pack_call(&held, &call);
	pack_confession(&with, STR("open sesame"));
	pack_confession(&without, STR(""));
	shut(&r->seen, true);
	submit(r, &holds, &held, &call);
	wait_inside(&r->seen, 1);
	/* The DB lane's only worker is held: without a secret it must wait. */
	submit(r, &waits, &without, &call);
	assert_non_null(memmem(with.p, with.n, "sesame", 6));
	v = ask(r, &it, &with, &call);
	assert_int_equal(v.err, OK);
	assert_null(memmem(with.p, with.n, "sesame", 6));
	assert_int_equal(atomic_load(&waits.ends), 0);
	lane_stats(r->slow, &st);
	assert_int_equal(st.queued, 0);
	assert_int_equal(atomic_load(&r->seen.runs), 1);
	shut(&r->seen, false);
	wait_end(&holds);
	wait_end(&waits);
	buf_fini(&it.reply);
	buf_fini(&holds.reply);
	buf_fini(&waits.reply);
}

static void a_secret_is_wiped_also_where_it_is_refused(void **state)
{
	struct rig *r = *state;
	const struct call call = {.op = "confess"};
	AUTO_BUF wrong = {0};
	AUTO_BUF never = {0};
	struct item it;

	/* Too long for its field, and a lane that takes nothing any more. */
	pack_confession(&wrong, STR("open sesame, please, now"));
	pack_confession(&never, STR("open sesame"));
	assert_int_equal(ask(r, &it, &wrong, &call).err, ERR_INVALID);
	assert_null(memmem(wrong.p, wrong.n, "sesame", 6));
	buf_fini(&it.reply);
	lane_stop(r->slow);
	assert_int_equal(ask(r, &it, &never, &call).err, ERR_UNAVAILABLE);
	assert_null(memmem(never.p, never.n, "sesame", 6));
	buf_fini(&it.reply);
}

static void *open_soon(void *arg)
{
	(void)usleep(20000);
	shut(arg, false);
	return NULL;
}

static void idle_waits_for_what_is_in_work(void **state)
{
	struct rig *r = *state;
	const struct call c = {.op = "work", .key = "n", .number = 1};
	AUTO_BUF bytes = {0};
	struct item it = {0};
	pthread_t t;

	occupy(r, &it, &bytes, &c);
	dispatch_close(r->d);
	assert_false(dispatch_idle(r->d, mono_ms() + 5));
	assert_int_equal(pthread_create(&t, NULL, open_soon, &r->seen), 0);
	assert_true(dispatch_idle(r->d, mono_ms() + 10000));
	assert_int_equal(atomic_load(&it.ends), 1);
	pthread_join(t, NULL);
	buf_fini(&it.reply);
}

/* --- in none: without the bus ------------------------------------------------------ */

/* A success, packed for who looks at it later. */
static void take(void *out, const struct reply_view *v)
{
	static const struct ctx nobody;
	struct reply r = {.status = v->status};

	assert_int_equal(v->err, OK);
	buf_str(&r.body, v->body);
	reply_pack(out, &nobody, OK, &r);
	buf_fini(&r.body);
}

/* Whether it is answered without the bus; out holds the reply's bytes. */
static bool at_once(struct rig *r, const struct call *c, struct buf *out)
{
	AUTO_BUF bytes = {0};
	struct ctx cx = {.deadline_ms = mono_ms() + 10000};
	struct entry e;

	pack_call(&bytes, c);
	buf_clear(out);
	assert_int_equal(entry_read(buf_view(&bytes), &cx, &e), OK);
	return dispatch_at_once(r->d, &(struct entry_near){.cx = &cx,
	                                                   .entry = &e,
	                                                   .take = take,
	                                                   .arg = out,
	                                                   .out = out});
}

static void what_is_in_memory_needs_no_bus(void **state)
{
	struct rig *r = *state;
	AUTO_BUF bytes = {0};
	AUTO_BUF out = {0};
	struct call c = {.op = "look", .key = "n", .number = 1};
	struct ctx cx = {.arena = r->arena};
	struct item it;
	struct reply_view near, far;

	lane_stop(r->db);
	assert_true(at_once(r, &c, &out));
	assert_int_equal(reply_read(buf_view(&out), &cx, &near), OK);
	pack_call(&bytes, &c);
	far = ask(r, &it, &bytes, &c);
	assert_int_equal(near.status, 203);
	assert_int_equal(far.status, 203);
	assert_true(str_eq(near.body, far.body));
	buf_fini(&it.reply);
	c.number = 3;
	assert_true(at_once(r, &c, &out));
	assert_int_equal(reply_read(buf_view(&out), &cx, &near), OK);
	assert_int_equal(near.err, ERR_NOT_FOUND);
	c = (struct call){.op = "whoami", .sub = "ada"};
	assert_true(at_once(r, &c, &out));
	assert_int_equal(atomic_load(&r->seen.runs), 1);
}

static void what_is_not_in_memory_is_left_to_the_bus(void **state)
{
	static const struct call calls[] = {
		{.op = "look", .key = "n", .number = 2}, /* had begun */
		{.op = "look", .key = "n", .number = 4},
		{.op = "work", .key = "n", .number = 1}, /* has no peek */
		{.op = "whoami"},                        /* nobody's */
		{.op = "service.health"},
		{.op = "nothing.such"},
	};
	struct rig *r = *state;
	AUTO_BUF out = {0};

	for (size_t i = 0; i < COUNTOF(calls); i++) {
		assert_false(at_once(r, &calls[i], &out));
		assert_int_equal(out.n, 0);
	}
	call_form = "events";
	assert_false(at_once(
		r, &(struct call){.op = "look", .key = "n", .number = 1},
		&out));
	call_form = NULL;
	dispatch_close(r->d);
	assert_false(at_once(
		r, &(struct call){.op = "look", .key = "n", .number = 1},
		&out));
	assert_int_equal(out.n, 0);
	assert_int_equal(atomic_load(&r->seen.runs), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_lane_runs_its_methods),
		TEST(peek_answers_without_a_worker),
		TEST(what_peek_began_does_not_reach_the_reply),
		TEST(what_is_in_memory_needs_no_bus),
		TEST(what_is_not_in_memory_is_left_to_the_bus),
		TEST(what_takes_long_is_run_again_in_the_slow_lane),
		TEST(what_came_too_late_is_not_run),
		TEST(what_expires_or_is_cancelled_in_the_queue_is_not_run),
		TEST(a_full_lane_is_busy_at_once),
		TEST(what_brings_a_secret_runs_in_the_slow_lane_and_is_wiped),
		TEST(a_secret_is_wiped_also_where_it_is_refused),
		TEST(idle_waits_for_what_is_in_work),
	};

	/* Refusals are logged; they are what is tested here. */
	atomic_store(&log_threshold, -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
