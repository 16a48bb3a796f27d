#include "common/service/scan.h"

#include "common/base/clock.h"
#include "common/codec/mp.h"
#include "common/service/cached.h"
#include "common/service/scan_match.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define CATALOGUE_MAX ((size_t)4 << 20)
#define TABLES_MAX    256
#define COLUMNS_MAX   64
#define BLOCK_BITS    32

struct column {
	struct str name;
	bool bytes; /* PostgreSQL: bytea */
	bool text;  /* of a type that needs no cast */
};

struct table {
	struct str name;
	size_t columns_n;
	struct column columns[COLUMNS_MAX];
	struct db_stmt find, count;
};

/* Made once and never changed. */
struct catalogue {
	struct arena *arena;
	size_t tables_n;
	struct table *tables; /* in the arena */
};

struct scan {
	struct scan_conf conf;
	struct db_stmt *st;
	_Atomic(struct catalogue *) catalogue; /* NULL: not made yet */
};

enum { S_COLUMNS, S_BLOCKS, S_COUNT };

static const struct db_stmt rows[S_COUNT] = {
	[S_COLUMNS] =
		{"scan.columns",
                 "SELECT m.name, p.name, upper(p.type) FROM sqlite_master AS m "
                 "JOIN pragma_table_info(m.name) AS p WHERE m.type = 'table' "
                 "AND upper(p.type) NOT LIKE '%INT%' ORDER BY m.name, p.cid",
                 "SELECT c.relname::text, a.attname::text, "
                 "upper(format_type(a.atttypid, NULL)) "
                 "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
                 "JOIN pg_namespace n ON n.oid = c.relnamespace "
                 "WHERE n.nspname || '.' = '@' AND c.relkind IN ('r', 'm') "
                 "AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid "
                 "NOT IN ('bigint'::regtype, 'integer'::regtype, "
                 "'boolean'::regtype, 'double precision'::regtype) "
                 "ORDER BY 1, a.attnum"},
	[S_BLOCKS] = {"scan.blocks", "SELECT 1",
                      "SELECT pg_relation_size($1::text::regclass) / "
                      "current_setting('block_size')::bigint"},
};

/* --- the statements, from the catalogue ------------------------------------------- */

struct reading {
	const struct scan *s;
	struct arena *arena;
	struct table *tables;
	size_t n;
};

static enum err take_column(void *arg, const struct db_row *row)
{
	struct reading *r = arg;
	struct str table = db_row_str(row, 0), type = db_row_str(row, 2);
	struct table *t = r->n ? &r->tables[r->n - 1] : NULL;
	struct column *c;

	if (!t || !str_eq(t->name, table)) {
		if (r->n == TABLES_MAX)
			return ERR_INTERNAL;
		t = &r->tables[r->n++];
		*t = (struct table){.name = arena_str(r->arena, table)};
	}
	if (t->columns_n == COLUMNS_MAX)
		return ERR_INTERNAL;
	c = &t->columns[t->columns_n++];
	c->name = arena_str(r->arena, db_row_str(row, 1));
	c->bytes = str_eq(type, STR("BYTEA"));
	c->text = str_eq(type, STR("TEXT"));
	return c->name.p && t->name.p ? OK : ERR_NOMEM;
}

/* A db_fn. */
static enum err read_catalogue(struct db *db, void *arg)
{
	struct reading *r = arg;
	const struct db_sink sink = {take_column, r};

	r->n = 0;
	return db_run(db, &r->s->st[S_COLUMNS], NULL, 0, &sink);
}

static void add_name(struct buf *b, struct str name)
{
	buf_char(b, '"');
	for (size_t i = 0; i < name.n; i++) {
		if (name.p[i] == '"')
			buf_char(b, '"');
		buf_char(b, name.p[i]);
	}
	buf_char(b, '"');
}

static void add_table(struct buf *b, const struct scan *s, enum db_kind kind,
                      struct str table)
{
	if (kind == DB_POSTGRES) {
		add_name(b, str_from(s->conf.service));
		buf_char(b, '.');
	}
	add_name(b, table);
}

/* What stands for the column in lower case, so that ASCII text can be found. */
static void add_lower(struct buf *b, enum db_kind kind, const struct column *c)
{
	bool cast = kind == DB_SQLITE || (!c->text && !c->bytes);

	buf_str(b, STR("lower("));
	buf_str(b, kind == DB_POSTGRES && c->bytes ? STR("encode(") : STR(""));
	buf_str(b, cast ? STR("CAST(") : STR(""));
	add_name(b, c->name);
	buf_str(b, cast ? STR(" AS TEXT)") : STR(""));
	buf_str(b,
	        kind == DB_POSTGRES && c->bytes ? STR(", 'escape')") : STR(""));
	buf_char(b, ')');
}

