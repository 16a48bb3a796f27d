/*
 * identity over a bus of our own: each call is kept until the test answers it,
 * and both clocks are the test's.
 */
#include "gateway/credcache.h"
#include "gateway/identity.h"
#include "gateway/revoked.h"
#include "tests/alloc_fault.h"
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

static enum err fake_call(void *bus, const struct bus_call *call, uint64_t *id)
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
static struct sent take_at(struct world *w, size_t i)
{
	struct sent s = w->sent[i];

	memmove(&w->sent[i], &w->sent[i + 1],
	        (w->n - i - 1) * sizeof(w->sent[0]));
	w->n--;
	return s;
}

static void fake_cancel(void *bus, uint64_t id)
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

static int64_t fake_wall(void *bus)
{
	struct world *w = bus;

	return w->wall_ms;
}

static size_t open_calls(const struct world *w, const char *op)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n; i++)
		n += strcmp(w->sent[i].op, op) == 0;
	return n;
}

/* Answers the oldest open call of this name. */
static void answer(struct world *w, const char *op, enum err e, struct str body)
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
static void lose(struct world *w, const char *op, enum err e)
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

static void answer_keys(struct world *w, size_t n)
{
	const struct maker both[2] = {w->maker, w->next};
	AUTO_BUF b = {0};

	maker_jwks(both, n, &b);
	answer(w, "auth.jwks", OK, buf_view(&b));
}

static void row(struct buf *b, int64_t seq, const char *kind, const char *id,
                int64_t at_ms)
{
	mp_array(b, 5);
	mp_i64(b, seq);
	mp_text(b, kind);
	mp_text(b, id);
	mp_i64(b, at_ms);
	mp_i64(b, at_ms + 86400000);
}

static void rows_of(struct buf *b, int64_t seq, const char *kind,
                    const char *id, int64_t at_ms)
{
	mp_map(b, 2);
	mp_kv_i64(b, "seq", seq);
	mp_kv_array(b, "items", kind ? 1 : 0);
	if (kind)
		row(b, seq, kind, id, at_ms);
}

static void answer_poll(struct world *w, int64_t seq, const char *kind,
                        const char *id)
{
	AUTO_BUF b = {0};

	rows_of(&b, seq, kind, id, w->wall_ms);
	answer(w, "auth.revocations", OK, buf_view(&b));
}

static void push(struct world *w, int64_t seq, const char *kind, const char *id)
{
	AUTO_BUF b = {0};

	rows_of(&b, seq, kind, id, w->wall_ms);
	identity_push(w->id, buf_view(&b), w->now_ms);
}

static void answer_key(struct world *w, const char *sub)
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

static struct identity *make_identity(struct world *w)
{
	const struct identity_bus bus = {fake_call, fake_cancel, fake_wall, w};

	return identity_new_over(&w->conf, &bus);
}

static int setup(void **state)
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

static int teardown(void **state)
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
static void pass(struct world *w, uint64_t ms)
{
	w->now_ms += ms;
	w->wall_ms += (int64_t)ms;
	identity_turn(w->id, w->now_ms);
}

static void become_ready(struct world *w)
{
	identity_turn(w->id, w->now_ms);
	answer_keys(w, 1);
	answer_poll(w, 0, NULL, NULL);
	assert_true(identity_ready(w->id));
}

static void done(void *arg, enum err e, const struct who *who)
{
	struct world *w = arg;

	w->done++;
	w->e = e;
	if (who)
		w->who = *who;
}

static enum err check(struct world *w, struct str bearer, struct str key)
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

static void token_of(const struct maker *m, const char *claim,
                     const char *value, struct buf *out)
{
	AUTO_BUF header = {0}, claims = {0};

	maker_header(m, &header);
	maker_claims(&claims, claim, value, "");
	maker_token(m, buf_view(&header), buf_view(&claims), out);
}

static struct identity_stats stats(const struct world *w)
{
	struct identity_stats s;

	identity_stats(w->id, w->now_ms, &s);
	return s;
}

/* --- before it is ready --------------------------------------------------- */

static void nobody_is_believed_before_keys_and_revocations_are_there(
	void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};

	token_of(&w->maker, NULL, NULL, &t);
	assert_int_equal(check(w, buf_view(&t), NONE), ERR_UNAVAILABLE);
	identity_turn(w->id, w->now_ms);
	answer_keys(w, 1);
	assert_false(identity_ready(w->id));
	assert_true(identity_stale(w->id, w->now_ms));
	assert_int_equal(check(w, buf_view(&t), NONE), ERR_UNAVAILABLE);
	answer_poll(w, 0, NULL, NULL);
	assert_true(identity_ready(w->id));
	assert_false(identity_stale(w->id, w->now_ms));
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
}

