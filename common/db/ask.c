/*
 * Reads of one statement each, combined: what several threads ask at the same
 * time goes out as one pipeline over one connection.
 *
 * Why:     a round trip costs more than a read by key, on both sides: wake-ups,
 *          system calls, BEGIN and COMMIT.  Whoever asks first leads: it
 *          borrows a connection, takes along all that is queued by then and
 *          reads the answers for everybody.  Nobody waits for company: a batch
 *          is what gathered while the one before was under way.
 * Leading: a leader stays only as long as its own answer is due.  When that is
 *          there (or its time is over) and the next would have to be waited
 *          for, another who waits for this batch reads on.  So nobody outstays
 *          its deadline for others, and who leaves leaves nothing undone.
 * Bounds:  DB_BATCH_MAX reads or BYTES_MAX of values per batch.  LINES_FRESH
 *          batches are under way at a time; one that has not brought an answer
 *          for STALE_MS no longer counts (a slow read, a far server), up to
 *          LINES_MAX.  The queue is as long as there are askers.
 * Failing: a statement that fails takes down what stands behind it in its
 *          transaction unseen (DB_CUT); those ask again, each in a transaction
 *          of its own.  What a lost connection left open is asked again as a
 *          transaction would be run again.
 * Memory:  an ask lives on its asker's stack.  A leader looks into it only
 *          while it is TAKEN, and its asker does not leave then; afterwards a
 *          line knows its asker by a pointer that is cleared when it leaves.
 * Threads: any.  One lock, a leaf; nothing is sent, read or called under it.
 *
 * A driver that has no pipelines (SQLite) runs the statement on a connection
 * borrowed for it, without a transaction around it.
 */
#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/db/driver.h"

#include <assert.h>
#include <stdlib.h>

#define LINES_FRESH 2
#define LINES_MAX   8
#define STALE_MS    3
#define BYTES_MAX   ((size_t)1 << 20)
#define GRACE_MS    500 /* the server's own timeout comes first */

enum ask_state {
	ASK_NEW,
	ASK_QUEUED,
	ASK_TAKEN, /* a leader is looking at the question */
	ASK_SENT,
	ASK_DONE,
};

struct line;
struct ask {
	struct db_question q;
	uint64_t until_ms; /* to be taken */
	enum ask_state state;
	bool leads;        /* told to read on */
	bool late;         /* nobody took it in time */
	struct line *line; /* that has it, */
	unsigned at;       /* at this place */
	struct db_answer answer;
	pthread_cond_t turn;
	struct ask *prev, *next;
};

/* A batch under way.  Its leader alone uses db and batch. */
struct line {
	bool open;
	unsigned waiting;
	uint64_t moved_ms;              /* opened, or brought an answer */
	struct ask *asks[DB_BATCH_MAX]; /* NULL: answered or gone */
	struct db *db;
	unsigned handed; /* answers that have been handed out */
	struct db_batch batch;
};

struct db_asks {
	pthread_mutex_t lock; /* all of an ask and of a line but the leader's */
	struct ask *first, *last;
	_Atomic unsigned queued;
	struct line lines[LINES_MAX];
};

struct db_asks *db_asks_new(void)
{
	struct db_asks *q = calloc(1, sizeof(*q));

	if (q && pthread_mutex_init(&q->lock, NULL)) {
		free(q);
		return NULL;
	}
	return q;
}

void db_asks_free(struct db_asks *q)
{
	if (!q)
		return;
	(void)pthread_mutex_destroy(&q->lock);
	free(q);
}

unsigned db_asks_queued(const struct db_asks *q)
{
	return atomic_load_explicit(&q->queued, memory_order_relaxed);
}

/* --- the queue; under the lock ------------------------------------------------ */

static void wake_first(struct db_asks *q)
{
	if (q->first)
		(void)pthread_cond_signal(&q->first->turn);
}

static void enqueue(struct db_asks *q, struct ask *a)
{
	a->state = ASK_QUEUED;
	atomic_fetch_add_explicit(&q->queued, 1, memory_order_relaxed);
	a->prev = q->last;
	if (q->last)
		q->last->next = a;
	else
		q->first = a;
	q->last = a;
}

static void dequeue(struct db_asks *q, struct ask *a)
{
	if (a->prev)
		a->prev->next = a->next;
	else
		q->first = a->next;
	if (a->next)
		a->next->prev = a->prev;
	else
		q->last = a->prev;
	a->prev = a->next = NULL;
	atomic_fetch_sub_explicit(&q->queued, 1, memory_order_relaxed);
}

static void settle(struct ask *a, enum err e)
{
	a->state = ASK_DONE;
	a->answer = (struct db_answer){.outcome = DB_GIVEN, .e = e};
}

