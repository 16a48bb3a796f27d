/* Who is not believed any more, and how the gateway comes to know. */
#include "tests/unit/identity_fixture.h"

static const struct {
	const char *kind, *id;
	enum err want;
} revocations[] = {
	{"jti", MAKER_JTI, ERR_EXPIRED},
	{"jti", MAKER_SID, ERR_EXPIRED},
	{"key", MAKER_KEY, ERR_EXPIRED},
	{"sub", MAKER_SUB, ERR_EXPIRED},
	{"jti", OTHER, OK},
	{"key", OTHER, OK},
	{"sub", OTHER, OK},
	{"jti", MAKER_SUB, OK},
	{"key", MAKER_JTI, OK},
	{"later", MAKER_JTI, OK},
};

static void a_push_ends_a_remembered_token_at_once(void **state)
{
	struct world *w = *state;

	become_ready(w);
	for (size_t i = 0; i < COUNTOF(revocations); i++) {
		AUTO_BUF t = {0};

		identity_free(w->id);
		w->id = make_identity(w);
		assert_non_null(w->id);
		become_ready(w);
		token_of(&w->maker, NULL, NULL, &t);
		assert_int_equal(check(w, buf_view(&t), NONE), OK);
		push(w, 1, revocations[i].kind, revocations[i].id);
		if (check(w, buf_view(&t), NONE) != revocations[i].want)
			fail_msg("%s %s", revocations[i].kind,
			         revocations[i].id);
		/* And for good. */
		assert_int_equal(check(w, buf_view(&t), NONE),
		                 revocations[i].want);
	}
}

static void tokens_issued_after_a_person_was_revoked_are_good(void **state)
{
	struct world *w = *state;
	AUTO_BUF old = {0}, fresh = {0};

	become_ready(w);
	push(w, 1, "sub", MAKER_SUB);
	token_of(&w->maker, "iat", "1800000000", &old);
	token_of(&w->maker, "iat", "1800000001", &fresh);
	assert_int_equal(check(w, buf_view(&old), NONE), ERR_EXPIRED);
	assert_int_equal(check(w, buf_view(&fresh), NONE), OK);
}

static void a_revoked_api_key_is_dead_at_once(void **state)
{
	struct world *w = *state;

	become_ready(w);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	answer_key(w, MAKER_SUB);
	push(w, 1, "key", MAKER_KEY);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BAD_KEY);
}

static void an_answer_overtaken_by_a_revocation_does_not_count(void **state)
{
	struct world *w = *state;

	become_ready(w);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	push(w, 1, "key", MAKER_KEY);
	answer_key(w, MAKER_SUB);
	assert_int_equal(w->e, ERR_BAD_KEY);
	/* A person's rights have changed meanwhile: asked again each time. */
	assert_int_equal(check(w, NONE, STR("other")), ERR_BUSY);
	push(w, 2, "sub", OTHER);
	lose(w, "auth.verify_key", ERR_TIMEOUT);
}

static void changed_rights_are_asked_for_again(void **state)
{
	struct world *w = *state;

	become_ready(w);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	answer_key(w, MAKER_SUB);
	assert_int_equal(check(w, NONE, STR(API_KEY)), OK);
	push(w, 1, "sub", MAKER_SUB);
	assert_int_equal(check(w, NONE, STR(API_KEY)), ERR_BUSY);
	lose(w, "auth.verify_key", ERR_TIMEOUT);
}

/* The since of the open poll. */
static int64_t asked_since(const struct world *w)
{
	struct ctx cx = {0};
	struct entry entry;

	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->sent[i].op, "auth.revocations") == 0 &&
		    !entry_read(buf_view(&w->sent[i].bytes), &cx, &entry))
			return mp_find_i64(entry.body, "since", -1);
	return -1;
}

static void a_gap_between_pushes_is_closed_by_a_poll(void **state)
{
	struct world *w = *state;

	become_ready(w);
	push(w, 1, "jti", OTHER);
	assert_int_equal(w->n, 0);
	push(w, 3, "jti", OTHER);
	pass(w, 0);
	assert_int_equal(open_calls(w, "auth.revocations"), 1);
	assert_int_equal(asked_since(w), 1);
	answer_poll(w, 3, "jti", MAKER_JTI);
	pass(w, IDENTITY_POLL_MS);
	assert_int_equal(asked_since(w), 3);
	answer_poll(w, 3, NULL, NULL);
}

static void hostile_pushes_change_nothing(void **state)
{
	static const struct str bad[] = {
		{"", 0},
		{"\xc1", 1},
		{"\x80", 1},
		{"\x81\xa5items\x01", 8},
		{"\x81\xa5items\x91\x01", 9},
		{"\x81\xa5items\x91\x95\x01\x02\x03\x04\x05", 14},
		{"\x81\xa5items\xdd\xff\xff\xff\xff", 12},
		{"\x81\xa5items\x91\x94\x01\xa3jti\xa1x\x01", 16},
	};
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	for (size_t i = 0; i < COUNTOF(bad); i++) {
		identity_push(w->id, bad[i], w->now_ms);
		assert_int_equal(check(w, buf_view(&t), NONE), OK);
	}
	assert_int_equal(stats(w).revocations, 0);
	assert_int_equal(identity_timeout_ms(w->id, w->now_ms), 0);
}

static void silence_first_makes_stale_and_then_closes(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	w->refuse = ERR_UNAVAILABLE;
	pass(w, IDENTITY_FRESH_MS);
	assert_false(identity_stale(w->id, w->now_ms));
	pass(w, 1);
	assert_true(identity_stale(w->id, w->now_ms));
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
	pass(w, 60000 - IDENTITY_FRESH_MS - 1);
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
	pass(w, 1);
	assert_int_equal(check(w, buf_view(&t), NONE), ERR_UNAVAILABLE);
	assert_int_equal(stats(w).age_ms, 60001);
	w->refuse = OK;
	pass(w, IDENTITY_POLL_MS);
	answer_poll(w, 0, NULL, NULL);
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_push_ends_a_remembered_token_at_once),
		TEST(tokens_issued_after_a_person_was_revoked_are_good),
		TEST(a_revoked_api_key_is_dead_at_once),
		TEST(an_answer_overtaken_by_a_revocation_does_not_count),
		TEST(changed_rights_are_asked_for_again),
		TEST(a_gap_between_pushes_is_closed_by_a_poll),
		TEST(hostile_pushes_change_nothing),
		TEST(silence_first_makes_stale_and_then_closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
