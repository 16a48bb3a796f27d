/*
 * redis_lookup - the addresses of one host, looked up beside the thread that
 * needs them; internal to redis_wire.
 *
 * Why:     getaddrinfo() may take many seconds when a name server is gone, and
 *          the thread that waited for it would answer nobody meanwhile.
 * Bounds:  LOOKUP_MAX addresses; one look-up at a time.
 * Owns:    a thread while it looks up; lookup_free() waits for it.
 * Threads: the owner's; done() is called on the other thread.
 */
#ifndef CACHE_REDIS_LOOKUP_H
#define CACHE_REDIS_LOOKUP_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <sys/socket.h>
#include <sys/un.h>

#define LOOKUP_MAX 8

struct address {
	socklen_t n;
	union {
		struct sockaddr any;
		struct sockaddr_storage storage;
		struct sockaddr_un path;
	} at;
};

struct addresses {
	size_t n;
	struct address each[LOOKUP_MAX];
};

struct lookup;
/* host and port live longer. */
struct lookup *lookup_new(const char *host, const char *port,
                          void (*done)(void *arg), void *arg);
void lookup_free(struct lookup *l);
AUTO_TYPE(lookup, struct lookup *, lookup_free)

/* Begins one, or joins the one under way.  A number is its own address. */
enum err lookup_start(struct lookup *l) MUST_CHECK;
/* ERR_BUSY: not yet; ERR_UNAVAILABLE: there is no such name just now. */
enum err lookup_take(struct lookup *l, struct addresses *out) MUST_CHECK;

#endif
