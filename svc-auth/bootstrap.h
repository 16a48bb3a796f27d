/*
 * bootstrap - the first administrator, without whom nobody could make another
 * (design D26).
 *
 * The handle is "admin", the tier unlimited.  Its key is ADMIN_API_KEY; where
 * that is empty, one is made and written to DATA_DIR/admin.key.  The two never
 * hold at once: whichever applies now, the other is revoked, so that a key
 * taken out of the settings is dead after the restart.
 *
 * The file is written before the key's row is committed.  A crash in between
 * leaves a file whose key is put into the database by the next start; the other
 * order could lose the only key.
 *
 * Threads: at start, before methods are served.
 */
#ifndef SVC_AUTH_BOOTSTRAP_H
#define SVC_AUTH_BOOTSTRAP_H

#include "svc-auth/auth.h"

#define BOOTSTRAP_HANDLE "admin"
#define BOOTSTRAP_FILE   "admin.key"

/* ERR_INVALID: told on the log, will never work. */
enum err bootstrap_admin(struct auth *au, struct ctx *cx,
                         int64_t now_ms) MUST_CHECK;

#endif
