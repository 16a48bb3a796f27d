/* The web analytics over a store: who is kept and who is not, the figures, and
 * what a learner's summary reads. */
#include "svc-content/apply.h"
#include "svc-content/erase.h"
#include "tests/store/content_fixture.h"

#include "common/base/clock.h"
#include "common/codec/mp.h"

static const struct asker nobody = {0}, admin = {.sub = BOB, .admin = true};

static int each(void **state)
{
	static const struct db_stmt all[] = {
		EMPTY(site_events), EMPTY(site_consent), EMPTY(restricted),
		EMPTY(results),     EMPTY(attempts),     EMPTY(mastery),
		EMPTY(outbox),      EMPTY(day_keys)};

	(void)state;
	return begin_test(all, COUNTOF(all));
}

static int64_t events(void)
{
	static const struct db_stmt st = {
		"test.events", "SELECT COUNT(*) FROM site_events",
		"SELECT COUNT(*) FROM content.site_events"};

	return store_i64(fixture.ct.pool, &st);
}

static json_t *tell(const struct asker *who, const char *body)
{
	json_t *out = NULL;

	assert_int_equal(call("content.ingest", who, NULL, NULL, body, &out),
	                 OK);
	assert_true(json_is_true(json_object_get(out, "success")));
	return out;
}

/* The reason why not, "" when it was kept. */
static const char *told(const struct asker *who, const char *body)
{
	static char reason[64];
	json_t *out = tell(who, body);
	const char *why = json_string_value(json_object_get(out, "reason"));

	(void)snprintf(reason, sizeof(reason), "%s", why ? why : "");
	assert_int_equal(json_is_true(json_object_get(out, "stored")),
	                 reason[0] == '\0');
	json_decref(out);
	return reason;
}

static json_t *see(const char *name, const char *query)
{
	json_t *out = NULL;

	assert_int_equal(call(name, &admin, NULL, query, NULL, &out), OK);
	return out;
}

static int64_t i64(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	assert_true(json_is_integer(v));
	return json_integer_value(v);
}

static void is_near(const json_t *o, const char *key, float want)
{
	const json_t *v = json_object_get(o, key);

	assert_true(json_is_number(v));
	assert_float_equal((float)json_number_value(v), want, 0.005F);
}

static struct event_said {
	bool given;
	const char *type;
} said;

static enum err apply_fn(struct db *db, void *arg)
{
	const struct event_said *s = arg;
	AUTO_BUF body = {0};
	struct event ev = {.source = STR("gdpr"),
	                   .type = str_from(s->type),
	                   .sub = STR(ADA),
	                   .at = 1};

	mp_map(&body, 3);
	mp_kv_bool(&body, "given", s->given);
	mp_kv_bool(&body, "restricted", s->given);
	mp_kv_text(&body, "hnd", "Ada.L");
	ev.body = buf_view(&body);
	return content_apply(NULL, db, &ev);
}

static void hear(const char *type, bool yes)
{
	struct ctx cx = store_ctx(60000);

	said = (struct event_said){yes, type};
	assert_int_equal(db_write(fixture.ct.pool, &cx, apply_fn, &said), OK);
}

/* --- who is kept -------------------------------------------------------------------------- */

static void nothing_is_kept_of_whoever_has_not_agreed(void **state)
{
	static const char ev[] = "{\"eventType\":\"interaction\","
				 "\"data\":{\"sessionId\":\"s1\"}}";
	const struct asker ada = {.sub = ADA, .hnd = "Ada.L"};
	const struct asker shy = {.track = "no"};
	const struct asker shy_ada = {.sub = ADA, .track = "no"};

	(void)state;
	assert_string_equal(told(&ada, ev), "no_consent");
	assert_string_equal(told(&shy, ev), "tracking_refused");
	assert_int_equal(events(), 0);
	hear("consent.analytics", true);
	assert_string_equal(told(&ada, ev), "");
	assert_string_equal(told(&shy_ada, ev), "tracking_refused");
	hear("person.restricted", true);
	assert_string_equal(told(&ada, ev), "restricted");
	hear("person.restricted", false);
	assert_string_equal(told(&nobody, ev), "");
	assert_int_equal(events(), 2);
	hear("consent.analytics", false); /* takes what there was along */
	assert_int_equal(events(), 1);
	assert_string_equal(told(&ada, ev), "no_consent");
}

