#include "svc-auth/session.h"

#include "svc-auth/audit.h"
#include "svc-auth/device.h"
#include "svc-auth/refresh.h"
#include "svc-auth/shapes.h"
#include "svc-auth/stmts.h"

#include "common/base/clock.h"
#include "common/base/net.h"
#include "common/codec/mp.h"

#include <stdio.h>

void session_grant_fini(struct session_grant *g)
{
	buf_fini(&g->access);
	explicit_bzero(g->refresh, sizeof(g->refresh));
}

/* --- what a session gives ------------------------------------------------- */

int64_t session_ends(const struct auth *au, int64_t expires_ms, int64_t now_ms)
{
	int64_t idle_ms =
		now_ms + (int64_t)au->conf.settings->session_idle_ttl_s * 1000;

	return idle_ms < expires_ms ? idle_ms : expires_ms;
}

enum err session_token(struct auth *au, const struct session_row *s,
                       int64_t now_ms, struct session_grant *out)
{
	const struct settings *conf = au->conf.settings;
	const struct user *u = &out->user;
	int64_t now_s = now_ms / 1000, issued_s = now_s;
	int64_t ends_s = session_ends(au, s->expires_ms, now_ms) / 1000;
	struct token_claims c = {
		.issuer = conf->token_issuer,
		.audience = conf->token_audience,
		.sub = u->sub,
		.hnd = u->handle,
		.sid = s->sid,
		.key = s->key_id[0] ? s->key_id : NULL,
		.role = u->role,
		.tier = u->tier,
		.scopes = s->scopes & role_scopes(u->role),
		.auth_time_s = s->auth_time_ms / 1000,
	};

	/* iat counts seconds, not_before milliseconds: a token of the second in
	 * which the others were ended says the next one, or it would be dead
	 * from the start. */
	if (issued_s <= u->not_before_ms / 1000)
		issued_s = u->not_before_ms / 1000 + 1;
	c.issued_s = issued_s;
	c.expires_s = now_s + au->token_ttl_s;
	if (c.expires_s > ends_s)
		c.expires_s = ends_s;
	out->access_s = c.expires_s - now_s;
	buf_clear(&out->access);
	return signing_issue(au->signing, &c, &out->access);
}

void session_answer(struct buf *b, const struct session_grant *g,
                    const char *message, size_t more)
{
	struct str token = buf_view(&g->access);
	bool refresh = g->refresh[0] != '\0';

	mp_map(b, 11 + more);
	mp_kv_str(b, "token", token);
	mp_kv_str(b, "access_token", token);
	mp_kv_text(b, "token_type", "Bearer");
	mp_kv_i64(b, "expires_in", g->access_s);
	if (refresh) {
		mp_kv_text(b, "refresh_token", g->refresh);
		mp_kv_i64(b, "refresh_expires_in", g->refresh_s);
	} else {
		mp_kv_nil(b, "refresh_token");
		mp_kv_nil(b, "refresh_expires_in");
	}
	mp_kv_text(b, "user_id", g->user.handle);
	mp_kv_text(b, "quota_tier", tier_name(g->user.tier));
	shape_user(b, &g->user);
	mp_kv_text(b, "message", message);
	shape_usage(b, "Authorization", "Bearer ", token);
}

/* --- open ------------------------------------------------------------------ */

/* Ids of sessions, one behind the other. */
static enum err take_id(void *arg, const struct db_row *row)
{
	struct str id = db_row_str(row, 0);
	struct buf *ids = arg;

	if (id.n != UUID_MAX - 1)
		return ERR_INTERNAL;
	buf_str(ids, id);
	return ids->failed ? ERR_NOMEM : OK;
}

static struct str id_at(struct str ids, size_t i)
{
	return (struct str){ids.p + i * (UUID_MAX - 1), UUID_MAX - 1};
}

/* Ends those not seen for longest, until one more has room. */
static enum err make_room(struct auth *au, struct db *db, struct str sub,
                          int64_t now_ms, struct revoke_batch *batch)
{
	const struct db_val v[] = {
		DB_STR(sub), DB_I64(now_ms),
		DB_I64((int64_t)au->conf.settings->sessions_max - 1)};
	AUTO_BUF ids = {0};
	const struct db_sink sink = {take_id, &ids};
	enum err e = db_run(db, STMT(SESSION_EXCESS), v, COUNTOF(v), &sink);

	for (size_t i = 0; !e && i < ids.n / (UUID_MAX - 1); i++)
		e = session_end(au, db, sub, id_at(buf_view(&ids), i), "excess",
		                now_ms, batch);
	return e;
}

