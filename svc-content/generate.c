/* Handlers that make material: outlines, presentations, quizzes. */
#include "svc-content/generate/generate.h"

#include "svc-content/erase.h"
#include "svc-content/methods.h"
#include "svc-content/offline/offline.h"
#include "svc-content/records.h"
#include "svc-content/text.h"

#include "common/base/clock.h"
#include "common/base/uuid.h"
#include "common/service/cached.h"

/* Keys carry the form of the value, so that a new form is never read as old. */
#define OUTLINE_FORM STR("outline 1")
#define QUIZ_FORM    STR("quiz 1")

static void pack_warnings(struct buf *b, const char *key,
                          const struct warnings *w)
{
	if (w->n == 0) {
		mp_kv_nil(b, key);
		return;
	}
	mp_kv_array(b, key, w->n);
	for (size_t i = 0; i < w->n; i++)
		mp_str(b, w->v[i]);
}

/* The body's language, else that of the request. */
static struct str language(const struct ctx *cx, struct str given)
{
	return given.n ? given : cx->lang;
}

static const char *source_of(const struct cache_info *info)
{
	return info->from == CACHE_FROM_LOADER ? "offline" : "cache";
}

/* --- outlines ------------------------------------------------------------------ */

struct outline_job {
	const struct content *ct;
	struct ctx *cx;
	struct str topic, lang;
	char key[TEXT_DIGEST_MAX];
};

static struct str outline_key(struct outline_job *j)
{
	/* Not the folded topic: the subtopics repeat it as it was written. */
	const struct str parts[] = {OUTLINE_FORM, str_trim(j->topic), j->lang};

	return text_digest(parts, COUNTOF(parts), j->key);
}

/* All pairs of the answer but its source. */
static enum err outline_load(void *arg, struct buf *out)
{
	const struct outline_job *j = arg;
	struct outline o;
	enum err e =
		offline_outline(j->ct->wn, j->cx->arena, j->topic, j->lang, &o);

	if (e)
		return e;
	mp_kv_array(out, "subtopics", OUTLINE_N);
	for (size_t i = 0; i < OUTLINE_N; i++)
		mp_str(out, o.subtopics[i]);
	mp_kv_i64(out, "count", OUTLINE_N);
	mp_kv_f64(out, "quality_score", o.score);
	pack_warnings(out, "warnings", &o.warnings);
	mp_kv_str(out, "topic", str_trim(j->topic));
	return out->failed ? ERR_NOMEM : OK;
}

static enum err outline_reply(struct reply *out, struct ctx *cx,
                              const struct cache_value *v,
                              const struct cache_info *info)
{
	cached_tell(out, cx, info);
	mp_map(&out->body, 6);
	mp_raw(&out->body, cache_bytes(v));
	mp_kv_text(&out->body, "source", source_of(info));
	return out->body.failed ? ERR_NOMEM : OK;
}

static struct outline_job outline_job(void *state, struct ctx *cx,
                                      const struct create_subtopics_in *in)
{
	return (struct outline_job){.ct = state,
	                            .cx = cx,
	                            .topic = in->topic,
	                            .lang = language(cx, in->language)};
}

bool content_outline_peek(void *state, struct ctx *cx, const void *in,
                          struct reply *out)
{
	struct outline_job j = outline_job(state, cx, in);
	AUTO(cache_value) v = NULL;
	struct cache_info info;

	return cache_peek(j.ct->cache, outline_key(&j), mono_ms(), &v, &info) ==
	               CACHE_HIT &&
	       !outline_reply(out, cx, v, &info);
}

enum err generate_subtopics(struct content *ct, struct ctx *cx, const void *in,
                            const struct sink *sink, struct reply *out)
{
	struct outline_job j = outline_job(ct, cx, in);
	struct cache_want want = {
		.key = outline_key(&j),
		.ttl_ms = j.ct->outline_ttl_ms,
		.now_ms = mono_ms(),
		.deadline_ms = cx->deadline_ms,
		.load = outline_load,
		.arg = &j,
		.tags_n = 1,
	};
	AUTO(cache_value) v = NULL;
	char tag[TEXT_DIGEST_MAX];
	struct cache_info info;
	struct str key;
	enum err e = text_key(cx->arena, j.topic, &key);

	want.tags[0] = content_topic_tag(key, tag);
	if (!e)
		e = cached_load(cx, j.ct->cache, &want, &v, &info);
	if (!e)
		e = outline_reply(out, cx, v, &info);
	if (!e)
		sink_item(sink, "subtopics", 0, buf_view(&out->body));
	return e;
}

/* --- presentations ---------------------------------------------------------------- */

