/*
 * The thread that takes a relay's turns, and sleeps until the next or a kick.
 */
#include "common/event/relay.h"

#include "common/base/guard.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

struct event_relay {
	struct relay *relay; /* the thread's own, but for its statistics */
	pthread_t thread;
	pthread_mutex_t lock; /* kicked, ending; a leaf */
	pthread_cond_t wake;
	bool kicked, ending;
};

static bool is_ending(struct event_relay *r)
{
	GUARD(&r->lock);

	return r->ending;
}

static void sleep_until(struct event_relay *r, uint64_t at_ms)
{
	const struct timespec t = {.tv_sec = (time_t)(at_ms / 1000),
	                           .tv_nsec = (long)(at_ms % 1000) * 1000000};
	GUARD(&r->lock);

	while (!r->kicked && !r->ending) {
		if (pthread_cond_timedwait(&r->wake, &r->lock, &t) == ETIMEDOUT)
			break;
	}
	r->kicked = false;
}

static void *thread_main(void *arg)
{
	struct event_relay *r = arg;

	while (!is_ending(r))
		sleep_until(r, relay_turn(r->relay));
	relay_end(r->relay);
	return NULL;
}

void event_kick(struct event_relay *r)
{
	GUARD(&r->lock);

	r->kicked = true;
	(void)pthread_cond_signal(&r->wake);
}

void event_relay_stats(const struct event_relay *r, struct event_stats *out)
{
	relay_stats(r->relay, out);
}

/* --- life ------------------------------------------------------------------ */

static bool start_thread(struct event_relay *r)
{
	pthread_condattr_t a;

	if (pthread_mutex_init(&r->lock, NULL))
		return false;
	if (pthread_condattr_init(&a))
		goto no_attr;
	if (pthread_condattr_setclock(&a, CLOCK_MONOTONIC) ||
	    pthread_cond_init(&r->wake, &a))
		goto no_cond;
	(void)pthread_condattr_destroy(&a);
	if (pthread_create(&r->thread, NULL, thread_main, r) == 0) {
		(void)pthread_setname_np(r->thread, "event-relay");
		return true;
	}
	(void)pthread_cond_destroy(&r->wake);
	(void)pthread_mutex_destroy(&r->lock);
	return false;
no_cond:
	(void)pthread_condattr_destroy(&a);
no_attr:
	(void)pthread_mutex_destroy(&r->lock);
	return false;
}

struct event_relay *event_relay_new(const struct event_relay_conf *conf)
{
	struct event_relay *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->relay = relay_new(conf);
	if (r->relay && start_thread(r))
		return r;
	relay_free(r->relay);
	free(r);
	return NULL;
}

static void tell_to_end(struct event_relay *r)
{
	GUARD(&r->lock);

	r->ending = true;
	(void)pthread_cond_signal(&r->wake);
}

void event_relay_free(struct event_relay *r)
{
	if (!r)
		return;
	tell_to_end(r);
	(void)pthread_join(r->thread, NULL);
	(void)pthread_cond_destroy(&r->wake);
	(void)pthread_mutex_destroy(&r->lock);
	relay_free(r->relay);
	free(r);
}
