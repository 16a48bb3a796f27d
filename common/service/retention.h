/*
 * retention - what is too old goes, by itself (contract 4.6.4).
 *
 * Why:     a rule that somebody has to remember is not kept, and one that dies
 *          in silence is not missed.  So every service has a table of rules and
 *          a thread that carries them out, once when it starts and then every
 *          RETENTION_EVERY_S, and tells when that last worked.
 * Rules:   rows of the service's retention.def: a category, the table and a
 *          statement that deletes, or overwrites what is personal in, at most
 *          $2 rows whose time is at or before $1 (epoch ms), and does not touch
 *          what others hold (SKIP LOCKED).  A row that stays must not match any
 *          more, or the rule would never end.
 * Bounds:  RETENTION_BATCH rows per transaction, as many of those as it takes;
 *          between two of them it can be told to end.  What was done stays
 *          done, so whoever comes after a kill goes on there.
 * At once: of several replicas the one that has the rule's lock works, each
 *          transaction anew; another one comes back after RETENTION_AGAIN_MS,
 *          as it does after an error.
 * Log:     retention.purged category, table, rows; retention.failed.
 * Threads: retention_run() any; the others the owner's.
 */
#ifndef SERVICE_RETENTION_H
#define SERVICE_RETENTION_H

#include "common/base/conf.h"
#include "common/db/db.h"

#define RETENTION_BATCH    500
#define RETENTION_AGAIN_MS 60000
#define RETENTION_FIRST_MS 60000 /* the first run comes within it, at random */

enum retention_category {
#define CATEGORY(id, name, days, setting) RETENTION_##id,
#include "common/service/retention.def"
#undef CATEGORY
	RETENTION_CATEGORIES
};

/* Lets at most `most` rows go, of which *n says how many; 0: there are none. */
typedef enum err retention_fn(struct db *db, const struct ctx *cx,
                              int64_t now_ms, int64_t most, int64_t *n);

struct retention_rule {
	enum retention_category category;
	const char *table; /* for the log */
	const struct db_stmt *st;
	retention_fn *run; /* instead of st, where a statement is not enough */
};

struct retention_conf {
	const char *service;
	struct db_pool *pool;
	const struct retention_rule *rules; /* live as long as it */
	size_t n;
	uint64_t every_ms;
	uint64_t days[RETENTION_CATEGORIES];
};
/* What the settings say; rules, service and pool are the caller's. */
void retention_settings(const struct settings *s, struct retention_conf *out);

struct retention;
/* NULL without memory. */
struct retention *retention_new(const struct retention_conf *conf);
void retention_free(struct retention *r); /* ends the thread; NULL is fine */
AUTO_TYPE(retention, struct retention *, retention_free)
/* Twice is once. */
enum err retention_start(struct retention *r) MUST_CHECK;

/*
 * All rules, at this time; *rows counts what went, also when it ends in error:
 * ERR_BUSY when another replica is at it, else the database's.  The deadline of
 * cx holds for each transaction anew: it is set to deadline_ms from then.
 */
enum err retention_run(struct retention *r, struct ctx *cx,
                       uint64_t deadline_ms, int64_t now_ms,
                       uint64_t *rows) MUST_CHECK;

struct retention_stats {
	uint64_t purged[RETENTION_CATEGORIES];
	uint64_t runs, failed;
	uint64_t last_success_s; /* epoch; 0: not yet */
};
void retention_stats(const struct retention *r, struct retention_stats *out);

#endif
