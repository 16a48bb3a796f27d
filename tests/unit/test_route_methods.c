/* The route table against the method tables: two programs that meet only in
 * messages must mean the same by a name. */
#include "gateway/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum caller { CALL_GATEWAY, CALL_USER, CALL_ADMIN, CALL_SERVICE };
enum again { AGAIN_READ, AGAIN_RETRY, AGAIN_ONCE, AGAIN_SESSION, AGAIN_ERASE };

/* Methods behind a POST that have no effect all the same, so that an
 * Idempotency-Key says nothing to them, and why. */
static const struct {
	const char *name, *why;
} harmless[] = {
	{"content.create_subtopics", "makes text, keeps nothing of anybody"},
	{"content.recommendations", "reads what is mastered"},
	{"content.metrics_estimate", "calculates"},
	{"content.image2topic", "makes text, keeps nothing of anybody"},
	{"content.generate_image", "no provider makes pictures"},
};

static const struct {
	enum bus_peer service;
	const char *name;
	enum caller caller;
	enum again again;
} methods[] = {
#define FIELD(id, from, type, name, need, min, max, text, num)
#define END(id)
#define METHOD(id, name, lane, caller, again, peek) \
	{PEER_AUTH, name, CALL_##caller, AGAIN_##again},
#include "svc-auth/methods.def"
#undef METHOD
#define METHOD(id, name, lane, caller, again, peek) \
	{PEER_CONTENT, name, CALL_##caller, AGAIN_##again},
#include "svc-content/methods.def"
#undef METHOD
#define METHOD(id, name, lane, caller, again, peek) \
	{PEER_GDPR, name, CALL_##caller, AGAIN_##again},
#include "svc-gdpr/methods.def"
#undef METHOD
#undef FIELD
#undef END
};

static bool is_harmless(const char *name)
{
	for (size_t i = 0; i < COUNTOF(harmless); i++)
		if (strcmp(harmless[i].name, name) == 0)
			return true;
	return false;
}

/* Methods that need one of several fields, none of which is REQUIRED. */
static const char *const either[] = {
	"auth.register",     /* user_id, or e-mail and password */
	"auth.login",        /* api_key, or e-mail and password */
	"auth.admin_change", /* role, or quota_tier */
	"content.quiz_submit",
	"content.image2topic", /* image, or imagePath to be told better */
};

enum { FROM_BODY, FROM_QUERY, FROM_PATH };
enum { NEED_OPTIONAL, NEED_REQUIRED };

/* Methods with a required body field, one entry per field. */
static const struct {
	const char *method;
	bool needed;
} fields[] = {
#define METHOD(id, name, lane, caller, again, peek) {name, false},
#define FIELD(id, from, type, name, need, min, max, text, num) \
	{NULL, FROM_##from == FROM_BODY && NEED_##need == NEED_REQUIRED},
#define END(id)
#include "svc-auth/methods.def"
#include "svc-content/methods.def"
#include "svc-gdpr/methods.def"
#undef METHOD
#undef FIELD
#undef END
};

static bool needs_body(const char *method)
{
	bool here = false, needs = false;

	for (size_t i = 0; i < COUNTOF(either); i++)
		needs |= strcmp(either[i], method) == 0;
	for (size_t i = 0; i < COUNTOF(fields); i++) {
		if (fields[i].method)
			here = strcmp(fields[i].method, method) == 0;
		needs |= here && fields[i].needed;
	}
	return needs;
}

static void a_body_is_needed_where_a_method_has_nothing_without(void **state)
{
	(void)state;
	for (size_t i = 0; i < routes_n; i++) {
		const struct route *r = &routes[i];

		if (r->access == ACCESS_INTERNAL || !r->built)
			continue;
		if (route_needs_body(r) != needs_body(r->call))
			fail_msg("%s %s in needs.def", verb_name(r->verb),
			         r->path);
	}
}

/* READ in methods.def is what GET routes call, and nothing else unasked. */
static const char *repeat_fault(const struct route *r, enum again again)
{
	if (r->retry != (again != AGAIN_ONCE))
		return "repeats otherwise than the method";
	if (r->verb == VERB_GET)
		return again == AGAIN_READ ? NULL : "is a GET with an effect";
	return (again == AGAIN_READ) == is_harmless(r->call)
	               ? NULL
	               : "has READ in methods.def and no reason above";
}

static const char *fault_of(const struct route *r)
{
	static const bool may[][CALL_SERVICE + 1] = {
		[ACCESS_ANYONE] = {[CALL_GATEWAY] = true},
		[ACCESS_USER] = {[CALL_GATEWAY] = true, [CALL_USER] = true},
		[ACCESS_ADMIN] = {[CALL_ADMIN] = true},
		[ACCESS_INTERNAL] = {[CALL_SERVICE] = true},
	};

	for (size_t i = 0; i < COUNTOF(methods); i++) {
		if (methods[i].service != r->service ||
		    strcmp(methods[i].name, r->call) != 0)
			continue;
		if (!r->built)
			return "is built and not marked so";
		if (!may[r->access][methods[i].caller])
			return "is for other callers than the method";
		return repeat_fault(r, methods[i].again);
	}
	return r->built ? "has no method" : NULL;
}

static void every_built_route_has_a_method_that_agrees(void **state)
{
	(void)state;
	for (size_t i = 0; i < routes_n; i++) {
		const char *fault = routes[i].service == PEER_GATEWAY
		                            ? NULL
		                            : fault_of(&routes[i]);

		if (fault)
			fail_msg("%s %s %s", verb_name(routes[i].verb),
			         routes[i].path, fault);
	}
}

static void every_method_for_clients_has_a_route(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(methods); i++) {
		/* gateway/noted.c and events.c ask these of their own accord. */
		bool found = methods[i].caller == CALL_SERVICE ||
		             strcmp(methods[i].name, "auth.audit") == 0 ||
		             strcmp(methods[i].name, "content.job_events") == 0;

		for (size_t r = 0; r < routes_n && !found; r++)
			found = strcmp(routes[r].call, methods[i].name) == 0;
		if (!found)
			fail_msg("%s", methods[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_built_route_has_a_method_that_agrees),
		cmocka_unit_test(every_method_for_clients_has_a_route),
		cmocka_unit_test(
			a_body_is_needed_where_a_method_has_nothing_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
