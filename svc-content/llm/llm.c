#include "svc-content/llm/inner.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

/* --- the chain ------------------------------------------------------------------ */

const char *llm_check(const struct settings *conf)
{
	struct provider p[LLM_PROVIDERS_MAX];
	const char *why = NULL;
	unsigned n = 0;

	if (providers_read(conf, p, &n, &why) == OK)
		providers_fini(p, n);
	return why;
}

unsigned llm_providers(const struct llm *l)
{
	return l ? l->n : 0;
}

/* can changes as the provider is known better. */
static pthread_mutex_t *lock_of(const struct llm *l)
{
	return &((struct llm *)(uintptr_t)l)->lock;
}

void llm_provider(const struct llm *l, unsigned i, struct llm_provider *out)
{
	const struct provider *p = &l->providers[i];
	GUARD(lock_of(l));

	*out = (struct llm_provider){
		.name = p->name,
		.model = p->model,
		.price_in = p->price_in,
		.price_out = p->price_out,
		.vision = p->can & CAN_VISION,
		.streaming = p->can & CAN_STREAM,
	};
}

static bool lets_through(const struct provider *p, uint64_t now_ms)
{
	return p->breaker.state == BREAKER_CLOSED ||
	       (p->breaker.state == BREAKER_OPEN &&
	        now_ms >= p->breaker.until_ms) ||
	       (p->breaker.state == BREAKER_HALF_OPEN && !p->breaker.probing);
}

bool llm_ready(const struct llm *l, unsigned first, bool vision)
{
	uint64_t now = mono_ms();

	if (!l)
		return false;
	GUARD(lock_of(l));
	for (unsigned i = first; i < l->n; i++)
		if ((!vision || (l->providers[i].can & CAN_VISION)) &&
		    lets_through(&l->providers[i], now))
			return true;
	return false;
}

uint64_t llm_cost(const struct llm *l, unsigned provider, uint64_t tokens_in,
                  uint64_t tokens_out)
{
	const struct provider *p = &l->providers[provider];
	uint64_t in, out, sum;

	if (__builtin_mul_overflow(tokens_in, p->price_in, &in) ||
	    __builtin_mul_overflow(tokens_out, p->price_out, &out) ||
	    __builtin_add_overflow(in, out, &sum) || sum > UINT64_MAX - 999999)
		return UINT64_MAX / 1000000;
	return (sum + 999999) / 1000000;
}

/* About four letters of ASCII to a token, and a character of any other script. */
uint64_t llm_tokens(struct str text)
{
	uint64_t ascii = 0, others = 0;

	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		ascii += c < 0x80;
		others += c >= 0xc0;
	}
	return (ascii + 3) / 4 + others;
}

/* --- breakers --------------------------------------------------------------------- */

/* As it would be for a call now. */
static enum llm_state state_of(const struct provider *p, uint64_t now_ms)
{
	if (p->breaker.state == BREAKER_CLOSED)
		return LLM_CLOSED;
	if (p->breaker.state == BREAKER_OPEN && now_ms < p->breaker.until_ms)
		return LLM_OPEN;
	return LLM_HALF_OPEN;
}

void llm_breaker(const struct llm *l, unsigned provider,
                 struct llm_breaker *out)
{
	const struct provider *p = &l->providers[provider];
	GUARD(lock_of(l));

	*out = (struct llm_breaker){.state = state_of(p, mono_ms()),
	                            .failures = p->failures,
	                            .successes = p->successes,
	                            .last_failure_ms = p->last_failure_ms};
}

void llm_stats(const struct llm *l, struct model_stats *out)
{
	enum llm_state best = LLM_OPEN;

	*out = (struct model_stats){.breaker = BREAKER_CLOSED};
	for (unsigned i = 0; i < llm_providers(l); i++) {
		struct llm_breaker b;

		llm_breaker(l, i, &b);
		out->failures += b.failures;
		out->successes += b.successes;
		if (b.last_failure_ms > out->last_failure_ms)
			out->last_failure_ms = b.last_failure_ms;
		if (b.state == LLM_CLOSED || best == LLM_OPEN)
			best = b.state;
	}
	if (llm_providers(l))
		out->breaker = best == LLM_CLOSED ? BREAKER_CLOSED
		               : best == LLM_OPEN ? BREAKER_OPEN
		                                  : BREAKER_HALF_OPEN;
}

