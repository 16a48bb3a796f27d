/*
 * Logging in with a second factor, on the database that KAE_TEST_DATABASE_URL
 * names or on SQLite: what a code is good for, and how often.
 */
#include "svc-auth/challenge.h"
#include "tests/store/factor_fixture.h"

static void a_key_alone_gives_a_challenge_and_a_code_finishes_it(void **state)
{
	struct holder h = {0};
	char challenge[48], code[16];
	struct jwt_claims t;

	(void)state;
	enrol("Alice", &h);
	challenged(&h, challenge);
	assert_true(str_starts(str_from(challenge), STR("lc_")));
	{
		AUTO_CALL bad = finish(challenge, wrong_code(&h, code));
		AUTO_CALL none = finish(challenge, STR(""));
		AUTO_CALL good = finish(challenge, code_of(&h, 0, code));
		AUTO_CALL again = finish(challenge, code_of(&h, 1, code));

		assert_int_equal(bad.e, ERR_BAD_LOGIN);
		assert_int_equal(none.e, ERR_INVALID);
		assert_int_equal(good.e, OK);
		assert_int_equal(accepted(fx.auth, text(&good, "token"), &t),
		                 OK);
		assert_string_equal(t.key, h.m.key_id);
		assert_int_equal(again.e, ERR_BAD_LOGIN);
	}
	assert_int_equal(COUNT("sessions", "method = 'api_key+totp'"), 1);
	assert_int_equal(COUNT("login_challenges", "1 = 1"), 0);
}

static void a_code_may_come_along_and_is_good_once(void **state)
{
	struct holder h = {0};
	char code[16];
	struct str now;

	(void)state;
	enrol("Alice", &h);
	now = code_of(&h, 0, code);
	{
		AUTO_CALL good = login_key(&h, now);
		AUTO_CALL again = login_key(&h, now);

		assert_int_equal(good.e, OK);
		assert_int_equal(again.e, ERR_BAD_LOGIN);
	}
	{
		char next[16];
		AUTO_CALL later = login_key(&h, code_of(&h, 1, next));
		AUTO_CALL before = login_key(&h, now);

		assert_int_equal(later.e, OK);
		assert_int_equal(before.e, ERR_BAD_LOGIN);
	}
}

static void a_recovery_code_is_good_once_and_new_ones_void_the_old(void **state)
{
	static const struct auth_recovery_codes_in none;
	struct holder h = {0};
	char old[RECOVERY_MAX];

	(void)state;
	enrol("Alice", &h);
	had_factor(&h);
	{
		AUTO_CALL good = login_key(&h, str_from(h.recovery[3]));
		AUTO_CALL again = login_key(&h, str_from(h.recovery[3]));
		AUTO_CALL view = factors(&h);

		assert_int_equal(good.e, OK);
		assert_int_equal(again.e, ERR_BAD_LOGIN);
		assert_int_equal(mp_find_i64(buf_view(&view.reply.body),
		                             "recovery_codes_left", -1),
		                 RECOVERY_CODES - 1);
	}
	assert_int_equal(COUNT("sessions", "method = 'api_key+recovery'"), 1);
	copy(old, sizeof(old), str_from(h.recovery[4]));
	{
		/* Of a session that has had the factor. */
		struct call c = call_as(str_from(h.m.sub), h.m.scopes);

		c.cx.sid = str_from(h.sid);
		c.e = method_auth_recovery_codes(fx.auth, &c.cx, &none,
		                                 &c.reply);
		assert_int_equal(c.e, OK);
		take_codes(&c, &h);
		call_end(&c);
	}
	{
		AUTO_CALL gone = login_key(&h, str_from(old));
		AUTO_CALL good = login_key(&h, str_from(h.recovery[4]));

		assert_int_equal(gone.e, ERR_BAD_LOGIN);
		assert_int_equal(good.e, OK);
	}
}

