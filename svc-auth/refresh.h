/*
 * refresh - the refresh tokens of a session (design D26).
 *
 *   t1 ──▶ t2 ──▶ t3        one is good at a time; each is used once
 *
 * The first is random, each further one a keyed hash of the one before.  So the
 * answer that was lost, and the second tab that came with the same token, can be
 * given the very successor that the first use got, although only SHA-256 of
 * tokens is stored: there is one line of descent, whoever asks how often.
 *
 * Bounds:  REFRESH_KEPT rows of a session.
 * Owns:    nothing.  Tokens are the caller's to wipe.
 * Threads: any; the database functions inside a transaction function.
 */
#ifndef SVC_AUTH_REFRESH_H
#define SVC_AUTH_REFRESH_H

#include "svc-auth/session.h"

#define REFRESH_KEPT 100

/* What a token is of which the session knows. */
enum refresh_verdict {
	REFRESH_DEAD,   /* the session is over, or its owner may not log in */
	REFRESH_GOOD,   /* the one that is good now */
	REFRESH_AGAIN,  /* the one before it, within REFRESH_GRACE_S */
	REFRESH_REUSED, /* used long ago: somebody has a copy */
};

struct refresh_row {
	struct session_row session;
	int64_t ends_ms;
	bool ended;
	bool key_dead;      /* the API key that opened it is no key any more */
	int64_t counter;    /* of the session: the token that is good */
	int64_t rotated_ms; /* when that one was made */
	int64_t token;      /* counter of the token that came */
};

enum refresh_verdict refresh_judge(const struct refresh_row *r,
                                   const struct user *u, int64_t grace_ms,
                                   int64_t now_ms);

void refresh_first(char out[REFRESH_TOKEN_MAX]);
void refresh_next(const struct seal_key *key, struct str token,
                  char out[REFRESH_TOKEN_MAX]);
enum err refresh_add(struct db *db, const char *sid, int64_t counter,
                     const char *token, int64_t now_ms) MUST_CHECK;

/*
 * Exchanges a token for the next one and an access token.  ERR_BAD_TOKEN: it is
 * unknown or dead, or *stolen and then its session, in out->sid, is to be ended
 * by the caller, because this transaction leaves nothing behind.
 */
enum err refresh_rotate(struct auth *au, struct db *db, struct str token,
                        int64_t now_ms, struct session_grant *out,
                        bool *stolen) MUST_CHECK;
/*
 * An access token for the live session of another one, which this ends; jti is
 * that one's.  No refresh token: a bearer does not prove that one has it.
 * ERR_BAD_TOKEN.
 */
enum err refresh_bearer(struct auth *au, struct db *db, struct str sub,
                        struct str sid, struct str jti, int64_t now_ms,
                        struct session_grant *out,
                        struct revoke_batch *batch) MUST_CHECK;

#endif
