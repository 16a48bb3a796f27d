/* The gateway as clients and services see it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/route.h"
#include "tests/alloc_fault.h"
#include "tests/unit/gateway_shared.h"

/* --- what is forwarded ----------------------------------------------------------- */

static void want_text(struct str map, const char *key, const char *want)
{
	struct str got = mp_find_str(map, key, STR("(absent)"));

	if (!str_eq(got, str_from(want)))
		fail_msg("%s is %.*s, not %s", key, STR_FMT(got), want);
}

static struct str sub_map(struct str map, const char *key)
{
	struct str out = {0};

	assert_true(mp_find(map, key, &out));
	return out;
}

static void a_service_gets_who_asks_and_what(void **state)
{
	struct answer a =
		ask(st, "GET", "/api/progress?topic=a%20b&x=%C3%A9",
	            ALICE
	            "X-Request-ID: my-id.1\r\nAccept-Language: de, en;q=.5\r\n"
	            "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-"
	            "00f067aa0ba902b7-01\r\nIdempotency-Key: k-1\r\n",
	            NULL);
	AUTO_BUF mp = {0};
	struct str map;

	(void)state;
	assert_int_equal(a.status, 200);
	map = body_of(&a, &mp);
	want_text(map, "op", "content.progress");
	want_text(map, "rid", "my-id.1");
	want_text(map, "tp",
	          "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
	want_text(map, "sub", people[0].sub);
	want_text(map, "hnd", "alice");
	want_text(map, "role", "user");
	want_text(map, "lang", "de");
	want_text(map, "idk", "k-1");
	want_text(sub_map(map, "q"), "topic", "a b");
	want_text(sub_map(map, "q"), "x", "\xc3\xa9");
	assert_true(str_eq(header_of(&a, "X-Request-ID"), STR("my-id.1")));
	assert_true(str_eq(header_of(&a, "Cache-Control"), STR("no-store")));
	answer_fini(&a);
}

static void bodies_and_path_parameters_arrive_byte_for_byte(void **state)
{
	static const char *const topics[] = {
		"Rust ownership",
		"C++",
		"\xe6\xa9\x9f\xe6\xa2\xb0\xe5\xad\xa6\xe7\xbf\x92",
		"\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d",
		"e\xcc\x81",
		"\xf0\x9f\x98\x80",
		"\xe2\x80\xaetxet",
	};
	AUTO_BUF mp = {0};
	struct answer a;

	(void)state;
	for (size_t i = 0; i < COUNTOF(topics); i++) {
		AUTO_BUF json = {0};

		buf_str(&json, STR("{\"language\":\"fr\",\"topic\":"));
		json_add_str(&json, str_from(topics[i]));
		buf_str(&json, STR("}"));
		buf_char(&json, '\0');
		a = ask(st, "POST", "/api/create_subtopics", ALICE JSON,
		        json.p);
		assert_int_equal(a.status, 200);
		want_text(sub_map(body_of(&a, &mp), "b"), "topic", topics[i]);
		answer_fini(&a);
	}
	a = ask(st, "DELETE", "/api/auth/keys/a%2Fb+c", ALICE, NULL);
	assert_int_equal(a.status, 200);
	want_text(sub_map(body_of(&a, &mp), "p"), "key_id", "a/b+c");
	answer_fini(&a);
}

static void guests_carry_no_identity_even_with_a_stale_token(void **state)
{
	struct answer a = ask(st, "POST", "/api/auth/login",
	                      JSON "Authorization: Bearer stale.old.token\r\n",
	                      "{\"api_key\":\"k\"}");
	AUTO_BUF mp = {0};
	struct str map;

	(void)state;
	assert_int_equal(a.status, 200);
	map = body_of(&a, &mp);
	want_text(map, "role", "guest");
	want_text(map, "sub", "(absent)");
	answer_fini(&a);
}

static void replies_keep_status_headers_and_size(void **state)
{
	struct answer a =
		ask(st, "GET", "/api/progress?mode=made", ALICE, NULL);

	(void)state;
	assert_int_equal(a.status, 201);
	assert_true(str_eq(header_of(&a, "Location"), STR("/made/1")));
	answer_fini(&a);
	a = ask(st, "GET", "/api/progress?mode=empty", ALICE, NULL);
	assert_int_equal(a.status, 204);
	assert_int_equal(a.body.n, 0);
	answer_fini(&a);
	a = ask(st, "GET", "/api/progress?mode=big", ALICE, NULL);
	assert_int_equal(a.status, 200);
	assert_int_equal(a.body.n, 200000 + strlen("{\"text\":\"\"}"));
	answer_fini(&a);
}

static void failures_of_a_service_become_problems(void **state)
{
	struct answer a;
	AUTO_BUF mp = {0};
	struct str details;

	(void)state;
	a = ask(st, "GET", "/api/progress?mode=busy", ALICE, NULL);
	is_problem(&a, 503, "SERVICE_UNAVAILABLE");
	assert_true(str_eq(header_of(&a, "Retry-After"), STR("7")));
	answer_fini(&a);
	a = ask(st, "GET", "/api/progress?mode=faults", ALICE, NULL);
	is_problem(&a, 400, "VALIDATION_ERROR");
	assert_true(mp_find(body_of(&a, &mp), "details", &details));
	assert_non_null(memmem(a.body.p, a.body.n, "/topic", 6));
	answer_fini(&a);
	problem(st, "GET", "/api/progress?mode=broken", ALICE, NULL, 500,
	        "INTERNAL_SERVER_ERROR");
	a = ask(st, "GET", "/api/progress?mode=store", ALICE, NULL);
	is_problem(&a, 500, "INTERNAL_SERVER_ERROR");
	answer_fini(&a);
	problem(st, "GET", "/api/progress?mode=garbage", ALICE, NULL, 502,
	        "BAD_GATEWAY");
}

/* --- the table --------------------------------------------------------------------- */

static const char *concrete(const char *pattern, char *out, size_t max)
{
	size_t n = 0;

	for (; *pattern && n + 2 < max; pattern++) {
		if (*pattern == '{') {
			out[n++] = 'x';
			pattern = strchr(pattern, '}');
		} else {
			out[n++] = *pattern;
		}
	}
	out[n] = '\0';
	return out;
}

static void check_route(const struct route *r, const char *credentials,
                        unsigned want)
{
	bool takes = r->body_max > 0;
	AUTO_BUF headers = {0};
	char path[120];
	struct answer a;

	buf_printf(&headers, "%s%s", credentials, takes ? JSON : "");
	buf_char(&headers, '\0');
	a = ask(st, verb_name(r->verb), concrete(r->path, path, sizeof(path)),
	        headers.p, takes ? "{}" : NULL);
	if (a.status != want)
		fail_msg("%s %s: %u, not %u", verb_name(r->verb), path,
		         a.status, want);
	if (want >= 400) {
		is_problem(&a, want,
		           want == 401   ? "AUTH_REQUIRED"
		           : want == 403 ? "ADMIN_REQUIRED"
		           : want == 404 ? "NOT_FOUND"
		                         : "NOT_IMPLEMENTED");
	}
	answer_fini(&a);
}

static void every_route_asks_for_what_its_row_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < routes_n; i++) {
		const struct route *r = &routes[i];
		unsigned open = r->built ? 200 : 501;

		/* There is no code, breaker, request or file "x". */
		if (strcmp(r->call, "problem") == 0 ||
		    strcmp(r->call, "static") == 0 ||
		    strcmp(r->call, "explain") == 0 ||
		    strncmp(r->call, "breaker_", 8) == 0)
			open = 404;
		if (strcmp(r->call, "metrics_performance") == 0)
			open = 204; /* taken and forgotten */
		if (r->access == ACCESS_INTERNAL)
			open = 404;
		if (r->access == ACCESS_ANYONE ||
		    r->access == ACCESS_INTERNAL) {
			check_route(r, "", open);
			continue;
		}
		check_route(r, "", 401);
		check_route(r, ALICE, r->access == ACCESS_ADMIN ? 403 : open);
		if (r->access == ACCESS_ADMIN)
			check_route(r, ADMIN, open);
	}
}

