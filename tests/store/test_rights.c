/*
 * What people may ask of us, over a database: consent, restriction, breaches.
 */
#include "common/base/clock.h"
#include "svc-gdpr/apply.h"
#include "svc-gdpr/breach.h"
#include "svc-gdpr/consent.h"
#include "svc-gdpr/restrict.h"
#include "tests/store/rights_fixture.h"

#include <stdatomic.h>

/* --- consent -------------------------------------------------------------- */

static struct gdpr_consent_set_in policy(const char *type, bool given)
{
	return (struct gdpr_consent_set_in){.type = str_from(type),
	                                    .given = given};
}

static struct gdpr_consent_history_in page(int64_t limit, int64_t before)
{
	return (struct gdpr_consent_history_in){.limit = limit,
	                                        .before = before};
}

static void a_stranger_has_agreed_to_nothing_but_the_necessary(void **unused)
{
	const char *ada = somebody();
	AUTO_BUF json = {0};

	(void)unused;
	assert_int_equal(look_at(method_gdpr_consent, ada, &json), OK);
	has(&json, "\"consents\":{\"terms_of_service\":{\"given\":false,"
	           "\"version\":\"1.0\",\"current_version\":\"1.0\","
	           "\"timestamp\":null},\"privacy_policy\":{");
	has(&json, "\"cookie_preferences\":{\"necessary\":true,"
	           "\"functional\":false,\"analytics\":false,"
	           "\"performance\":false},"
	           "\"consent_given\":false,\"consent_given_at\":null}");
	assert_int_equal(number("SELECT COUNT(*) FROM pseudonyms",
	                        "SELECT COUNT(*) FROM gdpr.pseudonyms"),
	                 0);
}

static void giving_and_taking_back_are_the_same_call_and_both_are_kept(
	void **unused)
{
	const char *ada = somebody();
	struct gdpr_consent_set_in in = policy("terms_of_service", true);
	const struct gdpr_consent_history_in all = page(50, INT64_MAX);
	AUTO_BUF json = {0};

	(void)unused;
	assert_int_equal(call(method_gdpr_consent_set, ada, &in, &json), OK);
	has(&json, "\"type\":\"terms_of_service\",\"consent_type\":"
	           "\"terms_of_service\",\"given\":true,");
	assert_int_equal(look_at(method_gdpr_consent, ada, &json), OK);
	has(&json, "\"consent_given\":true,\"consent_given_at\":\"20");
	in.given = false;
	assert_int_equal(call(method_gdpr_consent_set, ada, &in, &json), OK);
	assert_int_equal(look_at(method_gdpr_consent, ada, &json), OK);
	has(&json, "\"consent_given\":false,\"consent_given_at\":null}");
	assert_int_equal(call(method_gdpr_consent_history, ada, &all, &json),
	                 OK);
	has(&json, "\"count\":2,\"next_before\":null}");
	has(&json, "\"history\":[{\"type\":\"terms_of_service\","
	           "\"category\":\"policy\",\"given\":false,");
	has(&json, "\"network\":\"192.0.2.0/24\","
	           "\"user_agent\":\"Browser/1.0\"");
	lacks(&json, "192.0.2.77");
}

static void cookies_and_a_policy_go_in_one_body(void **unused)
{
	const char *ada = somebody();
	struct gdpr_consent_set_in in = policy("marketing", true);
	AUTO_BUF json = {0};

	(void)unused;
	in.mechanism = STR("banner");
	in.cookie_preferences = packed_json("{\"necessary\":true,"
	                                    "\"analytics\":true,"
	                                    "\"performance\":false}");
	assert_int_equal(call(method_gdpr_consent_set, ada, &in, &json), OK);
	has(&json, "\"consent\":{\"user_id\":");
	has(&json, "\"consent_type\":\"cookie.analytics\",\"given\":true");
	has(&json, "\"cookie_preferences\":{\"necessary\":true,"
	           "\"functional\":false,\"analytics\":true,"
	           "\"performance\":false}");
	assert_int_equal(look_at(method_gdpr_consent, ada, &json), OK);
	/* The policy of the same name is another thing. */
	has(&json, "\"analytics\":{\"given\":false,");
	has(&json, "\"marketing\":{\"given\":true,");
	/* Cookies alone say nothing of the terms. */
	in = (struct gdpr_consent_set_in){
		.cookie_preferences = packed_json("{\"functional\":true}")};
	assert_int_equal(call(method_gdpr_consent_set, ada, &in, &json), OK);
	lacks(&json, "terms_of_service");
}

