/*
 * breaker - keeps calls from a peer that fails or is slow: the shared tier of
 * the cache, a provider of a language model.
 *
 *              `failures` in a row
 *     CLOSED ----------------------------> OPEN <--------------+
 *        ^                                   | its time passes |
 *        |    `successes` probes work        v                 | the probe
 *        +------------------------------ HALF_OPEN ------------+ fails
 *
 * Half open, one call at a time is let through, the probe; all others are
 * refused at once.  The time doubles each time from first_ms to last_ms, less
 * up to half by chance, so that instances do not come back in one wave.  What
 * calls that began before it opened come to says nothing any more.
 *
 * A plain state machine: time and randomness are passed in.
 *
 * Threads: one at a time.
 */
#ifndef CACHE_BREAKER_H
#define CACHE_BREAKER_H

#include "common/cache/remote.h"

#define BREAKER_FIRST_MS 500
#define BREAKER_LAST_MS  10000

struct breaker_rule {
	unsigned failures;  /* in a row, until it opens */
	unsigned successes; /* of probes in a row, until it closes */
	uint64_t first_ms, last_ms;
};

/* A zeroed struct is closed. */
struct breaker {
	const struct breaker_rule
		*rule; /* NULL: REMOTE_FAILURES, 1, the above */
	enum breaker_state state;
	unsigned failures; /* in a row, while closed */
	unsigned worked;   /* probes in a row, while half open */
	unsigned opened;   /* in a row, since it was closed last */
	bool probing;      /* half open: the probe is under way */
	uint64_t until_ms; /* open until then */
};

enum breaker_pass { BREAKER_REFUSED, BREAKER_PASSED, BREAKER_PROBE };

/* Whether a call may be made; each that may is told of by one of the below. */
enum breaker_pass breaker_ask(struct breaker *b, uint64_t now_ms) MUST_CHECK;
void breaker_worked(struct breaker *b, enum breaker_pass pass);
/* True when it opens by that. */
bool breaker_failed(struct breaker *b, enum breaker_pass pass, uint64_t now_ms,
                    uint64_t random);
/* Opens it whatever came before: the peer has said that asking is in vain. */
void breaker_trip(struct breaker *b, uint64_t now_ms, uint64_t random);
/* Nothing is known of how the call ended. */
void breaker_unsure(struct breaker *b, enum breaker_pass pass);
void breaker_reset(struct breaker *b);

/* first_ms doubled n times, at most last_ms, less up to half by chance. */
uint64_t backoff_ms(uint64_t first_ms, uint64_t last_ms, unsigned n,
                    uint64_t random);

#endif