static void pack_lesson(struct buf *b, struct str subtopic,
                        const struct lesson *l)
{
	mp_map(b, 8);
	mp_kv_str(b, "subtopic", subtopic);
	mp_kv_str(b, "explanation", l->explanation);
	mp_kv_str(b, "real_world_application", l->application);
	mp_kv_str(b, "youtube_search_query", l->search);
	mp_kv_nil(b, "error");
	mp_kv_f64(b, "quality_score", l->score);
	pack_warnings(b, "warnings", &l->warnings);
	mp_kv_text(b, "source", "offline");
}

struct showing {
	struct ctx *cx;
	const struct create_presentation_in *in;
	const struct lesson *lessons;
	const struct sink *sink;
	struct presentation p;
	struct str keys[FOCUS_MAX];
};

/* An idem_fn. */
static enum err show(struct db *db, void *arg, struct reply *out)
{
	const struct showing *sh = arg;
	const struct strs *focus = &sh->in->focus;
	struct buf *b = &out->body;

	mp_map(b, 4);
	mp_kv_array(b, "explanations", focus->n);
	for (size_t i = 0; i < focus->n; i++)
		pack_lesson(b, focus->v[i], &sh->lessons[i]);
	mp_kv_i64(b, "success_count", (int64_t)focus->n);
	mp_kv_i64(b, "failed_count", 0);
	mp_kv_text(b, "source", "offline");
	return records_present(db, sh->cx, &sh->p);
}

static enum err note_presentation(struct content *ct, struct showing *sh,
                                  struct reply *out)
{
	const struct create_presentation_in *r = sh->in;
	struct presentation *p = &sh->p;
	enum err e = text_key(sh->cx->arena, r->topic, &p->topic.key);

	p->sub = sh->cx->sub;
	p->topic.text = str_trim(r->topic);
	p->subtopic_keys = sh->keys;
	p->now_ms = wall_ms();
	for (size_t i = 0; i < r->focus.n && p->n < FOCUS_MAX && !e; i++)
		e = text_key(sh->cx->arena, r->focus.v[i], &sh->keys[p->n++]);
	return e ? e : idem_write(ct->idem, sh->cx, show, sh, out);
}

static enum err tell_lessons(const struct showing *sh)
{
	const struct strs *focus = &sh->in->focus;
	AUTO_BUF b = {0};

	for (size_t i = 0; sh->sink && i < focus->n; i++) {
		buf_clear(&b);
		pack_lesson(&b, focus->v[i], &sh->lessons[i]);
		if (b.failed)
			return ERR_NOMEM;
		sink_item(sh->sink, "explanation", i, buf_view(&b));
	}
	return OK;
}

enum err generate_presentation(struct content *ct, struct ctx *cx,
                               const void *in, const struct sink *sink,
                               struct reply *out)
{
	const struct create_presentation_in *r = in;
	const struct lesson_ask ask = {
		.topic = r->topic,
		.lang = language(cx, r->language),
		.level = level_from(r->educationLevel),
		.detail = detail_from(r->levelOfDetail),
		.style = style_from(r->learningStyle),
	};
	struct lesson *lessons =
		arena_alloc(cx->arena, r->focus.n * sizeof(*lessons));
	struct showing sh = {
		.cx = cx, .in = r, .lessons = lessons, .sink = sink};
	enum err e;

	if (!lessons)
		return ERR_NOMEM;
	e = offline_lessons(ct->wn, cx->arena, &ask, r->focus.v, r->focus.n,
	                    lessons);
	if (!e)
		e = tell_lessons(&sh);
	return e ? e : note_presentation(ct, &sh, out);
}

/* --- quizzes ------------------------------------------------------------------------ */

struct quiz_job {
	const struct content *ct;
	struct ctx *cx;
	struct quiz_ask ask;
};

/* [[text, [options], correct, why] ...] */
static enum err quiz_load(void *arg, struct buf *out)
{
	const struct quiz_job *j = arg;
	struct question *q = arena_alloc(j->cx->arena, QUIZ_MAX * sizeof(*q));
	enum err e = q ? offline_quiz(j->ct->wn, j->cx->arena, &j->ask, q)
	               : ERR_NOMEM;

	if (e)
		return e;
	mp_array(out, j->ask.count);
	for (size_t i = 0; i < j->ask.count; i++) {
		mp_array(out, 4);
		mp_str(out, q[i].text);
		mp_array(out, OPTIONS_N);
		for (size_t k = 0; k < OPTIONS_N; k++)
			mp_str(out, q[i].options[k]);
		mp_i64(out, (int64_t)q[i].correct);
		mp_str(out, q[i].why);
	}
	return out->failed ? ERR_NOMEM : OK;
}

/* The cache holds what quiz_load() wrote; anything else is our mistake. */
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

static void pack_question(struct buf *b, const struct question *q,
                          const struct attempt *at, size_t i,
                          const char *source)
{
	mp_map(b, 7);
	mp_kv_str(b, "question", q->text);
	mp_kv_array(b, "options", OPTIONS_N);
	for (size_t k = 0; k < OPTIONS_N; k++)
		mp_str(b, q->options[k]);
	mp_kv_str(b, "correct_answer", q->options[q->correct]);
	mp_kv_str(b, "explanation", q->why);
	mp_kv_text(b, "attempt_id", at->id);
	mp_kv_text(b, "question_id", at->questions[i].id);
	mp_kv_text(b, "source", source);
}

