#include "svc-content/quota/provider.h"

#include "common/base/clock.h"
#include "common/base/guard.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A minute in seconds, and the one that is not over: no 60 seconds hold more. */
#define SECONDS 61

struct second {
	int64_t at; /* epoch seconds; 0: never used */
	uint64_t requests, tokens;
};

struct budget {
	struct provider_limits limits;
	struct second ring[SECONDS];
	int64_t day;
	uint64_t requests_day, tokens_day;
};

struct provider_quota {
	pthread_mutex_t lock;
	unsigned n;
	struct budget of[PROVIDERS_MAX];
};

static uint64_t safe(uint64_t set, uint64_t usual, uint64_t percent)
{
	uint64_t limit = set ? set : usual;

	if (limit == 0)
		return 0;
	limit = limit / 100 * percent + limit % 100 * percent / 100;
	return limit ? limit : 1;
}

struct provider_limits provider_limits_of(const struct settings *conf,
                                          bool gemini)
{
	uint64_t percent = conf->quota_provider_safety;

	return (struct provider_limits){
		.rpm = safe(conf->quota_provider_rpm, gemini ? 15 : 0, percent),
		.rpd = safe(conf->quota_provider_rpd, gemini ? 1500 : 0,
	                    percent),
		.tpm = safe(conf->quota_provider_tpm, gemini ? 1000000 : 0,
	                    percent),
		.tpd = safe(conf->quota_provider_tpd, gemini ? 50000000 : 0,
	                    percent),
	};
}

struct provider_quota *provider_new(const struct provider_limits *limits,
                                    unsigned n)
{
	struct provider_quota *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	(void)pthread_mutex_init(&p->lock, NULL);
	p->n = n < PROVIDERS_MAX ? n : PROVIDERS_MAX;
	for (unsigned i = 0; i < p->n; i++)
		p->of[i].limits = limits[i];
	return p;
}

void provider_free(struct provider_quota *p)
{
	if (!p)
		return;
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}

static uint64_t plus(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static void minute_of(const struct budget *b, int64_t second,
                      struct second *out)
{
	*out = (struct second){.at = second};
	for (size_t i = 0; i < SECONDS; i++) {
		const struct second *s = &b->ring[i];

		if (s->at <= second - SECONDS || s->requests + s->tokens == 0)
			continue;
		out->requests = plus(out->requests, s->requests);
		out->tokens = plus(out->tokens, s->tokens);
	}
}

static void turn_day(struct budget *b, int64_t now_ms)
{
	int64_t day = clock_utc_day(now_ms);

	if (day == b->day)
		return;
	b->day = day;
	b->requests_day = b->tokens_day = 0;
}

static bool over(uint64_t used, uint64_t more, uint64_t limit)
{
	return limit > 0 && plus(used, more) > limit;
}

static struct second *slot(struct budget *b, int64_t second)
{
	struct second *s = &b->ring[(uint64_t)second % SECONDS];

	if (s->at != second)
		*s = (struct second){.at = second};
	return s;
}

bool provider_take(struct provider_quota *p, unsigned provider, uint64_t tokens,
                   int64_t now_ms, struct provider_take *out)
{
	struct second minute, *s;
	struct budget *b;

	*out = (struct provider_take){provider, tokens, now_ms / 1000, false};
	if (provider >= p->n)
		return true;
	GUARD(&p->lock);
	b = &p->of[provider];
	turn_day(b, now_ms);
	minute_of(b, out->second, &minute);
	if (over(minute.requests, 1, b->limits.rpm) ||
	    over(b->requests_day, 1, b->limits.rpd))
		return false;
	out->by_tokens = over(minute.tokens, tokens, b->limits.tpm) ||
	                 over(b->tokens_day, tokens, b->limits.tpd);
	if (out->by_tokens)
		return false;
	s = slot(b, out->second);
	s->requests++;
	s->tokens = plus(s->tokens, tokens);
	b->requests_day++;
	b->tokens_day = plus(b->tokens_day, tokens);
	return true;
}

static uint64_t corrected(uint64_t sum, uint64_t was, uint64_t is)
{
	return plus(sum > was ? sum - was : 0, is);
}

/* What was used is of the second in which it was asked for, while that counts. */
void provider_settle(struct provider_quota *p, const struct provider_take *t,
                     uint64_t tokens)
{
	struct budget *b;
	struct second *s;

	if (t->provider >= p->n)
		return;
	GUARD(&p->lock);
	b = &p->of[t->provider];
	s = &b->ring[(uint64_t)t->second % SECONDS];
	if (s->at == t->second)
		s->tokens = corrected(s->tokens, t->tokens, tokens);
	if (clock_utc_day(t->second * 1000) == b->day)
		b->tokens_day = corrected(b->tokens_day, t->tokens, tokens);
}

void provider_usage(struct provider_quota *p, unsigned provider, int64_t now_ms,
                    struct provider_usage *out)
{
	struct second minute;
	struct budget *b;

	*out = (struct provider_usage){.requests_minute = 0};
	if (provider >= p->n)
		return;
	GUARD(&p->lock);
	b = &p->of[provider];
	turn_day(b, now_ms);
	minute_of(b, now_ms / 1000, &minute);
	*out = (struct provider_usage){
		.limits = b->limits,
		.requests_minute = minute.requests,
		.requests_day = b->requests_day,
		.tokens_minute = minute.tokens,
		.tokens_day = b->tokens_day,
	};
}
