/*
 * Every column of every migrated table is classified, and nothing else is
 * (common/privacy/columns.h).
 */
#include "svc-auth/columns.h"
#include "svc-auth/migrations.h"
#include "svc-content/columns.h"
#include "svc-content/migrations.h"
#include "svc-gdpr/columns.h"
#include "svc-gdpr/migrations.h"
#include "tests/store/store.h"

static const struct one {
	const struct privacy_tables *tables;
	const struct db_migration *migrations;
	size_t migrations_n;
} services[] = {
	{&auth_columns, auth_migrations, AUTH_MIGRATIONS},
	{&content_columns, content_migrations, CONTENT_MIGRATIONS},
	{&gdpr_columns, gdpr_migrations, GDPR_MIGRATIONS},
};

static struct {
	struct store store;
	struct db_pool *pool;
} fixture;

static void open_service(const struct one *s)
{
	store_open(&fixture.store, s->tables->service);
	fixture.pool = store_pool(&fixture.store);
	assert_int_equal(
		db_migrate(fixture.pool, s->migrations, s->migrations_n), OK);
}

static void close_service(void)
{
	db_pool_free(fixture.pool);
	store_close(&fixture.store);
}

/* --- the catalogue ------------------------------------------------------------ */

#define COLUMNS_MAX 512

struct catalogue {
	size_t n;
	struct {
		char table[64], column[64], type[64];
	} row[COLUMNS_MAX];
};

static enum err take(void *arg, const struct db_row *row)
{
	struct catalogue *c = arg;

	MUST(c->n < COLUMNS_MAX);
	(void)snprintf(c->row[c->n].table, 64, "%.*s",
	               STR_FMT(db_row_str(row, 0)));
	(void)snprintf(c->row[c->n].column, 64, "%.*s",
	               STR_FMT(db_row_str(row, 1)));
	(void)snprintf(c->row[c->n].type, 64, "%.*s",
	               STR_FMT(db_row_str(row, 2)));
	c->n++;
	return OK;
}

struct look {
	struct catalogue *out;
	const char *schema;
};

static enum err look(struct db *db, void *arg)
{
	static const struct db_stmt columns = {
		"test.columns",
		"SELECT m.name, p.name, lower(p.type) FROM sqlite_master m, "
		"pragma_table_info(m.name) p WHERE m.type = 'table' AND "
		"m.name NOT LIKE 'sqlite_%' AND $1 <> ''",
		"SELECT table_name::text, column_name::text, data_type::text "
		"FROM information_schema.columns WHERE table_schema = $1"};
	struct look *l = arg;
	const struct db_val v = DB_TEXT(l->schema);
	const struct db_sink sink = {take, l->out};

	l->out->n = 0;
	return db_run(db, &columns, &v, 1, &sink);
}

static void read_catalogue(const char *schema, struct catalogue *out)
{
	struct ctx cx = store_ctx(20000);
	struct look l = {out, schema};

	assert_int_equal(db_read(fixture.pool, &cx, look, &l), OK);
}

/* --- the two against each other ------------------------------------------------- */

static bool type_fits(enum privacy_type t, const char *stored)
{
	bool bytes =
		strcmp(stored, "blob") == 0 || strcmp(stored, "bytea") == 0;
	bool text = strcmp(stored, "text") == 0;
	bool real = strstr(stored, "real") || strstr(stored, "double");

	switch (t) {
	case PRIVACY_TEXT:
		return text;
	case PRIVACY_BYTES:
	case PRIVACY_PACKED:
		return bytes;
	case PRIVACY_REAL:
		return real;
	case PRIVACY_INT:
	case PRIVACY_TIME:
	case PRIVACY_DAY:
	case PRIVACY_FLAG:
		break;
	}
	return !bytes && !text && !real;
}

/* How many columns of the catalogue have no row, or one of another type. */
static unsigned unclassified(const struct privacy_tables *all,
                             const struct catalogue *c)
{
	unsigned n = 0;

	for (size_t i = 0; i < c->n; i++) {
		const struct privacy_table *t =
			privacy_table(all, str_from(c->row[i].table));
		const struct privacy_column *col =
			t ? privacy_column(t, str_from(c->row[i].column))
			  : NULL;

		if (col && type_fits(col->type, c->row[i].type))
			continue;
		n++;
		print_message("svc-%s/columns.def %s %s.%s (%s)\n",
		              all->service, col ? "mistypes" : "lacks",
		              c->row[i].table, c->row[i].column,
		              c->row[i].type);
	}
	return n;
}

