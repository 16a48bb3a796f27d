/*
 * identity_fixture - an identity over a bus of our own: each call is kept until
 * the test answers it as svc-auth, and both clocks are the test's.
 *
 * Header only: each unit test is one program.
 */
#ifndef TESTS_UNIT_IDENTITY_FIXTURE_H
#define TESTS_UNIT_IDENTITY_FIXTURE_H

#include "gateway/identity.h"
#include "tests/jwt_maker.h"

#include "common/base/clock.h"
#include "common/bus/entry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW_MS  ((int64_t)MAKER_NOW * 1000)
#define OTHER   "01900000-0000-7000-8000-00000000000a"
#define API_KEY "sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

/* --- the bus -------------------------------------------------------------- */

struct sent {
	uint64_t id;
	char op[32];
	struct buf bytes; /* the entry */
	bus_reply_fn *fn;
	void *arg;
};

struct world {
	struct maker maker, next; /* next: a key that comes later */
	struct settings conf;
	struct identity *id;
	uint64_t now_ms;
	uint64_t began_ms; /* by the bus's clock, which nobody holds */
	int64_t wall_ms;
	enum err refuse; /* what the bus says to a call */
	uint64_t ids;
	size_t n;
	struct sent sent[128];
	unsigned cancelled;
	/* The last answer, and how many came. */
	unsigned done;
	enum err e;
	struct who who;
};

static inline enum err fake_call(void *bus, const struct bus_call *call,
                                 uint64_t *id)
{
	struct world *w = bus;
	struct sent *s = &w->sent[w->n];
	struct entry entry;
	struct ctx cx = {0};

	if (w->refuse)
		return w->refuse;
	assert_true(w->n < COUNTOF(w->sent));
	assert_int_equal(call->to, PEER_AUTH);
	assert_true(call->retry);
	/* Also of a turn that began long ago: at least a whole second. */
	assert_true(call->deadline_ms >= w->began_ms + 1000);
	assert_int_equal(entry_read(call->bytes, &cx, &entry), OK);
	assert_int_equal(cx.sub.n, 0);
	*s = (struct sent){.id = ++w->ids,
	                   .fn = call->on_reply,
	                   .arg = call->arg};
	(void)snprintf(s->op, sizeof(s->op), "%.*s", STR_FMT(entry.op));
	buf_str(&s->bytes, call->bytes);
	w->n++;
	*id = s->id;
	return OK;
}

/* Takes a call off the list; the caller frees its bytes. */
static inline struct sent take_at(struct world *w, size_t i)
{
	struct sent s = w->sent[i];

	memmove(&w->sent[i], &w->sent[i + 1],
	        (w->n - i - 1) * sizeof(w->sent[0]));
	w->n--;
	return s;
}

static inline void fake_cancel(void *bus, uint64_t id)
{
	struct world *w = bus;

	for (size_t i = 0; i < w->n; i++) {
		if (w->sent[i].id == id) {
			struct sent s = take_at(w, i);

			buf_fini(&s.bytes);
			w->cancelled++;
			return;
		}
	}
	fail_msg("a call that is not open was cancelled");
}

static inline int64_t fake_wall(void *bus)
{
	struct world *w = bus;

	return w->wall_ms;
}

static inline size_t open_calls(const struct world *w, const char *op)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n; i++)
		n += strcmp(w->sent[i].op, op) == 0;
	return n;
}

/* Answers the oldest open call of this name. */
static inline void answer(struct world *w, const char *op, enum err e,
                          struct str body)
{
	struct ctx cx = {0};
	struct reply reply = {0};
	AUTO_BUF bytes = {0};

	for (size_t i = 0; i < w->n; i++) {
		struct sent s;

		if (strcmp(w->sent[i].op, op) != 0)
			continue;
		s = take_at(w, i);
		buf_str(&reply.body, body);
		reply_pack(&bytes, &cx, e, &reply);
		s.fn(s.arg, OK, buf_view(&bytes), false);
		buf_fini(&reply.body);
		buf_fini(&s.bytes);
		return;
	}
	fail_msg("nobody asked %s", op);
}

/* The same, but the bus fails. */
static inline void lose(struct world *w, const char *op, enum err e)
{
	for (size_t i = 0; i < w->n; i++) {
		if (strcmp(w->sent[i].op, op) == 0) {
			struct sent s = take_at(w, i);

			s.fn(s.arg, e, (struct str){0}, false);
			buf_fini(&s.bytes);
			return;
		}
	}
	fail_msg("nobody asked %s", op);
}

/* --- what svc-auth says --------------------------------------------------- */

