/*
 * bus_fixture - a service that does what the first byte of a request says, and
 * the loop of a client, for the tests of the bus.
 *
 *   'e' replies the request        'h' holds it until held_end()
 *   'b' replies that many bytes    'p' streams that many bytes from a thread
 *   'r' refuses with that code     's' like 'e', from another thread
 */
#ifndef TESTS_BUS_FIXTURE_H
#define TESTS_BUS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/bus/bus.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define UNUSED   __attribute__((unused))
#define HELD_MAX 2048

struct service {
	struct bus_server *server;
	pthread_mutex_t lock;
	pthread_cond_t some;
	struct bus_item *held[HELD_MAX];
	size_t held_n;
	struct bus_item *work[HELD_MAX];
	size_t work_n;
	bool ending;
	pthread_t worker;
	atomic_uint begun;      /* requests that reached on_item */
	atomic_size_t streamed; /* bytes that 'p' has handed over */
	_Atomic int part_err;   /* of the last bus_item_part() */
	atomic_uint delay_us;   /* that 's' takes */
	atomic_bool closed;     /* begins nothing: it is starting */
	atomic_uint turned_away;
	char url[128];
};

static inline size_t number_in(struct str s)
{
	char text[24] = {0};

	if (s.n > 1)
		memcpy(text, s.p + 1, s.n - 1 < 23 ? s.n - 1 : 23);
	return strtoull(text, NULL, 10);
}

static inline void reply_bytes(struct bus_item *it, size_t n)
{
	char *p = malloc(n + 1);

	if (!p) {
		bus_item_refuse(it, ERR_NOMEM);
		return;
	}
	memset(p, 'x', n);
	bus_item_end(it, (struct str){p, n});
	free(p);
}

static inline void stream_bytes(struct service *sv, struct bus_item *it,
                                size_t left)
{
	static const char block[10000];

	while (left) {
		size_t n = left < sizeof(block) ? left : sizeof(block);
		enum err e = bus_item_part(it, (struct str){block, n});

		atomic_store(&sv->part_err, (int)e);
		if (e)
			break;
		atomic_fetch_add(&sv->streamed, n);
		left -= n;
	}
	bus_item_end(it, (struct str){0});
}

static inline void *service_worker(void *arg)
{
	struct service *sv = arg;

	for (;;) {
		struct bus_item *it;
		struct str in;

		pthread_mutex_lock(&sv->lock);
		while (sv->work_n == 0 && !sv->ending)
			pthread_cond_wait(&sv->some, &sv->lock);
		if (sv->work_n == 0) {
			pthread_mutex_unlock(&sv->lock);
			return NULL;
		}
		it = sv->work[--sv->work_n];
		pthread_mutex_unlock(&sv->lock);
		in = bus_item_bytes(it);
		if (in.p[0] == 'p')
			stream_bytes(sv, it, number_in(in));
		else if (atomic_load(&sv->delay_us) == 0 ||
		         usleep(atomic_load(&sv->delay_us)) == 0)
			bus_item_end(it, in);
	}
}

static inline void keep(struct service *sv, struct bus_item **list, size_t *n,
                        struct bus_item *it)
{
	bool full;

	pthread_mutex_lock(&sv->lock);
	full = *n == HELD_MAX;
	if (!full)
		list[(*n)++] = it;
	pthread_cond_signal(&sv->some);
	pthread_mutex_unlock(&sv->lock);
	if (full)
		bus_item_refuse(it, ERR_BUSY);
}

static inline void service_item(void *arg, struct bus_item *it)
{
	struct service *sv = arg;
	struct str in = bus_item_bytes(it);

	if (atomic_load(&sv->closed)) {
		atomic_fetch_add(&sv->turned_away, 1);
		bus_item_refuse(it, ERR_UNAVAILABLE);
		return;
	}
	atomic_fetch_add(&sv->begun, 1);
	switch (in.n ? in.p[0] : 'e') {
	case 'h':
		keep(sv, sv->held, &sv->held_n, it);
		break;
	case 's':
	case 'p':
		keep(sv, sv->work, &sv->work_n, it);
		break;
	case 'b':
		reply_bytes(it, number_in(in));
		break;
	case 'r':
		bus_item_refuse(it, (enum err)number_in(in));
		break;
	default:
		bus_item_end(it, in);
		break;
	}
}

