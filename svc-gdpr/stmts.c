#include "svc-gdpr/stmts.h"

#define PERSON_COLUMNS                                           \
	"handle, total_xp, xp_at, rank_key, topics, quizzes, "   \
	"quizzes_paid, achievements, streak_last, streak_days, " \
	"longest, active_at, created_at, updated_at"

#define STMT_ROW(id, name, text) static const char sqlite_##id[] = text;
#define T                        ""
#define LOCK                     ""
#include "svc-gdpr/stmts.def"
#undef T
#undef LOCK
#undef STMT_ROW

#define STMT_ROW(id, name, text) static const char postgres_##id[] = text;
#define T                        "gdpr."
#define LOCK                     " FOR UPDATE"
#include "svc-gdpr/stmts.def"
#undef T
#undef LOCK
#undef STMT_ROW

const struct db_stmt gdpr_stmts[GDPR_STMT_COUNT] = {
#define STMT_ROW(id, name, text) {name, sqlite_##id, postgres_##id},
#include "svc-gdpr/stmts.def"
#undef STMT_ROW
};
