/*
 * session_methods - the methods on one's sessions: is this one good, who am I,
 * which are there, end it, end another, end all.  A session of somebody else
 * and one that is not there answer alike: 404.
 */
#include "svc-auth/cookie.h"
#include "svc-auth/methods.h"
#include "svc-auth/session.h"
#include "svc-auth/shapes.h"
#include "svc-auth/stmts.h"

#include "common/base/clock.h"
#include "common/base/log.h"

/* --- validate and me -------------------------------------------------------- */

struct person {
	struct str sub, sid;
	struct user user;
	bool found, ended;
	int64_t seen_ms; /* 0: there is no row of the session */
};

static enum err take_person(void *arg, const struct db_row *row)
{
	struct person *p = arg;

	p->found = true;
	p->seen_ms = db_row_i64(row, USER_COLUMNS);
	p->ended = !db_row_null(row, USER_COLUMNS + 1);
	return user_from_row(row, &p->user) ? OK : ERR_INTERNAL;
}

/* A db_fn. */
static enum err find_person(struct db *db, void *arg)
{
	struct person *p = arg;
	const struct db_val v[] = {DB_STR(p->sid), DB_STR(p->sub)};
	const struct db_sink sink = {take_person, p};

	p->found = false;
	return db_run(db, STMT(USER_HERE), v, COUNTOF(v), &sink);
}

/* Who asks; their session has shown life. */
static enum err who_asks(struct auth *au, struct ctx *cx, struct person *p)
{
	enum err e;

	p->sub = cx->sub;
	p->sid = cx->sid;
	e = db_read_one(au->conf.pool, cx, find_person, p);
	if (e)
		return e;
	if (!p->found || p->user.state != USER_ACTIVE)
		return ERR_BAD_TOKEN;
	/* Faster than what the gateways are told. */
	if (p->ended)
		return ERR_EXPIRED;
	if (p->seen_ms)
		used_note(&au->seen, p->sid, p->seen_ms, wall_ms());
	return OK;
}

enum err method_auth_validate(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	struct person p = {0};
	enum err e = who_asks(state, cx, &p);

	(void)in;
	if (e)
		return e;
	mp_map(&out->body, 6);
	mp_kv_bool(&out->body, "valid", true);
	mp_kv_text(&out->body, "user_id", p.user.handle);
	mp_kv_text(&out->body, "role", role_name(p.user.role));
	mp_kv_text(&out->body, "quota_tier", tier_name(p.user.tier));
	shape_email(&out->body, &p.user);
	mp_kv_time(&out->body, "created_at", p.user.created_ms);
	return OK;
}

enum err method_auth_me(void *state, struct ctx *cx, const void *in,
                        struct reply *out)
{
	struct person p = {0};
	enum err e = who_asks(state, cx, &p);

	(void)in;
	if (e)
		return e;
	mp_map(&out->body, 1);
	shape_user(&out->body, &p.user);
	return OK;
}

/* --- list ------------------------------------------------------------------- */

struct listing {
	struct str sub, sid;
	int64_t now_ms;
	struct buf *rows;
	uint32_t n;
};

/* A db_fn. */
static enum err list(struct db *db, void *arg)
{
	struct listing *l = arg;

	buf_clear(l->rows);
	return session_list(db, l->sub, l->sid, l->now_ms, l->rows, &l->n);
}

enum err method_auth_sessions(void *state, struct ctx *cx, const void *in,
                              struct reply *out)
{
	struct auth *au = state;
	AUTO_BUF rows = {0};
	struct listing l = {cx->sub, cx->sid, wall_ms(), &rows, 0};
	enum err e = db_read_one(au->conf.pool, cx, list, &l);

	(void)in;
	if (e)
		return e;
	mp_map(&out->body, 2);
	mp_kv_array(&out->body, "sessions", l.n);
	mp_raw(&out->body, buf_view(&rows));
	mp_kv_i64(&out->body, "count", l.n);
	return OK;
}

/* --- end one, end all -------------------------------------------------------- */

struct ending {
	struct auth *au;
	struct str sub, sid;
	bool all;
	int64_t now_ms;
	struct revoke_batch batch;
};

/* An idem_fn. */
static enum err log_out(struct db *db, void *arg, struct reply *out)
{
	struct ending *x = arg;
	enum err e;

	x->batch.n = 0;
	mp_map(&out->body, 1);
	mp_kv_text(&out->body, "message",
	           x->all ? "You are logged out everywhere."
	                  : "You are logged out.");
	cookie_clear(out); /* if the browser has one */
	if (x->all)
		return session_end_all(x->au, db, x->sub, "logout_all",
		                       x->now_ms, &x->batch);
	e = session_end(x->au, db, x->sub, x->sid, "logout", x->now_ms,
	                &x->batch);
	/* Its row is gone, but its token may be good: it dies all the same. */
	if (e == ERR_NOT_FOUND)
		e = auth_revoke(x->au, db, REVOKE_JTI, x->sid, x->now_ms,
		                &x->batch);
	return e;
}

enum err method_auth_logout(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	const struct auth_logout_in *want = in;
	struct ending x = {.au = state,
	                   .sub = cx->sub,
	                   .sid = cx->sid,
	                   .all = want->all,
	                   .now_ms = wall_ms()};
	enum err e;

	if (!x.all && !uuid_valid(x.sid))
		return ctx_fail(
			cx, ERR_BAD_REQUEST,
			"There is no session to end: this request came with an API key. Revoke the key instead.");
	e = idem_write(x.au->conf.idem, cx, log_out, &x, out);
	if (e == ERR_NOT_FOUND)
		e = ERR_BAD_TOKEN; /* the person is gone */
	if (!e && !out->replayed)
		auth_committed(x.au, &x.batch);
	return e;
}

/* An idem_fn. */
static enum err revoke(struct db *db, void *arg, struct reply *out)
{
	struct ending *x = arg;

	x->batch.n = 0;
	mp_map(&out->body, 2);
	mp_kv_bool(&out->body, "success", true);
	mp_kv_text(&out->body, "message", "The session is ended.");
	return session_end(x->au, db, x->sub, x->sid, "revoked", x->now_ms,
	                   &x->batch);
}

enum err method_auth_session_revoke(void *state, struct ctx *cx, const void *in,
                                    struct reply *out)
{
	const struct auth_session_revoke_in *want = in;
	struct ending x = {.au = state,
	                   .sub = cx->sub,
	                   .sid = want->session_id,
	                   .now_ms = wall_ms()};
	enum err e = ERR_NOT_FOUND;

	if (uuid_valid(want->session_id))
		e = idem_write(x.au->conf.idem, cx, revoke, &x, out);
	if (e == ERR_NOT_FOUND)
		return ctx_fail(cx, e, "You have no session with this id.");
	if (e || out->replayed)
		return e;
	auth_committed(x.au, &x.batch);
	log_info(cx, "audit.session_revoked", LOG_STR("sub", cx->sub),
	         LOG_STR("sid", want->session_id));
	return OK;
}
