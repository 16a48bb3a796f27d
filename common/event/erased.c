#include "common/event/erased.h"

#include "common/base/b64.h"
#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/codec/mp.h"

#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define HASH       (ERASED_ID / 2)
#define FIRST_ROOM 64
#define OVERLAP_MS 60000 /* clocks of replicas, and commits that took long */
#define CALL_MS    2000
#define ARENA_MAX  ((size_t)1 << 20)

enum {
	S_AMONG,
	S_LOCK,
	S_BURY,
	S_FIND,
	S_DROP,
	S_SINCE,
	S_REPORT,
	S_SUM,
	S_COUNT
};

static const struct db_stmt rows[S_COUNT] = {
	[S_AMONG] = {"erased.among",
                     "SELECT id FROM @erased "
                     "WHERE id IN (SELECT value FROM json_each($1))",
                     "SELECT i FROM @erased_among($1) AS i"},
	[S_LOCK] = {"erased.lock", "SELECT $1",
                    "SELECT pg_advisory_xact_lock("
                    "hashtextextended('@' || $1, 0))"},
	[S_BURY] = {"erased.bury",
                    "INSERT INTO @erased (id, receipt, at) "
                    "VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
                    NULL},
	[S_FIND] = {"erased.find",
                    "SELECT receipt, at FROM @erased WHERE id = $1", NULL},
	[S_DROP] = {"erased.drop",
                    "UPDATE @erased SET dropped = dropped + $2 WHERE id = $1",
                    NULL},
	[S_SINCE] = {"erased.since", "SELECT id, at FROM @erased WHERE at > $1",
                     NULL},
	[S_REPORT] = {"erased.report",
                      "SELECT report FROM @erased WHERE id = $1", NULL},
	[S_SUM] = {"erased.sum", "UPDATE @erased SET report = $2 WHERE id = $1",
                   NULL},
};

struct erased {
	struct db_stmt *st;
	_Atomic uint64_t events, effects, requests;
	_Atomic size_t known;
	pthread_mutex_t lock; /* of all below; a leaf */
	/* Open addressing; room is a power of two, at most half of it used. */
	unsigned char (*set)[HASH];
	size_t room;
	pthread_cond_t wake;
	bool stopping;
	/* The owner's and the watch's. */
	struct db_pool *pool;
	const char *service;
	pthread_t watch;
	bool watches;
	int64_t seen_ms; /* at of the youngest row read */
};

/* --- hashes -------------------------------------------------------------------- */

static void hash(struct str sub, unsigned char out[HASH])
{
	static const unsigned char
		label[crypto_generichash_blake2b_PERSONALBYTES] =
			"kae-erased-sub";

	(void)crypto_generichash_blake2b_salt_personal(
		out, HASH, (const unsigned char *)sub.p, sub.n, NULL, 0, NULL,
		label);
}

struct str erased_id(struct str sub, char out[ERASED_ID + 1])
{
	unsigned char h[HASH];

	hash(sub, h);
	return hex(h, sizeof(h), out);
}

/* --- the set -------------------------------------------------------------------- */

static bool is_free(const unsigned char *at)
{
	static const unsigned char none[HASH];

	return memcmp(at, none, HASH) == 0;
}

/* Where h is, or the free place where it would be. */
static unsigned char *place(const struct erased *t, const unsigned char *h)
{
	uint64_t i;

	memcpy(&i, h, sizeof(i));
	for (i &= t->room - 1;; i = (i + 1) & (t->room - 1))
		if (is_free(t->set[i]) || memcmp(t->set[i], h, HASH) == 0)
			return t->set[i];
}

/* Without memory the set stays as it is: transactions look themselves. */
static bool make_room(struct erased *t)
{
	size_t before = t->room;
	unsigned char(*old)[HASH] = t->set;
	unsigned char(*set)[HASH];

	if (t->room / 2 > atomic_load(&t->known))
		return true;
	if (t->room >= 2 * ERASED_MAX)
		return false;
	set = calloc(before ? 2 * before : FIRST_ROOM, sizeof(*set));
	if (!set)
		return false;
	t->set = set;
	t->room = before ? 2 * before : FIRST_ROOM;
	for (size_t i = 0; i < before; i++)
		if (!is_free(old[i]))
			memcpy(place(t, old[i]), old[i], HASH);
	free(old);
	return true;
}

static void add(struct erased *t, const unsigned char h[HASH])
{
	GUARD(&t->lock);
	unsigned char *at;

	if (!make_room(t))
		return;
	at = place(t, h);
	if (!is_free(at))
		return;
	memcpy(at, h, HASH);
	atomic_fetch_add(&t->known, 1);
}

bool erased_knows(struct erased *t, struct str sub)
{
	unsigned char h[HASH];

	if (atomic_load(&t->known) == 0)
		return false;
	hash(sub, h);
	GUARD(&t->lock);

	return !is_free(place(t, h));
}

void erased_note(struct erased *t, struct str sub)
{
	unsigned char h[HASH];

	hash(sub, h);
	add(t, h);
}