static void at_start_it_asks_until_svc_auth_answers(void **state)
{
	struct world *w = *state;

	w->refuse = ERR_UNAVAILABLE;
	for (int i = 0; i < 20; i++)
		pass(w, 250);
	w->refuse = OK;
	pass(w, 250);
	assert_int_equal(open_calls(w, "auth.jwks"), 1);
	answer(w, "auth.jwks", OK, STR("\x80"));
	assert_false(identity_ready(w->id));
	pass(w, 250);
	answer_keys(w, 1);
	answer_poll(w, 0, NULL, NULL);
	assert_true(identity_ready(w->id));
}

static void a_long_list_is_read_page_by_page_before_it_counts(void **state)
{
	struct world *w = *state;
	AUTO_BUF b = {0}, t = {0};

	identity_turn(w->id, w->now_ms);
	answer_keys(w, 1);
	mp_map(&b, 3);
	mp_kv_i64(&b, "seq", 1);
	mp_kv_array(&b, "items", 1);
	row(&b, 1, "jti", OTHER, w->wall_ms);
	mp_kv_bool(&b, "more", true);
	answer(w, "auth.revocations", OK, buf_view(&b));
	assert_false(identity_ready(w->id));
	pass(w, 0);
	answer_poll(w, 2, "jti", MAKER_JTI);
	assert_true(identity_ready(w->id));
	assert_int_equal(stats(w).revocations, 2);
	token_of(&w->maker, NULL, NULL, &t);
	assert_int_equal(check(w, buf_view(&t), NONE), ERR_EXPIRED);
}

/* --- which credentials ---------------------------------------------------- */

static void what_means_nobody_is_absent(void **state)
{
	static const char *const headers[] = {
		"",
		" ",
		"Bearer",
		"Bearer ",
		"bearer null",
		"Bearer undefined",
		"BEARER   null  ",
	};
	struct world *w = *state;

	become_ready(w);
	for (size_t i = 0; i < COUNTOF(headers); i++) {
		const struct credentials c = {.authorization =
		                                      str_from(headers[i])};

		assert_int_equal(identity_check(w->id, &c, w->now_ms,
		                                w->now_ms + 10, &w->who, done,
		                                w),
		                 ERR_LOGIN_NEEDED);
	}
	assert_int_equal(w->n, 0);
}

static void other_schemes_are_refused(void **state)
{
	static const char *const headers[] = {
		"Basic YTpi",
		"Bearerx y",
		"null",
		"Token abc",
	};
	struct world *w = *state;

	become_ready(w);
	for (size_t i = 0; i < COUNTOF(headers); i++) {
		const struct credentials c = {.authorization =
		                                      str_from(headers[i])};

		assert_int_equal(identity_check(w->id, &c, w->now_ms,
		                                w->now_ms + 10, &w->who, done,
		                                w),
		                 ERR_BAD_LOGIN);
	}
}

static void a_good_token_tells_who_it_is_at_once(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	for (int i = 0; i < 3; i++) {
		memset(&w->who, 0, sizeof(w->who));
		assert_int_equal(check(w, buf_view(&t), NONE), OK);
		assert_string_equal(w->who.sub, MAKER_SUB);
		assert_string_equal(w->who.hnd, "Alice");
		assert_string_equal(w->who.sid, MAKER_SID);
		assert_int_equal(w->who.scopes, SCOPE_READ | SCOPE_WRITE);
	}
	assert_int_equal(stats(w).misses, 1);
	assert_int_equal(stats(w).hits, 2);
	assert_int_equal(w->n, 0);
}

static void a_remembered_token_still_expires(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->maker, "exp", "1800000002", &t);
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
	w->now_ms += 1999;
	w->wall_ms += 1999;
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
	w->now_ms += 1;
	w->wall_ms += 1;
	assert_int_equal(check(w, buf_view(&t), NONE), ERR_EXPIRED);
	/* Also when only the wall clock was put forward. */
	buf_clear(&t);
	token_of(&w->maker, NULL, NULL, &t);
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
	w->wall_ms += 3600000;
	assert_int_equal(check(w, buf_view(&t), NONE), ERR_EXPIRED);
}

/* --- API keys ------------------------------------------------------------- */

