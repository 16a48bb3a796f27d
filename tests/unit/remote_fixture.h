/*
 * remote_fixture - instances of the remote tier on a real redis-server.
 *
 * Between an instance and its wire stands a switch: while it is cut, both
 * connections are lost and none comes to be, whatever the server does; the
 * others do not notice.  The switch can also be slow, and can stop the server
 * at a moment that matters.
 */
#ifndef TESTS_UNIT_REMOTE_FIXTURE_H
#define TESTS_UNIT_REMOTE_FIXTURE_H

#include "tests/unit/redis_server.h"

#include "common/cache/redis_wire.h"
#include "common/cache/remote.h"

#include <stdatomic.h>

#define PATIENCE_MS 20000

struct instance {
	struct redis_wire *redis;
	const struct wire *inner;
	struct wire ops;
	atomic_bool cut;
	_Atomic pid_t stop_at_time; /* stopped when asked for the time */
	atomic_int slow_ms;         /* of each command, to be said */
	atomic_uint slow_n;
	struct remote *remote;
	_Atomic uint64_t forgotten[CACHE_SLOTS + 1], forgotten_sum;
};

static inline enum err cut_open(void *arg, enum wire_channel ch, uint64_t ms)
{
	struct instance *in = arg;

	return in->cut ? ERR_UNAVAILABLE
	               : in->inner->open(in->inner->arg, ch, ms);
}

static inline bool cut_is_open(void *arg, enum wire_channel ch)
{
	struct instance *in = arg;

	return !in->cut && in->inner->is_open(in->inner->arg, ch);
}

static inline void cut_close(void *arg, enum wire_channel ch)
{
	struct instance *in = arg;

	in->inner->close(in->inner->arg, ch);
}

static inline bool cut_send(void *arg, enum wire_channel ch, size_t n,
                            const struct str *words)
{
	struct instance *in = arg;
	pid_t pid = 0;

	if (str_eq(words[0], STR("TIME")))
		pid = atomic_exchange(&in->stop_at_time, 0);
	if (pid)
		(void)kill(pid, SIGSTOP);
	if (in->slow_ms) {
		in->slow_n++;
		(void)poll(NULL, 0, in->slow_ms);
	}
	return !in->cut && in->inner->send(in->inner->arg, ch, n, words);
}

static inline enum err cut_receive(void *arg, enum wire_channel ch,
                                   struct redisReply **out)
{
	struct instance *in = arg;

	return in->cut ? ERR_UNAVAILABLE
	               : in->inner->receive(in->inner->arg, ch, out);
}

static inline void cut_wait(void *arg, uint64_t until_ms)
{
	struct instance *in = arg;

	in->inner->wait(in->inner->arg, until_ms);
}

static inline void cut_wake(void *arg)
{
	struct instance *in = arg;

	in->inner->wake(in->inner->arg);
}

static inline void note_forgotten(void *arg, unsigned slot)
{
	struct instance *in = arg;

	in->forgotten[slot]++;
	in->forgotten_sum++;
}

/* NULL without memory: a sweep asks for it. */
static inline struct instance *instance_try(const struct redis_url *url,
                                            unsigned timeout_ms)
{
	struct instance *in = calloc(1, sizeof(*in));
	struct remote_conf conf = {.space = STR("test"),
	                           .connect_timeout_ms = timeout_ms,
	                           .timeout_ms = timeout_ms,
	                           .forget = note_forgotten,
	                           .arg = in};

	if (!in)
		return NULL;
	in->ops = (struct wire){.arg = in,
	                        .open = cut_open,
	                        .is_open = cut_is_open,
	                        .close = cut_close,
	                        .send = cut_send,
	                        .receive = cut_receive,
	                        .wait = cut_wait,
	                        .wake = cut_wake};
	conf.wire = &in->ops;
	in->redis = redis_wire_new(url, STR("kae-test"));
	if (in->redis) {
		in->inner = redis_wire_of(in->redis);
		in->remote = remote_new(&conf);
	}
	if (in->remote)
		return in;
	redis_wire_free(in->redis);
	free(in);
	return NULL;
}