/* PostgreSQL: those blocks of the table. */
static void add_range(struct buf *b, enum db_kind kind, unsigned first)
{
	if (kind == DB_POSTGRES)
		buf_printf(b,
		           "ctid >= $%u::text::tid AND ctid < $%u::text::tid",
		           first, first + 1);
	else
		buf_str(b, STR("true"));
}

static void add_find(struct buf *b, const struct scan *s, enum db_kind kind,
                     const struct table *t)
{
	const char *in = kind == DB_POSTGRES ? "strpos" : "instr";

	buf_str(b, STR("SELECT "));
	for (size_t i = 0; i < t->columns_n; i++) {
		const struct column *c = &t->columns[i];
		bool cast = kind == DB_POSTGRES && !c->text && !c->bytes;

		buf_str(b, i ? STR(", ") : STR(""));
		add_name(b, c->name);
		buf_str(b, cast ? STR("::text") : STR(""));
	}
	buf_str(b, STR(" FROM "));
	add_table(b, s, kind, t->name);
	buf_str(b, STR(" WHERE "));
	add_range(b, kind, 4);
	buf_str(b, STR(" AND ("));
	for (size_t i = 0; i < t->columns_n; i++)
		for (unsigned k = 1; k <= 3; k++) {
			buf_str(b, i || k > 1 ? STR(" OR ") : STR(""));
			buf_printf(b, "%s(", in);
			add_lower(b, kind, &t->columns[i]);
			buf_printf(b, ", $%u) > 0", k);
		}
	buf_char(b, ')');
}

static void add_count(struct buf *b, const struct scan *s, enum db_kind kind,
                      const struct table *t)
{
	buf_str(b, STR("SELECT count(*) FROM "));
	add_table(b, s, kind, t->name);
	buf_str(b, STR(" WHERE "));
	add_range(b, kind, 1);
}

static bool keep_text(struct arena *a, enum db_kind kind, const struct buf *b,
                      const char *name, struct db_stmt *out)
{
	struct str text = arena_str(a, buf_view(b));

	*out = (struct db_stmt){name, text.p,
	                        kind == DB_POSTGRES ? text.p : NULL};
	return !b->failed && text.p;
}

static bool make_statements(const struct reading *r, enum db_kind kind,
                            struct table *t)
{
	AUTO_BUF find = {0}, count = {0};

	add_find(&find, r->s, kind, t);
	add_count(&count, r->s, kind, t);
	return keep_text(r->arena, kind, &find, "scan.find", &t->find) &&
	       keep_text(r->arena, kind, &count, "scan.count", &t->count);
}

static void catalogue_free(struct catalogue *c)
{
	if (c)
		arena_free(c->arena); /* it lies in it */
}
AUTO_TYPE(catalogue, struct catalogue *, catalogue_free)

static enum err make(struct scan *s, struct ctx *cx, struct catalogue **out)
{
	struct reading r = {.s = s, .arena = arena_new(CATALOGUE_MAX)};
	AUTO(catalogue) c = NULL;
	struct db_pool_stats st;
	enum err e;

	if (!r.arena)
		return ERR_NOMEM;
	c = arena_alloc(r.arena, sizeof(*c));
	if (!c) {
		arena_free(r.arena);
		return ERR_NOMEM;
	}
	*c = (struct catalogue){.arena = r.arena};
	r.tables = arena_alloc(r.arena, TABLES_MAX * sizeof(*r.tables));
	e = r.tables ? db_read(s->conf.pool, cx, read_catalogue, &r)
	             : ERR_NOMEM;
	db_pool_stats(s->conf.pool, &st);
	for (size_t i = 0; !e && i < r.n; i++)
		if (!make_statements(&r, st.kind, &r.tables[i]))
			e = ERR_NOMEM;
	if (e)
		return e;
	c->tables = r.tables;
	c->tables_n = r.n;
	*out = STEAL(c);
	return OK;
}

/* Of two who make it at once, one throws theirs away. */
static enum err catalogue(struct scan *s, struct ctx *cx,
                          const struct catalogue **out)
{
	struct catalogue *made = atomic_load(&s->catalogue), *none = NULL;
	enum err e = OK;

	if (!made) {
		e = make(s, cx, &made);
		if (!e && !atomic_compare_exchange_strong(&s->catalogue, &none,
		                                          made)) {
			catalogue_free(made);
			made = none;
		}
	}
	*out = made;
	return e;
}

/* --- looking --------------------------------------------------------------------------- */

struct finding {
	struct str table, column;
	int64_t rows;
	const char *why; /* NULL: it must not be there */
};

