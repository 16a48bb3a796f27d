/*
 * The methods of people on the database that KAE_TEST_DATABASE_URL names or on
 * SQLite: register, log in and out, and their keys.
 */
#include "tests/store/auth_fixture.h"

/* --- register ------------------------------------------------------------- */

static void registering_gives_a_key_once_and_tells_gdpr(void **state)
{
	const struct auth_register_in in = {.user_id = STR("Alice"),
	                                    .quota_tier = STR("premium")};
	AUTO_CALL c = run(method_auth_register, &in);
	struct str usage;

	(void)state;
	assert_int_equal(c.e, OK);
	assert_int_equal(c.reply.status, 201);
	assert_true(says(&c, "user_id", "Alice"));
	assert_true(says(&c, "quota_tier", "free"));
	assert_true(api_key_well_formed(text(&c, "api_key")));
	assert_non_null(memmem(text(&c, "message").p, text(&c, "message").n,
	                       "premium", 7));
	assert_true(
		mp_find(buf_view(&c.reply.body), "usage_instructions", &usage));
	assert_true(str_eq(mp_find_str(usage, "header", STR("")),
	                   STR("X-API-Key")));
	assert_true(str_starts(mp_find_str(usage, "example", STR("")),
	                       STR("X-API-Key: sk_")));
	assert_int_equal(COUNT("outbox", "type = 'user.registered'"), 2);
	assert_true(fx.kicks > 0);
	assert_int_equal(verdict(text(&c, "api_key")), OK);
}

static void a_handle_is_taken_in_any_case_of_letters(void **state)
{
	static const char *const same[] = {"alice", "ALICE", "aLiCe"};
	struct member m = {0};

	(void)state;
	join("Alice", &m);
	for (size_t i = 0; i < COUNTOF(same); i++) {
		const struct auth_register_in in = {.user_id =
		                                            str_from(same[i])};
		AUTO_CALL c = run(method_auth_register, &in);

		assert_int_equal(c.e, ERR_EXISTS);
	}
	assert_int_equal(verdict(str_from(m.key)), OK);
	assert_int_equal(COUNT("users", "1 = 1"), 2);
}

static void a_bad_registration_is_refused_and_leaves_nothing(void **state)
{
	static const struct {
		struct auth_register_in in;
		enum err want;
	} cases[] = {
		{{.user_id = {NULL, 0}}, ERR_INVALID},
		{{.user_id = {"", 0}}, ERR_INVALID},
		{{.user_id = {"ab", 2}}, ERR_INVALID},
		{{.user_id = {"a@b.de", 6}}, ERR_INVALID},
		{{.user_id = {"Admin", 5}}, ERR_INVALID},
		{{.user_id = {"bob", 3}, .quota_tier = {"gold", 4}},
	         ERR_INVALID},
		{{.user_id = {"bob", 3}, .quota_tier = {"", 0}}, ERR_INVALID},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_CALL c = run(method_auth_register, &cases[i].in);

		assert_int_equal(c.e, cases[i].want);
		assert_true(c.cx.problem.detail[0] != '\0');
		assert_int_equal(c.reply.body.n, 0);
	}
	assert_int_equal(COUNT("users", "1 = 1"), 1);
}

/* --- log in, validate, log out -------------------------------------------- */

static void logging_in_gives_a_token_that_verifies(void **state)
{
	struct member m = {0};
	struct jwt_claims t;

	(void)state;
	join("Alice", &m);
	{
		AUTO_CALL c = login(str_from(m.key));

		assert_int_equal(c.e, OK);
		assert_true(says(&c, "token_type", "Bearer"));
		assert_true(says(&c, "user_id", "Alice"));
		assert_true(says(&c, "quota_tier", "free"));
		assert_true(
			str_eq(text(&c, "token"), text(&c, "access_token")));
		assert_int_equal(mp_find_i64(buf_view(&c.reply.body),
		                             "expires_in", 0),
		                 86400);
		assert_int_equal(accepted(fx.auth, text(&c, "token"), &t), OK);
	}
	assert_string_equal(t.who.sub, m.sub);
	assert_string_equal(t.who.hnd, "Alice");
	assert_string_equal(t.key, m.key_id);
	assert_int_equal(t.who.scopes, SCOPES_USUAL);
	assert_int_equal(t.who.role, ROLE_USER);
}

