/*
 * auth - the state of svc-auth: what its methods work with.
 *
 * It knows the database, the settings and two functions of the service around
 * it, but not the service itself, so that tests run the methods over either
 * database without a bus.
 *
 * Owns:    signing keys and the notes of used; the rest is borrowed.  conf.idem
 *          seals with a key of ours: no request after auth_free().
 * Threads: methods from any lane; auth_new() and auth_free() the owner.
 *          auth_upkeep() one thread.
 */
#ifndef SVC_AUTH_AUTH_H
#define SVC_AUTH_AUTH_H

#include "svc-auth/audit_failed.h"
#include "svc-auth/password.h"
#include "svc-auth/revoke.h"
#include "svc-auth/signing.h"
#include "svc-auth/used.h"

#include "common/base/conf.h"
#include "common/service/erase.h"
#include "common/service/root_key.h"

struct auth_conf {
	const struct settings *settings;
	struct db_pool *pool;
	const struct root_keys *keys; /* while auth_new() runs */
	struct root_key *root;        /* looked at in upkeep; or NULL */
	struct event_store *events;
	struct idem *idem;       /* auth_new() gives it a seal */
	struct erase *erase;     /* of auth_erase */
	void (*kick)(void *arg); /* the outbox has something */
	void (*push)(void *arg, struct str bytes); /* to every gateway */
	void *arg;
};

struct auth {
	struct auth_conf conf;
	int64_t token_ttl_s;
	struct seal_key answers;  /* seals those that show a key or a token */
	struct seal_key refresh;  /* of refresh_next() */
	struct seal_key throttle; /* names its rows */
	struct hasher hasher;
	struct seal_key totp;     /* seals the secrets of factors */
	struct seal_key recovery; /* of the hashes of recovery codes */
	struct seal_key handles;  /* of the hashes in erased_handles */
	struct signing *signing;
	struct used used, seen; /* API keys; sessions */
	struct audit_failed failed;
};

/*
 * Opens the signing keys and makes sure of the bootstrap administrator.
 * ERR_INVALID: told on the log, will never work.
 */
enum err auth_new(const struct auth_conf *conf, struct ctx *cx,
                  struct auth **out) MUST_CHECK;
void auth_free(struct auth *au); /* NULL is fine */
AUTO_TYPE(auth, struct auth *, auth_free)

/* Adds a revocation that outlives every token issued so far. */
enum err auth_revoke(struct auth *au, struct db *db, enum revoke_kind kind,
                     struct str id, int64_t now_ms,
                     struct revoke_batch *batch) MUST_CHECK;
/* The same of what was issued up to at_ms, which REVOKE_SUB looks at. */
enum err auth_revoke_at(struct auth *au, struct db *db, enum revoke_kind kind,
                        struct str id, int64_t at_ms, int64_t now_ms,
                        struct revoke_batch *batch) MUST_CHECK;
/* After the commit: tells the gateways and the relay. */
void auth_committed(struct auth *au, const struct revoke_batch *batch);

enum auth_task {
	TASK_KEYS = 1,
	TASK_USED = 2,
	TASK_PRUNE = 4,
	TASK_FAILED = 8,
	TASK_LAST = 16, /* FAILED also where it is not due yet: at the end */
};
/* Does the tasks (bits); failures are logged and met again next time. */
void auth_upkeep(struct auth *au, struct ctx *cx, unsigned tasks,
                 int64_t now_ms);

#endif
