/*
 * E-mail and password on the database that KAE_TEST_DATABASE_URL names or on
 * SQLite: register, log in, change it, and what slows down those who guess.
 */
#include "svc-auth/session.h"
#include "tests/store/auth_fixture.h"

#define MAIL   "Ada.Lovelace@example.org"
#define SECRET "gravel otter lampshade"
#define OTHER  "zither plinth morning"
#define WRONG  "not the right one"

/* --- as people do it --------------------------------------------------------- */

static struct call from(const char *ip, struct auth *au, method_fn *fn,
                        const void *in)
{
	struct call c = call_as((struct str){0}, 0);

	c.cx.ip = str_from(ip);
	c.e = fn(au, &c.cx, in, &c.reply);
	assert_false(c.reply.body.failed);
	return c;
}

static struct call sign_up(const char *email, const char *handle)
{
	const struct auth_register_in in = {.email = str_from(email),
	                                    .user_id = str_from(handle),
	                                    .password = STR(SECRET)};

	return from("192.0.2.1", fx.auth, method_auth_register, &in);
}

static void join_by_mail(const char *email, const char *handle)
{
	AUTO_CALL c = sign_up(email, handle);

	assert_int_equal(c.e, OK);
}

static struct call enter_at(struct auth *au, const char *ip, const char *email,
                            const char *password)
{
	const struct auth_login_in in = {.email = str_from(email),
	                                 .password = str_from(password)};

	return from(ip, au, method_auth_login, &in);
}

static enum err tried(const char *ip, const char *email, const char *password)
{
	AUTO_CALL c = enter_at(fx.auth, ip, email, password);

	return c.e;
}

static void logged_in(struct jwt_claims *out)
{
	AUTO_CALL c = enter_at(fx.auth, "192.0.2.1", MAIL, SECRET);

	assert_int_equal(c.e, OK);
	assert_int_equal(accepted(fx.auth, text(&c, "token"), out), OK);
}

/* One attempt at a time that is given. */
struct attempt {
	struct throttle t;
	bool good;
};

static enum err attempt(struct db *db, void *arg)
{
	struct attempt *a = arg;
	enum err e = throttle_take(db, &a->t);

	return !e && a->good ? throttle_good(db, &a->t) : e;
}

static enum err attempt_at(int64_t now_ms, const char *account, const char *ip,
                           bool good, int64_t *wait_ms)
{
	struct ctx cx = store_ctx(30000);
	struct attempt a = {.good = good};
	enum err e;

	throttle_init(&a.t, &fx.auth->throttle, "email", str_from(account),
	              str_from(ip), now_ms);
	e = db_write(fx.pool, &cx, attempt, &a);
	if (wait_ms)
		*wait_ms = a.t.wait_ms;
	return e;
}

/*
 * Failures up to the longest pause, as if time went on: an attempt is early
 * then on however slow a machine.
 */
static void wear_out(const char *account, const char *ip)
{
	int64_t wait = 0, at = wall_ms();

	while (wait < THROTTLE_PAUSE_MAX_MS)
		if (attempt_at(at, account, ip, false, &wait))
			at += wait;
}

/* --- register ---------------------------------------------------------------- */

static void registering_by_mail_opens_a_session(void **state)
{
	AUTO_CALL c = sign_up(MAIL, NULL);
	struct jwt_claims t;
	struct str user;

	(void)state;
	assert_int_equal(c.e, OK);
	assert_int_equal(c.reply.status, 201);
	assert_true(says(&c, "email", MAIL));
	assert_true(str_starts(text(&c, "user_id"), STR("learner-")));
	assert_int_equal(text(&c, "user_id").n, 18);
	assert_int_equal(handle_check(text(&c, "user_id")), HANDLE_GOOD);
	assert_true(says(&c, "quota_tier", "free"));
	assert_true(text(&c, "message").n > 0);
	assert_true(mp_find(buf_view(&c.reply.body), "user", &user));
	assert_true(str_eq(mp_find_str(user, "email", STR("")), STR(MAIL)));
	assert_int_equal(accepted(fx.auth, text(&c, "access_token"), &t), OK);
	assert_int_equal(t.who.scopes, SCOPES_USUAL);
	assert_int_equal(COUNT("outbox", "type = 'user.registered'"), 2);
	assert_int_equal(COUNT("sessions", "method = 'password'"), 1);
}

