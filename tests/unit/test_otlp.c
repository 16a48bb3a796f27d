/* What the collector is sent, and which settings can never work. */
#include "common/obs/otlp_inner.h"

#include "common/codec/json.h"
#include "common/codec/mp.h"
#include "tests/alloc_fault.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NONE STR("")

static struct settings settings(void)
{
	return (struct settings){.env = ENV_TESTING,
	                         .instance_id = STR("here"),
	                         .otlp_endpoint = STR("http://127.0.0.1:1"),
	                         .otlp_traces_endpoint = NONE,
	                         .otlp_headers = NONE,
	                         .otel_resource = NONE,
	                         .otel_service_name = NONE,
	                         .otlp_timeout_ms = 100};
}

static void settings_that_cannot_work_are_refused(void **state)
{
	static const struct {
		const char *endpoint, *headers, *resource, *why;
	} cases[] = {
		{"http://c:4318", "", "", NULL},
		{"https://c", "a=b, c=d%20e ,", "x=y", NULL},
		{"", "", "", NULL},
		{"http://c", "authorization=Bearer%20abc==", "", NULL},
		{"c:4318", "", "", "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{"file:///etc/passwd", "", "", "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{"http://u:p@c", "", "", "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{"http://c", "a", "", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"http://c", "=b", "", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"http://c", "a b=c", "", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"http://c", "a=%0d%0ab:c", "", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"http://c", "a=%0", "", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"http://c", "a=%zz", "", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"http://c", "", "a", "OTEL_RESOURCE_ATTRIBUTES"},
		{"http://c", "", "a=%ff", "OTEL_RESOURCE_ATTRIBUTES"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct settings conf = settings();
		const char *why;

		conf.otlp_endpoint = str_from(cases[i].endpoint);
		conf.otlp_headers = str_from(cases[i].headers);
		conf.otel_resource = str_from(cases[i].resource);
		why = otlp_check(&conf);
		if (!why != !cases[i].why ||
		    (why && !strstr(why, cases[i].why)))
			fail_msg("case %zu: %s", i, why ? why : "taken");
	}
}

static json_t *written(const struct settings *conf, const struct span *ring,
                       size_t from, size_t n)
{
	struct otlp_resource r = {0};
	AUTO_BUF b = {0};
	json_error_t why;
	json_t *j;

	assert_true(otlp_resource(conf, &r));
	otlp_write(&b, &r, ring, from, n, 1700000000000000);
	otlp_resource_fini(&r);
	assert_false(b.failed);
	j = json_loadb(b.p, b.n, JSON_REJECT_DUPLICATES, &why);
	if (!j)
		fail_msg("%s: %.*s", why.text, (int)b.n, b.p);
	return j;
}

static const char *text(json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

/* The value of an attribute; NULL: there is none. */
static json_t *attribute(json_t *o, const char *key)
{
	json_t *a;
	size_t i;

	json_array_foreach(json_object_get(o, "attributes"), i,
	                   a) if (strcmp(text(a, "key"), key) ==
	                          0) return json_object_get(a, "value");
	return NULL;
}

static void spans_are_told_by_service_around_the_end_of_the_ring(void **state)
{
	static struct span ring[OTLP_RING];
	const size_t from = OTLP_RING - 1;
	struct settings conf = settings();
	json_t *j, *all, *one, *spans;

	(void)state;
	conf.otel_resource = STR("region=a%2Cb,service.name=ignored");
	for (size_t i = 0; i < 3; i++) {
		struct span *s = &ring[(from + i) % OTLP_RING];
		const struct trace_parent of = {.id = {1, 0xabc},
		                                .span = i,
		                                .sampled = true};

		span_root(s, &of, i == 1 ? "auth" : "gateway", SPAN_SERVER,
		          STR("a \"name\"\n"));
		s->own.span = 0x10 + i;
		s->start_us = 1000 + i;
		s->end_us = i == 2 ? 0 : 2000;
		span_text(s, "text", STR("x"));
		span_number(s, "number", -5);
		if (i == 2)
			span_fail(s, "TIMEOUT");
	}
	j = written(&conf, ring, from, 3);
	all = json_object_get(j, "resourceSpans");
	assert_int_equal(json_array_size(all), 2);
	one = json_array_get(all, 0);
	/* The name of the resource stands, where none is set, for all. */
	assert_string_equal(text(attribute(json_object_get(one, "resource"),
	                                   "service.name"),
	                         "stringValue"),
	                    "ignored");
	assert_string_equal(text(attribute(json_object_get(one, "resource"),
	                                   "region"),
	                         "stringValue"),
	                    "a,b");
	spans = json_object_get(
		json_array_get(json_object_get(one, "scopeSpans"), 0), "spans");
	assert_int_equal(json_array_size(spans), 2);
	one = json_array_get(spans, 0);
	assert_string_equal(text(one, "traceId"),
	                    "00000000000000010000000000000abc");
	assert_string_equal(text(one, "spanId"), "0000000000000010");
	assert_null(json_object_get(one, "parentSpanId"));
	assert_string_equal(text(one, "name"), "a \"name\"\n");
	assert_string_equal(text(one, "startTimeUnixNano"),
	                    "1700000000001000000");
	assert_string_equal(text(one, "endTimeUnixNano"),
	                    "1700000000002000000");
	assert_int_equal(json_integer_value(json_object_get(one, "kind")), 2);
	assert_string_equal(text(attribute(one, "number"), "intValue"), "-5");
	assert_null(json_object_get(one, "status"));
	one = json_array_get(spans, 1);
	assert_string_equal(text(one, "parentSpanId"), "0000000000000002");
	/* Never before it begins. */
	assert_string_equal(text(one, "endTimeUnixNano"),
	                    text(one, "startTimeUnixNano"));
	assert_int_equal(json_integer_value(json_object_get(
				 json_object_get(one, "status"), "code")),
	                 2);
	assert_string_equal(text(attribute(one, "error.type"), "stringValue"),
	                    "TIMEOUT");
	json_decref(j);
}

static void a_service_is_named_by_itself_or_by_the_setting(void **state)
{
	static struct span s;
	const struct trace_parent of = {.id = {1, 2}};
	struct settings conf = settings();

	(void)state;
	span_root(&s, &of, "gdpr", SPAN_SERVER, STR("n"));
	for (int named = 0; named < 2; named++) {
		json_t *j, *r;

		conf.otel_service_name = named ? STR("learn") : NONE;
		j = written(&conf, &s, 0, 1);
		r = json_object_get(
			json_array_get(json_object_get(j, "resourceSpans"), 0),
			"resource");
		assert_string_equal(text(attribute(r, "service.name"),
		                         "stringValue"),
		                    named ? "learn" : "gdpr");
		assert_string_equal(text(attribute(r, "service.instance.id"),
		                         "stringValue"),
		                    "here");
		json_decref(j);
	}
}

static void what_was_not_taken_is_counted(void **state)
{
	static const struct {
		const char *answer;
		uint64_t want;
	} cases[] = {
		{"", 0},
		{"{}", 0},
		{"{\"partialSuccess\":{}}", 0},
		{"{\"partialSuccess\":{\"rejectedSpans\":\"3\"}}", 3},
		{"{\"partialSuccess\":{\"rejectedSpans\":4,"
	         "\"errorMessage\":\"x\"}}",
	         4},
		{"{\"partialSuccess\":{\"rejectedSpans\":\"-3\"}}", 0},
		{"{\"partialSuccess\":{\"rejectedSpans\":\"many\"}}", 0},
		{"{\"partialSuccess\":7}", 0},
		{"[1,2]", 0},
		{"<html>", 0},
		{"{\"partialSuccess\":{\"rejectedSpans\":", 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++)
		if (otlp_rejected(str_from(cases[i].answer)) != cases[i].want)
			fail_msg("%s", cases[i].answer);
}

static void nothing_is_made_where_no_collector_is_named(void **state)
{
	struct settings conf = settings();
	AUTO(metrics) m = metrics_new();
	struct otlp *o;

	(void)state;
	conf.otlp_endpoint = NONE;
	assert_int_equal(otlp_start(&conf, m, &o), OK);
	assert_null(o);
	assert_false(trace_heard());
	otlp_stop(NULL, 0);
}

static void every_allocation_may_fail(void **state)
{
	struct settings conf = settings();
	unsigned n = 1;

	(void)state;
	conf.otlp_headers = STR("a=b");
	for (;; n++) {
		AUTO(metrics) m = metrics_new();
		struct otlp *o;
		enum err e;

		alloc_fault_arm(n);
		e = otlp_start(&conf, m, &o);
		if (!alloc_fault_disarm()) {
			assert_int_equal(e, OK);
			otlp_stop(o, 0);
			break;
		}
		/* libcurl's own memory is not ours to fail. */
		if (!e)
			otlp_stop(o, 0);
		assert_false(trace_heard());
	}
	assert_true(n > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_that_cannot_work_are_refused),
		cmocka_unit_test(
			spans_are_told_by_service_around_the_end_of_the_ring),
		cmocka_unit_test(
			a_service_is_named_by_itself_or_by_the_setting),
		cmocka_unit_test(what_was_not_taken_is_counted),
		cmocka_unit_test(nothing_is_made_where_no_collector_is_named),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
