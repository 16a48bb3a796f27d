/* Handlers that take or make pictures (docs/images.md). */
#include "svc-content/content.h"
#include "svc-content/image/decode.h"
#include "svc-content/image/jpeg.h"
#include "svc-content/image/topic.h"
#include "svc-content/methods.h"
#include "svc-content/text.h"

#include "common/base/clock.h"
#include "common/service/cached.h"

#include <stdio.h>

#define UPLOAD_MAX ((size_t)10 << 20)
/* What is kept for the answer when a model has been asked to the end. */
#define SPARE_MS 2000
#define ROUTE    "image2topic"
/* Of others, that are waited for. */
#define FLIGHTS_MAX 3

/* Keys carry the form of the value, so that a new form is never read as old. */
#define TOPIC_FORM STR("image topic 1")

/* --- the upload ----------------------------------------------------------------- */

static enum err check_upload(struct ctx *cx, const struct image2topic_in *in)
{
	const struct file *f = &in->image;

	if (!f->data.p && in->imagePath.n)
		return ctx_fail(cx, ERR_UPLOAD,
		                "imagePath is an address that only the browser "
		                "knows. Send the file itself, as "
		                "multipart/form-data in the field \"image\".");
	if (!f->data.p)
		return ctx_fail(cx, ERR_UPLOAD,
		                "Send the picture as multipart/form-data, as a "
		                "file in the field \"image\".");
	if (f->name.n == 0)
		return ctx_fail(cx, ERR_UPLOAD, "The file has no name.");
	if (f->data.n == 0)
		return ctx_fail(cx, ERR_UPLOAD, "The file is empty.");
	if (f->data.n > UPLOAD_MAX)
		return ctx_fail(cx, ERR_FILE_TOO_LARGE,
		                "The file is larger than 10 MB.");
	return OK;
}

static enum err tell_fault(struct ctx *cx, const struct content *ct,
                           enum picture_fault f)
{
	switch (f) {
	case PICTURE_OTHER:
	case PICTURE_UNSUPPORTED:
		return ERR_FILE_TYPE;
	case PICTURE_LARGE:
		return ctx_fail(cx, ERR_FILE_TOO_LARGE,
		                "The picture has too many pixels: at most %llu "
		                "million are taken, and %d in a row or column.",
		                (unsigned long long)ct->image_pixels / 1000000,
		                PICTURE_SIDE_MAX);
	case PICTURE_SLOW:
		return clock_left(cx->deadline_ms, mono_ms()) == 0
		               ? ERR_TIMEOUT
		               : ctx_fail(cx, ERR_UPLOAD,
		                          "Decoding the picture takes too "
		                          "long. Save it anew, or smaller.");
	case PICTURE_MEMORY:
		return ctx_fail(cx, ERR_FILE_TOO_LARGE,
		                "Decoding the picture takes too much memory. "
		                "Save it smaller.");
	case PICTURE_OK:
		return OK;
	case PICTURE_BROKEN:
	case PICTURE_FAULTS:
		break;
	}
	return ctx_fail(cx, ERR_UPLOAD,
	                "The picture is damaged or not complete.");
}

/* Whose fault it is that no model has answered: the person's, or that of time or
 * memory, is told; else the name has to do. */
static bool is_told(enum err e)
{
	return e == ERR_QUOTA || e == ERR_BAD_TOKEN || e == ERR_LOGIN_NEEDED ||
	       e == ERR_NOMEM || e == ERR_DATABASE;
}

/* --- asking a model ---------------------------------------------------------------- */

struct topic_job {
	struct content *ct;
	struct ctx *cx;
	struct str jpeg, lang;
	bool asked; /* by this request, and not by one that it waited for */
	struct quota_hold hold;
	char key[TEXT_DIGEST_MAX];
};

/* Everything that changes the answer: the pixels that a model sees, not the file
 * that they came in. */
static struct str topic_key(struct topic_job *j, const struct picture *p)
{
	char size[32];
	struct str parts[5 + 2 * LLM_PROVIDERS_MAX] = {
		TOPIC_FORM, STR(TOPIC_VERSION),
		j->lang,    {(const char *)p->rgb, picture_bytes(p)},
		{size, 0},
	};
	size_t n = 5;

