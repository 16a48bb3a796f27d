/*
 * generate - answers that are made: outlines, presentations, quizzes, advice.
 *
 * Each is what the method of its name does, with a sink for who wants to hear of
 * it meanwhile (NULL: nobody).  in: the checked fields of that method.  They
 * write (presentation, quiz) through idem_write(), so a caller that has no
 * request of its own gives a cx with the effect of one (idempotency.h).
 *
 * Errors:  those of the method; cx->problem says more.
 * Threads: any that may block for as long as cx->deadline_ms allows.
 */
#ifndef SVC_CONTENT_GENERATE_GENERATE_H
#define SVC_CONTENT_GENERATE_GENERATE_H

#include "svc-content/generate/sink.h"

#include "common/bus/entry.h"

struct content;

typedef enum err generate_fn(struct content *ct, struct ctx *cx, const void *in,
                             const struct sink *sink, struct reply *out);

generate_fn generate_subtopics MUST_CHECK;
generate_fn generate_presentation MUST_CHECK;
generate_fn generate_quiz MUST_CHECK;
generate_fn generate_recommendations MUST_CHECK;

#endif
