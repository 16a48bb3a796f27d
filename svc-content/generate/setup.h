/*
 * setup - what every generation needs of the settings, made at start.
 */
#ifndef SVC_CONTENT_GENERATE_SETUP_H
#define SVC_CONTENT_GENERATE_SETUP_H

#include "svc-content/text.h"

#include "common/base/conf.h"

struct llm;

#define SETUP_MARK_MAX 33

struct generation {
	uint64_t lesson_ttl_ms;
	uint64_t
		stale_ms; /* kept beyond its time, for when no provider answers */
	uint64_t failed_ms; /* no provider is asked again after a failure */
	uint64_t answer_ms; /* until providers have to have answered */
	char mark[SETUP_MARK_MAX]; /* must not come back; random per process */
	char chain[TEXT_DIGEST_MAX]; /* of all providers and models, in order */
};

/* All zero is right for no provider, as in tests. */
void generation_setup(struct generation *g, const struct settings *conf,
                      const struct llm *llm);

#endif
