/* Likes, ratings, shares and views over a store: the sums are those of the rows,
 * whoever asks at the same time. */
#include "svc-content/erase.h"
#include "svc-content/restricted.h"
#include "svc-content/social/day.h"
#include "svc-content/social/social.h"
#include "svc-content/social/visitor.h"
#include "tests/store/content_fixture.h"

#include <stdatomic.h>

#define GRAPH "9316cd4d881e21d7" /* "Machine Learning" */

static int each(void **state)
{
	static const struct db_stmt all[] = {
		EMPTY(reactions), EMPTY(graphs),      EMPTY(graph_views),
		EMPTY(day_keys),  EMPTY(visitor_key), EMPTY(restricted)};

	(void)state;
	return begin_test(all, COUNTOF(all));
}

/* Graphs whose sums are not those of their rows. */
static int64_t unequal(void)
{
#define DIFFER(t)                                                              \
	"SELECT COUNT(*) FROM " t "graphs g WHERE likes <> (SELECT "           \
	"COALESCE(SUM(liked), 0) FROM " t "reactions r WHERE r.graph = g.id) " \
	"OR ratings <> (SELECT COUNT(rating) FROM " t                          \
	"reactions r WHERE r.graph = g.id) OR rating_sum <> (SELECT "          \
	"COALESCE(SUM(rating), 0) FROM " t                                     \
	"reactions r WHERE r.graph = g.id) OR shares <> (SELECT "              \
	"COALESCE(SUM(shared), 0) FROM " t "reactions r WHERE r.graph = g.id)"
	static const struct db_stmt st = {"test.unequal", DIFFER(""),
	                                  DIFFER("content.")};

	return store_i64(fixture.ct.pool, &st);
}

static int64_t reactions(void)
{
	static const struct db_stmt st = {
		"test.reactions", "SELECT COUNT(*) FROM reactions",
		"SELECT COUNT(*) FROM content.reactions"};

	return store_i64(fixture.ct.pool, &st);
}

/* --- ids ---------------------------------------------------------------------------- */

static void an_id_is_the_hash_of_the_exact_topic(void **state)
{
	char id[GRAPH_ID];

	(void)state;
	assert_true(str_eq(graph_id(STR("Machine Learning"), id), STR(GRAPH)));
	assert_false(str_eq(graph_id(STR("machine learning"), id), STR(GRAPH)));
	assert_true(graph_id_valid(STR(GRAPH)));
	assert_false(graph_id_valid(STR("9316CD4D881E21D7")));
	assert_false(graph_id_valid(STR("9316cd4d881e21d")));
	assert_false(graph_id_valid(STR("9316cd4d881e21d70")));
	assert_false(graph_id_valid(STR("")));
}

/* --- one after the other -------------------------------------------------------------- */

