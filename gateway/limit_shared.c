#include "gateway/limit_shared.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/cache/script.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define RETRY_MS     200
#define RETRY_MAX_MS 5000
#define NUMBER_MAX   24
/* EVAL or EVALSHA, script, count, then a name and three numbers each, and one flag. */
#define WORDS_MAX (4 + LIMIT_COSTS * 4)

/*
 * Times are microseconds, which a double holds exactly for some hundred years.
 * What is given back is how long each bucket needs to be full, not a time, so
 * that no clock but the server's matters.
 */
static const char script[] =
	"local t = redis.call('TIME')\n"
	"local now = t[1] * 1000000 + t[2]\n"
	"local used, owed, refused = ARGV[1] == '1', {}, 0\n"
	"for i = 1, #KEYS do\n"
	"  local n, step = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])\n"
	"  local tat = tonumber(redis.call('GET', KEYS[i]) or 0)\n"
	"  owed[i] = math.max(tat - now, 0)\n"
	"  if refused == 0 and not used and\n"
	"     owed[i] + math.max(n, 1) * step > ARGV[3 * i + 1] + 0.5 then\n"
	"    refused = i\n"
	"  end\n"
	"end\n"
	"for i = 1, #KEYS do\n"
	"  local n, step = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])\n"
	"  if refused == 0 and n > 0 then\n"
	"    owed[i] = math.min(owed[i] + n * step, 2 * ARGV[3 * i + 1])\n"
	"    redis.call('SET', KEYS[i], string.format('%.3f', now + owed[i]),\n"
	"               'PX', math.ceil(owed[i] / 1000) + 1)\n"
	"  end\n"
	"  owed[i] = math.ceil(owed[i])\n"
	"end\n"
	"return {refused, unpack(owed)}\n";

struct ring {
	size_t first, n;
	struct limit_question each[LIMIT_RING];
};

struct limit_shared {
	struct limit_shared_conf conf;
	pthread_t thread;
	_Atomic bool up, stopping;
	_Atomic uint64_t outages;
	pthread_mutex_t lock; /* guards waiting; a leaf */
	struct ring waiting;
	/* The thread's own. */
	struct ring asked;
	uint64_t heard_ms; /* or when the oldest of asked was sent */
	uint64_t retry_at_ms, retry_ms;
	bool opening;
	bool has_script; /* the server, from this connection */
	char sha[SCRIPT_SHA_MAX];
};

static bool push(struct ring *r, const struct limit_question *q)
{
	if (r->n == LIMIT_RING)
		return false;
	r->each[(r->first + r->n++) % LIMIT_RING] = *q;
	return true;
}

static bool pop(struct ring *r, struct limit_question *q)
{
	if (r->n == 0)
		return false;
	*q = r->each[r->first];
	r->first = (r->first + 1) % LIMIT_RING;
	r->n--;
	return true;
}

static bool take_waiting(struct limit_shared *s, struct limit_question *q)
{
	GUARD(&s->lock);

	return pop(&s->waiting, q);
}

static void answer(struct limit_shared *s, const struct limit_question *q,
                   const struct limit_answer *a)
{
	s->conf.answered(s->conf.arg, q, a);
}

static void fail_all(struct limit_shared *s)
{
	const struct limit_answer unknown = {.known = false};
	struct limit_question q;

	while (pop(&s->asked, &q))
		answer(s, &q, &unknown);
	while (take_waiting(s, &q))
		answer(s, &q, &unknown);
}

static void go_alone(struct limit_shared *s)
{
	if (!atomic_exchange(&s->up, false))
		return;
	atomic_fetch_add(&s->outages, 1);
	log_warn(NULL, "gateway.limits_alone");
}

static void lose(struct limit_shared *s, uint64_t now_ms)
{
	go_alone(s);
	s->conf.wire->close(s->conf.wire->arg, WIRE_COMMANDS);
	s->opening = false;
	s->retry_at_ms = now_ms + s->retry_ms;
	s->retry_ms =
		s->retry_ms * 2 < RETRY_MAX_MS ? s->retry_ms * 2 : RETRY_MAX_MS;
	fail_all(s);
}