static void an_api_key_is_asked_of_svc_auth_by_its_hash(void **state)
{
	struct world *w = *state;

	become_ready(w);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	assert_int_equal(open_calls(w, "auth.verify_key"), 1);
	/* The key itself never travels. */
	assert_null(memmem(w->sent[0].bytes.p, w->sent[0].bytes.n, API_KEY,
	                   strlen(API_KEY)));
	assert_int_equal(w->done, 0);
	answer_key(w, MAKER_SUB);
	assert_int_equal(w->done, 1);
	assert_int_equal(w->e, OK);
	assert_string_equal(w->who.sub, MAKER_SUB);
	assert_string_equal(w->who.sid, "key:" MAKER_KEY);
	assert_int_equal(w->who.role, ROLE_ADMIN);
	assert_int_equal(w->who.expires_s, 0);
	/* Known for a second. */
	w->now_ms += IDENTITY_KEY_MS - 1;
	assert_int_equal(check(w, NONE, STR(API_KEY)), OK);
	w->now_ms += 1;
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	answer(w, "auth.verify_key", ERR_BAD_KEY, NONE);
	assert_int_equal(w->e, ERR_BAD_KEY);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BAD_KEY);
}

static void requests_with_one_key_share_one_call(void **state)
{
	struct world *w = *state;

	become_ready(w);
	for (int i = 0; i < 10; i++)
		assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	assert_int_equal(open_calls(w, "auth.verify_key"), 1);
	answer_key(w, MAKER_SUB);
	assert_int_equal(w->done, 10);
}

static void a_failing_service_is_no_verdict(void **state)
{
	static const enum err bus_says[] = {ERR_PEER_LOST, ERR_TIMEOUT,
	                                    ERR_UNAVAILABLE, ERR_BUSY};
	struct world *w = *state;

	become_ready(w);
	for (size_t i = 0; i < COUNTOF(bus_says); i++) {
		assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
		lose(w, "auth.verify_key", bus_says[i]);
		assert_int_equal(w->e, ERR_UNAVAILABLE);
	}
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	answer(w, "auth.verify_key", ERR_DATABASE, NONE);
	assert_int_equal(w->e, ERR_UNAVAILABLE);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	answer(w, "auth.verify_key", OK, STR("\x81\xa3sub\x01"));
	assert_int_equal(w->e, ERR_UNAVAILABLE);
	w->refuse = ERR_BUSY;
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_UNAVAILABLE);
}

static void who_waits_is_answered_by_the_deadline(void **state)
{
	struct world *w = *state;

	become_ready(w);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	assert_true(identity_timeout_ms(w->id, w->now_ms) <= 3000);
	pass(w, 2999);
	assert_int_equal(w->done, 0);
	pass(w, 1);
	assert_int_equal(w->done, 1);
	assert_int_equal(w->e, ERR_UNAVAILABLE);
	/* The late answer finds nobody, and is kept. */
	answer_key(w, MAKER_SUB);
	assert_int_equal(w->done, 1);
	assert_int_equal(check(w, NONE, STR(API_KEY)), OK);
}

static void who_is_forgotten_is_not_called(void **state)
{
	struct world *w = *state;

	become_ready(w);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	identity_forget(w->id, w);
	identity_forget(w->id, w);
	answer_key(w, MAKER_SUB);
	assert_int_equal(w->done, 0);
}

/* --- two credentials ------------------------------------------------------ */

static void two_credentials_must_be_of_one_person(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	assert_int_equal(check(w, buf_view(&t), STR(API_KEY)), ERR_BUSY);
	answer_key(w, OTHER);
	assert_int_equal(w->e, ERR_DENIED);
	assert_int_equal(check(w, buf_view(&t), STR(API_KEY)), ERR_DENIED);

	w->now_ms += IDENTITY_KEY_MS;
	assert_int_equal(check(w, buf_view(&t), STR(API_KEY)), ERR_BUSY);
	answer_key(w, MAKER_SUB);
	assert_int_equal(w->e, OK);
	/* No more than both allow. */
	assert_int_equal(w->who.scopes, SCOPE_WRITE);
	assert_int_equal(w->who.role, ROLE_USER);
}

