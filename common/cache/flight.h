/*
 * flight - one load of a key, and those who wait for it; internal to
 * common/cache.
 *
 *     listed --- forgotten ---> doomed        nobody new takes what it brings,
 *        |                        |           but who comes waits: there is
 *        +------> done <----------+           never a second loader of the key
 *
 * Owns:    its value, until the last of those who hold it has left.
 * Threads: all of it is under the lock of the shard, which every function here
 *          wants held.
 */
#ifndef CACHE_FLIGHT_H
#define CACHE_FLIGHT_H

#include "common/cache/shard.h"

struct flight {
	struct flight *next; /* of the shard, until it is done */
	uint64_t hash;
	struct str key; /* whoever runs the load keeps it until it is done */
	struct marks marks;
	uint64_t born_ms; /* what it brings is no older */
	unsigned refs;
	bool doomed;
	bool done;
	bool unflown; /* nobody ran it: those who waited try themselves */
	enum err err;
	struct cache_value *value;
	struct cache_info info;
	pthread_cond_t finished;
};

/* Lists a new one with one reference, for who runs it; NULL without memory. */
struct flight *flight_start(struct shard *s, uint64_t hash, struct str key,
                            const struct marks *marks,
                            uint64_t born_ms) MUST_CHECK;
struct flight *flight_find(const struct shard *s, uint64_t hash,
                           struct str key);
void flight_doom_all(struct shard *s);

/* Takes it off the list, wakes all and leaves.  Shares value. */
void flight_land(struct shard *s, struct flight *f, enum err e,
                 struct cache_value *value, const struct cache_info *info);
/* Waits without the lock; false: until_ms (mono_ms()) came first. */
bool flight_wait(struct shard *s, struct flight *f,
                 uint64_t until_ms) MUST_CHECK;
void flight_leave(struct flight *f); /* the last one frees it */

#endif
