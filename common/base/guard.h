#ifndef BASE_GUARD_H
#define BASE_GUARD_H

#include <pthread.h>

static inline pthread_mutex_t *guard_lock(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
	return m;
}

static inline void guard_unlock(pthread_mutex_t **m)
{
	pthread_mutex_unlock(*m);
}

/*
 * Holds the mutex to the end of the scope.  One per scope on purpose: the
 * second will not compile, and two locks held together need a stated order.
 */
#define GUARD(m)                                       \
	__attribute__((cleanup(guard_unlock), unused)) \
	pthread_mutex_t *guard_ = guard_lock(m)

#endif
