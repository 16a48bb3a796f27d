/* Which traces are continued, who is sampled, and what fits into a span. */
#include "common/base/trace.h"

#include "common/base/attr.h"
#include "common/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"
#define ZEROS "00000000000000000000000000000000"

static void only_sound_traces_are_continued(void **state)
{
	static const struct {
		const char *text;
		bool want, sampled;
	} cases[] = {
		{"00-" TRACE "-" SPAN "-01", true, true},
		{"00-" TRACE "-" SPAN "-00", true, false},
		{"00-" TRACE "-" SPAN "-02", true, false},
		{"00-" TRACE "-" SPAN "-03", true, true},
		{"00-" TRACE "-" SPAN "-ff", true, true},
		/* Versions to come: as far as we know them. */
		{"01-" TRACE "-" SPAN "-01", true, true},
		{"cc-" TRACE "-" SPAN "-01", true, true},
		{"cc-" TRACE "-" SPAN "-00-what the future will be like", true,
	         false},
		{"cc-" TRACE "-" SPAN "-01-", true, true},
		{"cc-" TRACE "-" SPAN "-01.what", false, false},
		{"cc-" TRACE "-" SPAN "-011", false, false},
		{"ff-" TRACE "-" SPAN "-01", false, false},
		/* This version ends with its flags. */
		{"00-" TRACE "-" SPAN "-01-", false, false},
		{"00-" TRACE "-" SPAN "-01-more", false, false},
		{"00-" TRACE "-" SPAN "-01 ", false, false},
		{"00-" ZEROS "-" SPAN "-01", false, false},
		{"00-" TRACE "-0000000000000000-01", false, false},
		/* A zero in half of the id is none in the id. */
		{"00-00000000000000000000000000000001-" SPAN "-01", true, true},
		{"00-10000000000000000000000000000000-" SPAN "-01", true, true},
		{"00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01", false,
	         false},
		{"00-" TRACE "-00F067AA0BA902B7-01", false, false},
		{"00-" TRACE "-" SPAN "-0A", false, false},
		{"0A-" TRACE "-" SPAN "-01", false, false},
		{"00-" TRACE "-" SPAN "-0x", false, false},
		{"00-" TRACE "-" SPAN "-1", false, false},
		{"00-" TRACE "-" SPAN, false, false},
		{"00-" TRACE "_" SPAN "-01", false, false},
		{"00_" TRACE "-" SPAN "-01", false, false},
		{"00-" TRACE "-" SPAN "_01", false, false},
		{"00-.bf92f3577b34da6a3ce929d0e0e4736-" SPAN "-01", false,
	         false},
		{"", false, false},
		{"00", false, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct trace_parent p = {.span = 7};

		if (trace_parse(str_from(cases[i].text), &p) != cases[i].want)
			fail_msg("%s", cases[i].text);
		if (cases[i].want && p.sampled != cases[i].sampled)
			fail_msg("flag of %s", cases[i].text);
		if (!cases[i].want)
			assert_int_equal(p.span, 7);
	}
}

static void what_is_written_is_read_as_it_was(void **state)
{
	char text[TRACE_PARENT_MAX];
	struct trace_parent p, q;

	(void)state;
	assert_true(trace_parse(STR("cc-" TRACE "-" SPAN "-ff-x"), &p));
	/* Our own form: this version, and no flag that we do not know. */
	assert_string_equal(trace_write(&p, text).p,
	                    "00-" TRACE "-" SPAN "-01");
	assert_true(trace_parse(str_from(text), &q));
	assert_memory_equal(p.id, q.id, sizeof(p.id));
	assert_int_equal(p.span, q.span);
	assert_true(str_eq(trace_id_of(str_from(text)), STR(TRACE)));
	assert_int_equal(trace_id_of(STR("short")).n, 0);
	trace_put_span(0xabc, text + TRACE_SPAN_AT);
	assert_string_equal(text, "00-" TRACE "-0000000000000abc-01");
}

static void the_samplers_are_those_of_the_specification(void **state)
{
	static const struct trace_parent yes = {.sampled = true},
					 no = {.sampled = false};
	static const struct {
		const char *name, *arg;
		bool known, root_low, root_high, from_yes, from_no;
	} cases[] = {
		{"always_on", "", true, true, true, true, true},
		{"always_off", "", true, false, false, false, false},
		{"traceidratio", "0.5", true, true, false, true, true},
		{"traceidratio", "", true, true, true, true, true},
		{"traceidratio", "0", true, false, false, false, false},
		{"traceidratio", "1", true, true, true, true, true},
		{"parentbased_always_on", "x", true, true, true, true, false},
		{"parentbased_always_off", "", true, false, false, true, false},
		{"parentbased_traceidratio", "0.5", true, true, false, true,
	         false},
		{"traceidratio", "1.1", false, 0, 0, 0, 0},
		{"traceidratio", "-0.1", false, 0, 0, 0, 0},
		{"traceidratio", "nan", false, 0, 0, 0, 0},
		{"traceidratio", "0.5x", false, 0, 0, 0, 0},
		{"traceidratio", "half", false, 0, 0, 0, 0},
		{"jaeger_remote", "", false, 0, 0, 0, 0},
		{"parentbased_", "", false, 0, 0, 0, 0},
		{"ALWAYS_ON", "", false, 0, 0, 0, 0},
		{"", "", false, 0, 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct sampler s;
		const bool known = sampler_parse(str_from(cases[i].name),
		                                 str_from(cases[i].arg), &s);

		if (known != cases[i].known)
			fail_msg("%s %s", cases[i].name, cases[i].arg);
		if (!known)
			continue;
		if (sampler_takes(&s, NULL, 1) != cases[i].root_low ||
		    sampler_takes(&s, NULL, UINT64_MAX) != cases[i].root_high ||
		    sampler_takes(&s, &yes, 1) != cases[i].from_yes ||
		    sampler_takes(&s, &no, 1) != cases[i].from_no)
			fail_msg("decision of %s", cases[i].name);
	}
}

static void a_ratio_takes_about_so_many(void **state)
{
	struct sampler s;
	unsigned taken = 0;

	(void)state;
	assert_true(sampler_parse(STR("traceidratio"), STR("0.25"), &s));
	for (int i = 0; i < 10000; i++)
		taken += sampler_takes(&s, NULL, trace_new_id());
	assert_in_range(taken, 2000, 3000);
}

static struct span heard;
static unsigned heard_n;

static void take(void *arg, const struct span *s)
{
	assert_ptr_equal(arg, &heard);
	heard = *s;
	heard_n++;
}

static void a_child_is_of_its_parent_s_trace(void **state)
{
	struct trace_parent from;
	struct span root, child, none;
	char tp[TRACE_PARENT_MAX];

	(void)state;
	heard_n = 0;
	assert_false(trace_heard());
	trace_listen(take, &heard);
	assert_true(trace_heard());
	assert_true(trace_parse(STR("00-" TRACE "-" SPAN "-01"), &from));
	span_root(&root, &from, "gateway", SPAN_SERVER, STR("GET /"));
	assert_int_equal(root.parent, from.span);
	assert_true(root.own.span != from.span);
	assert_true(span_begin(&child, &root, SPAN_CLIENT, "child"));
	assert_false(span_begin(&none, NULL, SPAN_CLIENT, "none"));
	span_end(&child);
	assert_int_equal(heard_n, 1);
	assert_int_equal(heard.parent, root.own.span);
	assert_memory_equal(heard.own.id, from.id, sizeof(from.id));
	assert_string_equal(heard.service, "gateway");
	assert_true(heard.end_us >= heard.start_us);
	assert_true(str_starts(span_tp(&root, tp), STR("00-" TRACE "-")));
	trace_listen(NULL, NULL);
	span_end(&root);
	assert_int_equal(heard_n, 1);
}

static void what_does_not_fit_is_left_out_whole(void **state)
{
	const struct trace_parent from = {.id = {1, 2}};
	char big[SPAN_TEXT_MAX + 50];
	struct span s;

	(void)state;
	memset(big, 'x', sizeof(big));
	span_root(&s, &from, "s", SPAN_INTERNAL, (struct str){big, 200});
	span_text(&s, "long", (struct str){big, SPAN_TEXT_MAX - 199});
	assert_int_equal(s.attrs_n, 0);
	span_text(&s, "fits", (struct str){big, SPAN_TEXT_MAX - 200});
	span_text(&s, "empty", (struct str){0});
	assert_int_equal(s.attrs_n, 2);
	for (int i = 0; i < 2 * SPAN_ATTRS_MAX; i++)
		span_number(&s, "n", i);
	assert_int_equal(s.attrs_n, SPAN_ATTRS_MAX);
	span_root(&s, &from, "s", SPAN_INTERNAL,
	          (struct str){big, sizeof(big)});
	assert_int_equal(span_name_of(&s).n, SPAN_TEXT_MAX);
	span_fail(&s, "word");
	assert_true(s.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_sound_traces_are_continued),
		cmocka_unit_test(what_is_written_is_read_as_it_was),
		cmocka_unit_test(the_samplers_are_those_of_the_specification),
		cmocka_unit_test(a_ratio_takes_about_so_many),
		cmocka_unit_test(a_child_is_of_its_parent_s_trace),
		cmocka_unit_test(what_does_not_fit_is_left_out_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