static void one_bad_credential_of_two_is_refused(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	assert_int_equal(check(w, buf_view(&t), STR("x")), ERR_BUSY);
	answer(w, "auth.verify_key", ERR_BAD_KEY, NONE);
	assert_int_equal(w->e, ERR_BAD_KEY);
	assert_int_equal(check(w, STR("a.b.c"), STR(API_KEY)), ERR_BUSY);
	answer_key(w, MAKER_SUB);
	assert_int_equal(w->e, ERR_BAD_TOKEN);
	/* A bearer that means nobody does not count. */
	assert_int_equal(check(w, STR("null"), STR(API_KEY)), OK);
}

/* --- the session cookie ---------------------------------------------------- */

static enum err check_cookie(struct world *w, struct str bearer,
                             struct str cookie)
{
	AUTO_BUF header = {0};
	struct credentials c = {.cookie = cookie};

	buf_str(&header, STR("Bearer "));
	buf_str(&header, bearer);
	c.authorization = buf_view(&header);
	return identity_check(w->id, &c, w->now_ms, w->now_ms + 3000, &w->who,
	                      done, w);
}

static void a_cookie_counts_where_no_bearer_does(void **state)
{
	static const struct {
		const char *bearer;
		bool by_cookie;
	} cases[] = {
		{"", true},
		{"null", true},
		{"undefined", true},
		{NULL, false}, /* the same token in both */
	};
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct str bearer = cases[i].bearer ? str_from(cases[i].bearer)
		                                    : buf_view(&t);

		assert_int_equal(check_cookie(w, bearer, buf_view(&t)), OK);
		assert_string_equal(w->who.sub, MAKER_SUB);
		assert_int_equal(w->who.by_cookie, cases[i].by_cookie);
	}
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
	assert_false(w->who.by_cookie);
}

static void bearer_and_cookie_must_be_good_and_of_one_person(void **state)
{
	struct world *w = *state;
	AUTO_BUF mine = {0}, other = {0};
	struct str bad = STR("a.b.c");

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &mine);
	token_of(&w->maker, "sub", "\"" OTHER "\"", &other);
	{
		const struct {
			struct str bearer, cookie;
			enum err want;
		} cases[] = {
			{buf_view(&mine), buf_view(&mine), OK},
			{buf_view(&mine), buf_view(&other), ERR_DENIED},
			{buf_view(&other), buf_view(&mine), ERR_DENIED},
			{buf_view(&mine), bad, ERR_BAD_TOKEN},
			{bad, buf_view(&mine), ERR_BAD_TOKEN},
			{STR("null"), bad, ERR_BAD_TOKEN},
		};

		for (size_t i = 0; i < COUNTOF(cases); i++) {
			struct who before = w->who;

			assert_int_equal(check_cookie(w, cases[i].bearer,
			                              cases[i].cookie),
			                 cases[i].want);
			if (cases[i].want)
				assert_memory_equal(&before, &w->who,
				                    sizeof(before));
		}
	}
}

static void a_key_beside_a_cookie_says_who_it_is(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};
	struct credentials c = {.api_key = STR(API_KEY)};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	c.cookie = buf_view(&t);
	assert_int_equal(identity_check(w->id, &c, w->now_ms, w->now_ms + 3000,
	                                &w->who, done, w),
	                 ERR_BUSY);
	answer_key(w, MAKER_SUB);
	assert_int_equal(w->e, OK);
	assert_false(w->who.by_cookie);
	assert_int_equal(w->who.scopes, SCOPE_WRITE); /* as both allow */
}

static void a_cookie_too_waits_for_the_keys(void **state)
{
	struct world *w = *state;
	AUTO_BUF late = {0}, also = {0};

	become_ready(w);
	token_of(&w->next, NULL, NULL, &late);
	token_of(&w->next, "auth_time", "1799999000", &also);
	w->now_ms += IDENTITY_COOLDOWN_MS;
	assert_int_equal(check_cookie(w, STR("null"), buf_view(&late)),
	                 ERR_BUSY);
	assert_int_equal(check_cookie(w, buf_view(&also), buf_view(&late)),
	                 ERR_BUSY);
	answer_keys(w, 2);
	assert_int_equal(w->done, 2);
	assert_int_equal(w->e, OK);
	assert_false(w->who.by_cookie);
}

/* --- unknown kids --------------------------------------------------------- */

static void an_unknown_kid_fetches_the_keys_once_per_cooldown(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->next, NULL, NULL, &t);
	/* Asked a moment ago: the key does not exist. */
	assert_int_equal(check(w, buf_view(&t), NONE), ERR_BAD_TOKEN);
	assert_int_equal(w->n, 0);
	w->now_ms += IDENTITY_COOLDOWN_MS;
	assert_int_equal(check(w, buf_view(&t), NONE), ERR_BUSY);
	assert_int_equal(check(w, buf_view(&t), NONE), ERR_BUSY);
	assert_int_equal(open_calls(w, "auth.jwks"), 1);
	answer_keys(w, 2);
	assert_int_equal(w->done, 2);
	assert_int_equal(w->e, OK);
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
}

