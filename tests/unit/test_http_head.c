#include "common/base/attr.h"
#include "gateway/head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Lines are "Name: value", ended by '\n'. */
static enum err read_head(struct head *h, const char *method,
                          const char *target, const char *version,
                          const char *lines)
{
	struct str rest = str_from(lines);

	*h = (struct head){0};
	head_target(h, str_from(method), str_from(target), str_from(version));
	while (rest.n) {
		struct str value = str_cut(&rest, '\n');
		struct str name = str_cut(&value, ':');

		head_line(h, name, value);
	}
	return head_end(h);
}

static void heads_on_which_readers_could_disagree_are_refused(void **state)
{
	static const struct {
		const char *lines;
		enum err want;
	} cases[] = {
		{"Host: x\n", OK},
		{"host: x\nCONTENT-LENGTH: 12\n", OK},
		{"Host: x\nTransfer-Encoding: Chunked\n", OK},
		{"", ERR_BAD_REQUEST},
		{"Host:\n", ERR_BAD_REQUEST},
		{"Host: x\nHost: x\n", ERR_BAD_REQUEST},
		{"Host: x\nHost: y\n", ERR_BAD_REQUEST},
		{"Host: x\nContent-Length: 2\nContent-Length: 2\n",
	         ERR_BAD_REQUEST},
		{"Host: x\nContent-Length: 2\nTransfer-Encoding: chunked\n",
	         ERR_BAD_REQUEST},
		{"Host: x\nTransfer-Encoding: chunked\nContent-Length: 0\n",
	         ERR_BAD_REQUEST},
		{"Host: x\nTransfer-Encoding: chunked\n"
	         "Transfer-Encoding: chunked\n",
	         ERR_BAD_REQUEST},
		{"Host: x\nTransfer-Encoding: gzip, chunked\n",
	         ERR_BAD_REQUEST},
		{"Host: x\nTransfer-Encoding: identity\n", ERR_BAD_REQUEST},
		{"Host: x\nTransfer-Encoding:\n", ERR_BAD_REQUEST},
		{"Host: x\nTransfer-Encoding: xchunked\n", ERR_BAD_REQUEST},
		{"Host: x\nContent-Length: +2\n", ERR_BAD_REQUEST},
		{"Host: x\nContent-Length: -2\n", ERR_BAD_REQUEST},
		{"Host: x\nContent-Length: 2, 2\n", ERR_BAD_REQUEST},
		{"Host: x\nContent-Length: 0x10\n", ERR_BAD_REQUEST},
		{"Host: x\nContent-Length:\n", ERR_BAD_REQUEST},
		{"Host: x\nContent-Length: 18446744073709551616\n",
	         ERR_BAD_REQUEST},
		{"Host : x\n", ERR_BAD_REQUEST},
		{"Host: x\nX(y): 1\n", ERR_BAD_REQUEST},
		{"Host: x\n: 1\n", ERR_BAD_REQUEST},
		{"Host: x\nX-\xc3\xa9: 1\n", ERR_BAD_REQUEST},
		{"Host: x\nX-A: a\x01z\n", ERR_BAD_REQUEST},
		{"Host: x\nX-A: a\x7fz\n", ERR_BAD_REQUEST},
		{"Host: x\nX-A: a\tz\n", OK},
		{"Host: x\nAuthorization: a\nAuthorization: b\n",
	         ERR_BAD_REQUEST},
		{"Host: x\nX-API-Key: a\nX-Api-Key: a\n", ERR_BAD_REQUEST},
		{"Host: x\nOrigin: a\nOrigin: b\n", ERR_BAD_REQUEST},
		{"Host: x\nIdempotency-Key: a\nIdempotency-Key: a\n",
	         ERR_BAD_REQUEST},
		{"Host: x\nAccept-Language: a\nAccept-Language: b\n", OK},
		{"Host: x\nExpect: 100-Continue\n", OK},
		{"Host: x\nExpect: 200-ok\n", ERR_EXPECTATION},
		{"Host: x\nExpect:\n", ERR_EXPECTATION},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct head h;
		enum err got =
			read_head(&h, "POST", "/a", "HTTP/1.1", cases[i].lines);

		if (got != cases[i].want)
			fail_msg("%s: %s", cases[i].lines, err_name(got));
		assert_int_equal(got != OK, h.reason != NULL);
	}
}

