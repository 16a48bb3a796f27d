#include "gateway/overload.h"

#include <assert.h>

#define GROWTH      0.05 /* of a limit, at a time */
#define REGROWTH    0.5  /* the same where there is much room */
#define PERSISTS    3    /* windows that are late, one after another */
#define MUCH_ROOM   0.5  /* of what is late */
#define TIGHT       0.9  /* of what is late: nearer nothing grows */
#define CUT         0.5  /* what one cut leaves of a limit at least */
#define CUT_OTHER   0.7  /* what it leaves where it is for others */
#define GOOD_KEPT   0.8  /* of the limit that was good before, in one cut */
#define GOOD_PART   0.9  /* of it that is soon reached again */
#define RATE_MS     500  /* after so long half of the best rate is forgotten */
#define STALE_MS    5000 /* a window that ended before says nothing of now */
#define BASE_FALL   0.05 /* weight of a window that was quicker */
#define TOLD_BY     0.3  /* of what was in: so deep a cut tells if it helps */
#define NO_HELP     0.75 /* of the time before: it did not */
#define OUTLIER     4    /* times what is late: more counts as so much */
#define TURN_WEIGHT 0.1

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

static double clamped(double n, double least, double most)
{
	if (n > most)
		n = most;
	return n > least ? n : least;
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

/* --- what a window says --------------------------------------------------- */

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

static double mean_ms(const struct overload_state *s)
{
	return s->sum_ms / s->samples;
}

/* Outliers as they are. */
static double whole_mean_ms(const struct overload_state *s)
{
	return s->whole_ms / s->samples;
}

/* Who came in before a limit was changed says nothing of the change. */
static bool tells_of(const struct overload_state *s, uint64_t changed_ms)
{
	return (double)s->began_ms >= (double)changed_ms + whole_mean_ms(s);
}

/* --- growing -------------------------------------------------------------- */

static void set_limit(struct overload_state *s, double limit, uint64_t now_ms)
{
	s->limit = clamped(limit, OVERLOAD_MIN, OVERLOAD_MAX);
	s->changed_ms = now_ms;
}

/* Whether g, or who is in front of it, has hardly any room left, and nobody
 * behind g could give some. */
static bool is_tight(struct overload *o, enum overload_group g, uint64_t now_ms)
{
	if (first_to_give(o, g) != &o->each[g])
		return false;
	for (int i = 0; i <= (int)g; i++) {
		const struct overload_state *s = &o->each[i];

		if (s->load > TIGHT && now_ms - s->began_ms < STALE_MS)
			return true;
	}
	return false;
}

/* Whether those in front of g have been heard since its limit was changed. */
static bool have_answered(const struct overload *o, enum overload_group g,
                          uint64_t now_ms)
{
	for (int i = 0; i < (int)g; i++) {
		const struct overload_state *s = &o->each[i];

		if (s->began_ms <= o->each[g].changed_ms &&
		    now_ms - s->began_ms < STALE_MS)
			return false;
	}
	return true;
}

static void grow(struct overload_state *s, double soon_to, uint64_t now_ms)
{
	double limit = limit_of(s), more = clamped(limit * GROWTH, 1, limit);

	/* A limit that is not used was not put to the test. */
	if (s->peak * 2 < limit || limit >= OVERLOAD_MAX)
		return;
	if (limit < soon_to)
		more = clamped(soon_to - limit, more, limit * REGROWTH);
	set_limit(s, limit + more, now_ms);
}

/* By Little's law so many are in who leave at this rate and are nearly late.
 * The best rate of late, as what stands still for a moment does as much as
 * before when it goes on. */
static double in_time(const struct overload *o, const struct overload_state *s)
{
	return s->rate * late_ms(o, s) * TIGHT;
}

/* How far a limit may grow soon: where there is much room, to what was good
 * before it was cut, if it ever was.  Of a crowd that has just come in the times
 * are still to be seen, but its rate tells already; unless those behind take
 * part of it and have to give it back. */
static double soon_to(struct overload *o, enum overload_group g)
{
	const struct overload_state *s = &o->each[g];
	double good = s->good > 0 ? s->good * GOOD_PART : OVERLOAD_MAX;

	if (s->load >= MUCH_ROOM)
		return 0;
	return first_to_give(o, g) == s ? clamped(in_time(o, s), 0, good)
	                                : good;
}

/* --- cutting -------------------------------------------------------------- */

/* A limit far above what is in flight would take long to be felt. */
static double used_of(const struct overload_state *s)
{
	return clamped(s->peak, OVERLOAD_MIN, limit_of(s));
}

/* To what is answered in time. */
static void cut(struct overload_state *s, double to, uint64_t now_ms)
{
	double limit = limit_of(s), used = used_of(s);
	double good = s->good * GOOD_KEPT;

	if (to >= used)
		return;
	if (s->cut_from <= 0) {
		s->cut_from = used;
		s->cut_from_ms = whole_mean_ms(s);
	}
	s->good = limit > good ? limit : good;
	s->cut_ms = now_ms;
	set_limit(s, clamped(to, used * CUT, limit), now_ms);
}

/* Where a third of a queue is let in, a third of the time is waited. */
static bool cutting_does_not_help(const struct overload_state *s)
{
	return s->cut_from > 0 && limit_of(s) <= s->cut_from * TOLD_BY &&
	       whole_mean_ms(s) > s->cut_from_ms * NO_HELP;
}

/* It is the service that has become slower, unless it stood still just now. */
static void doubt(struct overload_state *s, uint64_t now_ms)
{
	if (++s->no_help < PERSISTS)
		return;
	s->base_ms = whole_mean_ms(s);
	s->late = s->no_help = 0;
	s->cut_from = 0;
	set_limit(s, s->good, now_ms);
}

/* Those in front tell only that there is too much, not by how far; and that
 * there is room for its own says nothing of room for theirs, so it is not to
 * grow back soon. */
static void cut_for_others(struct overload_state *s, uint64_t now_ms)
{
	s->cut_ms = now_ms;
	set_limit(s, used_of(s) * CUT_OTHER, now_ms);
	s->good = s->limit;
}

static void too_late(struct overload *o, enum overload_group g, uint64_t now_ms)
{
	struct overload_state *s = &o->each[g], *giver = first_to_give(o, g);

	if (giver != s && tells_of(s, giver->cut_ms))
		cut_for_others(giver, now_ms);
	if (giver != s)
		return;
	/* So few cannot be a queue. */
	if (s->peak <= OVERLOAD_MIN) {
		s->base_ms = whole_mean_ms(s);
	} else if (cutting_does_not_help(s)) {
		doubt(s, now_ms);
	} else {
		s->no_help = 0;
		cut(s, in_time(o, s), now_ms);
	}
}

/* --- judging -------------------------------------------------------------- */

/* The least, but step by step: when a limit was raised the quick ones answer
 * first, and what is slow by itself is not seen for a while. */
static void learn_base(struct overload_state *s)
{
	double mean = mean_ms(s);

	if (s->base_ms <= 0)
		s->base_ms = mean;
	else if (mean < s->base_ms)
		s->base_ms += (mean - s->base_ms) * BASE_FALL;
}

static void judge_times(struct overload *o, enum overload_group g,
                        uint64_t now_ms)
{
	struct overload_state *s = &o->each[g];

	learn_base(s);
	s->load = mean_ms(s) / late_ms(o, s);
	if (!tells_of(s, s->changed_ms))
		return;
	if (s->load <= 1) {
		s->late = s->no_help = 0;
		s->cut_from = 0;
		if (!is_tight(o, g, now_ms))
			grow(s, soon_to(o, g), now_ms);
		return;
	}
	/* A queue that is gone by itself is what queues are for. */
	if (++s->late >= PERSISTS)
		too_late(o, g, now_ms);
}

static void judge(struct overload *o, enum overload_group g, uint64_t now_ms)
{
	if (groups[g].timed)
		judge_times(o, g, now_ms);
	else if (!is_tight(o, g, now_ms) && have_answered(o, g, now_ms))
		grow(&o->each[g], 0, now_ms);
}

static void note_rate(struct overload_state *s, uint64_t spent_ms)
{
	double rate = (double)s->samples / (double)spent_ms;

	s->rate *= RATE_MS / (double)(RATE_MS + spent_ms);
	if (rate > s->rate)
		s->rate = rate;
}

static void begin_window(struct overload_state *s, uint64_t now_ms)
{
	s->samples = 0;
	s->sum_ms = s->whole_ms = 0;
	s->peak = s->in_flight;
	s->began_ms = now_ms;
}

void overload_leave(struct overload *o, enum rate rate, uint64_t took_us,
                    uint64_t now_ms)
{
	enum overload_group g = of_rate[rate];
	double took_ms = (double)took_us / 1000;
	struct overload_state *s;
	uint64_t spent_ms;

	if (g == NEVER)
		return;
	s = &o->each[g];
	assert(s->in_flight > 0);
	s->in_flight--;
	if (took_us == 0)
		return;
	if (s->began_ms == 0)
		s->began_ms = now_ms;
	s->samples++;
	s->sum_ms += counted_ms(o, s, took_ms);
	s->whole_ms += took_ms;
	spent_ms = now_ms - s->began_ms;
	if (spent_ms < OVERLOAD_WINDOW_MS || s->samples < OVERLOAD_SAMPLES)
		return;
	note_rate(s, spent_ms);
	judge(o, g, now_ms);
	begin_window(s, now_ms);
}
