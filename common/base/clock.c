#include "common/base/clock.h"

#include <time.h>

uint64_t mono_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t mono_ms(void)
{
	return mono_us() / 1000;
}

int64_t wall_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* The low n digits of v, most significant first. */
static char *digits(char *at, uint64_t v, int n)
{
	for (int i = n - 1; i >= 0; i--, v /= 10)
		at[i] = (char)('0' + v % 10);
	return at + n;
}

/*
 * Year, month and day of a day number, in eras of 400 years that start on 1
 * March (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms"): twenty
 * times cheaper than gmtime_r() and snprintf(), and every log line needs it.
 */
static void civil(int64_t day, int64_t *y, uint64_t *m, uint64_t *d)
{
	int64_t era = floor_div(day + 719468, 146097);
	uint64_t doe = (uint64_t)(day + 719468 - era * 146097);
	uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	uint64_t mp = (5 * doy + 2) / 153;

	*d = doy - (153 * mp + 2) / 5 + 1;
	*m = mp < 10 ? mp + 3 : mp - 9;
	*y = (int64_t)yoe + era * 400 + (*m <= 2);
}

int64_t clock_month_later(int64_t epoch_ms)
{
	int64_t day = clock_utc_day(epoch_ms), y, days = 28;
	uint64_t m, d, later_m, later_d;

	civil(day, &y, &m, &d);
	for (int64_t n = 28; n <= 31; n++) {
		civil(day + n, &y, &later_m, &later_d);
		if (later_m == m % 12 + 1 && later_d <= d)
			days = n;
	}
	return epoch_ms + days * 86400000;
}

struct str clock_iso(int64_t epoch_ms, char out[CLOCK_ISO_MAX])
{
	int64_t day = clock_utc_day(epoch_ms), y;
	int64_t rest = epoch_ms % 86400000;
	uint64_t ms = (uint64_t)(rest < 0 ? rest + 86400000 : rest), m, d;
	char *at = out;

	civil(day, &y, &m, &d);
	at = digits(at, (uint64_t)y, 4);
	*at++ = '-';
	at = digits(at, m, 2);
	*at++ = '-';
	at = digits(at, d, 2);
	*at++ = 'T';
	at = digits(at, ms / 3600000, 2);
	*at++ = ':';
	at = digits(at, ms / 60000 % 60, 2);
	*at++ = ':';
	at = digits(at, ms / 1000 % 60, 2);
	*at++ = '.';
	at = digits(at, ms % 1000, 3);
	*at++ = 'Z';
	*at = '\0';
	return (struct str){out, CLOCK_ISO_MAX - 1};
}

int64_t clock_utc_day(int64_t epoch_ms)
{
	return floor_div(epoch_ms, 86400000);
}

uint64_t clock_left(uint64_t deadline_ms, uint64_t now_ms)
{
	return deadline_ms > now_ms ? deadline_ms - now_ms : 0;
}