static void unknown_paths_and_methods_are_told_apart(void **state)
{
	struct answer a;

	(void)state;
	problem(st, "GET", "/api/nope", NULL, NULL, 404, "NOT_FOUND");
	problem(st, "POST", "/nope", JSON, "{}", 404, "NOT_FOUND");
	problem(st, "GET", "/metrics", ALICE, NULL, 404, "NOT_FOUND");
	a = ask(st, "POST", "/health", JSON, "{}");
	is_problem(&a, 405, "METHOD_NOT_ALLOWED");
	assert_true(str_eq(header_of(&a, "Allow"), STR("GET, HEAD, OPTIONS")));
	answer_fini(&a);
	a = ask(st, "BREW", "/api/auth/login", NULL, NULL);
	is_problem(&a, 405, "METHOD_NOT_ALLOWED");
	assert_true(str_eq(header_of(&a, "Allow"), STR("POST, OPTIONS")));
	answer_fini(&a);
	a = ask(st, "OPTIONS", "/api/auth/login", NULL, NULL);
	assert_int_equal(a.status, 204);
	assert_true(str_eq(header_of(&a, "Allow"), STR("POST, OPTIONS")));
	answer_fini(&a);
	problem(st, "OPTIONS", "/nope", NULL, NULL, 404, "NOT_FOUND");
}