static void what_cannot_be_consented_to_is_refused(void **unused)
{
	static const struct {
		const char *type, *version, *cookies, *mechanism, *want;
	} cases[] = {
		{"newsletter", NULL, NULL, NULL,
	         "/type UNKNOWN: It must be one of terms_of_service, "
	         "privacy_policy, marketing, analytics."},
		{"cookie.analytics", NULL, NULL, NULL, "/type UNKNOWN"},
		{"necessary", NULL, NULL, NULL, "/type UNKNOWN"},
		{"marketing", "0.9", NULL, NULL,
	         "/version VERSION: The version in force is 1.0."},
		{"marketing", NULL, NULL, "sleight of hand",
	         "/mechanism UNKNOWN"},
		{NULL, NULL, "{\"necessary\":false}", NULL,
	         "/cookie_preferences/necessary REQUIRED"},
		{NULL, NULL, "{\"tracking\":true}", NULL,
	         "/cookie_preferences UNKNOWN: It must be one of necessary, "
	         "functional, analytics, performance."},
		{NULL, NULL, "{\"analytics\":1}", NULL,
	         "/cookie_preferences/analytics TYPE"},
		{NULL, NULL, "[true]", NULL, "/cookie_preferences TYPE"},
		{NULL, NULL, "\"all\"", NULL, "/cookie_preferences TYPE"},
		{NULL, NULL, "{}", NULL, "/cookie_preferences REQUIRED"},
		{NULL, NULL, "{\"necessary\":true}", NULL,
	         "/cookie_preferences REQUIRED"},
		{NULL, NULL,
	         "{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,"
	         "\"h\":1,\"i\":1}",
	         NULL, "/cookie_preferences UNKNOWN"},
		{"marketing", NULL, "{\"analytics\":null}", NULL,
	         "/cookie_preferences/analytics TYPE"},
	};
	const char *ada = somebody();
	AUTO_BUF json = {0};

	(void)unused;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct gdpr_consent_set_in in = {.given =
		                                         cases[i].type != NULL};

		if (cases[i].type)
			in.type = str_from(cases[i].type);
		if (cases[i].version)
			in.version = str_from(cases[i].version);
		if (cases[i].mechanism)
			in.mechanism = str_from(cases[i].mechanism);
		if (cases[i].cookies)
			in.cookie_preferences = packed_json(cases[i].cookies);
		assert_int_equal(call(method_gdpr_consent_set, ada, &in, &json),
		                 ERR_INVALID);
		has(&json, cases[i].want);
	}
	/* Nothing of it has left a trace. */
	assert_int_equal(call(method_gdpr_consent_history, ada,
	                      &(struct gdpr_consent_history_in){50, INT64_MAX,
	                                                        0},
	                      &json),
	                 OK);
	has(&json, "\"history\":[],\"count\":0");
}

struct recording {
	const char *sub;
	struct consent_change change;
	int64_t now_ms;
};

static enum err record_one(struct db *db, void *arg)
{
	struct recording *r = arg;
	struct ctx cx = ctx_of(r->sub);

	return consent_record(db, &cx, "api", r->now_ms, &r->change, 1);
}

static int64_t record_at(const char *sub, bool given, int64_t now_ms)
{
	struct recording r = {sub,
	                      {.which = CONSENT_MARKETING, .given = given},
	                      now_ms};

	assert_int_equal(fixture_write(record_one, &r), OK);
	return r.change.now.at;
}

static void the_same_again_within_30_s_is_the_first(void **unused)
{
	const int64_t at = wall_ms();
	const char *ada = somebody(), *bob = somebody();

	(void)unused;
	assert_int_equal(record_at(ada, true, at), at);
	assert_int_equal(record_at(bob, true, at + 5), at + 5);
	assert_int_equal(record_at(ada, true, at + 29999), at);
	assert_int_equal(record_at(ada, true, at + 30000), at + 30000);
	/* The other state is never a repeat, nor is the way back. */
	assert_int_equal(record_at(ada, false, at + 30001), at + 30001);
	assert_int_equal(record_at(ada, true, at + 30002), at + 30002);
	/* Nor does a clock that was set back make a state out of nothing. */
	assert_int_equal(record_at(ada, true, at), at + 30002);
	assert_int_equal(record_at(ada, false, at), at);
}

