#include "gateway/credcache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void a_full_cache_spares_what_was_used(void **state)
{
	AUTO(credcache) c = credcache_new(CREDCACHE_WAYS);
	const struct cred v = {.until_ms = 100};
	struct digest used = credcache_digest(c, CRED_TOKEN, STR("used"));

	(void)state;
	credcache_put(c, &used, &v, 0);
	for (unsigned i = 0; i < 100; i++) {
		char name[16];
		struct digest d;

		(void)snprintf(name, sizeof(name), "%u", i);
		d = credcache_digest(c, CRED_TOKEN, str_from(name));
		assert_non_null(credcache_get(c, &used, 1));
		credcache_put(c, &d, &v, 1);
	}
	assert_non_null(credcache_get(c, &used, 99));
	assert_null(credcache_get(c, &used, 100));
	assert_true(credcache_stats(c).entries <= CREDCACHE_WAYS);
}

static void a_refusal_takes_no_persons_place(void **state)
{
	AUTO(credcache) c = credcache_new(CREDCACHE_WAYS);
	const struct cred good = {.until_ms = 100};
	const struct cred bad = {.verdict = ERR_BAD_TOKEN, .until_ms = 100};
	struct digest d[CREDCACHE_WAYS];
	struct digest other = credcache_digest(c, CRED_TOKEN, STR("other"));

	(void)state;
	for (size_t i = 0; i < CREDCACHE_WAYS; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "%zu", i);
		d[i] = credcache_digest(c, CRED_TOKEN, str_from(name));
		credcache_put(c, &d[i], &good, 0);
	}
	credcache_put(c, &other, &bad, 1);
	assert_null(credcache_get(c, &other, 1));
	for (size_t i = 0; i < CREDCACHE_WAYS; i++)
		assert_non_null(credcache_get(c, &d[i], 1));
	/* Once they are outdated it does. */
	credcache_put(c, &other, &(struct cred){.until_ms = 200}, 100);
	assert_non_null(credcache_get(c, &other, 100));
}

static void a_token_and_a_key_of_the_same_text_are_two(void **state)
{
	AUTO(credcache) c = credcache_new(64);
	struct digest a = credcache_digest(c, CRED_TOKEN, STR("same"));
	struct digest b = credcache_digest(c, CRED_KEY, STR("same"));

	(void)state;
	assert_memory_not_equal(&a, &b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_cache_spares_what_was_used),
		cmocka_unit_test(a_refusal_takes_no_persons_place),
		cmocka_unit_test(a_token_and_a_key_of_the_same_text_are_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