/* --- asking --------------------------------------------------------------------- */

static struct str number(char out[NUMBER_MAX], double v)
{
	(void)snprintf(out, NUMBER_MAX, "%.3f", v);
	return str_from(out);
}

static bool send_question(struct limit_shared *s,
                          const struct limit_question *q)
{
	char numbers[LIMIT_COSTS][3][NUMBER_MAX], count[NUMBER_MAX];
	struct str words[WORDS_MAX] = {STR("EVAL"), STR(script)};
	size_t n = 3;

	if (s->has_script) {
		words[0] = STR("EVALSHA");
		words[1] = str_from(s->sha);
	}
	s->has_script = true;
	(void)snprintf(count, sizeof(count), "%zu", q->n);
	words[2] = str_from(count);
	for (size_t i = 0; i < q->n; i++)
		words[n++] = str_from(q->cost[i].name);
	words[n++] = q->used ? STR("1") : STR("0");
	for (size_t i = 0; i < q->n; i++) {
		const struct limit_cost *c = &q->cost[i];

		words[n++] = number(numbers[i][0], (double)c->n);
		words[n++] =
			number(numbers[i][1], (double)c->rule.step_ns / 1000);
		words[n++] =
			number(numbers[i][2], (double)c->rule.span_ns / 1000);
	}
	return s->conf.wire->send(s->conf.wire->arg, WIRE_COMMANDS, n, words);
}

/* False: the connection is lost. */
static bool send_waiting(struct limit_shared *s, uint64_t now_ms)
{
	struct limit_question q;

	while (s->asked.n < LIMIT_RING && take_waiting(s, &q)) {
		if (s->asked.n == 0)
			s->heard_ms = now_ms;
		(void)push(&s->asked, &q);
		if (!send_question(s, &q))
			return false;
	}
	return true;
}

/* --- hearing -------------------------------------------------------------------- */

/* An error (READONLY, NOPERM, OOM) is no answer: each counts for itself.  So does
 * one that the server had to know the script for, and has forgotten it. */
static struct limit_answer read_answer(struct limit_shared *s,
                                       const struct limit_question *q,
                                       const struct redisReply *r)
{
	struct limit_answer a = {.known = false};

	if (r->type == REDIS_REPLY_ERROR && strncmp(r->str, "NOSCRIPT", 8) == 0)
		s->has_script = false;
	if (r->type != REDIS_REPLY_ARRAY || r->elements != q->n + 1)
		return a;
	for (size_t i = 0; i < r->elements; i++)
		if (r->element[i]->type != REDIS_REPLY_INTEGER ||
		    r->element[i]->integer < 0 ||
		    r->element[i]->integer > INT64_MAX / 1000)
			return a;
	a.refused = (unsigned)r->element[0]->integer;
	if (a.refused > q->n)
		return a;
	for (size_t i = 0; i < q->n; i++)
		a.owed_ns[i] = (uint64_t)r->element[i + 1]->integer * 1000;
	a.known = true;
	return a;
}

static void note_known(struct limit_shared *s)
{
	s->retry_ms = RETRY_MS;
	if (!atomic_exchange(&s->up, true))
		log_info(NULL, "gateway.limits_shared");
}

/* False: the connection is lost. */
static bool hear(struct limit_shared *s, uint64_t now_ms)
{
	const struct wire *w = s->conf.wire;
	struct redisReply *r = NULL;
	struct limit_question q;
	enum err e;

	while (!(e = w->receive(w->arg, WIRE_COMMANDS, &r))) {
		struct limit_answer a = {.known = false};
		bool ours = pop(&s->asked, &q);

		s->heard_ms = now_ms;
		if (ours)
			a = read_answer(s, &q, r);
		freeReplyObject(r);
		if (!ours)
			return false;
		if (a.known)
			note_known(s);
		answer(s, &q, &a);
	}
	return e == ERR_BUSY &&
	       (s->asked.n == 0 || now_ms - s->heard_ms < s->conf.silence_ms);
}

