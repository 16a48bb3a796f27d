#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/utf8.h"
#include "common/db/driver.h"
#include "common/db/sqlite.h"

#include <assert.h>

/* Values that one of the databases would refuse are refused by both. */
static enum err check_value(const struct db_val *v)
{
	if (v->type != DB_T_STR && v->type != DB_T_BLOB)
		return OK;
	if (v->v.s.n > DB_VALUE_MAX)
		return ERR_TOO_LARGE;
	if (v->type == DB_T_STR && v->v.s.n &&
	    (memchr(v->v.s.p, '\0', v->v.s.n) || !utf8_valid(v->v.s)))
		return ERR_INVALID;
	return OK;
}

enum err db_fail(struct db *db, enum err e)
{
	if (!db->failed)
		db->failed = e;
	return e;
}

/* What programs ask on their own has no client's address, and would drown the
 * rest. */
static bool echoes(const struct db *db)
{
	return db->pool->conf.echo && db->cx->ip.n > 0;
}

static void tell(const struct db *db, struct span *s, enum err e)
{
	span_text(s, "db.system.name",
	          db->pool->driver->kind == DB_SQLITE ? STR("sqlite")
	                                              : STR("postgresql"));
	span_text(s, "db.query.summary", span_name_of(s));
	if (e)
		span_fail(s, err_name(e));
	span_end(s);
}

enum how { WAITED, LATER };

static enum err run(struct db *db, const struct db_stmt *st, enum how how,
                    const struct db_val *v, size_t n,
                    const struct db_sink *sink, int64_t *changed)
{
	const struct db_driver *d = db->driver;
	uint64_t before = echoes(db) ? mono_us() : 0;
	enum err e = db->failed;
	struct span s;
	bool traced;

	assert(n <= DB_PARAMS_MAX);
	if (!e && mono_ms() >= db->deadline_ms)
		e = ERR_TIMEOUT;
	for (size_t i = 0; i < n && !e; i++)
		e = check_value(&v[i]);
	if (e)
		return db_fail(db, e);
	traced = span_begin(&s, db->cx->span, SPAN_CLIENT, st->name);
	if (traced && db->since_us)
		s.start_us = db->since_us;
	e = how == LATER && d->later ? d->later(db, st, v, n, sink)
	                             : d->run(db, st, v, n, sink, changed);
	if (traced)
		tell(db, &s, e);
	if (before)
		log_info(db->cx, "db.statement", LOG_TEXT("name", st->name),
		         LOG_U64("us", mono_us() - before),
		         LOG_TEXT("result", err_name(e)));
	return e;
}

enum err db_run(struct db *db, const struct db_stmt *st, const struct db_val *v,
                size_t n, const struct db_sink *sink)
{
	return run(db, st, WAITED, v, n, sink, NULL);
}

enum err db_later(struct db *db, const struct db_stmt *st,
                  const struct db_val *v, size_t n, const struct db_sink *sink)
{
	return run(db, st, LATER, v, n, sink, NULL);
}

enum err db_change(struct db *db, const struct db_stmt *st,
                   const struct db_val *v, size_t n, int64_t *changed)
{
	return run(db, st, WAITED, v, n, NULL, changed);
}

struct first {
	bool found;
	int64_t value;
};

static enum err take_first(void *arg, const struct db_row *row)
{
	struct first *f = arg;

	if (!f->found)
		*f = (struct first){true, db_row_i64(row, 0)};
	return OK;
}

enum err db_get_i64(struct db *db, const struct db_stmt *st,
                    const struct db_val *v, size_t n, int64_t *out)
{
	struct first f = {0};
	const struct db_sink sink = {take_first, &f};
	enum err e = run(db, st, WAITED, v, n, &sink, NULL);

	if (!e && !f.found)
		e = ERR_NOT_FOUND;
	if (!e)
		*out = f.value;
	return e;
}

const struct ctx *db_cx(const struct db *db)
{
	return db->cx;
}

enum db_kind db_kind(const struct db *db)
{
	return db->pool->driver->kind;
}

enum err db_lock(struct db *db, int64_t number)
{
	return db->failed ? db->failed : db->driver->lock(db, number);
}

enum err db_lock_later(struct db *db, int64_t number)
{
	return db->failed ? db->failed : db->driver->lock_later(db, number);
}

enum err db_try_lock(struct db *db, int64_t number, bool *got)
{
	return db->failed ? db->failed : db->driver->try_lock(db, number, got);
}

bool db_row_null(const struct db_row *r, int col)
{
	assert(col >= 0 && col < r->cols);
	return r->driver->row_null(r, col);
}

int64_t db_row_i64(const struct db_row *r, int col)
{
	assert(col >= 0 && col < r->cols);
	return r->driver->row_i64(r, col);
}

double db_row_f64(const struct db_row *r, int col)
{
	assert(col >= 0 && col < r->cols);
	return r->driver->row_f64(r, col);
}

struct str db_row_str(const struct db_row *r, int col)
{
	assert(col >= 0 && col < r->cols);
	return r->driver->row_str(r, col);
}

int db_row_cols(const struct db_row *r)
{
	return r->cols;
}

enum err db_scrub(struct db_pool *p)
{
	return p->driver->kind == DB_SQLITE ? sqlite_scrub(p) : OK;
}
