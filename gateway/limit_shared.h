/*
 * limit_shared - what gateways tell each other about limits, through Redis.
 *
 * Why:     a quota is of a person, and a person may reach any gateway.
 * Form:    one thread with one connection (common/cache/wire.h) sends questions
 *          that loops put into a ring, many at once, and hands back answers.
 *          A question is one script that does GCRA with the server's clock for
 *          all policies of a request: all are taken or none, or, where the
 *          units have been used already, all are charged.
 * Away:    limit_shared_up() is false from the moment the connection is lost or
 *          nothing was answered for LIMIT_WAIT_MS, until an answer has come
 *          again.  Then nothing is asked, and every gateway counts for itself.
 * Bounds:  LIMIT_RING questions that wait and as many under way; more are not
 *          asked.  Asking allocates nothing but what the connection's buffer
 *          takes, on the thread.
 * Threads: any may ask; answers come on the thread, which must not be kept.
 */
#ifndef GATEWAY_LIMIT_SHARED_H
#define GATEWAY_LIMIT_SHARED_H

#include "common/base/attr.h"
#include "common/cache/wire.h"
#include "gateway/limit_gcra.h"
#include "gateway/limit_table.h"

#define LIMIT_RING     1024
#define LIMIT_COSTS    5
#define LIMIT_NAME_MAX 80
#define LIMIT_WAIT_MS  20

/* What one policy is asked for. */
struct limit_cost {
	char name[LIMIT_NAME_MAX]; /* of the key in Redis */
	struct limit_key key;      /* of the bucket here */
	struct gcra rule;
	uint64_t n; /* 0: is there one? */
};

struct limit_question {
	bool used; /* charge it whatever there is */
	size_t n;
	struct limit_cost cost[LIMIT_COSTS];
	void *asker; /* for answered(); the question's serial tells which */
	uint64_t serial;
};

struct limit_answer {
	bool known;       /* false: the connection was lost meanwhile */
	unsigned refused; /* 1 + the place of the cost that is not there; 0 */
	uint64_t owed_ns[LIMIT_COSTS]; /* until the bucket is full */
};

typedef void limit_answered_fn(void *arg, const struct limit_question *q,
                               const struct limit_answer *a);

struct limit_shared_conf {
	const struct wire *wire; /* outlives it; only its commands are used */
	uint64_t connect_ms, silence_ms; /* until a connection is given up */
	limit_answered_fn *answered;
	void *arg;
};

struct limit_shared;

/* NULL without memory or a thread. */
struct limit_shared *limit_shared_new(const struct limit_shared_conf *conf);
void limit_shared_free(struct limit_shared *s); /* answers all as not known */
AUTO_TYPE(limit_shared, struct limit_shared *, limit_shared_free)

bool limit_shared_up(const struct limit_shared *s);
/* How often it was up and then no more. */
uint64_t limit_shared_outages(const struct limit_shared *s);
/* False: it was not taken, and no answer will come. */
bool limit_shared_ask(struct limit_shared *s, const struct limit_question *q);

#endif
