/*
 * limit_gcra - the generic cell rate algorithm, as arithmetic.
 *
 * Why:     one number per bucket, the time at which it is full again (the
 *          "theoretical arrival time", TAT), says all that a token bucket or a
 *          log of requests would: nothing has to be filled up by a timer, and
 *          what a bucket forgets when it is thrown away is that number only.
 * Rule:    quota units in window_s seconds come back one every step_ns; all of
 *          them may be taken at once when the bucket is full.  So in any t
 *          seconds at most quota + t * quota / window_s units are let through.
 *          The step is rounded up: never more than the rule says.
 * Bounds:  a bucket owes at most GCRA_DEBT_SPANS windows; times are of a clock
 *          that starts near 0, and no sum overflows.
 * Threads: values.
 */
#ifndef GATEWAY_LIMIT_GCRA_H
#define GATEWAY_LIMIT_GCRA_H

#include <stdbool.h>
#include <stdint.h>

#define GCRA_QUOTA_MAX  1000000000U
#define GCRA_WINDOW_MAX (31U * 86400)
#define GCRA_DEBT_SPANS 2

struct gcra {
	uint64_t step_ns; /* of one unit */
	uint64_t span_ns; /* of all of them */
};

/* quota 1 to GCRA_QUOTA_MAX, window_s 1 to GCRA_WINDOW_MAX. */
struct gcra gcra_of(uint64_t quota, unsigned window_s);
/* Takes n units or none.  *tat_ns 0: a full bucket. */
bool gcra_take(const struct gcra *g, uint64_t *tat_ns, uint64_t now_ns,
               uint64_t n);
/* Takes n units whether they are there or not: they have been used. */
void gcra_charge(const struct gcra *g, uint64_t *tat_ns, uint64_t now_ns,
                 uint64_t n);
/* Puts back what a request that did not come to be had taken. */
void gcra_give_back(const struct gcra *g, uint64_t *tat_ns, uint64_t n);

/* Units that may be taken now. */
uint64_t gcra_left(const struct gcra *g, uint64_t tat_ns, uint64_t now_ns);
/* Until n units may be taken; UINT64_MAX: never, it is more than the quota. */
uint64_t gcra_wait_ns(const struct gcra *g, uint64_t tat_ns, uint64_t now_ns,
                      uint64_t n);
/* Until the bucket is full. */
uint64_t gcra_full_ns(uint64_t tat_ns, uint64_t now_ns);

#endif
