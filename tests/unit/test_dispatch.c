#include "common/service/dispatch.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* The service that is asked.  break tells an error of its number. */
static bool look_peek(void *state, struct ctx *cx, const void *in,
                      struct reply *out);
#define METHODS_DEF "tests/unit/dispatch_methods.def"
#define METHODS_TABLE
#include "common/service/methods.h"

#define FAR_MS (UINT64_MAX / 2)

/* What handlers saw, and how they are held. */
struct seen {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	bool shut; /* lane methods wait */
	unsigned inside;
	atomic_uint runs;
	struct str sub;
	char sub_text[40];
	enum role role;
	uint32_t scopes;
};

static void hold(struct seen *s)
{
	GUARD(&s->lock);

	s->inside++;
	pthread_cond_broadcast(&s->moved);
	while (s->shut)
		pthread_cond_wait(&s->moved, &s->lock);
}

static void shut(struct seen *s, bool now)
{
	GUARD(&s->lock);

	s->shut = now;
	pthread_cond_broadcast(&s->moved);
}

static void wait_inside(struct seen *s, unsigned n)
{
	GUARD(&s->lock);

	while (s->inside < n)
		pthread_cond_wait(&s->moved, &s->lock);
}

enum err method_echo(void *state, struct ctx *cx, const void *in,
                     struct reply *out)
{
	const struct echo_in *q = in;
	struct seen *s = state;

	(void)cx;
	atomic_fetch_add(&s->runs, 1);
	mp_map(&out->body, 3);
	mp_kv_str(&out->body, "topic", q->topic);
	mp_kv_i64(&out->body, "count", q->count);
	mp_kv_i64(&out->body, "limit", q->limit);
	out->status = 201;
	return OK;
}

static enum err tell_who(void *state, const struct ctx *cx, struct reply *out)
{
	struct seen *s = state;

	atomic_fetch_add(&s->runs, 1);
	s->role = cx->role;
	s->scopes = cx->scopes;
	s->sub.n = cx->sub.n;
	mp_map(&out->body, 1);
	mp_kv_str(&out->body, "sub", cx->sub);
	return OK;
}

enum err method_whoami(void *state, struct ctx *cx, const void *in,
                       struct reply *out)
{
	(void)in;
	return tell_who(state, cx, out);
}

enum err method_rule(void *state, struct ctx *cx, const void *in,
                     struct reply *out)
{
	(void)in;
	return tell_who(state, cx, out);
}

enum err method_inner(void *state, struct ctx *cx, const void *in,
                      struct reply *out)
{
	(void)in;
	return tell_who(state, cx, out);
}

enum err method_work(void *state, struct ctx *cx, const void *in,
                     struct reply *out)
{
	struct seen *s = state;

	(void)cx;
	hold(s);
	atomic_fetch_add(&s->runs, 1);
	mp_i64(&out->body, ((const struct work_in *)in)->n);
	return OK;
}

enum err method_grind(void *state, struct ctx *cx, const void *in,
                      struct reply *out)
{
	struct seen *s = state;

	(void)in;
	(void)cx;
	(void)out;
	atomic_fetch_add(&s->runs, 1);
	return OK;
}

enum err method_confess(void *state, struct ctx *cx, const void *in,
                        struct reply *out)
{
	const struct confess_in *q = in;
	struct seen *s = state;

	(void)cx;
	atomic_fetch_add(&s->runs, 1);
	mp_i64(&out->body, (int64_t)q->pin.n);
	return OK;
}

/* Knows 1; has begun an answer to 2 when it gives up; refuses 3; has found a
 * fault in 4 when it gives up. */
static bool look_peek(void *state, struct ctx *cx, const void *in,
                      struct reply *out)
{
	int64_t n = ((const struct look_in *)in)->n;

	(void)state;
	mp_text(&out->body, "from memory");
	out->status = 203;
	if (n == 3 || n == 2)
		(void)ctx_fail(cx, ERR_NOT_FOUND, "no %lld", (long long)n);
	if (n == 4)
		(void)ctx_fault(cx, "/n", "ODD", "peek says no");
	return n == 1 || n == 3;
}

enum err method_look(void *state, struct ctx *cx, const void *in,
                     struct reply *out)
{
	struct seen *s = state;

