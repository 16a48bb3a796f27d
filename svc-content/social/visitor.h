/*
 * visitor - the cookie by which somebody without a login is known again: who has
 * liked a graph can take it back.
 *
 *   1 . id . ends . mac     32 hex digits, epoch seconds, 32 hex digits
 *
 * Why:     the id is random and says nothing of anybody, neither address nor
 *          browser is in it.  The MAC shows that it is of our making, so that
 *          nobody can choose an id, nor go on with one when it has ended.
 * Key:     random, made once and kept in the database of svc-content, where all
 *          replicas find it and no other program looks.  Who can read that
 *          database can read the ids as well, so there is nothing to gain there.
 * Given:   only with the answer to a request that stores something for a
 *          visitor, and only to one without a genuine cookie; a forged, foreign or
 *          ended one is replaced then, and before that it is as none.
 * Ends:    VISITOR_S after it was given, as do the rows that it stands for.
 * Threads: any; what takes a struct db inside a transaction function.
 */
#ifndef SVC_CONTENT_SOCIAL_VISITOR_H
#define SVC_CONTENT_SOCIAL_VISITOR_H

#include "common/db/db.h"

#define VISITOR_KEY        32
#define VISITOR_ID         33 /* hex with its NUL */
#define VISITOR_S          INT64_C(31536000)
#define VISITOR_COOKIE_MAX 96

struct visitor_key {
	unsigned char k[VISITOR_KEY];
};

/* ERR_NOT_FOUND: none was made yet, so no cookie is genuine. */
enum err visitor_key_get(struct db *db, struct visitor_key *out) MUST_CHECK;
/* Makes it where there is none. */
enum err visitor_key_need(struct db *db, int64_t now_ms,
                          struct visitor_key *out) MUST_CHECK;
/* False: it is none of ours, or has ended. */
bool visitor_read(const struct visitor_key *k, struct str cookie, int64_t now_s,
                  char id[VISITOR_ID]);
/* A new one.  Text of the cookie, in out. */
struct str visitor_make(const struct visitor_key *k, int64_t now_s,
                        char id[VISITOR_ID], char out[VISITOR_COOKIE_MAX]);

#endif
