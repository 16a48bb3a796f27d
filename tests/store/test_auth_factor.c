/*
 * Second factors on the database that KAE_TEST_DATABASE_URL names or on SQLite:
 * enrolment, what a login that had one is good for, and removal.
 */
#include "svc-auth/stepup.h"
#include "tests/store/factor_fixture.h"

/* --- enrolment ------------------------------------------------------------ */

static void a_factor_is_pending_until_its_first_code(void **state)
{
	struct holder h = {0};
	char code[16];

	(void)state;
	join("Alice", &h.m);
	{
		AUTO_CALL c = begin(&h), after = factors(&h);
		struct str totp;

		assert_int_equal(c.e, OK);
		assert_int_equal(c.reply.status, 201);
		assert_true(str_starts(
			text(&c, "otpauth_uri"),
			STR("otpauth://totp/KnowAllEdge:Alice?secret=")));
		assert_int_equal(unbase32(text(&c, "secret"), h.secret),
		                 TOTP_SECRET);
		assert_true(
			mp_find(buf_view(&after.reply.body), "totp", &totp));
		assert_true(mp_find_bool(totp, "pending", false));
		assert_false(mp_find_bool(totp, "active", true));
	}
	{
		AUTO_CALL in = login_key(&h, (struct str){0});
		AUTO_CALL bad = confirm(&h, wrong_code(&h, code));

		assert_int_equal(in.e, OK);
		assert_int_equal(bad.e, ERR_INVALID);
		assert_string_equal(bad.cx.problem.faults[0].pointer, "/code");
	}
	{
		AUTO_CALL good = confirm(&h, code_of(&h, 0, code));
		AUTO_CALL twice = confirm(&h, code_of(&h, 1, code));
		AUTO_CALL in = login_key(&h, (struct str){0});
		AUTO_CALL after = factors(&h);

		assert_int_equal(good.e, OK);
		assert_int_equal(twice.e, ERR_NOT_FOUND);
		assert_int_equal(in.e, ERR_FACTOR_NEEDED);
		assert_int_equal(mp_find_i64(buf_view(&after.reply.body),
		                             "recovery_codes_left", -1),
		                 RECOVERY_CODES);
	}
}

static void a_second_secret_takes_the_place_of_a_pending_one(void **state)
{
	struct holder first = {0}, h = {0};
	char code[16];

	(void)state;
	join("Alice", &h.m);
	first = h;
	{
		AUTO_CALL a = begin(&first), b = begin(&h);

		assert_int_equal(a.e, OK);
		assert_int_equal(b.e, OK);
		(void)unbase32(text(&a, "secret"), first.secret);
		(void)unbase32(text(&b, "secret"), h.secret);
	}
	{
		AUTO_CALL old = confirm(&h, code_of(&first, 0, code));

		assert_int_equal(old.e, ERR_INVALID);
	}
	CHANGE("totp", "created_at = created_at - 900001");
	{
		AUTO_CALL late = confirm(&h, code_of(&h, 0, code));

		assert_int_equal(late.e, ERR_NOT_FOUND);
	}
	assert_int_equal(COUNT("totp", "active_at IS NOT NULL"), 0);
}

static void confirming_ends_the_other_sessions(void **state)
{
	struct holder h = {0};

	(void)state;
	join("Alice", &h.m);
	{
		AUTO_CALL other = login(str_from(h.m.key));

		assert_int_equal(other.e, OK);
	}
	{
		char code[16];
		AUTO_CALL mine = login(str_from(h.m.key));
		struct jwt_claims t;

		assert_int_equal(accepted(fx.auth, text(&mine, "token"), &t),
		                 OK);
		copy(h.sid, sizeof(h.sid), str_from(t.who.sid));
		{
			AUTO_CALL c = begin(&h);

			(void)unbase32(text(&c, "secret"), h.secret);
		}
		{
			AUTO_CALL c = confirm(&h, code_of(&h, 0, code));

			assert_int_equal(c.e, OK);
		}
	}
	assert_int_equal(COUNT("sessions", "ended_why = 'factor'"), 1);
	assert_int_equal(COUNT("sessions", "ended_why IS NULL"), 1);
	assert_int_equal(COUNT("revocations", "kind = 'jti'"), 1);
	assert_true(fx.pushed.n > 0);
}

