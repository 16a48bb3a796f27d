#include "common/base/attr.h"
#include "local/openapi.h"
#include "local/shape.h"
#include "local/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static json_t *read_json(const char *text)
{
	json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);

	if (!v)
		fail_msg("%s", text);
	return v;
}

static void a_schema_is_derived_from_the_example(void **state)
{
	static const struct {
		const char *shape, *schema;
	} cases[] = {
		{"1", "{\"type\":\"integer\"}"},
		{"1.5", "{\"type\":\"number\"}"},
		{"true", "{\"type\":\"boolean\"}"},
		{"\"a\"", "{\"type\":\"string\"}"},
		{"\"2026-01-31T12:00:00.000Z\"",
	         "{\"type\":\"string\",\"format\":\"date-time\"}"},
		{"\"2026-01-31T12:00:00.000\"", "{\"type\":\"string\"}"},
		{"\"0190a5c0-0000-7000-8000-000000000001\"",
	         "{\"type\":\"string\",\"format\":\"uuid\"}"},
		{"\"0190a5c0-0000-7000-8000-00000000000g\"",
	         "{\"type\":\"string\"}"},
		{"\"$Rank\"", "{\"$ref\":\"#/components/schemas/Rank\"}"},
		{"[\"|\",\"a\",\"b\"]",
	         "{\"type\":\"string\",\"enum\":[\"a\",\"b\"]}"},
		{"[1]",
	         "{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}"},
		{"[]", "{\"type\":\"array\",\"items\":{}}"},
		{"{}", "{\"type\":\"object\"}"},
		{"{\"a\":1}",
	         "{\"type\":\"object\",\"required\":[\"a\"],\"properties\":"
	         "{\"a\":{\"type\":\"integer\"}}}"},
		{"{\"a?\":null}",
	         "{\"type\":\"object\",\"required\":[\"a\"],\"properties\":"
	         "{\"a\":{\"anyOf\":[{\"type\":\"string\"},"
	         "{\"type\":\"null\"}]}}}"},
		{"{\"a?\":\"$B\"}",
	         "{\"type\":\"object\",\"required\":[\"a\"],\"properties\":"
	         "{\"a\":{\"anyOf\":[{\"$ref\":\"#/components/schemas/B\"},"
	         "{\"type\":\"null\"}]}}}"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		json_t *shape = read_json(cases[i].shape);
		json_t *want = read_json(cases[i].schema);
		json_t *got = shape_schema(shape);

		if (!json_equal(got, want))
			fail_msg("%s", cases[i].shape);
		json_decref(shape);
		json_decref(want);
		json_decref(got);
	}
}

static void names_are_put_in_where_they_stand(void **state)
{
	json_t *shapes = read_json("{\"In\":{\"b?\":[\"|\",\"x\",\"y\"]},"
	                           "\"Out\":{\"a\":[\"$In\"],\"n\":1}}");
	json_t *shape = read_json("{\"v?\":\"$Out\",\"t\":\"text\"}");
	json_t *want = read_json("{\"v\":{\"a\":[{\"b\":\"x\"}],\"n\":1},"
	                         "\"t\":\"text\"}");
	json_t *got = shape_example(shape, shapes);
	json_t *unknown = read_json("\"$Nobody\"");

	(void)state;
	assert_true(json_equal(got, want));
	assert_null(shape_example(unknown, shapes));
	json_decref(shapes);
	json_decref(shape);
	json_decref(want);
	json_decref(got);
	json_decref(unknown);
}

static void yaml_quotes_what_could_be_read_otherwise(void **state)
{
	static const struct {
		const char *json, *yaml;
	} cases[] = {
		{"{\"a\":1}", "{\"a\": 1}\n"},
		{"{}", "{}\n"},
		{"\"word\"", "word\n"},
		{"\"two words\"", "two words\n"},
		{"\"true\"", "\"true\"\n"},
		{"\"No\"", "\"No\"\n"},
		{"\"3.1.0\"", "\"3.1.0\"\n"},
		{"\"\"", "\"\"\n"},
		{"\"a: b\"", "\"a: b\"\n"},
		{"\"a #b\"", "\"a #b\"\n"},
		{"\"tail \"", "\"tail \"\n"},
		{"\"line\\nbreak\"", "\"line\\nbreak\"\n"},
		{"null", "null\n"},
		{"{\"long\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"200\":[1,2]}",
	         "long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	         "aaaaaaaaaaaaaaaaaaaaaaaa\n\"200\": [1, 2]\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		json_t *v = read_json(cases[i].json);
		char out[400] = "";
		FILE *f = fmemopen(out, sizeof(out), "w");

		assert_non_null(f);
		yaml_write(f, v);
		(void)fclose(f);
		if (strcmp(out, cases[i].yaml) != 0)
			fail_msg("%s: %s", cases[i].json, out);
		json_decref(v);
	}
}

/* The build fails then, so that nobody describes what is gone. */
static void an_operation_that_no_route_has_makes_no_document(void **state)
{
	json_t *stale = read_json("{\"operations\":{\"GET /nope\":{}}}");
	json_t *none = read_json("{\"front\":{\"info\":{},\"components\":{"
	                         "\"schemas\":{}}},\"operations\":{}}");
	char words[200] = "";
	FILE *f = fmemopen(words, sizeof(words), "w");
	json_t *document;

	(void)state;
	assert_non_null(f);
	assert_null(openapi_build(stale, f));
	(void)fclose(f);
	assert_non_null(strstr(words, "no route"));
	document = openapi_build(none, stderr);
	assert_non_null(document);
	json_decref(document);
	json_decref(stale);
	json_decref(none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_schema_is_derived_from_the_example),
		cmocka_unit_test(names_are_put_in_where_they_stand),
		cmocka_unit_test(yaml_quotes_what_could_be_read_otherwise),
		cmocka_unit_test(
			an_operation_that_no_route_has_makes_no_document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