static void a_failed_fetch_is_no_verdict_on_a_token(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->next, NULL, NULL, &t);
	w->now_ms += IDENTITY_COOLDOWN_MS;
	assert_int_equal(check(w, buf_view(&t), NONE), ERR_BUSY);
	lose(w, "auth.jwks", ERR_TIMEOUT);
	assert_int_equal(w->e, ERR_UNAVAILABLE);
	assert_int_equal(check(w, buf_view(&t), NONE), ERR_UNAVAILABLE);
	/* The keys known so far stay good. */
	buf_clear(&t);
	token_of(&w->maker, NULL, NULL, &t);
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
}

static void a_retired_key_is_forgotten_when_keys_are_read_again(void **state)
{
	struct world *w = *state;
	struct maker old = w->maker;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->next, NULL, NULL, &t);
	w->maker = w->next;
	w->next = old;
	pass(w, 300000);
	answer_keys(w, 1);
	answer_poll(w, 0, NULL, NULL);
	w->wall_ms = NOW_MS;
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
	buf_clear(&t);
	token_of(&old, NULL, NULL, &t);
	assert_int_equal(check(w, buf_view(&t), NONE), ERR_BAD_TOKEN);
}

/* --- revocation ----------------------------------------------------------- */

static const struct {
	const char *kind, *id;
	enum err want;
} revocations[] = {
	{"jti", MAKER_JTI, ERR_EXPIRED},
	{"jti", MAKER_SID, ERR_EXPIRED},
	{"key", MAKER_KEY, ERR_EXPIRED},
	{"sub", MAKER_SUB, ERR_EXPIRED},
	{"jti", OTHER, OK},
	{"key", OTHER, OK},
	{"sub", OTHER, OK},
	{"jti", MAKER_SUB, OK},
	{"key", MAKER_JTI, OK},
	{"later", MAKER_JTI, OK},
};

static void a_push_ends_a_remembered_token_at_once(void **state)
{
	struct world *w = *state;

	become_ready(w);
	for (size_t i = 0; i < COUNTOF(revocations); i++) {
		AUTO_BUF t = {0};

		identity_free(w->id);
		w->id = make_identity(w);
		assert_non_null(w->id);
		become_ready(w);
		token_of(&w->maker, NULL, NULL, &t);
		assert_int_equal(check(w, buf_view(&t), NONE), OK);
		push(w, 1, revocations[i].kind, revocations[i].id);
		if (check(w, buf_view(&t), NONE) != revocations[i].want)
			fail_msg("%s %s", revocations[i].kind,
			         revocations[i].id);
		/* And for good. */
		assert_int_equal(check(w, buf_view(&t), NONE),
		                 revocations[i].want);
	}
}

static void tokens_issued_after_a_person_was_revoked_are_good(void **state)
{
	struct world *w = *state;
	AUTO_BUF old = {0}, fresh = {0};

	become_ready(w);
	push(w, 1, "sub", MAKER_SUB);
	token_of(&w->maker, "iat", "1800000000", &old);
	token_of(&w->maker, "iat", "1800000001", &fresh);
	assert_int_equal(check(w, buf_view(&old), NONE), ERR_EXPIRED);
	assert_int_equal(check(w, buf_view(&fresh), NONE), OK);
}

static void a_revoked_api_key_is_dead_at_once(void **state)
{
	struct world *w = *state;

	become_ready(w);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	answer_key(w, MAKER_SUB);
	push(w, 1, "key", MAKER_KEY);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BAD_KEY);
}

static void an_answer_overtaken_by_a_revocation_does_not_count(void **state)
{
	struct world *w = *state;

	become_ready(w);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	push(w, 1, "key", MAKER_KEY);
	answer_key(w, MAKER_SUB);
	assert_int_equal(w->e, ERR_BAD_KEY);
	/* A person's rights have changed meanwhile: asked again each time. */
	assert_int_equal(check(w, NONE, STR("other")), ERR_BUSY);
	push(w, 2, "sub", OTHER);
	lose(w, "auth.verify_key", ERR_TIMEOUT);
}

