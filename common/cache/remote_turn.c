#include "common/cache/remote_inner.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <stdio.h>

/* Answers heard on one connection before the other gets its turn. */
#define HEAR_MAX 512
/* How long the end waits for what is to be forgotten to be answered. */
#define FAREWELL_MS 100

/* --- states ----------------------------------------------------------------------- */

static void go(struct remote *r, enum step step, uint64_t until_ms)
{
	GUARD(&r->lock);

	r->step = step;
	r->step_until_ms = until_ms;
}

void lose(struct remote *r, const char *why)
{
	if (!r->lost)
		r->lost = why;
}

void doubt(struct remote *r)
{
	uint64_t soonest = r->begin_ms + REMOTE_PROBE_MS;

	r->in_doubt = true;
	if (soonest < r->probe_ms)
		r->probe_ms = soonest;
}

/* Once for each reason and outage: an outage is tried many times. */
static void tell_away(struct remote *r, const char *why)
{
	bool was_in_step = r->step == STEP_IN_STEP;
	struct str reason = str_from(why);

	if (reason.n == 0 && was_in_step)
		reason = STR("the connection is lost");
	if (reason.n == 0 ||
	    (!was_in_step && str_eq(reason, str_from(r->told))))
		return;
	(void)snprintf(r->told, sizeof(r->told), "%.*s", STR_FMT(reason));
	log_warn(NULL, "cache.remote.away", LOG_STR("reason", reason));
}

static void end_all(struct remote *r, struct fifo *f)
{
	struct cmd *c;

	for (c = fifo_take(f); c; c = fifo_take(f))
		cmd_end(r, c, ERR_UNAVAILABLE);
}

static struct fifo take_queue(struct remote *r)
{
	struct fifo all;

	GUARD(&r->lock);

	fifo_init(&all);
	if (r->queue.first) {
		all = r->queue;
		fifo_init(&r->queue);
	}
	return all;
}

static void hang_up(struct remote *r)
{
	const struct wire *w = r->conf.wire;
	struct fifo queue;

	for (int ch = 0; ch < WIRE_CHANNELS; ch++)
		w->close(w->arg, (enum wire_channel)ch);
	/* First the step, so that nothing is queued any more. */
	go(r, STEP_AWAY, 0);
	for (int ch = 0; ch < WIRE_CHANNELS; ch++)
		end_all(r, &r->sent[ch]);
	queue = take_queue(r);
	end_all(r, &queue);
	hand_over(r);
}

static void away(struct remote *r, uint64_t now)
{
	bool steady = r->step == STEP_IN_STEP &&
	              now >= r->in_step_ms + REMOTE_STEADY_MS;

	tell_away(r, r->lost);
	r->lost = NULL;
	hang_up(r);
	r->tries = steady ? 0 : r->tries + 1;
	pthread_mutex_lock(&r->lock);
	r->stats.failures++;
	r->try_ms = now + backoff_ms(REMOTE_BACKOFF_MS, REMOTE_BACKOFF_MAX,
	                             r->tries, remote_random(r));
	pthread_mutex_unlock(&r->lock);
}

void now_in_step(struct remote *r)
{
	uint64_t now = mono_ms();

	pthread_mutex_lock(&r->lock);
	r->step = STEP_IN_STEP;
	/* It has just answered in time, and may be another server. */
	if (r->fresh)
		breaker_reset(&r->breaker);
	r->stats.connects += r->fresh;
	pthread_mutex_unlock(&r->lock);
	r->probe_ms = now;
	r->raise_ms = now;
	if (!r->fresh)
		return;
	r->fresh = false;
	r->stats_ms = now;
	r->in_step_ms = now;
	r->told[0] = '\0';
	log_info(NULL, "cache.remote.in_step", LOG_STR("space", r->conf.space),
	         LOG_U64("failed_tries", r->tries));
}

/* --- saying ----------------------------------------------------------------------- */

static void send_words(struct remote *r, enum wire_channel ch,
                       const struct words *w)
{
	const struct wire *wire = r->conf.wire;

	if (!r->lost && !wire->send(wire->arg, ch, w->n, w->word))
		lose(r, "");
}

/* Before its words are sent, so that a lost connection ends it too. */
static void note_sent(struct remote *r, enum wire_channel ch, struct cmd *c)
{
	c->sent_ms = mono_ms();
	c->sent_lesson = r->lessons;
	fifo_add(&r->sent[ch], c);
}

static void words_of_script(struct remote *r, enum store_script s,
                            struct str key, struct words *w)
{
	w->n = w->used = 0;
	words_add(w, r->known[s] ? STR("EVALSHA") : STR("EVAL"));
	words_add(w, r->known[s] ? str_from(r->sha[s]) : store_script_text(s));
	words_add(w, STR("2"));
	words_add(w, r->names.hash);
	words_add(w, key);
	r->known[s] = true;
}

