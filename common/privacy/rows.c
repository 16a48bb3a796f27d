#include "common/privacy/rows.h"

#include "common/base/clock.h"
#include "common/bus/stream.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"

#define DAY_MS   INT64_C(86400000)
#define DATE_LEN 10 /* of "2026-01-31T..." */

struct reading {
	const struct privacy_tables *all;
	struct str sub;
	privacy_put_fn *put;
	void *arg;
	struct buf out;
	bool put_some;
	/* Of the table that is read: */
	const struct privacy_table *t;
	size_t out_n; /* columns that are `out` */
	int64_t page_n, table_n, all_n;
	struct db_val key[PRIVACY_KEY_MAX]; /* of the last row */
	struct buf key_text[PRIVACY_KEY_MAX];
};

/* --- one row -------------------------------------------------------------------- */

static void pack_iso(struct buf *b, int64_t ms, bool date)
{
	char text[CLOCK_ISO_MAX];
	struct str iso = clock_iso(ms, text);

	if (date && iso.n > DATE_LEN)
		iso.n = DATE_LEN;
	if (ms)
		mp_str(b, iso);
	else
		mp_nil(b);
}

static void pack_value_of(struct buf *b, struct str bytes)
{
	AUTO_BUF json = {0};

	if (mp_valid(bytes) && mp_to_json(bytes, &json))
		mp_raw(b, bytes);
	else
		mp_bin(b, bytes);
}

static int64_t day_ms(int64_t day)
{
	int64_t ms;

	return __builtin_mul_overflow(day, DAY_MS, &ms) ? INT64_MAX : ms;
}

static void pack_value(struct buf *b, enum privacy_type type,
                       const struct db_row *row, int col)
{
	if (db_row_null(row, col)) {
		mp_nil(b);
		return;
	}
	switch (type) {
	case PRIVACY_TEXT:
		mp_str(b, db_row_str(row, col));
		break;
	case PRIVACY_INT:
		mp_i64(b, db_row_i64(row, col));
		break;
	case PRIVACY_REAL:
		mp_f64(b, db_row_f64(row, col));
		break;
	case PRIVACY_BYTES:
		mp_bin(b, db_row_str(row, col));
		break;
	case PRIVACY_TIME:
		pack_iso(b, db_row_i64(row, col), false);
		break;
	case PRIVACY_DAY:
		pack_iso(b, day_ms(db_row_i64(row, col)), true);
		break;
	case PRIVACY_FLAG:
		mp_bool(b, db_row_i64(row, col) != 0);
		break;
	case PRIVACY_PACKED:
		pack_value_of(b, db_row_str(row, col));
		break;
	}
}

static void keep_key(struct reading *r, const struct db_row *row)
{
	for (size_t i = 0; r->t->key[i]; i++) {
		const struct privacy_column *c =
			privacy_column(r->t, str_from(r->t->key[i]));
		int at = (int)(r->out_n + i);
		struct buf *text = &r->key_text[i];

		switch (c->type) {
		case PRIVACY_TEXT:
		case PRIVACY_BYTES:
		case PRIVACY_PACKED:
			buf_clear(text);
			buf_str(text, db_row_str(row, at));
			r->key[i] = c->type == PRIVACY_TEXT
			                    ? DB_STR(buf_view(text))
			                    : DB_BLOB(buf_view(text));
			break;
		case PRIVACY_REAL:
			r->key[i] = DB_F64(db_row_f64(row, at));
			break;
		case PRIVACY_INT:
		case PRIVACY_TIME:
		case PRIVACY_DAY:
		case PRIVACY_FLAG:
			r->key[i] = DB_I64(db_row_i64(row, at));
			break;
		}
	}
}

static enum err put(struct reading *r)
{
	enum err e;

	if (r->out.failed)
		return ERR_NOMEM;
	if (r->out.n == 0)
		return OK;
	r->put_some = true;
	e = r->put(r->arg, buf_view(&r->out));
	buf_clear(&r->out);
	return e;
}

static enum err each_row(void *arg, const struct db_row *row)
{
	struct reading *r = arg;
	int col = 0;

