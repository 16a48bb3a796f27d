/* What is understood of providers: their settings, their streams, their answers
 * and their errors.  Against a provider on a socket: tests/fault/test_llm.py. */
#include "svc-content/llm/inner.h"

#include "common/base/clock.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* --- streams ----------------------------------------------------------------------- */

static bool hear(void *arg, struct str data)
{
	buf_printf(arg, "[%.*s]", STR_FMT(data));
	return true;
}

static void events_are_read_however_their_lines_end(void **state)
{
	static const struct {
		const char *in, *want;
	} cases[] = {
		{"data: a\n\n", "[a]"},
		{"data:a\r\n\r\n", "[a]"},
		{"data: a\r\rdata: b\r\r", "[a][b]"},
		{"data: a\ndata: b\n\n", "[a\nb]"},
		{"data:  a\n\n", "[ a]"},
		{"data\n\n", "[]"},
		{"\n\n\n", ""},
		{": a comment\n\ndata: a\n\n", "[a]"},
		{"event: e\nid: 7\nretry: 5\ndata: a\n\n", "[a]"},
		{"\xef\xbb\xbf"
	         "data: a\n\n",
	         "[a]"},
		{"data: a", "[a]"},
		{"data: a\n", "[a]"},
		{"data: a\r\ndata: b", "[a\nb]"},
		{"database: a\n\n", ""},
		{" data: a\n\n", ""},
		{"", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		for (size_t piece = 1; piece < 9; piece++) {
			struct str in = str_from(cases[i].in);
			struct sse s = {.has_data = false};
			AUTO_BUF heard = {0};

			while (in.n) {
				struct str part = {in.p,
				                   piece < in.n ? piece : in.n};

				assert_int_equal(
					sse_feed(&s, part, hear, &heard), OK);
				in.p += part.n;
				in.n -= part.n;
			}
			assert_int_equal(sse_end(&s, hear, &heard), OK);
			sse_fini(&s);
			if (!str_eq(buf_view(&heard), str_from(cases[i].want)))
				fail_msg("case %zu in %zu: %.*s", i, piece,
				         (int)heard.n, heard.p);
		}
	}
}

static void an_event_has_its_bound(void **state)
{
	static char line[1 << 16];
	struct sse s = {.has_data = false};
	AUTO_BUF heard = {0};
	enum err e = OK;
	size_t fed = 0;

	(void)state;
	memset(line, 'x', sizeof(line));
	while (!e && fed < 2 * SSE_EVENT_MAX) {
		e = sse_feed(&s, (struct str){line, sizeof(line)}, hear,
		             &heard);
		fed += sizeof(line);
	}
	assert_int_equal(e, ERR_TOO_LARGE);
	assert_true(fed <= SSE_EVENT_MAX + sizeof(line));
	sse_fini(&s);

	/* The same of many lines. */
	memcpy(line, "data: ", 6);
	line[sizeof(line) - 1] = '\n';
	for (e = OK, fed = 0; !e && fed < 2 * SSE_EVENT_MAX;
	     fed += sizeof(line))
		e = sse_feed(&s, (struct str){line, sizeof(line)}, hear,
		             &heard);
	assert_int_equal(e, ERR_TOO_LARGE);
	sse_fini(&s);
}

static bool hear_one(void *arg, struct str data)
{
	(void)hear(arg, data);
	return false;
}

static void nothing_is_told_after_a_no(void **state)
{
	struct sse s = {.has_data = false};
	AUTO_BUF heard = {0};

	(void)state;
	assert_int_equal(sse_feed(&s, STR("data: a\n\ndata: b\n\n"), hear_one,
	                          &heard),
	                 OK);
	assert_true(str_eq(buf_view(&heard), STR("[a]")));
	sse_fini(&s);
}

/* --- errors -------------------------------------------------------------------------- */

static void every_form_of_an_error_is_understood(void **state)
{
	static const struct {
		long status;
		const char *body;
		enum why why;
		int64_t wait_ms; /* -1: not told */
	} cases[] = {
		{400, "", WHY_BAD_REQUEST, -1},
		{404, "<html>", WHY_NOT_FOUND, -1},
		{413, "[]", WHY_TOO_LARGE, -1},
		{422, "{\"detail\":[{\"loc\":[\"body\"]}]}", WHY_BAD_REQUEST,
	         -1},
		{418, "", WHY_BAD_REQUEST, -1},
		{401, "", WHY_UNAUTHORIZED, -1},
		{403, "{", WHY_FORBIDDEN, -1},
		{301, "", WHY_REDIRECTED, -1},
		{408, "", WHY_SLOW_REQUEST, -1},
		{409, "", WHY_CONFLICT, -1},
		{425, "", WHY_TOO_EARLY, -1},
		{429, "", WHY_RATE_LIMITED, -1},
		{500, "null", WHY_SERVER_ERROR, -1},
		{529, "7", WHY_SERVER_ERROR, -1},
		{100, "", WHY_SERVER_ERROR, -1},
		{429, "{\"error\":{\"code\":\"insufficient_quota\"}}",
	         WHY_QUOTA_SPENT, -1},
		{429, "{\"error\":{\"type\":\"insufficient_quota\"}}",
	         WHY_QUOTA_SPENT, -1},
		{429, "{\"error\":\"please retry in 2s\"}", WHY_RATE_LIMITED,
	         2000},
		/* Words in a message decide nothing but how long to wait. */
		{429, "{\"error\":{\"message\":\"insufficient_quota\"}}",
	         WHY_RATE_LIMITED, -1},
		/* A code that is vaguer than the status does not, either. */
		{500, "{\"error\":{\"type\":\"invalid_request_error\"}}",
	         WHY_SERVER_ERROR, -1},
		{400,
	         "[{\"error\":{\"code\":400,\"status\":\"INVALID_ARGUMENT\","
	         "\"details\":[{\"reason\":\"API_KEY_INVALID\"}]}}]",
	         WHY_UNAUTHORIZED, -1},
		{429,
	         "[{\"error\":{\"code\":429,\"status\":"
	         "\"RESOURCE_EXHAUSTED\",\"details\":[{\"@type\":"
	         "\"x/google.rpc.RetryInfo\",\"retryDelay\":\"26s\"}]}}]",
	         WHY_RATE_LIMITED, 26000},
		{429,
	         "{\"error\":{\"message\":\"{\\\"error\\\":{\\\"message\\\":"
	         "\\\"Please retry in 20.04s.\\\"}}\"}}",
	         WHY_RATE_LIMITED, 20040},
		{429,
	         "{\"error\":{\"message\":\"retry in 9s\",\"details\":"
	         "[{\"retryDelay\":\"8.5s\"}]}}",
	         WHY_RATE_LIMITED, 8500},
		{400,
	         "{\"object\":\"error\",\"message\":\"m\",\"type\":"
	         "\"BadRequestError\",\"code\":400}",
	         WHY_BAD_REQUEST, -1},
		{400, "{\"error\":{\"code\":\"context_length_exceeded\"}}",
	         WHY_TOO_LARGE, -1},
		{500, "{\"detail\":{\"error\":{\"code\":\"content_filter\"}}}",
	         WHY_FILTERED, -1},
	};
	const struct hints none = {.told = false};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct llm_fault f = fault_of(cases[i].status, &none,
		                              str_from(cases[i].body));

		if (f.why != cases[i].why ||
		    f.hinted != (cases[i].wait_ms >= 0) ||
		    (f.hinted && f.wait_ms != (uint64_t)cases[i].wait_ms))
			fail_msg("case %zu: %s, %d %llu", i, why_name(f.why),
			         f.hinted, (unsigned long long)f.wait_ms);
	}
}