	parts[4].n =
		(size_t)snprintf(size, sizeof(size), "%u x %u", p->w, p->h);
	for (unsigned i = 0; i < llm_providers(j->ct->llm); i++) {
		struct llm_provider is;

		llm_provider(j->ct->llm, i, &is);
		parts[n++] = str_from(is.vision ? is.name : "");
		parts[n++] = str_from(is.vision ? is.model : "");
	}
	return text_digest(parts, n, j->key);
}

struct question_to {
	unsigned first;   /* the provider */
	struct str wrong; /* what it said before; n 0: nothing */
	const char *why;  /* what was wrong with that */
};

static enum err ask(struct topic_job *j, const struct question_to *q,
                    struct llm_call **call)
{
	struct llm_message m[4] = {
		{.role = LLM_SYSTEM, .text = topic_system()},
		{.role = LLM_USER,
	         .image = j->jpeg,
	         .image_type = STR("image/jpeg")},
		{.role = LLM_ASSISTANT, .text = q->wrong},
		{.role = LLM_USER},
	};
	struct llm_ask a = {
		.messages = m,
		.messages_n = q->wrong.n ? 4 : 2,
		.endpoint = ROUTE,
		.json = true,
		.schema_name = STR(TOPIC_SCHEMA),
		.schema = topic_schema(),
		.max_tokens = TOPIC_TOKENS,
		.temperature = 0.2,
		.deadline_ms = j->cx->deadline_ms - SPARE_MS,
		.first = q->first,
	};
	AUTO_BUF again = {0};
	enum err e = topic_user(j->cx->arena, j->lang, &m[1].text);

	if (q->wrong.n)
		buf_printf(&again,
		           "That is no use: %s. Answer again, in the same "
		           "shape.",
		           q->why);
	m[3].text = buf_view(&again);
	if (!e && again.failed)
		e = ERR_NOMEM;
	return e ? e : llm_run(j->ct->llm, &a, call);
}

/*
 * One provider, and once more with what was wrong; *next is the one behind it.
 * out->text.p stays NULL where it is to be asked; else an error: none is left.
 */
static enum err ask_provider(struct topic_job *j, unsigned *next,
                             struct topic *out)
{
	struct question_to q = {.first = *next};
	enum err e = OK;

	for (unsigned round = 0; round < 2 && !e; round++) {
		AUTO(llm_call) call = NULL;
		const struct llm_result *r;
		struct topic t;

		e = ask(j, &q, &call);
		if (e)
			return e;
		r = llm_result(call);
		quota_used(&j->hold, r->provider_name, r->model, r->tokens_in,
		           r->tokens_out, r->cost);
		if (r->err)
			return out->text.p ? OK : r->err;
		*next = r->provider + 1;
		if (r->finish != LLM_STOP && r->finish != LLM_OTHER)
			return OK; /* truncated, filtered, refused */
		e = topic_read(j->cx->arena, r->text, &t, &q.why);
		if (!e && t.text.p && (!out->text.p || !q.why))
			*out = t;
		if (!q.why)
			return e;
		q.first = r->provider;
		q.wrong = arena_str(j->cx->arena, r->text);
		if (q.wrong.n == 0)
			return e;
	}
	return e;
}

static void pack_topic(struct buf *b, const struct topic *t)
{
	mp_kv_str(b, "generated_topic", t->text);
	mp_kv_f64(b, "quality_score", t->score);
	if (t->warnings.n == 0)
		mp_kv_nil(b, "warnings");
	else
		mp_kv_array(b, "warnings", t->warnings.n);
	for (size_t i = 0; i < t->warnings.n; i++)
		mp_str(b, t->warnings.v[i]);
}

/* A cache_want's load: all pairs of the answer but its source. */
static enum err topic_load(void *arg, struct buf *out)
{
	struct topic_job *j = arg;
	const struct quota_ask want = {ROUTE, TOPIC_ESTIMATE};
	struct topic t = {0};
	unsigned next = 0;
	enum err e = quota_hold(j->ct->quota, j->cx, &want, &j->hold), settled;

	j->asked = true;
	if (e)
		return e;
	if (j->hold.offline)
		e = ERR_UNAVAILABLE;
	while (!e && !t.text.p)
		e = next < llm_providers(j->ct->llm)
		            ? ask_provider(j, &next, &t)
		            : ERR_UNAVAILABLE;
	settled = quota_settle(j->ct->quota, j->cx, &j->hold);
	if (!e)
		e = settled;
	if (e)
		return e;
	pack_topic(out, &t);
	return out->failed ? ERR_NOMEM : OK;
}