static void what_is_stored_of_a_password_is_argon2id(void **state)
{
	(void)state;
	join_by_mail(MAIL, NULL);
	assert_int_equal(
		COUNT("users",
	              "password LIKE '$argon2id$v=19$m=1024,t=1,p=1$%'"),
		1);
	assert_int_equal(COUNT("users", "password LIKE '%gravel%'"), 0);
	assert_int_equal(COUNT("users",
	                       "email_key = 'ada.lovelace@example.org' AND "
	                       "password_at = created_at"),
	                 1);
}

static void an_address_and_a_handle_are_taken_in_any_case(void **state)
{
	static const struct {
		const char *email, *handle;
	} taken[] = {
		{"ada.lovelace@EXAMPLE.org", NULL},
		{"ADA.LOVELACE@example.org", "somebody"},
		{"other@example.org", "aDa"},
	};

	(void)state;
	join_by_mail(MAIL, "Ada");
	for (size_t i = 0; i < COUNTOF(taken); i++) {
		AUTO_CALL c = sign_up(taken[i].email, taken[i].handle);

		assert_int_equal(c.e, ERR_EXISTS);
		assert_int_equal(c.reply.body.n, 0);
	}
	assert_int_equal(COUNT("users", "1 = 1"), 2);
	assert_int_equal(COUNT("sessions", "1 = 1"), 1);
}

static void a_bad_account_is_refused_with_every_reason(void **state)
{
	static const struct {
		struct auth_register_in in;
		const char *pointer[3];
	} cases[] = {
		{{.password = {SECRET, 22}}, {"/email"}},
		{{.email = {"ada", 3}, .password = {SECRET, 22}}, {"/email"}},
		{{.email = {MAIL, 24}}, {"/password"}},
		{{.email = {MAIL, 24}, .password = {"short", 5}},
	         {"/password"}},
		{{.email = {MAIL, 24}, .password = {"password1", 9}},
	         {"/password"}},
		{{.email = {MAIL, 24}, .password = {"Ada.Lovelace1", 13}},
	         {"/password"}},
		{{.email = {MAIL, 24},
	          .password = {SECRET, 22},
	          .confirm_password = {WRONG, 17}},
	         {"/confirm_password"}},
		{{.email = {MAIL, 24},
	          .password = {SECRET, 22},
	          .user_id = {"no", 2},
	          .quota_tier = {"gold", 4}},
	         {"/user_id", "/quota_tier"}},
		{{.email = {"x@y", 3},
	          .password = {"x", 1},
	          .confirm_password = {"", 0}},
	         {"/email", "/password", "/confirm_password"}},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_CALL c = run(method_auth_register, &cases[i].in);
		size_t n = 0;

		assert_int_equal(c.e, ERR_INVALID);
		while (n < 3 && cases[i].pointer[n]) {
			assert_string_equal(c.cx.problem.faults[n].pointer,
			                    cases[i].pointer[n]);
			n++;
		}
		assert_int_equal(c.cx.problem.faults_n, n);
	}
	assert_int_equal(COUNT("users", "1 = 1"), 1);
}

/* --- log in -------------------------------------------------------------------- */

static void logging_in_by_address_or_handle_is_the_same(void **state)
{
	const struct auth_login_in by_handle = {.user_id = STR("ADA"),
	                                        .password = STR(SECRET)};
	struct jwt_claims a, b;

	(void)state;
	join_by_mail(MAIL, "Ada");
	{
		AUTO_CALL c = enter_at(fx.auth, "192.0.2.1",
		                       "ada.lovelace@Example.org", SECRET);
		AUTO_CALL d = from("192.0.2.1", fx.auth, method_auth_login,
		                   &by_handle);

		assert_int_equal(c.e, OK);
		assert_int_equal(d.e, OK);
		assert_true(says(&c, "user_id", "Ada"));
		assert_int_equal(accepted(fx.auth, text(&c, "token"), &a), OK);
		assert_int_equal(accepted(fx.auth, text(&d, "token"), &b), OK);
	}
	assert_string_equal(a.who.sub, b.who.sub);
	assert_string_equal(a.key, "");
}

static void set_state(const char *sqlite, const char *postgres)
{
	store_exec(fx.pool, store_is_postgres(&fx.store) ? postgres : sqlite);
}

