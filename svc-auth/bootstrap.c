#include "svc-auth/bootstrap.h"

#include "svc-auth/session.h"
#include "svc-auth/stmts.h"

#include "common/base/log.h"
#include "common/base/secret_file.h"

#include <stdio.h>
#include <unistd.h>

#define BOOTSTRAP_LOCK 0x6b61655f61646d6e /* "kae_admn" */

struct bootstrap {
	struct auth *au;
	int64_t now_ms;
	const struct new_key *key; /* what shall be the key */
	bool set;                  /* it comes from ADMIN_API_KEY */
	/* Filled by the transaction. */
	struct user admin;
	bool present, added; /* one stays; ours was put in */
	bool matched;        /* the one that stays is ours */
	size_t old_n;
	char old[REVOKE_BATCH][UUID_MAX];
	struct revoke_batch revoked;
};

/*
 * Sorts the live bootstrap keys: the one we want, and those to be revoked.  The
 * same key under the other origin is replaced, so that it dies with its origin.
 * A key that was made stays although it is not that of our file: then another
 * replica made it, in a folder of its own.
 */
static enum err take_boot_key(void *arg, const struct db_row *row)
{
	struct bootstrap *b = arg;
	struct str hash = db_row_str(row, 1);
	bool made = str_eq(db_row_str(row, 2), STR("made"));
	bool ours = str_eq(hash, (struct str){(const char *)b->key->hash,
	                                      API_KEY_HASH});

	if (b->set ? ours && !made : made) {
		b->present = true;
		b->matched = b->matched || ours;
		return OK;
	}
	if (b->old_n < REVOKE_BATCH) {
		(void)snprintf(b->old[b->old_n], UUID_MAX, "%.*s",
		               STR_FMT(db_row_str(row, 0)));
		b->old_n++;
	}
	return OK;
}

static enum err ensure_admin(struct db *db, struct bootstrap *b)
{
	enum err e = user_by_handle(db, STR(BOOTSTRAP_HANDLE), &b->admin);

	if (e != ERR_NOT_FOUND)
		return e;
	user_init(&b->admin, STR(BOOTSTRAP_HANDLE), ROLE_ADMIN, TIER_UNLIMITED,
	          b->now_ms);
	return user_add(db, b->au->conf.events, &b->au->handles, &b->admin);
}

static enum err revoke_old(struct db *db, struct bootstrap *b)
{
	struct str sub = str_from(b->admin.sub);
	enum err e = OK;

	for (size_t i = 0; !e && i < b->old_n; i++) {
		struct str id = str_from(b->old[i]);

		e = key_revoke(db, sub, id, b->now_ms);
		if (!e)
			e = session_end_key(db, id, "key_revoked", b->now_ms);
		if (!e)
			e = auth_revoke(b->au, db, REVOKE_KEY, id, b->now_ms,
			                &b->revoked);
	}
	return e;
}

/* A db_fn. */
static enum err settle(struct db *db, void *arg)
{
	struct bootstrap *b = arg;
	const struct db_sink sink = {take_boot_key, b};
	enum err e = db_lock(db, BOOTSTRAP_LOCK);

	b->present = b->added = b->matched = false;
	b->old_n = b->revoked.n = 0;
	if (!e)
		e = ensure_admin(db, b);
	if (!e) {
		const struct db_val v[] = {DB_TEXT(b->admin.sub)};

		e = db_run(db, STMT(KEY_BOOT_LIST), v, COUNTOF(v), &sink);
	}
	if (!e)
		e = revoke_old(db, b);
	if (!e && !b->present) {
		e = key_add(db, str_from(b->admin.sub), b->key);
		b->added = !e;
	}
	return e;
}

static enum err settle_now(struct bootstrap *b, struct ctx *cx)
{
	enum err e = db_write(b->au->conf.pool, cx, settle, b);

	/* Another replica may have been faster with the same rows. */
	if (e == ERR_DB_DUPLICATE)
		e = db_write(b->au->conf.pool, cx, settle, b);
	if (e == ERR_DB_DUPLICATE) {
		log_error(
			cx, "auth.admin_key_in_use",
			LOG_TEXT(
				"hint",
				"the bootstrap key is somebody's API key already; choose another ADMIN_API_KEY"));
		return ERR_INVALID;
	}
	if (!e)
		auth_committed(b->au, &b->revoked);
	if (!e && b->old_n)
		log_warn(cx, "auth.admin_key_replaced",
		         LOG_U64("revoked", b->old_n));
	return e;
}

