/*
 * audit_tables - the tables of the audit log, for migrations.c; what they are
 * for is in audit.h, what the database refuses of them in audit_rules.def.
 *
 *   audit_log         the chain; rows come behind the head, are never changed,
 *                     and go only when a checkpoint lies at or behind them
 *   audit_head        one row: the last of the chain; moves forward only, to a
 *                     row that is there
 *   audit_checkpoint  where the chain begins after rows past their time went;
 *                     lies only at a row that is there, up to which all are
 *                     older than AUDIT_KEEP_DAYS by the database's clock
 *   audit_person      whose pseudonym is whose
 *   audit_detail      what may identify somebody; deleted by an erasure
 */
#ifndef SVC_GDPR_AUDIT_TABLES_H
#define SVC_GDPR_AUDIT_TABLES_H

#define AUDIT_KEEP_DAYS 2555 /* contract 4.6.4 */
#define AUDIT_KEEP_MS   "220752000000"
_Static_assert(AUDIT_KEEP_DAYS * 86400000LL == 220752000000LL, "one time");

/* t: the schema's prefix; bytes: the type; zeros: 32 of them.  Of an actor only
 * those rows are indexed that are not about themselves: most are. */
#define AUDIT_TABLES(t, bytes, zeros)                                      \
	"CREATE TABLE " t "audit_log (seq BIGINT PRIMARY KEY, "            \
	"id TEXT NOT NULL UNIQUE, at BIGINT NOT NULL, "                    \
	"event TEXT NOT NULL, category TEXT NOT NULL, "                    \
	"source TEXT NOT NULL, outcome TEXT NOT NULL, "                    \
	"subject TEXT NOT NULL, actor TEXT NOT NULL, role TEXT NOT NULL, " \
	"resource_type TEXT NOT NULL, detail " bytes " NOT NULL, "         \
	"hash " bytes " NOT NULL);"                                        \
	"CREATE INDEX audit_log_subject ON " t "audit_log (subject, seq);" \
	"CREATE INDEX audit_log_event ON " t "audit_log (event, seq);"     \
	"CREATE INDEX audit_log_actor ON " t "audit_log (actor, seq) "     \
	"WHERE actor <> subject;"                                          \
	"CREATE TABLE " t "audit_head (id BIGINT PRIMARY KEY, "            \
	"seq BIGINT NOT NULL, hash " bytes " NOT NULL);"                   \
	"INSERT INTO " t "audit_head (id, seq, hash) "                     \
	"VALUES (1, 0, " zeros ");"                                        \
	"CREATE TABLE " t "audit_checkpoint (seq BIGINT PRIMARY KEY, "     \
	"hash " bytes " NOT NULL, log_seq BIGINT NOT NULL, "               \
	"at BIGINT NOT NULL);"                                             \
	"CREATE TABLE " t "audit_person (sub TEXT PRIMARY KEY, "           \
	"pseudonym TEXT NOT NULL UNIQUE);"                                 \
	"CREATE TABLE " t "audit_detail (seq BIGINT PRIMARY KEY, "         \
	"salt " bytes " NOT NULL, body " bytes " NOT NULL);"               \
	"CREATE INDEX person_handle ON " t "person (lower(handle)) "       \
	"WHERE handle IS NOT NULL;"

#define AUDIT_TABLES_SQLITE AUDIT_TABLES("", "BLOB", "zeroblob(32)")
#define AUDIT_TABLES_POSTGRES \
	AUDIT_TABLES("gdpr.", "BYTEA", "decode(repeat('00', 32), 'hex')")

/* An id that is in the log already is no error: it is there once. */
#define AUDIT_RULE_SQLITE(table, change, condition)                       \
	"CREATE TRIGGER " table "_" change " BEFORE " change " ON " table \
	" WHEN " condition " BEGIN "                                      \
	"SELECT RAISE(ABORT, 'the audit log is append only'); END;"
#define AUDIT_ONCE_SQLITE                                           \
	"CREATE TRIGGER audit_log_once BEFORE INSERT ON audit_log " \
	"WHEN EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id) "  \
	"BEGIN SELECT RAISE(IGNORE); END;"
#define AUDIT_RULE_POSTGRES(table, change, condition)                          \
	"CREATE FUNCTION gdpr." table "_" change "() RETURNS trigger "         \
	"LANGUAGE plpgsql AS $$ BEGIN IF " condition " THEN "                  \
	"RAISE EXCEPTION 'the audit log is append only'; END IF; "             \
	"IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$;"     \
	"CREATE TRIGGER " table "_" change " BEFORE " change " ON gdpr." table \
	" FOR EACH ROW EXECUTE FUNCTION gdpr." table "_" change "();"
#define AUDIT_NO_TRUNCATE(table)                                           \
	"CREATE TRIGGER " table "_truncate BEFORE TRUNCATE ON gdpr." table \
	" FOR EACH STATEMENT EXECUTE FUNCTION gdpr.audit_log_UPDATE();"

#endif
