/*
 * overload - how many requests a loop lets into the services at once, learned
 * from how long they take.
 *
 * Why:     what is let in beyond what a service can do waits in a queue; when
 *          the queue is longer than a client's patience, all work is done for
 *          clients that have gone.  A number that somebody configured is wrong
 *          on the next machine, so it is learned.
 * Late:    in windows of OVERLOAD_WINDOW_MS the mean time to a reply is
 *          compared with twice what it is without a queue and
 *          OVERLOAD_SLACK_MS, which is better than to be refused.  What
 *          "without a queue" means is the least mean seen, and is learned anew
 *          where a long answer cannot come from a queue of ours: of very few,
 *          and where cutting does not help.
 * Cut:     after three late windows, as a queue that is gone by itself is what
 *          queues are for (CoDel); then not before those are out who came in
 *          before the cut.  Little's law says to what: as many as are answered
 *          in time at the best rate of late, so who waits for his answer before
 *          he asks again is not refused for a stall.
 * Grow:    slowly, as far as the limit is used and not up to what is late; but
 *          by half at a time where there is much room and the limit is below
 *          what it was before it was cut (CUBIC), or was never cut.
 * Order:   health > auth > reads > writes > generation.  Health is never
 *          refused.  Where one is late, the last of those behind it that has
 *          something to give is cut first, and grows back slowly.  Generation
 *          and export take as long as a model or a document takes, so their own
 *          times say nothing: they are only cut for others, and grow only when
 *          those have been heard again.
 * Bounds:  limits stay within OVERLOAD_MIN and OVERLOAD_MAX for each group, so
 *          nothing is ever shut out for good.
 * Threads: one loop owns it.
 */
#ifndef GATEWAY_OVERLOAD_H
#define GATEWAY_OVERLOAD_H

#include "gateway/route.h"

#define OVERLOAD_MIN       8
#define OVERLOAD_MAX       2048
#define OVERLOAD_FIRST     256
#define OVERLOAD_WINDOW_MS 100
#define OVERLOAD_SAMPLES   10 /* a window has at least so many */
#define OVERLOAD_SLACK_MS  250

/* In the order of what matters most. */
enum overload_group {
	GROUP_AUTH,
	GROUP_READ,
	GROUP_WRITE,
	GROUP_GENERATE,
	OVERLOAD_GROUPS,
};

const char *overload_group_name(enum overload_group g);

/* A zeroed one is ready. */
struct overload {
	/* How long the loop is busy before it looks again: a reply waits so
	 * long whatever the services do, and no limit would shorten it. */
	double turn_ms;
	struct overload_state {
		double limit; /* 0: OVERLOAD_FIRST */
		double good;  /* before it was cut; 0: it never was */
		uint64_t changed_ms, cut_ms; /* changed: cut, or grown */
		unsigned in_flight;
		uint64_t refused;
		/* Learned: */
		double base_ms; /* time without a queue; 0: not known yet */
		double rate;    /* the best of late, in answers a ms */
		double load;    /* the last window's mean in what is late */
		/* Windows, one after another: */
		unsigned late, no_help; /* no_help: it was cut, and in vain */
		/* Of the first cut of several: who was in, and for how long. */
		double cut_from, cut_from_ms;
		/* This window: */
		uint64_t began_ms;
		unsigned samples, peak;  /* peak: of in_flight */
		double sum_ms, whole_ms; /* whole: outliers as they are */
	} each[OVERLOAD_GROUPS];
};

/* Whether one more would be let in now. */
bool overload_room(const struct overload *o, enum rate rate);
void overload_refuse(struct overload *o, enum rate rate); /* counts it */
void overload_enter(struct overload *o, enum rate rate);
/* took_us 0: it ended in a way that says nothing about time. */
void overload_leave(struct overload *o, enum rate rate, uint64_t took_us,
                    uint64_t now_ms);
/* The loop was busy for so long. */
void overload_turned(struct overload *o, uint64_t busy_us);
unsigned overload_limit(const struct overload *o, enum overload_group g);

#endif