static void history_comes_in_pages(void **unused)
{
	const char *ada = somebody();
	struct gdpr_consent_history_in in = page(2, INT64_MAX);
	AUTO_BUF json = {0};

	(void)unused;
	for (int i = 0; i < 5; i++)
		record_at(ada, i % 2 == 0, 1000000 + i);
	assert_int_equal(call(method_gdpr_consent_history, ada, &in, &json),
	                 OK);
	has(&json, "\"count\":2,\"next_before\":4}");
	in.before = 4;
	assert_int_equal(call(method_gdpr_consent_history, ada, &in, &json),
	                 OK);
	has(&json, "\"count\":2,\"next_before\":2}");
	in.before = 2;
	assert_int_equal(call(method_gdpr_consent_history, ada, &in, &json),
	                 OK);
	has(&json, "\"count\":1,\"next_before\":null}");
}

static void *record_many(void *arg)
{
	const char *sub = arg;

	for (int i = 0; i < 10; i++) {
		struct recording r = {sub,
		                      {.which = CONSENT_MARKETING,
		                       .given = i % 2 == 0},
		                      wall_ms()};

		MUST(fixture_write(record_one, &r) == OK);
	}
	return NULL;
}

static void those_who_record_at_once_lose_nothing(void **unused)
{
	char *ada = (char *)(uintptr_t)somebody();
	int64_t rows, last;

	(void)unused;
	store_threads(4, record_many, ada);
	rows = number("SELECT COUNT(*) FROM consents WHERE person = (SELECT "
	              "person FROM pseudonyms ORDER BY rowid DESC LIMIT 1)",
	              "SELECT COUNT(*) FROM gdpr.consents WHERE person = "
	              "(SELECT person FROM gdpr.pseudonyms ORDER BY sub DESC "
	              "LIMIT 1)");
	last = number("SELECT MAX(seq) FROM consents WHERE person = (SELECT "
	              "person FROM pseudonyms ORDER BY rowid DESC LIMIT 1)",
	              "SELECT MAX(seq) FROM gdpr.consents WHERE person = "
	              "(SELECT person FROM gdpr.pseudonyms ORDER BY sub DESC "
	              "LIMIT 1)");
	assert_true(rows > 0);
	assert_int_equal(rows, last);
}

static enum err try_run(struct db *db, void *arg)
{
	return db_run(db, arg, NULL, 0, NULL);
}

static void the_database_itself_keeps_the_ledger(void **unused)
{
	static struct db_stmt tries[] = {
		{"test.update", "UPDATE consents SET given = 1 - given",
	         "UPDATE gdpr.consents SET given = 1 - given"},
		{"test.delete", "DELETE FROM consents WHERE at > 1000000000000",
	         "DELETE FROM gdpr.consents WHERE at > 1000000000000"},
		{"test.replace",
	         "INSERT OR REPLACE INTO consents SELECT * FROM consents",
	         "TRUNCATE gdpr.consents"},
	};

	(void)unused;
	record_at(somebody(), true, wall_ms());
	for (size_t i = 0; i < COUNTOF(tries); i++)
		assert_int_not_equal(fixture_write(try_run, &tries[i]), OK);
}

static enum err erase(struct db *db, void *arg)
{
	return consent_erase(db, str_from(arg));
}

