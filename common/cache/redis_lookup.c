#include "common/cache/redis_lookup.h"

#include "common/base/guard.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

struct lookup {
	const char *host, *port;
	void (*done)(void *arg);
	void *arg;
	bool numeric;
	pthread_t thread;
	bool joinable;
	pthread_mutex_t lock; /* guards what follows */
	bool looking;
	struct addresses found;
};

static struct addresses resolve(const struct lookup *l, int flags)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
	                         .ai_flags = AI_NUMERICSERV | flags};
	struct addresses out = {0};
	struct addrinfo *list = NULL;

	if (getaddrinfo(l->host, l->port, &hints, &list) != 0)
		return out;
	for (const struct addrinfo *a = list; a && out.n < LOOKUP_MAX;
	     a = a->ai_next) {
		if (a->ai_addrlen > sizeof(out.each[0].at))
			continue;
		out.each[out.n].n = a->ai_addrlen;
		memcpy(&out.each[out.n].at, a->ai_addr, a->ai_addrlen);
		out.n++;
	}
	freeaddrinfo(list);
	return out;
}

struct lookup *lookup_new(const char *host, const char *port,
                          void (*done)(void *arg), void *arg)
{
	struct lookup *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	*l = (struct lookup){
		.host = host, .port = port, .done = done, .arg = arg};
	pthread_mutex_init(&l->lock, NULL);
	l->found = resolve(l, AI_NUMERICHOST);
	l->numeric = l->found.n > 0;
	return l;
}

static void join(struct lookup *l)
{
	if (l->joinable)
		pthread_join(l->thread, NULL);
	l->joinable = false;
}

void lookup_free(struct lookup *l)
{
	if (!l)
		return;
	join(l);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static void *run(void *arg)
{
	struct lookup *l = arg;
	struct addresses found = resolve(l, 0);

	pthread_mutex_lock(&l->lock);
	l->found = found;
	l->looking = false;
	pthread_mutex_unlock(&l->lock);
	l->done(l->arg);
	return NULL;
}

static bool is_looking(struct lookup *l)
{
	GUARD(&l->lock);

	return l->looking;
}

enum err lookup_start(struct lookup *l)
{
	if (l->numeric || is_looking(l))
		return OK;
	join(l); /* it has ended, or is about to */
	l->looking = true;
	l->joinable = pthread_create(&l->thread, NULL, run, l) == 0;
	if (!l->joinable) {
		l->looking = false;
		return ERR_UNAVAILABLE;
	}
	(void)pthread_setname_np(l->thread, "cache-lookup");
	return OK;
}

enum err lookup_take(struct lookup *l, struct addresses *out)
{
	GUARD(&l->lock);

	if (l->looking)
		return ERR_BUSY;
	if (l->found.n == 0)
		return ERR_UNAVAILABLE;
	*out = l->found;
	return OK;
}