/* --- transactions ---------------------------------------------------------------- */

struct among {
	size_t n;
	char (*ids)[ERASED_ID + 1];
	bool *gone;
};

static enum err take_gone(void *arg, const struct db_row *row)
{
	const struct among *a = arg;
	struct str id = db_row_str(row, 0);

	for (size_t i = 0; i < a->n; i++)
		a->gone[i] |= str_eq(id, str_from(a->ids[i]));
	return OK;
}

/* The longest list: ["…","…"]. */
#define LIST_MAX (ERASED_AMONG * (ERASED_ID + 3) + 2)

static enum err ask_among(struct erased *t, struct db *db, struct among *a,
                          char *list)
{
	const struct db_sink sink = {take_gone, a};
	size_t n = 0;
	struct db_val v;

	for (size_t i = 0; i < a->n; i++) {
		list[n++] = i ? ',' : '[';
		list[n++] = '"';
		memcpy(list + n, a->ids[i], ERASED_ID);
		n += ERASED_ID;
		list[n++] = '"';
	}
	list[n++] = ']';
	v = DB_STR(((struct str){list, n}));
	return db_run(db, &t->st[S_AMONG], &v, 1, &sink);
}

enum err erased_among(struct erased *t, struct db *db, const struct str *subs,
                      size_t n, bool *gone)
{
	char(*ids)[ERASED_ID + 1];
	char *list;
	struct among a;
	enum err e = ERR_NOMEM;

	if (n == 0)
		return OK;
	if (n > ERASED_AMONG)
		return ERR_INTERNAL;
	ids = malloc(n * sizeof(*ids));
	list = malloc(LIST_MAX);
	a = (struct among){n, ids, gone};
	for (size_t i = 0; ids && i < n; i++) {
		(void)erased_id(subs[i], ids[i]);
		gone[i] = false;
	}
	if (ids && list)
		e = ask_among(t, db, &a, list);
	free(ids);
	free(list);
	return e;
}

enum err erased_check(struct erased *t, struct db *db, struct str sub)
{
	char ids[1][ERASED_ID + 1], list[ERASED_ID + 5];
	bool gone = false;
	struct among a = {1, ids, &gone};
	enum err e;

	(void)erased_id(sub, ids[0]);
	e = ask_among(t, db, &a, list);
	if (e || !gone)
		return e;
	atomic_fetch_add(&t->effects, 1);
	return ERR_BAD_TOKEN;
}

enum err erased_drop(struct erased *t, struct db *db, struct str sub,
                     uint64_t events)
{
	char id[ERASED_ID + 1];
	const struct db_val v[] = {DB_STR(erased_id(sub, id)),
	                           DB_I64((int64_t)events)};

	return db_run(db, &t->st[S_DROP], v, COUNTOF(v), NULL);
}

enum err erased_bury(struct erased *t, struct db *db, struct str sub,
                     struct str receipt, int64_t now_ms)
{
	char id[ERASED_ID + 1];
	const struct db_val v[] = {DB_STR(erased_id(sub, id)), DB_STR(receipt),
	                           DB_I64(now_ms)};
	enum err e = db_run(db, &t->st[S_LOCK], v, 1, NULL);

	return e ? e : db_run(db, &t->st[S_BURY], v, COUNTOF(v), NULL);
}

struct found {
	bool any;
	struct tombstone *out;
};

static enum err take_tombstone(void *arg, const struct db_row *row)
{
	struct found *f = arg;

	f->any = true;
	(void)snprintf(f->out->receipt, sizeof(f->out->receipt), "%.*s",
	               STR_FMT(db_row_str(row, 0)));
	f->out->at_ms = db_row_i64(row, 1);
	return OK;
}

enum err erased_find(struct erased *t, struct db *db, struct str sub,
                     struct tombstone *out)
{
	char id[ERASED_ID + 1];
	const struct db_val v[] = {DB_STR(erased_id(sub, id))};
	struct found f = {false, out};
	const struct db_sink sink = {take_tombstone, &f};
	enum err e = db_run(db, &t->st[S_FIND], v, COUNTOF(v), &sink);

	return e || f.any ? e : ERR_NOT_FOUND;
}

/* --- reports -------------------------------------------------------------------------- */

static enum err take_report(void *arg, const struct db_row *row)
{
	struct buf *b = arg;

	buf_str(b, db_row_str(row, 0));
	return b->failed ? ERR_NOMEM : OK;
}

/* The tables of b, each with what a has of it added. */
static bool add_up(struct str a, struct str b, struct buf *out)
{
	struct mp m = mp_open(b);
	uint32_t n;

	if (!mp_get_map(&m, &n))
		return false;
	mp_map(out, n);
	for (; n > 0; n--) {
		char name[64];
		struct str table;
		int64_t rows_n;

		if (!mp_get_str(&m, &table) || table.n >= sizeof(name) ||
		    !mp_get_i64(&m, &rows_n))
			return false;
		(void)snprintf(name, sizeof(name), "%.*s", STR_FMT(table));
		mp_kv_i64(out, name, rows_n + mp_find_i64(a, name, 0));
	}
	return true;
}

