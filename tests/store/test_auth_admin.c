/*
 * What administrators do to people, on the database that KAE_TEST_DATABASE_URL
 * names or on SQLite.
 */
#include "tests/store/auth_fixture.h"

/* The bootstrap administrator and one more, who act; and their target. */
static struct {
	struct member root, boss, alice;
} who;

static struct call generate(const char *handle, const char *role)
{
	const struct auth_admin_generate_key_in in = {
		.user_id = str_from(handle),
		.role = str_from(role),
	};

	return run_as(str_from(who.root.sub), SCOPES_USUAL | SCOPE_ADMIN,
	              method_auth_admin_generate_key, &in);
}

static void people(void)
{
	char key[SECRET_FILE_MAX];
	AUTO_CALL c = {0};

	admin_key(key);
	known(str_from(key), &who.root);
	c = generate("boss", "admin");
	assert_int_equal(c.e, OK);
	known(text(&c, "api_key"), &who.boss);
	join("Alice", &who.alice);
}

static struct call disable(const struct member *by, const char *handle)
{
	const struct auth_admin_disable_in in = {.user_id = str_from(handle)};

	return run_as(str_from(by->sub), by->scopes, method_auth_admin_disable,
	              &in);
}

static struct call enable(const struct member *by, const char *handle)
{
	const struct auth_admin_enable_in in = {.user_id = str_from(handle)};

	return run_as(str_from(by->sub), by->scopes, method_auth_admin_enable,
	              &in);
}

static struct call change(const struct member *by, const char *handle,
                          const char *role, const char *tier)
{
	const struct auth_admin_change_in in = {.user_id = str_from(handle),
	                                        .role = str_from(role),
	                                        .quota_tier = str_from(tier)};

	return run_as(str_from(by->sub), by->scopes, method_auth_admin_change,
	              &in);
}

static bool user_says(const struct call *c, const char *key, const char *want)
{
	struct str user;

	return mp_find(buf_view(&c->reply.body), "user", &user) &&
	       str_eq(mp_find_str(user, key, STR("")), str_from(want));
}

/* --- disable and enable ------------------------------------------------------- */

static void packed_refusal(struct call *c, struct buf *out)
{
	c->cx.spent = (struct hop_times){0};
	reply_pack(out, &c->cx, c->e, &c->reply);
}

static void a_disable_ends_everything_that_a_person_has(void **state)
{
	char refresh[64];

	(void)state;
	people();
	{
		AUTO_CALL in = login(str_from(who.alice.key));

		copy(refresh, sizeof(refresh), text(&in, "refresh_token"));
	}
	{
		AUTO_CALL c = disable(&who.boss, "ALICE");

		assert_int_equal(c.e, OK);
		assert_true(user_says(&c, "user_id", "Alice"));
		assert_true(user_says(&c, "state", "disabled"));
	}
	/* Sessions, refresh tokens, API keys. */
	assert_int_equal(COUNT("sessions", "ended_why = 'disabled'"), 1);
	assert_int_equal(rows(buf_view(&fx.pushed)), 2);
	assert_int_equal(COUNT("revocations", "kind = 'sub'"), 1);
	assert_int_equal(verdict(str_from(who.alice.key)), ERR_BAD_KEY);
	{
		const struct auth_refresh_in in = {.refresh_token =
		                                           str_from(refresh)};
		AUTO_CALL c = run(method_auth_refresh, &in);

		assert_int_equal(c.e, ERR_BAD_TOKEN);
	}
	/* Logging in: the very bytes of a key that never was. */
	{
		AUTO_CALL c = login(str_from(who.alice.key));
		AUTO_CALL never = login(STR("sk_never"));
		AUTO_BUF a = {0}, b = {0};

		packed_refusal(&c, &a);
		packed_refusal(&never, &b);
		assert_true(str_eq(buf_view(&a), buf_view(&b)));
	}
	/* Once more changes nothing. */
	{
		AUTO_CALL c = disable(&who.boss, "alice");

		assert_int_equal(c.e, OK);
		assert_int_equal(COUNT("revocations", "kind = 'sub'"), 1);
	}
}

