/* CPU time of the offline provider, an answer at a time, over many topics. */
#include "svc-content/offline/offline.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 20

static const char *const topics[] = {
	"Python",    "calculus",        "mercury",      "photosynthesis",
	"democracy", "music",           "Kubernetes",   "機械学習",
	"physics",   "biology",         "chemistry",    "law",
	"tree",      "computer",        "person",       "religion",
	"Paris",     "Albert Einstein", "World War II", "bread",
};

static double cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print(const char *what, double *us, size_t n)
{
	double sum = 0;

	qsort(us, n, sizeof(*us), by_size);
	for (size_t i = 0; i < n; i++)
		sum += us[i];
	printf("%-24s mean %7.0f us  p50 %7.0f  p99 %7.0f  max %7.0f\n", what,
	       sum / (double)n, us[n / 2], us[n * 99 / 100], us[n - 1]);
}

enum { OUTLINE, LESSONS, QUIZ, ADVICE, JOBS };

static const char *const names[JOBS] = {
	[OUTLINE] = "outline",
	[LESSONS] = "15 lessons, high detail",
	[QUIZ] = "quiz of 5",
	[ADVICE] = "advice",
};

static enum err run(int job, const struct wordnet *wn, struct arena *a,
                    struct str topic, struct outline *o)
{
	struct lesson_ask lesson = {.topic = topic, .detail = DETAIL_HIGH};
	struct quiz_ask quiz = {.topic = topic,
	                        .subtopic = o->subtopics[5],
	                        .count = 5};
	struct lesson lessons[OUTLINE_N];
	struct question questions[QUIZ_MAX];
	struct advice advice[ADVICE_N];

	switch (job) {
	case OUTLINE:
		return offline_outline(wn, a, topic, STR("en"), o);
	case LESSONS:
		return offline_lessons(wn, a, &lesson, o->subtopics, OUTLINE_N,
		                       lessons);
	case QUIZ:
		return offline_quiz(wn, a, &quiz, questions);
	default:
		return offline_advice(wn, a, topic, NULL, 0, advice);
	}
}

int main(void)
{
	static double us[JOBS][ROUNDS * COUNTOF(topics)];
	const char *dir = getenv("WORDNET_DIR");
	AUTO(wordnet) wn = NULL;
	size_t n = 0;

	if (wordnet_open(dir ? dir : "/usr/share/wordnet", &wn)) {
		(void)fprintf(stderr, "no dictionary\n");
		return 1;
	}
	for (size_t round = 0; round < ROUNDS; round++)
		for (size_t i = 0; i < COUNTOF(topics); i++, n++) {
			AUTO(arena) a = arena_new((size_t)64 << 20);
			struct outline o;

			for (int job = 0; job < JOBS; job++) {
				double start = cpu_us();

				if (!a ||
				    run(job, wn, a, str_from(topics[i]), &o))
					return 1;
				us[job][n] = cpu_us() - start;
			}
		}
	for (int job = 0; job < JOBS; job++)
		print(names[job], us[job], n);
	return 0;
}
