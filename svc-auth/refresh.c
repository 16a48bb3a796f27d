#include "svc-auth/refresh.h"

#include "svc-auth/stmts.h"

#include "common/base/b64.h"

#include <stdio.h>

#define TOKEN_BYTES 32

static void write_token(const unsigned char raw[TOKEN_BYTES],
                        char out[REFRESH_TOKEN_MAX])
{
	_Static_assert(3 + B64_LEN(TOKEN_BYTES) < REFRESH_TOKEN_MAX, "room");
	memcpy(out, "rt_", 3);
	(void)b64url(raw, TOKEN_BYTES, out + 3);
}

void refresh_first(char out[REFRESH_TOKEN_MAX])
{
	unsigned char raw[TOKEN_BYTES];

	randombytes_buf(raw, sizeof(raw));
	write_token(raw, out);
	explicit_bzero(raw, sizeof(raw));
}

void refresh_next(const struct seal_key *key, struct str token,
                  char out[REFRESH_TOKEN_MAX])
{
	unsigned char raw[TOKEN_BYTES];

	(void)crypto_generichash(raw, sizeof(raw),
	                         (const unsigned char *)token.p, token.n,
	                         key->k, sizeof(key->k));
	write_token(raw, out);
	explicit_bzero(raw, sizeof(raw));
}

enum err refresh_add(struct db *db, const char *sid, int64_t counter,
                     const char *token, int64_t now_ms)
{
	unsigned char hash[API_KEY_HASH];
	const struct str h = {(const char *)hash, sizeof(hash)};
	const struct db_val v[] = {DB_BLOB(h), DB_TEXT(sid), DB_I64(counter),
	                           DB_I64(now_ms)};

	api_key_hash(str_from(token), hash);
	return db_run(db, STMT(REFRESH_ADD), v, COUNTOF(v), NULL);
}
