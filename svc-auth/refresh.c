#include "svc-auth/refresh.h"

#include "svc-auth/stmts.h"

#include "common/base/b64.h"

#include <stdio.h>

#define TOKEN_BYTES 32

static void write_token(const unsigned char raw[TOKEN_BYTES],
                        char out[REFRESH_TOKEN_MAX])
{
	_Static_assert(3 + B64_LEN(TOKEN_BYTES) < REFRESH_TOKEN_MAX, "room");
	memcpy(out, "rt_", 3);
	(void)b64url(raw, TOKEN_BYTES, out + 3);
}

void refresh_first(char out[REFRESH_TOKEN_MAX])
{
	unsigned char raw[TOKEN_BYTES];

	randombytes_buf(raw, sizeof(raw));
	write_token(raw, out);
	explicit_bzero(raw, sizeof(raw));
}

void refresh_next(const struct seal_key *key, struct str token,
                  char out[REFRESH_TOKEN_MAX])
{
	unsigned char raw[TOKEN_BYTES];

	(void)crypto_generichash(raw, sizeof(raw),
	                         (const unsigned char *)token.p, token.n,
	                         key->k, sizeof(key->k));
	write_token(raw, out);
	explicit_bzero(raw, sizeof(raw));
}

enum err refresh_add(struct db *db, const char *sid, int64_t counter,
                     const char *token, int64_t now_ms)
{
	unsigned char hash[API_KEY_HASH];
	const struct str h = {(const char *)hash, sizeof(hash)};
	const struct db_val v[] = {DB_BLOB(h), DB_TEXT(sid), DB_I64(counter),
	                           DB_I64(now_ms)};

	api_key_hash(str_from(token), hash);
	return db_run(db, STMT(REFRESH_ADD), v, COUNTOF(v), NULL);
}

/* --- what came ------------------------------------------------------------- */

enum refresh_verdict refresh_judge(const struct refresh_row *r,
                                   const struct user *u, int64_t grace_ms,
                                   int64_t now_ms)
{
	if (r->ended || r->ends_ms <= now_ms || r->key_dead ||
	    u->state != USER_ACTIVE ||
	    u->password_set_ms > r->session.auth_time_ms)
		return REFRESH_DEAD;
	if (r->token == r->counter)
		return REFRESH_GOOD;
	if (r->token == r->counter - 1 && now_ms - r->rotated_ms <= grace_ms)
		return REFRESH_AGAIN;
	return REFRESH_REUSED;
}

struct search {
	struct refresh_row row;
	struct user user;
	int64_t now_ms;
	bool found;
};

static enum err take_owner(void *arg, const struct db_row *row)
{
	struct search *s = arg;

	s->found = true;
	return user_from_row(row, &s->user) ? OK : ERR_INTERNAL;
}

static void copy_id(char out[UUID_MAX], struct str id)
{
	(void)snprintf(out, UUID_MAX, "%.*s", STR_FMT(id));
}

static enum err take_session(void *arg, const struct db_row *row)
{
	struct search *s = arg;
	struct refresh_row *r = &s->row;
	int64_t key_ends_ms = db_row_i64(row, 12);

	s->found = true;
	copy_id(r->session.sid, db_row_str(row, 0));
	copy_id(r->session.key_id, db_row_str(row, 1));
	r->session.scopes = (uint32_t)db_row_i64(row, 2);
	r->session.auth_time_ms = db_row_i64(row, 3);
	r->session.expires_ms = db_row_i64(row, 4);
	r->ends_ms = db_row_i64(row, 5);
	r->ended = !db_row_null(row, 6);
	r->counter = db_row_i64(row, 7);
	r->rotated_ms = db_row_i64(row, 8);
	r->token = db_row_i64(row, 9);
	r->key_dead = !db_row_null(row, 1) &&
	              (db_row_null(row, 10) || !db_row_null(row, 11) ||
	               (key_ends_ms && key_ends_ms <= s->now_ms));
	return OK;
}

static enum err look(struct db *db, const struct db_stmt *st,
                     const struct db_val *v, size_t n, db_row_fn *take,
                     struct search *s)
{
	const struct db_sink sink = {take, s};
	enum err e;

	s->found = false;
	e = db_run(db, st, v, n, &sink);
	return e || s->found ? e : ERR_BAD_TOKEN;
}