static void all_that_is_not_right_is_the_same_bytes(void **state)
{
	static const struct auth_login_in asked[] = {
		{.email = {MAIL, 24}, .password = {WRONG, 17}},
		{.email = {MAIL, 24}, .password = {SECRET " ", 23}},
		{.email = {"nobody@example.org", 18}, .password = {WRONG, 17}},
		{.email = {"no address", 10}, .password = {WRONG, 17}},
		{.user_id = {"nobody", 6}, .password = {WRONG, 17}},
		{.user_id = {"' OR 1=1 --", 11}, .password = {WRONG, 17}},
		{.user_id = {"keyed", 5}, .password = {WRONG, 17}},
		{.user_id = {"admin", 5}, .password = {WRONG, 17}},
		/* Disabled, and right. */
		{.email = {"bob@example.org", 15}, .password = {SECRET, 22}},
	};
	AUTO_BUF first = {0};
	struct member keyed = {0};

	(void)state;
	join_by_mail(MAIL, NULL);
	join_by_mail("bob@example.org", "bob");
	join("keyed", &keyed);
	set_state(
		"UPDATE users SET state = 'disabled' WHERE handle = 'bob'",
		"UPDATE auth.users SET state = 'disabled' WHERE handle = 'bob'");
	for (size_t i = 0; i < COUNTOF(asked); i++) {
		AUTO_CALL c = from("192.0.2.1", fx.auth, method_auth_login,
		                   &asked[i]);
		AUTO_BUF bytes = {0};

		assert_int_equal(c.e, ERR_BAD_LOGIN);
		c.cx.spent = (struct hop_times){0}; /* not for the client */
		reply_pack(&bytes, &c.cx, c.e, &c.reply);
		if (i == 0)
			buf_str(&first, buf_view(&bytes));
		assert_true(str_eq(buf_view(&first), buf_view(&bytes)));
	}
	assert_int_equal(COUNT("sessions", "1 = 1"), 2);
}

static void a_password_gets_a_new_hash_when_the_settings_grow(void **state)
{
	int64_t at;

	(void)state;
	join_by_mail(MAIL, NULL);
	at = NUMBER("SELECT MAX(password_at) FROM users",
	            "SELECT MAX(password_at) FROM auth.users");
	fx.settings.password_hash_passes = 2;
	assert_int_equal(restart(), OK);
	assert_int_equal(tried("192.0.2.1", MAIL, WRONG), ERR_BAD_LOGIN);
	assert_int_equal(COUNT("users", "password LIKE '%,t=2,%'"), 0);
	assert_int_equal(tried("192.0.2.1", MAIL, SECRET), OK);
	assert_int_equal(COUNT("users", "password LIKE '%,t=2,%'"), 1);
	assert_int_equal(tried("192.0.2.1", MAIL, SECRET), OK);
	/* It is the same password, set when it was. */
	assert_int_equal(NUMBER("SELECT MAX(password_at) FROM users",
	                        "SELECT MAX(password_at) FROM auth.users"),
	                 at);
}

static void a_hash_that_is_none_of_ours_is_our_fault(void **state)
{
	(void)state;
	assert_int_equal(password_verify(&fx.auth->hasher, "$1$md5", STR("x")),
	                 ERR_INTERNAL);
	/* Not ERR_NOMEM: the dummy is a hash that was really computed. */
	assert_int_equal(password_verify(&fx.auth->hasher, "", STR("x")),
	                 ERR_BAD_LOGIN);
}

static void who_is_logged_in_can_confirm_it(void **state)
{
	struct call c = call_as((struct str){0}, 0);
	struct jwt_claims t;

	(void)state;
	join_by_mail(MAIL, NULL);
	logged_in(&t);
	assert_int_equal(password_check(fx.auth, &c.cx, str_from(t.who.sub),
	                                STR(SECRET)),
	                 OK);
	assert_int_equal(password_check(fx.auth, &c.cx, str_from(t.who.sub),
	                                STR(WRONG)),
	                 ERR_BAD_LOGIN);
	call_end(&c);
}

/* --- change it ------------------------------------------------------------------- */

static struct call change(const struct jwt_claims *t, const char *current,
                          const char *fresh, bool keep)
{
	const struct auth_change_password_in in = {
		.current_password = str_from(current),
		.new_password = str_from(fresh),
		.keep_sessions = keep,
	};
	struct call c = call_as(str_from(t->who.sub), SCOPES_USUAL);

	c.cx.sid = str_from(t->who.sid);
	c.cx.auth_time_s = t->who.auth_time_s;
	c.e = method_auth_change_password(fx.auth, &c.cx, &in, &c.reply);
	return c;
}

