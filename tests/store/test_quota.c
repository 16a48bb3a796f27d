/* Quotas over a store: what is held, settled, given back, and reported. */
#include "svc-content/content.h"
#include "svc-content/migrations.h"
#include "svc-content/quota/limits.h"
#include "svc-content/service.h"
#include "svc-content/stmts.h"
#include "tests/alloc_fault.h"
#include "tests/store/store.h"

#include "common/codec/json.h"
#include "common/service/erase.h"

#include <stdatomic.h>
#include <stdlib.h>

#include <jansson.h>

#define ADA   STR("0190a000-0000-7000-8000-00000000ada0")
#define BOB   STR("0190a000-0000-7000-8000-0000000b0b00")
#define ROUTE "create_presentation"
#define NOON  INT64_C(1769860800000) /* 2026-01-31T12:00:00Z */
#define HOUR  INT64_C(3600000)
#define DAY   (24 * HOUR)

static int64_t now_ms;

static int64_t clock_now(void)
{
	return now_ms;
}

static struct {
	struct store store;
	struct settings conf;
	struct db_pool *pool;
	struct erased *erased;
	struct quota *q;
	struct arena *a;
} fx;

static struct ctx person(struct str sub)
{
	struct ctx cx = store_ctx(20000);

	cx.arena = fx.a;
	cx.sub = sub;
	cx.hnd = str_eq(sub, ADA) ? STR("Ada") : STR("=bob");
	cx.tier = TIER_FREE;
	return cx;
}

static enum err hold(struct str sub, uint64_t tokens, struct quota_hold *out)
{
	const struct quota_ask ask = {ROUTE, tokens};
	struct ctx cx = person(sub);

	return quota_hold(fx.q, &cx, &ask, out);
}

static struct quota_hold held(struct str sub, uint64_t tokens)
{
	struct quota_hold h;

	assert_int_equal(hold(sub, tokens, &h), OK);
	return h;
}

static void settle(struct str sub, struct quota_hold *h)
{
	struct ctx cx = person(sub);

	assert_int_equal(quota_settle(fx.q, &cx, h), OK);
	assert_string_equal(h->id, "");
}

static void use(struct str sub, uint64_t tokens, uint64_t cost)
{
	struct quota_hold h = held(sub, 0);

	quota_used(&h, "gemini", "flash", tokens / 2, tokens - tokens / 2,
	           cost);
	settle(sub, &h);
}

/* Connections remember statements by their address. */
#define NUMBER(name, what, table)                                    \
	({                                                           \
		static const struct db_stmt st_ = {                  \
			"test." name, "SELECT " what " FROM " table, \
			"SELECT CAST(" what                          \
			" AS BIGINT) FROM content." table};          \
		store_i64(fx.pool, &st_);                            \
	})

static int up(void **state)
{
	(void)state;
	store_open(&fx.store, "content");
	fx.pool = store_pool(&fx.store);
	fx.erased = erased_new("content");
	if (!fx.erased)
		return -1;
	return db_migrate(fx.pool, content_migrations, CONTENT_MIGRATIONS) ? -1
	                                                                   : 0;
}

static int down(void **state)
{
	(void)state;
	erased_free(fx.erased);
	db_pool_free(fx.pool);
	store_close(&fx.store);
	return 0;
}

static int each(void **state)
{
	static const char *const tables[] = {"model_usage", "quota_holds",
	                                     "quota_people", "restricted",
	                                     "erased"};
	char sql[64];

	(void)state;
	for (size_t i = 0; i < COUNTOF(tables); i++) {
		(void)snprintf(sql, sizeof(sql), "DELETE FROM %s%s",
		               store_is_postgres(&fx.store) ? "content." : "",
		               tables[i]);
		store_exec(fx.pool, sql);
	}
	fx.conf = (struct settings){.rate_limit_enabled = true,
	                            .quota_free_rpd = 10,
	                            .quota_free_tpd = 1000,
	                            .quota_free_tpmonth = 3000,
	                            .quota_provider_safety = 80};
	now_ms = NOON;
	fx.a = arena_new(1 << 20);
	fx.q = quota_new(&fx.conf, fx.pool, fx.erased, NULL);
	if (!fx.a || !fx.q)
		return -1;
	quota_clock(fx.q, clock_now);
	return 0;
}

