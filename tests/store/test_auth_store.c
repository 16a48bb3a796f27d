/*
 * What svc-auth keeps, on the database that KAE_TEST_DATABASE_URL names or on
 * SQLite: the first administrator, signing keys, revocations, key use.
 */
#include "tests/store/auth_fixture.h"

/* --- the bootstrap administrator ------------------------------------------ */

static void the_first_start_makes_an_administrator_with_a_key_file(void **state)
{
	char key[SECRET_FILE_MAX];
	struct member m = {0};
	struct stat st;

	(void)state;
	admin_key(key);
	known(str_from(key), &m);
	assert_int_equal(m.scopes, role_scopes(ROLE_ADMIN));
	assert_int_equal(stat(fx.file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	{
		AUTO_CALL c = verify(str_from(key));

		assert_true(says(&c, "hnd", "admin"));
		assert_true(says(&c, "role", "admin"));
		assert_true(says(&c, "tier", "unlimited"));
	}
}

static void a_restart_changes_nothing(void **state)
{
	char before[SECRET_FILE_MAX], after[SECRET_FILE_MAX];

	(void)state;
	admin_key(before);
	assert_int_equal(restart(), OK);
	admin_key(after);
	assert_string_equal(before, after);
	assert_int_equal(COUNT("api_keys", "1 = 1"), 1);
	assert_int_equal(COUNT("signing_keys", "1 = 1"), 2);
	assert_int_equal(COUNT("revocations", "1 = 1"), 0);
}

static void a_key_file_without_its_row_gets_it_back(void **state)
{
	char key[SECRET_FILE_MAX];
	struct ctx cx = store_ctx(30000);

	(void)state;
	admin_key(key);
	/* As if the crash came between the file and the commit. */
	assert_int_equal(db_write(fx.pool, &cx, clear, NULL), OK);
	assert_int_equal(restart(), OK);
	assert_int_equal(verdict(str_from(key)), OK);
}

static void a_key_that_is_set_replaces_the_made_one_and_back(void **state)
{
	char made[SECRET_FILE_MAX], again[SECRET_FILE_MAX];

	(void)state;
	admin_key(made);
	fx.settings.admin_api_key = SET_KEY;
	assert_int_equal(restart(), OK);
	assert_int_equal(verdict(SET_KEY), OK);
	assert_int_equal(verdict(str_from(made)), ERR_BAD_KEY);
	assert_int_not_equal(access(fx.file, F_OK), 0);
	assert_int_equal(COUNT("revocations", "kind = 'key'"), 1);

	fx.settings.admin_api_key =
		STR("another-key-of-thirty-two-chars-or-more");
	assert_int_equal(restart(), OK);
	assert_int_equal(verdict(SET_KEY), ERR_BAD_KEY);
	/* Setting an old one again is allowed. */
	fx.settings.admin_api_key = SET_KEY;
	assert_int_equal(restart(), OK);
	assert_int_equal(verdict(SET_KEY), OK);

	fx.settings.admin_api_key = (struct str){0};
	assert_int_equal(restart(), OK);
	assert_int_equal(verdict(SET_KEY), ERR_BAD_KEY);
	admin_key(again);
	assert_string_not_equal(made, again);
	assert_int_equal(verdict(str_from(again)), OK);
}

static void setting_the_made_key_makes_it_a_set_one(void **state)
{
	char made[SECRET_FILE_MAX];

	(void)state;
	admin_key(made);
	fx.settings.admin_api_key = str_from(made);
	assert_int_equal(restart(), OK);
	assert_int_equal(verdict(str_from(made)), OK);
	fx.settings.admin_api_key = (struct str){0};
	assert_int_equal(restart(), OK);
	assert_int_equal(verdict(str_from(made)), ERR_BAD_KEY);
}

static void a_short_or_foreign_admin_key_refuses_to_start(void **state)
{
	struct member m = {0};

	(void)state;
	join("somebody", &m);
	fx.settings.admin_api_key = STR("too short");
	assert_int_equal(restart(), ERR_INVALID);
	fx.settings.admin_api_key = str_from(m.key);
	assert_int_equal(restart(), ERR_INVALID);
}

/* --- signing keys --------------------------------------------------------- */

static void another_sealing_key_refuses_to_start(void **state)
{
	(void)state;
	fx.settings.key_encryption_key =
		STR("ffffffffffffffffffffffffffffffff");
	assert_int_equal(restart(), ERR_INVALID);
	fx.settings.key_encryption_key = KEK;
	assert_int_equal(restart(), OK);
}

static int64_t turn_at(int64_t now_ms)
{
	AUTO_CALL c = call_as((struct str){0}, 0);

	assert_int_equal(signing_turn(fx.auth->signing, &c.cx, now_ms), OK);
	return COUNT("signing_keys", "1 = 1");
}

static void issue_one(struct buf *out)
{
	char key[SECRET_FILE_MAX];

	admin_key(key);
	{
		AUTO_CALL c = login(str_from(key));

		assert_int_equal(c.e, OK);
		buf_str(out, text(&c, "token"));
	}
}

static void rotation_keeps_old_tokens_good_until_they_expire(void **state)
{
	int64_t now = wall_ms(), ttl = 7776000 * INT64_C(1000);
	AUTO_BUF before = {0}, after = {0};
	struct jwt_claims c;

	(void)state;
	issue_one(&before);
	/* What will sign next is published already. */
	{
		AUTO(jwt_keys) early = published(fx.auth);
		const struct jwt_policy p = {fx.settings.token_issuer,
		                             fx.settings.token_audience};

		assert_int_equal(turn_at(now + ttl - 60000), 2);
		assert_int_equal(turn_at(now + ttl + 60000), 3);
		issue_one(&after);
		assert_int_equal(jwt_verify(early, &p, buf_view(&after),
		                            now / 1000, &c),
		                 OK);
	}
	assert_int_equal(accepted(fx.auth, buf_view(&before), &c), OK);
	assert_int_equal(turn_at(now + ttl + DAY_MS), 3);
	assert_int_equal(turn_at(now + ttl + DAY_MS + 300000), 2);
	assert_int_equal(accepted(fx.auth, buf_view(&before), &c),
	                 ERR_NOT_FOUND);
	assert_int_equal(accepted(fx.auth, buf_view(&after), &c), OK);
}

static void sealed_keys_do_not_show_in_the_database(void **state)
{
	(void)state;
	assert_int_equal(
		NUMBER("SELECT COUNT(*) FROM signing_keys WHERE instr(sealed, CAST('PRIVATE' AS BLOB)) > 0",
	               "SELECT COUNT(*) FROM auth.signing_keys WHERE position('PRIVATE'::bytea IN sealed) > 0"),
		0);
}

#define REPLICAS 6

static void *start_replica(void *arg)
{
	AUTO(idem)
	idem = idem_new(&(struct idem_conf){
		.service = "auth", .pool = fx.pool, .retention_ms = DAY_MS});
	AUTO_ROOT_KEYS keys = {0};
	const struct auth_conf conf = {.settings = &fx.settings,
	                               .pool = fx.pool,
	                               .keys = &keys,
	                               .events = fx.events,
	                               .idem = idem,
	                               .kick = no_kick,
	                               .push = no_push};
	AUTO(arena) arena = arena_new((size_t)1 << 20);
	struct ctx cx = store_ctx(30000);
	AUTO(auth) au = NULL;
	atomic_int *good = arg;

	MUST(idem != NULL);
	cx.arena = arena;
	if (!root_key_open(fx.root, fx.pool, &cx, &fx.settings, signing_probe,
	                   &keys) &&
	    !auth_new(&conf, &cx, &au))
		atomic_fetch_add(good, 1);
	return NULL;
}

static void replicas_that_start_at_once_agree(void **state)
{
	struct ctx cx = store_ctx(30000);
	atomic_int good = 0;
	char key[SECRET_FILE_MAX];

	(void)state;
	assert_int_equal(db_write(fx.pool, &cx, clear, NULL), OK);
	(void)unlink(fx.file);
	store_threads(REPLICAS, start_replica, &good);
	assert_int_equal(good, REPLICAS);
	assert_int_equal(COUNT("signing_keys", "state = 'active'"), 1);
	assert_int_equal(COUNT("signing_keys", "1 = 1"), 2);
	assert_int_equal(COUNT("users", "1 = 1"), 1);
	assert_int_equal(COUNT("api_keys", "revoked_at IS NULL"), 1);
	admin_key(key);
	assert_int_equal(verdict(str_from(key)), OK);
}

/* --- for gateways --------------------------------------------------------- */

static void a_hash_of_another_form_is_refused(void **state)
{
	static const struct str forms[] = {
		{NULL, 0},          {"\xc0", 1},          {"\xa3xyz", 4},
		{"\xc4\x03xyz", 5}, {"\xc4\x20short", 7},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(forms); i++) {
		const struct auth_verify_key_in in = {.hash = forms[i]};
		AUTO_CALL c = run(method_auth_verify_key, &in);

		assert_int_equal(c.e, ERR_INVALID);
	}
}

static void the_time_of_use_is_written_once_a_minute_by_upkeep(void **state)
{
	struct member m = {0};
	int64_t first, now = wall_ms();
	AUTO_CALL c = call_as((struct str){0}, 0);
	static const char lite[] =
		"SELECT COALESCE(MAX(last_used_at), 0) FROM api_keys";
	static const char pg[] =
		"SELECT COALESCE(MAX(last_used_at), 0) FROM auth.api_keys";

	(void)state;
	join("Alice", &m);
	assert_int_equal(fx.auth->used.n, 1);
	assert_int_equal(verdict(str_from(m.key)), OK);
	assert_int_equal(fx.auth->used.n, 1);
	assert_int_equal(NUMBER(lite, pg), 0);
	auth_upkeep(fx.auth, &c.cx, TASK_USED, now);
	first = NUMBER(lite, pg);
	assert_true(first >= now);
	/* Used again within the minute: no note, no write. */
	assert_int_equal(verdict(str_from(m.key)), OK);
	assert_int_equal(fx.auth->used.n, 0);
	auth_upkeep(fx.auth, &c.cx, TASK_USED, now);
	assert_int_equal(NUMBER(lite, pg), first);
}

static void revocations_are_told_from_where_one_is(void **state)
{
	char sid[UUID_MAX];

	(void)state;
	for (int i = 0; i < 5; i++) {
		AUTO_CALL c = logout(STR("s"), uuid7(sid));

		assert_int_equal(c.e, OK);
	}
	{
		AUTO_CALL all = since(0);
		AUTO_CALL some = since(3);
		AUTO_CALL none = since(5);
		AUTO_CALL ahead = since(99);

		assert_int_equal(rows(buf_view(&all.reply.body)), 5);
		assert_int_equal(rows(buf_view(&some.reply.body)), 2);
		assert_int_equal(rows(buf_view(&none.reply.body)), 0);
		assert_int_equal(
			mp_find_i64(buf_view(&none.reply.body), "seq", 0), 5);
		/* Another database than before: everything, from its own
		 * count. */
		assert_int_equal(rows(buf_view(&ahead.reply.body)), 5);
		assert_int_equal(
			mp_find_i64(buf_view(&ahead.reply.body), "seq", 0), 5);
	}
}

static void what_is_past_is_pruned(void **state)
{
	AUTO_CALL out =
		logout(STR("s"), STR("01900000-0000-7000-8000-000000000001"));
	AUTO_CALL c = call_as((struct str){0}, 0);

	(void)state;
	assert_int_equal(out.e, OK);
	auth_upkeep(fx.auth, &c.cx, TASK_PRUNE, wall_ms());
	assert_int_equal(COUNT("revocations", "1 = 1"), 1);
	auth_upkeep(fx.auth, &c.cx, TASK_PRUNE, wall_ms() + 2 * DAY_MS);
	assert_int_equal(COUNT("revocations", "1 = 1"), 0);
}

#define LOGOUTS 25

static void *log_out_many(void *arg)
{
	static const struct auth_logout_in in;
	atomic_int *done = arg;

	for (int i = 0; i < LOGOUTS; i++) {
		char sid[UUID_MAX];
		struct call c = call_as(STR("s"), SCOPES_USUAL);

		c.cx.sid = uuid7(sid);
		c.e = method_auth_logout(fx.auth, &c.cx, &in, &c.reply);
		if (c.e)
			abort();
		call_end(&c);
	}
	atomic_fetch_add(done, 1);
	return NULL;
}

static void *poll_all(void *arg)
{
	atomic_int *done = arg;
	int64_t seq = 0, seen = 0;
	bool last = false;

	while (!last) {
		struct call c;

		last = atomic_load(done) == 4;
		c = since(seq);
		if (c.e)
			abort();
		seen += rows(buf_view(&c.reply.body));
		seq = mp_find_i64(buf_view(&c.reply.body), "seq", -1);
		call_end(&c);
	}
	/* A row that was committed behind what had been read is lost. */
	if (seen != 4 * LOGOUTS)
		abort();
	return NULL;
}

struct crowd {
	atomic_int turn, done;
};

static void *one_of_crowd(void *arg)
{
	struct crowd *c = arg;

	return atomic_fetch_add(&c->turn, 1) == 0 ? poll_all(&c->done)
	                                          : log_out_many(&c->done);
}

static void who_polls_while_others_write_misses_nothing(void **state)
{
	struct crowd c = {0};

	(void)state;
	/* fx.pushed is for one thread. */
	fx.auth->conf.push = no_push;
	fx.auth->conf.kick = no_kick;
	store_threads(5, one_of_crowd, &c);
	assert_int_equal(c.done, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_first_start_makes_an_administrator_with_a_key_file),
		TEST(a_restart_changes_nothing),
		TEST(a_key_file_without_its_row_gets_it_back),
		TEST(a_key_that_is_set_replaces_the_made_one_and_back),
		TEST(setting_the_made_key_makes_it_a_set_one),
		TEST(a_short_or_foreign_admin_key_refuses_to_start),
		TEST(another_sealing_key_refuses_to_start),
		TEST(rotation_keeps_old_tokens_good_until_they_expire),
		TEST(sealed_keys_do_not_show_in_the_database),
		TEST(replicas_that_start_at_once_agree),
		TEST(a_hash_of_another_form_is_refused),
		TEST(the_time_of_use_is_written_once_a_minute_by_upkeep),
		TEST(revocations_are_told_from_where_one_is),
		TEST(what_is_past_is_pruned),
		TEST(who_polls_while_others_write_misses_nothing),
	};

	return cmocka_run_group_tests(tests, up, down);
}
