/*
 * Who is asking, over a bus and a clock that are the test's: tokens, API keys and
 * floods of them.  Cookies and two credentials: test_identity_cookie.c; who is
 * believed no longer: test_identity_revoked.c.
 */
#include "tests/alloc_fault.h"
#include "tests/unit/identity_fixture.h"

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
		TEST(an_unknown_kid_fetches_the_keys_once_per_cooldown),
		TEST(a_failed_fetch_is_no_verdict_on_a_token),
		TEST(a_retired_key_is_forgotten_when_keys_are_read_again),
		TEST(a_flood_of_keys_is_bounded),
		TEST(a_flood_of_one_key_is_bounded_too),
		TEST(a_flood_of_bad_tokens_does_not_push_people_out),
		TEST(every_failing_allocation_is_an_error_and_no_leak),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
