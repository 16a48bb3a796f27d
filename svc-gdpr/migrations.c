#include "svc-gdpr/migrations.h"

#include "common/event/event.h"
#include "common/service/idempotency.h"
#include "common/service/root_key.h"
#include "svc-gdpr/audit_tables.h"
#include "svc-gdpr/rights_tables.h"

/*
 * t: the schema's prefix; bytes: the collation that compares bytes, so that
 * both databases put handles in one order; tree: rows stored in their key.
 * A person without a handle or without XP has no rank_key and no rank.
 */
#define TABLES(t, bytes, tree)                                              \
	"CREATE TABLE " t "person (sub TEXT PRIMARY KEY, "                  \
	"handle TEXT " bytes ", "                                           \
	"total_xp BIGINT NOT NULL DEFAULT 0 CHECK (total_xp >= 0), "        \
	"xp_at BIGINT NOT NULL DEFAULT 0, rank_key BIGINT, "                \
	"topics BIGINT NOT NULL DEFAULT 0, "                                \
	"quizzes BIGINT NOT NULL DEFAULT 0, "                               \
	"quizzes_paid BIGINT NOT NULL DEFAULT 0, "                          \
	"achievements BIGINT NOT NULL DEFAULT 0, "                          \
	"streak_last BIGINT NOT NULL DEFAULT 0, "                           \
	"streak_days BIGINT NOT NULL DEFAULT 0, "                           \
	"longest BIGINT NOT NULL DEFAULT 0, "                               \
	"active_at BIGINT NOT NULL DEFAULT 0, "                             \
	"created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL);"          \
	"CREATE INDEX person_rank ON " t                                    \
	"person (rank_key DESC, xp_at, handle) WHERE rank_key IS NOT NULL;" \
	"CREATE TABLE " t "ledger (cause TEXT PRIMARY KEY, "                \
	"sub TEXT NOT NULL, kind TEXT NOT NULL, "                           \
	"xp BIGINT NOT NULL CHECK (xp >= 0), at BIGINT NOT NULL)" tree ";"  \
	"CREATE INDEX ledger_sub ON " t "ledger (sub, at);"                 \
	"CREATE TABLE " t "unlocked (sub TEXT NOT NULL, "                   \
	"achievement TEXT NOT NULL, at BIGINT NOT NULL, "                   \
	"PRIMARY KEY (sub, achievement))" tree ";"                          \
	"CREATE TABLE " t "streak_run (sub TEXT NOT NULL, "                 \
	"last_day BIGINT NOT NULL, days BIGINT NOT NULL CHECK (days > 0), " \
	"PRIMARY KEY (sub, last_day))" tree ";"                             \
	"CREATE TABLE " t "rank_bucket (level BIGINT NOT NULL, "            \
	"bucket BIGINT NOT NULL, "                                          \
	"people BIGINT NOT NULL, "                                          \
	"PRIMARY KEY (level, bucket))" tree ";"

static const char audit_sqlite[] = AUDIT_TABLES_SQLITE AUDIT_ONCE_SQLITE
#define T                          "" /* no schema */
#define NOW_MS                     "CAST(strftime('%s', 'now') AS INTEGER) * 1000"
#define RULE(table, change, where) AUDIT_RULE_SQLITE(table, change, where)
#define ONLY_SQLITE(table, change, where) \
	AUDIT_RULE_SQLITE(table, change, where)
#define NO_TRUNCATE(table)
#include "svc-gdpr/audit_rules.def"
#undef T
#undef NOW_MS
#undef RULE
#undef ONLY_SQLITE
#undef NO_TRUNCATE
	;

static const char audit_postgres[] = AUDIT_TABLES_POSTGRES
#define T                          "gdpr."
#define NOW_MS                     "(extract(epoch FROM now()) * 1000)::bigint"
#define RULE(table, change, where) AUDIT_RULE_POSTGRES(table, change, where)
#define ONLY_SQLITE(table, change, where)
#define NO_TRUNCATE(table) AUDIT_NO_TRUNCATE(table)
#include "svc-gdpr/audit_rules.def"
#undef T
#undef NOW_MS
#undef RULE
#undef ONLY_SQLITE
#undef NO_TRUNCATE
	;

