/*
 * password - hashes passwords with argon2id, and proves who somebody is by one
 * (design D25, D30).
 *
 * Cost:    PASSWORD_HASH_PASSES over PASSWORD_HASH_MEMORY_MB; how many are made
 *          at once is bounded by the threads of the SLOW lane (password_lane()),
 *          so their memory is too.  Beyond its queue a request gets 503.
 * Alike:   an account that is not there, one without a password, one that is
 *          disabled and a wrong password take the same statements and one hash
 *          of the same cost, and are the same error.  (A hash of older settings
 *          has their cost until its owner's next login.)
 * Secrets: what was typed is a slice of the request, which dispatch wipes.  No
 *          copy is made but by libsodium, which wipes its own.
 * Threads: SLOW lane only, which dispatch sees to by FIELD(..., SECRET, ...);
 *          never within a transaction: a hash takes long.
 */
#ifndef SVC_AUTH_PASSWORD_H
#define SVC_AUTH_PASSWORD_H

#include "svc-auth/throttle.h"
#include "svc-auth/users.h"

#include "common/base/conf.h"

#define PASSWORD_TEXT_MAX crypto_pwhash_STRBYTES

struct auth;
struct lane_conf;

struct hasher {
	unsigned long long passes;
	size_t memory;
	/* Fits no password; verified where there is none. */
	char dummy[PASSWORD_TEXT_MAX];
};
void hasher_init(struct hasher *h, const struct settings *conf);
/* service_def.slow_lane */
void password_lane(const struct settings *conf, struct lane_conf *lane);

/* ERR_NOMEM.  out is argon2id's own text, with its settings and salt. */
enum err password_hash(const struct hasher *h, struct str typed,
                       char out[PASSWORD_TEXT_MAX]) MUST_CHECK;
/*
 * hash: NUL terminated; empty: there is none, which costs the same.
 * ERR_BAD_LOGIN, ERR_NOMEM; ERR_INTERNAL: hash is none that we wrote.
 */
enum err password_verify(const struct hasher *h, const char *hash,
                         struct str typed) MUST_CHECK;
/* Whether hash was made with other settings than those in force. */
bool password_is_old(const struct hasher *h, const char *hash);

/* --- whose ------------------------------------------------------------------ */

enum password_by { PASSWORD_BY_EMAIL, PASSWORD_BY_HANDLE, PASSWORD_BY_SUB };

struct password_owner {
	struct user user;
	char hash[PASSWORD_TEXT_MAX]; /* empty: has none */
};
/* name as typed.  ERR_NOT_FOUND. */
enum err password_find(struct db *db, enum password_by by, struct str name,
                       struct password_owner *out) MUST_CHECK;
/* Gives a new person an address and a password.  ERR_DB_DUPLICATE: somebody has
 * the address.  u->email and u->password_set_ms are set. */
enum err password_add(struct db *db, struct user *u, struct str email,
                      const char *hash) MUST_CHECK;
/*
 * In place of old (empty: none); at 0 leaves the time at which it was set.
 * ERR_CONFLICT: it is another one by now.
 */
enum err password_replace(struct db *db, struct str sub, const char *old,
                          const char *hash, int64_t at_ms) MUST_CHECK;

/*
 * An attempt to prove who one is: throttled, looked up, verified.  ERR_BAD_LOGIN
 * alike for all that is not right, ERR_RATE_LIMITED with Retry-After, both
 * without regard to whether there is such an account.  OK: the caller says so
 * by throttle_good(db, &p->throttle) in the transaction of what it is for.
 */
struct password_proof {
	enum password_by by;
	struct str name, typed;
	struct throttle throttle;
	struct password_owner owner; /* on OK */
};
enum err password_prove(struct auth *au, struct ctx *cx,
                        struct password_proof *p) MUST_CHECK;

/*
 * The same for who is logged in as sub and confirms it, with its own
 * transaction for the success.
 */
enum err password_check(struct auth *au, struct ctx *cx, struct str sub,
                        struct str typed) MUST_CHECK;

#endif
