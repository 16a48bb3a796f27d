#include "common/cache/crew.h"

#include "common/base/guard.h"

#include <stdlib.h>

struct task {
	void (*run)(void *arg);
	void *arg;
};

struct crew {
	pthread_mutex_t lock;
	pthread_cond_t work;
	bool ending;
	unsigned busy; /* taken and not ended */
	unsigned waiting_n;
	unsigned threads_n, threads_max;
	struct task *waiting; /* threads_max of them: less than are busy */
	pthread_t threads[];
};

struct crew *crew_new(unsigned threads_max)
{
	struct crew *c =
		calloc(1, sizeof(*c) + threads_max * sizeof(pthread_t));

	if (!c)
		return NULL;
	c->waiting = calloc(threads_max, sizeof(*c->waiting));
	if (!c->waiting) {
		free(c);
		return NULL;
	}
	c->threads_max = threads_max;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->work, NULL);
	return c;
}

void crew_free(struct crew *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->ending = true;
	pthread_cond_broadcast(&c->work);
	pthread_mutex_unlock(&c->lock);
	for (unsigned i = 0; i < c->threads_n; i++)
		(void)pthread_join(c->threads[i], NULL);
	pthread_cond_destroy(&c->work);
	pthread_mutex_destroy(&c->lock);
	free(c->waiting);
	free(c);
}

static void *work(void *arg)
{
	struct crew *c = arg;

	(void)pthread_setname_np(pthread_self(), "cache-load");
	pthread_mutex_lock(&c->lock);
	while (c->waiting_n || !c->ending) {
		struct task t;

		if (c->waiting_n == 0) {
			pthread_cond_wait(&c->work, &c->lock);
			continue;
		}
		t = c->waiting[--c->waiting_n];
		pthread_mutex_unlock(&c->lock);
		t.run(t.arg);
		pthread_mutex_lock(&c->lock);
		c->busy--;
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

bool crew_has_room(struct crew *c)
{
	GUARD(&c->lock);

	return c->busy < c->threads_max && !c->ending;
}

/* Holds the lock.  One thread more if all are busy; false if that failed. */
static bool enough_threads(struct crew *c)
{
	pthread_t *t = &c->threads[c->threads_n];

	if (c->busy < c->threads_n)
		return true;
	if (pthread_create(t, NULL, work, c))
		return false;
	c->threads_n++;
	return true;
}

bool crew_run(struct crew *c, void (*run)(void *arg), void *arg)
{
	GUARD(&c->lock);

	if (c->busy == c->threads_max || c->ending || !enough_threads(c))
		return false;
	c->waiting[c->waiting_n++] = (struct task){run, arg};
	c->busy++;
	pthread_cond_signal(&c->work);
	return true;
}
