#include "svc-auth/password.h"

#include "svc-auth/auth.h"
#include "svc-auth/email.h"
#include "svc-auth/stmts.h"

#include "common/base/clock.h"
#include "common/base/cores.h"
#include "common/service/lane.h"

#include <errno.h>
#include <stdio.h>

#define SALT_CHARS 22 /* base64 of 16 bytes, without padding */
#define HASH_CHARS 43 /* of 32 bytes */

/* --- hashing ----------------------------------------------------------------- */

/* Random letters are base64, too, and no password is known that fits them. */
static void letters(char *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (char)('a' + randombytes_uniform(26));
	/* The last of each has two or four bits that must be zero. */
	out[n - 1] = 'A';
	out[n] = '\0';
}

void hasher_init(struct hasher *h, const struct settings *conf)
{
	char salt[SALT_CHARS + 1], hash[HASH_CHARS + 1];

	h->passes = conf->password_hash_passes;
	h->memory = (size_t)conf->password_hash_memory_mb << 20;
	letters(salt, SALT_CHARS);
	letters(hash, HASH_CHARS);
	(void)snprintf(h->dummy, sizeof(h->dummy),
	               "$argon2id$v=19$m=%zu,t=%llu,p=1$%s$%s",
	               h->memory / 1024, h->passes, salt, hash);
}

void password_lane(const struct settings *conf, struct lane_conf *lane)
{
	unsigned cores = cores_usable();
	uint64_t fit =
		conf->password_hash_total_mb / conf->password_hash_memory_mb;

	if (fit > cores)
		fit = cores;
	lane->threads = fit ? (unsigned)fit : 1;
	lane->queue_max = (unsigned)conf->password_queue;
	lane->wait_max_ms = (unsigned)conf->password_queue_ms;
}

enum err password_hash(const struct hasher *h, struct str typed,
                       char out[PASSWORD_TEXT_MAX])
{
	return crypto_pwhash_str_alg(out, typed.p, typed.n, h->passes,
	                             h->memory, crypto_pwhash_ALG_ARGON2ID13)
	               ? ERR_NOMEM
	               : OK;
}

enum err password_verify(const struct hasher *h, const char *hash,
                         struct str typed)
{
	bool has = hash[0] != '\0';
	int wrong;

	if (has &&
	    crypto_pwhash_str_needs_rehash(hash, h->passes, h->memory) < 0)
		return ERR_INTERNAL;
	errno = 0;
	wrong = crypto_pwhash_str_verify(has ? hash : h->dummy, typed.p,
	                                 typed.n);
	/* It fails in one way; only errno tells what for. */
	if (wrong && errno != EINVAL)
		return ERR_NOMEM;
	return wrong || !has ? ERR_BAD_LOGIN : OK;
}

bool password_is_old(const struct hasher *h, const char *hash)
{
	return crypto_pwhash_str_needs_rehash(hash, h->passes, h->memory) != 0;
}

/* --- rows -------------------------------------------------------------------- */

struct found {
	struct password_owner *owner;
	bool any;
};

static enum err take_owner(void *arg, const struct db_row *row)
{
	struct found *f = arg;
	struct str hash = db_row_str(row, USER_COLUMNS);

	if (hash.n >= sizeof(f->owner->hash) ||
	    !user_from_row(row, &f->owner->user))
		return ERR_INTERNAL;
	if (hash.n)
		memcpy(f->owner->hash, hash.p, hash.n);
	f->owner->hash[hash.n] = '\0';
	f->any = true;
	return OK;
}

/* The form that is unique.  What is too long for one stays, and is nobody's. */
static struct str key_of(enum password_by by, struct str name,
                         char out[EMAIL_MAX + 1])
{
	switch (by) {
	case PASSWORD_BY_EMAIL:
		return name.n > EMAIL_MAX ? name : email_fold(name, out);
	case PASSWORD_BY_HANDLE:
		return name.n > HANDLE_MAX ? name : handle_fold(name, out);
	case PASSWORD_BY_SUB:
		break;
	}
	return name;
}

