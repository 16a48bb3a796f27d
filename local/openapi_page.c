/* The OpenAPI document as one page: no script, each operation folds. */
#include "local/openapi.h"

#include "gateway/page.h"

static void text(struct buf *out, const char *words)
{
	page_text(out, str_from(words));
}

static const char *member(json_t *v, const char *name)
{
	const char *s = json_string_value(json_object_get(v, name));

	return s ? s : "";
}

static void example(struct buf *out, const char *title, json_t *v)
{
	char *dumped;

	if (!v)
		return;
	dumped = json_dumps(v, JSON_INDENT(2) | JSON_ENCODE_ANY);
	buf_printf(out, "<p>%s</p>\n<pre>", title);
	text(out, dumped ? dumped : "");
	buf_str(out, STR("</pre>\n"));
	free(dumped);
}

/* "string, 1 to 200": what a field may be, in few words. */
static void bounds(struct buf *out, json_t *schema)
{
	static const char *const limits[][3] = {
		{"minLength", "maxLength", "characters"},
		{"minItems", "maxItems", "items"},
		{"minimum", "maximum", ""},
	};

	text(out,
	     *member(schema, "type") ? member(schema, "type") : "any value");
	for (size_t i = 0; i < COUNTOF(limits); i++) {
		json_t *max = json_object_get(schema, limits[i][1]);

		if (max)
			buf_printf(out, ", %lld to %lld %s",
			           (long long)json_integer_value(
					   json_object_get(schema,
			                                   limits[i][0])),
			           (long long)json_integer_value(max),
			           limits[i][2]);
	}
}

static void row(struct buf *out, const char *name, const char *where,
                json_t *schema, bool required)
{
	buf_str(out, STR("<tr><td><code>"));
	text(out, name);
	buf_printf(out, "</code></td><td>%s</td><td>", where);
	bounds(out, schema);
	buf_printf(out, "</td><td>%s</td></tr>\n", required ? "required" : "");
}

static bool lists(json_t *list, const char *name)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (strcmp(json_string_value(json_array_get(list, i)), name) ==
		    0)
			return true;
	return false;
}

static void inputs(struct buf *out, json_t *op)
{
	json_t *params = json_object_get(op, "parameters");
	json_t *content = json_object_get(
		json_object_get(json_object_get(op, "requestBody"), "content"),
		"application/json");
	json_t *schema = json_object_get(content, "schema");
	json_t *fields = json_object_get(schema, "properties");

	if (json_array_size(params) + json_object_size(fields) == 0)
		return;
	buf_str(out, STR("<table>\n"));
	for (size_t i = 0; i < json_array_size(params); i++) {
		json_t *p = json_array_get(params, i);

		if (json_object_get(p, "$ref"))
			buf_str(out,
			        STR("<tr><td><code>Idempotency-Key</code>"
			            "</td><td>header</td><td>string, 1 to "
			            "255 characters</td><td></td></tr>\n"));
		else
			row(out, member(p, "name"), member(p, "in"),
			    json_object_get(p, "schema"),
			    json_is_true(json_object_get(p, "required")));
	}
	for (void *at = json_object_iter(fields); at;
	     at = json_object_iter_next(fields, at))
		row(out, json_object_iter_key(at), "body",
		    json_object_iter_value(at),
		    lists(json_object_get(schema, "required"),
		          json_object_iter_key(at)));
	buf_str(out, STR("</table>\n"));
	example(out, "Request", json_object_get(content, "example"));
}

static void outputs(struct buf *out, json_t *op)
{
	json_t *responses = json_object_get(op, "responses");
	bool first = true;

	for (void *at = json_object_iter(responses); at;
	     at = json_object_iter_next(responses, at)) {
		json_t *content =
			json_object_get(json_object_iter_value(at), "content");
		char title[32];

		(void)snprintf(title, sizeof(title), "Answer %.8s",
		               json_object_iter_key(at));
		example(out, title,
		        json_object_get(json_object_get(content,
		                                        "application/json"),
		                        "example"));
	}
	buf_str(out, STR("<p>Refusals: "));
	for (void *at = json_object_iter(responses); at;
	     at = json_object_iter_next(responses, at)) {
		if (!json_object_get(json_object_iter_value(at), "$ref") ||
		    strcmp(json_object_iter_key(at), "default") == 0)
			continue;
		buf_str(out, first ? STR("") : STR(", "));
		text(out, json_object_iter_key(at));
		first = false;
	}
	buf_str(out, STR("</p>\n"));
}

