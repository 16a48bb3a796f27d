#include "svc-content/records.h"

#include "svc-content/restricted.h"
#include "svc-content/stmts.h"
#include "svc-content/text.h"

#include "common/base/clock.h"
#include "common/base/uuid.h"
#include "common/codec/mp.h"

#include <stdlib.h>

#define DONE_MAX 1000 /* as MASTERY_DONE says */

/* --- presentations -------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
	const struct str *x = a, *y = b;
	int c = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);

	return c ? c : (x->n > y->n) - (x->n < y->n);
}

/* The same subtopics in another order are the same presentation. */
static enum err digest_of(struct ctx *cx, const struct presentation *p,
                          char out[TEXT_DIGEST_MAX])
{
	struct str *v = arena_alloc(cx->arena, (p->n + 1) * sizeof(*v));

	if (!v)
		return ERR_NOMEM;
	memcpy(v, p->subtopic_keys, p->n * sizeof(*v));
	qsort(v, p->n, sizeof(*v), by_bytes);
	text_digest(v, p->n, out);
	return OK;
}

enum err records_present(struct db *db, struct ctx *cx,
                         const struct presentation *p)
{
	char text[TEXT_DIGEST_MAX];
	enum err e = digest_of(cx, p, text);
	struct str digest = str_from(text);
	const struct db_val again[] = {DB_STR(p->sub), DB_STR(p->topic.key),
	                               DB_STR(digest), DB_I64(p->now_ms)};
	const struct db_val put[] = {DB_STR(p->sub), DB_STR(p->topic.key),
	                             DB_STR(p->topic.text), DB_STR(digest),
	                             DB_I64(p->now_ms)};
	int64_t changed = 0;
	bool restricted = false;

	if (!e)
		e = restricted_is(db, p->sub, &restricted);
	if (e || restricted)
		return e;
	e = db_change(db, STMT(PRESENTED_AGAIN), again, COUNTOF(again),
	              &changed);
	if (e || changed > 0)
		return e;
	/* The row is locked from here, so two lists cannot mix. */
	e = db_run(db, STMT(PRESENTED), put, COUNTOF(put), NULL);
	if (!e)
		e = db_run(db, STMT(PART_CLEAR), put, 2, NULL);
	for (size_t i = 0; i < p->n && !e; i++) {
		const struct db_val part[] = {DB_STR(p->sub),
		                              DB_STR(p->topic.key),
		                              DB_STR(p->subtopic_keys[i])};

		e = db_run(db, STMT(PART_ADD), part, COUNTOF(part), NULL);
	}
	return e;
}

/* --- attempts --------------------------------------------------------------------- */

enum err records_attempt(struct db *db, const struct attempt *at)
{
	struct str id = str_from(at->id);
	const struct db_val prune[] = {DB_STR(at->sub),
	                               DB_I64(at->now_ms - RECORDS_ATTEMPT_MS)};
	const struct db_val v[] = {
		DB_STR(id),
		DB_STR(at->sub),
		DB_STR(at->topic.key),
		DB_STR(at->topic.text),
		DB_STR(at->subtopic.key),
		DB_STR(at->subtopic.text),
		DB_I64((int64_t)at->n),
		DB_I64(at->now_ms),
	};
	bool restricted = false;
	enum err e = restricted_is(db, at->sub, &restricted);

	if (e || restricted)
		return e;
	e = db_run(db, STMT(ATTEMPT_PRUNE), prune, COUNTOF(prune), NULL);
	if (!e)
		e = db_run(db, STMT(ATTEMPT_ADD), v, COUNTOF(v), NULL);
	for (size_t i = 0; i < at->n && !e; i++) {
		const struct attempt_question *q = &at->questions[i];
		const struct db_val w[] = {DB_STR(id), DB_TEXT(q->id),
		                           DB_STR(q->correct),
		                           DB_I64((int64_t)q->correct_index)};

		e = db_run(db, STMT(QUESTION_ADD), w, COUNTOF(w), NULL);
	}
	return e;
}

/* --- submitting --------------------------------------------------------------------- */

