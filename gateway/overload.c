#include "gateway/overload.h"

#include <assert.h>

#define SHRINK_LEAST 0.7  /* what one window leaves of a limit at least */
#define GROWTH       0.05 /* of a limit, in one window */
#define TURN_WEIGHT  0.1
#define RELEARN      0.1 /* weight of a window in a base that was wrong */
#define OUTLIER      4   /* times what is late: more counts as so much */

static const struct {
	const char *name;
	bool timed; /* its times tell whether there is a queue */
} groups[OVERLOAD_GROUPS] = {
	[GROUP_AUTH] = {"auth", true},
	[GROUP_READ] = {"read", true},
	[GROUP_WRITE] = {"write", true},
	[GROUP_GENERATE] = {"generate", false},
};

#define NEVER OVERLOAD_GROUPS

static const enum overload_group of_rate[RATE_COUNT] = {
	[RATE_HEALTH] = NEVER,
	[RATE_LOGIN] = GROUP_AUTH,
	[RATE_READ] = GROUP_READ,
	[RATE_ADMIN] = GROUP_READ,
	[RATE_WRITE] = GROUP_WRITE,
	[RATE_PRIVACY] = GROUP_WRITE,
	[RATE_INGEST] = GROUP_WRITE,
	[RATE_EXPORT] = GROUP_GENERATE,
	[RATE_GENERATE] = GROUP_GENERATE,
};

const char *overload_group_name(enum overload_group g)
{
	return groups[g].name;
}

static double limit_of(const struct overload_state *s)
{
	return s->limit > 0 ? s->limit : OVERLOAD_FIRST;
}

unsigned overload_limit(const struct overload *o, enum overload_group g)
{
	return (unsigned)limit_of(&o->each[g]);
}

void overload_turned(struct overload *o, uint64_t busy_us)
{
	o->turn_ms += ((double)busy_us / 1000 - o->turn_ms) * TURN_WEIGHT;
}

bool overload_room(const struct overload *o, enum rate rate)
{
	enum overload_group g = of_rate[rate];

	return g == NEVER || o->each[g].in_flight < overload_limit(o, g);
}

void overload_refuse(struct overload *o, enum rate rate)
{
	assert(of_rate[rate] != NEVER);
	o->each[of_rate[rate]].refused++;
}

void overload_enter(struct overload *o, enum rate rate)
{
	enum overload_group g = of_rate[rate];
	struct overload_state *s;

	if (g == NEVER)
		return;
	s = &o->each[g];
	s->in_flight++;
	if (s->in_flight > s->peak)
		s->peak = s->in_flight;
}

static void shrink(struct overload_state *s, double to)
{
	double limit = limit_of(s) * (to > SHRINK_LEAST ? to : SHRINK_LEAST);

	s->limit = limit > OVERLOAD_MIN ? limit : OVERLOAD_MIN;
}

static void grow(struct overload_state *s)
{
	double limit = limit_of(s);
	double more = limit * GROWTH;

	/* A limit that is not used was not put to the test. */
	if (s->peak * 2 < limit)
		return;
	limit += more > 1 ? more : 1;
	s->limit = limit < OVERLOAD_MAX ? limit : OVERLOAD_MAX;
}

/* What is behind g and has something to give, the last of all; or g. */
static struct overload_state *first_to_give(struct overload *o,
                                            enum overload_group g)
{
	for (int i = OVERLOAD_GROUPS - 1; i > (int)g; i--) {
		struct overload_state *s = &o->each[i];

		if (s->in_flight >= OVERLOAD_MIN && limit_of(s) > OVERLOAD_MIN)
			return s;
	}
	return &o->each[g];
}

/* A mean above it tells of a queue. */
static double late_ms(const struct overload *o, const struct overload_state *s)
{
	return 2 * (s->base_ms + o->turn_ms) + OVERLOAD_SLACK_MS;
}

/* A few that waited for a frozen replica, or for a slow row, are no queue: one
 * of them shall not outweigh a hundred others. */
static double counted_ms(const struct overload *o,
                         const struct overload_state *s, double took_ms)
{
	double most = OUTLIER * late_ms(o, s);

	return s->base_ms > 0 && took_ms > most ? most : took_ms;
}

static void judge(struct overload *o, enum overload_group g)
{
	struct overload_state *s = &o->each[g], *giver;
	double mean = s->sum_ms / s->samples, late;

	if (!groups[g].timed) {
		grow(s);
		return;
	}
	if (s->base_ms <= 0 || mean < s->base_ms)
		s->base_ms = mean;
	late = late_ms(o, s);
	if (mean <= late) {
		grow(s);
		return;
	}
	giver = first_to_give(o, g);
	/* So few cannot be a queue: the service has become slower. */
	if (giver == s && s->peak <= OVERLOAD_MIN)
		s->base_ms += (mean - s->base_ms) * RELEARN;
	/* A limit far above what is in flight would take long to be felt. */
	if (giver == s && limit_of(s) > s->peak && s->peak >= OVERLOAD_MIN)
		s->limit = s->peak;
	/* Those in front tell only that there is too much, not by how far. */
	shrink(giver, giver == s ? late / mean : 0);
}

void overload_leave(struct overload *o, enum rate rate, uint64_t took_us,
                    uint64_t now_ms)
{
	enum overload_group g = of_rate[rate];
	struct overload_state *s;

	if (g == NEVER)
		return;
	s = &o->each[g];
	assert(s->in_flight > 0);
	s->in_flight--;
	if (took_us == 0)
		return;
	s->samples++;
	s->sum_ms += counted_ms(o, s, (double)took_us / 1000);
	if (s->ends_ms == 0)
		s->ends_ms = now_ms + OVERLOAD_WINDOW_MS;
	if (now_ms < s->ends_ms || s->samples < OVERLOAD_SAMPLES)
		return;
	judge(o, g);
	s->samples = 0;
	s->sum_ms = 0;
	s->peak = s->in_flight;
	s->ends_ms = now_ms + OVERLOAD_WINDOW_MS;
}
