/*
 * What svc-gdpr makes of what other services say about a person: all of it, or
 * an error that names who is missing (design D43); and the two documents.
 */
#include "common/bus/stream.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"
#include "svc-gdpr/document.h"
#include "svc-gdpr/export.h"
#include "svc-gdpr/migrations.h"
#include "tests/store/store.h"

#include <stdlib.h>
#include <unistd.h>

/* A service that answers every request with the same bytes, or refuses. */
struct fake {
	struct bus_server *server;
	char url[64];
	struct buf says;
	enum err refuses;
};

static struct {
	struct store store;
	struct arena *arena;
	struct fake auth, content;
	struct gdpr_state st;
	struct ctx cx;
} fx;

static void on_item(void *arg, struct bus_item *it)
{
	struct fake *f = arg;

	if (f->refuses)
		bus_item_refuse(it, f->refuses);
	else
		bus_item_end(it, buf_view(&f->says));
}

static void fake_begin(struct fake *f, enum bus_peer self, const char *name)
{
	const struct bus_server_conf conf = {.self = self,
	                                     .on_item = on_item,
	                                     .arg = f};

	(void)snprintf(f->url, sizeof(f->url), "inproc://gather-%s-%d", name,
	               (int)getpid());
	f->server = bus_server_new(&conf);
	assert_non_null(f->server);
	assert_int_equal(bus_server_listen(f->server, str_from(f->url)), OK);
	assert_int_equal(bus_caller_add(fx.st.caller, self, str_from(f->url)),
	                 OK);
	for (uint64_t end = mono_ms() + 20000;
	     bus_caller_up(fx.st.caller, self) == 0 && mono_ms() < end;)
		(void)usleep(1000);
}

/* --- what a service says ----------------------------------------------------------- */

static enum err keep(void *to, struct str bytes)
{
	buf_str(to, bytes);
	return OK;
}

static void say_head(struct buf *b)
{
	const struct ctx cx = {.service = "test"};
	struct reply r = {.part = keep, .to = b};

	buf_clear(b);
	assert_int_equal(stream_begin(&cx, &r), OK);
}

static void say_table(struct buf *b, const char *name, int64_t n)
{
	mp_array(b, 2);
	mp_text(b, name);
	mp_i64(b, n);
}

static void say_end(struct buf *b, int64_t n)
{
	mp_array(b, 1);
	mp_i64(b, n);
}

static void say_presentation(struct buf *b, struct str topic)
{
	mp_map(b, 4);
	mp_kv_str(b, "topic_key", topic);
	mp_kv_str(b, "topic", topic);
	mp_kv_nil(b, "digest");
	mp_kv_text(b, "at", "2026-01-01T12:00:00.000Z");
}

static void say_user(struct buf *b)
{
	say_head(b);
	say_table(b, "users", 1);
	mp_map(b, 3);
	mp_kv_str(b, "sub", fx.cx.sub);
	mp_kv_str(b, "handle", fx.cx.hnd);
	mp_kv_text(b, "created_at", "2026-01-01T12:00:00.000Z");
	say_end(b, 1);
}

static void say_topics(struct buf *b, const struct str *topic, int64_t n)
{
	say_head(b);
	say_table(b, "finished", 0);
	say_table(b, "presentations", n);
	for (int64_t i = 0; i < n; i++)
		say_presentation(b, topic[i]);
	say_end(b, n);
}

/* --- fixture ------------------------------------------------------------------------ */

static int up(void **state)
{
	const struct bus_client_conf conf = {.self = PEER_GDPR};

	(void)state;
	store_open(&fx.store, "gdpr");
	fx.st.pool = store_pool(&fx.store);
	fx.st.caller = bus_caller_new(&conf);
	fx.st.folder = STR("/tmp");
	fx.arena = arena_new(1 << 20);
	if (!fx.st.caller || !fx.arena ||
	    db_migrate(fx.st.pool, gdpr_migrations, GDPR_MIGRATIONS))
		return -1;
	fake_begin(&fx.auth, PEER_AUTH, "auth");
	fake_begin(&fx.content, PEER_CONTENT, "content");
	return 0;
}

static void fake_end(struct fake *f)
{
	bus_server_free(f->server);
	buf_fini(&f->says);
}

