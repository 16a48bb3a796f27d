#include "tests/sim/fiber_inner.h"

#include "common/base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* Where the simulation keeps a mutex or condition variable: in the storage of
 * the real one.  Static initialisers are zeros, and so is a free mutex here. */
struct fiber_mutex {
	struct fiber *holder;
	unsigned waiting;
};
struct fiber_cond {
	clockid_t clock;
};
_Static_assert(sizeof(struct fiber_mutex) <= sizeof(pthread_mutex_t), "fits");
_Static_assert(sizeof(struct fiber_cond) <= sizeof(pthread_cond_t), "fits");

#define REAL(result, name, ...)            \
	result __real_##name(__VA_ARGS__); \
	result __wrap_##name(__VA_ARGS__); \
	result __wrap_##name(__VA_ARGS__)

/* To ask for the time takes time, or who waits for it would do so for ever. */
REAL(uint64_t, mono_us, void)
{
	if (!fiber_current())
		return __real_mono_us();
	fiber_tick();
	fiber_yield();
	return fiber_local_us(fiber_owner());
}

REAL(uint64_t, mono_ms, void)
{
	if (!fiber_current())
		return __real_mono_ms();
	fiber_tick();
	fiber_yield();
	return fiber_local_us(fiber_owner()) / 1000;
}

REAL(int64_t, wall_ms, void)
{
	if (!fiber_current())
		return __real_wall_ms();
	return (int64_t)(fiber_local_us(fiber_owner()) / 1000);
}

REAL(ssize_t, getrandom, void *p, size_t n, unsigned flags)
{
	if (!fiber_current())
		return __real_getrandom(p, n, flags);
	for (size_t i = 0; i < n; i++)
		((unsigned char *)p)[i] = (unsigned char)fiber_random(256);
	return (ssize_t)n;
}

REAL(int, pthread_mutex_init, pthread_mutex_t *m,
     const pthread_mutexattr_t *attr)
{
	if (!fiber_current())
		return __real_pthread_mutex_init(m, attr);
	*(struct fiber_mutex *)(void *)m = (struct fiber_mutex){0};
	return 0;
}

REAL(int, pthread_mutex_destroy, pthread_mutex_t *m)
{
	if (!fiber_current())
		return __real_pthread_mutex_destroy(m);
	if (((struct fiber_mutex *)(void *)m)->holder)
		fiber_fail("a mutex that is held was destroyed");
	return 0;
}

static void take_mutex(struct fiber_mutex *m)
{
	while (m->holder) {
		if (m->holder == fiber_current())
			fiber_fail("a mutex was locked twice");
		m->waiting++;
		(void)fiber_wait(m, FIBER_NEVER);
		m->waiting--;
	}
	m->holder = fiber_current();
}

REAL(int, pthread_mutex_lock, pthread_mutex_t *m)
{
	if (!fiber_current())
		return __real_pthread_mutex_lock(m);
	fiber_yield();
	take_mutex((struct fiber_mutex *)(void *)m);
	return 0;
}

REAL(int, pthread_mutex_trylock, pthread_mutex_t *m)
{
	struct fiber_mutex *s = (struct fiber_mutex *)(void *)m;

	if (!fiber_current())
		return __real_pthread_mutex_trylock(m);
	fiber_yield();
	if (s->holder)
		return EBUSY;
	s->holder = fiber_current();
	return 0;
}

static void leave_mutex(struct fiber_mutex *m)
{
	if (m->holder != fiber_current())
		fiber_fail("a mutex was unlocked by who does not hold it");
	m->holder = NULL;
	if (m->waiting > 0)
		fiber_wake(m);
}

REAL(int, pthread_mutex_unlock, pthread_mutex_t *m)
{
	if (!fiber_current())
		return __real_pthread_mutex_unlock(m);
	leave_mutex((struct fiber_mutex *)(void *)m);
	fiber_yield();
	return 0;
}

REAL(int, pthread_cond_init, pthread_cond_t *c, const pthread_condattr_t *attr)
{
	struct fiber_cond *s = (struct fiber_cond *)(void *)c;

	if (!fiber_current())
		return __real_pthread_cond_init(c, attr);
	*s = (struct fiber_cond){0};
	if (attr)
		(void)pthread_condattr_getclock(attr, &s->clock);
	return 0;
}

