#include "svc-content/offline/facets.h"
#include "svc-content/offline/subject.h"
#include "svc-content/quality.h"
#include "tests/alloc_fault.h"
#include "tests/unit/content_fixture.h"

#include "common/base/utf8.h"

static struct outline outline(const char *topic)
{
	struct outline o;

	assert_int_equal(offline_outline(fixture.wn, fixture.a, str_from(topic),
	                                 STR("en"), &o),
	                 OK);
	return o;
}

static void assert_fifteen_good(const char *topic, const struct outline *o)
{
	struct verdict v;

	assert_int_equal(quality_outline(o->subtopics, OUTLINE_N, OUTLINE_N,
	                                 fixture.a, &v),
	                 OK);
	if (!v.valid || v.warnings_n)
		fail_msg("%s: %s", topic,
		         v.issues_n ? v.issues[0] : v.warnings[0]);
	for (size_t i = 0; i < OUTLINE_N; i++) {
		assert_true(utf8_valid(o->subtopics[i]));
		assert_true(o->subtopics[i].n <= 200);
	}
}

static void every_topic_gets_fifteen_distinct_subtopics(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(fixture_topics); i++) {
		struct outline o = outline(fixture_topics[i]);

		assert_fifteen_good(fixture_topics[i], &o);
		assert_true(o.score > 0 && o.score <= 1);
	}
}

static bool shows(const struct outline *o, const char *words)
{
	for (size_t i = 0; i < OUTLINE_N; i++)
		if (text_has(o->subtopics[i], str_from(words)))
			return true;
	return false;
}

static void the_right_words_are_there_and_the_wrong_ones_not(void **state)
{
	static const struct {
		const char *topic;
		const char *there[3], *absent[4];
	} cases[] = {
		{"Python",
	         {"Syntax", "Functions", "Error handling"},
	         {"snake", "boa", "reptile", "Habitat"}},
		{"calculus",
	         {"Integral calculus", "Differential calculus", "theorems"},
	         {"stone", "urolith", "tartar", "gallstone"}},
		{"Java",
	         {"Syntax", "Functions", "Data structures"},
	         {"Jakarta", "coffee", "island", "Espresso"}},
		{"mercury",
	         {"Chemical properties", "Safe handling", "Uses"},
	         {"planet", "Jupiter", "god", "orbit"}},
		{"Mercury (planet)",
	         {"Formation", "Observing", "Exploration"},
	         {"thermometer", "god", "Chemical properties", "metal"}},
		{"photosynthesis",
	         {"Light reaction", "Inputs and outputs", "Stages"},
	         {"halogenation", "fermentation", "Life cycle", "love"}},
		{"democracy",
	         {"Parliamentary democracy", "Rights and duties", "Threats"},
	         {"pure_mathematics", "orientation", "Habitat", "stone"}},
		{"music",
	         {"Polyphony", "Musical composition", "Techniques"},
	         {"Bach", "punishment", "whistling", "sonata form god"}},
		{"machine learning",
	         {"Tools and methods", "Applications", "Core principles"},
	         {"conditioning", "memorization", "imprinting", "lathe"}},
		{"Rust ownership",
	         {"Core principles", "How Rust ownership works", "Examples"},
	         {"oxide", "plant", "corrosion", "property"}},
		{"physics",
	         {"Mechanics", "Optics", "Nuclear physics"},
	         {"attractive", "Aristotle", "stone", "Habitat"}},
		{"lion",
	         {"Habitat", "Lioness", "Mane"},
	         {"celebrity", "Leo", "sign of the zodiac", "social lion"}},
		{"Paris",
	         {"Eiffel Tower", "History of Paris", "Climate"},
	         {"genus", "Trojan", "Helen", "herb"}},
		{"history",
	         {"Tools and methods", "Case studies", "sources"},
	         {"History of history", "History (history)", "past times",
	          "stone"}},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct outline o = outline(cases[i].topic);

		for (size_t k = 0; k < COUNTOF(cases[i].there); k++)
			if (!shows(&o, cases[i].there[k]))
				fail_msg("%s lacks %s", cases[i].topic,
				         cases[i].there[k]);
		for (size_t k = 0; k < COUNTOF(cases[i].absent); k++)
			if (shows(&o, cases[i].absent[k]))
				fail_msg("%s has %s", cases[i].topic,
				         cases[i].absent[k]);
	}
}

