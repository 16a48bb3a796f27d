/*
 * Every failure that the gateway can produce, over every row of the route
 * table: status, the whole body, and the headers that a browser needs to show
 * it to a page of another origin.
 */
#include <microhttpd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/route.h"
#include "tests/alloc_fault.h"
#include "tests/unit/gateway_shared.h"

#define ORIGIN "http://localhost:5173"
#define FROM   "Origin: " ORIGIN "\r\n"
#define READER "X-API-Key: sk_reader\r\n"

/* --- the shape ------------------------------------------------------------------ */

/* The members of a problem; what is not here may not stand in one. */
static const struct {
	const char *name;
	enum mp_type type;
	bool always;
} members[] = {
	{"type", MP_STR, true},         {"title", MP_STR, true},
	{"status", MP_INT, true},       {"detail", MP_STR, true},
	{"instance", MP_STR, true},     {"error", MP_STR, true},
	{"message", MP_STR, true},      {"error_code", MP_STR, true},
	{"request_id", MP_STR, true},   {"details", MP_ARRAY, false},
	{"retry_after", MP_INT, false}, {"error_type", MP_STR, false},
	{"cause", MP_STR, false},
};

static size_t member_at(struct str name)
{
	size_t i = 0;

	while (i < COUNTOF(members) && !str_eq(str_from(members[i].name), name))
		i++;
	return i;
}

/* NULL, or what is wrong with the members. */
static const char *members_fault(struct str map)
{
	struct mp m = mp_open(map);
	uint32_t n, seen = 0;

	if (!mp_get_map(&m, &n))
		return "no object";
	while (n--) {
		struct str name;
		size_t i;

		if (!mp_get_str(&m, &name))
			return "no name";
		i = member_at(name);
		if (i == COUNTOF(members))
			return "a member that is not documented";
		if (mp_peek(&m) != members[i].type)
			return members[i].name;
		seen |= 1U << i;
		if (!mp_skip(&m, NULL))
			return "cut off";
	}
	for (size_t i = 0; i < COUNTOF(members); i++)
		if (members[i].always && !(seen & 1U << i))
			return members[i].name;
	return NULL;
}

static const char *details_fault(struct str map)
{
	struct str list;
	struct mp m;
	uint32_t n;

	if (!mp_find(map, "details", &list))
		return NULL;
	m = mp_open(list);
	if (!mp_get_array(&m, &n) || n == 0)
		return "details without one";
	while (n--) {
		struct str each;

		if (!mp_skip(&m, &each) ||
		    !mp_find_str(each, "pointer", (struct str){0}).p ||
		    !mp_find_str(each, "code", (struct str){0}).n ||
		    !mp_find_str(each, "message", (struct str){0}).n)
			return "a detail without pointer, code or message";
	}
	return NULL;
}

/* What header and body say twice they say alike. */
static const char *agreement_fault(const struct answer *a, struct str map)
{
	int64_t wait = 0;
	char type[80];

	(void)snprintf(type, sizeof(type), "/problems/%.*s",
	               STR_FMT(mp_find_str(map, "error_code", STR(""))));
	(void)str_to_i64(header_of(a, "Retry-After"), &wait);
	if (!str_eq(mp_find_str(map, "type", STR("")), str_from(type)))
		return "type";
	if (mp_find_i64(map, "retry_after", 0) != wait)
		return "retry_after";
	if ((a->status == 429 || a->status == 503) && wait < 1)
		return "no Retry-After";
	if ((a->status == 401) != (header_of(a, "WWW-Authenticate").n > 0))
		return "WWW-Authenticate";
	if ((a->status == 405) != (header_of(a, "Allow").n > 0))
		return "Allow";
	if (!str_eq(header_of(a, "Cache-Control"), STR("no-store")))
		return "Cache-Control";
	return NULL;
}