struct handing_out {
	struct str quiz; /* as quiz_load() wrote it */
	const char *source;
	struct attempt *at;
};

/* An idem_fn.  Every time a new attempt, though the questions may come from the
 * cache. */
static enum err hand_out(struct db *db, void *arg, struct reply *out)
{
	const struct handing_out *h = arg;
	struct attempt *at = h->at;
	struct mp m = mp_open(h->quiz);
	uint32_t n;

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
		pack_question(&out->body, &q, at, at->n, h->source);
	}
	return records_attempt(db, at);
}

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

enum err generate_quiz(struct content *ct, struct ctx *cx, const void *in,
                       const struct sink *sink, struct reply *out)
{
	const struct quiz_generate_in *r = in;
	struct quiz_job j = {
		.ct = ct,
		.cx = cx,
		.ask = {.topic = r->topic,
	                .subtopic = r->subtopic,
	                .level = level_from(r->education),
	                .count = (size_t)r->count},
	};
	const char marks[] = {(char)('0' + j.ask.level), (char)r->count};
	const struct str parts[] = {QUIZ_FORM,
	                            str_trim(r->topic),
	                            str_trim(r->subtopic),
	                            {marks, sizeof(marks)}};
	char key[TEXT_DIGEST_MAX];
	char tag[TEXT_DIGEST_MAX];
	struct cache_want want = {
		.key = text_digest(parts, COUNTOF(parts), key),
		.ttl_ms = j.ct->quiz_ttl_ms,
		.now_ms = mono_ms(),
		.deadline_ms = cx->deadline_ms,
		.load = quiz_load,
		.arg = &j,
		.tags_n = 1,
	};
	struct attempt *at = arena_alloc(cx->arena, sizeof(*at));
	AUTO(cache_value) v = NULL;
	struct cache_info info;
	enum err e;

	if (!at)
		return ERR_NOMEM;
	*at = (struct attempt){.sub = cx->sub,
	                       .topic.text = str_trim(r->topic),
	                       .subtopic.text = str_trim(r->subtopic),
	                       .now_ms = wall_ms()};
	e = text_key(cx->arena, r->topic, &at->topic.key);
	if (!e)
		e = text_key(cx->arena, r->subtopic, &at->subtopic.key);
	want.tags[0] = content_topic_tag(at->topic.key, tag);
	if (!e)
		e = cached_load(cx, j.ct->cache, &want, &v, &info);
	if (!e) {
		struct handing_out h = {cache_bytes(v), source_of(&info), at};

		e = idem_write(j.ct->idem, cx, hand_out, &h, out);
	}
	if (!e && !out->replayed)
		cached_tell(out, cx, &info);
	if (!e)
		tell_questions(sink, buf_view(&out->body));
	return e;
}

/* --- advice --------------------------------------------------------------------------- */

enum err generate_recommendations(struct content *ct, struct ctx *cx,
                                  const void *in, const struct sink *sink,
                                  struct reply *out)
{
	const struct recommendations_in *r = in;
	struct advice advice[ADVICE_N];
	struct str key, *done;
	size_t n;
	enum err e = text_key(cx->arena, r->topic, &key);

	if (!e)
		e = records_done(ct, cx, cx->sub, key, &done, &n);
	if (!e)
		e = offline_advice(ct->wn, cx->arena, r->topic, done, n,
		                   advice);
	if (e)
		return e;
	mp_array(&out->body, ADVICE_N);
	for (size_t i = 0; i < ADVICE_N; i++) {
		size_t from = out->body.n;

		mp_map(&out->body, 2);
		mp_kv_str(&out->body, "subtopic", advice[i].subtopic);
		mp_kv_str(&out->body, "reason", advice[i].reason);
		if (!out->body.failed)
			sink_item(sink, "recommendation", i,
			          (struct str){out->body.p + from,
			                       out->body.n - from});
	}
	return out->body.failed ? ERR_NOMEM : OK;
}

/* --- without anybody who listens -------------------------------------------------------- */

enum err method_create_subtopics(void *state, struct ctx *cx, const void *in,
                                 struct reply *out)
{
	return generate_subtopics(state, cx, in, NULL, out);
}

enum err method_create_presentation(void *state, struct ctx *cx, const void *in,
                                    struct reply *out)
{
	return generate_presentation(state, cx, in, NULL, out);
}

enum err method_quiz_generate(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	return generate_quiz(state, cx, in, NULL, out);
}

enum err method_recommendations(void *state, struct ctx *cx, const void *in,
                                struct reply *out)
{
	return generate_recommendations(state, cx, in, NULL, out);
}
