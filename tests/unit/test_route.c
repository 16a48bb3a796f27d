#include "gateway/route.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct route_tree *tree_new(void)
{
	struct route_tree *t = route_tree_new(routes, routes_n);

	assert_non_null(t);
	return t;
}

static void every_row_is_found_by_its_own_path(void **state)
{
	AUTO(route_tree) t = tree_new();

	(void)state;
	for (size_t i = 0; i < routes_n; i++) {
		struct route_match m;

		if (routes[i].access == ACCESS_INTERNAL) {
			assert_false(
				route_find(t, str_from(routes[i].path), &m));
			continue;
		}
		assert_true(route_find(t, str_from(routes[i].path), &m));
		assert_ptr_equal(route_for(&m, routes[i].verb), &routes[i]);
	}
}

static void parameters_are_taken_from_their_places(void **state)
{
	static const struct {
		const char *path, *call, *values[2];
	} cases[] = {
		{"/api/auth/keys/k1", "auth.keys_revoke", {"k1", NULL}},
		{"/problems/NOT_FOUND", "problem", {"NOT_FOUND", NULL}},
		{"/api/social/graphs/a%2Fb/stats",
	         "content.graph_stats",
	         {"a%2Fb", NULL}},
		/* Begins like the literal /graphs/id, and is not it. */
		{"/api/social/graphs/id/stats",
	         "content.graph_stats",
	         {"id", NULL}},
		{"/api/social/graphs/trending",
	         "content.graphs_trending",
	         {NULL, NULL}},
		{"/api/study-tools/integrations/notion/sync",
	         "content.settings_sync",
	         {"notion", NULL}},
	};
	AUTO(route_tree) t = tree_new();

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct route_match m;
		bool found = false;
		size_t n = cases[i].values[0] != NULL;

		assert_true(route_find(t, str_from(cases[i].path), &m));
		for (size_t v = 0; v < VERB_ROUTED; v++)
			found |= m.verbs[v] &&
			         strcmp(m.verbs[v]->call, cases[i].call) == 0;
		assert_true(found);
		assert_int_equal(m.params_n, n);
		if (n)
			assert_true(str_eq(m.params[0].value,
			                   str_from(cases[i].values[0])));
	}
}

static void what_is_no_path_of_ours_is_not_found(void **state)
{
	static const char *const paths[] = {
		"",
		"*",
		"health",
		"//",
		"//health",
		"/health/",
		"/Health",
		"/health/x",
		"/api",
		"/api/",
		"/api/auth/keys/",
		"/api/auth/keys//",
		"/api/auth/keys/a/b",
		"/api/%61uth/login",
		"/api/../health",
		"/metrics",
		"/api/compression/info",
		"/a/b/c/d/e/f/g/h/i/j/k/l",
		"/////////////////////////////////",
		"/api/social/graphs/id/nope",
	};
	AUTO(route_tree) t = tree_new();

	(void)state;
	for (size_t i = 0; i < COUNTOF(paths); i++) {
		struct route_match m = {.params_n = 77};

		if (route_find(t, str_from(paths[i]), &m))
			fail_msg("%s is found", paths[i]);
		assert_int_equal(m.params_n, 77);
	}
}

static void allow_names_what_the_path_takes(void **state)
{
	static const struct {
		const char *path, *allow;
	} cases[] = {
		{"/health", "GET, HEAD, OPTIONS"},
		{"/api/auth/login", "POST, OPTIONS"},
		{"/api/auth/keys", "GET, POST, HEAD, OPTIONS"},
		{"/api/auth/keys/x", "DELETE, OPTIONS"},
		{"/api/study-tools/notes/1", "GET, PUT, DELETE, HEAD, OPTIONS"},
	};
	AUTO(route_tree) t = tree_new();

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		char allow[ROUTE_ALLOW_MAX];
		struct route_match m;

		assert_true(route_find(t, str_from(cases[i].path), &m));
		assert_string_equal(route_allow(&m, allow).p, cases[i].allow);
	}
}

static void head_is_answered_by_get_and_only_by_get(void **state)
{
	AUTO(route_tree) t = tree_new();
	struct route_match m;

	(void)state;
	assert_true(route_find(t, STR("/health"), &m));
	assert_ptr_equal(route_for(&m, VERB_HEAD), route_for(&m, VERB_GET));
	assert_null(route_for(&m, VERB_OTHER));
	assert_null(route_for(&m, VERB_OPTIONS));
	assert_true(route_find(t, STR("/api/auth/login"), &m));
	assert_null(route_for(&m, VERB_HEAD));
}

/* The audit of who may call: a row that is open has its reason in anyone.def,
 * and a reason without a row is stale. */
static void every_open_route_has_a_reason_and_no_other(void **state)
{
	size_t open = 0, reasons = 0;

	(void)state;
	for (size_t i = 0; i < routes_n; i++) {
		bool anyone = routes[i].access == ACCESS_ANYONE;

		if (anyone != (route_reason(&routes[i]) != NULL))
			fail_msg("%s %s", verb_name(routes[i].verb),
			         routes[i].path);
		open += anyone;
	}
#define ANYONE(verb, path, reason) reasons++;
#include "gateway/anyone.def"
#undef ANYONE
	assert_int_equal(open, reasons);
}

