/*
 * challenge - a login half done: the first factor was right, the second is to
 * come (design D25; ASVS 5.0 6.6.2).
 *
 *     lc_ and 43 characters of base64url, which the client gives back with a code
 *
 * It stands for whoever proved the first factor, so it is opaque, kept as
 * SHA-256, good from the network it was given to, for CHALLENGE_MS and for one
 * login.  A wrong code does not use it up: people mistype, and factor.h counts.
 * It is no proof of its own: the key that was used must be live still, or the
 * password unchanged.
 *
 * Owns:    nothing.
 * Threads: any; functions with a db inside a transaction function.
 */
#ifndef SVC_AUTH_CHALLENGE_H
#define SVC_AUTH_CHALLENGE_H

#include "common/base/net.h"
#include "svc-auth/session.h"

#define CHALLENGE_MS   ((int64_t)5 * 60 * 1000)
#define CHALLENGE_HASH 32

/*
 * Says, in the transaction that opens the session or makes the challenge, that
 * whoever it is may: the key is live, the password as it was (whose throttle then
 * forgets the attempt).  Fills *b, whose texts live as long as arg.  May run
 * again.
 */
typedef enum err admit_fn(struct db *db, void *arg, struct session_begin *b);

/* Makes one for who `who` says.  ERR_FACTOR_NEEDED with it in cx->problem, or
 * why not. */
enum err challenge_make(struct auth *au, struct ctx *cx, admit_fn *who,
                        void *arg) MUST_CHECK;

struct challenge {
	unsigned char hash[CHALLENGE_HASH];
	char network[NET_TEXT_MAX];
	int64_t now_ms;
	/* What is found: */
	char sub[UUID_MAX], key_id[UUID_MAX]; /* key_id empty: none */
	char method[24];
	int64_t created_ms;
};
/* The text that a client gave, and from where. */
void challenge_open(struct challenge *c, struct str text, struct str ip,
                    int64_t now_ms);
/* A db_fn of one read; arg is a struct challenge.  ERR_BAD_LOGIN: there is none,
 * or not for this network, or it is too old. */
enum err challenge_find(struct db *db, void *arg) MUST_CHECK;
/* Uses it up, and says whose session may begin: what *b points to lives as long
 * as c and *owner.  ERR_BAD_LOGIN: it was used, or what it rests on is gone. */
struct key_owner;
enum err challenge_take(struct db *db, struct challenge *c,
                        struct key_owner *owner,
                        struct session_begin *b) MUST_CHECK;

#endif
