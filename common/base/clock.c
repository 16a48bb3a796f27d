#include "common/base/clock.h"

#include <stdio.h>
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

struct str clock_iso(int64_t epoch_ms, char out[CLOCK_ISO_MAX])
{
	int64_t s = floor_div(epoch_ms, 1000);
	unsigned ms = (unsigned)(epoch_ms - s * 1000);
	time_t t = (time_t)s;
	struct tm tm = {0};
	char text[64];

	(void)gmtime_r(&t, &tm);
	(void)snprintf(text, sizeof(text),
	               "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ",
	               (tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday,
	               tm.tm_hour, tm.tm_min, tm.tm_sec, ms);
	memcpy(out, text, CLOCK_ISO_MAX - 1);
	out[CLOCK_ISO_MAX - 1] = '\0';
	return (struct str){out, strlen(out)};
}

int64_t clock_utc_day(int64_t epoch_ms)
{
	return floor_div(epoch_ms, 86400000);
}

uint64_t clock_left(uint64_t deadline_ms, uint64_t now_ms)
{
	return deadline_ms > now_ms ? deadline_ms - now_ms : 0;
}