static enum err add_row(struct auth *au, struct db *db,
                        const struct session_begin *b,
                        const struct session_row *s)
{
	const struct ctx *cx = db_cx(db);
	char address[NET_TEXT_MAX], agent[AGENT_MAX], device[DEVICE_MAX];
	const struct db_val v[] = {
		DB_TEXT(s->sid),
		DB_STR(b->sub),
		DB_TEXT(b->method),
		b->key_id ? DB_TEXT(b->key_id) : DB_NULL,
		DB_I64(b->scopes),
		DB_I64(b->now_ms),
		DB_I64(b->now_ms),
		DB_I64(b->now_ms),
		DB_I64(s->expires_ms),
		DB_I64(session_ends(au, s->expires_ms, b->now_ms)),
		DB_STR(net_text(cx->ip, address)),
		DB_STR(agent_cut(cx->ua, agent)),
		DB_STR(device_label(cx->ua, device)),
	};

	return db_run(db, STMT(SESSION_ADD), v, COUNTOF(v), NULL);
}

static void begin_row(const struct auth *au, const struct session_begin *b,
                      struct session_row *s)
{
	*s = (struct session_row){
		.scopes = b->scopes,
		.auth_time_ms = b->now_ms,
		.expires_ms =
			b->now_ms +
			(int64_t)au->conf.settings->refresh_token_ttl_s * 1000,
	};
	(void)uuid7(s->sid);
	if (b->key_id)
		(void)snprintf(s->key_id, sizeof(s->key_id), "%s", b->key_id);
	if (b->ends_ms && b->ends_ms < s->expires_ms)
		s->expires_ms = b->ends_ms;
}

static enum err tell_login(struct auth *au, struct db *db,
                           const struct session_begin *b,
                           const struct session_grant *g)
{
	const struct audit_note note = {
		.event = AUDIT_IS(LOGIN),
		.sub = b->sub,
		.actor = b->sub,
		.role = g->user.role,
		.resource_type = "session",
		.resource_id = str_from(g->sid),
		.data = {{"method", str_from(b->method), 0}},
		.at_ms = b->now_ms,
	};

	return audit_tell(au, db, db_cx(db), &note);
}

enum err session_open(struct auth *au, struct db *db,
                      const struct session_begin *b, struct session_grant *out,
                      struct revoke_batch *batch)
{
	struct session_row s;
	enum err e = user_enter(db, b->sub, b->now_ms, &out->user);

	begin_row(au, b, &s);
	if (!e)
		e = make_room(au, db, b->sub, b->now_ms, batch);
	if (!e)
		e = add_row(au, db, b, &s);
	refresh_first(out->refresh);
	if (!e)
		e = refresh_add(db, s.sid, 0, out->refresh, b->now_ms);
	if (!e)
		e = session_token(au, &s, b->now_ms, out);
	if (e)
		return e;
	memcpy(out->sid, s.sid, sizeof(out->sid));
	out->refresh_s =
		(session_ends(au, s.expires_ms, b->now_ms) - b->now_ms) / 1000;
	return tell_login(au, db, b, out);
}

/* --- end ------------------------------------------------------------------- */

/* What the audit log calls an end, by its reason. */
static enum audit_event end_event(const char *why)
{
	if (strcmp(why, "logout") == 0)
		return AUDIT_IS(LOGOUT);
	if (strcmp(why, "reuse") == 0)
		return AUDIT_IS(REFRESH_REUSED);
	return AUDIT_IS(SESSION_REVOKED);
}

/* sid: of the one that was ended, or empty: of several. */
static enum err tell_end(struct auth *au, struct db *db, struct str sub,
                         struct str sid, const char *why)
{
	const struct audit_note note = {
		.event = sid.n ? end_event(why) : AUDIT_IS(SESSIONS_REVOKED),
		.sub = sub,
		.resource_type = "session",
		.resource_id = sid,
		.data = {{"why", str_from(why), 0}},
	};

	return audit_tell(au, db, db_cx(db), &note);
}

enum err session_end(struct auth *au, struct db *db, struct str sub,
                     struct str sid, const char *why, int64_t now_ms,
                     struct revoke_batch *batch)
{
	const struct db_val v[] = {DB_I64(now_ms), DB_TEXT(why), DB_STR(sid),
	                           DB_STR(sub), DB_I64(now_ms)};
	int64_t changed = 0;
	enum err e = db_change(db, STMT(SESSION_END), v, COUNTOF(v), &changed);

	if (!e && changed == 0)
		e = ERR_NOT_FOUND;
	if (!e)
		e = auth_revoke(au, db, REVOKE_JTI, sid, now_ms, batch);
	return e ? e : tell_end(au, db, sub, sid, why);
}

static enum err revoke_all(struct auth *au, struct db *db, struct str ids,
                           int64_t now_ms, struct revoke_batch *batch)
{
	enum err e = OK;

	for (size_t i = 0; !e && i < ids.n / (UUID_MAX - 1); i++)
		e = auth_revoke(au, db, REVOKE_JTI, id_at(ids, i), now_ms,
		                batch);
	return e;
}

