/* Who is asking with a session cookie, or with two credentials at once. */
#include "tests/unit/identity_fixture.h"

/* --- two credentials ------------------------------------------------------ */

static void two_credentials_must_be_of_one_person(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	assert_int_equal(check(w, buf_view(&t), STR(API_KEY)), ERR_BUSY);
	answer_key(w, OTHER);
	assert_int_equal(w->e, ERR_DENIED);
	assert_int_equal(check(w, buf_view(&t), STR(API_KEY)), ERR_DENIED);

	w->now_ms += IDENTITY_KEY_MS;
	assert_int_equal(check(w, buf_view(&t), STR(API_KEY)), ERR_BUSY);
	answer_key(w, MAKER_SUB);
	assert_int_equal(w->e, OK);
	/* No more than both allow. */
	assert_int_equal(w->who.scopes, SCOPE_WRITE);
	assert_int_equal(w->who.role, ROLE_USER);
}

static void one_bad_credential_of_two_is_refused(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	assert_int_equal(check(w, buf_view(&t), STR("x")), ERR_BUSY);
	answer(w, "auth.verify_key", ERR_BAD_KEY, NONE);
	assert_int_equal(w->e, ERR_BAD_KEY);
	assert_int_equal(check(w, STR("a.b.c"), STR(API_KEY)), ERR_BUSY);
	answer_key(w, MAKER_SUB);
	assert_int_equal(w->e, ERR_BAD_TOKEN);
	/* A bearer that means nobody does not count. */
	assert_int_equal(check(w, STR("null"), STR(API_KEY)), OK);
}

/* --- the session cookie ---------------------------------------------------- */

static enum err check_cookie(struct world *w, struct str bearer,
                             struct str cookie)
{
	AUTO_BUF header = {0};
	struct credentials c = {.cookie = cookie};

	buf_str(&header, STR("Bearer "));
	buf_str(&header, bearer);
	c.authorization = buf_view(&header);
	return identity_check(w->id, &c, w->now_ms, w->now_ms + 3000, &w->who,
	                      done, w);
}

static void a_cookie_counts_where_no_bearer_does(void **state)
{
	static const struct {
		const char *bearer;
		bool by_cookie;
	} cases[] = {
		{"", true},
		{"null", true},
		{"undefined", true},
		{NULL, false}, /* the same token in both */
	};
	struct world *w = *state;
	AUTO_BUF t = {0};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct str bearer = cases[i].bearer ? str_from(cases[i].bearer)
		                                    : buf_view(&t);

		assert_int_equal(check_cookie(w, bearer, buf_view(&t)), OK);
		assert_string_equal(w->who.sub, MAKER_SUB);
		assert_int_equal(w->who.by_cookie, cases[i].by_cookie);
	}
	assert_int_equal(check(w, buf_view(&t), NONE), OK);
	assert_false(w->who.by_cookie);
}

static void bearer_and_cookie_must_be_good_and_of_one_person(void **state)
{
	struct world *w = *state;
	AUTO_BUF mine = {0}, other = {0};
	struct str bad = STR("a.b.c");

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &mine);
	token_of(&w->maker, "sub", "\"" OTHER "\"", &other);
	{
		const struct {
			struct str bearer, cookie;
			enum err want;
		} cases[] = {
			{buf_view(&mine), buf_view(&mine), OK},
			{buf_view(&mine), buf_view(&other), ERR_DENIED},
			{buf_view(&other), buf_view(&mine), ERR_DENIED},
			{buf_view(&mine), bad, ERR_BAD_TOKEN},
			{bad, buf_view(&mine), ERR_BAD_TOKEN},
			{STR("null"), bad, ERR_BAD_TOKEN},
		};

		for (size_t i = 0; i < COUNTOF(cases); i++) {
			struct who before = w->who;

			assert_int_equal(check_cookie(w, cases[i].bearer,
			                              cases[i].cookie),
			                 cases[i].want);
			if (cases[i].want)
				assert_memory_equal(&before, &w->who,
				                    sizeof(before));
		}
	}
}

static void a_key_beside_a_cookie_says_who_it_is(void **state)
{
	struct world *w = *state;
	AUTO_BUF t = {0};
	struct credentials c = {.api_key = STR(API_KEY)};

	become_ready(w);
	token_of(&w->maker, NULL, NULL, &t);
	c.cookie = buf_view(&t);
	assert_int_equal(identity_check(w->id, &c, w->now_ms, w->now_ms + 3000,
	                                &w->who, done, w),
	                 ERR_BUSY);
	answer_key(w, MAKER_SUB);
	assert_int_equal(w->e, OK);
	assert_false(w->who.by_cookie);
	assert_int_equal(w->who.scopes, SCOPE_WRITE); /* as both allow */
}

static void a_cookie_too_waits_for_the_keys(void **state)
{
	struct world *w = *state;
	AUTO_BUF late = {0}, also = {0};

	become_ready(w);
	token_of(&w->next, NULL, NULL, &late);
	token_of(&w->next, "auth_time", "1799999000", &also);
	w->now_ms += IDENTITY_COOLDOWN_MS;
	assert_int_equal(check_cookie(w, STR("null"), buf_view(&late)),
	                 ERR_BUSY);
	assert_int_equal(check_cookie(w, buf_view(&also), buf_view(&late)),
	                 ERR_BUSY);
	answer_keys(w, 2);
	assert_int_equal(w->done, 2);
	assert_int_equal(w->e, OK);
	assert_false(w->who.by_cookie);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(two_credentials_must_be_of_one_person),
		TEST(one_bad_credential_of_two_is_refused),
		TEST(a_cookie_counts_where_no_bearer_does),
		TEST(bearer_and_cookie_must_be_good_and_of_one_person),
		TEST(a_key_beside_a_cookie_says_who_it_is),
		TEST(a_cookie_too_waits_for_the_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
