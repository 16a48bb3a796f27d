#include "common/cache/remote_inner.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <stdio.h>

/* An epoch or generations that were refused, in a row. */
#define BEGINS_MAX 2

static const char nonsense[] = "answers what was not asked";

/* --- generations ------------------------------------------------------------------ */

static void forget_here(struct remote *r, unsigned slot)
{
	pthread_mutex_lock(&r->lock);
	r->stats.forgets_heard++;
	pthread_mutex_unlock(&r->lock);
	r->conf.forget(r->conf.arg, slot);
}

/* The generations have gone back, or are none: the epoch must not stay. */
static void refuse_epoch(struct remote *r, struct str text)
{
	(void)snprintf(r->refused, sizeof(r->refused), "%.*s", STR_FMT(text));
}

static void doubt_epoch(struct remote *r)
{
	char text[STORE_EPOCH_MAX];

	epoch_text(r->epoch, text);
	refuse_epoch(r, str_from(text));
	doubt(r);
}

/*
 * A generation as an answer has it that was asked for at lesson `asked`.  One
 * that is lower than what is known may only be older than it; but if that was
 * known when this was asked, the store has gone back: false.
 *
 * What this instance has raised itself is forgotten here once more: until it
 * was raised another may have changed what this one has loaded since, and have
 * died before it could say so.
 */
static bool learn(struct remote *r, unsigned slot, uint64_t gen, uint64_t asked)
{
	struct seen *s = &r->seen[slot];

	if (gen <= s->gen)
		return gen == s->gen || s->lesson > asked;
	forget_here(r, slot);
	s->gen = gen;
	s->lesson = ++r->lessons;
	return true;
}

/* --- errors ----------------------------------------------------------------------- */

static void tell_full(struct remote *r, bool full)
{
	if (full != r->told_full)
		log_warn(NULL,
		         full ? "cache.remote.full" : "cache.remote.not_full");
	r->told_full = full;
	pthread_mutex_lock(&r->lock);
	r->sets_again_ms = full ? mono_ms() + REMOTE_PROBE_MS : 0;
	pthread_mutex_unlock(&r->lock);
}

/* True when it is an error answer, and what follows for the connection. */
static bool is_refused(struct remote *r, const struct redisReply *reply,
                       enum refusal *how)
{
	const char *why;

	if (reply->type != REDIS_REPLY_ERROR)
		return false;
	*how = reply_refusal(reply, &why);
	if (*how == REFUSED_ALL || (*how == REFUSED_ONCE && r->fresh))
		lose(r, why);
	if (*how == REFUSED_SCRIPT)
		memset(r->known, 0, sizeof(r->known));
	pthread_mutex_lock(&r->lock);
	r->stats.failures++;
	pthread_mutex_unlock(&r->lock);
	return true;
}

/* --- get -------------------------------------------------------------------------- */

/* Epoch and generations into the marks, and into what is known. */
static enum err read_marks(struct remote *r, struct cmd *c,
                           const struct redisReply *h)
{
	struct remote_marks *m = &c->marks;

	if (h->type != REDIS_REPLY_ARRAY || h->elements != m->n + 2) {
		lose(r, nonsense);
		return ERR_UNAVAILABLE;
	}
	if (!reply_epoch(h->element[0], &m->epoch) || m->epoch != r->epoch ||
	    !reply_gen(h->element[1], &m->gen_all)) {
		doubt(r);
		return OK;
	}
	for (size_t i = 0; i < m->n; i++) {
		if (!reply_gen(h->element[i + 2], &m->gen[i])) {
			doubt(r);
			return OK;
		}
	}
	if (!learn(r, CACHE_SLOT_ALL, m->gen_all, c->sent_lesson))
		doubt_epoch(r);
	for (size_t i = 0; i < m->n; i++)
		if (!learn(r, m->slot[i], m->gen[i], c->sent_lesson))
			doubt_epoch(r);
	/* In doubt nothing is to be set either. */
	m->known = !r->in_doubt;
	return OK;
}