/* A db_fn: as a login does that looked before the disable. */
static enum err enter_late(struct db *db, void *arg)
{
	struct user *u = arg;

	return user_enter(db, str_from(who.alice.sub), wall_ms(), u);
}

static void *enter_or_disable(void *arg)
{
	bool keeper = atomic_fetch_add((atomic_int *)arg, 1) == 0;

	for (int i = 0; i < 8; i++) {
		const struct auth_admin_disable_in out = {.user_id =
		                                                  STR("alice")};
		const struct auth_login_in in = {
			.api_key = str_from(who.alice.key)};
		AUTO_CALL c = call_as(keeper ? str_from(who.boss.sub)
		                             : (struct str){0},
		                      0);

		c.e = keeper ? method_auth_admin_disable(fx.auth, &c.cx, &out,
		                                         &c.reply)
		             : method_auth_login(fx.auth, &c.cx, &in, &c.reply);
		MUST(c.e == OK || (!keeper && c.e == ERR_BAD_KEY));
	}
	return NULL;
}

static void no_login_slips_past_a_disable(void **state)
{
	atomic_int turn = 0;
	struct user u;
	struct ctx cx = store_ctx(30000);

	(void)state;
	fx.auth->conf.push = no_push;
	fx.auth->conf.kick = no_kick;
	people();
	store_threads(5, enter_or_disable, &turn);
	assert_int_equal(COUNT("sessions", "ended_why IS NULL"), 0);
	assert_int_equal(db_write(fx.pool, &cx, enter_late, &u), ERR_NOT_FOUND);
}

static void an_enable_lets_in_again_what_was_not_ended(void **state)
{
	char refresh[64];

	(void)state;
	people();
	{
		AUTO_CALL in = login(str_from(who.alice.key));
		AUTO_CALL c = disable(&who.boss, "alice");
		AUTO_CALL d = enable(&who.boss, "alice");

		copy(refresh, sizeof(refresh), text(&in, "refresh_token"));
		assert_int_equal(c.e, OK);
		assert_int_equal(d.e, OK);
		assert_true(user_says(&d, "state", "active"));
	}
	assert_int_equal(verdict(str_from(who.alice.key)), OK);
	{
		const struct auth_refresh_in in = {.refresh_token =
		                                           str_from(refresh)};
		AUTO_CALL old = run(method_auth_refresh, &in);
		AUTO_CALL fresh = login(str_from(who.alice.key));
		struct jwt_claims t;

		assert_int_equal(old.e, ERR_BAD_TOKEN);
		assert_int_equal(fresh.e, OK);
		/* Not caught by the revocation of what came before. */
		assert_int_equal(accepted(fx.auth, text(&fresh, "token"), &t),
		                 OK);
		assert_true(
			t.issued_s * 1000 >
			NUMBER("SELECT at FROM revocations WHERE kind = 'sub'",
		               "SELECT at FROM auth.revocations WHERE kind = 'sub'"));
	}
}

static void the_bootstrap_administrator_and_oneself_are_kept_from_it(
	void **state)
{
	(void)state;
	people();
	{
		AUTO_CALL a = disable(&who.boss, "admin");
		AUTO_CALL b = disable(&who.boss, "Boss");
		AUTO_CALL c = change(&who.boss, "boss", "user", NULL);
		AUTO_CALL d = change(&who.boss, "admin", "user", NULL);
		AUTO_CALL e = change(&who.boss, "admin", NULL, "free");
		AUTO_CALL f = disable(&who.root, "admin");
		AUTO_CALL g = generate("admin", "user");

		assert_int_equal(a.e, ERR_CONFLICT);
		assert_int_equal(b.e, ERR_CONFLICT);
		assert_int_equal(c.e, ERR_CONFLICT);
		assert_int_equal(d.e, ERR_CONFLICT);
		assert_int_equal(e.e, ERR_CONFLICT);
		assert_int_equal(f.e, ERR_CONFLICT);
		assert_int_equal(g.e, ERR_CONFLICT);
		assert_true(b.cx.problem.detail[0] != '\0');
	}
	/* What changes nothing, and one's own tier, is fine. */
	{
		AUTO_CALL a = change(&who.boss, "boss", "admin", "premium");
		AUTO_CALL b = enable(&who.boss, "admin");

		assert_int_equal(a.e, OK);
		assert_int_equal(b.e, OK);
	}
}

