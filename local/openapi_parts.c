#include "local/openapi_parts.h"

#include "common/base/err.h"
#include "local/shape.h"

#include <stdio.h>

/* --- fields ------------------------------------------------------------------- */

static json_t *text_field(const struct field_row *f)
{
	json_t *out = json_pack("{s:s}", "type", "string");

	if (f->required && f->min > 0)
		(void)json_object_set_new(out, "minLength",
		                          json_integer(f->min));
	(void)json_object_set_new(out, "maxLength", json_integer(f->max));
	if (f->text && *f->text)
		(void)json_object_set_new(out, "default", json_string(f->text));
	return out;
}

static json_t *number_field(const struct field_row *f)
{
	bool whole = f->type == FIELD_INT;
	json_t *out =
		json_pack("{s:s,s:I,s:I}", "type", whole ? "integer" : "number",
	                  "minimum", (json_int_t)f->min, "maximum",
	                  (json_int_t)f->max);

	/* A fallback out of range only says that the field is absent. */
	if (!f->required && f->number >= (double)f->min &&
	    f->number <= (double)f->max)
		(void)json_object_set_new(out, "default",
		                          whole ? json_integer(
							  (json_int_t)f->number)
		                                : json_real(f->number));
	return out;
}

json_t *parts_field(const struct field_row *f)
{
	switch (f->type) {
	case FIELD_TEXT:
	case FIELD_TRIM:
	case FIELD_LINE:
	case FIELD_LOOSE:
	case FIELD_SECRET:
		return text_field(f);
	case FIELD_INT:
	case FIELD_NUM:
		return number_field(f);
	case FIELD_BOOL:
		return json_pack("{s:s}", "type", "boolean");
	case FIELD_LINES:
		return json_pack("{s:s,s:I,s:I,s:{s:s,s:i,s:i}}", "type",
		                 "array", "minItems", (json_int_t)f->min,
		                 "maxItems", (json_int_t)f->max, "items",
		                 "type", "string", "minLength", 1, "maxLength",
		                 200);
	case FIELD_FILE:
		return json_pack("{s:s,s:s,s:I}", "type", "string", "format",
		                 "binary", "maxLength", (json_int_t)f->max);
	case FIELD_ANY:
		break;
	}
	return json_pack("{s:s}", "description", "any JSON value");
}

json_t *parts_scopes(const struct route *r)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} scopes[] = {
		{SCOPE_READ, "read"},
		{SCOPE_WRITE, "write"},
		{SCOPE_GENERATE, "generate"},
		{SCOPE_ADMIN, "admin"},
	};
	json_t *out = json_array();

	for (size_t i = 0; i < COUNTOF(scopes); i++)
		if (r->scope & scopes[i].bit)
			(void)json_array_append_new(
				out, json_string(scopes[i].name));
	return out;
}

/* --- problems ------------------------------------------------------------------ */

json_t *parts_problem_ref(const char *name)
{
	return json_pack("{s:s+}", "$ref", "#/components/responses/", name);
}

static bool stays_inside(enum err e)
{
	return e == ERR_DB_CONFLICT || e == ERR_DB_DUPLICATE;
}

static json_t *problem_example(enum err e)
{
	char type[80];
	json_t *out;

	(void)snprintf(type, sizeof(type), "/problems/%s", err_code(e));
	out = json_pack("{s:s,s:s,s:i,s:s,s:s,s:s,s:s,s:s,s:s}", "type", type,
	                "title", err_title(e), "status", (int)err_http(e),
	                "detail", err_text(e), "instance", "/api/progress",
	                "error", err_title(e), "message", err_text(e),
	                "error_code", err_code(e), "request_id",
	                "0190a5c0-0000-7000-8000-00000000000f");
	if (err_http(e) == 429 || err_http(e) == 503)
		(void)json_object_set_new(out, "retry_after", json_integer(2));
	if (e == ERR_INVALID)
		(void)json_object_set_new(
			out, "details",
			json_pack("[{s:s,s:s,s:s}]", "pointer", "/topic",
		                  "code", "REQUIRED", "message", "is missing"));
	return json_pack("{s:o}", "value", out);
}

