/*
 * content_fixture - the dictionary and an arena for the tests of svc-content.
 *
 * Header only: each unit test is one program.
 */
#ifndef TESTS_UNIT_CONTENT_FIXTURE_H
#define TESTS_UNIT_CONTENT_FIXTURE_H

#include "svc-content/offline/offline.h"
#include "svc-content/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct {
	struct wordnet *wn;
	struct arena *a;
} fixture;

static const char *fixture_dir(void)
{
	const char *dir = getenv("WORDNET_DIR");

	return dir && *dir ? dir : "/usr/share/wordnet";
}

static int fixture_up(void **state)
{
	(void)state;
	return wordnet_open(fixture_dir(), &fixture.wn) ? -1 : 0;
}

static int fixture_down(void **state)
{
	(void)state;
	wordnet_close(fixture.wn);
	return 0;
}

static int fixture_each(void **state)
{
	(void)state;
	fixture.a = arena_new((size_t)64 << 20);
	return fixture.a ? 0 : -1;
}

static int fixture_after(void **state)
{
	(void)state;
	arena_free(fixture.a);
	return 0;
}

#define content_test(f) \
	cmocka_unit_test_setup_teardown(f, fixture_each, fixture_after)

/* Topics of every kind, known and not, and texts that break naive code. */
static const char *const fixture_topics[] = {
	"Python",
	"calculus",
	"Java",
	"mercury",
	"photosynthesis",
	"democracy",
	"music",
	"machine learning",
	"Kubernetes",
	"C++",
	"C#",
	"機械学習",
	"Rust ownership",
	"Rust",
	"go",
	"lion",
	"mice",
	"Paris",
	"Albert Einstein",
	"World War II",
	"the French Revolution",
	"solar system",
	"human heart",
	"diabetes",
	"bread",
	"water",
	"gravity",
	"light",
	"volcano",
	"castle",
	"tube",
	"synagogue",
	"sledge",
	"local post office",
	"person",
	"chess",
	"football",
	"swimming",
	"Spanish",
	"poetry",
	"jazz",
	"philosophy",
	"psychology",
	"economics",
	"geometry",
	"statistics",
	"chemistry",
	"biology",
	"physics",
	"astronomy",
	"history",
	"law",
	"bank",
	"religion",
	"love",
	"nurse",
	"computer",
	"cell",
	"crane",
	"evolution",
	"climate change",
	"introduction to algebra",
	"Mercury (planet)",
	"java island",
	"التمثيل الضوئي",
	"פוטוסינתזה",
	"\xF0\x9F\x8E\xB5",
	"e\xCC\x81tude",
	"O'Brien's \"law\" & co; DROP TABLE topics",
	"{t} {s} %s %n",
	"?",
	"()",
	"a",
	"this topic",
	"the stock market and how it really works in practice",
};

#endif
