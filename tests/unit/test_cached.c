/* The cache of a service: from settings, in figures and health, in replies. */
#include "common/service/cached.h"

#include "common/base/clock.h"
#include "common/base/conf.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct settings settings(const char *redis_url)
{
	return (struct settings){.cache_memory_mb = 1,
	                         .cache_degraded_ttl_s = 5,
	                         .redis_url = str_from(redis_url),
	                         .redis_connect_timeout_s = 1,
	                         .redis_timeout_s = 1,
	                         .redis_soft_timeout_ms = 50};
}

static enum err load(void *arg, struct buf *out)
{
	(void)arg;
	buf_str(out, STR("v"));
	return OK;
}

static void use(struct cache *c)
{
	const struct cache_want w = {.key = STR("k"),
	                             .ttl_ms = 1000,
	                             .now_ms = mono_ms(),
	                             .deadline_ms = mono_ms() + 10000,
	                             .load = load};
	AUTO(cache_value) v = NULL;

	assert_int_equal(cache_load(c, &w, &v, NULL), OK);
	assert_true(str_eq(cache_bytes(v), STR("v")));
}

static void without_an_url_there_is_memory_only(void **state)
{
	const struct settings conf = settings("");
	AUTO(cached) c = cached_new(&conf, "test");
	struct cached_figures f;

	(void)state;
	assert_non_null(c);
	assert_false(cached_is_shared(c));
	use(cached_cache(c));
	cached_figures(c, &f);
	assert_int_equal(f.memory.loads, 1);
	assert_int_equal(f.remote.gets, 0);
	assert_int_equal(f.proof_age_ms, 0);
}

static void a_store_that_is_not_there_costs_nobody_an_answer(void **state)
{
	const struct settings conf =
		settings("redis+unix:///nonexistent/redis.sock");
	AUTO(cached) c = cached_new(&conf, "test");
	struct cached_figures f;
	char detail[160];

	(void)state;
	assert_non_null(c);
	assert_true(cached_is_shared(c));
	use(cached_cache(c));
	cached_figures(c, &f);
	assert_int_equal(f.remote.state, REMOTE_AWAY);
	assert_int_equal(f.remote.gets, 1);
	assert_int_equal(f.remote_misses, 1);
	assert_int_equal(cached_check(c, detail, sizeof(detail)), HEALTH_DOWN);
	assert_non_null(strstr(detail, "away, breaker closed"));
}

static struct ctx context(struct arena *a)
{
	return (struct ctx){.service = "test",
	                    .arena = a,
	                    .rid = STR("rid"),
	                    .sub = STR("sub"),
	                    .lang = STR("en"),
	                    .idk = STR("key"),
	                    .role = ROLE_ADMIN,
	                    .problem = {.code = ERR_DENIED}};
}

static void a_reply_gets_one_header_more_while_there_is_room(void **state)
{
	const struct cache_info info = {.from = CACHE_FROM_MEMORY,
	                                .ttl_ms = 2000};
	AUTO(arena) a = arena_new(4096);
	struct ctx cx = context(a);
	struct reply out = {0};

	(void)state;
	cached_tell(&out, &cx, &info);
	assert_int_equal(out.headers_n, 1);
	assert_true(str_eq(out.headers[0].name, STR("Cache-Status")));
	assert_true(str_eq(out.headers[0].value,
	                   STR("kae-test; hit; ttl=2; detail=memory")));
	for (int i = 0; i < REPLY_HEADERS_MAX + 3; i++)
		cached_tell(&out, &cx, &info);
	assert_int_equal(out.headers_n, REPLY_HEADERS_MAX);
}

static void a_context_outlives_its_request(void **state)
{
	struct arena *a = arena_new(4096);
	struct ctx cx = context(a);
	AUTO(cached_cx) copy = NULL;
	char sub[] = "sub";

	(void)state;
	cx.sub = (struct str){sub, 3};
	copy = cached_cx_new(&cx, 60000);
	assert_non_null(copy);
	arena_free(a);
	memset(sub, 'x', 3);
	memset(&cx, 0, sizeof(cx));
	assert_true(str_eq(copy->sub, STR("sub")));
	assert_true(str_eq(copy->rid, STR("rid")));
	assert_true(str_eq(copy->lang, STR("en")));
	assert_string_equal(copy->service, "test");
	assert_int_equal(copy->role, ROLE_ADMIN);
	assert_in_range(copy->deadline_ms, mono_ms(), mono_ms() + 60000);
	assert_non_null(arena_alloc(copy->arena, 100));
	/* What belongs to the request alone has stayed there. */
	assert_int_equal(copy->idk.n, 0);
	assert_int_equal(copy->problem.code, OK);
	assert_null(copy->effect);
}

static bool use_everything(void)
{
	const struct settings conf =
		settings("redis+unix:///nonexistent/redis.sock");
	AUTO(cached) c = cached_new(&conf, "test");
	AUTO(arena) a = arena_new(4096);
	AUTO(cached_cx) copy = NULL;
	struct ctx cx = context(a);
	struct reply out = {0};

	if (!c || !a)
		return false;
	cached_tell(&out, &cx, &(struct cache_info){0});
	copy = cached_cx_new(&cx, 1);
	return copy && out.headers_n == 1;
}

static void every_allocation_may_fail(void **state)
{
	unsigned n = 1;

	(void)state;
	for (;; n++) {
		alloc_fault_arm(n);
		(void)use_everything();
		if (!alloc_fault_disarm())
			break;
	}
	assert_true(n > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_an_url_there_is_memory_only),
		cmocka_unit_test(
			a_store_that_is_not_there_costs_nobody_an_answer),
		cmocka_unit_test(
			a_reply_gets_one_header_more_while_there_is_room),
		cmocka_unit_test(a_context_outlives_its_request),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
