#include "common/db/sqlite.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <assert.h>
#include <stdlib.h>

#define LOOK_MS 100 /* a reader's file is looked at this often */

/* A prepared statement; at[k] is where SQLite wants parameter k + 1. */
struct prepared {
	const struct db_stmt *st;
	sqlite3_stmt *h;
	int top; /* the highest parameter it names */
	int at[DB_PARAMS_MAX];
	struct prepared *next;
};

static const struct db_stmt BEGIN_READ = {"sqlite.begin", "BEGIN", NULL};
const struct db_stmt STEER_COMMIT = {"sqlite.commit", "COMMIT", NULL};
const struct db_stmt STEER_ROLLBACK = {"sqlite.rollback", "ROLLBACK", NULL};
static const struct db_stmt PING = {"sqlite.ping",
                                    "SELECT count(*) FROM sqlite_master", NULL};

/* --- codes ----------------------------------------------------------------- */

static const struct {
	int code; /* extended where it matters, else primary */
	enum err err;
	bool lost; /* the connection is not to be trusted any more */
} codes[] = {
	{SQLITE_CONSTRAINT_UNIQUE, ERR_DB_DUPLICATE, false},
	{SQLITE_CONSTRAINT_PRIMARYKEY, ERR_DB_DUPLICATE, false},
	{SQLITE_CONSTRAINT_ROWID, ERR_DB_DUPLICATE, false},
	{SQLITE_INTERRUPT, ERR_TIMEOUT, false},
	{SQLITE_NOMEM, ERR_NOMEM, false},
	{SQLITE_TOOBIG, ERR_TOO_LARGE, false},
	{SQLITE_BUSY, ERR_DATABASE, false},
	{SQLITE_LOCKED, ERR_DATABASE, false},
	{SQLITE_FULL, ERR_DATABASE, false},
	{SQLITE_IOERR, ERR_DATABASE, true},
	{SQLITE_CANTOPEN, ERR_DATABASE, true},
	{SQLITE_CORRUPT, ERR_DATABASE, true},
	{SQLITE_NOTADB, ERR_DATABASE, true},
	{SQLITE_READONLY, ERR_DATABASE, true},
	{SQLITE_PROTOCOL, ERR_DATABASE, true},
};

enum err sqlite_failure(struct sqlite_conn *c, const char *name)
{
	int code = sqlite3_extended_errcode(c->h);
	/* query_only has refused a read that writes: our mistake. */
	bool ours = code == SQLITE_READONLY && !c->writes;
	enum err e = ERR_INTERNAL;

	for (size_t i = 0; i < COUNTOF(codes) && !ours; i++) {
		if (codes[i].code != code && codes[i].code != (code & 0xff))
			continue;
		e = codes[i].err;
		c->db.dead |= codes[i].lost;
		break;
	}
	/* A file that another program has locked is waited for. */
	if (e == ERR_INTERNAL ||
	    (e == ERR_DATABASE && (code & 0xff) != SQLITE_BUSY))
		/* errmsg speaks of texts and columns; values are bound. */
		log_error(c->db.cx, "db.failed", LOG_TEXT("statement", name),
		          LOG_I64("sqlite", code),
		          LOG_TEXT("message", sqlite3_errmsg(c->h)));
	return e;
}

/* --- statements ------------------------------------------------------------ */

/* SQLite numbers $1, $2 ... as names, in order of appearance. */
static bool map_parameters(struct prepared *p)
{
	int n = sqlite3_bind_parameter_count(p->h);

	for (int i = 1; i <= n; i++) {
		const char *name = sqlite3_bind_parameter_name(p->h, i);
		int64_t k;

		if (!name || name[0] != '$' ||
		    !str_to_i64(str_from(name + 1), &k) || k < 1 ||
		    k > DB_PARAMS_MAX)
			return false;
		p->at[k - 1] = i;
		if (k > p->top)
			p->top = (int)k;
	}
	return true;
}

static enum err prepare(struct sqlite_conn *c, const struct db_stmt *st,
                        struct prepared **bucket)
{
	struct prepared *p = calloc(1, sizeof(*p));

