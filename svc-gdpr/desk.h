/*
 * desk - the inside of struct eraser_desk, for erasure.c and desk.c alone.
 */
#ifndef SVC_GDPR_DESK_H
#define SVC_GDPR_DESK_H

#include "svc-gdpr/erasure.h"

#include "common/base/seal.h"
#include "common/obs/metrics.h"

#include <pthread.h>

enum gauge { PENDING, OLDEST, DUE, OVERDUE, GAUGES };

struct eraser_desk {
	struct desk_conf conf;
	struct seal_key who, subject, keys;
	struct metric *gauge[GAUGES];
	int64_t told_ms; /* the worker's: of what is overdue */
	pthread_t worker;
	bool works;
	pthread_mutex_t lock; /* of the two below; a leaf */
	pthread_cond_t wake;
	bool stopping, kicked;
};

/* Whether a worker is to leave the rest to another replica. */
bool desk_is_ending(struct eraser_desk *d);

#endif
