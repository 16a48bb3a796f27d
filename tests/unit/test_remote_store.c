#include "common/cache/redis_url.h"
#include "common/cache/remote_store.h"
#include "tests/alloc_fault.h"

#include <setjmp.h> /* cmocka.h needs these three */
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

/* --- values ---------------------------------------------------------------------- */

static const struct stored sample = {
	.stale_ms = 0x0102030405060708,
	.marks = {.known = true,
                  .epoch = 0x1122334455667788,
                  .n = 2,
                  .slot = {5, 16383},
                  .gen = {7, 0xffffffffffffffff},
                  .gen_all = 3},
	.bytes = {"\0bytes\n", 7},
};

static size_t read_golden(const char *path, char *out, size_t max)
{
	FILE *f = fopen(path, "r");
	char line[128];
	size_t n = 0;

	if (!f)
		fail_msg("cannot open %s (run from the repository)", path);
	while (fgets(line, sizeof(line), f)) {
		for (char *p = line; *line != '#' && p[0] > ' '; p += 2) {
			char two[3] = {p[0], p[1], '\0'};

			assert_true(n < max);
			out[n++] = (char)strtoul(two, NULL, 16);
		}
	}
	(void)fclose(f);
	return n;
}

static void golden_values_decode_and_encode_to_the_same_bytes(void **state)
{
	static const struct {
		const char *path;
		bool negative;
	} golden[] = {{"tests/golden/cache_v1_value.hex", false},
	              {"tests/golden/cache_v1_negative.hex", true}};

	(void)state;
	for (size_t i = 0; i < COUNTOF(golden); i++) {
		char bytes[256];
		size_t n = read_golden(golden[i].path, bytes, sizeof(bytes));
		struct stored v;
		AUTO_BUF again = {0};

		assert_true(stored_decode((struct str){bytes, n}, &v));
		assert_int_equal(v.negative, golden[i].negative);
		assert_true(v.stale_ms == sample.stale_ms);
		assert_true(v.marks.epoch == sample.marks.epoch);
		assert_true(v.marks.gen_all == 3);
		if (!v.negative) {
			assert_int_equal(v.marks.n, 2);
			assert_int_equal(v.marks.slot[1], 16383);
			assert_true(v.marks.gen[1] == UINT64_MAX);
			assert_true(str_eq(v.bytes, sample.bytes));
		}
		stored_encode(&again, &v);
		assert_int_equal(again.n, n);
		assert_memory_equal(again.p, bytes, n);
	}
}

static void a_value_that_is_cut_or_longer_is_none(void **state)
{
	AUTO_BUF b = {0};
	struct stored v;

	(void)state;
	stored_encode(&b, &sample);
	for (size_t n = 0; n < b.n; n++) {
		char *copy = malloc(n + 1); /* so that ASan sees its end */

		memcpy(copy, b.p, n);
		assert_false(stored_decode((struct str){copy, n}, &v));
		free(copy);
	}
	buf_char(&b, 'x');
	assert_false(stored_decode(buf_view(&b), &v));
}

static void a_head_that_we_never_write_is_none(void **state)
{
	static const struct {
		size_t at;
		char byte;
	} cases[] = {{0, 0}, {0, 2}, {1, 2}, {1, 3}, {2, 9}, {2, 1},
	             {3, 1}, {4, 1}, {5, 1}, {6, 1}, {7, 6}};
	struct stored v;

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF b = {0};

		stored_encode(&b, &sample);
		b.p[cases[i].at] = cases[i].byte;
		assert_false(stored_decode(buf_view(&b), &v));
	}
}

/* --- messages -------------------------------------------------------------------- */

static void messages_are_understood_or_refused(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		uint64_t epoch;
		unsigned slot;
		uint64_t gen;
	} cases[] = {
		{"00000000000000ff 5 7", true, 255, 5, 7},
		{"0000000000000000 16384 18446744073709551615", true, 0, 16384,
	         UINT64_MAX},
		{"00000000000000ff 16385 7", false, 0, 0, 0},
		{"00000000000000ff 5 18446744073709551616", false, 0, 0, 0},
		{"00000000000000fF 5 7", false, 0, 0, 0},
		{"0000000000000ff 5 7", false, 0, 0, 0},
		{"00000000000000ff -5 7", false, 0, 0, 0},
		{"00000000000000ff 5", false, 0, 0, 0},
		{"00000000000000ff 5 ", false, 0, 0, 0},
		{"00000000000000ff  5 7", false, 0, 0, 0},
		{"00000000000000ff 5 7 9", false, 0, 0, 0},
		{"", false, 0, 0, 0},
		{" ", false, 0, 0, 0},
		{"00000000000000ff 5 0000000000000000000000000000000000000000000007",
	         false, 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct message m = {.slot = 99};
		struct str in = str_from(cases[i].text);

		assert_int_equal(message_decode(in, &m), cases[i].ok);
		if (!cases[i].ok) {
			assert_int_equal(m.slot, 99);
			continue;
		}
		assert_true(m.epoch == cases[i].epoch);
		assert_int_equal(m.slot, cases[i].slot);
		assert_true(m.gen == cases[i].gen);
	}
}

