#include "common/base/b64.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/db/driver.h"

#include <sodium.h>

#define CONNECT_MS   10000
#define MIGRATION_MS 300000 /* for each, and for waiting until others end */
/*
 * Whoever wants a table that a migration waits for waits behind it: the version
 * that still works there would stand as long as the longest transaction that was
 * there before (a backup's takes hours).  So a migration gives up soon, with no
 * trace, and the caller tries again.
 */
#define TABLE_WAIT   "500ms"
#define LOCK_NUMBER  0x6d696772
#define RUNS_MAX     4
#define CHECKSUM_MAX (2 * crypto_hash_sha256_BYTES + 1)

enum {
	S_HAS_SCHEMA,
	S_CREATE_TABLE,
	S_NEWEST,
	S_FIND,
	S_TABLE_WAIT,
	S_INSERT,
	S_COUNT
};

static const struct db_stmt rows[S_COUNT] = {
	[S_HAS_SCHEMA] = {"migrate.has_schema", "SELECT 1",
                          "SELECT 1 FROM pg_catalog.pg_namespace "
                          "WHERE nspname = $1"},
	[S_CREATE_TABLE] = {"migrate.create_table",
                            "CREATE TABLE IF NOT EXISTS schema_migrations ("
                            "number INTEGER PRIMARY KEY, name TEXT NOT NULL, "
                            "checksum TEXT NOT NULL, "
                            "applied_at INTEGER NOT NULL)",
                            "CREATE TABLE IF NOT EXISTS @schema_migrations ("
                            "number bigint PRIMARY KEY, name text NOT NULL, "
                            "checksum text NOT NULL, "
                            "applied_at bigint NOT NULL)"},
	[S_NEWEST] = {"migrate.newest",
                      "SELECT COALESCE(MAX(number), 0) "
                      "FROM @schema_migrations",
                      NULL},
	[S_FIND] = {"migrate.find",
                    "SELECT checksum FROM @schema_migrations "
                    "WHERE number = $1",
                    NULL},
	[S_TABLE_WAIT] = {"migrate.table_wait", "SELECT 1",
                          "SELECT set_config('lock_timeout', '" TABLE_WAIT
                          "', true)"},
	[S_INSERT] = {"migrate.insert",
                      "INSERT INTO @schema_migrations "
                      "(number, name, checksum, applied_at) "
                      "VALUES ($1, $2, $3, $4)",
                      NULL},
};

struct run {
	struct db_pool *pool;
	struct db *db; /* PostgreSQL: a connection of its own */
	const struct db_stmt *st;
	const struct db_migration *all;
	size_t n, at; /* at: the one whose turn it is */
	bool applied;
};

static const char *checksum(const char *text, char out[CHECKSUM_MAX])
{
	unsigned char sum[crypto_hash_sha256_BYTES];

	(void)crypto_hash_sha256(sum, (const unsigned char *)text,
	                         strlen(text));
	(void)hex(sum, sizeof(sum), out);
	return out;
}

static enum err refuse(const struct run *r, const char *event, int64_t number,
                       const char *name)
{
	log_error(&r->pool->cx, event, LOG_I64("number", number),
	          LOG_TEXT("name", name), LOG_U64("known", r->n));
	return ERR_INVALID;
}

/* --- the steps, each a transaction under the lock ---------------------------- */

/* CREATE SCHEMA wants a right on the database even where the schema is. */
static enum err make_schema(struct db *db, const struct run *r)
{
	AUTO_BUF sql = {0};
	const struct db_val name = DB_TEXT(r->pool->conf.service);
	int64_t one = 0;
	enum err e = db_get_i64(db, &r->st[S_HAS_SCHEMA], &name, 1, &one);

	if (e != ERR_NOT_FOUND)
		return e;
	/* db_stmts_for() has held the name to plain letters. */
	buf_str(&sql, STR("CREATE SCHEMA "));
	buf_str(&sql, str_from(r->pool->conf.service));
	buf_char(&sql, '\0');
	return sql.failed ? ERR_NOMEM : db->driver->script(db, sql.p);
}

static enum err prepare(struct db *db, void *arg)
{
	const struct run *r = arg;
	int64_t newest = 0;
	enum err e = db_lock(db, LOCK_NUMBER);

	if (!e && db_kind(db) == DB_POSTGRES)
		e = make_schema(db, r);
	if (!e)
		e = db_run(db, &r->st[S_CREATE_TABLE], NULL, 0, NULL);
	if (!e)
		e = db_get_i64(db, &r->st[S_NEWEST], NULL, 0, &newest);
	if (!e && newest > (int64_t)r->n)
		e = refuse(r, "db.schema_newer", newest, "");
	return e;
}

struct found {
	bool here, same;
	const char *want;
};

static enum err compare(void *arg, const struct db_row *row)
{
	struct found *f = arg;

