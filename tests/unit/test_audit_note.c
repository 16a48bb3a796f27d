/* What is told to the audit log: names, the body of the event, its bounds. */
#include "common/codec/mp.h"
#include "common/event/audit.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct ctx asking = {
	.rid = {"req-1", 5},
	.sub = {"0190-ada", 8},
	.role = ROLE_ADMIN,
	.ip = {"203.0.113.7", 11},
	.ua = {"curl", 4},
};

static void names_are_unique_and_lead_back(void **state)
{
	enum audit_event back;

	(void)state;
	for (size_t i = 0; i < AUDIT_EVENT_COUNT; i++) {
		const char *name = audit_event_name((enum audit_event)i);

		assert_true(strlen(name) <= 50); /* contract 4.6.5 */
		assert_true(audit_event_from_str(str_from(name), &back));
		assert_int_equal(back, i);
	}
	assert_false(audit_event_from_str(STR("logins"), &back));
	assert_false(audit_event_from_str(STR(""), &back));
}

static struct str text(struct str body, const char *key)
{
	return mp_find_str(body, key, STR("absent"));
}

static void the_actor_is_who_asks_unless_it_is_said(void **state)
{
	struct audit_note note = {.event = AUDIT_IS(LOGIN)};
	AUTO_BUF b = {0};

	(void)state;
	audit_pack(&b, &asking, &note);
	assert_true(mp_valid(buf_view(&b)));
	assert_true(str_eq(text(buf_view(&b), "act"), asking.sub));
	assert_true(str_eq(text(buf_view(&b), "role"), STR("admin")));
	assert_true(str_eq(text(buf_view(&b), "out"), STR("ok")));
	note.actor = STR("0190-bob");
	note.role = ROLE_USER;
	buf_clear(&b);
	audit_pack(&b, &asking, &note);
	assert_true(str_eq(text(buf_view(&b), "act"), STR("0190-bob")));
	assert_true(str_eq(text(buf_view(&b), "role"), STR("user")));
}

static void data_are_texts_and_numbers(void **state)
{
	const struct audit_note note = {
		.event = AUDIT_IS(ROLE_CHANGED),
		.data = {{"role", STR("admin"), 0}, {.name = "n", .number = 7}},
	};
	struct str data = {0};
	AUTO_BUF b = {0};

	(void)state;
	audit_pack(&b, &asking, &note);
	assert_true(mp_find(buf_view(&b), "data", &data));
	assert_true(str_eq(text(data, "role"), STR("admin")));
	assert_int_equal(mp_find_i64(data, "n", 0), 7);
}

/* A text that a database refuses would hold up all events of its person. */
static void texts_are_cut_where_they_stop_being_storable(void **state)
{
	static const struct {
		struct str in;
		size_t want;
	} cases[] = {
		{STR(""), 0},     {{NULL, 0}, 0},    {STR("plain"), 5},
		{STR("a\0b"), 1}, {STR("a\xff"), 1}, {STR("\xc3\xa9\xc3"), 2},
	};
	char many[AUDIT_TEXT_MAX + 8];
	struct ctx cx = asking;
	struct audit_note note = {.event = AUDIT_IS(LOGIN)};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF b = {0};

		note.resource_id = cases[i].in;
		audit_pack(&b, &cx, &note);
		assert_true(mp_valid(buf_view(&b)));
		assert_int_equal(text(buf_view(&b), "ri").n, cases[i].want);
	}
	memset(many, 'a', sizeof(many));
	memcpy(many + AUDIT_TEXT_MAX - 1, "\xc3\xa9", 2); /* over the edge */
	cx.ua = (struct str){many, sizeof(many)};
	{
		AUTO_BUF b = {0};

		audit_pack(&b, &cx, &note);
		assert_int_equal(text(buf_view(&b), "ua").n,
		                 AUDIT_TEXT_MAX - 1);
	}
}

static void without_memory_it_fails(void **state)
{
	const struct audit_note note = {.event = AUDIT_IS(LOGIN)};
	AUTO_BUF b = {0};

	(void)state;
	alloc_fault_arm(1);
	audit_pack(&b, &asking, &note);
	assert_true(alloc_fault_disarm());
	assert_true(b.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_unique_and_lead_back),
		cmocka_unit_test(the_actor_is_who_asks_unless_it_is_said),
		cmocka_unit_test(data_are_texts_and_numbers),
		cmocka_unit_test(texts_are_cut_where_they_stop_being_storable),
		cmocka_unit_test(without_memory_it_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
