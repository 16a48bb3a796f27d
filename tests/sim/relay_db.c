#include "tests/sim/relay_db.h"

#include "common/base/clock.h"
#include "common/event/event.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#define STMTS_MAX 64
#define NOW       "(extract(epoch FROM now()) * 1000)::bigint"

struct prepared {
	const struct db_stmt *st;
	sqlite3_stmt *h;
};

struct sim_db {
	sqlite3 *h;
	int64_t now_ms;
	struct prepared prepared[STMTS_MAX];
	size_t prepared_n;
};

/* What a transaction function is handed. */
struct db {
	struct db_pool *pool;
	const struct ctx *cx;
	enum err failed;
};

struct db_row {
	sqlite3_stmt *h;
};

/* --- the database ------------------------------------------------------------ */

static void must(const struct sim_db *d, int rc, const char *what)
{
	if (rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE)
		return;
	(void)fprintf(stderr, "%s: %s\n", what, sqlite3_errmsg(d->h));
	abort();
}

static void exec(struct sim_db *d, const char *sql)
{
	must(d, sqlite3_exec(d->h, sql, NULL, NULL, NULL), sql);
}

static void clock_of(sqlite3_context *c, int n, sqlite3_value **v)
{
	const struct sim_db *d = sqlite3_user_data(c);

	(void)n;
	(void)v;
	sqlite3_result_int64(c, d->now_ms);
}

struct sim_db *sim_db_new(const char *tables)
{
	struct sim_db *d = calloc(1, sizeof(*d));

	assert(d);
	must(d, sqlite3_open(":memory:", &d->h), "open");
	must(d,
	     sqlite3_create_function(d->h, "sim_now", 0, SQLITE_UTF8, d,
	                             clock_of, NULL, NULL),
	     "sim_now");
	exec(d, EVENT_TABLES_SQLITE EVENT_TRACE_SQLITE);
	exec(d, tables);
	return d;
}

void sim_db_free(struct sim_db *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->prepared_n; i++)
		(void)sqlite3_finalize(d->prepared[i].h);
	(void)sqlite3_close(d->h);
	free(d);
}

static bool clear_table(void *arg, const char *const texts[])
{
	char *sql = sqlite3_mprintf("DELETE FROM %s", texts[0]);

	assert(sql);
	exec(arg, sql);
	sqlite3_free(sql);
	return true;
}

void sim_db_clear(struct sim_db *d)
{
	(void)sim_db_rows(d,
	                  "SELECT name FROM sqlite_master WHERE type = 'table'",
	                  clear_table, d);
}

void sim_db_set_clock(struct sim_db *d, int64_t now_ms)
{
	d->now_ms = now_ms;
}

struct take {
	sim_row_fn *fn;
	void *arg;
};

static int take_texts(void *arg, int n, char **texts, char **names)
{
	const struct take *t = arg;

	(void)n;
	(void)names;
	return t->fn(t->arg, (const char *const *)texts) ? 0 : 1;
}

bool sim_db_rows(struct sim_db *d, const char *sql, sim_row_fn *take, void *arg)
{
	struct take t = {take, arg};
	int rc = sqlite3_exec(d->h, sql, take_texts, &t, NULL);

	if (rc != SQLITE_ABORT)
		must(d, rc, sql);
	return rc == SQLITE_OK;
}

static bool take_number(void *arg, const char *const texts[])
{
	if (texts[0])
		(void)str_to_i64(str_from(texts[0]), arg);
	return false;
}

int64_t sim_db_i64(struct sim_db *d, const char *sql)
{
	int64_t n = 0;

	(void)sim_db_rows(d, sql, take_number, &n);
	return n;
}

/* --- statements -------------------------------------------------------------- */

/*
 * The PostgreSQL text, with the server's clock made ours.  The one that SQLite
 * cannot read says the same in its own text, with the leases of an owner.
 */
static char *text_of(const struct db_stmt *st)
{
	bool foreign = !st->postgres || strstr(st->postgres, "LATERAL");
	const char *from = foreign ? st->sqlite : st->postgres, *at;
	AUTO_BUF b = {0};

	for (; (at = strstr(from, NOW)) != NULL; from = at + strlen(NOW)) {
		buf_add(&b, from, (size_t)(at - from));
		buf_str(&b, STR("sim_now()"));
	}
	buf_str(&b, str_from(from));
	buf_char(&b, '\0');
	assert(!b.failed);
	return strdup(b.p);
}

static sqlite3_stmt *find(struct sim_db *d, const struct db_stmt *st)
{
	struct prepared *p;
	char *text;

	for (size_t i = 0; i < d->prepared_n; i++)
		if (d->prepared[i].st == st)
			return d->prepared[i].h;
	assert(d->prepared_n < STMTS_MAX);
	p = &d->prepared[d->prepared_n++];
	p->st = st;
	text = text_of(st);
	must(d, sqlite3_prepare_v2(d->h, text, -1, &p->h, NULL), text);
	free(text);
	return p->h;
}

static void bind(const struct sim_db *d, sqlite3_stmt *h,
                 const struct db_val *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char name[24];
		int at, rc = SQLITE_OK;

		(void)snprintf(name, sizeof(name), "$%zu", i + 1);
		at = sqlite3_bind_parameter_index(h, name);
		if (at == 0)
			continue;
		if (v[i].type == DB_T_I64)
			rc = sqlite3_bind_int64(h, at, v[i].v.i);
		else if (v[i].type == DB_T_STR)
			rc = sqlite3_bind_text64(h, at, v[i].v.s.p, v[i].v.s.n,
			                         SQLITE_STATIC, SQLITE_UTF8);
		else if (v[i].type == DB_T_BLOB)
			rc = sqlite3_bind_blob64(h, at, v[i].v.s.p, v[i].v.s.n,
			                         SQLITE_STATIC);
		else
			abort();
		must(d, rc, "bind");
	}
}

