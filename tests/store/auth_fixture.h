/*
 * auth_fixture - svc-auth over a migrated database, started anew before each
 * test, and its methods called as the service calls them.
 *
 * Header only: each store test is one program.
 */
#ifndef TESTS_STORE_AUTH_FIXTURE_H
#define TESTS_STORE_AUTH_FIXTURE_H

#include "common/base/secret_file.h"
#include "gateway/jwt.h"
#include "svc-auth/auth.h"
#include "svc-auth/bootstrap.h"
#include "svc-auth/methods.h"
#include "svc-auth/migrations.h"
#include "tests/store/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEK     STR("0123456789abcdef0123456789abcdef")
#define SET_KEY STR("a-chosen-key-of-thirty-two-chars-or-more")
#define DAY_MS  ((int64_t)24 * 3600 * 1000)

static struct {
	struct store store;
	struct db_pool *pool;
	struct event_store *events;
	struct idem *idem;
	struct root_key *root;
	char folder[64], file[SECRET_PATH_MAX];
	struct settings settings;
	struct auth *auth;
	struct buf pushed; /* the last push */
	unsigned kicks;
} fx;

/* --- fixture -------------------------------------------------------------- */

static inline void kick(void *arg)
{
	(void)arg;
	fx.kicks++;
}

static inline void push(void *arg, struct str bytes)
{
	(void)arg;
	buf_clear(&fx.pushed);
	buf_str(&fx.pushed, bytes);
}

/* For threads that use more than one struct auth. */
static inline void no_kick(void *arg)
{
	(void)arg;
}

static inline void no_push(void *arg, struct str bytes)
{
	(void)arg;
	(void)bytes;
}

static inline enum err start_with(const struct settings *s, struct auth **out)
{
	AUTO_ROOT_KEYS keys = {0};
	const struct auth_conf conf = {.settings = s,
	                               .pool = fx.pool,
	                               .keys = &keys,
	                               .root = fx.root,
	                               .events = fx.events,
	                               .idem = fx.idem,
	                               .kick = kick,
	                               .push = push};
	AUTO(arena) arena = arena_new((size_t)1 << 20);
	struct ctx cx = store_ctx(30000);
	enum err e;

	cx.arena = arena;
	e = root_key_open(fx.root, fx.pool, &cx, s, signing_probe, &keys);
	return e ? e : auth_new(&conf, &cx, out);
}

/* As a restart of the service with these settings. */
static inline enum err restart(void)
{
	auth_free(STEAL(fx.auth));
	return start_with(&fx.settings, &fx.auth);
}

static inline enum err clear(struct db *db, void *arg)
{
	static const struct db_stmt tables[] = {
		{"t.0", "DELETE FROM sessions", "DELETE FROM auth.sessions"},
		{"t.01", "DELETE FROM recovery_codes",
	         "DELETE FROM auth.recovery_codes"},
		{"t.02", "DELETE FROM totp", "DELETE FROM auth.totp"},
		{"t.03", "DELETE FROM login_challenges",
	         "DELETE FROM auth.login_challenges"},
		{"t.1", "DELETE FROM api_keys", "DELETE FROM auth.api_keys"},
		{"t.2", "DELETE FROM users", "DELETE FROM auth.users"},
		{"t.3", "DELETE FROM signing_keys",
	         "DELETE FROM auth.signing_keys"},
		{"t.31", "DELETE FROM root_key", "DELETE FROM auth.root_key"},
		{"t.4", "DELETE FROM revocations",
	         "DELETE FROM auth.revocations"},
		{"t.5", "UPDATE revocation_seq SET seq = 0",
	         "UPDATE auth.revocation_seq SET seq = 0"},
		{"t.6", "DELETE FROM outbox", "DELETE FROM auth.outbox"},
		{"t.7", "DELETE FROM outbox_seq",
	         "DELETE FROM auth.outbox_seq"},
		{"t.8", "DELETE FROM throttle", "DELETE FROM auth.throttle"},
	};
	enum err e = OK;

	(void)arg;
	for (size_t i = 0; !e && i < COUNTOF(tables); i++)
		e = db_run(db, &tables[i], NULL, 0, NULL);
	return e;
}

