#include "common/codec/json.h"
#include "common/codec/mp.h"
#include "gateway/page.h"
#include "gateway/problem.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The body as msgpack, which also proves that it is JSON. */
static struct str written(struct buf *mp, const struct ctx *cx, enum err e,
                          const char *instance, bool development)
{
	AUTO_BUF json = {0};
	struct json_error at = {0};

	problem_write(&json, cx, e, str_from(instance), development);
	assert_false(json.failed);
	buf_clear(mp);
	if (!json_to_mp(buf_view(&json), mp, &at))
		fail_msg("%s at %zu: %.*s", at.reason, at.offset, (int)json.n,
		         json.p);
	return buf_view(mp);
}

static void want_text(struct str map, const char *key, const char *want)
{
	struct str got = mp_find_str(map, key, STR("(absent)"));

	if (!str_eq(got, str_from(want)))
		fail_msg("%s is %.*s, not %s", key, (int)got.n, got.p, want);
}

static void every_error_has_the_one_shape(void **state)
{
	const struct ctx cx = {.rid = STR("r-1")};
	AUTO_BUF mp = {0};

	(void)state;
	for (int i = 1; i < ERR_COUNT; i++) {
		enum err e = (enum err)i;
		struct str map = written(&mp, &cx, e, "/api/x", false);
		char type[80];

		(void)snprintf(type, sizeof(type), "/problems/%s", err_code(e));
		want_text(map, "type", type);
		want_text(map, "title", err_title(e));
		want_text(map, "error", err_title(e));
		want_text(map, "detail", err_text(e));
		want_text(map, "message", err_text(e));
		want_text(map, "error_code", err_code(e));
		want_text(map, "request_id", "r-1");
		want_text(map, "instance", "/api/x");
		assert_int_equal(mp_find_i64(map, "status", 0), err_http(e));
		assert_int_equal(mp_find_i64(map, "retry_after", 0),
		                 problem_retry_after(e, NULL));
	}
}

static void the_words_of_the_cause_go_out(void **state)
{
	struct ctx cx = {.rid = STR("r")};
	AUTO_BUF mp = {0};
	struct str map;

	(void)state;
	assert_int_equal(ctx_fail(&cx, ERR_CONFLICT, "\"%s\" is taken", "x"),
	                 ERR_CONFLICT);
	map = written(&mp, &cx, ERR_CONFLICT, "", false);
	want_text(map, "detail", "\"x\" is taken");
	want_text(map, "message", "\"x\" is taken");
	want_text(map, "instance", "/");
	/* Words of another error are not ours to tell. */
	map = written(&mp, &cx, ERR_TIMEOUT, "", false);
	want_text(map, "detail", err_text(ERR_TIMEOUT));
}

static void faults_are_listed_with_their_pointers(void **state)
{
	AUTO(arena) a = arena_new(65536);
	struct ctx cx = {.arena = a, .rid = STR("r")};
	AUTO_BUF mp = {0};
	struct str map, list;
	struct mp m;
	uint32_t n = 0;

	(void)state;
	(void)ctx_fault(&cx, "/focus/3", "INVALID_TYPE", "must be text");
	(void)ctx_fault(&cx, "?limit", "OUT_OF_RANGE", "1 to %d", 100);
	map = written(&mp, &cx, ERR_INVALID, "/x", false);
	assert_true(mp_find(map, "details", &list));
	m = mp_open(list);
	assert_true(mp_get_array(&m, &n));
	assert_int_equal(n, 2);
	want_text((struct str){m.p, (size_t)(m.end - m.p)}, "pointer",
	          "/focus/3");
}

static void a_spent_quota_says_how_much_of_what_and_until_when(void **state)
{
	struct ctx cx = {.rid = STR("r")};
	AUTO_BUF mp = {0};
	struct str map;

	(void)state;
	(void)ctx_fail(&cx, ERR_QUOTA, "spent");
	cx.problem.quota =
		(struct quota_problem){"daily", TIER_FREE, 100, 90, 3600};
	map = written(&mp, &cx, ERR_QUOTA, "/x", false);
	want_text(map, "period", "daily");
	want_text(map, "tier", "free");
	assert_int_equal(mp_find_i64(map, "usage", -1), 100);
	assert_int_equal(mp_find_i64(map, "limit", -1), 90);
	assert_int_equal(mp_find_i64(map, "reset_in_seconds", -1), 3600);
	map = written(&mp, &cx, ERR_BUSY, "/x", false);
	want_text(map, "period", "(absent)");
}

