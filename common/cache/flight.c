#include "common/cache/flight.h"

#include <stdlib.h>

struct flight *flight_start(struct shard *s, uint64_t hash, struct str key,
                            const struct marks *marks, uint64_t born_ms)
{
	struct flight *f = calloc(1, sizeof(*f));
	pthread_condattr_t attr;

	if (!f)
		return NULL;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->finished, &attr);
	pthread_condattr_destroy(&attr);
	f->hash = hash;
	f->key = key;
	f->marks = *marks;
	f->born_ms = born_ms;
	f->refs = 1;
	f->next = s->flights;
	s->flights = f;
	return f;
}

struct flight *flight_find(const struct shard *s, uint64_t hash, struct str key)
{
	struct flight *f = s->flights;

	while (f && !(f->hash == hash && str_eq(f->key, key)))
		f = f->next;
	return f;
}

void flight_doom_all(struct shard *s)
{
	for (struct flight *f = s->flights; f; f = f->next)
		f->doomed = true;
}

void flight_land(struct shard *s, struct flight *f, enum err e,
                 struct cache_value *value, const struct cache_info *info)
{
	struct flight **at = &s->flights;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	f->done = true;
	f->err = e;
	f->value = value_share(value);
	f->info = *info;
	pthread_cond_broadcast(&f->finished);
	flight_leave(f);
}

bool flight_wait(struct shard *s, struct flight *f, uint64_t until_ms)
{
	const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
	                               .tv_nsec = (long)(until_ms % 1000) *
	                                          1000000};

	while (!f->done)
		if (pthread_cond_timedwait(&f->finished, &s->lock, &until))
			break;
	return f->done;
}

void flight_leave(struct flight *f)
{
	if (--f->refs > 0)
		return;
	cache_put_back(f->value);
	pthread_cond_destroy(&f->finished);
	free(f);
}