static void of_others_nothing_is_kept_that_says_who_it_was(void **state)
{
	static const struct db_stmt traces = {
		"test.traces",
		"SELECT COUNT(*) FROM site_events WHERE sub <> '' OR session "
		"LIKE '%my-session%' OR name LIKE '%user_canvas%' OR message "
		"LIKE '%192.0.2%' OR browser NOT IN ('Chrome')",
		"SELECT COUNT(*) FROM content.site_events WHERE sub <> '' OR "
		"session LIKE '%my-session%' OR name LIKE '%user_canvas%' OR "
		"message LIKE '%192.0.2%' OR browser NOT IN ('Chrome')"};
	const struct asker guest = {.ip = "192.0.2.9",
	                            .ua = "Secret Build Chrome/99"};

	(void)state;
	assert_string_equal(
		told(&guest, "{\"eventType\":\"error\",\"data\":{"
	                     "\"sessionId\":\"my-session\",\"message\":\"x\","
	                     "\"userId\":\"user_canvas\",\"stack\":\"s\","
	                     "\"userAgent\":\"u\"}}"),
		"");
	assert_int_equal(events(), 1);
	assert_int_equal(store_i64(fixture.ct.pool, &traces), 0);
}

static void what_is_no_event_of_ours_is_dropped_and_said_so(void **state)
{
	json_t *out;

	(void)state;
	assert_string_equal(told(&nobody, "{\"eventType\":\"keylogger\"}"),
	                    "unknown_event_type");
	assert_int_equal(events(), 0);
	assert_int_equal(call("content.ingest", &nobody, NULL, NULL, "{}",
	                      &out),
	                 ERR_INVALID);
	assert_int_equal(call("content.ingest", &nobody, NULL, NULL,
	                      "{\"eventType\":\"error\",\"data\":[]}", &out),
	                 ERR_INVALID);
}

static void the_same_event_twice_is_one(void **state)
{
	static const char ev[] =
		"{\"eventType\":\"interaction\",\"data\":{\"sessionId\":\"s\","
		"\"timestamp\":1767268800000}}";

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_string_equal(told(&nobody, ev), "");
	assert_int_equal(events(), 1);
}

static enum err run_erasers(struct db *db, void *arg)
{
	const struct erasee *who = arg;
	enum err e = OK;

	for (size_t i = 0; i < content_erase.erasers_n && !e; i++) {
		const struct eraser *er = &content_erase.erasers[i];
		const struct db_val v[] = {DB_STR(who->sub)};
		int64_t n;

		e = er->run ? er->run(&fixture.ct, db, who, &n)
		            : db_change(db, &er->st, v, 1, &n);
	}
	return e;
}

static void erasing_takes_events_and_consent(void **state)
{
	const struct asker ada = {.sub = ADA};
	struct erasee who = {.sub = STR(ADA), .receipt = STR("r")};
	struct ctx cx = store_ctx(60000);

	(void)state;
	hear("consent.analytics", true);
	(void)told(&ada, "{\"eventType\":\"interaction\"}");
	(void)told(&nobody, "{\"eventType\":\"interaction\"}");
	assert_int_equal(db_write(fixture.ct.pool, &cx, run_erasers, &who), OK);
	assert_int_equal(events(), 1);
	assert_string_equal(told(&ada, "{\"eventType\":\"interaction\"}"),
	                    "no_consent");
}

/* --- figures --------------------------------------------------------------------------------- */

static void visit(const char *session, const char *type, const char *more)
{
	char body[256];

	(void)snprintf(
		body, sizeof(body),
		"{\"eventType\":\"%s\",\"data\":{\"sessionId\":\"%s\"%s}}",
		type, session, more);
	assert_string_equal(told(&nobody, body), "");
}

