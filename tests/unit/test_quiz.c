#include "svc-content/offline/facets.h"
#include "svc-content/offline/prose.h"
#include "svc-content/quality.h"
#include "tests/alloc_fault.h"
#include "tests/unit/content_fixture.h"

#include "common/base/utf8.h"

static void quiz(const char *topic, struct str subtopic, enum level level,
                 size_t count, struct question *out)
{
	struct quiz_ask ask = {.topic = str_from(topic),
	                       .subtopic = subtopic,
	                       .level = level,
	                       .count = count};
	enum err e = offline_quiz(fixture.wn, fixture.a, &ask, out);

	if (e)
		fail_msg("%s / %.*s: %s", topic, STR_FMT(subtopic),
		         err_name(e));
}

static void assert_sound(const struct question *q, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct verdict v;

		quality_question(&q[i], &v);
		if (!v.valid)
			fail_msg("%.*s: %s", STR_FMT(q[i].text), v.issues[0]);
		assert_true(utf8_valid(q[i].text));
		for (size_t k = 0; k < i; k++)
			assert_false(str_eq(q[i].text, q[k].text));
	}
}

static void every_subtopic_of_every_topic_has_a_sound_quiz(void **state)
{
	struct question q[QUIZ_MAX];

	(void)state;
	for (size_t i = 0; i < COUNTOF(fixture_topics); i++) {
		struct outline o;

		assert_int_equal(offline_outline(fixture.wn, fixture.a,
		                                 str_from(fixture_topics[i]),
		                                 STR("en"), &o),
		                 OK);
		for (size_t k = 0; k < OUTLINE_N; k++) {
			quiz(fixture_topics[i], o.subtopics[k],
			     (enum level)(k % LEVEL_COUNT), 3, q);
			assert_sound(q, 3);
		}
	}
}

static void twenty_different_questions_can_be_had(void **state)
{
	struct question q[QUIZ_MAX];

	(void)state;
	for (size_t i = 0; i < COUNTOF(fixture_topics); i++) {
		quiz(fixture_topics[i], STR("general"), LEVEL_SCHOOL, QUIZ_MAX,
		     q);
		assert_sound(q, QUIZ_MAX);
	}
}

static void the_same_quiz_comes_twice(void **state)
{
	struct question a[5], b[5];

	(void)state;
	quiz("music", STR("Polyphony"), LEVEL_SCHOOL, 5, a);
	quiz("music", STR("Polyphony"), LEVEL_SCHOOL, 5, b);
	for (size_t i = 0; i < 5; i++) {
		assert_true(str_eq(a[i].text, b[i].text));
		assert_int_equal(a[i].correct, b[i].correct);
	}
}

static void the_right_option_stands_in_every_place(void **state)
{
	struct question q[QUIZ_MAX];
	size_t places[OPTIONS_N] = {0};

	(void)state;
	for (size_t i = 0; i < 12; i++) {
		quiz(fixture_topics[i], STR("general"), LEVEL_SCHOOL, QUIZ_MAX,
		     q);
		for (size_t k = 0; k < QUIZ_MAX; k++)
			places[q[k].correct]++;
	}
	for (size_t i = 0; i < OPTIONS_N; i++)
		assert_true(places[i] > 12 * QUIZ_MAX / 8);
}

static void the_subtopic_is_asked_about_first(void **state)
{
	static const struct {
		const char *topic, *subtopic, *words;
	} cases[] = {
		{"music", "Polyphony", "polyphony"},
		{"photosynthesis", "Light reaction", "light reaction"},
		{"lion", "Mane", "mane"},
		{"calculus", "Integral calculus", "integral calculus"},
		{"chemistry", "Organic chemistry", "organic chemistry"},
	};
	struct question q[3];

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct str words = str_from(cases[i].words);

		quiz(cases[i].topic, str_from(cases[i].subtopic), LEVEL_SCHOOL,
		     3, q);
		if (!text_has(q[0].text, words) &&
		    !str_eq(q[0].options[q[0].correct], words))
			fail_msg("%.*s", STR_FMT(q[0].text));
	}
}

static bool synonym(const struct wn_synset *s, struct str word)
{
	struct str lemma;

	for (unsigned i = 0; wn_word(s, i, &lemma, NULL); i++) {
		AUTO_BUF name = {0};

		prose_name(&name, lemma);
		if (str_ieq(buf_view(&name), word))
			return true;
	}
	return false;
}