static inline void held_end(struct service *sv)
{
	for (;;) {
		struct bus_item *it = NULL;

		pthread_mutex_lock(&sv->lock);
		if (sv->held_n)
			it = sv->held[--sv->held_n];
		pthread_mutex_unlock(&sv->lock);
		if (!it)
			return;
		bus_item_end(it, STR("held"));
	}
}

/* NULL when it could not start (failing memory). */
static inline struct service *service_try(const char *url, unsigned items_max,
                                          const struct bus_keys *keys)
{
	struct service *sv = calloc(1, sizeof(*sv));
	struct bus_server_conf conf = {.self = PEER_AUTH,
	                               .keys = keys,
	                               .on_item = service_item,
	                               .arg = sv,
	                               .items_max = items_max};

	if (!sv)
		return NULL;
	pthread_mutex_init(&sv->lock, NULL);
	pthread_cond_init(&sv->some, NULL);
	sv->server = bus_server_new(&conf);
	if (!sv->server || bus_server_listen(sv->server, str_from(url)) ||
	    pthread_create(&sv->worker, NULL, service_worker, sv)) {
		bus_server_free(sv->server);
		free(sv);
		return NULL;
	}
	(void)snprintf(sv->url, sizeof(sv->url), "%s", url);
	if (bus_server_port(sv->server))
		(void)snprintf(sv->url, sizeof(sv->url), "tcp://127.0.0.1:%u",
		               bus_server_port(sv->server));
	return sv;
}

static inline void service_end(struct service *sv)
{
	if (!sv)
		return;
	held_end(sv);
	pthread_mutex_lock(&sv->lock);
	sv->ending = true;
	pthread_cond_signal(&sv->some);
	pthread_mutex_unlock(&sv->lock);
	pthread_join(sv->worker, NULL);
	bus_server_free(sv->server);
	pthread_cond_destroy(&sv->some);
	pthread_mutex_destroy(&sv->lock);
	free(sv);
}

/* --- the client's loop ------------------------------------------------------- */

struct loop {
	struct bus_client *client;
	pthread_mutex_t lock;
	pthread_cond_t woken;
	bool awake;
	unsigned pushes;
	char pushed[64];
};

static inline void loop_wake(void *arg)
{
	struct loop *l = arg;
	GUARD(&l->lock);

	l->awake = true;
	pthread_cond_signal(&l->woken);
}

static inline void loop_push(void *arg, enum bus_peer from, struct str bytes)
{
	struct loop *l = arg;

	assert_int_equal(from, PEER_AUTH);
	l->pushes++;
	(void)snprintf(l->pushed, sizeof(l->pushed), "%.*s", STR_FMT(bytes));
}

static inline bool loop_init(struct loop *l, const struct bus_keys *keys,
                             unsigned in_flight_max)
{
	struct bus_client_conf conf = {.self = PEER_GATEWAY,
	                               .keys = keys,
	                               .in_flight_max = in_flight_max,
	                               .wake = loop_wake,
	                               .push = loop_push,
	                               .arg = l};

	*l = (struct loop){.lock = PTHREAD_MUTEX_INITIALIZER,
	                   .woken = PTHREAD_COND_INITIALIZER};
	l->client = bus_client_new(&conf);
	return l->client != NULL;
}

static inline void loop_fini(struct loop *l)
{
	bus_client_free(l->client);
	l->client = NULL;
}