static void erasing_leaves_the_proof_and_nobody_whose_it_is(void **unused)
{
	static const char rows[] =
		"SELECT COUNT(*) FROM consents c WHERE NOT EXISTS "
		"(SELECT 1 FROM pseudonyms p WHERE p.person = c.person)";
	static const char rows_pg[] =
		"SELECT COUNT(*) FROM gdpr.consents c WHERE NOT EXISTS "
		"(SELECT 1 FROM gdpr.pseudonyms p WHERE p.person = c.person)";
	static const char origins[] =
		"SELECT COUNT(*) FROM consent_origins c WHERE NOT EXISTS "
		"(SELECT 1 FROM pseudonyms p WHERE p.person = c.person)";
	static const char origins_pg[] =
		"SELECT COUNT(*) FROM gdpr.consent_origins c WHERE NOT EXISTS "
		"(SELECT 1 FROM gdpr.pseudonyms p WHERE p.person = c.person)";
	const char *ada = somebody();
	int64_t nobodys = number(rows, rows_pg);
	int64_t from_where = number(origins, origins_pg);
	AUTO_BUF json = {0};

	(void)unused;
	record_at(ada, true, wall_ms());
	record_at(ada, false, wall_ms());
	assert_int_equal(fixture_write(erase, (void *)(uintptr_t)ada), OK);
	assert_int_equal(number(rows, rows_pg), nobodys + 2);
	assert_int_equal(number(origins, origins_pg), from_where);
	assert_int_equal(look_at(method_gdpr_consent, ada, &json), OK);
	has(&json, "\"marketing\":{\"given\":false,\"version\":\"1.0\","
	           "\"current_version\":\"1.0\",\"timestamp\":null}");
	/* Twice, and of a stranger: nothing to do. */
	assert_int_equal(fixture_write(erase, (void *)(uintptr_t)ada), OK);
	assert_int_equal(fixture_write(erase, (void *)(uintptr_t)somebody()),
	                 OK);
}

/* --- restriction ---------------------------------------------------------- */

static enum err apply_one(struct db *db, void *arg)
{
	return gdpr_apply(NULL, db, arg);
}

static void happens(const char *source, const char *type, const char *sub,
                    const char *body, int64_t at)
{
	struct event ev = {.source = str_from(source),
	                   .sub = str_from(sub),
	                   .type = str_from(type),
	                   .body = packed_json(body),
	                   .at = at};

	(void)uuid7(ev.id);
	assert_int_equal(fixture_write(apply_one, &ev), OK);
}

static void registers(const char *sub, int64_t at)
{
	char body[128];

	(void)snprintf(body, sizeof(body), "{\"hnd\":\"%s\"}", sub);
	happens("auth", "user.registered", sub, body, at);
}

static void quizzes(const char *sub, int64_t at)
{
	happens("content", "quiz.submitted", sub,
	        "{\"score\":1,\"total\":1,\"earns\":true}", at);
}

static void restricts(const char *sub, bool on, struct buf *json)
{
	const struct gdpr_restrict_in in = {.restricted = on,
	                                    .reason = STR("it is wrong")};

	assert_int_equal(call(method_gdpr_restrict, sub, &in, json), OK);
}

static enum err prove(struct db *db, void *arg)
{
	return person_check(db, arg);
}

static void is_sound(void)
{
	int64_t broken = -1;

	assert_int_equal(fixture_read(prove, &broken), OK);
	assert_int_equal(broken, 0);
}

static void board(struct buf *json)
{
	const struct gdpr_leaderboard_in in = {.limit = 100};

	assert_int_equal(call(method_gdpr_leaderboard, "", &in, json), OK);
}

static void a_restricted_person_is_off_the_board_at_once(void **unused)
{
	const char *ada = somebody(), *bob = somebody();
	AUTO_BUF json = {0}, before = {0};

	(void)unused;
	registers(ada, 1000000);
	registers(bob, 1000000);
	quizzes(ada, 2000000);
	quizzes(ada, 2000001);
	quizzes(bob, 2000000);
	cache_clear(rights.cache);
	board(&before);
	has(&before, ada);
	restricts(ada, true, &json);
	has(&json, "\"restricted\":true,\"restricted_at\":\"20");
	has(&json, "\"reason\":\"it is wrong\"}");
	is_sound();
	board(&json); /* from a cache that would hold it for ten minutes */
	lacks(&json, ada);
	has(&json, bob);
	assert_int_equal(look_at(method_gdpr_rank, bob, &json), OK);
	has(&json, "\"rank\":1}");
	assert_int_equal(look_at(method_gdpr_rank, ada, &json), ERR_NOT_FOUND);
	has(&json, "restricted");
	assert_int_equal(look_at(method_gdpr_stats, ada, &json), OK);
	has(&json, "\"rank\":null");
	has(&json, "\"total_xp\":400"); /* kept, and they may see it */

	restricts(ada, false, &json);
	has(&json, "\"restricted\":false,\"restricted_at\":null,"
	           "\"reason\":null}");
	is_sound();
	board(&json);
	assert_string_equal(json.p, before.p);
}