enum err password_find(struct db *db, enum password_by by, struct str name,
                       struct password_owner *out)
{
	static const struct db_stmt *const by_what[] = {
		[PASSWORD_BY_EMAIL] = STMT(PASSWORD_EMAIL),
		[PASSWORD_BY_HANDLE] = STMT(PASSWORD_HANDLE),
		[PASSWORD_BY_SUB] = STMT(PASSWORD_SUB),
	};
	char folded[EMAIL_MAX + 1];
	const struct db_val v[] = {DB_STR(key_of(by, name, folded))};
	struct found f = {out, false};
	const struct db_sink sink = {take_owner, &f};
	enum err e;

	*out = (struct password_owner){0};
	e = db_run(db, by_what[by], v, COUNTOF(v), &sink);
	if (!e && !f.any)
		e = ERR_NOT_FOUND;
	return e;
}

enum err password_add(struct db *db, struct user *u, struct str email,
                      const char *hash)
{
	char folded[EMAIL_MAX + 1];
	const struct db_val v[] = {DB_STR(email),
	                           DB_STR(email_fold(email, folded)),
	                           DB_TEXT(hash), DB_I64(u->created_ms),
	                           DB_TEXT(u->sub)};

	(void)snprintf(u->email, sizeof(u->email), "%.*s", STR_FMT(email));
	u->password_set_ms = u->created_ms;
	return db_run(db, STMT(PASSWORD_ADD), v, COUNTOF(v), NULL);
}

enum err password_replace(struct db *db, struct str sub, const char *old,
                          const char *hash, int64_t at_ms)
{
	const struct db_val v[] = {DB_TEXT(hash), DB_I64(at_ms), DB_STR(sub),
	                           DB_TEXT(old)};
	int64_t changed = 0;
	enum err e = db_change(db, STMT(PASSWORD_SET), v, COUNTOF(v), &changed);

	return !e && changed == 0 ? ERR_CONFLICT : e;
}

/* --- a proof ----------------------------------------------------------------- */

/* A db_fn. */
static enum err charge_and_find(struct db *db, void *arg)
{
	struct password_proof *p = arg;
	enum err e = throttle_take(db, &p->throttle);

	if (!e)
		e = password_find(db, p->by, p->name, &p->owner);
	/* The charge stands, and the dummy is verified. */
	return e == ERR_NOT_FOUND ? OK : e;
}

enum err password_prove(struct auth *au, struct ctx *cx,
                        struct password_proof *p)
{
	static const char *const kinds[] = {[PASSWORD_BY_EMAIL] = "email",
	                                    [PASSWORD_BY_HANDLE] = "handle",
	                                    [PASSWORD_BY_SUB] = "sub"};
	char folded[EMAIL_MAX + 1];
	enum err e;

	throttle_init(&p->throttle, &au->throttle, kinds[p->by],
	              key_of(p->by, p->name, folded), cx->ip, wall_ms());
	e = db_write(au->conf.pool, cx, charge_and_find, p);
	if (e == ERR_RATE_LIMITED)
		return throttle_refuse(cx, &p->throttle);
	if (!e)
		e = password_verify(&au->hasher, p->owner.hash, p->typed);
	if (!e && p->owner.user.state != USER_ACTIVE)
		e = ERR_BAD_LOGIN;
	return e;
}

/* A db_fn. */
static enum err forgive(struct db *db, void *arg)
{
	return throttle_good(db, arg);
}

enum err password_check(struct auth *au, struct ctx *cx, struct str sub,
                        struct str typed)
{
	struct password_proof p = {.by = PASSWORD_BY_SUB,
	                           .name = sub,
	                           .typed = typed};
	enum err e = password_prove(au, cx, &p);

	return e ? e : db_write(au->conf.pool, cx, forgive, &p.throttle);
}