static const char *cors_fault(const struct answer *a)
{
	if (!str_eq(header_of(a, "Access-Control-Allow-Origin"), STR(ORIGIN)))
		return "no Access-Control-Allow-Origin";
	if (!str_eq(header_of(a, "Access-Control-Allow-Credentials"),
	            STR("true")))
		return "no Access-Control-Allow-Credentials";
	if (!memmem(header_of(a, "Access-Control-Expose-Headers").p,
	            header_of(a, "Access-Control-Expose-Headers").n,
	            "Retry-After", 11))
		return "Access-Control-Expose-Headers";
	return str_starts(header_of(a, "Vary"), STR("Origin")) ? NULL : "Vary";
}

static void want_problem(const char *name, const struct answer *a,
                         unsigned status, const char *code)
{
	AUTO_BUF mp = {0};
	const char *fault = NULL;

	if (a->status != status)
		fail_msg("%s: %u, not %u: %.*s", name, a->status, status,
		         STR_FMT(a->body));
	is_problem(a, status, code);
	fault = members_fault(body_of(a, &mp));
	if (!fault)
		fault = details_fault(buf_view(&mp));
	if (!fault)
		fault = agreement_fault(a, buf_view(&mp));
	if (!fault)
		fault = cors_fault(a);
	if (fault)
		fail_msg("%s: %s: %.*s%.*s", name, fault, STR_FMT(a->head),
		         STR_FMT(a->body));
}

/* --- every row ------------------------------------------------------------------- */

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

static const char *full(const struct route *r)
{
	return r->access == ACCESS_ADMIN  ? ADMIN
	       : r->access == ACCESS_USER ? ALICE
	                                  : "";
}

static bool any(const struct route *r)
{
	return r->access != ACCESS_INTERNAL;
}

static bool closed(const struct route *r)
{
	return r->access == ACCESS_USER || r->access == ACCESS_ADMIN;
}

static bool admin(const struct route *r)
{
	return r->access == ACCESS_ADMIN;
}

static bool user(const struct route *r)
{
	return r->access == ACCESS_USER;
}

static bool needs_more_than_read(const struct route *r)
{
	return user(r) && (r->scope & (SCOPE_WRITE | SCOPE_GENERATE));
}

static bool built(const struct route *r)
{
	return any(r) && r->built;
}

/* The front end's files are what they are. */
static bool has_forms(const struct route *r)
{
	return built(r) && strcmp(r->call, "static") != 0;
}

static bool later(const struct route *r)
{
	return any(r) && !r->built;
}

static bool served(const struct route *r)
{
	return built(r) && r->service != PEER_GATEWAY;
}

static bool takes_body(const struct route *r)
{
	return served(r) && r->body_max > 0;
}

static bool needs_body(const struct route *r)
{
	return built(r) && route_needs_body(r);
}

static bool no_body(const struct route *r)
{
	return any(r) && r->body_max == 0;
}

/*
 * A failure: for which rows, with which request, and what comes of it.  The
 * request is that of the row with these in the places of its own.
 */
