/*
 * blocklist_tool - writes the filter of blocklist_bits.h as C.
 *
 *     blocklist_tool FILE... > blocklist.c
 *
 * A word is a line, or of a line `'word' => rank` what stands between the quotes,
 * so that lists of a word per line and the Perl source of zxcvbn's lists are read
 * alike.  What else stands in such a source comes along; nobody has it as a
 * password.
 */
#include "svc-auth/blocklist_bits.h"
#include "svc-auth/fold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fewer mean that a file was not what it should be. */
#define WORDS_MIN 10000
/* More, and too many passwords would be refused without need. */
#define WORDS_MAX 120000
/* A longer line is as good as two. */
#define LINE_MAX_BYTES 2048

static uint64_t cells[BLOCKLIST_CELLS];
static unsigned words;

static void add(struct str word)
{
	static struct folded f;
	uint32_t bit[BLOCKLIST_PICKS];
	bool fresh = false;

	if (word.n > FOLD_TEXT_MAX || !fold(word, &f) || f.n == 0)
		return;
	blocklist_pick(f.cp, f.n, bit);
	for (size_t i = 0; i < BLOCKLIST_PICKS; i++) {
		uint64_t one = (uint64_t)1 << (bit[i] % 64);

		fresh |= !(cells[bit[i] / 64] & one);
		cells[bit[i] / 64] |= one;
	}
	words += fresh;
}

/* In Perl only the quote and the backslash itself have a backslash before them. */
static struct str unescape(struct str s, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		out[n++] = s.p[i];
	}
	return (struct str){out, n};
}

static void add_line(struct str line)
{
	const struct str arrow = STR("' => ");
	struct str entry = str_trim(line);
	char word[LINE_MAX_BYTES];
	const char *end;

	if (!str_starts(entry, STR("'"))) {
		add(entry);
		return;
	}
	end = memmem(entry.p + 1, entry.n - 1, arrow.p, arrow.n);
	if (!end)
		add(entry);
	else
		add(unescape((struct str){entry.p + 1,
		                          (size_t)(end - entry.p) - 1},
		             word));
}

static int read_words(const char *path)
{
	FILE *f = fopen(path, "re");
	char line[LINE_MAX_BYTES];

	if (!f) {
		perror(path);
		return 1;
	}
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\r\n")] = '\0';
		add_line(str_from(line));
	}
	return fclose(f) != 0;
}

int main(int argc, char **argv)
{
	if (sodium_init() < 0)
		return 1;
	for (int i = 1; i < argc; i++)
		if (read_words(argv[i]))
			return 1;
	if (words < WORDS_MIN || words > WORDS_MAX) {
		(void)fprintf(stderr, "%u words are not %d to %d\n", words,
		              WORDS_MIN, WORDS_MAX);
		return 1;
	}
	(void)printf("#include \"svc-auth/blocklist_bits.h\"\n\n"
	             "const unsigned blocklist_listed = %u;\n"
	             "const uint64_t blocklist_cells[BLOCKLIST_CELLS] = {\n",
	             words);
	for (size_t i = 0; i < BLOCKLIST_CELLS; i++)
		(void)printf("0x%016llxU,%s", (unsigned long long)cells[i],
		             i % 4 == 3 ? "\n" : " ");
	(void)printf("};\n");
	return ferror(stdout) != 0;
}