/* The asker no longer waits for this line. */
static void detach(struct ask *a)
{
	a->line->asks[a->at] = NULL;
	a->line->waiting--;
	a->line = NULL;
}

/*
 * A line to open, for the first in the queue; or NULL and *look_ms, when it
 * may look again.
 */
static struct line *free_line(struct db_asks *q, uint64_t now_ms,
                              uint64_t *look_ms)
{
	struct line *closed = NULL;
	unsigned fresh = 0;

	for (size_t i = 0; i < LINES_MAX; i++) {
		struct line *l = &q->lines[i];
		uint64_t stale_ms = l->moved_ms + STALE_MS;

		if (!l->open) {
			closed = l;
			continue;
		}
		if (now_ms >= stale_ms)
			continue;
		fresh++;
		if (stale_ms < *look_ms)
			*look_ms = stale_ms;
	}
	return fresh < LINES_FRESH ? closed : NULL;
}

/* Its time is over.  False while a leader looks into it. */
static bool leave(struct db_asks *q, struct ask *a)
{
	if (a->state == ASK_TAKEN)
		return false;
	if (a->state == ASK_QUEUED) {
		dequeue(q, a);
		wake_first(q);
		a->late = true;
		settle(a, ERR_DATABASE);
		return true;
	}
	detach(a);
	settle(a, ERR_TIMEOUT);
	return true;
}

/* --- waiting ------------------------------------------------------------------- */

enum step { FINISHED, OPENS, READS_ON };

static enum step wait_turn(struct db_asks *q, struct ask *a, struct line **line)
{
	GUARD(&q->lock);

	if (a->state == ASK_NEW)
		enqueue(q, a);
	for (;;) {
		uint64_t now = mono_ms(), look_ms = a->until_ms;

		if (a->state == ASK_DONE)
			return FINISHED;
		if (a->leads) {
			a->leads = false;
			*line = a->line;
			return READS_ON;
		}
		*line = q->first == a ? free_line(q, now, &look_ms) : NULL;
		if (*line) {
			(*line)->open = true;
			(*line)->moved_ms = now;
			return OPENS;
		}
		if (a->state != ASK_QUEUED)
			look_ms = a->q.deadline_ms;
		if (now >= look_ms) {
			if (leave(q, a))
				return FINISHED;
			look_ms = now + 1;
		}
		(void)db_cond_wait(&a->turn, &q->lock, look_ms);
	}
}

/* --- leading ------------------------------------------------------------------- */

static size_t bytes_of(const struct db_question *q)
{
	size_t n = 0;

	for (size_t i = 0; i < q->n; i++) {
		if (q->v[i].type == DB_T_STR || q->v[i].type == DB_T_BLOB)
			n += q->v[i].v.s.n;
	}
	return n;
}

/*
 * Takes the first along and, unless it goes alone, all that do not.  Never more
 * than one transaction: a pooler believes a server free at the first end of one
 * and hands the answers of the next to somebody else.
 */
static void take_some(struct db_asks *q, struct line *l)
{
	struct ask *next = NULL;
	size_t bytes = 0;
	bool alone = q->first && q->first->q.alone;

	for (struct ask *a = q->first; a; a = next) {
		size_t more = bytes_of(&a->q);

		next = a->next;
		if (l->batch.n == (alone ? 1 : DB_BATCH_MAX) ||
		    (l->batch.n > 0 && bytes + more > BYTES_MAX))
			return;
		if (a->q.alone != alone)
			continue;
		bytes += more;
		dequeue(q, a);
		a->state = ASK_TAKEN;
		a->line = l;
		a->at = l->batch.n;
		l->asks[l->batch.n++] = a;
	}
}

static unsigned take_batch(struct db_asks *q, struct line *l,
                           const struct db_question *questions[])
{
	GUARD(&q->lock);

	l->handed = 0;
	l->batch.n = l->batch.answered = 0;
	l->batch.due_n = l->batch.due_at = l->batch.good = 0;
	take_some(q, l);
	l->waiting = l->batch.n;
	for (unsigned i = 0; i < l->batch.n; i++) {
		questions[i] = &l->asks[i]->q;
		l->batch.answer[i] = (struct db_answer){.outcome = DB_OPEN};
	}
	wake_first(q); /* who did not fit in */
	return l->batch.n;
}

static void mark_sent(struct db_asks *q, struct line *l)
{
	GUARD(&q->lock);

	for (unsigned i = 0; i < l->batch.n; i++)
		l->asks[i]->state = ASK_SENT;
}

static bool waits_here(const struct line *l, const struct ask *a)
{
	return a->line == l && a->state == ASK_SENT;
}

