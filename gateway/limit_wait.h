/*
 * limit_wait - requests that wait for what other gateways have counted.
 *
 * Why:     a quota that costs money must hold over all gateways, so such a
 *          request asks Redis once; but Redis must not be able to hold it up,
 *          so after LIMIT_WAIT_MS it goes on as it was counted here.
 * Form:    the answers come on another thread, which puts them into the loop's
 *          box and wakes it; a ticket says whose answer it is, and an answer
 *          without a ticket is of a request that has gone on.
 * Bounds:  LIMIT_TICKETS requests a loop; more go on at once.
 * Threads: limit_answered() any; the rest the loop's own.
 *
 * Inside the gateway only.
 */
#ifndef GATEWAY_LIMIT_WAIT_H
#define GATEWAY_LIMIT_WAIT_H

#include "gateway/limit.h"

#include <pthread.h>

#define LIMIT_TICKETS 256

struct loop;
struct req;

/* A part of struct loop. */
struct limit_wait {
	struct limit_ticket {
		struct req *rq; /* NULL: free */
		uint64_t serial, until_ms;
	} tickets[LIMIT_TICKETS];
	size_t n; /* tickets in use */
	uint64_t serial;
	/* What has come, and of which the loop has not heard. */
	pthread_mutex_t lock; /* a leaf */
	struct limit_letter {
		uint64_t serial;
		struct limit_answer answer;
	} box[LIMIT_TICKETS];
	size_t box_n;
};

void limit_wait_init(struct limit_wait *w);
void limit_wait_fini(struct limit_wait *w);

/* True: it waits; its step goes on from limit_wait_turn(). */
bool limit_wait_begin(struct req *rq, const struct limit_who *who);
void limit_wait_forget(struct req *rq);
void limit_wait_turn(struct loop *lo);
uint64_t limit_wait_timeout_ms(const struct loop *lo, uint64_t now_ms);
/* For limits_share(); the asker is a struct loop. */
void limit_wait_answered(void *arg, const struct limit_question *q,
                         const struct limit_answer *a);

#endif