/* --- the key from the settings -------------------------------------------- */

static enum err from_setting(struct bootstrap *b, struct ctx *cx,
                             struct new_key *k, struct str text,
                             const char *path)
{
	enum err e;

	/* conf.def bounds the length from above only, since empty is fine. */
	if (text.n < 32) {
		log_error(
			cx, "auth.admin_key_short",
			LOG_TEXT("hint",
		                 "ADMIN_API_KEY needs at least 32 characters"));
		return ERR_INVALID;
	}
	new_key_given(k, text, "ADMIN_API_KEY");
	k->origin = "set";
	b->set = true;
	e = settle_now(b, cx);
	/* The made key is revoked: a file that still shows it would lie, and
	 * would bring it back once the setting is gone. */
	if (!e && unlink(path) == 0)
		log_info(cx, "auth.admin_key_file_removed",
		         LOG_TEXT("path", path));
	return e;
}

/* --- the key from the file ------------------------------------------------ */

/* Reads the file, or makes it; *created tells which. */
static enum err file_key(struct new_key *k, const char *path, bool *created)
{
	char text[SECRET_FILE_MAX];
	size_t n = 0;
	enum err e = secret_file_read(path, text, &n);

	*created = false;
	if (e == ERR_NOT_FOUND) {
		new_key_make(k);
		e = secret_file_create(path, str_from(k->text));
		*created = !e;
		if (e != ERR_EXISTS)
			return e;
		e = secret_file_read(path, text, &n);
	}
	if (!e && !api_key_well_formed((struct str){text, n})) {
		log_error(
			NULL, "auth.admin_key_file", LOG_TEXT("path", path),
			LOG_TEXT(
				"hint",
				"this file holds no API key; remove it or set ADMIN_API_KEY"));
		e = ERR_INVALID;
	}
	if (!e) {
		char prefix[API_KEY_PREFIX + 1];

		(void)snprintf(prefix, sizeof(prefix), "%.*s", API_KEY_PREFIX,
		               text);
		new_key_given(k, (struct str){text, n}, prefix);
	}
	explicit_bzero(text, sizeof(text));
	return e;
}

/* True when a live bootstrap key was made, here or elsewhere. */
static enum err look(struct db *db, void *arg)
{
	struct bootstrap *b = arg;
	const struct db_sink sink = {take_boot_key, b};
	enum err e = user_by_handle(db, STR(BOOTSTRAP_HANDLE), &b->admin);
	const struct db_val v[] = {DB_TEXT(b->admin.sub)};

	b->present = false;
	b->old_n = 0;
	if (e)
		return e == ERR_NOT_FOUND ? OK : e;
	return db_run(db, STMT(KEY_BOOT_LIST), v, COUNTOF(v), &sink);
}

static enum err from_file(struct bootstrap *b, struct ctx *cx,
                          struct new_key *k, const char *path)
{
	bool created = false;
	enum err e;

	k->origin = "made";
	e = db_read(b->au->conf.pool, cx, look, b);
	if (e || (b->present && b->old_n == 0))
		return e;
	e = file_key(k, path, &created);
	if (!e)
		e = settle_now(b, cx);
	/* A replica with a folder of its own was faster: what we wrote is
	 * nobody's key. */
	if (!e && created && !b->added && !b->matched)
		(void)unlink(path);
	else if (!e)
		log_info(cx, "auth.admin_key_file", LOG_TEXT("path", path));
	return e;
}

enum err bootstrap_admin(struct auth *au, struct ctx *cx, int64_t now_ms)
{
	const struct settings *s = au->conf.settings;
	AUTO_NEW_KEY k = {.name = STR("bootstrap"),
	                  .scopes = role_scopes(ROLE_ADMIN),
	                  .created_ms = now_ms};
	struct bootstrap b = {.au = au, .now_ms = now_ms, .key = &k};
	char path[SECRET_PATH_MAX];

	if (!secret_path(s->data_dir, BOOTSTRAP_FILE, path))
		return ERR_INVALID;
	return s->admin_api_key.n
	               ? from_setting(&b, cx, &k, s->admin_api_key, path)
	               : from_file(&b, cx, &k, path);
}
