/*
 * factor - the second factor of a person: an authenticator app (totp.h) and the
 * recovery codes beside it (recovery.h).
 *
 *     none ──▶ pending ──▶ active ──▶ none
 *
 * A secret is pending until a first code has shown that the app has it; only an
 * active factor is asked for.
 *
 * Guessing: each attempt is paid for before it is looked at, in a transaction of
 *          its own (factor_charge()), so that a refusal, which rolls back, cannot
 *          give it back, and a thousand at once are counted one by one by all
 *          replicas.  FACTOR_FREE may follow each other; then one has to wait
 *          1, 2, 4 ... FACTOR_WAIT_MAX_S seconds; a good code sets it to nothing.
 *          Who cannot log in otherwise gets nowhere near it, so that nobody can
 *          lock somebody else out whose password they do not know.
 * Once:    what a code was used for and that it was used are one transaction
 *          (factor_use()), under the lock of the person's row.
 * Owns:    nothing.
 * Threads: any; functions with a db inside a transaction function, of a write.
 */
#ifndef SVC_AUTH_FACTOR_H
#define SVC_AUTH_FACTOR_H

#include "svc-auth/auth.h"
#include "svc-auth/recovery.h"
#include "svc-auth/totp.h"

#define FACTOR_FREE       3
#define FACTOR_WAIT_MAX_S 900
#define FACTOR_PENDING_MS ((int64_t)15 * 60 * 1000)

struct factor {
	bool pending, active;
	int64_t created_ms, active_ms;
	int64_t codes;    /* recovery codes left */
	bool session_had; /* the session was opened with this factor */
};
/* A read of one statement; zeros when there is none.  sid: empty for none. */
enum err factor_read(struct db *db, struct str sub, struct str sid,
                     struct factor *out) MUST_CHECK;
/* What an admit() adds to the method of such a session. */
#define FACTOR_METHOD_TOTP     "+totp"
#define FACTOR_METHOD_RECOVERY "+recovery"

/* A pending secret in place of one before.  ERR_EXISTS: one is active. */
enum err factor_begin(struct auth *au, struct db *db, struct str sub,
                      const unsigned char secret[TOTP_SECRET],
                      int64_t now_ms) MUST_CHECK;
/*
 * Makes it active.  ERR_NOT_FOUND: nothing is pending, or for too long;
 * ERR_BAD_LOGIN: not its code.
 */
enum err factor_confirm(struct auth *au, struct db *db, struct str sub,
                        struct str code, int64_t now_ms) MUST_CHECK;
/* Without its recovery codes, too.  ERR_NOT_FOUND. */
enum err factor_remove(struct db *db, struct str sub) MUST_CHECK;
/* All anew; those before are void. */
enum err factor_codes(struct auth *au, struct db *db, struct str sub,
                      char codes[RECOVERY_CODES][RECOVERY_MAX]) MUST_CHECK;

/*
 * Counts an attempt.  ERR_RATE_LIMITED, told in cx: it is too early for one;
 * ERR_NOT_FOUND: no active factor.
 */
enum err factor_charge(struct auth *au, struct ctx *cx,
                       struct str sub) MUST_CHECK;
struct factor_use {
	struct str sub, code; /* of the app or for recovery, as typed */
	int64_t now_ms;
	bool recovery; /* out: it was a recovery code */
};
/*
 * Takes the code.  ERR_BAD_LOGIN: it is none, or was used; ERR_NOT_FOUND: no
 * active factor.
 */
enum err factor_use(struct auth *au, struct db *db,
                    struct factor_use *u) MUST_CHECK;
/* Both, in transactions of their own.  Errors as of the two, told in cx. */
enum err factor_prove(struct auth *au, struct ctx *cx, struct str sub,
                      struct str code) MUST_CHECK;
/* The words of ERR_BAD_LOGIN; the log says so. */
enum err factor_refused(struct auth *au, struct ctx *cx, struct str sub);
/* After the commit, when it was a recovery code. */
void factor_used(struct ctx *cx, const struct factor_use *u);

/* Seconds until the next attempt, after the n-th in a row. */
int64_t factor_wait_s(int64_t n);

#endif