	mp_map(&r->out, r->out_n);
	for (size_t i = 0; i < r->t->columns_n; i++) {
		const struct privacy_column *c = &r->t->columns[i];

		if (!c->out)
			continue;
		mp_text(&r->out, c->name);
		pack_value(&r->out, c->type, row, col++);
	}
	keep_key(r, row);
	r->page_n++;
	return r->out.n >= PRIVACY_CHUNK ? put(r) : OK;
}

/* --- one table, all of them -------------------------------------------------------- */

static enum err read_page(struct db *db, struct reading *r, bool first)
{
	const struct db_sink sink = {each_row, r};
	struct db_val v[2 + PRIVACY_KEY_MAX] = {DB_STR(r->sub),
	                                        DB_I64(PRIVACY_PAGE)};
	size_t n = 2;

	r->page_n = 0;
	for (size_t i = 0; !first && r->t->key[i]; i++) {
		if (r->key_text[i].failed)
			return ERR_NOMEM;
		v[n++] = r->key[i];
	}
	return db_run(db, first ? &r->t->first : &r->t->next, v, n, &sink);
}

static enum err read_table(struct db *db, struct reading *r)
{
	const struct db_val sub = DB_STR(r->sub);
	int64_t counted = 0;
	enum err e = db_get_i64(db, &r->t->count, &sub, 1, &counted);

	r->table_n = 0;
	r->out_n = 0;
	for (size_t i = 0; i < r->t->columns_n; i++)
		r->out_n += r->t->columns[i].out;
	mp_array(&r->out, 2);
	mp_text(&r->out, r->t->name);
	mp_i64(&r->out, counted);
	do {
		if (!e)
			e = read_page(db, r, r->table_n == 0);
		r->table_n += r->page_n;
	} while (!e && r->page_n == PRIVACY_PAGE);
	r->all_n += r->table_n;
	/* A key that does not tell rows apart would leave some out. */
	return !e && r->table_n != counted ? ERR_INTERNAL : e;
}

static enum err read_all(struct db *db, void *arg)
{
	struct reading *r = arg;
	enum err e = r->put_some ? ERR_DATABASE : OK;

	buf_clear(&r->out);
	r->all_n = 0;
	for (size_t i = 0; i < r->all->n && !e; i++) {
		r->t = &r->all->table[i];
		if (r->t->of != OF_NOBODY)
			e = read_table(db, r);
	}
	return e;
}

enum err privacy_read(struct db_pool *pool, struct ctx *cx,
                      const struct privacy_tables *all, struct str sub,
                      privacy_put_fn *put_fn, void *arg)
{
	struct reading r = {.all = all, .sub = sub, .put = put_fn, .arg = arg};
	enum err e = db_read(pool, cx, read_all, &r);

	if (!e) {
		mp_array(&r.out, 1);
		mp_i64(&r.out, r.all_n);
		e = put(&r);
	}
	buf_fini(&r.out);
	for (size_t i = 0; i < PRIVACY_KEY_MAX; i++)
		buf_fini(&r.key_text[i]);
	return e;
}

/* --- as an answer ------------------------------------------------------------------ */

struct counting {
	const struct db_stmt *st;
	struct str sub;
	int64_t n;
};

static enum err count(struct db *db, void *arg)
{
	struct counting *c = arg;
	const struct db_val sub = DB_STR(c->sub);

	return db_get_i64(db, c->st, &sub, 1, &c->n);
}

struct answering {
	const struct ctx *cx;
	struct reply *out;
};

/* The head goes with the first rows: before them there may be an error. */
static enum err send(void *arg, struct str bytes)
{
	struct answering *a = arg;
	enum err e = a->out->begun ? OK : stream_begin(a->cx, a->out);

	return e ? e : stream_send(a->out, bytes);
}

enum err privacy_answer(struct db_pool *pool, struct ctx *cx,
                        const struct privacy_tables *all, const char *of,
                        struct str sub, struct reply *out)
{
	struct answering a = {cx, out};

	if (of) {
		struct counting c = {
			.st = &privacy_table(all, str_from(of))->count,
			.sub = sub};
		enum err e = db_read(pool, cx, count, &c);

		if (e || c.n == 0)
			return e ? e : ERR_NOT_FOUND;
	}
	return privacy_read(pool, cx, all, sub, send, &a);
}
