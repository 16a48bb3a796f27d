/*
 * Proving anew who one is, on the database that KAE_TEST_DATABASE_URL names or
 * on SQLite.
 */
#include "svc-auth/stepup.h"
#include "tests/store/auth_fixture.h"

/* As somebody who logged in so many seconds ago. */
static enum err prove(const struct member *m, int64_t ago_s,
                      const struct proofs *p)
{
	AUTO_CALL c = call_as(str_from(m->sub), m->scopes);
	enum err e;

	c.cx.auth_time_s = wall_ms() / 1000 - ago_s;
	e = stepup_check(fx.auth, &c.cx, p);
	assert_true(!e || c.cx.problem.detail[0]);
	return e;
}

static void a_login_is_proof_for_a_quarter_of_an_hour(void **state)
{
	static const struct {
		int64_t ago_s;
		enum err want;
	} cases[] = {
		{0, OK},
		{890, OK}, /* ten seconds for a busy machine */
		{901, ERR_REAUTH},
		{86400, ERR_REAUTH},
	};
	const struct proofs none = {0};
	struct member m = {0};

	(void)state;
	join("Alice", &m);
	for (size_t i = 0; i < COUNTOF(cases); i++)
		assert_int_equal(prove(&m, cases[i].ago_s, &none),
		                 cases[i].want);
}

static void later_a_live_key_of_the_same_person_is(void **state)
{
	struct member a = {0}, b = {0};

	(void)state;
	join("Alice", &a);
	join("Bob", &b);
	{
		const struct {
			struct proofs p;
			enum err want;
		} cases[] = {
			{{.api_key = str_from(a.key)}, OK},
			{{.api_key = str_from(b.key)}, ERR_REAUTH},
			{{.api_key = STR("sk_x")}, ERR_REAUTH},
			{{.api_key = STR("")}, ERR_REAUTH},
			{{.code = STR("123456")}, ERR_REAUTH},
			{{.password = STR("x")}, ERR_REAUTH},
		};

		for (size_t i = 0; i < COUNTOF(cases); i++)
			assert_int_equal(prove(&a, 3600, &cases[i].p),
			                 cases[i].want);
	}
	store_exec(fx.pool, store_is_postgres(&fx.store)
	                            ? "UPDATE auth.api_keys SET revoked_at = 1"
	                            : "UPDATE api_keys SET revoked_at = 1");
	{
		const struct proofs dead = {.api_key = str_from(a.key)};

		assert_int_equal(prove(&a, 3600, &dead), ERR_REAUTH);
	}
}

static void or_their_password(void **state)
{
	static const struct auth_register_in in = {
		.email = {"ada@example.org", 15},
		.password = {"gravel otter lampshade", 22},
	};
	const struct proofs right = {.password = in.password};
	const struct proofs wrong = {.password = STR("gravel otter")};
	struct member m = {.scopes = SCOPES_USUAL};
	struct jwt_claims t;

	(void)state;
	{
		const struct auth_login_in back = {.email = in.email,
		                                   .password = in.password};
		AUTO_CALL c = run(method_auth_register, &in);
		AUTO_CALL entered = run(method_auth_login, &back);

		assert_int_equal(c.e, OK);
		assert_int_equal(accepted(fx.auth, text(&entered, "token"), &t),
		                 OK);
	}
	copy(m.sub, sizeof(m.sub), str_from(t.who.sub));
	assert_int_equal(prove(&m, 3600, &wrong), ERR_REAUTH);
	assert_int_equal(prove(&m, 3600, &right), OK);
}

static struct call add_key(const struct member *m, int64_t ago_s,
                           struct str proof)
{
	const struct auth_keys_add_in in = {.name = STR("k"), .api_key = proof};
	struct call c = call_as(str_from(m->sub), m->scopes);

	c.cx.auth_time_s = wall_ms() / 1000 - ago_s;
	c.e = method_auth_keys_add(fx.auth, &c.cx, &in, &c.reply);
	return c;
}

static void making_a_key_asks_for_it(void **state)
{
	struct member m = {0};

	(void)state;
	join("Alice", &m);
	{
		AUTO_CALL old = add_key(&m, 901, STR(""));
		AUTO_CALL proven = add_key(&m, 901, str_from(m.key));
		AUTO_CALL fresh = add_key(&m, 0, STR(""));

		assert_int_equal(old.e, ERR_REAUTH);
		assert_int_equal(old.reply.body.n, 0);
		assert_int_equal(proven.e, OK);
		assert_int_equal(fresh.e, OK);
	}
	assert_int_equal(COUNT("api_keys", "name = 'k'"), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_login_is_proof_for_a_quarter_of_an_hour),
		TEST(later_a_live_key_of_the_same_person_is),
		TEST(or_their_password),
		TEST(making_a_key_asks_for_it),
	};

	return cmocka_run_group_tests(tests, up, down);
}
