/*
 * waiter - a request whose credentials are being asked about.
 *
 * Owns:    copies of the tokens while the keys to verify them are fetched; they
 *          are wiped with the waiter.
 * Threads: one at a time.
 */
#ifndef GATEWAY_WAITER_H
#define GATEWAY_WAITER_H

#include "gateway/credcache.h"

/* One credential of a request: what is known of it so far. */
struct side {
	bool given, waiting;
	enum err e;
	struct who who;
	struct digest d;
};

struct waiter {
	struct waiter *next, *prev;
	identity_fn *done;
	void *arg;
	uint64_t deadline_ms;
	struct side side[CRED_KINDS];
	size_t token_n, cookie_n;
	char text[]; /* the token, and the cookie's behind it */
};

/* In order of arrival.  A zeroed one is empty. */
struct waiters {
	struct waiter *first, *last;
	size_t n;
};

/* NULL without memory. */
struct waiter *waiter_new(const struct side side[CRED_KINDS], struct str token,
                          struct str cookie);
void waiter_free(struct waiter *w);
void waiters_add(struct waiters *l, struct waiter *w);
void waiters_remove(struct waiters *l, struct waiter *w);
/* Removes and frees the first one with this arg; false: there is none. */
bool waiters_forget(struct waiters *l, const void *arg);
void waiters_free(struct waiters *l);

#endif