struct look {
	const struct scan *s;
	const struct scan_needles *who;
	const struct scan_needles *lower;
	const struct table *t;
	int64_t block; /* the first */
	int64_t rows;
	size_t found_n; /* of found; what is beyond counts in the last */
	struct finding found[SCAN_FINDINGS_MAX];
};

static const char *why_kept(const struct look *l, struct str column,
                            struct str value)
{
	const struct scan_needles sub = {.sub = l->who->sub};
	const struct scan_needles rest = {.hnd = l->who->hnd,
	                                  .email = l->who->email};

	for (size_t i = 0; i < l->s->conf.kept_n; i++) {
		const struct scan_kept *k = &l->s->conf.kept[i];

		if (str_eq(l->t->name, str_from(k->table)) &&
		    str_eq(column, str_from(k->column)))
			return scan_names(&sub, column, value) &&
			                       !scan_names(&rest, column, value)
			               ? k->why
			               : NULL;
	}
	return NULL;
}

static void note(struct look *l, struct str table, struct str column,
                 const char *why)
{
	struct finding *f = NULL;

	for (size_t i = 0; i < l->found_n && !f; i++)
		if (str_eq(l->found[i].table, table) &&
		    str_eq(l->found[i].column, column) &&
		    l->found[i].why == why)
			f = &l->found[i];
	if (!f && l->found_n < SCAN_FINDINGS_MAX) {
		f = &l->found[l->found_n++];
		*f = (struct finding){table, column, 0, why};
	}
	if (!f)
		f = &l->found[SCAN_FINDINGS_MAX - 1];
	f->rows++;
}

static enum err take_row(void *arg, const struct db_row *row)
{
	struct look *l = arg;

	for (size_t i = 0; i < l->t->columns_n; i++) {
		struct str column = l->t->columns[i].name;
		struct str value = db_row_str(row, (int)i);

		if (scan_names(l->who, column, value))
			note(l, l->t->name, column, why_kept(l, column, value));
	}
	return OK;
}

/* The bounds of a range of blocks, as PostgreSQL writes a place. */
static size_t range(int64_t block, struct db_val v[2], char text[2][32])
{
	for (int i = 0; i < 2; i++) {
		(void)snprintf(text[i], sizeof(text[i]), "(%lld,0)",
		               (long long)block + i * SCAN_BLOCKS);
		v[i] = DB_TEXT(text[i]);
	}
	return 2;
}

/* A db_fn. */
static enum err look_at(struct db *db, void *arg)
{
	struct look *l = arg;
	bool blocks = db_kind(db) == DB_POSTGRES;
	const struct db_sink sink = {take_row, l};
	struct db_val v[5] = {DB_STR(l->lower->sub), DB_STR(l->lower->hnd),
	                      DB_STR(l->lower->email)};
	char text[2][32];
	size_t n = blocks ? range(l->block, v + 3, text) : 0;
	int64_t count = 0;
	enum err e = db_get_i64(db, &l->t->count, v + 3, n, &count);

	if (!e)
		e = db_run(db, &l->t->find, v, 3 + n, &sink);
	if (!e)
		l->rows += count;
	return e;
}

struct blocks {
	const struct scan *s;
	const struct table *t;
	int64_t n;
};

/* A db_fn. */
static enum err count_blocks(struct db *db, void *arg)
{
	struct blocks *b = arg;
	AUTO_BUF name = {0};
	struct db_val v;

	add_table(&name, b->s, DB_POSTGRES, b->t->name);
	v = DB_STR(buf_view(&name));
	return db_get_i64(db, &b->s->st[S_BLOCKS], &v,
	                  db_kind(db) == DB_POSTGRES, &b->n);
}

/* From l->block to the end of the table, or until it is time to stop: then
 * l->block is where to go on, else 0. */
static enum err look_through(struct look *l, struct ctx *cx, uint64_t stop_ms)
{
	struct blocks b = {l->s, l->t, 1};
	enum err e = db_read_one(l->s->conf.pool, cx, count_blocks, &b);

	while (!e) {
		e = db_read(l->s->conf.pool, cx, look_at, l);
		if (e)
			break;
		l->block += SCAN_BLOCKS;
		if (l->block >= b.n) {
			l->block = 0;
			break;
		}
		if (mono_ms() >= stop_ms)
			break;
	}
	return e;
}

/* --- the cache --------------------------------------------------------------------------- */

static bool take_key(void *arg, struct str key, struct str value)
{
	struct look *l = arg;

	if (scan_names(l->who, STR("key"), key))
		note(l, STR("redis"), STR("key"), NULL);
	if (scan_names(l->who, STR("value"), value))
		note(l, STR("redis"), STR("value"), NULL);
	return false;
}