	f->here = true;
	f->same = str_eq(db_row_str(row, 0), str_from(f->want));
	return OK;
}

static enum err apply(struct db *db, void *arg)
{
	struct run *r = arg;
	const struct db_migration *m = &r->all[r->at];
	const char *text = db_kind(db) == DB_SQLITE ? m->sqlite : m->postgres;
	char sum[CHECKSUM_MAX];
	struct found f = {.want = sum};
	const struct db_sink sink = {compare, &f};
	struct db_val v[] = {DB_I64(m->number), DB_TEXT(m->name),
	                     DB_TEXT(checksum(text, sum)), DB_I64(wall_ms())};
	enum err e;

	r->applied = false;
	e = db_lock(db, LOCK_NUMBER);
	if (!e)
		e = db_run(db, &r->st[S_FIND], v, 1, &sink);
	if (e)
		return e;
	if (f.here)
		return f.same ? OK
		              : refuse(r, "db.migration_changed", m->number,
		                       m->name);
	/* Not before the lock: for another's migration it is right to wait. */
	e = db_run(db, &r->st[S_TABLE_WAIT], NULL, 0, NULL);
	if (!e)
		e = db->driver->script(db, text);
	if (!e)
		e = db_run(db, &r->st[S_INSERT], v, COUNTOF(v), NULL);
	r->applied = !e;
	return e;
}

/* --- the run ------------------------------------------------------------------ */

static enum err transact(struct run *r, db_fn *fn)
{
	struct ctx cx = {.service = r->pool->conf.service,
	                 .rid = STR("migration"),
	                 .deadline_ms = mono_ms() + MIGRATION_MS};

	if (r->pool->driver->write)
		return r->pool->driver->write(r->pool, &cx, fn, r);
	r->db->cx = &r->pool->cx;
	r->db->deadline_ms = cx.deadline_ms;
	return db_transact(r->db, DB_MODE_WRITE, fn, r);
}

static enum err apply_all(struct run *r)
{
	enum err e = transact(r, prepare);

	for (r->at = 0; r->at < r->n && !e; r->at++) {
		const struct db_migration *m = &r->all[r->at];

		if (m->number != r->at + 1)
			return refuse(r, "db.migration_gap", m->number,
			              m->name);
		e = transact(r, apply);
		if (!e && r->applied)
			log_info(&r->pool->cx, "db.migrated",
			         LOG_U64("number", m->number),
			         LOG_TEXT("name", m->name));
		if (e == ERR_TIMEOUT)
			log_warn(&r->pool->cx, "db.migration_waits",
			         LOG_U64("number", m->number),
			         LOG_TEXT("name", m->name));
		else if (e && e != ERR_INVALID)
			log_error(&r->pool->cx, "db.migration_failed",
			          LOG_U64("number", m->number),
			          LOG_TEXT("name", m->name),
			          LOG_TEXT("error", err_name(e)));
	}
	return e;
}

/*
 * On PostgreSQL over a connection of its own.  One that was lost before it left
 * a trace costs another, as behind a pooler that lacks prepared statements.
 */
static enum err run_on(struct run *r, struct str url)
{
	const struct db_driver *d = r->pool->driver;
	bool again = true;
	enum err e = OK;

	for (unsigned i = 0; i < RUNS_MAX && again; i++) {
		e = d->open(r->pool, url, mono_ms() + CONNECT_MS, &r->db);
		if (e)
			return e;
		e = apply_all(r);
		again = e && r->db->again;
		d->close(r->db);
		r->db = NULL;
	}
	return e;
}

/* What is worth another try, and what is our own mistake or the operator's. */
static enum err outcome(enum err e)
{
	switch ((int)e) {
	case OK:
	case ERR_INVALID:
	case ERR_NOMEM:
		return e;
	case ERR_INTERNAL:
	case ERR_DB_DUPLICATE:
		return ERR_INVALID; /* SQL that fails will fail again */
	default:
		return ERR_DATABASE;
	}
}

enum err db_migrate(struct db_pool *p, const struct db_migration *m, size_t n)
{
	bool direct =
		p->driver->kind == DB_POSTGRES && p->conf.migration_url.n > 0;
	struct run r = {.pool = p, .all = m, .n = n};
	enum err e;

	/* Connections remember statements by address: they stay. */
	if (!p->migrate)
		p->migrate = db_stmts_for(rows, S_COUNT, p->conf.service);
	r.st = p->migrate;
	if (!r.st)
		return ERR_NOMEM;
	/* On SQLite opening shows only whether the file can be had at all. */
	e = run_on(&r, direct ? p->conf.migration_url : p->conf.url);
	e = outcome(e == ERR_BUSY ? ERR_DATABASE : e);
	db_pool_note(p, e);
	return e;
}