static int after(void **state)
{
	(void)state;
	quota_free(fx.q);
	arena_free(fx.a);
	return 0;
}

/* --- holding ------------------------------------------------------------------ */

#define THREADS 8
#define TIMES   16

static struct {
	struct quota *q[2];
	_Atomic unsigned next, model, offline, refused;
} race;

static void *hold_many(void *arg)
{
	unsigned me = atomic_fetch_add(&race.next, 1);

	(void)arg;
	for (unsigned i = 0; i < TIMES; i++) {
		const struct quota_ask ask = {ROUTE, 70};
		struct ctx cx = store_ctx(20000);
		struct quota_hold h;
		enum err e;

		cx.sub = ADA;
		cx.hnd = STR("Ada");
		cx.tier = TIER_FREE;
		e = quota_hold(race.q[me % 2], &cx, &ask, &h);
		MUST(e == OK || e == ERR_QUOTA);
		atomic_fetch_add(e           ? &race.refused
		                 : h.offline ? &race.offline
		                             : &race.model,
		                 1);
	}
	return NULL;
}

/* Two instances, on PostgreSQL with a pool each, as two replicas have. */
static void parallel_holds_never_overspend(void **state)
{
	struct db_pool *other =
		store_is_postgres(&fx.store) ? store_pool(&fx.store) : NULL;

	(void)state;
	quota_free(fx.q);
	fx.conf.quota_free_rpd = 100;
	fx.q = quota_new(&fx.conf, fx.pool, fx.erased, NULL);
	race.q[0] = fx.q;
	race.q[1] = quota_new(&fx.conf, other ? other : fx.pool, NULL, NULL);
	assert_non_null(race.q[0]);
	assert_non_null(race.q[1]);
	quota_clock(race.q[0], clock_now);
	quota_clock(race.q[1], clock_now);
	store_threads(THREADS, hold_many, NULL);
	assert_int_equal(race.model, 1000 / 70);
	assert_int_equal(race.offline, 100 - 1000 / 70);
	assert_int_equal(race.refused, THREADS * TIMES - 100);
	assert_int_equal(NUMBER("held", "SUM(tokens)", "quota_holds"),
	                 1000 / 70 * 70);
	quota_free(race.q[1]);
	db_pool_free(other);
}

static void what_is_settled_is_what_was_used_also_beyond_the_hold(void **state)
{
	struct quota_hold h = held(ADA, 100);

	(void)state;
	quota_used(&h, "gemini", "flash", 300, 900, 250);
	settle(ADA, &h);
	assert_int_equal(NUMBER("holds", "COUNT(*)", "quota_holds"), 0);
	assert_int_equal(NUMBER("used", "SUM(tokens_in + tokens_out)",
	                        "model_usage"),
	                 1200);
	assert_int_equal(NUMBER("cost", "SUM(cost)", "model_usage"), 250);
	assert_true(held(ADA, 1).offline); /* 1200 of 1000 */
}

static void what_was_held_and_not_used_is_there_again(void **state)
{
	struct quota_hold h = held(ADA, 900);

	(void)state;
	assert_true(held(ADA, 900).offline);
	quota_used(&h, "gemini", "flash", 10, 10, 1);
	settle(ADA, &h);
	assert_false(held(ADA, 900).offline);
}

static void a_hold_that_is_dropped_costs_nothing(void **state)
{
	struct ctx cx = person(ADA);

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct quota_hold h = held(ADA, 1000);

		assert_false(h.offline);
		quota_drop(fx.q, &cx, &h);
		quota_drop(fx.q, &cx, &h);
	}
	assert_int_equal(NUMBER("none", "COUNT(*)", "model_usage"), 0);
}

static void what_a_dropped_hold_has_used_is_paid_all_the_same(void **state)
{
	struct ctx cx = person(ADA);
	struct quota_hold h = held(ADA, 1000);

	(void)state;
	quota_used(&h, "gemini", "flash", 100, 200, 9);
	quota_drop(fx.q, &cx, &h);
	assert_int_equal(NUMBER("lost1", "SUM(requests)", "model_usage"), 0);
	assert_int_equal(NUMBER("lost2", "SUM(cost)", "model_usage"), 9);
	assert_false(held(ADA, 700).offline);
	assert_true(held(ADA, 1).offline);
}

