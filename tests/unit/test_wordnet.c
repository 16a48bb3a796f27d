#include "svc-content/offline/wordnet.h"
#include "tests/alloc_fault.h"
#include "tests/unit/content_fixture.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct wn_synset first_sense(const char *lemma)
{
	struct wn_senses senses;
	struct wn_synset s;

	assert_true(
		wordnet_lookup(fixture.wn, WN_NOUN, str_from(lemma), &senses));
	assert_true(wordnet_synset(fixture.wn, senses.v[0], &s));
	return s;
}

static void nouns_are_found_in_any_case_and_spelling(void **state)
{
	static const struct {
		const char *lemma;
		size_t senses; /* 0: not there */
	} cases[] = {
		{"calculus", 3},
		{"CALCULUS", 3},
		{"solar system", 1},
		{"solar_system", 1},
		{"Solar System", 1},
		{"'hood", 1},
		{"zyrian", 1},
		{"0", 1},
		{"machine learning", 0},
		{"kubernetes", 0},
		{"", 0},
		{"calculu", 0},
		{"calculusx", 0},
		{"zzzz", 0},
		{"\xE6\xA9\x9F", 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct wn_senses senses;
		bool found = wordnet_lookup(fixture.wn, WN_NOUN,
		                            str_from(cases[i].lemma), &senses);

		assert_int_equal(found, cases[i].senses > 0);
		if (found)
			assert_int_equal(senses.n, cases[i].senses);
	}
}

static void other_parts_of_speech_are_found_too(void **state)
{
	struct wn_senses senses;
	struct wn_synset s;

	(void)state;
	for (int pos = WN_VERB; pos < WN_POS_COUNT; pos++) {
		static const char *const words[] = {[WN_VERB] = "teach",
		                                    [WN_ADJ] = "bright",
		                                    [WN_ADV] = "slowly"};

		assert_true(wordnet_lookup(fixture.wn, (enum wn_pos)pos,
		                           str_from(words[pos]), &senses));
		assert_true(wordnet_synset(fixture.wn, senses.v[0], &s));
		assert_true(s.gloss.n > 0);
	}
}

static void a_word_that_is_too_long_is_not_found(void **state)
{
	char long_word[4096];
	char out[WN_LEMMA_MAX];
	struct wn_senses senses;
	struct str base, word = {long_word, sizeof(long_word)};

	(void)state;
	memset(long_word, 'a', sizeof(long_word));
	for (size_t n = WN_LEMMA_MAX - 2; n <= WN_LEMMA_MAX + 1; n++) {
		word.n = n;
		assert_false(
			wordnet_lookup(fixture.wn, WN_NOUN, word, &senses));
		assert_false(wordnet_base(fixture.wn, word, out, &base));
	}
}

static void plurals_lead_to_their_singular(void **state)
{
	static const struct {
		const char *word, *base; /* NULL: unknown */
	} cases[] = {
		{"lions", "lion"},
		{"galaxies", "galaxy"},
		{"mice", "mouse"},
		{"boxes", "box"},
		{"churches", "church"},
		{"women", "woman"},
		{"volcanoes", "volcano"},
		{"solar systems", "solar_system"},
		{"mathematics", "mathematics"},
		{"children", "child"},
		{"s", "s"},
		{"xyzzys", NULL},
		{"kubernetes", NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		char out[WN_LEMMA_MAX];
		struct str base;
		bool found = wordnet_base(fixture.wn, str_from(cases[i].word),
		                          out, &base);

		assert_int_equal(found, cases[i].base != NULL);
		if (found)
			assert_true(str_eq(base, str_from(cases[i].base)));
	}
}

static void a_synset_has_words_links_and_a_gloss(void **state)
{
	struct wn_synset s = first_sense("photosynthesis"), part;
	struct str lemma;
	unsigned id;

	(void)state;
	assert_int_equal(s.lex_file, WN_LEX_PROCESS);
	assert_int_equal(s.words_n, 1);
	assert_true(wn_word(&s, 0, &lemma, &id));
	assert_true(str_eq(lemma, STR("photosynthesis")));
	assert_int_equal(id, 0);
	assert_false(wn_word(&s, 1, &lemma, &id));
	assert_true(str_starts(s.gloss, STR("synthesis of compounds")));
	assert_true(
		wordnet_synset(fixture.wn, wn_first(&s, WN_HAS_PART), &part));
	assert_true(wn_word(&part, 0, &lemma, NULL));
	assert_true(str_eq(lemma, STR("light_reaction")));
	assert_int_equal(wn_first(&s, WN_HYPONYM).offset, 0);
}

static void ancestors_are_known_up_to_the_root(void **state)
{
	struct wn_synset lion = first_sense("lion");
	struct wn_synset animal = first_sense("animal");
	struct wn_synset entity = first_sense("entity");
	struct wn_synset music = first_sense("music");

	(void)state;
	assert_true(wordnet_under(fixture.wn, lion.ref, animal.ref));
	assert_true(wordnet_under(fixture.wn, lion.ref, entity.ref));
	assert_true(wordnet_under(fixture.wn, lion.ref, lion.ref));
	assert_false(wordnet_under(fixture.wn, animal.ref, lion.ref));
	assert_false(wordnet_under(fixture.wn, music.ref, animal.ref));
}

static void frequency_and_rank_of_a_sense_are_known(void **state)
{
	struct wn_synset mercury = first_sense("mercury");
	struct wn_synset calculus = first_sense("calculus");

	(void)state;
	assert_int_equal(wordnet_count(fixture.wn, &mercury), 6);
	assert_int_equal(wordnet_rank(fixture.wn, &mercury, 0), 1);
	assert_int_equal(wordnet_rank(fixture.wn, &calculus, 0), 1);
	assert_int_equal(wordnet_rank(fixture.wn, &calculus, 99), 0);
}

static void a_place_that_begins_no_synset_is_refused(void **state)
{
	struct wn_synset s = first_sense("lion"), out;
	static const uint32_t bad[] = {0, 1, 29, 99999999, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bad); i++)
		assert_false(wordnet_synset(
			fixture.wn, (struct wn_ref){WN_NOUN, bad[i]}, &out));
	for (uint32_t k = 1; k < 40; k++)
		assert_false(wordnet_synset(
			fixture.wn, (struct wn_ref){WN_NOUN, s.ref.offset + k},
			&out));
	assert_false(wordnet_synset(
		fixture.wn, (struct wn_ref){(enum wn_pos)9, 1740}, &out));
}

/* "00001740 03 n 01 " stands before the words. */
#define HEAD 17

static void every_synset_of_nouns_can_be_read(void **state)
{
	struct wn_ref ref = {WN_NOUN, 1740}; /* where the licence ends */
	struct wn_synset s;
	const char *end;
	size_t n = 0;

	(void)state;
	while (wordnet_synset(fixture.wn, ref, &s)) {
		struct wn_ref up[WN_ANCESTORS_MAX];
		struct wn_links l = wn_links(&s);
		struct str lemma;
		size_t links = 0;

		assert_true(wordnet_ancestors(fixture.wn, s.ref, up) <
		            WN_ANCESTORS_MAX);

		for (unsigned i = 0; i < s.words_n; i++)
			assert_true(wn_word(&s, i, &lemma, NULL) && lemma.n);
		while (wn_next(&l))
			links++;
		assert_int_equal(links, s.links_n);
		assert_true(s.gloss.n > 0);
		/* The next line begins behind this gloss and its blanks. */
		end = s.gloss.p + s.gloss.n;
		while (*end != '\n')
			end++;
		ref.offset = (uint32_t)(s.ref.offset +
		                        (size_t)(end + 1 - s.words.p) + HEAD);
		n++;
	}
	assert_true(n > 80000);
}

/* --- damaged dictionaries ---------------------------------------------------- */

static char folder[64];

static int remove_one(const char *path, const struct stat *st, int flag,
                      struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void make_folder(const char *index, const char *data)
{
	static const char *const others[] = {"verb", "adj", "adv"};

	(void)snprintf(folder, sizeof(folder), "/tmp/kae-wordnet-XXXXXX");
	assert_non_null(mkdtemp(folder));
	write_file("index.noun", index);
	write_file("data.noun", data);
	for (size_t i = 0; i < COUNTOF(others); i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "index.%s", others[i]);
		write_file(name, "x\n");
		(void)snprintf(name, sizeof(name), "data.%s", others[i]);
		write_file(name, "x\n");
	}
}

static void drop_folder(void)
{
	assert_int_equal(nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

#define TINY_INDEX "entity n 1 1 ~ 1 1 00000002  \n"
#define TINY_DATA  ".\n00000002 03 n 01 entity 0 000 | what is  \n"

static void a_missing_dictionary_is_not_found(void **state)
{
	struct wordnet *wn = NULL;

	(void)state;
	assert_int_equal(wordnet_open("/nonexistent", &wn), ERR_NOT_FOUND);
	assert_int_equal(wordnet_open("", &wn), ERR_NOT_FOUND);
	assert_null(wn);
}

static void damaged_files_are_refused_or_read_without_harm(void **state)
{
	static const struct {
		const char *index, *data;
		enum err want;
	} cases[] = {
		{TINY_INDEX, TINY_DATA, OK},
		{"", TINY_DATA, ERR_NOT_FOUND},
		{TINY_INDEX, "", ERR_NOT_FOUND},
		{"garbage", "garbage", ERR_NOT_FOUND},
		{"entity", TINY_DATA, ERR_NOT_FOUND},
		{"entity n", TINY_DATA, ERR_NOT_FOUND},
		{"entity n 1 999999999 ~", TINY_DATA, ERR_NOT_FOUND},
		{"entity n 1 1 ~ 1 1 99999999\n", TINY_DATA, ERR_NOT_FOUND},
		{"entity n 1 1 ~ 1 1 00000003\n", TINY_DATA, ERR_NOT_FOUND},
		{"entity n -1 1 ~ 1 1 00000002\n", TINY_DATA, ERR_NOT_FOUND},
		{TINY_INDEX, ".\n00000002 03 n ff entity 0 000 | x\n",
	         ERR_NOT_FOUND},
		{TINY_INDEX, ".\n00000002 03 n 00 000 | x\n", ERR_NOT_FOUND},
		{TINY_INDEX, ".\n00000002 03 n 01 entity 0 999 | x\n", OK},
		{TINY_INDEX, ".\n00000002 03 n 01 entity 0 000 x\n",
	         ERR_NOT_FOUND},
		{TINY_INDEX, ".\n00000002 03 n 01 entity 0 000 |",
	         ERR_NOT_FOUND},
		{TINY_INDEX, ".\n00000002", ERR_NOT_FOUND},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct wordnet *wn = NULL;

		make_folder(cases[i].index, cases[i].data);
		assert_int_equal(wordnet_open(folder, &wn), cases[i].want);
		wordnet_close(wn);
		drop_folder();
	}
}

static void a_loop_of_ancestors_ends(void **state)
{
	AUTO(wordnet) wn = NULL;
	struct wn_synset s;

	(void)state;
	make_folder(TINY_INDEX, ".\n00000002 03 n 01 entity 0 001 @ 00000002 "
	                        "n 0000 | its own kind\n");
	assert_int_equal(wordnet_open(folder, &wn), OK);
	assert_true(wordnet_synset(wn, (struct wn_ref){WN_NOUN, 2}, &s));
	assert_false(wordnet_under(wn, s.ref, (struct wn_ref){WN_NOUN, 7}));
	drop_folder();
}

static void links_that_cannot_be_read_are_the_end_of_them(void **state)
{
	static const char *const links[] = {
		"",
		"@",
		"@ 00000002",
		"@ 00000002 n",
		"@ 00000002 n 0000",
		"@ 0000000x n 0000 ",
		"@ 00000002 z 0000 ",
		"@@@ 00000002 n 0000 ",
		"@ 2 n 0000                      ",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(links); i++) {
		AUTO(wordnet) wn = NULL;
		char data[160];
		struct wn_synset s;
		struct wn_links l;

		(void)snprintf(data, sizeof(data),
		               ".\n00000002 03 n 01 entity 0 009 %s| x\n",
		               links[i]);
		make_folder(TINY_INDEX, data);
		assert_int_equal(wordnet_open(folder, &wn), OK);
		assert_true(
			wordnet_synset(wn, (struct wn_ref){WN_NOUN, 2}, &s));
		l = wn_links(&s);
		assert_false(wn_next(&l));
		assert_int_equal(wn_parent(&s).offset, 0);
		drop_folder();
	}
}

static void no_memory_is_an_error(void **state)
{
	struct wordnet *wn = NULL;

	(void)state;
	alloc_fault_arm(1);
	assert_int_equal(wordnet_open(fixture_dir(), &wn), ERR_NOMEM);
	assert_true(alloc_fault_disarm());
	assert_null(wn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		content_test(nouns_are_found_in_any_case_and_spelling),
		content_test(other_parts_of_speech_are_found_too),
		content_test(a_word_that_is_too_long_is_not_found),
		content_test(plurals_lead_to_their_singular),
		content_test(a_synset_has_words_links_and_a_gloss),
		content_test(ancestors_are_known_up_to_the_root),
		content_test(frequency_and_rank_of_a_sense_are_known),
		content_test(a_place_that_begins_no_synset_is_refused),
		content_test(every_synset_of_nouns_can_be_read),
		content_test(a_missing_dictionary_is_not_found),
		content_test(damaged_files_are_refused_or_read_without_harm),
		content_test(a_loop_of_ancestors_ends),
		content_test(links_that_cannot_be_read_are_the_end_of_them),
		content_test(no_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, fixture_up, fixture_down);
}
