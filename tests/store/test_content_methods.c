/* The handlers of svc-content from msgpack in to msgpack out, over a store. */
#include "svc-content/content.h"
#include "svc-content/migrations.h"
#include "svc-content/restricted.h"
#include "svc-content/service.h"
#include "tests/store/store.h"

#include "common/codec/json.h"

#include <stdlib.h>

#include <jansson.h>

#define ADA STR("0190a000-0000-7000-8000-00000000ada0")

static struct {
	struct store store;
	struct content ct;
	struct arena *a;
	struct ctx cx;
	unsigned kicks;
} fixture;

static void count_kick(void *arg)
{
	(void)arg;
	fixture.kicks++;
}

static const struct method *method(const char *name)
{
	for (size_t i = 0; i < content_service.methods_n; i++)
		if (strcmp(content_service.methods[i].name, name) == 0)
			return &content_service.methods[i];
	fail_msg("no method %s", name);
	return NULL;
}

/* Runs a method on a JSON body; *out is the reply as a jansson value. */
static enum err call(const char *name, const char *body, json_t **out)
{
	const struct method *m = method(name);
	AUTO_BUF in = {0}, text = {0};
	struct reply reply = {.status = 0};
	struct json_error at;
	struct str none = {NULL, 0}, given;
	void *input = arena_alloc(fixture.a, m->in_size);
	bool query = m->fields_n > 0 && m->fields[0].from == FROM_QUERY;
	enum err e;

	*out = NULL;
	assert_non_null(input);
	assert_true(json_to_mp(str_from(body), &in, &at));
	/* Slices of the request live as long as the request. */
	given = arena_str(fixture.a, buf_view(&in));
	fixture.cx = store_ctx(60000);
	fixture.cx.arena = fixture.a;
	fixture.cx.sub = ADA;
	fixture.cx.hnd = STR("ada");
	fixture.cx.lang = STR("en");
	e = fields_read(&fixture.cx, m->fields, m->fields_n,
	                query ? none : given, query ? given : none, none,
	                input);
	if (!e && m->peek && m->peek(&fixture.ct, &fixture.cx, input, &reply))
		e = OK;
	else if (!e)
		e = m->run(&fixture.ct, &fixture.cx, input, &reply);
	if (!e) {
		assert_true(mp_valid(buf_view(&reply.body)));
		assert_true(mp_to_json(buf_view(&reply.body), &text));
		*out = json_loadb(text.p, text.n, 0, NULL);
		assert_non_null(*out);
	}
	buf_fini(&reply.body);
	return e;
}

static json_t *call_ok(const char *name, const char *body)
{
	json_t *out;

	assert_int_equal(call(name, body, &out), OK);
	return out;
}

static int up(void **state)
{
	const char *dir = getenv("WORDNET_DIR");

	(void)state;
	store_open(&fixture.store, "content");
	fixture.ct.pool = store_pool(&fixture.store);
	fixture.ct.events = event_store_new("content");
	fixture.ct.idem = idem_new(&(struct idem_conf){.service = "content",
	                                               .pool = fixture.ct.pool,
	                                               .retention_ms = 60000});
	fixture.ct.kick = count_kick;
	fixture.ct.cache =
		cache_new(&(struct cache_conf){.max_bytes = 8 << 20});
	fixture.ct.outline_ttl_ms = fixture.ct.quiz_ttl_ms = 60000;
	if (!fixture.ct.events || !fixture.ct.idem || !fixture.ct.cache ||
	    wordnet_open(dir && *dir ? dir : "/usr/share/wordnet",
	                 &fixture.ct.wn))
		return -1;
	return db_migrate(fixture.ct.pool, content_migrations,
	                  CONTENT_MIGRATIONS)
	               ? -1
	               : 0;
}

static int down(void **state)
{
	(void)state;
	idem_free(fixture.ct.idem);
	db_pool_free(fixture.ct.pool);
	event_store_free(fixture.ct.events);
	cache_free(fixture.ct.cache);
	wordnet_close(fixture.ct.wn);
	store_close(&fixture.store);
	return 0;
}

static int each(void **state)
{
	(void)state;
	fixture.a = arena_new((size_t)32 << 20);
	fixture.kicks = 0;
	return fixture.a ? 0 : -1;
}

static int after(void **state)
{
	(void)state;
	arena_free(fixture.a);
	return 0;
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	assert_non_null(s);
	return s;
}