static void a_recovery_code_of_somebody_else_is_none(void **state)
{
	struct holder a = {0}, b = {0};

	(void)state;
	enrol("Alice", &a);
	enrol("Bob", &b);
	{
		AUTO_CALL c = login_key(&a, str_from(b.recovery[0]));

		assert_int_equal(c.e, ERR_BAD_LOGIN);
	}
	assert_int_equal(COUNT("recovery_codes", "1 = 1"), 2 * RECOVERY_CODES);
}

/* The first factor was right, however often: what slows guessing down does not
 * count it. */
static void a_password_goes_on_as_a_key_does(void **state)
{
	static const struct auth_register_in join_in = {
		.email = {"ada@example.org", 15},
		.user_id = {"Ada", 3},
		.password = {"gravel otter lampshade", 22},
	};
	const struct auth_login_in in = {.email = join_in.email,
	                                 .password = join_in.password};
	struct holder h = {0};
	char code[16];

	(void)state;
	{
		AUTO_CALL c = run(method_auth_register, &join_in);
		AUTO_CALL first = login_with(&in);
		struct jwt_claims t;

		assert_int_equal(c.e, OK);
		assert_int_equal(first.e, OK);
		assert_int_equal(accepted(fx.auth, text(&first, "token"), &t),
		                 OK);
		copy(h.m.sub, sizeof(h.m.sub), str_from(t.who.sub));
		copy(h.sid, sizeof(h.sid), str_from(t.who.sid));
		h.m.scopes = t.who.scopes;
	}
	{
		AUTO_CALL c = begin(&h);

		(void)unbase32(text(&c, "secret"), h.secret);
	}
	{
		AUTO_CALL c = confirm(&h, code_of(&h, 0, code));

		assert_int_equal(c.e, OK);
	}
	forgive();
	for (int i = 0; i < 2 * THROTTLE_FREE; i++) {
		AUTO_CALL c = login_with(&in);

		assert_int_equal(c.e, ERR_FACTOR_NEEDED);
		copy(code, sizeof(code), code_of(&h, 0, (char[16]){0}));
		if (i == 0) {
			AUTO_CALL done =
				finish(c.cx.problem.challenge, str_from(code));

			assert_int_equal(done.e, OK);
		}
	}
	assert_int_equal(COUNT("sessions", "method = 'password+totp'"), 1);
}