void llm_reset(struct llm *l)
{
	if (!l)
		return;
	GUARD(&l->lock);
	for (unsigned i = 0; i < l->n; i++) {
		breaker_reset(&l->providers[i].breaker);
		l->providers[i].not_before_ms = 0;
	}
}

enum health_state llm_health(void *arg, char *detail, size_t detail_max)
{
	static const char *const names[] = {[LLM_CLOSED] = "closed",
	                                    [LLM_OPEN] = "open",
	                                    [LLM_HALF_OPEN] = "half open"};
	const struct llm *l = arg;
	enum health_state state = HEALTH_UP;
	size_t n = 0;

	if (!l) {
		(void)snprintf(detail, detail_max,
		               "none configured: the offline provider answers");
		return HEALTH_UP;
	}
	GUARD(lock_of(l));
	for (unsigned i = 0; i < l->n && n < detail_max; i++) {
		enum llm_state s = state_of(&l->providers[i], mono_ms());
		int w = snprintf(detail + n, detail_max - n, "%s%s breaker %s",
		                 i ? ", " : "", l->providers[i].name, names[s]);

		n += w > 0 ? (size_t)w : 0;
		if (s != LLM_CLOSED)
			state = HEALTH_DEGRADED;
	}
	return state;
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

/* --- life ---------------------------------------------------------------------------- */

static void llm_free(struct llm *l)
{
	if (l->multi) {
		(void)curl_multi_cleanup(l->multi);
		curl_global_cleanup();
	}
	providers_fini(l->providers, l->n);
	figures_llm_free(l->figures);
	pthread_mutex_destroy(&l->lock);
	free(l->ca_file);
	free(l);
}

static enum err begin(struct llm *l, const struct settings *conf,
                      struct metrics *metrics)
{
	if (conf->llm_ca_file.n) {
		l->ca_file = strndup(conf->llm_ca_file.p, conf->llm_ca_file.n);
		if (!l->ca_file)
			return ERR_NOMEM;
	}
	l->retry_ms = conf->llm_retry_ms;
	l->figures = figures_llm_new(metrics);
	if (metrics && !l->figures)
		return ERR_NOMEM;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return ERR_NOMEM;
	l->multi = curl_multi_init();
	if (!l->multi) {
		curl_global_cleanup();
		return ERR_NOMEM;
	}
	if (pthread_create(&l->thread, NULL, loop_thread, l) != 0)
		return ERR_NOMEM;
	(void)pthread_setname_np(l->thread, "llm");
	return OK;
}

enum err llm_start(const struct settings *conf, struct metrics *metrics,
                   struct llm **out)
{
	const char *why = NULL;
	struct llm *l;
	enum err e;

	*out = NULL;
	if (sodium_init() < 0)
		return ERR_INTERNAL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return ERR_NOMEM;
	pthread_mutex_init(&l->lock, NULL);
	e = providers_read(conf, l->providers, &l->n, &why);
	if (e == ERR_INVALID)
		log_error(NULL, "llm.bad_settings", LOG_TEXT("detail", why));
	if (!e && l->n)
		e = begin(l, conf, metrics);
	if (e || l->n == 0) {
		llm_free(l);
		return e;
	}
	*out = l;
	return OK;
}

enum err llm_limit(struct llm *l, struct quota *q)
{
	struct quota_provider list[LLM_PROVIDERS_MAX] = {{0}};
	enum err e;

	for (unsigned i = 0; l && i < l->n; i++)
		list[i] = (struct quota_provider){l->providers[i].name,
		                                  l->providers[i].model,
		                                  l->providers[i].price_in,
		                                  l->providers[i].price_out};
	e = quota_providers(q, list, l ? l->n : 0);
	if (!e && l)
		l->quota = q;
	return e;
}

void llm_stop(struct llm *l)
{
	if (!l)
		return;
	{
		GUARD(&l->lock);

		l->ending = true;
	}
	(void)curl_multi_wakeup(l->multi);
	(void)pthread_join(l->thread, NULL);
	llm_free(l);
}