/* --- answers --------------------------------------------------------------------- */

static struct redisReply reply_of(int type, const char *text)
{
	struct redisReply r = {.type = type};

	r.str = (char *)(uintptr_t)text;
	r.len = strlen(text);
	return r;
}

static void error_answers_mean_what_the_table_says(void **state)
{
	static const struct {
		const char *said;
		enum refusal means;
	} cases[] = {
		{"NOSCRIPT No matching script.", REFUSED_SCRIPT},
		{"OOM command not allowed when used memory > 'maxmemory'.",
	         REFUSED_FULL},
		{"ERR Error running script (call to f_0): @user_script:1: "
	         "@user_script: 1: -OOM command not allowed",
	         REFUSED_FULL},
		{"WRONGTYPE Operation against a key", REFUSED_TYPE},
		{"READONLY You can't write against a read only replica.",
	         REFUSED_ALL},
		{"LOADING Redis is loading the dataset in memory", REFUSED_ALL},
		{"BUSY Redis is busy running a script.", REFUSED_ONCE},
		{"ERR max number of clients reached", REFUSED_ALL},
		{"ERR unknown command `AUTH`, with args beginning with: `pw`",
	         REFUSED_ONCE},
		{"", REFUSED_ONCE},
		{"oom", REFUSED_ONCE},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct redisReply r =
			reply_of(REDIS_REPLY_ERROR, cases[i].said);
		const char *why = NULL;

		assert_int_equal(reply_refusal(&r, &why), cases[i].means);
		assert_non_null(why);
		assert_null(strstr(why, "pw"));
	}
}

