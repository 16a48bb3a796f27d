#include "common/bus/resolve.h"

#include "common/base/guard.h"
#include "common/base/log.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <time.h>

struct name {
	struct bus_url url;
	struct resolved now;
	bool changed; /* not taken yet */
	bool failed;  /* told on the log */
};

struct resolver {
	pthread_mutex_t lock;
	pthread_cond_t work;
	pthread_t thread;
	void (*changed)(void *arg);
	void *arg;
	unsigned every_ms;
	bool started, ending, again;
	/* Entries are added at the end and live as long as the resolver. */
	struct name **names;
	size_t names_n;
};

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Fills out->url and n, sorted and without repeats. */
static bool look_up(const struct bus_url *u, struct resolved *out)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
	                         .ai_flags = AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	size_t n = 0;

	out->n = 0;
	if (getaddrinfo(u->host, u->port, &hints, &list) != 0)
		return false;
	for (const struct addrinfo *a = list; a && out->n < RESOLVE_ADDRS;
	     a = a->ai_next) {
		char host[64];

		if (getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof(host),
		                NULL, 0, NI_NUMERICHOST) == 0 &&
		    url_at(out->url[out->n], RESOLVE_ADDR_MAX, u, host))
			out->n++;
	}
	freeaddrinfo(list);
	qsort(out->url, out->n, RESOLVE_ADDR_MAX, by_text);
	for (size_t i = 0; i < out->n; i++) {
		if (n > 0 && strcmp(out->url[n - 1], out->url[i]) == 0)
			continue;
		if (n != i)
			memcpy(out->url[n], out->url[i], RESOLVE_ADDR_MAX);
		n++;
	}
	out->n = n;
	return n > 0;
}

static bool same(const struct resolved *a, const struct resolved *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->url[i], b->url[i]) != 0)
			return false;
	return true;
}

static bool store(struct resolver *rs, struct name *nm, bool ok,
                  const struct resolved *found)
{
	GUARD(&rs->lock);

	if (!ok || same(&nm->now, found))
		return false;
	memcpy(nm->now.url, found->url, sizeof(nm->now.url));
	nm->now.n = found->n;
	nm->changed = true;
	return true;
}

static struct name *name_at(struct resolver *rs, size_t i)
{
	GUARD(&rs->lock);

	return i < rs->names_n && !rs->ending ? rs->names[i] : NULL;
}

static void look_up_all(struct resolver *rs)
{
	struct resolved found;
	bool changed = false;
	struct name *nm;

	for (size_t i = 0; (nm = name_at(rs, i)) != NULL; i++) {
		bool ok = look_up(&nm->url, &found);

		if (!ok && !nm->failed)
			log_warn(NULL, "bus.name_unknown",
			         LOG_TEXT("host", nm->url.host));
		nm->failed = !ok;
		changed |= store(rs, nm, ok, &found);
	}
	if (changed)
		rs->changed(rs->arg);
}

static void sleep_until_due(struct resolver *rs)
{
	struct timespec t;
	uint64_t ns;
	GUARD(&rs->lock);

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	ns = (uint64_t)t.tv_nsec + rs->every_ms * UINT64_C(1000000);
	t.tv_sec += (time_t)(ns / 1000000000);
	t.tv_nsec = (long)(ns % 1000000000);
	while (!rs->ending && !rs->again)
		if (pthread_cond_timedwait(&rs->work, &rs->lock, &t) ==
		    ETIMEDOUT)
			break;
	rs->again = false;
}

static bool ending(struct resolver *rs)
{
	GUARD(&rs->lock);

	return rs->ending;
}

static void *run(void *arg)
{
	struct resolver *rs = arg;

	while (!ending(rs)) {
		look_up_all(rs);
		sleep_until_due(rs);
	}
	return NULL;
}

struct resolver *resolver_new(void (*changed)(void *arg), void *arg,
                              unsigned every_ms)
{
	struct resolver *rs = calloc(1, sizeof(*rs));
	pthread_condattr_t attr;

	if (!rs)
		return NULL;
	rs->changed = changed;
	rs->arg = arg;
	rs->every_ms = every_ms ? every_ms : RESOLVE_EVERY_MS;
	(void)pthread_mutex_init(&rs->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&rs->work, &attr);
	(void)pthread_condattr_destroy(&attr);
	return rs;
}

void resolver_free(struct resolver *rs)
{
	if (!rs)
		return;
	pthread_mutex_lock(&rs->lock);
	rs->ending = true;
	pthread_cond_signal(&rs->work);
	pthread_mutex_unlock(&rs->lock);
	if (rs->started)
		(void)pthread_join(rs->thread, NULL);
	for (size_t i = 0; i < rs->names_n; i++)
		free(rs->names[i]);
	free(rs->names);
	(void)pthread_cond_destroy(&rs->work);
	(void)pthread_mutex_destroy(&rs->lock);
	free(rs);
}

static enum err add_name(struct resolver *rs, const struct bus_url *u,
                         unsigned tag)
{
	struct name **v;
	struct name *nm;
	GUARD(&rs->lock);

	v = realloc(rs->names, (rs->names_n + 1) * sizeof(struct name *));
	if (!v)
		return ERR_NOMEM;
	rs->names = v;
	nm = calloc(1, sizeof(*nm));
	if (!nm)
		return ERR_NOMEM;
	nm->url = *u;
	nm->now.tag = tag;
	nm->now.name = rs->names_n;
	rs->names[rs->names_n++] = nm;
	rs->again = true;
	pthread_cond_signal(&rs->work);
	return OK;
}

enum err resolver_watch(struct resolver *rs, const struct bus_url *u,
                        unsigned tag)
{
	enum err e = add_name(rs, u, tag);

	if (e || rs->started)
		return e;
	if (pthread_create(&rs->thread, NULL, run, rs) != 0)
		return ERR_NOMEM;
	rs->started = true;
	(void)pthread_setname_np(rs->thread, "bus-resolve");
	return OK;
}

bool resolver_next(struct resolver *rs, struct resolved *out)
{
	GUARD(&rs->lock);

	for (size_t i = 0; i < rs->names_n; i++) {
		if (!rs->names[i]->changed)
			continue;
		rs->names[i]->changed = false;
		*out = rs->names[i]->now;
		return true;
	}
	return false;
}
