#include "svc-auth/keys.h"

#include "svc-auth/stmts.h"

#include "common/codec/mp.h"

#include <stdio.h>

void new_key_make(struct new_key *k)
{
	struct str text = api_key_make(k->text);

	(void)uuid7(k->id);
	api_key_hash(text, k->hash);
	(void)snprintf(k->prefix, sizeof(k->prefix), "%.*s", API_KEY_PREFIX,
	               k->text);
}

void new_key_given(struct new_key *k, struct str text, const char *prefix)
{
	(void)uuid7(k->id);
	k->text[0] = '\0';
	api_key_hash(text, k->hash);
	(void)snprintf(k->prefix, sizeof(k->prefix), "%s", prefix);
}

void new_key_wipe(struct new_key *k)
{
	explicit_bzero(k->text, sizeof(k->text));
}

enum err key_room(struct db *db, struct str sub, int64_t now_ms)
{
	const struct db_val v[] = {DB_STR(sub), DB_I64(now_ms)};
	int64_t live = 0;
	enum err e = db_get_i64(db, STMT(KEY_COUNT), v, COUNTOF(v), &live);

	if (e)
		return e;
	return live < KEYS_LIVE_MAX ? OK : ERR_CONFLICT;
}

enum err key_add(struct db *db, struct str sub, const struct new_key *k)
{
	const struct str hash = {(const char *)k->hash, sizeof(k->hash)};
	const struct db_val v[] = {
		DB_TEXT(k->id),
		DB_STR(sub),
		DB_BLOB(hash),
		DB_TEXT(k->prefix),
		DB_STR(k->name),
		DB_I64(k->scopes),
		DB_TEXT(k->origin),
		DB_I64(k->created_ms),
		k->expires_ms ? DB_I64(k->expires_ms) : DB_NULL,
	};

	return db_run(db, STMT(KEY_ADD), v, COUNTOF(v), NULL);
}

struct owner_search {
	struct key_owner *out;
	int64_t now_ms;
	bool good;
};

static enum err take_owner(void *arg, const struct db_row *row)
{
	struct owner_search *s = arg;
	struct key_owner *o = s->out;

	if (!user_from_row(row, &o->user))
		return ERR_INTERNAL;
	(void)snprintf(o->id, sizeof(o->id), "%.*s",
	               STR_FMT(db_row_str(row, USER_COLUMNS)));
	o->scopes = (uint32_t)db_row_i64(row, USER_COLUMNS + 1) &
	            role_scopes(o->user.role);
	o->last_used_ms = db_row_i64(row, USER_COLUMNS + 2);
	o->expires_ms = db_row_i64(row, USER_COLUMNS + 3);
	s->good = o->user.state == USER_ACTIVE &&
	          (o->expires_ms == 0 || o->expires_ms > s->now_ms);
	return OK;
}

static enum err find_owner(struct db *db, const struct db_stmt *st,
                           struct db_val by, int64_t now_ms,
                           struct key_owner *out)
{
	struct key_owner o = {0};
	struct owner_search s = {&o, now_ms, false};
	const struct db_sink sink = {take_owner, &s};
	enum err e = db_run(db, st, &by, 1, &sink);

	if (e)
		return e;
	if (!s.good)
		return ERR_BAD_KEY;
	*out = o;
	return OK;
}

enum err key_owner(struct db *db, const unsigned char hash[API_KEY_HASH],
                   int64_t now_ms, struct key_owner *out)
{
	const struct str h = {(const char *)hash, API_KEY_HASH};

	return find_owner(db, STMT(KEY_OWNER), DB_BLOB(h), now_ms, out);
}

enum err key_by_id(struct db *db, struct str id, int64_t now_ms,
                   struct key_owner *out)
{
	return find_owner(db, STMT(KEY_BY_ID), DB_STR(id), now_ms, out);
}

enum err key_search(struct db *db, void *arg)
{
	struct key_search *s = arg;

	return key_owner(db, s->hash, s->now_ms, &s->owner);
}

struct listing {
	struct buf *out;
	uint32_t n;
};

void key_pack_scopes(struct buf *b, uint32_t scopes)
{
	char text[40];
	struct str rest = scopes_text(scopes, text);
	uint32_t n = 0;

	for (uint32_t bits = scopes; bits; bits &= bits - 1)
		n++;
	mp_kv_array(b, "scopes", n);
	while (rest.n)
		mp_str(b, str_cut(&rest, ' '));
}

static enum err pack_key(void *arg, const struct db_row *row)
{
	struct listing *l = arg;

	mp_map(l->out, 7);
	mp_kv_str(l->out, "id", db_row_str(row, 0));
	mp_kv_str(l->out, "prefix", db_row_str(row, 1));
	mp_kv_str(l->out, "name", db_row_str(row, 2));
	key_pack_scopes(l->out, (uint32_t)db_row_i64(row, 3));
	mp_kv_time(l->out, "created_at", db_row_i64(row, 4));
	mp_kv_time(l->out, "last_used_at", db_row_i64(row, 5));
	mp_kv_time(l->out, "expires_at", db_row_i64(row, 6));
	l->n++;
	return l->out->failed ? ERR_NOMEM : OK;
}

enum err key_list(struct db *db, struct str sub, struct buf *out, uint32_t *n)
{
	const struct db_val v[] = {DB_STR(sub)};
	struct listing l = {out, 0};
	const struct db_sink sink = {pack_key, &l};
	enum err e = db_run(db, STMT(KEY_LIST), v, COUNTOF(v), &sink);

	if (e)
		return e;
	*n = l.n;
	return OK;
}

enum err key_revoke(struct db *db, struct str sub, struct str id,
                    int64_t now_ms)
{
	const struct db_val v[] = {DB_I64(now_ms), DB_STR(id), DB_STR(sub)};
	int64_t changed = 0;
	enum err e = db_change(db, STMT(KEY_REVOKE), v, COUNTOF(v), &changed);

	if (e)
		return e;
	return changed ? OK : ERR_NOT_FOUND;
}

enum err key_used(struct db *db, struct str id, int64_t at_ms)
{
	const struct db_val v[] = {DB_I64(at_ms), DB_STR(id),
	                           DB_I64(at_ms - KEY_USED_EVERY_MS)};

	return db_run(db, STMT(KEY_USED), v, COUNTOF(v), NULL);
}