	if (((const struct look_in *)in)->n == 4)
		return ctx_fail(cx, ERR_INVALID, "the handler says no");
	atomic_fetch_add(&s->runs, 1);
	mp_text(&out->body, "from the lane");
	if (((const struct look_in *)in)->n == 5 && ctx_slow(cx)) {
		out->status = 203;
		return ctx_fail(cx, ERR_BUSY, "that takes long");
	}
	return OK;
}

enum err method_break_(void *state, struct ctx *cx, const void *in,
                       struct reply *out)
{
	int64_t how = ((const struct break__in *)in)->how;

	(void)state;
	if (how == 1000) {
		out->body.failed = true;
		return OK;
	}
	if (how == 999) { /* met one error and returns another */
		(void)ctx_fail(cx, ERR_CONFLICT, "words of the other");
		return ERR_NOT_FOUND;
	}
	if (how == ERR_DENIED)
		return ctx_fail(cx, ERR_DENIED, "not on a Sunday");
	return (enum err)how;
}

/* --- the transport -------------------------------------------------------------- */

struct item {
	atomic_int ends, refusals;
	enum err refused;
	struct buf reply;
	atomic_bool cancelled;
};

static void on_end(void *arg, struct str bytes)
{
	struct item *it = arg;

	buf_str(&it->reply, bytes);
	atomic_fetch_add(&it->ends, 1);
}

static void on_refuse(void *arg, enum err e)
{
	struct item *it = arg;

	it->refused = e;
	atomic_fetch_add(&it->refusals, 1);
}

static bool is_cancelled(void *arg)
{
	return atomic_load(&((struct item *)arg)->cancelled);
}

struct rig {
	struct seen seen;
	struct lane_pool *db, *slow;
	struct dispatch *d;
	struct arena *arena;
};

static enum err on_events(void *arg, struct ctx *cx, struct str body,
                          struct buf *reply)
{
	struct seen *s = arg;

	assert_int_equal(cx->role, ROLE_SERVICE);
	atomic_fetch_add(&s->runs, 1);
	mp_raw(reply, body);
	return OK;
}

static enum err on_health(void *arg, struct ctx *cx, struct str body,
                          struct buf *reply)
{
	(void)arg;
	(void)cx;
	(void)body;
	mp_text(reply, "well");
	return OK;
}

static enum err open_events(void *state, struct ctx *cx, const struct method *m,
                            struct str body, struct reply *out)
{
	struct seen *s = state;

	atomic_fetch_add(&s->runs, 1);
	mp_map(&out->body, 3);
	mp_kv_text(&out->body, "op", m->name);
	mp_kv_str(&out->body, "behind", cx->last_event);
	mp_kv_i64(&out->body, "n", mp_find_i64(body, "n", -1));
	return OK;
}

static struct dispatch *dispatch_of(struct rig *r)
{
	const struct dispatch_conf conf = {
		.service = "test",
		.self = PEER_GDPR,
		.methods = methods,
		.methods_n = COUNTOF(methods),
		.lanes = {[LANE_DB] = r->db, [LANE_SLOW] = r->slow},
		.builtin = {[BUILTIN_EVENTS] = on_events,
	                    [BUILTIN_HEALTH] = on_health},
		.builtin_arg = &r->seen,
		.events = open_events,
		.end = on_end,
		.refuse = on_refuse,
		.cancelled = is_cancelled};

	return dispatch_new(&conf);
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	pthread_mutex_init(&r->seen.lock, NULL);
	pthread_cond_init(&r->seen.moved, NULL);
	r->db = lane_new(&(struct lane_conf){"db", 1, 2, 0});
	r->slow = lane_new(&(struct lane_conf){"slow", 1, 2, 0});
	assert_non_null(r->db);
	assert_non_null(r->slow);
	r->arena = arena_new(1 << 20);
	r->d = dispatch_of(r);
	assert_non_null(r->d);
	dispatch_open(r->d, &r->seen);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	dispatch_close(r->d);
	assert_true(dispatch_idle(r->d, mono_ms() + 10000));
	lane_free(r->db);
	lane_free(r->slow);
	dispatch_free(r->d);
	arena_free(r->arena);
	pthread_cond_destroy(&r->seen.moved);
	pthread_mutex_destroy(&r->seen.lock);
	free(r);
	return 0;
}