static void a_hold_that_nobody_settles_ends_by_itself(void **state)
{
	struct quota_hold dead = held(ADA, 1000);

	(void)state;
	assert_true(held(ADA, 1000).offline);
	now_ms += QUOTA_GRACE_MS + 21000;
	assert_false(held(ADA, 1000).offline);
	/* It was alive after all, and what it spent is written down. */
	quota_used(&dead, "gemini", "flash", 500, 500, 7);
	settle(ADA, &dead);
	assert_int_equal(NUMBER("late", "SUM(tokens_in + tokens_out)",
	                        "model_usage"),
	                 1000);
}

static void a_hold_is_settled_once(void **state)
{
	struct quota_hold h = held(ADA, 100), copy;

	(void)state;
	quota_used(&h, "gemini", "flash", 20, 30, 5);
	copy = h;
	settle(ADA, &h);
	settle(ADA, &h);
	settle(ADA, &copy);
	assert_int_equal(NUMBER("once", "SUM(requests)", "model_usage"), 1);
	assert_int_equal(NUMBER("once_cost", "SUM(cost)", "model_usage"), 5);
}

static void a_request_is_one_however_many_models_answered(void **state)
{
	struct quota_hold h = held(ADA, 100);
	char name[16];

	(void)state;
	for (unsigned i = 0; i < QUOTA_USES + 3; i++) {
		(void)snprintf(name, sizeof(name), "model-%u", i);
		quota_used(&h, "llm", name, 1, 1, 1);
		quota_used(&h, "llm", name, 1, 1, 1);
	}
	settle(ADA, &h);
	assert_int_equal(NUMBER("models", "COUNT(*)", "model_usage"),
	                 QUOTA_USES);
	assert_int_equal(NUMBER("requests", "SUM(requests)", "model_usage"), 1);
	assert_int_equal(NUMBER("calls", "SUM(calls)", "model_usage"),
	                 2 * (QUOTA_USES + 3));
}

static void a_new_day_and_a_new_month_begin_anew(void **state)
{
	struct quota_hold h = held(ADA, 0);

	(void)state;
	quota_used(&h, "gemini", "flash", 0, 2000, 1);
	settle(ADA, &h);
	now_ms += 12 * HOUR - 1;
	assert_true(held(ADA, 1).offline);
	now_ms += 1; /* 2026-02-01 */
	assert_false(held(ADA, 1000).offline);
	/* A day of the same month begins anew, and the month goes on. */
	use(ADA, 2500, 1);
	now_ms += DAY;
	assert_false(held(ADA, 400).offline);
	assert_true(held(ADA, 200).offline); /* 2500 + 400 + 200 > 3000 */
}

static void requests_that_are_spent_are_refused_with_all_there_is_to_know(
	void **state)
{
	const struct quota_ask ask = {ROUTE, 0};
	struct ctx cx = person(ADA);
	struct quota_hold h;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		(void)held(ADA, 0);
	assert_int_equal(quota_hold(fx.q, &cx, &ask, &h), ERR_QUOTA);
	assert_string_equal(h.id, "");
	assert_int_equal(cx.problem.code, ERR_QUOTA);
	assert_int_equal(cx.problem.retry_after_s, 12 * 3600);
	assert_string_equal(cx.problem.quota.period, "daily");
	assert_int_equal(cx.problem.quota.tier, TIER_FREE);
	assert_int_equal(cx.problem.quota.usage, 10);
	assert_int_equal(cx.problem.quota.limit, 10);
	assert_int_equal(cx.problem.quota.reset_s, 12 * 3600);
	assert_int_equal(hold(BOB, 0, &h), OK); /* it is hers alone */
	now_ms += 12 * HOUR;
	assert_int_equal(hold(ADA, 0, &h), OK);
}

