#include "local/shape.h"

#include "common/base/str.h"

/* NOLINTBEGIN(misc-no-recursion) as deep as operations.json */

static bool is_choice(json_t *shape)
{
	const char *first = json_string_value(json_array_get(shape, 0));

	return first && strcmp(first, "|") == 0;
}

/* Whether s is like pattern, in which 0 stands for a digit and x for a hex
 * digit. */
static bool like(const char *s, const char *pattern)
{
	for (; *pattern && *s; s++, pattern++) {
		const char *of = *pattern == '0'   ? "0123456789"
		                 : *pattern == 'x' ? "0123456789abcdef"
		                                   : NULL;

		if (of ? !strchr(of, *s) : *s != *pattern)
			return false;
	}
	return *pattern == *s;
}

static json_t *text_schema(const char *s)
{
	if (like(s, "0000-00-00T00:00:00.000Z"))
		return json_pack("{s:s,s:s}", "type", "string", "format",
		                 "date-time");
	if (like(s, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"))
		return json_pack("{s:s,s:s}", "type", "string", "format",
		                 "uuid");
	return json_pack("{s:s}", "type", "string");
}

static json_t *choice_schema(json_t *shape)
{
	json_t *values = json_array();

	for (size_t i = 1; i < json_array_size(shape); i++)
		(void)json_array_append(values, json_array_get(shape, i));
	return json_pack("{s:s,s:o}", "type", "string", "enum", values);
}

static json_t *array_schema(json_t *shape)
{
	json_t *items = json_array_size(shape)
	                        ? shape_schema(json_array_get(shape, 0))
	                        : json_object();

	return json_pack("{s:s,s:o}", "type", "array", "items", items);
}

/* The schema itself, or null. */
static json_t *nullable(json_t *schema)
{
	return json_pack("{s:[o,{s:s}]}", "anyOf", schema, "type", "null");
}

static json_t *object_schema(json_t *shape)
{
	json_t *required, *properties;
	void *at = json_object_iter(shape);

	if (!at)
		return json_pack("{s:s}", "type", "object");
	required = json_array();
	properties = json_object();
	for (; at; at = json_object_iter_next(shape, at)) {
		const char *key = json_object_iter_key(at);
		json_t *value = json_object_iter_value(at);
		size_t n = strlen(key);
		bool may_be_null = n > 0 && key[n - 1] == '?';
		bool may_lack = n > 0 && key[n - 1] == '~';
		json_t *schema = json_is_null(value)
		                         ? json_pack("{s:s}", "type", "string")
		                         : shape_schema(value);

		n -= may_be_null || may_lack;
		if (!may_lack)
			(void)json_array_append_new(required,
			                            json_stringn(key, n));
		(void)json_object_setn_new(properties, key, n,
		                           may_be_null ? nullable(schema)
		                                       : schema);
	}
	return json_pack("{s:s,s:o,s:o}", "type", "object", "required",
	                 required, "properties", properties);
}

json_t *shape_schema(json_t *shape)
{
	const char *text = json_string_value(shape);

	if (text && text[0] == '$')
		return json_pack("{s:s+}", "$ref", "#/components/schemas/",
		                 text + 1);
	if (text)
		return text_schema(text);
	if (json_is_integer(shape))
		return json_pack("{s:s}", "type", "integer");
	if (json_is_real(shape))
		return json_pack("{s:s}", "type", "number");
	if (json_is_boolean(shape))
		return json_pack("{s:s}", "type", "boolean");
	if (json_is_array(shape))
		return is_choice(shape) ? choice_schema(shape)
		                        : array_schema(shape);
	return object_schema(shape);
}

json_t *shape_example(json_t *shape, json_t *shapes)
{
	const char *text = json_string_value(shape);
	json_t *out;

	if (text && text[0] == '$') {
		json_t *named = json_object_get(shapes, text + 1);

		return named ? shape_example(named, shapes) : NULL;
	}
	if (json_is_array(shape)) {
		if (is_choice(shape))
			return json_deep_copy(json_array_get(shape, 1));
		out = json_array();
		for (size_t i = 0; i < json_array_size(shape); i++)
			(void)json_array_append_new(
				out, shape_example(json_array_get(shape, i),
			                           shapes));
		return out;
	}
	if (!json_is_object(shape))
		return json_deep_copy(shape);
	out = json_object();
	for (void *at = json_object_iter(shape); at;
	     at = json_object_iter_next(shape, at)) {
		const char *key = json_object_iter_key(at);
		size_t n = strlen(key);

		(void)json_object_setn_new(
			out, key, n - (key[n - 1] == '?' || key[n - 1] == '~'),
			shape_example(json_object_iter_value(at), shapes));
	}
	return out;
}

/* NOLINTEND(misc-no-recursion) */