/* How many others wait for this line; *own: whether own does. */
static unsigned hand_out(struct db_pool *p, struct line *l,
                         const struct ask *own, bool *own_waits)
{
	struct db_batch *b = &l->batch;
	unsigned from = l->handed, others = 0;

	l->handed = b->answered;
	{
		GUARD(&p->asks->lock);

		for (unsigned i = from; i < b->answered; i++) {
			struct ask *a = l->asks[i];

			if (!a)
				continue;
			detach(a);
			a->state = ASK_DONE;
			a->answer = b->answer[i];
			b->answer[i].result = NULL;
			if (a != own)
				(void)pthread_cond_signal(&a->turn);
		}
		if (from < b->answered)
			l->moved_ms = mono_ms();
		*own_waits = waits_here(l, own);
		others = l->waiting - *own_waits;
	}
	for (unsigned i = from; i < b->answered; i++) {
		if (b->answer[i].result) /* its asker has left */
			p->driver->batch_drop(&b->answer[i]);
	}
	return others;
}

/* False when nobody else waits after all. */
static bool pass_on(struct db_asks *q, struct line *l, struct ask *own)
{
	struct ask *heir = NULL;
	GUARD(&q->lock);

	for (unsigned i = l->handed; i < l->batch.n && !heir; i++)
		heir = l->asks[i] != own ? l->asks[i] : NULL;
	if (!heir)
		return false;
	if (waits_here(l, own)) {
		detach(own);
		settle(own, ERR_TIMEOUT);
	}
	heir->leads = true;
	(void)pthread_cond_signal(&heir->turn);
	return true;
}

static void close_line(struct db_asks *q, struct line *l)
{
	GUARD(&q->lock);

	/* Only its leader may still wait, and it did too long. */
	for (unsigned i = 0; i < l->batch.n && l->waiting > 0; i++) {
		struct ask *a = l->asks[i];

		if (!a)
			continue;
		detach(a);
		settle(a, ERR_TIMEOUT);
	}
	l->open = false;
	l->db = NULL;
	wake_first(q);
}

/* Nobody waits for what is still to come, or no longer. */
static bool hopeless(const struct line *l, const struct ask *own,
                     bool own_waits, uint64_t now_ms)
{
	if (own_waits)
		return now_ms >= own->q.deadline_ms + GRACE_MS;
	/* All answered: the end of the pipeline is right behind. */
	return l->batch.answered < l->batch.n ||
	       now_ms >= l->moved_ms + GRACE_MS;
}

static void abandon(struct db_pool *p, struct line *l, bool in_vain)
{
	/* The server's own timeout is over too: it may be silent for all. */
	if (in_vain)
		atomic_store(&p->doubt_ms, mono_ms());
	l->db->dead = true;
}

static void lead(struct db_pool *p, struct line *l, struct ask *own)
{
	while (!p->driver->batch_take(l->db, &l->batch)) {
		bool own_waits = false;
		unsigned others = hand_out(p, l, own, &own_waits);
		uint64_t now = mono_ms(), until = own->q.deadline_ms;

		if (!own_waits || now >= until) {
			if (others > 0) {
				if (pass_on(p->asks, l, own))
					return;
				continue;
			}
			if (hopeless(l, own, own_waits, now)) {
				abandon(p, l, own_waits);
				break;
			}
			until = now + GRACE_MS;
		}
		p->driver->batch_wait(l->db, until);
	}
	(void)hand_out(p, l, own, &(bool){false});
	db_pool_note(p, l->db->dead ? ERR_DATABASE : OK);
	db_pool_return(p, l->db);
	close_line(p->asks, l);
}

/* No connection: its asker alone knows how long that was worth waiting for. */
static void give_up(struct db_asks *q, struct line *l, struct ask *own,
                    enum err e)
{
	GUARD(&q->lock);

	if (own->state == ASK_QUEUED) {
		dequeue(q, own);
		settle(own, e);
	}
	l->open = false;
	wake_first(q);
}

static void open_line(struct db_pool *p, const struct ctx *cx, struct line *l,
                      struct ask *own)
{
	const struct db_question *questions[DB_BATCH_MAX];
	enum err e = db_pool_borrow(p, cx, own->q.deadline_ms, &l->db);

	if (e) {
		give_up(p->asks, l, own, e);
		return;
	}
	/* The connection may outlive the leader's request. */
	l->db->cx = &p->cx;
	if (take_batch(p->asks, l, questions) > 0) {
		db_pool_count(p, &p->stats.batches, 1);
		db_pool_count(p, &p->stats.asked, l->batch.n);
		p->driver->batch_send(l->db, &l->batch, questions);
		mark_sent(p->asks, l);
	}
	lead(p, l, own);
}