static inline void instance_end(struct instance *in)
{
	if (!in)
		return;
	remote_free(in->remote);
	redis_wire_free(in->redis);
	free(in);
}

static inline struct remote_stats stats_of(const struct instance *in)
{
	struct remote_stats st;

	remote_stats(in->remote, &st);
	return st;
}

/* Waits until the claim holds; fails the test when it does not in time. */
#define EVENTUALLY(claim)                                      \
	do {                                                   \
		uint64_t until_ = mono_ms() + PATIENCE_MS;     \
		while (!(claim)) {                             \
			if (mono_ms() > until_)                \
				fail_msg("never: %s", #claim); \
			nap();                                 \
		}                                              \
	} while (0)

/* In step, and able to set: after a slow greeting the one is not the other. */
static inline bool in_step(const struct instance *in)
{
	struct remote_stats st = stats_of(in);

	return st.state == REMOTE_IN_STEP && st.clock_known;
}

static inline void await_in_step(struct instance *in)
{
	EVENTUALLY(in_step(in));
}

static inline struct instance *instance_at(const struct redis_url *url,
                                           unsigned timeout_ms)
{
	struct instance *in = instance_try(url, timeout_ms);

	assert_non_null(in);
	await_in_step(in);
	return in;
}

static inline struct instance *instance_new(const struct redis_server *s)
{
	struct redis_url url = redis_at_path(s);

	return instance_at(&url, 5000);
}

/* Away, as far as this instance can tell; back with cut_off(in, false). */
static inline void cut_off(struct instance *in, bool cut)
{
	in->cut = cut;
	in->inner->wake(in->inner->arg);
	if (cut)
		EVENTUALLY(stats_of(in).state == REMOTE_AWAY);
	else
		await_in_step(in);
}

struct got {
	enum err err;
	bool found, negative;
	char text[64]; /* the bytes, cut */
	size_t n;
	uint64_t ttl_ms, stale_ms;
	struct remote_marks marks;
};

static inline struct got get_within(struct instance *in, const char *key,
                                    uint64_t ms)
{
	const uint16_t slot = remote_slot(str_from(key));
	struct remote_found f = {.bytes = {.max = REMOTE_VALUE_MAX}};
	struct got g = {0};

	g.err = remote_get(in->remote, str_from(key), &slot, 1, mono_ms() + ms,
	                   &f, &g.marks);
	if (!g.err) {
		g.found = f.found;
		g.negative = f.negative;
		g.ttl_ms = f.ttl_ms;
		g.stale_ms = f.stale_ms;
		g.n = f.bytes.n;
		memcpy(g.text, f.bytes.p ? f.bytes.p : "",
		       g.n < sizeof(g.text) ? g.n : sizeof(g.text) - 1);
	}
	buf_fini(&f.bytes);
	return g;
}

static inline struct got get(struct instance *in, const char *key)
{
	return get_within(in, key, 5000);
}

static inline bool finds(struct instance *in, const char *key, const char *text)
{
	struct got g = get(in, key);

	return !g.err && g.found && strcmp(g.text, text) == 0;
}

/* Asks, as every load does, and sets; true when it is there after that. */
static inline bool put(struct instance *in, const char *key, const char *text)
{
	struct got g = get(in, key);

	if (g.err || !g.marks.known)
		return false;
	remote_set(in->remote, str_from(key), &g.marks, false, str_from(text),
	           60000, 30000);
	return finds(in, key, text);
}

static inline void forget(struct instance *in, const char *key)
{
	remote_forget(in->remote, remote_slot(str_from(key)), str_from(key));
}

static inline uint64_t heard(const struct instance *in, const char *key)
{
	return in->forgotten[remote_slot(str_from(key))];
}

#endif