static struct str key_of(const struct remote *r, const struct cmd *c)
{
	return c->key_n ? (struct str){c->data, c->key_n} : r->names.nothing;
}

/*
 * Time left, value, generations, in this order: a value that is replaced in
 * between gets less time than it has, and the generations are the newest.
 * One byte more than a value may have is asked for, so a giant that somebody
 * keeps by our name is neither waited for nor believed.
 */
static void say_get(struct remote *r, struct cmd *c)
{
	struct words w;
	struct str key = key_of(r, c);

	note_sent(r, WIRE_COMMANDS, c);
	w.n = w.used = 0;
	words_add(&w, STR("PTTL"));
	words_add(&w, key);
	send_words(r, WIRE_COMMANDS, &w);
	w.n = w.used = 0;
	words_add(&w, STR("GETRANGE"));
	words_add(&w, key);
	words_add(&w, STR("0"));
	words_add_u64(&w, STORE_HEAD_MAX + REMOTE_VALUE_MAX);
	send_words(r, WIRE_COMMANDS, &w);
	w.n = w.used = 0;
	words_add(&w, STR("HMGET"));
	words_add(&w, r->names.hash);
	words_add(&w, STR("e"));
	words_add_u64(&w, CACHE_SLOT_ALL);
	for (size_t i = 0; i < c->marks.n; i++)
		words_add_u64(&w, c->marks.slot[i]);
	send_words(r, WIRE_COMMANDS, &w);
}

static void say_set(struct remote *r, struct cmd *c)
{
	char epoch[STORE_EPOCH_MAX];
	struct words w;

	note_sent(r, WIRE_COMMANDS, c);
	words_of_script(r, SCRIPT_SET, key_of(r, c), &w);
	words_add(&w, (struct str){c->data + c->key_n, c->bytes_n});
	words_add_u64(&w, c->px_ms);
	words_add_u64(&w, c->marks.asked_ms + r->clock_ms);
	epoch_text(c->marks.epoch, epoch);
	words_add(&w, STR("e"));
	words_add(&w, str_from(epoch));
	words_add_u64(&w, CACHE_SLOT_ALL);
	words_add_u64(&w, c->marks.gen_all);
	for (size_t i = 0; i < c->marks.n; i++) {
		words_add_u64(&w, c->marks.slot[i]);
		words_add_u64(&w, c->marks.gen[i]);
	}
	send_words(r, WIRE_COMMANDS, &w);
}

static void say_forget(struct remote *r, struct cmd *c)
{
	struct words w;

	note_sent(r, WIRE_COMMANDS, c);
	words_of_script(r, SCRIPT_FORGET, key_of(r, c), &w);
	words_add(&w, r->names.channel);
	for (size_t i = 0; i < c->slots_n; i++)
		words_add_u64(&w, c->slots[i]);
	send_words(r, WIRE_COMMANDS, &w);
}

/* A command of ours alone; without memory it is for the next time. */
static bool say(struct remote *r, enum cmd_kind kind, size_t n,
                const struct str *words)
{
	struct cmd *c = cmd_new(kind, 1, 0);
	const struct wire *w = r->conf.wire;

	if (!c)
		return false;
	note_sent(r, WIRE_COMMANDS, c);
	if (!r->lost && !w->send(w->arg, WIRE_COMMANDS, n, words))
		lose(r, "");
	return true;
}

void say_begin(struct remote *r)
{
	struct cmd *c = cmd_new(CMD_BEGIN, 1, 0);
	char epoch[STORE_EPOCH_MAX];
	struct words w;
	uint64_t now = mono_ms(), fresh;

	if (!c) {
		lose(r, "no memory");
		return;
	}
	pthread_mutex_lock(&r->lock);
	fresh = remote_random(r) | 1; /* 0 is none */
	pthread_mutex_unlock(&r->lock);
	epoch_text(fresh, epoch);
	r->in_doubt = false;
	r->begin_ms = now;
	go(r, STEP_READING, now + r->conf.timeout_ms);
	note_sent(r, WIRE_COMMANDS, c);
	words_of_script(r, SCRIPT_BEGIN, r->names.nothing, &w);
	words_add(&w, str_from(r->run[WIRE_COMMANDS]));
	words_add(&w, str_from(epoch));
	words_add(&w, str_from(r->refused));
	words_add(&w, r->names.channel);
	words_add_u64(&w, CACHE_SLOT_ALL);
	send_words(r, WIRE_COMMANDS, &w);
}

/* Takes some of what is pending; NULL: none, or no memory for it. */
static struct cmd *take_pending(struct remote *r)
{
	struct cmd *c = cmd_new(CMD_FORGET, 1, 0);

