/*
 * caller - a bus_client with a thread of its own, for threads that block.
 *
 * A blocking call is a struct on its caller's stack that is put on a list,
 * worked on by the thread and signalled when done.  Nobody waits longer than
 * its deadline because the client ends every call by then.
 */
#include "common/bus/bus.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/bus/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* One request to the thread. */
enum work { WORK_CALL, WORK_CREDIT, WORK_CANCEL, WORK_KEYS, WORK_ADD };
struct job {
	struct ring at;
	struct bus_caller *c;
	enum work work;
	pthread_cond_t over; /* or a stream has brought something */
	bool done;
	enum err e;
	const struct bus_call *call;
	struct buf *out; /* of a stream: what waits; under the lock */
	bool stream;
	uint64_t id; /* of the call; CREDIT, CANCEL: of which */
	size_t n;    /* CREDIT */
	const struct bus_keys *keys;
	struct str urls;
	enum bus_peer to;
};

struct bus_caller {
	struct bus_client *client;
	struct bus_client_conf conf;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct ring jobs;
	bool awake;  /* something came: do not sleep */
	bool ending; /* no more jobs */
};

static void wake(void *arg)
{
	struct bus_caller *c = arg;
	GUARD(&c->lock);

	c->awake = true;
	(void)pthread_cond_signal(&c->work);
}

static void push(void *arg, enum bus_peer from, struct str bytes)
{
	struct bus_caller *c = arg;

	if (c->conf.push)
		c->conf.push(c->conf.arg, from, bytes);
}

/* --- on the thread ---------------------------------------------------------- */

static void finish(struct job *j, enum err e)
{
	GUARD(&j->c->lock);

	j->e = e;
	j->done = true;
	(void)pthread_cond_signal(&j->over);
	/* Once the lock is free the job may be gone. */
}

static void on_reply(void *arg, enum err e, struct str bytes, bool more)
{
	struct job *j = arg;

	if (!e)
		buf_str(j->out, bytes);
	if (!more)
		finish(j, !e && j->out->failed ? ERR_NOMEM : e);
}

/* Its credit bounds what waits here. */
static void on_stream(void *arg, enum err e, struct str bytes, bool more)
{
	struct job *j = arg;

	pthread_mutex_lock(&j->c->lock);
	if (!e)
		buf_str(j->out, bytes);
	(void)pthread_cond_signal(&j->over);
	pthread_mutex_unlock(&j->c->lock);
	if (!more)
		finish(j, e);
}

static void begin_call(struct bus_caller *c, struct job *j)
{
	struct bus_call call = *j->call;
	enum err e;

	call.stream = call.hold_credit = j->stream;
	call.on_reply = j->stream ? on_stream : on_reply;
	call.arg = j;
	e = bus_client_call(c->client, &call, &j->id);
	if (e)
		finish(j, e);
}

static void begin(struct bus_caller *c, struct job *j)
{
	switch (j->work) {
	case WORK_CALL:
		begin_call(c, j);
		return;
	case WORK_CREDIT:
		bus_client_credit(c->client, j->id, j->n);
		break;
	case WORK_CANCEL:
		bus_client_cancel(c->client, j->id);
		break;
	case WORK_KEYS:
		bus_client_rekey(c->client, j->keys);
		break;
	case WORK_ADD:
		finish(j, bus_client_add(c->client, j->to, j->urls));
		return;
	}
	finish(j, OK);
}

/* Takes the jobs; sleeps before if there is nothing to do.  False: the end. */
static bool next_jobs(struct bus_caller *c, struct ring *jobs)
{
	uint64_t ms = bus_client_timeout_ms(c->client, mono_ms());
	uint64_t due_ms;
	struct timespec t;
	bool sleep = ms > 0 && bus_client_may_sleep(c->client);
	GUARD(&c->lock);

	if (ms > 60000)
		ms = 60000; /* any long time: keeps the sum in range */
	due_ms = mono_ms() + ms;
	t = (struct timespec){.tv_sec = (time_t)(due_ms / 1000),
	                      .tv_nsec = (long)(due_ms % 1000) * 1000000};
	while (sleep && !c->awake && !c->ending && ring_empty(&c->jobs))
		if (pthread_cond_timedwait(&c->work, &c->lock, &t) == ETIMEDOUT)
			break;
	c->awake = false;
	ring_take(jobs, &c->jobs);
	return !c->ending;
}