static const struct failure {
	const char *name;
	bool (*of)(const struct route *r);
	unsigned status;
	const char *code;
	const char *query, *method; /* NULL: none; the row's */
	const char *credentials;    /* NULL: those the row asks for */
	const char *headers;
	const char *body; /* NULL: "{}" where the row takes one */
	bool unsaid;      /* no length is told */
	bool theirs;      /* of libmicrohttpd 1.0: gateway/raw.def */
} failures[] = {
	{"no login", closed, 401, "AUTH_REQUIRED", .credentials = ""},
	{"Bearer null", closed, 401, "AUTH_REQUIRED",
         .credentials = "Authorization: Bearer null\r\n"},
	{"a key of nobody", closed, 401, "INVALID_API_KEY",
         .credentials = "X-API-Key: sk_nobody\r\n"},
	{"a token that is none", closed, 401, "INVALID_TOKEN",
         .credentials = "Authorization: Bearer a.b.c\r\n"},
	{"another scheme", closed, 401, "AUTH_INVALID",
         .credentials = "Authorization: Basic eDp5\r\n"},
	{"one of two is bad", closed, 401, "INVALID_TOKEN",
         .credentials = ALICE "Authorization: Bearer a.b.c\r\n"},
	{"a user at the admin's", admin, 403, "ADMIN_REQUIRED",
         .credentials = ALICE},
	{"a scope that is missing", needs_more_than_read, 403,
         "INSUFFICIENT_PERMISSIONS", .credentials = READER},
	{"another's X-User-ID", user, 403, "INSUFFICIENT_PERMISSIONS",
         .headers = "X-User-ID: bob\r\n"},
	{"another's user_id", user, 403, "INSUFFICIENT_PERMISSIONS",
         .query = "?user_id=bob"},
	{"a method of nobody", any, 405, "METHOD_NOT_ALLOWED",
         .method = "BREW"},
	{"a form that there is not", has_forms, 406, "NOT_ACCEPTABLE",
         .headers = "Accept: image/png\r\n"},
	{"no body", needs_body, 411, "LENGTH_REQUIRED", .unsaid = true},
	{"a body too large", any, 413, "REQUEST_TOO_LARGE", .unsaid = true,
         .headers = "Content-Length: 99999999999\r\n"},
	{"plain text", takes_body, 415, "UNSUPPORTED_MEDIA_TYPE",
         .headers = "Content-Type: text/plain\r\n"},
	{"no type", takes_body, 415, "UNSUPPORTED_MEDIA_TYPE",
         .headers = "X-None: 1\r\n"},
	{"no JSON", takes_body, 400, "INVALID_FORMAT", .body = "{nope"},
	{"no object", takes_body, 400, "VALIDATION_ERROR", .body = "[]"},
	{"a query of two minds", served, 400, "VALIDATION_ERROR",
         .query = "?a=1&a=2"},
	{"a query that is cut off", served, 400, "VALIDATION_ERROR",
         .query = "?a=%4"},
	{"a key that is none", any, 400, "INVALID_INPUT",
         .headers = "Idempotency-Key: \x7f\r\n"},
	{"NUL in the address", any, 400, "INVALID_INPUT", .query = "?a=%00"},
	{"lengths that disagree", any, 400, "INVALID_INPUT", .unsaid = true,
         .theirs = true,
         .headers = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"},
	{"another coding", any, 400, "INVALID_INPUT", .unsaid = true,
         .theirs = true, .headers = "Transfer-Encoding: gzip\r\n"},
	{"a long address", any, 414, "URI_TOO_LONG", .query = "?long"},
	{"an expectation", any, 417, "EXPECTATION_FAILED",
         .headers = "Expect: wonders\r\n"},
	{"a long header", any, 431, "HEADERS_TOO_LARGE", .headers = "long"},
	{"not built", later, 501, "NOT_IMPLEMENTED", .query = ""},
	{"refused by the service", served, 400, "VALIDATION_ERROR",
         .query = "?mode=faults"},
	{"broken in the service", served, 500, "INTERNAL_SERVER_ERROR",
         .query = "?mode=broken"},
	{"a code of the stores", served, 500, "INTERNAL_SERVER_ERROR",
         .query = "?mode=store"},
	{"a reply that is none", served, 502, "BAD_GATEWAY",
         .query = "?mode=garbage"},
	{"a service that is full", served, 503, "SERVICE_UNAVAILABLE",
         .query = "?mode=busy"},
#define SAID(e, status, code)                                 \
	{                                                     \
		"the service says " #e, served, status, code, \
			.query = "?mode=" #e                  \
	}
	SAID(REAUTH, 401, "REAUTH_REQUIRED"),
	SAID(DENIED, 403, "INSUFFICIENT_PERMISSIONS"),
	SAID(NOT_FOUND, 404, "NOT_FOUND"),
	SAID(CONFLICT, 409, "CONFLICT"),
	SAID(EXISTS, 409, "ALREADY_EXISTS"),
	SAID(KEY_BUSY, 409, "CONFLICT"),
	SAID(OTHER_BODY, 422, "IDEMPOTENCY_KEY_REUSED"),
	SAID(RATE_LIMITED, 429, "RATE_LIMIT_EXCEEDED"),
	SAID(QUOTA, 429, "QUOTA_EXCEEDED"),
	SAID(DATABASE, 503, "DATABASE_ERROR"),
	SAID(NOMEM, 503, "SERVICE_UNAVAILABLE"),
	SAID(UNAVAILABLE, 503, "SERVICE_UNAVAILABLE"),
	SAID(TIMEOUT, 504, "GATEWAY_TIMEOUT"),
#undef SAID
};

static void fill(struct buf *b, size_t n)
{
	while (n--)
		buf_char(b, 'a');
}

static void add_target(struct buf *b, const struct route *r,
                       const struct failure *f)
{
	char path[120];

	buf_str(b, str_from(concrete(r->path, path, sizeof(path))));
	if (!f->query || strcmp(f->query, "?long") != 0) {
		buf_str(b, str_from(f->query));
		return;
	}
	buf_char(b, '?');
	fill(b, 4094);
}

static void add_headers(struct buf *b, const struct failure *f, bool body)
{
	if (f->headers && strcmp(f->headers, "long") == 0) {
		buf_str(b, STR("X-Long: "));
		fill(b, 8190);
		buf_str(b, STR("\r\n"));
	} else if (f->headers) {
		buf_str(b, str_from(f->headers));
	}
	if (body && f->status != 415)
		buf_str(b, STR(JSON));
}

static void write_request(struct buf *b, const struct route *r,
                          const struct failure *f, const char *method)
{
	const char *body = f->body ? f->body : r->body_max ? "{}" : NULL;

	buf_printf(b, "%s ", method);
	add_target(b, r, f);
	buf_printf(b, " HTTP/1.1\r\n" H FROM "%s",
	           f->credentials ? f->credentials : full(r));
	if (f->unsaid)
		body = NULL;
	add_headers(b, f, body != NULL);
	if (body)
		buf_printf(b, "Content-Length: %zu\r\n\r\n%s", strlen(body),
		           body);
	else
		buf_str(b, STR("\r\n"));
}

static bool is_theirs(const struct failure *f)
{
	return f->theirs && MHD_VERSION >= 0x01000000;
}

/* False: the row has no such failure. */
static bool try(const struct route *r, const struct failure *f, bool head)
{
	const char *method = head        ? "HEAD"
	                     : f->method ? f->method
	                                 : verb_name(r->verb);
	AUTO_BUF b = {0};
	struct client c;
	struct answer a;
	char name[200];

	if (!f->of(r) || is_theirs(f))
		return false;
	(void)snprintf(name, sizeof(name), "%s %s, %s", method, r->path,
	               f->name);
	write_request(&b, r, f, method);
	c = client_to(st);
	client_send(&c, buf_view(&b));
	a = client_answer(&c, head, 10000);
	client_close(&c);
	if (!head)
		want_problem(name, &a, f->status, f->code);
	else if (a.status != f->status || cors_fault(&a) ||
	         !str_eq(header_of(&a, "Content-Type"),
	                 STR("application/problem+json")))
		fail_msg("%s: %u: %.*s", name, a.status, STR_FMT(a.head));
	answer_fini(&a);
	return true;
}

static void every_row_fails_in_the_one_shape(void **state)
{
	(void)state;
	for (size_t k = 0; k < COUNTOF(failures); k++) {
		unsigned n = 0;

		for (size_t i = 0; i < routes_n; i++)
			n += try(&routes[i], &failures[k], false);
		if (n == 0 && !is_theirs(&failures[k]))
			fail_msg("no row for: %s", failures[k].name);
	}
}

static void head_fails_as_get_does(void **state)
{
	(void)state;
	for (size_t k = 0; k < COUNTOF(failures); k++)
		for (size_t i = 0; i < routes_n; i++)
			if (routes[i].verb == VERB_GET && !failures[k].method)
				(void)try(&routes[i], &failures[k], true);
}

/* --- every status ------------------------------------------------------------------ */

#define GET(target, headers) "GET " target " HTTP/1.1\r\n" H FROM headers "\r\n"
#define POST(target, headers, n, body)                                     \
	"POST " target " HTTP/1.1\r\n" H FROM headers "Content-Length: " n \
	"\r\n\r\n" body
#define A8   "aaaaaaaa"
#define A64  A8 A8 A8 A8 A8 A8 A8 A8
#define A512 A64 A64 A64 A64 A64 A64 A64 A64
#define A4K  A512 A512 A512 A512 A512 A512 A512 A512

/* Each status of the contract and the bytes that yield it.  The two that take
 * time come first, so that the others are asked meanwhile. */
static const struct {
	unsigned status;
	const char *code, *bytes;
} statuses[] = {
	{504, "GATEWAY_TIMEOUT", GET("/api/progress?mode=hold", ALICE)},
	{408, "REQUEST_TIMEOUT",
         "POST /api/auth/login HTTP/1.1\r\n" H FROM JSON
         "Content-Length: 9\r\n\r\n{"},
	{400, "INVALID_FORMAT", POST("/api/auth/login", JSON, "1", "{")},
	{401, "AUTH_REQUIRED", GET("/api/progress", "")},
	{403, "ADMIN_REQUIRED",
         POST("/api/auth/admin/generate-key", ALICE JSON, "2", "{}")},
	{404, "NOT_FOUND", GET("/nope", "")},
	{405, "METHOD_NOT_ALLOWED", POST("/health", "", "0", "")},
	{406, "NOT_ACCEPTABLE", GET("/health", "Accept: text/html\r\n")},
	{409, "CONFLICT", GET("/api/progress?mode=CONFLICT", ALICE)},
	{411, "LENGTH_REQUIRED",
         "POST /api/auth/login HTTP/1.1\r\n" H FROM JSON "\r\n"},
	{413, "REQUEST_TOO_LARGE", POST("/api/auth/login", JSON, "8193", "")},
	{414, "URI_TOO_LONG", GET("/" A4K, "")},
	{415, "UNSUPPORTED_MEDIA_TYPE",
         POST("/api/auth/login", "Content-Type: text/plain\r\n", "2", "{}")},
	{416, "RANGE_NOT_SATISFIABLE", GET("/api/progress?mode=RANGE", ALICE)},
	{417, "EXPECTATION_FAILED",
         POST("/api/auth/login", JSON "Expect: tea\r\n", "2", "{}")},
	{422, "IDEMPOTENCY_KEY_REUSED",
         GET("/api/progress?mode=OTHER_BODY", ALICE)},
	{429, "RATE_LIMIT_EXCEEDED",
         GET("/api/progress?mode=RATE_LIMITED", ALICE)},
	{431, "HEADERS_TOO_LARGE", GET("/health", "X: " A4K A4K "\r\n")},
	{500, "INTERNAL_SERVER_ERROR", GET("/api/progress?mode=broken", ALICE)},
	{501, "NOT_IMPLEMENTED", GET("/api/study-tools/notes", ALICE)},
	{502, "BAD_GATEWAY", GET("/api/progress?mode=garbage", ALICE)},
	{503, "SERVICE_UNAVAILABLE", GET("/api/progress?mode=busy", ALICE)},
};

static void every_status_has_its_request(void **state)
{
	static const struct stack_want want[] = {{"REQUEST_READ_S", "1"}};
	struct stack *s = stack_start(want, 1);
	struct client clients[COUNTOF(statuses)];

	(void)state;
	for (size_t i = 0; i < COUNTOF(statuses); i++) {
		clients[i] = client_to(s);
		client_text(&clients[i], statuses[i].bytes);
	}
	for (size_t i = COUNTOF(statuses); i-- > 0;) {
		struct answer a = client_answer(&clients[i], false, 20000);
		char name[32];

		(void)snprintf(name, sizeof(name), "%u", statuses[i].status);
		want_problem(name, &a, statuses[i].status, statuses[i].code);
		answer_fini(&a);
		client_close(&clients[i]);
	}
	stack_stop(s);
}

/* In production the words of an unexpected error stay inside. */
static void an_unexpected_error_keeps_its_words_in_production(void **state)
{
	static const struct stack_want want[] = {{"ENVIRONMENT", "production"}};
	struct stack *s = stack_start(want, 1);
	struct answer a =
		ask(s, "GET", "/api/progress?mode=broken", ALICE, NULL);

	(void)state;
	is_problem(&a, 500, "INTERNAL_SERVER_ERROR");
	assert_null(memmem(a.body.p, a.body.n, "secret", 6));
	assert_null(memmem(a.body.p, a.body.n, "error_type", 10));
	assert_non_null(
		memmem(a.body.p, a.body.n, "Internal Server Error", 21));
	answer_fini(&a);
	stack_stop(s);
	a = ask(st, "GET", "/api/progress?mode=broken", ALICE, NULL);
	assert_non_null(memmem(a.body.p, a.body.n, "\"cause\"", 7));
	assert_non_null(memmem(a.body.p, a.body.n, "Unexpected Error", 16));
	answer_fini(&a);
}

/* A row that takes no body drops one that is small, and the answer is that of
 * the row. */
static void a_row_without_a_body_needs_no_length(void **state)
{
	(void)state;
	for (size_t i = 0; i < routes_n; i++) {
		char path[120];
		struct answer a;

		if (!no_body(&routes[i]) || !built(&routes[i]))
			continue;
		a = ask(st, verb_name(routes[i].verb),
		        concrete(routes[i].path, path, sizeof(path)),
		        full(&routes[i]), NULL);
		assert_int_not_equal(a.status, 411);
		answer_fini(&a);
	}
}

static void the_catalogue_speaks_to_people_and_programs(void **state)
{
	static const struct {
		const char *accept, *type, *words;
	} cases[] = {
		{"", "application/json", "\"causes\":["},
		{"Accept: */*\r\n", "application/json", "\"causes\":["},
		{"Accept: text/html,application/xml;q=0.9,*/*;q=0.8\r\n",
	         "text/html; charset=utf-8", "<h1>Not Found</h1>"},
		{"Accept: text/html;q=0.1, application/json\r\n",
	         "application/json", "\"causes\":["},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct answer a = ask(st, "GET", "/problems/NOT_FOUND",
		                      cases[i].accept, NULL);

		assert_int_equal(a.status, 200);
		assert_true(str_eq(header_of(&a, "Content-Type"),
		                   str_from(cases[i].type)));
		assert_true(
			str_eq(header_of(&a, "Vary"), STR("Origin, Accept")));
		assert_non_null(memmem(a.body.p, a.body.n, cases[i].words,
		                       strlen(cases[i].words)));
		answer_fini(&a);
	}
	problem(st, "GET", "/problems/NOPE", "Accept: text/html\r\n", NULL, 404,
	        "NOT_FOUND");
	/* Two Accept headers are one list, which is not looked into. */
	{
		struct answer a = ask(st, "GET", "/health",
		                      "Accept: image/png\r\n"
		                      "Accept: application/json\r\n",
		                      NULL);

		assert_int_equal(a.status, 200);
		answer_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_fails_in_the_one_shape),
		cmocka_unit_test(head_fails_as_get_does),
		cmocka_unit_test(every_status_has_its_request),
		cmocka_unit_test(
			an_unexpected_error_keeps_its_words_in_production),
		cmocka_unit_test(a_row_without_a_body_needs_no_length),
		cmocka_unit_test(the_catalogue_speaks_to_people_and_programs),
	};

	return cmocka_run_group_tests(tests, start_shared, stop_shared);
}