static void targets_have_neither_controls_nor_hidden_ends(void **state)
{
	static const struct {
		const char *target;
		enum err want;
		const char *path, *query;
	} cases[] = {
		{"/a", OK, "/a", ""},
		{"/a?b=c?d", OK, "/a", "b=c?d"},
		{"/a?", OK, "/a", ""},
		{"/caf\xc3\xa9", OK, "/caf\xc3\xa9", ""},
		{"http://host/a?b", OK, "/a", "b"},
		{"HTTPS://host", OK, "/", ""},
		{"*", OK, "*", ""},
		{"", ERR_BAD_REQUEST, NULL, NULL},
		{"a", ERR_BAD_REQUEST, NULL, NULL},
		{"?a", ERR_BAD_REQUEST, NULL, NULL},
		{"**", ERR_BAD_REQUEST, NULL, NULL},
		{"ftp://host/a", ERR_BAD_REQUEST, NULL, NULL},
		{"/a b", ERR_BAD_REQUEST, NULL, NULL},
		{"/a\tb", ERR_BAD_REQUEST, NULL, NULL},
		{"/a\x01", ERR_BAD_REQUEST, NULL, NULL},
		{"/a\x7f", ERR_BAD_REQUEST, NULL, NULL},
		{"/a%00b", ERR_BAD_REQUEST, NULL, NULL},
		{"/a?b=%00", ERR_BAD_REQUEST, NULL, NULL},
		{"/a\xff", ERR_BAD_REQUEST, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct head h;
		enum err got = read_head(&h, "GET", cases[i].target, "HTTP/1.1",
		                         "Host: x\n");

		if (got != cases[i].want)
			fail_msg("%s: %s", cases[i].target, err_name(got));
		if (got)
			continue;
		assert_true(str_eq(h.path, str_from(cases[i].path)));
		assert_true(str_eq(h.query, str_from(cases[i].query)));
	}
}

static void sizes_have_their_own_answers(void **state)
{
	static char text[20000];
	struct head h = {0};

	(void)state;
	memset(text, 'a', sizeof(text));
	text[0] = '/';
	/* "GET " + target + " HTTP/1.1" is 13 more than the target. */
	head_target(&h, STR("GET"), (struct str){text, 4094 - 13},
	            STR("HTTP/1.1"));
	assert_int_equal(h.err, OK);
	head_target(&h, STR("GET"), (struct str){text, 4095 - 13},
	            STR("HTTP/1.1"));
	assert_int_equal(h.err, ERR_URI_TOO_LONG);

	h = (struct head){0};
	head_line(&h, STR("X"), (struct str){text, HEAD_FIELD_MAX - 3});
	assert_int_equal(h.err, OK);
	head_line(&h, STR("X"), (struct str){text, HEAD_FIELD_MAX - 2});
	assert_int_equal(h.err, ERR_HEADERS_LARGE);

	(void)read_head(&h, "GET", "/", "HTTP/1.1", "Host: x\n");
	for (int i = 0; i < HEAD_LINES_MAX - 1; i++)
		head_line(&h, STR("X"), STR("y"));
	assert_int_equal(head_end(&h), OK);
	head_line(&h, STR("X"), STR("y"));
	assert_int_equal(head_end(&h), ERR_HEADERS_LARGE);

	(void)read_head(&h, "GET", "/", "HTTP/1.1", "Host: x\n");
	head_line(&h, STR("X"), (struct str){text, 8000});
	head_line(&h, STR("X"), (struct str){text, 4400});
	assert_int_equal(head_end(&h), ERR_HEADERS_LARGE);
}

static void what_is_known_is_kept(void **state)
{
	struct head h;

	(void)state;
	assert_int_equal(read_head(&h, "POST", "/a", "HTTP/1.1",
	                           "Host: x\nContent-Length: 17\n"
	                           "authorization:  Bearer t \nX-API-KEY: k\n"
	                           "User-Agent: first\nUser-Agent: second\n"),
	                 OK);
	assert_true(h.has_length);
	assert_int_equal(h.length, 17);
	assert_true(head_has_body(&h));
	assert_true(str_eq(h.authorization, STR("Bearer t")));
	assert_true(str_eq(h.api_key, STR("k")));
	assert_true(str_eq(h.user_agent, STR("first")));
	assert_int_equal(read_head(&h, "GET", "/a", "HTTP/1.0", ""), OK);
	assert_false(head_has_body(&h));
	/* Chunked came with 1.1; a later 1.x is read as 1.1. */
	assert_int_equal(read_head(&h, "POST", "/a", "HTTP/1.0",
	                           "Transfer-Encoding: chunked\n"),
	                 ERR_BAD_REQUEST);
	assert_int_equal(read_head(&h, "GET", "/a", "HTTP/1.2", ""),
	                 ERR_BAD_REQUEST);
}

static void only_sound_request_ids_are_kept(void **state)
{
	char longest[130];

	(void)state;
	memset(longest, 'a', sizeof(longest));
	assert_true(head_request_id_valid(STR("a")));
	assert_true(head_request_id_valid(STR("A-z_0.9")));
	assert_true(head_request_id_valid((struct str){longest, 128}));
	assert_false(head_request_id_valid((struct str){longest, 129}));
	assert_false(head_request_id_valid(STR("")));
	assert_false(head_request_id_valid(STR("a b")));
	assert_false(head_request_id_valid(STR("a\"b")));
	assert_false(head_request_id_valid(STR("a\nb")));
	assert_false(head_request_id_valid(STR("\xc3\xa9")));
	assert_false(head_request_id_valid(STR("@")));
	assert_false(head_request_id_valid(STR("[")));
}

static void json_is_json_in_utf8(void **state)
{
	static const struct {
		const char *text;
		bool want;
	} cases[] = {
		{"application/json", true},
		{"Application/JSON", true},
		{"application/json; charset=utf-8", true},
		{"application/json;charset=\"UTF-8\" ; x=y", true},
		{"application/json;", true},
		{"application/json; charset=latin1", false},
		{"application/jsonp", false},
		{"application/x-www-form-urlencoded", false},
		{"text/json", false},
		{"", false},
		{";", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		if (head_is_json(str_from(cases[i].text)) != cases[i].want)
			fail_msg("%s", cases[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			heads_on_which_readers_could_disagree_are_refused),
		cmocka_unit_test(targets_have_neither_controls_nor_hidden_ends),
		cmocka_unit_test(sizes_have_their_own_answers),
		cmocka_unit_test(what_is_known_is_kept),
		cmocka_unit_test(only_sound_request_ids_are_kept),
		cmocka_unit_test(json_is_json_in_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
