#include "svc-content/llm/llm.h"

const char *llm_check(const struct settings *conf)
{
	(void)conf;
	return NULL;
}

enum err llm_start(const struct settings *conf, struct metrics *metrics,
                   struct llm **out)
{
	(void)conf;
	(void)metrics;
	*out = NULL;
	return OK;
}

void llm_stop(struct llm *l)
{
	(void)l;
}

unsigned llm_providers(const struct llm *l)
{
	(void)l;
	return 0;
}

void llm_provider(const struct llm *l, unsigned i, struct llm_provider *out)
{
	(void)l;
	(void)i;
	*out = (struct llm_provider){.name = "", .model = ""};
}

bool llm_ready(const struct llm *l, unsigned first, bool vision)
{
	(void)l;
	(void)first;
	(void)vision;
	return false;
}

uint64_t llm_cost(const struct llm *l, unsigned provider, uint64_t tokens_in,
                  uint64_t tokens_out)
{
	(void)l;
	(void)provider;
	(void)tokens_in;
	(void)tokens_out;
	return 0;
}

uint64_t llm_tokens(struct str text)
{
	return (text.n + 3) / 4;
}

enum health_state llm_health(void *l, char *detail, size_t detail_max)
{
	(void)l;
	if (detail_max)
		detail[0] = '\0';
	return HEALTH_UP;
}

void llm_breaker(const struct llm *l, unsigned provider,
                 struct llm_breaker *out)
{
	(void)l;
	(void)provider;
	*out = (struct llm_breaker){0};
}

void llm_reset(struct llm *l)
{
	(void)l;
}

const char *llm_finish_name(enum llm_finish f)
{
	static const char *const names[] = {[LLM_STOP] = "stop",
	                                    [LLM_LENGTH] = "length",
	                                    [LLM_FILTER] = "filter",
	                                    [LLM_REFUSED] = "refused",
	                                    [LLM_OTHER] = "other"};

	return names[f];
}

enum err llm_begin(struct llm *l, const struct llm_ask *ask,
                   struct llm_call **out)
{
	(void)l;
	(void)ask;
	(void)out;
	return ERR_UNAVAILABLE;
}

size_t llm_next(struct llm_call *const *calls, size_t n)
{
	(void)calls;
	return n;
}

const struct llm_result *llm_result(const struct llm_call *c)
{
	(void)c;
	return NULL;
}

enum err llm_run(struct llm *l, const struct llm_ask *ask,
                 struct llm_call **out)
{
	return llm_begin(l, ask, out);
}

void llm_cancel(struct llm_call *c)
{
	(void)c;
}

void llm_call_free(struct llm_call *c)
{
	(void)c;
}
