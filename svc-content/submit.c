/* The handler that takes a finished quiz, in either of its two forms. */
#include "svc-content/methods.h"
#include "svc-content/records.h"
#include "svc-content/text.h"

#include "common/base/clock.h"

#include <stdio.h>

#define ANSWERS_MAX 100

/* --- reading answers -------------------------------------------------------------- */

static enum err bad_answer(struct ctx *cx, size_t i, const char *code,
                           const char *words)
{
	char pointer[32];

	(void)snprintf(pointer, sizeof(pointer), "/answers/%zu", i);
	return ctx_fault(cx, pointer, code, "%s", words);
}

/* {question_id: text, option: text or index} */
static bool one_answer(struct str item, struct answer *out)
{
	struct str option;
	struct mp m;

	*out = (struct answer){.index = -1};
	out->question_id = mp_find_str(item, "question_id", STR(""));
	if (out->question_id.n == 0 || !mp_find(item, "option", &option))
		return false;
	m = mp_open(option);
	if (mp_get_str(&m, &out->option))
		return out->option.p != NULL;
	return mp_get_i64(&m, &out->index);
}

static enum err read_answers(struct ctx *cx, struct str answers,
                             struct submission *s)
{
	struct mp m = mp_open(answers);
	struct answer *v;
	enum err e = OK;
	uint32_t n;

	if (!mp_get_array(&m, &n))
		return ctx_fault(cx, "/answers", "TYPE",
		                 "answers must be a list.");
	if (n > ANSWERS_MAX)
		return ctx_fault(cx, "/answers", "ITEMS",
		                 "answers must have at most %d items.",
		                 ANSWERS_MAX);
	v = arena_alloc(cx->arena, (n ? n : 1) * sizeof(*v));
	if (!v)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < n; i++) {
		struct str item;

		if (!mp_skip(&m, &item))
			return ctx_fault(cx, "/answers", "TYPE",
			                 "answers is not well formed.");
		if (!one_answer(item, &v[i]))
			e = bad_answer(
				cx, i, "TYPE",
				"An answer must have a question_id and an "
				"option.");
	}
	s->answers = v;
	s->answers_n = n;
	return e;
}

/* --- the two forms ------------------------------------------------------------------ */

static enum err read_attempt(struct ctx *cx, const struct quiz_submit_in *r,
                             struct submission *s)
{
	s->attempt_id = r->attempt_id;
	if (r->answers.n == 0)
		return ctx_fault(cx, "/answers", "REQUIRED",
		                 "answers is required with attempt_id.");
	return read_answers(cx, r->answers, s);
}

static enum err score_faults(struct ctx *cx, const struct quiz_submit_in *r)
{
	enum err e = OK;

	if (!r->topic.p)
		e = ctx_fault(cx, "/topic", "REQUIRED",
		              "topic is required without attempt_id.");
	if (r->score < 0)
		e = ctx_fault(cx, "/score", "REQUIRED",
		              "score is required without attempt_id.");
	if (r->total < 1)
		e = ctx_fault(cx, "/total", "REQUIRED",
		              "total is required without attempt_id.");
	if (!e && r->score > r->total)
		e = ctx_fault(cx, "/score", "RANGE",
		              "score must not be more than total.");
	return e;
}

static enum err read_score(struct ctx *cx, const struct quiz_submit_in *r,
                           char digest[TEXT_DIGEST_MAX], struct submission *s)
{
	const char numbers[] = {(char)r->score, (char)r->total};
	enum err e = score_faults(cx, r);

	if (e)
		return e;
	s->topic.text = str_trim(r->topic);
	s->subtopic.text = str_trim(r->subtopic);
	s->score = r->score;
	s->total = r->total;
	e = text_key(cx->arena, r->topic, &s->topic.key);
	if (!e)
		e = text_key(cx->arena, r->subtopic, &s->subtopic.key);
	if (!e) {
		const struct str parts[] = {s->topic.key,
		                            s->subtopic.key,
		                            r->difficulty,
		                            {numbers, sizeof(numbers)}};

		s->body = text_digest(parts, COUNTOF(parts), digest);
	}
	return e;
}

static enum err refuse(struct ctx *cx, const struct submission *s, enum err e,
                       const struct submitted *done)
{
	if (e == ERR_NOT_FOUND && s->attempt_id.n)
		return ctx_fail(cx, e,
		                "You have no quiz with this "
		                "attempt_id.");
	if (e == ERR_INVALID && s->attempt_id.n)
		return bad_answer(cx, done->bad_answer, "UNKNOWN",
		                  "This question_id is none of this quiz, "
		                  "or stands twice.");
	return e;
}

struct handing_in {
	struct content *ct;
	struct ctx *cx;
	struct submission s;
	struct submitted done;
};

/* An idem_fn. */
static enum err hand_in(struct db *db, void *arg, struct reply *out)
{
	struct handing_in *h = arg;
	struct submitted *done = &h->done;
	struct buf *b = &out->body;
	int64_t hundredths;
	enum err e = records_submit(db, h->ct, h->cx, &h->s, done);

	if (e)
		return e;
	/* Two decimals: 66.66 reads better than 66.666666666666671. */
	hundredths = done->score * 10000 / done->total;
	mp_map(b, 6);
	mp_kv_text(b, "status", "success");
	mp_kv_i64(b, "mastery_level", done->mastery);
	mp_kv_i64(b, "score", done->score);
	mp_kv_i64(b, "total", done->total);
	mp_kv_f64(b, "percent", (double)hundredths / 100);
	mp_kv_bool(b, "earns_xp", done->earns);
	return OK;
}

enum err method_quiz_submit(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	const struct quiz_submit_in *r = in;
	struct handing_in h = {.ct = state,
	                       .cx = cx,
	                       .s = {.sub = cx->sub,
	                             .difficulty = r->difficulty,
	                             .now_ms = wall_ms()}};
	char digest[TEXT_DIGEST_MAX];
	enum err e = r->attempt_id.p ? read_attempt(cx, r, &h.s)
	                             : read_score(cx, r, digest, &h.s);

	if (e)
		return e;
	e = idem_write(h.ct->idem, cx, hand_in, &h, out);
	if (e)
		return refuse(cx, &h.s, e, &h.done);
	if (!out->replayed && !h.done.repeat)
		content_kick(h.ct);
	return OK;
}