static void tokens_that_are_spent_lead_offline_and_say_so(void **state)
{
	struct quota_hold h;

	(void)state;
	use(ADA, 1000, 1);
	h = held(ADA, 1);
	assert_true(h.offline);
	assert_non_null(strstr(h.warning, "without a language model"));
	assert_non_null(strstr(h.warning, "12 hours"));
	h = held(ADA, 0); /* the offline provider asks for none */
	assert_false(h.offline);
	assert_string_equal(h.warning, "");
}

static void numbers_of_any_size_are_taken(void **state)
{
	struct quota_hold h = held(ADA, UINT64_MAX);

	(void)state;
	assert_true(h.offline);
	for (unsigned i = 0; i < 3; i++)
		quota_used(&h, "gemini", "flash", UINT64_MAX, UINT64_MAX,
		           UINT64_MAX);
	settle(ADA, &h);
	assert_int_equal(NUMBER("most", "MAX(tokens_in)", "model_usage"),
	                 QUOTA_TOKENS_MAX);
	assert_int_equal(NUMBER("dear", "MAX(cost)", "model_usage"),
	                 QUOTA_TOKENS_MAX);
	assert_true(held(ADA, 1).offline);
}

static void a_guest_has_no_quota_and_a_limit_of_none_bounds_nobody(void **state)
{
	const struct quota_ask ask = {ROUTE, QUOTA_TOKENS_MAX};
	struct ctx cx = person(ADA);
	struct quota_hold h;

	(void)state;
	cx.sub = STR("");
	assert_int_equal(quota_hold(fx.q, &cx, &ask, &h), ERR_LOGIN_NEEDED);
	cx = person(ADA);
	cx.tier = TIER_UNLIMITED; /* whose settings are 0 here */
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(quota_hold(fx.q, &cx, &ask, &h), OK);
		assert_false(h.offline);
	}
}

static void three_quarters_warn_and_nine_tenths_are_critical_once_a_period(
	void **state)
{
	struct ctx cx = person(ADA);
	AUTO_BUF body = {0};
	struct reply out = {.body = body};
	struct quota_hold h;

	(void)state;
	use(ADA, 740, 1);
	h = held(ADA, 9);
	assert_string_equal(h.standing, "");
	quota_used(&h, "gemini", "flash", 10, 0, 0);
	settle(ADA, &h); /* 750 */
	assert_string_equal(h.standing,
	                    "level=warning, period=daily, unit=tokens, "
	                    "usage=750, limit=1000, reset=43200");
	assert_int_equal(NUMBER("level1", "MAX(day_level)", "quota_people"),
	                 QUOTA_WARNING);
	quota_tell(&h, &cx, &out);
	assert_int_equal(out.headers_n, 2);
	assert_true(str_eq(out.headers[0].value, STR("10")));
	assert_true(str_eq(out.headers[1].name, STR("Quota-Warning")));
	use(ADA, 150, 1);
	assert_int_equal(NUMBER("level2", "MAX(day_level)", "quota_people"),
	                 QUOTA_CRITICAL);
	assert_int_equal(NUMBER("level3", "MAX(month_level)", "quota_people"),
	                 QUOTA_FINE);
	now_ms += DAY; /* and of February */
	use(ADA, 1, 1);
	assert_int_equal(NUMBER("level4", "MAX(day_level)", "quota_people"),
	                 QUOTA_FINE);
}

static enum err bury(struct db *db, void *arg)
{
	const struct str *sub = arg;
	const struct db_val v[] = {DB_STR(*sub)};
	enum err e = erased_bury(fx.erased, db, *sub, STR("receipt"), now_ms);

	for (size_t i = 0; i < content_service.erase->erasers_n && !e; i++) {
		const struct eraser *er = &content_service.erase->erasers[i];

		if (er->st.name)
			e = db_run(db, &er->st, v, 1, NULL);
	}
	return e;
}