static void a_changed_password_ends_all_other_sessions(void **state)
{
	struct jwt_claims mine, other;

	(void)state;
	join_by_mail(MAIL, NULL);
	logged_in(&other);
	logged_in(&mine);
	{
		AUTO_CALL c = change(&mine, SECRET, OTHER, false);

		assert_int_equal(c.e, OK);
		assert_true(text(&c, "message").n > 0);
	}
	/* Its own lives; that of the registration and the other one do not. */
	assert_int_equal(COUNT("sessions", "ended_why = 'password'"), 2);
	assert_int_equal(COUNT("sessions", "ended_why IS NULL"), 1);
	assert_int_equal(COUNT("revocations", "kind = 'jti'"), 2);
	assert_int_equal(tried("192.0.2.1", MAIL, SECRET), ERR_BAD_LOGIN);
	assert_int_equal(tried("192.0.2.1", MAIL, OTHER), OK);
}

static void the_other_sessions_may_be_kept(void **state)
{
	struct jwt_claims mine;

	(void)state;
	join_by_mail(MAIL, NULL);
	logged_in(&mine);
	{
		AUTO_CALL c = change(&mine, SECRET, OTHER, true);

		assert_int_equal(c.e, OK);
	}
	assert_int_equal(COUNT("sessions", "ended_why IS NULL"), 2);
}

static void a_change_that_is_not_right_changes_nothing(void **state)
{
	static const struct {
		const char *current, *fresh;
		enum err want;
		const char *pointer;
	} cases[] = {
		{WRONG, OTHER, ERR_BAD_LOGIN, NULL},
		{NULL, OTHER, ERR_INVALID, "/current_password"},
		{"", OTHER, ERR_INVALID, "/current_password"},
		{SECRET, "short", ERR_INVALID, "/new_password"},
		{SECRET, "password1", ERR_INVALID, "/new_password"},
		{SECRET, "ada.lovelace!", ERR_INVALID, "/new_password"},
		{SECRET, SECRET, ERR_INVALID, "/new_password"},
	};
	struct jwt_claims mine;

	(void)state;
	join_by_mail(MAIL, NULL);
	logged_in(&mine);
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_CALL c =
			change(&mine, cases[i].current, cases[i].fresh, false);

		assert_int_equal(c.e, cases[i].want);
		if (cases[i].pointer)
			assert_string_equal(c.cx.problem.faults[0].pointer,
			                    cases[i].pointer);
	}
	assert_int_equal(COUNT("sessions", "ended_why IS NULL"), 2);
	assert_int_equal(tried("192.0.2.1", MAIL, SECRET), OK);
}

static void guessing_the_current_password_is_slowed_down(void **state)
{
	struct jwt_claims mine;
	enum err e = OK;
	int n;

	(void)state;
	join_by_mail(MAIL, NULL);
	logged_in(&mine);
	/* A slow machine may sit out the first pauses. */
	for (n = 0; n < 12 && e != ERR_RATE_LIMITED; n++) {
		AUTO_CALL c = change(&mine, WRONG, OTHER, false);

		e = c.e;
		if (n < THROTTLE_FREE)
			assert_int_equal(e, ERR_BAD_LOGIN);
	}
	assert_int_equal(e, ERR_RATE_LIMITED);
}

static void an_account_with_a_key_gets_a_password_after_a_fresh_login(
	void **state)
{
	const struct auth_login_in by_handle = {.user_id = STR("keyed"),
	                                        .password = STR(OTHER)};
	struct member m = {0};
	struct jwt_claims t = {0};

	(void)state;
	join("keyed", &m);
	copy(t.who.sub, sizeof(t.who.sub), str_from(m.sub));
	t.who.auth_time_s = wall_ms() / 1000 - 3600;
	{
		AUTO_CALL c = change(&t, NULL, OTHER, false);

		assert_int_equal(c.e, ERR_REAUTH);
	}
	t.who.auth_time_s = wall_ms() / 1000;
	{
		AUTO_CALL c = change(&t, NULL, OTHER, false);
		AUTO_CALL in = from("192.0.2.1", fx.auth, method_auth_login,
		                    &by_handle);

		assert_int_equal(c.e, OK);
		assert_int_equal(in.e, OK);
	}
	/* From now on it is asked for. */
	{
		AUTO_CALL c = change(&t, NULL, SECRET, false);

		assert_int_equal(c.e, ERR_INVALID);
	}
}

