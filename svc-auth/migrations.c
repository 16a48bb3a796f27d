#include "svc-auth/migrations.h"

#include "common/event/event.h"
#include "common/service/idempotency.h"
#include "common/service/root_key.h"

/*
 * One text for both drivers: S is the schema prefix, INT and BYTES the types.
 *
 * users.not_before      tokens issued before it are void (epoch ms)
 * api_keys.hash         SHA-256; unique among live keys only, so that a
 *                       bootstrap key which was revoked can be set again
 * api_keys.origin       'self', 'admin' (made by one), 'set' (ADMIN_API_KEY),
 *                       'made' (DATA_DIR/admin.key)
 * signing_keys.until    when a retired key may go
 * users.email_key       the form that is unique; NULL: no address
 * users.password        argon2id's own text, or NULL
 * sessions.auth_time    when their owner last proved who they are (epoch ms)
 * sessions.expires_at   the latest end, whatever happens
 * sessions.ends_at      the end as it stands: idleness may come before
 *                       expires_at, and a logout (ended_why) before both
 * sessions.counter      of the refresh token that is good now
 * refresh_tokens.hash   SHA-256; the last REFRESH_KEPT of a session stay, so
 *                       that one which comes back is told from one that never was
 * revocations.seq       counts under the one row of revocation_seq, which each
 *                       transaction holds to its end: the order of seq is the
 *                       order of commits
 */
#define TABLES(S, INT, BYTES)                                                 \
	"CREATE TABLE " S "users (sub TEXT PRIMARY KEY, "                     \
	"handle TEXT NOT NULL, handle_key TEXT NOT NULL UNIQUE, "             \
	"role TEXT NOT NULL, tier TEXT NOT NULL, "                            \
	"state TEXT NOT NULL DEFAULT 'active', "                              \
	"not_before " INT " NOT NULL DEFAULT 0, "                             \
	"created_at " INT " NOT NULL);"                                       \
	"CREATE TABLE " S "api_keys (id TEXT PRIMARY KEY, "                   \
	"sub TEXT NOT NULL REFERENCES " S "users (sub), "                     \
	"hash " BYTES " NOT NULL, prefix TEXT NOT NULL, name TEXT NOT NULL, " \
	"scopes " INT " NOT NULL, origin TEXT NOT NULL, "                     \
	"created_at " INT " NOT NULL, last_used_at " INT ", "                 \
	"expires_at " INT ", revoked_at " INT ");"                            \
	"CREATE UNIQUE INDEX api_keys_hash ON " S "api_keys (hash) "          \
	"WHERE revoked_at IS NULL;"                                           \
	"CREATE INDEX api_keys_sub ON " S "api_keys (sub);"                   \
	"CREATE TABLE " S "signing_keys (kid TEXT PRIMARY KEY, "              \
	"state TEXT NOT NULL, x " BYTES " NOT NULL, y " BYTES " NOT NULL, "   \
	"sealed " BYTES " NOT NULL, created_at " INT " NOT NULL, "            \
	"active_at " INT ", until " INT ");"                                  \
	"CREATE UNIQUE INDEX signing_keys_state ON " S                        \
	"signing_keys (state) WHERE state <> 'retired';"                      \
	"CREATE TABLE " S "revocation_seq (id " INT " PRIMARY KEY, "          \
	"seq " INT " NOT NULL);"                                              \
	"INSERT INTO " S "revocation_seq (id, seq) VALUES (1, 0);"            \
	"CREATE TABLE " S "revocations (seq " INT " PRIMARY KEY, "            \
	"kind TEXT NOT NULL, id TEXT NOT NULL, at " INT " NOT NULL, "         \
	"until " INT " NOT NULL);"                                            \
	"CREATE INDEX revocations_until ON " S "revocations (until);"

/* S, INT and BYTES as above; the columns one by one, as SQLite wants it. */
#define SESSION_TABLES(S, INT, BYTES)                                         \
	"ALTER TABLE " S "users ADD COLUMN email TEXT;"                       \
	"ALTER TABLE " S "users ADD COLUMN email_key TEXT;"                   \
	"ALTER TABLE " S "users ADD COLUMN password TEXT;"                    \
	"ALTER TABLE " S "users ADD COLUMN password_at " INT ";"              \
	"ALTER TABLE " S "users ADD COLUMN display_name TEXT;"                \
	"ALTER TABLE " S "users ADD COLUMN preferences TEXT;"                 \
	"ALTER TABLE " S "users ADD COLUMN last_login_at " INT ";"            \
	"CREATE UNIQUE INDEX users_email_key ON " S "users (email_key) "      \
	"WHERE email_key IS NOT NULL;"                                        \
	"CREATE TABLE " S "sessions (id TEXT PRIMARY KEY, "                   \
	"sub TEXT NOT NULL REFERENCES " S "users (sub), "                     \
	"method TEXT NOT NULL, key_id TEXT, scopes " INT " NOT NULL, "        \
	"created_at " INT " NOT NULL, auth_time " INT " NOT NULL, "           \
	"last_seen_at " INT " NOT NULL, expires_at " INT " NOT NULL, "        \
	"ends_at " INT " NOT NULL, ended_why TEXT, "                          \
	"counter " INT " NOT NULL DEFAULT 0, "                                \
	"rotated_at " INT " NOT NULL DEFAULT 0, "                             \
	"address TEXT NOT NULL, agent TEXT NOT NULL, device TEXT NOT NULL);"  \
	"CREATE INDEX sessions_sub ON " S "sessions (sub);"                   \
	"CREATE INDEX sessions_key ON " S "sessions (key_id) "                \
	"WHERE key_id IS NOT NULL;"                                           \
	"CREATE INDEX sessions_ends ON " S "sessions (ends_at);"              \
	"CREATE TABLE " S "refresh_tokens (hash " BYTES " PRIMARY KEY, "      \
	"sid TEXT NOT NULL REFERENCES " S "sessions (id) ON DELETE CASCADE, " \
	"counter " INT " NOT NULL, created_at " INT " NOT NULL);"             \
	"CREATE INDEX refresh_tokens_sid ON " S                               \
	"refresh_tokens (sid, counter);"