static void errors_in_errors_come_to_an_end(void **state)
{
	const struct hints none = {.told = false};
	AUTO_BUF deep = {0};

	(void)state;
	for (int i = 0; i < 1000; i++)
		buf_str(&deep, STR("{\"error\":"));
	buf_str(&deep, STR("{\"code\":\"insufficient_quota\"}"));
	for (int i = 0; i < 1000; i++)
		buf_char(&deep, '}');
	assert_int_equal(fault_of(429, &none, buf_view(&deep)).why,
	                 WHY_RATE_LIMITED);
}

static void under_200_the_codes_decide(void **state)
{
	static const struct {
		const char *body;
		enum why why;
	} cases[] = {
		{"{\"error\":{\"code\":429}}", WHY_RATE_LIMITED},
		{"{\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\"}}",
	         WHY_SERVER_ERROR},
		{"{\"error\":{\"code\":\"rate_limit_exceeded\"}}",
	         WHY_RATE_LIMITED},
		{"{\"error\":{\"type\":\"invalid_request_error\"}}",
	         WHY_BAD_REQUEST},
		{"{\"error\":{\"type\":\"server_error\"}}", WHY_SERVER_ERROR},
		{"{\"error\":{\"code\":7}}", WHY_SERVER_ERROR},
		{"{\"error\":\"text\"}", WHY_SERVER_ERROR},
		{"[{\"error\":{\"code\":401}}]", WHY_UNAUTHORIZED},
	};
	const struct hints none = {.told = false};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct completion r = {.finished = false};
		struct llm_fault f = {.why = WHY_NONE};
		AUTO_BUF text = {0};

		assert_int_equal(reply_take(&r, str_from(cases[i].body), &text,
		                            &none, &f),
		                 REPLY_ERROR);
		if (f.why != cases[i].why)
			fail_msg("case %zu: %s", i, why_name(f.why));
	}
}

