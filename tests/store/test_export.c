/*
 * Every row that a service holds about a person is read, and nobody else's
 * (common/privacy/rows.h): by marking every column of every table.
 */
#include "common/bus/stream.h"
#include "common/codec/mp.h"
#include "common/privacy/rows.h"
#include "svc-auth/columns.h"
#include "svc-auth/migrations.h"
#include "svc-content/columns.h"
#include "svc-content/migrations.h"
#include "svc-gdpr/columns.h"
#include "svc-gdpr/migrations.h"
#include "tests/store/store.h"

#include <stdlib.h>

#define MARK_MS  INT64_C(1767268800123) /* 2026-01-01T12:00:00.123Z */
#define MARK_DAY 20454                  /* 2026-01-01 */
#define MARK_INT 7

static const struct one {
	const struct privacy_tables *tables;
	const struct db_migration *migrations;
	size_t migrations_n;
} services[] = {
	{&auth_columns, auth_migrations, AUTH_MIGRATIONS},
	{&content_columns, content_migrations, CONTENT_MIGRATIONS},
	{&gdpr_columns, gdpr_migrations, GDPR_MIGRATIONS},
};

/* What a column must hold where its type does not say: a check, or whose it is.
 * %s is the person's letter. */
static const struct fixed {
	const char *column, *text;
} fixed[] = {
	{"outbox.target", "gdpr"},
	{"outbox_seq.target", "gdpr"},
	{"inbox.source", "content"},
	{"mastery.level", "2"},
	{"revocations.kind", "sub"},
	{"revocations.id", "%s-sub"},
	{"revocations.seq", "7%d"},
	{"audit_log.seq", "7%d"},
	{"audit_detail.seq", "7%d"},
	{"audit_log.subject", "%s-audit_person.pseudonym"},
	{"consents.person", "%s-pseudonyms.person"},
	{"breach_notices.breach_id", "%s-breaches.id"},
	{"consent_origins.person", "%s-pseudonyms.person"},
	{"refresh_tokens.counter", "7%d"},
	{"reactions.rating", "300"},
};

static struct {
	struct store store;
	struct db_pool *pool;
	const struct privacy_tables *all;
} fx;

static void open_service(const struct one *s)
{
	store_open(&fx.store, s->tables->service);
	fx.pool = store_pool(&fx.store);
	fx.all = s->tables;
	assert_int_equal(db_migrate(fx.pool, s->migrations, s->migrations_n),
	                 OK);
}

static void close_service(void)
{
	db_pool_free(fx.pool);
	store_close(&fx.store);
}

/* --- marks -------------------------------------------------------------------------- */

/* The text that marks a column, without quotes: "a-attempts.id". */
static void mark(const struct privacy_table *t, const struct privacy_column *c,
                 char who, char out[128])
{
	char name[96];

	(void)snprintf(name, sizeof(name), "%s.%s", t->name, c->name);
	for (size_t i = 0; i < COUNTOF(fixed); i++) {
		const char *per, *text = fixed[i].text;

		if (strcmp(fixed[i].column, name) != 0)
			continue;
		per = strchr(text, '%');
		if (per && per[1] == 'd')
			(void)snprintf(out, 128, "%.*s%d", (int)(per - text),
			               text, who);
		else if (per)
			(void)snprintf(out, 128, "%.*s%c%s", (int)(per - text),
			               text, who, per + 2);
		else
			(void)snprintf(out, 128, "%s", text);
		return;
	}
	switch (c->type) {
	case PRIVACY_TIME:
		(void)snprintf(out, 128, "%lld", (long long)MARK_MS);
		return;
	case PRIVACY_DAY:
		(void)snprintf(out, 128, "%d", MARK_DAY);
		return;
	case PRIVACY_FLAG:
		(void)snprintf(out, 128, "1");
		return;
	case PRIVACY_INT:
	case PRIVACY_REAL:
		(void)snprintf(out, 128, "%d", MARK_INT);
		return;
	case PRIVACY_TEXT:
	case PRIVACY_BYTES:
	case PRIVACY_PACKED:
		break;
	}
	if (c->link == PRIVACY_SUB)
		(void)snprintf(out, 128, "%c-sub", who);
	else if (c->link == PRIVACY_VIA)
		(void)snprintf(out, 128, "%c-%s", who, c->via);
	else
		(void)snprintf(out, 128, "%c-%s", who, name);
}