struct submit_job {
	struct content *ct;
	struct ctx *cx;
	const struct submission *s;
	struct submitted out;
	/* What the result is about: of the attempt, or as submitted. */
	struct named topic, subtopic;
	bool found, restricted;
	uint32_t seen[QUIZ_MAX]; /* one more than the answer's place */
	size_t questions_n;
};

unsigned records_mastery(int64_t score, int64_t total)
{
	return score * 100 >= total * 80   ? 3
	       : score * 100 >= total * 50 ? 2
	                                   : 1;
}

static enum err keep(struct ctx *cx, const struct db_row *row, int col,
                     struct str *out)
{
	*out = arena_str(cx->arena, db_row_str(row, col));
	return out->p ? OK : ERR_NOMEM;
}

static enum err attempt_row(void *arg, const struct db_row *row)
{
	struct submit_job *j = arg;
	enum err e = keep(j->cx, row, 0, &j->topic.key);

	if (!e)
		e = keep(j->cx, row, 1, &j->topic.text);
	if (!e)
		e = keep(j->cx, row, 2, &j->subtopic.key);
	if (!e)
		e = keep(j->cx, row, 3, &j->subtopic.text);
	j->out.total = db_row_i64(row, 4);
	j->out.repeat = !db_row_null(row, 5);
	j->found = true;
	return e;
}

static enum err result_row(void *arg, const struct db_row *row)
{
	struct submit_job *j = arg;

	j->out.score = db_row_i64(row, 0);
	j->out.total = db_row_i64(row, 1);
	j->out.earns = db_row_i64(row, 2) != 0;
	j->out.repeat = true;
	return OK;
}

static enum err question_row(void *arg, const struct db_row *row)
{
	struct submit_job *j = arg;
	struct str id = db_row_str(row, 0), correct = db_row_str(row, 1);
	size_t place = j->questions_n++;

	/* Of somebody else's attempt, or of one that is graded. */
	if (!j->found || j->out.repeat)
		return OK;
	if (place >= QUIZ_MAX)
		return ERR_INTERNAL;
	for (size_t i = 0; i < j->s->answers_n; i++) {
		const struct answer *a = &j->s->answers[i];

		if (!str_eq(a->question_id, id))
			continue;
		if (j->seen[place]) {
			j->out.bad_answer = i;
			return ERR_INVALID;
		}
		j->seen[place] = (uint32_t)i + 1;
		j->out.score += a->option.p ? str_eq(a->option, correct)
		                            : a->index == db_row_i64(row, 2);
	}
	return OK;
}

/* An answer to a question that the attempt does not have. */
static enum err strangers(struct submit_job *j)
{
	for (size_t i = 0; i < j->s->answers_n; i++) {
		bool known = false;

		for (size_t k = 0; k < j->questions_n; k++)
			known = known || j->seen[k] == i + 1;
		if (!known) {
			j->out.bad_answer = i;
			return ERR_INVALID;
		}
	}
	return OK;
}

static enum err emit_quiz(struct submit_job *j, struct db *db, struct str id)
{
	const struct submission *s = j->s;
	AUTO_BUF b = {0};

	mp_map(&b, 8);
	mp_kv_str(&b, "cause", s->attempt_id.n ? s->attempt_id : id);
	mp_kv_str(&b, "topic", j->topic.text);
	mp_kv_str(&b, "subtopic", j->subtopic.text);
	mp_kv_f64(&b, "percent",
	          100.0 * (double)j->out.score / (double)j->out.total);
	mp_kv_i64(&b, "score", j->out.score);
	mp_kv_i64(&b, "total", j->out.total);
	mp_kv_bool(&b, "earns", j->out.earns);
	mp_kv_i64(&b, "at", s->now_ms);
	if (b.failed)
		return ERR_NOMEM;
	return event_emit(j->ct->events, db, PEER_GDPR, s->sub,
	                  STR("quiz.submitted"), buf_view(&b), s->now_ms);
}

struct counts {
	int64_t all, mastered;
};

static enum err counts_row(void *arg, const struct db_row *row)
{
	struct counts *c = arg;

	c->all = db_row_i64(row, 0);
	c->mastered = db_row_i64(row, 1);
	return OK;
}

/*
 * After emit_quiz(): its counter row makes the quizzes of one person wait for
 * each other, so that of two last subtopics one sees the other.
 */
