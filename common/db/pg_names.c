/*
 * Host names to addresses, by a deadline.
 *
 * Why:     getaddrinfo() waits as long as the name servers do, and libpq calls
 *          it where it promises not to block.  A silent name server would hold
 *          a request far past its deadline.
 * Bounds:  one look-up, on one thread, per name; everybody who wants the name
 *          meanwhile waits for that one.
 * Owns:    a look-up cannot be stopped, so its thread is detached and holds a
 *          reference: whoever lets go last frees.
 * Threads: any.  One lock, a leaf; names are looked up without it.
 */
#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/db/postgres.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>

#define HOST_MAX 256 /* with the NUL; longer names cannot be */

struct look_up {
	struct pg_names *names;
	struct look_up *next;
	unsigned waiting;
	bool running;
	enum err e;
	char host[HOST_MAX];
	struct pg_addrs found;
};

struct pg_names {
	pthread_mutex_t lock;
	pthread_cond_t done;
	unsigned users; /* the pool, and each look-up that is running */
	struct look_up *first;
};

struct pg_names *pg_names_new(void)
{
	struct pg_names *ns = calloc(1, sizeof(*ns));

	if (!ns)
		return NULL;
	ns->users = 1;
	if (pthread_mutex_init(&ns->lock, NULL) == 0) {
		if (db_cond_init(&ns->done))
			return ns;
		(void)pthread_mutex_destroy(&ns->lock);
	}
	free(ns);
	return NULL;
}

static bool last_user(struct pg_names *ns)
{
	GUARD(&ns->lock);

	return --ns->users == 0;
}

void pg_names_free(struct pg_names *ns)
{
	if (!ns || !last_user(ns))
		return;
	(void)pthread_cond_destroy(&ns->done);
	(void)pthread_mutex_destroy(&ns->lock);
	free(ns);
}

/* Under the lock: ends a look-up that nobody runs or waits for. */
static void forget(struct pg_names *ns, struct look_up *l)
{
	struct look_up **at = &ns->first;

	if (l->running || l->waiting > 0)
		return;
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	free(l);
}

static enum err ask(const char *host, int flags, struct pg_addrs *out)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
	                               .ai_flags = flags};
	struct addrinfo *list = NULL;

	out->n = 0;
	if (getaddrinfo(host, NULL, &hints, &list) != 0)
		return ERR_NOT_FOUND;
	for (const struct addrinfo *a = list; a && out->n < PG_ADDRS_MAX;
	     a = a->ai_next) {
		if (getnameinfo(a->ai_addr, a->ai_addrlen, out->at[out->n],
		                PG_ADDR_MAX, NULL, 0, NI_NUMERICHOST) == 0)
			out->n++;
	}
	freeaddrinfo(list);
	return out->n ? OK : ERR_NOT_FOUND;
}

static void finish(struct look_up *l, enum err e, const struct pg_addrs *found)
{
	struct pg_names *ns = l->names;
	GUARD(&ns->lock);

	l->e = e;
	l->found = *found;
	l->running = false;
	(void)pthread_cond_broadcast(&ns->done);
	forget(ns, l);
}

static void *look_up(void *arg)
{
	struct look_up *l = arg;
	struct pg_names *ns = l->names;
	struct pg_addrs found;
	enum err e = ask(l->host, 0, &found);

	finish(l, e, &found);
	pg_names_free(ns);
	return NULL;
}

/* Under the lock: a look-up of the host that is running or has just ended. */
static struct look_up *join(struct pg_names *ns, const char *host)
{
	struct look_up *l = ns->first;
	pthread_t t;

	while (l && strcmp(l->host, host) != 0)
		l = l->next;
	if (l)
		return l;
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->names = ns;
	l->running = true;
	(void)snprintf(l->host, sizeof(l->host), "%s", host);
	if (pthread_create(&t, NULL, look_up, l)) {
		free(l);
		return NULL;
	}
	(void)pthread_setname_np(t, "pg-names");
	(void)pthread_detach(t);
	l->next = ns->first;
	ns->first = l;
	ns->users++;
	return l;
}

enum err pg_resolve(struct pg_names *ns, const char *host, uint64_t until_ms,
                    struct pg_addrs *out)
{
	struct look_up *l;
	enum err e;

	/* An address is its own name, and needs nobody to ask. */
	if (ask(host, AI_NUMERICHOST, out) == OK)
		return OK;
	if (strlen(host) >= HOST_MAX)
		return ERR_NOT_FOUND;

	GUARD(&ns->lock);
	l = join(ns, host);
	if (!l)
		return ERR_NOMEM;
	l->waiting++;
	while (l->running && mono_ms() < until_ms)
		(void)db_cond_wait(&ns->done, &ns->lock, until_ms);
	e = l->running ? ERR_TIMEOUT : l->e;
	if (!e)
		*out = l->found;
	l->waiting--;
	forget(ns, l);
	return e;
}
