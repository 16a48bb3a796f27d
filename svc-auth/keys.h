/*
 * keys - API keys: shown once, kept as SHA-256, with scopes, expiry and last
 * use (design D25).
 *
 * Why SHA-256 and no password hash: a key we make has 256 bits of entropy, so
 * there is nothing to guess; a chosen ADMIN_API_KEY must have 32 characters.
 *
 * Bounds:  KEYS_LIVE_MAX live keys per person, under the lock of user_lock().
 * Owns:    nothing.  struct new_key holds the key itself: new_key_wipe() it.
 * Threads: inside a db transaction function.
 */
#ifndef SVC_AUTH_KEYS_H
#define SVC_AUTH_KEYS_H

#include "svc-auth/users.h"

#define KEY_NAME_MAX   100 /* code points */
#define KEY_PREFIX_MAX 24

struct new_key {
	char id[UUID_MAX];
	char text[API_KEY_MAX]; /* the key; empty where it was given to us */
	unsigned char hash[API_KEY_HASH];
	char prefix[KEY_PREFIX_MAX]; /* what a list shows */
	struct str name;
	uint32_t scopes;
	const char *origin;             /* "self", "admin", "set", "made" */
	int64_t created_ms, expires_ms; /* expires_ms 0: never */
};

/* Makes id, text, hash and prefix; the rest is the caller's to fill. */
void new_key_make(struct new_key *k);
/* The same for a key that somebody chose: its prefix says nothing of it. */
void new_key_given(struct new_key *k, struct str text, const char *prefix);
void new_key_wipe(struct new_key *k);
static inline void new_key_auto(struct new_key *k)
{
	new_key_wipe(k);
}
#define AUTO_NEW_KEY __attribute__((cleanup(new_key_auto))) struct new_key

/* ERR_CONFLICT: the person has KEYS_LIVE_MAX live keys already. */
enum err key_room(struct db *db, struct str sub, int64_t now_ms) MUST_CHECK;
enum err key_add(struct db *db, struct str sub,
                 const struct new_key *k) MUST_CHECK;

struct key_owner {
	struct user user;
	char id[UUID_MAX];
	uint32_t scopes; /* of the key, within what the role may do */
	int64_t last_used_ms, expires_ms; /* 0: never */
};
/*
 * Whose live key has this hash.  ERR_BAD_KEY alike for unknown, revoked and
 * expired keys and for people who are not active.
 */
enum err key_owner(struct db *db, const unsigned char hash[API_KEY_HASH],
                   int64_t now_ms, struct key_owner *out) MUST_CHECK;
/* The same by the key's id. */
enum err key_by_id(struct db *db, struct str id, int64_t now_ms,
                   struct key_owner *out) MUST_CHECK;

/* key_owner() as a db_fn; arg is a struct key_search. */
struct key_search {
	unsigned char hash[API_KEY_HASH];
	int64_t now_ms;
	struct key_owner owner;
};
enum err key_search(struct db *db, void *arg) MUST_CHECK;

/* "scopes": [names] */
void key_pack_scopes(struct buf *b, uint32_t scopes);
/* Appends one map per key of sub that is not revoked; *n counts them. */
enum err key_list(struct db *db, struct str sub, struct buf *out,
                  uint32_t *n) MUST_CHECK;
/* ERR_NOT_FOUND: no live key of this person has that id. */
enum err key_revoke(struct db *db, struct str sub, struct str id,
                    int64_t now_ms) MUST_CHECK;
enum err key_used(struct db *db, struct str id, int64_t at_ms) MUST_CHECK;

#define KEY_USED_EVERY_MS ((int64_t)60 * 1000)

#endif