static void what_was_under_way_is_kept_and_shown_when_it_is_lifted(
	void **unused)
{
	const char *ada = somebody(), *bob = somebody();
	AUTO_BUF json = {0};

	(void)unused;
	registers(ada, 1000000);
	registers(bob, 1000000);
	quizzes(bob, 2000000);
	restricts(ada, true, &json);
	quizzes(ada, 2000000); /* caused before it, and late */
	quizzes(ada, 2000001);
	registers(ada, 1000001); /* another handle event */
	is_sound();
	cache_clear(rights.cache);
	board(&json);
	lacks(&json, ada);
	restricts(ada, false, &json);
	is_sound();
	assert_int_equal(look_at(method_gdpr_rank, ada, &json), OK);
	has(&json, "\"total_xp\":400,");
	has(&json, "\"rank\":1}");
}

static void twice_is_once_and_is_told_once(void **unused)
{
	static const char told[] = "SELECT COUNT(*) FROM outbox";
	static const char told_pg[] = "SELECT COUNT(*) FROM gdpr.outbox";
	const char *ada = somebody();
	int64_t before = number(told, told_pg);
	AUTO_BUF first = {0}, second = {0};

	(void)unused;
	/* Of somebody of whom nothing was known. */
	restricts(ada, true, &first);
	restricts(ada, true, &second);
	assert_string_equal(first.p, second.p);
	assert_int_equal(number(told, told_pg), before + 1);
	assert_int_equal(kicks, 1);
	restricts(ada, false, &first);
	restricts(ada, false, &second);
	assert_int_equal(number(told, told_pg), before + 2);
	assert_int_equal(look_at(method_gdpr_restriction, ada, &second), OK);
	has(&second, "\"restricted\":false,");
	is_sound();
}

struct flip {
	const char *sub;
	int64_t now_ms;
	bool on, changed;
};

static enum err flip_one(struct db *db, void *arg)
{
	struct flip *f = arg;
	const struct restriction want = {.since = f->on ? f->now_ms : 0};

	return restrict_set(db, rights.events, str_from(f->sub), &want,
	                    f->now_ms, &f->changed);
}

/* One restricts and lifts, the others learn. */
static void *flip_or_learn(void *arg)
{
	static atomic_uint turn;
	unsigned me = atomic_fetch_add(&turn, 1);
	const char *sub = arg;

	for (int i = 0; i < 10; i++) {
		struct flip f = {sub, wall_ms(), i % 2 == 0, false};
		struct event ev = {.source = STR("content"),
		                   .sub = str_from(sub),
		                   .type = STR("topic.finished"),
		                   .body = STR("\x80"),
		                   .at = 3000000 + i};

		(void)uuid7(ev.id);
		if (me % 4 == 0)
			MUST(fixture_write(flip_one, &f) == OK);
		else
			MUST(fixture_write(apply_one, &ev) == OK);
	}
	return NULL;
}

static void restricting_and_learning_at_once_leaves_a_sound_board(void **unused)
{
	char *ada = (char *)(uintptr_t)somebody();

	(void)unused;
	registers(ada, 1000000);
	store_threads(4, flip_or_learn, ada);
	is_sound();
	assert_int_equal(number("SELECT COUNT(*) FROM ledger WHERE kind = "
	                        "'topic'",
	                        "SELECT COUNT(*) FROM gdpr.ledger WHERE kind "
	                        "= 'topic'"),
	                 30);
}

/* --- the audit log -------------------------------------------------------- */

static int64_t audited(const char *event)
{
	char sqlite[128], postgres[128];
	static char kept[8][2][128];
	static size_t n;

	(void)snprintf(sqlite, sizeof(sqlite),
	               "SELECT COUNT(*) FROM audit_log WHERE event = '%s'",
	               event);
	(void)snprintf(postgres, sizeof(postgres),
	               "SELECT COUNT(*) FROM gdpr.audit_log WHERE event = '%s'",
	               event);
	assert_true(n < COUNTOF(kept));
	memcpy(kept[n][0], sqlite, sizeof(sqlite));
	memcpy(kept[n][1], postgres, sizeof(postgres));
	n++;
	return number(kept[n - 1][0], kept[n - 1][1]);
}

