/* Questions: quiz/generate. */
#include "svc-content/generate/generate.h"
#include "svc-content/generate/pack.h"
#include "svc-content/methods.h"
#include "svc-content/offline/offline.h"
#include "svc-content/offline/subject.h"
#include "svc-content/records.h"
#include "svc-content/text.h"

#include "common/base/clock.h"
#include "common/base/uuid.h"
#include "common/service/cached.h"

/* The body: [[[text, [options], correct, why] ...], warnings] */
static void pack_questions(struct buf *body, const struct question *q, size_t n,
                           const struct warnings *w)
{
	AUTO_BUF b = {0};

	mp_array(&b, n);
	for (size_t i = 0; i < n; i++) {
		mp_array(&b, 4);
		mp_str(&b, q[i].text);
		mp_array(&b, OPTIONS_N);
		for (size_t k = 0; k < OPTIONS_N; k++)
			mp_str(&b, q[i].options[k]);
		mp_i64(&b, (int64_t)q[i].correct);
		mp_str(&b, q[i].why);
	}
	pack_body(body, &b, w);
}

static enum err quiz_read(const struct piece *p, struct arena *a,
                          struct str text, struct str mark,
                          struct complaint *why, struct buf *body)
{
	const struct warnings none = {0};
	struct question q[QUIZ_MAX];
	enum err e = answer_quiz(a, text, mark, p->items, q, why);

	if (!e && !why->n)
		pack_questions(body, q, p->items, &none);
	return e ? e : body->failed ? ERR_NOMEM : OK;
}

static enum err quiz_offline(const struct content *ct, struct arena *a,
                             struct piece *const *p, size_t n)
{
	struct question *q = arena_alloc(a, QUIZ_MAX * sizeof(*q));
	enum err e = q ? OK : ERR_NOMEM;

	for (size_t i = 0; i < n && !e; i++) {
		const struct quiz_ask *ask = p[i]->ask;
		struct warnings w = {0};
		AUTO_BUF body = {0};

		e = offline_quiz(ct->wn, a, ask, q);
		if (e)
			break;
		warnings_language(&w, p[i]->lang);
		if (p[i]->note.n)
			warnings_add(&w, p[i]->note);
		pack_questions(&body, q, ask->count, &w);
		e = text_keep(a, &body, &p[i]->body);
	}
	return e;
}

const struct shape shape_quiz = {
	.template = TEMPLATE_QUIZ,
	.route = "quiz/generate",
	.read = quiz_read,
	.offline = quiz_offline,
};

/* --- handing out -------------------------------------------------------------------- */

/* The cache holds what pack_questions() wrote; anything else is our mistake. */
static bool quiz_item(struct mp *m, struct question *q)
{
	uint32_t fields, options;
	int64_t correct;

	if (!mp_get_array(m, &fields) || fields != 4 ||
	    !mp_get_str(m, &q->text) || !mp_get_array(m, &options) ||
	    options != OPTIONS_N)
		return false;
	for (size_t i = 0; i < OPTIONS_N; i++)
		if (!mp_get_str(m, &q->options[i]))
			return false;
	if (!mp_get_i64(m, &correct) || correct < 0 || correct >= OPTIONS_N ||
	    !mp_get_str(m, &q->why))
		return false;
	q->correct = (size_t)correct;
	return true;
}

struct quiz_job {
	struct quiz_ask ask;
	struct slot slots[4];
	struct piece piece;
	struct fetch fetch;
	struct attempt at;
};

static void pack_question(struct buf *b, const struct question *q,
                          const struct quiz_job *j, size_t i,
                          struct str warnings)
{
	mp_map(b, 8);
	mp_kv_str(b, "question", q->text);
	mp_kv_array(b, "options", OPTIONS_N);
	for (size_t k = 0; k < OPTIONS_N; k++)
		mp_str(b, q->options[k]);
	mp_kv_str(b, "correct_answer", q->options[q->correct]);
	mp_kv_str(b, "explanation", q->why);
	mp_kv_text(b, "attempt_id", j->at.id);
	mp_kv_text(b, "question_id", j->at.questions[i].id);
	pack_warnings(b, warnings, j->fetch.warning);
	mp_kv_text(b, "source", source_name(j->piece.source));
}