static inline int each_up(void **state)
{
	struct ctx cx = store_ctx(30000);

	(void)state;
	fx.settings = (struct settings){
		.env = ENV_TESTING,
		.data_dir = str_from(fx.folder),
		.key_encryption_key = KEK,
		.token_issuer = STR("knowalledge"),
		.token_audience = STR("knowalledge"),
		.access_token_ttl_s = 86400,
		.refresh_token_ttl_s = 2592000,
		.session_idle_ttl_s = 1209600,
		.refresh_grace_s = 60,
		.sessions_max = 100,
		.signing_key_ttl_s = 7776000,
		.password_hash_memory_mb = 1,
		.password_hash_passes = 1,
		.password_hash_total_mb = 1,
		.step_up_max_age_s = 900,
	};
	(void)unlink(fx.file);
	if (db_write(fx.pool, &cx, clear, NULL))
		return -1;
	buf_clear(&fx.pushed);
	fx.kicks = 0;
	return restart() ? -1 : 0;
}

static inline int each_down(void **state)
{
	(void)state;
	auth_free(STEAL(fx.auth));
	return 0;
}

static inline int up(void **state)
{
	(void)state;
	store_open(&fx.store, "auth");
	fx.pool = store_pool(&fx.store);
	fx.events = event_store_new("auth");
	fx.idem = idem_new(&(struct idem_conf){
		.service = "auth", .pool = fx.pool, .retention_ms = DAY_MS});
	(void)snprintf(fx.folder, sizeof(fx.folder), "/tmp/kae-auth-XXXXXX");
	fx.root = root_key_new("auth");
	if (!mkdtemp(fx.folder) || !fx.events || !fx.idem || !fx.root ||
	    !secret_path(str_from(fx.folder), BOOTSTRAP_FILE, fx.file))
		return -1;
	return db_migrate(fx.pool, auth_migrations, AUTH_MIGRATIONS) ? -1 : 0;
}

static inline int down(void **state)
{
	(void)state;
	(void)unlink(fx.file);
	root_key_free(fx.root);
	idem_free(fx.idem);
	event_store_free(fx.events);
	buf_fini(&fx.pushed);
	db_pool_free(fx.pool);
	store_close(&fx.store);
	return rmdir(fx.folder);
}

/* --- calling methods ------------------------------------------------------ */

/* Who asks, and what came of it; call_end() frees it. */
struct call {
	struct ctx cx;
	struct reply reply;
	enum err e;
};

static inline struct call call_as(struct str sub, uint32_t scopes)
{
	struct call c = {.cx = store_ctx(30000)};

	c.cx.arena = arena_new((size_t)1 << 20);
	c.cx.sub = sub;
	c.cx.scopes = scopes;
	c.cx.auth_time_s = wall_ms() / 1000; /* has just logged in */
	assert_non_null(c.cx.arena);
	return c;
}

static inline void call_end(struct call *c)
{
	arena_free(c->cx.arena);
	buf_fini(&c->reply.body);
}
#define AUTO_CALL __attribute__((cleanup(call_end))) struct call

static inline struct call run_as(struct str sub, uint32_t scopes, method_fn *fn,
                                 const void *in)
{
	struct call c = call_as(sub, scopes);

	c.e = fn(fx.auth, &c.cx, in, &c.reply);
	assert_false(c.reply.body.failed);
	return c;
}

static inline struct call run(method_fn *fn, const void *in)
{
	return run_as((struct str){0}, 0, fn, in);
}

static inline struct str text(const struct call *c, const char *key)
{
	return mp_find_str(buf_view(&c->reply.body), key, STR(""));
}

