/*
 * The offline provider over the topics of tests/data/topics.def: every rule of
 * offline_score.def reaches its floor.  A fifth of the topics; all of them when
 * KAE_FULL is set.
 */
#include "tests/offline_prose.h"
#include "tests/offline_score.h"
#include "tests/unit/content_fixture.h"

#define EVERY 5

static void every_rule_holds_over_the_topics(void **state)
{
	AUTO(score) s = score_new(fixture.wn, stdout);
	size_t step = getenv("KAE_FULL") ? 1 : EVERY;

	(void)state;
	assert_non_null(s);
	for (size_t i = 0; i < score_topics_n; i += step)
		assert_int_equal(score_add(s, &score_topics[i]), OK);
	score_print(s, stdout);
	assert_int_equal(score_misses(s, stdout), 0);
}

static void there_are_two_hundred_topics_and_no_two_are_one(void **state)
{
	(void)state;
	assert_int_equal(score_topics_n, 200);
	for (size_t i = 0; i < score_topics_n; i++)
		for (size_t k = 0; k < i; k++)
			assert_false(str_ieq(str_from(score_topics[i].name),
			                     str_from(score_topics[k].name)));
}

/* A scorer that finds nothing proves nothing. */
static void what_is_bad_is_found(void **state)
{
	static const char *const bad[] = {
		"It is is a thing.", "it begins small.",     "It has no end",
		"It (opens.",        "It is a \"quote.",     "It , is odd.",
		"It is a orange.",   "It is an university.",
	};
	static const char *const good[] = {
		"It is an hour.",
		"It is a unit (for example, a metre). \"It\" is used.",
		"In C#, etc., that that is so.",
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bad); i++)
		if (english_whole(str_from(bad[i])) &&
		    english_articles(str_from(bad[i])))
			fail_msg("passes: %s", bad[i]);
	for (size_t i = 0; i < COUNTOF(good); i++)
		if (!english_whole(str_from(good[i])) ||
		    !english_articles(str_from(good[i])))
			fail_msg("fails: %s", good[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		content_test(there_are_two_hundred_topics_and_no_two_are_one),
		content_test(what_is_bad_is_found),
		content_test(every_rule_holds_over_the_topics),
	};

	return cmocka_run_group_tests(tests, fixture_up, fixture_down);
}