/* An idem_fn.  Every time a new attempt, though the questions may come from the
 * cache. */
static enum err hand_out(struct db *db, void *arg, struct reply *out)
{
	struct quiz_job *j = arg;
	struct attempt *at = &j->at;
	struct str questions, warnings;
	struct mp m;
	uint32_t n;

	if (!pack_open(j->piece.body, &questions, &warnings))
		return ERR_INTERNAL;
	m = mp_open(questions);
	if (!mp_get_array(&m, &n) || n > QUIZ_MAX)
		return ERR_INTERNAL;
	uuid7(at->id);
	mp_array(&out->body, n);
	for (at->n = 0; at->n < n; at->n++) {
		struct question q;
		struct attempt_question *kept = &at->questions[at->n];

		if (!quiz_item(&m, &q))
			return ERR_INTERNAL;
		uuid7(kept->id);
		kept->correct = q.options[q.correct];
		kept->correct_index = q.correct;
		pack_question(&out->body, &q, j, at->n, warnings);
	}
	return records_attempt(db, at);
}

/* Only now: an attempt that was not committed would be no use. */
static void tell_questions(const struct sink *sink, struct str body)
{
	struct mp m = mp_open(body);
	struct str one;
	uint32_t n;

	if (!sink || !mp_get_array(&m, &n))
		return;
	for (uint32_t i = 0; i < n && mp_skip(&m, &one); i++)
		sink_item(sink, "question", i, one);
}

static enum err prepare(struct quiz_job *j, struct content *ct, struct ctx *cx,
                        const struct quiz_generate_in *in)
{
	struct str lang = pack_language(cx, in->language);
	enum err e;

	j->ask = (struct quiz_ask){.topic = in->topic,
	                           .subtopic = in->subtopic,
	                           .level = level_from(in->education),
	                           .count = (size_t)in->count};
	j->slots[0] = (struct slot){.name = "topic", .text = in->topic};
	j->slots[1] = (struct slot){.name = "subtopic", .text = in->subtopic};
	j->slots[2] =
		(struct slot){.name = "education",
	                      .text = str_from(level_words(j->ask.level))};
	j->slots[3] = (struct slot){.name = "count", .number = in->count};
	j->piece = (struct piece){.shape = &shape_quiz,
	                          .ask = &j->ask,
	                          .items = j->ask.count,
	                          .lang = lang,
	                          .slots = j->slots,
	                          .slots_n = COUNTOF(j->slots),
	                          .ttl_ms = ct->quiz_ttl_ms,
	                          .keep_offline = true};
	j->at = (struct attempt){.sub = cx->sub,
	                         .topic.text = str_trim(in->topic),
	                         .subtopic.text = str_trim(in->subtopic),
	                         .now_ms = wall_ms()};
	j->fetch =
		(struct fetch){.ct = ct, .cx = cx, .pieces = &j->piece, .n = 1};
	e = text_key(cx->arena, in->topic, &j->at.topic.key);
	if (!e)
		e = text_key(cx->arena, in->subtopic, &j->at.subtopic.key);
	j->piece.topic_key = j->at.topic.key;
	return e;
}

enum err generate_quiz(struct content *ct, struct ctx *cx, const void *in,
                       const struct sink *sink, struct reply *out)
{
	struct quiz_job *j = arena_alloc(cx->arena, sizeof(*j));
	enum err e = j ? prepare(j, ct, cx, in) : ERR_NOMEM;

	if (e)
		return e;
	j->fetch.sink = sink;
	e = pieces_fetch(&j->fetch);
	if (!e)
		e = idem_write(ct->idem, cx, hand_out, j, out);
	if (e)
		return e;
	if (!out->replayed && j->fetch.cached)
		cached_tell(out, cx, &j->fetch.info);
	if (!out->replayed && j->fetch.hold)
		quota_tell(j->fetch.hold, cx, out);
	tell_questions(sink, buf_view(&out->body));
	return OK;
}