/* --- generation ------------------------------------------------------------------- */

static void subtopics_come_fresh_and_then_from_the_cache(void **state)
{
	static const char *const want[] = {"offline", "cache"};

	(void)state;
	for (size_t i = 0; i < COUNTOF(want); i++) {
		json_t *o = call_ok("content.create_subtopics",
		                    "{\"topic\":\" Algebra \"}");

		assert_int_equal(
			json_array_size(json_object_get(o, "subtopics")), 15);
		assert_int_equal(
			json_integer_value(json_object_get(o, "count")), 15);
		assert_true(json_is_real(json_object_get(o, "quality_score")));
		assert_true(json_is_null(json_object_get(o, "warnings")));
		assert_string_equal(text(o, "topic"), "Algebra");
		assert_string_equal(text(o, "source"), want[i]);
		assert_int_equal(json_object_size(o), 6);
		json_decref(o);
	}
}

static void another_spelling_or_language_is_another_answer(void **state)
{
	static const char *const bodies[] = {
		"{\"topic\":\"geometry\"}", "{\"topic\":\"Geometry\"}",
		"{\"topic\":\"geometry\",\"language\":\"fr\"}"};

	(void)state;
	for (size_t i = 0; i < COUNTOF(bodies); i++) {
		json_t *o = call_ok("content.create_subtopics", bodies[i]);

		assert_string_equal(text(o, "source"), "offline");
		json_decref(o);
	}
}

static void explanations_keep_the_order_of_focus(void **state)
{
	static const char *const focus[] = {"Optics", "History of physics",
	                                    "פרק", "Optics"};
	json_t *o = call_ok(
		"content.create_presentation",
		"{\"topic\":\"physics\",\"educationLevel\":\"juniorLevel\","
		"\"levelOfDetail\":\"lowDetail\",\"focus\":[\"Optics\","
		"\"History of physics\",\"פרק\",\"Optics\"],"
		"\"learningStyle\":{},\"unknown\":[1]}");
	json_t *all = json_object_get(o, "explanations");

	(void)state;
	assert_int_equal(json_array_size(all), 4);
	assert_int_equal(
		json_integer_value(json_object_get(o, "success_count")), 4);
	assert_int_equal(json_integer_value(json_object_get(o, "failed_count")),
	                 0);
	for (size_t i = 0; i < COUNTOF(focus); i++) {
		const json_t *x = json_array_get(all, i);

		assert_string_equal(text(x, "subtopic"), focus[i]);
		assert_true(strlen(text(x, "explanation")) > 80);
		assert_true(strlen(text(x, "real_world_application")) > 20);
		assert_non_null(
			strstr(text(x, "youtube_search_query"), focus[i]));
		assert_true(json_is_null(json_object_get(x, "error")));
		assert_true(json_is_real(json_object_get(x, "quality_score")));
		assert_string_equal(text(x, "source"), "offline");
	}
	json_decref(o);
}

/* --- quizzes ------------------------------------------------------------------------- */

static json_t *generate(void)
{
	return call_ok("content.quiz_generate",
	               "{\"topic\":\"music\",\"subtopic\":\"Polyphony\","
	               "\"education\":\"undergradLevel\",\"count\":3}");
}

static void a_quiz_is_a_bare_list_with_one_attempt(void **state)
{
	json_t *a = generate(), *b = generate();

	(void)state;
	assert_int_equal(json_array_size(a), 3);
	for (size_t i = 0; i < 3; i++) {
		const json_t *q = json_array_get(a, i);
		const json_t *options = json_object_get(q, "options");
		size_t right = 0;

		assert_int_equal(json_array_size(options), 4);
		for (size_t k = 0; k < 4; k++)
			right += strcmp(json_string_value(
						json_array_get(options, k)),
			                text(q, "correct_answer")) == 0;
		assert_int_equal(right, 1);
		assert_true(strlen(text(q, "explanation")) > 10);
		assert_string_equal(text(q, "attempt_id"),
		                    text(json_array_get(a, 0), "attempt_id"));
		assert_string_equal(text(q, "question"),
		                    text(json_array_get(b, i), "question"));
	}
	assert_string_not_equal(text(json_array_get(a, 0), "attempt_id"),
	                        text(json_array_get(b, 0), "attempt_id"));
	assert_string_equal(text(json_array_get(b, 0), "source"), "cache");
	json_decref(a);
	json_decref(b);
}

