/*
 * admin_users - what administrators see of people and do to them: list, look,
 * disable, enable, change role and tier.
 */
#include "svc-auth/admin_change.h"
#include "svc-auth/methods.h"
#include "svc-auth/shapes.h"
#include "svc-auth/stmts.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <stdio.h>

#define PERSON_PAIRS 7

static void pack_pairs(struct buf *b, const struct user *u)
{
	mp_kv_text(b, "user_id", u->handle);
	shape_email(b, u);
	mp_kv_text(b, "role", role_name(u->role));
	mp_kv_text(b, "quota_tier", tier_name(u->tier));
	mp_kv_text(b, "state", user_state_name(u->state));
	mp_kv_time(b, "created_at", u->created_ms);
	mp_kv_time(b, "last_login", u->last_login_ms);
}

static enum err nobody(struct ctx *cx)
{
	return ctx_fail(cx, ERR_NOT_FOUND, "Nobody has this user_id.");
}

/* --- list ------------------------------------------------------------------- */

struct search {
	const struct auth_admin_users_in *want;
	char after[HANDLE_MAX + 1], prefix[HANDLE_MAX + 1];
	struct buf *rows;
	int64_t n;
	bool more;
	char last[HANDLE_MAX + 1];
};

static enum err take_person(void *arg, const struct db_row *row)
{
	struct search *s = arg;
	struct user u = {0};

	if (!user_from_row(row, &u))
		return ERR_INTERNAL;
	/* One is asked for beyond the page, to know of the next. */
	s->more = s->n == s->want->limit;
	if (s->more)
		return OK;
	mp_map(s->rows, PERSON_PAIRS);
	pack_pairs(s->rows, &u);
	memcpy(s->last, u.handle, sizeof(s->last));
	s->n++;
	return s->rows->failed ? ERR_NOMEM : OK;
}

static struct str or_empty(struct str s)
{
	return s.p ? s : STR("");
}

/* A db_fn. */
static enum err find(struct db *db, void *arg)
{
	struct search *s = arg;
	struct str state = or_empty(s->want->state);
	struct str role = or_empty(s->want->role);
	struct str tier = or_empty(s->want->quota_tier);
	struct str prefix = str_from(s->prefix);
	const struct db_val v[] = {
		DB_STR(str_from(s->after)),
		DB_STR(state),
		DB_STR(state),
		DB_STR(role),
		DB_STR(role),
		DB_STR(tier),
		DB_STR(tier),
		DB_I64((int64_t)prefix.n),
		DB_STR(prefix),
		DB_I64(s->want->limit + 1),
	};
	const struct db_sink sink = {take_person, s};

	buf_clear(s->rows);
	s->n = 0;
	s->more = false;
	return db_run(db, STMT(USER_LIST), v, COUNTOF(v), &sink);
}

/* Part of a handle, as it is compared. */
static bool part(struct ctx *cx, const char *at, struct str text,
                 char out[HANDLE_MAX + 1])
{
	out[0] = '\0';
	if (text.n <= HANDLE_MAX) {
		(void)handle_fold(or_empty(text), out);
		return true;
	}
	(void)ctx_fault(cx, at, "LENGTH",
	                "A user_id has 64 characters at most.");
	return false;
}

static bool filters(struct ctx *cx, const struct auth_admin_users_in *want)
{
	enum user_state state;
	enum role role;
	enum tier tier;
	bool ok = true;

	if (want->state.p && !user_state_from_str(want->state, &state))
		ok = !ctx_fault(cx, "?state", "INVALID",
		                "state is active or disabled.");
	if (want->role.p && !role_from_str(want->role, &role))
		ok = !ctx_fault(cx, "?role", "INVALID",
		                "role is user or admin.");
	if (want->quota_tier.p && !tier_from_str(want->quota_tier, &tier))
		ok = !ctx_fault(
			cx, "?quota_tier", "INVALID",
			"quota_tier is one of limited, free, basic, premium, unlimited.");
	return ok;
}

enum err method_auth_admin_users(void *state, struct ctx *cx, const void *in,
                                 struct reply *out)
{
	struct auth *au = state;
	AUTO_BUF rows = {0};
	struct search s = {.want = in, .rows = &rows};
	bool ok = filters(cx, in);
	enum err e;

	if (!part(cx, "?cursor", s.want->cursor, s.after) ||
	    !part(cx, "?prefix", s.want->prefix, s.prefix) || !ok)
		return ERR_INVALID;
	e = db_read(au->conf.pool, cx, find, &s);
	if (e)
		return e;
	mp_map(&out->body, 3);
	mp_kv_array(&out->body, "users", (size_t)s.n);
	mp_raw(&out->body, buf_view(&rows));
	mp_kv_i64(&out->body, "count", s.n);
	if (s.more)
		mp_kv_text(&out->body, "next_cursor", s.last);
	else
		mp_kv_nil(&out->body, "next_cursor");
	return OK;
}