static void look_in_memory(struct look *l, struct cache *c)
{
	struct cache_value *v = NULL;

	if (c && cache_peek(c, l->who->sub, mono_ms(), &v, NULL) == CACHE_HIT) {
		note(l, STR("memory"), STR("key"), NULL);
		cache_put_back(v);
	}
}

/* *keys: -1 where there is none. */
static enum err look_in_redis(struct look *l, uint64_t deadline_ms,
                              int64_t *keys)
{
	uint64_t n = 0;
	enum err e;

	*keys = -1;
	if (!l->s->conf.settings || l->s->conf.settings->redis_url.n == 0)
		return OK;
	e = cached_scan(l->s->conf.settings, l->s->conf.service, deadline_ms,
	                take_key, l, &n);
	*keys = (int64_t)n;
	return e;
}

/* --- the method ---------------------------------------------------------------------------- */

static size_t count_kept(const struct look *l, bool kept)
{
	size_t n = 0;

	for (size_t i = 0; i < l->found_n; i++)
		n += (l->found[i].why != NULL) == kept;
	return n;
}

static void pack_found(struct buf *b, const struct look *l, const char *name,
                       bool kept)
{
	mp_kv_array(b, name, count_kept(l, kept));
	for (size_t i = 0; i < l->found_n; i++) {
		const struct finding *f = &l->found[i];

		if ((f->why != NULL) != kept)
			continue;
		mp_array(b, kept ? 4 : 3);
		mp_str(b, f->table);
		mp_str(b, f->column);
		mp_i64(b, f->rows);
		if (kept)
			mp_text(b, f->why);
	}
}

static struct str lower(struct arena *a, struct str s, struct str otherwise)
{
	char *p = s.n ? arena_alloc(a, s.n) : NULL;

	if (!p)
		return otherwise;
	for (size_t i = 0; i < s.n; i++)
		p[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] | 0x20
		                                             : s.p[i]);
	return (struct str){p, s.n};
}

static enum err run_tables(const struct catalogue *c, struct ctx *cx,
                           struct look *l, int64_t from, int64_t *next,
                           int64_t *tables)
{
	uint64_t stop_ms = mono_ms() + SCAN_CALL_MS;
	size_t i = (size_t)(from >> BLOCK_BITS);
	enum err e = OK;

	l->block = from & ((INT64_C(1) << BLOCK_BITS) - 1);
	while (!e && i < c->tables_n && mono_ms() < stop_ms) {
		l->t = &c->tables[i];
		e = look_through(l, cx, stop_ms);
		if (!e && l->block == 0) {
			i++;
			++*tables;
		}
	}
	*next = i < c->tables_n ? (int64_t)i << BLOCK_BITS | l->block : -1;
	return e;
}

enum err scan_run(struct scan *s, struct ctx *cx, const struct scan_ask *ask,
                  struct buf *reply)
{
	const struct scan_needles who = {ask->sub, ask->hnd, ask->email};
	/* What is not given is looked for as the sub, once more. */
	const struct scan_needles low = {
		ask->sub, lower(cx->arena, ask->hnd, ask->sub),
		lower(cx->arena, ask->email, ask->sub)};
	struct look l = {.s = s, .who = &who, .lower = &low};
	int64_t next = -1, tables = 0, keys = -1;
	const struct catalogue *c = NULL;
	enum err e = catalogue(s, cx, &c);

	if (!e && ask->from < 0)
		e = ERR_INVALID;
	if (!e)
		e = run_tables(c, cx, &l, ask->from, &next, &tables);
	if (!e && next < 0) {
		look_in_memory(&l, ask->cache);
		e = look_in_redis(&l, cx->deadline_ms, &keys);
	}
	/* A reader may hold it up: then this is no proof yet. */
	if (!e && next < 0)
		e = db_scrub(s->conf.pool);
	if (e)
		return e;
	mp_map(reply, 6);
	mp_kv_i64(reply, "tables", tables);
	mp_kv_i64(reply, "rows", l.rows);
	mp_kv_i64(reply, "shared", keys);
	pack_found(reply, &l, "kept", true);
	pack_found(reply, &l, "findings", false);
	mp_kv_i64(reply, "next", next);
	return reply->failed ? ERR_NOMEM : OK;
}

/* --- life ------------------------------------------------------------------------------------ */

struct scan *scan_new(const struct scan_conf *conf)
{
	struct scan *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->conf = *conf;
	s->st = db_stmts_for(rows, S_COUNT, conf->service);
	if (!s->st) {
		free(s);
		return NULL;
	}
	return s;
}

void scan_free(struct scan *s)
{
	if (!s)
		return;
	catalogue_free(atomic_load(&s->catalogue));
	free(s->st);
	free(s);
}
