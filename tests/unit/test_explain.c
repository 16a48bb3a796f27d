#include "svc-content/quality.h"
#include "tests/alloc_fault.h"
#include "tests/unit/content_fixture.h"

#include "common/base/utf8.h"

static const struct {
	enum detail detail;
	size_t words;
} limits[] = {{DETAIL_LOW, 100}, {DETAIL_MEDIUM, 150}, {DETAIL_HIGH, 300}};

struct plan {
	struct outline o;
	struct lesson lessons[OUTLINE_N];
};

static struct plan *plan(const char *topic, enum level level,
                         enum detail detail, enum style style)
{
	struct lesson_ask ask = {.topic = str_from(topic),
	                         .lang = STR("en"),
	                         .level = level,
	                         .detail = detail,
	                         .style = style};
	struct plan *p = arena_alloc(fixture.a, sizeof(*p));

	assert_non_null(p);
	assert_int_equal(offline_outline(fixture.wn, fixture.a, ask.topic,
	                                 ask.lang, &p->o),
	                 OK);
	assert_int_equal(offline_lessons(fixture.wn, fixture.a, &ask,
	                                 p->o.subtopics, OUTLINE_N, p->lessons),
	                 OK);
	return p;
}

static void assert_good(const char *topic, struct str subtopic,
                        const struct lesson *l, size_t words_max)
{
	const char *hint = memmem(subtopic.p, subtopic.n, " (", 2);
	struct str name = subtopic;
	struct verdict v;

	/* "Section (music)" is called a section in the text. */
	if (hint)
		name.n = (size_t)(hint - subtopic.p);
	quality_lesson(l->explanation, subtopic, &v);
	if (!v.valid || text_words(l->explanation) > words_max ||
	    !text_has(l->explanation, name))
		fail_msg("%s / %.*s (%zu words): %.*s", topic,
		         STR_FMT(subtopic), text_words(l->explanation),
		         STR_FMT(l->explanation));
	assert_true(utf8_valid(l->explanation));
	assert_true(text_sentences(l->explanation) >= 2);
	assert_true(text_words(l->application) >= 8);
	assert_true(text_has(l->search, subtopic));
	assert_true(l->score > 0 && l->score <= 1);
}

static void every_lesson_is_whole_and_within_its_length(void **state)
{
	(void)state;
	for (size_t d = 0; d < COUNTOF(limits); d++)
		for (size_t i = 0; i < COUNTOF(fixture_topics); i++) {
			struct plan *p = plan(fixture_topics[i], LEVEL_SCHOOL,
			                      limits[d].detail, STYLE_GENERAL);

			for (size_t k = 0; k < OUTLINE_N; k++)
				assert_good(fixture_topics[i],
				            p->o.subtopics[k], &p->lessons[k],
				            limits[d].words);
		}
}

static void no_two_lessons_are_the_same_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(fixture_topics); i++) {
		struct plan *p = plan(fixture_topics[i], LEVEL_SCHOOL,
		                      DETAIL_MEDIUM, STYLE_VISUAL);

		for (size_t k = 0; k < OUTLINE_N; k++)
			for (size_t m = k + 1; m < OUTLINE_N; m++)
				assert_false(str_eq(p->lessons[k].explanation,
				                    p->lessons[m].explanation));
	}
}

static void texts_have_no_loose_quotes_blanks_or_marks(void **state)
{
	static const char *const never[] = {"  ", " . ", "..", "{",  "}",
	                                    "_",  ";.",  " ,", "( ", "()"};

	(void)state;
	for (size_t i = 0; i < COUNTOF(fixture_topics); i++) {
		struct plan *p;

		if (strpbrk(fixture_topics[i], "{}()\"?"))
			continue; /* the marks are the topic's own */
		p = plan(fixture_topics[i], LEVEL_UNDERGRAD, DETAIL_HIGH,
		         STYLE_READING);
		for (size_t k = 0; k < OUTLINE_N; k++) {
			struct str t = p->lessons[k].explanation;
			size_t quotes = 0;

			for (size_t c = 0; c < t.n; c++)
				quotes += t.p[c] == '"';
			assert_int_equal(quotes % 2, 0);
			for (size_t n = 0; n < COUNTOF(never); n++)
				if (text_has(t, str_from(never[n])))
					fail_msg("%s: '%s' in %.*s",
					         fixture_topics[i], never[n],
					         STR_FMT(t));
		}
	}
}

static void level_and_style_change_the_text(void **state)
{
	struct plan *school =
		plan("calculus", LEVEL_SCHOOL, DETAIL_MEDIUM, STYLE_GENERAL);
	struct plan *junior =
		plan("calculus", LEVEL_JUNIOR, DETAIL_MEDIUM, STYLE_GENERAL);

	(void)state;
	for (size_t k = 0; k < OUTLINE_N; k++)
		assert_false(str_eq(school->lessons[k].explanation,
		                    junior->lessons[k].explanation));
	for (int s = STYLE_VISUAL; s < STYLE_COUNT; s++) {
		struct plan *p = plan("calculus", LEVEL_SCHOOL, DETAIL_MEDIUM,
		                      (enum style)s);

		for (size_t k = 0; k < OUTLINE_N; k++)
			assert_false(str_eq(school->lessons[k].explanation,
			                    p->lessons[k].explanation));
	}
}