static void unknown_and_malformed_keys_are_refused_alike(void **state)
{
	static const char *const keys[] = {
		"sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"x",
		" ",
		"sk_",
		"' OR 1=1 --",
	};

	AUTO_BUF first = {0};

	(void)state;
	for (size_t i = 0; i < COUNTOF(keys); i++) {
		AUTO_CALL c = login(str_from(keys[i]));
		AUTO_BUF bytes = {0};

		assert_int_equal(c.e, ERR_BAD_KEY);
		c.cx.spent = (struct hop_times){0}; /* not for the client */
		reply_pack(&bytes, &c.cx, c.e, &c.reply);
		if (i == 0)
			buf_str(&first, buf_view(&bytes));
		assert_true(str_eq(buf_view(&first), buf_view(&bytes)));
	}
}

static void a_login_without_credentials_says_what_it_takes(void **state)
{
	static const struct {
		struct auth_login_in in;
		const char *pointer;
	} cases[] = {
		{{.api_key = {NULL, 0}}, "/api_key"},
		{{.api_key = {"", 0}, .password = {"", 0}}, "/api_key"},
		{{.email = {"a@example.org", 13}}, "/password"},
		{{.password = {"x", 1}}, "/email"},
		{{.email = {"a@example.org", 13},
	          .user_id = {"ada", 3},
	          .password = {"x", 1}},
	         "/user_id"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_CALL c = run(method_auth_login, &cases[i].in);

		assert_int_equal(c.e, ERR_INVALID);
		assert_int_equal(c.cx.problem.faults_n, 1);
		assert_string_equal(c.cx.problem.faults[0].pointer,
		                    cases[i].pointer);
	}
	{
		const struct auth_login_in both = {.api_key = STR("sk_x"),
		                                   .password = STR("x")};
		AUTO_CALL c = run(method_auth_login, &both);

		assert_int_equal(c.e, ERR_BAD_REQUEST);
	}
}

static void validate_tells_who_one_is(void **state)
{
	struct member m = {0};

	(void)state;
	join("Alice", &m);
	{
		AUTO_CALL c = run_as(str_from(m.sub), SCOPES_USUAL,
		                     method_auth_validate, NULL);
		AUTO_CALL gone =
			run_as(STR("01900000-0000-7000-8000-000000000001"),
		               SCOPES_USUAL, method_auth_validate, NULL);
		struct str email;

		assert_int_equal(c.e, OK);
		assert_true(
			mp_find_bool(buf_view(&c.reply.body), "valid", false));
		assert_true(says(&c, "user_id", "Alice"));
		assert_true(says(&c, "role", "user"));
		assert_true(says(&c, "quota_tier", "free"));
		assert_true(mp_find(buf_view(&c.reply.body), "email", &email));
		assert_true(str_eq(email, STR("\xc0")));
		assert_int_equal(text(&c, "created_at").n, 24);
		assert_int_equal(gone.e, ERR_BAD_TOKEN);
	}
}

static void logging_out_revokes_the_session_and_tells_gateways(void **state)
{
	AUTO_CALL c =
		logout(STR("s"), STR("01900000-0000-7000-8000-000000000001"));
	AUTO_CALL list = since(0);

	(void)state;
	assert_int_equal(c.e, OK);
	assert_int_equal(list.e, OK);
	assert_int_equal(rows(buf_view(&list.reply.body)), 1);
	/* What is pushed and what is polled are the same bytes. */
	assert_true(str_eq(buf_view(&fx.pushed), buf_view(&list.reply.body)));
}

static void an_api_key_has_no_session_to_end(void **state)
{
	AUTO_CALL c = logout(STR("s"),
	                     STR("key:01900000-0000-7000-8000-000000000001"));

	(void)state;
	assert_int_equal(c.e, ERR_BAD_REQUEST);
	assert_int_equal(COUNT("revocations", "1 = 1"), 0);
}

/* --- an administrator's keys for others ----------------------------------- */

static struct call generate(const char *handle, const char *tier,
                            const char *role)
{
	const struct auth_admin_generate_key_in in = {
		.user_id = str_from(handle),
		.quota_tier = str_from(tier),
		.role = str_from(role),
	};

	return run(method_auth_admin_generate_key, &in);
}

static void an_administrator_makes_people_and_keys(void **state)
{
	AUTO_CALL a = generate("boss", "unlimited", "admin");
	AUTO_CALL b = generate("BOSS", NULL, NULL);
	struct member m = {0};

	(void)state;
	assert_int_equal(a.e, OK);
	assert_int_equal(a.reply.status, 201);
	assert_true(says(&a, "role", "admin"));
	assert_true(says(&a, "quota_tier", "unlimited"));
	known(text(&a, "api_key"), &m);
	assert_int_equal(m.scopes, role_scopes(ROLE_ADMIN));
	/* Existing person, nothing asked: as they were. */
	assert_int_equal(b.e, OK);
	assert_true(says(&b, "user_id", "boss"));
	assert_true(says(&b, "role", "admin"));
	assert_int_equal(COUNT("revocations", "1 = 1"), 0);
}

static void a_changed_role_ends_what_says_the_old_one(void **state)
{
	struct member m = {0};
	struct jwt_claims t;

	(void)state;
	join("carol", &m);
	{
		AUTO_CALL c = generate("carol", NULL, "admin");
		AUTO_CALL again = login(str_from(m.key));
		int64_t at;

		assert_int_equal(c.e, OK);
		assert_int_equal(COUNT("revocations", "kind = 'sub'"), 1);
		at = NUMBER("SELECT at FROM revocations",
		            "SELECT at FROM auth.revocations");
		/* A login right after it is not caught by it. */
		assert_int_equal(again.e, OK);
		assert_int_equal(accepted(fx.auth, text(&again, "token"), &t),
		                 OK);
		assert_true(t.issued_s * 1000 > at);
	}
}

static void a_demoted_administrators_keys_lose_the_admin_scope(void **state)
{
	struct member m = {0};

	(void)state;
	{
		AUTO_CALL a = generate("dave", NULL, "admin");
		AUTO_CALL b = generate("dave", NULL, "user");

		assert_int_equal(a.e, OK);
		assert_int_equal(b.e, OK);
		known(text(&a, "api_key"), &m);
	}
	assert_int_equal(m.scopes, SCOPES_USUAL);
}

static void a_bad_grant_is_refused(void **state)
{
	static const struct {
		const char *handle, *tier, *role;
		enum err want;
	} cases[] = {
		{"x y", NULL, NULL, ERR_INVALID},
		{"root", NULL, NULL, ERR_INVALID},
		{"eve", "gold", NULL, ERR_INVALID},
		{"eve", NULL, "service", ERR_INVALID},
		{"eve", NULL, "guest", ERR_INVALID},
		{"eve", NULL, "", ERR_INVALID},
		{"admin", NULL, "user", ERR_CONFLICT},
		{"admin", "free", NULL, ERR_CONFLICT},
		{"admin", NULL, NULL, OK},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_CALL c =
			generate(cases[i].handle, cases[i].tier, cases[i].role);

		assert_int_equal(c.e, cases[i].want);
	}
	assert_int_equal(COUNT("users", "1 = 1"), 1);
}

/* --- one's own keys ------------------------------------------------------- */

static struct call add_key(const struct member *m, const char *scope,
                           const char *expires)
{
	struct str names[1] = {str_from(scope)};
	const struct auth_keys_add_in in = {
		.name = STR("laptop"),
		.scopes = {names, scope ? 1 : 0},
		.expires_at = str_from(expires),
	};

	return run_as(str_from(m->sub), m->scopes, method_auth_keys_add, &in);
}

static enum err drop_key(const struct member *m, struct str id)
{
	const struct auth_keys_revoke_in in = {.key_id = id};
	AUTO_CALL c = run_as(str_from(m->sub), m->scopes,
	                     method_auth_keys_revoke, &in);

	return c.e;
}

static void a_key_can_be_added_listed_and_revoked(void **state)
{
	struct member m = {0};

	(void)state;
	join("Alice", &m);
	{
		AUTO_CALL c = add_key(&m, "read", "2100-01-01T00:00:00Z");
		AUTO_CALL list = run_as(str_from(m.sub), m.scopes,
		                        method_auth_keys_list, NULL);
		AUTO_CALL check = verify(text(&c, "api_key"));
		struct str body = buf_view(&list.reply.body);

		assert_int_equal(c.e, OK);
		assert_int_equal(c.reply.status, 201);
		assert_true(says(&check, "scp", "read"));
		assert_int_equal(mp_find_i64(body, "count", 0), 2);
		/* Shown once: the list has its first characters only. */
		assert_null(memmem(body.p, body.n, text(&c, "api_key").p,
		                   text(&c, "api_key").n));
		assert_non_null(memmem(body.p, body.n, text(&c, "api_key").p,
		                       API_KEY_PREFIX));
		assert_int_equal(drop_key(&m, text(&c, "key_id")), OK);
		assert_int_equal(verdict(text(&c, "api_key")), ERR_BAD_KEY);
		assert_int_equal(drop_key(&m, text(&c, "key_id")),
		                 ERR_NOT_FOUND);
		assert_int_equal(COUNT("revocations", "kind = 'key'"), 1);
	}
	assert_int_equal(verdict(str_from(m.key)), OK);
}

static void a_key_gives_away_no_more_than_it_has(void **state)
{
	static const struct {
		uint32_t has;
		const char *asks;
		enum err want;
	} cases[] = {
		{SCOPES_USUAL, "write", OK},
		{SCOPES_USUAL, "read write", OK},
		{SCOPES_USUAL, "admin", ERR_DENIED},
		{SCOPE_READ | SCOPE_WRITE, "generate", ERR_DENIED},
		{SCOPE_WRITE, "read", ERR_DENIED},
		{SCOPE_WRITE, NULL, OK},
		{SCOPE_ADMIN, NULL, ERR_DENIED},
		{SCOPES_USUAL, "everything", ERR_INVALID},
		{SCOPES_USUAL, "", ERR_INVALID},
	};
	struct member m = {0};

	(void)state;
	join("Alice", &m);
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		m.scopes = cases[i].has;
		{
			AUTO_CALL c = add_key(&m, cases[i].asks, NULL);

			assert_int_equal(c.e, cases[i].want);
		}
	}
}

