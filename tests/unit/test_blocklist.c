/*
 * The filter of common passwords, against the lists that it was made of.
 */
#include "svc-auth/blocklist.h"

#include "svc-auth/blocklist_bits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COMMON_PASSWORDS                                           \
	"/usr/share/perl5/Data/Password/zxcvbn/RankedDictionaries" \
	"/Common.pm"
#define PASSWORDS_HEAD "  'passwords' => {\n"

static bool has(struct str word)
{
	static struct folded f;

	assert_true(fold(word, &f));
	return blocklist_has(f.cp, f.n);
}

static char *whole(const char *path, size_t *n)
{
	FILE *f = fopen(path, "re");
	char *p = malloc((size_t)4 << 20);

	assert_non_null(f);
	assert_non_null(p);
	*n = fread(p, 1, (size_t)4 << 20, f);
	assert_int_equal(ferror(f), 0);
	(void)fclose(f);
	return p;
}

/* The word of a line `'word' => rank,`, as it is between its quotes: none of the
 * list has a quote or a backslash in it. */
static bool cut_word(struct str *list, struct str *word)
{
	struct str line = str_trim(str_cut(list, '\n'));
	const char *end;

	if (!str_starts(line, STR("'")))
		return false;
	end = memrchr(line.p, '\'', line.n);
	*word = (struct str){line.p + 1, (size_t)(end - line.p) - 1};
	assert_null(memchr(word->p, '\\', word->n));
	return true;
}

/* All words of the list of passwords, in any case of letters. */
static void every_listed_password_is_found(void **state)
{
	size_t n = 0, words = 0, long_enough = 0;
	char *text = whole(COMMON_PASSWORDS, &n);
	char *head = memmem(text, n, PASSWORDS_HEAD, strlen(PASSWORDS_HEAD));
	struct str list, word;

	(void)state;
	assert_non_null(head);
	head += strlen(PASSWORDS_HEAD);
	list = (struct str){head, n - (size_t)(head - text)};
	while (cut_word(&list, &word)) {
		char upper[FOLD_TEXT_MAX];

		assert_true(word.n <= sizeof(upper));
		for (size_t i = 0; i < word.n; i++)
			upper[i] = word.p[i] >= 'a' && word.p[i] <= 'z'
			                   ? (char)(word.p[i] - 'a' + 'A')
			                   : word.p[i];
		if (!has(word) || !has((struct str){upper, word.n}))
			fail_msg("%.*s", STR_FMT(word));
		words++;
		long_enough += word.n >= 8;
	}
	free(text);
	/* ASVS 6.2.4: the top 3000 of those that the policy would allow. */
	assert_true(words >= 30000);
	assert_true(long_enough >= 3000);
	assert_true(blocklist_words() >= words);
}

/*
 * Made for 5 in ten million, so 2 in these; that it were more than 20 by chance
 * would happen once in 10^13 such tests, and the seed is fixed besides.
 */
static void few_other_words_are_found(void **state)
{
	enum { TRIALS = 4000000, BOUND = 20 };
	uint64_t x = 88172645463325252U; /* xorshift64: the same every time */
	unsigned found = 0;

	(void)state;
	for (unsigned i = 0; i < TRIALS; i++) {
		int32_t cp[12];

		for (size_t k = 0; k < 12; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			cp[k] = (int32_t)('!' + x % 94);
		}
		found += blocklist_has(cp, 12);
	}
	print_message("%u words listed; %u of %d others found\n",
	              blocklist_words(), found, TRIALS);
	assert_in_range(found, 0, BOUND);
}

static void the_empty_word_is_not_listed(void **state)
{
	(void)state;
	assert_false(blocklist_has(NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_listed_password_is_found),
		cmocka_unit_test(few_other_words_are_found),
		cmocka_unit_test(the_empty_word_is_not_listed),
	};

	return sodium_init() < 0 ? 1
	                         : cmocka_run_group_tests(tests, NULL, NULL);
}
