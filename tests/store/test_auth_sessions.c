/*
 * Sessions on the database that KAE_TEST_DATABASE_URL names or on SQLite: how
 * they are opened, refreshed, shown and ended.
 */
#include "svc-auth/device.h"
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
	char out[PREFIX_MAX];

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		(void)address_prefix(str_from(cases[i].ip), out);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(of_an_address_only_its_network_is_kept),
		TEST(a_device_has_a_name_that_people_know),
		TEST(a_user_agent_is_cut_at_a_character_and_has_no_controls),
		TEST(a_login_opens_a_session),
		TEST(nobody_has_more_sessions_than_allowed),
	};

	return cmocka_run_group_tests(tests, up, down);
}