static void of_who_is_erased_nothing_stays_and_nothing_comes_back(void **state)
{
	struct quota_hold h = held(ADA, 100);
	struct str sub = ADA;
	struct ctx cx = store_ctx(20000);

	(void)state;
	use(ADA, 10, 1);
	use(BOB, 10, 1);
	assert_int_equal(db_write(fx.pool, &cx, bury, &sub), OK);
	quota_used(&h, "gemini", "flash", 10, 10, 1);
	settle(ADA, &h);
	assert_int_equal(NUMBER("bob1", "COUNT(*)", "model_usage"), 1);
	assert_int_equal(NUMBER("bob2", "COUNT(*)", "quota_people"), 1);
	assert_int_equal(NUMBER("bob3", "COUNT(*)", "quota_holds"), 0);
	assert_int_equal(hold(ADA, 1, &h), ERR_BAD_TOKEN);
}

static void a_hold_without_memory_holds_nothing(void **state)
{
	bool failed = true;
	int64_t before = 0;

	(void)state;
	use(ADA, 1, 1); /* opens what the pool opens once */
	for (unsigned n = 1; failed && n < 200; n++) {
		struct quota_hold h = {.uses_n = 0};
		struct ctx cx = person(ADA);
		enum err e;

		alloc_fault_arm(n);
		e = hold(ADA, 1, &h);
		failed = alloc_fault_disarm();
		assert_true(failed || !e);
		if (e)
			assert_string_equal(h.id, "");
		else
			quota_drop(fx.q, &cx, &h);
		before += e != OK;
		assert_int_equal(NUMBER("nothing", "COUNT(*)", "quota_holds"),
		                 0);
	}
	assert_false(failed);
}

/* --- reports --------------------------------------------------------------------- */

static const struct method *method(const char *name)
{
	for (size_t i = 0; i < content_service.methods_n; i++)
		if (strcmp(content_service.methods[i].name, name) == 0)
			return &content_service.methods[i];
	fail_msg("no method %s", name);
	return NULL;
}

static struct str packed(const char *json)
{
	AUTO_BUF b = {0};
	struct json_error at;

	assert_true(json_to_mp(str_from(json), &b, &at));
	return arena_str(fx.a, buf_view(&b));
}

/* from: 'q'uery, 'p'ath or 'b'ody; the answer as text. */
static enum err ask(const char *name, char from, const char *json,
                    struct str *out)
{
	const struct method *m = method(name);
	struct content ct = {.pool = fx.pool, .quota = fx.q};
	struct str none = {NULL, 0}, given = packed(json), text;
	struct ctx cx = person(ADA);
	struct reply reply = {.status = 0};
	void *in = arena_alloc(fx.a, m->in_size);
	AUTO_BUF b = {0};
	struct mp r;
	enum err e;

	assert_non_null(in);
	e = fields_read(&cx, m->fields, m->fields_n, from == 'b' ? given : none,
	                from == 'q' ? given : none, from == 'p' ? given : none,
	                in);
	if (!e)
		e = m->run(&ct, &cx, in, &reply);
	if (!e) {
		assert_true(mp_valid(buf_view(&reply.body)));
		r = mp_open(buf_view(&reply.body));
		if (mp_get_str(&r, &text)) {
			*out = arena_str(fx.a, text);
		} else {
			assert_true(mp_to_json(buf_view(&reply.body), &b));
			*out = arena_str(fx.a, buf_view(&b));
		}
		assert_non_null(out->p);
	}
	buf_fini(&reply.body);
	return e;
}

static json_t *ask_json(const char *name, char from, const char *json)
{
	struct str text;
	json_t *o;

	assert_int_equal(ask(name, from, json, &text), OK);
	o = json_loadb(text.p, text.n, 0, NULL);
	assert_non_null(o);
	return o;
}

static json_t *at(const json_t *o, const char *path)
{
	char key[64];
	const char *dot;

	for (; *path; path = *dot ? dot + 1 : dot) {
		dot = strchrnul(path, '.');
		(void)snprintf(key, sizeof(key), "%.*s", (int)(dot - path),
		               path);
		o = json_is_array(o) ? json_array_get(o, (size_t)atol(key))
		                     : json_object_get(o, key);
		if (!o)
			fail_msg("nothing at %s", path);
	}
	return (json_t *)(uintptr_t)o;
}
#define INT_AT(o, path)  json_integer_value(at(o, path))
#define TEXT_AT(o, path) json_string_value(at(o, path))
#define REAL_AT(o, path) json_number_value(at(o, path))

