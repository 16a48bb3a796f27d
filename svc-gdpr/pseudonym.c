#include "svc-gdpr/pseudonym.h"

#include "common/base/b64.h"
#include "svc-gdpr/stmts.h"

#include <sodium.h>

static enum err read_one(void *arg, const struct db_row *row)
{
	struct str s = db_row_str(row, 0);

	if (s.n != PSEUDONYM_MAX - 1)
		return ERR_INTERNAL;
	memcpy(arg, s.p, s.n);
	return OK;
}

static enum err fetch(struct db *db, const struct db_stmt *st, struct str sub,
                      char out[PSEUDONYM_MAX])
{
	const struct db_val v[] = {DB_STR(sub)};
	const struct db_sink sink = {read_one, out};

	memset(out, 0, PSEUDONYM_MAX);
	return db_run(db, st, v, COUNTOF(v), &sink);
}

enum err pseudonym_get(struct db *db, struct str sub, char out[PSEUDONYM_MAX])
{
	return fetch(db, STMT(PSEUDONYM_GET), sub, out);
}

enum err pseudonym_lock(struct db *db, struct str sub, char out[PSEUDONYM_MAX])
{
	unsigned char bytes[(PSEUDONYM_MAX - 1) / 2];
	char made[PSEUDONYM_MAX];
	enum err e = fetch(db, STMT(PSEUDONYM_LOCK), sub, out);

	if (e || out[0])
		return e;
	randombytes_buf(bytes, sizeof(bytes));
	const struct db_val v[] = {DB_STR(sub),
	                           DB_STR(hex(bytes, sizeof(bytes), made))};

	e = db_run(db, STMT(PSEUDONYM_ADD), v, COUNTOF(v), NULL);
	if (!e)
		e = fetch(db, STMT(PSEUDONYM_LOCK), sub, out);
	if (!e && !out[0])
		e = ERR_DB_CONFLICT; /* made by another since our snapshot */
	return e;
}

enum err pseudonym_drop(struct db *db, struct str sub)
{
	const struct db_val v[] = {DB_STR(sub)};

	return db_run(db, STMT(PSEUDONYM_DROP), v, COUNTOF(v), NULL);
}
