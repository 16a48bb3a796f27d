#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/attr.h"
#include "common/base/word.h"

#include <stdlib.h>

static uint64_t quote(uint64_t v)
{
	return word_has(v, '"');
}

/* What each test must find, told byte by byte. */
static bool is_high(unsigned c)
{
	return c >= 0x80;
}

static bool is_special(unsigned c)
{
	return c < 0x20 || c == '"' || c == '\\' || c >= 0x80;
}

static bool is_control(unsigned c)
{
	return c < 0x20 || c == 0x7f;
}

static bool is_quote(unsigned c)
{
	return c == '"';
}

static const struct {
	const char *name;
	uint64_t (*seek)(uint64_t);
	bool (*is)(unsigned);
	bool high; /* whether it may also stop at what is not ASCII */
} tests[] = {
	{"high", word_has_high, is_high, false},
	{"special", word_has_special, is_special, false},
	{"control", word_has_control, is_control, false},
	{"quote", quote, is_quote, true},
};

#define LENGTH_MAX 25

static void try_all_bytes(size_t t, size_t n, size_t at)
{
	char p[LENGTH_MAX], to[LENGTH_MAX + 1];

	for (size_t i = 0; i < n; i++)
		p[i] = (char)('a' + i);
	for (unsigned c = 0; c < 256; c++) {
		p[at] = (char)c;
		if (tests[t].high && c >= 0x80)
			continue;
		memset(to, '!', sizeof(to));
		if (word_none(p, n, tests[t].seek) == tests[t].is(c) ||
		    word_copy(to, p, n, tests[t].seek) == tests[t].is(c))
			fail_msg("%s: byte %u at %zu of %zu", tests[t].name, c,
			         at, n);
		assert_int_equal(to[n], '!');
		if (!tests[t].is(c))
			assert_memory_equal(to, p, n);
	}
}

static void every_byte_is_found_at_every_place_of_every_length(void **state)
{
	(void)state;
	for (size_t t = 0; t < COUNTOF(tests); t++)
		for (size_t n = 1; n <= LENGTH_MAX; n++)
			for (size_t at = 0; at < n; at++)
				try_all_bytes(t, n, at);
}

static void no_byte_is_none_of_those_sought(void **state)
{
	(void)state;
	assert_true(word_none(NULL, 0, word_has_special));
}

/* The address sanitizer ends a reader that goes beyond them. */
static void only_the_bytes_given_are_read(void **state)
{
	(void)state;
	for (size_t n = 1; n <= 17; n++) {
		char *p = malloc(n);

		assert_non_null(p);
		memset(p, 'x', n);
		assert_true(word_none(p, n, word_has_special));
		free(p);
	}
}

int main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(
			every_byte_is_found_at_every_place_of_every_length),
		cmocka_unit_test(no_byte_is_none_of_those_sought),
		cmocka_unit_test(only_the_bytes_given_are_read),
	};

	return cmocka_run_group_tests(all, NULL, NULL);
}