static void a_funnel_counts_visits_and_no_rate_is_above_100(void **state)
{
	static const char home[] = ",\"pageName\":\"Homepage\"",
			  made[] = ",\"taskName\":\"generate_presentation\"",
			  out[] = ",\"taskName\":\"export_pdf\"";
	json_t *f, *web;

	(void)state;
	for (int i = 0; i < 3; i++) { /* again is not more */
		visit("a", "page_load", home);
		visit("a", "first_interaction", "");
	}
	visit("a", "task_completion", made);
	visit("a", "task_completion", out);
	visit("b", "page_load", home);
	visit("b", "first_interaction", "");
	visit("c", "page_load", home);
	visit("d", "first_interaction", ""); /* came in by another page */
	visit("d", "page_load", ",\"pageName\":\"GraphPage\"");
	visit("e", "task_completion", ",\"taskName\":\"exportation\"");
	f = see("content.site_funnel", NULL);
	assert_int_equal(i64(f, "period_days"), 7);
	assert_int_equal(i64(f, "homepage_views"), 3);
	assert_int_equal(i64(f, "first_interactions"), 3);
	is_near(f, "interaction_rate", 66.67F);
	assert_int_equal(i64(f, "presentations_generated"), 1);
	is_near(f, "generation_rate", 33.33F);
	assert_int_equal(i64(f, "exports"), 1);
	is_near(f, "export_rate", 100);
	is_near(f, "overall_conversion", 33.33F);
	web = see("content.site_summary", "{\"days\":\"1\"}");
	assert_int_equal(i64(json_object_get(web, "funnel"), "homepage_views"),
	                 3);
	assert_int_equal(i64(json_object_get(web, "performance"),
	                     "total_page_views"),
	                 6);
	assert_true(json_number_value(
			    json_object_get(web, "database_size_mb")) > 0);
	json_decref(f);
	json_decref(web);
}

static void performance_is_averages_and_a_rate_of_errors(void **state)
{
	json_t *p = see("content.site_performance", NULL);

	(void)state;
	is_near(p, "avg_page_load_ms", 0); /* of nothing */
	is_near(p, "api_error_rate", 0);
	json_decref(p);
	visit("a", "page_load", ",\"loadTime\":1000,\"timeToFirstByte\":50");
	visit("a", "page_load", ",\"loadTime\":2001");
	visit("a", "fcp", ",\"value\":300");
	visit("a", "lcp", ",\"value\":900.5");
	visit("a", "api_call", ",\"duration\":10,\"status\":200");
	visit("a", "api_call", ",\"duration\":20,\"status\":200");
	visit("a", "api_call", ",\"duration\":60,\"status\":503");
	p = see("content.site_performance", NULL);
	is_near(p, "avg_page_load_ms", 1500.5F);
	is_near(p, "avg_fcp_ms", 300);
	is_near(p, "avg_lcp_ms", 900.5F);
	is_near(p, "avg_ttfb_ms", 50);
	assert_int_equal(i64(p, "total_page_views"), 2);
	is_near(p, "avg_api_duration_ms", 30);
	assert_int_equal(i64(p, "total_api_calls"), 3);
	is_near(p, "api_error_rate", 33.33F);
	json_decref(p);
}

static void errors_are_grouped_and_the_last_five_minutes_are_not_empty(
	void **state)
{
	json_t *o, *first;

	(void)state;
	visit("a", "error", ",\"message\":\"boom\"");
	visit("b", "error", ",\"message\":\"boom\"");
	visit("b", "error", ",\"message\":\"bang\"");
	visit("b", "page_load", ",\"pageName\":\"GraphPage\"");
	exec("UPDATE site_events SET at = at - 400000 WHERE message = 'bang'",
	     "UPDATE content.site_events SET at = at - 400000 "
	     "WHERE message = 'bang'");
	o = see("content.site_errors", NULL);
	assert_int_equal(i64(o, "total_errors"), 3);
	assert_int_equal(i64(o, "unique_errors"), 2);
	first = json_array_get(json_object_get(o, "error_summary"), 0);
	assert_string_equal(json_string_value(
				    json_object_get(first, "error_message")),
	                    "boom");
	assert_int_equal(i64(first, "count"), 2);
	json_decref(o);
	o = see("content.site_realtime", NULL);
	assert_int_equal(i64(o, "active_users_5min"), 2);
	assert_int_equal(i64(json_object_get(o, "events_by_type"), "error"), 2);
	assert_int_equal(json_array_size(json_object_get(o, "recent_errors")),
	                 2);
	assert_int_equal(json_array_size(json_object_get(o, "current_pages")),
	                 1);
	assert_int_equal(i64(o, "refresh_interval_seconds"), 30);
	json_decref(o);
}

static void segments_name_devices_browsers_and_busy_visits(void **state)
{
	const struct asker phone = {.ua = "Mobile Chrome/1"};
	json_t *o, *rows;

	(void)state;
	for (int i = 0; i < 11; i++)
		visit("busy", "interaction", "");
	for (int i = 0; i < 10; i++)
		visit("calm", "interaction", "");
	(void)told(&phone, "{\"eventType\":\"interaction\",\"data\":{"
	                   "\"sessionId\":\"p\"}}");
	o = see("content.site_segments", NULL);
	rows = json_object_get(o, "devices");
	assert_int_equal(json_array_size(rows), 2);
	assert_int_equal(i64(json_array_get(rows, 0), "users"), 2);
	rows = json_object_get(o, "power_users");
	assert_int_equal(json_array_size(rows), 1);
	assert_int_equal(i64(json_array_get(rows, 0), "events"), 11);
	json_decref(o);
}