static void head_gives_the_headers_of_get(void **state)
{
	static const char *const paths[] = {"/health", "/", "/nope",
	                                    "/api/progress"};

	(void)state;
	for (size_t i = 0; i < COUNTOF(paths); i++) {
		struct answer g = ask(st, "GET", paths[i], NULL, NULL);
		struct answer h = ask(st, "HEAD", paths[i], NULL, NULL);

		assert_int_equal(g.status, h.status);
		assert_int_equal(h.body.n, 0);
		assert_true(str_eq(header_of(&g, "Content-Type"),
		                   header_of(&h, "Content-Type")));
		answer_fini(&g);
		answer_fini(&h);
	}
}

/* --- health ----------------------------------------------------------------- */

/* Asks /api/health until it says so. */
static void until_health_is(const struct stack *s, const char *want)
{
	const uint64_t until = mono_ms() + 20000;
	AUTO_BUF mp = {0};

	for (bool is = false; !is;) {
		struct answer a = ask(s, "GET", "/api/health", NULL, NULL);

		is = str_eq(mp_find_str(body_of(&a, &mp), "status", STR("")),
		            str_from(want));
		if (!is && mono_ms() > until)
			fail_msg("not %s: %.*s", want, STR_FMT(a.body));
		answer_fini(&a);
	}
}

static bool says(const struct answer *a, const char *words)
{
	return memmem(a->body.p, a->body.n, words, strlen(words)) != NULL;
}

static void a_service_may_name_another_type_than_json(void **state)
{
	struct answer a =
		ask(st, "GET", "/api/progress?mode=file", ALICE, NULL);

	(void)state;
	assert_int_equal(a.status, 200);
	assert_true(str_eq(header_of(&a, "Content-Type"),
	                   STR("text/csv; charset=utf-8")));
	assert_true(str_eq(header_of(&a, "X-Content-Type-Options"),
	                   STR("nosniff")));
	assert_true(str_eq(a.body, STR("a,\"b\"\r\n")));
	answer_fini(&a);
	/* The next answer of the connection's request object is JSON again. */
	a = ask(st, "GET", "/api/progress", ALICE, NULL);
	assert_true(
		str_eq(header_of(&a, "Content-Type"), STR("application/json")));
	answer_fini(&a);
}