struct duel {
	atomic_int turn;
};

static void *strike(void *arg)
{
	struct duel *d = arg;
	bool first = atomic_fetch_add(&d->turn, 1) % 2;
	const struct member *me = first ? &who.boss : &who.alice;
	const struct auth_admin_change_in in = {.user_id = first ? STR("alice")
	                                                         : STR("boss"),
	                                        .role = STR("user")};
	AUTO_CALL c = call_as(str_from(me->sub), me->scopes);

	c.e = method_auth_admin_change(fx.auth, &c.cx, &in, &c.reply);
	MUST(c.e == OK);
	return NULL;
}

static void administrators_who_demote_each_other_leave_one(void **state)
{
	struct duel d = {0};

	(void)state;
	fx.auth->conf.push = no_push;
	fx.auth->conf.kick = no_kick;
	people();
	{
		AUTO_CALL c = change(&who.boss, "alice", "admin", NULL);

		assert_int_equal(c.e, OK);
	}
	store_threads(8, strike, &d);
	assert_true(COUNT("users", "role = 'admin' AND state = 'active'") >= 1);
}

/* --- role and tier -------------------------------------------------------------- */

static void a_changed_role_voids_tokens_and_the_session_goes_on(void **state)
{
	char refresh[64];
	struct jwt_claims t;

	(void)state;
	people();
	{
		AUTO_CALL in = login(str_from(who.alice.key));

		copy(refresh, sizeof(refresh), text(&in, "refresh_token"));
	}
	{
		AUTO_CALL c = change(&who.boss, "alice", "admin", "premium");

		assert_int_equal(c.e, OK);
		assert_true(user_says(&c, "role", "admin"));
		assert_true(user_says(&c, "quota_tier", "premium"));
	}
	assert_int_equal(COUNT("revocations", "kind = 'sub'"), 1);
	{
		const struct auth_refresh_in in = {.refresh_token =
		                                           str_from(refresh)};
		AUTO_CALL c = run(method_auth_refresh, &in);

		assert_int_equal(c.e, OK);
		assert_int_equal(accepted(fx.auth, text(&c, "token"), &t), OK);
	}
	assert_int_equal(t.who.role, ROLE_ADMIN);
	assert_int_equal(t.who.tier, TIER_PREMIUM);
}

static void a_bad_change_is_refused(void **state)
{
	static const struct {
		const char *handle, *role, *tier;
		enum err want;
	} cases[] = {
		{"alice", NULL, NULL, ERR_INVALID},
		{"alice", "guest", NULL, ERR_INVALID},
		{"alice", "service", NULL, ERR_INVALID},
		{"alice", "", NULL, ERR_INVALID},
		{"alice", "user", "gold", ERR_INVALID},
		{"nobody.here", "user", NULL, ERR_NOT_FOUND},
		{"", "user", NULL, ERR_NOT_FOUND},
		{"%", "user", NULL, ERR_NOT_FOUND},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	         "user", NULL, ERR_NOT_FOUND},
	};

	(void)state;
	people();
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_CALL c = change(&who.boss, cases[i].handle, cases[i].role,
		                     cases[i].tier);

		assert_int_equal(c.e, cases[i].want);
	}
	{
		AUTO_CALL c = disable(&who.boss, "nobody.here");

		assert_int_equal(c.e, ERR_NOT_FOUND);
	}
}

/* --- look ------------------------------------------------------------------------ */

static struct call list(struct auth_admin_users_in in)
{
	if (!in.limit)
		in.limit = 50;
	return run_as(str_from(who.boss.sub), who.boss.scopes,
	              method_auth_admin_users, &in);
}

