#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/ctx.h"
#include "tests/alloc_fault.h"

#include <stdalign.h>
#include <stdio.h>

/* --- buf ------------------------------------------------------------------- */

static void a_zeroed_buf_takes_bytes(void **state)
{
	AUTO_BUF b = {0};

	(void)state;
	buf_add(&b, "ab", 2);
	buf_char(&b, 'c');
	buf_str(&b, STR("d\0e"));
	buf_printf(&b, "%d-%s", 5, "x");
	buf_add(&b, NULL, 0);
	assert_true(str_eq(buf_view(&b), STR("abcd\0e5-x")));
	assert_false(b.failed);
	buf_clear(&b);
	assert_int_equal(b.n, 0);
	assert_true(b.cap > 0);
}

static void a_buf_ends_at_its_bound_and_says_so_until_cleared(void **state)
{
	AUTO_BUF b = {.max = 300};
	char many[301];

	(void)state;
	memset(many, 'x', sizeof(many));
	buf_add(&b, many, 300);
	assert_false(b.failed);
	buf_char(&b, 'y');
	assert_true(b.failed);
	assert_int_equal(b.n, 300);
	buf_clear(&b);
	buf_add(&b, many, 301);
	assert_true(b.failed);
	assert_int_equal(b.n, 0);
	buf_clear(&b);
	buf_add(&b, many, 300);
	assert_false(b.failed);
}

static void huge_requests_wrap_nothing(void **state)
{
	AUTO_BUF b = {0};

	(void)state;
	buf_char(&b, 'x');
	assert_false(buf_reserve(&b, SIZE_MAX));
	assert_true(b.failed);
	buf_clear(&b);
	assert_false(buf_reserve(&b, SIZE_MAX - 1));
	buf_clear(&b);
	assert_false(buf_reserve(&b, BUF_MAX_DEFAULT + 1));
}

static void a_buf_without_memory_keeps_what_it_had(void **state)
{
	char many[2000];
	bool more = true;

	(void)state;
	memset(many, 'x', sizeof(many));
	for (unsigned nth = 1; more; nth++) {
		AUTO_BUF b = {0};

		alloc_fault_arm(nth);
		buf_add(&b, many, 100);
		buf_add(&b, many, sizeof(many));
		buf_printf(&b, "%2000d", 1);
		more = alloc_fault_disarm();
		assert_int_equal(b.failed, more);
		assert_true(b.n == 0 || b.n == 100 || b.n == 2100 ||
		            b.n == 4100);
	}
}

/* --- arena ------------------------------------------------------------------ */

static void allocations_are_aligned_and_apart(void **state)
{
	AUTO(arena) a = arena_new(1 << 20);
	unsigned char *last = NULL;

	(void)state;
	for (size_t n = 0; n < 6000; n += 37) {
		unsigned char *p = arena_alloc(a, n);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % alignof(max_align_t), 0);
		memset(p, 0xaa, n);
		if (last)
			assert_int_equal(*last, 0x55);
		last = arena_alloc(a, 1);
		assert_non_null(last);
		*last = 0x55;
	}
}

static void an_arena_ends_at_its_bound(void **state)
{
	AUTO(arena) a = arena_new(1000);

	(void)state;
	assert_null(arena_alloc(a, 1001));
	assert_null(arena_alloc(a, SIZE_MAX));
	assert_non_null(arena_alloc(a, 600));
	assert_null(arena_alloc(a, 600));
	assert_non_null(arena_alloc(a, 300));
	arena_reset(a);
	assert_non_null(arena_alloc(a, 1000));
}

static void small_allocations_cannot_pass_the_bound(void **state)
{
	AUTO(arena) a = arena_new(4096);
	size_t n = 0;

	(void)state;
	while (n < 10000 && arena_alloc(a, 1))
		n++;
	assert_true(n <= 4096);
}

static void a_reset_arena_needs_no_more_memory(void **state)
{
	AUTO(arena) a = arena_new(1 << 20);

	(void)state;
	assert_non_null(arena_alloc(a, 100));
	assert_non_null(arena_alloc(a, 50000));
	arena_reset(a);
	alloc_fault_arm(1);
	assert_non_null(arena_alloc(a, 100));
	assert_non_null(arena_alloc(a, 3000));
	assert_false(alloc_fault_disarm());
}

static void a_copied_text_ends_in_nul(void **state)
{
	AUTO(arena) a = arena_new(4096);
	struct str s = arena_str(a, STR("ab"));

	(void)state;
	assert_string_equal(s.p, "ab");
	assert_string_equal(arena_str(a, (struct str){NULL, 0}).p, "");
	assert_null(arena_str(a, (struct str){"x", SIZE_MAX}).p);
	assert_null(arena_str(a, (struct str){"x", 5000}).p);
}

