#include "common/cache/remote_inner.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

/* A get that was given less time than this says nothing about the store. */
#define FAIR_MS 10

/* --- commands --------------------------------------------------------------------- */

void fifo_init(struct fifo *f)
{
	f->first = NULL;
	f->end = &f->first;
}

void fifo_add(struct fifo *f, struct cmd *c)
{
	c->next = NULL;
	*f->end = c;
	f->end = &c->next;
}

struct cmd *fifo_take(struct fifo *f)
{
	struct cmd *c = f->first;

	if (!c)
		return NULL;
	f->first = c->next;
	if (!f->first)
		f->end = &f->first;
	return c;
}

struct cmd *cmd_new(enum cmd_kind kind, size_t replies, size_t room)
{
	struct cmd *c = calloc(1, sizeof(*c) + room);
	pthread_condattr_t attr;

	if (!c)
		return NULL;
	c->kind = kind;
	c->replies_n = c->replies_left = replies;
	if (kind == CMD_GET) {
		pthread_condattr_init(&attr);
		pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
		pthread_cond_init(&c->answered, &attr);
		pthread_condattr_destroy(&attr);
	}
	return c;
}

void cmd_free(struct cmd *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->replies_n; i++)
		freeReplyObject(c->reply[i]);
	if (c->kind == CMD_GET)
		pthread_cond_destroy(&c->answered);
	free(c);
}

void pending_add(struct remote *r, unsigned slot)
{
	uint64_t bit = (uint64_t)1 << slot % 64;

	r->pending_n += !(r->pending[slot / 64] & bit);
	r->pending[slot / 64] |= bit;
}

static bool is_pending(const struct remote *r, unsigned slot)
{
	return r->pending[slot / 64] >> slot % 64 & 1;
}

bool pending_has(const struct remote *r, const struct remote_marks *m)
{
	if (r->pending_n == 0)
		return false;
	for (size_t i = 0; i < m->n; i++)
		if (is_pending(r, m->slot[i]))
			return true;
	return is_pending(r, CACHE_SLOT_ALL);
}

/* Holds the lock; true when the command is not its caller's. */
static bool end_get(struct remote *r, struct cmd *c)
{
	r->under_way--;
	/* Perhaps a forgetting that was said before it has failed. */
	if (pending_has(r, &c->marks)) {
		c->marks.known = false;
		c->left_ms = 0;
	}
	if (c->left)
		return true;
	c->done = true;
	if (c->told) {
		get_count(r, c, c->err);
		return true;
	}
	pthread_cond_signal(&c->answered);
	return false;
}

static void end_other(struct remote *r, struct cmd *c)
{
	GUARD(&r->lock);

	r->under_way -= c->kind == CMD_SET || c->kind == CMD_FORGET;
	r->bytes_under_way -= c->bytes_n;
	if (c->kind == CMD_FORGET && c->err)
		for (size_t i = 0; i < c->slots_n; i++)
			pending_add(r, c->slots[i]);
	r->stats.sets_dropped += c->kind == CMD_SET && c->err;
}

void cmd_end(struct remote *r, struct cmd *c, enum err e)
{
	c->err = e;
	if (c->kind == CMD_GET) {
		fifo_add(&r->ended, c);
		return;
	}
	end_other(r, c);
	cmd_free(c);
}

void hand_over(struct remote *r)
{
	struct fifo ours;
	struct cmd *c;

	if (!r->ended.first)
		return;
	fifo_init(&ours);
	pthread_mutex_lock(&r->lock);
	for (c = fifo_take(&r->ended); c; c = fifo_take(&r->ended))
		if (end_get(r, c))
			fifo_add(&ours, c);
	pthread_mutex_unlock(&r->lock);
	for (c = fifo_take(&ours); c; c = fifo_take(&ours)) {
		if (c->done)
			ask_told(c, c->err);
		cmd_free(c);
	}
}