static void liking_twice_is_liking_once_and_never_below_0(void **state)
{
	const struct asker ada = {.sub = ADA}, bob = {.sub = BOB};

	(void)state;
	assert_int_equal(number(ask("content.graph_like", &ada, GRAPH,
	                            "{\"liked\":false}"),
	                        "likes"),
	                 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(number(ask("content.graph_like", &ada, GRAPH,
		                            NULL),
		                        "likes"),
		                 1);
	assert_int_equal(number(ask("content.graph_like", &bob, GRAPH, NULL),
	                        "likes"),
	                 2);
	for (int i = 0; i < 3; i++)
		assert_int_equal(number(ask("content.graph_like", &ada, GRAPH,
		                            "{\"liked\":false}"),
		                        "likes"),
		                 1);
	assert_int_equal(reactions(), 1); /* who says nothing is kept nowhere */
	for (int i = 0; i < 2; i++)
		assert_int_equal(number(ask("content.graph_share", &ada, GRAPH,
		                            NULL),
		                        "shares"),
		                 1);
	assert_int_equal(unequal(), 0);
}

static void a_rating_is_one_number_from_1_to_5(void **state)
{
	static const char *const bad[] = {
		"{\"rating\":0}",     "{\"rating\":6}",    "{\"rating\":true}",
		"{\"rating\":\"5\"}", "{\"rating\":0.99}", "{}",
		"{\"rating\":[]}",    "{\"rating\":-1}",   "{\"rating\":5.01}"};
	const struct asker ada = {.sub = ADA}, bob = {.sub = BOB};
	json_t *out;

	(void)state;
	for (size_t i = 0; i < COUNTOF(bad); i++)
		assert_int_equal(call("content.graph_rate", &ada,
		                      "{\"id\":\"" GRAPH "\"}", NULL, bad[i],
		                      &out),
		                 ERR_INVALID);
	json_decref(ask("content.graph_rate", &ada, GRAPH, "{\"rating\":3}"));
	json_decref(ask("content.graph_rate", &ada, GRAPH, "{\"rating\":4}"));
	out = ask("content.graph_rate", &bob, GRAPH, "{\"rating\":4.5}");
	assert_float_equal(json_number_value(
				   json_object_get(out, "average_rating")),
	                   4.25, 0.0001);
	assert_int_equal(number(out, "total_ratings"), 2);
	out = ask("content.graph_rate", &bob, GRAPH, "{\"rating\":null}");
	assert_true(json_is_null(json_object_get(out, "rating")));
	assert_float_equal(json_number_value(
				   json_object_get(out, "average_rating")),
	                   4, 0.0001);
	assert_int_equal(number(out, "total_ratings"), 1);
	assert_int_equal(unequal(), 0);
}

static void a_graph_that_nobody_knows_has_zeros_and_reading_makes_none(
	void **state)
{
	static const struct db_stmt graphs = {
		"test.graphs", "SELECT COUNT(*) FROM graphs",
		"SELECT COUNT(*) FROM content.graphs"};
	const struct asker ada = {.sub = ADA}, nobody = {0};
	json_t *out, *stats;

	(void)state;
	for (int i = 0; i < 2; i++) {
		out = ask("content.graph_stats", i ? &ada : &nobody, GRAPH,
		          NULL);
		stats = json_object_get(out, "stats");
		assert_int_equal(
			json_integer_value(json_object_get(stats, "likes")), 0);
		assert_true(json_is_false(json_object_get(
			json_object_get(out, "user_interaction"), "liked")));
		json_decref(out);
	}
	json_decref(
		ask("content.graph_like", &nobody, GRAPH, "{\"liked\":false}"));
	assert_int_equal(store_i64(fixture.ct.pool, &graphs), 0);
	assert_int_equal(call("content.graph_stats", &ada,
	                      "{\"id\":\"../../etc\"}", NULL, NULL, &out),
	                 ERR_NOT_FOUND);
}

/* --- visitors -------------------------------------------------------------------------- */

static void a_visitor_is_known_by_a_cookie_that_only_we_can_make(void **state)
{
	struct asker nobody = {0}, v = {0};
	char mine[160], forged[160];
	size_t n;

	(void)state;
	assert_int_equal(number(ask("content.graph_like", &nobody, GRAPH, NULL),
	                        "likes"),
	                 1);
	(void)snprintf(mine, sizeof(mine), "%s", fixture.cookie);
	assert_true(strlen(mine) > 60);
	v.visitor = mine;
	assert_int_equal(
		number(ask("content.graph_like", &v, GRAPH, NULL), "likes"), 1);
	assert_string_equal(fixture.cookie, ""); /* it has one */
	/* Each single character altered makes it none of ours. */
	n = strlen(mine);
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(forged, sizeof(forged), "%s", mine);
		forged[i] = forged[i] == '1' ? '2' : '1';
		v.visitor = forged;
		json_decref(ask("content.graph_stats", &v, GRAPH, NULL));
		assert_int_equal(number(ask("content.graph_like", &v, GRAPH,
		                            "{\"liked\":false}"),
		                        "likes"),
		                 1);
		assert_string_equal(fixture.cookie, "");
	}
	/* It is as none: who acts gets another, and counts anew. */
	assert_int_equal(
		number(ask("content.graph_like", &v, GRAPH, NULL), "likes"), 2);
	assert_string_not_equal(fixture.cookie, "");
	v.visitor = mine;
	assert_int_equal(number(ask("content.graph_like", &v, GRAPH,
	                            "{\"liked\":false}"),
	                        "likes"),
	                 1);
}

