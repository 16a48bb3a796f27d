#include "svc-content/quality.h"
#include "svc-content/text.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define FINE                                                               \
	"Neurons are cells that pass signals on. Each neuron has a body, " \
	"branches that take signals in and one long fibre that sends "     \
	"them out. Signals are short changes of voltage. Where two "       \
	"neurons meet, a substance crosses the gap and starts the next "   \
	"signal in the other neuron."

static void explanations_are_judged_by_the_rules(void **state)
{
	static const struct {
		const char *text, *subtopic;
		bool valid, refusal;
		size_t warnings;
	} cases[] = {
		{FINE, "Neurons", true, false, 0},
		{"", "Neurons", false, false, 1},
		{"Neurons are cells.", "Neurons", false, false, 0},
		{"As an AI I have no opinion on neurons. " FINE, "Neurons",
	         false, true, 0},
		{"I'm sorry, but neurons. " FINE, "Neurons", false, true, 0},
		{FINE " A gas burner has an air valve.", "Neurons", true, false,
	         0},
		{FINE, "Quaternions", true, false, 1},
		{"# Neurons\n" FINE, "Neurons", true, false, 1},
		{FINE " ```c\nint x;\n``` Done.", "Neurons", true, false, 1},
		{"one two three four five six seven eight nine ten eleven "
	         "twelve thirteen fourteen fifteen sixteen seventeen "
	         "eighteen nineteen twenty twenty-one neurons.",
	         "Neurons", false, false, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct verdict v;

		quality_lesson(str_from(cases[i].text),
		               str_from(cases[i].subtopic), &v);
		if (v.valid != cases[i].valid ||
		    v.refusal != cases[i].refusal ||
		    v.warnings_n != cases[i].warnings)
			fail_msg("case %zu: valid %d refusal %d warnings %zu",
			         i, v.valid, v.refusal, v.warnings_n);
		assert_true(v.score >= 0 && v.score <= 1);
		assert_true(v.valid == (v.issues_n == 0));
	}
}

static void padding_and_length_are_warned_about(void **state)
{
	AUTO_BUF b = {0};
	struct verdict v;

	(void)state;
	for (int i = 0; i < 120; i++)
		buf_str(&b, STR("Neurons pass signals on. "));
	buf_str(&b, STR("In conclusion, it is important to note that, as we "
	                "all know, in today's world neurons matter. "));
	for (int i = 0; i < 10; i++)
		buf_str(&b, STR("Neurons pass signals on now. "));
	quality_lesson(buf_view(&b), STR("Neurons"), &v);
	assert_int_equal(v.warnings_n, 2);
}

static void outlines_are_judged_by_the_rules(void **state)
{
	static const struct str good[] = {
		STR("One of them"), STR("Two of them"), STR("Three of them"),
		STR("Four"),        STR("Five"),        STR("Sixth"),
		STR("Seven"),       STR("Eight"),       STR("Nine"),
		STR("Ten"),         STR("Eleven"),      STR("Twelve"),
		STR("Thirteen"),    STR("Fourteen"),    STR("Fifteen")};
	struct str bad[15];
	AUTO(arena) a = arena_new(1 << 20);
	struct verdict v;

	(void)state;
	assert_non_null(a);
	assert_int_equal(quality_outline(good, 15, 15, a, &v), OK);
	assert_true(v.valid);
	assert_true(fabs(v.score - 1) < 1e-9);
	assert_int_equal(quality_outline(good, 13, 15, a, &v), OK);
	assert_true(v.valid);
	assert_int_equal(v.warnings_n, 1);
	assert_int_equal(quality_outline(good, 10, 15, a, &v), OK);
	assert_false(v.valid);
	assert_int_equal(quality_outline(NULL, 0, 15, a, &v), OK);
	assert_false(v.valid);
	memcpy(bad, good, sizeof(bad));
	bad[14] = STR(" ONE of  them");
	assert_int_equal(quality_outline(bad, 15, 15, a, &v), OK);
	assert_false(v.valid);
	bad[14] = STR("ab");
	assert_int_equal(quality_outline(bad, 15, 15, a, &v), OK);
	assert_false(v.valid);
	bad[14] = STR("機械");
	assert_int_equal(quality_outline(bad, 15, 15, a, &v), OK);
	assert_false(v.valid); /* two characters, whatever their bytes */
	bad[14] = STR("a b c d e f g h i");
	assert_int_equal(quality_outline(bad, 15, 15, a, &v), OK);
	assert_true(v.valid);
	assert_int_equal(v.warnings_n, 1);
	bad[14] = STR("no text \xFF");
	assert_int_equal(quality_outline(bad, 15, 15, a, &v), OK);
	assert_false(v.valid);
}

static void a_question_has_one_right_option_of_four(void **state)
{
	static const struct question fine = {
		.text = STR("What is two and two?"),
		.options = {STR("1"), STR("2"), STR("3"), STR("4")},
		.why = STR("Counting shows it."),
		.correct = 3,
	};
	struct question q;
	struct verdict v;

	(void)state;
	quality_question(&fine, &v);
	assert_true(v.valid);
	q = fine;
	q.correct = OPTIONS_N;
	quality_question(&q, &v);
	assert_false(v.valid);
	q = fine;
	q.options[1] = STR("4");
	quality_question(&q, &v);
	assert_false(v.valid);
	q = fine;
	q.options[2] = STR(" ");
	quality_question(&q, &v);
	assert_false(v.valid);
	q = fine;
	q.text = STR("");
	quality_question(&q, &v);
	assert_false(v.valid);
	q = fine;
	q.why = STR("");
	quality_question(&q, &v);
	assert_false(v.valid);
	q = fine;
	q.text = STR("Is it 4?");
	quality_question(&q, &v);
	assert_false(v.valid);
}

static void sentences_and_words_are_counted(void **state)
{
	static const struct {
		const char *text;
		size_t words, sentences;
	} cases[] = {
		{"", 0, 0},
		{"one", 1, 0},
		{"One. Two! Three?", 3, 3},
		{"Version 1.5 is out.", 4, 1},
		{"He said \"yes.\" Then he left.", 6, 2},
		{"...", 1, 0},
		{"機械。学習。", 1, 2},
		{" a  b\t\nc ", 3, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct str s = str_from(cases[i].text);

		assert_int_equal(text_words(s), cases[i].words);
		assert_int_equal(text_sentences(s), cases[i].sentences);
	}
}

static void a_form_is_filled_once(void **state)
{
	static const struct blanks in = {STR("{s}"), STR("%n"), STR("x")};
	AUTO_BUF b = {0};

	(void)state;
	text_fill(&b, "{t} {s} {x} {", &in);
	assert_true(str_eq(buf_view(&b), STR("{s} %n x {")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(explanations_are_judged_by_the_rules),
		cmocka_unit_test(padding_and_length_are_warned_about),
		cmocka_unit_test(outlines_are_judged_by_the_rules),
		cmocka_unit_test(a_question_has_one_right_option_of_four),
		cmocka_unit_test(sentences_and_words_are_counted),
		cmocka_unit_test(a_form_is_filled_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