	GUARD(&r->lock);

	if (!c)
		return NULL;
	for (unsigned s = 0; s <= CACHE_SLOT_ALL; s++) {
		uint64_t bit = (uint64_t)1 << s % 64;

		if (r->pending_n == 0 || c->slots_n == STORE_RAISE_MAX)
			break;
		if (!(r->pending[s / 64] & bit))
			continue;
		r->pending[s / 64] &= ~bit;
		r->pending_n--;
		c->slots[c->slots_n++] = (uint16_t)s;
	}
	r->under_way++;
	return c;
}

static bool some_pending(struct remote *r)
{
	GUARD(&r->lock);

	return r->pending_n > 0;
}

/* What is to be forgotten first: gets that follow must meet it. */
static void say_pending(struct remote *r, uint64_t now)
{
	while (!r->lost && now >= r->raise_ms && some_pending(r)) {
		struct cmd *c = take_pending(r);

		if (!c) {
			r->raise_ms = now + REMOTE_PROBE_MS;
			return;
		}
		say_forget(r, c);
	}
}

static void say_queued(struct remote *r)
{
	struct fifo queue = take_queue(r);
	struct cmd *c;

	for (c = fifo_take(&queue); c; c = fifo_take(&queue)) {
		if (c->kind == CMD_GET)
			say_get(r, c);
		else if (c->kind == CMD_SET && r->clock_known)
			say_set(r, c);
		else if (c->kind == CMD_SET)
			cmd_end(r, c, ERR_UNAVAILABLE);
		else
			say_forget(r, c);
	}
}

/* --- signs of life ---------------------------------------------------------------- */

static void ping(struct remote *r, uint64_t now)
{
	struct words w;

	if (r->ping_ms)
		return;
	r->ping++;
	r->ping_ms = now;
	w.n = w.used = 0;
	words_add(&w, STR("PING"));
	words_add_u64(&w, r->ping);
	send_words(r, WIRE_MESSAGES, &w);
}

static const struct str ask_time[] = {STR("TIME")};

static void probe(struct remote *r, uint64_t now)
{
	const struct str may_write[] = {STR("UNLINK"), r->names.nothing};
	static const struct str info[] = {STR("INFO")};
	static const struct str size[] = {STR("DBSIZE")};

	r->probe_ms = now + REMOTE_PROBE_MS;
	ping(r, now);
	if (!r->probing)
		r->probing = say(r, CMD_PROBE, COUNTOF(may_write), may_write) &&
		             say(r, CMD_TIME, COUNTOF(ask_time), ask_time);
	if (now >= r->stats_ms && say(r, CMD_INFO, COUNTOF(info), info) &&
	    say(r, CMD_SIZE, COUNTOF(size), size))
		r->stats_ms = now + REMOTE_STATS_MS;
}

static bool is_silent(const struct remote *r, uint64_t now)
{
	const struct cmd *c = r->sent[WIRE_COMMANDS].first;

	return (c && now >= c->sent_ms + r->conf.timeout_ms) ||
	       (r->ping_ms && now >= r->ping_ms + r->conf.timeout_ms);
}

/* --- turns ------------------------------------------------------------------------ */

static void open_both(struct remote *r, uint64_t now)
{
	const struct wire *w = r->conf.wire;

	r->fresh = true;
	r->subscribed = r->probing = r->in_doubt = false;
	pthread_mutex_lock(&r->lock);
	r->clock_known = false;
	pthread_mutex_unlock(&r->lock);
	r->ping_ms = 0;
	r->begins = 0;
	memset(r->known, 0, sizeof(r->known));
	memset(r->run, 0, sizeof(r->run));
	go(r, STEP_OPENING, now + r->conf.connect_timeout_ms);
	for (int ch = 0; ch < WIRE_CHANNELS && !r->lost; ch++)
		if (w->open(w->arg, (enum wire_channel)ch,
		            r->conf.connect_timeout_ms))
			lose(r, "");
}

static void greet(struct remote *r, uint64_t now)
{
	static const struct str who[] = {STR("INFO"), STR("server")};
	const struct str subscribe[] = {STR("SUBSCRIBE"), r->names.channel};
	const struct wire *w = r->conf.wire;

	go(r, STEP_GREETING, now + r->conf.timeout_ms);
	if (!say(r, CMD_WHO, COUNTOF(who), who) ||
	    !say(r, CMD_TIME, COUNTOF(ask_time), ask_time))
		lose(r, "no memory");
	else if (!w->send(w->arg, WIRE_MESSAGES, COUNTOF(who), who) ||
	         !w->send(w->arg, WIRE_MESSAGES, COUNTOF(subscribe), subscribe))
		lose(r, "");
}