/* What "is a kind of X" asks must be true of one option in every sense. */
static void wrong_options_are_never_right_in_another_sense(void **state)
{
	static const char lead[] = "Which of these is a kind of ";
	struct question q[QUIZ_MAX];
	size_t asked = 0;

	(void)state;
	for (size_t i = 0; i < COUNTOF(fixture_topics); i++) {
		quiz(fixture_topics[i], STR("Nothing"), LEVEL_JUNIOR, QUIZ_MAX,
		     q);
		for (size_t k = 0; k < QUIZ_MAX; k++) {
			struct str class = q[k].text;
			struct wn_senses ups, senses;
			size_t right = 0;

			if (!str_starts(class, STR(lead)))
				continue;
			class.p += sizeof(lead) - 1;
			class.n -= sizeof(lead);
			assert_true(wordnet_lookup(fixture.wn, WN_NOUN, class,
			                           &ups));
			asked++;
			for (size_t o = 0; o < OPTIONS_N; o++) {
				bool under = false;

				assert_true(wordnet_lookup(fixture.wn, WN_NOUN,
				                           q[k].options[o],
				                           &senses));
				/* Some sense of the class has all of the right
				 * one's; the right one must be under one that
				 * no other is under. */
				for (size_t s = 0; s < senses.n; s++)
					under = under ||
					        wordnet_under(fixture.wn,
					                      senses.v[s],
					                      ups.v[0]);
				right += under;
			}
			assert_true(right <= 1 || ups.n > 1);
		}
	}
	assert_true(asked >= 20);
}

static void no_wrong_option_is_a_synonym_of_the_right_one(void **state)
{
	static const char lead[] = "Which of these is described as";
	struct question q[QUIZ_MAX];

	(void)state;
	for (size_t i = 0; i < COUNTOF(fixture_topics); i++) {
		quiz(fixture_topics[i], STR("Nothing"), LEVEL_JUNIOR, QUIZ_MAX,
		     q);
		for (size_t k = 0; k < QUIZ_MAX; k++) {
			struct wn_senses senses;
			struct wn_synset s;

			if (!str_starts(q[k].text, STR(lead)) ||
			    !wordnet_lookup(fixture.wn, WN_NOUN,
			                    q[k].options[q[k].correct],
			                    &senses) ||
			    !wordnet_synset(fixture.wn, senses.v[0], &s))
				continue;
			for (size_t o = 0; o < OPTIONS_N; o++)
				assert_true(o == q[k].correct ||
				            !synonym(&s, q[k].options[o]));
		}
	}
}

static void study_questions_have_four_options_and_a_reason(void **state)
{
	size_t general = 0;

	(void)state;
	for (size_t i = 0; i < asks_n; i++) {
		const struct ask *a = &asks[i];
		struct question q = {
			.text = str_from(a->question),
			.options = {str_from(a->right), str_from(a->wrong[0]),
		                    str_from(a->wrong[1]),
		                    str_from(a->wrong[2])},
			.why = str_from(a->why),
		};

		assert_sound(&q, 1);
		general += a->skill == SKILL_GENERAL;
	}
	assert_true(general >= 18);
}

static void no_memory_is_an_error_at_every_step(void **state)
{
	unsigned n = 1;

	(void)state;
	for (;; n++) {
		AUTO(arena) a = NULL;
		struct quiz_ask ask = {.topic = STR("calculus"),
		                       .subtopic = STR("Integral calculus"),
		                       .count = 12};
		struct question q[QUIZ_MAX];
		enum err e;

		alloc_fault_arm(n);
		a = arena_new((size_t)16 << 20);
		e = a ? offline_quiz(fixture.wn, a, &ask, q) : ERR_NOMEM;
		if (!alloc_fault_disarm()) {
			assert_int_equal(e, OK);
			break;
		}
		assert_int_equal(e, ERR_NOMEM);
	}
	assert_true(n > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		content_test(every_subtopic_of_every_topic_has_a_sound_quiz),
		content_test(twenty_different_questions_can_be_had),
		content_test(the_same_quiz_comes_twice),
		content_test(the_right_option_stands_in_every_place),
		content_test(the_subtopic_is_asked_about_first),
		content_test(wrong_options_are_never_right_in_another_sense),
		content_test(no_wrong_option_is_a_synonym_of_the_right_one),
		content_test(study_questions_have_four_options_and_a_reason),
		content_test(no_memory_is_an_error_at_every_step),
	};

	return cmocka_run_group_tests(tests, fixture_up, fixture_down);
}
