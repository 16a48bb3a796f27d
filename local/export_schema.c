/* docs/export.schema.json: what an export holds, from the same tables. */
#include "local/privacy_doc.h"

#include "common/base/attr.h"
#include "svc-auth/columns.h"
#include "svc-content/columns.h"
#include "svc-gdpr/columns.h"

#include <jansson.h>
#include <stdlib.h>

enum export_store { STORE_AUTH, STORE_CONTENT, STORE_GDPR, STORE_COUNT };
static const struct privacy_tables *const stores[STORE_COUNT] = {
	[STORE_AUTH] = &auth_columns,
	[STORE_CONTENT] = &content_columns,
	[STORE_GDPR] = &gdpr_columns,
};

/* What of the export has which type; each may be null. */
static const char *const type_names[] = {
	[PRIVACY_TEXT] = "text", [PRIVACY_INT] = "integer",
	[PRIVACY_REAL] = "real", [PRIVACY_BYTES] = "bytes",
	[PRIVACY_TIME] = "time", [PRIVACY_DAY] = "day",
	[PRIVACY_FLAG] = "flag", [PRIVACY_PACKED] = "anything",
};

static const char definitions[] =
	"{\"text\": {\"anyOf\": [{\"type\": \"string\"}, {\"type\": "
	"\"null\"}]},"
	"\"integer\": {\"anyOf\": [{\"type\": \"integer\"}, {\"type\": "
	"\"null\"}]},"
	"\"real\": {\"anyOf\": [{\"type\": \"number\"}, {\"type\": "
	"\"null\"}]},"
	"\"bytes\": {\"description\": \"base64\", \"anyOf\": [{\"type\": "
	"\"string\"}, {\"type\": \"null\"}]},"
	"\"time\": {\"description\": \"null: never\", \"anyOf\": [{\"type\": "
	"\"string\", \"format\": \"date-time\"}, {\"type\": \"null\"}]},"
	"\"day\": {\"description\": \"of UTC; null: never\", \"anyOf\": "
	"[{\"type\": \"string\", \"format\": \"date\"}, {\"type\": "
	"\"null\"}]},"
	"\"flag\": {\"anyOf\": [{\"type\": \"boolean\"}, {\"type\": "
	"\"null\"}]},"
	"\"anything\": {\"description\": \"as it was packed\"}}";

static const char info[] =
	"{\"type\": \"object\", \"properties\": {"
	"\"requested_at\": {\"type\": \"string\", \"format\": \"date-time\"},"
	"\"format\": {\"const\": \"JSON\"},"
	"\"gdpr_article\": {\"type\": \"string\"},"
	"\"version\": {\"const\": 1},"
	"\"total_records\": {\"description\": \"rows of all stores\", "
	"\"type\": \"integer\", \"minimum\": 1},"
	"\"request_id\": {\"type\": \"string\"}},"
	"\"required\": [\"requested_at\", \"format\", \"gdpr_article\", "
	"\"version\", \"total_records\", \"request_id\"]}";

/* Without memory jansson's functions give NULL and take it. */
static json_t *type_of(enum privacy_type t)
{
	return json_pack("{s:s+}", "$ref", "#/$defs/", type_names[t]);
}

static json_t *object_of(json_t *properties, json_t *required)
{
	return json_pack("{s:s,s:o,s:o}", "type", "object", "properties",
	                 properties, "required", required);
}

static json_t *array_of(json_t *items)
{
	return json_pack("{s:s,s:o}", "type", "array", "items", items);
}

/* --- stores --------------------------------------------------------------------- */

static json_t *row_of(const struct privacy_table *t)
{
	json_t *properties = json_object(), *required = json_array();

	for (size_t i = 0; i < t->columns_n; i++) {
		const struct privacy_column *c = &t->columns[i];

		if (!c->out)
			continue;
		(void)json_object_set_new(properties, c->name,
		                          type_of(c->type));
		(void)json_array_append_new(required, json_string(c->name));
	}
	return object_of(properties, required);
}

