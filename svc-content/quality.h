/*
 * quality - the rules that every generated answer is measured by, whoever
 * generated it (contract 4.7 and 4.8, design D38).
 *
 * Errors:  a verdict is data: reasons are static texts fit for a client.
 * Threads: any.
 */
#ifndef SVC_CONTENT_QUALITY_H
#define SVC_CONTENT_QUALITY_H

#include "svc-content/material.h"

#include "common/base/attr.h"

#define QUALITY_REASONS_MAX 12

struct verdict {
	bool valid, refusal; /* a refusal is not worth another try */
	double score;        /* 0 to 1 */
	size_t issues_n, warnings_n;
	const char *issues[QUALITY_REASONS_MAX];
	const char *warnings[QUALITY_REASONS_MAX];
};

/* ERR_NOMEM only: a verdict needs the keys of all subtopics. */
enum err quality_outline(const struct str *subtopics, size_t n, size_t want,
                         struct arena *a, struct verdict *out) MUST_CHECK;
void quality_lesson(struct str explanation, struct str subtopic,
                    struct verdict *out);
/* Whether a model speaks about itself instead of the matter. */
bool quality_refuses(struct str text);
/* One correct option, four distinct ones, something asked and something said. */
void quality_question(const struct question *q, struct verdict *out);

#endif