static bool anyone_sees(const struct llm *l)
{
	for (unsigned i = 0; i < llm_providers(l); i++) {
		struct llm_provider is;

		llm_provider(l, i, &is);
		if (is.vision)
			return true;
	}
	return false;
}

static enum err ask_models(struct topic_job *j, const struct picture *p,
                           struct reply *out)
{
	const struct cache_want want = {
		.key = topic_key(j, p),
		.ttl_ms = j->ct->image_ttl_ms,
		.now_ms = mono_ms(),
		.deadline_ms = j->cx->deadline_ms,
		.load = topic_load,
		.arg = j,
	};
	AUTO(cache_value) v = NULL;
	AUTO_BUF jpeg = {0};
	struct cache_info info;
	enum err e = jpeg_write(p, &jpeg);

	j->jpeg = buf_view(&jpeg);
	/* What is wrong with whoever was waited for is not wrong with us. */
	for (unsigned i = 0; i < FLIGHTS_MAX && !e && !v; i++) {
		e = cached_load(j->cx, j->ct->cache, &want, &v, &info);
		if (is_told(e) && !j->asked)
			e = OK;
	}
	if (e || !v)
		return e ? e : ERR_BUSY;
	cached_tell(out, j->cx, &info);
	quota_tell(&j->hold, j->cx, out);
	mp_map(&out->body, 4);
	mp_raw(&out->body, cache_bytes(v));
	mp_kv_text(&out->body, "source",
	           info.from == CACHE_FROM_LOADER ? "llm" : "cache");
	return out->body.failed ? ERR_NOMEM : OK;
}

/* --- without a model ------------------------------------------------------------------ */

/* why: of the models; ERR_NOT_BUILT where none sees pictures. */
static enum err no_topic(const struct topic_job *j, enum err why)
{
	if (why == ERR_NOT_BUILT)
		return ctx_fail(j->cx, why,
		                "No language model that sees pictures is set "
		                "up here, and the file's name says nothing "
		                "either. Type the topic.");
	if (j->hold.offline)
		return ctx_fail(j->cx, ERR_QUOTA, "%s", j->hold.warning);
	return ctx_fail(j->cx, ERR_UNAVAILABLE,
	                "No language model could say what the picture is "
	                "about. Try again later, or type the topic.");
}

static enum err use_name(const struct topic_job *j, struct str filename,
                         enum err why, struct reply *out)
{
	struct topic t;
	enum err e = topic_of_name(j->cx->arena, filename, &t);

	if (e)
		return e;
	if (!t.text.p)
		return no_topic(j, why);
	if (j->hold.offline && j->hold.warning[0])
		t.warnings.v[t.warnings.n++] = str_from(j->hold.warning);
	mp_map(&out->body, 4);
	pack_topic(&out->body, &t);
	mp_kv_text(&out->body, "source", "offline");
	return out->body.failed ? ERR_NOMEM : OK;
}

/* Two letters, so that it is nothing else that gets into a prompt. */
static struct str language(const struct ctx *cx, struct str given)
{
	for (size_t i = 0; i < 2; i++)
		if (given.n < 2 || given.p[i] < 'a' || given.p[i] > 'z')
			return cx->lang;
	return given.n == 2 || given.p[2] == '-' ? (struct str){given.p, 2}
	                                         : cx->lang;
}

enum err method_image2topic(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	const struct image2topic_in *r = in;
	struct content *ct = state;
	struct topic_job j = {
		.ct = ct,
		.cx = cx,
		.lang = language(cx, r->language),
	};
	enum picture_fault fault = PICTURE_OK;
	AUTO_PICTURE p = {0};
	enum err e = check_upload(cx, r);

	if (!e)
		e = decode_picture(ct->decoder, r->image.data, cx->deadline_ms,
		                   &fault, &p);
	if (!e)
		e = tell_fault(cx, ct, fault);
	if (e)
		return e;
	e = anyone_sees(ct->llm) ? ask_models(&j, &p, out) : ERR_NOT_BUILT;
	return e && !is_told(e) ? use_name(&j, r->image.name, e, out) : e;
}

/* --- pictures out of words ---------------------------------------------------------------- */

enum err method_generate_image(void *state, struct ctx *cx, const void *in,
                               struct reply *out)
{
	(void)state;
	(void)in;
	(void)out;
	return ctx_fail(cx, ERR_NOT_BUILT,
	                "No provider that is set up here makes pictures.");
}
