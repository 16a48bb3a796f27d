/*
 * rights_tables - the tables of what people may ask of us, for migrations.c.
 *
 * person.restricted_at  Art. 18: since when; 0: not.  Such a person keeps all
 *                       and has no rank_key.
 * pseudonyms            who the consents are of; without its row nobody knows
 * consents              seq counts per person, under the lock of that row
 * consent_origins       what is personal in a consent, apart so that it can go
 * breaches.everyone     told to all whose account was older than it
 * breach_notices        who is told of it by name, and who has seen it
 */
#ifndef SVC_GDPR_RIGHTS_TABLES_H
#define SVC_GDPR_RIGHTS_TABLES_H

#define RIGHTS(t)                                                                \
	"ALTER TABLE " t "person ADD COLUMN restricted_at BIGINT NOT NULL "      \
	"DEFAULT 0;"                                                             \
	"ALTER TABLE " t "person ADD COLUMN restricted_why TEXT;"                \
	"CREATE TABLE " t "pseudonyms (sub TEXT PRIMARY KEY, "                   \
	"person TEXT NOT NULL UNIQUE);"                                          \
	"CREATE TABLE " t "consents (person TEXT NOT NULL, "                     \
	"seq BIGINT NOT NULL, type TEXT NOT NULL, "                              \
	"given BIGINT NOT NULL CHECK (given IN (0, 1)), "                        \
	"version TEXT NOT NULL, mechanism TEXT NOT NULL, "                       \
	"at BIGINT NOT NULL, PRIMARY KEY (person, seq));"                        \
	"CREATE INDEX consents_type ON " t "consents (person, type, seq);"       \
	"CREATE INDEX consents_at ON " t "consents (at);"                        \
	"CREATE TABLE " t "consent_origins (person TEXT NOT NULL, "              \
	"seq BIGINT NOT NULL, network TEXT NOT NULL, agent TEXT NOT NULL, "      \
	"at BIGINT NOT NULL, PRIMARY KEY (person, seq));"                        \
	"CREATE INDEX consent_origins_at ON " t "consent_origins (at);"          \
	"CREATE TABLE " t                                                        \
	"breaches (id TEXT PRIMARY KEY, type TEXT NOT NULL, "                    \
	"severity TEXT NOT NULL, affected TEXT NOT NULL, "                       \
	"description TEXT, everyone BIGINT NOT NULL, "                           \
	"notified BIGINT NOT NULL, digest TEXT NOT NULL, by_sub TEXT NOT NULL, " \
	"at BIGINT NOT NULL, reported_at BIGINT);"                               \
	"CREATE INDEX breaches_at ON " t "breaches (at);"                        \
	"CREATE INDEX breaches_open ON " t "breaches (at) "                      \
	"WHERE reported_at IS NULL;"                                             \
	"CREATE TABLE " t "breach_notices (sub TEXT NOT NULL, "                  \
	"breach_id TEXT NOT NULL REFERENCES " t "breaches (id) "                 \
	"ON DELETE CASCADE, seen_at BIGINT, PRIMARY KEY (sub, breach_id));"      \
	"CREATE INDEX breach_notices_breach ON " t                               \
	"breach_notices (breach_id);"

/*
 * The ledger of consents proves what was agreed to, so the database itself
 * keeps it from being rewritten.  What is older than CONSENT_KEPT_MS may be
 * deleted: a day less than RETENTION_CONSENT_DAYS is at least, as clocks differ.
 */
#define CONSENT_KEPT_MS "220665600000" /* 2554 days */
#define CONSENTS_RAISE \
	"BEGIN SELECT RAISE(ABORT, 'consents is append-only'); END;"
#define CONSENTS_KEEP_SQLITE                                                                 \
	"CREATE TRIGGER consents_no_update BEFORE UPDATE ON consents " CONSENTS_RAISE        \
	"CREATE TRIGGER consents_no_delete BEFORE DELETE ON consents "                       \
	"WHEN OLD.at > CAST(strftime('%s', 'now') AS INTEGER) * 1000 - " CONSENT_KEPT_MS     \
	" " CONSENTS_RAISE /* INSERT OR REPLACE deletes without asking the trigger above. */ \
	"CREATE TRIGGER consents_no_replace BEFORE INSERT ON consents "                      \
	"WHEN EXISTS (SELECT 1 FROM consents WHERE person = NEW.person "                     \
	"AND seq = NEW.seq) " CONSENTS_RAISE
#define CONSENTS_KEEP_POSTGRES                                                         \
	"CREATE FUNCTION gdpr.consents_keep() RETURNS trigger "                        \
	"LANGUAGE plpgsql AS $$ BEGIN "                                                \
	"IF TG_OP = 'DELETE' THEN "                                                    \
	"IF OLD.at <= EXTRACT(EPOCH FROM clock_timestamp()) * 1000 - " CONSENT_KEPT_MS \
	" THEN RETURN OLD; END IF; END IF; "                                           \
	"RAISE EXCEPTION 'consents is append-only'; END $$;"                           \
	"CREATE TRIGGER consents_keep BEFORE UPDATE OR DELETE "                        \
	"ON gdpr.consents FOR EACH ROW "                                               \
	"EXECUTE FUNCTION gdpr.consents_keep();"                                       \
	"CREATE TRIGGER consents_no_truncate BEFORE TRUNCATE "                         \
	"ON gdpr.consents FOR EACH STATEMENT "                                         \
	"EXECUTE FUNCTION gdpr.consents_keep();"

#define RIGHTS_SQLITE   RIGHTS("") CONSENTS_KEEP_SQLITE
#define RIGHTS_POSTGRES RIGHTS("gdpr.") CONSENTS_KEEP_POSTGRES

#endif
