#include "common/db/postgres.h"

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#include <assert.h>
#include <stdlib.h>

#define OID_BYTEA      17
#define ROLLBACK_MS    1000
#define CLOSE_MS       200
#define IDLE_MS        5000 /* more than a statement gets between two of them */
#define TIMEOUT_MAX_MS ((uint64_t)3600 * 1000)

/* --- the statements of the driver itself ------------------------------------ */

static const struct db_stmt BEGIN_READ = {
	"pg.begin_read", NULL,
	"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"};
/* Without READ WRITE: a server that its operator made read only says so with
 * the state for it (25006), and not that BEGIN is unsupported. */
static const struct db_stmt BEGIN_WRITE = {
	"pg.begin_write", NULL, "BEGIN ISOLATION LEVEL READ COMMITTED"};
static const struct db_stmt COMMIT = {"pg.commit", NULL, "COMMIT"};
static const struct db_stmt ROLLBACK = {"pg.rollback", NULL, "ROLLBACK"};
static const struct db_stmt PING = {"pg.ping", NULL, "SELECT 1"};
static const struct db_stmt LOCK = {
	"pg.lock", NULL,
	"SELECT pg_advisory_xact_lock(hashtextextended($1, $2))"};
static const struct db_stmt TRY_LOCK = {
	"pg.try_lock", NULL,
	"SELECT pg_try_advisory_xact_lock(hashtextextended($1, $2))"};
/*
 * SET LOCAL with parameters: the first bounds a statement and its waits for
 * locks, the second frees the locks if this process is stopped in the middle.
 */
static const struct db_stmt TIMEOUTS = {
	"pg.timeouts", NULL,
	"SELECT set_config('statement_timeout', $1::text, true), "
	"set_config('idle_in_transaction_session_timeout', $2::text, true)"};

/* --- transactions ------------------------------------------------------------ */

static uint64_t until(const struct pg *g)
{
	return g->db.deadline_ms > UINT64_MAX - PG_GRACE_MS
	               ? UINT64_MAX
	               : g->db.deadline_ms + PG_GRACE_MS;
}

static enum err queue_timeouts(struct pg *g)
{
	uint64_t left = clock_left(g->db.deadline_ms, mono_ms());
	struct db_val v[2];

	/* 0 would mean none. */
	if (left == 0)
		left = 1;
	if (left > TIMEOUT_MAX_MS)
		left = TIMEOUT_MAX_MS;
	g->timeout_ms = left;
	v[0] = DB_I64((int64_t)left);
	v[1] = DB_I64((int64_t)left + IDLE_MS);
	return pg_queue(g, &TIMEOUTS, v, COUNTOF(v));
}

/*
 * What goes before a statement: BEGIN once, and the timeout again when less
 * than half of it is left.
 */
static enum err queue_head(struct pg *g)
{
	enum err e = OK;

	if (g->begun) {
		if (clock_left(g->db.deadline_ms, mono_ms()) <
		    g->timeout_ms / 2)
			e = queue_timeouts(g);
		return e;
	}
	e = pg_queue(g, g->mode == DB_MODE_READ ? &BEGIN_READ : &BEGIN_WRITE,
	             NULL, 0);
	if (!e)
		e = queue_timeouts(g);
	g->begun = true;
	return e;
}

static enum err begin(struct db *db, enum db_mode mode)
{
	struct pg *g = pg_of(db);

	/* BEGIN travels with the first statement. */
	g->mode = mode;
	g->begun = false;
	return OK;
}

static enum err exchange(struct pg *g, const struct db_stmt *st,
                         const struct db_val *v, size_t n, uint64_t until_ms,
                         PGresult **r)
{
	enum err e = pg_queue(g, st, v, n);

	if (!e)
		e = pg_sync(g, until_ms);
	return e ? e : pg_collect(g, st->name, until_ms, r);
}

/* Whoever wanted the rows has returned. */
static void drop_sinks(struct pg *g)
{
	for (unsigned i = 0; i < g->later_n; i++)
		g->later[i].sink = (struct db_sink){NULL, NULL};
}

