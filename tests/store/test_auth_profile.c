/*
 * Correcting one's own data, on the database that KAE_TEST_DATABASE_URL names or
 * on SQLite.
 */
#include "svc-auth/preferences.h"
#include "tests/store/auth_fixture.h"

#include "common/codec/json.h"

/* PATCH with these updates, as somebody who logged in so many seconds ago; the
 * answer's JSON or the faults go into said. */
static enum err correct(const struct member *m, int64_t ago_s,
                        const char *updates, struct str proof, struct buf *said)
{
	AUTO_CALL c = call_as(str_from(m->sub), m->scopes);
	struct auth_rectify_in in = {.api_key = proof};
	AUTO_BUF packed = {0};
	struct json_error at;

	assert_true(json_to_mp(str_from(updates), &packed, &at));
	in.updates = buf_view(&packed);
	c.cx.auth_time_s = wall_ms() / 1000 - ago_s;
	c.e = method_auth_rectify(fx.auth, &c.cx, &in, &c.reply);
	buf_clear(said);
	if (!c.e)
		assert_true(mp_to_json(buf_view(&c.reply.body), said));
	for (size_t i = 0; c.e && i < c.cx.problem.faults_n; i++)
		buf_printf(said, "%s %s\n", c.cx.problem.faults[i].pointer,
		           c.cx.problem.faults[i].code);
	buf_char(said, '\0');
	return c.e;
}

static void has(const struct buf *said, const char *part)
{
	if (!strstr(said->p, part))
		fail_msg("no %s in %s", part, said->p);
}

static void each_part_is_corrected_and_the_others_stay(void **state)
{
	struct member m = {0};
	AUTO_BUF said = {0};

	(void)state;
	join("Alice", &m);
	assert_int_equal(correct(&m, 0, "{\"email\":\"A@Example.org\"}",
	                         STR(""), &said),
	                 OK);
	has(&said, "\"updated_fields\":[\"email\"],\"profile\":{\"email\":"
	           "\"A@Example.org\",\"display_name\":null,"
	           "\"preferences\":{}}");
	assert_int_equal(correct(&m, 0, "{\"display_name\":\" Ada Löwe \"}",
	                         STR(""), &said),
	                 OK);
	has(&said, "\"email\":\"A@Example.org\",\"display_name\":\"Ada Löwe\"");
	assert_int_equal(correct(&m, 0,
	                         "{\"preferences\":{\"notifications\":true,"
	                         "\"theme\":\"dark\"}}",
	                         STR(""), &said),
	                 OK);
	has(&said, "\"display_name\":\"Ada Löwe\",\"preferences\":{\"theme\":"
	           "\"dark\",\"notifications\":true}}");
	assert_int_equal(correct(&m, 0,
	                         "{\"preferences\":{\"theme\":null,"
	                         "\"language\":\"pt-BR\"},"
	                         "\"display_name\":null}",
	                         STR(""), &said),
	                 OK);
	has(&said, "\"updated_fields\":[\"display_name\",\"preferences\"]");
	has(&said, "\"display_name\":null,\"preferences\":{\"language\":"
	           "\"pt-BR\",\"notifications\":true}}");
}

