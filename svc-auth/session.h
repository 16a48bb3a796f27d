/*
 * session - how every login ends and how what it gave is taken back (design
 * D26, D28).
 *
 * A session is a row.  It has one opaque refresh token at a time (refresh.h)
 * and gives access tokens that name it in `sid`.  It is live while nobody has
 * ended it and ends_at has not come: REFRESH_TOKEN_TTL after the login, or
 * SESSION_IDLE_TTL after the last sign of life, which is the login, a refresh,
 * or a client asking who it is (validate, me); other requests are answered
 * without svc-auth.  It never outlives the API key that opened it.
 *
 * Ending one takes effect in two places: the row, so that nothing is refreshed
 * any more, and a revocation, so that gateways stop believing its access tokens
 * within a second.
 *
 * Bounds:  SESSIONS_MAX live sessions of a person; logins at the same moment
 *          wait for each other (user_enter()).
 * Owns:    struct session_grant holds tokens: session_grant_fini() wipes them.
 * Threads: inside a db transaction function, the caller's.  What was revoked
 *          is told after the commit by auth_committed(au, batch).
 */
#ifndef SVC_AUTH_SESSION_H
#define SVC_AUTH_SESSION_H

#include "svc-auth/auth.h"
#include "svc-auth/users.h"

#define REFRESH_TOKEN_MAX 48 /* "rt_", 43 characters and the NUL */

struct session_begin {
	struct str sub;
	const char *method; /* how they proved it: "api_key", "password", ... */
	const char *key_id; /* the API key; NULL: none */
	uint32_t scopes;    /* what it may do, within what the role may */
	int64_t ends_ms; /* at the latest, as the API key does; 0: no matter */
	int64_t now_ms;
};

/* What a login or a refresh gives; zeroed at first. */
struct session_grant {
	struct user user; /* as it is now */
	char sid[UUID_MAX];
	struct buf access;
	int64_t access_s;                /* from now */
	char refresh[REFRESH_TOKEN_MAX]; /* empty: none was asked for */
	int64_t refresh_s;
};
void session_grant_fini(struct session_grant *g);
#define AUTO_SESSION_GRANT \
	__attribute__((cleanup(session_grant_fini))) struct session_grant

/*
 * Makes the row and the tokens, from db_cx(db)'s address and user agent.  May
 * be called again with the same *out, as transaction functions are.
 * ERR_NOT_FOUND: this person cannot log in (not there, or not active); the
 * caller answers it as it does wrong credentials.
 */
enum err session_open(struct auth *au, struct db *db,
                      const struct session_begin *b, struct session_grant *out,
                      struct revoke_batch *batch) MUST_CHECK;

/* The answer of a login or refresh, a map; the caller appends `more` pairs. */
void session_answer(struct buf *b, const struct session_grant *g,
                    const char *message, size_t more);

/*
 * Ends one.  why is a word for the row and the log: "logout", "revoked",
 * "reuse", "excess", ...  ERR_NOT_FOUND: no live session of this person has
 * that id.
 */
enum err session_end(struct auth *au, struct db *db, struct str sub,
                     struct str sid, const char *why, int64_t now_ms,
                     struct revoke_batch *batch) MUST_CHECK;
/*
 * All but `keep`: when a password or a factor was changed.  Whoever did that
 * has just proved who they are, so the auth_time of the one kept is now_ms; its
 * tokens stay good.  An API key's sid, or none, keeps nothing.
 */
enum err session_end_others(struct auth *au, struct db *db, struct str sub,
                            struct str keep, const char *why, int64_t now_ms,
                            struct revoke_batch *batch) MUST_CHECK;
/*
 * All, and every access token of this person issued so far, also of sessions
 * that have no row: for a disable, an erasure, a logout everywhere.
 * ERR_NOT_FOUND: there is no such person.
 */
enum err session_end_all(struct auth *au, struct db *db, struct str sub,
                         const char *why, int64_t now_ms,
                         struct revoke_batch *batch) MUST_CHECK;
/*
 * Every access token of this person issued so far is void, while the sessions
 * go on: their next token says what has changed, as a role.  u is their row,
 * locked by this transaction; its not_before_ms is set.
 */
enum err session_void_tokens(struct auth *au, struct db *db, struct user *u,
                             int64_t now_ms,
                             struct revoke_batch *batch) MUST_CHECK;
/* Those that an API key opened; the tokens die by the key's own revocation. */
enum err session_end_key(struct db *db, struct str key_id, const char *why,
                         int64_t now_ms) MUST_CHECK;

/*
 * A sign of life at at_ms; written at most once per SESSION_SEEN_MS, and not to
 * a session that is over.
 */
#define SESSION_SEEN_MS KEY_USED_EVERY_MS
enum err session_seen(struct auth *au, struct db *db, struct str sid,
                      int64_t at_ms) MUST_CHECK;
/* Appends one map per live session, the one of last use first; *n counts them.
 * here: the sid of who asks. */
enum err session_list(struct db *db, struct str sub, struct str here,
                      int64_t now_ms, struct buf *out, uint32_t *n) MUST_CHECK;

/* --- for refresh ---------------------------------------------------------- */

struct session_row {
	char sid[UUID_MAX];
	char key_id[UUID_MAX]; /* empty: none */
	uint32_t scopes;
	int64_t auth_time_ms, expires_ms;
};
/* Signs an access token for the session of out->user: access and access_s. */
enum err session_token(struct auth *au, const struct session_row *s,
                       int64_t now_ms, struct session_grant *out) MUST_CHECK;
/* When a session ends that shows life at now_ms. */
int64_t session_ends(const struct auth *au, int64_t expires_ms, int64_t now_ms);

#endif
