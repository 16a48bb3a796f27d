#include "svc-content/generate/setup.h"

#include "svc-content/llm/llm.h"

#include <sodium.h>

void generation_setup(struct generation *g, const struct settings *conf,
                      const struct llm *llm)
{
	struct str parts[2 * LLM_PROVIDERS_MAX];
	unsigned char mark[SETUP_MARK_MAX / 2];
	size_t n = 0;

	*g = (struct generation){
		.lesson_ttl_ms = conf->lessons_ttl_s * 1000,
		.stale_ms = conf->generation_stale_s * 1000,
		.failed_ms = conf->generation_retry_s * 1000,
		.answer_ms = conf->generation_ms,
	};
	for (unsigned i = 0; i < llm_providers(llm) && i < LLM_PROVIDERS_MAX;
	     i++) {
		struct llm_provider p;

		llm_provider(llm, i, &p);
		parts[n++] = str_from(p.name);
		parts[n++] = str_from(p.model);
	}
	text_digest(parts, n, g->chain);
	randombytes_buf(mark, sizeof(mark));
	sodium_bin2hex(g->mark, sizeof(g->mark), mark, sizeof(mark));
}
