#include "svc-content/erase.h"

#include "svc-content/content.h"
#include "svc-content/stmts.h"

struct str content_topic_tag(struct str key, char out[TEXT_DIGEST_MAX])
{
	const struct str parts[] = {STR("topic"), key};

	return text_digest(parts, COUNTOF(parts), out);
}

/* An eraser's run: questions name their attempt. */
static enum err erase_questions(void *arg, struct db *db,
                                const struct erasee *who, int64_t *rows)
{
	const struct db_val v[] = {DB_STR(who->sub)};

	(void)arg;
	return db_change(db, STMT(QUESTIONS_OF), v, COUNTOF(v), rows);
}

static enum err erase_job_events(void *arg, struct db *db,
                                 const struct erasee *who, int64_t *rows)
{
	const struct db_val v[] = {DB_STR(who->sub)};

	(void)arg;
	return db_change(db, STMT(JOB_EVENTS_OF), v, COUNTOF(v), rows);
}

static const struct eraser erasers[] = {
	ERASER_BY("job_events", erase_job_events),
	ERASER("content", jobs),
	ERASER_BY("questions", erase_questions),
	ERASER("content", attempts),
	ERASER("content", presentation_subtopics),
	ERASER("content", presentations),
	ERASER("content", results),
	ERASER("content", mastery),
	ERASER("content", earned),
	ERASER("content", finished),
	ERASER("content", restricted),
	ERASER("content", quota_holds),
	ERASER("content", model_usage),
	ERASER("content", quota_people),
	ERASER("content", reactions),
	ERASER("content", site_events),
	ERASER("content", site_consent),
};

struct topics {
	struct ctx *cx;
	struct erase_traces *out;
};

static enum err take_topic(void *arg, const struct db_row *row)
{
	struct topics *t = arg;
	struct erase_traces *out = t->out;
	char tag[TEXT_DIGEST_MAX];
	struct str text = db_row_str(row, 0);

	if (out->tags_n == ERASE_TRACES_MAX)
		return OK;
	out->tags[out->tags_n] =
		arena_str(t->cx->arena,
	                  content_topic_tag(db_row_str(row, 1), tag));
	if (!out->tags[out->tags_n++].p)
		return ERR_NOMEM;
	if (text.n < ERASE_WORD_MIN)
		return OK;
	out->words[out->words_n] = arena_str(t->cx->arena, text);
	return out->words[out->words_n++].p ? OK : ERR_NOMEM;
}

static enum err traces(void *arg, struct ctx *cx, const struct erasee *who,
                       struct erase_traces *out)
{
	struct content *ct = arg;
	struct topics t = {cx, out};
	const struct db_val v[] = {DB_STR(who->sub)};
	const struct db_sink sink = {take_topic, &t};

	return db_ask(ct->pool, cx, STMT(TOPICS_OF), v, COUNTOF(v), &sink);
}

const struct erase_def content_erase = {
	.erasers = erasers,
	.erasers_n = COUNTOF(erasers),
	.traces = traces,
};
