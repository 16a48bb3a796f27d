/*
 * Refresh tokens on the database that KAE_TEST_DATABASE_URL names or on SQLite:
 * one is good at a time, one that comes again is told from one that was stolen.
 */
#include "svc-auth/refresh.h"
#include "tests/store/auth_fixture.h"

/* Runs a statement on either database; {} stands for the schema prefix. */
static void sql(const char *text)
{
	char out[400];
	const char *at = strstr(text, "{}");

	assert_non_null(at);
	(void)snprintf(out, sizeof(out), "%.*s%s%s", (int)(at - text), text,
	               store_is_postgres(&fx.store) ? "auth." : "", at + 2);
	store_exec(fx.pool, out);
}

/* What one holds after a login or a refresh. */
struct pair {
	char refresh[REFRESH_TOKEN_MAX], sid[UUID_MAX];
	struct jwt_claims claims;
	int64_t refresh_s;
};

static void take(const struct call *c, struct pair *out)
{
	assert_int_equal(c->e, OK);
	copy(out->refresh, sizeof(out->refresh), text(c, "refresh_token"));
	assert_int_equal(accepted(fx.auth, text(c, "token"), &out->claims), OK);
	memcpy(out->sid, out->claims.who.sid, UUID_MAX);
	out->refresh_s =
		mp_find_i64(buf_view(&c->reply.body), "refresh_expires_in", 0);
}

static void enter(struct str key, struct pair *out)
{
	AUTO_CALL c = login(key);

	take(&c, out);
}

static struct call refresh(const char *token)
{
	const struct auth_refresh_in in = {.refresh_token = str_from(token)};

	return run(method_auth_refresh, &in);
}

static enum err outcome(const char *token)
{
	AUTO_CALL c = refresh(token);

	return c.e;
}

static void next(const struct pair *from, struct pair *to)
{
	AUTO_CALL c = refresh(from->refresh);

	take(&c, to);
}

/* --- the judgement ---------------------------------------------------------- */

static void each_token_is_judged_by_its_place_and_its_session(void **state)
{
	/* At 500 with a grace of 60; the login was at 100, the end is at 1000. */
	static const struct {
		int64_t counter, token, rotated_ms, ends_ms;
		bool ended, key_dead;
		enum user_state state;
		int64_t password_set_ms;
		enum refresh_verdict want;
	} cases[] = {
		{0, 0, 0, 1000, 0, 0, USER_ACTIVE, 0, REFRESH_GOOD},
		{7, 7, 0, 1000, 0, 0, USER_ACTIVE, 0, REFRESH_GOOD},
		/* one step back: until the grace has passed */
		{7, 6, 500, 1000, 0, 0, USER_ACTIVE, 0, REFRESH_AGAIN},
		{7, 6, 440, 1000, 0, 0, USER_ACTIVE, 0, REFRESH_AGAIN},
		{7, 6, 439, 1000, 0, 0, USER_ACTIVE, 0, REFRESH_REUSED},
		/* the clock of another replica is ahead */
		{7, 6, 600, 1000, 0, 0, USER_ACTIVE, 0, REFRESH_AGAIN},
		/* two steps back, however soon */
		{7, 5, 500, 1000, 0, 0, USER_ACTIVE, 0, REFRESH_REUSED},
		{7, 0, 500, 1000, 0, 0, USER_ACTIVE, 0, REFRESH_REUSED},
		/* a session that is over raises no alarm */
		{7, 0, 500, 1000, 1, 0, USER_ACTIVE, 0, REFRESH_DEAD},
		{7, 7, 500, 1000, 1, 0, USER_ACTIVE, 0, REFRESH_DEAD},
		{7, 7, 500, 1000, 0, 1, USER_ACTIVE, 0, REFRESH_DEAD},
		{7, 7, 500, 500, 0, 0, USER_ACTIVE, 0, REFRESH_DEAD},
		{7, 7, 500, 501, 0, 0, USER_ACTIVE, 0, REFRESH_GOOD},
		{7, 7, 500, 1000, 0, 0, USER_DISABLED, 0, REFRESH_DEAD},
		{7, 7, 500, 1000, 0, 0, USER_ACTIVE, 101, REFRESH_DEAD},
		{7, 7, 500, 1000, 0, 0, USER_ACTIVE, 100, REFRESH_GOOD},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		const struct refresh_row row = {
			.session.auth_time_ms = 100,
			.ends_ms = cases[i].ends_ms,
			.ended = cases[i].ended,
			.key_dead = cases[i].key_dead,
			.counter = cases[i].counter,
			.rotated_ms = cases[i].rotated_ms,
			.token = cases[i].token,
		};
		const struct user u = {
			.state = cases[i].state,
			.password_set_ms = cases[i].password_set_ms,
		};

		assert_int_equal(refresh_judge(&row, &u, 60, 500),
		                 cases[i].want);
	}
}