static void the_unknown_scores_low_and_says_so(void **state)
{
	static const char *const unknown[] = {
		"Kubernetes",      "C++",
		"機械学習",        "Rust ownership",
		"التمثيل الضوئي",  "פוטוסינתזה",
		"\xF0\x9F\x8E\xB5"};
	static const char *const known[] = {"calculus", "photosynthesis",
	                                    "music"};

	(void)state;
	for (size_t i = 0; i < COUNTOF(unknown); i++) {
		struct outline o = outline(unknown[i]);

		assert_true(o.score < 0.6);
		assert_true(o.warnings.n > 0);
	}
	for (size_t i = 0; i < COUNTOF(known); i++)
		assert_true(outline(known[i]).score > 0.7);
}

static void an_unknown_topic_is_shown_byte_for_byte(void **state)
{
	static const char *const topics[] = {
		"機械学習",      "التمثيل الضوئي",
		"פוטוסינתזה",    "\xF0\x9F\x8E\xB5",
		"e\xCC\x81tude", "KuBeRnEtIc",
		"{t} %s"};

	(void)state;
	for (size_t i = 0; i < COUNTOF(topics); i++) {
		struct outline o = outline(topics[i]);
		size_t n = 0;

		for (size_t k = 0; k < OUTLINE_N; k++)
			n += o.subtopics[k].n >= strlen(topics[i]) &&
			     memmem(o.subtopics[k].p, o.subtopics[k].n,
			            topics[i], strlen(topics[i]));
		assert_true(n >= 8);
	}
}

static void a_topic_of_two_hundred_characters_has_short_subtopics(void **state)
{
	char topic[601];

	(void)state;
	memset(topic, 'x', 200);
	topic[200] = '\0';
	{
		struct outline o = outline(topic);

		assert_fifteen_good("200 x", &o);
		assert_true(shows(&o, "this topic"));
	}
	for (size_t i = 0; i < 200; i++)
		memcpy(topic + 3 * i, "\xE6\xA9\x9F", 3);
	topic[600] = '\0';
	{
		struct outline o = outline(topic);

		assert_fifteen_good("200 ideographs", &o);
	}
}

static void the_same_topic_gives_the_same_outline(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(fixture_topics); i++) {
		struct outline a = outline(fixture_topics[i]);
		struct outline b = outline(fixture_topics[i]);

		for (size_t k = 0; k < OUTLINE_N; k++)
			assert_true(str_eq(a.subtopics[k], b.subtopics[k]));
	}
}

static void other_languages_and_no_dictionary_are_warned_about(void **state)
{
	struct outline o;

	(void)state;
	assert_int_equal(offline_outline(fixture.wn, fixture.a, STR("music"),
	                                 STR("fr-FR"), &o),
	                 OK);
	assert_true(text_has(o.warnings.v[o.warnings.n - 1], STR("English")));
	assert_int_equal(offline_outline(NULL, fixture.a, STR("music"),
	                                 STR("en"), &o),
	                 OK);
	assert_fifteen_good("no dictionary", &o);
	assert_true(o.score < 0.6);
	assert_true(
		text_has(o.warnings.v[o.warnings.n - 1], STR("not installed")));
}

static void offensive_and_delicate_words_are_not_brought_up(void **state)
{
	static const char *const topics[] = {"woman", "person",     "people",
	                                     "jew",   "homosexual", "hair",
	                                     "body",  "marriage"};
	static const char *const never[] = {"nigger", "kike",   "bitch",
	                                    "whore",  "faggot", "pubic",
	                                    "slut",   "tramp"};

	(void)state;
	for (size_t i = 0; i < COUNTOF(topics); i++) {
		struct outline o = outline(topics[i]);

		for (size_t k = 0; k < COUNTOF(never); k++)
			assert_false(shows(&o, never[k]));
	}
}

static void every_kind_has_at_least_25_facets(void **state)
{
	(void)state;
	for (int k = 0; k < KIND_COUNT; k++) {
		size_t n = 0;

		for (size_t i = 0; i < facets_n; i++)
			n += facet_suits(&facets[i], (enum kind)k);
		assert_true(n >= 25);
	}
}