static void rollback(struct db *db)
{
	struct pg *g = pg_of(db);
	enum err failed = db->failed;
	bool again = db->again;

	/* By itself: if one of them fails, what is behind it is not looked at. */
	if (g->begun && !db->dead && g->later_n) {
		uint64_t soon = mono_ms() + ROLLBACK_MS;

		drop_sinks(g);
		if (!pg_sync(g, soon))
			(void)!pg_collect(g, ROLLBACK.name, soon, NULL);
	}
	if (g->begun && !db->dead &&
	    exchange(g, &ROLLBACK, NULL, 0, mono_ms() + ROLLBACK_MS, NULL))
		db->dead = true;
	/* What happens here does not change what the transaction came to. */
	db->failed = failed;
	db->again = again;
	g->begun = false;
}

/* From here on a silence says nothing about what the server did. */
static enum err commit_write(struct pg *g)
{
	AUTO(pg_result) r = NULL;
	enum err e;

	e = pg_queue(g, &COMMIT, NULL, 0);
	if (e) { /* nothing has left: closing rolls back */
		g->db.dead = true;
		return e;
	}
	g->silent = false;
	e = pg_sync(g, until(g));
	if (!e)
		e = pg_collect(g, COMMIT.name, until(g), &r);
	if (g->silent) {
		g->db.again = false;
		return ERR_PEER_LOST;
	}
	/* COMMIT of a failed transaction succeeds as ROLLBACK. */
	if (!e && strcmp(PQcmdStatus(r), "COMMIT") != 0)
		e = ERR_INTERNAL;
	return e;
}

/* With what nobody has waited for: if that fails, COMMIT is not looked at. */
static enum err commit_with(struct pg *g)
{
	bool has_later = g->later_n > 0;
	enum err e;

	drop_sinks(g);
	e = commit_write(g);
	if (e && has_later && !g->db.dead) {
		g->begun = true;
		rollback(&g->db);
	}
	return e;
}

static enum err commit(struct db *db)
{
	struct pg *g = pg_of(db);
	enum err e;

	if (!g->begun)
		return OK;
	g->begun = false;
	if (g->mode == DB_MODE_WRITE) {
		/* A server that has said goodbye has not heard COMMIT. */
		pg_listen(g);
		if (db->dead) {
			db->again = true;
			return ERR_DATABASE;
		}
		return commit_with(g);
	}
	/* Nothing hangs on the end of a read: the next borrower reads the
	 * answer, which is there by then. */
	e = pg_queue(g, &COMMIT, NULL, 0);
	if (!e)
		e = pg_sync(g, mono_ms() + PG_GRACE_MS);
	if (e)
		db->dead = true;
	g->owes = !e;
	return OK;
}

/* Finding out whether a server lives must leave time to ask another. */
static uint64_t until_answered(const struct pg *g)
{
	uint64_t soon = mono_ms() + PG_PING_MS;

	return soon < g->db.deadline_ms ? soon : g->db.deadline_ms;
}

/* Reads the answer to a COMMIT that nobody has waited for. */
static void settle(struct pg *g, uint64_t until_ms)
{
	if (!g->owes || g->db.dead)
		return;
	g->owes = false;
	if (pg_collect(g, COMMIT.name, until_ms, NULL))
		g->db.dead = true;
}

static bool alive(struct db *db)
{
	struct pg *g = pg_of(db);

	pg_listen(g);
	settle(g, until_answered(g));
	return !db->dead;
}

/*
 * A pooler that sees us go before the COMMIT has ended closes the server's
 * connection too, and opens another for the next.  Of connections that have
 * fallen silent only the first is waited for.
 */
static void close_settled(struct db *db)
{
	if (db->idle_ms > atomic_load(&db->pool->doubt_ms))
		settle(pg_of(db), mono_ms() + CLOSE_MS);
	pg_close(db);
}

