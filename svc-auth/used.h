/*
 * used - remembers which API keys, or which sessions, were used, until the next
 * write of their last use.
 *
 * Why:     a use must not cost a write.  The note is taken in memory, at most
 *          once per id and minute, and written in one transaction by upkeep.
 * Bounds:  USED_MAX notes; beyond it a note is lost and the next use of that
 *          id makes it again.
 * Threads: any.
 */
#ifndef SVC_AUTH_USED_H
#define SVC_AUTH_USED_H

#include "svc-auth/keys.h"

#include "common/base/guard.h"

#define USED_MAX 256

struct used_note {
	char id[UUID_MAX];
	int64_t at_ms;
};

struct used {
	pthread_mutex_t lock;
	size_t n;
	struct used_note note[USED_MAX];
};

bool used_init(struct used *u) MUST_CHECK;
void used_fini(struct used *u);
/* id: a UUID; last_ms: what its row says. */
void used_note(struct used *u, struct str id, int64_t last_ms, int64_t now_ms);
/* Moves all notes to out (room for USED_MAX); returns how many. */
size_t used_take(struct used *u, struct used_note *out);

#endif
