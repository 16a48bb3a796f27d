#include "svc-gdpr/breach.h"

#include "common/base/b64.h"
#include "common/base/uuid.h"
#include "svc-gdpr/stmts.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

#define DIGEST_BYTES 16
#define SUB_ROOM     128

/* --- entering ----------------------------------------------------------------- */

static void hash_str(crypto_generichash_state *h, struct str s)
{
	uint64_t n = s.n;

	(void)crypto_generichash_update(h, (const unsigned char *)&n,
	                                sizeof(n));
	if (s.n)
		(void)crypto_generichash_update(h, (const unsigned char *)s.p,
		                                s.n);
}

/* What makes two of them the same. */
static void digest(const struct ctx *cx, const struct breach *b,
                   const struct str *handles, size_t n,
                   unsigned char out[DIGEST_BYTES])
{
	crypto_generichash_state h;

	(void)crypto_generichash_init(&h, NULL, 0, DIGEST_BYTES);
	hash_str(&h, cx->sub);
	hash_str(&h, b->type);
	hash_str(&h, b->severity);
	hash_str(&h, b->affected);
	hash_str(&h, b->description);
	hash_str(&h, b->everyone ? STR("all") : STR("some"));
	for (size_t i = 0; i < n; i++)
		hash_str(&h, handles[i]);
	(void)crypto_generichash_final(&h, out, DIGEST_BYTES);
}

/* Contract 4.6.6: the head of the SHA-256 of type and time, and of a UUID, since
 * two may have both in common. */
static void make_id(const struct breach *b, char out[BREACH_ID_MAX])
{
	unsigned char sum[crypto_hash_sha256_BYTES];
	crypto_hash_sha256_state h;
	char tail[64], id[UUID_MAX];

	(void)snprintf(tail, sizeof(tail), "%" PRId64 "%s", b->at, uuid7(id).p);
	(void)crypto_hash_sha256_init(&h);
	if (b->type.n)
		(void)crypto_hash_sha256_update(
			&h, (const unsigned char *)b->type.p, b->type.n);
	(void)crypto_hash_sha256_update(&h, (const unsigned char *)tail,
	                                strlen(tail));
	(void)crypto_hash_sha256_final(&h, sum);
	(void)hex(sum, (BREACH_ID_MAX - 1) / 2, out);
}

struct same {
	struct breach *b;
	bool found;
};

static enum err read_same(void *arg, const struct db_row *row)
{
	struct same *s = arg;
	struct str id = db_row_str(row, 0);

	if (id.n >= sizeof(s->b->id))
		return ERR_INTERNAL;
	memset(s->b->id, 0, sizeof(s->b->id));
	memcpy(s->b->id, id.p, id.n);
	s->b->notified = db_row_i64(row, 1);
	s->b->at = db_row_i64(row, 2);
	s->found = true;
	return OK;
}

struct found {
	char sub[SUB_ROOM];
	size_t n;
};

static enum err read_sub(void *arg, const struct db_row *row)
{
	struct found *f = arg;
	struct str sub = db_row_str(row, 0);

	if (sub.n > sizeof(f->sub))
		return ERR_INTERNAL;
	f->n = sub.n;
	memcpy(f->sub, sub.p, sub.n);
	return OK;
}

static enum err notify_one(struct db *db, struct ctx *cx, struct breach *b,
                           struct str handle, size_t place)
{
	const struct db_val whom[] = {DB_STR(handle)};
	struct found f = {.n = 0};
	const struct db_sink sink = {read_sub, &f};
	char pointer[32];
	int64_t added = 0;
	enum err e = db_run(db, STMT(BREACH_WHOM), whom, COUNTOF(whom), &sink);

	if (!e && f.n == 0) {
		(void)snprintf(pointer, sizeof(pointer), "/user_ids/%zu",
		               place);
		return ctx_fault(cx, pointer, "UNKNOWN",
		                 "Nobody has the user_id %.*s.",
		                 STR_FMT(handle));
	}
	if (!e) {
		const struct db_val v[] = {DB_STR(((struct str){f.sub, f.n})),
		                           DB_TEXT(b->id)};

		e = db_change(db, STMT(NOTICE_ADD), v, COUNTOF(v), &added);
	}
	b->notified += added;
	return e;
}

static enum err insert(struct db *db, const struct ctx *cx,
                       const struct breach *b, struct str print)
{
	const struct db_val v[] = {
		DB_TEXT(b->id),
		DB_STR(b->type),
		DB_STR(b->severity),
		DB_STR(b->affected),
		b->description.p ? DB_STR(b->description) : DB_NULL,
		DB_I64(b->everyone),
		DB_I64(b->notified),
		DB_STR(print),
		DB_STR(cx->sub),
		DB_I64(b->at),
	};

	return db_run(db, STMT(BREACH_ADD), v, COUNTOF(v), NULL);
}