static void cohorts_are_of_people_who_agreed(void **state)
{
	const struct asker ada = {.sub = ADA};
	json_t *o, *c;

	(void)state;
	hear("consent.analytics", true);
	for (int i = 0; i < 2; i++)
		(void)told(&ada, i ? "{\"eventType\":\"fcp\"}"
		                   : "{\"eventType\":\"lcp\"}");
	(void)told(&nobody, "{\"eventType\":\"interaction\"}");
	exec("UPDATE site_events SET at = at - 691200000 WHERE type = 'fcp'",
	     "UPDATE content.site_events SET at = at - 691200000 "
	     "WHERE type = 'fcp'"); /* 8 days: in the second week after */
	o = see("content.site_cohorts", NULL);
	assert_int_equal(json_array_size(json_object_get(o, "cohorts")), 1);
	c = json_array_get(json_object_get(o, "cohorts"), 0);
	assert_int_equal(i64(c, "size"), 1);
	is_near(json_object_get(c, "retention"), "week_1", 100);
	is_near(json_object_get(c, "retention"), "week_2", 0);
	json_decref(o);
	o = see("content.site_cohorts", "{\"period\":\"month\"}");
	assert_int_equal(json_array_size(json_object_get(o, "cohorts")), 1);
	json_decref(o);
	assert_int_equal(call("content.site_cohorts", &admin, NULL,
	                      "{\"period\":\"year\"}", NULL, &o),
	                 ERR_INVALID);
}

/* --- export, journey, cleanup -------------------------------------------------------------- */

static void an_export_is_json_or_a_table_that_runs_nothing(void **state)
{
	json_t *o;

	(void)state;
	visit("a", "error", ",\"message\":\"=HYPERLINK(1)\"");
	visit("a", "page_load", ",\"pageName\":\"say \\\"hi\\\"\"");
	o = see("content.site_export", "{\"event_type\":\"error\"}");
	assert_int_equal(i64(o, "total_events"), 1);
	assert_int_equal(json_array_size(json_object_get(o, "events")), 1);
	assert_string_equal(json_string_value(
				    json_object_get(o, "event_type_filter")),
	                    "error");
	json_decref(o);
	/* One text: the gateway sends it as it stands. */
	o = see("content.site_export", "{\"format\":\"csv\"}");
	assert_non_null(strstr(json_string_value(o), "\"'=HYPERLINK(1)\""));
	assert_non_null(strstr(json_string_value(o), "\"say \"\"hi\"\"\""));
	assert_int_equal(
		strncmp(json_string_value(o), "timestamp,event_type,", 21), 0);
	json_decref(o);
	assert_int_equal(call("content.site_export", &admin, NULL,
	                      "{\"format\":\"xml\"}", NULL, &o),
	                 ERR_INVALID);
	assert_int_equal(call("content.site_export", &admin, NULL,
	                      "{\"event_type\":\"nothing\"}", NULL, &o),
	                 ERR_INVALID);
}

static void a_journey_is_of_one_who_agreed_and_is_noted(void **state)
{
	static const struct db_stmt notes = {
		"test.notes",
		"SELECT COUNT(*) FROM outbox WHERE type = 'audit'",
		"SELECT COUNT(*) FROM content.outbox WHERE type = 'audit'"};
	const struct asker ada = {.sub = ADA};
	json_t *o;

	(void)state;
	assert_int_equal(call("content.site_user_journey", &admin, NULL,
	                      "{\"user_id\":\"ada.l\"}", NULL, &o),
	                 ERR_NOT_FOUND);
	hear("consent.analytics", true);
	(void)told(&ada, "{\"eventType\":\"interaction\",\"data\":{"
	                 "\"sessionId\":\"one\"}}");
	(void)told(&ada, "{\"eventType\":\"error\",\"data\":{"
	                 "\"sessionId\":\"two\",\"message\":\"m\"}}");
	o = see("content.site_user_journey", "{\"user_id\":\"ADA.L\"}");
	assert_int_equal(i64(o, "total_events"), 2);
	assert_int_equal(i64(o, "total_sessions"), 2);
	assert_int_equal(i64(o, "days_active"), 1);
	is_near(o, "events_per_session", 1);
	assert_int_equal(i64(json_object_get(o, "event_counts"), "error"), 1);
	assert_int_equal(json_array_size(json_object_get(o, "journey")), 2);
	json_decref(o);
	assert_int_equal(store_i64(fixture.ct.pool, &notes), 1);
}