static bool has(const struct catalogue *c, const char *table,
                const char *column)
{
	for (size_t i = 0; i < c->n; i++)
		if (strcmp(c->row[i].table, table) == 0 &&
		    strcmp(c->row[i].column, column) == 0)
			return true;
	return false;
}

/* How many rows are of no column. */
static unsigned imagined(const struct privacy_tables *all,
                         const struct catalogue *c)
{
	unsigned n = 0;

	for (size_t i = 0; i < all->n; i++) {
		const struct privacy_table *t = &all->table[i];

		for (size_t k = 0; k < t->columns_n; k++) {
			if (has(c, t->name, t->columns[k].name))
				continue;
			n++;
			print_message("svc-%s has no column %s.%s\n",
			              all->service, t->name,
			              t->columns[k].name);
		}
	}
	return n;
}

static void every_column_is_classified_and_no_other(void **state)
{
	static struct catalogue c;

	(void)state;
	for (size_t i = 0; i < COUNTOF(services); i++) {
		open_service(&services[i]);
		read_catalogue(services[i].tables->service, &c);
		assert_true(c.n > 10);
		assert_int_equal(unclassified(services[i].tables, &c), 0);
		assert_int_equal(imagined(services[i].tables, &c), 0);
		close_service();
	}
}

static void a_column_or_table_that_nobody_classified_is_found(void **state)
{
	static struct catalogue c;
	bool pg;

	(void)state;
	open_service(&services[0]);
	pg = store_is_postgres(&fixture.store);
	store_exec(fixture.pool,
	           pg ? "ALTER TABLE auth.users ADD COLUMN shoe_size bigint"
	              : "ALTER TABLE users ADD COLUMN shoe_size INTEGER");
	store_exec(fixture.pool,
	           pg ? "CREATE TABLE auth.shoes (sub text, colour text)"
	              : "CREATE TABLE shoes (sub TEXT, colour TEXT)");
	read_catalogue("auth", &c);
	assert_int_equal(unclassified(&auth_columns, &c), 3);
	store_exec(fixture.pool, pg ? "ALTER TABLE auth.users DROP COLUMN tier"
	                            : "ALTER TABLE users DROP COLUMN tier");
	read_catalogue("auth", &c);
	assert_int_equal(imagined(&auth_columns, &c), 1);
	close_service();
}

/* --- the rows against themselves -------------------------------------------------- */

/* What is wrong with a row; NULL: nothing. */
static const char *fault(const struct privacy_table *t,
                         const struct privacy_column *c)
{
	bool somebody = t->of != OF_NOBODY;
	bool says_why = c->why[0] != '\0';

	if (somebody && c->erase == ERASE_NOTHING)
		return "is of a person, and erasing does nothing";
	if (!somebody && (c->link != PRIVACY_NONE || c->out))
		return "is of nobody, and links a person or is exported";
	if (!somebody && c->erase != ERASE_NOTHING)
		return "is of nobody, and is erased";
	if ((c->basis == BASIS_NONE) == somebody)
		return "has a person or a lawful basis without the other";
	if ((!c->out || c->erase == ERASE_KEEP) != says_why)
		return "needs a reason exactly if kept or not exported";
	if ((c->erase == ERASE_ROW) != (t->columns[0].erase == ERASE_ROW))
		return "goes with its row, and others of it do not";
	return NULL;
}

static bool key_is_there(const struct privacy_table *t)
{
	if (!t->key[0])
		return false;
	for (size_t i = 0; t->key[i]; i++)
		if (!privacy_column(t, str_from(t->key[i])))
			return false;
	return true;
}

static void every_row_says_what_export_and_erasure_do(void **state)
{
	unsigned n = 0;

	(void)state;
	for (size_t i = 0; i < COUNTOF(services); i++) {
		const struct privacy_tables *all = services[i].tables;

		for (size_t k = 0; k < all->n; k++) {
			const struct privacy_table *t = &all->table[k];

			assert_true(key_is_there(t));
			for (size_t c = 0; c < t->columns_n; c++) {
				const char *why = fault(t, &t->columns[c]);

				if (!why)
					continue;
				n++;
				print_message("svc-%s: %s.%s %s\n",
				              all->service, t->name,
				              t->columns[c].name, why);
			}
		}
	}
	assert_int_equal(n, 0);
}