/* --- look ------------------------------------------------------------------- */

struct look {
	struct str handle;
	struct user user;
	int64_t now_ms, sessions, keys;
};

/* A db_fn. */
static enum err look(struct db *db, void *arg)
{
	struct look *l = arg;
	enum err e = user_by_handle(db, l->handle, &l->user);
	const struct db_val v[] = {DB_TEXT(l->user.sub), DB_I64(l->now_ms)};

	if (!e)
		e = db_get_i64(db, STMT(SESSION_COUNT), v, COUNTOF(v),
		               &l->sessions);
	return e ? e : db_get_i64(db, STMT(KEY_COUNT), v, COUNTOF(v), &l->keys);
}

enum err method_auth_admin_user(void *state, struct ctx *cx, const void *in,
                                struct reply *out)
{
	const struct auth_admin_user_in *want = in;
	struct auth *au = state;
	struct look l = {.handle = want->user_id, .now_ms = wall_ms()};
	enum err e = db_read(au->conf.pool, cx, look, &l);

	if (e == ERR_NOT_FOUND)
		return nobody(cx);
	if (e)
		return e;
	mp_map(&out->body, 1);
	mp_kv_map(&out->body, "user", PERSON_PAIRS + 2);
	pack_pairs(&out->body, &l.user);
	mp_kv_i64(&out->body, "sessions", l.sessions);
	mp_kv_i64(&out->body, "api_keys", l.keys);
	return OK;
}

/* --- change ----------------------------------------------------------------- */

struct act {
	struct admin_change change;
	struct str handle;
	struct user user; /* as it is after the transaction */
	const char *why;
	struct revoke_batch batch;
};

/* An idem_fn. */
static enum err act(struct db *db, void *arg, struct reply *out)
{
	struct act *a = arg;
	enum err e;

	a->batch.n = 0;
	e = user_hold(db, a->handle, &a->user);
	if (!e)
		e = admin_change(&a->change, db, &a->user, &a->why, &a->batch);
	mp_map(&out->body, 1);
	mp_kv_map(&out->body, "user", PERSON_PAIRS);
	pack_pairs(&out->body, &a->user);
	return e;
}

static enum err run_act(struct act *a, struct ctx *cx, struct reply *out)
{
	struct auth *au = a->change.au;
	enum err e;

	a->change.by = cx->sub;
	a->change.now_ms = wall_ms();
	e = idem_write(au->conf.idem, cx, act, a, out);
	if (e == ERR_NOT_FOUND)
		return nobody(cx);
	if (e == ERR_DENIED)
		return ctx_fail(cx, ERR_CONFLICT, "%s", a->why);
	if (e || out->replayed)
		return e;
	auth_committed(au, &a->batch);
	log_info(cx, "audit.user_changed", LOG_STR("by", cx->sub),
	         LOG_TEXT("sub", a->user.sub),
	         LOG_TEXT("state", user_state_name(a->user.state)),
	         LOG_TEXT("role", role_name(a->user.role)),
	         LOG_TEXT("tier", tier_name(a->user.tier)));
	return OK;
}

static enum err to_state(struct auth *au, struct ctx *cx, struct str handle,
                         enum user_state state, struct reply *out)
{
	struct act a = {
		.change = {.au = au, .has_state = true, .state = state},
		.handle = handle,
	};

	return run_act(&a, cx, out);
}

enum err method_auth_admin_disable(void *state, struct ctx *cx, const void *in,
                                   struct reply *out)
{
	const struct auth_admin_disable_in *want = in;

	return to_state(state, cx, want->user_id, USER_DISABLED, out);
}

enum err method_auth_admin_enable(void *state, struct ctx *cx, const void *in,
                                  struct reply *out)
{
	const struct auth_admin_enable_in *want = in;

	return to_state(state, cx, want->user_id, USER_ACTIVE, out);
}

enum err method_auth_admin_change(void *state, struct ctx *cx, const void *in,
                                  struct reply *out)
{
	const struct auth_admin_change_in *want = in;
	struct act a = {.handle = want->user_id, .change.au = state};
	bool tier = asked_tier(cx, want->quota_tier, &a.change.tier);

	if (!admin_asked_role(cx, want->role, &a.change.role) || !tier)
		return ERR_INVALID;
	a.change.has_role = want->role.p != NULL;
	a.change.has_tier = want->quota_tier.p != NULL;
	if (!a.change.has_role && !a.change.has_tier)
		return ctx_fault(cx, "/role", "REQUIRED",
		                 "Send role, quota_tier or both.");
	return run_act(&a, cx, out);
}