static void a_generated_quiz_is_graded_by_us(void **state)
{
	json_t *quiz = generate(), *answers = json_array(), *body, *o;
	char *sent;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		const json_t *q = json_array_get(quiz, i);

		json_array_append_new(
			answers,
			json_pack("{s:s, s:s}", "question_id",
		                  text(q, "question_id"), "option",
		                  i < 2 ? text(q, "correct_answer") : "no"));
	}
	body = json_pack("{s:s, s:o}", "attempt_id",
	                 text(json_array_get(quiz, 0), "attempt_id"), "answers",
	                 answers);
	sent = json_dumps(body, 0);
	for (int again = 0; again < 2; again++) {
		o = call_ok("content.quiz_submit", sent);
		assert_string_equal(text(o, "status"), "success");
		assert_int_equal(json_integer_value(
					 json_object_get(o, "mastery_level")),
		                 2);
		assert_int_equal(
			json_integer_value(json_object_get(o, "score")), 2);
		assert_true(json_is_true(json_object_get(o, "earns_xp")));
		json_decref(o);
	}
	assert_int_equal(fixture.kicks, 1); /* the repeat emits nothing */
	o = call_ok("content.progress", "{\"topic\":\"MUSIC\"}");
	assert_int_equal(json_array_size(o), 1);
	assert_string_equal(text(json_array_get(o, 0), "user_id"), "ada");
	assert_string_equal(text(json_array_get(o, 0), "subtopic"),
	                    "Polyphony");
	json_decref(o);
	free(sent);
	json_decref(body);
	json_decref(quiz);
}

static void a_score_of_the_browser_is_taken(void **state)
{
	json_t *o = call_ok("content.quiz_submit",
	                    "{\"topic\":\"law\",\"score\":2.0,\"total\":3}");

	(void)state;
	assert_int_equal(
		json_integer_value(json_object_get(o, "mastery_level")), 2);
	json_decref(o);
	o = call_ok("content.progress", "{\"topic\":\"law\"}");
	assert_string_equal(text(json_array_get(o, 0), "subtopic"), "general");
	json_decref(o);
}