/* --- rotation -------------------------------------------------------------- */

static enum err move_on(struct auth *au, struct db *db,
                        const struct refresh_row *r, const char *next,
                        int64_t now_ms)
{
	int64_t counter = r->counter + 1;
	const struct db_val v[] = {
		DB_I64(counter), DB_I64(now_ms), DB_I64(now_ms),
		DB_I64(session_ends(au, r->session.expires_ms, now_ms)),
		DB_TEXT(r->session.sid)};
	const struct db_val old[] = {DB_TEXT(r->session.sid),
	                             DB_I64(counter + 1 - REFRESH_KEPT)};
	enum err e = refresh_add(db, r->session.sid, counter, next, now_ms);

	if (!e)
		e = db_run(db, STMT(SESSION_ROTATE), v, COUNTOF(v), NULL);
	return e ? e : db_run(db, STMT(REFRESH_TRIM), old, COUNTOF(old), NULL);
}

static enum err exchange(struct auth *au, struct db *db, struct str token,
                         const struct search *s, bool first,
                         struct session_grant *out)
{
	const struct refresh_row *r = &s->row;
	int64_t ends_ms = r->ends_ms;
	enum err e = OK;

	refresh_next(&au->refresh, token, out->refresh);
	if (first) {
		e = move_on(au, db, r, out->refresh, s->now_ms);
		ends_ms = session_ends(au, r->session.expires_ms, s->now_ms);
	}
	out->user = s->user;
	out->refresh_s = (ends_ms - s->now_ms) / 1000;
	return e ? e : session_token(au, &r->session, s->now_ms, out);
}

enum err refresh_rotate(struct auth *au, struct db *db, struct str token,
                        int64_t now_ms, struct session_grant *out, bool *stolen)
{
	int64_t grace_ms = (int64_t)au->conf.settings->refresh_grace_s * 1000;
	unsigned char hash[API_KEY_HASH];
	const struct str h = {(const char *)hash, sizeof(hash)};
	const struct db_val v[] = {DB_BLOB(h)};
	struct search s = {.now_ms = now_ms};
	enum refresh_verdict verdict;
	enum err e;

	*stolen = false;
	api_key_hash(token, hash);
	/* The person first, as everything does that ends sessions. */
	e = look(db, STMT(REFRESH_OWNER), v, 1, take_owner, &s);
	if (!e)
		e = look(db, STMT(REFRESH_FIND), v, 1, take_session, &s);
	if (e)
		return e;
	copy_id(out->sid, str_from(s.row.session.sid));
	verdict = refresh_judge(&s.row, &s.user, grace_ms, now_ms);
	*stolen = verdict == REFRESH_REUSED;
	if (*stolen)
		out->user = s.user;
	if (verdict == REFRESH_DEAD || verdict == REFRESH_REUSED)
		return ERR_BAD_TOKEN;
	return exchange(au, db, token, &s, verdict == REFRESH_GOOD, out);
}

/* --- by the token that one has ---------------------------------------------- */

enum err refresh_bearer(struct auth *au, struct db *db, struct str sub,
                        struct str sid, struct str jti, int64_t now_ms,
                        struct session_grant *out, struct revoke_batch *batch)
{
	const struct db_val v[] = {DB_STR(sid), DB_STR(sub)};
	struct search s = {.now_ms = now_ms};
	enum err e = user_lock(db, sub);

	if (!e)
		e = user_by_sub(db, sub, &s.user);
	if (e == ERR_NOT_FOUND)
		e = ERR_BAD_TOKEN;
	if (!e)
		e = look(db, STMT(REFRESH_BY_SID), v, COUNTOF(v), take_session,
		         &s);
	if (!e && refresh_judge(&s.row, &s.user, 0, now_ms) != REFRESH_GOOD)
		e = ERR_BAD_TOKEN;
	if (!e)
		e = session_seen(au, db, sid, now_ms);
	if (!e)
		e = auth_revoke(au, db, REVOKE_JTI, jti, now_ms, batch);
	if (e)
		return e;
	copy_id(out->sid, sid);
	out->refresh[0] = '\0';
	out->user = s.user;
	return session_token(au, &s.row.session, now_ms, out);
}
