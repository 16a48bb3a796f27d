#include "svc-content/standing.h"

#include "common/base/clock.h"

#include <math.h>
#include <stdlib.h>

#define DAY_MS  INT64_C(86400000)
#define HOUR_MS INT64_C(3600000)

static double one_decimal(double v)
{
	return round(v * 10) / 10;
}

static double within(double v, double least, double most)
{
	return v < least ? least : v > most ? most : v;
}

/* --- of a row of percentages -------------------------------------------------------- */

static double mean(const struct learned *v, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += v[i].percent;
	return n ? sum / (double)n : 0;
}

static double slope(const struct learned *v, size_t n)
{
	double mid = (double)(n - 1) / 2, y = mean(v, n), over = 0, under = 0;

	for (size_t i = 0; i < n; i++) {
		double x = (double)i - mid;

		over += x * (v[i].percent - y);
		under += x * x;
	}
	return under > 0 ? over / under : 0;
}

static double deviation(const struct learned *v, size_t n)
{
	double y = mean(v, n), sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (v[i].percent - y) * (v[i].percent - y);
	return n > 1 ? sqrt(sum / (double)(n - 1)) : 0;
}

/* --- concepts ----------------------------------------------------------------------- */

static int by_concept(const void *a, const void *b)
{
	const struct learned *x = a, *y = b;

	if (x->concept != y->concept)
	return x->concept < y->concept ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

struct concepts {
	double mastery; /* mean */
	int64_t n, gaps;
};

static enum err concepts_of(struct arena *a, const struct learned *v, size_t n,
                            struct concepts *out)
{
	struct learned *sorted = arena_alloc(a, (n + 1) * sizeof(*sorted));
	struct concepts c = {0};
	double sum = 0, mastery = 0;

	if (!sorted)
		return ERR_NOMEM;
	if (n)
		memcpy(sorted, v, n * sizeof(*v));
	qsort(sorted, n, sizeof(*sorted), by_concept);
	for (size_t i = 0; i < n; i++) {
		bool first =
			i == 0 || sorted[i].concept != sorted[i - 1].concept;
		bool last = i + 1 == n ||
		            sorted[i].concept != sorted[i + 1].concept;

		mastery = first ? sorted[i].percent
		                : 0.7 * mastery + 0.3 * sorted[i].percent;
		if (!last)
			continue;
		sum += mastery;
		c.n++;
		c.gaps += sorted[i].percent < STANDING_GAP;
	}
	c.mastery = c.n ? sum / (double)c.n : 0;
	*out = c;
	return OK;
}

/* --- sessions ------------------------------------------------------------------------ */

static int64_t begun(const struct learned *l)
{
	return l->from_at > 0 && l->from_at <= l->at &&
	                       l->at - l->from_at <= STANDING_SPENT_MS
	               ? l->from_at
	               : l->at;
}

static int64_t spent(const struct learned *l)
{
	int64_t ms = l->from_at > 0 ? l->at - l->from_at : 0;

	return ms < 0 ? 0 : ms > STANDING_SPENT_MS ? STANDING_SPENT_MS : ms;
}

static void sessions_of(const struct learned *v, size_t n, struct standing *st)
{
	unsigned each[7][24] = {{0}}, best = 0;
	int64_t ended = INT64_MIN / 2;

	for (size_t i = 0; i < n; i++) {
		int64_t from = begun(&v[i]);
		int64_t day = (clock_utc_day(from) + 3) % 7; /* a Thursday */

		if (from - ended >= STANDING_PAUSE_MS) {
			st->sessions++;
			each[day][from % DAY_MS / HOUR_MS]++;
		}
		ended = v[i].at;
	}
	for (int d = 0; d < 7; d++)
		for (int h = 0; h < 24; h++)
			if (each[d][h] > best) {
				best = each[d][h];
				st->best_day = d;
				st->best_hour = h;
			}
}

/* --- together ------------------------------------------------------------------------ */

static double readiness(const struct learned *v, size_t n, double mastery)
{
	double trend = within(10 * slope(v, n), 0, 100), score, weight = 0.8;

	if (n == 0)
		return 0;
	score = 0.4 * mean(v, n) + 0.3 * mastery + 0.1 * trend;
	if (n > 1) {
		score += 0.2 * within(100 - deviation(v, n), 0, 100);
		weight = 1;
	}
	return within(score / weight, 0, 100);
}

/* How many stand before that time. */
static size_t before(const struct learned *v, size_t n, int64_t at)
{
	size_t i = 0;

	while (i < n && v[i].at < at)
		i++;
	return i;
}

enum err standing_make(struct arena *a, const struct learned *v, size_t n,
                       int64_t now_ms, int64_t days, struct standing *out)
{
	struct standing st = {.best_day = -1, .best_hour = -1};
	size_t from = before(v, n, now_ms - days * DAY_MS);
	size_t late = before(v, n, now_ms - STANDING_READY_DAYS * DAY_MS);
	struct concepts c;
	int64_t ms = 0;
	enum err e = concepts_of(a, v, n, &c);

	if (e)
		return e;
	for (size_t i = from; i < n; i++)
		ms += spent(&v[i]);
	st.hours = one_decimal((double)ms / HOUR_MS);
	st.average = one_decimal(mean(v + from, n - from));
	st.trend = n > from ? slope(v + from, n - from) : 0;
	sessions_of(v + from, n - from, &st);
	st.gaps = c.gaps;
	st.readiness =
		n > late ? one_decimal(readiness(v + late, n - late, c.mastery))
			 : 0;
	*out = st;
	return OK;
}

const char *standing_word(double readiness)
{
	return readiness >= STANDING_READY    ? "Ready"
	       : readiness >= STANDING_ALMOST ? "Almost Ready"
	                                      : "Needs More Preparation";
}

const char *standing_trend(double trend)
{
	/* Two decimals are told elsewhere; less than that is no movement. */
	return trend >= 0.005    ? "improving"
	       : trend <= -0.005 ? "declining"
	                         : "stable";
}

const char *standing_day(int day)
{
	static const char *const names[] = {"Monday",   "Tuesday", "Wednesday",
	                                    "Thursday", "Friday",  "Saturday",
	                                    "Sunday"};

	return names[day];
}