static int down(void **state)
{
	(void)state;
	bus_caller_free(fx.st.caller);
	fake_end(&fx.auth);
	fake_end(&fx.content);
	db_pool_free(fx.st.pool);
	arena_free(fx.arena);
	store_close(&fx.store);
	return 0;
}

/* Everybody says what they should. */
static int all_well(void **state)
{
	static const struct str topic = STR("Chemistry");

	(void)state;
	arena_reset(fx.arena);
	fx.st.export_max = 16 << 20;
	fx.cx = store_ctx(60000);
	fx.cx.arena = fx.arena;
	fx.cx.sub = STR("0190a000-0000-7000-8000-00000000ada0");
	fx.cx.hnd = STR("ada");
	fx.auth.refuses = fx.content.refuses = OK;
	say_user(&fx.auth.says);
	say_topics(&fx.content.says, &topic, 1);
	return 0;
}

static enum err gathering(void)
{
	struct gathered g = {.spool = {.fd = -1}};
	enum err e;

	fx.cx.problem = (struct problem){0};
	fx.cx.deadline_ms = mono_ms() + 60000;
	e = gather(&fx.st, &fx.cx, &g);
	gathered_fini(&g);
	return e;
}

static void expect_named(const char *store)
{
	char quoted[32];

	(void)snprintf(quoted, sizeof(quoted), "\"%s\"", store);
	assert_int_equal(gathering(), ERR_UNAVAILABLE);
	assert_non_null(strstr(fx.cx.problem.detail, quoted));
}

/* --- complete or not at all ---------------------------------------------------------- */

static void what_is_whole_is_gathered(void **state)
{
	(void)state;
	assert_int_equal(gathering(), OK);
}

/* Each changes what content says into what is not whole. */
static void no_end(struct buf *b)
{
	b->n -= 2;
}

static void half_a_value(struct buf *b)
{
	say_head(b);
	say_table(b, "finished", 1);
	mp_map(b, 1);
}

static void too_few_rows(struct buf *b)
{
	say_head(b);
	say_table(b, "presentations", 2);
	say_presentation(b, STR("one"));
	say_end(b, 1);
}

static void too_many_rows(struct buf *b)
{
	say_head(b);
	say_table(b, "presentations", 1);
	say_presentation(b, STR("one"));
	say_presentation(b, STR("two"));
	say_end(b, 2);
}

static void another_sum(struct buf *b)
{
	say_head(b);
	say_table(b, "presentations", 1);
	say_presentation(b, STR("one"));
	say_end(b, 2);
}

static void more_behind_the_end(struct buf *b)
{
	say_end(b, 1);
}

static void a_row_that_is_none(struct buf *b)
{
	say_head(b);
	say_table(b, "presentations", 1);
	mp_i64(b, 7);
	say_end(b, 1);
}

static void fewer_than_none(struct buf *b)
{
	say_head(b);
	say_table(b, "presentations", -1);
	say_end(b, 0);
}

static void only_a_head(struct buf *b)
{
	say_head(b);
}

static void half_a_head(struct buf *b)
{
	b->n = 3;
}

static void nothing(struct buf *b)
{
	buf_clear(b);
}

static void no_msgpack(struct buf *b)
{
	say_head(b);
	buf_str(b, STR("\xc1\xc1\xc1\xc1"));
}

static void a_refusal(struct buf *b)
{
	struct ctx cx = {.service = "content"};

	buf_clear(b);
	reply_pack(b, &cx, ERR_DATABASE, NULL);
}

static void a_reply_without_rows(struct buf *b)
{
	struct ctx cx = {.service = "content"};
	struct reply r = {0};

	buf_clear(b);
	reply_pack(b, &cx, OK, &r);
}

static void what_is_not_whole_names_its_store(void **state)
{
	static void (*const wrong[])(struct buf *) = {no_end,
	                                              half_a_value,
	                                              too_few_rows,
	                                              too_many_rows,
	                                              another_sum,
	                                              more_behind_the_end,
	                                              a_row_that_is_none,
	                                              fewer_than_none,
	                                              only_a_head,
	                                              half_a_head,
	                                              nothing,
	                                              no_msgpack,
	                                              a_refusal,
	                                              a_reply_without_rows};

	for (size_t i = 0; i < COUNTOF(wrong); i++) {
		(void)all_well(state);
		wrong[i](&fx.content.says);
		expect_named("content");
	}
}