/* --- the statements ------------------------------------------------------------------ */

static enum err run_scans(struct db *db, void *arg)
{
	const struct privacy_tables *all = arg;
	enum err e = OK;

	for (size_t i = 0; i < all->n && !e; i++) {
		const struct privacy_table *t = &all->table[i];

		for (size_t k = 0; k < t->columns_n && !e; k++) {
			const struct privacy_column *c = &t->columns[k];
			bool text = c->type == PRIVACY_TEXT;
			const struct db_val v = text ? DB_STR(STR("0190a000"))
			                             : DB_BLOB(STR("0190a000"));
			int64_t n = -1;

			if (!c->scan.sqlite)
				continue;
			e = db_get_i64(db, &c->scan, &v, 1, &n);
			MUST(e || n == 0);
		}
	}
	return e;
}

static enum err run_statements(struct db *db, void *arg)
{
	const struct privacy_tables *all = arg;
	const struct db_val v[] = {DB_TEXT("nobody"), DB_I64(10)};
	enum err e = OK;

	for (size_t i = 0; i < all->n && !e; i++) {
		int64_t n = -1;

		e = db_run(db, &all->table[i].first, v, 2, NULL);
		if (!e)
			e = db_get_i64(db, &all->table[i].count, v, 1, &n);
		MUST(e || n == 0);
		if (!e)
			e = db_change(db, &all->table[i].erase, v, 1, &n);
		MUST(e || n == 0);
	}
	return e;
}

static void every_statement_runs_and_finds_nothing_of_nobody(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(services); i++) {
		union {
			const struct privacy_tables *in;
			void *arg;
		} u = {.in = services[i].tables};
		struct ctx cx = store_ctx(20000);

		open_service(&services[i]);
		assert_int_equal(
			db_write(fixture.pool, &cx, run_statements, u.arg), OK);
		cx = store_ctx(20000);
		assert_int_equal(db_read(fixture.pool, &cx, run_scans, u.arg),
		                 OK);
		close_service();
	}
}

struct scan {
	const struct db_stmt *st;
	struct db_val v;
	int64_t n;
};

static enum err scan(struct db *db, void *arg)
{
	struct scan *s = arg;

	return db_get_i64(db, s->st, &s->v, 1, &s->n);
}

static int64_t found(struct str column, struct db_val v)
{
	const struct privacy_column *c =
		privacy_column(privacy_table(&gdpr_columns, STR("outbox")),
	                       column);
	struct ctx cx = store_ctx(20000);
	struct scan s = {&c->scan, v, -1};

	assert_int_equal(db_read(fixture.pool, &cx, scan, &s), OK);
	return s.n;
}

static void the_scan_finds_a_name_in_texts_and_in_bytes(void **state)
{
	(void)state;
	open_service(&services[2]);
	store_exec(fixture.pool,
	           store_is_postgres(&fixture.store)
	                   ? "INSERT INTO gdpr.outbox (id, target, sub, seq, "
	                     "shard, type, body, at) VALUES ('i', 'auth', "
	                     "'s-needle-s', 1, 1, 't', "
	                     "convert_to('x-needle-x', 'UTF8'), 1)"
	                   : "INSERT INTO outbox (id, target, sub, seq, shard, "
	                     "type, body, at) VALUES ('i', 'auth', "
	                     "'s-needle-s', 1, 1, 't', "
	                     "CAST('x-needle-x' AS BLOB), 1)");
	assert_int_equal(found(STR("sub"), DB_STR(STR("needle"))), 1);
	assert_int_equal(found(STR("sub"), DB_STR(STR("Needle"))), 0);
	assert_int_equal(found(STR("body"), DB_BLOB(STR("needle"))), 1);
	assert_int_equal(found(STR("body"), DB_BLOB(STR("noodle"))), 0);
	close_service();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_column_is_classified_and_no_other),
		cmocka_unit_test(
			a_column_or_table_that_nobody_classified_is_found),
		cmocka_unit_test(every_row_says_what_export_and_erasure_do),
		cmocka_unit_test(
			every_statement_runs_and_finds_nothing_of_nobody),
		cmocka_unit_test(the_scan_finds_a_name_in_texts_and_in_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