static void a_copied_database_has_no_secret_and_no_code(void **state)
{
	struct holder a = {0}, b = {0};
	char code[16];

	(void)state;
	enrol("Alice", &a);
	enrol("Bob", &b);
	assert_int_equal(NUMBER("SELECT MIN(length(sealed)) FROM totp",
	                        "SELECT MIN(length(sealed)) FROM auth.totp"),
	                 TOTP_SECRET + SEAL_OVERHEAD);
	assert_int_equal(
		NUMBER("SELECT MAX(length(hash)) FROM recovery_codes",
	               "SELECT MAX(length(hash)) FROM auth.recovery_codes"),
		RECOVERY_HASH);
	/* What is sealed for one is good for nobody else. */
	BOTH("UPDATE totp SET sealed = (SELECT sealed FROM totp o WHERE o.sub <> totp.sub)",
	     "UPDATE auth.totp t SET sealed = (SELECT sealed FROM auth.totp o WHERE o.sub <> t.sub)");
	{
		AUTO_CALL c = login_key(&a, code_of(&b, 0, code));

		assert_int_equal(c.e, ERR_INTERNAL);
	}
}

static void there_is_one_factor_at_a_time(void **state)
{
	struct holder h = {0};

	(void)state;
	enrol("Alice", &h);
	{
		AUTO_CALL unproven = begin(&h);

		assert_int_equal(unproven.e, ERR_REAUTH);
	}
	had_factor(&h);
	{
		AUTO_CALL second = begin(&h);

		assert_int_equal(second.e, ERR_EXISTS);
	}
}

/* --- proving anew ----------------------------------------------------------- */

static void with_a_factor_only_a_code_proves_anew(void **state)
{
	struct holder h = {0};
	char code[16], next[16], before[UUID_MAX];

	(void)state;
	enrol("Alice", &h);
	copy(before, sizeof(before), str_from(h.sid));
	had_factor(&h);
	{
		const int64_t now = wall_ms() / 1000;
		const struct {
			const char *sid;
			int64_t auth_time_s;
			struct proofs p;
			enum err want;
		} cases[] = {
			/* A fresh login from before it, and an API key. */
			{before, now, {.code = {0}}, ERR_REAUTH},
			{"key:x", now, {.code = {0}}, ERR_REAUTH},
			{"", now, {.code = {0}}, ERR_REAUTH},
			/* One behind it has had a code. */
			{h.sid, now, {.code = {0}}, OK},
			/* An old one: the key does not stand in for it. */
			{h.sid,
		         now - 3600,
		         {.api_key = str_from(h.m.key)},
		         ERR_REAUTH},
			{h.sid,
		         now - 3600,
		         {.password = STR("x"), .code = wrong_code(&h, code)},
		         ERR_REAUTH},
			{h.sid, now - 3600, {.code = code_of(&h, 0, next)}, OK},
			{h.sid,
		         now - 3600,
		         {.code = str_from(next)},
		         ERR_REAUTH}, /* used */
			{h.sid,
		         now - 3600,
		         {.code = str_from(h.recovery[0])},
		         OK},
		};

		for (size_t i = 0; i < COUNTOF(cases); i++) {
			AUTO_CALL c = call_as(str_from(h.m.sub), h.m.scopes);

			c.cx.sid = str_from(cases[i].sid);
			c.cx.auth_time_s = cases[i].auth_time_s;
			c.e = stepup_check(fx.auth, &c.cx, &cases[i].p);
			if (c.e != cases[i].want)
				fail_msg("case %zu: %s", i, err_name(c.e));
			assert_true(!c.e || c.cx.problem.detail[0]);
		}
	}
}

static struct call remove_with(const struct holder *h, struct str code)
{
	const struct auth_factor_remove_in in = {.code = code};
	struct call c = call_as(str_from(h->m.sub), h->m.scopes);

	c.cx.sid = str_from(h->sid);
	c.e = method_auth_factor_remove(fx.auth, &c.cx, &in, &c.reply);
	return c;
}

static void removing_takes_a_code_from_the_freshest_login(void **state)
{
	struct holder h = {0};
	char code[16];

	(void)state;
	enrol("Alice", &h);
	{
		AUTO_CALL bad = remove_with(&h, wrong_code(&h, code));

		assert_int_equal(bad.e, ERR_REAUTH);
	}
	assert_int_equal(COUNT("totp", "1 = 1"), 1);
	{
		AUTO_CALL good = remove_with(&h, code_of(&h, 0, code));
		AUTO_CALL again = remove_with(&h, code_of(&h, 1, code));
		AUTO_CALL in = login_key(&h, (struct str){0});

		assert_int_equal(good.e, OK);
		assert_int_equal(again.e, ERR_NOT_FOUND);
		assert_int_equal(in.e, OK);
	}
	assert_int_equal(COUNT("totp", "1 = 1"), 0);
	assert_int_equal(COUNT("recovery_codes", "1 = 1"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_factor_is_pending_until_its_first_code),
		TEST(a_second_secret_takes_the_place_of_a_pending_one),
		TEST(confirming_ends_the_other_sessions),
		TEST(there_is_one_factor_at_a_time),
		TEST(a_copied_database_has_no_secret_and_no_code),
		TEST(with_a_factor_only_a_code_proves_anew),
		TEST(removing_takes_a_code_from_the_freshest_login),
	};

	return cmocka_run_group_tests(tests, up, down);
}
