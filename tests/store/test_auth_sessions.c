/*
 * Sessions on the database that KAE_TEST_DATABASE_URL names or on SQLite: how
 * they are opened, refreshed, shown and ended.
 */
#include "common/base/net.h"
#include "svc-auth/device.h"
#include "svc-auth/service.h"
#include "svc-auth/session.h"
#include "tests/store/auth_fixture.h"

/* --- what is kept of a device --------------------------------------------- */

static void of_an_address_only_its_network_is_kept(void **state)
{
	static const struct {
		const char *ip, *want;
	} cases[] = {
		{"203.0.113.77", "203.0.113.0/24"},
		{"127.0.0.1", "127.0.0.0/24"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"::1", "::/64"},
		{"::ffff:203.0.113.77", "203.0.113.0/24"},
		{"203.0.113", ""},
		{"unix", ""},
		{"", ""},
		{"2001:db8:1:2:3:4:5:6:7:8:9:0:1:2:3:4:5:6:7:8:9:0", ""},
	};
	char out[NET_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		(void)net_text(str_from(cases[i].ip), out);
		assert_string_equal(out, cases[i].want);
	}
}

static void a_device_has_a_name_that_people_know(void **state)
{
	static const struct {
		const char *agent, *want;
	} cases[] = {
		{"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
	         "Firefox on Linux"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0",
	         "Edge on Windows"},
		{"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
	         "Chrome on Android"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
	         "Safari on iPhone"},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
	         "Safari on macOS"},
		{"curl/7.88.1", "curl"},
		{"Mozilla/5.0 (compatible; Linux)", "Linux"},
		{"\x01\xff<script>", "Unknown device"},
		{"", "Unknown device"},
	};
	char out[DEVICE_MAX];

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		(void)device_label(str_from(cases[i].agent), out);
		assert_string_equal(out, cases[i].want);
	}
}

static void a_user_agent_is_cut_at_a_character_and_has_no_controls(void **state)
{
	char in[300], out[AGENT_MAX];
	struct str cut;

	(void)state;
	memset(in, 'a', sizeof(in));
	in[0] = '\n';
	in[1] = '\x7f';
	memcpy(in + AGENT_MAX - 3, "\xe2\x82\xac", 3);
	cut = agent_cut((struct str){in, sizeof(in)}, out);
	assert_int_equal(cut.n, AGENT_MAX - 3);
	assert_memory_equal(out, "  aa", 4);
	cut = agent_cut(STR("short"), out);
	assert_string_equal(out, "short");
	cut = agent_cut((struct str){0}, out);
	assert_int_equal(cut.n, 0);
}

/* --- open ------------------------------------------------------------------ */

static struct call login_from(struct str key, const char *ip, const char *agent)
{
	const struct auth_login_in in = {.api_key = key};
	struct call c = call_as((struct str){0}, 0);

	c.cx.ip = str_from(ip);
	c.cx.ua = str_from(agent);
	c.e = method_auth_login(fx.auth, &c.cx, &in, &c.reply);
	return c;
}

static void a_login_opens_a_session(void **state)
{
	struct member m = {0};
	struct jwt_claims t;

	(void)state;
	join("Alice", &m);
	{
		AUTO_CALL c = login_from(str_from(m.key), "203.0.113.77",
		                         "curl/7.88.1");
		struct str body = buf_view(&c.reply.body), user;

		assert_int_equal(c.e, OK);
		assert_true(str_starts(text(&c, "refresh_token"), STR("rt_")));
		assert_int_equal(text(&c, "refresh_token").n, 46);
		assert_int_equal(mp_find_i64(body, "refresh_expires_in", 0),
		                 1209600);
		assert_true(mp_find(body, "user", &user));
		assert_true(
			str_eq(mp_find_str(user, "id", STR("")), STR("Alice")));
		assert_false(mp_find_bool(user, "email_verified", true));
		assert_int_equal(mp_find_str(user, "last_login", STR("")).n,
		                 24);
		assert_int_equal(accepted(fx.auth, text(&c, "token"), &t), OK);
	}
	assert_int_equal(COUNT("sessions", "method = 'api_key' AND "
	                                   "address = '203.0.113.0/24' AND "
	                                   "agent = 'curl/7.88.1' AND "
	                                   "device = 'curl'"),
	                 1);
	assert_int_equal(COUNT("refresh_tokens", "counter = 0"), 1);
	assert_int_equal(COUNT("users", "last_login_at IS NOT NULL"), 1);
}

