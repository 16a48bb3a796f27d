/*
 * users - the people: an internal id that never changes, a handle they chose,
 * and what they may do (design D24).
 *
 * Owns:    nothing; rows are copied into the caller's struct.
 * Threads: inside a db transaction function.
 */
#ifndef SVC_AUTH_USERS_H
#define SVC_AUTH_USERS_H

#include "svc-auth/email.h"
#include "svc-auth/rules.h"

#include "common/base/seal.h"
#include "common/base/uuid.h"
#include "common/db/db.h"
#include "common/event/event.h"

enum user_state { USER_ACTIVE, USER_DISABLED };
const char *user_state_name(enum user_state s); /* "active" */
bool user_state_from_str(struct str s, enum user_state *out) MUST_CHECK;

struct user {
	char sub[UUID_MAX];
	char handle[HANDLE_MAX + 1];
	enum role role;
	enum tier tier;
	enum user_state state;
	int64_t not_before_ms; /* tokens issued before it are void */
	int64_t created_ms;
	char email[EMAIL_MAX + 1];              /* empty: none */
	int64_t last_login_ms, password_set_ms; /* 0: never */
};

#define USER_COLUMNS 10 /* of every statement that reads a user, in front */

/* A new person: sub is made here, created_ms is now. */
void user_init(struct user *u, struct str handle, enum role role,
               enum tier tier, int64_t now_ms);
/*
 * Inserts it and tells svc-gdpr with the event user.registered {hnd, at}.
 * ERR_DB_DUPLICATE: the handle is taken, or was somebody's who has been erased;
 * handles is the key of the hashes of those (handle_retire()).
 */
enum err user_add(struct db *db, struct event_store *events,
                  const struct seal_key *handles,
                  const struct user *u) MUST_CHECK;
/*
 * The handle stays taken when its person is erased, so that nobody else can
 * pass for them; what is kept of it is a hash under a key of ours, which names
 * nobody to who has only the database.
 */
enum err handle_retire(struct db *db, const struct seal_key *handles,
                       struct str handle, int64_t now_ms) MUST_CHECK;
/* ERR_NOT_FOUND.  The handle is compared without regard to ASCII case. */
enum err user_by_handle(struct db *db, struct str handle,
                        struct user *out) MUST_CHECK;
enum err user_by_sub(struct db *db, struct str sub,
                     struct user *out) MUST_CHECK;
/* False when the row holds what this program never writes. */
bool user_from_row(const struct db_row *row, struct user *out) MUST_CHECK;
/* Sets role and tier. */
enum err user_grant(struct db *db, const struct user *u) MUST_CHECK;
/* Sets the state. */
enum err user_set_state(struct db *db, const struct user *u) MUST_CHECK;
/* Sets not_before. */
enum err user_void(struct db *db, const struct user *u) MUST_CHECK;
/* Keeps others from adding keys for this person until the commit. */
enum err user_lock(struct db *db, struct str sub) MUST_CHECK;
/* By handle, locked as by user_lock() and read behind that. */
enum err user_hold(struct db *db, struct str handle,
                   struct user *out) MUST_CHECK;
/*
 * Notes a login at now_ms and reads the person, locked until the commit, so
 * that a disable and a login come one after the other.  ERR_NOT_FOUND: there is
 * nobody of that sub, or they are not active.
 */
enum err user_enter(struct db *db, struct str sub, int64_t now_ms,
                    struct user *out) MUST_CHECK;

#endif