struct call {
	const char *op;
	enum bus_peer from;
	const char *sub;
	enum role role;
	uint64_t deadline_ms; /* 0: far */
	const char *key;      /* of one number in the body; NULL: no body */
	int64_t number;
};
static const char *call_form; /* of all calls, or NULL */

static void pack_call(struct buf *b, const struct call *c)
{
	const struct ctx cx = {.rid = STR("r-1"),
	                       .sub = str_from(c->sub),
	                       .role = c->role,
	                       .form = str_from(call_form),
	                       .last_event = call_form ? STR("j.7") : STR(""),
	                       .scopes = SCOPE_ADMIN};
	AUTO_BUF body = {0};

	if (c->key) {
		mp_map(&body, 1);
		mp_kv_i64(&body, c->key, c->number);
	}
	entry_pack(b, &cx,
	           &(struct entry){.op = str_from(c->op),
	                           .body = buf_view(&body)});
	assert_false(b->failed);
}

/* bytes must live until the item has ended. */
static void submit(struct rig *r, struct item *it, const struct buf *bytes,
                   const struct call *c)
{
	dispatch_item(r->d,
	              &(struct dispatch_item){
			      .item = it,
			      .bytes = buf_view(bytes),
			      .deadline_ms =
				      c->deadline_ms ? c->deadline_ms : FAR_MS,
			      .peer = c->from});
}

static void wait_end(struct item *it)
{
	while (atomic_load(&it->ends) + atomic_load(&it->refusals) == 0)
		(void)usleep(200);
}

/* Asks and waits; the reply, or what it was refused with. */
static struct reply_view ask(struct rig *r, struct item *it,
                             const struct buf *bytes, const struct call *c)
{
	struct ctx cx = {.arena = r->arena};
	struct reply_view v = {0};

	*it = (struct item){0};
	submit(r, it, bytes, c);
	wait_end(it);
	assert_int_equal(it->ends + it->refusals, 1);
	if (it->ends)
		assert_int_equal(reply_read(buf_view(&it->reply), &cx, &v), OK);
	else
		v.err = it->refused;
	return v;
}

/* For calls whose body does not matter. */
static enum err err_of(struct rig *r, const struct call *c)
{
	AUTO_BUF bytes = {0};
	struct item it;
	enum err e;

	pack_call(&bytes, c);
	e = ask(r, &it, &bytes, c).err;
	buf_fini(&it.reply);
	return e;
}

/* --- tests ------------------------------------------------------------------------ */

static void pack_echo(struct buf *b, struct str topic)
{
	const struct ctx cx = {.rid = STR("r-1")};
	AUTO_BUF body = {0};
	AUTO_BUF query = {0};

	mp_map(&body, 2);
	mp_kv_str(&body, "topic", topic);
	mp_kv_text(&body, "language", "de");
	mp_map(&query, 1);
	mp_kv_text(&query, "limit", "7");
	entry_pack(b, &cx,
	           &(struct entry){.op = STR("echo"),
	                           .body = buf_view(&body),
	                           .query = buf_view(&query)});
}

static void a_call_reaches_its_handler_with_checked_fields(void **state)
{
	struct rig *r = *state;
	AUTO_BUF bytes = {0};
	struct item it;
	struct reply_view v;

	pack_echo(&bytes, STR("  Python "));
	v = ask(r, &it, &bytes, &(struct call){0});
	assert_int_equal(v.err, OK);
	assert_int_equal(v.status, 201);
	assert_true(
		str_eq(mp_find_str(v.body, "topic", STR("")), STR("Python")));
	assert_int_equal(mp_find_i64(v.body, "count", 0), 3);
	assert_int_equal(mp_find_i64(v.body, "limit", 0), 7);
	buf_fini(&it.reply);
}