static void headers_say_how_long_to_wait(void **state)
{
	static const struct {
		const char *lines[4];
		int64_t wait_ms; /* -1: not told */
	} cases[] = {
		{{"Retry-After: 7"}, 7000},
		{{"retry-after:0"}, 0},
		{{"Retry-After: Thu, 01 Jan 1970 00:20:00 GMT"}, 200000},
		{{"Retry-After: Thu, 01 Jan 1970 00:00:00 GMT"}, 0},
		{{"Retry-After: soon"}, -1},
		{{"Retry-After: 99999999999999999999"}, 86400000},
		{{"retry-after-ms: 150"}, 150},
		{{"Retry-After: 1", "retry-after-ms: 150"}, 150},
		{{"retry-after-ms: 150", "Retry-After: 1"}, 150},
		{{"X-RateLimit-Reset-Requests: 1m0s",
	          "x-ratelimit-reset-tokens: 5ms"},
	         5},
		{{"x-ratelimit-reset-requests: 1m0s",
	          "x-ratelimit-remaining-requests: 0",
	          "x-ratelimit-reset-tokens: 5ms"},
	         60000},
		{{"x-ratelimit-reset-tokens: 1090"}, 1090000},
		{{"x-ratelimit-reset-tokens: 2000000000"}, 86400000},
		{{"x-retry-after: 7"}, -1},
		{{"Retry-After"}, -1},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct hints h = {.told = false};
		struct llm_fault f;

		for (size_t k = 0; k < 4 && cases[i].lines[k]; k++)
			hints_header(&h, str_from(cases[i].lines[k]), 1000);
		f = fault_of(429, &h, STR(""));
		if (f.hinted != (cases[i].wait_ms >= 0) ||
		    (f.hinted && f.wait_ms != (uint64_t)cases[i].wait_ms))
			fail_msg("case %zu: %d %llu", i, f.hinted,
			         (unsigned long long)f.wait_ms);
	}
}