	if (!p)
		return ERR_NOMEM;
	p->st = st;
	if (sqlite3_prepare_v3(c->h, st->sqlite, -1, SQLITE_PREPARE_PERSISTENT,
	                       &p->h, NULL)) {
		free(p);
		return sqlite_failure(c, st->name);
	}
	if (!map_parameters(p)) {
		(void)sqlite3_finalize(p->h);
		free(p);
		log_error(c->db.cx, "db.bad_statement",
		          LOG_TEXT("statement", st->name));
		return ERR_INTERNAL;
	}
	p->next = *bucket;
	*bucket = p;
	return OK;
}

void sqlite_forget_prepared(struct sqlite_conn *c)
{
	for (size_t i = 0; i < SQLITE_BUCKETS; i++) {
		while (c->prepared[i]) {
			struct prepared *p = c->prepared[i];

			c->prepared[i] = p->next;
			(void)sqlite3_finalize(p->h);
			free(p);
		}
	}
}

static enum err find(struct sqlite_conn *c, const struct db_stmt *st,
                     struct prepared **out)
{
	struct prepared **bucket =
		&c->prepared[((uintptr_t)st >> 4) % SQLITE_BUCKETS];
	struct prepared *p = *bucket;
	enum err e;

	while (p && p->st != st)
		p = p->next;
	if (!p) {
		e = prepare(c, st, bucket);
		if (e)
			return e;
		p = *bucket; /* the newest first */
	}
	assert(p);
	*out = p;
	return OK;
}

static int bind(sqlite3_stmt *h, int at, const struct db_val *v)
{
	/* A NULL pointer would bind NULL. */
	const char *p = v->type == DB_T_STR || v->type == DB_T_BLOB
	                        ? (v->v.s.p ? v->v.s.p : "")
	                        : NULL;

	switch (v->type) {
	case DB_T_NULL:
		return sqlite3_bind_null(h, at);
	case DB_T_I64:
		return sqlite3_bind_int64(h, at, v->v.i);
	case DB_T_F64:
		return sqlite3_bind_double(h, at, v->v.f);
	case DB_T_STR:
		return sqlite3_bind_text64(h, at, p, v->v.s.n, SQLITE_STATIC,
		                           SQLITE_UTF8);
	case DB_T_BLOB:
		return sqlite3_bind_blob64(h, at, p, v->v.s.n, SQLITE_STATIC);
	}
	return SQLITE_MISUSE;
}

static enum err bind_all(struct sqlite_conn *c, struct prepared *p,
                         const struct db_val *v, size_t n)
{
	if ((size_t)p->top > n) {
		log_error(c->db.cx, "db.missing_value",
		          LOG_TEXT("statement", p->st->name));
		return ERR_INTERNAL;
	}
	for (size_t i = 0; i < n; i++) {
		if (p->at[i] && bind(p->h, p->at[i], &v[i]))
			return sqlite_failure(c, p->st->name);
	}
	return OK;
}

/* Steps to the end; the sink's error, if any, is not the statement's. */
static enum err step(struct sqlite_conn *c, struct prepared *p,
                     const struct db_sink *sink, enum err *from_sink)
{
	struct db_row row = {.driver = &db_sqlite,
	                     .result = p->h,
	                     .cols = sqlite3_column_count(p->h)};

	for (;;) {
		int rc = sqlite3_step(p->h);

		if (rc == SQLITE_DONE)
			return OK;
		if (rc != SQLITE_ROW)
			return sqlite_failure(c, p->st->name);
		if (!sink)
			continue;
		*from_sink = sink->row(sink->arg, &row);
		if (*from_sink)
			return OK;
	}
}

static enum err run(struct db *db, const struct db_stmt *st,
                    const struct db_val *v, size_t n,
                    const struct db_sink *sink, int64_t *changed)
{
	struct sqlite_conn *c = sqlite_of(db);
	struct prepared *p = NULL;
	enum err from_sink = OK, e;

	e = find(c, st, &p);
	if (e)
		return db_fail(db, e);
	/* A row callback must not run the statement that called it. */
	assert(!sqlite3_stmt_busy(p->h));
	e = bind_all(c, p, v, n);
	if (!e)
		e = step(c, p, sink, &from_sink);
	if (!e && changed)
		*changed = sqlite3_changes64(c->h);
	(void)sqlite3_reset(p->h);
	/* The values belong to the caller. */
	(void)sqlite3_clear_bindings(p->h);
	return e ? db_fail(db, e) : from_sink;
}