/* What a challenge rests on, and what makes it void. */
static void a_challenge_is_bound(void **state)
{
	static const struct {
		const char *what, *sqlite, *postgres;
	} cases[] = {
		{"its time is over",
	         "UPDATE login_challenges SET expires_at = 1",
	         "UPDATE auth.login_challenges SET expires_at = 1"},
		{"it was given to another network",
	         "UPDATE login_challenges SET network = '198.51.100.0/24'",
	         "UPDATE auth.login_challenges SET network = '198.51.100.0/24'"},
		{"the key was revoked", "UPDATE api_keys SET revoked_at = 1",
	         "UPDATE auth.api_keys SET revoked_at = 1"},
		{"the person was disabled",
	         "UPDATE users SET state = 'disabled'",
	         "UPDATE auth.users SET state = 'disabled'"},
		{"all tokens were voided",
	         "UPDATE users SET not_before = 4000000000000",
	         "UPDATE auth.users SET not_before = 4000000000000"},
		{"the password was changed",
	         "UPDATE users SET password_at = 4000000000000",
	         "UPDATE auth.users SET password_at = 4000000000000"},
		{"the factor was removed", "DELETE FROM totp",
	         "DELETE FROM auth.totp"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct holder h = {0};
		char challenge[48], code[16];

		enrol("Alice", &h);
		challenged(&h, challenge);
		BOTH(cases[i].sqlite, cases[i].postgres);
		{
			AUTO_CALL c = finish(challenge, code_of(&h, 0, code));

			if (c.e != ERR_BAD_LOGIN)
				fail_msg("taken although %s", cases[i].what);
		}
		assert_int_equal(COUNT("sessions", "method <> 'api_key'"), 0);
		assert_int_equal(each_down(NULL), 0);
		assert_int_equal(each_up(NULL), 0);
	}
}

static void a_cookie_login_hands_out_no_token(void **state)
{
	struct member m = {0};
	struct str header = {0}, token;
	struct jwt_claims t;

	(void)state;
	join("Alice", &m);
	{
		const struct auth_login_in in = {.api_key = str_from(m.key),
		                                 .session = STR("cookie")};
		const struct auth_login_in bad = {.api_key = str_from(m.key),
		                                  .session = STR("Cookie")};
		AUTO_CALL c = login_with(&in), no = login_with(&bad);
		struct str body = buf_view(&c.reply.body), any;

		assert_int_equal(no.e, ERR_INVALID);
		assert_int_equal(c.e, OK);
		assert_true(says(&c, "session", "cookie"));
		assert_false(mp_find(body, "token", &any));
		assert_false(mp_find(body, "access_token", &any));
		assert_false(mp_find(body, "refresh_token", &any));
		assert_int_equal(c.reply.headers_n, 1);
		assert_true(
			str_eq(c.reply.headers[0].name, STR(SESSION_HEADER)));
		header = c.reply.headers[0].value;
		assert_true(str_eq(str_cut(&header, ' '), STR("86400")));
		token = header;
		assert_int_equal(accepted(fx.auth, token, &t), OK);
		assert_null(memmem(body.p, body.n, token.p, token.n));
	}
	assert_string_equal(t.who.sub, m.sub);
}

/* --- guessing -------------------------------------------------------------- */

static void waits_double_up_to_a_quarter_of_an_hour(void **state)
{
	static const int64_t want[] = {0, 0, 0, 0, 1, 2, 4, 8};

	(void)state;
	for (size_t i = 0; i < COUNTOF(want); i++)
		assert_int_equal(factor_wait_s((int64_t)i), want[i]);
	assert_int_equal(factor_wait_s(13), 512);
	assert_int_equal(factor_wait_s(14), FACTOR_WAIT_MAX_S);
	assert_int_equal(factor_wait_s(INT64_MAX), FACTOR_WAIT_MAX_S);
}

static void guesses_are_counted_and_have_to_wait(void **state)
{
	struct holder h = {0};
	char code[16];

	(void)state;
	enrol("Alice", &h);
	for (int i = 0; i < FACTOR_FREE; i++) {
		AUTO_CALL c = login_key(&h, wrong_code(&h, code));

		assert_int_equal(c.e, ERR_BAD_LOGIN);
	}
	CHANGE("totp", "tries = 20");
	{
		AUTO_CALL c = login_key(&h, wrong_code(&h, code));
		AUTO_CALL early = login_key(&h, code_of(&h, 0, code));
		AUTO_CALL by_recovery = login_key(&h, str_from(h.recovery[0]));

		assert_int_equal(c.e, ERR_BAD_LOGIN);
		assert_int_equal(early.e, ERR_RATE_LIMITED);
		assert_true(early.cx.problem.retry_after_s > 800);
		assert_true(early.cx.problem.retry_after_s <= 900);
		assert_int_equal(by_recovery.e, ERR_RATE_LIMITED);
	}
	/* A restart, and so another replica, knows it too. */
	assert_int_equal(restart(), OK);
	{
		AUTO_CALL early = login_key(&h, code_of(&h, 0, code));

		assert_int_equal(early.e, ERR_RATE_LIMITED);
	}
	assert_int_equal(COUNT("totp", "tries = 21"), 1);
	CHANGE("totp", "wait_until = 0");
	{
		AUTO_CALL good = login_key(&h, code_of(&h, 0, code));

		assert_int_equal(good.e, OK);
	}
	assert_int_equal(COUNT("totp", "tries = 0 AND wait_until = 0"), 1);
}

/* --- at once --------------------------------------------------------------- */

struct race {
	const struct holder *h;
	char code[RECOVERY_MAX];
	char challenge[48]; /* or empty: the key */
	atomic_uint won, refused, other;
};

static void *compete(void *arg)
{
	struct race *r = arg;
	const struct auth_login_in in = {
		.api_key = r->challenge[0] ? (struct str){0}
	                                   : str_from(r->h->m.key),
		.challenge = str_from(r->challenge),
		.code = str_from(r->code),
	};
	struct call c = {.cx = store_ctx(30000)};

	c.cx.arena = arena_new((size_t)1 << 20);
	c.cx.ip = STR("203.0.113.7");
	MUST(c.cx.arena != NULL);
	c.e = method_auth_login(fx.auth, &c.cx, &in, &c.reply);
	if (!c.e)
		atomic_fetch_add(&r->won, 1);
	else if (c.e == ERR_BAD_LOGIN || c.e == ERR_RATE_LIMITED)
		atomic_fetch_add(&r->refused, 1);
	else
		atomic_fetch_add(&r->other, 1);
	call_end(&c);
	return NULL;
}

static void run_race(struct race *r)
{
	/* So far ahead that paying for an attempt never makes one wait. */
	CHANGE("totp", "tries = -100, wait_until = 0");
	store_threads(8, compete, r);
	assert_int_equal(r->won, 1);
	assert_int_equal(r->refused, 7);
	assert_int_equal(r->other, 0);
}

static void of_many_at_once_one_code_lets_one_in(void **state)
{
	struct holder h = {0};
	struct race totp = {.h = &h}, recovery = {.h = &h}, back = {.h = &h};

	(void)state;
	enrol("Alice", &h);
	{
		char code[16];

		copy(totp.code, sizeof(totp.code), code_of(&h, 0, code));
	}
	run_race(&totp);
	copy(recovery.code, sizeof(recovery.code), str_from(h.recovery[0]));
	run_race(&recovery);
	challenged(&h, back.challenge);
	copy(back.code, sizeof(back.code), str_from(h.recovery[1]));
	run_race(&back);
	assert_int_equal(COUNT("sessions", "method <> 'api_key'"), 3);
	assert_int_equal(COUNT("recovery_codes", "1 = 1"), RECOVERY_CODES - 2);
}

static void many_guesses_at_once_are_each_paid_for(void **state)
{
	struct holder h = {0};
	struct race r = {.h = &h};
	char code[16];

	(void)state;
	enrol("Alice", &h);
	copy(r.code, sizeof(r.code), wrong_code(&h, code));
	CHANGE("totp", "tries = 2, wait_until = 0");
	store_threads(8, compete, &r);
	assert_int_equal(r.refused, 8);
	/* The third was free, the fourth made the others wait... a second at
	 * first, which a busy machine may have taken. */
	assert_true(COUNT("totp", "tries >= 4"));
	assert_true(COUNT("totp", "wait_until > 0"));
}

static void old_challenges_are_pruned(void **state)
{
	struct holder h = {0};
	char challenge[48];
	struct call c = call_as((struct str){0}, 0);

	(void)state;
	enrol("Alice", &h);
	challenged(&h, challenge);
	auth_upkeep(fx.auth, &c.cx, TASK_PRUNE, wall_ms());
	assert_int_equal(COUNT("login_challenges", "1 = 1"), 1);
	auth_upkeep(fx.auth, &c.cx, TASK_PRUNE, wall_ms() + CHALLENGE_MS);
	assert_int_equal(COUNT("login_challenges", "1 = 1"), 0);
	call_end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_key_alone_gives_a_challenge_and_a_code_finishes_it),
		TEST(a_code_may_come_along_and_is_good_once),
		TEST(a_recovery_code_is_good_once_and_new_ones_void_the_old),
		TEST(a_recovery_code_of_somebody_else_is_none),
		TEST(a_password_goes_on_as_a_key_does),
		TEST(a_challenge_is_bound),
		TEST(a_cookie_login_hands_out_no_token),
		TEST(waits_double_up_to_a_quarter_of_an_hour),
		TEST(guesses_are_counted_and_have_to_wait),
		TEST(of_many_at_once_one_code_lets_one_in),
		TEST(many_guesses_at_once_are_each_paid_for),
		TEST(old_challenges_are_pruned),
	};

	return cmocka_run_group_tests(tests, up, down);
}