static enum err ping(struct db *db)
{
	struct pg *g = pg_of(db);

	db->failed = OK;
	return exchange(g, &PING, NULL, 0, until_answered(g), NULL);
}

/* --- statements -------------------------------------------------------------- */

static int unhex(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* "\x00ff" as PostgreSQL writes it, appended as bytes. */
static void decode_bytea(struct buf *b, const char *p, size_t n)
{
	for (size_t i = 2; i + 1 < n; i += 2)
		buf_char(b, (char)(unhex(p[i]) << 4 | unhex(p[i + 1])));
}

/* Where the blobs of a row start in the scratch; its end is the next start. */
struct blobs {
	struct buf bytes;
	struct str *at; /* one per column; p NULL: not a blob */
};

static bool decode_row(struct blobs *bl, const PGresult *r, int row, int cols)
{
	size_t room = 0, from = 0;

	buf_clear(&bl->bytes);
	for (int c = 0; c < cols; c++)
		room += PQftype(r, c) == OID_BYTEA
		                ? (size_t)PQgetlength(r, row, c)
		                : 0;
	/* One reservation, so that slices stay where they are. */
	if (!buf_reserve(&bl->bytes, room + 1))
		return false;
	for (int c = 0; c < cols; c++) {
		bl->at[c] = (struct str){NULL, 0};
		if (PQftype(r, c) != OID_BYTEA)
			continue;
		from = bl->bytes.n;
		decode_bytea(&bl->bytes, PQgetvalue(r, row, c),
		             (size_t)PQgetlength(r, row, c));
		bl->at[c] =
			(struct str){bl->bytes.p + from, bl->bytes.n - from};
	}
	return true;
}

static enum err hand_over(PGresult *r, struct blobs *bl,
                          const struct db_sink *sink)
{
	struct db_row row = {.driver = &db_postgres,
	                     .result = r,
	                     .cols = PQnfields(r),
	                     .blobs = bl->at};
	int n = PQntuples(r);
	enum err e = OK;

	for (row.row = 0; row.row < n && !e; row.row++) {
		if (bl->at && !decode_row(bl, r, row.row, row.cols))
			return ERR_NOMEM;
		e = sink->row(sink->arg, &row);
	}
	return e;
}

enum err pg_rows(PGresult *r, const struct db_sink *sink)
{
	struct blobs bl = {0};
	int cols = PQnfields(r);
	enum err e;

	for (int c = 0; c < cols && !bl.at; c++) {
		if (PQftype(r, c) != OID_BYTEA)
			continue;
		bl.at = calloc((size_t)cols, sizeof(*bl.at));
		if (!bl.at)
			return ERR_NOMEM;
	}
	e = hand_over(r, &bl, sink);
	buf_fini(&bl.bytes);
	free(bl.at);
	return e;
}

static enum err run(struct db *db, const struct db_stmt *st,
                    const struct db_val *v, size_t n,
                    const struct db_sink *sink, int64_t *changed)
{
	AUTO(pg_result) r = NULL;
	struct pg *g = pg_of(db);
	enum err e;

	e = queue_head(g);
	if (!e)
		e = exchange(g, st, v, n, until(g), &r);
	if (e)
		return db_fail(db, e);
	if (changed && !str_to_i64(str_from(PQcmdTuples(r)), changed))
		*changed = 0;
	return sink ? pg_rows(r, sink) : OK;
}

/* Only a write has a COMMIT that is waited for. */
static enum err later(struct db *db, const struct db_stmt *st,
                      const struct db_val *v, size_t n,
                      const struct db_sink *sink)
{
	struct pg *g = pg_of(db);
	enum err e;

	if (g->mode != DB_MODE_WRITE || g->later_n == PG_LATER_MAX)
		return run(db, st, v, n, sink, NULL);
	e = queue_head(g);
	if (!e)
		e = pg_queue(g, st, v, n);
	if (e)
		return db_fail(db, e);
	g->later[g->later_n++] = (struct pg_later){
		st, sink ? *sink : (struct db_sink){NULL, NULL}, g->queued_n};
	return OK;
}

static enum err script(struct db *db, const char *sql)
{
	struct pg *g = pg_of(db);
	enum err e = queue_head(g);

	if (!e)
		e = pg_sync(g, until(g));
	if (!e)
		e = pg_collect(g, "script", until(g), NULL);
	return e ? e : pg_script(g, sql, until(g));
}

/* Lock numbers are a service's own, but the server has one space for all. */
static enum err lock(struct db *db, int64_t number)
{
	const struct db_val v[] = {DB_TEXT(db->pool->conf.service),
	                           DB_I64(number)};

	return run(db, &LOCK, v, COUNTOF(v), NULL, NULL);
}

static enum err lock_later(struct db *db, int64_t number)
{
	const struct db_val v[] = {DB_TEXT(db->pool->conf.service),
	                           DB_I64(number)};

	return later(db, &LOCK, v, COUNTOF(v), NULL);
}

static enum err take_answer(void *arg, const struct db_row *row)
{
	bool *got = arg;

	*got = db_row_i64(row, 0) != 0;
	return OK;
}

static enum err try_lock(struct db *db, int64_t number, bool *got)
{
	const struct db_val v[] = {DB_TEXT(db->pool->conf.service),
	                           DB_I64(number)};
	const struct db_sink sink = {take_answer, got};

	*got = false;
	return run(db, &TRY_LOCK, v, COUNTOF(v), &sink, NULL);
}

/* --- rows -------------------------------------------------------------------- */

static bool row_null(const struct db_row *r, int col)
{
	return PQgetisnull(r->result, r->row, col);
}

static int64_t row_i64(const struct db_row *r, int col)
{
	const char *p = PQgetvalue(r->result, r->row, col);

	return *p == 't' ? 1 : strtoll(p, NULL, 10);
}

static double row_f64(const struct db_row *r, int col)
{
	return strtod(PQgetvalue(r->result, r->row, col), NULL);
}

static struct str row_str(const struct db_row *r, int col)
{
	if (row_null(r, col))
		return (struct str){NULL, 0};
	if (r->blobs && r->blobs[col].p)
		return r->blobs[col];
	return (struct str){PQgetvalue(r->result, r->row, col),
	                    (size_t)PQgetlength(r->result, r->row, col)};
}

/* --- the driver -------------------------------------------------------------- */

static enum err start(struct db_pool *p)
{
	PQconninfoOption *o = PQconninfoParse(p->conf.url.p, NULL);
	struct pg_shared *sh;

	if (!o) {
		log_error(&p->cx, "db.bad_url",
		          LOG_TEXT("want", "postgresql://user@host/database"));
		return ERR_INVALID;
	}
	PQconninfoFree(o);
	sh = calloc(1, sizeof(*sh));
	if (!sh)
		return ERR_NOMEM;
	sh->names = pg_names_new();
	if (!sh->names) {
		free(sh);
		return ERR_NOMEM;
	}
	p->shared = sh;
	return OK;
}

static void stop(struct db_pool *p)
{
	struct pg_shared *sh = p->shared;

	pg_names_free(sh->names);
	free(sh);
}

const struct db_driver db_postgres = {
	.kind = DB_POSTGRES,
	.start = start,
	.stop = stop,
	.open = pg_open,
	.close = close_settled,
	.alive = alive,
	.ping = ping,
	.begin = begin,
	.commit = commit,
	.rollback = rollback,
	.run = run,
	.later = later,
	.script = script,
	.lock = lock,
	.lock_later = lock_later,
	.try_lock = try_lock,
	.write = NULL,
	.batch_send = pg_batch_send,
	.batch_take = pg_batch_take,
	.batch_wait = pg_batch_wait,
	.batch_rows = pg_batch_rows,
	.batch_drop = pg_batch_drop,
	.row_null = row_null,
	.row_i64 = row_i64,
	.row_f64 = row_f64,
	.row_str = row_str,
};