static void a_spent_quota_is_told_with_when_it_is_there_again(void **state)
{
	struct answer a =
		ask(st, "GET", "/api/progress?mode=quota", ALICE, NULL);
	AUTO_BUF mp = {0};
	struct str map;

	(void)state;
	is_problem(&a, 429, "QUOTA_EXCEEDED");
	assert_true(str_eq(header_of(&a, "Retry-After"), STR("3600")));
	map = body_of(&a, &mp);
	want_text(map, "period", "daily");
	want_text(map, "tier", "free");
	assert_int_equal(mp_find_i64(map, "usage", -1), 100);
	assert_int_equal(mp_find_i64(map, "limit", -1), 100);
	assert_int_equal(mp_find_i64(map, "reset_in_seconds", -1), 3600);
	assert_int_equal(mp_find_i64(map, "retry_after", -1), 3600);
	answer_fini(&a);
}

static void a_database_that_is_away_shows_after_the_next_error(void **state)
{
	struct stack *s = stack_start(NULL, 0);
	struct fake *f = &s->fakes[PEER_CONTENT];
	AUTO_BUF mp = {0};
	struct str checks;
	struct answer a;

	(void)state;
	until_health_is(s, "healthy");
	f->database = "down";
	problem(s, "GET", "/api/progress?mode=broken", ALICE, NULL, 500,
	        "INTERNAL_SERVER_ERROR");
	until_health_is(s, "unhealthy");
	a = ask(s, "GET", "/api/health", NULL, NULL);
	assert_int_equal(a.status, 503);
	checks = sub_map(body_of(&a, &mp), "checks");
	want_text(sub_map(checks, "database"), "status", "down");
	want_text(sub_map(checks, "database"), "message",
	          "cannot be reached by content");
	want_text(sub_map(checks, "content"), "status", "degraded");
	want_text(sub_map(checks, "auth"), "status", "up");
	want_text(sub_map(body_of(&a, &mp), "metrics"), "status", "unhealthy");
	assert_false(says(&a, "secret-host"));
	answer_fini(&a);
	a = ask(s, "GET", "/ready", NULL, NULL);
	assert_int_equal(a.status, 503);
	assert_false(mp_find_bool(body_of(&a, &mp), "ready", true));
	assert_false(says(&a, "secret-host"));
	answer_fini(&a);
	/* Nothing fails any more, and that is seen too. */
	f->database = "up";
	until_health_is(s, "healthy");
	stack_stop(s);
}

static void an_error_of_the_client_asks_nobody(void **state)
{
	struct stack *s = stack_start(NULL, 0);
	struct fake *f = &s->fakes[PEER_CONTENT];
	unsigned asked;

	(void)state;
	until_health_is(s, "healthy");
	asked = f->asked;
	for (int i = 0; i < 20; i++) {
		struct answer a;

		problem(s, "GET", "/api/progress?mode=faults", ALICE, NULL, 400,
		        "VALIDATION_ERROR");
		a = ask(s, "GET", "/api/health", NULL, NULL);
		assert_int_equal(a.status, 200);
		answer_fini(&a);
		a = ask(s, "GET", "/ready", NULL, NULL);
		assert_int_equal(a.status, 200);
		answer_fini(&a);
	}
	assert_int_equal(f->asked, asked);
	stack_stop(s);
}

static void a_service_that_tells_no_health_is_a_warning(void **state)
{
	struct stack *s = stack_start(NULL, 0);
	AUTO_BUF mp = {0};
	struct answer a;

	(void)state;
	until_health_is(s, "healthy");
	s->fakes[PEER_GDPR].database = NULL;
	problem(s, "GET", "/api/gamification/stats?mode=broken", ALICE, NULL,
	        500, "INTERNAL_SERVER_ERROR");
	until_health_is(s, "healthy_with_warnings");
	a = ask(s, "GET", "/api/health", NULL, NULL);
	assert_int_equal(a.status, 200);
	want_text(sub_map(sub_map(body_of(&a, &mp), "checks"), "gdpr"),
	          "status", "unknown");
	answer_fini(&a);
	stack_stop(s);
}