static void *run(void *arg)
{
	struct bus_caller *c = arg;
	struct ring jobs;

	while (next_jobs(c, &jobs)) {
		while (!ring_empty(&jobs)) {
			struct job *j = RING_OF(struct job, at, jobs.next);

			ring_del(&j->at);
			begin(c, j);
		}
		bus_client_turn(c->client, mono_ms());
	}
	return NULL;
}

/* --- interface ---------------------------------------------------------------- */

static bool init_locks(struct bus_caller *c)
{
	pthread_condattr_t attr;

	ring_init(&c->jobs);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&c->work, &attr);
	(void)pthread_condattr_destroy(&attr);
	return pthread_mutex_init(&c->lock, NULL) == 0;
}

struct bus_caller *bus_caller_new(const struct bus_client_conf *conf)
{
	struct bus_caller *c = calloc(1, sizeof(*c));
	struct bus_client_conf inner = *conf;

	if (!c)
		return NULL;
	c->conf = *conf;
	inner.wake = wake;
	inner.push = push;
	inner.arg = c;
	if (!init_locks(c)) {
		free(c);
		return NULL;
	}
	c->client = bus_client_new(&inner);
	if (c->client && pthread_create(&c->thread, NULL, run, c) == 0) {
		(void)pthread_setname_np(c->thread, "bus-caller");
		return c;
	}
	bus_client_free(c->client);
	(void)pthread_cond_destroy(&c->work);
	(void)pthread_mutex_destroy(&c->lock);
	free(c);
	return NULL;
}

void bus_caller_free(struct bus_caller *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->ending = true;
	(void)pthread_cond_signal(&c->work);
	pthread_mutex_unlock(&c->lock);
	(void)pthread_join(c->thread, NULL);
	bus_client_free(c->client);
	(void)pthread_cond_destroy(&c->work);
	(void)pthread_mutex_destroy(&c->lock);
	free(c);
}

/* Leaves with the lock held. */
static void give_job(struct bus_caller *c, struct job *j)
{
	j->c = c;
	(void)pthread_cond_init(&j->over, NULL);
	pthread_mutex_lock(&c->lock);
	ring_add(&c->jobs, &j->at);
	(void)pthread_cond_signal(&c->work);
}

static enum err run_job(struct bus_caller *c, struct job *j)
{
	give_job(c, j);
	while (!j->done)
		(void)pthread_cond_wait(&j->over, &c->lock);
	pthread_mutex_unlock(&c->lock);
	(void)pthread_cond_destroy(&j->over);
	return j->e;
}

enum err bus_caller_add(struct bus_caller *c, enum bus_peer to, struct str urls)
{
	struct job j = {.work = WORK_ADD, .urls = urls, .to = to};

	return run_job(c, &j);
}

enum err bus_caller_call(struct bus_caller *c, const struct bus_call *call,
                         struct buf *out)
{
	struct job j = {.work = WORK_CALL, .call = call, .out = out};

	return run_job(c, &j);
}

/* Waits for what has come; false: that was all. */
static bool next_bytes(struct job *j, struct buf *got)
{
	GUARD(&j->c->lock);
	struct buf empty = *got;

	while (j->out->n == 0 && !j->out->failed && !j->done)
		(void)pthread_cond_wait(&j->over, &j->c->lock);
	*got = *j->out;
	*j->out = empty;
	return got->n > 0 || got->failed;
}

enum err bus_caller_stream(struct bus_caller *c, const struct bus_call *call,
                           bus_take_fn *take, void *arg)
{
	AUTO_BUF waits = {0};
	AUTO_BUF got = {0};
	struct job j = {
		.work = WORK_CALL, .call = call, .out = &waits, .stream = true};
	enum err e = OK;

	give_job(c, &j);
	pthread_mutex_unlock(&c->lock);
	while (!e && next_bytes(&j, &got)) {
		struct job credit = {.work = WORK_CREDIT, .n = got.n};

		e = got.failed ? ERR_NOMEM : take(arg, buf_view(&got));
		/* Jobs are done in turn: the id stands by now. */
		credit.id = j.id;
		buf_clear(&got);
		if (!e)
			(void)run_job(c, &credit);
	}
	if (e) {
		struct job cancel = {.work = WORK_CANCEL, .id = j.id};

		(void)run_job(c, &cancel);
	}
	(void)pthread_cond_destroy(&j.over);
	return e ? e : j.e;
}

void bus_caller_rekey(struct bus_caller *c, const struct bus_keys *keys)
{
	struct job j = {.work = WORK_KEYS, .keys = keys};

	(void)run_job(c, &j);
}

unsigned bus_caller_up(const struct bus_caller *c, enum bus_peer to)
{
	return bus_client_up(c->client, to);
}