static inline void answer_keys(struct world *w, size_t n)
{
	const struct maker both[2] = {w->maker, w->next};
	AUTO_BUF b = {0};

	maker_jwks(both, n, &b);
	answer(w, "auth.jwks", OK, buf_view(&b));
}

static inline void row(struct buf *b, int64_t seq, const char *kind,
                       const char *id, int64_t at_ms)
{
	mp_array(b, 5);
	mp_i64(b, seq);
	mp_text(b, kind);
	mp_text(b, id);
	mp_i64(b, at_ms);
	mp_i64(b, at_ms + 86400000);
}

static inline void rows_of(struct buf *b, int64_t seq, const char *kind,
                           const char *id, int64_t at_ms)
{
	mp_map(b, 2);
	mp_kv_i64(b, "seq", seq);
	mp_kv_array(b, "items", kind ? 1 : 0);
	if (kind)
		row(b, seq, kind, id, at_ms);
}

static inline void answer_poll(struct world *w, int64_t seq, const char *kind,
                               const char *id)
{
	AUTO_BUF b = {0};

	rows_of(&b, seq, kind, id, w->wall_ms);
	answer(w, "auth.revocations", OK, buf_view(&b));
}

static inline void push(struct world *w, int64_t seq, const char *kind,
                        const char *id)
{
	AUTO_BUF b = {0};

	rows_of(&b, seq, kind, id, w->wall_ms);
	identity_push(w->id, buf_view(&b), w->now_ms);
}

static inline void answer_key(struct world *w, const char *sub)
{
	AUTO_BUF b = {0};

	mp_map(&b, 7);
	mp_kv_text(&b, "sub", sub);
	mp_kv_text(&b, "hnd", "Alice");
	mp_kv_text(&b, "role", "admin");
	mp_kv_text(&b, "tier", "free");
	mp_kv_text(&b, "scp", "write admin");
	mp_kv_text(&b, "key_id", MAKER_KEY);
	mp_kv_i64(&b, "at", w->wall_ms / 1000);
	answer(w, "auth.verify_key", OK, buf_view(&b));
}

/* --- fixture -------------------------------------------------------------- */

static inline struct identity *make_identity(struct world *w)
{
	const struct identity_bus bus = {fake_call, fake_cancel, fake_wall, w};

	return identity_new_over(&w->conf, &bus);
}

static inline int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w || !maker_init(&w->maker) || !maker_init(&w->next))
		return -1;
	w->conf = (struct settings){.token_issuer = STR("knowalledge"),
	                            .token_audience = STR("knowalledge"),
	                            .auth_cache_entries = 64,
	                            .revocation_max_stale_s = 60};
	w->now_ms = 1000000;
	w->began_ms = mono_ms();
	w->wall_ms = NOW_MS;
	w->id = make_identity(w);
	*state = w;
	return w->id ? 0 : -1;
}

static inline int teardown(void **state)
{
	struct world *w = *state;
	bool left;

	identity_free(w->id);
	left = w->n > 0; /* identity_free() cancels what it asked */
	maker_fini(&w->maker);
	maker_fini(&w->next);
	free(w);
	return left ? -1 : 0;
}

/* Time passes; turns as the loop would. */
static inline void pass(struct world *w, uint64_t ms)
{
	w->now_ms += ms;
	w->wall_ms += (int64_t)ms;
	identity_turn(w->id, w->now_ms);
}

static inline void become_ready(struct world *w)
{
	identity_turn(w->id, w->now_ms);
	answer_keys(w, 1);
	answer_poll(w, 0, NULL, NULL);
	assert_true(identity_ready(w->id));
}

static inline void done(void *arg, enum err e, const struct who *who)
{
	struct world *w = arg;

	w->done++;
	w->e = e;
	if (who)
		w->who = *who;
}

static inline enum err check(struct world *w, struct str bearer, struct str key)
{
	AUTO_BUF header = {0};
	struct credentials c = {.api_key = key};

	if (bearer.p) {
		buf_str(&header, STR("Bearer "));
		buf_str(&header, bearer);
		c.authorization = buf_view(&header);
	}
	return identity_check(w->id, &c, w->now_ms, w->now_ms + 3000, &w->who,
	                      done, w);
}

#define NONE ((struct str){NULL, 0})

static inline void token_of(const struct maker *m, const char *claim,
                            const char *value, struct buf *out)
{
	AUTO_BUF header = {0}, claims = {0};

	maker_header(m, &header);
	maker_claims(&claims, claim, value, "");
	maker_token(m, buf_view(&header), buf_view(&claims), out);
}

static inline struct identity_stats stats(const struct world *w)
{
	struct identity_stats s;

	identity_stats(w->id, w->now_ms, &s);
	return s;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