REAL(int, pthread_cond_destroy, pthread_cond_t *c)
{
	const struct fiber *f;

	if (!fiber_current())
		return __real_pthread_cond_destroy(c);
	f = fiber_waiting(c);
	if (f)
		fiber_fail("%s waits for what is destroyed", f->name);
	return 0;
}

/* Unlocks, waits, locks.  Wakes for nothing now and then, as POSIX allows. */
static int wait_cond(pthread_cond_t *c, pthread_mutex_t *m, uint64_t until_us)
{
	bool early = fiber_chance(5);
	uint64_t soon_us = fiber_now_us() + fiber_random(2000);
	bool woken;

	leave_mutex((struct fiber_mutex *)(void *)m);
	woken = fiber_wait(c, early && soon_us < until_us ? soon_us : until_us);
	take_mutex((struct fiber_mutex *)(void *)m);
	return woken || fiber_now_us() < until_us ? 0 : ETIMEDOUT;
}

REAL(int, pthread_cond_wait, pthread_cond_t *c, pthread_mutex_t *m)
{
	if (!fiber_current())
		return __real_pthread_cond_wait(c, m);
	return wait_cond(c, m, FIBER_NEVER);
}

REAL(int, pthread_cond_timedwait, pthread_cond_t *c, pthread_mutex_t *m,
     const struct timespec *until)
{
	const struct fiber_cond *s = (const struct fiber_cond *)(const void *)c;
	uint64_t local_us;

	if (!fiber_current())
		return __real_pthread_cond_timedwait(c, m, until);
	if (s->clock != CLOCK_MONOTONIC)
		fiber_fail("a wait by the clock that people may set");
	local_us = (uint64_t)until->tv_sec * 1000000 +
	           (uint64_t)until->tv_nsec / 1000;
	return wait_cond(c, m, fiber_when(fiber_owner(), local_us));
}

REAL(int, pthread_cond_signal, pthread_cond_t *c)
{
	if (!fiber_current())
		return __real_pthread_cond_signal(c);
	fiber_wake_one(c);
	return 0;
}

REAL(int, pthread_cond_broadcast, pthread_cond_t *c)
{
	if (!fiber_current())
		return __real_pthread_cond_broadcast(c);
	fiber_wake(c);
	return 0;
}

REAL(int, pthread_create, pthread_t *t, const pthread_attr_t *attr,
     void *(*fn)(void *arg), void *arg)
{
	struct fiber *f;
	char name[24];

	if (!fiber_current())
		return __real_pthread_create(t, attr, fn, arg);
	(void)snprintf(name, sizeof(name), "i%u.thread%u", fiber_owner(),
	               fiber_count(fiber_owner()));
	f = fiber_new(fiber_owner(), name);
	f->thread = fn;
	f->arg = arg;
	f->joinable = true;
	*t = (pthread_t)f->id;
	fiber_yield();
	return 0;
}

static struct fiber *find_fiber(pthread_t t)
{
	struct fiber *f = fiber_of_thread((uint64_t)t);

	if (!f)
		fiber_fail("no such thread");
	return f;
}

REAL(int, pthread_join, pthread_t t, void **result)
{
	struct fiber *f;

	if (!fiber_current())
		return __real_pthread_join(t, result);
	f = find_fiber(t);
	while (f->state != FIBER_OVER)
		(void)fiber_wait(f, FIBER_NEVER);
	if (result)
		*result = f->result;
	f->joinable = false;
	return 0;
}

REAL(int, pthread_detach, pthread_t t)
{
	if (!fiber_current())
		return __real_pthread_detach(t);
	find_fiber(t)->joinable = false;
	return 0;
}

REAL(pthread_t, pthread_self, void)
{
	return fiber_current() ? (pthread_t)fiber_current()->id
	                       : __real_pthread_self();
}

REAL(int, pthread_setname_np, pthread_t t, const char *name)
{
	struct fiber *f;

	if (!fiber_current())
		return __real_pthread_setname_np(t, name);
	f = find_fiber(t);
	(void)snprintf(f->name, sizeof(f->name), "i%u.%s", f->owner, name);
	return 0;
}