/* What tells a client how long to wait, and why. */
static void add_limit_headers(json_t *response)
{
	static const char *const headers[][2] = {
		{"RateLimit", "RateLimit"},
		{"RateLimit-Policy", "RateLimitPolicy"},
		{"X-RateLimit-Limit", "XRateLimit"},
		{"X-RateLimit-Remaining", "XRateLimit"},
		{"X-RateLimit-Reset", "XRateLimit"},
	};
	json_t *out = json_object_get(response, "headers");

	for (size_t i = 0; i < COUNTOF(headers); i++)
		(void)json_object_set_new(out, headers[i][0],
		                          json_pack("{s:s+}", "$ref",
		                                    "#/components/headers/",
		                                    headers[i][1]));
}

static json_t *problem_response(const char *words, json_t *examples)
{
	json_t *out = json_pack("{s:s,s:{s:{s:s},s:{s:s}},s:{s:{s:{s:s}}}}",
	                        "description", words, "headers", "X-Request-ID",
	                        "$ref", "#/components/headers/RequestId",
	                        "Retry-After", "$ref",
	                        "#/components/headers/RetryAfter", "content",
	                        "application/problem+json", "schema", "$ref",
	                        "#/components/schemas/Problem");
	json_t *content = json_object_get(json_object_get(out, "content"),
	                                  "application/problem+json");

	(void)json_object_set_new(content, "examples", examples);
	return out;
}

/* One response per status, with an example of each error_code it can have. */
static json_t *problem_responses(void)
{
	json_t *out = json_object(), *any = json_object();

	for (int i = 1; i < ERR_COUNT; i++) {
		enum err e = (enum err)i;
		json_t *same, *response;
		char status[12];

		if (stays_inside(e))
			continue;
		(void)snprintf(status, sizeof(status), "%u", err_http(e));
		response = json_object_get(out, status);
		if (!response) {
			response =
				problem_response(err_title(e), json_object());
			(void)json_object_set_new(out, status, response);
			if (err_http(e) == 429)
				add_limit_headers(response);
		}
		same = json_object_get(
			json_object_get(json_object_get(response, "content"),
		                        "application/problem+json"),
			"examples");
		if (!json_object_get(same, err_name(e)))
			(void)json_object_set_new(same, err_name(e),
			                          problem_example(e));
	}
	(void)json_object_set_new(any, "INTERNAL",
	                          problem_example(ERR_INTERNAL));
	(void)json_object_set_new(out, "Problem",
	                          problem_response("What went wrong", any));
	return out;
}

static json_t *problem_codes(void)
{
	json_t *codes = json_array();

	for (int i = 1; i < ERR_COUNT; i++) {
		bool known = stays_inside((enum err)i);

		for (int k = 1; k < i && !known; k++)
			known = !stays_inside((enum err)k) &&
			        strcmp(err_code((enum err)k),
			               err_code((enum err)i)) == 0;
		if (!known)
			(void)json_array_append_new(
				codes, json_string(err_code((enum err)i)));
	}
	return codes;
}

/* --- what is the same for all ---------------------------------------------------- */

json_t *parts_front(json_t *operations)
{
	json_t *shapes = json_object_get(operations, "shapes");
	json_t *out = json_deep_copy(json_object_get(operations, "front"));
	json_t *components = json_object_get(out, "components");
	json_t *schemas = json_object_get(components, "schemas");
	json_t *code = json_object_get(
		json_object_get(json_object_get(schemas, "Problem"),
	                        "properties"),
		"error_code");

	(void)json_object_set_new(json_object_get(out, "info"), "version",
	                          json_string(KAE_VERSION));
	(void)json_object_set_new(code, "enum", problem_codes());
	(void)json_object_set_new(components, "responses", problem_responses());
	for (void *at = json_object_iter(shapes); at;
	     at = json_object_iter_next(shapes, at))
		(void)json_object_set_new(schemas, json_object_iter_key(at),
		                          shape_schema(
						  json_object_iter_value(at)));
	return out;
}
