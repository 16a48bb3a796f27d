/*
 * blocklist_tool - writes the filter of blocklist_bits.h as C.
 *
 *     blocklist_tool FILE... > blocklist.c
 *
 * A word is what stands between quotes, commas and line ends, so that lists of
 * a word per line and the Python source of zxcvbn's lists are read alike.  What
 * else stands in such a source comes along; nobody has it as a password.
 */
#include "svc-auth/blocklist_bits.h"
#include "svc-auth/fold.h"

#include <stdio.h>
#include <stdlib.h>

/* Fewer mean that a file was not what it should be. */
#define WORDS_MIN 10000
/* More, and too many passwords would be refused without need. */
#define WORDS_MAX 120000

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

static int read_words(const char *path)
{
	FILE *f = fopen(path, "re");
	char word[FOLD_TEXT_MAX + 1];
	size_t n = 0;
	int c;

	if (!f) {
		perror(path);
		return 1;
	}
	do {
		c = getc(f);
		if (c != EOF && !strchr("\",\r\n", c)) {
			if (n < sizeof(word))
				word[n++] = (char)c;
			continue;
		}
		add((struct str){word, n});
		n = 0;
	} while (c != EOF);
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
