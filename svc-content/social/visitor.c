#include "svc-content/social/visitor.h"

#include "common/base/b64.h"
#include "svc-content/stmts.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

#define MAC_BYTES 16

static enum err take_key(void *arg, const struct db_row *row)
{
	struct visitor_key *k = arg;
	struct str s = db_row_str(row, 0);

	if (s.n != VISITOR_KEY)
		return ERR_INTERNAL;
	memcpy(k->k, s.p, VISITOR_KEY);
	return OK;
}

enum err visitor_key_get(struct db *db, struct visitor_key *out)
{
	struct visitor_key k = {{0}};
	const struct db_sink sink = {take_key, &k};
	enum err e = db_run(db, STMT(VISITOR_KEY_GET), NULL, 0, &sink);

	if (!e && sodium_is_zero(k.k, VISITOR_KEY))
		e = ERR_NOT_FOUND;
	if (!e)
		*out = k;
	return e;
}

enum err visitor_key_need(struct db *db, int64_t now_ms,
                          struct visitor_key *out)
{
	unsigned char fresh[VISITOR_KEY];
	enum err e = visitor_key_get(db, out);

	if (e != ERR_NOT_FOUND)
		return e;
	randombytes_buf(fresh, sizeof(fresh));
	const struct db_val v[] = {
		DB_BLOB(((struct str){(char *)fresh, sizeof(fresh)})),
		DB_I64(now_ms)};

	e = db_run(db, STMT(VISITOR_KEY_ADD), v, COUNTOF(v), NULL);
	sodium_memzero(fresh, sizeof(fresh));
	return e ? e : visitor_key_get(db, out); /* ours, or of who was first */
}

static void mac(const struct visitor_key *k, const char *text, size_t n,
                char out[2 * MAC_BYTES + 1])
{
	static const char label[] = "kae-visitor-1";
	unsigned char sum[MAC_BYTES];
	crypto_generichash_state st;

	(void)crypto_generichash_init(&st, k->k, VISITOR_KEY, sizeof(sum));
	(void)crypto_generichash_update(&st, (const unsigned char *)label,
	                                sizeof(label));
	(void)crypto_generichash_update(&st, (const unsigned char *)text, n);
	(void)crypto_generichash_final(&st, sum, sizeof(sum));
	(void)hex(sum, sizeof(sum), out);
}

bool visitor_read(const struct visitor_key *k, struct str cookie, int64_t now_s,
                  char id[VISITOR_ID])
{
	struct str rest = cookie, version, who, ends;
	char want[2 * MAC_BYTES + 1];
	int64_t ends_s = 0;

	version = str_cut(&rest, '.');
	who = str_cut(&rest, '.');
	ends = str_cut(&rest, '.');
	if (!str_eq(version, STR("1")) || who.n != VISITOR_ID - 1 ||
	    rest.n != sizeof(want) - 1 || !str_to_i64(ends, &ends_s))
		return false;
	/* What is signed is the text before the MAC, byte for byte. */
	mac(k, cookie.p, cookie.n - rest.n, want);
	if (sodium_memcmp(want, rest.p, sizeof(want) - 1) != 0 ||
	    ends_s <= now_s)
		return false;
	memcpy(id, who.p, who.n);
	id[who.n] = '\0';
	return true;
}

struct str visitor_make(const struct visitor_key *k, int64_t now_s,
                        char id[VISITOR_ID], char out[VISITOR_COOKIE_MAX])
{
	unsigned char random[VISITOR_ID / 2];
	char sum[2 * MAC_BYTES + 1];
	int n;

	randombytes_buf(random, sizeof(random));
	(void)hex(random, sizeof(random), id);
	n = snprintf(out, VISITOR_COOKIE_MAX, "1.%s.%" PRId64 ".", id,
	             now_s + VISITOR_S);
	mac(k, out, (size_t)n, sum);
	memcpy(out + n, sum, sizeof(sum));
	return (struct str){out, (size_t)n + sizeof(sum) - 1};
}