static void people_are_listed_in_pages(void **state)
{
	char cursor[HANDLE_MAX + 1] = "";
	int seen = 0, pages = 0;

	(void)state;
	people();
	for (int i = 0; i < 7; i++) {
		char handle[24];
		struct member m = {0};

		(void)snprintf(handle, sizeof(handle), "Person-%d", i);
		join(handle, &m);
	}
	do {
		AUTO_CALL c = list((struct auth_admin_users_in){
			.cursor =
				cursor[0] ? str_from(cursor) : (struct str){0},
			.limit = 4});

		assert_int_equal(c.e, OK);
		seen += (int)mp_find_i64(buf_view(&c.reply.body), "count", 0);
		copy(cursor, sizeof(cursor), text(&c, "next_cursor"));
		pages++;
	} while (cursor[0] && pages < 9);
	assert_int_equal(seen, 10);
	assert_int_equal(pages, 3);
}

static void people_are_found_by_what_they_are(void **state)
{
	static const struct {
		struct auth_admin_users_in in;
		int64_t want;
	} cases[] = {
		{{.limit = 50}, 4},
		{{.state = {"disabled", 8}}, 1},
		{{.state = {"active", 6}}, 3},
		{{.role = {"admin", 5}}, 2},
		{{.quota_tier = {"free", 4}}, 3},
		{{.prefix = {"AL", 2}}, 2},
		{{.prefix = {"al_", 3}}, 1},
		{{.prefix = {"%", 1}}, 0},
		{{.prefix = {"x", 1}}, 0},
		{{.prefix = {"al", 2}, .state = {"disabled", 8}}, 1},
	};
	struct member m = {0};

	(void)state;
	people();
	join("al_x", &m);
	{
		AUTO_CALL c = disable(&who.boss, "alice");

		assert_int_equal(c.e, OK);
	}
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_CALL c = list(cases[i].in);

		assert_int_equal(c.e, OK);
		assert_int_equal(mp_find_i64(buf_view(&c.reply.body), "count",
		                             -1),
		                 cases[i].want);
	}
	{
		AUTO_CALL a =
			list((struct auth_admin_users_in){.state = {"gone", 4},
		                                          .role = {"x", 1}});

		assert_int_equal(a.e, ERR_INVALID);
		assert_int_equal(a.cx.problem.faults_n, 2);
	}
}

static void one_person_is_shown_with_what_they_have(void **state)
{
	const struct auth_admin_user_in in = {.user_id = STR("aLice")};
	const struct auth_admin_user_in none = {.user_id = STR("nobody")};

	(void)state;
	people();
	{
		AUTO_CALL first = login(str_from(who.alice.key));
		AUTO_CALL c = run_as(str_from(who.boss.sub), who.boss.scopes,
		                     method_auth_admin_user, &in);
		AUTO_CALL d = run_as(str_from(who.boss.sub), who.boss.scopes,
		                     method_auth_admin_user, &none);
		struct str user;

		assert_int_equal(first.e, OK);
		assert_int_equal(c.e, OK);
		assert_true(user_says(&c, "user_id", "Alice"));
		assert_true(mp_find(buf_view(&c.reply.body), "user", &user));
		assert_int_equal(mp_find_i64(user, "sessions", -1), 1);
		assert_int_equal(mp_find_i64(user, "api_keys", -1), 1);
		assert_int_equal(d.e, ERR_NOT_FOUND);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_disable_ends_everything_that_a_person_has),
		TEST(no_login_slips_past_a_disable),
		TEST(an_enable_lets_in_again_what_was_not_ended),
		TEST(the_bootstrap_administrator_and_oneself_are_kept_from_it),
		TEST(administrators_who_demote_each_other_leave_one),
		TEST(a_changed_role_voids_tokens_and_the_session_goes_on),
		TEST(a_bad_change_is_refused),
		TEST(people_are_listed_in_pages),
		TEST(people_are_found_by_what_they_are),
		TEST(one_person_is_shown_with_what_they_have),
	};

	return cmocka_run_group_tests(tests, up, down);
}