static inline bool says(const struct call *c, const char *key, const char *want)
{
	return str_eq(text(c, key), str_from(want));
}

/* A person with a key of their own. */
struct member {
	char sub[UUID_MAX], key[300], key_id[UUID_MAX];
	uint32_t scopes;
};

static inline void copy(char *out, size_t max, struct str s)
{
	assert_true(s.n < max);
	memcpy(out, s.p, s.n);
	out[s.n] = '\0';
}

static inline struct call verify(struct str key)
{
	unsigned char hash[API_KEY_HASH];
	AUTO_BUF packed = {0};
	struct auth_verify_key_in in = {0};

	api_key_hash(key, hash);
	mp_bin(&packed, (struct str){(char *)hash, sizeof(hash)});
	in.hash = buf_view(&packed);
	return run(method_auth_verify_key, &in);
}

static inline enum err verdict(struct str key)
{
	AUTO_CALL c = verify(key);

	return c.e;
}

static inline void known(struct str key, struct member *m)
{
	AUTO_CALL c = verify(key);

	assert_int_equal(c.e, OK);
	copy(m->sub, sizeof(m->sub), text(&c, "sub"));
	copy(m->key, sizeof(m->key), key);
	copy(m->key_id, sizeof(m->key_id), text(&c, "key_id"));
	assert_true(scopes_from_str(text(&c, "scp"), &m->scopes));
}

static inline void join(const char *handle, struct member *m)
{
	const struct auth_register_in in = {.user_id = str_from(handle)};
	AUTO_CALL c = run(method_auth_register, &in);

	assert_int_equal(c.e, OK);
	known(text(&c, "api_key"), m);
}

static inline struct call login(struct str key)
{
	const struct auth_login_in in = {.api_key = key};

	return run(method_auth_login, &in);
}

static inline void admin_key(char out[SECRET_FILE_MAX])
{
	size_t n = 0;

	assert_int_equal(secret_file_read(fx.file, out, &n), OK);
	out[n] = '\0';
}

/* A static statement each, because connections know them by address. */
#define NUMBER(in_sqlite, in_postgres)                                         \
	__extension__({                                                        \
		static const struct db_stmt st_ = {"test.number", (in_sqlite), \
		                                   (in_postgres)};             \
		store_i64(fx.pool, &st_);                                      \
	})
#define COUNT(table, where)                                   \
	NUMBER("SELECT COUNT(*) FROM " table " WHERE " where, \
	       "SELECT COUNT(*) FROM auth." table " WHERE " where)

/* --- verifying what was issued -------------------------------------------- */

static inline struct jwt_keys *published(struct auth *au)
{
	struct jwt_keys *k = NULL;
	AUTO_BUF body = {0};

	signing_jwks(au->signing, &body);
	assert_int_equal(jwt_keys_read(buf_view(&body), &k), OK);
	return k;
}

static inline enum err accepted(struct auth *au, struct str token,
                                struct jwt_claims *out)
{
	const struct jwt_policy p = {fx.settings.token_issuer,
	                             fx.settings.token_audience};
	AUTO(jwt_keys) k = published(au);

	return jwt_verify(k, &p, token, wall_ms() / 1000, out);
}

static inline struct call logout(struct str sub, struct str sid)
{
	static const struct auth_logout_in in;
	struct call c = call_as(sub, SCOPES_USUAL);

	c.cx.sid = sid;
	c.e = method_auth_logout(fx.auth, &c.cx, &in, &c.reply);
	return c;
}

static inline struct call since(int64_t seq)
{
	const struct auth_revocations_in in = {.since = seq};

	return run(method_auth_revocations, &in);
}

/* The rows of a revocations body. */
static inline uint32_t rows(struct str body)
{
	struct str items;
	struct mp m;
	uint32_t n = 0;

	assert_true(mp_find(body, "items", &items));
	m = mp_open(items);
	assert_true(mp_get_array(&m, &n));
	return n;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, each_up, each_down)

#endif
