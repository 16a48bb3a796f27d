#include "svc-content/offline/prose.h"
#include "svc-content/offline/sense.h"
#include "svc-content/offline/subject.h"
#include "tests/unit/content_fixture.h"

static struct subject subject(const char *topic, const struct subject *within)
{
	struct subject s;

	assert_int_equal(subject_of(fixture.wn, fixture.a, str_from(topic),
	                            within, &s),
	                 OK);
	return s;
}

static void the_meaning_a_learner_wants_is_taken(void **state)
{
	static const struct {
		const char *topic;
		bool known;
		enum kind kind;
		const char *words; /* of the meaning */
	} cases[] = {
		{"python", false, KIND_CODE, "programming language"},
		{"Python", false, KIND_CODE, "programming language"},
		{"python (snake)", true, KIND_LIVING, "boas"},
		{"python snake", true, KIND_LIVING, "boas"},
		{"python programming", false, KIND_CODE, "programming"},
		{"calculus", true, KIND_MATH, "branch of mathematics"},
		{"calculus (rock)", true, KIND_OBJECT, "mineral salts"},
		{"java", true, KIND_CODE, "programming language"},
		{"Java (beverage)", true, KIND_FOOD, "coffee"},
		{"java island", true, KIND_PLACE, "island"},
		{"mercury", true, KIND_SUBSTANCE, "metallic element"},
		{"Mercury (planet)", true, KIND_OBJECT, "nearest to the sun"},
		{"ruby", false, KIND_CODE, "programming"},
		{"rust", false, KIND_CODE, "programming"},
		{"Rust (corrosion)", true, KIND_PROCESS, "oxid"},
		{"cell", true, KIND_BODY, "unit of all organisms"},
		{"matrix", true, KIND_MATH, "rectangular array"},
		{"network", true, KIND_TECH, "computers"},
		{"tree", true, KIND_LIVING, "woody plant"},
		{"bass", true, KIND_THING, "musical instruments"},
		{"crane", true, KIND_LIVING, "bird"},
		{"bank", true, KIND_ANY, "financial institution"},
		{"plant", true, KIND_LIVING, "locomotion"},
		{"AI", true, KIND_FIELD, "computer science"},
		{"democracy", true, KIND_SOCIETY, "political system"},
		{"music", true, KIND_ART, "vocal tones"},
		{"photosynthesis", true, KIND_PROCESS, "radiant energy"},
		{"gravity", true, KIND_PHENOMENON, "attraction"},
		{"Albert Einstein", true, KIND_PERSON, "physicist"},
		{"Paris", true, KIND_PLACE, "capital"},
		{"World War II", true, KIND_EVENT, "war between"},
		{"diabetes", true, KIND_HEALTH, "disease"},
		{"Spanish", true, KIND_LANGUAGE, "language"},
		{"lions", true, KIND_LIVING, "feline"},
		{"introduction to algebra", true, KIND_MATH, "mathematics"},
		{"algebra for beginners", true, KIND_MATH, "mathematics"},
		{"what is chess?", true, KIND_ACTIVITY, "board game"},
		{"human heart", true, KIND_BODY, "organ"},
		{"Kubernetes", false, KIND_TECH, "containers"},
		{"C++", false, KIND_CODE, "C"},
		{"machine learning", false, KIND_FIELD, "patterns in data"},
		{"Rust ownership", false, KIND_ANY, ""},
		{"機械学習", false, KIND_ANY, ""},
		{"medieval poetry", false, KIND_ART, ""},
		{"nurse", true, KIND_ANY, "skilled in caring"},
		{"?", false, KIND_ANY, ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct subject s = subject(cases[i].topic, NULL);

		if (s.known != cases[i].known || s.kind != cases[i].kind ||
		    (cases[i].words[0] &&
		     !text_has(s.meaning, str_from(cases[i].words))))
			fail_msg("%s: known %d, %s, %.*s", cases[i].topic,
			         s.known, kind_words(s.kind),
			         STR_FMT(s.meaning));
	}
}

static bool warned(const struct subject *s, const char *words)
{
	for (size_t i = 0; i < s->warnings.n; i++)
		if (text_has(s->warnings.v[i], str_from(words)))
			return true;
	return false;
}

static void other_meanings_are_offered_in_words_that_work(void **state)
{
	static const struct {
		const char *topic, *offer;
	} cases[] = {
		{"mercury", "mercury (terrestrial planet)"},
		{"calculus", "calculus (rock)"},
		{"Java", "Java (beverage)"},
		{"python", "python (boa)"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct subject s = subject(cases[i].topic, NULL);
		struct subject other = subject(cases[i].offer, NULL);

		assert_true(warned(&s, "more than one meaning"));
		assert_true(warned(&s, cases[i].offer));
		assert_true(other.known);
		assert_false(str_eq(s.meaning, other.meaning));
	}
}

static void what_is_clear_or_was_made_clear_has_no_warning(void **state)
{
	static const char *const topics[] = {"photosynthesis", "lion",
	                                     "Mercury (planet)", "java island",
	                                     "algebra"};

	(void)state;
	for (size_t i = 0; i < COUNTOF(topics); i++)
		assert_int_equal(subject(topics[i], NULL).warnings.n, 0);
}

static void the_unknown_is_said_to_be_unknown(void **state)
{
	static const char *const topics[] = {"Kubernetes", "機械学習",
	                                     "Rust ownership", "C++"};

	(void)state;
	for (size_t i = 0; i < COUNTOF(topics); i++) {
		struct subject s = subject(topics[i], NULL);

		assert_true(warned(&s, "does not know"));
	}
}

static void the_topic_decides_what_a_subtopic_means(void **state)
{
	static const struct {
		const char *topic, *sub, *words;
	} cases[] = {
		{"music", "section", "composition"},
		{"statistics", "mean", "average"},
		{"biology", "cell", "organisms"},
		{"football", "tackle", "football"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct subject topic = subject(cases[i].topic, NULL);
		struct subject s = subject(cases[i].sub, &topic);

		if (!s.known ||
		    !text_has(s.syn.gloss, str_from(cases[i].words)))
			fail_msg("%s in %s: %.*s", cases[i].sub, cases[i].topic,
			         STR_FMT(s.meaning));
	}
}

static void phrases_take_their_article(void **state)
{
	static const struct {
		const char *topic, *phrase;
	} cases[] = {
		{"lion", "the lion"},
		{"lions", "the lion"},
		{"elections", "the election"},
		{"acids", "acid"},
		{"human rights", "human rights"},
		{"bridges", "the bridge"},
		{"Photosynthesis", "photosynthesis"},
		{"CaLcUlUs", "calculus"},
		{"dna", "DNA"},
		{"WORLD WAR II", "World War II"},
		{"javascript", "JavaScript"},
		{"Machine Learning", "machine learning"},
		{"heart", "the heart"},
		{"democracy", "democracy"},
		{"Paris", "Paris"},
		{"French Revolution", "the French Revolution"},
		{"the French Revolution", "the French Revolution"},
		{"water", "water"},
		{"jazz", "jazz"},
		{"Kubernetes", "Kubernetes"},
		{"the stock market and how it really works", "this topic"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct subject s = subject(cases[i].topic, NULL);

		if (!str_eq(s.phrase, str_from(cases[i].phrase)))
			fail_msg("%s: %.*s", cases[i].topic, STR_FMT(s.phrase));
	}
}

static void without_a_dictionary_a_topic_is_still_a_topic(void **state)
{
	struct subject s;

	(void)state;
	assert_int_equal(subject_of(NULL, fixture.a, STR("calculus"), NULL, &s),
	                 OK);
	assert_false(s.known);
	assert_int_equal(s.warnings.n, 1);
	assert_int_equal(subject_of(NULL, fixture.a, STR("Python"), NULL, &s),
	                 OK);
	assert_int_equal(s.kind, KIND_CODE);
}

static void bytes_that_are_no_text_are_refused(void **state)
{
	struct subject s;

	(void)state;
	assert_int_equal(subject_of(fixture.wn, fixture.a, STR("a\xFF"), NULL,
	                            &s),
	                 ERR_INVALID);
}

static void a_definition_is_one_whole_sentence(void **state)
{
	static const struct {
		const char *topic, *want;
	} cases[] = {
		{"cell", "In biology, the term \"cell\" means the basic"},
		{"lion", "A lion is a large gregarious"},
		{"democracy", "Democracy is a political system"},
		{"Albert Einstein", "Albert Einstein was a physicist"},
		{"python snake", "The term \"python snake\" means large Old"},
		{"volcano", "A volcano is a fissure"},
		{"Paris", "Paris is the capital and largest city of France, "
	                  "and"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct subject s = subject(cases[i].topic, NULL);
		AUTO_BUF b = {0};

		prose_define(&b, &s.syn, s.name);
		if (!str_starts(buf_view(&b), str_from(cases[i].want)) ||
		    b.p[b.n - 1] != '.')
			fail_msg("%.*s", (int)b.n, b.p);
	}
}

static void a_gloss_is_taken_apart(void **state)
{
	static const struct {
		const char *gloss, *domain, *definition, *example;
	} cases[] = {
		{"(music) the sounds; \"he heard the music\"", "music",
	         "the sounds", "he heard the music"},
		{"(of a person) old; very old", "", "old; very old", ""},
		{"a thing (with; a semicolon); \"one; two three\"", "",
	         "a thing (with; a semicolon)", "one; two three"},
		{"", "", "", ""},
		{"\"only an example\"", "", "", "only an example"},
		{"a; \"unclosed example here", "", "a",
	         "unclosed example here"},
		{"a branch of it\"", "", "a branch of it", ""},
		{"a hall; of one two three four five six seven eight nine ten "
	         "eleven twelve thirteen fourteen fifteen sixteen seventeen "
	         "eighteen nineteen twenty and more and more and more; short",
	         "", "a hall", ""},
		{"(", "", "(", ""},
		{"()", "", "()", ""},
		{";;;", "", "", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct gloss g;

		prose_gloss(str_from(cases[i].gloss), &g);
		assert_true(str_eq(g.domain, str_from(cases[i].domain)));
		assert_true(
			str_eq(g.definition, str_from(cases[i].definition)));
		assert_int_equal(g.examples_n, cases[i].example[0] != '\0');
		if (g.examples_n)
			assert_true(str_eq(g.examples[0],
			                   str_from(cases[i].example)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		content_test(the_meaning_a_learner_wants_is_taken),
		content_test(other_meanings_are_offered_in_words_that_work),
		content_test(what_is_clear_or_was_made_clear_has_no_warning),
		content_test(the_unknown_is_said_to_be_unknown),
		content_test(the_topic_decides_what_a_subtopic_means),
		content_test(phrases_take_their_article),
		content_test(without_a_dictionary_a_topic_is_still_a_topic),
		content_test(bytes_that_are_no_text_are_refused),
		content_test(a_definition_is_one_whole_sentence),
		content_test(a_gloss_is_taken_apart),
	};

	return cmocka_run_group_tests(tests, fixture_up, fixture_down);
}