static void changed_rights_are_asked_for_again(void **state)
{
	struct world *w = *state;

	become_ready(w);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	answer_key(w, MAKER_SUB);
	assert_int_equal(check(w, NONE, STR(API_KEY)), OK);
	push(w, 1, "sub", MAKER_SUB);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	lose(w, "auth.verify_key", ERR_TIMEOUT);
}

/* The since of the open poll. */
static int64_t asked_since(const struct world *w)
{
	struct ctx cx = {0};
	struct entry entry;

	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->sent[i].op, "auth.revocations") == 0 &&
		    !entry_read(buf_view(&w->sent[i].bytes), &cx, &entry))
			return mp_find_i64(entry.body, "since", -1);
	return -1;
}

static void a_gap_between_pushes_is_closed_by_a_poll(void **state)
{
	struct world *w = *state;

	become_ready(w);
	push(w, 1, "jti", OTHER);
	assert_int_equal(w->n, 0);
	push(w, 3, "jti", OTHER);
	pass(w, 0);
	assert_int_equal(open_calls(w, "auth.revocations"), 1);
	assert_int_equal(asked_since(w), 1);
	answer_poll(w, 3, "jti", MAKER_JTI);
	pass(w, IDENTITY_POLL_MS);
	assert_int_equal(asked_since(w), 3);
	answer_poll(w, 3, NULL, NULL);
}

static void hostile_pushes_change_nothing(void **state)
{
	static const struct str bad[] = {
		{"", 0},
		{"\xc1", 1},
		{"\x80", 1},
		{"\x81\xa5items\x01", 8},
		{"\x81\xa5items\x91\x01", 9},
		{"\x81\xa5items\x91\x95\x01\x02\x03\x04\x05", 14},
		{"\x81\xa5items\xdd\xff\xff\xff\xff", 12},
		{"\x81\xa5items\x91\x94\x01\xa3jti\xa1x\x01", 16},
	};
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	for (size_t i = 0; i < COUNTOF(bad); i++) {
		identity_push(w->id, bad[i], w->now_ms);
		assert_int_equal(check(w, buf_view(&t), NONE), OK);
	}
	assert_int_equal(stats(w).revocations, 0);
	assert_int_equal(identity_timeout_ms(w->id, w->now_ms), 0);
}

static void silence_first_makes_stale_and_then_closes(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	w->refuse = ERR_UNAVAILABLE;
	pass(w, IDENTITY_FRESH_MS);
	assert_false(identity_stale(w->id, w->now_ms));
	pass(w, 1);
	assert_true(identity_stale(w->id, w->now_ms));
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
	pass(w, 60000 - IDENTITY_FRESH_MS - 1);
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
	pass(w, 1);
	assert_int_equal(check(w, buf_view(&t), NONE), ERR_UNAVAILABLE);
	assert_int_equal(stats(w).age_ms, 60001);
	w->refuse = OK;
	pass(w, IDENTITY_POLL_MS);
	answer_poll(w, 0, NULL, NULL);
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
}

/* --- floods --------------------------------------------------------------- */

static void a_flood_of_keys_is_bounded(void **state)
{
	struct world *w = *state;
	unsigned waiting = 0, refused = 0;

	become_ready(w);
	for (unsigned i = 0; i < 5000; i++) {
		char key[32];
		enum err e;

		(void)snprintf(key, sizeof(key), "sk_random_%u", i);
		e = check(w, NONE, str_from(key));
		waiting += e == ERR_BUSY;
		refused += e == ERR_UNAVAILABLE;
	}
	assert_int_equal(waiting, IDENTITY_CALLS_MAX);
	assert_int_equal(refused, 5000 - IDENTITY_CALLS_MAX);
	while (open_calls(w, "auth.verify_key"))
		answer(w, "auth.verify_key", ERR_BAD_KEY, NONE);
	assert_int_equal(w->done, IDENTITY_CALLS_MAX);
	assert_true(stats(w).entries <= 64);
}

static void a_flood_of_one_key_is_bounded_too(void **state)
{
	struct world *w = *state;
	unsigned waiting = 0;

	become_ready(w);
	for (unsigned i = 0; i < IDENTITY_WAITERS_MAX + 10; i++)
		waiting += check(w, NONE, STR(API_KEY)) == ERR_BUSY;
	assert_int_equal(waiting, IDENTITY_WAITERS_MAX);
	answer_key(w, MAKER_SUB);
	assert_int_equal(w->done, IDENTITY_WAITERS_MAX);
}

