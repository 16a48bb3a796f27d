/*
 * material - the one form of what a provider makes, wherever it comes from.
 *
 * All texts live in the arena of the request that asked.
 */
#ifndef SVC_CONTENT_MATERIAL_H
#define SVC_CONTENT_MATERIAL_H

#include "common/base/arena.h"
#include "common/base/err.h"

#define OUTLINE_N          15
#define OPTIONS_N          4
#define QUIZ_MAX           20
#define ADVICE_N           3
#define WARNINGS_MAX       6
#define FOCUS_MAX          20
#define SUBTOPIC_WORDS_MAX 8

struct warnings {
	size_t n;
	struct str v[WARNINGS_MAX];
};

enum level { LEVEL_JUNIOR, LEVEL_SCHOOL, LEVEL_UNDERGRAD, LEVEL_COUNT };
enum detail { DETAIL_LOW, DETAIL_MEDIUM, DETAIL_HIGH };
enum style {
	STYLE_GENERAL,
	STYLE_VISUAL,
	STYLE_AUDITORY,
	STYLE_KINESTHETIC,
	STYLE_READING,
	STYLE_COUNT,
};

/* Words of the old interface and of people; unknown ones are the middle. */
enum level level_from(struct str s);
enum detail detail_from(struct str s);
enum style style_from(struct str s);
const char *level_words(enum level l); /* "high school" */

struct outline {
	struct str subtopics[OUTLINE_N];
	double score;
	struct warnings warnings;
};

struct lesson_ask {
	struct str topic, subtopic, lang;
	enum level level;
	enum detail detail;
	enum style style;
};
struct lesson {
	struct str explanation, application, search;
	double score;
	struct warnings warnings;
};

struct question {
	struct str text, options[OPTIONS_N], why;
	size_t correct; /* index into options */
};
struct quiz_ask {
	struct str topic, subtopic;
	enum level level;
	size_t count; /* 1 to QUIZ_MAX */
};

struct advice {
	struct str subtopic, reason;
};

#endif
