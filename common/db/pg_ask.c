/*
 * Many reads of one statement each in one pipeline.
 *
 *     set_config(read only, timeout) | a | b | c | Sync     a shared transaction
 *     set_config(...) | d | Sync                            one alone
 *
 * Why one transaction for many that have nothing to do with each other: every
 * Sync is a system call of ours, one of the server's and a commit.  Without
 * BEGIN the transaction is READ COMMITTED and ends by itself at the Sync, so
 * each statement still sees a snapshot of its own, taken after it was asked.
 * If one fails, the server skips the others up to the Sync; they ask again, each
 * in a pipeline of its own, so a failure is never felt twice.
 *
 * Why never two Syncs in one pipeline: pgbouncer 1.18 in transaction mode was
 * seen to give the server to another client after the first, and with it the
 * answers that followed.
 *
 * The head makes the transaction read only, whatever the text of a statement
 * says, and bounds each statement by what is left of its deadline.  Both end
 * with the transaction, as a pooler in transaction mode needs it.
 */
#include "common/base/clock.h"
#include "common/db/postgres.h"

#include <assert.h>
#include <poll.h>

#define TIMEOUT_MAX_MS ((uint64_t)3600 * 1000)

enum due_what { DUE_HEAD, DUE_PREPARE, DUE_ROWS, DUE_SYNC };

static const struct db_stmt HEAD = {
	"pg.ask", NULL,
	"SELECT set_config('transaction_read_only', 'on', true), "
	"set_config('statement_timeout', $1::text, true)"};

static void expect(struct db_batch *b, enum due_what what, unsigned whose)
{
	assert(b->due_n < COUNTOF(b->due));
	b->due[b->due_n++] =
		(struct db_due){(unsigned char)what, (unsigned char)whose};
}

static void answer(struct db_batch *b, unsigned i, struct db_answer a)
{
	if (b->answer[i].outcome != DB_OPEN)
		return; /* its PREPARE has failed already */
	assert(i == b->answered);
	b->answer[i] = a;
	b->answered++;
}

/* --- sending ------------------------------------------------------------------- */

/*
 * Who comes later has a little more time left.  An eighth on top spares each of
 * them a head of its own; the asker itself leaves at its deadline.
 */
static uint64_t timeout_for(uint64_t left_ms)
{
	left_ms += left_ms / 8 + 1; /* 0 would mean none */
	return left_ms > TIMEOUT_MAX_MS ? TIMEOUT_MAX_MS : left_ms;
}

static enum err queue(struct pg *g, const struct db_stmt *st,
                      const struct db_val *v, size_t n)
{
	enum err e = pg_queue(g, st, v, n);

	/* Remembering a prepared statement takes memory, sending does not. */
	return e == ERR_NOMEM ? pg_queue_text(g, st, v, n) : e;
}

static enum err queue_head(struct pg *g, struct db_batch *b, unsigned whose,
                           uint64_t timeout_ms)
{
	const struct db_val v = DB_I64((int64_t)timeout_ms);
	unsigned before = g->queued_n;
	enum err e = queue(g, &HEAD, &v, 1);

	if (g->queued_n - before > 1)
		expect(b, DUE_PREPARE, whose);
	expect(b, DUE_HEAD, whose);
	return e;
}

static enum err end_transaction(struct pg *g, struct db_batch *b,
                                unsigned whose)
{
	expect(b, DUE_SYNC, whose);
	return PQpipelineSync(g->c) == 1 ? OK : pg_lost(g);
}

static void send_shared(struct pg *g, struct db_batch *b,
                        const struct db_question *const q[])
{
	uint64_t now = mono_ms(), told = 0;
	enum err e = OK;
	unsigned i;

	for (i = 0; i < b->n && !e; i++) {
		uint64_t left = clock_left(q[i]->deadline_ms, now);
		unsigned before;

		if (left >= told || left < told / 2) {
			told = timeout_for(left);
			e = queue_head(g, b, i, told);
		}
		before = g->queued_n;
		if (!e)
			e = queue(g, q[i]->st, q[i]->v, q[i]->n);
		if (g->queued_n - before > 1)
			expect(b, DUE_PREPARE, i);
		expect(b, DUE_ROWS, i);
	}
	if (!e)
		(void)end_transaction(g, b, i - 1); /* lost is seen later */
}

/* As plain text: what the shared transaction is to prepare may fail there. */
static enum err send_alone(struct pg *g, struct db_batch *b,
                           const struct db_question *q)
{
	uint64_t left = clock_left(q->deadline_ms, mono_ms());
	const struct db_val v = DB_I64((int64_t)timeout_for(left));
	enum err e = pg_queue_text(g, &HEAD, &v, 1);

	if (!e)
		e = pg_queue_text(g, q->st, q->v, q->n);
	expect(b, DUE_HEAD, 0);
	expect(b, DUE_ROWS, 0);
	return e ? e : end_transaction(g, b, 0);
}

