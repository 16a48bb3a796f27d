/* What is counted of providers. */
#include "svc-content/llm/inner.h"

#include <stdlib.h>

struct figures_llm {
	struct metric_family *calls, *tokens, *cost, *seconds, *first,
		*fallbacks;
};

static const double seconds[] = {0.1, 0.5, 1, 2, 5, 10, 30};

struct figures_llm *figures_llm_new(struct metrics *m)
{
	static const char *const by_status[] = {"endpoint", "model", "status",
	                                        NULL};
	static const char *const by_model[] = {"endpoint", "model", NULL};
	static const char *const by_provider[] = {"provider", "model", NULL};
	static const char *const by_reason[] = {"provider", "reason", NULL};
	struct figures_llm *f = m ? calloc(1, sizeof(*f)) : NULL;

	if (!f)
		return NULL;
	f->calls = metrics_family(
		m, METRIC_COUNTER, "gemini_api_calls_total",
		"Requests to providers of a language model, by what came of "
		"them.",
		by_status, NULL, 0);
	f->tokens = metrics_family(m, METRIC_COUNTER, "gemini_api_tokens_total",
	                           "Tokens of prompts and answers.", by_model,
	                           NULL, 0);
	f->cost =
		metrics_family(m, METRIC_COUNTER, "kae_llm_cost_dollars_total",
	                       "What the tokens cost, at the prices that are "
	                       "set.",
	                       by_provider, NULL, 0);
	f->seconds = metrics_family(m, METRIC_HISTOGRAM,
	                            "gemini_api_duration_seconds",
	                            "How long requests to providers took.",
	                            by_model, seconds, COUNTOF(seconds));
	f->first = metrics_family(m, METRIC_HISTOGRAM,
	                          "kae_llm_first_token_seconds",
	                          "Until a streamed answer had its first text.",
	                          by_provider, seconds, COUNTOF(seconds));
	f->fallbacks = metrics_family(
		m, METRIC_COUNTER, "kae_llm_fallbacks_total",
		"Calls that went on to the next provider, or were left to the "
		"offline one, by why.",
		by_reason, NULL, 0);
	return f;
}

void figures_llm_free(struct figures_llm *f)
{
	free(f);
}

static double in_seconds(uint64_t ms)
{
	return (double)ms / 1e3;
}

void figures_llm_call(struct figures_llm *f, const struct llm_call *c,
                      const struct provider *p, const char *status,
                      uint64_t took_ms)
{
	const char *values[] = {c->endpoint, p->model, status};

	if (!f)
		return;
	if (f->calls)
		metric_add(metric_series(f->calls, values), 1);
	if (f->seconds)
		metric_observe(metric_series(f->seconds, values),
		               in_seconds(took_ms));
}

void figures_llm_tokens(struct figures_llm *f, const struct llm_call *c,
                        const struct provider *p, uint64_t tokens,
                        uint64_t cost)
{
	const char *by_model[] = {c->endpoint, p->model};
	const char *by_provider[] = {p->name, p->model};

	if (f && f->tokens)
		metric_add(metric_series(f->tokens, by_model), (double)tokens);
	if (f && f->cost)
		metric_add(metric_series(f->cost, by_provider),
		           (double)cost / 1e6);
}

void figures_llm_first(struct figures_llm *f, const struct provider *p,
                       uint64_t took_ms)
{
	const char *values[] = {p->name, p->model};

	if (f && f->first)
		metric_observe(metric_series(f->first, values),
		               in_seconds(took_ms));
}

void figures_llm_fallback(struct figures_llm *f, const struct provider *p,
                          const char *reason)
{
	const char *values[] = {p->name, reason};

	if (f && f->fallbacks)
		metric_add(metric_series(f->fallbacks, values), 1);
}
