/*
 * migrations - the tables of svc-gdpr.
 *
 *   person       one row per sub: balance, counts, current streak, rank key
 *   ledger       append only: why each XP was given; cause is unique, so
 *                nothing is given twice whatever is delivered twice
 *   unlocked     achievements of a person
 *   streak_run   runs of consecutive UTC days, by their last day
 *   rank_bucket  how many ranked people are in each bucket (board.h); triggers
 *                keep its wider levels
 *   rank_move    who went where since, not yet counted there
 *   audit_*      the audit log (audit.h)
 *   in/outbox    see common/event/event.h
 */
#ifndef SVC_GDPR_MIGRATIONS_H
#define SVC_GDPR_MIGRATIONS_H

#include "common/db/db.h"

#define GDPR_MIGRATIONS 9
extern const struct db_migration gdpr_migrations[GDPR_MIGRATIONS];

#endif
