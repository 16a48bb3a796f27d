/*
 * remote - the tier behind memory that all instances of a service share, and
 * the channel by which one tells the others what to forget (design D22, D23).
 *
 * Everything that can be forgotten, a key or a tag, belongs to one of
 * CACHE_SLOTS slots by a hash that is the same in every instance.  The store
 * keeps one number a slot, its generation, and an epoch: a random number made
 * anew whenever the generations may not be what they were.  That is when they
 * are gone (flushed, evicted) and whenever the server is another process: even
 * one that has restarted with its dump, or was a replica, may lack the last.
 * To forget is to raise the generation of a slot and to tell the others.  A
 * value is kept with the epoch and the generations of its slots as they were
 * before it was loaded, and is believed only while they are the same:
 *
 *     get     one round trip: epoch and generations, value, time left
 *     set     only if epoch and generations are still what get() said, else
 *             the value may be older than a forgetting: it is dropped
 *     forget  generation + 1, the key's value removed, the slot published
 *
 * Why state and not a log of messages: a message can be lost, a difference
 * cannot.  After any outage of the channel all generations are read, and what
 * differs from what this instance had seen last is forgotten here too.  What
 * this instance forgot while the store was away is a set of slots (bounded by
 * CACHE_SLOTS), raised when it is back before any of its values is believed.
 * A generation that has gone down, as after a failover that a proxy hides, is
 * a new epoch.  Two names of one slot are forgotten together: that costs a load
 * and is never wrong.
 *
 * What was forgotten by an instance that is cut off is unknown to the others
 * until it is back, and lost if it dies before: nobody can tell what nobody
 * was told.  Time to live is the bound then.
 *
 * In step: the channel is asked for a sign of life every REMOTE_PROBE_MS.
 * remote_proof_ms() is when the last one that was answered had been sent:
 * whatever was forgotten before it has arrived here.  The memory tier believes
 * an entry at most CACHE_DEGRADED_TTL_S beyond it, so an instance that is cut
 * off is at most that much behind, and no clock of another machine is used:
 * the time a value has left is the store's own count down.
 *
 * A breaker keeps get() and set() from a store that fails or is slow; forget()
 * is never dropped.  After REMOTE_FAILURES failures in a row (no answer within
 * the soft limit counts) it opens, half-opens after a growing, jittered time
 * for one probe, and closes after it has worked.
 *
 * Bounds:  REMOTE_QUEUE_MAX commands under way; REMOTE_VALUE_MAX bytes a value.
 * Owns:    a thread, two connections (commands; channel).
 * Threads: any; nothing blocks but remote_get(), and that at most until its
 *          until_ms.  Callbacks come on the remote's thread, without a lock of
 *          it, and must not keep it.
 */
#ifndef CACHE_REMOTE_H
#define CACHE_REMOTE_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/cache/wire.h"

#define CACHE_SLOTS      16384
#define CACHE_SLOT_ALL   CACHE_SLOTS /* everything: its generation is one more */
#define REMOTE_SLOTS_MAX 8 /* of one value; CACHE_SLOT_ALL is implied */
#define REMOTE_VALUE_MAX ((size_t)1 << 20)
#define REMOTE_QUEUE_MAX 1024
#define REMOTE_PROBE_MS  500
#define REMOTE_FAILURES  5

struct remote;

/* The slot of a key or tag: the same in every instance and release. */
uint16_t remote_slot(struct str name);

struct remote_conf {
	struct str space; /* "gdpr": keys begin with kae:<format>:{<space>}: */
	const struct wire *wire; /* how commands travel; lives longer */
	unsigned connect_timeout_ms, timeout_ms; /* hard limits; 5000 each */
	uint64_t seed; /* of jitter and epochs; 0: from the kernel */
	/* An instance (perhaps this one) has forgotten what is in slot, or
	 * everything for CACHE_SLOT_ALL. */
	void (*forget)(void *arg, unsigned slot);
	void *arg;
};