/* One turn; sleeps before it for at most max_ms, until woken or due. */
static inline void loop_turn(struct loop *l, uint64_t max_ms)
{
	uint64_t ms = bus_client_timeout_ms(l->client, mono_ms());
	struct timespec t;

	if (ms > max_ms)
		ms = max_ms;
	if (ms > 0 && bus_client_may_sleep(l->client)) {
		GUARD(&l->lock);
		(void)clock_gettime(CLOCK_REALTIME, &t);
		t.tv_nsec += (long)(ms % 1000) * 1000000;
		t.tv_sec += (time_t)(ms / 1000) + t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		while (!l->awake)
			if (pthread_cond_timedwait(&l->woken, &l->lock, &t))
				break;
		l->awake = false;
	}
	bus_client_turn(l->client, mono_ms());
}

/* Turns until the condition holds; fails the test after a minute, which a
 * thread sanitizer on a busy machine may need for some megabytes. */
#define LOOP_UNTIL(l, cond)                                   \
	do {                                                  \
		uint64_t end_ = mono_ms() + 60000;            \
		while (!(cond)) {                             \
			loop_turn(l, 50);                     \
			if (mono_ms() > end_)                 \
				fail_msg("never: %s", #cond); \
		}                                             \
	} while (0)

/* --- one call ------------------------------------------------------------------ */

struct answer {
	unsigned finals, parts;
	enum err e;
	size_t n; /* bytes in all */
	uint64_t done_ms;
	char head[16];
	struct loop *cancel_loop; /* cancel this call at the first part */
	uint64_t cancel_id;
};

static inline void on_answer(void *arg, enum err e, struct str bytes, bool more)
{
	struct answer *a = arg;

	assert_int_equal(a->finals, 0);
	if (a->n == 0)
		(void)snprintf(a->head, sizeof(a->head), "%.*s",
		               bytes.n < 15 ? (int)bytes.n : 15, bytes.p);
	a->n += bytes.n;
	if (more) {
		a->parts++;
		if (a->cancel_loop)
			bus_client_cancel(a->cancel_loop->client, a->cancel_id);
		return;
	}
	a->e = e;
	a->finals++;
	a->done_ms = mono_ms();
	if (e)
		assert_int_equal(bytes.n, 0);
}

static inline struct bus_call call_of(struct str bytes, struct answer *a)
{
	return (struct bus_call){.to = PEER_AUTH,
	                         .deadline_ms = mono_ms() + 8000,
	                         .bytes = bytes,
	                         .on_reply = on_answer,
	                         .arg = a};
}

static inline uint64_t start(struct loop *l, const struct bus_call *c)
{
	uint64_t id = 0;

	assert_int_equal(bus_client_call(l->client, c, &id), OK);
	assert_int_not_equal(id, 0);
	return id;
}

/* Sends bytes and waits for the answer. */
static inline struct answer ask(struct loop *l, const char *bytes)
{
	struct answer a = {0};
	struct bus_call c = call_of(str_from(bytes), &a);

	(void)start(l, &c);
	LOOP_UNTIL(l, a.finals);
	return a;
}

static inline struct bus_keys test_keys(const char *text)
{
	struct bus_keys k = {0};

	assert_true(bus_keys_parse(str_from(text), &k));
	return k;
}

/* A new address of each kind. */
static inline void fresh_url(char *out, size_t size, const char *kind)
{
	static atomic_uint count;
	unsigned n = atomic_fetch_add(&count, 1);

	if (strcmp(kind, "tcp") == 0)
		(void)snprintf(out, size, "tcp://127.0.0.1:0");
	else if (strcmp(kind, "ipc") == 0)
		(void)snprintf(out, size, "ipc:///tmp/kae-bus-%d-%u.sock",
		               (int)getpid(), n);
	else
		(void)snprintf(out, size, "inproc://bus-%d-%u", (int)getpid(),
		               n);
}

static inline struct service *service_new(const char *kind, unsigned items_max,
                                          const struct bus_keys *keys)
{
	char url[128];
	struct service *sv;

	fresh_url(url, sizeof(url), kind);
	sv = service_try(url, items_max, keys);
	assert_non_null(sv);
	return sv;
}

static inline void loop_to(struct loop *l, const struct service *sv)
{
	assert_int_equal(
		bus_client_add(l->client, PEER_AUTH, str_from(sv->url)), OK);
}

#endif