static void an_unexpected_error_tells_its_cause_in_development_only(void **s)
{
	struct ctx cx = {.rid = STR("r")};
	AUTO_BUF mp = {0};
	struct str map;

	(void)s;
	(void)ctx_fail(&cx, ERR_INTERNAL, "column xp is missing");
	map = written(&mp, &cx, ERR_INTERNAL, "/x", true);
	want_text(map, "title", "Unexpected Error");
	want_text(map, "error_type", "INTERNAL");
	want_text(map, "cause", "column xp is missing");
	map = written(&mp, &cx, ERR_INTERNAL, "/x", false);
	want_text(map, "title", "Internal Server Error");
	want_text(map, "detail", err_text(ERR_INTERNAL));
	want_text(map, "error_type", "(absent)");
	want_text(map, "cause", "(absent)");
}

static void hostile_paths_and_words_stay_json(void **state)
{
	static const char *const paths[] = {
		"/\"><script>", "/\\", "/\xff\xfe", "/\xe2\x80\xa8", "/a\"b",
	};
	struct ctx cx = {.rid = STR("r")};
	AUTO_BUF mp = {0};

	(void)state;
	(void)ctx_fail(&cx, ERR_INVALID, "a \"quote\" \\ and <b>");
	for (size_t i = 0; i < COUNTOF(paths); i++)
		(void)written(&mp, &cx, ERR_INVALID, paths[i], false);
}

static void what_may_pass_soon_says_when_to_come_again(void **state)
{
	struct problem pb = {.code = ERR_BUSY, .retry_after_s = 30};

	(void)state;
	assert_int_equal(problem_retry_after(ERR_BUSY, &pb), 30);
	assert_true(problem_retry_after(ERR_UNAVAILABLE, NULL) > 0);
	assert_true(problem_retry_after(ERR_RATE_LIMITED, NULL) > 0);
	assert_int_equal(problem_retry_after(ERR_INVALID, NULL), 0);
	assert_int_equal(problem_retry_after(ERR_PEER_LOST, NULL), 0);
}

static void every_type_has_its_page(void **state)
{
	(void)state;
	for (int i = 1; i < ERR_COUNT; i++) {
		AUTO_BUF json = {0};
		AUTO_BUF mp = {0};
		struct json_error at;

		assert_true(problem_explain(&json,
		                            str_from(err_code((enum err)i))));
		assert_true(json_to_mp(buf_view(&json), &mp, &at));
	}
	for (int i = 1; i < ERR_COUNT; i++) {
		enum err e = (enum err)i;
		AUTO_BUF html = {0};

		assert_true(problem_page(&html, str_from(err_code(e))));
		buf_char(&html, '\0');
		assert_non_null(strstr(html.p, "<!doctype html>"));
		assert_non_null(strstr(html.p, err_code(e)));
		assert_non_null(strstr(html.p, "</html>"));
		assert_null(strstr(html.p, "<script"));
		assert_null(strstr(html.p, "style="));
	}
	{
		AUTO_BUF json = {0};

		assert_false(problem_page(&json, STR("NOPE")));
		assert_false(problem_page(&json, STR("<b>")));
		assert_false(problem_explain(&json, STR("NOPE")));
		assert_false(problem_explain(&json, STR("")));
		assert_int_equal(json.n, 0);
	}
}

static void pages_escape_what_html_reads(void **state)
{
	AUTO_BUF html = {0};

	(void)state;
	page_text(&html, STR("<a href='x'>\"&amp;"));
	assert_true(str_eq(buf_view(&html),
	                   STR("&lt;a href=&#39;x&#39;&gt;&quot;&amp;amp;")));
}

static void without_memory_a_body_is_marked_as_failed(void **state)
{
	const struct ctx cx = {.rid = STR("r")};

	(void)state;
	for (unsigned n = 1;; n++) {
		AUTO_BUF json = {0};
		AUTO_BUF html = {0};
		bool failed;

		alloc_fault_arm(n);
		problem_write(&json, &cx, ERR_BUSY, STR("/x"), false);
		assert_true(problem_page(&html, STR("NOT_FOUND")));
		failed = alloc_fault_disarm();
		assert_int_equal(failed, json.failed || html.failed);
		if (!failed)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_error_has_the_one_shape),
		cmocka_unit_test(the_words_of_the_cause_go_out),
		cmocka_unit_test(faults_are_listed_with_their_pointers),
		cmocka_unit_test(
			a_spent_quota_says_how_much_of_what_and_until_when),
		cmocka_unit_test(
			an_unexpected_error_tells_its_cause_in_development_only),
		cmocka_unit_test(hostile_paths_and_words_stay_json),
		cmocka_unit_test(what_may_pass_soon_says_when_to_come_again),
		cmocka_unit_test(every_type_has_its_page),
		cmocka_unit_test(pages_escape_what_html_reads),
		cmocka_unit_test(without_memory_a_body_is_marked_as_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
