#include "svc-gdpr/stmts.h"

#define PERSON_COLUMNS                                           \
	"handle, total_xp, xp_at, rank_key, topics, quizzes, "   \
	"quizzes_paid, achievements, streak_last, streak_days, " \
	"longest, active_at, created_at, updated_at, restricted_at"

/* The last seq that is too new to be shown behind the row with this id. */
#define AUDIT_BEHIND(id)                                                \
	"CASE WHEN " id " = '' THEN 9223372036854775807 ELSE "          \
	"COALESCE((SELECT c.seq FROM " T "audit_log c WHERE c.id = " id \
	"), 0) END"
#define AUDIT_SEEN                                                   \
	"l.id, l.at, l.event, l.category, l.outcome, l.role, "       \
	"l.resource_type, d.body, l.subject, sp.handle, ap.handle, " \
	"l.source"
#define AUDIT_WHO                                                   \
	"LEFT JOIN " T "audit_detail d ON d.seq = l.seq "           \
	"LEFT JOIN " T "audit_person s ON s.pseudonym = l.subject " \
	"LEFT JOIN " T "person sp ON sp.sub = s.sub "               \
	"LEFT JOIN " T "audit_person a ON a.pseudonym = l.actor "   \
	"LEFT JOIN " T "person ap ON ap.sub = a.sub "

/* The levels that are folded, as below. */
#define FOLD_LEVELS "(VALUES (0, 35), (1, 26), (2, 11), (3, 0))"

/* Level, bits of a key that it leaves out, bits that the level above leaves out:
 * board.h.  A key has 63. */
#define RANK_LEVELS                                       \
	"(VALUES (4, 40, 63), (0, 35, 40), (5, 31, 35), " \
	"(1, 26, 31), (2, 11, 26), (3, 0, 11))"

/* board_key() of who has no rank_key, for want of a handle. */
#define RANK_KEY                                                  \
	"(((CASE WHEN total_xp > 137438953471 THEN 137438953471 " \
	"ELSE total_xp END) << 26) | (67108863 - "                \
	"(CASE WHEN xp_at / 60000 > 67108863 THEN 67108863 "      \
	"WHEN xp_at < 0 THEN 0 ELSE xp_at / 60000 END)))"

#define STMT_ROW(id, name, text) static const char sqlite_##id[] = text;
#define T                        ""
#define LOCK                     ""
#define SKIP                     ""
#define IF_ALONE                 ""
#include "svc-gdpr/stmts.def"
#undef T
#undef LOCK
#undef SKIP
#undef IF_ALONE
#undef STMT_ROW

#define STMT_ROW(id, name, text) static const char postgres_##id[] = text;
#define T                        "gdpr."
#define LOCK                     " FOR UPDATE"
#define SKIP                     " FOR UPDATE SKIP LOCKED"
#define IF_ALONE                                    \
	" WHERE (SELECT pg_try_advisory_xact_lock(" \
	"hashtextextended('gdpr.rank_move', 0)))"
#include "svc-gdpr/stmts.def"
#undef T
#undef LOCK
#undef SKIP
#undef IF_ALONE
#undef STMT_ROW

const struct db_stmt gdpr_stmts[GDPR_STMT_COUNT] = {
#define STMT_ROW(id, name, text) {name, sqlite_##id, postgres_##id},
#include "svc-gdpr/stmts.def"
#undef STMT_ROW
};