void pg_batch_send(struct db *db, struct db_batch *b,
                   const struct db_question *const q[])
{
	struct pg *g = pg_of(db);

	g->mode = DB_MODE_READ;
	if (q[0]->alone)
		(void)send_alone(g, b, q[0]); /* lost is seen later */
	else
		send_shared(g, b, q);
}

/* --- receiving ----------------------------------------------------------------- */

static void refused(struct pg *g, struct db_batch *b, struct db_due due,
                    PGresult *r)
{
	struct db_answer a = {.outcome = DB_GIVEN};
	bool tell = false;

	g->db.again = false;
	a.e = pg_judge(g, r, &tell);
	if (g->db.again)
		a.outcome = DB_AGAIN;
	/* A head runs under the timeout of the one before, until it has set its
	 * own: that is a neighbour's time that is over. */
	if (a.e == ERR_TIMEOUT && due.what != DUE_ROWS && b->n > 1)
		a.outcome = DB_CUT;
	if (g->db.dead) {
		/* It ended for all, and is nobody's own; all are answered so
		 * when it is seen to be dead. */
		if (tell)
			pg_tell(g->db.cx, HEAD.name, r);
		PQclear(r);
		return;
	}
	if (tell)
		a.result = STEAL(r);
	PQclear(r);
	answer(b, due.whose, a);
}

static void rows_came(struct db_batch *b, unsigned whose, PGresult *r)
{
	struct db_answer a = {.outcome = DB_GIVEN, .result = r};

	if (PQresultMemorySize(r) > DB_RESULT_MAX) {
		PQclear(r);
		a.e = ERR_TOO_LARGE;
		a.result = NULL;
	}
	answer(b, whose, a);
}

/* Takes over r. */
static void take_result(struct pg *g, struct db_batch *b, PGresult *r)
{
	const struct db_due due = b->due[b->due_at++];
	ExecStatusType is = PQresultStatus(r);

	if (is == PGRES_TUPLES_OK || is == PGRES_COMMAND_OK) {
		b->good++;
		if (due.what == DUE_ROWS)
			rows_came(b, due.whose, r);
		else
			PQclear(r);
	} else if (is == PGRES_PIPELINE_SYNC) {
		PQclear(r);
		pg_settle(g, b->good);
		b->good = 0;
	} else if (is == PGRES_PIPELINE_ABORTED) {
		PQclear(r);
		if (due.what == DUE_ROWS)
			answer(b, due.whose,
			       (struct db_answer){.outcome = DB_CUT});
	} else {
		refused(g, b, due, r);
	}
	if ((due.what == DUE_SYNC) != (is == PGRES_PIPELINE_SYNC))
		(void)pg_lost(g);
}

/* What has come; the connection is lost or has more to say after it. */
static void take_what_is_there(struct pg *g, struct db_batch *b)
{
	unsigned nothing = 0;

	while (!g->db.dead && b->due_at < b->due_n && !PQisBusy(g->c)) {
		PGresult *r = PQgetResult(g->c);

		if (r) {
			nothing = 0;
			/* A connection that broke has no SQLSTATE. */
			if (PQstatus(g->c) == CONNECTION_BAD &&
			    !PQresultErrorField(r, PG_DIAG_SQLSTATE)) {
				PQclear(r);
				(void)pg_lost(g);
			} else {
				take_result(g, b, r);
			}
		} else if (PQstatus(g->c) == CONNECTION_BAD || ++nothing > 4) {
			(void)pg_lost(g);
		}
	}
}

bool pg_batch_take(struct db *db, struct db_batch *b)
{
	struct pg *g = pg_of(db);

	if (!db->dead && PQflush(g->c) < 0)
		(void)pg_lost(g);
	take_what_is_there(g, b);
	if (!db->dead)
		return b->due_at == b->due_n;
	while (b->answered < b->n)
		answer(b, b->answered,
		       (struct db_answer){.outcome = DB_AGAIN,
		                          .e = ERR_DATABASE});
	return true;
}

void pg_batch_wait(struct db *db, uint64_t until_ms)
{
	struct pg *g = pg_of(db);
	int more = PQflush(g->c);
	short events = more > 0 ? POLLIN | POLLOUT : POLLIN;

	if (more < 0 || (pg_wait(g, events, until_ms) && !PQconsumeInput(g->c)))
		(void)pg_lost(g);
}

enum err pg_batch_rows(const struct ctx *cx, const struct db_stmt *st,
                       struct db_answer *a, const struct db_sink *sink)
{
	enum err e = a->e;

	if (e && a->result)
		pg_tell(cx, st->name, a->result);
	else if (!e && sink)
		e = pg_rows(a->result, sink);
	pg_batch_drop(a);
	return e;
}

void pg_batch_drop(struct db_answer *a)
{
	PQclear(a->result);
	a->result = NULL;
}
