#include "local/openapi.h"

#include "common/codec/fields.h"
#include "gateway/route.h"

#include <inttypes.h>

/* The rows of all methods.def, flat: a method, then its fields. */
struct row {
	const char *method; /* NULL: a field of the method before it */
	const char *name;
	enum field_from from;
	enum field_type type;
	bool required;
	bool keyed; /* the method takes an Idempotency-Key */
	int64_t min, max;
	const char *text;
	double number;
};

#define NEED_REQUIRED true
#define NEED_OPTIONAL false
#define KEYED_READ    false
#define KEYED_RETRY   true
#define KEYED_ONCE    true
#define KEYED_SESSION true
#define METHOD(id, name, lane, caller, again, peek) \
	{.method = (name), .keyed = KEYED_##again},
#define FIELD(id, from, type, name, need, min, max, text, num) \
	{NULL,  #name, FROM_##from, FIELD_##type, NEED_##need, \
	 false, min,   max,         text,         num},
#define END(id)
static const struct row rows[] = {
#include "svc-auth/methods.def"
#include "svc-content/methods.def"
#include "svc-gdpr/methods.def"
};

/* The fields of a call; *n is 0 when no service has it. */
static const struct row *fields_of(const char *call, size_t *n, bool *keyed)
{
	*n = 0;
	*keyed = false;
	for (size_t i = 0; i < COUNTOF(rows); i++) {
		if (!rows[i].method || strcmp(rows[i].method, call) != 0)
			continue;
		while (i + 1 + *n < COUNTOF(rows) && !rows[i + 1 + *n].method)
			(*n)++;
		*keyed = rows[i].keyed;
		return &rows[i + 1];
	}
	return NULL;
}

/* --- schemas ---------------------------------------------------------------------- */

static void indent(FILE *f, int by)
{
	(void)fprintf(f, "%*s", by, "");
}

static void line(FILE *f, int by, const char *text)
{
	indent(f, by);
	(void)fprintf(f, "%s\n", text);
}

static void number_line(FILE *f, int by, const char *name, int64_t v)
{
	indent(f, by);
	(void)fprintf(f, "%s: %" PRId64 "\n", name, v);
}

static void text_schema(FILE *f, int by, const struct row *r)
{
	line(f, by, "type: string");
	if (r->required && r->min > 0)
		number_line(f, by, "minLength", r->min);
	number_line(f, by, "maxLength", r->max);
	if (r->text && *r->text) {
		indent(f, by);
		(void)fprintf(f, "default: \"%s\"\n", r->text);
	}
}

static void number_schema(FILE *f, int by, const struct row *r)
{
	line(f, by, r->type == FIELD_INT ? "type: integer" : "type: number");
	number_line(f, by, "minimum", r->min);
	number_line(f, by, "maximum", r->max);
	/* A fallback out of range only says that the field is absent. */
	if (!r->required && r->number >= (double)r->min &&
	    r->number <= (double)r->max) {
		indent(f, by);
		(void)fprintf(f, "default: %g\n", r->number);
	}
}

static void schema(FILE *f, int by, const struct row *r)
{
	switch (r->type) {
	case FIELD_TEXT:
	case FIELD_TRIM:
	case FIELD_LINE:
	case FIELD_LOOSE:
		text_schema(f, by, r);
		break;
	case FIELD_INT:
	case FIELD_NUM:
		number_schema(f, by, r);
		break;
	case FIELD_BOOL:
		line(f, by, "type: boolean");
		break;
	case FIELD_LINES:
		line(f, by, "type: array");
		number_line(f, by, "minItems", r->min);
		number_line(f, by, "maxItems", r->max);
		line(f, by,
		     "items: {type: string, minLength: 1, "
		     "maxLength: 200}");
		break;
	case FIELD_ANY:
		line(f, by, "description: any JSON value");
		break;
	}
}

/* --- one operation ------------------------------------------------------------------ */

static void parameter(FILE *f, const char *in, struct str name,
                      const struct row *r)
{
	(void)fprintf(f,
	              "        - name: %.*s\n          in: %s\n"
	              "          required: %s\n          schema:\n",
	              STR_FMT(name), in,
	              strcmp(in, "path") == 0 || (r && r->required) ? "true"
	                                                            : "false");
	if (r)
		schema(f, 12, r);
	else
		line(f, 12, "type: string");
}

static const struct row *field_named(const struct row *fields, size_t n,
                                     enum field_from from, struct str name)
{
	for (size_t i = 0; i < n; i++)
		if (fields[i].from == from &&
		    str_eq(str_from(fields[i].name), name))
			return &fields[i];
	return NULL;
}

static void parameters(FILE *f, const struct route *r, const struct row *fields,
                       size_t n, bool keyed)
{
	struct str rest = str_from(r->path);
	bool head = keyed;

	if (keyed) {
		line(f, 6, "parameters:");
		line(f, 8,
		     "- $ref: \"#/components/parameters/IdempotencyKey\"");
	}

	while (rest.n) {
		struct str segment = str_cut(&rest, '/');
		struct str name = {segment.p + 1, segment.n - 2};

		if (segment.n < 3 || segment.p[0] != '{')
			continue;
		if (!head)
			line(f, 6, "parameters:");
		head = true;
		parameter(f, "path", name,
		          field_named(fields, n, FROM_PATH, name));
	}
	for (size_t i = 0; i < n; i++) {
		if (fields[i].from != FROM_QUERY)
			continue;
		if (!head)
			line(f, 6, "parameters:");
		head = true;
		parameter(f, "query", str_from(fields[i].name), &fields[i]);
	}
}

static void body(FILE *f, const struct route *r, const struct row *fields,
                 size_t n)
{
	bool head = false, need = false;

	if (r->body_max == 0)
		return;
	for (size_t i = 0; i < n; i++)
		need |= fields[i].from == FROM_BODY && fields[i].required;
	line(f, 6, "requestBody:");
	if (need)
		line(f, 8, "required: true");
	line(f, 8, "content:");
	line(f, 10, "application/json:");
	line(f, 12, "schema:");
	line(f, 14, "type: object");
	for (size_t i = 0; i < n; i++) {
		if (fields[i].from != FROM_BODY || !fields[i].required)
			continue;
		indent(f, head ? 0 : 14);
		(void)fprintf(f, "%s%s", head ? ", " : "required: [",
		              fields[i].name);
		head = true;
	}
	if (head)
		(void)fputs("]\n", f);
	head = false;
	for (size_t i = 0; i < n; i++) {
		if (fields[i].from != FROM_BODY)
			continue;
		if (!head)
			line(f, 14, "properties:");
		head = true;
		indent(f, 16);
		(void)fprintf(f, "%s:\n", fields[i].name);
		schema(f, 18, &fields[i]);
	}
}

static void problem(FILE *f, const char *status)
{
	indent(f, 8);
	(void)fprintf(f, "\"%s\": {$ref: \"#/components/responses/Problem\"}\n",
	              status);
}

static void responses(FILE *f, const struct route *r, bool keyed)
{
	line(f, 6, "responses:");
	if (r->built) {
		line(f, 8, "\"2XX\":");
		line(f, 10, "description: done");
		if (keyed)
			line(f, 10,
			     "headers: {Idempotent-Replayed: {$ref: "
			     "\"#/components/headers/IdempotentReplayed\"}}");
		line(f, 10, "content: {application/json: {schema: {}}}");
	}
	problem(f, "400");
	if (r->access != ACCESS_ANYONE) {
		problem(f, "401");
		problem(f, "403");
	}
	if (keyed)
		problem(f, "409");
	if (r->body_max) {
		problem(f, "413");
		problem(f, "415");
	}
	if (keyed)
		problem(f, "422");
	if (!r->built)
		problem(f, "501");
	if (r->service != PEER_GATEWAY) {
		problem(f, "502");
		problem(f, "503");
		problem(f, "504");
	}
	problem(f, "default");
}

/* "get_api_auth_keys_key_id": unique, because method and path are. */
static void operation_id(FILE *f, const struct route *r, const char *verb)
{
	bool gap = true;

	(void)fprintf(f, "      operationId: %s", verb);
	for (const char *p = r->path; *p; p++) {
		bool plain =
			(*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9');

		if (plain && gap)
			(void)fputc('_', f);
		if (plain)
			(void)fputc(*p, f);
		gap = !plain;
	}
	(void)fputc('\n', f);
}

static void operation(FILE *f, const struct route *r)
{
	static const char *const verbs[VERB_ROUTED] = {
		[VERB_GET] = "get",       [VERB_POST] = "post",
		[VERB_PUT] = "put",       [VERB_PATCH] = "patch",
		[VERB_DELETE] = "delete",
	};
	const char *why = route_reason(r);
	size_t n;
	bool keyed;
	const struct row *fields = fields_of(r->call, &n, &keyed);

	(void)fprintf(f, "    %s:\n", verbs[r->verb]);
	operation_id(f, r, verbs[r->verb]);
	(void)fprintf(f, "      tags: [%s]\n", bus_peer_name(r->service));
	if (!r->built)
		line(f, 6, "description: Not built yet.");
	if (why)
		(void)fprintf(f, "      security: [] # %s\n", why);
	else if (r->access == ACCESS_ADMIN)
		line(f, 6, "x-role: admin");
	(void)fprintf(f, "      x-deadline-ms: %u\n      x-body-max: %u\n",
	              r->deadline_ms, r->body_max);
	parameters(f, r, fields, n, keyed);
	body(f, r, fields, n);
	responses(f, r, keyed);
}

/* --- the document ---------------------------------------------------------------------- */

static const char front[] =
	"# Made from gateway/routes.def and the methods.def of the services by\n"
	"# `make docs`.\n"
	"openapi: 3.1.0\n"
	"info:\n"
	"  title: KnowAllEdge\n"
	"  version: \"" KAE_VERSION "\"\n"
	"  license: {name: Apache-2.0, identifier: Apache-2.0}\n"
	"servers:\n"
	"  - url: http://127.0.0.1:5000\n"
	"security:\n"
	"  - bearer: []\n"
	"  - apiKey: []\n"
	"components:\n"
	"  securitySchemes:\n"
	"    bearer: {type: http, scheme: bearer, bearerFormat: JWT}\n"
	"    apiKey: {type: apiKey, in: header, name: X-API-Key}\n"
	"  parameters:\n"
	"    IdempotencyKey:\n"
	"      name: Idempotency-Key\n"
	"      in: header\n"
	"      required: false\n"
	"      description: >-\n"
	"        Any text that is new for each intent, best a random UUID. The same\n"
	"        request with the same key has no second effect and gets the first\n"
	"        answer, for IDEMPOTENCY_RETENTION_S seconds. Another request with it\n"
	"        is 422; a request while the first one runs is 409. Answers that\n"
	"        refuse are not kept. Without a login it has 16 characters or more.\n"
	"      schema: {type: string, minLength: 1, maxLength: 255}\n"
	"  headers:\n"
	"    IdempotentReplayed:\n"
	"      description: this is the answer of the first time; nothing was done "
	"now\n"
	"      schema: {type: boolean, const: true}\n"
	"  responses:\n"
	"    Problem:\n"
	"      description: what went wrong (RFC 9457)\n"
	"      headers:\n"
	"        X-Request-ID: {schema: {type: string}}\n"
	"        Retry-After: {schema: {type: integer}}\n"
	"      content:\n"
	"        application/problem+json:\n"
	"          schema: {$ref: \"#/components/schemas/Problem\"}\n"
	"  schemas:\n"
	"    Problem:\n"
	"      type: object\n"
	"      required: [type, title, status, detail, error, message, "
	"error_code, request_id]\n"
	"      properties:\n"
	"        type: {type: string, format: uri-reference}\n"
	"        title: {type: string}\n"
	"        status: {type: integer}\n"
	"        detail: {type: string}\n"
	"        instance: {type: string}\n"
	"        error: {type: string, description: as title}\n"
	"        message: {type: string, description: as detail}\n"
	"        error_code: {type: string}\n"
	"        request_id: {type: string}\n"
	"        retry_after: {type: integer}\n"
	"        details:\n"
	"          type: array\n"
	"          items:\n"
	"            type: object\n"
	"            properties:\n"
	"              pointer: {type: string}\n"
	"              code: {type: string}\n"
	"              message: {type: string}\n"
	"paths:\n";

static bool is_first(size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (routes[i].access != ACCESS_INTERNAL &&
		    strcmp(routes[i].path, routes[at].path) == 0)
			return false;
	return routes[at].access != ACCESS_INTERNAL;
}

void openapi_write(FILE *f)
{
	(void)fputs(front, f);
	for (size_t i = 0; i < routes_n; i++) {
		if (!is_first(i))
			continue;
		(void)fprintf(f, "  \"%s\":\n", routes[i].path);
		for (size_t k = i; k < routes_n; k++)
			if (routes[k].access != ACCESS_INTERNAL &&
			    strcmp(routes[k].path, routes[i].path) == 0)
				operation(f, &routes[k]);
	}
}