static void a_key_may_not_expire_in_the_past(void **state)
{
	static const char *const times[] = {"2001-01-01T00:00:00Z", "soon",
	                                    "4102444800000"};
	struct member m = {0};

	(void)state;
	join("Alice", &m);
	for (size_t i = 0; i < COUNTOF(times); i++) {
		AUTO_CALL c = add_key(&m, NULL, times[i]);

		assert_int_equal(c.e, ERR_INVALID);
	}
}

static void an_expired_key_is_no_key_and_a_session_ends_with_it(void **state)
{
	struct member m = {0};
	char soon[CLOCK_ISO_MAX];
	struct jwt_claims t;

	(void)state;
	join("Alice", &m);
	(void)clock_iso(wall_ms() + 60000, soon);
	{
		AUTO_CALL c = add_key(&m, NULL, soon);
		AUTO_CALL in = login(text(&c, "api_key"));

		assert_int_equal(in.e, OK);
		assert_int_equal(accepted(fx.auth, text(&in, "token"), &t), OK);
		assert_in_range(t.who.expires_s - wall_ms() / 1000, 55, 60);
		assert_in_range(mp_find_i64(buf_view(&in.reply.body),
		                            "expires_in", 0),
		                55, 60);
		store_exec(
			fx.pool,
			store_is_postgres(&fx.store)
				? "UPDATE auth.api_keys SET expires_at = 1 WHERE name = 'laptop'"
				: "UPDATE api_keys SET expires_at = 1 WHERE name = 'laptop'");
		assert_int_equal(verdict(text(&c, "api_key")), ERR_BAD_KEY);
	}
}