/* --- who guesses ------------------------------------------------------------------- */

/* What a client is told, but for how many seconds. */
static void told(struct call *c, struct buf *out)
{
	struct problem *pb = &c->cx.problem;

	assert_in_range(pb->retry_after_s, 1, 3600);
	pb->retry_after_s = 1;
	for (char *p = pb->detail; *p; p++)
		if (*p >= '0' && *p <= '9')
			*p = '#';
	c->cx.spent = (struct hop_times){0}; /* not for the client */
	reply_pack(out, &c->cx, c->e, &c->reply);
}

static void guesses_are_slowed_down_where_they_come_from(void **state)
{
	static const struct {
		const char *typed, *folded, *ip, *beside;
	} mail[] = {{MAIL, "ada.lovelace@example.org", "198.51.100.7",
	             "198.51.100.200"},
	            {"nobody@example.org", "nobody@example.org", "203.0.113.7",
	             "203.0.113.200"}};
	struct buf words[2] = {{0}, {0}};

	(void)state;
	join_by_mail(MAIL, NULL);
	for (size_t k = 0; k < COUNTOF(mail); k++) {
		for (int i = 0; i < THROTTLE_FREE; i++)
			assert_int_equal(tried(mail[k].ip, mail[k].typed,
			                       WRONG),
			                 ERR_BAD_LOGIN);
		wear_out(mail[k].folded, mail[k].ip);
		{
			/* Whether it is there or not, and right or not. */
			AUTO_CALL c = enter_at(fx.auth, mail[k].beside,
			                       mail[k].typed, SECRET);

			assert_int_equal(c.e, ERR_RATE_LIMITED);
			told(&c, &words[k]);
		}
	}
	assert_true(str_eq(buf_view(&words[0]), buf_view(&words[1])));
	/* The owner, from elsewhere. */
	assert_int_equal(tried("192.0.2.1", MAIL, SECRET), OK);
	buf_fini(&words[0]);
	buf_fini(&words[1]);
}

static void replicas_count_together_and_a_restart_forgets_nothing(void **state)
{
	AUTO(auth) replica = NULL;

	(void)state;
	join_by_mail(MAIL, NULL);
	assert_int_equal(start_with(&fx.settings, &replica), OK);
	for (int i = 0; i < THROTTLE_FREE; i++) {
		AUTO_CALL c = enter_at(i % 2 ? replica : fx.auth,
		                       "198.51.100.7", MAIL, WRONG);

		assert_int_equal(c.e, ERR_BAD_LOGIN);
	}
	assert_int_equal(COUNT("throttle", "failures = 5"), 1);
	wear_out("ada.lovelace@example.org", "198.51.100.7");
	{
		AUTO_CALL a = enter_at(fx.auth, "198.51.100.7", MAIL, SECRET);
		AUTO_CALL b = enter_at(replica, "198.51.100.7", MAIL, SECRET);

		assert_int_equal(a.e, ERR_RATE_LIMITED);
		assert_int_equal(b.e, ERR_RATE_LIMITED);
	}
	assert_int_equal(restart(), OK);
	assert_int_equal(tried("198.51.100.7", MAIL, SECRET), ERR_RATE_LIMITED);
}

static atomic_uint verified, throttled;

static void *guess(void *arg)
{
	struct ctx cx = store_ctx(60000);
	AUTO(arena) a = arena_new((size_t)1 << 20);
	const struct auth_login_in in = {.email = STR(MAIL),
	                                 .password = STR(WRONG)};
	struct reply out = {0};
	enum err e;

	(void)arg;
	MUST(a != NULL);
	cx.arena = a;
	cx.ip = STR("198.51.100.7");
	e = method_auth_login(fx.auth, &cx, &in, &out);
	MUST(e == ERR_BAD_LOGIN || e == ERR_RATE_LIMITED);
	atomic_fetch_add(e == ERR_BAD_LOGIN ? &verified : &throttled, 1);
	buf_fini(&out.body);
	return NULL;
}