static void its_own_routes_answer_in_the_known_shapes(void **state)
{
	struct answer a;
	AUTO_BUF mp = {0};
	struct str map;

	(void)state;
	a = ask(st, "GET", "/", NULL, NULL);
	map = body_of(&a, &mp);
	want_text(map, "name", "KnowAllEdge");
	want_text(map, "version", KAE_VERSION);
	want_text(sub_map(map, "links"), "health", "/health");
	answer_fini(&a);
	a = ask(st, "GET", "/health", NULL, NULL);
	map = body_of(&a, &mp);
	want_text(map, "status", "alive");
	assert_true(mp_find_str(map, "timestamp", STR("")).n == 24);
	answer_fini(&a);
	a = ask(st, "GET", "/ready", NULL, NULL);
	assert_int_equal(a.status, 200);
	map = body_of(&a, &mp);
	assert_true(mp_find_bool(map, "ready", false));
	assert_int_equal(mp_find_i64(sub_map(sub_map(map, "checks"), "content"),
	                             "replicas", 0),
	                 1);
	want_text(sub_map(sub_map(map, "checks"), "redis"), "status",
	          "not_configured");
	answer_fini(&a);
	until_health_is(st, "healthy");
	a = ask(st, "GET", "/api/health", NULL, NULL);
	assert_int_equal(a.status, 200);
	map = body_of(&a, &mp);
	want_text(sub_map(map, "metrics"), "status", "healthy");
	want_text(sub_map(sub_map(map, "checks"), "database"), "status", "up");
	want_text(sub_map(map, "version"), "app_version", KAE_VERSION);
	assert_true(sub_map(map, "uptime").n > 0);
	assert_true(mp_find_i64(sub_map(map, "metrics"), "concurrent_users",
	                        0) > 0);
	answer_fini(&a);
	a = ask(st, "GET", "/problems/NOT_FOUND", NULL, NULL);
	assert_int_equal(a.status, 200);
	assert_non_null(
		memmem(header_of(&a, "Cache-Control").p, 6, "public", 6));
	answer_fini(&a);
	a = ask(st, "GET", "/.well-known/jwks.json", NULL, NULL);
	assert_int_equal(a.status, 200);
	assert_non_null(
		memmem(header_of(&a, "Cache-Control").p, 6, "public", 6));
	answer_fini(&a);
}

