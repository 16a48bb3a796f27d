#include "svc-auth/users.h"

#include "svc-auth/stmts.h"

#include "common/base/b64.h"
#include "common/codec/mp.h"

#include <stdio.h>

static const char *const states[] = {
	[USER_ACTIVE] = "active",
	[USER_DISABLED] = "disabled",
};

const char *user_state_name(enum user_state s)
{
	return states[s];
}

bool user_state_from_str(struct str s, enum user_state *out)
{
	for (size_t i = 0; i < COUNTOF(states); i++) {
		if (!str_eq(s, str_from(states[i])))
			continue;
		*out = (enum user_state)i;
		return true;
	}
	return false;
}

void user_init(struct user *u, struct str handle, enum role role,
               enum tier tier, int64_t now_ms)
{
	*u = (struct user){.role = role,
	                   .tier = tier,
	                   .state = USER_ACTIVE,
	                   .created_ms = now_ms};
	(void)uuid7(u->sub);
	(void)snprintf(u->handle, sizeof(u->handle), "%.*s", STR_FMT(handle));
}

#define RETIRED_HASH 32

static struct str retired_id(const struct seal_key *key, struct str handle,
                             char out[2 * RETIRED_HASH + 1])
{
	char folded[HANDLE_MAX + 1];
	struct str name = handle_fold(handle, folded);
	unsigned char hash[RETIRED_HASH];

	(void)crypto_generichash(hash, sizeof(hash),
	                         (const unsigned char *)name.p, name.n, key->k,
	                         sizeof(key->k));
	return hex(hash, sizeof(hash), out);
}

static enum err handle_free(struct db *db, const struct seal_key *key,
                            struct str handle)
{
	char id[2 * RETIRED_HASH + 1];
	const struct db_val v[] = {DB_STR(retired_id(key, handle, id))};
	int64_t n = 0;
	enum err e = db_get_i64(db, STMT(HANDLE_ERASED), v, COUNTOF(v), &n);

	return !e && n > 0 ? ERR_DB_DUPLICATE : e;
}

enum err handle_retire(struct db *db, const struct seal_key *handles,
                       struct str handle, int64_t now_ms)
{
	char id[2 * RETIRED_HASH + 1];
	const struct db_val v[] = {DB_STR(retired_id(handles, handle, id)),
	                           DB_I64(now_ms)};

	return db_run(db, STMT(HANDLE_RETIRE), v, COUNTOF(v), NULL);
}

enum err user_add(struct db *db, struct event_store *events,
                  const struct seal_key *handles, const struct user *u)
{
	char folded[HANDLE_MAX + 1];
	struct str handle = str_from(u->handle), sub = str_from(u->sub);
	const struct db_val v[] = {DB_STR(sub),
	                           DB_STR(handle),
	                           DB_STR(handle_fold(handle, folded)),
	                           DB_TEXT(role_name(u->role)),
	                           DB_TEXT(tier_name(u->tier)),
	                           DB_I64(u->created_ms)};
	AUTO_BUF body = {0};
	/* The unique index waits for an erasure under way to give the name up,
	 * and then it is in the list. */
	enum err e = db_run(db, STMT(USER_ADD), v, COUNTOF(v), NULL);

	if (!e)
		e = handle_free(db, handles, handle);
	if (e)
		return e;
	mp_map(&body, 2);
	mp_kv_str(&body, "hnd", handle);
	mp_kv_i64(&body, "at", u->created_ms);
	if (body.failed)
		return ERR_NOMEM;
	return event_emit(events, db, PEER_GDPR, sub, STR("user.registered"),
	                  buf_view(&body), u->created_ms);
}

static void copy(char *out, size_t max, struct str s)
{
	(void)snprintf(out, max, "%.*s", STR_FMT(s));
}

bool user_from_row(const struct db_row *row, struct user *out)
{
	copy(out->sub, sizeof(out->sub), db_row_str(row, 0));
	copy(out->handle, sizeof(out->handle), db_row_str(row, 1));
	out->not_before_ms = db_row_i64(row, 5);
	out->created_ms = db_row_i64(row, 6);
	copy(out->email, sizeof(out->email), db_row_str(row, 7));
	out->last_login_ms = db_row_i64(row, 8);
	out->password_set_ms = db_row_i64(row, 9);
	return role_from_str(db_row_str(row, 2), &out->role) &&
	       tier_from_str(db_row_str(row, 3), &out->tier) &&
	       user_state_from_str(db_row_str(row, 4), &out->state);
}

struct found {
	struct user *user;
	bool any;
};

static enum err take_user(void *arg, const struct db_row *row)
{
	struct found *f = arg;

	f->any = true;
	return user_from_row(row, f->user) ? OK : ERR_INTERNAL;
}

static enum err find(struct db *db, const struct db_stmt *st,
                     const struct db_val *v, size_t n, struct user *out)
{
	struct user u = {0};
	struct found f = {&u, false};
	const struct db_sink sink = {take_user, &f};
	enum err e = db_run(db, st, v, n, &sink);

	if (e)
		return e;
	if (!f.any)
		return ERR_NOT_FOUND;
	*out = u;
	return OK;
}

enum err user_by_handle(struct db *db, struct str handle, struct user *out)
{
	char folded[HANDLE_MAX + 1];
	struct db_val v;

	if (handle.n > HANDLE_MAX)
		return ERR_NOT_FOUND;
	v = DB_STR(handle_fold(handle, folded));
	return find(db, STMT(USER_BY_NAME), &v, 1, out);
}

enum err user_by_sub(struct db *db, struct str sub, struct user *out)
{
	const struct db_val v = DB_STR(sub);

	return find(db, STMT(USER_BY_SUB), &v, 1, out);
}

enum err user_grant(struct db *db, const struct user *u)
{
	const struct db_val v[] = {DB_TEXT(role_name(u->role)),
	                           DB_TEXT(tier_name(u->tier)),
	                           DB_TEXT(u->sub)};

	return db_run(db, STMT(USER_GRANT), v, COUNTOF(v), NULL);
}

enum err user_set_state(struct db *db, const struct user *u)
{
	const struct db_val v[] = {DB_TEXT(user_state_name(u->state)),
	                           DB_TEXT(u->sub)};

	return db_run(db, STMT(USER_STATE), v, COUNTOF(v), NULL);
}

enum err user_void(struct db *db, const struct user *u)
{
	const struct db_val v[] = {DB_I64(u->not_before_ms), DB_TEXT(u->sub)};

	return db_run(db, STMT(USER_NOT_BEFORE), v, COUNTOF(v), NULL);
}

enum err user_hold(struct db *db, struct str handle, struct user *out)
{
	struct user u;
	enum err e = user_by_handle(db, handle, &u);

	if (!e)
		e = user_lock(db, str_from(u.sub));
	return e ? e : user_by_sub(db, str_from(u.sub), out);
}

enum err user_enter(struct db *db, struct str sub, int64_t now_ms,
                    struct user *out)
{
	const struct db_val v[] = {DB_I64(now_ms), DB_STR(sub)};

	return find(db, STMT(USER_ENTER), v, COUNTOF(v), out);
}

enum err user_lock(struct db *db, struct str sub)
{
	const struct db_val v[] = {DB_STR(sub)};
	int64_t one = 0;

	return db_get_i64(db, STMT(USER_LOCK), v, COUNTOF(v), &one);
}