static bool is_number(enum privacy_type t)
{
	return t != PRIVACY_TEXT && t != PRIVACY_BYTES && t != PRIVACY_PACKED;
}

/* Columns of one name in two tables of a test of NULL go by. */
static void insert_marks(const struct privacy_table *t, char who)
{
	bool pg = store_is_postgres(&fx.store);
	AUTO_BUF sql = {0};

	buf_printf(&sql, "INSERT INTO %s%s%s (", pg ? fx.all->service : "",
	           pg ? "." : "", t->name);
	for (size_t i = 0; i < t->columns_n; i++)
		buf_printf(&sql, "%s%s", i ? ", " : "", t->columns[i].name);
	buf_str(&sql, STR(") VALUES ("));
	for (size_t i = 0; i < t->columns_n; i++) {
		const struct privacy_column *c = &t->columns[i];
		char text[128];

		mark(t, c, who, text);
		buf_str(&sql, i ? STR(", ") : STR(""));
		if (is_number(c->type))
			buf_printf(&sql, "%s", text);
		else if (c->type == PRIVACY_TEXT)
			buf_printf(&sql, "'%s'", text);
		else
			buf_printf(&sql,
			           pg ? "convert_to('%s', 'UTF8')"
			              : "CAST('%s' AS BLOB)",
			           text);
	}
	buf_str(&sql, STR(")"));
	buf_char(&sql, '\0');
	assert_false(sql.failed);
	store_exec(fx.pool, sql.p);
}

/* --- what was read --------------------------------------------------------------------- */

static enum err keep(void *arg, struct str bytes)
{
	buf_str(arg, bytes);
	return OK;
}

static void read_rows(const char *sub, struct buf *out)
{
	struct ctx cx = store_ctx(60000);

	assert_int_equal(privacy_read(fx.pool, &cx, fx.all, str_from(sub), keep,
	                              out),
	                 OK);
	assert_false(out->failed);
}

/* The rows of one table as they stand in all; the end is looked at too. */
static int64_t rows_of(struct str all, const char *table, struct str *first)
{
	struct mp m = mp_open(all);
	int64_t here = -1, left = 0, n = 0, total = 0, end = -1;
	struct str name, v;
	uint32_t items;

	while (mp_peek(&m) != MP_END) {
		if (mp_get_array(&m, &items) && items == 1) {
			assert_int_equal(left, 0);
			assert_true(mp_get_i64(&m, &end));
			assert_int_equal(mp_peek(&m), MP_END);
		} else if (items == 2) {
			assert_int_equal(left, 0);
			assert_true(mp_get_str(&m, &name));
			assert_true(mp_get_i64(&m, &left));
			n = str_eq(name, str_from(table)) ? left : -1;
			here = n >= 0 ? n : here;
		}
		for (; left > 0; left--, total++) {
			assert_int_equal(mp_peek(&m), MP_MAP);
			assert_true(mp_skip(&m, &v));
			if (n == left && first)
				*first = v;
		}
	}
	assert_int_equal(end, total);
	return here;
}

