/* Gets for which nobody waits: their answers are told. */
#include "common/cache/remote_inner.h"

#include "common/base/clock.h"
#include "common/base/guard.h"

enum err remote_ask(struct remote *r, struct str key, const uint16_t *slots,
                    size_t slots_n, uint64_t until_ms, remote_answered_fn *fn,
                    void *arg)
{
	struct cmd *c; /* the thread's, and perhaps gone */

	return get_begin(r, key, slots, slots_n, until_ms, fn, arg, &c);
}

void ask_told(const struct cmd *c, enum err e)
{
	struct remote_answer a = {.e = e};

	if (!e)
		get_answer(c, &a);
	c->told(c->told_arg, &a);
}

/* Holds the lock.  Puts those of a list whose time is over onto *late. */
static void leave_some(struct remote *r, struct cmd *c, uint64_t now,
                       struct cmd **late)
{
	for (; c; c = c->next) {
		if (c->kind != CMD_GET || !c->told || c->left)
			continue;
		if (now < c->until_ms) {
			if (c->until_ms < r->asks_due_ms)
				r->asks_due_ms = c->until_ms;
			continue;
		}
		c->left = true;
		get_count(r, c, ERR_TIMEOUT);
		c->next_late = *late;
		*late = c;
	}
}

/* They are freed when they end: on this thread, so not before they are told. */
void asks_leave(struct remote *r, uint64_t now)
{
	struct cmd *late = NULL;

	pthread_mutex_lock(&r->lock);
	if (now >= r->asks_due_ms) {
		r->asks_due_ms = UINT64_MAX;
		leave_some(r, r->sent[WIRE_COMMANDS].first, now, &late);
		leave_some(r, r->queue.first, now, &late);
	}
	pthread_mutex_unlock(&r->lock);
	for (; late; late = late->next_late)
		ask_told(late, ERR_TIMEOUT);
}

uint64_t asks_due_ms(struct remote *r)
{
	GUARD(&r->lock);

	return r->asks_due_ms;
}