enum err sqlite_steer(struct db *db, const struct db_stmt *st)
{
	struct sqlite_conn *c = sqlite_of(db);
	struct prepared *p = NULL;
	enum err none = OK, e = find(c, st, &p);

	if (e)
		return e;
	e = step(c, p, NULL, &none);
	(void)sqlite3_reset(p->h);
	return e;
}

bool sqlite_in_transaction(const struct db *db)
{
	return !sqlite3_get_autocommit(((const struct sqlite_conn *)db)->h);
}

static enum err script(struct db *db, const char *sql)
{
	struct sqlite_conn *c = sqlite_of(db);

	if (sqlite3_exec(c->h, sql, NULL, NULL, NULL))
		return db_fail(db, sqlite_failure(c, "script"));
	return OK;
}

static enum err begin(struct db *db, enum db_mode mode)
{
	/* Writes run on the writer thread, which steers itself. */
	assert(mode == DB_MODE_READ);
	return sqlite_steer(db, &BEGIN_READ);
}

static enum err commit(struct db *db)
{
	enum err e = sqlite_steer(db, &STEER_COMMIT);

	if (e)
		db->dead = true;
	return e;
}

static void rollback(struct db *db)
{
	if (sqlite_in_transaction(db) && sqlite_steer(db, &STEER_ROLLBACK))
		db->dead = true;
}

static enum err ping(struct db *db)
{
	return sqlite_in_place(sqlite_of(db)) ? sqlite_steer(db, &PING)
	                                      : ERR_DATABASE;
}

static bool alive(struct db *db)
{
	struct sqlite_conn *c = sqlite_of(db);

	if (!db->dead && mono_ms() - c->looked_ms >= LOOK_MS)
		(void)sqlite_in_place(c);
	return !db->dead;
}

static enum err lock(struct db *db, int64_t number)
{
	(void)db;
	(void)number;
	return OK;
}

static enum err try_lock(struct db *db, int64_t number, bool *got)
{
	(void)db;
	(void)number;
	*got = true;
	return OK;
}

/* --- rows ------------------------------------------------------------------ */

static bool row_null(const struct db_row *r, int col)
{
	return sqlite3_column_type(r->result, col) == SQLITE_NULL;
}

static int64_t row_i64(const struct db_row *r, int col)
{
	return sqlite3_column_int64(r->result, col);
}

static double row_f64(const struct db_row *r, int col)
{
	return sqlite3_column_double(r->result, col);
}

static struct str row_str(const struct db_row *r, int col)
{
	const void *p = sqlite3_column_type(r->result, col) == SQLITE_BLOB
	                        ? sqlite3_column_blob(r->result, col)
	                        : sqlite3_column_text(r->result, col);

	return (struct str){p, p ? (size_t)sqlite3_column_bytes(r->result, col)
	                         : 0};
}

/* --- the driver ------------------------------------------------------------ */

static enum err open_reader(struct db_pool *p, struct str url,
                            uint64_t deadline_ms, struct db **out)
{
	(void)url;
	(void)deadline_ms;
	return sqlite_open(p, false, out);
}

static enum err start(struct db_pool *p)
{
	struct sqlite_shared *sh = calloc(1, sizeof(*sh));

	if (!sh)
		return ERR_NOMEM;
	p->shared = sh;
	sh->writer = sqlite_writer_new(p);
	if (sh->writer)
		return OK;
	free(sh);
	return ERR_NOMEM;
}

static void stop(struct db_pool *p)
{
	struct sqlite_shared *sh = p->shared;

	sqlite_writer_free(sh->writer);
	free(sh);
}

const struct db_driver db_sqlite = {
	.kind = DB_SQLITE,
	.start = start,
	.stop = stop,
	.open = open_reader,
	.close = sqlite_shut,
	.alive = alive,
	.ping = ping,
	.begin = begin,
	.commit = commit,
	.rollback = rollback,
	.run = run,
	.script = script,
	.lock = lock,
	.lock_later = lock,
	.try_lock = try_lock,
	.write = sqlite_write,
	.row_null = row_null,
	.row_i64 = row_i64,
	.row_f64 = row_f64,
	.row_str = row_str,
};