static void a_flood_of_bad_tokens_does_not_push_people_out(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
	for (unsigned i = 0; i < 5000; i++) {
		char bad[32];

		(void)snprintf(bad, sizeof(bad), "a.b.%u", i);
		assert_int_equal(check(w, str_from(bad), NONE), ERR_BAD_TOKEN);
	}
	assert_int_equal(stats(w).misses, 5001);
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
	assert_int_equal(stats(w).misses, 5001);
	assert_int_equal(w->n, 0);
}

/* --- the parts ------------------------------------------------------------ */

static void a_full_cache_spares_what_was_used(void **state)
{
	AUTO(credcache) c = credcache_new(CREDCACHE_WAYS);
	const struct cred v = {.until_ms = 100};
	struct digest used = credcache_digest(c, CRED_TOKEN, STR("used"));

	(void)state;
	credcache_put(c, &used, &v, 0);
	for (unsigned i = 0; i < 100; i++) {
		char name[16];
		struct digest d;

		(void)snprintf(name, sizeof(name), "%u", i);
		d = credcache_digest(c, CRED_TOKEN, str_from(name));
		assert_non_null(credcache_get(c, &used, 1));
		credcache_put(c, &d, &v, 1);
	}
	assert_non_null(credcache_get(c, &used, 99));
	assert_null(credcache_get(c, &used, 100));
	assert_true(credcache_stats(c).entries <= CREDCACHE_WAYS);
}

static void a_refusal_takes_no_persons_place(void **state)
{
	AUTO(credcache) c = credcache_new(CREDCACHE_WAYS);
	const struct cred good = {.until_ms = 100};
	const struct cred bad = {.verdict = ERR_BAD_TOKEN, .until_ms = 100};
	struct digest d[CREDCACHE_WAYS];
	struct digest other = credcache_digest(c, CRED_TOKEN, STR("other"));

	(void)state;
	for (size_t i = 0; i < CREDCACHE_WAYS; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "%zu", i);
		d[i] = credcache_digest(c, CRED_TOKEN, str_from(name));
		credcache_put(c, &d[i], &good, 0);
	}
	credcache_put(c, &other, &bad, 1);
	assert_null(credcache_get(c, &other, 1));
	for (size_t i = 0; i < CREDCACHE_WAYS; i++)
		assert_non_null(credcache_get(c, &d[i], 1));
	/* Once they are outdated it does. */
	credcache_put(c, &other, &(struct cred){.until_ms = 200}, 100);
	assert_non_null(credcache_get(c, &other, 100));
}

static void a_token_and_a_key_of_the_same_text_are_two(void **state)
{
	AUTO(credcache) c = credcache_new(64);
	struct digest a = credcache_digest(c, CRED_TOKEN, STR("same"));
	struct digest b = credcache_digest(c, CRED_KEY, STR("same"));

	(void)state;
	assert_memory_not_equal(&a, &b, sizeof(a));
}

static void many_revocations_are_all_found_and_the_past_goes(void **state)
{
	AUTO(revoked) r = revoked_new();
	char id[32];

	(void)state;
	for (int i = 0; i < 5000; i++) {
		(void)snprintf(id, sizeof(id), "id-%d", i);
		assert_int_equal(revoked_add(r, REVOKED_JTI, str_from(id), i,
		                             10000, 0),
		                 OK);
	}
	assert_int_equal(revoked_count(r), 5000);
	for (int i = 0; i < 5000; i++) {
		(void)snprintf(id, sizeof(id), "id-%d", i);
		assert_int_equal(revoked_at(r, REVOKED_JTI, str_from(id)), i);
		assert_int_equal(revoked_at(r, REVOKED_SUB, str_from(id)), -1);
	}
	for (int i = 0; i < 20000; i++) {
		(void)snprintf(id, sizeof(id), "new-%d", i);
		assert_int_equal(revoked_add(r, REVOKED_KEY, str_from(id), 0,
		                             30000, 20000),
		                 OK);
	}
	assert_int_equal(revoked_count(r), 20000);
	assert_int_equal(revoked_at(r, REVOKED_JTI, STR("id-1")), -1);
}