/* --- rotation --------------------------------------------------------------- */

static void a_token_is_used_once_and_gives_the_next(void **state)
{
	struct member m = {0};
	struct pair a, b, c;

	(void)state;
	join("Alice", &m);
	enter(str_from(m.key), &a);
	sql("UPDATE {}sessions SET auth_time = auth_time - 60000");
	next(&a, &b);
	next(&b, &c);
	assert_string_not_equal(a.refresh, b.refresh);
	assert_string_not_equal(b.refresh, c.refresh);
	/* The same session, the same login, another token. */
	assert_string_equal(a.sid, c.sid);
	assert_string_equal(c.claims.key, m.key_id);
	assert_string_not_equal(a.claims.who.jti, b.claims.who.jti);
	assert_int_equal(b.claims.who.auth_time_s,
	                 a.claims.who.auth_time_s - 60);
	assert_int_equal(c.claims.who.auth_time_s, b.claims.who.auth_time_s);
	assert_int_equal(COUNT("sessions", "counter = 2"), 1);
	assert_int_equal(COUNT("revocations", "1 = 1"), 0);
}

static void tokens_do_not_show_in_the_database(void **state)
{
	struct member m = {0};
	struct pair a, b;

	(void)state;
	join("Alice", &m);
	enter(str_from(m.key), &a);
	next(&a, &b);
	assert_int_equal(
		NUMBER("SELECT MAX(length(hash)) FROM refresh_tokens",
	               "SELECT MAX(length(hash)) FROM auth.refresh_tokens"),
		32);
	/* Who has the database and the one before cannot make the next. */
	{
		static const struct seal_key other = {{1}};
		char made[REFRESH_TOKEN_MAX];

		refresh_next(&other, str_from(a.refresh), made);
		assert_string_not_equal(made, b.refresh);
		assert_int_equal(outcome(made), ERR_BAD_TOKEN);
	}
	assert_int_equal(outcome(b.refresh), OK);
}

static void a_lost_answer_is_given_again_within_the_grace(void **state)
{
	struct member m = {0};
	struct pair a, lost, again, c;

	(void)state;
	join("Alice", &m);
	enter(str_from(m.key), &a);
	next(&a, &lost);
	for (int i = 0; i < 3; i++) {
		next(&a, &again);
		assert_string_equal(again.refresh, lost.refresh);
		assert_string_equal(again.sid, lost.sid);
		assert_true(again.refresh_s <= lost.refresh_s);
	}
	assert_int_equal(COUNT("sessions", "counter = 1"), 1);
	next(&again, &c);
	assert_int_equal(COUNT("sessions", "ended_why IS NULL"), 1);
	assert_int_equal(COUNT("revocations", "1 = 1"), 0);
}