/* SplitMix64 (Steele, Lea, Flood): one word of state, seeded by the caller. */
uint64_t remote_random(struct remote *r)
{
	uint64_t z = r->random += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* FNV-1a, folded: the slot is part of what instances of any release tell each
 * other, so nothing of it may be made up at start. */
uint16_t remote_slot(struct str name)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < name.n; i++)
		h = (h ^ (unsigned char)name.p[i]) * 0x100000001b3;
	return (uint16_t)((h ^ h >> 32) % CACHE_SLOTS);
}

/* --- life ------------------------------------------------------------------------- */

static bool set_up(struct remote *r, const struct remote_conf *conf)
{
	r->random = conf->seed;
	if (!r->random && getrandom(&r->random, sizeof(r->random), 0) !=
	                          (ssize_t)sizeof(r->random))
		return false;
	for (int s = 0; s < SCRIPTS; s++)
		if (!store_script_sha((enum store_script)s, r->sha[s]))
			return false;
	return store_names_init(&r->names, conf->space);
}

struct remote *remote_new(const struct remote_conf *conf)
{
	struct remote *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->conf = *conf;
	r->asks_due_ms = UINT64_MAX;
	pthread_mutex_init(&r->lock, NULL);
	fifo_init(&r->queue);
	fifo_init(&r->ended);
	for (int ch = 0; ch < WIRE_CHANNELS; ch++)
		fifo_init(&r->sent[ch]);
	r->started = set_up(r, conf) &&
	             pthread_create(&r->thread, NULL, remote_run, r) == 0;
	if (!r->started) {
		remote_free(r);
		return NULL;
	}
	(void)pthread_setname_np(r->thread, "cache-remote");
	return r;
}

void remote_free(struct remote *r)
{
	if (!r)
		return;
	if (r->started) {
		pthread_mutex_lock(&r->lock);
		r->ending = true;
		pthread_mutex_unlock(&r->lock);
		r->conf.wire->wake(r->conf.wire->arg);
		pthread_join(r->thread, NULL);
	}
	store_names_fini(&r->names);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* --- asking ----------------------------------------------------------------------- */

/* The whole name of the value, then room for its bytes. */
static struct cmd *value_cmd(const struct remote *r, enum cmd_kind kind,
                             size_t replies, struct str key, size_t room)
{
	struct str prefix = r->names.prefix;
	struct cmd *c = cmd_new(kind, replies, prefix.n + key.n + room);

	if (!c)
		return NULL;
	memcpy(c->data, prefix.p, prefix.n);
	if (key.n > 0)
		memcpy(c->data + prefix.n, key.p, key.n);
	c->key_n = prefix.n + key.n;
	return c;
}

/* Holds the lock; true when the thread must be woken, without it. */
static bool enqueue(struct remote *r, struct cmd *c)
{
	bool wake = r->sleeping;

	r->sleeping = false;
	r->under_way++;
	r->bytes_under_way += c->bytes_n;
	fifo_add(&r->queue, c);
	return wake;
}

static void wake(struct remote *r, bool needed)
{
	if (needed)
		r->conf.wire->wake(r->conf.wire->arg);
}

static bool has_room(const struct remote *r)
{
	return r->step == STEP_IN_STEP && !r->ending &&
	       r->under_way < REMOTE_QUEUE_MAX;
}

/* Holds the lock. */
static enum err admit(struct remote *r, struct cmd *c)
{
	r->stats.gets++;
	if (!has_room(r) || pending_has(r, &c->marks))
		return ERR_UNAVAILABLE;
	c->pass = breaker_ask(&r->breaker, mono_ms());
	return c->pass == BREAKER_REFUSED ? ERR_UNAVAILABLE : OK;
}

/* Holds the lock. */
static void judge(struct remote *r, enum breaker_pass pass, enum err e,
                  bool fair)
{
	uint64_t now = mono_ms();

	r->stats.timeouts += e == ERR_TIMEOUT;
	if (!e) {
		if (pass == BREAKER_PROBE)
			log_info(NULL, "cache.remote.breaker_closed");
		breaker_worked(&r->breaker, pass);
	} else if (!fair) {
		breaker_unsure(&r->breaker, pass);
	} else if (breaker_failed(&r->breaker, pass, now, remote_random(r))) {
		r->stats.breaker_opened++;
		/* Once an outage: not again for each probe that fails. */
		if (r->breaker.opened == 1)
			log_warn(NULL, "cache.remote.breaker_open",
			         LOG_STR("reason",
			                 e == ERR_TIMEOUT
			                         ? STR("no answer in time")
			                         : STR("it fails")));
	}
}

/* Holds the lock. */
static enum err await(struct remote *r, struct cmd *c, uint64_t until_ms)
{
	const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
	                               .tv_nsec = (long)(until_ms % 1000) *
	                                          1000000};

	while (!c->done)
		if (pthread_cond_timedwait(&c->answered, &r->lock, &until))
			break;
	return c->done ? c->err : ERR_TIMEOUT;
}