static void many_guesses_at_once_are_not_more_than_one_after_the_other(
	void **state)
{
	(void)state;
	join_by_mail(MAIL, NULL);
	atomic_store(&verified, 0);
	atomic_store(&throttled, 0);
	store_threads(20, guess, NULL);
	/* A pause of a second may be over before a slow machine is through. */
	assert_in_range(atomic_load(&verified), THROTTLE_FREE,
	                THROTTLE_FREE + 3);
	assert_int_equal(atomic_load(&verified) + atomic_load(&throttled), 20);
}

#define NOW ((int64_t)1700000000000)

static void the_pause_doubles_up_to_its_bound_and_is_forgotten(void **state)
{
	int64_t now = NOW, wait = 0, want = THROTTLE_PAUSE_MS;

	(void)state;
	for (int i = 1; i < THROTTLE_FREE; i++)
		assert_int_equal(attempt_at(now, "a", "192.0.2.1", false, NULL),
		                 OK);
	for (int i = 0; i < 15; i++) {
		assert_int_equal(attempt_at(now, "a", "192.0.2.1", false, NULL),
		                 OK);
		assert_int_equal(attempt_at(now, "a", "192.0.2.1", false,
		                            &wait),
		                 ERR_RATE_LIMITED);
		assert_int_equal(wait, want);
		/* Too early is not another failure. */
		assert_int_equal(attempt_at(now + wait - 1, "a", "192.0.2.1",
		                            false, &wait),
		                 ERR_RATE_LIMITED);
		assert_int_equal(wait, 1);
		now += want;
		want = want * 2 < THROTTLE_PAUSE_MAX_MS ? want * 2
		                                        : THROTTLE_PAUSE_MAX_MS;
	}
	assert_int_equal(want, THROTTLE_PAUSE_MAX_MS);
	now += THROTTLE_FORGET_MS;
	for (int i = 1; i < THROTTLE_FREE; i++)
		assert_int_equal(
			attempt_at(now + 1, "a", "192.0.2.1", false, NULL), OK);
}

static void a_success_forgets_the_failures_before_it(void **state)
{
	(void)state;
	for (int k = 0; k < 3; k++) {
		for (int i = 1; i < THROTTLE_FREE; i++)
			assert_int_equal(attempt_at(NOW, "a", "192.0.2.1",
			                            false, NULL),
			                 OK);
		assert_int_equal(attempt_at(NOW, "a", "192.0.2.1", true, NULL),
		                 OK);
	}
}

static void many_accounts_from_one_network_are_slowed_down_too(void **state)
{
	char account[16];
	int64_t wait = 0;

	(void)state;
	/* Somebody who has logged in from there. */
	assert_int_equal(attempt_at(NOW, "mine", "192.0.2.9", true, NULL), OK);
	for (int i = 0; i < THROTTLE_NET_BURST; i++) {
		(void)snprintf(account, sizeof(account), "a%d", i);
		assert_int_equal(
			attempt_at(NOW, account, "192.0.2.1", false, NULL), OK);
	}
	assert_int_equal(attempt_at(NOW, "next", "192.0.2.77", false, &wait),
	                 ERR_RATE_LIMITED);
	assert_int_equal(wait, THROTTLE_NET_EVERY_MS);
	assert_int_equal(
		attempt_at(NOW + wait, "next", "192.0.2.77", false, NULL), OK);
	/* Elsewhere nothing of it is felt, nor by who is known there. */
	assert_int_equal(attempt_at(NOW, "next", "198.51.100.1", false, NULL),
	                 OK);
	assert_int_equal(attempt_at(NOW, "mine", "192.0.2.200", true, NULL),
	                 OK);
	/* Of IPv6 it is the /64. */
	assert_int_equal(attempt_at(NOW, "a1", "2001:db8::1", false, NULL), OK);
}

static void successes_cost_a_network_nothing(void **state)
{
	char account[16];

	(void)state;
	for (int i = 0; i < THROTTLE_NET_BURST + 20; i++) {
		(void)snprintf(account, sizeof(account), "a%d", i);
		assert_int_equal(
			attempt_at(NOW, account, "192.0.2.1", true, NULL), OK);
	}
}

