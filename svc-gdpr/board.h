/*
 * board - the leaderboard: who is ahead of whom, and how many.
 *
 * Order:  more XP first; ties by the earlier time at which it was reached, then
 *         by handle, byte for byte.  Only people with XP and a handle, whose
 *         data is not restricted.
 *
 * Why:    counting everybody ahead of a person costs as much as there are
 *         people.  So each ranked person has a key that orders them up to one
 *         minute, and is counted in one bucket per level, where a bucket of
 *         one level spans several of the next:
 *
 *             key      | XP (37 bits) | minutes left until 2097 (26 bits) |
 *             level 4  | XP / 16384   |
 *             level 0  | XP / 512     |
 *             level 5  | XP / 32      |
 *             level 1  | XP           |
 *             level 2  | XP           | 2048 minutes |
 *             level 3  | XP           | minute                            |
 *
 *         A rank is the sum over the higher buckets of each level inside the
 *         bucket above, plus a count by index inside one bucket of the last.
 *         Levels of XP alone would do, were it not for ties: XP come in few
 *         sizes, and a tenth of a million people may have 200.
 * Moves:  buckets are few and wanted by all who learn: rows that each award wrote
 *         would be locked until its commit is on the disk, and everybody else
 *         would wait for that.  So an award only appends who went from which key
 *         to which (board_place()), and now and then one of them folds all moves
 *         that have been committed, and its own, into the buckets (board_fold()).
 *         Only one at a time writes them, and nobody waits: who finds another at
 *         it leaves its move to the next.  What is read is buckets and moves
 *         together, so it is right at any time.
 * Versions: levels 0 to 3 are folded.  Levels 4 and 5 came later, and the
 *         database keeps them: triggers add what changes in a bucket of level 0
 *         or 1 to the one of level 4 or 5 around it (rank_sums.def).  So they are
 *         right beside replicas that have never heard of them.
 * Bounds: a rank reads at most XP/16384 + 32 + 16 + 32 + 257 per year + 2048
 *         buckets, those of one XP and minute, however many people there are, and
 *         the moves that were committed since the last fold began.
 */
#ifndef SVC_GDPR_BOARD_H
#define SVC_GDPR_BOARD_H

#include "svc-gdpr/person.h"

int64_t board_key(int64_t xp, int64_t at_ms);

/* Puts p into, out of or elsewhere on the board as its handle and XP say;
 * changes p->rank_key only: person_set() stores it.  p is person_lock()ed. */
enum err board_place(struct db *db, struct person *p) MUST_CHECK;
/* Behind the board_place() of a transaction, as near to its end as may be: moves
 * pile up meanwhile.  Nobody waits for the answer (db_later()).  A transaction
 * may do without: its moves are right where they are. */
enum err board_fold(struct db *db) MUST_CHECK;

/*
 * person_get(), and in the same statement the rank: 1 for the first.  Of somebody
 * who is not on the board it is the one that their XP would have, by the handle
 * hnd as long as they have none; 0 of somebody who is absent.
 */
enum err board_rank(struct db *db, struct str sub, struct str hnd,
                    struct person *p, int64_t *rank) MUST_CHECK;

struct board_row {
	struct str handle; /* valid during the call */
	int64_t xp, achievements, updated_at, rank;
};
typedef enum err board_row_fn(void *arg, const struct board_row *row);
/* The first `limit`, in order. */
enum err board_top(struct db *db, int64_t limit, board_row_fn *fn,
                   void *arg) MUST_CHECK;

/* Part of person_check(): buckets that do not hold who they should. */
enum err board_check(struct db *db, int64_t *broken) MUST_CHECK;

#endif