/* --- asking -------------------------------------------------------------------- */

/* Returns when there is an answer. */
static void ask_once(struct db_pool *p, const struct ctx *cx, struct ask *a)
{
	for (;;) {
		struct line *line = NULL;

		switch (wait_turn(p->asks, a, &line)) {
		case FINISHED:
			if (a->late)
				db_pool_count(p, &p->stats.timeouts, 1);
			return;
		case OPENS:
			open_line(p, cx, line, a);
			break;
		case READS_ON:
			lead(p, line, a);
			break;
		}
	}
}

static enum err combine(struct db_pool *p, const struct ctx *cx,
                        struct db_question question, const struct db_sink *sink)
{
	for (unsigned run = 0;; run++) {
		uint64_t until = mono_ms() + (uint64_t)p->conf.timeout_s * 1000;
		struct ask a = {.q = question, .until_ms = until};

		if (a.q.deadline_ms < until)
			a.until_ms = a.q.deadline_ms;
		if (!db_cond_init(&a.turn))
			return ERR_NOMEM;
		ask_once(p, cx, &a);
		(void)pthread_cond_destroy(&a.turn);
		switch (a.answer.outcome) {
		case DB_OPEN:
		case DB_GIVEN:
			return p->driver->batch_rows(cx, question.st, &a.answer,
			                             sink);
		case DB_CUT:
			question.alone = true;
			break;
		case DB_AGAIN:
			if (a.answer.e == ERR_DB_CONFLICT)
				db_pool_count(p, &p->stats.conflicts, 1);
			if (!db_pool_rerun(run, question.deadline_ms))
				return a.answer.e;
			break;
		}
	}
}

static enum err run_alone(struct db_pool *p, const struct ctx *cx,
                          const struct db_question *q,
                          const struct db_sink *sink)
{
	struct db *db = NULL;
	enum err e = db_pool_borrow(p, cx, q->deadline_ms, &db);

	if (e)
		return e;
	db->failed = OK;
	e = p->driver->run(db, q->st, q->v, q->n, sink, NULL);
	db_pool_note(p, db->dead ? ERR_DATABASE : OK);
	db_pool_return(p, db);
	return e;
}

/* --- what looks like a connection ------------------------------------------------
 *
 * A function for db_read() gets a struct db and runs statements on it.  This one
 * has no connection behind it: what it is told to run is asked.
 */

struct asker {
	struct db db;
	bool asked;
};

static enum err run(struct db *db, const struct db_stmt *st,
                    const struct db_val *v, size_t n,
                    const struct db_sink *sink,
                    int64_t *changed) /* NOLINT: the drivers' type */
{
	struct asker *as = (struct asker *)db;
	struct db_pool *p = db->pool;
	const struct db_question q = {st, v, n, db->deadline_ms, false};
	enum err e;

	if (as->asked || changed) {
		log_error(db->cx, "db.not_one_read",
		          LOG_TEXT("statement", st->name));
		return db_fail(db, ERR_INTERNAL);
	}
	as->asked = true;
	e = p->driver->batch_send ? combine(p, db->cx, q, sink)
	                          : run_alone(p, db->cx, &q, sink);
	return e == ERR_DB_CONFLICT ? ERR_CONFLICT : e;
}

static enum err lock(struct db *db, int64_t number)
{
	(void)number;
	return db_fail(db,
	               ERR_INTERNAL); /* there is no transaction to end it */
}

static const struct db_driver asking = {.run = run,
                                        .lock = lock,
                                        .lock_later = lock};

static struct asker asker(struct db_pool *p, const struct ctx *cx)
{
	return (struct asker){.db = {.driver = &asking,
	                             .pool = p,
	                             .cx = cx,
	                             .deadline_ms = cx->deadline_ms}};
}

enum err db_ask(struct db_pool *p, struct ctx *cx, const struct db_stmt *st,
                const struct db_val *v, size_t n, const struct db_sink *sink)
{
	struct asker as = asker(p, cx);
	struct db_told told;
	enum err e;

	db_told_begin(&told, p, cx, "read");
	e = db_run(&as.db, st, v, n, sink);
	db_told_end(&told, cx, e);
	return e;
}

enum err db_read_one(struct db_pool *p, struct ctx *cx, db_fn *fn, void *arg)
{
	struct asker as = asker(p, cx);
	struct db_told told;
	enum err e;

	if (mono_ms() >= cx->deadline_ms)
		return ERR_TIMEOUT;
	db_told_begin(&told, p, cx, "read");
	e = fn(&as.db, arg);
	e = e ? e : as.db.failed;
	db_told_end(&told, cx, e);
	return e;
}