static void a_cookie_ends(void **state)
{
	const struct visitor_key k = {{7}}, other = {{8}};
	char id[VISITOR_ID], again[VISITOR_ID], text[VISITOR_COOKIE_MAX];
	struct str made = visitor_make(&k, 1000, id, text);

	(void)state;
	assert_true(visitor_read(&k, made, 1000 + VISITOR_S - 1, again));
	assert_string_equal(id, again);
	assert_false(visitor_read(&k, made, 1000 + VISITOR_S, again));
	assert_false(visitor_read(&other, made, 1000, again));
	assert_false(visitor_read(&k, STR(""), 1000, again));
	assert_false(visitor_read(&k, STR("...."), 1000, again));
	made.n--;
	assert_false(visitor_read(&k, made, 1000, again));
}

static void who_logs_in_counts_once_for_a_graph(void **state)
{
	const struct asker nobody = {0};
	struct asker both = {.sub = ADA};
	char mine[160];

	(void)state;
	json_decref(ask("content.graph_like", &nobody, GRAPH, NULL));
	(void)snprintf(mine, sizeof(mine), "%s", fixture.cookie);
	both.visitor = mine;
	assert_int_equal(number(ask("content.graph_like", &both, GRAPH, NULL),
	                        "likes"),
	                 1);
	assert_string_equal(fixture.cookie, "");
	assert_int_equal(unequal(), 0);
}

/* --- views ------------------------------------------------------------------------------ */

static void a_view_counts_once_a_day_for_each_who_looks(void **state)
{
	static const char body[] = "{\"topic\":\"Machine Learning\"}";
	const struct asker looks[] = {
		{.sub = ADA},          {.sub = ADA, .ip = "198.51.100.1"},
		{.ip = "192.0.2.77"},  {.ip = "192.0.2.1"}, /* one network */
		{.ip = "203.0.113.5"}, {.ip = "203.0.113.5", .ua = "other"}};
	const struct asker ada = {.sub = ADA};
	json_t *out;

	(void)state;
	/* Before anybody reacted there is no graph to count for. */
	assert_int_equal(call("content.graph_id", &ada, NULL, NULL, body, &out),
	                 OK);
	json_decref(out);
	json_decref(ask("content.graph_share", &ada, GRAPH, NULL));
	for (size_t i = 0; i < COUNTOF(looks); i++) {
		assert_int_equal(call("content.graph_id", &looks[i], NULL, NULL,
		                      body, &out),
		                 OK);
		assert_string_equal(json_string_value(
					    json_object_get(out, "graph_id")),
		                    GRAPH);
		assert_string_equal(fixture.cookie, "");
		json_decref(out);
	}
	for (int i = 0; i < 2; i++) { /* looking at the figures is no view */
		out = ask("content.graph_stats", &ada, GRAPH, NULL);
		assert_int_equal(json_integer_value(json_object_get(
					 json_object_get(out, "stats"),
					 "views")),
		                 4);
		json_decref(out);
	}
}

static enum err keys(struct db *db, void *arg)
{
	int64_t now = *(int64_t *)arg;
	struct day_key today, same, later;
	const struct str part[] = {STR("somebody")};
	char a[DAY_HASH], b[DAY_HASH];
	enum err e = day_key_get(db, now, &today);

	if (!e)
		e = day_key_get(db, now + 1, &same);
	if (!e)
		e = day_key_get(db, now + 2 * DAY, &later);
	if (e)
		return e;
	MUST(memcmp(today.k, same.k, DAY_KEY) == 0);
	MUST(memcmp(today.k, later.k, DAY_KEY) != 0);
	MUST(!str_eq(day_hash(&today, part, 1, a),
	             day_hash(&later, part, 1, b)));
	/* The old one is gone: asked for again it is another. */
	e = day_key_get(db, now, &same);
	MUST(!e && memcmp(today.k, same.k, DAY_KEY) != 0);
	return e;
}

static void the_key_of_a_day_is_gone_two_days_later(void **state)
{
	int64_t noon = INT64_C(1767268800000);
	struct ctx cx = store_ctx(60000);

	(void)state;
	assert_int_equal(db_write(fixture.ct.pool, &cx, keys, &noon), OK);
}

