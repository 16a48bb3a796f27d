/*
 * person - what is stored of one learner: the row, the ledger that proves its
 * balance, unlocked achievements, runs of days.
 *
 * Everything here runs inside a transaction function of common/db.  Changing a
 * person starts with person_lock(), which holds the row to the end of the
 * transaction, so that events of two sources cannot lose each other's counts.
 */
#ifndef SVC_GDPR_PERSON_H
#define SVC_GDPR_PERSON_H

#include "common/db/db.h"
#include "svc-gdpr/award.h"

#define HANDLE_MAX      72 /* as struct who of the gateway: 64 characters and NUL */
#define PERSON_UNRANKED (-1) /* rank_key of a person who is not ranked */

struct person {
	bool exists;
	char handle[HANDLE_MAX]; /* "" until it is known */
	struct tally tally;
	int64_t achievements; /* how many are unlocked */
	int64_t xp_at;        /* when the balance was reached */
	int64_t rank_key;     /* board_key(), or PERSON_UNRANKED */
	int64_t active_at, created_at, updated_at; /* 0: never */
	int64_t restricted_at; /* 0: not; set by restrict.h alone */
};

/* Absent people are OK with exists = false and zeros everywhere. */
enum err person_get(struct db *db, struct str sub,
                    struct person *out) MUST_CHECK;
/* A db_row_fn whose arg is a struct person: of a row that begins with
 * PERSON_COLUMNS (stmts.c). */
#define PERSON_COLUMN_COUNT 15
enum err person_read(void *arg, const struct db_row *row) MUST_CHECK;
/* Makes the row where there is none. */
enum err person_lock(struct db *db, struct str sub, int64_t at,
                     struct person *out) MUST_CHECK;
enum err person_set(struct db *db, struct str sub,
                    const struct person *p) MUST_CHECK;
/* Takes the person off the board and their row away; *rows is 0 where there is
 * none.  The ledger and what else has their sub is the caller's. */
enum err person_delete(struct db *db, struct str sub, int64_t *rows) MUST_CHECK;
/* Fills p->tally.unlocked_at. */
enum err person_unlocked(struct db *db, struct str sub,
                         struct person *p) MUST_CHECK;

/* *added is false when the cause is in the ledger already. */
struct ledger_row {
	struct str cause, sub;
	const char *kind; /* "quiz", "topic", "achievement" */
	int64_t xp, at;
};
enum err ledger_add(struct db *db, const struct ledger_row *row,
                    bool *added) MUST_CHECK;
/* The achievement and the ledger row of its reward. */
enum err person_unlock(struct db *db, struct str sub, enum achievement which,
                       int64_t at) MUST_CHECK;
/*
 * What a deed is judged by: p->tally.unlocked_at, and the runs of days that the
 * day touches.  Both are there when the next statement that is waited for has
 * its answer.
 */
struct person_past {
	struct run near[2];
	size_t n;
};
enum err person_past_later(struct db *db, struct str sub, int64_t day,
                           struct person *p,
                           struct person_past *past) MUST_CHECK;
/* Adds the day to the person's runs and to p->tally. */
enum err person_day(struct db *db, struct str sub, int64_t day,
                    const struct person_past *past,
                    struct person *p) MUST_CHECK;

/*
 * The proof: balances are the ledger's sums, counts are what the ledger and
 * the unlocked achievements say, those are ranked who should be, and the
 * board's buckets hold the people that they should.  *broken is the number of
 * rows that say otherwise.
 */
enum err person_check(struct db *db, int64_t *broken) MUST_CHECK;

#endif