static void nobody_has_more_sessions_than_allowed(void **state)
{
	struct member m = {0};

	(void)state;
	fx.settings.sessions_max = 3;
	join("Alice", &m);
	for (int i = 0; i < 5; i++) {
		AUTO_CALL c = login(str_from(m.key));

		assert_int_equal(c.e, OK);
	}
	assert_int_equal(COUNT("sessions", "ended_why IS NULL"), 3);
	assert_int_equal(COUNT("sessions", "ended_why = 'excess'"), 2);
	/* Their tokens die with them. */
	assert_int_equal(COUNT("revocations", "kind = 'jti'"), 2);
	assert_int_equal(rows(buf_view(&fx.pushed)), 1);
}

/* --- see and end ------------------------------------------------------------- */

/* Runs a statement on either database; {} stands for the schema prefix. */
static void sql(const char *text_)
{
	char out[400];
	const char *at = strstr(text_, "{}");

	assert_non_null(at);
	(void)snprintf(out, sizeof(out), "%.*s%s%s", (int)(at - text_), text_,
	               store_is_postgres(&fx.store) ? "auth." : "", at + 2);
	store_exec(fx.pool, out);
}

/* A login: its session and its refresh token. */
struct visit {
	char sid[UUID_MAX], refresh[64];
	int64_t issued_s;
};

static void visit(const struct member *m, struct visit *out)
{
	AUTO_CALL c = login(str_from(m->key));
	struct jwt_claims t;

	assert_int_equal(c.e, OK);
	assert_int_equal(accepted(fx.auth, text(&c, "token"), &t), OK);
	memcpy(out->sid, t.who.sid, UUID_MAX);
	out->issued_s = t.issued_s;
	copy(out->refresh, sizeof(out->refresh), text(&c, "refresh_token"));
}

static enum err go_on(const struct visit *v)
{
	const struct auth_refresh_in in = {.refresh_token =
	                                           str_from(v->refresh)};
	AUTO_CALL c = run(method_auth_refresh, &in);

	return c.e;
}

static struct call as_visitor(const struct member *m, const struct visit *v,
                              method_fn *fn, const void *in)
{
	struct call c = call_as(str_from(m->sub), SCOPES_USUAL);

	c.cx.sid = str_from(v->sid);
	c.e = fn(fx.auth, &c.cx, in, &c.reply);
	return c;
}

static enum err end_one(const struct member *m, const char *sid)
{
	const struct auth_session_revoke_in in = {.session_id = str_from(sid)};
	AUTO_CALL c = run_as(str_from(m->sub), SCOPES_USUAL,
	                     method_auth_session_revoke, &in);

	return c.e;
}

static void ones_sessions_are_listed_and_the_present_one_is_marked(void **state)
{
	struct member m = {0}, other = {0};
	struct visit a, b, foreign;
	struct str items, first;
	uint32_t n = 0;

	(void)state;
	join("Alice", &m);
	join("Bob", &other);
	visit(&m, &a);
	visit(&m, &b);
	visit(&other, &foreign);
	sql("UPDATE {}sessions SET last_seen_at = last_seen_at - 5000");
	/* Life shows: at most a minute is lost. */
	sql("UPDATE {}sessions SET last_seen_at = last_seen_at - 600000");
	assert_int_equal(go_on(&a), OK);
	{
		AUTO_CALL c = as_visitor(&m, &a, method_auth_sessions, NULL);
		struct str body = buf_view(&c.reply.body);
		struct mp rest;

		assert_int_equal(c.e, OK);
		assert_int_equal(mp_find_i64(body, "count", 0), 2);
		assert_true(mp_find(body, "sessions", &items));
		rest = mp_open(items);
		assert_true(mp_get_array(&rest, &n));
		assert_int_equal(n, 2);
		first = (struct str){rest.p, (size_t)(rest.end - rest.p)};
		assert_true(str_eq(mp_find_str(first, "id", STR("")),
		                   str_from(a.sid)));
		assert_true(mp_find_bool(first, "current", false));
		assert_true(str_eq(mp_find_str(first, "method", STR("")),
		                   STR("api_key")));
		assert_int_equal(mp_find_str(first, "last_seen", STR("")).n,
		                 24);
		assert_int_equal(mp_find_str(first, "expires_at", STR("")).n,
		                 24);
		/* No secret, and no more of an address than its network. */
		assert_null(memmem(body.p, body.n, "rt_", 3));
		assert_null(memmem(body.p, body.n, foreign.sid, 36));
	}
}