struct remote *remote_new(const struct remote_conf *conf);
/* Sends what is to be forgotten if it can be sent at once, answers whoever was
 * not answered, and ends the thread. */
void remote_free(struct remote *r);
AUTO_TYPE(remote, struct remote *, remote_free)

/* What get() has seen; for the set() that follows the load. */
struct remote_marks {
	bool known; /* false: the store was not asked, nothing can be set */
	uint64_t asked_ms; /* mono_ms() before it was */
	uint64_t epoch;
	size_t n;
	uint16_t slot[REMOTE_SLOTS_MAX];
	uint64_t gen[REMOTE_SLOTS_MAX];
	uint64_t gen_all;
};

struct remote_found {
	bool found;
	bool negative;     /* the loader had said ERR_NOT_FOUND */
	struct buf bytes;  /* the caller's, max set by it */
	uint64_t ttl_ms;   /* fresh for so long; 0: only to fall back on */
	uint64_t stale_ms; /* to fall back on for so long after that */
};

/*
 * OK with out->found or not, and marks; ERR_UNAVAILABLE: not in step, breaker
 * open, queue full or the slot still to be raised, at once; ERR_TIMEOUT: no
 * answer by until_ms; ERR_NOMEM.  A value is believed only with the same slots
 * in the same order as it was set with.
 */
enum err remote_get(struct remote *r, struct str key, const uint16_t *slots,
                    size_t slots_n, uint64_t until_ms, struct remote_found *out,
                    struct remote_marks *marks) MUST_CHECK;
/* What remote_ask() came to.  The callback has until it returns to look. */
struct remote_answer {
	enum err e; /* ERR_TIMEOUT, ERR_UNAVAILABLE, or OK, and then: */
	bool found, negative;
	struct str bytes;
	uint64_t ttl_ms, stale_ms;
	struct remote_marks marks;
};
typedef void remote_answered_fn(void *arg, const struct remote_answer *a);
/*
 * A get for which nobody waits: OK, and fn is called exactly once, soon after
 * until_ms at the latest.  Else fn is not called; errors as of remote_get().
 */
enum err remote_ask(struct remote *r, struct str key, const uint16_t *slots,
                    size_t slots_n, uint64_t until_ms, remote_answered_fn *fn,
                    void *arg) MUST_CHECK;
/*
 * Best effort, never waits; copies.  The times count from marks->asked_ms, so
 * that however long the load took, or this process or the server was stopped
 * since, nothing lives longer for it.
 */
void remote_set(struct remote *r, struct str key,
                const struct remote_marks *marks, bool negative,
                struct str bytes, uint64_t ttl_ms, uint64_t stale_ms);
/*
 * Never waits, never lost while this process lives.  key may be empty (a tag);
 * slot is remote_slot() of key or tag, or CACHE_SLOT_ALL.  To be called before
 * the caller forgets it itself: then whoever misses in memory after that finds
 * the slot raised.  The callback follows once it has been.
 */
void remote_forget(struct remote *r, unsigned slot, struct str key);

/* When the last proof of being in step was asked for; 0: never. */
uint64_t remote_proof_ms(const struct remote *r);

enum remote_state { REMOTE_AWAY, REMOTE_CATCHING_UP, REMOTE_IN_STEP };
enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };
struct remote_stats {
	enum remote_state state;
	enum breaker_state breaker;
	bool clock_known; /* the store's, of this connection; else no set */
	uint64_t gets, hits, sets, sets_dropped, forgets, forgets_heard;
	uint64_t timeouts, failures, connects, breaker_opened, epochs;
	uint64_t pending;          /* slots to be raised when it is back */
	uint64_t get_us;           /* sum of the answered gets */
	uint64_t keys, used_bytes; /* of the store's own report; 0: unknown */
	uint64_t keyspace_hits, keyspace_misses, evicted_keys;
};
void remote_stats(const struct remote *r, struct remote_stats *out);
/* To be called by an operator: closes an open breaker. */
void remote_breaker_reset(struct remote *r);

#endif
