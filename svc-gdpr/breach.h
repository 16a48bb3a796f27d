/*
 * breach - personal data breaches (GDPR 33, 34): what happened, to whom, by when
 * the authority must know, and that people were told.
 *
 * Told:    a notice per person, which they see at GET /api/user/breaches until
 *          it is acknowledged there; no mail is sent.  One for everybody is no row
 *          per person: it is shown to all whose account is older than it.
 * Due:     BREACH_DUE_MS after it was entered, until somebody says that the
 *          authority has been told.
 * Repeats: the same of the same administrator within BREACH_REPEAT_MS is the
 *          first one.
 * Bounds:  BREACH_PEOPLE_MAX people by name, BREACH_AFFECTED_MAX kinds of data.
 *
 * Inside a transaction function of common/db, but for the watch.
 */
#ifndef SVC_GDPR_BREACH_H
#define SVC_GDPR_BREACH_H

#include "common/base/ctx.h"
#include "common/db/db.h"
#include "common/obs/metrics.h"

#define BREACH_DUE_MS       (72 * INT64_C(3600000))
#define BREACH_REPEAT_MS    30000
#define BREACH_ID_MAX       17 /* 16 hex digits and the NUL */
#define BREACH_PEOPLE_MAX   1000
#define BREACH_AFFECTED_MAX 50
#define BREACH_PAGE_MAX     100

struct breach {
	char id[BREACH_ID_MAX];
	struct str type, severity;
	struct str affected;    /* kinds of data, a line each */
	struct str description; /* p NULL: none */
	bool everyone;
	int64_t notified; /* people */
	int64_t at;
	int64_t reported_at; /* 0: the authority is not told yet */
	int64_t seen;        /* people who have acknowledged; lists only */
	int64_t seen_at;     /* by the one who asks; notices only */
	bool repeat;         /* breach_add(): it was there */
};

/*
 * Enters it for the people with these handles, or for everyone.  b->id, at and
 * notified are set, to those of the first when this is a repeat.  ERR_INVALID
 * with a fault for each handle that nobody has (as many as fit).
 */
enum err breach_add(struct db *db, struct ctx *cx, struct breach *b,
                    const struct str *handles, size_t n,
                    int64_t now_ms) MUST_CHECK;

typedef enum err breach_row_fn(void *arg, const struct breach *b);
/* What sub is told of, the newest first. */
enum err breach_notices(struct db *db, struct str sub, int64_t limit,
                        breach_row_fn *fn, void *arg) MUST_CHECK;
/* ERR_NOT_FOUND when sub is not told of it.  The first time stays. */
enum err breach_seen(struct db *db, struct str sub, struct str id,
                     int64_t now_ms, int64_t *seen_at) MUST_CHECK;
/* All of them, behind the one with the id `before` (empty: from the newest). */
enum err breach_list(struct db *db, struct str before, int64_t limit,
                     breach_row_fn *fn, void *arg) MUST_CHECK;
/* ERR_NOT_FOUND when there is none.  The first time stays. */
enum err breach_reported(struct db *db, struct str id, int64_t now_ms,
                         int64_t *reported_at) MUST_CHECK;

/*
 * The watch: kae_breaches_open, and kae_breach_deadline_seconds until the first
 * deadline of those, negative when it has passed; looked up every
 * BREACH_LOOK_MS and at breach_watch_now().  Its thread ends with it.
 */
#define BREACH_LOOK_MS 10000
struct breach_watch;
struct breach_watch *breach_watch_new(struct db_pool *pool, struct metrics *m);
void breach_watch_free(struct breach_watch *w); /* NULL is fine */
AUTO_TYPE(breach_watch, struct breach_watch *, breach_watch_free)
void breach_watch_now(struct breach_watch *w); /* NULL is fine */

#endif