static void an_older_token_is_theft_and_ends_the_session(void **state)
{
	struct member m = {0};
	struct pair a, b, c, other;

	(void)state;
	join("Alice", &m);
	enter(str_from(m.key), &a);
	enter(str_from(m.key), &other);
	next(&a, &b);
	next(&b, &c);
	assert_int_equal(outcome(a.refresh), ERR_BAD_TOKEN);
	assert_int_equal(COUNT("sessions", "ended_why = 'reuse'"), 1);
	assert_int_equal(COUNT("revocations", "kind = 'jti'"), 1);
	assert_int_equal(rows(buf_view(&fx.pushed)), 1);
	/* Thief and owner alike. */
	assert_int_equal(outcome(b.refresh), ERR_BAD_TOKEN);
	assert_int_equal(outcome(c.refresh), ERR_BAD_TOKEN);
	/* Told once, and nobody else is concerned. */
	assert_int_equal(COUNT("revocations", "1 = 1"), 1);
	assert_int_equal(outcome(other.refresh), OK);
}

static void the_one_before_is_theft_after_the_grace(void **state)
{
	struct member m = {0};
	struct pair a, b;

	(void)state;
	join("Alice", &m);
	enter(str_from(m.key), &a);
	next(&a, &b);
	sql("UPDATE {}sessions SET rotated_at = rotated_at - 61000");
	assert_int_equal(outcome(a.refresh), ERR_BAD_TOKEN);
	assert_int_equal(COUNT("sessions", "ended_why = 'reuse'"), 1);
	assert_int_equal(outcome(b.refresh), ERR_BAD_TOKEN);
}

static void only_the_last_tokens_of_a_session_are_kept(void **state)
{
	struct member m = {0};
	struct pair p[2];
	char first[REFRESH_TOKEN_MAX];

	(void)state;
	join("Alice", &m);
	enter(str_from(m.key), &p[0]);
	memcpy(first, p[0].refresh, sizeof(first));
	for (int i = 0; i < REFRESH_KEPT + 5; i++)
		next(&p[i % 2], &p[(i + 1) % 2]);
	assert_int_equal(COUNT("refresh_tokens", "1 = 1"), REFRESH_KEPT);
	/* What is forgotten is as unknown as any: refused, and no alarm. */
	assert_int_equal(outcome(first), ERR_BAD_TOKEN);
	assert_int_equal(COUNT("sessions", "ended_why IS NULL"), 1);
}

/* --- who cannot refresh ------------------------------------------------------ */

