/*
 * limits - how much a tier may have in which period, and how near to it
 * somebody is.
 *
 * Periods are calendar days and months in UTC, named by the day on which they
 * begin, in days since 1970.
 *
 * Threads: any; nothing here has a state.
 */
#ifndef SVC_CONTENT_QUOTA_LIMITS_H
#define SVC_CONTENT_QUOTA_LIMITS_H

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/conf.h"
#include "common/base/ctx.h"

enum quota_unit { QUOTA_REQUESTS, QUOTA_TOKENS };
enum quota_period { QUOTA_DAILY, QUOTA_MONTHLY, QUOTA_PERIODS };
enum quota_limit {
#define LIMIT(id, unit, period, setting, label) QUOTA_##id,
#include "svc-content/quota/limits.def"
#undef LIMIT
	QUOTA_LIMITS
};

struct quota_rule {
	enum quota_unit unit;
	enum quota_period period;
	const char *label; /* of metrics */
};
extern const struct quota_rule quota_rules[QUOTA_LIMITS];
const char *quota_unit_name(enum quota_unit u);
const char *quota_period_name(enum quota_period p); /* "daily", "monthly" */
bool quota_period_from_str(struct str s, enum quota_period *out);

/* 0 sets no limit. */
struct quota_limits {
	int64_t of[TIER_UNLIMITED + 1][QUOTA_LIMITS];
};
void quota_limits_read(const struct settings *conf, struct quota_limits *out);

/* --- periods ------------------------------------------------------------------ */

#define QUOTA_DATE_MAX 11 /* "2026-01-31" */

int64_t quota_period_start(enum quota_period p, int64_t day);
/* The first day of the next one. */
int64_t quota_period_end(enum quota_period p, int64_t day);
/* Whole seconds until the next one, at least 1. */
int64_t quota_reset_s(enum quota_period p, int64_t now_ms);
struct str quota_date(int64_t day, char out[QUOTA_DATE_MAX]);

/* --- how somebody stands ------------------------------------------------------- */

enum quota_level { QUOTA_FINE, QUOTA_WARNING, QUOTA_CRITICAL };
const char *quota_level_name(enum quota_level l);

/* WARNING from 75 % on, CRITICAL from 90 %; no limit is always FINE. */
enum quota_level quota_level(int64_t usage, int64_t limit);
double quota_percentage(int64_t usage, int64_t limit); /* two decimals */

/* Usage as each limit counts it. */
struct quota_spent {
	int64_t of[QUOTA_LIMITS];
};
/* The limit that is nearest; QUOTA_LIMITS: there is none. */
enum quota_limit quota_nearest(const struct quota_limits *l, enum tier tier,
                               const struct quota_spent *spent);

/* Micro-dollars as dollars with four decimals. */
double quota_dollars(int64_t micro);

#endif