static void every_answer_carries_the_security_headers(void **state)
{
	static const char *const names[] = {
		"X-Request-ID",
		"X-Content-Type-Options",
		"X-Frame-Options",
		"Referrer-Policy",
		"Permissions-Policy",
		"Content-Security-Policy",
		"Vary",
		"Cache-Control",
	};
	static const char *const asked[][2] = {
		{"GET", "/"},
		{"GET", "/nope"},
		{"OPTIONS", "/health"},
		{"POST", "/health"},
		{"GET", "/api/progress"},
		{"GET", "/%00"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(asked); i++) {
		struct answer a = ask(st, asked[i][0], asked[i][1], NULL, NULL);

		for (size_t n = 0; n < COUNTOF(names); n++)
			if (header_of(&a, names[n]).n == 0)
				fail_msg("%s %s: no %s", asked[i][0],
				         asked[i][1], names[n]);
		assert_int_equal(header_of(&a, "Strict-Transport-Security").n,
		                 0);
		answer_fini(&a);
	}
}

/* --- bad input ------------------------------------------------------------------------ */

static void a_body_that_is_no_json_object_is_refused_with_its_place(
	void **state)
{
	static const struct {
		const char *body, *code, *words;
	} cases[] = {
		{"oops", "INVALID_FORMAT", "byte 0"},
		{"{\"topic\":", "INVALID_FORMAT", "byte 9"},
		{"{\"a\":1,\"a\":2}", "INVALID_FORMAT", "byte"},
		{"{\"a\":\"\\ud800\"}", "INVALID_FORMAT", "byte"},
		{"{\"a\":\"\\u0000\"}", "INVALID_FORMAT", "byte"},
		{"{\"a\":\"\xff\"}", "INVALID_FORMAT", "byte"},
		{"{\"a\":18446744073709551616}", "INVALID_FORMAT", "byte"},
		{"{\"a\":NaN}", "INVALID_FORMAT", "byte"},
		{"{} {}", "INVALID_FORMAT", "byte"},
		{"[1,2]", "VALIDATION_ERROR", "object"},
		{"\"text\"", "VALIDATION_ERROR", "object"},
		{"null", "VALIDATION_ERROR", "object"},
		{"3", "VALIDATION_ERROR", "object"},
	};
	AUTO_BUF deep = {0};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct answer a = ask(st, "POST", "/api/create_subtopics",
		                      ALICE JSON, cases[i].body);

		is_problem(&a, 400, cases[i].code);
		if (!memmem(a.body.p, a.body.n, cases[i].words,
		            strlen(cases[i].words)))
			fail_msg("%s: %.*s", cases[i].body, STR_FMT(a.body));
		answer_fini(&a);
	}
	for (int i = 0; i < JSON_DEPTH_MAX + 1; i++)
		buf_str(&deep, STR("{\"a\":"));
	buf_char(&deep, '\0');
	problem(st, "POST", "/api/create_subtopics", ALICE JSON, deep.p, 400,
	        "INVALID_FORMAT");
}

static void only_json_is_taken(void **state)
{
	(void)state;
	problem(st, "POST", "/api/create_subtopics",
	        ALICE "Content-Type: text/plain\r\n", "{}", 415,
	        "UNSUPPORTED_MEDIA_TYPE");
	problem(st, "POST", "/api/create_subtopics", ALICE, "{}", 415,
	        "UNSUPPORTED_MEDIA_TYPE");
	problem(st, "POST", "/api/create_subtopics",
	        ALICE "Content-Type: application/json; charset=utf-16\r\n",
	        "{}", 415, "UNSUPPORTED_MEDIA_TYPE");
}