/* --- at once ----------------------------------------------------------------------------- */

#define THREADS 8
#define TURNS   24

static _Atomic unsigned crowd_next;

static enum err react_fn(struct db *db, void *job)
{
	return social_react(db, job);
}

/* Likes and unlikes, rates and takes back, on two graphs, of three people. */
static void *crowd(void *arg)
{
	static const char *const subs[] = {ADA, BOB, "0190a000-eve"};
	static const char *const graphs[] = {GRAPH, "0123456789abcdef"};
	unsigned me = atomic_fetch_add(&crowd_next, 1);

	(void)arg;
	for (unsigned i = 0; i < TURNS; i++) {
		unsigned r = me * 7 + i * 5;
		struct arena *a = arena_new((size_t)1 << 16);
		struct ctx cx = store_ctx(60000);
		struct reacting job = {
			.graph = str_from(graphs[r % 2]),
			.who = {.sub = str_from(subs[r % 3])},
			.what = (enum reaction)(i % 3),
			.value = i % 4 == 0   ? 0
		                 : i % 3 == 1 ? 100 + r % 401
		                              : 1,
			.now_ms = wall_ms(),
		};
		MUST(a);
		cx.arena = a;
		MUST(db_write(fixture.ct.pool, &cx, react_fn, &job) == OK);
		arena_free(a);
	}
	return NULL;
}

static void sums_are_those_of_the_rows_whoever_asks_at_once(void **state)
{
	(void)state;
	atomic_store(&crowd_next, 0);
	store_threads(THREADS, crowd, NULL);
	assert_int_equal(unequal(), 0);
	assert_true(reactions() > 0);
}

/* --- letting go ---------------------------------------------------------------------------- */

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

static void erasing_a_person_takes_their_likes_out_of_the_sums(void **state)
{
	const struct asker ada = {.sub = ADA}, bob = {.sub = BOB};
	struct erasee who = {.sub = STR(ADA), .receipt = STR("r")};
	struct ctx cx = store_ctx(60000);

	(void)state;
	json_decref(ask("content.graph_like", &ada, GRAPH, NULL));
	json_decref(ask("content.graph_rate", &ada, GRAPH, "{\"rating\":5}"));
	json_decref(ask("content.graph_like", &bob, GRAPH, NULL));
	assert_int_equal(db_write(fixture.ct.pool, &cx, run_erasers, &who), OK);
	assert_int_equal(reactions(), 1);
	assert_int_equal(unequal(), 0);
	assert_int_equal(number(ask("content.graph_like", &bob, GRAPH, NULL),
	                        "likes"),
	                 1);
}

static void what_visitors_said_goes_after_a_year(void **state)
{
	const struct asker nobody = {0}, ada = {.sub = ADA};
	struct retention_conf conf = {.service = "content",
	                              .pool = fixture.ct.pool,
	                              .rules = content_service.retention,
	                              .n = content_service.retention_n,
	                              .every_ms = 1000};
	struct retention *r;
	struct ctx cx = store_ctx(60000);
	uint64_t rows = 0;

	(void)state;
	for (size_t i = 0; i < RETENTION_CATEGORIES; i++)
		conf.days[i] = 365;
	json_decref(ask("content.graph_like", &nobody, GRAPH, NULL));
	json_decref(ask("content.graph_like", &ada, GRAPH, NULL));
	json_decref(
		ask("content.graph_like", &nobody, "0123456789abcdef", NULL));
	exec("UPDATE reactions SET at = 1000",
	     "UPDATE content.reactions SET at = 1000");
	exec("UPDATE graphs SET at = 1000",
	     "UPDATE content.graphs SET at = 1000");
	r = retention_new(&conf);
	assert_non_null(r);
	assert_int_equal(retention_run(r, &cx, 60000, 1000 + 365 * DAY, &rows),
	                 OK);
	retention_free(r);
	assert_int_equal(rows, 3); /* two of visitors, and a graph left empty */
	assert_int_equal(reactions(), 1);
	assert_int_equal(unequal(), 0);
}

