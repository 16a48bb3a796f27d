/*
 * migrations - the tables of svc-content.
 *
 * Every table is keyed by sub first, so that what belongs to a person is one
 * range of each.  Topics and subtopics stand twice: as keys (text_key) to
 * compare by, and as they were written.
 */
#ifndef SVC_CONTENT_MIGRATIONS_H
#define SVC_CONTENT_MIGRATIONS_H

#include "common/db/db.h"

#define CONTENT_MIGRATIONS 9
extern const struct db_migration content_migrations[CONTENT_MIGRATIONS];

#endif
