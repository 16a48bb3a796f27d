/*
 * sums - usage added up, as the statements "usage.*" give it and answers show it.
 *
 * Each of those statements begins with the columns of struct usage_sums; what
 * stands behind them differs.  Dollars leave with four decimals.
 *
 * Threads: any; nothing here has a state.
 */
#ifndef SVC_CONTENT_QUOTA_SUMS_H
#define SVC_CONTENT_QUOTA_SUMS_H

#include "common/codec/mp.h"
#include "common/db/db.h"
#include "svc-content/quota/limits.h"

struct usage_sums {
	int64_t requests, tokens_in, tokens_out, cost;
};
#define USAGE_SUMS_COLUMNS 4

void usage_sums_read(const struct db_row *row, struct usage_sums *out);
void usage_sums_add(struct usage_sums *to, const struct usage_sums *more);

/* The days of a report: from its first to its last. */
struct usage_days {
	enum quota_period period;
	int64_t from, to;
};
struct usage_days usage_days_of(enum quota_period p, int64_t now_ms);
/* The whole UTC day `day` as epoch milliseconds. */
int64_t usage_day_ms(int64_t day);

/* One person of a period: contract 2.1.4, Usage. */
struct usage_person {
	struct str sub, handle; /* handle: empty when it is not known */
	struct usage_sums sums;
	struct buf routes; /* {"create_subtopics": {...}, ...} as JSON */
};
/* The name that an administrator knows them by. */
struct str usage_name(const struct usage_person *p);
void usage_pack_person(struct buf *b, const struct usage_person *p,
                       const struct usage_days *days);
/* One of their routes. */
void usage_add_route(struct usage_person *p, struct str route,
                     const struct usage_sums *sums);

#define USAGE_PAIRS 5
/* USAGE_PAIRS pairs: requests, input_tokens, output_tokens, total_tokens, cost */
void usage_pack_sums(struct buf *b, const struct usage_sums *s);

#endif
