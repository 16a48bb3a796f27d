#include "common/base/buf.h"
#include "gateway/cors.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct cors *with(enum env env, const char *origins, bool enabled,
                         const char **why)
{
	const struct settings conf = {
		.env = env,
		.cors_enabled = enabled,
		.cors_origins = str_from(origins),
	};

	return cors_new(&conf, why);
}

static void only_the_exact_origin_is_let_in(void **state)
{
	static const struct {
		const char *origin;
		enum cors_verdict want;
	} cases[] = {
		{"https://learn.example", CORS_EXACT},
		{"HTTPS://Learn.Example", CORS_EXACT},
		{"https://app.example:8443", CORS_EXACT},
		{"", CORS_NO},
		{"null", CORS_NO},
		{"*", CORS_NO},
		{"http://learn.example", CORS_NO},
		{"https://learn.example:443", CORS_NO},
		{"https://learn.example:8443", CORS_NO},
		{"https://app.example", CORS_NO},
		{"https://learn.example.evil.test", CORS_NO},
		{"https://evil-learn.example", CORS_NO},
		{"https://learn.example/", CORS_NO},
		{"https://learn.example, https://evil.test", CORS_NO},
		{"https://user@learn.example", CORS_NO},
		{"learn.example", CORS_NO},
	};
	const char *why = NULL;
	AUTO(cors)
	c = with(ENV_PRODUCTION,
	         " https://learn.example ,,https://app.example:8443", true,
	         &why);

	(void)state;
	assert_non_null(c);
	for (size_t i = 0; i < COUNTOF(cases); i++)
		if (cors_check(c, str_from(cases[i].origin)) != cases[i].want)
			fail_msg("%s", cases[i].origin);
}

static void a_star_outside_development_refuses_to_start(void **state)
{
	static const enum env envs[] = {ENV_TESTING, ENV_STAGING,
	                                ENV_PRODUCTION};
	const char *why = NULL;

	(void)state;
	for (size_t i = 0; i < COUNTOF(envs); i++) {
		assert_null(with(envs[i], "https://a.example,*", true, &why));
		assert_non_null(strstr(why, "\"*\""));
	}
}

static void a_star_in_development_gives_no_credentials(void **state)
{
	const char *why = NULL;
	AUTO(cors) c = with(ENV_DEVELOPMENT, "*,https://a.example", true, &why);

	(void)state;
	assert_non_null(c);
	assert_int_equal(cors_check(c, STR("https://b.example")), CORS_ANY);
	assert_int_equal(cors_check(c, STR("https://a.example")), CORS_EXACT);
	assert_int_equal(cors_check(c, STR("null")), CORS_NO);
	assert_int_equal(cors_check(c, STR("")), CORS_NO);
}

static void development_knows_the_usual_ports(void **state)
{
	const char *why = NULL;
	AUTO(cors) c = with(ENV_DEVELOPMENT, "", true, &why);
	AUTO(cors) p = with(ENV_PRODUCTION, "", true, &why);

	(void)state;
	assert_non_null(c);
	assert_non_null(p);
	assert_int_equal(cors_check(c, STR("http://localhost:3000")),
	                 CORS_EXACT);
	assert_int_equal(cors_check(c, STR("http://localhost:5173")),
	                 CORS_EXACT);
	assert_int_equal(cors_check(c, STR("http://localhost:5174")),
	                 CORS_EXACT);
	assert_int_equal(cors_check(c, STR("http://localhost:8080")),
	                 CORS_EXACT);
	assert_int_equal(cors_check(c, STR("http://localhost:9999")), CORS_NO);
	assert_int_equal(cors_check(p, STR("http://localhost:3000")), CORS_NO);
}

