/*
 * clock - the two clocks, and times as people and RFC 3339 write them.
 *
 * Deadlines and intervals use mono_ms(); what is stored or shown uses
 * wall_ms().  Modules that tests must steer take now_ms as an argument.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "common/base/str.h"

uint64_t mono_ms(void); /* CLOCK_MONOTONIC */
uint64_t mono_us(void);
int64_t wall_ms(void); /* epoch milliseconds, UTC */

#define CLOCK_ISO_MAX 25
/* "2026-01-31T23:59:59.123Z" (RFC 3339), NUL terminated; 24 bytes. */
/* The same time of day one calendar month later, in UTC: on the last day of that
 * month where it has no such day. */
int64_t clock_month_later(int64_t epoch_ms);
struct str clock_iso(int64_t epoch_ms, char out[CLOCK_ISO_MAX]);
/* Days since 1970-01-01 in UTC. */
int64_t clock_utc_day(int64_t epoch_ms);
/* Milliseconds left until a mono_ms() deadline, 0 when it has passed. */
uint64_t clock_left(uint64_t deadline_ms, uint64_t now_ms);

#endif
