/*
 * redis_model - what Redis does with the commands of the remote tier.
 *
 * Answers in RESP 2, byte for byte as Redis 7 does (test_redis_model.c runs the
 * same commands on both and compares), so that the real reader takes them apart
 * and a connection may end in the middle of an answer.
 *
 * Knows INFO server, GET, PTTL, HMGET, PING, SUBSCRIBE, and the scripts of
 * remote_store.c by their text.  A command it does not know fails the run: a
 * model that guesses is worth nothing.
 *
 * Threads: one.
 */
#ifndef TESTS_SIM_REDIS_MODEL_H
#define TESTS_SIM_REDIS_MODEL_H

#include "common/base/buf.h"

struct redis_model;
struct redis_data; /* a dump */

struct redis_hooks {
	void *arg;
	uint64_t (*now_ms)(void *arg);
	/* To who has subscribed: how many they are. */
	unsigned (*publish)(void *arg, struct str channel, struct str payload);
	/* A generation was raised; all began anew (CACHE_SLOT_ALL). */
	void (*raised)(void *arg, unsigned slot);
};

/* How it is today; bits. */
enum redis_mood {
	REDIS_WELL = 0,
	REDIS_FULL = 1,     /* over maxmemory, nothing may be evicted */
	REDIS_READONLY = 2, /* a replica */
	REDIS_LOADING = 4,
};

struct redis_session {
	bool subscribed;
	char channel[64];
	size_t channel_n;
};

struct redis_model *redis_model_new(const struct redis_hooks *hooks);
void redis_model_free(struct redis_model *m);
AUTO_TYPE(redis_model, struct redis_model *, redis_model_free)

/* Appends the answer. */
void redis_model_run(struct redis_model *m, struct redis_session *s, size_t n,
                     const struct str *words, struct buf *out);
/* As a subscriber reads it. */
void redis_model_message(struct str channel, struct str payload,
                         struct buf *out);

/* run: 40 hex digits, another one for each process. */
void redis_model_start(struct redis_model *m, const char run[41],
                       const struct redis_data *dump);
struct redis_data *redis_model_dump(const struct redis_model *m) MUST_CHECK;
void redis_data_free(struct redis_data *d);
void redis_model_mood(struct redis_model *m, unsigned mood);
/* Removes the key that is nth of those there are; false: there are none. */
bool redis_model_evict(struct redis_model *m, size_t nth);
void redis_model_flush(struct redis_model *m);
void redis_model_flush_scripts(struct redis_model *m);
size_t redis_model_keys(const struct redis_model *m);

#endif