static void a_cleanup_says_how_many_it_deleted(void **state)
{
	json_t *o;

	(void)state;
	visit("a", "interaction", "");
	visit("a", "error", "");
	exec("UPDATE site_events SET at = at - 86400001 WHERE type = 'error'",
	     "UPDATE content.site_events SET at = at - 86400001 "
	     "WHERE type = 'error'");
	o = see("content.site_cleanup", NULL); /* 30 days */
	assert_int_equal(i64(o, "deleted"), 0);
	json_decref(o);
	o = see("content.site_cleanup", "{\"days\":\"1\"}");
	assert_int_equal(i64(o, "deleted"), 1);
	json_decref(o);
	assert_int_equal(events(), 1); /* today's stays */
	assert_int_equal(call("content.site_cleanup", &admin, NULL,
	                      "{\"days\":\"0\"}", NULL, &o),
	                 ERR_INVALID);
}

/* --- a learner's summary ------------------------------------------------------------------------ */

static void hand_in(const struct asker *who, int score)
{
	char body[64];
	json_t *out;

	(void)snprintf(body, sizeof(body),
	               "{\"topic\":\"t\",\"score\":%d,\"total\":3}", score);
	assert_int_equal(
		call("content.quiz_submit", who, NULL, NULL, body, &out), OK);
	json_decref(out);
}

static void a_summary_has_all_ten_fields(void **state)
{
	static const char *const fields[] = {
		"study_time_hours", "sessions_completed", "concepts_mastered",
		"average_score",    "performance_trend",  "exam_readiness",
		"readiness_score",  "active_gaps",        "best_study_time",
		"best_study_day"};
	const struct asker ada = {.sub = ADA};
	json_t *o, *s;

	(void)state;
	for (int full = 0; full < 2; full++) {
		assert_int_equal(call("content.summary", &ada, NULL, NULL, NULL,
		                      &o),
		                 OK);
		assert_true(json_is_true(json_object_get(o, "success")));
		s = json_object_get(o, "summary");
		assert_int_equal(json_object_size(s), COUNTOF(fields));
		for (size_t i = 0; i < COUNTOF(fields); i++)
			assert_non_null(json_object_get(s, fields[i]));
		is_near(s, "study_time_hours", 0);
		is_near(s, "average_score", full ? 50 : 0);
		assert_int_equal(i64(s, "concepts_mastered"), full);
		assert_int_equal(i64(s, "active_gaps"), 0);
		assert_string_equal(json_string_value(json_object_get(
					    s, "performance_trend")),
		                    full ? "improving" : "stable");
		assert_int_equal(json_is_null(
					 json_object_get(s, "best_study_day")),
		                 !full);
		json_decref(o);
		hand_in(&ada, 0);
		exec("UPDATE results SET at = at - 1000",
		     "UPDATE content.results SET at = at - 1000");
		hand_in(&ada, 3);
	}
	assert_int_equal(call("content.summary", &ada, NULL,
	                      "{\"days\":\"366\"}", NULL, &o),
	                 ERR_INVALID);
}

#define site_test(f) cmocka_unit_test_setup_teardown(f, each, after)

int main(void)
{
	const struct CMUnitTest tests[] = {
		site_test(nothing_is_kept_of_whoever_has_not_agreed),
		site_test(of_others_nothing_is_kept_that_says_who_it_was),
		site_test(what_is_no_event_of_ours_is_dropped_and_said_so),
		site_test(the_same_event_twice_is_one),
		site_test(erasing_takes_events_and_consent),
		site_test(a_funnel_counts_visits_and_no_rate_is_above_100),
		site_test(performance_is_averages_and_a_rate_of_errors),
		site_test(
			errors_are_grouped_and_the_last_five_minutes_are_not_empty),
		site_test(segments_name_devices_browsers_and_busy_visits),
		site_test(cohorts_are_of_people_who_agreed),
		site_test(an_export_is_json_or_a_table_that_runs_nothing),
		site_test(a_journey_is_of_one_who_agreed_and_is_noted),
		site_test(a_cleanup_says_how_many_it_deleted),
		site_test(a_summary_has_all_ten_fields),
	};

	return cmocka_run_group_tests(tests, up, down);
}