/* What its caller gets to know: the store has counted down since it was sent at
 * the latest, and perhaps not before. */
void get_answer(const struct cmd *c, struct remote_answer *out)
{
	const struct stored *v = &c->value;
	uint64_t left = clock_left(c->left_ms, mono_ms() - c->sent_ms);
	bool found = left > 0;
	uint64_t ttl = left > v->stale_ms ? left - v->stale_ms : 0;

	*out = (struct remote_answer){.found = found,
	                              .negative = found && v->negative,
	                              .ttl_ms = ttl,
	                              .stale_ms = left - ttl,
	                              .marks = c->marks};
	if (found && !v->negative)
		out->bytes = v->bytes;
}

void get_count(struct remote *r, const struct cmd *c, enum err e)
{
	judge(r, c->pass, e,
	      e != ERR_TIMEOUT || c->until_ms >= c->marks.asked_ms + FAIR_MS);
	if (e)
		return;
	r->stats.hits += c->left_ms > 0;
	r->stats.get_us += mono_us() - c->began_us;
}

enum err get_begin(struct remote *r, struct str key, const uint16_t *slots,
                   size_t slots_n, uint64_t until_ms, remote_answered_fn *told,
                   void *told_arg, struct cmd **out)
{
	struct cmd *c = value_cmd(r, CMD_GET, REMOTE_GET_REPLIES, key, 0);
	bool woken;
	enum err e;

	assert(slots_n <= REMOTE_SLOTS_MAX);
	if (!c)
		return ERR_NOMEM;
	c->told = told;
	c->told_arg = told_arg;
	c->until_ms = until_ms;
	c->began_us = mono_us();
	c->marks.asked_ms = mono_ms();
	c->marks.n = slots_n;
	for (size_t i = 0; i < slots_n; i++)
		c->marks.slot[i] = slots[i] % CACHE_SLOTS;
	pthread_mutex_lock(&r->lock);
	e = admit(r, c);
	woken = !e && enqueue(r, c);
	if (!e && told && until_ms < r->asks_due_ms)
		r->asks_due_ms = until_ms;
	pthread_mutex_unlock(&r->lock);
	wake(r, woken);
	if (e)
		cmd_free(c);
	else
		*out = c;
	return e;
}

/* The command is the caller's again. */
static enum err take_answer(const struct cmd *c, struct remote_found *out,
                            struct remote_marks *marks)
{
	struct remote_answer a;

	get_answer(c, &a);
	buf_str(&out->bytes, a.bytes);
	if (out->bytes.failed)
		return ERR_NOMEM;
	*marks = a.marks;
	out->found = a.found;
	out->negative = a.negative;
	out->ttl_ms = a.ttl_ms;
	out->stale_ms = a.stale_ms;
	return OK;
}

enum err remote_get(struct remote *r, struct str key, const uint16_t *slots,
                    size_t slots_n, uint64_t until_ms, struct remote_found *out,
                    struct remote_marks *marks)
{
	struct cmd *c;
	bool left;
	enum err e;

	marks->known = false;
	out->found = false;
	e = get_begin(r, key, slots, slots_n, until_ms, NULL, NULL, &c);
	if (e)
		return e;
	pthread_mutex_lock(&r->lock);
	e = await(r, c, until_ms);
	get_count(r, c, e);
	c->left = !c->done;
	left = c->left;
	pthread_mutex_unlock(&r->lock);
	if (left)
		return e; /* the thread frees it */
	if (!e)
		e = take_answer(c, out, marks);
	cmd_free(c);
	return e;
}

