#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "gateway/live.h"
#include "tests/alloc_fault.h"

#include <string.h>

#define ORIGIN "https://a.example"

static struct settings with(const char *origins, const char *cert,
                            const char *key)
{
	return (struct settings){.env = ENV_PRODUCTION,
	                         .cors_enabled = true,
	                         .cors_origins = str_from(origins),
	                         .ssl_certfile = str_from(cert),
	                         .ssl_keyfile = str_from(key)};
}

static void what_is_wrong_is_told_with_its_setting(void **state)
{
	static const struct {
		const char *origins, *cert, *key, *want; /* NULL: nothing is */
	} cases[] = {
		{ORIGIN, "", "", NULL},
		{"nonsense", "", "", "CORS_ORIGINS: "},
		{ORIGIN, "/c.pem", "", "SSL_KEYFILE: must be set too"},
		{ORIGIN, "", "/k.pem", "SSL_CERTFILE: must be set too"},
		{ORIGIN, "/nonexistent", "/nonexistent",
	         "SSL_CERTFILE: cannot read /nonexistent: No such file"},
		{ORIGIN, "/tmp", "/tmp", "SSL_CERTFILE: cannot read /tmp: "},
		{ORIGIN, "/dev/null", "/dev/null",
	         "SSL_CERTFILE: /dev/null holds no chain of PEM certificates"},
		{ORIGIN, "/dev/zero", "/dev/null",
	         "SSL_CERTFILE: cannot read /dev/zero: File too large"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		const struct settings conf =
			with(cases[i].origins, cases[i].cert, cases[i].key);
		char why[LIVE_WHY_MAX] = "";
		AUTO(live) l = live_new(&conf, NULL, why);

		if (!l != !!cases[i].want)
			fail_msg("case %zu: %s", i, why);
		if (cases[i].want &&
		    strncmp(why, cases[i].want, strlen(cases[i].want)) != 0)
			fail_msg("case %zu: %s", i, why);
	}
}

static enum cors_verdict verdict(const struct live *l, const char *origin)
{
	return cors_check(l->cors, str_from(origin));
}

static void a_loop_sees_the_newest_and_others_keep_theirs(void **state)
{
	const struct settings a = with(ORIGIN, "", "");
	const struct settings b = with("https://b.example", "", "");
	const struct settings bad = with("nonsense", "", "");
	struct live_board board;
	char why[LIVE_WHY_MAX];
	AUTO(live) first = live_new(&a, NULL, why);
	struct live *mine = NULL, *kept;
	unsigned seen = 0;

	(void)state;
	live_board_init(&board);
	live_put_up(&board, &first);
	assert_null(first);
	live_follow(&board, &mine, &seen);
	assert_int_equal(verdict(mine, ORIGIN), CORS_EXACT);
	kept = live_get(mine);

	/* What is no good changes nothing but the figures. */
	assert_false(live_reload(&board, &bad, NULL));
	live_follow(&board, &mine, &seen);
	assert_ptr_equal(mine, kept);
	assert_int_equal(atomic_load(&board.refused), 1);
	assert_true(atomic_load(&board.last_refused));

	assert_true(live_reload(&board, &b, NULL));
	assert_false(atomic_load(&board.last_refused));
	live_follow(&board, &mine, &seen);
	assert_ptr_not_equal(mine, kept);
	assert_int_equal(verdict(mine, ORIGIN), CORS_NO);
	assert_int_equal(verdict(mine, "https://b.example"), CORS_EXACT);
	assert_int_equal(verdict(kept, ORIGIN), CORS_EXACT);
	live_put(kept);
	live_put(mine);
	live_board_fini(&board);
}

static void without_memory_the_old_one_stays(void **state)
{
	const struct settings a = with(ORIGIN, "", "");
	struct live_board board;
	char why[LIVE_WHY_MAX];
	AUTO(live) first = live_new(&a, NULL, why);

	(void)state;
	live_board_init(&board);
	live_put_up(&board, &first);
	for (unsigned n = 1;; n++) {
		bool taken, failed;

		alloc_fault_arm(n);
		taken = live_reload(&board, &a, NULL);
		failed = alloc_fault_disarm();
		assert_int_equal(failed, !taken);
		if (!failed)
			break;
	}
	live_board_fini(&board);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wrong_is_told_with_its_setting),
		cmocka_unit_test(a_loop_sees_the_newest_and_others_keep_theirs),
		cmocka_unit_test(without_memory_the_old_one_stays),
	};

	atomic_store(&log_threshold, -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
