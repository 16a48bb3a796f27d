#include "common/service/lane.h"

#include "common/base/clock.h"
#include "common/base/guard.h"

#include <stdio.h>
#include <stdlib.h>

struct lane_pool {
	pthread_mutex_t lock;
	pthread_cond_t some;
	struct lane_job *head, **tail;
	bool stopping;
	unsigned idle; /* workers asleep on `some` */
	bool waking;   /* one of them has been called */
	uint64_t wait_max_us;
	struct lane_stats stats;
	char name[13];
	unsigned started; /* threads to join */
	pthread_t threads[];
};

/* Holds the lock, as do the next ones. */
static void unlink_first(struct lane_pool *l)
{
	l->head = l->head->next;
	if (!l->head)
		l->tail = &l->head;
	l->stats.queued--;
}

/*
 * One at a time: whoever comes calls the next if there is more to do, so that
 * one who takes all of it along has not woken the others for nothing.
 */
static void wake_one(struct lane_pool *l)
{
	if (!l->head || !l->idle || l->waking)
		return;
	l->waking = true;
	pthread_cond_signal(&l->some);
}

/* The next job, or NULL when the lane ends. */
static struct lane_job *wait_for_job(struct lane_pool *l)
{
	struct lane_job *job;

	while (!l->head && !l->stopping) {
		l->idle++;
		pthread_cond_wait(&l->some, &l->lock);
		l->idle--;
		l->waking = false;
	}
	job = l->head;
	if (job)
		unlink_first(l);
	return job;
}

/* Why it must not be run any more, or OK. */
static enum err too_late(const struct lane_pool *l, const struct lane_job *job,
                         uint64_t now_us)
{
	if (now_us / 1000 >= job->deadline_ms)
		return ERR_TIMEOUT;
	return l->wait_max_us && now_us - job->queued_us > l->wait_max_us
	               ? ERR_BUSY
	               : OK;
}

/* OK with a job to run, or why it is to be dropped. */
static struct lane_job *take(struct lane_pool *l, enum err *why)
{
	GUARD(&l->lock);
	struct lane_job *job = wait_for_job(l);
	uint64_t now_us = mono_us();

	if (!job)
		return NULL;
	*why = too_late(l, job, now_us);
	if (*why || !job->joins)
		wake_one(l);
	if (*why == ERR_TIMEOUT) {
		l->stats.expired++;
	} else if (*why) {
		l->stats.refused++;
	} else {
		l->stats.busy++;
		l->stats.wait_us += now_us - job->queued_us;
	}
	return job;
}

unsigned lane_more(struct lane_pool *l, struct lane_job *jobs[], unsigned max)
{
	GUARD(&l->lock);
	uint64_t now_us = mono_us();
	unsigned n = 0;

	while (n < max && l->head && l->head->joins &&
	       !too_late(l, l->head, now_us)) {
		jobs[n++] = l->head;
		l->stats.wait_us += now_us - l->head->queued_us;
		unlink_first(l);
	}
	wake_one(l);
	return n;
}

void lane_ran(struct lane_pool *l, unsigned jobs)
{
	GUARD(&l->lock);

	l->stats.done += jobs;
}

static void finished(struct lane_pool *l)
{
	GUARD(&l->lock);

	l->stats.busy--;
	l->stats.done++;
}

static void *work(void *arg)
{
	struct lane_pool *l = arg;
	struct lane_job *job;
	enum err why = OK;

	while ((job = take(l, &why))) {
		if (why) {
			job->drop(job, why);
			continue;
		}
		job->run(job);
		finished(l);
	}
	return NULL;
}

struct lane_pool *lane_new(const struct lane_conf *conf)
{
	struct lane_pool *l =
		calloc(1, sizeof(*l) + conf->threads * sizeof(l->threads[0]));

	if (!l)
		return NULL;
	l->tail = &l->head;
	l->stats.threads = conf->threads;
	l->stats.queue_max = conf->queue_max;
	l->wait_max_us = (uint64_t)conf->wait_max_ms * 1000;
	(void)snprintf(l->name, sizeof(l->name), "%s", conf->name);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->some, NULL);
	while (l->started < conf->threads) {
		pthread_t *t = &l->threads[l->started];
		char name[16];

		if (pthread_create(t, NULL, work, l) != 0) {
			lane_free(l);
			return NULL;
		}
		(void)snprintf(name, sizeof(name), "%s.%u", l->name,
		               l->started % 100);
		(void)pthread_setname_np(*t, name);
		l->started++;
	}
	return l;
}

enum err lane_push(struct lane_pool *l, struct lane_job *job)
{
	GUARD(&l->lock);

	if (l->stopping)
		return ERR_UNAVAILABLE;
	if (l->stats.queued >= l->stats.queue_max) {
		l->stats.refused++;
		return ERR_BUSY;
	}
	job->next = NULL;
	job->queued_us = mono_us();
	*l->tail = job;
	l->tail = &job->next;
	l->stats.queued++;
	/* A busy worker looks at the queue before it sleeps. */
	wake_one(l);
	return OK;
}

static struct lane_job *take_all(struct lane_pool *l)
{
	GUARD(&l->lock);
	struct lane_job *all = l->head;

	l->stopping = true;
	l->head = NULL;
	l->tail = &l->head;
	l->stats.queued = 0;
	pthread_cond_broadcast(&l->some);
	return all;
}

void lane_stop(struct lane_pool *l)
{
	struct lane_job *job = take_all(l);

	while (job) {
		struct lane_job *next = job->next;

		job->drop(job, ERR_UNAVAILABLE);
		job = next;
	}
	while (l->started)
		pthread_join(l->threads[--l->started], NULL);
}

void lane_free(struct lane_pool *l)
{
	if (!l)
		return;
	lane_stop(l);
	pthread_cond_destroy(&l->some);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void lane_stats(struct lane_pool *l, struct lane_stats *out)
{
	GUARD(&l->lock);

	*out = l->stats;
}