static void durations_are_read_as_they_are_written(void **state)
{
	static const struct {
		const char *in;
		int64_t want; /* -1: none */
	} cases[] = {
		{"2", 2000},
		{"1m26.5s", 86500},
		{"20.04s", 20040},
		{"17ms", 17},
		{"6m0s", 360000},
		{"1h", 3600000},
		{"20 seconds.", 20000},
		{"5 minutes", 300000},
		{"300 milliseconds", 300},
		{"0s", 0},
		{"0.5", 500},
		{"1.s", 1000},
		{"s", -1},
		{"", -1},
		{"-1s", -1},
		{"99999999999h", 86400000},
		{"1s2", 3000},
		{"2 later", 2000},
		{"1.0004s", 1000},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		uint64_t got = 0;
		bool any = duration_ms(str_from(cases[i].in), &got);

		if (any != (cases[i].want >= 0) ||
		    (any && got != (uint64_t)cases[i].want))
			fail_msg("%s: %llu", cases[i].in,
			         (unsigned long long)got);
	}
}

/* --- answers ---------------------------------------------------------------------------- */

static void what_is_no_answer_is_not_taken_for_one(void **state)
{
	static const struct {
		const char *in;
		enum reply_is want;
	} cases[] = {
		{"[DONE]", REPLY_DONE},
		{" [DONE] ", REPLY_DONE},
		{"", REPLY_UNLIKE},
		{"null", REPLY_UNLIKE},
		{"7", REPLY_UNLIKE},
		{"[]", REPLY_UNLIKE},
		{"{}", REPLY_UNLIKE},
		{"{\"choices\":7}", REPLY_UNLIKE},
		{"{\"choices\":[]}", REPLY_PART},
		{"{\"choices\":[7,null,[]]}", REPLY_PART},
		{"{\"choices\":[{\"delta\":null}]}", REPLY_PART},
		{"{\"choices\":[{\"delta\":{\"content\":7}}]}", REPLY_PART},
		{"{\"choices\":[{\"delta\":{\"content\":null}}]}", REPLY_PART},
		{"{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}",
	         REPLY_PART},
		{"{\"choices\":[],\"usage\":{\"prompt_tokens\":-1}}",
	         REPLY_PART},
		{"{\"error\":null,\"choices\":[]}", REPLY_PART},
		{"{\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}",
	         REPLY_UNLIKE},
	};
	const struct hints none = {.told = false};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct completion r = {.finished = false};
		struct llm_fault f;
		AUTO_BUF text = {0};
		enum reply_is is =
			reply_take(&r, str_from(cases[i].in), &text, &none, &f);

		if (is != cases[i].want || text.n || r.finished || r.counted)
			fail_msg("case %zu: %d", i, (int)is);
	}
}

static void an_answer_is_taken_in_all_its_forms(void **state)
{
	static const struct {
		const char *in, *text;
		enum llm_finish finish;
	} cases[] = {
		{"{\"choices\":[{\"message\":{\"content\":\"a\"},"
	         "\"finish_reason\":\"stop\"}]}",
	         "a", LLM_STOP},
		{"{\"choices\":[{\"delta\":{\"content\":\"a\"},"
	         "\"finish_reason\":\"MAX_TOKENS\"}]}",
	         "a", LLM_LENGTH},
		{"{\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\","
	         "\"text\":\"a\"},{\"type\":\"thinking\"},{\"text\":\"b\"}]},"
	         "\"finish_reason\":\"SAFETY\"}]}",
	         "ab", LLM_FILTER},
		{"{\"choices\":[{\"message\":{\"content\":\"\"},"
	         "\"finish_reason\":\"new_one\"}]}",
	         "", LLM_OTHER},
	};
	const struct hints none = {.told = false};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct completion r = {.finished = false};
		struct llm_fault f;
		AUTO_BUF text = {0};

		assert_int_equal(reply_take(&r, str_from(cases[i].in), &text,
		                            &none, &f),
		                 REPLY_PART);
		assert_true(r.finished);
		assert_int_equal(r.finish, cases[i].finish);
		assert_true(str_eq(buf_view(&text), str_from(cases[i].text)));
	}
}

/* --- settings ------------------------------------------------------------------------------ */

/* Everything that a test does not set is as nobody had set it. */
static void unset(struct settings *conf)
{
	assert_true(conf_load(conf, FOR_AUTH, stderr));
	conf->env = ENV_PRODUCTION;
}

static struct str copied(const char *text)
{
	return (struct str){strdup(text), strlen(text)};
}

