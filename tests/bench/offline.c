/*
 * What the offline provider makes of the topics of tests/data/topics.def.
 *
 *     offline            figures: each rule of offline_score.def, and measures
 *     offline -v         each fault too
 *     offline TOPIC...   all that is made of these topics, to be read
 */
#include "tests/offline_score.h"

#include "svc-content/offline/subject.h"

#include <stdlib.h>

#define SHOWN 3 /* questions on each subtopic */

static void show_quiz(const struct question *q)
{
	printf("    %.*s\n", STR_FMT(q->text));
	for (size_t i = 0; i < OPTIONS_N; i++)
		printf("      %c %.*s\n", i == q->correct ? '*' : '-',
		       STR_FMT(q->options[i]));
	printf("      %.*s\n", STR_FMT(q->why));
}

static enum err show(const struct wordnet *wn, const struct score_topic *t)
{
	AUTO(arena) a = arena_new((size_t)64 << 20);
	struct str topic = str_from(t->name);
	struct lesson_ask la = {.topic = topic,
	                        .level = t->level,
	                        .detail = DETAIL_MEDIUM};
	struct lesson l[OUTLINE_N];
	struct subject s;
	struct outline o;
	enum err e = a ? subject_of(wn, a, topic, NULL, &s) : ERR_NOMEM;

	if (!e)
		e = offline_outline(wn, a, topic, STR("en"), &o);
	if (!e)
		e = offline_lessons(wn, a, &la, o.subtopics, OUTLINE_N, l);
	if (e)
		return e;
	printf("\n%s (%s): %s; %.*s\n", t->name, t->subject, kind_words(s.kind),
	       STR_FMT(s.meaning));
	for (size_t i = 0; i < o.warnings.n; i++)
		printf("  ! %.*s\n", STR_FMT(o.warnings.v[i]));
	for (size_t i = 0; i < OUTLINE_N && !e; i++) {
		struct quiz_ask qa = {.topic = topic,
		                      .subtopic = o.subtopics[i],
		                      .level = t->level,
		                      .count = SHOWN};
		struct question q[SHOWN];

		printf("  %zu. %.*s\n    %.*s\n    USE %.*s\n", i + 1,
		       STR_FMT(o.subtopics[i]), STR_FMT(l[i].explanation),
		       STR_FMT(l[i].application));
		e = offline_quiz(wn, a, &qa, q);
		for (size_t k = 0; k < SHOWN && !e; k++)
			show_quiz(&q[k]);
	}
	return e;
}

static enum err show_named(const struct wordnet *wn, const char *name)
{
	/* Not in the list: shown all the same. */
	struct score_topic any = {name, "any", LEVEL_SCHOOL, ""};

	for (size_t i = 0; i < score_topics_n; i++)
		if (str_ieq(str_from(score_topics[i].name), str_from(name)))
			any = score_topics[i];
	return show(wn, &any);
}

static enum err figures(const struct wordnet *wn, FILE *faults)
{
	AUTO(score) s = score_new(wn, faults);
	enum err e = s ? OK : ERR_NOMEM;

	for (size_t i = 0; i < score_topics_n && !e; i++)
		e = score_add(s, &score_topics[i]);
	if (e)
		return e;
	score_print(s, stdout);
	return score_misses(s, stdout) ? ERR_INVALID : OK;
}

int main(int argc, char **argv)
{
	const char *dir = getenv("WORDNET_DIR");
	AUTO(wordnet) wn = NULL;
	bool faults = argc > 1 && strcmp(argv[1], "-v") == 0;
	enum err e = wordnet_open(dir ? dir : "/usr/share/wordnet", &wn);

	if (e) {
		(void)fprintf(stderr, "no dictionary\n");
		return 1;
	}
	if (argc == 1 || faults)
		e = figures(wn, faults ? stdout : NULL);
	for (int i = faults ? 2 : 1; i < argc && !e; i++)
		e = show_named(wn, argv[i]);
	return e ? 1 : 0;
}
