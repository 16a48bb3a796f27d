#include "svc-gdpr/document.h"

#include "common/base/clock.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"

enum what { OBJECT_BEGIN, OBJECT_END, FROM_ONE, FROM_LIST, FROM_END, VALUE };

struct member {
	enum what what;
	const char *name; /* of an object, a list, a member */
	enum export_store store;
	const char *from; /* table or column */
};

static const struct member members[] = {
#define OBJECT(name)           {OBJECT_BEGIN, #name, STORE_COUNT, NULL},
#define END_OBJECT(name)       {OBJECT_END, #name, STORE_COUNT, NULL},
#define ONE(store, table)      {FROM_ONE, NULL, STORE_##store, #table},
#define LIST(as, store, table) {FROM_LIST, #as, STORE_##store, #table},
#define MEMBER(as, column)     {VALUE, #as, STORE_COUNT, #column},
#define END                    {FROM_END, NULL, STORE_COUNT, NULL},
#include "svc-gdpr/members.def"
#undef OBJECT
#undef END_OBJECT
#undef ONE
#undef LIST
#undef MEMBER
#undef END
};

enum err document_pass(struct document *d)
{
	enum err e;

	if (d->text.failed)
		return ERR_NOMEM;
	if (d->text.n < SPOOL_BLOCK / 2)
		return OK;
	e = spool_add(d->to, buf_view(&d->text));
	buf_clear(&d->text);
	return e;
}

/* Between the members of one object or array. */
struct places {
	unsigned n;
	const char *indent;
};

static void next_place(struct document *d, struct places *at)
{
	buf_str(&d->text, at->n++ ? STR(",\n") : STR("\n"));
	buf_str(&d->text, str_from(at->indent));
}

static void name_member(struct document *d, struct places *at, struct str name)
{
	next_place(d, at);
	json_add_str(&d->text, name);
	buf_str(&d->text, STR(": "));
}

static void add_mp(struct document *d, struct str value)
{
	if (!mp_to_json(value, &d->text))
		d->text.failed = true;
}

/* --- the members of old --------------------------------------------------------------- */

/* Walks to the rows of a table; *here is false where there is no such table. */
static enum err find_table(struct rows *r, const char *table, bool *here)
{
	bool more = true;
	enum err e = OK;

	*here = false;
	while (!e && more && !*here) {
		e = rows_next(r, &more);
		*here = !e && more && r->head &&
		        str_eq(r->table, str_from(table));
	}
	return e;
}

static void add_values(struct document *d, struct places *at,
                       const struct member *m, struct str row)
{
	struct str v;

	for (; m->what == VALUE; m++) {
		if (!mp_find(row, m->from, &v))
			continue;
		name_member(d, at, str_from(m->name));
		add_mp(d, v);
	}
}

static void add_object(struct document *d, const struct member *m,
                       struct str row)
{
	AUTO_BUF map = {0};
	AUTO_BUF pairs = {0};
	size_t n = 0;
	struct str v;

	for (; m->what == VALUE; m++) {
		if (!mp_find(row, m->from, &v))
			continue;
		mp_text(&pairs, m->name);
		mp_raw(&pairs, v);
		n++;
	}
	mp_map(&map, n);
	mp_raw(&map, buf_view(&pairs));
	if (map.failed || pairs.failed)
		d->text.failed = true;
	else
		add_mp(d, buf_view(&map));
}

static enum err add_one(struct document *d, struct places *at,
                        const struct member *m, struct rows *r)
{
	bool more = false;
	enum err e = r->left ? rows_next(r, &more) : OK;

	if (!e && more)
		add_values(d, at, m + 1, r->row);
	return e ? e : document_pass(d);
}

static enum err add_list(struct document *d, struct places *at,
                         const struct member *m, struct rows *r)
{
	struct places in = {.indent = "      "};
	int64_t n = r->left;
	enum err e = OK;

	name_member(d, at, str_from(m->name));
	buf_char(&d->text, '[');
	while (!e && r->left) {
		bool more;

		e = rows_next(r, &more);
		if (e)
			break;
		next_place(d, &in);
		add_object(d, m + 1, r->row);
		e = document_pass(d);
	}
	buf_str(&d->text, in.n ? STR("\n    ]") : STR("]"));
	next_place(d, at);
	buf_printf(&d->text, "\"total_%s\": %lld", m->name, (long long)n);
	return e;
}