static void whatever_is_wrong_the_answer_is_the_same_bytes(void **state)
{
	static const struct {
		const char *what;  /* done to the database after the login */
		const char *token; /* NULL: that of the login */
	} cases[] = {
		{NULL, "rt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		{NULL, "x"},
		{NULL, ""},
		{NULL, "' OR 1=1 --"},
		{NULL, "sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		{"UPDATE {}sessions SET ends_at = 1", NULL},
		{"UPDATE {}sessions SET ended_why = 'logout'", NULL},
		{"UPDATE {}sessions SET counter = 2", NULL}, /* theft */
		{"UPDATE {}users SET state = 'disabled' WHERE handle <> 'admin'",
	         NULL},
		{"UPDATE {}users SET password_at = 9000000000000000", NULL},
		{"UPDATE {}api_keys SET revoked_at = 1", NULL},
		{"UPDATE {}api_keys SET expires_at = 1", NULL},
		{"DELETE FROM {}api_keys", NULL},
		{"DELETE FROM {}sessions", NULL},
	};
	AUTO_BUF first = {0};

	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct member m = {0};
		struct pair a;
		AUTO_BUF bytes = {0};

		assert_int_equal(each_down(state), 0);
		assert_int_equal(each_up(state), 0);
		join("Alice", &m);
		enter(str_from(m.key), &a);
		if (cases[i].what)
			sql(cases[i].what);
		{
			AUTO_CALL c = refresh(cases[i].token ? cases[i].token
			                                     : a.refresh);

			assert_int_equal(c.e, ERR_BAD_TOKEN);
			c.cx.spent = (struct hop_times){0};
			reply_pack(&bytes, &c.cx, c.e, &c.reply);
		}
		if (i == 0)
			buf_str(&first, buf_view(&bytes));
		assert_true(str_eq(buf_view(&first), buf_view(&bytes)));
	}
}

/* Zitadel's refresh tokens outlived the lock of their owner. */
static void regress_cve_2023_22492_a_disabled_person_cannot_refresh(
	void **state)
{
	struct member m = {0};
	struct pair a;

	(void)state;
	join("Alice", &m);
	enter(str_from(m.key), &a);
	sql("UPDATE {}users SET state = 'disabled' WHERE handle = 'Alice'");
	assert_int_equal(outcome(a.refresh), ERR_BAD_TOKEN);
	/* Nor log in, with the very answer of a key that never was. */
	{
		AUTO_CALL c = login(str_from(m.key));
		AUTO_CALL none = login(STR("sk_none"));

		assert_int_equal(c.e, ERR_BAD_KEY);
		assert_string_equal(c.cx.problem.detail,
		                    none.cx.problem.detail);
		assert_int_equal(none.e, ERR_BAD_KEY);
	}
}

static void nobody_refreshes_beyond_the_end_of_the_session(void **state)
{
	struct member m = {0};
	struct pair a, b;

	(void)state;
	join("Alice", &m);
	enter(str_from(m.key), &a);
	assert_int_equal(a.refresh_s, 1209600);
	/* One minute before the 30 days are over. */
	sql("UPDATE {}sessions SET expires_at = last_seen_at + 60000");
	next(&a, &b);
	assert_in_range(b.refresh_s, 50, 60);
	/* The access token does not outlive it either. */
	assert_in_range(b.claims.who.expires_s - wall_ms() / 1000, 50, 60);
	assert_int_equal(COUNT("sessions", "ends_at = expires_at"), 1);
}

static void idleness_ends_a_session_and_a_refresh_puts_that_off(void **state)
{
	struct member m = {0};
	struct pair a, b;
	int64_t before, after;

	(void)state;
	fx.settings.session_idle_ttl_s = 3600;
	join("Alice", &m);
	enter(str_from(m.key), &a);
	assert_int_equal(a.refresh_s, 3600);
	assert_in_range(a.claims.who.expires_s - wall_ms() / 1000, 3590, 3600);
	sql("UPDATE {}sessions SET ends_at = ends_at - 1800000");
	before = NUMBER("SELECT ends_at FROM sessions",
	                "SELECT ends_at FROM auth.sessions");
	next(&a, &b);
	after = NUMBER("SELECT ends_at FROM sessions",
	               "SELECT ends_at FROM auth.sessions");
	assert_true(after >= before + 1800000);
	assert_int_equal(b.refresh_s, 3600);
}

static void a_session_ends_with_the_key_that_opened_it(void **state)
{
	struct member m = {0};
	struct pair a;

	(void)state;
	join("Alice", &m);
	enter(str_from(m.key), &a);
	{
		const struct auth_keys_revoke_in in = {
			.key_id = str_from(m.key_id)};
		AUTO_CALL c = run_as(str_from(m.sub), m.scopes,
		                     method_auth_keys_revoke, &in);

		assert_int_equal(c.e, OK);
	}
	assert_int_equal(COUNT("sessions", "ended_why = 'key_revoked'"), 1);
	assert_int_equal(outcome(a.refresh), ERR_BAD_TOKEN);
}

static void what_has_changed_shows_in_the_next_token(void **state)
{
	struct member m = {0};
	struct pair a, b;

	(void)state;
	join("Alice", &m);
	enter(str_from(m.key), &a);
	sql("UPDATE {}users SET role = 'admin', tier = 'premium' WHERE handle = 'Alice'");
	next(&a, &b);
	assert_int_equal(b.claims.who.role, ROLE_ADMIN);
	assert_int_equal(b.claims.who.tier, TIER_PREMIUM);
	/* The session was opened by a key without that scope. */
	assert_int_equal(b.claims.who.scopes, SCOPES_USUAL);
}

/* --- by the token that one has ------------------------------------------------ */

static struct call renew(const char *sub, const char *sid, const char *jti)
{
	static const struct auth_refresh_in none;
	struct call c = call_as(str_from(sub), SCOPES_USUAL);

	c.cx.sid = str_from(sid);
	c.cx.jti = str_from(jti);
	c.e = method_auth_refresh(fx.auth, &c.cx, &none, &c.reply);
	return c;
}

static void a_bearer_gets_another_and_ends_itself(void **state)
{
	struct member m = {0};
	struct jwt_claims t;
	struct pair a;

	(void)state;
	join("Alice", &m);
	enter(str_from(m.key), &a);
	{
		AUTO_CALL c = renew(m.sub, a.sid, a.claims.who.jti);

		assert_int_equal(c.e, OK);
		assert_int_equal(text(&c, "refresh_token").n, 0);
		assert_int_equal(accepted(fx.auth, text(&c, "token"), &t), OK);
	}
	assert_string_equal(t.who.sid, a.sid);
	assert_string_not_equal(t.who.jti, a.claims.who.jti);
	assert_int_equal(t.who.auth_time_s, a.claims.who.auth_time_s);
	assert_int_equal(COUNT("revocations", "kind = 'jti'"), 1);
	assert_int_equal(rows(buf_view(&fx.pushed)), 1);
	assert_non_null(memmem(fx.pushed.p, fx.pushed.n, a.claims.who.jti, 36));
	/* The refresh token is as good as it was. */
	assert_int_equal(outcome(a.refresh), OK);
}

static void a_bearer_without_a_live_session_gets_nothing(void **state)
{
	static const char sid[] = "01900000-0000-7000-8000-000000000001";
	struct member m = {0}, other = {0};
	struct pair a;

	(void)state;
	join("Alice", &m);
	join("Bob", &other);
	enter(str_from(m.key), &a);
	{
		AUTO_CALL nobody = renew("", sid, sid);
		AUTO_CALL key = renew(m.sub, "key:x", "");
		AUTO_CALL rowless = renew(m.sub, sid, sid);
		AUTO_CALL foreign = renew(other.sub, a.sid, sid);

		assert_int_equal(nobody.e, ERR_LOGIN_NEEDED);
		assert_int_equal(key.e, ERR_BAD_REQUEST);
		assert_int_equal(rowless.e, ERR_BAD_TOKEN);
		assert_int_equal(foreign.e, ERR_BAD_TOKEN);
	}
	sql("UPDATE {}sessions SET ended_why = 'logout'");
	{
		AUTO_CALL ended = renew(m.sub, a.sid, sid);

		assert_int_equal(ended.e, ERR_BAD_TOKEN);
	}
	assert_int_equal(COUNT("revocations", "1 = 1"), 0);
}

/* --- at once ------------------------------------------------------------------ */

#define TABS 8

struct tabs {
	const char *token;
	atomic_int n, bad;
	char got[TABS * 4][REFRESH_TOKEN_MAX];
};

static void *one_tab(void *arg)
{
	struct tabs *t = arg;

	for (int i = 0; i < 4; i++) {
		const struct auth_refresh_in in = {.refresh_token =
		                                           str_from(t->token)};
		AUTO_CALL c = call_as((struct str){0}, 0);

		c.e = method_auth_refresh(fx.auth, &c.cx, &in, &c.reply);
		if (c.e) {
			atomic_fetch_add(&t->bad, 1);
			continue;
		}
		MUST(text(&c, "refresh_token").n == 46);
		memcpy(t->got[atomic_fetch_add(&t->n, 1)],
		       text(&c, "refresh_token").p, 46);
	}
	return NULL;
}

static void tabs_that_refresh_at_once_share_one_line_of_descent(void **state)
{
	struct member m = {0};
	struct pair a, b;
	struct tabs t = {0};

	(void)state;
	fx.auth->conf.push = no_push;
	fx.auth->conf.kick = no_kick;
	join("Alice", &m);
	enter(str_from(m.key), &a);
	t.token = a.refresh;
	store_threads(TABS, one_tab, &t);
	assert_int_equal(t.bad, 0);
	assert_int_equal(t.n, TABS * 4);
	for (int i = 1; i < t.n; i++)
		assert_string_equal(t.got[i], t.got[0]);
	assert_int_equal(COUNT("refresh_tokens", "1 = 1"), 2);
	assert_int_equal(COUNT("sessions", "counter = 1"), 1);
	assert_int_equal(COUNT("revocations", "1 = 1"), 0);
	memcpy(a.refresh, t.got[0], sizeof(a.refresh));
	next(&a, &b);
}

struct race {
	struct member m;
	const char *token;
	atomic_int turn;
};

/* Half of them refresh, half end everything. */
static void *one_racer(void *arg)
{
	struct race *r = arg;
	bool ends = atomic_fetch_add(&r->turn, 1) % 2;

	if (ends) {
		const struct auth_logout_in in = {.all = true};
		AUTO_CALL c = call_as(str_from(r->m.sub), SCOPES_USUAL);

		c.e = method_auth_logout(fx.auth, &c.cx, &in, &c.reply);
		MUST(c.e == OK);
	} else {
		const struct auth_refresh_in in = {.refresh_token =
		                                           str_from(r->token)};
		const struct auth_login_in again = {.api_key =
		                                            str_from(r->m.key)};
		AUTO_CALL c = call_as((struct str){0}, 0);
		AUTO_CALL l = call_as((struct str){0}, 0);

		c.e = method_auth_refresh(fx.auth, &c.cx, &in, &c.reply);
		MUST(c.e == OK || c.e == ERR_BAD_TOKEN);
		l.e = method_auth_login(fx.auth, &l.cx, &again, &l.reply);
		MUST(l.e == OK);
	}
	return NULL;
}

static void refreshes_and_logins_beside_a_logout_everywhere_stay_whole(
	void **state)
{
	struct race r = {0};
	struct pair a;

	(void)state;
	fx.auth->conf.push = no_push;
	fx.auth->conf.kick = no_kick;
	join("Alice", &r.m);
	enter(str_from(r.m.key), &a);
	r.token = a.refresh;
	store_threads(8, one_racer, &r);
	/* The first session is over, whoever came first, and each that is over
	 * is told of. */
	assert_int_equal(outcome(a.refresh), ERR_BAD_TOKEN);
	assert_int_equal(COUNT("sessions", "ended_why IS NOT NULL"),
	                 COUNT("revocations", "kind = 'jti'"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_token_is_judged_by_its_place_and_its_session),
		TEST(a_token_is_used_once_and_gives_the_next),
		TEST(tokens_do_not_show_in_the_database),
		TEST(a_lost_answer_is_given_again_within_the_grace),
		TEST(an_older_token_is_theft_and_ends_the_session),
		TEST(the_one_before_is_theft_after_the_grace),
		TEST(only_the_last_tokens_of_a_session_are_kept),
		TEST(whatever_is_wrong_the_answer_is_the_same_bytes),
		TEST(regress_cve_2023_22492_a_disabled_person_cannot_refresh),
		TEST(nobody_refreshes_beyond_the_end_of_the_session),
		TEST(idleness_ends_a_session_and_a_refresh_puts_that_off),
		TEST(a_session_ends_with_the_key_that_opened_it),
		TEST(what_has_changed_shows_in_the_next_token),
		TEST(a_bearer_gets_another_and_ends_itself),
		TEST(a_bearer_without_a_live_session_gets_nothing),
		TEST(tabs_that_refresh_at_once_share_one_line_of_descent),
		TEST(refreshes_and_logins_beside_a_logout_everywhere_stay_whole),
	};

	return cmocka_run_group_tests(tests, up, down);
}
