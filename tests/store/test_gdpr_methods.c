/*
 * The methods of svc-gdpr over a database: what people read, what the cache
 * answers on the receive callback, and what events make of it.
 */
#include "svc-gdpr/audit.h"
#include "svc-gdpr/methods.h"
#include "svc-gdpr/state.h"

#include "common/base/uuid.h"
#include "common/codec/json.h"
#include "tests/store/gdpr_fixture.h"

#define NOON INT64_C(1767268800000) /* 2026-01-01T12:00:00Z */

static struct gdpr_state state;
static struct arena *arena;

static int methods_up(void **unused)
{
	if (fixture_up(unused))
		return -1;
	state.ttl_ms = state.board_ttl_ms = 600000;
	state.pool = fixture.pool;
	state.events = event_store_new("gdpr");
	state.cache = cache_new(&(struct cache_conf){.max_bytes = 1 << 20});
	arena = arena_new((size_t)1 << 20);
	return state.events && state.cache && arena ? 0 : -1;
}

static int methods_down(void **unused)
{
	event_store_free(state.events);
	cache_free(state.cache);
	arena_free(arena);
	return fixture_down(unused);
}

static int methods_each(void **unused)
{
	cache_clear(state.cache);
	return fixture_each(unused);
}

static struct ctx person(const char *sub, const char *hnd)
{
	struct ctx cx = store_ctx(20000);

	cx.arena = arena;
	cx.sub = str_from(sub);
	cx.hnd = str_from(hnd);
	cx.role = ROLE_USER;
	cx.principal = "gateway";
	return cx;
}

/* The answer as JSON, NUL terminated; the caller's buf keeps it. */
static enum err ask_with(method_fn *run, const char *sub, const char *hnd,
                         const void *in, struct buf *json)
{
	struct ctx cx = person(sub, hnd);
	struct reply out = {0};
	enum err e = run(&state, &cx, in, &out);

	if (!e)
		assert_true(mp_to_json(buf_view(&out.body), json));
	buf_char(json, '\0');
	buf_fini(&out.body);
	return e;
}

static enum err ask(method_fn *run, const char *sub, struct buf *json)
{
	static const char nothing[16];

	return ask_with(run, sub, sub, nothing, json);
}

static enum err ask_board(int64_t limit, struct buf *json)
{
	const struct gdpr_leaderboard_in in = {.limit = limit};

	return ask_with(method_gdpr_leaderboard, "", "", &in, json);
}

static bool peeked(const char *sub)
{
	struct ctx cx = person(sub, sub);
	struct reply out = {0};
	bool hit = gdpr_stats_peek(&state, &cx, "", &out);

	assert_int_equal(hit, out.body.n > 0);
	buf_fini(&out.body);
	return hit;
}

static void contains(const struct buf *json, const char *part)
{
	if (!strstr(json->p, part))
		fail_msg("no %s in %s", part, json->p);
}

/* One event through event.apply, as a relay sends it. */
static enum err tell(const char *src, const char *type, const char *sub,
                     int64_t seq, struct str body)
{
	AUTO_BUF events = {0};
	struct gdpr_event_apply_in in = {.src = str_from(src)};
	struct ctx cx = store_ctx(20000);
	struct reply out = {0};
	char id[UUID_MAX];
	enum err e;

	mp_array(&events, 1);
	mp_map(&events, 6);
	mp_kv_str(&events, "id", uuid7(id));
	mp_kv_text(&events, "sub", sub);
	mp_kv_text(&events, "type", type);
	mp_kv_i64(&events, "seq", seq);
	mp_kv_i64(&events, "at", NOON);
	mp_text(&events, "b");
	mp_raw(&events, body);
	in.events = buf_view(&events);
	cx.arena = arena;
	cx.principal = src;
	cx.role = ROLE_SERVICE;
	e = method_gdpr_event_apply(&state, &cx, &in, &out);
	buf_fini(&out.body);
	return e;
}

static void tell_registered(const char *sub, int64_t seq)
{
	AUTO_BUF b = {0};

	mp_map(&b, 2);
	mp_kv_text(&b, "hnd", sub);
	mp_kv_i64(&b, "at", NOON);
	assert_int_equal(
		tell("auth", "user.registered", sub, seq, buf_view(&b)), OK);
}

static enum err tell_quiz_seq(const char *sub, int64_t seq)
{
	AUTO_BUF b = {0};

	mp_map(&b, 4);
	mp_kv_i64(&b, "score", 1);
	mp_kv_i64(&b, "total", 2);
	mp_kv_bool(&b, "earns", true);
	mp_kv_i64(&b, "at", NOON);
	return tell("content", "quiz.submitted", sub, seq, buf_view(&b));
}