static void what_needs_a_body_is_a_row_that_takes_one(void **state)
{
	size_t found = 0, listed = 0;

	(void)state;
	for (size_t i = 0; i < routes_n; i++) {
		if (!route_needs_body(&routes[i]))
			continue;
		found++;
		if (routes[i].body_max == 0 || !routes[i].built)
			fail_msg("%s", routes[i].path);
	}
#define NEEDS(verb, path) listed++;
#include "gateway/needs.def"
#undef NEEDS
	assert_int_equal(found, listed);
}

/* A form is read before a service looks at it, so not for anyone. */
static void what_takes_files_is_a_row_with_a_login_and_a_body(void **state)
{
	size_t found = 0, listed = 0;

	(void)state;
	for (size_t i = 0; i < routes_n; i++) {
		if (!route_takes_files(&routes[i]))
			continue;
		found++;
		if (routes[i].body_max == 0 ||
		    routes[i].access == ACCESS_ANYONE ||
		    routes[i].service == PEER_GATEWAY)
			fail_msg("%s", routes[i].path);
	}
#define UPLOAD(verb, path) listed++;
#include "gateway/uploads.def"
#undef UPLOAD
	assert_int_equal(found, listed);
}

/* What is streamed in a form that is chosen is a person's own, and is read. */
static void what_is_streamed_is_a_row_that_a_person_reads(void **state)
{
	size_t found = 0, listed = 0;

	(void)state;
	for (size_t i = 0; i < routes_n; i++) {
		enum stream stream = route_streams(&routes[i]);

		found += stream != STREAM_NONE;
		if (stream == STREAM_LIVE &&
		    (routes[i].access != ACCESS_USER ||
		     routes[i].service != PEER_CONTENT || !routes[i].retry))
			fail_msg("%s", routes[i].path);
		if (stream != STREAM_PAGE)
			continue;
		if (routes[i].verb != VERB_GET || routes[i].body_max ||
		    routes[i].access != ACCESS_USER ||
		    routes[i].keep != KEEP_NEVER ||
		    routes[i].service == PEER_GATEWAY)
			fail_msg("%s", routes[i].path);
	}
#define STREAM(verb, path, stream) listed++;
#include "gateway/streams.def"
#undef STREAM
	assert_int_equal(found, listed);
}

static void rows_are_consistent(void **state)
{
	(void)state;
	for (size_t i = 0; i < routes_n; i++) {
		const struct route *r = &routes[i];
		bool reads = r->verb == VERB_GET;

		if (reads && (r->body_max || !r->retry || r->csrf))
			fail_msg("%s: a GET with a body, without retry or with "
			         "CSRF",
			         r->path);
		if (!reads && r->csrf == CSRF_NONE &&
		    (r->access == ACCESS_USER || r->access == ACCESS_ADMIN))
			fail_msg("%s: changes something without CSRF", r->path);
		if (r->access == ACCESS_ADMIN && r->scope != SCOPE_ADMIN)
			fail_msg("%s: an admin route without scope", r->path);
		if (r->deadline_ms < 1000 || r->deadline_ms > 55000)
			fail_msg("%s: deadline", r->path);
		if (r->keep == KEEP_PUBLIC && r->access != ACCESS_ANYONE)
			fail_msg("%s: private and kept", r->path);
		if ((r->service == PEER_GATEWAY) != !strchr(r->call, '.'))
			fail_msg("%s: call and service", r->path);
		assert_true(r->rate < BUS_CLASSES);
	}
}

static void verbs_are_read_exactly(void **state)
{
	(void)state;
	assert_int_equal(verb_from_str(STR("GET")), VERB_GET);
	assert_int_equal(verb_from_str(STR("HEAD")), VERB_HEAD);
	assert_int_equal(verb_from_str(STR("OPTIONS")), VERB_OPTIONS);
	assert_int_equal(verb_from_str(STR("get")), VERB_OTHER);
	assert_int_equal(verb_from_str(STR("GETT")), VERB_OTHER);
	assert_int_equal(verb_from_str(STR("")), VERB_OTHER);
	assert_int_equal(verb_from_str(STR("other")), VERB_OTHER);
}

static void no_memory_makes_no_tree(void **state)
{
	(void)state;
	for (unsigned n = 1;; n++) {
		struct route_tree *t;
		bool failed;

		alloc_fault_arm(n);
		t = route_tree_new(routes, routes_n);
		failed = alloc_fault_disarm();
		assert_int_equal(failed, t == NULL);
		route_tree_free(t);
		if (!failed)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_found_by_its_own_path),
		cmocka_unit_test(parameters_are_taken_from_their_places),
		cmocka_unit_test(what_is_no_path_of_ours_is_not_found),
		cmocka_unit_test(allow_names_what_the_path_takes),
		cmocka_unit_test(head_is_answered_by_get_and_only_by_get),
		cmocka_unit_test(every_open_route_has_a_reason_and_no_other),
		cmocka_unit_test(what_needs_a_body_is_a_row_that_takes_one),
		cmocka_unit_test(
			what_takes_files_is_a_row_with_a_login_and_a_body),
		cmocka_unit_test(what_is_streamed_is_a_row_that_a_person_reads),
		cmocka_unit_test(rows_are_consistent),
		cmocka_unit_test(verbs_are_read_exactly),
		cmocka_unit_test(no_memory_makes_no_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