static void one_session_is_ended_and_the_other_goes_on(void **state)
{
	struct member m = {0}, other = {0};
	struct visit a, b;

	(void)state;
	join("Alice", &m);
	join("Bob", &other);
	visit(&m, &a);
	visit(&m, &b);
	assert_int_equal(end_one(&other, a.sid), ERR_NOT_FOUND);
	assert_int_equal(end_one(&m, "x"), ERR_NOT_FOUND);
	assert_int_equal(end_one(&m, ""), ERR_NOT_FOUND);
	assert_int_equal(COUNT("revocations", "1 = 1"), 0);
	assert_int_equal(end_one(&m, a.sid), OK);
	assert_int_equal(rows(buf_view(&fx.pushed)), 1);
	assert_int_equal(end_one(&m, a.sid), ERR_NOT_FOUND);
	assert_int_equal(go_on(&a), ERR_BAD_TOKEN);
	assert_int_equal(go_on(&b), OK);
	{
		AUTO_CALL c = as_visitor(&m, &b, method_auth_sessions, NULL);
		AUTO_CALL gone = as_visitor(&m, &a, method_auth_validate, NULL);

		assert_int_equal(
			mp_find_i64(buf_view(&c.reply.body), "count", 0), 1);
		/* svc-auth itself does not wait for the gateways. */
		assert_int_equal(gone.e, ERR_EXPIRED);
	}
	/* The present one as well. */
	assert_int_equal(end_one(&m, b.sid), OK);
}

static void a_logout_kills_the_session_and_its_refresh_token(void **state)
{
	struct member m = {0};
	struct visit a, b;

	(void)state;
	join("Alice", &m);
	visit(&m, &a);
	visit(&m, &b);
	{
		AUTO_CALL c = logout(str_from(m.sub), str_from(a.sid));

		assert_int_equal(c.e, OK);
	}
	assert_int_equal(go_on(&a), ERR_BAD_TOKEN);
	assert_int_equal(go_on(&b), OK);
	assert_int_equal(COUNT("sessions", "ended_why = 'logout'"), 1);
}

static void a_logout_everywhere_ends_all_and_a_login_after_it_is_good(
	void **state)
{
	const struct auth_logout_in all = {.all = true};
	struct member m = {0}, other = {0};
	struct visit v[40], foreign, after;
	int64_t at;

	(void)state;
	join("Alice", &m);
	join("Bob", &other);
	for (size_t i = 0; i < COUNTOF(v); i++)
		visit(&m, &v[i]);
	visit(&other, &foreign);
	/* Twice in one second: the second has to reach what came between. */
	for (int i = 0; i < 2; i++) {
		AUTO_CALL c = as_visitor(&m, &v[0], method_auth_logout, &all);

		assert_int_equal(c.e, OK);
		at = NUMBER(
			"SELECT MAX(at) FROM revocations WHERE kind = 'sub'",
			"SELECT MAX(at) FROM auth.revocations WHERE kind = 'sub'");
		assert_true(at >= v[1].issued_s * 1000);
		visit(&m, &v[1]);
		assert_true(v[1].issued_s * 1000 > at);
	}
	for (size_t i = 2; i < COUNTOF(v); i++)
		assert_int_equal(go_on(&v[i]), ERR_BAD_TOKEN);
	assert_int_equal(go_on(&v[1]), OK);
	assert_int_equal(go_on(&foreign), OK);
	visit(&m, &after);
	/* By an API key, which has no session, too. */
	{
		AUTO_CALL c = call_as(str_from(m.sub), SCOPES_USUAL);

		c.cx.sid = STR("key:x");
		c.e = method_auth_logout(fx.auth, &c.cx, &all, &c.reply);
		assert_int_equal(c.e, OK);
	}
	assert_int_equal(go_on(&after), ERR_BAD_TOKEN);
	/* All are told of, although one push holds only so many. */
	assert_int_equal(COUNT("revocations", "kind = 'jti'"),
	                 COUNT("sessions", "ended_why IS NOT NULL"));
}