static void a_foreign_key_is_not_found(void **state)
{
	static const char *const ids[] = {
		"01900000-0000-7000-8000-000000000001",
		"1",
		"",
		"%",
		"' OR '1'='1",
	};
	struct member a = {0}, b = {0};

	(void)state;
	join("Alice", &a);
	join("Bob", &b);
	assert_int_equal(drop_key(&b, str_from(a.key_id)), ERR_NOT_FOUND);
	for (size_t i = 0; i < COUNTOF(ids); i++)
		assert_int_equal(drop_key(&b, str_from(ids[i])), ERR_NOT_FOUND);
	assert_int_equal(verdict(str_from(a.key)), OK);
	assert_int_equal(COUNT("revocations", "1 = 1"), 0);
}

struct adders {
	const struct member *m;
	atomic_int added, refused, failed;
};

static void *add_many(void *arg)
{
	struct adders *a = arg;

	for (int i = 0; i < 6; i++) {
		const struct auth_keys_add_in in = {.name = STR("k")};
		AUTO_CALL c = call_as(str_from(a->m->sub), SCOPES_USUAL);

		c.e = method_auth_keys_add(fx.auth, &c.cx, &in, &c.reply);
		atomic_fetch_add(c.e == OK             ? &a->added
		                 : c.e == ERR_CONFLICT ? &a->refused
		                                       : &a->failed,
		                 1);
	}
	return NULL;
}