static void a_bad_field_is_told_and_the_handler_not_run(void **state)
{
	static const struct {
		struct call call;
		const char *pointer;
	} cases[] = {
		{{.op = "echo"}, "/topic"}, /* missing */
		{{.op = "echo", .key = "topic", .number = 3}, "/topic"},
		{{.op = "work", .key = "n", .number = 0}, "/n"},
		{{.op = "work", .key = "n", .number = 10}, "/n"},
		{{.op = "work", .key = "m", .number = 1}, "/n"},
		{{.op = "look", .key = "n", .number = 77}, "/n"},
	};
	struct rig *r = *state;

	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF bytes = {0};
		struct item it;
		struct reply_view v;

		pack_call(&bytes, &cases[i].call);
		v = ask(r, &it, &bytes, &cases[i].call);
		assert_int_equal(v.err, ERR_INVALID);
		assert_int_equal(v.status, 400);
		assert_int_equal(v.problem.faults_n, 1);
		assert_string_equal(v.problem.faults[0].pointer,
		                    cases[i].pointer);
		buf_fini(&it.reply);
	}
	assert_int_equal(atomic_load(&r->seen.runs), 0);
}

static void an_unknown_method_is_not_built(void **state)
{
	static const char *const names[] = {"nothing", "ech", "echoo", "ECHO",
	                                    "",        "z",   "\x01",  "a"};

	for (size_t i = 0; i < COUNTOF(names); i++) {
		enum err e = err_of(*state, &(struct call){.op = names[i]});

		/* An entry without a method is none at all. */
		assert_true(e == ERR_NOT_BUILT ||
		            (!*names[i] && e == ERR_INVALID));
	}
}

static void only_those_who_may_call_do(void **state)
{
	static const struct {
		struct call call;
		enum err want;
	} cases[] = {
		{{"whoami", PEER_GATEWAY, "s-1", ROLE_USER, 0, NULL, 0}, OK},
		{{"whoami", PEER_GATEWAY, "s-1", ROLE_ADMIN, 0, NULL, 0}, OK},
		{{"whoami", PEER_GATEWAY, "", ROLE_GUEST, 0, NULL, 0},
	         ERR_LOGIN_NEEDED},
		/* A service may not speak for a person. */
		{{"whoami", PEER_CONTENT, "s-1", ROLE_USER, 0, NULL, 0},
	         ERR_DENIED},
		{{"rule", PEER_GATEWAY, "s-1", ROLE_ADMIN, 0, NULL, 0}, OK},
		{{"rule", PEER_GATEWAY, "s-1", ROLE_USER, 0, NULL, 0},
	         ERR_ADMIN_ONLY},
		{{"rule", PEER_GATEWAY, "", ROLE_GUEST, 0, NULL, 0},
	         ERR_ADMIN_ONLY},
		{{"rule", PEER_AUTH, "s-1", ROLE_ADMIN, 0, NULL, 0},
	         ERR_DENIED},
		{{"inner", PEER_AUTH, "", ROLE_SERVICE, 0, NULL, 0}, OK},
		{{"inner", PEER_GATEWAY, "", ROLE_GUEST, 0, NULL, 0}, OK},
		{{"inner", PEER_GATEWAY, "s-1", ROLE_ADMIN, 0, NULL, 0},
	         ERR_DENIED},
		{{"event.apply", PEER_CONTENT, "", ROLE_SERVICE, 0, "x", 1},
	         OK},
		{{"event.apply", PEER_GATEWAY, "s-1", ROLE_USER, 0, "x", 1},
	         ERR_DENIED},
		{{"service.health", PEER_GATEWAY, "", ROLE_GUEST, 0, NULL, 0},
	         OK},
		{{"service.health", PEER_AUTH, "", ROLE_SERVICE, 0, NULL, 0},
	         OK},
		{{"service.health", PEER_GATEWAY, "s-1", ROLE_ADMIN, 0, NULL,
	          0},
	         ERR_DENIED},
		{{"echo", PEER_CONTENT, "", ROLE_SERVICE, 0, NULL, 0},
	         ERR_DENIED},
		/* No such edge in the design. */
		{{"inner", PEER_GDPR, "", ROLE_SERVICE, 0, NULL, 0},
	         ERR_DENIED},
	};

	for (size_t i = 0; i < COUNTOF(cases); i++)
		assert_int_equal(err_of(*state, &cases[i].call), cases[i].want);
}

