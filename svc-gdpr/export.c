/*
 * "gdpr.export" and "gdpr.data": everything that all services hold about a
 * person, gathered, written as a document, and only then sent: complete, or an
 * error that names the store which is missing (design D43).
 */
#include "svc-gdpr/export.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/bus/stream.h"
#include "common/codec/mp.h"
#include "svc-gdpr/audit.h"
#include "svc-gdpr/document.h"
#include "svc-gdpr/methods.h"

#include <stdio.h>
#include <stdlib.h>

/* --- who may ------------------------------------------------------------------------- */

struct exports {
	pthread_mutex_t lock;
	pthread_cond_t left;
	size_t at_once, running, waiting;
	char sub[EXPORTS_MAX]
		[ENTRY_SUB_MAX + 1]; /* of those running; "": free */
};

struct exports *exports_new(size_t at_once)
{
	struct exports *x = calloc(1, sizeof(*x));
	pthread_condattr_t attr;

	if (!x)
		return NULL;
	x->at_once = at_once < EXPORTS_MAX ? at_once : EXPORTS_MAX;
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&x->left, &attr);
	(void)pthread_condattr_destroy(&attr);
	(void)pthread_mutex_init(&x->lock, NULL);
	return x;
}

void exports_free(struct exports *x)
{
	if (!x)
		return;
	(void)pthread_cond_destroy(&x->left);
	(void)pthread_mutex_destroy(&x->lock);
	free(x);
}

static char *place_of(struct exports *x, struct str sub)
{
	for (size_t i = 0; i < x->at_once; i++)
		if (str_eq(str_from(x->sub[i]), sub))
			return x->sub[i];
	return NULL;
}

static bool must_wait(struct exports *x, struct str sub)
{
	return x->running == x->at_once || place_of(x, sub);
}

/* Under the lock. */
static bool wait_for_place(struct exports *x, struct str sub,
                           uint64_t deadline_ms)
{
	const struct timespec ts = {(time_t)(deadline_ms / 1000),
	                            (long)(deadline_ms % 1000) * 1000000};
	int r = 0;

	if (x->waiting == x->at_once)
		return false;
	x->waiting++;
	while (!r && must_wait(x, sub))
		r = pthread_cond_timedwait(&x->left, &x->lock, &ts);
	x->waiting--;
	return !must_wait(x, sub);
}

bool exports_enter(struct exports *x, struct str sub, uint64_t deadline_ms)
{
	GUARD(&x->lock);

	if (must_wait(x, sub) && !wait_for_place(x, sub, deadline_ms))
		return false;
	(void)snprintf(place_of(x, STR("")), sizeof(x->sub[0]), "%.*s",
	               STR_FMT(sub));
	x->running++;
	return true;
}

void exports_leave(struct exports *x, struct str sub)
{
	GUARD(&x->lock);
	char *place = place_of(x, sub);

	if (!place)
		return;
	place[0] = '\0';
	x->running--;
	(void)pthread_cond_broadcast(&x->left);
}

/* --- one export -------------------------------------------------------------------------- */

#define DATE_LEN 10

struct form {
	const char *ending, *shown;
	enum err (*write)(struct document *d);
};
static const struct form json = {"json", "attachment", document_json};
static const struct form html = {"html", "inline", document_html};

/* "attachment; filename=..._ada_20260131.json" */
static struct str name_file(struct ctx *cx, const char *prefix,
                            const struct form *form, int64_t now_ms)
{
	char iso[CLOCK_ISO_MAX], date[DATE_LEN + 1], text[256];
	struct str day = clock_iso(now_ms, iso);
	size_t n = 0;

	for (size_t i = 0; i < day.n && i < DATE_LEN; i++)
		if (day.p[i] != '-')
			date[n++] = day.p[i];
	date[n] = '\0';
	/* A handle has no character that a header could mistake. */
	(void)snprintf(text, sizeof(text), "%s; filename=\"%s_%.*s_%s.%s\"",
	               form->shown, prefix, STR_FMT(cx->hnd), date,
	               form->ending);
	return arena_str(cx->arena, str_from(text));
}

static enum err send(struct ctx *cx, struct spool *from, struct str name,
                     struct reply *out)
{
	struct spool_in in = {.s = from, .end = from->n};
	struct str block = {0};
	enum err e;

	mp_map(&out->body, 1);
	mp_kv_i64(&out->body, "length", (int64_t)from->n);
	out->headers[0].name = STR("Content-Disposition");
	out->headers[0].value = name;
	out->headers_n = 1;
	e = stream_begin(cx, out);
	do {
		if (!e)
			e = spool_block(&in, &block);
		if (!e)
			e = stream_send(out, block);
	} while (!e && block.n);
	spool_in_fini(&in);
	return e;
}

static enum err too_large(struct ctx *cx, uint64_t max)
{
	log_error(cx, "export.too_large", LOG_U64("max", max));
	return ctx_fail(cx, ERR_UNAVAILABLE,
	                "Your data takes more room than this server lets an "
	                "export have. Ask whoever runs it to raise "
	                "EXPORT_MAX_BYTES.");
}

static enum err make(const struct gdpr_state *st, struct ctx *cx,
                     const struct form *form, struct gathered *from,
                     struct document *d)
{
	enum err e = gather(st, cx, from);

	if (!e)
		e = spool_open(d->to, cx, st->folder, st->export_max);
	if (!e)
		e = form->write(d);
	if (!e)
		e = spool_flush(d->to);
	buf_fini(&d->text);
	return e == ERR_TOO_LARGE ? too_large(cx, st->export_max) : e;
}

/* A db_fn: arg is the request. */
static enum err note(struct db *db, void *arg)
{
	const struct ctx *cx = arg;

	return audit_append(db, cx,
	                    &(struct audit_note){.event = AUDIT_IS(DATA_EXPORT),
	                                         .sub = cx->sub});
}

/* No data goes out that the audit log does not know of. */
static enum err tell(const struct gdpr_state *st, struct ctx *cx)
{
	return db_write(st->pool, cx, note, cx);
}

static enum err make_and_send(const struct gdpr_state *st, struct ctx *cx,
                              const char *prefix, struct reply *out)
{
	const struct form *form = str_eq(cx->form, STR("html")) ? &html : &json;
	struct gathered from = {.spool = {.fd = -1}};
	struct spool to = {.fd = -1};
	struct document d = {
		.from = &from, .cx = cx, .now_ms = wall_ms(), .to = &to};
	struct str name = name_file(cx, prefix, form, d.now_ms);
	enum err e = name.p ? make(st, cx, form, &from, &d) : ERR_NOMEM;

	gathered_fini(&from);
	if (!e)
		e = tell(st, cx);
	if (!e)
		e = send(cx, &to, name, out);
	spool_fini(&to);
	return e;
}

static enum err once(const struct gdpr_state *st, struct ctx *cx,
                     const char *prefix, struct reply *out)
{
	enum err e;

	if (!exports_enter(st->exports, cx->sub, cx->deadline_ms))
		return ctx_fail(
			cx, ERR_BUSY,
			"Too much is being exported at this moment. Try "
			"again later.");
	e = make_and_send(st, cx, prefix, out);
	exports_leave(st->exports, cx->sub);
	return e;
}

enum err method_gdpr_export(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	(void)in;
	return once(state, cx, "data_export", out);
}

enum err method_gdpr_data(void *state, struct ctx *cx, const void *in,
                          struct reply *out)
{
	(void)in;
	return once(state, cx, "KNOWALLEDGE_data_export", out);
}