static const char *who(json_t *op)
{
	if (json_object_get(op, "security"))
		return "anyone";
	return *member(op, "x-role") ? "administrators"
	                             : "whoever is logged in";
}

static void operation(struct buf *out, const char *path, const char *verb,
                      json_t *op)
{
	bool later = json_object_get(json_object_get(op, "responses"), "501") !=
	             NULL;

	buf_printf(out, "<details id=\"%s\"%s>\n<summary><span class=\"verb\">",
	           member(op, "operationId"), later ? " class=\"later\"" : "");
	for (; *verb; verb++)
		buf_char(out, (char)(*verb - 'a' + 'A'));
	buf_str(out, STR("</span> <code>"));
	text(out, path);
	buf_str(out, STR("</code> "));
	text(out, member(op, "summary"));
	buf_printf(out, "</summary>\n<p>For %s; within %lld seconds.</p>\n",
	           who(op),
	           (long long)json_integer_value(
			   json_object_get(op, "x-deadline-ms")) /
	                   1000);
	inputs(out, op);
	outputs(out, op);
	buf_str(out, STR("</details>\n"));
}

static void operations_of(struct buf *out, json_t *paths, const char *tag)
{
	buf_printf(out, "<h2 id=\"%s\">%s</h2>\n", tag, tag);
	for (void *at = json_object_iter(paths); at;
	     at = json_object_iter_next(paths, at)) {
		json_t *path = json_object_iter_value(at);

		for (void *v = json_object_iter(path); v;
		     v = json_object_iter_next(path, v)) {
			json_t *op = json_object_iter_value(v);

			if (lists(json_object_get(op, "tags"), tag))
				operation(out, json_object_iter_key(at),
				          json_object_iter_key(v), op);
		}
	}
}

static void problems(struct buf *out, json_t *document)
{
	json_t *codes = NULL;

	(void)json_unpack(document, "{s:{s:{s:{s:{s:{s:o}}}}}}", "components",
	                  "schemas", "Problem", "properties", "error_code",
	                  "enum", &codes);
	buf_str(out, STR("<h2 id=\"problems\">problems</h2>\n<p>The "
	                 "<code>error_code</code> of a refusal leads to what "
	                 "it means.</p>\n<ul>\n"));
	for (size_t i = 0; i < json_array_size(codes); i++) {
		const char *code = json_string_value(json_array_get(codes, i));

		buf_printf(out, "<li><a href=\"/problems/%s\">%s</a></li>\n",
		           code, code);
	}
	buf_str(out, STR("</ul>\n"));
}

void openapi_page(struct buf *out, json_t *document)
{
	static const char *const tags[] = {"gateway", "auth", "content",
	                                   "gdpr"};
	json_t *paths = json_object_get(document, "paths");

	page_begin(out, STR("The KnowAllEdge API"));
	buf_str(out, STR("<p>"));
	text(out, member(json_object_get(document, "info"), "description"));
	buf_str(out,
	        STR(" Send <code>Authorization: Bearer</code> with an access "
	            "token, or <code>X-API-Key</code>. For programs: <a "
	            "href=\"/openapi.json\">openapi.json</a>.</p>\n<nav>"));
	for (size_t i = 0; i < COUNTOF(tags); i++)
		buf_printf(out, "<a href=\"#%s\">%s</a> ", tags[i], tags[i]);
	buf_str(out, STR("<a href=\"#problems\">problems</a></nav>\n"));
	for (size_t i = 0; i < COUNTOF(tags); i++)
		operations_of(out, paths, tags[i]);
	problems(out, document);
	page_end(out);
}