static void keys_that_are_none_are_charged_and_good_ones_are_not(void **state)
{
	const struct auth_login_in bad = {.api_key = STR("sk_nothing")};
	struct member m = {0};

	(void)state;
	join("keyed", &m);
	for (int i = 0; i <= THROTTLE_NET_BURST; i++) {
		AUTO_CALL c =
			from("192.0.2.1", fx.auth, method_auth_login, &bad);

		/* One more may be allowed while these are tried. */
		if (i < THROTTLE_NET_BURST)
			assert_int_equal(c.e, ERR_BAD_KEY);
		if (c.e == ERR_RATE_LIMITED)
			assert_true(c.cx.problem.retry_after_s > 0);
	}
	{
		const struct auth_login_in good = {.api_key = str_from(m.key)};
		AUTO_CALL c =
			from("192.0.2.1", fx.auth, method_auth_login, &good);

		assert_int_equal(c.e, OK);
	}
}

static void asking_which_names_are_taken_is_slowed_down(void **state)
{
	unsigned taken = 0, early = 0;

	(void)state;
	join_by_mail(MAIL, "Ada");
	for (int i = 0; i < THROTTLE_NET_BURST + 50 && !early; i++) {
		AUTO_CALL c = sign_up(MAIL, NULL);

		assert_true(c.e == ERR_EXISTS || c.e == ERR_RATE_LIMITED);
		taken += c.e == ERR_EXISTS;
		early += c.e == ERR_RATE_LIMITED;
	}
	assert_true(taken >= THROTTLE_NET_BURST);
	assert_int_equal(early, 1);
	/* A free one is refused as well: it tells nothing. */
	{
		AUTO_CALL c = sign_up("free@example.org", NULL);

		assert_int_equal(c.e, ERR_RATE_LIMITED);
	}
}

static void rows_are_pruned_when_they_say_nothing(void **state)
{
	struct ctx cx = store_ctx(30000);
	AUTO(arena) a = arena_new((size_t)1 << 20);

	(void)state;
	cx.arena = a;
	assert_int_equal(attempt_at(NOW, "a", "192.0.2.1", false, NULL), OK);
	assert_int_equal(attempt_at(NOW, "b", "192.0.2.1", true, NULL), OK);
	assert_int_equal(COUNT("throttle", "1 = 1"), 3);
	auth_upkeep(fx.auth, &cx, TASK_PRUNE, NOW + 1000);
	assert_int_equal(COUNT("throttle", "1 = 1"), 3);
	auth_upkeep(fx.auth, &cx, TASK_PRUNE, NOW + THROTTLE_FORGET_MS + 1);
	/* That somebody is known there lasts longer. */
	assert_int_equal(COUNT("throttle", "1 = 1"), 1);
	auth_upkeep(fx.auth, &cx, TASK_PRUNE, NOW + THROTTLE_KNOWN_MS + 1);
	assert_int_equal(COUNT("throttle", "1 = 1"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registering_by_mail_opens_a_session),
		TEST(what_is_stored_of_a_password_is_argon2id),
		TEST(an_address_and_a_handle_are_taken_in_any_case),
		TEST(a_bad_account_is_refused_with_every_reason),
		TEST(logging_in_by_address_or_handle_is_the_same),
		TEST(all_that_is_not_right_is_the_same_bytes),
		TEST(a_password_gets_a_new_hash_when_the_settings_grow),
		TEST(a_hash_that_is_none_of_ours_is_our_fault),
		TEST(who_is_logged_in_can_confirm_it),
		TEST(a_changed_password_ends_all_other_sessions),
		TEST(the_other_sessions_may_be_kept),
		TEST(a_change_that_is_not_right_changes_nothing),
		TEST(guessing_the_current_password_is_slowed_down),
		TEST(an_account_with_a_key_gets_a_password_after_a_fresh_login),
		TEST(guesses_are_slowed_down_where_they_come_from),
		TEST(replicas_count_together_and_a_restart_forgets_nothing),
		TEST(many_guesses_at_once_are_not_more_than_one_after_the_other),
		TEST(the_pause_doubles_up_to_its_bound_and_is_forgotten),
		TEST(a_success_forgets_the_failures_before_it),
		TEST(many_accounts_from_one_network_are_slowed_down_too),
		TEST(successes_cost_a_network_nothing),
		TEST(keys_that_are_none_are_charged_and_good_ones_are_not),
		TEST(asking_which_names_are_taken_is_slowed_down),
		TEST(rows_are_pruned_when_they_say_nothing),
	};

	return cmocka_run_group_tests(tests, up, down);
}