static void check_value(const struct privacy_table *t,
                        const struct privacy_column *c, struct str row)
{
	char text[128];
	struct str v, want, got = {0};
	struct mp m;
	int64_t i = 0;
	bool flag = false;

	mark(t, c, 'a', text);
	want = str_from(text);
	assert_true(mp_find(row, c->name, &v));
	m = mp_open(v);
	switch (c->type) {
	case PRIVACY_INT:
		assert_true(mp_get_i64(&m, &i));
		assert_int_equal(i, strtoll(text, NULL, 10));
		return;
	case PRIVACY_FLAG:
		assert_true(mp_get_bool(&m, &flag));
		assert_true(flag);
		return;
	case PRIVACY_REAL:
		return;
	case PRIVACY_TIME:
		want = STR("2026-01-01T12:00:00.123Z");
		break;
	case PRIVACY_DAY:
		want = STR("2026-01-01");
		break;
	case PRIVACY_BYTES:
	case PRIVACY_PACKED: /* the mark is no msgpack */
		assert_true(mp_get_bin(&m, &got));
		assert_true(str_eq(got, want));
		return;
	case PRIVACY_TEXT:
		break;
	}
	assert_true(mp_get_str(&m, &got));
	if (!str_eq(got, want))
		print_message("%s.%s: %.*s\n", t->name, c->name, STR_FMT(got));
	assert_true(str_eq(got, want));
}

static bool holds(struct str all, const char *text)
{
	return memmem(all.p, all.n, text, strlen(text)) != NULL;
}

static void check_table(const struct privacy_table *t, struct str all)
{
	struct str row = {0};

	assert_int_equal(rows_of(all, t->name, &row), 1);
	for (size_t i = 0; i < t->columns_n; i++) {
		const struct privacy_column *c = &t->columns[i];
		char text[128];
		struct str v;

		mark(t, c, 'a', text);
		if (c->out) {
			check_value(t, c, row);
			continue;
		}
		assert_false(mp_find(row, c->name, &v));
		assert_true(is_number(c->type) || !holds(all, text));
	}
}

static void every_marked_column_is_read_and_nobody_elses(void **state)
{
	(void)state;
	for (size_t s = 0; s < COUNTOF(services); s++) {
		const struct privacy_tables *all = services[s].tables;
		AUTO_BUF a = {0};
		AUTO_BUF nobody = {0};

		open_service(&services[s]);
		/* What others refer to comes first, and it stands last. */
		for (size_t i = all->n; i-- > 0;) {
			if (all->table[i].of == OF_NOBODY)
				continue;
			insert_marks(&all->table[i], 'a');
			insert_marks(&all->table[i], 'b');
		}
		read_rows("a-sub", &a);
		for (size_t i = 0; i < all->n; i++) {
			const struct privacy_table *t = &all->table[i];

			if (t->of == OF_NOBODY)
				assert_int_equal(rows_of(buf_view(&a), t->name,
				                         NULL),
				                 -1);
			else
				check_table(t, buf_view(&a));
		}
		assert_false(holds(buf_view(&a), "b-"));
		read_rows("c-sub", &nobody);
		assert_int_equal(rows_of(buf_view(&nobody), "outbox", NULL), 0);
		assert_false(holds(buf_view(&nobody), "a-"));
		close_service();
	}
}

/* --- many rows, and what happens meanwhile -------------------------------------------- */

#define MANY 1000

static void insert_results(const char *prefix, unsigned n)
{
	bool pg = store_is_postgres(&fx.store);
	char sql[512];

	(void)snprintf(
		sql, sizeof(sql),
		pg ? "INSERT INTO content.results (id, sub, topic_key, "
		     "subtopic_key, score, total, difficulty, earns, at) "
		     "SELECT '%s' || i, 'a-sub', 't', 's', 1, 1, 'm', 0, "
		     "i / 600 FROM generate_series(1, %u) i"
		   : "INSERT INTO results (id, sub, topic_key, subtopic_key, "
		     "score, total, difficulty, earns, at) "
		     "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
		     "FROM n WHERE i < %2$u) SELECT '%1$s' || i, 'a-sub', 't', "
		     "'s', 1, 1, 'm', 0, i / 600 FROM n",
		prefix, n);
	store_exec(fx.pool, sql);
}

