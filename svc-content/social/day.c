#include "svc-content/social/day.h"

#include "common/base/b64.h"
#include "common/base/clock.h"
#include "svc-content/stmts.h"

#include <sodium.h>

static enum err take_key(void *arg, const struct db_row *row)
{
	struct day_key *k = arg;
	struct str s = db_row_str(row, 0);

	if (s.n != DAY_KEY)
		return ERR_INTERNAL;
	memcpy(k->k, s.p, DAY_KEY);
	return OK;
}

static enum err find(struct db *db, struct day_key *k, bool *found)
{
	const struct db_val v[] = {DB_I64(k->day)};
	const struct db_sink sink = {take_key, k};
	enum err e;

	sodium_memzero(k->k, DAY_KEY);
	e = db_run(db, STMT(DAY_KEY_GET), v, COUNTOF(v), &sink);
	*found = !sodium_is_zero(k->k, DAY_KEY);
	return e;
}

enum err day_key_get(struct db *db, int64_t now_ms, struct day_key *out)
{
	struct day_key k = {.day = clock_utc_day(now_ms)};
	unsigned char fresh[DAY_KEY];
	bool found = false;
	enum err e = find(db, &k, &found);

	if (!e && !found) {
		const struct db_val add[] = {
			DB_I64(k.day),
			DB_BLOB(((struct str){(char *)fresh, sizeof(fresh)}))};
		const struct db_val old[] = {DB_I64(k.day - 1)};

		randombytes_buf(fresh, sizeof(fresh));
		e = db_run(db, STMT(DAY_KEY_ADD), add, COUNTOF(add), NULL);
		if (!e)
			e = db_run(db, STMT(DAY_KEY_DROP), old, 1, NULL);
		if (!e)
			e = db_run(db, STMT(VIEWS_DROP), old, 1, NULL);
		if (!e) /* ours, or of who was first */
			e = find(db, &k, &found);
		if (!e && !found)
			e = ERR_INTERNAL;
		sodium_memzero(fresh, sizeof(fresh));
	}
	if (!e)
		*out = k;
	return e;
}

struct str day_hash(const struct day_key *k, const struct str *parts, size_t n,
                    char out[DAY_HASH])
{
	unsigned char sum[DAY_HASH / 2];
	crypto_generichash_state st;

	(void)crypto_generichash_init(&st, k->k, DAY_KEY, sizeof(sum));
	for (size_t i = 0; i < n; i++) {
		uint64_t length = parts[i].n;

		(void)crypto_generichash_update(&st,
		                                (const unsigned char *)&length,
		                                sizeof(length));
		(void)crypto_generichash_update(
			&st,
			(const unsigned char *)(parts[i].n ? parts[i].p : ""),
			parts[i].n);
	}
	(void)crypto_generichash_final(&st, sum, sizeof(sum));
	return hex(sum, sizeof(sum), out);
}
