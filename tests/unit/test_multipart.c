/* Forms with files as msgpack, and what is no such form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/codec/json.h"
#include "common/codec/mp.h"
#include "gateway/multipart.h"
#include "tests/alloc_fault.h"

#define CD    "Content-Disposition: form-data; "
#define TEXT  "--b\r\n" CD "name=\"a\"\r\n\r\n"
#define FILE_ "--b\r\n" CD "name=\"f\"; filename=\"x.png\"\r\n"
#define END_  "\r\n--b--\r\n"

static void a_form_becomes_a_map(void **state)
{
	static const struct {
		const char *body, *json;
	} cases[] = {
		{TEXT "one" END_, "{\"a\":\"one\"}"},
		{TEXT END_, "{\"a\":\"\"}"},
		{TEXT "one\r\n--b--", "{\"a\":\"one\"}"},
		{TEXT "1\r\n--b\r\n" CD "name=b\r\n\r\n2" END_,
	         "{\"a\":\"1\",\"b\":\"2\"}"},
		{TEXT "\xc3\xa9\r\n\r\n-\r\n--\r\n--a" END_,
	         "{\"a\":\"\xc3\xa9\\r\\n\\r\\n-\\r\\n--\\r\\n--a\"}"},
		/* no parts */
		{"--b--", "{}"},
		{"--b--\r\n", "{}"},
		/* files */
		{FILE_ "Content-Type: image/png\r\n\r\nPNG" END_,
	         "{\"f\":{\"name\":\"x.png\",\"type\":\"image/png\","
	         "\"data\":\"UE5H\"}}"},
		{FILE_ "\r\nPNG" END_,
	         "{\"f\":{\"name\":\"x.png\",\"type\":"
	         "\"application/octet-stream\",\"data\":\"UE5H\"}}"},
		{FILE_ "\r\n" END_,
	         "{\"f\":{\"name\":\"x.png\",\"type\":"
	         "\"application/octet-stream\",\"data\":\"\"}}"},
		{FILE_ "Content-Transfer-Encoding: Binary\r\n\r\n\xff\xd8" END_,
	         "{\"f\":{\"name\":\"x.png\",\"type\":"
	         "\"application/octet-stream\",\"data\":\"/9g=\"}}"},
		/* the blank line's end is the delimiter's beginning */
		{FILE_ "\r\n--b--", "{\"f\":{\"name\":\"x.png\",\"type\":"
	                            "\"application/octet-stream\","
	                            "\"data\":\"\"}}"},
		/* nothing was chosen */
		{"--b\r\n" CD "name=\"f\"; filename=\"\"\r\nContent-Type: "
	         "application/octet-stream\r\n\r\n" END_,
	         "{}"},
		{"--b\r\n" CD "name=f; filename=\"\"\r\n\r\nx" END_,
	         "{\"f\":{\"name\":\"\",\"type\":"
	         "\"application/octet-stream\",\"data\":\"eA==\"}}"},
		/* before and behind it */
		{"preamble\r\n" TEXT "1" END_ "epilogue --b\r\n--b\r\n",
	         "{\"a\":\"1\"}"},
		{"\r\n" TEXT "1" END_, "{\"a\":\"1\"}"},
		{"--b \t\r\n" CD "name=a\r\n\r\n1\r\n--b-- \t\r\n",
	         "{\"a\":\"1\"}"},
		/* heads */
		{"--b\r\ncontent-DISPOSITION:form-data;NAME=a\r\n\r\n1" END_,
	         "{\"a\":\"1\"}"},
		{"--b\r\nX-Y: z\r\n" CD "x=\"a;name=b\" ; name=a\r\n\r\n1" END_,
	         "{\"a\":\"1\"}"},
		{"--b\r\n" CD "name=a\r\nContent-Type: text/plain; "
	         "charset=\"UTF-8\"\r\n\r\n1" END_,
	         "{\"a\":\"1\"}"},
		/* paths are not names */
		{"--b\r\n" CD
	         "name=f; filename=\"C:\\dir\\x.png\"\r\n\r\n1" END_,
	         "{\"f\":{\"name\":\"x.png\",\"type\":"
	         "\"application/octet-stream\",\"data\":\"MQ==\"}}"},
		{"--b\r\n" CD "name=f; filename=\"../../x.png\"\r\n\r\n1" END_,
	         "{\"f\":{\"name\":\"x.png\",\"type\":"
	         "\"application/octet-stream\",\"data\":\"MQ==\"}}"},
		{"--b\r\n" CD "name=f; filename=\"..\"\r\n\r\n1" END_,
	         "{\"f\":{\"name\":\"\",\"type\":"
	         "\"application/octet-stream\",\"data\":\"MQ==\"}}"},
		{"--b\r\n" CD
	         "name=f; filename=\"a%22\xc3\xa9.png\"\r\n\r\n1" END_,
	         "{\"f\":{\"name\":\"a%22\xc3\xa9.png\",\"type\":"
	         "\"application/octet-stream\",\"data\":\"MQ==\"}}"},
		{"--b\r\n" CD "name=f; filename=\"a\\\";b.png\"\r\n\r\n1" END_,
	         "{\"f\":{\"name\":\"\\\";b.png\",\"type\":"
	         "\"application/octet-stream\",\"data\":\"MQ==\"}}"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct multipart_error at;
		AUTO_BUF mp = {0};
		AUTO_BUF json = {0};

		if (!multipart_to_mp(str_from(cases[i].body), STR("b"), &mp,
		                     &at))
			fail_msg("%zu: %s at %zu", i, at.reason, at.offset);
		assert_true(mp_valid(buf_view(&mp)));
		assert_true(mp_to_json(buf_view(&mp), &json));
		if (!str_eq(buf_view(&json), str_from(cases[i].json)))
			fail_msg("%zu: %.*s", i, STR_FMT(buf_view(&json)));
	}
}