static void a_store_that_refuses_or_is_away_is_named(void **state)
{
	(void)state;
	fx.content.refuses = ERR_BUSY;
	expect_named("content");
	fx.auth.refuses = ERR_TIMEOUT;
	expect_named("auth");
	fx.auth.refuses = fx.content.refuses = OK;
	store_exec(fx.st.pool, store_is_postgres(&fx.store)
	                               ? "ALTER TABLE gdpr.ledger RENAME TO l"
	                               : "ALTER TABLE ledger RENAME TO l");
	expect_named("gdpr");
	store_exec(fx.st.pool, store_is_postgres(&fx.store)
	                               ? "ALTER TABLE gdpr.l RENAME TO ledger"
	                               : "ALTER TABLE l RENAME TO ledger");
	assert_int_equal(gathering(), OK);
}

static void nobody_of_that_name_is_404(void **state)
{
	struct ctx cx = {.service = "auth"};

	(void)state;
	buf_clear(&fx.auth.says);
	reply_pack(&fx.auth.says, &cx, ERR_NOT_FOUND, NULL);
	assert_int_equal(gathering(), ERR_NOT_FOUND);
}

static void more_than_a_spool_may_hold_is_told(void **state)
{
	(void)state;
	fx.st.export_max = 100;
	assert_int_equal(gathering(), ERR_TOO_LARGE);
	fx.st.folder = STR("/nonexistent/folder");
	assert_int_equal(gathering(), ERR_UNAVAILABLE);
	fx.st.folder = STR("/tmp");
}

/* --- the documents --------------------------------------------------------------------- */

static void write_it(enum err (*form)(struct document *d), struct buf *out)
{
	struct gathered g = {.spool = {.fd = -1}};
	struct spool to;
	struct document d = {
		.from = &g, .cx = &fx.cx, .now_ms = 1767268800000, .to = &to};
	struct spool_in in;
	struct str block;

	assert_int_equal(gather(&fx.st, &fx.cx, &g), OK);
	assert_int_equal(spool_open(&to, &fx.cx, fx.st.folder, 16 << 20), OK);
	assert_int_equal(form(&d), OK);
	assert_int_equal(spool_flush(&to), OK);
	in = (struct spool_in){.s = &to, .end = to.n};
	do {
		assert_int_equal(spool_block(&in, &block), OK);
		buf_str(out, block);
	} while (block.n);
	assert_int_equal(out->n, to.n);
	spool_in_fini(&in);
	buf_fini(&d.text);
	spool_fini(&to);
	gathered_fini(&g);
}

static bool holds(const struct buf *b, const char *text)
{
	return memmem(b->p, b->n, text, strlen(text)) != NULL;
}

static void json_has_rows_and_the_members_of_old(void **state)
{
	AUTO_BUF out = {0};
	AUTO_BUF mp = {0};
	struct json_error at;
	struct str content, account, stores, v;

	(void)state;
	write_it(document_json, &out);
	assert_true(json_to_mp(buf_view(&out), &mp, &at));
	assert_true(mp_find(buf_view(&mp), "account", &account));
	assert_true(
		str_eq(mp_find_str(account, "user_id", STR("")), STR("ada")));
	assert_true(mp_find(buf_view(&mp), "content", &content));
	assert_int_equal(mp_find_i64(content, "total_topics", -1), 1);
	/* There is no such table in what was gathered: no member. */
	assert_false(mp_find(content, "quizzes", &v));
	assert_true(mp_find(buf_view(&mp), "stores", &stores));
	assert_true(mp_find(stores, "content", &v));
	assert_true(mp_find(v, "finished", &v));
	assert_true(holds(&out, "\"total_records\": 2,"));
}

