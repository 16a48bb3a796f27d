/*
 * dispatch_fixture - a small service behind a dispatch, what its handlers saw,
 * and a transport that keeps what each item ended with.
 *
 * Header only: each unit test is one program.
 */
#ifndef TESTS_UNIT_DISPATCH_FIXTURE_H
#define TESTS_UNIT_DISPATCH_FIXTURE_H

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/service/dispatch.h"

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

static inline void hold(struct seen *s)
{
	GUARD(&s->lock);

	s->inside++;
	pthread_cond_broadcast(&s->moved);
	while (s->shut)
		pthread_cond_wait(&s->moved, &s->lock);
}

static inline void shut(struct seen *s, bool now)
{
	GUARD(&s->lock);

	s->shut = now;
	pthread_cond_broadcast(&s->moved);
}

static inline void wait_inside(struct seen *s, unsigned n)
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

static inline enum err tell_who(void *state, const struct ctx *cx,
                                struct reply *out)
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
static inline bool look_peek(void *state, struct ctx *cx, const void *in,
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

static inline void on_end(void *arg, struct str bytes)
{
	struct item *it = arg;

	buf_str(&it->reply, bytes);
	atomic_fetch_add(&it->ends, 1);
}

static inline void on_refuse(void *arg, enum err e)
{
	struct item *it = arg;

	it->refused = e;
	atomic_fetch_add(&it->refusals, 1);
}

static inline bool is_cancelled(void *arg)
{
	return atomic_load(&((struct item *)arg)->cancelled);
}

struct rig {
	struct seen seen;
	struct lane_pool *db, *slow;
	struct dispatch *d;
	struct arena *arena;
};

static inline enum err on_events(void *arg, struct ctx *cx, struct str body,
                                 struct buf *reply)
{
	struct seen *s = arg;

	assert_int_equal(cx->role, ROLE_SERVICE);
	atomic_fetch_add(&s->runs, 1);
	mp_raw(reply, body);
	return OK;
}

static inline enum err on_health(void *arg, struct ctx *cx, struct str body,
                                 struct buf *reply)
{
	(void)arg;
	(void)cx;
	(void)body;
	mp_text(reply, "well");
	return OK;
}

static inline enum err open_events(void *state, struct ctx *cx,
                                   const struct method *m, struct str body,
                                   struct reply *out)
{
	struct seen *s = state;

	atomic_fetch_add(&s->runs, 1);
	mp_map(&out->body, 3);
	mp_kv_text(&out->body, "op", m->name);
	mp_kv_str(&out->body, "behind", cx->last_event);
	mp_kv_i64(&out->body, "n", mp_find_i64(body, "n", -1));
	return OK;
}

static inline struct dispatch *dispatch_of(struct rig *r)
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

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
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

static inline void pack_call(struct buf *b, const struct call *c)
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
static inline void submit(struct rig *r, struct item *it,
                          const struct buf *bytes, const struct call *c)
{
	dispatch_item(r->d,
	              &(struct dispatch_item){
			      .item = it,
			      .bytes = buf_view(bytes),
			      .deadline_ms =
				      c->deadline_ms ? c->deadline_ms : FAR_MS,
			      .peer = c->from});
}

static inline void wait_end(struct item *it)
{
	while (atomic_load(&it->ends) + atomic_load(&it->refusals) == 0)
		(void)usleep(200);
}

/* Asks and waits; the reply, or what it was refused with. */
static inline struct reply_view ask(struct rig *r, struct item *it,
                                    const struct buf *bytes,
                                    const struct call *c)
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
static inline enum err err_of(struct rig *r, const struct call *c)
{
	AUTO_BUF bytes = {0};
	struct item it;
	enum err e;

	pack_call(&bytes, c);
	e = ask(r, &it, &bytes, c).err;
	buf_fini(&it.reply);
	return e;
}

static inline void pack_echo(struct buf *b, struct str topic)
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