static void nothing_else_can_be_corrected(void **state)
{
	static const struct {
		const char *updates, *want;
	} cases[] = {
		{"{\"role\":\"admin\"}", "/updates/role UNKNOWN"},
		{"{\"username\":\"x\"}", "/updates/username UNKNOWN"},
		{"{\"sub\":\"x\",\"tier\":\"unlimited\"}",
	         "/updates/sub UNKNOWN\n/updates/tier UNKNOWN"},
		{"{\"password\":\"x\"}", "/updates/password UNKNOWN"},
		{"{\"a/b\":1}", "/updates UNKNOWN"},
		{"{\"a\\u0007b\":1}", "/updates UNKNOWN"},
		{"{\"\":1}", "/updates UNKNOWN"},
		{"{}", "/updates REQUIRED"},
		{"[]", "/updates TYPE"},
		{"\"email\"", "/updates TYPE"},
		{"{\"email\":null}", "/updates/email INVALID"},
		{"{\"email\":\"ada\"}", "/updates/email INVALID"},
		{"{\"email\":\"ada@x\"}", "/updates/email INVALID"},
		{"{\"email\":7}", "/updates/email INVALID"},
		{"{\"display_name\":\"\"}", "/updates/display_name TEXT"},
		{"{\"display_name\":\"  \"}", "/updates/display_name TEXT"},
		{"{\"display_name\":\"a\\u0001b\"}",
	         "/updates/display_name TEXT"},
		{"{\"display_name\":\"<b>\"}", "/updates/display_name TEXT"},
		{"{\"display_name\":[]}", "/updates/display_name TEXT"},
		{"{\"preferences\":[]}", "/updates/preferences TYPE"},
		{"{\"preferences\":null}", "/updates/preferences TYPE"},
		{"{\"preferences\":{\"colour\":\"red\"}}",
	         "/updates/preferences UNKNOWN"},
		{"{\"preferences\":{\"theme\":\"pink\"}}",
	         "/updates/preferences/theme VALUE"},
		{"{\"preferences\":{\"theme\":\"light,dark\"}}",
	         "/updates/preferences/theme VALUE"},
		{"{\"preferences\":{\"theme\":\"\"}}",
	         "/updates/preferences/theme VALUE"},
		{"{\"preferences\":{\"language\":\"e\"}}",
	         "/updates/preferences/language VALUE"},
		{"{\"preferences\":{\"language\":\"en_GB\"}}",
	         "/updates/preferences/language VALUE"},
		{"{\"preferences\":{\"notifications\":\"yes\"}}",
	         "/updates/preferences/notifications VALUE"},
		{"{\"display_name\":\"ok\",\"role\":\"admin\"}",
	         "/updates/role UNKNOWN"},
	};
	struct member m = {0};
	AUTO_BUF said = {0};
	char longer[512] = "{\"display_name\":\"";

	(void)state;
	join("Alice", &m);
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		assert_int_equal(correct(&m, 0, cases[i].updates, STR(""),
		                         &said),
		                 ERR_INVALID);
		has(&said, cases[i].want);
	}
	memset(longer + 17, 'a', 100);
	memcpy(longer + 117, "\"}", 3);
	assert_int_equal(correct(&m, 0, longer, STR(""), &said), OK);
	memcpy(longer + 117, "a\"}", 4);
	assert_int_equal(correct(&m, 0, longer, STR(""), &said), ERR_INVALID);
}

static void an_address_belongs_to_one_account(void **state)
{
	struct member a = {0}, b = {0};
	AUTO_BUF said = {0};

	(void)state;
	join("Alice", &a);
	join("Bob", &b);
	assert_int_equal(correct(&a, 0, "{\"email\":\"x@example.org\"}",
	                         STR(""), &said),
	                 OK);
	assert_int_equal(correct(&b, 0,
	                         "{\"email\":\"X@EXAMPLE.org\","
	                         "\"display_name\":\"Bob\"}",
	                         STR(""), &said),
	                 ERR_EXISTS);
	/* One's own again is no conflict; and the refusal changed nothing. */
	assert_int_equal(correct(&a, 0, "{\"email\":\"X@example.org\"}",
	                         STR(""), &said),
	                 OK);
	assert_int_equal(correct(&b, 0, "{\"preferences\":{}}", STR(""), &said),
	                 OK);
	has(&said, "\"profile\":{\"email\":null,\"display_name\":null,");
}

static void another_address_asks_who_it_is(void **state)
{
	struct member m = {0};
	AUTO_BUF said = {0};

	(void)state;
	join("Alice", &m);
	assert_int_equal(correct(&m, 3600, "{\"email\":\"x@example.org\"}",
	                         STR(""), &said),
	                 ERR_REAUTH);
	assert_int_equal(correct(&m, 3600, "{\"display_name\":\"Ada\"}",
	                         STR(""), &said),
	                 OK);
	assert_int_equal(correct(&m, 3600, "{\"email\":\"x@example.org\"}",
	                         str_from(m.key), &said),
	                 OK);
}

static void who_is_gone_corrects_nothing(void **state)
{
	const struct member nobody = {
		.sub = "0190a5c0-0000-7000-8000-000000000001"};
	AUTO_BUF said = {0};

	(void)state;
	assert_int_equal(correct(&nobody, 0, "{\"display_name\":\"x\"}",
	                         STR(""), &said),
	                 ERR_BAD_TOKEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			each_part_is_corrected_and_the_others_stay, each_up,
			each_down),
		cmocka_unit_test_setup_teardown(nothing_else_can_be_corrected,
	                                        each_up, each_down),
		cmocka_unit_test_setup_teardown(
			an_address_belongs_to_one_account, each_up, each_down),
		cmocka_unit_test_setup_teardown(another_address_asks_who_it_is,
	                                        each_up, each_down),
		cmocka_unit_test_setup_teardown(who_is_gone_corrects_nothing,
	                                        each_up, each_down),
	};

	return cmocka_run_group_tests(tests, up, down);
}
