/* The last requests, and no more of them than there is room for. */
#include "gateway/recent.h"

#include "common/codec/json.h"
#include "common/codec/mp.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void put(struct recent *r, const char *rid, unsigned status)
{
	struct recent_entry e = {.route = &routes[0], .status = status};

	(void)snprintf(e.rid, sizeof(e.rid), "%s", rid);
	recent_put(r, &e);
}

static void the_latest_of_an_id_is_found(void **state)
{
	AUTO(recent) r = recent_new();
	struct recent_entry e = {.status = 7};

	(void)state;
	assert_false(recent_find(r, STR("a"), &e));
	assert_false(recent_find(r, STR(""), &e));
	assert_int_equal(e.status, 7);
	put(r, "a", 200);
	put(r, "ab", 404);
	put(r, "a", 503);
	assert_true(recent_find(r, STR("a"), &e));
	assert_int_equal(e.status, 503);
	assert_true(recent_find(r, STR("ab"), &e));
	assert_int_equal(e.status, 404);
}

static void the_oldest_gives_way(void **state)
{
	AUTO(recent) r = recent_new();
	struct recent_entry e;
	char rid[16];

	(void)state;
	put(r, "first", 200);
	for (unsigned i = 1; i < RECENT_MAX; i++) {
		(void)snprintf(rid, sizeof(rid), "r%u", i);
		put(r, rid, 200);
	}
	assert_true(recent_find(r, STR("first"), &e));
	put(r, "one more", 200);
	assert_false(recent_find(r, STR("first"), &e));
	assert_true(recent_find(r, STR("r1"), &e));
}

static void whatever_it_holds_is_json(void **state)
{
	static const struct route *const some[] = {NULL, &routes[0]};

	(void)state;
	for (size_t i = 0; i < COUNTOF(some); i++) {
		struct recent_entry e = {.route = some[i],
		                         .verb = VERB_OTHER,
		                         .err = i ? ERR_BUSY : OK,
		                         .trip = {.n = (unsigned)i,
		                                  .attempts = (unsigned)i},
		                         .times = {.total = UINT64_MAX}};
		struct json_error at = {0};
		AUTO_BUF text = {0};
		AUTO_BUF mp = {0};

		(void)snprintf(e.rid, sizeof(e.rid), "\"\\\n\xff");
		recent_write(&text, &e);
		assert_true(json_to_mp(buf_view(&text), &mp, &at));
		assert_true(
			mp_find_str(buf_view(&mp), "request_id", STR("")).n >
			0);
	}
}

static void without_memory_there_is_none(void **state)
{
	(void)state;
	alloc_fault_arm(1);
	assert_null(recent_new());
	assert_true(alloc_fault_disarm());
	recent_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_latest_of_an_id_is_found),
		cmocka_unit_test(the_oldest_gives_way),
		cmocka_unit_test(whatever_it_holds_is_json),
		cmocka_unit_test(without_memory_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