static void make_usage(void)
{
	struct quota_hold h = held(BOB, 0);

	use(ADA, 600, 1234567);
	quota_used(&h, "llm", "local", 100, 200, 0);
	h.route = "quiz_generate";
	settle(BOB, &h);
	use(BOB, 100, 50);
}

static void the_list_is_of_who_used_most(void **state)
{
	json_t *o;

	(void)state;
	make_usage();
	o = ask_json("content.usage", 'q', "{}");
	assert_int_equal(INT_AT(o, "totals.users"), 2);
	assert_int_equal(INT_AT(o, "totals.requests"), 3);
	assert_int_equal(INT_AT(o, "totals.tokens"), 1000);
	assert_true(REAL_AT(o, "totals.cost") == 1.2346);
	assert_int_equal(json_array_size(at(o, "top_users")), 2);
	assert_string_equal(TEXT_AT(o, "top_users.0.user_id"), "Ada");
	assert_int_equal(INT_AT(o, "top_users.1.total_requests"), 2);
	assert_string_equal(TEXT_AT(o, "period_start"),
	                    "2026-01-31T00:00:00.000Z");
	assert_string_equal(
		TEXT_AT(o, "top_users.1.endpoint_usage"),
		"{\"create_presentation\":{\"requests\":1,\"input_tokens\":50,"
		"\"output_tokens\":50,\"total_tokens\":100,\"cost\":0.0001},"
		"\"quiz_generate\":{\"requests\":1,\"input_tokens\":100,"
		"\"output_tokens\":200,\"total_tokens\":300,\"cost\":0.0000}}");
	json_decref(o);
	o = ask_json("content.usage", 'q',
	             "{\"sort_by\":\"requests\",\"limit\":1,"
	             "\"period\":\"monthly\"}");
	assert_int_equal(json_array_size(at(o, "top_users")), 1);
	assert_string_equal(TEXT_AT(o, "top_users.0.user_id"), "=bob");
	assert_string_equal(TEXT_AT(o, "top_users.0.period_end"),
	                    "2026-02-01T00:00:00.000Z");
	json_decref(o);
}

static void what_is_asked_wrongly_is_refused(void **state)
{
	static const struct {
		const char *name, *query;
	} bad[] = {
		{"content.usage", "{\"period\":\"yearly\"}"},
		{"content.usage", "{\"sort_by\":\"1; DROP TABLE x\"}"},
		{"content.usage", "{\"limit\":0}"},
		{"content.usage", "{\"limit\":1001}"},
		{"content.usage_endpoints", "{\"period\":\"\"}"},
		{"content.usage_export", "{\"format\":\"xml\"}"},
		{"content.usage_trends", "{\"days\":0}"},
		{"content.usage_trends", "{\"days\":91}"},
		{"content.usage_trends", "{\"days\":-1}"},
	};
	struct str text;

	(void)state;
	for (size_t i = 0; i < COUNTOF(bad); i++)
		assert_int_equal(ask(bad[i].name, 'q', bad[i].query, &text),
		                 ERR_INVALID);
	assert_int_equal(ask("content.metrics_estimate", 'b',
	                     "{\"daily_requests\":-1}", &text),
	                 ERR_INVALID);
}

static void one_person_is_found_by_handle_or_sub_with_warnings(void **state)
{
	json_t *o;

	(void)state;
	make_usage();
	use(ADA, 300, 0);
	o = ask_json("content.usage_user", 'p', "{\"user_id\":\"aDA\"}");
	assert_string_equal(TEXT_AT(o, "user_id"), "Ada");
	assert_int_equal(INT_AT(o, "daily.total_tokens"), 900);
	assert_int_equal(INT_AT(o, "monthly.total_tokens"), 900);
	assert_int_equal(json_array_size(at(o, "warnings")), 1);
	assert_string_equal(TEXT_AT(o, "warnings.0.level"), "critical");
	assert_string_equal(TEXT_AT(o, "warnings.0.period"), "daily");
	assert_int_equal(INT_AT(o, "warnings.0.usage"), 900);
	assert_true(REAL_AT(o, "warnings.0.percentage") == 90.0);
	json_decref(o);
	now_ms += DAY;
	o = ask_json("content.usage_user", 'p',
	             "{\"user_id\":\"0190a000-0000-7000-8000-0000000b0b00\"}");
	assert_true(json_is_null(json_object_get(o, "daily")));
	assert_true(json_is_null(json_object_get(o, "monthly")));
	json_decref(o);
	/* Who has used nothing is not known here. */
	o = ask_json("content.usage_user", 'p', "{\"user_id\":\"nobody\"}");
	assert_string_equal(TEXT_AT(o, "user_id"), "nobody");
	assert_true(json_is_null(json_object_get(o, "tier")));
	assert_int_equal(json_array_size(at(o, "warnings")), 0);
	json_decref(o);
}