static void what_was_done_is_in_the_audit_log_once(void **unused)
{
	const char *ada = somebody();
	struct gdpr_consent_set_in in = policy("marketing", true);
	int64_t consents = audited("consent_update");
	int64_t set = audited("restriction_set");
	AUTO_BUF json = {0};

	(void)unused;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(call(method_gdpr_consent_set, ada, &in, &json),
		                 OK);
		restricts(ada, true, &json);
	}
	assert_int_equal(audited("consent_update"), consents + 1);
	assert_int_equal(audited("restriction_set"), set + 1);
}

/* --- breaches --------------------------------------------------------------- */

static struct gdpr_breach_notify_in notice(const char *people)
{
	return (struct gdpr_breach_notify_in){
		.breach_type = STR("stolen backup"),
		.affected_data = packed_json("[\"e-mail\",\"XP\"]"),
		.user_ids = packed_json(people),
		.severity = STR("high")};
}

static void those_affected_are_told_and_nobody_else(void **unused)
{
	const char *ada = somebody(), *bob = somebody(), *eve = somebody();
	struct gdpr_breach_acknowledge_in seen = {0};
	struct gdpr_breach_notify_in in;
	char people[256], id[BREACH_ID_MAX] = "";
	AUTO_BUF json = {0};

	(void)unused;
	registers(ada, 1000000);
	registers(bob, 1000000);
	registers(eve, 1000000);
	(void)snprintf(people, sizeof(people), "[\"%s\",\"%s\",\"%s\"]", ada,
	               bob, ada);
	in = notice(people);
	assert_int_equal(call(method_gdpr_breach_notify, eve, &in, &json), OK);
	has(&json, "\"notified_users\":2,");
	memcpy(id, strstr(json.p, "\"breach_id\":\"") + 13, 16);
	assert_int_equal(strspn(id, "0123456789abcdef"), 16);

	assert_int_equal(look_at(method_gdpr_breaches, ada, &json), OK);
	has(&json, id);
	has(&json, "\"severity\":\"high\","
	           "\"affected_data\":[\"e-mail\",\"XP\"],"
	           "\"description\":null,");
	has(&json, "\"acknowledged_at\":null}],\"count\":1,"
	           "\"unacknowledged\":1}");
	assert_int_equal(look_at(method_gdpr_breaches, eve, &json), OK);
	has(&json, "\"breaches\":[],\"count\":0,");

	seen.breach_id = str_from(id);
	assert_int_equal(call(method_gdpr_breach_acknowledge, eve, &seen,
	                      &json),
	                 ERR_NOT_FOUND);
	assert_int_equal(
		call(method_gdpr_breach_acknowledge, ada, &seen, &json), OK);
	assert_int_equal(look_at(method_gdpr_breaches, ada, &json), OK);
	has(&json, "\"acknowledged_at\":\"20");
	has(&json, "\"unacknowledged\":0}");
	assert_int_equal(look_at(method_gdpr_breaches, bob, &json), OK);
	has(&json, "\"unacknowledged\":1}");
	seen.breach_id = STR("0000000000000000");
	assert_int_equal(call(method_gdpr_breach_acknowledge, ada, &seen,
	                      &json),
	                 ERR_NOT_FOUND);
}

static void a_handle_that_nobody_has_is_named_and_nothing_is_entered(
	void **unused)
{
	const char *ada = somebody();
	struct gdpr_breach_notify_in in;
	const struct gdpr_breach_list_in all = {.limit = 50, .before = STR("")};
	char people[256];
	AUTO_BUF json = {0};

	(void)unused;
	registers(ada, 1000000);
	(void)snprintf(people, sizeof(people),
	               "[\"nobody.one\",\"%s\",\"nobody.two\"]", ada);
	in = notice(people);
	assert_int_equal(call(method_gdpr_breach_notify, ada, &in, &json),
	                 ERR_INVALID);
	has(&json, "/user_ids/0 UNKNOWN: Nobody has the user_id nobody.one.");
	has(&json, "/user_ids/2 UNKNOWN");
	lacks(&json, "/user_ids/1");
	assert_int_equal(call(method_gdpr_breach_list, ada, &all, &json), OK);
	has(&json, "\"breaches\":[],\"count\":0,\"next_before\":null}");
	assert_int_equal(look_at(method_gdpr_breaches, ada, &json), OK);
	has(&json, "\"count\":0");
}