static void what_is_known_is_taught_from_the_dictionary(void **state)
{
	static const struct {
		const char *topic, *subtopic, *words[3];
	} cases[] = {
		{"calculus",
	         "Integral calculus",
	         {"integration", "differential equations", "calculus"}},
		{"photosynthesis", "Light reaction", {"ATP", "light", "part"}},
		{"calculus",
	         "Meaning and scope of calculus",
	         {"limits", "differentiation", "mathematics"}},
		{"physics",
	         "Optics",
	         {"light", "branch of physics", "physics"}},
		{"Photosynthesis",
	         "Chlorophyll",
	         {"green pigments", "photosynthetic", "Photosynthesis"}},
		{"Biology", "Mitochondria", {"organelle", "energy", "Biology"}},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct lesson_ask ask = {.topic = str_from(cases[i].topic),
		                         .detail = DETAIL_MEDIUM};
		struct str focus = str_from(cases[i].subtopic);
		struct lesson l;

		assert_int_equal(offline_lessons(fixture.wn, fixture.a, &ask,
		                                 &focus, 1, &l),
		                 OK);
		for (size_t k = 0; k < COUNTOF(cases[i].words); k++)
			if (!text_has(l.explanation,
			              str_from(cases[i].words[k])))
				fail_msg("%s: %.*s", cases[i].subtopic,
				         STR_FMT(l.explanation));
	}
}

/* "Decorators" are people in the dictionary, and patterns in Python. */
static void what_does_not_belong_to_the_topic_is_not_taught(void **state)
{
	static const struct {
		const char *topic, *subtopic, *absent;
	} cases[] = {
		{"Python", "Decorators", "person"},
		{"Python", "Generators", "electric"},
		{"calculus", "Tartar", "teeth"},
		{"computer science", "Docker", "laborer"},
		{"Kubernetes", "Pods", "seed"},
		{"機械学習", "Trees", "woody"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct lesson_ask ask = {.topic = str_from(cases[i].topic),
		                         .detail = DETAIL_HIGH};
		struct str focus = str_from(cases[i].subtopic);
		struct lesson l;

		assert_int_equal(offline_lessons(fixture.wn, fixture.a, &ask,
		                                 &focus, 1, &l),
		                 OK);
		assert_good(cases[i].topic, focus, &l, 300);
		if (text_has(l.explanation, str_from(cases[i].absent)))
			fail_msg("%.*s", STR_FMT(l.explanation));
		assert_true(l.score < 0.6);
		assert_true(l.warnings.n > 0);
	}
}

static void strange_subtopics_are_kept_byte_for_byte(void **state)
{
	static const char *const strange[] = {
		"الفصل الأول", "פרק ראשון", "\xF0\x9F\x8E\xB5 notes",
		"a\xCC\x8A",   "{s}{t}{x}", "%s%n",
		"\"",          "?",         "x",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(strange); i++) {
		struct lesson_ask ask = {.topic = STR("music"),
		                         .detail = DETAIL_LOW};
		struct str focus = str_from(strange[i]);
		struct lesson l;

		assert_int_equal(offline_lessons(fixture.wn, fixture.a, &ask,
		                                 &focus, 1, &l),
		                 OK);
		assert_non_null(memmem(l.explanation.p, l.explanation.n,
		                       focus.p, focus.n));
		assert_true(utf8_valid(l.explanation));
	}
}

static void no_memory_is_an_error_at_every_step(void **state)
{
	static const struct str focus[] = {STR("Optics"),
	                                   STR("History of physics"),
	                                   STR("Nothing we know")};
	unsigned n = 1;

	(void)state;
	for (;; n++) {
		AUTO(arena) a = NULL;
		struct lesson_ask ask = {.topic = STR("physics"),
		                         .lang = STR("de"),
		                         .detail = DETAIL_HIGH,
		                         .style = STYLE_VISUAL};
		struct lesson l[COUNTOF(focus)];
		enum err e;

		alloc_fault_arm(n);
		a = arena_new((size_t)16 << 20);
		e = a ? offline_lessons(fixture.wn, a, &ask, focus,
		                        COUNTOF(focus), l)
		      : ERR_NOMEM;
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
		content_test(every_lesson_is_whole_and_within_its_length),
		content_test(no_two_lessons_are_the_same_text),
		content_test(texts_have_no_loose_quotes_blanks_or_marks),
		content_test(level_and_style_change_the_text),
		content_test(what_is_known_is_taught_from_the_dictionary),
		content_test(what_does_not_belong_to_the_topic_is_not_taught),
		content_test(strange_subtopics_are_kept_byte_for_byte),
		content_test(no_memory_is_an_error_at_every_step),
	};

	return cmocka_run_group_tests(tests, fixture_up, fixture_down);
}