/* --- the thread ------------------------------------------------------------------ */

/* The first question after an outage is ours: nobody waits for it. */
static bool probe(struct limit_shared *s, uint64_t now_ms)
{
	const struct limit_question q = {.n = 0};

	s->heard_ms = now_ms;
	s->has_script = false;
	return push(&s->asked, &q) && send_question(s, &q);
}

static void turn(struct limit_shared *s)
{
	const struct wire *w = s->conf.wire;
	uint64_t now_ms = mono_ms();
	bool ok = true;

	if (w->is_open(w->arg, WIRE_COMMANDS)) {
		if (s->opening)
			ok = probe(s, now_ms);
		s->opening = false;
		/* In this order: who finds no room is sent when some has come. */
		ok = ok && hear(s, now_ms) && send_waiting(s, now_ms);
	} else if (s->opening) {
		struct redisReply *r = NULL;

		ok = w->receive(w->arg, WIRE_COMMANDS, &r) == ERR_BUSY;
	} else if (now_ms >= s->retry_at_ms) {
		s->opening = true;
		ok = w->open(w->arg, WIRE_COMMANDS, s->conf.connect_ms) == OK;
	}
	if (!ok)
		lose(s, now_ms);
}

/* Until when nothing happens by itself. */
static uint64_t sleep_until(const struct limit_shared *s)
{
	bool waits = s->asked.n > 0 && limit_shared_up(s);

	return waits ? s->heard_ms + LIMIT_WAIT_MS : mono_ms() + RETRY_MS;
}

static void *run(void *arg)
{
	struct limit_shared *s = arg;
	const struct wire *w = s->conf.wire;

	while (!atomic_load(&s->stopping)) {
		turn(s);
		if (s->asked.n > 0 && mono_ms() >= s->heard_ms + LIMIT_WAIT_MS)
			go_alone(s);
		w->wait(w->arg, sleep_until(s));
	}
	w->close(w->arg, WIRE_COMMANDS);
	atomic_store(&s->up, false);
	fail_all(s);
	return NULL;
}

struct limit_shared *limit_shared_new(const struct limit_shared_conf *conf)
{
	struct limit_shared *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->conf = *conf;
	s->retry_ms = RETRY_MS;
	(void)pthread_mutex_init(&s->lock, NULL);
	if (!script_sha(STR(script), s->sha) ||
	    pthread_create(&s->thread, NULL, run, s) != 0) {
		(void)pthread_mutex_destroy(&s->lock);
		free(s);
		return NULL;
	}
	(void)pthread_setname_np(s->thread, "limits");
	return s;
}

void limit_shared_free(struct limit_shared *s)
{
	if (!s)
		return;
	atomic_store(&s->stopping, true);
	s->conf.wire->wake(s->conf.wire->arg);
	(void)pthread_join(s->thread, NULL);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}

bool limit_shared_up(const struct limit_shared *s)
{
	return atomic_load_explicit(&s->up, memory_order_relaxed);
}

uint64_t limit_shared_outages(const struct limit_shared *s)
{
	return atomic_load(&s->outages);
}

/* *first: nobody has woken the thread for those that wait. */
static bool add_waiting(struct limit_shared *s, const struct limit_question *q,
                        bool *first)
{
	GUARD(&s->lock);

	*first = s->waiting.n == 0;
	return push(&s->waiting, q);
}

bool limit_shared_ask(struct limit_shared *s, const struct limit_question *q)
{
	bool first;

	if (!limit_shared_up(s) || !add_waiting(s, q, &first))
		return false;
	if (first)
		s->conf.wire->wake(s->conf.wire->arg);
	return true;
}