static enum err finish(struct submit_job *j, struct db *db)
{
	const struct submission *s = j->s;
	const struct db_val v[] = {DB_STR(s->sub), DB_STR(j->topic.key),
	                           DB_I64(s->now_ms)};
	struct counts c = {0, 0};
	const struct db_sink sink = {counts_row, &c};
	int64_t changed = 0;
	AUTO_BUF b = {0};
	enum err e = db_run(db, STMT(PART_COUNT), v, 2, &sink);

	if (e || c.all == 0 || c.mastered < c.all)
		return e;
	e = db_change(db, STMT(FINISH), v, COUNTOF(v), &changed);
	if (e || changed == 0)
		return e;
	mp_map(&b, 2);
	mp_kv_str(&b, "topic", j->topic.text);
	mp_kv_i64(&b, "at", s->now_ms);
	if (b.failed)
		return ERR_NOMEM;
	j->out.finished = true;
	return event_emit(j->ct->events, db, PEER_GDPR, s->sub,
	                  STR("topic.finished"), buf_view(&b), s->now_ms);
}

/* Whether this subtopic earns: an attempt does, a score once a day. */
static enum err earn(struct submit_job *j, struct db *db)
{
	const struct submission *s = j->s;
	const struct db_val v[] = {DB_STR(s->sub), DB_STR(j->topic.key),
	                           DB_STR(j->subtopic.key),
	                           DB_I64(clock_utc_day(s->now_ms))};
	int64_t changed = 0;
	enum err e = db_change(db, STMT(EARN), v, COUNTOF(v), &changed);

	j->out.earns = s->attempt_id.n > 0 || changed > 0;
	return e;
}

static enum err record(struct submit_job *j, struct db *db)
{
	const struct submission *s = j->s;
	bool graded = s->attempt_id.n > 0;
	char id_text[UUID_MAX];
	struct str id = uuid7(id_text);
	enum err e = j->restricted ? ERR_RESTRICTED : earn(j, db);

	const struct db_val result[] = {
		DB_STR(id),
		DB_STR(s->sub),
		DB_STR(j->topic.key),
		DB_STR(j->subtopic.key),
		graded ? DB_STR(s->attempt_id) : DB_NULL,
		graded ? DB_NULL : DB_STR(s->body),
		DB_I64(j->out.score),
		DB_I64(j->out.total),
		DB_STR(s->difficulty),
		DB_I64(j->out.earns),
		DB_I64(s->now_ms),
	};
	const struct db_val mastery[] = {
		DB_STR(s->sub),
		DB_STR(j->topic.key),
		DB_STR(j->subtopic.key),
		DB_STR(j->topic.text),
		DB_STR(j->subtopic.text),
		DB_I64(records_mastery(j->out.score, j->out.total)),
		DB_I64(s->now_ms),
	};

	if (!e)
		e = db_later(db, STMT(RESULT_ADD), result, COUNTOF(result),
		             NULL);
	if (!e)
		e = db_later(db, STMT(MASTERY_PUT), mastery, COUNTOF(mastery),
		             NULL);
	if (!e)
		e = emit_quiz(j, db, id);
	return e ? e : finish(j, db);
}

static enum err grade(struct submit_job *j, struct db *db)
{
	const struct submission *s = j->s;
	const struct db_val key[] = {DB_STR(s->attempt_id), DB_STR(s->sub)};
	const struct db_val first[] = {DB_STR(s->sub), DB_STR(s->attempt_id)};
	const struct db_sink attempt = {attempt_row, j};
	const struct db_sink result = {result_row, j};
	const struct db_sink question = {question_row, j};
	enum err e =
		db_later(db, STMT(ATTEMPT_LOCK), key, COUNTOF(key), &attempt);