static bool may_set(const struct remote *r)
{
	return has_room(r) && r->breaker.state == BREAKER_CLOSED &&
	       r->bytes_under_way < REMOTE_BYTES_MAX &&
	       mono_ms() >= r->sets_again_ms;
}

static struct cmd *set_cmd(const struct remote *r, struct str key,
                           const struct stored *v)
{
	struct cmd *c =
		value_cmd(r, CMD_SET, 1, key, STORE_HEAD_MAX + v->bytes.n);
	struct buf b = {0};

	if (!c)
		return NULL;
	/* The command has the room: the buf only writes, and never grows. */
	b = (struct buf){.p = c->data + c->key_n,
	                 .cap = STORE_HEAD_MAX + v->bytes.n,
	                 .max = STORE_HEAD_MAX + v->bytes.n};
	stored_encode(&b, v);
	c->bytes_n = b.n;
	return c;
}

void remote_set(struct remote *r, struct str key,
                const struct remote_marks *marks, bool negative,
                struct str bytes, uint64_t ttl_ms, uint64_t stale_ms)
{
	const struct stored v = {.negative = negative,
	                         .stale_ms = stale_ms,
	                         .marks = *marks,
	                         .bytes = bytes};
	struct cmd *c = NULL;
	bool woken = false, ok;
	uint64_t px;

	ok = marks->known && bytes.n <= REMOTE_VALUE_MAX &&
	     !__builtin_add_overflow(ttl_ms, stale_ms, &px) && px > 0 &&
	     px <= INT64_MAX;
	pthread_mutex_lock(&r->lock);
	ok = ok && may_set(r);
	r->stats.sets_dropped += !ok;
	pthread_mutex_unlock(&r->lock);
	if (!ok)
		return;
	c = set_cmd(r, key, &v);
	if (c) {
		c->marks = *marks;
		c->px_ms = px;
	}
	pthread_mutex_lock(&r->lock);
	if (c && may_set(r)) {
		woken = enqueue(r, STEAL(c));
	} else {
		r->stats.sets_dropped++;
	}
	pthread_mutex_unlock(&r->lock);
	wake(r, woken);
	cmd_free(c);
}

void remote_forget(struct remote *r, unsigned slot, struct str key)
{
	struct cmd *c;
	bool woken;

	assert(slot <= CACHE_SLOT_ALL);
	/* With its key, so that the bytes go too and not only their worth. */
	c = key.n > 0 ? value_cmd(r, CMD_FORGET, 1, key, 0)
	              : cmd_new(CMD_FORGET, 1, 0);
	if (c) {
		c->slots_n = 1;
		c->slots[0] = (uint16_t)slot;
	}
	pthread_mutex_lock(&r->lock);
	r->stats.forgets++;
	if (c && has_room(r)) {
		woken = enqueue(r, STEAL(c));
	} else {
		pending_add(r, slot);
		woken = r->sleeping;
		r->sleeping = false;
	}
	pthread_mutex_unlock(&r->lock);
	wake(r, woken);
	cmd_free(c);
}

/* --- looking ---------------------------------------------------------------------- */

uint64_t remote_proof_ms(const struct remote *r)
{
	return atomic_load(&r->proof_ms);
}

static enum remote_state state_of(enum step step)
{
	if (step == STEP_IN_STEP)
		return REMOTE_IN_STEP;
	return step == STEP_GREETING || step == STEP_READING
	               ? REMOTE_CATCHING_UP
	               : REMOTE_AWAY;
}

void remote_stats(const struct remote *r, struct remote_stats *out)
{
	/* A lock is no part of what a reader may not change. */
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): says so to -Wcast-qual */
	GUARD((pthread_mutex_t *)(uintptr_t)&r->lock);

	*out = r->stats;
	out->state = state_of(r->step);
	out->clock_known = r->clock_known;
	out->breaker = r->breaker.state;
	out->pending = r->pending_n;
}

void remote_breaker_reset(struct remote *r)
{
	GUARD(&r->lock);

	breaker_reset(&r->breaker);
}
