/*
 * migrations - the tables of svc-auth, as numbered steps (design D19).
 *
 * A step that has been released is never changed: its checksum is stored.
 */
#ifndef SVC_AUTH_MIGRATIONS_H
#define SVC_AUTH_MIGRATIONS_H

#include "common/db/db.h"

#define AUTH_MIGRATIONS 8

extern const struct db_migration auth_migrations[AUTH_MIGRATIONS];

#endif