static void told_twice_counts_once_and_the_later_time_holds(void **state)
{
	AUTO(revoked) r = revoked_new();
	uint64_t revision;

	(void)state;
	assert_int_equal(revoked_add(r, REVOKED_SUB, STR("a"), 10, 100, 0), OK);
	revision = revoked_revision(r);
	assert_int_equal(revoked_add(r, REVOKED_SUB, STR("a"), 10, 100, 0), OK);
	assert_int_equal(revoked_add(r, REVOKED_SUB, STR("a"), 5, 100, 0), OK);
	assert_int_equal(revoked_revision(r), revision);
	assert_int_equal(revoked_add(r, REVOKED_SUB, STR("a"), 20, 90, 0), OK);
	assert_int_equal(revoked_at(r, REVOKED_SUB, STR("a")), 20);
	assert_int_equal(revoked_count(r), 1);
	assert_int_equal(revoked_add(r, REVOKED_SUB, STR("b"), 1, 50, 50), OK);
	assert_int_equal(revoked_at(r, REVOKED_SUB, STR("b")), -1);
}

/* --- memory --------------------------------------------------------------- */

/* A whole life: start, a token, a key, a push, the end. */
static void live(struct world *w, struct str token)
{
	AUTO(identity) id = make_identity(w);
	struct identity *ours = w->id;

	if (!id)
		return;
	w->id = id;
	identity_turn(id, w->now_ms);
	if (open_calls(w, "auth.jwks"))
		answer_keys(w, 1);
	if (open_calls(w, "auth.revocations"))
		answer_poll(w, 0, NULL, NULL);
	w->e = check(w, token, NONE);
	if (check(w, NONE, STR(API_KEY)) == ERR_BUSY)
		answer_key(w, MAKER_SUB);
	push(w, 1, "jti", MAKER_JTI);
	w->id = ours;
}

static void every_failing_allocation_is_an_error_and_no_leak(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};

	token_of(&w->maker, NULL, NULL, &t);
	for (unsigned n = 1; n < 500; n++) {
		bool failed;

		alloc_fault_arm(n);
		live(w, buf_view(&t));
		failed = alloc_fault_disarm();
		while (w->n) {
			struct sent s = take_at(w, 0);

			buf_fini(&s.bytes);
		}
		if (!failed) {
			assert_int_equal(w->e, OK);
			return;
		}
	}
	fail_msg("it never ran without a failure");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nobody_is_believed_before_keys_and_revocations_are_there),
		TEST(at_start_it_asks_until_svc_auth_answers),
		TEST(a_long_list_is_read_page_by_page_before_it_counts),
		TEST(what_means_nobody_is_absent),
		TEST(other_schemes_are_refused),
		TEST(a_good_token_tells_who_it_is_at_once),
		TEST(a_remembered_token_still_expires),
		TEST(an_api_key_is_asked_of_svc_auth_by_its_hash),
		TEST(requests_with_one_key_share_one_call),
		TEST(a_failing_service_is_no_verdict),
		TEST(who_waits_is_answered_by_the_deadline),
		TEST(who_is_forgotten_is_not_called),
		TEST(two_credentials_must_be_of_one_person),
		TEST(one_bad_credential_of_two_is_refused),
		TEST(a_cookie_counts_where_no_bearer_does),
		TEST(bearer_and_cookie_must_be_good_and_of_one_person),
		TEST(a_key_beside_a_cookie_says_who_it_is),
		TEST(a_cookie_too_waits_for_the_keys),
		TEST(an_unknown_kid_fetches_the_keys_once_per_cooldown),
		TEST(a_failed_fetch_is_no_verdict_on_a_token),
		TEST(a_retired_key_is_forgotten_when_keys_are_read_again),
		TEST(a_push_ends_a_remembered_token_at_once),
		TEST(tokens_issued_after_a_person_was_revoked_are_good),
		TEST(a_revoked_api_key_is_dead_at_once),
		TEST(an_answer_overtaken_by_a_revocation_does_not_count),
		TEST(changed_rights_are_asked_for_again),
		TEST(a_gap_between_pushes_is_closed_by_a_poll),
		TEST(hostile_pushes_change_nothing),
		TEST(silence_first_makes_stale_and_then_closes),
		TEST(a_flood_of_keys_is_bounded),
		TEST(a_flood_of_one_key_is_bounded_too),
		TEST(a_flood_of_bad_tokens_does_not_push_people_out),
		cmocka_unit_test(a_full_cache_spares_what_was_used),
		cmocka_unit_test(a_refusal_takes_no_persons_place),
		cmocka_unit_test(a_token_and_a_key_of_the_same_text_are_two),
		cmocka_unit_test(
			many_revocations_are_all_found_and_the_past_goes),
		cmocka_unit_test(
			told_twice_counts_once_and_the_later_time_holds),
		TEST(every_failing_allocation_is_an_error_and_no_leak),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