static enum err set_notified(struct db *db, const struct breach *b)
{
	const struct db_val v[] = {DB_TEXT(b->id), DB_I64(b->notified)};

	return db_run(db, STMT(BREACH_NOTIFIED), v, COUNTOF(v), NULL);
}

enum err breach_add(struct db *db, struct ctx *cx, struct breach *b,
                    const struct str *handles, size_t n, int64_t now_ms)
{
	unsigned char sum[DIGEST_BYTES];
	char text[2 * DIGEST_BYTES + 1];
	struct same same = {.b = b};
	const struct db_sink sink = {read_same, &same};
	int64_t lock;
	enum err e, bad = OK;

	digest(cx, b, handles, n, sum);
	memcpy(&lock, sum, sizeof(lock));
	const struct db_val v[] = {DB_STR(hex(sum, sizeof(sum), text)),
	                           DB_I64(now_ms - BREACH_REPEAT_MS),
	                           DB_I64(now_ms)};
	e = db_lock(db, lock);
	if (!e)
		e = db_run(db, STMT(BREACH_SAME), v, COUNTOF(v), &sink);
	b->repeat = same.found;
	if (e || same.found)
		return e;
	b->at = now_ms;
	b->notified = 0;
	make_id(b, b->id);
	if (b->everyone)
		e = db_get_i64(db, STMT(BREACH_ALL), NULL, 0, &b->notified);
	if (!e)
		e = insert(db, cx, b, v[0].v.s);
	/* All that are wrong are told at once. */
	for (size_t i = 0; !e && i < n; i++) {
		e = notify_one(db, cx, b, handles[i], i);
		if (e == ERR_INVALID) {
			bad = e;
			e = OK;
		}
	}
	if (!e)
		e = bad;
	return e ? e : set_notified(db, b);
}

/* --- looking ------------------------------------------------------------------ */

struct listing {
	breach_row_fn *fn;
	void *arg;
	bool notices;
};

static enum err read_breach(void *arg, const struct db_row *row)
{
	struct listing *l = arg;
	struct str id = db_row_str(row, 0);
	struct breach b = {.type = db_row_str(row, 1),
	                   .severity = db_row_str(row, 2),
	                   .affected = db_row_str(row, 3)};

	if (id.n >= sizeof(b.id))
		return ERR_INTERNAL;
	memcpy(b.id, id.p, id.n);
	if (!db_row_null(row, 4))
		b.description = db_row_str(row, 4);
	b.at = db_row_i64(row, 5);
	if (l->notices) {
		b.seen_at = db_row_i64(row, 6);
	} else {
		b.reported_at = db_row_i64(row, 6);
		b.everyone = db_row_i64(row, 7) != 0;
		b.notified = db_row_i64(row, 8);
		b.seen = db_row_i64(row, 9);
	}
	return l->fn(l->arg, &b);
}

enum err breach_notices(struct db *db, struct str sub, int64_t limit,
                        breach_row_fn *fn, void *arg)
{
	const struct db_val v[] = {DB_STR(sub), DB_I64(limit)};
	struct listing l = {fn, arg, true};
	const struct db_sink sink = {read_breach, &l};

	return db_run(db, STMT(NOTICE_LIST), v, COUNTOF(v), &sink);
}

enum err breach_list(struct db *db, struct str before, int64_t limit,
                     breach_row_fn *fn, void *arg)
{
	const struct db_val v[] = {DB_STR(before), DB_I64(limit)};
	struct listing l = {fn, arg, false};
	const struct db_sink sink = {read_breach, &l};

	return db_run(db, STMT(BREACH_LIST), v, COUNTOF(v), &sink);
}

/* --- what follows --------------------------------------------------------------- */

enum err breach_seen(struct db *db, struct str sub, struct str id,
                     int64_t now_ms, int64_t *seen_at)
{
	const struct db_val v[] = {DB_STR(sub), DB_STR(id), DB_I64(now_ms)};
	int64_t found = 0;
	enum err e = db_get_i64(db, STMT(NOTICE_MINE), v, 2, &found);

	if (!e)
		e = db_get_i64(db, STMT(NOTICE_SEEN), v, COUNTOF(v), seen_at);
	return e;
}

enum err breach_reported(struct db *db, struct str id, int64_t now_ms,
                         int64_t *reported_at)
{
	const struct db_val v[] = {DB_STR(id), DB_I64(now_ms)};

	return db_get_i64(db, STMT(BREACH_REPORTED), v, COUNTOF(v),
	                  reported_at);
}