static void an_arena_without_memory_fails_and_leaks_nothing(void **state)
{
	bool more = true;

	(void)state;
	for (unsigned nth = 1; more; nth++) {
		struct arena *a;
		bool ok;

		alloc_fault_arm(nth);
		a = arena_new(1 << 20);
		ok = a && arena_alloc(a, 10) && arena_alloc(a, 9000);
		more = alloc_fault_disarm();
		assert_int_equal(ok, !more);
		arena_free(a);
	}
}

/* --- ctx --------------------------------------------------------------------- */

static void faults_are_counted_to_the_bound(void **state)
{
	AUTO(arena) a = arena_new(1 << 16);
	struct ctx cx = {.arena = a};

	(void)state;
	for (int i = 0; i < CTX_FAULTS_MAX + 5; i++)
		assert_int_equal(ctx_fault(&cx, "/a", "RANGE", "fault %d", i),
		                 ERR_INVALID);
	assert_int_equal(cx.problem.faults_n, CTX_FAULTS_MAX);
	assert_string_equal(cx.problem.detail, "fault 0");
}

static void a_fault_without_memory_is_still_invalid(void **state)
{
	AUTO(arena) a = arena_new(16);
	struct ctx cx = {.arena = a};

	(void)state;
	assert_int_equal(ctx_fault(&cx, "/a", "RANGE", "x"), ERR_INVALID);
	assert_int_equal(cx.problem.code, ERR_INVALID);
	assert_int_equal(cx.problem.faults_n, 0);
}

static void roles_tiers_and_scopes_are_known_by_name(void **state)
{
	enum role r = ROLE_GUEST;
	enum tier t = TIER_FREE;
	uint32_t bits = 99;
	char text[40];

	(void)state;
	for (enum role i = ROLE_GUEST; i <= ROLE_SERVICE; i++) {
		assert_true(role_from_str(str_from(role_name(i)), &r));
		assert_int_equal(r, i);
	}
	for (enum tier i = TIER_LIMITED; i <= TIER_UNLIMITED; i++) {
		assert_true(tier_from_str(str_from(tier_name(i)), &t));
		assert_int_equal(t, i);
	}
	assert_false(role_from_str(STR("root"), &r));
	assert_false(tier_from_str(STR(""), &t));
	assert_true(scopes_from_str(STR(" read  generate "), &bits));
	assert_int_equal(bits, SCOPE_READ | SCOPE_GENERATE);
	assert_false(scopes_from_str(STR("read root"), &bits));
	assert_true(str_eq(scopes_text(15, text),
	                   STR("read write generate admin")));
	assert_int_equal(scopes_text(0, text).n, 0);
}

static void numbers_off_the_wire_become_known_codes(void **state)
{
	(void)state;
	assert_int_equal(err_from_int(0), OK);
	assert_int_equal(err_from_int(ERR_NOT_FOUND), ERR_NOT_FOUND);
	assert_int_equal(err_from_int(-1), ERR_INTERNAL);
	assert_int_equal(err_from_int(ERR_COUNT), ERR_INTERNAL);
	assert_int_equal(err_from_int(1LL << 40), ERR_INTERNAL);
	for (int i = 1; i < ERR_COUNT; i++) {
		unsigned http = err_http((enum err)i);

		assert_true(http >= 400 && http < 600);
		assert_true(*err_title((enum err)i) != '\0');
		assert_true(*err_text((enum err)i) != '\0');
		assert_true(*err_code((enum err)i) != '\0');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_zeroed_buf_takes_bytes),
		cmocka_unit_test(
			a_buf_ends_at_its_bound_and_says_so_until_cleared),
		cmocka_unit_test(huge_requests_wrap_nothing),
		cmocka_unit_test(a_buf_without_memory_keeps_what_it_had),
		cmocka_unit_test(allocations_are_aligned_and_apart),
		cmocka_unit_test(an_arena_ends_at_its_bound),
		cmocka_unit_test(small_allocations_cannot_pass_the_bound),
		cmocka_unit_test(a_reset_arena_needs_no_more_memory),
		cmocka_unit_test(a_copied_text_ends_in_nul),
		cmocka_unit_test(
			an_arena_without_memory_fails_and_leaks_nothing),
		cmocka_unit_test(faults_are_counted_to_the_bound),
		cmocka_unit_test(a_fault_without_memory_is_still_invalid),
		cmocka_unit_test(roles_tiers_and_scopes_are_known_by_name),
		cmocka_unit_test(numbers_off_the_wire_become_known_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