static void bad_input_is_refused_with_a_pointer(void **state)
{
	static const struct {
		const char *method, *body, *pointer;
	} cases[] = {
		{"quiz_submit", "{}", "/topic"},
		{"quiz_submit", "{\"topic\":\"x\",\"total\":3}", "/score"},
		{"quiz_submit", "{\"topic\":\"x\",\"score\":1}", "/total"},
		{"quiz_submit", "{\"topic\":\"x\",\"score\":4,\"total\":3}",
	         "/score"},
		{"quiz_submit", "{\"topic\":\"x\",\"score\":-1,\"total\":3}",
	         "/score"},
		{"quiz_submit", "{\"topic\":\"x\",\"score\":0,\"total\":0}",
	         "/total"},
		{"quiz_submit", "{\"topic\":\"x\",\"score\":1.5,\"total\":3}",
	         "/score"},
		{"quiz_submit", "{\"attempt_id\":\"a\"}", "/answers"},
		{"quiz_submit", "{\"attempt_id\":\"a\",\"answers\":{}}",
	         "/answers"},
		{"quiz_submit", "{\"attempt_id\":\"a\",\"answers\":[1]}",
	         "/answers/0"},
		{"quiz_submit", "{\"attempt_id\":\"a\",\"answers\":[[]]}",
	         "/answers/0"},
		{"quiz_submit",
	         "{\"attempt_id\":\"a\",\"answers\":[{\"question_id\":\"q\"}]}",
	         "/answers/0"},
		{"quiz_submit",
	         "{\"attempt_id\":\"a\",\"answers\":[{\"question_id\":\"q\","
	         "\"option\":null}]}",
	         "/answers/0"},
		{"quiz_submit",
	         "{\"attempt_id\":\"a\",\"answers\":[{\"question_id\":7,"
	         "\"option\":\"x\"}]}",
	         "/answers/0"},
		{"quiz_generate", "{\"topic\":\"x\"}", "/subtopic"},
		{"quiz_generate",
	         "{\"topic\":\"x\",\"subtopic\":\"y\",\"count\":0}", "/count"},
		{"quiz_generate",
	         "{\"topic\":\"x\",\"subtopic\":\"y\",\"count\":21}", "/count"},
		{"create_subtopics", "{\"topic\":\"\"}", "/topic"},
		{"create_subtopics", "{\"topic\":\"<b>\"}", "/topic"},
		{"create_presentation",
	         "{\"topic\":\"x\",\"educationLevel\":\"a\","
	         "\"levelOfDetail\":\"b\",\"focus\":[]}",
	         "/focus"},
		{"recommendations", "{}", "/topic"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		char name[64];
		json_t *o;

		(void)snprintf(name, sizeof(name), "content.%s",
		               cases[i].method);
		assert_int_equal(call(name, cases[i].body, &o), ERR_INVALID);
		assert_true(fixture.cx.problem.faults_n >= 1);
		if (strcmp(fixture.cx.problem.faults[0].pointer,
		           cases[i].pointer) != 0)
			fail_msg("%s: %s", cases[i].body,
			         fixture.cx.problem.faults[0].pointer);
	}
}

static void more_answers_than_any_quiz_has_are_refused(void **state)
{
	AUTO_BUF body = {0};
	json_t *o;

	(void)state;
	buf_str(&body, STR("{\"attempt_id\":\"a\",\"answers\":[0"));
	for (int i = 0; i < 100; i++)
		buf_str(&body, STR(",0"));
	buf_str(&body, STR("]}"));
	buf_char(&body, '\0');
	assert_int_equal(call("content.quiz_submit", body.p, &o), ERR_INVALID);
	assert_string_equal(fixture.cx.problem.faults[0].code, "ITEMS");
}

static void an_unknown_attempt_is_not_found(void **state)
{
	json_t *o;

	(void)state;
	assert_int_equal(call("content.quiz_submit",
	                      "{\"attempt_id\":\"a\",\"answers\":[]}", &o),
	                 ERR_NOT_FOUND);
}

static void recommendations_are_three_that_are_open(void **state)
{
	json_t *o = call_ok("content.recommendations",
	                    "{\"topic\":\"economics\"}"),
	       *again;
	char body[256];

	(void)state;
	assert_int_equal(json_array_size(o), 3);
	(void)snprintf(body, sizeof(body),
	               "{\"topic\":\"Economics\",\"subtopic\":\"%s\","
	               "\"score\":3,\"total\":3}",
	               text(json_array_get(o, 0), "subtopic"));
	json_decref(call_ok("content.quiz_submit", body));
	again = call_ok("content.recommendations", "{\"topic\":\"economics\"}");
	assert_string_equal(text(json_array_get(again, 0), "subtopic"),
	                    text(json_array_get(o, 1), "subtopic"));
	json_decref(o);
	json_decref(again);
}

#define method_test(f) cmocka_unit_test_setup_teardown(f, each, after)

/* --- restriction of processing ---------------------------------------------------- */

struct telling {
	const char *source, *type, *body;
};

static enum err tell(struct db *db, void *arg)
{
	const struct telling *t = arg;
	AUTO_BUF body = {0};
	struct json_error at;
	struct event ev = {.id = "0190a5c0-0000-7000-8000-000000000001",
	                   .source = str_from(t->source),
	                   .sub = ADA,
	                   .type = str_from(t->type),
	                   .at = 1};

	MUST(json_to_mp(str_from(t->body), &body, &at));
	ev.body = buf_view(&body);
	return restricted_apply(NULL, db, &ev);
}

static void told(const char *source, const char *type, const char *body)
{
	struct telling t = {source, type, body};
	struct ctx cx = store_ctx(20000);

	assert_int_equal(db_write(fixture.ct.pool, &cx, tell, &t), OK);
}

static void restricted(bool on)
{
	told("gdpr", "person.restricted",
	     on ? "{\"restricted\":true}" : "{\"restricted\":false}");
}

static int64_t rows(void)
{
	static const struct db_stmt all = {
		"test.rows",
		"SELECT (SELECT COUNT(*) FROM attempts) + "
		"(SELECT COUNT(*) FROM presentations) + "
		"(SELECT COUNT(*) FROM mastery) + "
		"(SELECT COUNT(*) FROM results) + "
		"(SELECT COUNT(*) FROM earned) + "
		"(SELECT COUNT(*) FROM outbox)",
		"SELECT (SELECT COUNT(*) FROM content.attempts) + "
		"(SELECT COUNT(*) FROM content.presentations) + "
		"(SELECT COUNT(*) FROM content.mastery) + "
		"(SELECT COUNT(*) FROM content.results) + "
		"(SELECT COUNT(*) FROM content.earned) + "
		"(SELECT COUNT(*) FROM content.outbox)"};

	return store_i64(fixture.ct.pool, &all);
}

static enum err submit_of(const json_t *quiz)
{
	char body[512];
	json_t *o = NULL;
	enum err e;

	(void)snprintf(body, sizeof(body),
	               "{\"attempt_id\":\"%s\",\"answers\":[{"
	               "\"question_id\":\"%s\",\"option\":0}]}",
	               text(json_array_get(quiz, 0), "attempt_id"),
	               text(json_array_get(quiz, 0), "question_id"));
	e = call("content.quiz_submit", body, &o);
	json_decref(o);
	return e;
}

static void of_who_is_restricted_nothing_is_written_down(void **state)
{
	static const char score[] = "{\"topic\":\"law\",\"subtopic\":"
				    "\"Torts\",\"score\":3,\"total\":3}";
	json_t *before = generate(), *during, *o;
	int64_t kept;

	(void)state;
	restricted(true);
	restricted(true); /* twice is once */
	kept = rows();
	during = generate();
	assert_int_equal(json_array_size(during), 3);
	json_decref(call_ok("content.create_presentation",
	                    "{\"topic\":\"ethics\",\"educationLevel\":"
	                    "\"juniorLevel\",\"levelOfDetail\":"
	                    "\"lowDetail\",\"focus\":[\"Virtue\"]}"));
	assert_int_equal(submit_of(before), ERR_RESTRICTED);
	assert_int_equal(submit_of(during), ERR_RESTRICTED);
	assert_int_equal(call("content.quiz_submit", score, &o),
	                 ERR_RESTRICTED);
	assert_int_equal(rows(), kept);
	restricted(false);
	restricted(false);
	/* What was there is as it was; what was not kept is not there. */
	assert_int_equal(submit_of(before), OK);
	assert_int_equal(submit_of(during), ERR_NOT_FOUND);
	json_decref(call_ok("content.quiz_submit", score));
	/* A repeat only tells what was, so it is answered. */
	restricted(true);
	assert_int_equal(submit_of(before), OK);
	restricted(false);
	json_decref(before);
	json_decref(during);
}

static void recommendations_do_not_look_at_what_is_restricted(void **state)
{
	json_t *first = call_ok("content.recommendations",
	                        "{\"topic\":\"geology\"}"),
	       *second;
	char body[256];

	(void)state;
	(void)snprintf(body, sizeof(body),
	               "{\"topic\":\"geology\",\"subtopic\":\"%s\","
	               "\"score\":3,\"total\":3}",
	               text(json_array_get(first, 0), "subtopic"));
	json_decref(call_ok("content.quiz_submit", body));
	restricted(true);
	second = call_ok("content.recommendations", "{\"topic\":\"geology\"}");
	assert_true(json_equal(first, second));
	restricted(false);
	json_decref(first);
	json_decref(second);
}

static void events_that_make_no_sense_are_taken_and_change_nothing(void **state)
{
	json_t *quiz = generate();

	(void)state;
	told("auth", "person.restricted", "{\"restricted\":true}");
	told("gdpr", "person.praised", "{\"restricted\":true}");
	told("gdpr", "person.restricted", "{\"restricted\":1}");
	told("gdpr", "person.restricted", "{}");
	told("gdpr", "person.restricted", "[]");
	assert_int_equal(submit_of(quiz), OK);
	json_decref(quiz);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		method_test(subtopics_come_fresh_and_then_from_the_cache),
		method_test(another_spelling_or_language_is_another_answer),
		method_test(explanations_keep_the_order_of_focus),
		method_test(a_quiz_is_a_bare_list_with_one_attempt),
		method_test(a_generated_quiz_is_graded_by_us),
		method_test(a_score_of_the_browser_is_taken),
		method_test(bad_input_is_refused_with_a_pointer),
		method_test(more_answers_than_any_quiz_has_are_refused),
		method_test(an_unknown_attempt_is_not_found),
		method_test(recommendations_are_three_that_are_open),
		method_test(of_who_is_restricted_nothing_is_written_down),
		method_test(recommendations_do_not_look_at_what_is_restricted),
		method_test(
			events_that_make_no_sense_are_taken_and_change_nothing),
	};

	return cmocka_run_group_tests(tests, up, down);
}
