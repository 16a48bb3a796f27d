#include "svc-content/quota/limits.h"

#include <math.h>
#include <string.h>

#define DAY_MS     INT64_C(86400000)
#define WARN_AT    75
#define URGENT_AT  90
#define MONTH_MOST 32 /* days, from the first of any month into the next */

const struct quota_rule quota_rules[QUOTA_LIMITS] = {
#define LIMIT(id, unit, period, setting, label) \
	{QUOTA_##unit, QUOTA_##period, label},
#include "svc-content/quota/limits.def"
#undef LIMIT
};

const char *quota_unit_name(enum quota_unit u)
{
	return u == QUOTA_TOKENS ? "tokens" : "requests";
}

const char *quota_period_name(enum quota_period p)
{
	return p == QUOTA_MONTHLY ? "monthly" : "daily";
}

bool quota_period_from_str(struct str s, enum quota_period *out)
{
	for (enum quota_period p = QUOTA_DAILY; p < QUOTA_PERIODS; p++) {
		if (!str_eq(s, str_from(quota_period_name(p))))
			continue;
		*out = p;
		return true;
	}
	return false;
}

void quota_limits_read(const struct settings *conf, struct quota_limits *out)
{
#define SET(TIER, tier, id, setting)       \
	out->of[TIER_##TIER][QUOTA_##id] = \
		(int64_t)conf->quota_##tier##_##setting;
#define LIMIT(id, unit, period, setting, label) \
	SET(LIMITED, limited, id, setting)      \
	SET(FREE, free, id, setting)            \
	SET(BASIC, basic, id, setting)          \
	SET(PREMIUM, premium, id, setting)      \
	SET(UNLIMITED, unlimited, id, setting)
#include "svc-content/quota/limits.def"
#undef LIMIT
#undef SET
	/* Who runs without limits of requests has none of them per day. */
	for (size_t t = 0; t <= TIER_UNLIMITED && !conf->rate_limit_enabled;
	     t++)
		for (size_t i = 0; i < QUOTA_LIMITS; i++)
			if (quota_rules[i].unit == QUOTA_REQUESTS)
				out->of[t][i] = 0;
}

/* --- periods -------------------------------------------------------------------- */

struct str quota_date(int64_t day, char out[QUOTA_DATE_MAX])
{
	char iso[CLOCK_ISO_MAX];

	(void)clock_iso(day * DAY_MS, iso);
	memcpy(out, iso, QUOTA_DATE_MAX - 1);
	out[QUOTA_DATE_MAX - 1] = '\0';
	return str_from(out);
}

int64_t quota_period_start(enum quota_period p, int64_t day)
{
	char date[QUOTA_DATE_MAX];
	const char *d = quota_date(day, date).p + 8;

	if (p == QUOTA_DAILY)
		return day;
	return day - ((d[0] - '0') * 10 + (d[1] - '0') - 1);
}

int64_t quota_period_end(enum quota_period p, int64_t day)
{
	if (p == QUOTA_DAILY)
		return day + 1;
	return quota_period_start(p, quota_period_start(p, day) + MONTH_MOST);
}

int64_t quota_reset_s(enum quota_period p, int64_t now_ms)
{
	int64_t end = quota_period_end(p, clock_utc_day(now_ms)) * DAY_MS;

	return (end - now_ms + 999) / 1000;
}

/* --- how somebody stands ---------------------------------------------------------- */

const char *quota_level_name(enum quota_level l)
{
	static const char *const names[] = {"fine", "warning", "critical"};

	return names[l];
}

double quota_percentage(int64_t usage, int64_t limit)
{
	return limit > 0 ? round((double)usage / (double)limit * 10000) / 100
	                 : 0;
}

/* Settings bound the limit, so this does not overflow. */
static bool reaches(int64_t usage, int64_t limit, int64_t percent)
{
	return usage >= (limit * percent + 99) / 100;
}

enum quota_level quota_level(int64_t usage, int64_t limit)
{
	if (limit <= 0 || usage <= 0)
		return QUOTA_FINE;
	return reaches(usage, limit, URGENT_AT) ? QUOTA_CRITICAL
	       : reaches(usage, limit, WARN_AT) ? QUOTA_WARNING
	                                        : QUOTA_FINE;
}

enum quota_limit quota_nearest(const struct quota_limits *l, enum tier tier,
                               const struct quota_spent *spent)
{
	enum quota_limit best = QUOTA_LIMITS;
	double most = -1;

	for (enum quota_limit i = 0; i < QUOTA_LIMITS; i++) {
		int64_t max = l->of[tier][i];
		double part = max > 0 ? (double)spent->of[i] / (double)max : -1;

		if (part <= most)
			continue;
		most = part;
		best = i;
	}
	return best;
}

double quota_dollars(int64_t micro)
{
	return round((double)micro / 100) / 10000;
}