static void after_greeting(struct remote *r)
{
	const char *here = r->run[WIRE_COMMANDS];
	const char *there = r->run[WIRE_MESSAGES];

	if (!here[0] || !there[0] || !r->subscribed)
		return;
	if (strcmp(here, there) != 0)
		lose(r, "two servers have one address");
	else
		say_begin(r);
}

static void advance(struct remote *r, uint64_t now)
{
	const struct wire *w = r->conf.wire;

	switch (r->step) {
	case STEP_AWAY:
		if (now >= r->try_ms)
			open_both(r, now);
		break;
	case STEP_OPENING:
		if (w->is_open(w->arg, WIRE_COMMANDS) &&
		    w->is_open(w->arg, WIRE_MESSAGES))
			greet(r, now);
		break;
	case STEP_GREETING:
		after_greeting(r);
		break;
	case STEP_READING:
		break;
	case STEP_IN_STEP:
		if (r->in_doubt && now >= r->begin_ms + REMOTE_PROBE_MS)
			say_begin(r);
		else if (now >= r->probe_ms)
			probe(r, now);
		break;
	}
	if (r->step != STEP_AWAY && r->step != STEP_IN_STEP &&
	    now >= r->step_until_ms)
		lose(r, "no answer in time");
	if (is_silent(r, now))
		lose(r, "no answer in time");
}

/* True when there may be more to hear at once. */
static bool hear(struct remote *r, enum wire_channel ch)
{
	const struct wire *w = r->conf.wire;

	for (int i = 0; i < HEAR_MAX; i++) {
		struct redisReply *reply = NULL;
		enum err e = w->receive(w->arg, ch, &reply);

		if (e == ERR_BUSY)
			return false;
		if (e)
			lose(r, "");
		else if (ch == WIRE_COMMANDS)
			hear_answer(r, reply);
		else
			hear_message(r, reply);
		if (r->lost)
			return false;
	}
	return true;
}

/* True when the next turn follows at once. */
static bool turn(struct remote *r)
{
	uint64_t now = mono_ms();
	bool more = false;

	if (r->step != STEP_AWAY)
		more = hear(r, WIRE_COMMANDS);
	hand_over(r);
	asks_leave(r, now);
	if (r->step != STEP_AWAY && !r->lost)
		more |= hear(r, WIRE_MESSAGES);
	if (!r->lost)
		advance(r, now);
	if (!r->lost && r->step == STEP_IN_STEP) {
		say_pending(r, now);
		say_queued(r);
	}
	if (r->lost)
		away(r, now);
	return more;
}

static uint64_t due_ms(struct remote *r)
{
	uint64_t asks = asks_due_ms(r);
	uint64_t ours = r->step == STEP_AWAY      ? r->try_ms
	                : r->step == STEP_IN_STEP ? r->probe_ms
	                                          : r->step_until_ms;

	return asks < ours ? asks : ours;
}

static bool is_ending(struct remote *r)
{
	GUARD(&r->lock);

	return r->ending;
}

/*
 * Whether to sleep; from then on whoever queues something wakes us.  What is
 * queued while the generations are read again waits for their answer, too.
 */
static bool may_sleep(struct remote *r)
{
	bool can_say;

	GUARD(&r->lock);

	can_say = r->step == STEP_IN_STEP && r->queue.first;
	r->sleeping = !r->ending && !can_say;
	return r->sleeping;
}

static void sleep_until_due(struct remote *r, bool more)
{
	const struct wire *w = r->conf.wire;

	w->wait(w->arg, !more && may_sleep(r) ? due_ms(r) : mono_ms());
	pthread_mutex_lock(&r->lock);
	r->sleeping = false;
	pthread_mutex_unlock(&r->lock);
}

static bool is_forgetting(const struct remote *r)
{
	const struct cmd *c = r->sent[WIRE_COMMANDS].first;

	while (c && c->kind != CMD_FORGET)
		c = c->next;
	return c != NULL;
}

static void say_farewell(struct remote *r)
{
	const struct wire *w = r->conf.wire;
	uint64_t until = mono_ms() + FAREWELL_MS;

	if (r->step == STEP_IN_STEP) {
		say_pending(r, mono_ms());
		say_queued(r);
	}
	/* Waiting is what sends: once at least, however late it is. */
	while (!r->lost && is_forgetting(r)) {
		w->wait(w->arg, until);
		(void)hear(r, WIRE_COMMANDS);
		if (!r->lost) /* else they would wake us again at once */
			(void)hear(r, WIRE_MESSAGES);
		if (mono_ms() >= until)
			break;
	}
	hang_up(r);
}

void *remote_run(void *remote)
{
	struct remote *r = remote;

	while (!is_ending(r))
		sleep_until_due(r, turn(r));
	say_farewell(r);
	return NULL;
}
