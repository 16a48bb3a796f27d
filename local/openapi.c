#include "local/openapi.h"

#include "common/bus/entry.h"
#include "common/codec/fields.h"
#include "gateway/accept.h"
#include "gateway/route.h"
#include "local/openapi_parts.h"
#include "local/shape.h"

/* The rows of all methods.def, flat: a method, then its fields. */
#define NEED_REQUIRED true
#define NEED_OPTIONAL false
#define KEYED_READ    false
#define KEYED_RETRY   true
#define KEYED_ONCE    true
#define KEYED_SESSION true
#define KEYED_ERASE   false /* the person is the key */
#define METHOD(id, name, lane, caller, again, peek) \
	{.method = (name), .keyed = KEYED_##again},
#define FIELD(id, from, type, name, need, min, max, text, num) \
	{NULL,  #name, FROM_##from, FIELD_##type, NEED_##need, \
	 false, min,   max,         text,         num},
#define END(id)
static const struct field_row rows[] = {
#include "svc-auth/methods.def"
#include "svc-content/methods.def"
#include "svc-gdpr/methods.def"
};

/* An operation being described. */
struct operation {
	const struct route *route;
	json_t *told; /* its entry of operations.json, or NULL */
	json_t *shapes;
	const struct field_row *fields;
	size_t fields_n;
	bool keyed; /* takes an Idempotency-Key */
};

/* The fields of a call; none when no service has it. */
static void find_fields(struct operation *op)
{
	for (size_t i = 0; i < COUNTOF(rows); i++) {
		if (!rows[i].method ||
		    strcmp(rows[i].method, op->route->call) != 0)
			continue;
		op->fields = &rows[i + 1];
		while (i + 1 + op->fields_n < COUNTOF(rows) &&
		       !rows[i + 1 + op->fields_n].method)
			op->fields_n++;
		op->keyed = rows[i].keyed;
		return;
	}
}

/* --- what comes in -------------------------------------------------------------- */

static json_t *parameter(const struct operation *op, const char *in,
                         struct str name, const struct field_row *f)
{
	json_t *params = json_object_get(op->told, "params");
	json_t *schema =
		f ? parts_field(f)
		  : json_pack("{s:s,s:i}", "type", "string", "minLength", 1);
	json_t *out = json_pack("{s:s%,s:s,s:b,s:o}", "name", name.p, name.n,
	                        "in", in, "required",
	                        strcmp(in, "path") == 0 || (f && f->required),
	                        "schema", schema);
	json_t *example =
		json_deep_copy(json_object_getn(params, name.p, name.n));

	if (example)
		(void)json_object_set_new(out, "example", example);
	return out;
}

static const struct field_row *path_field(const struct operation *op,
                                          struct str name)
{
	for (size_t i = 0; i < op->fields_n; i++)
		if (op->fields[i].from == FROM_PATH &&
		    str_eq(str_from(op->fields[i].name), name))
			return &op->fields[i];
	return NULL;
}

static bool is_live(const struct operation *op)
{
	return route_streams(op->route) == STREAM_LIVE;
}

static json_t *last_event_id(void)
{
	return json_pack(
		"{s:s,s:s,s:b,s:s,s:{s:s,s:i}}", "name", "Last-Event-ID", "in",
		"header", "required", 0, "description",
		"With Accept: text/event-stream: the id of the last event that "
		"has come; what is behind it follows, whatever the body says.",
		"schema", "type", "string", "maxLength", ENTRY_LEI_MAX);
}

static json_t *parameters(const struct operation *op)
{
	struct str rest = str_from(op->route->path);
	json_t *list = json_array();

	if (op->keyed)
		(void)json_array_append_new(
			list,
			json_pack("{s:s}", "$ref",
		                  "#/components/parameters/IdempotencyKey"));
	if (is_live(op))
		(void)json_array_append_new(list, last_event_id());
	while (rest.n) {
		struct str segment = str_cut(&rest, '/');
		struct str name = {segment.p + 1, segment.n - 2};

		if (segment.n > 2 && segment.p[0] == '{')
			(void)json_array_append_new(
				list, parameter(op, "path", name,
			                        path_field(op, name)));
	}
	for (size_t i = 0; i < op->fields_n; i++)
		if (op->fields[i].from == FROM_QUERY)
			(void)json_array_append_new(
				list, parameter(op, "query",
			                        str_from(op->fields[i].name),
			                        &op->fields[i]));
	return list;
}

static json_t *body_schema(const struct operation *op, bool *need)
{
	json_t *required = json_array(), *properties = json_object();
	json_t *schema = json_pack("{s:s}", "type", "object");

	for (size_t i = 0; i < op->fields_n; i++) {
		const struct field_row *f = &op->fields[i];

		if (f->from != FROM_BODY)
			continue;
		(void)json_object_set_new(properties, f->name, parts_field(f));
		if (f->required)
			(void)json_array_append_new(required,
			                            json_string(f->name));
	}
	*need = route_needs_body(op->route);
	if (json_array_size(required))
		(void)json_object_set(schema, "required", required);
	if (json_object_size(properties))
		(void)json_object_set(schema, "properties", properties);
	json_decref(required);
	json_decref(properties);
	return schema;
}

static json_t *request_body(const struct operation *op)
{
	json_t *example = json_object_get(op->told, "request");
	bool need = false;
	json_t *content = json_pack("{s:o}", "schema", body_schema(op, &need));

	if (example)
		(void)json_object_set_new(content, "example",
		                          json_deep_copy(example));
	return json_pack("{s:b,s:{s:o}}", "required", need, "content",
	                 route_takes_files(op->route) ? "multipart/form-data"
	                                              : "application/json",
	                 content);
}

/* --- what goes out ------------------------------------------------------------- */

static const char *form_of(const struct operation *op)
{
	const char *form = json_string_value(json_object_get(op->told, "form"));

	return form ? form : "application/json";
}

static bool says_nothing(const struct operation *op)
{
	return json_integer_value(json_object_get(op->told, "status")) == 204;
}

static json_t *answer(const struct operation *op, const char *words)
{
	json_t *shape = json_object_get(op->told, "response");
	json_t *content, *headers, *out;

	if (says_nothing(op))
		return json_pack("{s:s}", "description", words);
	content = json_object();
	headers = json_object();
	if (shape)
		(void)json_object_set_new(
			content, form_of(op),
			json_pack("{s:o,s:o}", "schema", shape_schema(shape),
		                  "example", shape_example(shape, op->shapes)));
	else
		(void)json_object_set_new(content, form_of(op),
		                          json_pack("{s:{}}", "schema"));
	if (json_is_true(json_object_get(op->told, "page")))
		(void)json_object_set_new(content, "text/html",
		                          json_pack("{s:{s:s}}", "schema",
		                                    "type", "string"));
	if (route_gives_csv(op->route))
		(void)json_object_set_new(content, "text/csv",
		                          json_pack("{s:{s:s}}", "schema",
		                                    "type", "string"));
	if (is_live(op))
		(void)json_object_set_new(
			content, "text/event-stream",
			json_pack("{s:{s:s,s:s}}", "schema", "type", "string",
		                  "description",
		                  "Events item {index, item}, progress {done, "
		                  "total} and, last, done with the rest of the "
		                  "answer, or error with a problem."));
	(void)json_object_set_new(headers, "X-Request-ID",
	                          json_pack("{s:s}", "$ref",
	                                    "#/components/headers/RequestId"));
	if (op->keyed)
		(void)json_object_set_new(
			headers, "Idempotent-Replayed",
			json_pack("{s:s}", "$ref",
		                  "#/components/headers/IdempotentReplayed"));
	out = json_pack("{s:s,s:o,s:o}", "description", words, "headers",
	                headers, "content", content);
	return out;
}

static bool closed(const struct operation *op)
{
	return op->route->access != ACCESS_ANYONE;
}

static bool has_body(const struct operation *op)
{
	return op->route->body_max > 0;
}

static bool is_keyed(const struct operation *op)
{
	return op->keyed;
}

static bool is_built(const struct operation *op)
{
	return op->route->built;
}

static bool is_said(const struct operation *op)
{
	(void)op;
	return false; /* only where operations.json says so */
}

static bool is_later(const struct operation *op)
{
	return !op->route->built;
}

static bool is_served(const struct operation *op)
{
	return op->route->built && op->route->service != PEER_GATEWAY;
}

static bool is_found(const struct operation *op)
{
	return op->route->built &&
	       (strchr(op->route->path, '{') || is_live(op));
}

static bool needs_body(const struct operation *op)
{
	return route_needs_body(op->route);
}

/* Whether operations.json says so of it: a refusal that no table knows. */
static bool says(const struct operation *op, const char *status)
{
	json_t *list = json_object_get(op->told, "refuses");

	for (size_t i = 0; i < json_array_size(list); i++)
		if (json_integer_value(json_array_get(list, i)) ==
		    strtol(status, NULL, 10))
			return true;
	return false;
}

/* Which refusals to expect where; NULL: everywhere. */
static const struct {
	const char *status;
	bool (*where)(const struct operation *op);
} refusals[] = {
	{"400", NULL},      {"401", closed},     {"403", closed},
	{"404", is_found},  {"406", is_built},   {"408", NULL},
	{"409", is_keyed},  {"411", needs_body}, {"413", NULL},
	{"414", NULL},      {"415", has_body},   {"416", is_said},
	{"417", NULL},      {"422", is_keyed},   {"429", NULL},
	{"431", NULL},      {"500", NULL},       {"501", is_later},
	{"502", is_served}, {"503", NULL},       {"504", is_served},
};

static void add_refusals(const struct operation *op, json_t *out)
{
	for (size_t i = 0; i < COUNTOF(refusals); i++) {
		const char *status = refusals[i].status;

		if ((refusals[i].where && !refusals[i].where(op) &&
		     !says(op, status)) ||
		    json_object_get(out, status))
			continue;
		(void)json_object_set_new(out, status,
		                          parts_problem_ref(status));
	}
	(void)json_object_set_new(out, "default", parts_problem_ref("Problem"));
}

static json_t *responses(const struct operation *op)
{
	json_t *status = json_object_get(op->told, "status");
	json_t *also = json_object_get(op->told, "also");
	json_t *out = json_object();
	char name[24];

	if (op->route->built) {
		(void)snprintf(name, sizeof(name), "%lld",
		               status ? (long long)json_integer_value(status)
		                      : 200LL);
		(void)json_object_set_new(out, name, answer(op, "done"));
	}
	if (op->route->built && is_live(op))
		(void)json_object_set_new(
			out, "204",
			json_pack(
				"{s:s}", "description",
				"nothing is behind Last-Event-ID, and nothing "
				"will be"));
	for (size_t i = 0; i < json_array_size(also); i++) {
		(void)snprintf(name, sizeof(name), "%lld",
		               (long long)json_integer_value(
				       json_array_get(also, i)));
		(void)json_object_set_new(out, name,
		                          answer(op, "something is wrong"));
	}
	add_refusals(op, out);
	return out;
}

/* --- an operation ----------------------------------------------------------------- */

/* "get_api_auth_keys_key_id": unique, because method and path are. */
static json_t *operation_id(const struct route *r, const char *verb)
{
	char id[160];
	size_t n = (size_t)snprintf(id, sizeof(id), "%s", verb);
	bool gap = true;

	for (const char *p = r->path; *p && n + 2 < sizeof(id); p++) {
		bool plain =
			(*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9');

		if (plain && gap)
			id[n++] = '_';
		if (plain)
			id[n++] = *p;
		gap = !plain;
	}
	return json_stringn(id, n);
}

static void add_who(json_t *out, const struct route *r)
{
	const char *why = route_reason(r);

	if (why) {
		(void)json_object_set_new(out, "security", json_array());
		(void)json_object_set_new(out, "x-open-because",
		                          json_string(why));
	} else if (r->access == ACCESS_ADMIN) {
		(void)json_object_set_new(out, "x-role", json_string("admin"));
	}
	if (r->scope)
		(void)json_object_set_new(out, "x-scope", parts_scopes(r));
}

static json_t *describe(const struct operation *op, const char *verb)
{
	const struct route *r = op->route;
	const char *summary =
		json_string_value(json_object_get(op->told, "summary"));
	json_t *params = parameters(op);
	json_t *out = json_pack("{s:o,s:[s],s:s}", "operationId",
	                        operation_id(r, verb), "tags",
	                        bus_peer_name(r->service), "summary",
	                        r->built ? summary ? summary : r->call
	                                 : "Not built yet");

	add_who(out, r);
	(void)json_object_set_new(out, "x-rate-class",
	                          json_string(rate_name(r->rate)));
	(void)json_object_set_new(out, "x-deadline-ms",
	                          json_integer(r->deadline_ms));
	(void)json_object_set_new(out, "x-body-max", json_integer(r->body_max));
	if (json_array_size(params))
		(void)json_object_set(out, "parameters", params);
	json_decref(params);
	if (r->body_max)
		(void)json_object_set_new(out, "requestBody", request_body(op));
	(void)json_object_set_new(out, "responses", responses(op));
	return out;
}

/* --- the document ---------------------------------------------------------------------- */

static void add_operation(json_t *paths, const struct route *r,
                          json_t *operations, size_t *told)
{
	static const char *const verbs[VERB_ROUTED] = {
		[VERB_GET] = "get",       [VERB_POST] = "post",
		[VERB_PUT] = "put",       [VERB_PATCH] = "patch",
		[VERB_DELETE] = "delete",
	};
	struct operation op = {
		.route = r,
		.shapes = json_object_get(operations, "shapes"),
	};
	json_t *path = json_object_get(paths, r->path);
	char key[160];

	(void)snprintf(key, sizeof(key), "%s %s", verb_name(r->verb), r->path);
	op.told =
		json_object_get(json_object_get(operations, "operations"), key);
	*told += op.told != NULL;
	find_fields(&op);
	if (!path) {
		path = json_object();
		(void)json_object_set_new(paths, r->path, path);
	}
	(void)json_object_set_new(path, verbs[r->verb],
	                          describe(&op, verbs[r->verb]));
}

json_t *openapi_build(json_t *operations, FILE *complaints)
{
	json_t *out = parts_front(operations);
	json_t *paths = json_object();
	size_t told = 0;

	for (size_t i = 0; i < routes_n; i++)
		if (routes[i].access != ACCESS_INTERNAL)
			add_operation(paths, &routes[i], operations, &told);
	if (told !=
	    json_object_size(json_object_get(operations, "operations"))) {
		(void)fprintf(complaints, "operations.json describes what no "
		                          "route has\n");
		json_decref(out);
		json_decref(paths);
		return NULL;
	}
	(void)json_object_set_new(out, "paths", paths);
	return out;
}