enum err erased_report(struct erased *t, struct db *db, struct str sub,
                       struct str report, struct buf *all)
{
	char id[ERASED_ID + 1];
	struct db_val v[2] = {DB_STR(erased_id(sub, id))};
	AUTO_BUF before = {0};
	const struct db_sink sink = {take_report, &before};
	enum err e = db_run(db, &t->st[S_REPORT], v, 1, &sink);

	if (e)
		return e;
	buf_clear(all);
	if (!add_up(buf_view(&before), report, all))
		return ERR_INTERNAL;
	if (all->failed)
		return ERR_NOMEM;
	v[1] = DB_BLOB(buf_view(all));
	return db_run(db, &t->st[S_SUM], v, COUNTOF(v), NULL);
}

/* --- the watch ---------------------------------------------------------------------- */

static enum err take_young(void *arg, const struct db_row *row)
{
	struct erased *t = arg;
	struct str id = db_row_str(row, 0);
	int64_t at = db_row_i64(row, 1);
	unsigned char h[HASH];

	if (id.n == ERASED_ID &&
	    sodium_hex2bin(h, sizeof(h), id.p, id.n, NULL, NULL, NULL) == 0)
		add(t, h);
	if (at > t->seen_ms)
		t->seen_ms = at;
	return OK;
}

/* A db_fn. */
static enum err read_since(struct db *db, void *arg)
{
	struct erased *t = arg;
	const struct db_val v[] = {DB_I64(t->seen_ms - OVERLAP_MS)};
	const struct db_sink sink = {take_young, t};

	return db_run(db, &t->st[S_SINCE], v, COUNTOF(v), &sink);
}

static enum err refresh(struct erased *t, struct arena *arena)
{
	char rid[UUID_MAX];
	struct ctx cx = {.service = t->service,
	                 .arena = arena,
	                 .rid = uuid7(rid),
	                 .deadline_ms = mono_ms() + CALL_MS};

	return db_read(t->pool, &cx, read_since, t);
}

static bool doze(struct erased *t, uint64_t until_ms)
{
	const struct timespec ts = {(time_t)(until_ms / 1000),
	                            (long)(until_ms % 1000) * 1000000};
	GUARD(&t->lock);

	while (!t->stopping)
		if (pthread_cond_timedwait(&t->wake, &t->lock, &ts) != 0)
			break;
	return !t->stopping;
}

static void *watch(void *arg)
{
	struct erased *t = arg;
	AUTO(arena) arena = arena_new(ARENA_MAX);

	/* What fails is read the next time: the pool tells of an outage. */
	while (doze(t, mono_ms() + ERASED_POLL_MS)) {
		(void)!refresh(t, arena);
		if (arena)
			arena_reset(arena);
	}
	return NULL;
}

enum err erased_watch(struct erased *t, struct db_pool *pool,
                      const char *service)
{
	struct db_pool_stats st;
	enum err e;

	if (t->watches)
		return OK;
	t->pool = pool;
	t->service = service;
	t->seen_ms = wall_ms() - ERASED_YOUNG_MS;
	e = refresh(t, NULL);
	if (e)
		return e;
	db_pool_stats(pool, &st);
	if (st.kind == DB_SQLITE) /* nobody else writes to the file */
		return OK;
	if (pthread_create(&t->watch, NULL, watch, t))
		return ERR_NOMEM;
	(void)pthread_setname_np(t->watch, "erased-watch");
	t->watches = true;
	return OK;
}

/* --- life and figures --------------------------------------------------------------- */

struct erased *erased_new(const char *service)
{
	struct erased *t = sodium_init() < 0 ? NULL : calloc(1, sizeof(*t));
	pthread_condattr_t attr;

	if (!t)
		return NULL;
	t->st = db_stmts_for(rows, S_COUNT, service);
	if (!t->st) {
		free(t);
		return NULL;
	}
	(void)pthread_mutex_init(&t->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&t->wake, &attr);
	(void)pthread_condattr_destroy(&attr);
	return t;
}

static void tell_to_end(struct erased *t)
{
	GUARD(&t->lock);

	t->stopping = true;
	(void)pthread_cond_signal(&t->wake);
}

void erased_free(struct erased *t)
{
	if (!t)
		return;
	if (t->watches) {
		tell_to_end(t);
		(void)pthread_join(t->watch, NULL);
	}
	(void)pthread_cond_destroy(&t->wake);
	(void)pthread_mutex_destroy(&t->lock);
	free(t->set);
	free(t->st);
	free(t);
}

void erased_count(struct erased *t, uint64_t events, uint64_t requests)
{
	atomic_fetch_add(&t->events, events);
	atomic_fetch_add(&t->requests, requests);
}

void erased_stats(const struct erased *t, struct erased_stats *out)
{
	*out = (struct erased_stats){
		.events = atomic_load(&t->events),
		.effects = atomic_load(&t->effects),
		.requests = atomic_load(&t->requests),
		.known = atomic_load(&t->known),
	};
}
