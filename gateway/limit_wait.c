#include "gateway/limit_wait.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "gateway/req.h"

void limit_wait_init(struct limit_wait *w)
{
	(void)pthread_mutex_init(&w->lock, NULL);
}

void limit_wait_fini(struct limit_wait *w)
{
	(void)pthread_mutex_destroy(&w->lock);
}

bool limit_wait_begin(struct req *rq, const struct limit_who *who)
{
	struct loop *lo = rq->loop;
	struct limit_wait *w = &lo->limit_wait;
	struct limit_ticket *t = w->tickets;

	if (w->n == LIMIT_TICKETS ||
	    !limits_ask(lo->site->limits, who, rq->route->rate, lo,
	                w->serial + 1))
		return false;
	while (t->rq)
		t++;
	*t = (struct limit_ticket){.rq = rq,
	                           .serial = ++w->serial,
	                           .until_ms = mono_ms() + LIMIT_WAIT_MS};
	w->n++;
	rq->wait = WAIT_LIMIT;
	return true;
}

static void take_back(struct limit_wait *w, struct limit_ticket *t)
{
	t->rq = NULL;
	w->n--;
}

void limit_wait_forget(struct req *rq)
{
	struct limit_wait *w = &rq->loop->limit_wait;

	for (size_t i = 0; i < LIMIT_TICKETS; i++)
		if (w->tickets[i].rq == rq)
			take_back(w, &w->tickets[i]);
}

void limit_wait_answered(void *arg, const struct limit_question *q,
                         const struct limit_answer *a)
{
	struct loop *lo = q->asker;
	struct limit_wait *w = &lo->limit_wait;
	bool first;

	(void)arg;
	{
		GUARD(&w->lock);

		/* The loop empties it whenever it was woken. */
		first = w->box_n == 0;
		/* A full box has as many answers as there are tickets, and
		 * those whose answer is lost go on by themselves. */
		if (w->box_n < LIMIT_TICKETS)
			w->box[w->box_n++] =
				(struct limit_letter){q->serial, *a};
	}
	if (first)
		loop_wake(lo);
}

static bool next_letter(struct limit_wait *w, struct limit_letter *out)
{
	GUARD(&w->lock);

	if (w->box_n == 0)
		return false;
	*out = w->box[--w->box_n];
	return true;
}

static void open_letter(struct limit_wait *w, const struct limit_letter *l)
{
	for (size_t i = 0; i < LIMIT_TICKETS; i++) {
		struct req *rq = w->tickets[i].rq;

		if (!rq || w->tickets[i].serial != l->serial)
			continue;
		take_back(w, &w->tickets[i]);
		req_limited(rq, &l->answer);
		return;
	}
}

void limit_wait_turn(struct loop *lo)
{
	static const struct limit_answer none = {.known = false};
	struct limit_wait *w = &lo->limit_wait;
	struct limit_letter l;

	if (w->n == 0)
		return;
	while (next_letter(w, &l))
		open_letter(w, &l);
	for (size_t i = 0; i < LIMIT_TICKETS && w->n; i++) {
		struct req *rq = w->tickets[i].rq;

		if (!rq || lo->now_ms < w->tickets[i].until_ms)
			continue;
		take_back(w, &w->tickets[i]);
		req_limited(rq, &none);
	}
}

uint64_t limit_wait_timeout_ms(const struct loop *lo, uint64_t now_ms)
{
	const struct limit_wait *w = &lo->limit_wait;
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < LIMIT_TICKETS && w->n; i++) {
		uint64_t ms = clock_left(w->tickets[i].until_ms, now_ms);

		if (w->tickets[i].rq && ms < least)
			least = ms;
	}
	return least;
}