static void tell_audit(const char *sub, int64_t seq)
{
	const struct audit_note note = {.event = AUDIT_IS(LOGIN)};
	struct ctx cx = store_ctx(20000);
	AUTO_BUF b = {0};

	audit_pack(&b, &cx, &note);
	assert_int_equal(tell("auth", "audit", sub, seq, buf_view(&b)), OK);
}

static void tell_quiz(const char *sub, int64_t seq)
{
	assert_int_equal(tell_quiz_seq(sub, seq), OK);
}

static void tell_topic(const char *sub, int64_t seq)
{
	AUTO_BUF b = {0};

	mp_map(&b, 1);
	mp_kv_i64(&b, "at", NOON);
	assert_int_equal(
		tell("content", "topic.finished", sub, seq, buf_view(&b)), OK);
}

static int64_t people(void)
{
	static const struct db_stmt count = {
		"test.people", "SELECT COUNT(*) FROM person",
		"SELECT COUNT(*) FROM gdpr.person"};

	return store_i64(fixture.pool, &count);
}

static void a_stranger_reads_zeros_and_leaves_no_trace(void **unused)
{
	AUTO_BUF json = {0};

	(void)unused;
	assert_int_equal(ask(method_gdpr_progress, "new", &json), OK);
	contains(&json, "{\"success\":true,\"progress\":{\"user_id\":\"new\","
	                "\"total_xp\":0,\"level\":1,\"streak_days\":0,"
	                "\"last_activity_date\":null,");
	buf_clear(&json);
	assert_int_equal(ask(method_gdpr_stats, "new", &json), OK);
	contains(&json, "\"achievements\":{\"unlocked\":0,\"recent\":[]},"
	                "\"skills\":{\"unlocked\":0,\"recent\":[]},"
	                "\"rank\":null,"
	                "\"challenges\":{\"active\":0,\"completed\":0}}");
	buf_clear(&json);
	assert_int_equal(ask(method_gdpr_user_achievements, "new", &json), OK);
	contains(&json, "\"unlocked\":[],\"total\":[");
	contains(&json, "\"unlocked_count\":0,\"total_count\":8}");
	buf_clear(&json);
	assert_int_equal(ask(method_gdpr_rank, "new", &json), ERR_NOT_FOUND);
	assert_int_equal(people(), 0);
}

static void learning_shows_everywhere(void **unused)
{
	AUTO_BUF json = {0};

	(void)unused;
	tell_registered("ada", 1);
	tell_topic("ada", 1);
	assert_int_equal(ask(method_gdpr_progress, "ada", &json), OK);
	contains(&json, "\"total_xp\":100,\"level\":2,");
	contains(&json, "\"total_topics_completed\":1,");
	buf_clear(&json);
	assert_int_equal(ask(method_gdpr_stats, "ada", &json), OK);
	contains(&json, "\"achievements\":{\"unlocked\":1,\"recent\":[{"
	                "\"id\":\"first_steps\",");
	contains(&json, "\"rank\":{\"user_id\":\"ada\",\"username\":\"ada\","
	                "\"total_xp\":100,\"level\":2,"
	                "\"achievements_count\":1,");
	contains(&json, "\"rank\":1}");
	buf_clear(&json);
	assert_int_equal(ask(method_gdpr_rank, "ada", &json), OK);
	contains(&json, "{\"success\":true,\"rank\":{\"user_id\":\"ada\",");
	buf_clear(&json);
	assert_int_equal(ask(method_gdpr_user_achievements, "ada", &json), OK);
	contains(&json, "\"unlocked_at\":\"2026-01-01T12:00:00.000Z\","
	                "\"progress\":100}]");
	contains(&json, "\"unlocked_count\":1,\"total_count\":8}");
}

static void stats_are_answered_from_memory_until_an_event(void **unused)
{
	AUTO_BUF json = {0};

	(void)unused;
	tell_registered("ada", 1);
	assert_false(peeked("ada"));
	assert_int_equal(ask(method_gdpr_stats, "ada", &json), OK);
	assert_true(peeked("ada"));
	assert_false(peeked("bob"));
	assert_int_equal(ask(method_gdpr_stats, "bob", &json), OK);

	tell_quiz("ada", 1);
	assert_false(peeked("ada"));
	assert_true(peeked("bob"));
	/* Each login brings one of these: it shows nowhere that is cached. */
	tell_audit("bob", 1);
	assert_true(peeked("bob"));
	buf_clear(&json);
	assert_int_equal(ask(method_gdpr_stats, "ada", &json), OK);
	contains(&json, "\"total_xp\":100,");
	buf_clear(&json);
	/* From memory again: the same bytes. */
	assert_int_equal(ask(method_gdpr_stats, "ada", &json), OK);
	contains(&json, "\"total_xp\":100,");
}