static void settings_that_cannot_work_are_refused(void **state)
{
	static const struct {
		const char *url, *model, *header, *can, *key, *price;
		const char *why; /* NULL: they can */
	} cases[] = {
		{"https://h/v1", "m", "bearer", "", "", "", NULL},
		{"https://h:8443/v1/", "m", "api-key", " vision , streaming ",
	         "k", "0.1", NULL},
		{"http://localhost:8000/v1", "m", "bearer", "", "", "", NULL},
		{"http://127.0.0.1/v1", "m", "bearer", "", "", "", NULL},
		{"http://[::1]:8000/v1", "m", "bearer", "", "", "", NULL},
		{"http://127.0.0.1.evil.example/v1", "m", "bearer", "", "", "",
	         "LLM_BASE_URL"},
		{"http://localhost.evil.example/v1", "m", "bearer", "", "", "",
	         "LLM_BASE_URL"},
		{"http://10.0.0.1/v1", "m", "bearer", "", "", "",
	         "LLM_BASE_URL"},
		{"ftp://h/v1", "m", "bearer", "", "", "", "LLM_BASE_URL"},
		{"file:///etc/passwd", "m", "bearer", "", "", "",
	         "LLM_BASE_URL"},
		{"https://", "m", "bearer", "", "", "", "LLM_BASE_URL"},
		{"https://u:p@h/v1", "m", "bearer", "", "", "", "LLM_BASE_URL"},
		{"https://h/v1?key=k", "m", "bearer", "", "", "",
	         "LLM_BASE_URL"},
		{"https://h/v 1", "m", "bearer", "", "", "", "LLM_BASE_URL"},
		{"https://h", "", "bearer", "", "", "", "LLM_MODEL"},
		{"https://h", "m", "basic", "", "", "", "LLM_HEADER"},
		{"https://h", "m", "bearer", "json", "", "",
	         "LLM_CAPABILITIES"},
		{"https://h", "m", "bearer", "", "a b", "", "LLM_API_KEY"},
		{"https://h", "m", "bearer", "", "a\r\nX: y", "",
	         "LLM_API_KEY"},
		{"https://h", "m", "bearer", "", "", "cheap", "LLM_PRICE_IN"},
		{"", "", "bearer", "", "", "", NULL},
		{"", "", "bearer", "", "key", "", "LLM_API_KEY"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct settings conf;
		const struct str texts[] = {
			copied(cases[i].url),    copied(cases[i].model),
			copied(cases[i].header), copied(cases[i].can),
			copied(cases[i].key),    copied(cases[i].price)};
		struct str *of[] = {&conf.llm_base_url, &conf.llm_model,
		                    &conf.llm_header,   &conf.llm_capabilities,
		                    &conf.llm_api_key,  &conf.llm_price_in};
		const char *why;

		unset(&conf);
		for (size_t k = 0; k < COUNTOF(of); k++) {
			free((void *)(uintptr_t)of[k]->p);
			*of[k] = texts[k];
		}
		why = llm_check(&conf);
		if (!why != !cases[i].why ||
		    (why && !str_starts(str_from(why), str_from(cases[i].why))))
			fail_msg("case %zu: %s", i, why ? why : "taken");
		conf_fini(&conf);
	}
}

static void prices_are_dollars(void **state)
{
	static const struct {
		const char *in;
		int64_t want; /* -1: refused */
	} cases[] = {
		{"", 0},
		{"0", 0},
		{"0.10", 100000},
		{"15", 15000000},
		{"2.500001", 2500001},
		{"0.075", 75000},
		{"1.", -1},
		{".5", -1},
		{"-1", -1},
		{"1.0000001", -1},
		{"1e3", -1},
		{"$1", -1},
		{"9999999", -1},
		{"1.2.3", -1},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		uint64_t got = 0;
		bool ok = price_read(str_from(cases[i].in), &got);

		if (ok != (cases[i].want >= 0) ||
		    (ok && got != (uint64_t)cases[i].want))
			fail_msg("%s: %llu", cases[i].in,
			         (unsigned long long)got);
	}
}

static void costs_do_not_overflow_and_tokens_are_guessed(void **state)
{
	static struct llm l = {.n = 1};

	(void)state;
	l.providers[0].price_in = 100000;
	l.providers[0].price_out = 400000;
	assert_int_equal(llm_cost(&l, 0, 0, 0), 0);
	assert_int_equal(llm_cost(&l, 0, 1, 0), 1); /* rounded up */
	assert_int_equal(llm_cost(&l, 0, 1000000, 1000000), 500000);
	assert_true(llm_cost(&l, 0, UINT64_MAX, 1) > 1000000);
	assert_int_equal(llm_tokens(STR("")), 0);
	assert_int_equal(llm_tokens(STR("four and four.")), 4);
	assert_int_equal(llm_tokens(STR("\xe5\x85\x89\xe5\x90\x88")), 2);
}

/* --- memory ------------------------------------------------------------------------------------ */

static void use_all(struct settings *conf)
{
	const struct llm_message messages[] = {
		{.role = LLM_USER,
	         .text = STR("q"),
	         .image = STR("bytes"),
	         .image_type = STR("image/png")}};
	const struct llm_ask ask = {.messages = messages,
	                            .messages_n = 1,
	                            .endpoint = "test",
	                            .schema_name = STR("s"),
	                            .schema = STR("{}"),
	                            .temperature = 0.5,
	                            .deadline_ms = mono_ms() + 60000};
	struct sse s = {.has_data = false};
	AUTO_BUF heard = {0};
	AUTO(llm) l = NULL;
	AUTO(llm_call) c = NULL;
	enum err e = sse_feed(&s, STR("data: a\ndata: b\n\n"), hear, &heard);

	assert_true(e == OK || e == ERR_NOMEM);
	sse_fini(&s);
	e = llm_start(conf, NULL, &l);
	assert_true(e ? e == ERR_NOMEM && !l : l != NULL);
	if (e)
		return;
	e = llm_run(l, &ask, &c);
	assert_true(e == OK || e == ERR_NOMEM);
	if (e)
		return;
	e = llm_result(c)->err;
	assert_true(e == ERR_UNAVAILABLE || e == ERR_NOMEM);
}

static void without_memory_nothing_is_lost_and_nothing_hangs(void **state)
{
	struct settings conf;
	bool failed = true;

	(void)state;
	unset(&conf);
	free((void *)(uintptr_t)conf.llm_base_url.p);
	free((void *)(uintptr_t)conf.llm_model.p);
	free((void *)(uintptr_t)conf.llm_capabilities.p);
	/* Nobody listens at the discard port. */
	conf.llm_base_url = copied("http://127.0.0.1:9");
	conf.llm_model = copied("m");
	conf.llm_capabilities = copied("vision,json_schema");
	conf.llm_retry_ms = 1;
	for (unsigned nth = 1; failed; nth++) {
		alloc_fault_arm(nth);
		use_all(&conf);
		failed = alloc_fault_disarm();
		assert_true(nth < 1000);
	}
	conf_fini(&conf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_are_read_however_their_lines_end),
		cmocka_unit_test(an_event_has_its_bound),
		cmocka_unit_test(nothing_is_told_after_a_no),
		cmocka_unit_test(every_form_of_an_error_is_understood),
		cmocka_unit_test(errors_in_errors_come_to_an_end),
		cmocka_unit_test(under_200_the_codes_decide),
		cmocka_unit_test(headers_say_how_long_to_wait),
		cmocka_unit_test(durations_are_read_as_they_are_written),
		cmocka_unit_test(what_is_no_answer_is_not_taken_for_one),
		cmocka_unit_test(an_answer_is_taken_in_all_its_forms),
		cmocka_unit_test(settings_that_cannot_work_are_refused),
		cmocka_unit_test(prices_are_dollars),
		cmocka_unit_test(costs_do_not_overflow_and_tokens_are_guessed),
		cmocka_unit_test(
			without_memory_nothing_is_lost_and_nothing_hangs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
