#include "svc-auth/audit.h"

enum err audit_tell(struct auth *au, struct db *db, const struct ctx *cx,
                    const struct audit_note *note)
{
	return audit_emit(au->conf.events, db, cx, note);
}

void audit_tell_failed(struct auth *au, const struct ctx *cx, struct str sub,
                       const char *method, int64_t now_ms)
{
	audit_failed_note(&au->failed, cx, sub, method, now_ms);
}

struct flush {
	struct auth *au;
	size_t n;
	struct failed_login v[2 * FAILED_MAX];
};

/* As the request was that failed last. */
static enum err tell_one(struct flush *f, struct db *db,
                         const struct failed_login *l)
{
	struct ctx cx = *db_cx(db);
	const struct audit_note note = {
		.event = AUDIT_IS(LOGIN_FAILED),
		.outcome = AUDIT_FAILED,
		.sub = str_from(l->sub),
		.data = {{"method", str_from(l->method), 0},
	                 {.name = "count", .number = l->count},
	                 {"network", str_from(l->prefix), 0}},
		.at_ms = l->at_ms,
	};

	cx.sub = (struct str){0};
	cx.role = ROLE_GUEST;
	cx.ip = str_from(l->ip);
	cx.ua = str_from(l->agent);
	cx.rid = str_from(l->rid);
	return audit_tell(f->au, db, &cx, &note);
}

/* A db_fn. */
static enum err tell_all(struct db *db, void *arg)
{
	struct flush *f = arg;
	enum err e = OK;

	for (size_t i = 0; i < f->n && !e; i++)
		e = tell_one(f, db, &f->v[i]);
	return e;
}

enum err audit_flush_failed(struct auth *au, struct ctx *cx, int64_t now_ms,
                            bool all)
{
	struct flush *f = arena_alloc(cx->arena, sizeof(*f));
	enum err e;

	if (!f)
		return ERR_NOMEM;
	f->au = au;
	f->n = audit_failed_due(&au->failed, now_ms, all, f->v);
	if (f->n == 0)
		return OK;
	e = db_write(au->conf.pool, cx, tell_all, f);
	if (e)
		return e;
	audit_failed_told(&au->failed, f->v, f->n, now_ms);
	au->conf.kick(au->conf.arg);
	return OK;
}