static void a_handle_is_found_whatever_its_letters(void **unused)
{
	const char *ada = somebody();
	struct gdpr_breach_notify_in in = notice("[\"ADA.Lovelace\"]");
	AUTO_BUF json = {0};

	(void)unused;
	happens("auth", "user.registered", ada, "{\"hnd\":\"Ada.lovelace\"}",
	        1000000);
	assert_int_equal(call(method_gdpr_breach_notify, ada, &in, &json), OK);
	has(&json, "\"notified_users\":1,");
}

static void one_for_all_reaches_those_who_were_there(void **unused)
{
	const char *ada = somebody(), *late = somebody();
	struct gdpr_breach_notify_in in = notice("\"all\"");
	struct gdpr_breach_acknowledge_in seen = {0};
	char id[BREACH_ID_MAX] = "";
	AUTO_BUF json = {0};

	(void)unused;
	registers(ada, 1000000);
	assert_int_equal(call(method_gdpr_breach_notify, ada, &in, &json), OK);
	has(&json, "\"notified_users\":1,");
	memcpy(id, strstr(json.p, "\"breach_id\":\"") + 13, 16);
	store_exec(fixture.pool,
	           store_is_postgres(&fixture.store)
	                   ? "UPDATE gdpr.breaches SET at = at - 1000"
	                   : "UPDATE breaches SET at = at - 1000");
	registers(late, wall_ms());
	assert_int_equal(look_at(method_gdpr_breaches, ada, &json), OK);
	has(&json, "\"unacknowledged\":1}");
	assert_int_equal(look_at(method_gdpr_breaches, late, &json), OK);
	has(&json, "\"count\":0,");
	seen.breach_id = str_from(id);
	assert_int_equal(call(method_gdpr_breach_acknowledge, late, &seen,
	                      &json),
	                 ERR_NOT_FOUND);
	assert_int_equal(
		call(method_gdpr_breach_acknowledge, ada, &seen, &json), OK);
	assert_int_equal(look_at(method_gdpr_breaches, ada, &json), OK);
	has(&json, "\"unacknowledged\":0}");
}

static void the_same_again_is_the_first(void **unused)
{
	const char *ada = somebody();
	struct gdpr_breach_notify_in in = notice("\"all\"");
	AUTO_BUF first = {0}, second = {0};

	(void)unused;
	registers(ada, 1000000);
	assert_int_equal(call(method_gdpr_breach_notify, ada, &in, &first), OK);
	assert_int_equal(call(method_gdpr_breach_notify, ada, &in, &second),
	                 OK);
	assert_string_equal(first.p, second.p);
	in.severity = STR("low");
	assert_int_equal(call(method_gdpr_breach_notify, ada, &in, &second),
	                 OK);
	assert_string_not_equal(first.p, second.p);
}

static void malformed_breaches_are_refused(void **unused)
{
	static const struct {
		const char *affected, *people, *severity, *want;
	} cases[] = {
		{"\"x\"", "\"all\"", "worst", "/severity UNKNOWN"},
		{"[]", "\"all\"", "high", "/affected_data ITEMS"},
		{"7", "\"all\"", "high", "/affected_data TYPE"},
		{"{}", "\"all\"", "high", "/affected_data TYPE"},
		{"[\"x\",7]", "\"all\"", "high", "/affected_data/1 TEXT"},
		{"\"\"", "\"all\"", "high", "/affected_data/0 TEXT"},
		{"\"a\\nb\"", "\"all\"", "high", "/affected_data/0 TEXT"},
		{"\"x\"", "\"everybody\"", "high", "/user_ids TYPE"},
		{"\"x\"", "[]", "high", "/user_ids ITEMS"},
		{"\"x\"", "[\"all\",null]", "high", "/user_ids/1 TEXT"},
		{"\"x\"", "{}", "high", "/user_ids TYPE"},
	};
	const char *ada = somebody();
	AUTO_BUF json = {0};

	(void)unused;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		const struct gdpr_breach_notify_in in = {
			.breach_type = STR("x"),
			.affected_data = packed_json(cases[i].affected),
			.user_ids = packed_json(cases[i].people),
			.severity = str_from(cases[i].severity)};

		assert_int_equal(call(method_gdpr_breach_notify, ada, &in,
		                      &json),
		                 ERR_INVALID);
		has(&json, cases[i].want);
	}
}