static void who_has_restricted_is_in_sums_alone(void **state)
{
	struct str text;
	json_t *o;

	(void)state;
	make_usage();
	store_exec(fx.pool, store_is_postgres(&fx.store)
	                            ? "INSERT INTO content.restricted "
	                              "SELECT sub, 1 FROM content.quota_people "
	                              "WHERE handle = 'Ada'"
	                            : "INSERT INTO restricted SELECT sub, 1 "
	                              "FROM quota_people WHERE handle = 'Ada'");
	o = ask_json("content.usage", 'q', "{}");
	assert_int_equal(INT_AT(o, "totals.users"), 2);
	assert_int_equal(json_array_size(at(o, "top_users")), 1);
	assert_string_equal(TEXT_AT(o, "top_users.0.user_id"), "=bob");
	json_decref(o);
	assert_int_equal(ask("content.usage_user", 'p', "{\"user_id\":\"ada\"}",
	                     &text),
	                 ERR_RESTRICTED);
	use(ADA, 400, 1); /* and counted as everybody is */
	assert_true(held(ADA, 1).offline);
}

static void routes_and_days_are_added_up(void **state)
{
	json_t *o;

	(void)state;
	make_usage();
	now_ms += 2 * DAY;
	use(ADA, 7, 100);
	o = ask_json("content.usage_trends", 'q', "{\"days\":4}");
	assert_string_equal(TEXT_AT(o, "start_date"), "2026-01-30");
	assert_string_equal(TEXT_AT(o, "end_date"), "2026-02-02");
	assert_int_equal(json_array_size(at(o, "trends")), 4);
	assert_int_equal(INT_AT(o, "trends.0.users"), 0);
	assert_int_equal(INT_AT(o, "trends.1.users"), 2);
	assert_int_equal(INT_AT(o, "trends.1.tokens"), 1000);
	assert_int_equal(INT_AT(o, "trends.2.tokens"), 0);
	assert_int_equal(INT_AT(o, "trends.3.tokens"), 7);
	json_decref(o);
	now_ms -= 2 * DAY;
	o = ask_json("content.usage_endpoints", 'q', "{}");
	assert_int_equal(json_array_size(at(o, "endpoints")), 2);
	assert_string_equal(TEXT_AT(o, "endpoints.0.endpoint"),
	                    "create_presentation");
	assert_int_equal(INT_AT(o, "endpoints.0.total_tokens"), 700);
	assert_string_equal(TEXT_AT(o, "endpoints.1.endpoint"),
	                    "quiz_generate");
	json_decref(o);
}

static void a_file_is_safe_to_open_in_a_spreadsheet(void **state)
{
	struct str text;
	json_t *o;

	(void)state;
	make_usage();
	assert_int_equal(ask("content.usage_export", 'q', "{}", &text), OK);
	assert_true(str_eq(
		text,
		STR("user_id,period_type,period_start,total_requests,"
	            "total_input_tokens,total_output_tokens,total_tokens,"
	            "total_cost\r\n"
	            "\"Ada\",daily,2026-01-31,1,300,300,600,1.2346\r\n"
	            "\"'=bob\",daily,2026-01-31,2,150,250,400,0.0001\r\n")));
	o = ask_json("content.usage_export", 'q',
	             "{\"format\":\"json\",\"period\":\"monthly\"}");
	assert_int_equal(json_array_size(at(o, "records")), 2);
	assert_string_equal(TEXT_AT(o, "records.1.user_id"), "=bob");
	json_decref(o);
}