static void facets_differ_and_name_the_topic(void **state)
{
	(void)state;
	for (size_t i = 0; i < facets_n; i++) {
		const struct facet *f = &facets[i];

		assert_true(strstr(f->title, "{t}") || strstr(f->title, "{x}"));
		assert_true(f->stage >= 1 && f->stage <= 4);
		assert_true(f->rank >= 1 && f->rank <= 9);
		assert_true(text_words(str_from(f->title)) <= 6);
		for (size_t k = i + 1; k < facets_n; k++) {
			assert_false((f->kinds & facets[k].kinds) &&
			             strcmp(f->title, facets[k].title) == 0);
			assert_true(strcmp(f->look, facets[k].look) != 0);
		}
	}
}

static void keys_fold_what_people_write_alike(void **state)
{
	static const struct {
		const char *text, *key;
	} cases[] = {
		{"Calculus ", "calculus"},
		{"  two\t \n words ", "two words"},
		{"ＦＵＬＬ", "full"},
		{"e\xCC\x81tude", "\xC3\xA9tude"},
		{"Stra\xC3\x9F"
	         "e",
	         "strasse"},
		{"\xEF\xAC\x81sh", "fish"},
		{"C++", "c++"},
		{"機械学習", "機械学習"},
		{"a\xC2\xAD"
	         "b",
	         "ab"},
		{"", ""},
		{" \xE3\x80\x80 ", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct str key;

		assert_int_equal(
			text_key(fixture.a, str_from(cases[i].text), &key), OK);
		if (!str_eq(key, str_from(cases[i].key)))
			fail_msg("%s: %.*s", cases[i].text, STR_FMT(key));
	}
}

static void advice_is_three_things_not_yet_done(void **state)
{
	struct outline o = outline("calculus");
	struct str done[OUTLINE_N];
	struct advice advice[ADVICE_N];

	(void)state;
	for (size_t n = 0; n <= OUTLINE_N; n++) {
		assert_int_equal(offline_advice(fixture.wn, fixture.a,
		                                STR("calculus"), done, n,
		                                advice),
		                 OK);
		for (size_t i = 0; i < ADVICE_N; i++) {
			struct str key;

			assert_int_equal(text_key(fixture.a, advice[i].subtopic,
			                          &key),
			                 OK);
			assert_true(text_words(advice[i].reason) >= 5);
			for (size_t k = 0; k < n; k++)
				assert_false(str_eq(key, done[k]));
			for (size_t k = 0; k < i; k++)
				assert_false(str_eq(advice[i].subtopic,
				                    advice[k].subtopic));
		}
		if (n < OUTLINE_N)
			assert_int_equal(text_key(fixture.a, o.subtopics[n],
			                          &done[n]),
			                 OK);
	}
}

static void no_memory_is_an_error_at_every_step(void **state)
{
	static const char *const topics[] = {"mercury", "Python", "music"};

	(void)state;
	for (size_t t = 0; t < COUNTOF(topics); t++) {
		unsigned n = 1;

		for (;; n++) {
			AUTO(arena) a = NULL;
			struct outline o;
			struct advice advice[ADVICE_N];
			enum err e;

			alloc_fault_arm(n);
			a = arena_new((size_t)16 << 20);
			e = a ? offline_outline(fixture.wn, a,
			                        str_from(topics[t]), STR("de"),
			                        &o)
			      : ERR_NOMEM;
			if (!e)
				e = offline_advice(fixture.wn, a,
				                   str_from(topics[t]), NULL, 0,
				                   advice);
			if (!alloc_fault_disarm()) {
				assert_int_equal(e, OK);
				break;
			}
			assert_int_equal(e, ERR_NOMEM);
		}
		assert_true(n > 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		content_test(every_topic_gets_fifteen_distinct_subtopics),
		content_test(the_right_words_are_there_and_the_wrong_ones_not),
		content_test(the_unknown_scores_low_and_says_so),
		content_test(an_unknown_topic_is_shown_byte_for_byte),
		content_test(
			a_topic_of_two_hundred_characters_has_short_subtopics),
		content_test(the_same_topic_gives_the_same_outline),
		content_test(
			other_languages_and_no_dictionary_are_warned_about),
		content_test(offensive_and_delicate_words_are_not_brought_up),
		content_test(every_kind_has_at_least_25_facets),
		content_test(facets_differ_and_name_the_topic),
		content_test(keys_fold_what_people_write_alike),
		content_test(advice_is_three_things_not_yet_done),
		content_test(no_memory_is_an_error_at_every_step),
	};

	return cmocka_run_group_tests(tests, fixture_up, fixture_down);
}
