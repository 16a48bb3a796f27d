/*
 * content_fixture - the methods of svc-content over a store, from JSON to JSON, as
 * the gateway asks them for people and for visitors.
 *
 * Header only: each store test is one program.
 */
#ifndef TESTS_STORE_CONTENT_FIXTURE_H
#define TESTS_STORE_CONTENT_FIXTURE_H

#include "svc-content/content.h"
#include "svc-content/migrations.h"
#include "svc-content/service.h"
#include "tests/store/store.h"

#include "common/codec/json.h"

#include <stdlib.h>

#include <jansson.h>

#define ADA "0190a000-0000-7000-8000-00000000ada0"
#define BOB "0190a000-0000-7000-8000-00000000b0b0"
#define DAY INT64_C(86400000)

static struct {
	struct store store;
	struct content ct;
	struct arena *a;
	char cookie[160]; /* of the last visitor that was admitted */
} fixture;

/* Who asks: a person, or a visitor with this cookie, or neither. */
struct asker {
	const char *sub, *visitor, *ip, *ua;
	const char *hnd, *track, *form;
	bool admin;
};

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

	if (!json)
		return (struct str){NULL, 0};
	assert_true(json_to_mp(str_from(json), &b, &at));
	return arena_str(fixture.a, buf_view(&b));
}

static void keep_cookie(const struct reply *r)
{
	struct str value;

	fixture.cookie[0] = '\0';
	for (size_t i = 0; i < r->headers_n; i++) {
		if (!str_eq(r->headers[i].name, STR(VISITOR_HEADER)))
			continue;
		value = r->headers[i].value;
		(void)str_cut(&value, ' ');
		assert_true(value.n < sizeof(fixture.cookie));
		memcpy(fixture.cookie, value.p, value.n);
		fixture.cookie[value.n] = '\0';
	}
}

static enum err call(const char *name, const struct asker *who,
                     const char *path, const char *query, const char *body,
                     json_t **out)
{
	const struct method *m = method(name);
	struct ctx cx = store_ctx(60000);
	struct reply reply = {.status = 0};
	void *in = arena_alloc(fixture.a, m->in_size);
	AUTO_BUF text = {0};
	struct effect effect = {.method = name, .body = packed(body)};
	enum err e;

	cx.arena = fixture.a;
	cx.sub = str_from(who->sub ? who->sub : "");
	cx.visitor = str_from(who->visitor ? who->visitor : "");
	cx.ip = str_from(who->ip ? who->ip : "192.0.2.1");
	cx.ua = str_from(who->ua ? who->ua : "test");
	cx.hnd = str_from(who->hnd ? who->hnd : "");
	cx.track = str_from(who->track ? who->track : "");
	cx.form = str_from(who->form ? who->form : "");
	cx.role = who->admin ? ROLE_ADMIN : who->sub ? ROLE_USER : ROLE_GUEST;
	cx.rid = STR("rid");
	cx.effect = &effect;
	e = fields_read(&cx, m->fields, m->fields_n, effect.body, packed(query),
	                packed(path), in);
	if (!e)
		e = m->run(&fixture.ct, &cx, in, &reply);
	if (!e) {
		keep_cookie(&reply);
		assert_true(mp_to_json(buf_view(&reply.body), &text));
		*out = json_loadb(text.p, text.n, JSON_DECODE_ANY, NULL);
		assert_non_null(*out);
	}
	buf_fini(&reply.body);
	return e;
}

static inline json_t *ask(const char *name, const struct asker *who,
                          const char *id, const char *body)
{
	char path[64];
	json_t *out = NULL;

	(void)snprintf(path, sizeof(path), "{\"id\":\"%s\"}", id);
	assert_int_equal(call(name, who, path, NULL, body, &out), OK);
	return out;
}

static inline int64_t number(json_t *o, const char *key)
{
	int64_t v;

	assert_true(json_is_integer(json_object_get(o, key)));
	v = json_integer_value(json_object_get(o, key));
	json_decref(o);
	return v;
}

static int up(void **state)
{
	(void)state;
	store_open(&fixture.store, "content");
	fixture.ct.pool = store_pool(&fixture.store);
	fixture.ct.events = event_store_new("content");
	fixture.ct.idem = idem_new(&(struct idem_conf){.service = "content",
	                                               .pool = fixture.ct.pool,
	                                               .retention_ms = 60000});
	return !fixture.ct.events || !fixture.ct.idem ||
	                       db_migrate(fixture.ct.pool, content_migrations,
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
	store_close(&fixture.store);
	return 0;
}

/* The rows of a table, for begin_test(). */
#define EMPTY(t)                                                         \
	{                                                                \
		"test." #t, "DELETE FROM " #t, "DELETE FROM content." #t \
	}

struct emptying {
	const struct db_stmt *tables;
	size_t n;
};

static enum err empty(struct db *db, void *arg)
{
	const struct emptying *em = arg;
	enum err e = OK;

	for (size_t i = 0; i < em->n && !e; i++)
		e = db_run(db, &em->tables[i], NULL, 0, NULL);
	return e;
}

/* An arena, and nothing left in these tables. */
static int begin_test(const struct db_stmt *tables, size_t n)
{
	struct ctx cx = store_ctx(60000);
	struct emptying em = {tables, n};

	fixture.a = arena_new((size_t)32 << 20);
	return !fixture.a || db_write(fixture.ct.pool, &cx, empty, &em) ? -1
	                                                                : 0;
}

static int after(void **state)
{
	(void)state;
	arena_free(fixture.a);
	return 0;
}

static inline void exec(const char *sqlite, const char *postgres)
{
	store_exec(fixture.ct.pool,
	           store_is_postgres(&fixture.store) ? postgres : sqlite);
}

#endif
