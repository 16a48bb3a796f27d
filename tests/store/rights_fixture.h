/*
 * rights_fixture - the methods of svc-gdpr over a database, for what people may
 * ask of us.  Consents cannot be deleted, so each test has people of its own.
 */
#ifndef TESTS_STORE_RIGHTS_FIXTURE_H
#define TESTS_STORE_RIGHTS_FIXTURE_H

#include "common/base/uuid.h"
#include "common/codec/json.h"
#include "svc-gdpr/board.h"
#include "svc-gdpr/methods.h"
#include "svc-gdpr/state.h"
#include "svc-gdpr/stmts.h"
#include "tests/store/gdpr_fixture.h"

static struct gdpr_state rights;
static struct arena *arena;
static int kicks;

static inline void count_kick(void *arg)
{
	(void)arg;
	kicks++;
}

static inline int rights_up(void **unused)
{
	if (fixture_up(unused))
		return -1;
	rights.ttl_ms = rights.board_ttl_ms = 600000;
	rights.pool = fixture.pool;
	rights.events = event_store_new("gdpr");
	rights.idem = idem_new(&(struct idem_conf){.service = "gdpr",
	                                           .pool = fixture.pool,
	                                           .retention_ms = 60000});
	rights.cache = cache_new(&(struct cache_conf){.max_bytes = 1 << 20});
	rights.kick = count_kick;
	return rights.events && rights.cache && rights.idem ? 0 : -1;
}

static inline int rights_down(void **unused)
{
	idem_free(rights.idem);
	event_store_free(rights.events);
	cache_free(rights.cache);
	return fixture_down(unused);
}

static inline int rights_each(void **unused)
{
	cache_clear(rights.cache);
	kicks = 0;
	arena = arena_new((size_t)8 << 20);
	return arena ? fixture_each(unused) : -1;
}

static inline int rights_after(void **unused)
{
	(void)unused;
	arena_free(arena);
	return 0;
}

/* A person whom no test has seen before. */
static inline const char *somebody(void)
{
	char text[UUID_MAX];

	return arena_str(arena, (struct str){uuid7(text).p, UUID_MAX}).p;
}

static inline struct ctx ctx_of(const char *sub)
{
	struct ctx cx = store_ctx(20000);

	cx.arena = arena;
	cx.sub = cx.hnd = str_from(sub);
	cx.role = ROLE_USER;
	cx.principal = "gateway";
	cx.ip = STR("192.0.2.77");
	cx.ua = STR("Browser/1.0");
	return cx;
}

/* The answer as JSON, or the pointers and words of a refusal. */
static inline enum err call(method_fn *run, const char *sub, const void *in,
                            struct buf *json)
{
	struct ctx cx = ctx_of(sub);
	struct reply out = {0};
	enum err e = run(&rights, &cx, in, &out);

	buf_clear(json);
	if (!e)
		assert_true(mp_to_json(buf_view(&out.body), json));
	for (size_t i = 0; e && i < cx.problem.faults_n; i++)
		buf_printf(json, "%s %s: %s\n", cx.problem.faults[i].pointer,
		           cx.problem.faults[i].code,
		           cx.problem.faults[i].message);
	if (e)
		buf_str(json, str_from(cx.problem.detail));
	buf_char(json, '\0');
	buf_fini(&out.body);
	return e;
}

static inline enum err look_at(method_fn *run, const char *sub,
                               struct buf *json)
{
	static const char nothing[64];

	return call(run, sub, nothing, json);
}

static inline void has(const struct buf *json, const char *part)
{
	if (!strstr(json->p, part))
		fail_msg("no %s in %s", part, json->p);
}

static inline void lacks(const struct buf *json, const char *part)
{
	if (strstr(json->p, part))
		fail_msg("%s in %s", part, json->p);
}

/* As msgpack, in the arena. */
static inline struct str packed_json(const char *text)
{
	AUTO_BUF out = {0};
	struct json_error at;

	assert_true(json_to_mp(str_from(text), &out, &at));
	return arena_str(arena, buf_view(&out));
}

static inline int64_t number(const char *sqlite, const char *postgres)
{
	/* Connections know them by address and name. */
	static struct db_stmt kept[64];
	static char names[COUNTOF(kept)][24];
	static size_t n;

	assert_true(n < COUNTOF(kept));
	(void)snprintf(names[n], sizeof(names[n]), "test.number_%zu", n);
	kept[n] = (struct db_stmt){names[n], sqlite, postgres};
	return store_i64(fixture.pool, &kept[n++]);
}

#endif