static void an_administrator_sees_what_is_due(void **unused)
{
	const char *ada = somebody();
	struct gdpr_breach_notify_in in = notice("\"all\"");
	struct gdpr_breach_list_in list = {.limit = 1, .before = STR("")};
	struct gdpr_breach_reported_in told = {0};
	char newest[BREACH_ID_MAX] = "", oldest[BREACH_ID_MAX] = "";
	AUTO_BUF json = {0};

	(void)unused;
	registers(ada, 1000000);
	assert_int_equal(call(method_gdpr_breach_notify, ada, &in, &json), OK);
	memcpy(oldest, strstr(json.p, "\"breach_id\":\"") + 13, 16);
	store_exec(fixture.pool,
	           store_is_postgres(&fixture.store)
	                   ? "UPDATE gdpr.breaches SET at = at - 259200001"
	                   : "UPDATE breaches SET at = at - 259200001");
	in.severity = STR("low");
	assert_int_equal(call(method_gdpr_breach_notify, ada, &in, &json), OK);
	memcpy(newest, strstr(json.p, "\"breach_id\":\"") + 13, 16);

	assert_int_equal(call(method_gdpr_breach_list, ada, &list, &json), OK);
	has(&json, newest);
	has(&json, "\"overdue\":false}],\"count\":1,\"next_before\":\"");
	list.before = str_from(newest);
	assert_int_equal(call(method_gdpr_breach_list, ada, &list, &json), OK);
	has(&json, oldest);
	has(&json, "\"reported_at\":null,\"overdue\":true}],\"count\":1,"
	           "\"next_before\":null}");
	told.breach_id = str_from(newest);
	assert_int_equal(call(method_gdpr_breach_reported, ada, &told, &json),
	                 OK);
	list.before = STR("");
	assert_int_equal(call(method_gdpr_breach_list, ada, &list, &json), OK);
	has(&json, "\"reported_at\":\"20");
	told.breach_id = STR("none");
	assert_int_equal(call(method_gdpr_breach_reported, ada, &told, &json),
	                 ERR_NOT_FOUND);
}

static int each(void **unused)
{
	if (rights_each(unused))
		return -1;
	store_exec(fixture.pool, store_is_postgres(&fixture.store)
	                                 ? "DELETE FROM gdpr.breaches"
	                                 : "DELETE FROM breaches");
	store_exec(fixture.pool, store_is_postgres(&fixture.store)
	                                 ? "DELETE FROM gdpr.pseudonyms"
	                                 : "DELETE FROM pseudonyms");
	return 0;
}

#define CASE(claim) cmocka_unit_test_setup_teardown(claim, each, rights_after)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_stranger_has_agreed_to_nothing_but_the_necessary),
		CASE(giving_and_taking_back_are_the_same_call_and_both_are_kept),
		CASE(cookies_and_a_policy_go_in_one_body),
		CASE(what_cannot_be_consented_to_is_refused),
		CASE(the_same_again_within_30_s_is_the_first),
		CASE(history_comes_in_pages),
		CASE(those_who_record_at_once_lose_nothing),
		CASE(the_database_itself_keeps_the_ledger),
		CASE(erasing_leaves_the_proof_and_nobody_whose_it_is),
		CASE(a_restricted_person_is_off_the_board_at_once),
		CASE(what_was_under_way_is_kept_and_shown_when_it_is_lifted),
		CASE(twice_is_once_and_is_told_once),
		CASE(restricting_and_learning_at_once_leaves_a_sound_board),
		CASE(what_was_done_is_in_the_audit_log_once),
		CASE(those_affected_are_told_and_nobody_else),
		CASE(a_handle_that_nobody_has_is_named_and_nothing_is_entered),
		CASE(a_handle_is_found_whatever_its_letters),
		CASE(one_for_all_reaches_those_who_were_there),
		CASE(the_same_again_is_the_first),
		CASE(malformed_breaches_are_refused),
		CASE(an_administrator_sees_what_is_due),
	};

	return cmocka_run_group_tests(tests, rights_up, rights_down);
}