static void rows_of_one_moment_are_each_read_once(void **state)
{
	AUTO_BUF all = {0};

	(void)state;
	open_service(&services[1]);
	/* Pages end within rows that have the same time. */
	insert_results("r", MANY);
	read_rows("a-sub", &all);
	assert_int_equal(rows_of(buf_view(&all), "results", NULL), MANY);
	for (unsigned i = 1; i <= MANY; i++) {
		char id[16];

		/* Followed by the next key, so that r1 is not r10. */
		(void)snprintf(id, sizeof(id), "r%u\xa3sub", i);
		assert_true(holds(buf_view(&all), id));
	}
	close_service();
}

struct meanwhile {
	struct buf all;
	unsigned puts;
};

static enum err write_meanwhile(void *arg, struct str bytes)
{
	struct meanwhile *m = arg;

	buf_str(&m->all, bytes);
	if (m->puts++ == 0)
		insert_results("late", 10);
	return OK;
}

static void what_is_written_meanwhile_is_not_in_it(void **state)
{
	struct ctx cx = store_ctx(60000);
	struct meanwhile m = {.puts = 0};

	(void)state;
	open_service(&services[1]);
	insert_results("r", MANY);
	assert_int_equal(privacy_read(fx.pool, &cx, fx.all, STR("a-sub"),
	                              write_meanwhile, &m),
	                 OK);
	assert_true(m.puts > 1);
	assert_int_equal(rows_of(buf_view(&m.all), "results", NULL), MANY);
	assert_false(holds(buf_view(&m.all), "late"));
	buf_fini(&m.all);
	read_rows("a-sub", &m.all);
	assert_int_equal(rows_of(buf_view(&m.all), "results", NULL), MANY + 10);
	buf_fini(&m.all);
	close_service();
}

static enum err take_no_more(void *arg, struct str bytes)
{
	unsigned *n = arg;

	(void)bytes;
	return ++*n == 2 ? ERR_TOO_LARGE : OK;
}

static void who_takes_no_more_ends_the_reading(void **state)
{
	struct ctx cx = store_ctx(60000);
	struct db_pool_stats st;
	unsigned n = 0;

	(void)state;
	open_service(&services[1]);
	insert_results("r", MANY);
	assert_int_equal(privacy_read(fx.pool, &cx, fx.all, STR("a-sub"),
	                              take_no_more, &n),
	                 ERR_TOO_LARGE);
	assert_int_equal(n, 2);
	db_pool_stats(fx.pool, &st);
	assert_int_equal(st.in_use, 0);
	close_service();
}

/* --- as an answer ------------------------------------------------------------------------ */

static void only_a_person_who_is_there_is_answered(void **state)
{
	AUTO_BUF parts = {0};
	struct reply out = {.part = keep, .to = &parts};
	struct stream_in in = {{0}, false};
	struct ctx cx = store_ctx(60000);
	struct str rows;

	(void)state;
	open_service(&services[0]);
	assert_int_equal(privacy_answer(fx.pool, &cx, fx.all, "users",
	                                STR("a-sub"), &out),
	                 ERR_NOT_FOUND);
	assert_int_equal(parts.n, 0);
	insert_marks(privacy_table(fx.all, STR("users")), 'a');
	assert_int_equal(privacy_answer(fx.pool, &cx, fx.all, "users",
	                                STR("a-sub"), &out),
	                 OK);
	rows = buf_view(&parts);
	assert_true(stream_take(&in, &rows));
	assert_int_equal(rows_of(rows, "users", NULL), 1);
	assert_int_equal(rows_of(rows, "api_keys", NULL), 0);
	buf_fini(&in.head);
	close_service();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_marked_column_is_read_and_nobody_elses),
		cmocka_unit_test(rows_of_one_moment_are_each_read_once),
		cmocka_unit_test(what_is_written_meanwhile_is_not_in_it),
		cmocka_unit_test(who_takes_no_more_ends_the_reading),
		cmocka_unit_test(only_a_person_who_is_there_is_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