static bool is_current(const struct remote_marks *a,
                       const struct remote_marks *b)
{
	if (a->epoch != b->epoch || a->gen_all != b->gen_all || a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (a->slot[i] != b->slot[i] || a->gen[i] != b->gen[i])
			return false;
	return true;
}

/* Without a time to live it is not of ours, and would never go. */
static void read_value(struct cmd *c, const struct redisReply *left,
                       const struct redisReply *value)
{
	if (c->marks.known && left->type == REDIS_REPLY_INTEGER &&
	    left->integer > 0 && value->type == REDIS_REPLY_STRING &&
	    stored_decode(reply_text(value), &c->value) &&
	    is_current(&c->value.marks, &c->marks))
		c->left_ms = (uint64_t)left->integer;
}

static enum err got(struct remote *r, struct cmd *c)
{
	enum refusal how = REFUSED_ONCE;

	for (size_t i = 0; i < REMOTE_GET_REPLIES; i++) {
		if (!is_refused(r, c->reply[i], &how))
			continue;
		/* Something else by the name of the value is no value. */
		if (how == REFUSED_TYPE && i + 1 < REMOTE_GET_REPLIES)
			continue;
		if (how == REFUSED_TYPE)
			doubt(r);
		return ERR_UNAVAILABLE;
	}
	if (read_marks(r, c, c->reply[2]))
		return ERR_UNAVAILABLE;
	read_value(c, c->reply[0], c->reply[1]);
	return OK;
}

/* --- set and forget --------------------------------------------------------------- */

static enum err was_set(struct remote *r, struct cmd *c)
{
	enum refusal how = REFUSED_ONCE;
	uint64_t kept = 0;

	if (is_refused(r, c->reply[0], &how)) {
		if (how == REFUSED_FULL)
			tell_full(r, true);
		return ERR_UNAVAILABLE;
	}
	if (!reply_u64(c->reply[0], &kept)) {
		lose(r, nonsense);
		return ERR_UNAVAILABLE;
	}
	if (r->told_full)
		tell_full(r, false);
	pthread_mutex_lock(&r->lock);
	r->stats.sets += kept > 0;
	pthread_mutex_unlock(&r->lock);
	return kept ? OK : ERR_CONFLICT;
}

/* Pending again, unless it was all done. */
static enum err was_forgotten(struct remote *r, struct cmd *c)
{
	const struct redisReply *a = c->reply[0];
	enum refusal how = REFUSED_ONCE;
	uint64_t epoch, gen;

	if (is_refused(r, a, &how)) {
		r->raise_ms = mono_ms() + REMOTE_PROBE_MS;
		doubt(r);
		return ERR_UNAVAILABLE;
	}
	if (a->type != REDIS_REPLY_ARRAY || a->elements != c->slots_n + 1) {
		lose(r, nonsense);
		return ERR_UNAVAILABLE;
	}
	if (!reply_epoch(a->element[0], &epoch) || epoch != r->epoch) {
		doubt(r);
		return OK;
	}
	for (size_t i = 0; i < c->slots_n; i++) {
		if (!reply_u64(a->element[i + 1], &gen)) {
			lose(r, nonsense);
			return ERR_UNAVAILABLE;
		}
		if (!learn(r, c->slots[i], gen, c->sent_lesson))
			doubt_epoch(r);
	}
	return OK;
}

/* --- catching up ------------------------------------------------------------------ */

static void set_run(struct remote *r, enum wire_channel ch,
                    const struct redisReply *reply)
{
	struct str run = info_field(reply_text(reply), STR("run_id"));

	/* Where INFO is not allowed: one that is always the same. */
	if (run.n == 0 || run.n >= REMOTE_RUN_MAX)
		run = STR("?");
	memcpy(r->run[ch], run.p, run.n);
	r->run[ch][run.n] = '\0';
}

static enum err was_told_who(struct remote *r, struct cmd *c)
{
	const char *why;

	if (c->reply[0]->type == REDIS_REPLY_ERROR &&
	    !str_starts(reply_text(c->reply[0]), STR("NOPERM")) &&
	    reply_refusal(c->reply[0], &why) == REFUSED_ALL)
		lose(r, why);
	set_run(r, WIRE_COMMANDS, c->reply[0]);
	return OK;
}

/* What was known is of another epoch, whose values nobody believes. */
static void begin_anew(struct remote *r, uint64_t epoch)
{
	if (r->epoch)
		log_info(NULL, "cache.remote.new_epoch");
	memset(r->seen, 0, sizeof(r->seen));
	r->lessons++;
	r->epoch = epoch;
	pthread_mutex_lock(&r->lock);
	r->stats.epochs++;
	pthread_mutex_unlock(&r->lock);
	forget_here(r, CACHE_SLOT_ALL);
}

struct reading {
	struct remote *r;
	const struct cmd *c;
	bool anew;
	uint64_t listed[REMOTE_PENDING_WORDS];
};

/* One field of the hash and its value; false when it makes no sense. */
static bool read_field(struct reading *rd, const struct redisReply *field,
                       const struct redisReply *value)
{
	struct remote *r = rd->r;
	uint64_t slot, gen;

	if (!reply_u64(field, &slot) || slot > CACHE_SLOT_ALL)
		return true; /* the epoch, the run, or of a later release */
	if (!reply_u64(value, &gen))
		return false;
	rd->listed[slot / 64] |= (uint64_t)1 << slot % 64;
	if (!rd->anew)
		return learn(r, (unsigned)slot, gen, rd->c->sent_lesson);
	r->seen[slot] = (struct seen){gen, r->lessons};
	return true;
}

static bool read_all(struct reading *rd, const struct redisReply *all)
{
	for (size_t i = 0; i + 1 < all->elements; i += 2)
		if (!read_field(rd, all->element[i], all->element[i + 1]))
			return false;
	/* What is not listed is 0. */
	for (unsigned s = 0; s <= CACHE_SLOT_ALL; s++)
		if (!(rd->listed[s / 64] >> s % 64 & 1) &&
		    !learn(rd->r, s, 0, rd->c->sent_lesson))
			return false;
	return true;
}

static const struct redisReply *epoch_of(const struct redisReply *all)
{
	for (size_t i = 0; i + 1 < all->elements; i += 2)
		if (str_eq(reply_text(all->element[i]), STR("e")))
			return all->element[i + 1];
	return NULL;
}

static enum err begin_again(struct remote *r, struct str epoch)
{
	refuse_epoch(r, epoch);
	if (r->begins++ < BEGINS_MAX)
		say_begin(r);
	else
		lose(r, "keeps generations that make no sense");
	return OK;
}

static enum err has_begun(struct remote *r, struct cmd *c)
{
	const struct redisReply *all = c->reply[0], *e;
	struct reading rd = {.r = r, .c = c};
	enum refusal how = REFUSED_ONCE;
	const char *why;
	uint64_t epoch;

	if (is_refused(r, all, &how)) {
		if (how == REFUSED_SCRIPT)
			return begin_again(r, STR(""));
		(void)reply_refusal(all, &why);
		lose(r, why);
		return ERR_UNAVAILABLE;
	}
	e = all->type == REDIS_REPLY_ARRAY ? epoch_of(all) : NULL;
	if (!e) {
		lose(r, nonsense);
		return ERR_UNAVAILABLE;
	}
	if (!reply_epoch(e, &epoch) || epoch == 0)
		return begin_again(r, reply_text(e));
	rd.anew = epoch != r->epoch;
	if (rd.anew)
		begin_anew(r, epoch);
	if (!read_all(&rd, all))
		return begin_again(r, reply_text(e));
	r->refused[0] = '\0';
	r->begins = 0;
	atomic_store(&r->proof_ms, c->sent_ms);
	now_in_step(r);
	return OK;
}

/* --- probes ----------------------------------------------------------------------- */

static enum err has_probed(struct remote *r, struct cmd *c)
{
	enum refusal how = REFUSED_ONCE;

	(void)is_refused(r, c->reply[0], &how);
	return OK;
}

/*
 * Theirs was read before the answer came: from then on the estimate is behind
 * theirs, by as long as the answer took to come, so nothing that is set lives
 * longer for a slow answer.  One more for what both clocks cut off.  One that
 * took long says too little; then the former estimate stays.
 */
static enum err has_time(struct remote *r, struct cmd *c)
{
	uint64_t theirs, now = mono_ms();
	enum refusal how = REFUSED_ONCE;

	r->probing = false;
	if (is_refused(r, c->reply[0], &how))
		return OK;
	if (!reply_time(c->reply[0], &theirs)) {
		lose(r, nonsense);
	} else if (now - c->sent_ms <= REMOTE_PROBE_MS) {
		r->clock_ms = theirs - now - 1;
		pthread_mutex_lock(&r->lock);
		r->clock_known = true;
		pthread_mutex_unlock(&r->lock);
	}
	return OK;
}

static uint64_t figure(struct str info, struct str name)
{
	uint64_t v;

	return str_to_u64(info_field(info, name), &v) ? v : 0;
}

static enum err has_info(struct remote *r, struct cmd *c)
{
	struct str info = reply_text(c->reply[0]);

	GUARD(&r->lock);

	r->stats.used_bytes = figure(info, STR("used_memory"));
	r->stats.keyspace_hits = figure(info, STR("keyspace_hits"));
	r->stats.keyspace_misses = figure(info, STR("keyspace_misses"));
	r->stats.evicted_keys = figure(info, STR("evicted_keys"));
	return OK;
}

static enum err has_size(struct remote *r, struct cmd *c)
{
	uint64_t keys;

	if (!reply_u64(c->reply[0], &keys))
		keys = 0;
	pthread_mutex_lock(&r->lock);
	r->stats.keys = keys;
	pthread_mutex_unlock(&r->lock);
	return OK;
}

/* --- hearing ---------------------------------------------------------------------- */

static enum err (*const ends[])(struct remote *r, struct cmd *c) = {
	[CMD_GET] = got,
	[CMD_SET] = was_set,
	[CMD_FORGET] = was_forgotten,
	[CMD_WHO] = was_told_who,
	[CMD_BEGIN] = has_begun,
	[CMD_PROBE] = has_probed,
	[CMD_TIME] = has_time,
	[CMD_INFO] = has_info,
	[CMD_SIZE] = has_size,
};

void hear_answer(struct remote *r, struct redisReply *reply)
{
	struct cmd *c = r->sent[WIRE_COMMANDS].first;

	if (!c) {
		freeReplyObject(reply);
		lose(r, nonsense);
		return;
	}
	c->reply[c->replies_n - c->replies_left] = reply;
	if (--c->replies_left > 0)
		return;
	(void)fifo_take(&r->sent[WIRE_COMMANDS]);
	cmd_end(r, c, ends[c->kind](r, c));
}

static void hear_forgetting(struct remote *r, struct str payload)
{
	struct message m;

	if (!message_decode(payload, &m)) {
		doubt(r);
	} else if (m.epoch != r->epoch) {
		forget_here(r, m.slot);
		doubt(r);
	} else {
		/* It may be late: lower is no sign of going back. */
		(void)learn(r, m.slot, m.gen, 0);
	}
}

static void hear_pong(struct remote *r, const struct redisReply *number)
{
	uint64_t n;

	if (!r->ping_ms || !reply_u64(number, &n) || n != r->ping)
		return;
	atomic_store(&r->proof_ms, r->ping_ms);
	r->ping_ms = 0;
}

static void hear_array(struct remote *r, const struct redisReply *a)
{
	struct str kind = reply_text(a->element[0]);

	if (str_eq(kind, STR("message")) && a->elements == 3)
		hear_forgetting(r, reply_text(a->element[2]));
	else if (str_eq(kind, STR("pong")) && a->elements == 2)
		hear_pong(r, a->element[1]);
	else if (str_eq(kind, STR("subscribe")) && a->elements == 3)
		r->subscribed = true;
	else
		lose(r, nonsense);
}

void hear_message(struct remote *r, struct redisReply *reply)
{
	const char *why;

	if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0) {
		hear_array(r, reply);
	} else if (!r->run[WIRE_MESSAGES][0] &&
	           (reply->type == REDIS_REPLY_STRING ||
	            str_starts(reply_text(reply), STR("NOPERM")))) {
		set_run(r, WIRE_MESSAGES, reply);
	} else if (reply->type == REDIS_REPLY_ERROR) {
		(void)reply_refusal(reply, &why);
		lose(r, why);
	} else {
		lose(r, nonsense);
	}
	freeReplyObject(reply);
}