static void costs_tell_where_the_money_goes(void **state)
{
	const struct quota_provider list[] = {
		{"gemini", "flash", 75000, 300000}, {"llm", "local", 0, 0}};
	struct provider_take t;
	json_t *o;

	(void)state;
	assert_int_equal(quota_providers(fx.q, list, 2), OK);
	for (unsigned i = 0; i < 12; i++) /* 80 % of 15 a minute */
		assert_true(quota_provider_take(fx.q, 0, 10, &t));
	assert_false(quota_provider_take(fx.q, 0, 10, &t));
	assert_true(quota_provider_take(fx.q, 1, 1 << 30, &t));
	make_usage();
	now_ms += DAY;
	use(ADA, 100, 500000);
	now_ms -= DAY / 2;
	o = ask_json("content.metrics_costs", 'b', "{}");
	assert_true(REAL_AT(o, "today.cost") == 0.5);
	assert_true(REAL_AT(o, "last_7_days.cost") == 1.7346);
	assert_int_equal(json_array_size(at(o, "last_7_days.daily")), 2);
	assert_int_equal(
		INT_AT(o, "quota_status.providers.0.requests_per_day.limit"),
		1200);
	assert_string_equal(TEXT_AT(o, "cost_breakdown.by_model.0.provider"),
	                    "gemini");
	assert_string_equal(TEXT_AT(o, "cost_breakdown.by_model.0.model"),
	                    "flash");
	assert_non_null(strstr(TEXT_AT(o, "optimization_suggestions.0"),
	                       "create_presentation"));
	json_decref(o);
}

static void an_estimate_says_what_it_assumes(void **state)
{
	const struct quota_provider mine = {"llm", "dear", 1000000, 2000000};
	json_t *o = ask_json("content.metrics_estimate", 'b', "{}");

	(void)state;
	assert_int_equal(INT_AT(o, "daily_tokens"), 200000);
	/* 50000 at 0.075 and 150000 at 0.30 dollars a million */
	assert_true(REAL_AT(o, "daily_cost") == 0.0488);
	assert_int_equal(json_array_size(at(o, "assumptions")), 3);
	assert_true(json_is_false(at(o, "quota.within_quota")));
	json_decref(o);
	assert_int_equal(quota_providers(fx.q, &mine, 1), OK);
	o = ask_json("content.metrics_estimate", 'b',
	             "{\"daily_requests\":2,\"avg_tokens_per_request\":400}");
	assert_true(REAL_AT(o, "daily_cost") == 0.0014);
	assert_string_equal(TEXT_AT(o, "models.0.model"), "dear");
	json_decref(o);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, each, after)
	const struct CMUnitTest tests[] = {
		T(parallel_holds_never_overspend),
		T(what_is_settled_is_what_was_used_also_beyond_the_hold),
		T(what_was_held_and_not_used_is_there_again),
		T(a_hold_that_is_dropped_costs_nothing),
		T(what_a_dropped_hold_has_used_is_paid_all_the_same),
		T(a_hold_that_nobody_settles_ends_by_itself),
		T(a_hold_is_settled_once),
		T(a_request_is_one_however_many_models_answered),
		T(a_new_day_and_a_new_month_begin_anew),
		T(requests_that_are_spent_are_refused_with_all_there_is_to_know),
		T(tokens_that_are_spent_lead_offline_and_say_so),
		T(numbers_of_any_size_are_taken),
		T(a_guest_has_no_quota_and_a_limit_of_none_bounds_nobody),
		T(three_quarters_warn_and_nine_tenths_are_critical_once_a_period),
		T(of_who_is_erased_nothing_stays_and_nothing_comes_back),
		T(a_hold_without_memory_holds_nothing),
		T(the_list_is_of_who_used_most),
		T(what_is_asked_wrongly_is_refused),
		T(one_person_is_found_by_handle_or_sub_with_warnings),
		T(who_has_restricted_is_in_sums_alone),
		T(routes_and_days_are_added_up),
		T(a_file_is_safe_to_open_in_a_spreadsheet),
		T(costs_tell_where_the_money_goes),
		T(an_estimate_says_what_it_assumes),
	};

	return cmocka_run_group_tests(tests, up, down);
}