static void nobody_gets_more_than_twenty_keys_even_at_once(void **state)
{
	struct member m = {0};
	struct adders a = {.m = &m};

	(void)state;
	join("Alice", &m);
	store_threads(6, add_many, &a);
	assert_int_equal(a.failed, 0);
	assert_int_equal(a.added, KEYS_LIVE_MAX - 1);
	assert_int_equal(COUNT("api_keys", "name = 'k'"), KEYS_LIVE_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registering_gives_a_key_once_and_tells_gdpr),
		TEST(a_handle_is_taken_in_any_case_of_letters),
		TEST(a_bad_registration_is_refused_and_leaves_nothing),
		TEST(logging_in_gives_a_token_that_verifies),
		TEST(unknown_and_malformed_keys_are_refused_alike),
		TEST(a_login_without_credentials_says_what_it_takes),
		TEST(validate_tells_who_one_is),
		TEST(logging_out_revokes_the_session_and_tells_gateways),
		TEST(an_api_key_has_no_session_to_end),
		TEST(an_administrator_makes_people_and_keys),
		TEST(a_changed_role_ends_what_says_the_old_one),
		TEST(a_demoted_administrators_keys_lose_the_admin_scope),
		TEST(a_bad_grant_is_refused),
		TEST(a_key_can_be_added_listed_and_revoked),
		TEST(a_key_gives_away_no_more_than_it_has),
		TEST(a_key_may_not_expire_in_the_past),
		TEST(an_expired_key_is_no_key_and_a_session_ends_with_it),
		TEST(a_foreign_key_is_not_found),
		TEST(nobody_gets_more_than_twenty_keys_even_at_once),
	};

	return cmocka_run_group_tests(tests, up, down);
}