	if (!e)
		e = restricted_later(db, s->sub, &j->restricted);
	if (!e)
		e = db_run(db, STMT(QUESTION_LIST), key, 1, &question);
	if (e)
		return e;
	if (!j->found) /* handed out while restricted, it was not kept */
		return j->restricted ? ERR_RESTRICTED : ERR_NOT_FOUND;
	if (j->out.repeat)
		return db_run(db, STMT(RESULT_OF_ATTEMPT), first,
		              COUNTOF(first), &result);
	e = strangers(j);
	if (!e) {
		const struct db_val v[] = {DB_STR(s->attempt_id),
		                           DB_I64(j->out.score),
		                           DB_I64(s->now_ms)};

		e = db_later(db, STMT(ATTEMPT_SCORE), v, COUNTOF(v), NULL);
	}
	return e ? e : record(j, db);
}

static enum err score(struct submit_job *j, struct db *db)
{
	const struct submission *s = j->s;
	const struct db_val key[] = {DB_STR(s->sub), DB_STR(s->body),
	                             DB_I64(s->now_ms - RECORDS_REPEAT_MS)};
	const struct db_sink result = {result_row, j};
	/* Two copies of one body that arrive together wait for each other. */
	enum err e =
		db_lock_later(db, (int64_t)text_hash(s->body,
	                                             text_hash(s->sub, 30)));

	if (!e)
		e = restricted_later(db, s->sub, &j->restricted);
	if (!e)
		e = db_run(db, STMT(RESULT_OF_BODY), key, COUNTOF(key),
		           &result);
	if (e || j->out.repeat)
		return e;
	j->topic = s->topic;
	j->subtopic = s->subtopic;
	j->out.score = s->score;
	j->out.total = s->total;
	return record(j, db);
}

enum err records_submit(struct db *db, struct content *ct, struct ctx *cx,
                        const struct submission *s, struct submitted *out)
{
	struct submit_job j = {.ct = ct, .cx = cx, .s = s};
	enum err e = s->attempt_id.n ? grade(&j, db) : score(&j, db);

	if (e && e != ERR_INVALID)
		return e;
	if (!e)
		j.out.mastery = records_mastery(j.out.score, j.out.total);
	*out = j.out;
	return e;
}

/* --- reading ---------------------------------------------------------------------------- */

struct progress_job {
	struct str sub, topic_key;
	records_row_fn *fn;
	void (*restart)(void *arg);
	void *arg;
};

static enum err progress(struct db *db, void *arg)
{
	struct progress_job *j = arg;
	const struct db_val v[] = {DB_STR(j->sub), DB_STR(j->topic_key)};
	const struct db_sink sink = {j->fn, j->arg};

	j->restart(j->arg);
	return j->topic_key.n ? db_run(db, STMT(MASTERY_TOPIC), v, 2, &sink)
	                      : db_run(db, STMT(MASTERY_ALL), v, 1, &sink);
}

enum err records_progress(struct content *ct, struct ctx *cx, struct str sub,
                          struct str topic_key, records_row_fn *fn,
                          void (*restart)(void *arg), void *arg)
{
	struct progress_job j = {sub, topic_key, fn, restart, arg};

	return db_read_one(ct->pool, cx, progress, &j);
}

struct done_job {
	struct ctx *cx;
	struct str sub, topic_key;
	struct mastered *v;
	size_t n;
};

static enum err done_row(void *arg, const struct db_row *row)
{
	struct done_job *j = arg;

	if (j->n == DONE_MAX)
		return OK;
	j->v[j->n].level = db_row_i64(row, 1);
	return keep(j->cx, row, 0, &j->v[j->n++].key);
}

static enum err done(struct db *db, void *arg)
{
	struct done_job *j = arg;
	const struct db_val v[] = {DB_STR(j->sub), DB_STR(j->topic_key)};
	const struct db_sink sink = {done_row, j};

	j->n = 0;
	return db_run(db, STMT(MASTERY_DONE), v, COUNTOF(v), &sink);
}

enum err records_done(struct content *ct, struct ctx *cx, struct str sub,
                      struct str topic_key, struct mastered **out, size_t *n)
{
	struct done_job j = {.cx = cx,
	                     .sub = sub,
	                     .topic_key = topic_key,
	                     .v = arena_alloc(cx->arena,
	                                      DONE_MAX *
	                                              sizeof(struct mastered))};
	enum err e;

	if (!j.v)
		return ERR_NOMEM;
	e = db_read_one(ct->pool, cx, done, &j);
	if (e)
		return e;
	*out = j.v;
	*n = j.n;
	return OK;
}