static void what_a_service_says_of_a_person_is_wiped(void **state)
{
	struct rig *r = *state;

	assert_int_equal(err_of(r, &(struct call){.op = "inner",
	                                          .from = PEER_AUTH,
	                                          .sub = "s-1",
	                                          .role = ROLE_ADMIN}),
	                 OK);
	assert_int_equal(r->seen.sub.n, 0);
	assert_int_equal(r->seen.role, ROLE_SERVICE);
	assert_int_equal(r->seen.scopes, 0);
	assert_int_equal(err_of(r, &(struct call){.op = "rule",
	                                          .sub = "s-1",
	                                          .role = ROLE_ADMIN}),
	                 OK);
	assert_int_equal(r->seen.sub.n, 3);
	assert_int_equal(r->seen.role, ROLE_ADMIN);
}

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

static void what_takes_long_is_run_again_in_the_slow_lane(void **state)
{
	struct rig *r = *state;
	AUTO_BUF bytes = {0};
	struct call c = {.op = "look", .key = "n", .number = 5};
	struct item it;
	struct reply_view v;
	struct str text;
	struct mp m;

	pack_call(&bytes, &c);
	v = ask(r, &it, &bytes, &c);
	assert_int_equal(v.err, OK);
	assert_int_equal(v.status, 200);
	m = mp_open(v.body);
	assert_true(mp_get_str(&m, &text));
	assert_true(str_eq(text, STR("from the lane")));
	assert_true(m.p == m.end);
	assert_int_equal(atomic_load(&r->seen.runs), 2);
	buf_fini(&it.reply);
	/* Where that one takes nothing, it is too busy. */
	lane_stop(r->slow);
	assert_int_equal(err_of(r, &c), ERR_UNAVAILABLE);
	assert_int_equal(atomic_load(&r->seen.runs), 3);
}

/* Whatever lane the method has, and whatever its peek knows. */
static void what_is_asked_for_as_events_is_the_service_s_own(void **state)
{
	static const char *const ops[] = {"look", "grind", "whoami"};
	struct rig *r = *state;
	struct call c = {.sub = "ada", .key = "n", .number = 1};

	call_form = "events";
	for (size_t i = 0; i < COUNTOF(ops); i++) {
		AUTO_BUF bytes = {0};
		struct item it;
		struct reply_view v;

		c.op = ops[i];
		pack_call(&bytes, &c);
		v = ask(r, &it, &bytes, &c);
		assert_int_equal(v.err, OK);
		assert_true(str_eq(mp_find_str(v.body, "op", STR("")),
		                   str_from(ops[i])));
		assert_true(str_eq(mp_find_str(v.body, "behind", STR("")),
		                   STR("j.7")));
		assert_int_equal(mp_find_i64(v.body, "n", 0), 1);
		buf_fini(&it.reply);
	}
	c.op = "look";
	c.number = 99; /* is looked at before */
	assert_int_equal(err_of(r, &c), ERR_INVALID);
	c.op = "whoami";
	c.sub = "";
	assert_int_equal(err_of(r, &c), ERR_LOGIN_NEEDED);
	c.op = "service.health";
	assert_int_equal(err_of(r, &c), OK);
	assert_int_equal(atomic_load(&r->seen.runs), 3);
	c.op = "work";
	call_form = "html"; /* says nothing to it */
	c.number = 2;
	assert_int_equal(err_of(r, &c), OK);
	assert_int_equal(atomic_load(&r->seen.runs), 4);
	call_form = NULL;
}

static void what_peek_began_does_not_reach_the_reply(void **state)
{
	struct rig *r = *state;
	AUTO_BUF bytes = {0};
	struct call c = {.op = "look", .key = "n", .number = 2};
	struct item it;
	struct reply_view v;
	struct str text;
	struct mp m;

	pack_call(&bytes, &c);
	v = ask(r, &it, &bytes, &c);
	assert_int_equal(v.err, OK);
	assert_int_equal(v.status, 200);
	m = mp_open(v.body);
	assert_true(mp_get_str(&m, &text));
	assert_true(str_eq(text, STR("from the lane")));
	assert_int_equal(atomic_load(&r->seen.runs), 1);
	buf_fini(&it.reply);
	c.number = 4;
	buf_clear(&bytes);
	pack_call(&bytes, &c);
	v = ask(r, &it, &bytes, &c);
	assert_string_equal(v.problem.detail, "the handler says no");
	assert_int_equal(v.problem.faults_n, 0);
	buf_fini(&it.reply);
}