static void what_is_no_origin_refuses_to_start(void **state)
{
	static const char *const lists[] = {
		"learn.example",
		"https://",
		"https://a.example/",
		"https://a.example/x",
		"https://a.example https://b.example",
		"ftp://a.example",
		"https://*.example",
		"https://user@a.example",
		"null",
		"https://a.example:",
		"https://a.example:0",
		"https://a.example:080",
		"https://a.example:65536",
		"https://a.example:http",
		"https://a.example:80:80",
		"https://:443",
		"https://[::1",
		"https://[::g]:443",
		"https://a[b]",
		"https://a.example?",
		"https://a.example#x",
		"file://",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(lists); i++) {
		const char *why = NULL;

		if (with(ENV_DEVELOPMENT, lists[i], true, &why))
			fail_msg("%s", lists[i]);
		assert_non_null(why);
	}
}

static void hosts_ports_and_addresses_are_origins(void **state)
{
	static const char *const origins[] = {
		"http://localhost:3000",
		"https://a.example:65535",
		"https://xn--bcher-kva.example",
		"http://127.0.0.1:8080",
		"http://[::1]",
		"http://[2001:DB8::1]:8443",
		"https://under_score.example",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(origins); i++) {
		const char *why = NULL;
		AUTO(cors) c = with(ENV_PRODUCTION, origins[i], true, &why);

		if (!c || cors_check(c, str_from(origins[i])) != CORS_EXACT)
			fail_msg("%s", origins[i]);
	}
}

/* Word for word: front ends are written against it. */
static void the_headers_name_what_clients_use(void **state)
{
	(void)state;
	assert_string_equal(CORS_METHODS,
	                    "GET, POST, PUT, PATCH, DELETE, OPTIONS");
	assert_string_equal(
		CORS_HEADERS,
		"Content-Type, Authorization, X-API-Key, X-CSRF-Token, "
		"Accept-Language, X-User-ID, X-Request-ID, X-Timestamp, "
		"X-Signature, X-Encrypted-Request, Idempotency-Key, "
		"traceparent, Last-Event-ID");
	assert_string_equal(
		CORS_EXPOSED,
		"X-Request-ID, X-RateLimit-Limit, X-RateLimit-Remaining, "
		"X-RateLimit-Reset, RateLimit, RateLimit-Policy, Retry-After, "
		"Idempotent-Replayed, Quota-Warning");
	assert_string_equal(CORS_MAX_AGE, "3600");
}

static void more_origins_than_fit_refuse_to_start(void **state)
{
	AUTO_BUF list = {0};
	const char *why = NULL;

	(void)state;
	for (int i = 0; i < CORS_ORIGINS_MAX; i++)
		buf_printf(&list, "https://a%d.example,", i);
	buf_char(&list, '\0');
	cors_free(with(ENV_PRODUCTION, list.p, true, &why));
	assert_null(why);
	list.n--;
	buf_str(&list, STR("https://b.example"));
	buf_char(&list, '\0');
	assert_null(with(ENV_PRODUCTION, list.p, true, &why));
	assert_non_null(why);
}

static void switched_off_it_lets_nobody_in(void **state)
{
	const char *why = NULL;
	AUTO(cors) c = with(ENV_DEVELOPMENT, "https://a.example", false, &why);

	(void)state;
	assert_non_null(c);
	assert_int_equal(cors_check(c, STR("https://a.example")), CORS_NO);
}

static void no_memory_makes_no_list(void **state)
{
	(void)state;
	for (unsigned n = 1;; n++) {
		const char *why = NULL;
		struct cors *c;
		bool failed;

		alloc_fault_arm(n);
		c = with(ENV_PRODUCTION, "https://a.example", true, &why);
		failed = alloc_fault_disarm();
		assert_int_equal(failed, c == NULL);
		cors_free(c);
		if (!failed)
			break;
		assert_non_null(why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_exact_origin_is_let_in),
		cmocka_unit_test(a_star_outside_development_refuses_to_start),
		cmocka_unit_test(a_star_in_development_gives_no_credentials),
		cmocka_unit_test(development_knows_the_usual_ports),
		cmocka_unit_test(what_is_no_origin_refuses_to_start),
		cmocka_unit_test(hosts_ports_and_addresses_are_origins),
		cmocka_unit_test(the_headers_name_what_clients_use),
		cmocka_unit_test(more_origins_than_fit_refuse_to_start),
		cmocka_unit_test(switched_off_it_lets_nobody_in),
		cmocka_unit_test(no_memory_makes_no_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