struct cut {
	struct str sub, keep;
	struct revoke_batch batch;
};

static enum err end_others(struct db *db, void *arg)
{
	struct cut *c = arg;

	c->batch.n = 0;
	return session_end_others(fx.auth, db, c->sub, c->keep, "password",
	                          wall_ms() + 1000, &c->batch);
}

static void the_others_are_ended_and_the_one_kept_has_just_proved_itself(
	void **state)
{
	struct member m = {0};
	struct visit a, b, c;
	struct cut cut;
	struct ctx cx = store_ctx(30000);

	(void)state;
	join("Alice", &m);
	visit(&m, &a);
	visit(&m, &b);
	visit(&m, &c);
	cut = (struct cut){.sub = str_from(m.sub), .keep = str_from(b.sid)};
	/* As a change of the password does it, which comes with the time. */
	sql("UPDATE {}users SET password_at = last_login_at + 1 WHERE handle = 'Alice'");
	assert_int_equal(db_write(fx.pool, &cx, end_others, &cut), OK);
	assert_int_equal(cut.batch.n, 2);
	assert_int_equal(go_on(&a), ERR_BAD_TOKEN);
	assert_int_equal(go_on(&b), OK);
	assert_int_equal(go_on(&c), ERR_BAD_TOKEN);
	/* Without a session to keep, all go. */
	cut.keep = STR("key:x");
	assert_int_equal(db_write(fx.pool, &cx, end_others, &cut), OK);
	assert_int_equal(go_on(&b), ERR_BAD_TOKEN);
}

static void who_asks_who_they_are_shows_life(void **state)
{
	static method_fn *const asks[] = {method_auth_validate, method_auth_me};
	struct member m = {0};
	struct visit a;
	int64_t seen, ends;
	AUTO(arena) arena = arena_new((size_t)1 << 20);
	struct ctx cx = store_ctx(30000);

	(void)state;
	cx.arena = arena;
	join("Alice", &m);
	visit(&m, &a);
	for (size_t i = 0; i < COUNTOF(asks); i++) {
		AUTO_CALL c = as_visitor(&m, &a, asks[i], NULL);

		assert_int_equal(c.e, OK);
	}
	auth_upkeep(fx.auth, &cx, TASK_USED, wall_ms());
	/* Within the minute nothing is written. */
	assert_int_equal(COUNT("sessions", "last_seen_at = created_at"), 1);
	for (size_t i = 0; i < COUNTOF(asks); i++) {
		sql("UPDATE {}sessions SET last_seen_at = last_seen_at - 100000, ends_at = ends_at - 100000");
		{
			AUTO_CALL c = as_visitor(&m, &a, asks[i], NULL);

			assert_int_equal(c.e, OK);
		}
		seen = NUMBER("SELECT last_seen_at FROM sessions",
		              "SELECT last_seen_at FROM auth.sessions");
		ends = NUMBER("SELECT ends_at FROM sessions",
		              "SELECT ends_at FROM auth.sessions");
		auth_upkeep(fx.auth, &cx, TASK_USED, wall_ms());
		assert_true(NUMBER("SELECT last_seen_at FROM sessions",
		                   "SELECT last_seen_at FROM auth.sessions") >=
		            seen + 100000);
		assert_true(NUMBER("SELECT ends_at FROM sessions",
		                   "SELECT ends_at FROM auth.sessions") >=
		            ends + 100000);
	}
	/* What is over does not come to life again. */
	sql("UPDATE {}sessions SET last_seen_at = last_seen_at - 100000");
	{
		AUTO_CALL c = as_visitor(&m, &a, method_auth_me, NULL);

		assert_int_equal(c.e, OK);
	}
	sql("UPDATE {}sessions SET ends_at = 7");
	auth_upkeep(fx.auth, &cx, TASK_USED, wall_ms());
	assert_int_equal(COUNT("sessions", "ends_at = 7"), 1);
}