/*
 * totp.sealed           the secret, sealed and bound to sub
 * totp.active_at        NULL: pending
 * totp.last_step        the last step of which a code was taken
 * totp.tries            attempts since the last good one
 * recovery_codes.hash   keyed and bound to sub; the row goes when it is used
 * login_challenges.hash SHA-256 of what the client holds
 */
#define FACTOR_TABLES(S, INT, BYTES)                                        \
	"CREATE TABLE " S "totp (sub TEXT PRIMARY KEY REFERENCES " S        \
	"users (sub), sealed " BYTES " NOT NULL, "                          \
	"created_at " INT " NOT NULL, active_at " INT ", "                  \
	"last_step " INT " NOT NULL DEFAULT 0, "                            \
	"tries " INT " NOT NULL DEFAULT 0, "                                \
	"wait_until " INT " NOT NULL DEFAULT 0);"                           \
	"CREATE TABLE " S "recovery_codes ("                                \
	"sub TEXT NOT NULL REFERENCES " S "users (sub), "                   \
	"hash " BYTES " NOT NULL, PRIMARY KEY (sub, hash));"                \
	"CREATE TABLE " S "login_challenges (hash " BYTES " PRIMARY KEY, "  \
	"sub TEXT NOT NULL REFERENCES " S "users (sub), "                   \
	"network TEXT NOT NULL, method TEXT NOT NULL, key_id TEXT, "        \
	"created_at " INT " NOT NULL, expires_at " INT " NOT NULL);"        \
	"CREATE INDEX login_challenges_sub ON " S "login_challenges (sub);" \
	"CREATE INDEX login_challenges_expires ON " S                       \
	"login_challenges (expires_at);"

/* id: a keyed hash of an account and a network, or of a network. */
#define THROTTLE_TABLE(S, INT, BYTES)                              \
	"CREATE TABLE " S "throttle (id " BYTES " PRIMARY KEY, "   \
	"failures " INT " NOT NULL, next_at " INT " NOT NULL, "    \
	"seen_at " INT " NOT NULL, known_until " INT " NOT NULL);" \
	"CREATE INDEX throttle_seen ON " S "throttle (seen_at);"

/* Handles of people who were erased, as keyed hashes: they stay taken. */
#define ERASED_HANDLES(S, INT)                                    \
	"CREATE TABLE " S "erased_handles (id TEXT PRIMARY KEY, " \
	"at " INT " NOT NULL);"

const struct db_migration auth_migrations[AUTH_MIGRATIONS] = {
	{1, "accounts, keys, revocations",
         TABLES("", "INTEGER", "BLOB") EVENT_TABLES_SQLITE,
         TABLES("auth.", "BIGINT", "BYTEA") EVENT_TABLES_POSTGRES("auth")},
	{2, "answers kept for an Idempotency-Key", IDEM_TABLE_SQLITE,
         IDEM_TABLE_POSTGRES("auth")},
	{3, "the trace of an event", EVENT_TRACE_SQLITE,
         EVENT_TRACE_POSTGRES("auth")},
	{4, "sessions, e-mail, passwords",
         SESSION_TABLES("", "INTEGER", "BLOB"),
         SESSION_TABLES("auth.", "BIGINT", "BYTEA")},
	{5, "attempts to log in", THROTTLE_TABLE("", "INTEGER", "BLOB"),
         THROTTLE_TABLE("auth.", "BIGINT", "BYTEA")},
	{6, "second factors", FACTOR_TABLES("", "INTEGER", "BLOB"),
         FACTOR_TABLES("auth.", "BIGINT", "BYTEA")},
	{7, "who has been erased",
         ERASED_TABLE_SQLITE ERASED_HANDLES("", "INTEGER"),
         ERASED_TABLE_POSTGRES("auth") ERASED_HANDLES("auth.", "BIGINT")},
	{8, "root key", ROOT_KEY_TABLE_SQLITE, ROOT_KEY_TABLE_POSTGRES("auth")},
};