#define NAME65 \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* Takes the '^' out, and tells where it was. */
static size_t unmark(const char *text, struct buf *out)
{
	struct str rest = str_from(text);
	struct str before = str_cut(&rest, '^');

	buf_str(out, before);
	buf_str(out, rest);
	return before.n;
}

#define PART "--b\r\n" CD
#define ONE  "\r\n\r\n1" END_

/* The '^' stands before what is told to be wrong. */
static void what_is_malformed_is_refused_where_it_is(void **state)
{
	static const struct {
		const char *body, *reason, *part;
	} cases[] = {
		{"^", "the boundary is not in the body", ""},
		{"^{}", "the boundary is not in the body", ""},
		{"^--a\r\n", "the boundary is not in the body", ""},
		{"^x--b\r\n", "the boundary is not in the body", ""},
		{"^\n--b\r\n", "the boundary is not in the body", ""},
		{"--b^", "a line begins like the boundary and is none", ""},
		{"--b^\n", "a line begins like the boundary and is none", ""},
		{"--b^c\r\n", "a line begins like the boundary and is none",
	         ""},
		{"--b^-\r\n", "a line begins like the boundary and is none",
	         ""},
		{"--b^--x", "a line begins like the boundary and is none", ""},
		{TEXT "1\r\n--b^c\r\n--b--",
	         "a line begins like the boundary and is none", "a"},
		/* it does not end */
		{"--b\r\n^", "the form does not end with its boundary", ""},
		{TEXT "1^", "the form does not end with its boundary", ""},
		{TEXT "1\n--b--^", "the form does not end with its boundary",
	         ""},
		{TEXT "1\r\n--b\r\n^",
	         "the form does not end with its boundary", ""},
		/* heads */
		{"--b\r\n^--b--", "a part's head does not end", ""},
		{"--b\r\n^\r\n--b--", "a part's head does not end", ""},
		{"--b\r\n^" CD "name=a\r\n--b--", "a part's head does not end",
	         ""},
		{"--b\r\n^\r\n\r\n1" END_, "a header has no colon", ""},
		{"--b\r\n^X: y" ONE, "a part has no Content-Disposition", ""},
		{"--b\r\n^nonsense" ONE, "a header has no colon", ""},
		{PART "name=a\r\n^ b" ONE, "a header has no colon", "a"},
		{"--b\r\n^X Y: z" ONE, "a header is malformed", ""},
		{"--b\r\n^: z" ONE, "a header is malformed", ""},
		{"--b\r\n^X: \x01" ONE, "a header is malformed", ""},
		{"--b\r\n^X: \xff" ONE, "a header is malformed", ""},
		{"--b\r\n^X: a\nY: b" ONE, "a header is malformed", ""},
		/* dispositions */
		{"--b\r\nContent-Disposition: ^attachment; name=a" ONE,
	         "a part's Content-Disposition is not form-data", ""},
		{"--b\r\nContent-Disposition: ^form-data" ONE,
	         "a part has no name", ""},
		{"--b\r\nContent-Disposition: ^form-data; filename=x" ONE,
	         "a part has no name", ""},
		{"--b\r\nContent-Disposition:^" ONE,
	         "a part's Content-Disposition is not form-data", ""},
		{PART "name=\"^\"" ONE, "a part's name is no name", ""},
		{PART "name=\"^a\\b\"" ONE, "a part's name is no name", ""},
		{PART "name=^" NAME65 ONE, "a part's name is no name", ""},
		{PART "name=a; name=^a" ONE, "a part has two names", "a"},
		{PART "name=a; filename=x; filename=^x" ONE,
	         "a part has two filenames", "a"},
		{PART "name=a; ^filename*=UTF-8''x" ONE,
	         "filename* is not for forms", "a"},
		{"--b\r\nContent-Disposition: form-data^; name=\"a" ONE,
	         "a Content-Disposition is malformed", ""},
		{PART "name=a^; x=" ONE, "a Content-Disposition is malformed",
	         "a"},
		{PART "name=a^; x y=z" ONE,
	         "a Content-Disposition is malformed", "a"},
		{PART "name=\"a\"^x" ONE, "a Content-Disposition is malformed",
	         "a"},
		{"--b\r\nContent-Disposition: form-data^; name" ONE,
	         "a Content-Disposition is malformed", ""},
		{"--b\r\nContent-Disposition: form-data^; name=" ONE,
	         "a Content-Disposition is malformed", ""},
		{PART "name=a\r\nContent-Disposition: ^form-data; name=b" ONE,
	         "a part has two Content-Dispositions", "a"},
		{TEXT "1\r\n" PART "name=^a" ONE, "a name stands twice", "a"},
		/* types and codings */
		{PART "name=a\r\nContent-Type: ^text" ONE,
	         "a part's type is malformed", "a"},
		{"--b\r\nContent-Type: a/b\r\nContent-Type: ^a/b\r\n" CD
	         "name=a" ONE,
	         "a part has two types", ""},
		{PART "name=a\r\nContent-Type: ^text/html" ONE,
	         "a part that is no file is not text/plain", "a"},
		{PART "name=a\r\nContent-Type: ^text/plain; charset=latin1" ONE,
	         "text is not UTF-8", "a"},
		{TEXT "^\xff" END_, "text is not UTF-8, or has a NUL", "a"},
		{PART "name=a\r\nContent-Transfer-Encoding: ^base64\r\n\r\n"
	              "MQ==" END_,
	         "a part has a Content-Transfer-Encoding that is not taken",
	         "a"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct multipart_error at;
		AUTO_BUF body = {0};
		AUTO_BUF mp = {0};
		size_t where = unmark(cases[i].body, &body);

		if (multipart_to_mp(buf_view(&body), STR("b"), &mp, &at))
			fail_msg("%zu is taken", i);
		if (strcmp(at.reason, cases[i].reason) != 0 ||
		    at.offset != where ||
		    !str_eq(at.part, str_from(cases[i].part)))
			fail_msg("%zu: %s at %zu, not %zu, in \"%.*s\"", i,
			         at.reason, at.offset, where, STR_FMT(at.part));
		assert_int_equal(mp.n, 0);
		assert_false(at.nomem);
	}
}

static void a_nul_is_no_text(void **state)
{
	static const char body[] = TEXT "a\0b" END_;
	struct multipart_error at;
	AUTO_BUF mp = {0};

	(void)state;
	assert_false(multipart_to_mp((struct str){body, sizeof(body) - 1},
	                             STR("b"), &mp, &at));
	assert_string_equal(at.reason, "text is not UTF-8, or has a NUL");
}

static void a_boundary_is_read_strictly(void **state)
{
	static const struct {
		const char *type, *boundary; /* NULL: none */
	} cases[] = {
		{"multipart/form-data; boundary=abc", "abc"},
		{"Multipart/Form-Data;BOUNDARY=abc", "abc"},
		{"multipart/form-data; boundary=\"a b:c?=(d)\"", "a b:c?=(d)"},
		{"multipart/form-data; x=\"; boundary=no\"; boundary=yes",
	         "yes"},
		{"multipart/form-data; charset=utf-8; boundary=b ; x=y", "b"},
		{"multipart/form-data; "
	         "boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
	         "----WebKitFormBoundary7MA4YWxkTrZu0gW"},
		{"multipart/form-data; boundary=" NAME65 "aaaaa",
	         NAME65 "aaaaa"},
		{"multipart/form-data; boundary=" NAME65 "aaaaaa", NULL},
		{"multipart/form-data", NULL},
		{"multipart/form-data;", NULL},
		{"multipart/form-data; boundary", NULL},
		{"multipart/form-data; boundary=", NULL},
		{"multipart/form-data; boundary=\"\"", NULL},
		{"multipart/form-data; boundary=\"a", NULL},
		{"multipart/form-data; boundary=\"a \"", NULL},
		{"multipart/form-data; boundary=\"a\\\"b\"", NULL},
		{"multipart/form-data; boundary=\"a;b\"", NULL},
		{"multipart/form-data; boundary=\"a\tb\"", NULL},
		{"multipart/form-data; boundary=a b", NULL},
		{"multipart/form-data; boundary=a; boundary=a", NULL},
		{"multipart/form-data; boundary=a; boundary=b", NULL},
		{"multipart/form-data, boundary=a", NULL},
		{"multipart/form-data boundary=a", NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct str got = {NULL, 0};

		if (multipart_boundary(str_from(cases[i].type), &got) !=
		            (cases[i].boundary != NULL) ||
		    !str_eq(got, str_from(cases[i].boundary)))
			fail_msg("%s: %.*s", cases[i].type, STR_FMT(got));
	}
	assert_true(multipart_is(STR("multipart/form-data")));
	assert_true(multipart_is(STR("MULTIPART/FORM-DATA ; boundary=x")));
	assert_false(multipart_is(STR("multipart/mixed; boundary=x")));
	assert_false(multipart_is(STR("multipart/form-data-x")));
	assert_false(multipart_is((struct str){NULL, 0}));
}

static void what_there_may_be_of_is_bounded(void **state)
{
	struct multipart_error at;

	(void)state;
	for (unsigned n = 1; n <= MULTIPART_PARTS_MAX + 1; n++) {
		AUTO_BUF body = {0};
		AUTO_BUF mp = {0};

		for (unsigned i = 0; i < n; i++)
			buf_printf(&body, "--b\r\n" CD "name=n%u\r\n\r\n1\r\n",
			           i);
		buf_str(&body, STR("--b--"));
		if (multipart_to_mp(buf_view(&body), STR("b"), &mp, &at) !=
		    (n <= MULTIPART_PARTS_MAX))
			fail_msg("%u parts", n);
	}
	assert_string_equal(at.reason, "the form has too many parts");
	for (unsigned n = 0; n <= MULTIPART_LINES_MAX; n++) {
		AUTO_BUF body = {0};
		AUTO_BUF mp = {0};

		buf_str(&body, STR("--b\r\n" CD "name=a\r\n"));
		for (unsigned i = 0; i < n; i++)
			buf_str(&body, STR("X: y\r\n"));
		buf_str(&body, STR("\r\n1\r\n--b--"));
		if (multipart_to_mp(buf_view(&body), STR("b"), &mp, &at) !=
		    (n < MULTIPART_LINES_MAX))
			fail_msg("%u lines", n + 1);
	}
	assert_string_equal(at.reason, "a part has too many headers");
	for (size_t n = MULTIPART_HEAD_MAX - 100; n < MULTIPART_HEAD_MAX; n++) {
		AUTO_BUF body = {0};
		AUTO_BUF mp = {0};
		size_t head;
		bool ok;

		buf_str(&body, STR("--b\r\n" CD "name=a\r\nX: "));
		for (size_t i = 0; i < n; i++)
			buf_char(&body, 'x');
		buf_str(&body, STR("\r\n"));
		head = body.n - 5;
		buf_str(&body, STR("\r\n1\r\n--b--"));
		ok = multipart_to_mp(buf_view(&body), STR("b"), &mp, &at);
		if (ok != (head <= MULTIPART_HEAD_MAX))
			fail_msg("a head of %zu", head);
	}
	assert_string_equal(at.reason, "a part's head is too long");
}

/* Every byte of a form is missing once, and once is another. */
static void a_form_that_is_cut_or_changed_is_refused_or_sound(void **state)
{
	static const char form[] = FILE_
		"Content-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n\r\n" TEXT
		"text" END_;
	const size_t n = sizeof(form) - 1;

	(void)state;
	for (size_t cut = 0; cut < n; cut++) {
		struct multipart_error at;
		AUTO_BUF mp = {0};
		bool ok = multipart_to_mp((struct str){form, cut}, STR("b"),
		                          &mp, &at);

		/* Without CR LF, or its LF, behind the end nothing is lost. */
		if (ok && cut != n - 2)
			fail_msg("cut at %zu", cut);
	}
	for (size_t i = 0; i < 4 * n; i++) {
		static const char instead[] = {'\0', '-', '\r', '\n'};
		struct multipart_error at;
		AUTO_BUF mp = {0};
		AUTO_BUF body = {0};

		buf_add(&body, form, n);
		body.p[i / 4] = instead[i % 4];
		if (multipart_to_mp(buf_view(&body), STR("b"), &mp, &at))
			assert_true(mp_valid(buf_view(&mp)));
		else
			assert_true(at.offset <= n && at.reason);
	}
}

static void no_memory_is_told_and_leaves_the_output(void **state)
{
	static const char body[] = TEXT "some text" END_;
	bool failed = true;

	(void)state;
	for (unsigned n = 1; failed; n++) {
		struct multipart_error at;
		AUTO_BUF mp = {0};
		bool ok;

		alloc_fault_arm(n);
		ok = multipart_to_mp(str_from(body), STR("b"), &mp, &at);
		failed = alloc_fault_disarm();
		assert_int_equal(ok, !failed);
		assert_true(ok || (at.nomem && mp.n == 0));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_form_becomes_a_map),
		cmocka_unit_test(what_is_malformed_is_refused_where_it_is),
		cmocka_unit_test(a_nul_is_no_text),
		cmocka_unit_test(a_boundary_is_read_strictly),
		cmocka_unit_test(what_there_may_be_of_is_bounded),
		cmocka_unit_test(
			a_form_that_is_cut_or_changed_is_refused_or_sound),
		cmocka_unit_test(no_memory_is_told_and_leaves_the_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
