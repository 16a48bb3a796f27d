/*
 * remote_hand - a cache in front of a remote tier that is the test's own, which
 * answers late, wrongly and never at the test's word.
 */
#ifndef TESTS_UNIT_REMOTE_HAND_H
#define TESTS_UNIT_REMOTE_HAND_H

#include "tests/unit/cache_clock.h"
#include "tests/unit/cache_fixture.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/cache/remote.h"

/* --- a remote in the hand ------------------------------------------------------- */

struct remote {
	struct remote_conf conf;
	uint64_t proof_ms;

	enum err err;     /* of get(), and of what answer_comes() brings */
	enum err ask_err; /* of ask() itself */
	remote_answered_fn *told; /* who asked, and has no answer yet */
	void *told_arg;
	struct remote_found found;
	const char *text;
	void (*meanwhile)(struct remote *r); /* during get() */
	struct cache *cache;

	/* What the cache did. */
	unsigned gets, asks, sets, forgets;
	uint64_t until_ms;
	size_t slots_n;
	uint16_t slots[REMOTE_SLOTS_MAX];
	bool set_negative;
	uint64_t set_ttl_ms, set_stale_ms;
	char set_text[32];
	unsigned forgot;
	enum cache_hit at_forget; /* was it still in memory? */
};

static struct remote the;
/* Of its counters, where a test has threads. */
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;

uint16_t remote_slot(struct str name)
{
	unsigned h = 7;

	for (size_t i = 0; i < name.n; i++)
		h = h * 31 + (unsigned char)name.p[i];
	return (uint16_t)(h % CACHE_SLOTS);
}

struct remote *remote_new(const struct remote_conf *conf)
{
	void *memory = malloc(1); /* so that it can fail */

	if (!memory)
		return NULL;
	free(memory);
	the = (struct remote){.conf = *conf, .proof_ms = mono_ms()};
	return &the;
}

void remote_free(struct remote *r)
{
	(void)r;
}

enum err remote_get(struct remote *r, struct str key, const uint16_t *slots,
                    size_t slots_n, uint64_t until_ms, struct remote_found *out,
                    struct remote_marks *marks)
{
	(void)key;
	pthread_mutex_lock(&counting);
	r->gets++;
	r->until_ms = until_ms;
	r->slots_n = slots_n;
	memcpy(r->slots, slots, slots_n * sizeof(*slots));
	pthread_mutex_unlock(&counting);
	if (r->meanwhile)
		r->meanwhile(r);
	if (r->err)
		return r->err;
	marks->known = true;
	out->found = r->found.found;
	out->negative = r->found.negative;
	out->ttl_ms = r->found.ttl_ms;
	out->stale_ms = r->found.stale_ms;
	if (r->text)
		buf_str(&out->bytes, str_from(r->text));
	return out->bytes.failed ? ERR_NOMEM : OK;
}

enum err remote_ask(struct remote *r, struct str key, const uint16_t *slots,
                    size_t slots_n, uint64_t until_ms, remote_answered_fn *fn,
                    void *arg)
{
	(void)key;
	r->asks++;
	r->until_ms = until_ms;
	r->slots_n = slots_n;
	memcpy(r->slots, slots, slots_n * sizeof(*slots));
	if (r->ask_err)
		return r->ask_err;
	assert_null(r->told);
	r->told = fn;
	r->told_arg = arg;
	return OK;
}

/* To who has asked; false: nobody has. */
static inline bool answer_comes(void)
{
	const struct remote_answer a = {.e = the.err,
	                                .found = !the.err && the.found.found,
	                                .negative = the.found.negative,
	                                .bytes = str_from(the.text),
	                                .ttl_ms = the.found.ttl_ms,
	                                .stale_ms = the.found.stale_ms,
	                                .marks = {.known = !the.err}};
	remote_answered_fn *fn = the.told;

	the.told = NULL;
	if (fn && the.meanwhile)
		the.meanwhile(&the);
	if (fn)
		fn(the.told_arg, &a);
	return fn;
}

void remote_set(struct remote *r, struct str key,
                const struct remote_marks *marks, bool negative,
                struct str bytes, uint64_t ttl_ms, uint64_t stale_ms)
{
	GUARD(&counting);

	(void)key;
	assert_true(marks->known);
	r->sets++;
	r->set_negative = negative;
	r->set_ttl_ms = ttl_ms;
	r->set_stale_ms = stale_ms;
	if (bytes.n < sizeof(r->set_text)) {
		if (bytes.n)
			memcpy(r->set_text, bytes.p, bytes.n);
		r->set_text[bytes.n] = '\0';
	}
}

void remote_forget(struct remote *r, unsigned slot, struct str key)
{
	(void)key;
	r->forgets++;
	r->forgot = slot;
	if (r->cache)
		r->at_forget = peek(r->cache, "k", mono_ms());
}

uint64_t remote_proof_ms(const struct remote *r)
{
	return r->proof_ms;
}

void remote_stats(const struct remote *r, struct remote_stats *out)
{
	out->gets = r->gets;
}

void remote_breaker_reset(struct remote *r)
{
	r->err = OK;
}

/* --- the cache in front of it ----------------------------------------------------- */

static inline struct cache *shared(void)
{
	static const struct wire none = {0};

	return cache_new(&(struct cache_conf){.max_bytes = 1 << 20,
	                                      .space = STR("test"),
	                                      .wire = &none,
	                                      .threads = 1,
	                                      .seed = 7});
}

/* An instance elsewhere has forgotten it. */
static inline void hear(unsigned slot)
{
	the.conf.forget(the.conf.arg, slot);
}

static inline void hear_key(struct source *so)
{
	(void)so;
	hear(remote_slot(STR("k")));
}

static inline void hear_tag(struct source *so)
{
	(void)so;
	hear(remote_slot(STR("t")));
}

static inline void hear_all(struct source *so)
{
	(void)so;
	hear(CACHE_SLOT_ALL);
}

static void (*const ways[])(struct source *) = {hear_key,   hear_tag,
                                                hear_all,   forget_key,
                                                forget_tag, forget_all};

static inline struct cache_want tagged(struct source *so)
{
	struct cache_want w = want(so, "k", mono_ms());

	w.deadline_ms = w.now_ms + 10000;
	w.ttl_ms = 100000;
	w.tags_n = 1;
	w.tags[0] = STR("t");
	return w;
}

static inline void remote_has(const char *text, uint64_t ttl_ms,
                              uint64_t stale_ms)
{
	the.text = text;
	the.found = (struct remote_found){.found = true,
	                                  .negative = !text,
	                                  .ttl_ms = ttl_ms,
	                                  .stale_ms = stale_ms};
}

static struct source *forgetter;
static void (*forget_now)(struct source *);

static inline void forgotten_meanwhile(struct remote *r)
{
	(void)r;
	forget_now(forgetter);
}

struct asker {
	struct cache *c;
	struct cache_want w;
	const char *text;
	pthread_t thread;
};

static inline void *ask(void *arg)
{
	struct asker *a = arg;

	(void)expect(a->c, &a->w, a->text);
	return NULL;
}

static inline void wait_for_waiters(struct cache *c, uint64_t n)
{
	struct cache_stats st;

	do {
		(void)usleep(200);
		cache_stats(c, &st);
	} while (st.waits < n);
}

#endif
