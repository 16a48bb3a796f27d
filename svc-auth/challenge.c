#include "svc-auth/challenge.h"

#include "svc-auth/keys.h"
#include "svc-auth/stmts.h"

#include "common/base/b64.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/net.h"

#include <stdio.h>

#define RANDOM_BYTES 32

static void hash_text(struct str text, unsigned char out[CHALLENGE_HASH])
{
	_Static_assert(CHALLENGE_HASH == crypto_hash_sha256_BYTES, "SHA-256");
	(void)crypto_hash_sha256(out, (const unsigned char *)text.p, text.n);
}

struct addition {
	admit_fn *who;
	void *arg;
	struct session_begin begin;
	unsigned char hash[CHALLENGE_HASH];
	int64_t now_ms;
};

/* A db_fn. */
static enum err add(struct db *db, void *arg)
{
	struct addition *a = arg;
	const struct session_begin *b = &a->begin;
	const struct str hash = {(const char *)a->hash, CHALLENGE_HASH};
	char network[NET_TEXT_MAX];
	enum err e = a->who(db, a->arg, &a->begin);

	if (!e) {
		const struct db_val v[] = {
			DB_BLOB(hash),
			DB_STR(b->sub),
			DB_STR(net_text(db_cx(db)->ip, network)),
			DB_TEXT(b->method),
			b->key_id ? DB_TEXT(b->key_id) : DB_NULL,
			DB_I64(a->now_ms),
			DB_I64(a->now_ms + CHALLENGE_MS)};

		e = db_run(db, STMT(CHALLENGE_ADD), v, COUNTOF(v), NULL);
	}
	return e;
}

enum err challenge_make(struct auth *au, struct ctx *cx, admit_fn *who,
                        void *arg)
{
	struct addition a = {.who = who, .arg = arg, .now_ms = wall_ms()};
	unsigned char raw[RANDOM_BYTES];
	char text[sizeof(cx->problem.challenge)];
	enum err e;

	_Static_assert(sizeof(text) > 3 + B64_LEN(RANDOM_BYTES), "fits");
	randombytes_buf(raw, sizeof(raw));
	memcpy(text, "lc_", 3);
	(void)b64url(raw, sizeof(raw), text + 3);
	hash_text(str_from(text), a.hash);
	e = db_write(au->conf.pool, cx, add, &a);
	if (!e) {
		e = ctx_fail(cx, ERR_FACTOR_NEEDED, "%s",
		             err_text(ERR_FACTOR_NEEDED));
		memcpy(cx->problem.challenge, text, sizeof(text));
		log_info(cx, "auth.factor_asked", LOG_STR("sub", a.begin.sub));
	}
	explicit_bzero(raw, sizeof(raw));
	explicit_bzero(text, sizeof(text));
	return e;
}

/* --- coming back ---------------------------------------------------------- */

void challenge_open(struct challenge *c, struct str text, struct str ip,
                    int64_t now_ms)
{
	*c = (struct challenge){.now_ms = now_ms};
	hash_text(text, c->hash);
	(void)net_text(ip, c->network);
}

static void copy(char *out, size_t max, struct str s)
{
	(void)snprintf(out, max, "%.*s", STR_FMT(s));
}

static enum err take_row(void *arg, const struct db_row *row)
{
	struct challenge *c = arg;

	copy(c->sub, sizeof(c->sub), db_row_str(row, 0));
	copy(c->method, sizeof(c->method), db_row_str(row, 1));
	copy(c->key_id, sizeof(c->key_id), db_row_str(row, 2));
	c->created_ms = db_row_i64(row, 3);
	return OK;
}

enum err challenge_find(struct db *db, void *arg)
{
	struct challenge *c = arg;
	const struct db_val v[] = {
		DB_BLOB(((struct str){(const char *)c->hash, CHALLENGE_HASH})),
		DB_TEXT(c->network), DB_I64(c->now_ms)};
	const struct db_sink sink = {take_row, c};
	enum err e;

	c->sub[0] = '\0';
	e = db_run(db, STMT(CHALLENGE_FIND), v, COUNTOF(v), &sink);
	if (!e && !c->sub[0])
		e = ERR_BAD_LOGIN;
	return e;
}

/* Whether a password was changed, or all were logged out, since. */
static enum err rests(struct db *db, const struct challenge *c)
{
	const struct db_val v[] = {DB_TEXT(c->sub), DB_I64(c->created_ms)};
	int64_t one = 0;
	enum err e = db_get_i64(db, STMT(CHALLENGE_RESTS), v, COUNTOF(v), &one);

	return e == ERR_NOT_FOUND ? ERR_BAD_LOGIN : e;
}

enum err challenge_take(struct db *db, struct challenge *c,
                        struct key_owner *owner, struct session_begin *b)
{
	const struct db_val v[] = {
		DB_BLOB(((struct str){(const char *)c->hash, CHALLENGE_HASH}))};
	int64_t changed = 0;
	enum err e =
		db_change(db, STMT(CHALLENGE_TAKE), v, COUNTOF(v), &changed);

	if (!e && changed == 0)
		e = ERR_BAD_LOGIN;
	if (!e)
		e = rests(db, c);
	*b = (struct session_begin){
		.sub = str_from(c->sub),
		.method = c->method,
		.scopes = SCOPES_USUAL | SCOPE_ADMIN, /* as the role may */
		.now_ms = c->now_ms,
	};
	if (e || !c->key_id[0])
		return e;
	e = key_by_id(db, str_from(c->key_id), c->now_ms, owner);
	b->key_id = owner->id;
	b->scopes = owner->scopes;
	b->ends_ms = owner->expires_ms;
	return e == ERR_BAD_KEY ? ERR_BAD_LOGIN : e;
}
