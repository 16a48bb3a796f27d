#include "svc-auth/throttle.h"

#include "svc-auth/stmts.h"

#include "common/base/log.h"
#include "common/base/net.h"

/* One row; zeros where there is none. */
struct row {
	int64_t failures; /* of a pair */
	int64_t next_ms;  /* of a pair: not before; of a network: GCRA's TAT */
	int64_t seen_ms, known_until_ms;
};

static struct str id_of(const unsigned char id[THROTTLE_ID])
{
	return (struct str){(const char *)id, THROTTLE_ID};
}

static void name(const struct seal_key *key, const char *kind,
                 struct str account, struct str net,
                 unsigned char out[THROTTLE_ID])
{
	const struct str part[] = {str_from(kind), account, net};
	crypto_generichash_state h;

	(void)crypto_generichash_init(&h, key->k, sizeof(key->k), THROTTLE_ID);
	for (size_t i = 0; i < COUNTOF(part); i++) {
		/* With its length, so that no two lists of parts look alike. */
		uint64_t n = part[i].n;

		(void)crypto_generichash_update(&h, (const void *)&n,
		                                sizeof(n));
		(void)crypto_generichash_update(&h, (const void *)part[i].p, n);
	}
	(void)crypto_generichash_final(&h, out, THROTTLE_ID);
	explicit_bzero(&h, sizeof(h));
}

void throttle_init(struct throttle *t, const struct seal_key *key,
                   const char *kind, struct str account, struct str ip,
                   int64_t now_ms)
{
	unsigned char bytes[NET_BYTES_MAX];
	struct str net = net_of(ip, bytes);

	*t = (struct throttle){.account = account.p != NULL, .now_ms = now_ms};
	name(key, "network", STR(""), net, t->net);
	if (t->account)
		name(key, kind, account, net, t->pair);
}

/* --- rows -------------------------------------------------------------------- */

static enum err take_row(void *arg, const struct db_row *row)
{
	struct row *r = arg;

	r->failures = db_row_i64(row, 0);
	r->next_ms = db_row_i64(row, 1);
	r->seen_ms = db_row_i64(row, 2);
	r->known_until_ms = db_row_i64(row, 3);
	return OK;
}

/* Locked until the commit, also where there is none yet. */
static enum err get(struct db *db, const unsigned char id[THROTTLE_ID],
                    struct row *out)
{
	const struct db_val v[] = {DB_BLOB(id_of(id))};
	const struct db_sink sink = {take_row, out};
	int64_t number;
	enum err e;

	*out = (struct row){0};
	memcpy(&number, id, sizeof(number));
	e = db_lock(db, number);
	return e ? e : db_run(db, STMT(THROTTLE_GET), v, COUNTOF(v), &sink);
}

static enum err put(struct db *db, const unsigned char id[THROTTLE_ID],
                    const struct row *r)
{
	const struct db_val v[] = {DB_BLOB(id_of(id)), DB_I64(r->failures),
	                           DB_I64(r->next_ms), DB_I64(r->seen_ms),
	                           DB_I64(r->known_until_ms)};

	return db_run(db, STMT(THROTTLE_PUT), v, COUNTOF(v), NULL);
}

/* --- an attempt -------------------------------------------------------------- */

static int64_t pause_ms(int64_t failures)
{
	int64_t ms = THROTTLE_PAUSE_MS;

	if (failures < THROTTLE_FREE)
		return 0;
	for (int64_t i = THROTTLE_FREE;
	     i < failures && ms < THROTTLE_PAUSE_MAX_MS; i++)
		ms *= 2;
	return ms < THROTTLE_PAUSE_MAX_MS ? ms : THROTTLE_PAUSE_MAX_MS;
}

static enum err early(struct throttle *t, int64_t wait_ms)
{
	t->wait_ms = wait_ms;
	return ERR_RATE_LIMITED;
}

/* What the row of the pair becomes. */
static enum err charge_pair(struct throttle *t, struct row *r)
{
	if (t->now_ms - r->seen_ms > THROTTLE_FORGET_MS)
		r->failures = r->next_ms = 0;
	if (r->next_ms > t->now_ms)
		return early(t, r->next_ms - t->now_ms);
	t->known = r->known_until_ms > t->now_ms;
	r->failures++;
	r->next_ms = t->now_ms + pause_ms(r->failures);
	r->seen_ms = t->now_ms;
	return OK;
}

static enum err charge_net(struct throttle *t, struct row *r)
{
	const int64_t ahead =
		(int64_t)(THROTTLE_NET_BURST - 1) * THROTTLE_NET_EVERY_MS;

	if (r->next_ms > t->now_ms + ahead)
		return early(t, r->next_ms - ahead - t->now_ms);
	if (r->next_ms < t->now_ms)
		r->next_ms = t->now_ms;
	r->next_ms += THROTTLE_NET_EVERY_MS;
	r->seen_ms = t->now_ms;
	return OK;
}

enum err throttle_take(struct db *db, struct throttle *t)
{
	struct row pair, net;
	enum err e = OK;

	/* A transaction function may run twice. */
	t->known = false;
	t->wait_ms = 0;
	if (t->account)
		e = get(db, t->pair, &pair);
	if (!e && t->account)
		e = charge_pair(t, &pair);
	if (!e && !t->known)
		e = get(db, t->net, &net);
	if (!e && !t->known)
		e = charge_net(t, &net);
	if (!e && t->account)
		e = put(db, t->pair, &pair);
	if (!e && !t->known)
		e = put(db, t->net, &net);
	return e;
}

enum err throttle_good(struct db *db, const struct throttle *t)
{
	const struct row pair = {.seen_ms = t->now_ms,
	                         .known_until_ms =
	                                 t->now_ms + THROTTLE_KNOWN_MS};
	const struct db_val back[] = {DB_I64(THROTTLE_NET_EVERY_MS),
	                              DB_BLOB(id_of(t->net))};
	enum err e = OK;

	if (t->account)
		e = put(db, t->pair, &pair);
	if (!e && !t->known)
		e = db_run(db, STMT(THROTTLE_BACK), back, COUNTOF(back), NULL);
	return e;
}

enum err throttle_refuse(struct ctx *cx, const struct throttle *t)
{
	unsigned wait_s = (unsigned)((t->wait_ms + 999) / 1000);

	log_warn(cx, "auth.throttled", LOG_U64("wait_s", wait_s));
	(void)ctx_fail(cx, ERR_RATE_LIMITED,
	               "Too many attempts failed. Try again in %u second%s.",
	               wait_s, wait_s == 1 ? "" : "s");
	cx->problem.retry_after_s = wait_s;
	return ERR_RATE_LIMITED;
}

enum err throttle_prune(struct db *db, int64_t now_ms)
{
	const struct db_val v[] = {DB_I64(now_ms - THROTTLE_FORGET_MS),
	                           DB_I64(now_ms)};

	return db_run(db, STMT(THROTTLE_PRUNE), v, COUNTOF(v), NULL);
}