static void whose_data_is_restricted_cannot_react(void **state)
{
	const struct asker ada = {.sub = ADA};
	json_t *out;

	(void)state;
	exec("INSERT INTO restricted (sub, at) VALUES ('" ADA "', 1)",
	     "INSERT INTO content.restricted (sub, at) VALUES ('" ADA "', 1)");
	assert_int_equal(call("content.graph_like", &ada,
	                      "{\"id\":\"" GRAPH "\"}", NULL, NULL, &out),
	                 ERR_RESTRICTED);
	json_decref(ask("content.graph_stats", &ada, GRAPH, NULL));
}

/* --- lists ----------------------------------------------------------------------------------- */

static void lists_are_in_order_and_bounded(void **state)
{
	static const char *const ids[] = {"000000000000000a",
	                                  "000000000000000b",
	                                  "000000000000000c"};
	struct asker who = {0};
	char sub[16], body[32];
	json_t *out, *rows;

	(void)state;
	/* a: 3 likes; b: ratings 5 5 4; c: one of 5 */
	for (int i = 0; i < 3; i++) {
		(void)snprintf(sub, sizeof(sub), "p%d", i);
		who.sub = sub;
		json_decref(ask("content.graph_like", &who, ids[0], NULL));
		(void)snprintf(body, sizeof(body), "{\"rating\":%d}",
		               i == 2 ? 4 : 5);
		json_decref(ask("content.graph_rate", &who, ids[1], body));
	}
	json_decref(ask("content.graph_rate", &who, ids[2], "{\"rating\":5}"));
	assert_int_equal(call("content.graphs_trending", &who, NULL,
	                      "{\"limit\":\"2\"}", NULL, &out),
	                 OK);
	rows = json_object_get(out, "trending");
	assert_int_equal(json_array_size(rows), 2);
	assert_string_equal(json_string_value(json_object_get(
				    json_array_get(rows, 0), "graph_id")),
	                    ids[1]); /* 14 of 14, 6, 5 */
	assert_float_equal(json_number_value(json_object_get(
				   json_array_get(rows, 0), "score")),
	                   14, 0.001);
	json_decref(out);
	assert_int_equal(call("content.graphs_top_rated", &who, NULL,
	                      "{\"min_ratings\":\"0\"}", NULL, &out),
	                 OK);
	rows = json_object_get(out, "top_rated");
	assert_int_equal(json_array_size(rows), 2);
	assert_string_equal(json_string_value(json_object_get(
				    json_array_get(rows, 0), "graph_id")),
	                    ids[2]);
	json_decref(out);
	assert_int_equal(call("content.graphs_top_rated", &who, NULL,
	                      "{\"min_ratings\":\"2\"}", NULL, &out),
	                 OK);
	assert_int_equal(json_array_size(json_object_get(out, "top_rated")), 1);
	json_decref(out);
	assert_int_equal(call("content.graphs_trending", &who, NULL,
	                      "{\"limit\":\"101\"}", NULL, &out),
	                 ERR_INVALID);
}

#define social_test(f) cmocka_unit_test_setup_teardown(f, each, after)

int main(void)
{
	const struct CMUnitTest tests[] = {
		social_test(an_id_is_the_hash_of_the_exact_topic),
		social_test(liking_twice_is_liking_once_and_never_below_0),
		social_test(a_rating_is_one_number_from_1_to_5),
		social_test(
			a_graph_that_nobody_knows_has_zeros_and_reading_makes_none),
		social_test(
			a_visitor_is_known_by_a_cookie_that_only_we_can_make),
		social_test(a_cookie_ends),
		social_test(who_logs_in_counts_once_for_a_graph),
		social_test(a_view_counts_once_a_day_for_each_who_looks),
		social_test(the_key_of_a_day_is_gone_two_days_later),
		social_test(sums_are_those_of_the_rows_whoever_asks_at_once),
		social_test(erasing_a_person_takes_their_likes_out_of_the_sums),
		social_test(what_visitors_said_goes_after_a_year),
		social_test(whose_data_is_restricted_cannot_react),
		social_test(lists_are_in_order_and_bounded),
	};

	return cmocka_run_group_tests(tests, up, down);
}