/*
 * erasures.who      {sub, hnd, email} sealed, while it is needed
 * erasures.subject  what the receipt says of whom: a hash under a key of ours
 * receipt_keys      the private half is sealed; the public one is kept for ever
 */
#define ERASURES(t, bytes)                                                 \
	"CREATE TABLE " t "erasures (receipt TEXT PRIMARY KEY, "           \
	"subject TEXT NOT NULL, who " bytes ", "                           \
	"requested_at BIGINT NOT NULL, due_at BIGINT NOT NULL, "           \
	"rule TEXT NOT NULL, attempts BIGINT NOT NULL DEFAULT 0, "         \
	"next_at BIGINT NOT NULL, lease_until BIGINT NOT NULL DEFAULT 0, " \
	"lease_owner TEXT NOT NULL DEFAULT '', "                           \
	"completed_at BIGINT, jws TEXT);"                                  \
	"CREATE INDEX erasures_next ON " t "erasures (next_at) "           \
	"WHERE completed_at IS NULL;"                                      \
	"CREATE TABLE " t                                                  \
	"erasure_stores (receipt TEXT NOT NULL REFERENCES " t              \
	"erasures (receipt), store TEXT NOT NULL, "                        \
	"state TEXT NOT NULL DEFAULT 'pending', "                          \
	"attempts BIGINT NOT NULL DEFAULT 0, "                             \
	"last_error TEXT NOT NULL DEFAULT '', at BIGINT NOT NULL, "        \
	"report " bytes ", scan " bytes ", PRIMARY KEY (receipt, store));" \
	"CREATE TABLE " t "receipt_keys (kid TEXT PRIMARY KEY, "           \
	"x " bytes " NOT NULL, sealed " bytes " NOT NULL, "                \
	"created_at BIGINT NOT NULL);"

/* A key of -1 is in no bucket; taken: by the transaction that folds it. */
#define MOVES(t)                                                 \
	"CREATE TABLE " t "rank_move (old_key BIGINT NOT NULL, " \
	"new_key BIGINT NOT NULL, taken BIGINT NOT NULL DEFAULT 0);"

static const char sums_sqlite[] =
#define T ""
#define EACH(name, change, row, what)                              \
	"CREATE TRIGGER " name " AFTER " change " ON rank_bucket " \
	"WHEN " row ".level IN (0, 1) BEGIN " what "END;"
#include "svc-gdpr/rank_sums.def"
#undef T
#undef EACH
	;

static const char sums_postgres[] =
#define T "gdpr."
#define EACH(name, change, row, what)                                   \
	"CREATE FUNCTION gdpr." name "() RETURNS trigger "              \
	"LANGUAGE plpgsql AS $$ BEGIN " what "RETURN NULL; END $$;"     \
	"CREATE TRIGGER " name " AFTER " change " ON gdpr.rank_bucket " \
	"FOR EACH ROW WHEN (" row ".level IN (0, 1)) EXECUTE FUNCTION " \
	"gdpr." name "();"
#include "svc-gdpr/rank_sums.def"
#undef T
#undef EACH
	;

const struct db_migration gdpr_migrations[GDPR_MIGRATIONS] = {
	{1, "gamification",
         TABLES("", "COLLATE BINARY", " WITHOUT ROWID") EVENT_TABLES_SQLITE,
         TABLES("gdpr.", "COLLATE \"C\"", "") EVENT_TABLES_POSTGRES("gdpr")},
	{2, "answers kept for an Idempotency-Key", IDEM_TABLE_SQLITE,
         IDEM_TABLE_POSTGRES("gdpr")},
	{3, "the trace of an event", EVENT_TRACE_SQLITE,
         EVENT_TRACE_POSTGRES("gdpr")},
	{4, "audit log", audit_sqlite, audit_postgres},
	{5, "consent, restriction, breaches", RIGHTS_SQLITE, RIGHTS_POSTGRES},
	{6, "erasures", ERASED_TABLE_SQLITE ERASURES("", "BLOB"),
         ERASED_TABLE_POSTGRES("gdpr") ERASURES("gdpr.", "BYTEA")},
	{7, "root key", ROOT_KEY_TABLE_SQLITE, ROOT_KEY_TABLE_POSTGRES("gdpr")},
	{8, "moves on the leaderboard", MOVES(""), MOVES("gdpr.")},
	{9, "wider buckets of the leaderboard", sums_sqlite, sums_postgres},
};