enum err session_end_others(struct auth *au, struct db *db, struct str sub,
                            struct str keep, const char *why, int64_t now_ms,
                            struct revoke_batch *batch)
{
	const struct db_val v[] = {DB_I64(now_ms), DB_TEXT(why), DB_STR(sub),
	                           DB_STR(keep), DB_I64(now_ms)};
	const struct db_val kept[] = {DB_I64(now_ms), DB_STR(keep),
	                              DB_STR(sub)};
	AUTO_BUF ids = {0};
	const struct db_sink sink = {take_id, &ids};
	enum err e = db_run(db, STMT(SESSION_END_OTHERS), v, COUNTOF(v), &sink);

	if (!e)
		e = revoke_all(au, db, buf_view(&ids), now_ms, batch);
	if (!e && ids.n)
		e = tell_end(au, db, sub, (struct str){0}, why);
	return e ? e
	         : db_run(db, STMT(SESSION_PROVED), kept, COUNTOF(kept), NULL);
}

enum err session_end_all(struct auth *au, struct db *db, struct str sub,
                         const char *why, int64_t now_ms,
                         struct revoke_batch *batch)
{
	const struct db_val v[] = {DB_I64(now_ms), DB_TEXT(why), DB_STR(sub),
	                           DB_I64(now_ms)};
	struct user u;
	AUTO_BUF ids = {0};
	const struct db_sink sink = {take_id, &ids};
	/* The person first, as a login does: those two wait for each other. */
	enum err e = user_lock(db, sub);

	if (!e)
		e = user_by_sub(db, sub, &u);
	if (!e)
		e = db_run(db, STMT(SESSION_END_ALL), v, COUNTOF(v), &sink);
	if (!e)
		e = session_void_tokens(au, db, &u, now_ms, batch);
	/* By name as well: a clock that is ahead of ours may have dated a token
	 * behind that moment. */
	if (!e)
		e = revoke_all(au, db, buf_view(&ids), now_ms, batch);
	return e ? e : tell_end(au, db, sub, (struct str){0}, why);
}

enum err session_void_tokens(struct auth *au, struct db *db, struct user *u,
                             int64_t now_ms, struct revoke_batch *batch)
{
	/* The tokens of a second in which others were made void already say the
	 * next one: see session_token(). */
	int64_t at_ms = (u->not_before_ms / 1000 + 1) * 1000;
	int64_t locked_ms = wall_ms(); /* others may have come first */
	enum err e;

	if (at_ms < locked_ms)
		at_ms = locked_ms;
	u->not_before_ms = at_ms > now_ms ? at_ms : now_ms;
	e = user_void(db, u);
	return e ? e
	         : auth_revoke_at(au, db, REVOKE_SUB, str_from(u->sub),
	                          u->not_before_ms, now_ms, batch);
}

enum err session_end_key(struct db *db, struct str key_id, const char *why,
                         int64_t now_ms)
{
	const struct db_val v[] = {DB_I64(now_ms), DB_TEXT(why), DB_STR(key_id),
	                           DB_I64(now_ms)};

	return db_run(db, STMT(SESSION_END_KEY), v, COUNTOF(v), NULL);
}

/* --- look and keep --------------------------------------------------------- */

enum err session_seen(struct auth *au, struct db *db, struct str sid,
                      int64_t at_ms)
{
	int64_t ends_ms = session_ends(au, INT64_MAX, at_ms);
	const struct db_val v[] = {
		DB_I64(at_ms),   DB_I64(ends_ms),
		DB_I64(ends_ms), DB_STR(sid),
		DB_I64(at_ms),   DB_I64(at_ms - SESSION_SEEN_MS)};

	return db_run(db, STMT(SESSION_SEEN), v, COUNTOF(v), NULL);
}

struct listing {
	struct str here;
	struct buf *out;
	uint32_t n;
};

static enum err pack_session(void *arg, const struct db_row *row)
{
	struct listing *l = arg;

	mp_map(l->out, 8);
	mp_kv_str(l->out, "id", db_row_str(row, 0));
	mp_kv_str(l->out, "device", db_row_str(row, 1));
	mp_kv_str(l->out, "ip_prefix", db_row_str(row, 2));
	mp_kv_str(l->out, "method", db_row_str(row, 3));
	mp_kv_time(l->out, "created_at", db_row_i64(row, 4));
	mp_kv_time(l->out, "last_seen", db_row_i64(row, 5));
	mp_kv_time(l->out, "expires_at", db_row_i64(row, 6));
	mp_kv_bool(l->out, "current", str_eq(db_row_str(row, 0), l->here));
	l->n++;
	return l->out->failed ? ERR_NOMEM : OK;
}

enum err session_list(struct db *db, struct str sub, struct str here,
                      int64_t now_ms, struct buf *out, uint32_t *n)
{
	const struct db_val v[] = {DB_STR(sub), DB_I64(now_ms)};
	struct listing l = {here, out, 0};
	const struct db_sink sink = {pack_session, &l};
	enum err e = db_run(db, STMT(SESSION_LIST), v, COUNTOF(v), &sink);

	if (e)
		return e;
	*n = l.n;
	return OK;
}