static const struct {
	struct str text;
	const char *html;
} hostile[] = {
	{STR("<script>alert(1)</script>"), "&lt;script&gt;alert(1)&lt;/"},
	{STR("\"'><b onload=x>"), "&quot;&#39;&gt;&lt;b onload=x&gt;"},
	{STR("&lt; &amp;"), "&amp;lt; &amp;amp;"},
	{STR("a\xe2\x80\xae"
             "b"),
         "a<i>U+202E</i>b"},
	{STR("a\xe2\x81\xa6"
             "b"),
         "a<i>U+2066</i>b"},
	{STR("\x01\x1b[2J"), "<i>U+0001</i><i>U+001B</i>[2J"},
	{STR("a\xc2\x85"
             "b\xef\xbb\xbf"),
         "a<i>U+0085</i>b<i>U+FEFF</i>"},
	{STR("\xf3\xa0\x81\x81"), "<i>U+E0041</i>"},
	{STR("\xd7\x90\xd7\x91"), "<bdi>\xd7\x90\xd7\x91</bdi>"},
};

static void a_page_shows_text_and_nothing_but_text(void **state)
{
	struct str topics[COUNTOF(hostile)];
	AUTO_BUF out = {0};

	(void)state;
	for (size_t i = 0; i < COUNTOF(hostile); i++)
		topics[i] = hostile[i].text;
	say_topics(&fx.content.says, topics, COUNTOF(hostile));
	write_it(document_html, &out);
	for (size_t i = 0; i < COUNTOF(hostile); i++)
		assert_true(holds(&out, hostile[i].html));
	assert_false(holds(&out, "<script"));
	assert_false(holds(&out, "\xe2\x80\xae"));
	assert_true(holds(&out, "<h3>presentations (9)</h3>"));
	assert_true(holds(&out, "<h3>finished (0)</h3>"));
}

static void bytes_that_are_no_text_are_shown_as_unreadable(void **state)
{
	AUTO_BUF out = {0};

	(void)state;
	document_escape(&out, STR("a\xff<\xe2\x80"));
	assert_true(str_eq(buf_view(&out), STR("a\xef\xbf\xbd&lt;\xef\xbf\xbd"
	                                       "\xef\xbf\xbd")));
}

static void many_rows_pass_through(void **state)
{
	static struct str topics[2000];
	AUTO_BUF out = {0};
	AUTO_BUF mp = {0};
	struct json_error at;
	struct str content;

	(void)state;
	for (size_t i = 0; i < COUNTOF(topics); i++)
		topics[i] = STR("a topic of some length");
	/* In parts of the bus, and in blocks of the spool. */
	say_topics(&fx.content.says, topics, COUNTOF(topics));
	assert_true(fx.content.says.n > 2 * SPOOL_BLOCK);
	write_it(document_json, &out);
	assert_true(json_to_mp(buf_view(&out), &mp, &at));
	assert_true(mp_find(buf_view(&mp), "content", &content));
	assert_int_equal(mp_find_i64(content, "total_topics", -1),
	                 COUNTOF(topics));
}

static void one_person_has_one_export_at_a_time(void **state)
{
	struct exports *x = exports_new(EXPORTS_MAX);
	char sub[16];

	(void)state;
	assert_true(exports_enter(x, STR("a"), 0));
	assert_false(exports_enter(x, STR("a"), 0));
	assert_true(exports_enter(x, STR("b"), 0));
	exports_leave(x, STR("a"));
	assert_true(exports_enter(x, STR("a"), 0));
	exports_leave(x, STR("nobody"));
	for (unsigned i = 2; i < EXPORTS_MAX; i++) {
		(void)snprintf(sub, sizeof(sub), "s%u", i);
		assert_true(exports_enter(x, str_from(sub), 0));
	}
	assert_false(exports_enter(x, STR("one more"), 0));
	exports_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define EACH(t) cmocka_unit_test_setup(t, all_well)
		EACH(what_is_whole_is_gathered),
		EACH(what_is_not_whole_names_its_store),
		EACH(a_store_that_refuses_or_is_away_is_named),
		EACH(nobody_of_that_name_is_404),
		EACH(more_than_a_spool_may_hold_is_told),
		EACH(json_has_rows_and_the_members_of_old),
		EACH(a_page_shows_text_and_nothing_but_text),
		EACH(bytes_that_are_no_text_are_shown_as_unreadable),
		EACH(many_rows_pass_through),
		EACH(one_person_has_one_export_at_a_time),
	};

	bus_global_init();
	return cmocka_run_group_tests(tests, up, down);
}