static void numbers_are_numbers_whole_and_in_range(void **state)
{
	static const struct {
		int type;
		const char *text;
		long long integer;
		bool ok;
		uint64_t want;
	} cases[] = {
		{REDIS_REPLY_INTEGER, "", 5, true, 5},
		{REDIS_REPLY_INTEGER, "", -1, false, 0},
		{REDIS_REPLY_STRING, "18446744073709551615", 0, true,
	         UINT64_MAX},
		{REDIS_REPLY_STRING, "18446744073709551616", 0, false, 0},
		{REDIS_REPLY_STRING, "", 0, false, 0},
		{REDIS_REPLY_STRING, "+5", 0, false, 0},
		{REDIS_REPLY_STRING, "5 ", 0, false, 0},
		{REDIS_REPLY_STATUS, "5", 0, false, 0},
		{REDIS_REPLY_NIL, "", 0, false, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct redisReply r = reply_of(cases[i].type, cases[i].text);
		uint64_t v = 99;

		r.integer = cases[i].integer;
		assert_int_equal(reply_u64(&r, &v), cases[i].ok);
		assert_true(v == (cases[i].ok ? cases[i].want : 99));
	}
}

static void fields_of_info_are_found_whole(void **state)
{
	const struct str info = STR("# Server\r\nrun_id:abc\r\nxrun_id:no\r\n"
	                            "empty:\r\nlast:1");

	(void)state;
	assert_true(str_eq(info_field(info, STR("run_id")), STR("abc")));
	assert_true(str_eq(info_field(info, STR("last")), STR("1")));
	assert_int_equal(info_field(info, STR("empty")).n, 0);
	assert_int_equal(info_field(info, STR("un_id")).n, 0);
	assert_int_equal(info_field(STR(""), STR("run_id")).n, 0);
}

/* --- names ----------------------------------------------------------------------- */

static void all_names_of_a_space_hash_to_one_slot_of_a_cluster(void **state)
{
	struct store_names n;

	(void)state;
	assert_true(store_names_init(&n, STR("gdpr")));
	assert_true(str_eq(n.hash, STR("kae:1:{gdpr}:g")));
	assert_true(str_eq(n.nothing, STR("kae:1:{gdpr}:-")));
	assert_true(str_eq(n.channel, STR("kae:1:{gdpr}:forget")));
	assert_true(str_eq(n.prefix, STR("kae:1:{gdpr}:v:")));
	store_names_fini(&n);
}

static void slots_are_the_same_in_every_release(void **state)
{
	(void)state;
	assert_int_equal(remote_slot(STR("")), 16321);
	assert_int_equal(remote_slot(STR("topic:python")), 10798);
	for (uint64_t i = 0; i < 10000; i++)
		assert_true(remote_slot((struct str){(const char *)&i,
		                                     sizeof(i)}) < CACHE_SLOTS);
}

static void names_fail_cleanly_without_memory(void **state)
{
	unsigned nth = 0;
	bool failed;

	(void)state;
	do {
		struct store_names n;
		bool ok;

		alloc_fault_arm(++nth);
		ok = store_names_init(&n, STR("gdpr"));
		failed = alloc_fault_disarm();
		assert_int_equal(ok, !failed);
		store_names_fini(&n);
	} while (failed);
	assert_true(nth > 1);
}

/* --- addresses ------------------------------------------------------------------- */

static void urls_are_understood(void **state)
{
	static const struct {
		const char *text, *host, *port, *user, *password;
		unsigned db;
		bool is_path;
	} cases[] = {
		{"redis://localhost", "localhost", "6379", "", "", 0, false},
		{"redis://h:1/15", "h", "1", "", "", 15, false},
		{"redis://h/", "h", "6379", "", "", 0, false},
		{"redis://:p@h", "h", "6379", "", "p", 0, false},
		{"redis://u:p%40%3a/@h:65535/0", "", "", "", "", 0, false},
		{"redis://u:p%40%3a%2F@h:65535/0", "h", "65535", "u", "p@:/", 0,
	         false},
		{"redis://u:p@ss@h", "h", "6379", "u", "p@ss", 0, false},
		{"redis://[::1]:7000/2", "::1", "7000", "", "", 2, false},
		{"redis://[::1]", "::1", "6379", "", "", 0, false},
		{"redis+unix:///run/r.sock", "/run/r.sock", "", "", "", 0,
	         true},
		{"redis+unix:///run/r.sock?db=3", "/run/r.sock", "", "", "", 3,
	         true},
		{"redis+unix://u:p@/r", "/r", "", "u", "p", 0, true},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct redis_url u = {.db = 99};
		const char *why = redis_url_parse(str_from(cases[i].text), &u);

		if (!cases[i].host[0]) {
			assert_non_null(why);
			continue;
		}
		if (why)
			fail_msg("%s: %s", cases[i].text, why);
		assert_string_equal(u.host, cases[i].host);
		assert_string_equal(u.port, cases[i].port);
		assert_string_equal(u.user, cases[i].user);
		assert_string_equal(u.password, cases[i].password);
		assert_int_equal(u.db, cases[i].db);
		assert_int_equal(u.is_path, cases[i].is_path);
	}
}

static void other_urls_are_refused_without_telling_the_password(void **state)
{
	static const char *const cases[] = {
		"",
		"redis:",
		"redis://",
		"http://h",
		"REDIS://h",
		"rediss://h",
		"redis://h:0",
		"redis://h:65536",
		"redis://h:x",
		"redis://h:-1",
		"redis://h:1:2",
		"redis://h/x",
		"redis://h/-1",
		"redis://h/65536",
		"redis://h/1/2",
		"redis://u@h",
		"redis://u:%zz@h",
		"redis://u:%4@h",
		"redis://u:%00@h",
		"redis://[::1",
		"redis://[::1]x",
		"redis+unix://",
		"redis+unix://r.sock",
		"redis+unix:///",
		"redis+unix:///r?d=1",
		"redis+unix:///r?db=x",
		"redis+unix://u@/r",
	};
	char longest[4096];

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct redis_url u = {.db = 99};

		if (!redis_url_parse(str_from(cases[i]), &u))
			fail_msg("%s is understood", cases[i]);
		assert_int_equal(u.db, 99);
	}
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "redis://u:", 10);
	for (size_t n = 11; n < sizeof(longest); n += 501) {
		struct redis_url u;
		const char *why;

		longest[n] = '@';
		why = redis_url_parse((struct str){longest, sizeof(longest)},
		                      &u);
		assert_non_null(why);
		assert_null(strstr(why, "xx"));
		longest[n] = 'x';
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			golden_values_decode_and_encode_to_the_same_bytes),
		cmocka_unit_test(a_value_that_is_cut_or_longer_is_none),
		cmocka_unit_test(a_head_that_we_never_write_is_none),
		cmocka_unit_test(messages_are_understood_or_refused),
		cmocka_unit_test(error_answers_mean_what_the_table_says),
		cmocka_unit_test(numbers_are_numbers_whole_and_in_range),
		cmocka_unit_test(fields_of_info_are_found_whole),
		cmocka_unit_test(
			all_names_of_a_space_hash_to_one_slot_of_a_cluster),
		cmocka_unit_test(slots_are_the_same_in_every_release),
		cmocka_unit_test(names_fail_cleanly_without_memory),
		cmocka_unit_test(urls_are_understood),
		cmocka_unit_test(
			other_urls_are_refused_without_telling_the_password),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