static void me_is_the_user_of_the_contract(void **state)
{
	struct member m = {0};
	struct visit a;
	struct str user, email;

	(void)state;
	join("Alice", &m);
	visit(&m, &a);
	{
		AUTO_CALL c = as_visitor(&m, &a, method_auth_me, NULL);

		assert_int_equal(c.e, OK);
		assert_true(mp_find(buf_view(&c.reply.body), "user", &user));
		assert_true(
			str_eq(mp_find_str(user, "id", STR("")), STR("Alice")));
		assert_true(mp_find(user, "email", &email));
		assert_true(str_eq(email, STR("\xc0")));
		assert_true(str_eq(mp_find_str(user, "role", STR("")),
		                   STR("user")));
		assert_int_equal(mp_find_str(user, "last_login", STR("")).n,
		                 24);
		assert_false(mp_find_bool(user, "email_verified", true));
	}
	sql("UPDATE {}users SET email = 'Ada@Example.org' WHERE handle = 'Alice'");
	{
		AUTO_CALL c = as_visitor(&m, &a, method_auth_me, NULL);
		AUTO_CALL v = as_visitor(&m, &a, method_auth_validate, NULL);

		assert_true(mp_find(buf_view(&c.reply.body), "user", &user));
		assert_true(str_eq(mp_find_str(user, "email", STR("")),
		                   STR("Ada@Example.org")));
		assert_true(says(&v, "email", "Ada@Example.org"));
	}
}

/* What the retention job does, a week after now_ms. */
static void let_old_ones_go(int64_t now_ms)
{
	struct retention_conf conf = {.service = "auth",
	                              .pool = fx.pool,
	                              .rules = auth_service.retention,
	                              .n = auth_service.retention_n};
	struct ctx cx = store_ctx(30000);
	AUTO(retention) r = NULL;
	uint64_t rows = 0;

	for (size_t i = 0; i < RETENTION_CATEGORIES; i++)
		conf.days[i] = 7;
	r = retention_new(&conf);
	assert_non_null(r);
	assert_int_equal(
		retention_run(r, &cx, 30000, now_ms + 7 * DAY_MS, &rows), OK);
}

static void sessions_that_are_over_are_deleted_after_a_week(void **state)
{
	struct member m = {0};
	struct visit v[4];
	int64_t now = wall_ms();

	(void)state;
	join("Alice", &m);
	for (size_t i = 0; i < COUNTOF(v); i++)
		visit(&m, &v[i]);
	assert_int_equal(end_one(&m, v[0].sid), OK);
	let_old_ones_go(now - 60000);
	assert_int_equal(COUNT("sessions", "1 = 1"), 4);
	let_old_ones_go(now + 60000);
	assert_int_equal(COUNT("sessions", "1 = 1"), 3);
	assert_int_equal(COUNT("refresh_tokens", "1 = 1"), 3);
	/* Those that nobody ended: a week behind their end by idleness. */
	let_old_ones_go(now + 14 * DAY_MS + 60000);
	assert_int_equal(COUNT("sessions", "1 = 1"), 0);
	assert_int_equal(COUNT("refresh_tokens", "1 = 1"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(of_an_address_only_its_network_is_kept),
		TEST(a_device_has_a_name_that_people_know),
		TEST(a_user_agent_is_cut_at_a_character_and_has_no_controls),
		TEST(a_login_opens_a_session),
		TEST(nobody_has_more_sessions_than_allowed),
		TEST(ones_sessions_are_listed_and_the_present_one_is_marked),
		TEST(one_session_is_ended_and_the_other_goes_on),
		TEST(a_logout_kills_the_session_and_its_refresh_token),
		TEST(a_logout_everywhere_ends_all_and_a_login_after_it_is_good),
		TEST(the_others_are_ended_and_the_one_kept_has_just_proved_itself),
		TEST(who_asks_who_they_are_shows_life),
		TEST(me_is_the_user_of_the_contract),
		TEST(sessions_that_are_over_are_deleted_after_a_week),
	};

	return cmocka_run_group_tests(tests, up, down);
}