static json_t *store_of(const struct privacy_tables *all)
{
	json_t *properties = json_object(), *required = json_array();

	for (size_t i = 0; i < all->n; i++) {
		const struct privacy_table *t = &all->table[i];
		json_t *rows;

		if (t->of == OF_NOBODY)
			continue;
		rows = array_of(row_of(t));
		(void)json_object_set_new(rows, "description",
		                          json_string(t->words));
		(void)json_object_set_new(properties, t->name, rows);
		(void)json_array_append_new(required, json_string(t->name));
	}
	return object_of(properties, required);
}

static json_t *all_stores(void)
{
	json_t *properties = json_object(), *required = json_array();

	for (size_t i = 0; i < STORE_COUNT; i++) {
		const char *name = stores[i]->service;

		(void)json_object_set_new(properties, name,
		                          store_of(stores[i]));
		(void)json_array_append_new(required, json_string(name));
	}
	return object_of(properties, required);
}

/* --- the members of old: svc-gdpr/members.def -------------------------------------- */

/* Where we are in it. */
struct place {
	json_t *top, *required; /* of the document */
	json_t *object;         /* properties of the member */
	json_t *values;         /* where a column's type goes */
	const struct privacy_table *from;
};

static void begin_source(struct place *p, enum export_store s,
                         const char *table, const char *list)
{
	json_t *total;
	char name[64];

	p->from = privacy_table(stores[s], str_from(table));
	p->values = p->object;
	if (!p->from || !list)
		return;
	p->values = json_object();
	(void)json_object_set_new(p->object, list,
	                          array_of(json_pack("{s:s,s:O}", "type",
	                                             "object", "properties",
	                                             p->values)));
	json_decref(p->values); /* held by the array now */
	(void)snprintf(name, sizeof(name), "total_%s", list);
	total = json_pack("{s:s}", "type", "integer");
	(void)json_object_set_new(p->object, name, total);
}

static void add_value(struct place *p, const char *as, const char *column)
{
	const struct privacy_column *c =
		p->from ? privacy_column(p->from, str_from(column)) : NULL;

	if (c && c->out)
		(void)json_object_set_new(p->values, as, type_of(c->type));
}

static void begin_object(struct place *p, const char *name)
{
	p->object = json_object();
	(void)json_object_set_new(p->top, name,
	                          json_pack("{s:s,s:o}", "type", "object",
	                                    "properties", p->object));
	(void)json_array_append_new(p->required, json_string(name));
}

static void add_members(struct place *p)
{
#define OBJECT(name)           begin_object(p, #name);
#define END_OBJECT(name)       p->object = NULL;
#define ONE(store, table)      begin_source(p, STORE_##store, #table, NULL);
#define LIST(as, store, table) begin_source(p, STORE_##store, #table, #as);
#define MEMBER(as, column)     add_value(p, #as, #column);
#define END                    p->from = NULL;
#include "svc-gdpr/members.def"
#undef OBJECT
#undef END_OBJECT
#undef ONE
#undef LIST
#undef MEMBER
#undef END
}

void export_schema(FILE *f)
{
	struct place p = {.top = json_object(), .required = json_array()};
	json_t *document;

	(void)json_object_set_new(p.top, "export_info",
	                          json_loads(info, 0, NULL));
	(void)json_array_append_new(p.required, json_string("export_info"));
	add_members(&p);
	(void)json_object_set_new(p.top, "stores", all_stores());
	(void)json_array_append_new(p.required, json_string("stores"));
	document = json_pack(
		"{s:s,s:s,s:s,s:s,s:o,s:o,s:o}", "$schema",
		"https://json-schema.org/draft/2020-12/schema", "title",
		"A person's data", "description",
		"What GET /api/user/export answers. Made from the columns.def "
		"of all services by `make docs`.",
		"type", "object", "properties", p.top, "required", p.required,
		"$defs", json_loads(definitions, 0, NULL));
	(void)json_dumpf(document, f, JSON_INDENT(1));
	(void)fputc('\n', f);
	json_decref(document);
}
