/*
 * root_key - the random keys of a service, from which all that it seals or
 * hashes with a key derives.  They lie in its database, sealed under one of
 * KEY_ENCRYPTION_KEY (base/kek.h): that one can be replaced without touching
 * anything that derives from them.
 *
 *     KEY_ENCRYPTION_KEY ─ seals ─▶ root keys ─ derive ─▶ a key for each use
 *
 * At start, in one transaction under a lock, so that replicas agree:
 *     none there, nothing sealed yet     two random ones, sealed under the first
 *     none there, but sealed values are  what sealed them, of the keys given:
 *                                        from before there were root keys
 *     sealed under another of the list   sealed anew, under the first
 *     sealed under one not in the list   refused, nothing is written
 *
 * A process holds the root keys in memory and goes on whatever others do; that
 * it could not start again is what its check "key_encryption_key" says.
 *
 * Owns:    copies of the ids of the keys it was given; hands out root keys, which
 *          are the caller's to wipe.
 * Threads: root_key_open() the owner; the others any.  One lock, a leaf.
 */
#ifndef SERVICE_ROOT_KEY_H
#define SERVICE_ROOT_KEY_H

#include "common/base/kek.h"
#include "common/db/db.h"
#include "common/obs/health.h"

/* The table, a migration of each service that has root keys: one row.  kek: the
 * id of the key that seals it. */
#define ROOT_KEY_TABLE(t, bytes, num)                          \
	"CREATE TABLE " t "root_key (id " num " PRIMARY KEY, " \
	"kek TEXT NOT NULL, sealed " bytes " NOT NULL, "       \
	"created_at " num " NOT NULL, sealed_at " num " NOT NULL);"
#define ROOT_KEY_TABLE_SQLITE ROOT_KEY_TABLE("", "BLOB", "INTEGER")
#define ROOT_KEY_TABLE_POSTGRES(schema) \
	ROOT_KEY_TABLE(schema ".", "BYTEA", "BIGINT")

/* Two, because what is sealed can be sealed anew, and a hash cannot be made
 * anew without what was hashed. */
struct root_keys {
	struct seal_key seal, hash;
};

/* What the database holds against a key from before there were root keys. */
enum root_claim {
	ROOT_UNUSED,  /* nothing was ever sealed or hashed in it */
	ROOT_FITS,    /* the key opens it, or there is nothing to try it on */
	ROOT_REFUSES, /* it was sealed with another */
};
typedef enum err root_probe_fn(struct db *db, const struct seal_key *key,
                               enum root_claim *out);

struct root_key;
struct root_key *root_key_new(const char *service); /* NULL without memory */
void root_key_free(struct root_key *r);             /* NULL is fine */
AUTO_TYPE(root_key, struct root_key *, root_key_free)

/*
 * The database is migrated.  ERR_INVALID, told on the log: the keys given are
 * not usable, or not those of this database, which no retry will mend.
 */
enum err root_key_open(struct root_key *r, struct db_pool *pool, struct ctx *cx,
                       const struct settings *settings, root_probe_fn *probe,
                       struct root_keys *out) MUST_CHECK;
/* Looks under which key they are sealed now.  A failure changes nothing. */
void root_key_look(struct root_key *r, struct db_pool *pool, struct ctx *cx);
/* A health_check_fn: UP when the first key of our list seals them. */
enum health_state root_key_check(void *arg, char *detail, size_t max);

static inline void root_keys_auto(struct root_keys *k)
{
	explicit_bzero(k, sizeof(*k));
}
#define AUTO_ROOT_KEYS __attribute__((cleanup(root_keys_auto))) struct root_keys

#endif