static void a_body_that_nobody_wants_is_dropped(void **state)
{
	struct answer a =
		ask(st, "GET", "/health", "Content-Type: x/y\r\n", "whatever");

	(void)state;
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	a = ask(st, "POST", "/api/auth/logout", ALICE, NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
}

static void malformed_queries_and_keys_are_refused(void **state)
{
	char key[320];

	(void)state;
	problem(st, "GET", "/api/progress?topic=%zz", ALICE, NULL, 400,
	        "VALIDATION_ERROR");
	problem(st, "GET", "/api/progress?a=1&a=2", ALICE, NULL, 400,
	        "VALIDATION_ERROR");
	problem(st, "GET", "/api/progress?a=%ff", ALICE, NULL, 400,
	        "VALIDATION_ERROR");
	problem(st, "DELETE", "/api/auth/keys/%zz", ALICE, NULL, 400,
	        "VALIDATION_ERROR");
	problem(st, "GET", "/api/progress", ALICE "Idempotency-Key: a b\r\n",
	        NULL, 400, "INVALID_INPUT");
	(void)snprintf(key, sizeof(key), ALICE "Idempotency-Key: %0256d\r\n",
	               1);
	problem(st, "GET", "/api/progress", key, NULL, 400, "INVALID_INPUT");
}

/* --- identity ------------------------------------------------------------------------- */

static void credentials_count_as_the_contract_says(void **state)
{
	static const struct {
		const char *headers;
		unsigned status;
		const char *code;
	} cases[] = {
		{"Authorization: Bearer null\r\n", 401, "AUTH_REQUIRED"},
		{"Authorization: Bearer undefined\r\n", 401, "AUTH_REQUIRED"},
		{"Authorization: Bearer null\r\n" ALICE, 200, NULL},
		{"X-API-Key: sk_wrong\r\n", 401, "INVALID_API_KEY"},
		{"Authorization: Bearer a.b.c\r\n", 401, "INVALID_TOKEN"},
		{"Authorization: Bearer a.b.c\r\n" ALICE, 401, "INVALID_TOKEN"},
		{ALICE "X-User-ID: alice\r\n", 200, NULL},
		{ALICE "X-User-ID: ALICE\r\n", 200, NULL},
		{ALICE "X-User-ID: bob\r\n", 403, "INSUFFICIENT_PERMISSIONS"},
		{ADMIN "X-User-ID: bob\r\n", 403, "INSUFFICIENT_PERMISSIONS"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct answer a =
			ask(st, "GET", "/api/progress", cases[i].headers, NULL);

		if (cases[i].code)
			is_problem(&a, cases[i].status, cases[i].code);
		else
			assert_int_equal(a.status, cases[i].status);
		if (cases[i].status == 401)
			assert_true(header_of(&a, "WWW-Authenticate").n > 0);
		answer_fini(&a);
	}
}

static void another_persons_user_id_is_refused(void **state)
{
	static const struct {
		const char *target;
		unsigned status;
	} cases[] = {
		{"/api/gamification/stats?user_id=alice", 200},
		{"/api/gamification/stats?user_id=Alice", 200},
		{"/api/gamification/stats?user_id=%61lice", 200},
		{"/api/gamification/stats?user_id=", 200},
		{"/api/gamification/stats?user_id=bob", 403},
		{"/api/gamification/stats?a=1&user_id=bob", 403},
		{"/api/gamification/stats?user_id=alice%20", 403},
		{"/api/gamification/stats?user_id=%zz", 403},
	};

	struct answer a;

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		a = ask(st, "GET", cases[i].target, ALICE, NULL);
		if (a.status != cases[i].status)
			fail_msg("%s: %u", cases[i].target, a.status);
		answer_fini(&a);
	}
	/* An administrator's query names somebody else on purpose. */
	a = ask(st, "GET", "/api/analytics/user-journey?user_id=bob", ADMIN,
	        NULL);
	assert_int_equal(a.status, 200);
	answer_fini(&a);
}

static void a_scope_that_is_missing_is_refused(void **state)
{
	struct answer a = ask(st, "GET", "/api/progress",
	                      "X-API-Key: sk_reader\r\n", NULL);

	(void)state;
	assert_int_equal(a.status, 200);
	answer_fini(&a);
	problem(st, "POST", "/api/quiz/submit", "X-API-Key: sk_reader\r\n" JSON,
	        "{}", 403, "INSUFFICIENT_PERMISSIONS");
	problem(st, "POST", "/api/create_subtopics",
	        "X-API-Key: sk_reader\r\n" JSON, "{}", 403,
	        "INSUFFICIENT_PERMISSIONS");
}

/* --- origins ---------------------------------------------------------------------------- */

static void origins_on_the_list_may_read_errors_too(void **state)
{
	static const struct {
		const char *method, *target, *headers, *body;
		unsigned status;
	} cases[] = {
		{"GET", "/health", "", NULL, 200},
		{"GET", "/nope", "", NULL, 404},
		{"GET", "/api/progress", "", NULL, 401},
		{"POST", "/api/create_subtopics", ALICE JSON, "{", 400},
		{"GET", "/api/progress?mode=busy", ALICE, NULL, 503},
		{"GET", "/a%00", "", NULL, 400},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF h = {0};
		struct answer a;

		buf_printf(&h, "%sOrigin: http://localhost:3000\r\n",
		           cases[i].headers);
		buf_char(&h, '\0');
		a = ask(st, cases[i].method, cases[i].target, h.p,
		        cases[i].body);
		assert_int_equal(a.status, cases[i].status);
		assert_true(str_eq(header_of(&a, "Access-Control-Allow-Origin"),
		                   STR("http://localhost:3000")));
		assert_true(str_eq(
			header_of(&a, "Access-Control-Allow-Credentials"),
			STR("true")));
		assert_true(header_of(&a, "Access-Control-Expose-Headers").n >
		            0);
		answer_fini(&a);
	}
}

static void other_origins_get_no_cors_header(void **state)
{
	static const char *const origins[] = {
		"null",
		"http://localhost:3001",
		"https://localhost:3000",
		"http://localhost:3000.evil.test",
		"http://evil.test",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(origins); i++) {
		AUTO_BUF h = {0};
		struct answer a;

		buf_printf(&h, "Origin: %s\r\n", origins[i]);
		buf_char(&h, '\0');
		a = ask(st, "GET", "/health", h.p, NULL);
		assert_int_equal(a.status, 200);
		assert_null(memmem(a.head.p, a.head.n, "Access-Control", 14));
		assert_true(str_eq(header_of(&a, "Vary"), STR("Origin")));
		answer_fini(&a);
	}
}

static void a_preflight_is_answered_from_the_table(void **state)
{
	struct answer a = ask(st, "OPTIONS", "/api/auth/keys/x",
	                      "Origin: http://localhost:5173\r\n"
	                      "Access-Control-Request-Method: DELETE\r\n"
	                      "Access-Control-Request-Headers: x-user-id\r\n",
	                      NULL);

	(void)state;
	assert_int_equal(a.status, 204);
	assert_true(str_eq(header_of(&a, "Access-Control-Allow-Methods"),
	                   STR("GET, POST, PUT, PATCH, DELETE, OPTIONS")));
	assert_non_null(memmem(a.head.p, a.head.n, "Idempotency-Key", 15));
	assert_true(
		str_eq(header_of(&a, "Access-Control-Max-Age"), STR("3600")));
	answer_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_service_gets_who_asks_and_what),
		cmocka_unit_test(a_service_may_name_another_type_than_json),
		cmocka_unit_test(
			a_spent_quota_is_told_with_when_it_is_there_again),
		cmocka_unit_test(
			bodies_and_path_parameters_arrive_byte_for_byte),
		cmocka_unit_test(
			guests_carry_no_identity_even_with_a_stale_token),
		cmocka_unit_test(replies_keep_status_headers_and_size),
		cmocka_unit_test(failures_of_a_service_become_problems),
		cmocka_unit_test(every_route_asks_for_what_its_row_says),
		cmocka_unit_test(unknown_paths_and_methods_are_told_apart),
		cmocka_unit_test(head_gives_the_headers_of_get),
		cmocka_unit_test(its_own_routes_answer_in_the_known_shapes),
		cmocka_unit_test(
			a_database_that_is_away_shows_after_the_next_error),
		cmocka_unit_test(an_error_of_the_client_asks_nobody),
		cmocka_unit_test(a_service_that_tells_no_health_is_a_warning),
		cmocka_unit_test(every_answer_carries_the_security_headers),
		cmocka_unit_test(
			a_body_that_is_no_json_object_is_refused_with_its_place),
		cmocka_unit_test(only_json_is_taken),
		cmocka_unit_test(a_body_that_nobody_wants_is_dropped),
		cmocka_unit_test(malformed_queries_and_keys_are_refused),
		cmocka_unit_test(credentials_count_as_the_contract_says),
		cmocka_unit_test(another_persons_user_id_is_refused),
		cmocka_unit_test(a_scope_that_is_missing_is_refused),
		cmocka_unit_test(origins_on_the_list_may_read_errors_too),
		cmocka_unit_test(other_origins_get_no_cors_header),
		cmocka_unit_test(a_preflight_is_answered_from_the_table),
	};

	return cmocka_run_group_tests(tests, start_shared, stop_shared);
}