static enum err run(struct db *db, const struct db_stmt *st,
                    const struct db_val *v, size_t n,
                    const struct db_sink *sink, int64_t *changed)
{
	struct sim_db *d = db->pool->db;
	struct db_row row;
	enum err e = OK;
	int rc;

	if (!db->failed)
		db->failed = db->pool->at(db->pool->arg, POINT_STATEMENT);
	if (!db->failed && mono_ms() >= db->cx->deadline_ms)
		db->failed = ERR_TIMEOUT;
	if (db->failed)
		return db->failed;
	row.h = find(d, st);
	bind(d, row.h, v, n);
	while ((rc = sqlite3_step(row.h)) == SQLITE_ROW && !e)
		if (sink)
			e = sink->row(sink->arg, &row);
	must(d, rc, st->name);
	if (changed)
		*changed = sqlite3_changes64(d->h);
	(void)sqlite3_reset(row.h);
	return e;
}

/* --- db.h -------------------------------------------------------------------- */

enum err __wrap_db_run(struct db *db, const struct db_stmt *st,
                       const struct db_val *v, size_t n,
                       const struct db_sink *sink);
enum err __wrap_db_later(struct db *db, const struct db_stmt *st,
                         const struct db_val *v, size_t n,
                         const struct db_sink *sink);
enum err __wrap_db_lock_later(struct db *db, int64_t number);
enum err __wrap_db_change(struct db *db, const struct db_stmt *st,
                          const struct db_val *v, size_t n, int64_t *changed);
enum err __wrap_db_get_i64(struct db *db, const struct db_stmt *st,
                           const struct db_val *v, size_t n, int64_t *out);
enum db_kind __wrap_db_kind(const struct db *db);
const struct ctx *__wrap_db_cx(const struct db *db);
int64_t __wrap_db_row_i64(const struct db_row *r, int col);
struct str __wrap_db_row_str(const struct db_row *r, int col);
enum err __wrap_db_write(struct db_pool *p, struct ctx *cx, db_fn *fn,
                         void *arg);
enum err __wrap_db_read(struct db_pool *p, struct ctx *cx, db_fn *fn,
                        void *arg);

enum err __wrap_db_run(struct db *db, const struct db_stmt *st,
                       const struct db_val *v, size_t n,
                       const struct db_sink *sink)
{
	return run(db, st, v, n, sink, NULL);
}

/* As SQLite does it: at once. */
enum err __wrap_db_later(struct db *db, const struct db_stmt *st,
                         const struct db_val *v, size_t n,
                         const struct db_sink *sink)
{
	return run(db, st, v, n, sink, NULL);
}

/* Transactions of one database do not overlap. */
enum err __wrap_db_lock_later(struct db *db, int64_t number)
{
	(void)number;
	return db->failed;
}

enum err __wrap_db_change(struct db *db, const struct db_stmt *st,
                          const struct db_val *v, size_t n, int64_t *changed)
{
	return run(db, st, v, n, NULL, changed);
}

struct first {
	bool found;
	int64_t value;
};

static enum err take_first(void *arg, const struct db_row *r)
{
	struct first *f = arg;

	if (!f->found)
		*f = (struct first){true, sqlite3_column_int64(r->h, 0)};
	return OK;
}

enum err __wrap_db_get_i64(struct db *db, const struct db_stmt *st,
                           const struct db_val *v, size_t n, int64_t *out)
{
	struct first f = {0};
	const struct db_sink sink = {take_first, &f};
	enum err e = run(db, st, v, n, &sink, NULL);

	if (!e && !f.found)
		e = ERR_NOT_FOUND;
	if (!e)
		*out = f.value;
	return e;
}

enum db_kind __wrap_db_kind(const struct db *db)
{
	(void)db;
	return DB_POSTGRES;
}

const struct ctx *__wrap_db_cx(const struct db *db)
{
	return db->cx;
}

int64_t __wrap_db_row_i64(const struct db_row *r, int col)
{
	return sqlite3_column_int64(r->h, col);
}

struct str __wrap_db_row_str(const struct db_row *r, int col)
{
	const void *p = sqlite3_column_blob(r->h, col);

	return (struct str){p, (size_t)sqlite3_column_bytes(r->h, col)};
}

static enum err attempt(struct db *db, db_fn *fn, void *arg)
{
	enum err e;

	db->failed = OK;
	exec(db->pool->db, "BEGIN");
	e = fn(db, arg);
	return e ? e : db->failed;
}

enum err __wrap_db_write(struct db_pool *p, struct ctx *cx, db_fn *fn,
                         void *arg)
{
	struct db db = {.pool = p, .cx = cx};
	enum err e = p->at(p->arg, POINT_BEFORE);

	if (e)
		return e;
	e = attempt(&db, fn, arg);
	if (!e && p->at(p->arg, POINT_AGAIN)) {
		exec(p->db, "ROLLBACK");
		e = attempt(&db, fn, arg);
	}
	if (!e)
		e = p->at(p->arg, POINT_COMMIT);
	exec(p->db, e ? "ROLLBACK" : "COMMIT");
	return e ? e : p->at(p->arg, POINT_AFTER);
}

enum err __wrap_db_read(struct db_pool *p, struct ctx *cx, db_fn *fn, void *arg)
{
	struct db db = {.pool = p, .cx = cx};
	enum err e = p->at(p->arg, POINT_BEFORE);

	if (e)
		return e;
	e = attempt(&db, fn, arg);
	exec(p->db, "ROLLBACK");
	return e ? e : p->at(p->arg, POINT_AFTER);
}