static enum err add_source(struct document *d, struct places *at,
                           const struct member *m)
{
	struct rows r;
	bool here;
	enum err e;

	rows_begin(&r, d->from, m->store);
	e = find_table(&r, m->from, &here);
	if (!e && here)
		e = m->what == FROM_ONE ? add_one(d, at, m, &r)
		                        : add_list(d, at, m, &r);
	rows_fini(&r);
	return e;
}

static enum err add_members(struct document *d, struct places *top)
{
	struct places in = {.indent = "    "};
	enum err e = OK;

	for (size_t i = 0; i < COUNTOF(members) && !e; i++) {
		const struct member *m = &members[i];

		switch (m->what) {
		case OBJECT_BEGIN:
			in.n = 0;
			name_member(d, top, str_from(m->name));
			buf_char(&d->text, '{');
			break;
		case FROM_ONE:
		case FROM_LIST:
			e = add_source(d, &in, m);
			break;
		case OBJECT_END:
			buf_str(&d->text, in.n ? STR("\n  }") : STR("}"));
			break;
		case VALUE:
		case FROM_END:
			break;
		}
	}
	return e;
}

/* --- everything ---------------------------------------------------------------------------- */

static enum err add_table(struct document *d, struct places *tables,
                          struct rows *r)
{
	struct places in = {.indent = "        "};
	enum err e = OK;

	name_member(d, tables, r->table);
	buf_char(&d->text, '[');
	while (!e && r->left) {
		bool more;

		e = rows_next(r, &more);
		if (e)
			break;
		next_place(d, &in);
		add_mp(d, r->row);
		e = document_pass(d);
	}
	buf_str(&d->text, in.n ? STR("\n      ]") : STR("]"));
	return e;
}

static enum err add_store(struct document *d, struct places *stores,
                          enum export_store s)
{
	struct places tables = {.indent = "      "};
	struct rows r;
	bool more = true;
	enum err e = OK;

	name_member(d, stores, str_from(store_name(s)));
	buf_char(&d->text, '{');
	rows_begin(&r, d->from, s);
	while (!e && more) {
		e = rows_next(&r, &more);
		if (!e && more)
			e = add_table(d, &tables, &r);
	}
	rows_fini(&r);
	buf_str(&d->text, STR("\n    }"));
	return e;
}

static void add_info(struct document *d, struct places *top)
{
	char iso[CLOCK_ISO_MAX];
	int64_t all = 0;

	for (enum export_store s = 0; s < STORE_COUNT; s++)
		all += d->from->of[s].rows;
	name_member(d, top, STR("export_info"));
	buf_printf(&d->text,
	           "{\n    \"requested_at\": \"%.*s\",\n"
	           "    \"format\": \"JSON\",\n"
	           "    \"gdpr_article\": \"Article 15 and Article 20\",\n"
	           "    \"version\": 1,\n    \"total_records\": %lld,\n"
	           "    \"request_id\": ",
	           STR_FMT(clock_iso(d->now_ms, iso)), (long long)all);
	json_add_str(&d->text, d->cx->rid);
	buf_str(&d->text, STR("\n  }"));
}

enum err document_json(struct document *d)
{
	struct places top = {.indent = "  "};
	struct places stores = {.indent = "    "};
	enum err e;

	buf_char(&d->text, '{');
	add_info(d, &top);
	e = add_members(d, &top);
	name_member(d, &top, STR("stores"));
	buf_char(&d->text, '{');
	for (enum export_store s = 0; s < STORE_COUNT && !e; s++)
		e = add_store(d, &stores, s);
	buf_str(&d->text, STR("\n  }\n}\n"));
	if (!e && d->text.failed)
		e = ERR_NOMEM;
	return e ? e : spool_add(d->to, buf_view(&d->text));
}
