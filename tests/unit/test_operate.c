/* What an administrator may have a service do. */
#include "common/service/operate.h"

#include "common/base/clock.h"
#include "common/base/conf.h"
#include "common/codec/mp.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct cached *cache_in_memory(void)
{
	const struct settings conf = {.cache_memory_mb = 1,
	                              .cache_degraded_ttl_s = 5,
	                              .redis_url = STR("")};

	return cached_new(&conf, "test");
}

static enum err load(void *arg, struct buf *out)
{
	unsigned *loads = arg;

	++*loads;
	buf_str(out, STR("v"));
	return OK;
}

static unsigned loads_of(struct cached *c, const char *key, const char *tag)
{
	unsigned loads = 0;
	const struct cache_want w = {.key = str_from(key),
	                             .ttl_ms = 60000,
	                             .now_ms = mono_ms(),
	                             .deadline_ms = mono_ms() + 10000,
	                             .tags_n = 1,
	                             .tags = {str_from(tag)},
	                             .load = load,
	                             .arg = &loads};
	AUTO(cache_value) v = NULL;

	assert_int_equal(cache_load(cached_cache(c), &w, &v, NULL), OK);
	return loads;
}

static enum err have(struct cached *c, const char *act, const char *tag,
                     struct buf *reply)
{
	AUTO(arena) a = arena_new(4096);
	struct ctx cx = {.service = "test", .arena = a, .sub = STR("sub")};
	AUTO_BUF body = {0};

	mp_map(&body, tag ? 2 : 1);
	mp_kv_text(&body, "do", act);
	if (tag)
		mp_kv_text(&body, "tag", tag);
	return operate(&(struct operated){.cached = c}, &cx, buf_view(&body),
	               reply);
}

static void a_clear_forgets_all_and_a_tag_its_own(void **state)
{
	AUTO(cached) c = cache_in_memory();
	AUTO_BUF reply = {0};

	(void)state;
	assert_int_equal(loads_of(c, "a", "red"), 1);
	assert_int_equal(loads_of(c, "b", "blue"), 1);
	assert_int_equal(have(c, "cache.forget", "red", &reply), OK);
	assert_int_equal(loads_of(c, "a", "red"), 1);
	assert_int_equal(loads_of(c, "b", "blue"), 0);
	assert_true(mp_find_bool(buf_view(&reply), "cached", false));
	assert_false(mp_find_bool(buf_view(&reply), "shared", true));
	buf_clear(&reply);
	assert_int_equal(have(c, "cache.clear", NULL, &reply), OK);
	assert_int_equal(loads_of(c, "a", "red"), 1);
	assert_int_equal(loads_of(c, "b", "blue"), 1);
	buf_clear(&reply);
	assert_int_equal(have(c, "breaker.reset", NULL, &reply), OK);
	assert_int_equal(loads_of(c, "b", "blue"), 0);
}

static void a_service_without_a_cache_has_nothing_to_do(void **state)
{
	static const char *const acts[] = {"cache.clear", "cache.forget",
	                                   "breaker.reset"};

	(void)state;
	for (size_t i = 0; i < COUNTOF(acts); i++) {
		AUTO_BUF reply = {0};

		assert_int_equal(have(NULL, acts[i], "tag", &reply), OK);
		assert_false(mp_find_bool(buf_view(&reply), "cached", true));
	}
}

static void count(void *arg)
{
	++*(unsigned *)arg;
}

static void models_are_reset_where_there_are_some(void **state)
{
	AUTO(arena) a = arena_new(4096);
	struct ctx cx = {.service = "test", .arena = a};
	AUTO_BUF reply = {0};
	AUTO_BUF body = {0};
	unsigned n = 0;
	const struct operated on[] = {{.cached = NULL},
	                              {.llm_reset = count, .arg = &n}};

	(void)state;
	mp_map(&body, 1);
	mp_kv_text(&body, "do", "llm.reset");
	for (size_t i = 0; i < COUNTOF(on); i++) {
		assert_int_equal(operate(&on[i], &cx, buf_view(&body), &reply),
		                 OK);
		assert_int_equal(n, i);
	}
}

static void other_acts_and_tags_are_refused(void **state)
{
	static const char long_tag[OPERATE_TAG_MAX + 2] =
		"0123456789012345678901234567890123456789012345678901234567890"
		"1234";
	static const struct {
		const char *act, *tag;
	} cases[] = {
		{"", NULL},
		{"cache.flushall", NULL},
		{"cache.forget", NULL},
		{"cache.forget", ""},
		{"cache.forget", long_tag},
	};
	AUTO(cached) c = cache_in_memory();

	(void)state;
	assert_int_equal(loads_of(c, "a", "red"), 1);
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF reply = {0};

		assert_int_equal(have(c, cases[i].act, cases[i].tag, &reply),
		                 ERR_INVALID);
		assert_int_equal(reply.n, 0);
	}
	assert_int_equal(loads_of(c, "a", "red"), 0);
}

static void bodies_that_are_none_are_refused(void **state)
{
	static const struct str bodies[] = {
		{"", 0}, {"\xc1", 1}, {"\x93\x01\x02\x03", 4}, {"\x81\xa2", 2}};
	AUTO(arena) a = arena_new(4096);
	AUTO_BUF reply = {0};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bodies); i++) {
		struct ctx cx = {.service = "test", .arena = a};

		assert_int_equal(operate(&(struct operated){0}, &cx, bodies[i],
		                         &reply),
		                 ERR_INVALID);
	}
}

static void without_memory_the_reply_says_so_and_it_is_done(void **state)
{
	AUTO(cached) c = cache_in_memory();
	bool failed = true;

	(void)state;
	for (unsigned n = 1; failed; n++) {
		AUTO_BUF reply = {0};
		AUTO(arena) a = arena_new(4096);
		struct ctx cx = {.service = "test", .arena = a};
		AUTO_BUF body = {0};
		enum err e;

		(void)loads_of(c, "a", "red");
		mp_map(&body, 1);
		mp_kv_text(&body, "do", "cache.clear");
		alloc_fault_arm(n);
		e = operate(&(struct operated){.cached = c}, &cx,
		            buf_view(&body), &reply);
		failed = alloc_fault_disarm();
		assert_int_equal(e, OK);
		assert_true(!reply.failed || failed);
		assert_int_equal(loads_of(c, "a", "red"), 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_clear_forgets_all_and_a_tag_its_own),
		cmocka_unit_test(a_service_without_a_cache_has_nothing_to_do),
		cmocka_unit_test(models_are_reset_where_there_are_some),
		cmocka_unit_test(other_acts_and_tags_are_refused),
		cmocka_unit_test(bodies_that_are_none_are_refused),
		cmocka_unit_test(
			without_memory_the_reply_says_so_and_it_is_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