/* Whether it is answered without the bus; out holds the reply's bytes. */
static bool at_once(struct rig *r, const struct call *c, struct buf *out)
{
	AUTO_BUF bytes = {0};

	pack_call(&bytes, c);
	buf_clear(out);
	return dispatch_at_once(
		r->d,
		&(struct dispatch_item){.bytes = buf_view(&bytes),
	                                .deadline_ms = mono_ms() + 10000,
	                                .peer = PEER_GATEWAY},
		out);
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
	assert_false(dispatch_at_once(
		r->d,
		&(struct dispatch_item){.bytes = STR("no msgpack"),
	                                .deadline_ms = mono_ms() + 10000,
	                                .peer = PEER_GATEWAY},
		&out));
	dispatch_close(r->d);
	assert_false(at_once(
		r, &(struct call){.op = "look", .key = "n", .number = 1},
		&out));
	assert_int_equal(out.n, 0);
	assert_int_equal(atomic_load(&r->seen.runs), 0);
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

static void errors_keep_their_words_and_ours_become_internal(void **state)
{
	struct rig *r = *state;
	static const struct {
		int64_t how;
		enum err want;
		const char *detail; /* NULL: any */
	} cases[] = {
		{ERR_DENIED, ERR_DENIED, "not on a Sunday"},
		{ERR_NOT_FOUND, ERR_NOT_FOUND, NULL},
		{ERR_DATABASE, ERR_DATABASE, NULL},
		{ERR_INTERNAL, ERR_INTERNAL, NULL},
		/* Codes that are only spoken inside. */
		{ERR_DB_DUPLICATE, ERR_INTERNAL, NULL},
		{ERR_DB_CONFLICT, ERR_INTERNAL, NULL},
		{999, ERR_NOT_FOUND, "There is nothing at this address."},
		{1000, ERR_NOMEM, NULL},
	};

	for (size_t i = 0; i < COUNTOF(cases); i++) {
		const struct call c = {.op = "break",
		                       .key = "how",
		                       .number = cases[i].how};
		AUTO_BUF bytes = {0};
		struct item it;
		struct reply_view v;

		pack_call(&bytes, &c);
		v = ask(r, &it, &bytes, &c);
		assert_int_equal(v.err, cases[i].want);
		assert_int_equal(v.problem.code, cases[i].want);
		if (cases[i].detail)
			assert_string_equal(v.problem.detail, cases[i].detail);
		buf_fini(&it.reply);
	}
}

static void nothing_is_served_before_open_and_after_close(void **state)
{
	struct rig *r = *state;
	const struct call c = {.op = "grind"};
	struct rig fresh = {.db = r->db, .slow = r->slow, .arena = r->arena};

	fresh.d = dispatch_of(&fresh);
	assert_int_equal(err_of(&fresh, &c), ERR_UNAVAILABLE);
	dispatch_free(fresh.d);
	assert_int_equal(err_of(r, &c), OK);
	dispatch_close(r->d);
	assert_int_equal(err_of(r, &c), ERR_UNAVAILABLE);
}

static void health_is_told_before_open_and_after_close(void **state)
{
	struct rig *r = *state;
	const struct call health = {.op = "service.health"};
	struct rig fresh = {.db = r->db, .slow = r->slow, .arena = r->arena};

	fresh.d = dispatch_of(&fresh);
	assert_int_equal(err_of(&fresh, &health), OK);
	/* Nothing else, be it unknown or no entry at all. */
	assert_int_equal(err_of(&fresh, &(struct call){.op = "nothing"}),
	                 ERR_UNAVAILABLE);
	assert_int_equal(err_of(&fresh, &(struct call){.op = "event.apply",
	                                               .from = PEER_AUTH}),
	                 ERR_UNAVAILABLE);
	dispatch_free(fresh.d);
	dispatch_close(r->d);
	assert_int_equal(err_of(r, &health), OK);
	assert_true(dispatch_idle(r->d, mono_ms() + 10000));
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

static void hostile_bytes_get_exactly_one_answer(void **state)
{
	struct rig *r = *state;
	AUTO_BUF good = {0};
	uint64_t seed = 7;

	pack_echo(&good, STR("Python"));
	for (unsigned i = 0; i < 3000; i++) {
		AUTO_BUF bytes = {0};
		struct item it;

		buf_str(&bytes, buf_view(&good));
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		if (i < good.n)
			bytes.n = i; /* cut */
		else
			bytes.p[(seed >> 40) % bytes.n] = (char)(seed >> 33);
		/* ask() fails when there is not exactly one answer. */
		(void)ask(r, &it, &bytes, &(struct call){0});
		arena_reset(r->arena);
		buf_fini(&it.reply);
	}
}

struct many {
	struct rig *r;
	unsigned good;
};

static void *ask_many(void *arg)
{
	struct many *m = arg;
	AUTO_BUF bytes = {0};

	pack_echo(&bytes, STR("Python"));
	for (unsigned i = 0; i < 1000; i++) {
		struct item it = {0};

		submit(m->r, &it, &bytes, &(struct call){0});
		m->good += atomic_load(&it.ends) == 1;
		buf_fini(&it.reply);
	}
	return NULL;
}

static void many_threads_may_ask_at_once(void **state)
{
	struct rig *r = *state;
	struct many m[4];
	pthread_t t[COUNTOF(m)];

	for (size_t i = 0; i < COUNTOF(m); i++) {
		m[i] = (struct many){.r = r};
		assert_int_equal(pthread_create(&t[i], NULL, ask_many, &m[i]),
		                 0);
	}
	for (size_t i = 0; i < COUNTOF(m); i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(m[i].good, 1000);
	}
}

/* New, opened, asked once, freed: with the n-th allocation failing. */
static bool live_a_life(struct rig *r, const struct buf *bytes)
{
	struct rig once = {.db = r->db, .slow = r->slow};
	struct item it = {0};

	once.d = dispatch_of(&once);
	if (!once.d)
		return false;
	dispatch_open(once.d, &once.seen);
	submit(&once, &it, bytes, &(struct call){0});
	assert_int_equal(it.ends + it.refusals, 1);
	if (it.refusals)
		assert_int_equal(it.refused, ERR_NOMEM);
	buf_fini(&it.reply);
	dispatch_free(once.d);
	return true;
}

static void every_allocation_may_fail(void **state)
{
	AUTO_BUF bytes = {0};
	unsigned n = 1;

	pack_echo(&bytes, STR("Python"));
	for (;; n++) {
		alloc_fault_arm(n);
		(void)live_a_life(*state, &bytes);
		if (!alloc_fault_disarm())
			break;
	}
	assert_true(n > 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_call_reaches_its_handler_with_checked_fields),
		TEST(a_bad_field_is_told_and_the_handler_not_run),
		TEST(an_unknown_method_is_not_built),
		TEST(only_those_who_may_call_do),
		TEST(what_a_service_says_of_a_person_is_wiped),
		TEST(each_lane_runs_its_methods),
		TEST(peek_answers_without_a_worker),
		TEST(what_is_asked_for_as_events_is_the_service_s_own),
		TEST(what_peek_began_does_not_reach_the_reply),
		TEST(what_is_in_memory_needs_no_bus),
		TEST(what_is_not_in_memory_is_left_to_the_bus),
		TEST(what_takes_long_is_run_again_in_the_slow_lane),
		TEST(what_came_too_late_is_not_run),
		TEST(what_expires_or_is_cancelled_in_the_queue_is_not_run),
		TEST(a_full_lane_is_busy_at_once),
		TEST(what_brings_a_secret_runs_in_the_slow_lane_and_is_wiped),
		TEST(a_secret_is_wiped_also_where_it_is_refused),
		TEST(errors_keep_their_words_and_ours_become_internal),
		TEST(nothing_is_served_before_open_and_after_close),
		TEST(health_is_told_before_open_and_after_close),
		TEST(idle_waits_for_what_is_in_work),
		TEST(hostile_bytes_get_exactly_one_answer),
		TEST(many_threads_may_ask_at_once),
		TEST(every_allocation_may_fail),
	};

	/* Refusals are logged; they are what is tested here. */
	atomic_store(&log_threshold, -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
