#include "common/base/attr.h"
#include "gateway/accept.h"
#include "gateway/weight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NONE FORM_COUNT

static void the_heaviest_form_is_chosen(void **state)
{
	static const struct {
		const char *accept;
		unsigned forms;
		enum form want;
	} cases[] = {
		{"", FORMS_JSON, FORM_JSON},
		{"*/*", FORMS_JSON, FORM_JSON},
		{"application/json", FORMS_JSON, FORM_JSON},
		{"Application/JSON", FORMS_JSON, FORM_JSON},
		{"application/*", FORMS_JSON, FORM_JSON},
		{"application/json, text/plain, */*", FORMS_JSON, FORM_JSON},
		{"text/html", FORMS_JSON, NONE},
		{"text/*", FORMS_JSON, NONE},
		{"application/xml", FORMS_JSON, NONE},
		{"application/jsonp", FORMS_JSON, NONE},
		{"application/json;q=0", FORMS_JSON, NONE},
		{"*/*;q=0", FORMS_JSON, NONE},
		/* The closest range counts, not the heaviest. */
		{"application/json;q=0, */*", FORMS_JSON, NONE},
		{"*/*;q=0, application/json;q=0.001", FORMS_JSON, FORM_JSON},
		{"application/*;q=0, application/json", FORMS_JSON, FORM_JSON},
		{"application/json;charset=utf-8", FORMS_JSON, FORM_JSON},
		{"application/json;charset=latin1", FORMS_JSON, NONE},
		{"application/json;profile=x", FORMS_JSON, NONE},
		{"application/json;q=0.5;ext=1", FORMS_JSON, FORM_JSON},
		/* A browser, and programs. */
		{"text/html,application/xhtml+xml,application/xml;q=0.9,"
	         "*/*;q=0.8",
	         FORMS_PAGE, FORM_HTML},
		{"", FORMS_PAGE, FORM_JSON},
		{"*/*", FORMS_PAGE, FORM_JSON},
		{"text/html;q=0.5, application/json;q=0.6", FORMS_PAGE,
	         FORM_JSON},
		{"text/html;q=0.7, application/json;q=0.6", FORMS_PAGE,
	         FORM_HTML},
		{"text/*", FORMS_PAGE, FORM_HTML},
		{"image/png", FORMS_PAGE, NONE},
		{"text/css,*/*;q=0.1", FORMS_CSS, FORM_CSS},
		/* JSON unless events are wanted more. */
		{"text/event-stream", FORMS_LIVE, FORM_EVENTS},
		{"*/*", FORMS_LIVE, FORM_JSON},
		{"", FORMS_LIVE, FORM_JSON},
		{"text/event-stream, application/json", FORMS_LIVE, FORM_JSON},
		{"text/event-stream, application/json;q=0.9", FORMS_LIVE,
	         FORM_EVENTS},
		{"text/event-stream;q=0.5, */*;q=0.1", FORMS_LIVE, FORM_EVENTS},
		{"text/event-stream;q=0, */*", FORMS_LIVE, FORM_JSON},
		{"text/*", FORMS_LIVE, FORM_EVENTS},
		{"text/html", FORMS_LIVE, NONE},
		{"text/event-stream", FORMS_JSON, NONE},
		{"text/html", FORMS_HTML, FORM_HTML},
		{"application/json", FORMS_HTML, NONE},
		/* What nobody can read says nothing. */
		{"nonsense", FORMS_JSON, FORM_JSON},
		{"/", FORMS_JSON, FORM_JSON},
		{"text/", FORMS_JSON, FORM_JSON},
		{",,;;,=", FORMS_JSON, FORM_JSON},
		{"text/html;q=2", FORMS_JSON, FORM_JSON},
		{"text/html;q=1.", FORMS_JSON, NONE},
		{"*/json", FORMS_JSON, NONE},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		enum form got = NONE;
		bool taken = accept_choose(str_from(cases[i].accept),
		                           cases[i].forms, &got);

		if (got != cases[i].want || taken != (got != NONE))
			fail_msg("\"%s\": %d", cases[i].accept, (int)got);
	}
}

static void a_long_header_is_read_to_its_end(void **state)
{
	static char long_one[8192];
	enum form got = NONE;
	size_t n = 0;

	(void)state;
	while (n + 32 < sizeof(long_one))
		n += (size_t)snprintf(long_one + n, sizeof(long_one) - n,
		                      "a/b;q=0.1,");
	assert_false(
		accept_choose((struct str){long_one, n}, FORMS_JSON, &got));
	n += (size_t)snprintf(long_one + n, sizeof(long_one) - n,
	                      "application/json");
	assert_true(accept_choose((struct str){long_one, n}, FORMS_JSON, &got));
}

static void weights_are_read_to_the_thousandth(void **state)
{
	static const struct {
		const char *parameters;
		int want;
	} cases[] = {
		{"", 1000},      {"q=1", 1000},       {"q=1.000", 1000},
		{"q=0", 0},      {"q=0.000", 0},      {"q=0.001", 1},
		{"q=0.8", 800},  {" Q = 0.85 ", 850}, {"level=1;q=0.5", 500},
		{"q=1.001", -1}, {"q=2", -1},         {"q=0.0001", -1},
		{"q=", -1},      {"q=x", -1},         {"q=-1", -1},
		{"q=.5", -1},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		if (weight_of(str_from(cases[i].parameters)) != cases[i].want)
			fail_msg("%s", cases[i].parameters);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_heaviest_form_is_chosen),
		cmocka_unit_test(a_long_header_is_read_to_its_end),
		cmocka_unit_test(weights_are_read_to_the_thousandth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
