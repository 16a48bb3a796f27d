/* The providers' part of a quota: what each may be asked, and its figures. */
#include "svc-content/quota/inner.h"

#include <stdio.h>
#include <string.h>

static void make_counters(struct quota *q, struct metrics *m)
{
	static const char *const labels[] = {"limit_type", NULL};
	static const char *const of_providers[] = {"provider_requests",
	                                           "provider_tokens"};
	struct metric_family *f =
		metrics_family(m, METRIC_COUNTER, "quota_exceeded_total",
	                       "Times that a limit held something back, a "
	                       "person's or a provider's.",
	                       labels, NULL, 0);

	for (size_t i = 0; f && i < QUOTA_LIMITS; i++)
		q->exceeded[i] = metric_series(f, &quota_rules[i].label);
	for (size_t i = 0; f && i < COUNTOF(of_providers); i++)
		q->held_back[i] = metric_series(f, &of_providers[i]);
}

/* --- figures ---------------------------------------------------------------------- */

/* Of all providers together; a limit that one has not bounds nothing. */
struct sums {
	struct provider_usage all;
	double rpm_left, tpm_left;
};

static double left(uint64_t limit, uint64_t used)
{
	return limit > used ? (double)(limit - used) : 0;
}

static void add_up(struct quota *q, struct sums *s)
{
	for (unsigned i = 0; i < q->providers_n; i++) {
		struct provider_usage u;

		provider_usage(q->budget, i, q->now_ms(), &u);
		s->all.requests_minute += u.requests_minute;
		s->all.requests_day += u.requests_day;
		s->all.tokens_minute += u.tokens_minute;
		s->all.tokens_day += u.tokens_day;
		s->all.limits.rpm += u.limits.rpm;
		s->all.limits.tpm += u.limits.tpm;
		s->rpm_left += left(u.limits.rpm, u.requests_minute);
		s->tpm_left += left(u.limits.tpm, u.tokens_minute);
	}
}

static void collect(void *arg, struct buf *out)
{
	struct sums s = {.rpm_left = 0};

	add_up(arg, &s);
	const struct {
		const char *name, *help;
		double value;
	} gauges[] = {
		{"quota_requests_current_minute",
	         "Requests to providers in the last minute.",
	         (double)s.all.requests_minute},
		{"quota_requests_today", "Requests to providers this UTC day.",
	         (double)s.all.requests_day},
		{"quota_tokens_current_minute",
	         "Tokens of providers in the last minute, reserved or used.",
	         (double)s.all.tokens_minute},
		{"quota_tokens_today",
	         "Tokens of providers this UTC day, reserved or used.",
	         (double)s.all.tokens_day},
		{"quota_rpm_limit",
	         "Requests that providers may be sent a minute; 0: no limit.",
	         (double)s.all.limits.rpm},
		{"quota_tpm_limit",
	         "Tokens that providers may give a minute; 0: no limit.",
	         (double)s.all.limits.tpm},
		{"quota_rpm_remaining", "What is left of quota_rpm_limit.",
	         s.rpm_left},
		{"quota_tpm_remaining", "What is left of quota_tpm_limit.",
	         s.tpm_left},
	};

	for (size_t i = 0; i < COUNTOF(gauges); i++) {
		metrics_head(out, METRIC_GAUGE, gauges[i].name, gauges[i].help);
		metrics_line(out, gauges[i].name, "", gauges[i].value);
	}
}

/* --- asking ---------------------------------------------------------------------- */

enum err quota_providers(struct quota *q, const struct quota_provider *list,
                         unsigned n)
{
	struct provider_limits limits[PROVIDERS_MAX];

	n = n < PROVIDERS_MAX ? n : PROVIDERS_MAX;
	for (unsigned i = 0; i < n; i++) {
		limits[i] = provider_limits_of(q->conf, strcmp(list[i].name,
		                                               "gemini") == 0);
		(void)snprintf(q->providers[i].name,
		               sizeof(q->providers[i].name), "%s",
		               list[i].name);
		(void)snprintf(q->providers[i].model,
		               sizeof(q->providers[i].model), "%s",
		               list[i].model);
		q->providers[i].price_in = list[i].price_in;
		q->providers[i].price_out = list[i].price_out;
	}
	AUTO(provider) made = provider_new(limits, n);

	if (!made)
		return ERR_NOMEM;
	/* Nobody looks before this is done: figures are collected from now on. */
	provider_free(q->budget);
	q->budget = STEAL(made);
	q->providers_n = n;
	if (!q->metrics || q->watched)
		return OK;
	q->watched = metrics_collector(q->metrics, collect, q);
	return q->watched ? OK : ERR_NOMEM;
}

bool quota_provider_take(struct quota *q, unsigned provider, uint64_t tokens,
                         struct provider_take *out)
{
	bool ok = provider_take(q->budget, provider, tokens, q->now_ms(), out);

	if (!ok)
		metric_add(q->held_back[out->by_tokens], 1);
	return ok;
}

void quota_provider_settle(struct quota *q, const struct provider_take *t,
                           uint64_t tokens)
{
	provider_settle(q->budget, t, tokens);
}

/* --- life ------------------------------------------------------------------------- */

bool quota_start_providers(struct quota *q, struct metrics *metrics)
{
	q->metrics = metrics;
	if (metrics)
		make_counters(q, metrics);
	q->budget = provider_new(NULL, 0);
	return q->budget != NULL;
}

void quota_forget_providers(struct quota *q)
{
	if (q->watched)
		metrics_forget(q->metrics, collect, q);
	provider_free(q->budget);
}