static void what_is_cached_is_never_shown_to_another(void **unused)
{
	AUTO_BUF json = {0};

	(void)unused;
	tell_registered("ada", 1);
	tell_topic("ada", 1);
	assert_int_equal(ask(method_gdpr_stats, "ada", &json), OK);
	buf_clear(&json);
	assert_int_equal(ask(method_gdpr_stats, "eve", &json), OK);
	contains(&json, "\"user_id\":\"eve\",\"total_xp\":0,");
	assert_null(strstr(json.p, "ada"));
}

static void the_board_lists_by_rank_and_follows_events(void **unused)
{
	AUTO_BUF json = {0};

	(void)unused;
	assert_int_equal(ask_board(100, &json), OK);
	contains(&json, "{\"success\":true,\"leaderboard\":[]}");
	tell_registered("ada", 1);
	tell_registered("bob", 1);
	tell_quiz("bob", 1);
	tell_quiz("ada", 1);
	tell_quiz("ada", 2);
	buf_clear(&json);
	assert_int_equal(ask_board(100, &json), OK);
	contains(&json, "\"leaderboard\":[{\"user_id\":\"ada\",");
	contains(&json, "\"rank\":1},{\"user_id\":\"bob\",");
	buf_clear(&json);
	assert_int_equal(ask_board(1, &json), OK);
	assert_null(strstr(json.p, "bob"));
}

static void who_has_no_account_event_yet_has_a_rank_but_no_line(void **unused)
{
	AUTO_BUF json = {0};

	(void)unused;
	tell_registered("ada", 1);
	tell_quiz("ada", 1);
	tell_quiz("new", 1);
	assert_int_equal(ask(method_gdpr_rank, "new", &json), OK);
	contains(&json, "\"user_id\":\"new\"");
	contains(&json, "\"rank\":2}");
	buf_clear(&json);
	assert_int_equal(ask_board(100, &json), OK);
	assert_null(strstr(json.p, "new"));
}

static void repeats_and_gaps_give_nothing(void **unused)
{
	AUTO_BUF json = {0};

	(void)unused;
	tell_quiz("ada", 1);
	tell_quiz("ada", 1); /* another id, but the inbox has had it */
	tell_quiz("ada", 3); /* 2 is missing */
	assert_int_equal(ask(method_gdpr_progress, "ada", &json), OK);
	contains(&json, "\"total_xp\":100,");
	tell_quiz("ada", 2);
	tell_quiz("ada", 3);
	buf_clear(&json);
	assert_int_equal(ask(method_gdpr_progress, "ada", &json), OK);
	contains(&json, "\"total_xp\":300,");
}

static void malformed_events_are_refused(void **unused)
{
	static const struct str cases[] = {
		{"", 0},
		{"\xc0", 1},                 /* nil */
		{"\x91\x01", 2},             /* an integer for an event */
		{"\xdd\xff\xff\xff\xff", 5}, /* four thousand million of them */
		{"\x91\x81\xa3sub\xa1x", 7}, /* no id */
	};

	(void)unused;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct gdpr_event_apply_in in = {STR("content"), cases[i], 0};
		struct ctx cx = store_ctx(20000);
		struct reply out = {0};

		cx.arena = arena;
		cx.principal = "content";
		if (method_gdpr_event_apply(&state, &cx, &in, &out) == OK)
			fail_msg("case %zu", i);
		buf_fini(&out.body);
	}
	assert_int_equal(people(), 0);
}

static void the_catalogue_keeps_its_secrets(void **unused)
{
	AUTO_BUF json = {0};

	(void)unused;
	assert_int_equal(ask(method_gdpr_achievements, "", &json), OK);
	contains(&json, "{\"success\":true,\"achievements\":["
	                "{\"id\":\"first_steps\",");
	assert_null(strstr(json.p, "night_owl"));
	assert_null(strstr(json.p, "\"is_secret\":true"));
}

int main(void)
{
#define EACH_EMPTY(f) cmocka_unit_test_setup(f, methods_each)
	const struct CMUnitTest tests[] = {
		EACH_EMPTY(a_stranger_reads_zeros_and_leaves_no_trace),
		EACH_EMPTY(learning_shows_everywhere),
		EACH_EMPTY(stats_are_answered_from_memory_until_an_event),
		EACH_EMPTY(what_is_cached_is_never_shown_to_another),
		EACH_EMPTY(the_board_lists_by_rank_and_follows_events),
		EACH_EMPTY(who_has_no_account_event_yet_has_a_rank_but_no_line),
		EACH_EMPTY(repeats_and_gaps_give_nothing),
		EACH_EMPTY(malformed_events_are_refused),
		EACH_EMPTY(the_catalogue_keeps_its_secrets),
	};

	return cmocka_run_group_tests(tests, methods_up, methods_down);
}
