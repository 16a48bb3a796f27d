/*
 * A cache that is being filled while the person is erased: two instances of
 * svc-gdpr over one database and one Redis, of which one erases and one has read
 * the person's row and not answered yet.
 */
#include "svc-gdpr/erase.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/service/erase.h"
#include "tests/store/gdpr_fixture.h"
#include "tests/unit/redis_server.h"

#include <pthread.h>

#define ADA     STR("0190a000-0000-7000-8000-00000000ada0")
#define RECEIPT STR("0190a000-0000-7000-8000-0000000000e1")
#define TTL_MS  600000
#define LONG_MS 60000

static struct {
	struct redis_server server;
	struct settings conf;
	struct cached *erasing, *filling;
	struct event_store *events;
	struct idem *idem;
	struct erased *erased;
	struct erase *erase;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	int read_n; /* loads that have read the row and wait */
	bool go_on;
} fx = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static bool settings_of_redis(void)
{
	char url[160];

	(void)snprintf(url, sizeof(url), "redis+unix://%s", fx.server.path);
	(void)setenv("ENVIRONMENT", "testing", 1);
	(void)setenv("REDIS_URL", url, 1);
	return conf_load(&fx.conf, FOR_SERVICES, stderr);
}

static int up(void **state)
{
	if (fixture_up(state))
		return -1;
	redis_start(&fx.server);
	if (!settings_of_redis())
		return -1;
	fx.erasing = cached_new(&fx.conf, "gdpr");
	fx.filling = cached_new(&fx.conf, "gdpr");
	fx.events = event_store_new("gdpr");
	fx.erased = erased_new("gdpr");
	fx.idem = idem_new(&(struct idem_conf){.service = "gdpr",
	                                       .pool = fixture.pool,
	                                       .retention_ms = TTL_MS,
	                                       .erased = fx.erased});
	fx.erase = erase_new(&(struct erase_conf){.def = &gdpr_erase,
	                                          .service = "gdpr",
	                                          .settings = &fx.conf,
	                                          .pool = fixture.pool,
	                                          .events = fx.events,
	                                          .idem = fx.idem,
	                                          .erased = fx.erased});
	if (!fx.erasing || !fx.filling || !fx.erase)
		return -1;
	/* Before it is in step an instance keeps nothing for long. */
	while (!cache_proof_ms(cached_cache(fx.erasing)) ||
	       !cache_proof_ms(cached_cache(fx.filling)))
		nap();
	return 0;
}

static int down(void **state)
{
	erase_free(fx.erase);
	idem_free(fx.idem);
	erased_free(fx.erased);
	event_store_free(fx.events);
	cached_free(fx.filling);
	cached_free(fx.erasing);
	conf_fini(&fx.conf);
	redis_end(&fx.server);
	return fixture_down(state);
}

/* --- the one who fills ------------------------------------------------------------ */

static const struct db_stmt person_add = {
	"test.add",
	"INSERT INTO person (sub, total_xp, created_at, updated_at) "
	"VALUES ($1, 100, 1, 1)",
	"INSERT INTO gdpr.person (sub, total_xp, created_at, updated_at) "
	"VALUES ($1, 100, 1, 1)"};
static const struct db_stmt person_xp = {
	"test.xp", "SELECT total_xp FROM person WHERE sub = $1",
	"SELECT total_xp FROM gdpr.person WHERE sub = $1"};

static enum err add(struct db *db, void *arg)
{
	const struct db_val v[] = {DB_STR(ADA)};

	(void)arg;
	return db_run(db, &person_add, v, COUNTOF(v), NULL);
}

static enum err take_xp(void *arg, const struct db_row *row)
{
	*(int64_t *)arg = db_row_i64(row, 0);
	return OK;
}

static enum err read_xp(struct db *db, void *arg)
{
	const struct db_val v[] = {DB_STR(ADA)};
	const struct db_sink sink = {take_xp, arg};

	return db_run(db, &person_xp, v, COUNTOF(v), &sink);
}

/* Reads the row, and is held before it answers. */
static enum err load(void *arg, struct buf *out)
{
	int64_t *xp = arg;
	enum err e = fixture_read(read_xp, xp);
	GUARD(&fx.lock);

	fx.read_n++;
	(void)pthread_cond_broadcast(&fx.moved);
	while (!fx.go_on)
		(void)pthread_cond_wait(&fx.moved, &fx.lock);
	buf_str(out, ADA);
	return e;
}

struct fill {
	pthread_t thread;
	struct str key, tag;
	int64_t xp;
	enum err e;
};

static void *fill(void *arg)
{
	struct fill *f = arg;
	struct cache_want want = {.key = f->key,
	                          .ttl_ms = TTL_MS,
	                          .now_ms = mono_ms(),
	                          .deadline_ms = mono_ms() + LONG_MS,
	                          .load = load,
	                          .arg = &f->xp,
	                          .tags_n = 1,
	                          .tags = {f->tag}};
	AUTO(cache_value) v = NULL;

	f->e = cache_load(cached_cache(fx.filling), &want, &v, NULL);
	return NULL;
}

static void wait_read(int n)
{
	GUARD(&fx.lock);

	while (fx.read_n < n)
		(void)pthread_cond_wait(&fx.moved, &fx.lock);
}

static void let_go(void)
{
	GUARD(&fx.lock);

	fx.go_on = true;
	(void)pthread_cond_broadcast(&fx.moved);
}

/* --- the claim ------------------------------------------------------------------------- */

static void erase_ada(void)
{
	struct ctx cx = store_ctx(LONG_MS);
	AUTO(arena) arena = arena_new((size_t)1 << 20);
	AUTO_BUF report = {0};
	const struct erasee who = {.sub = ADA,
	                           .receipt = RECEIPT,
	                           .now_ms = wall_ms()};

	assert_non_null(arena);
	cx.arena = arena;
	cx.principal = "gdpr";
	assert_int_equal(erase_person(fx.erase, &cx, NULL,
	                              cached_cache(fx.erasing), &who, &report),
	                 OK);
}

static bool is_there(struct cached *c, struct str key)
{
	AUTO(cache_value) v = NULL;

	return cache_peek(cached_cache(c), key, mono_ms(), &v, NULL) ==
	       CACHE_HIT;
}

/* Any value below any key that still has the text in it. */
static bool in_redis(struct str text)
{
	redisReply *keys = REDIS_DO(&fx.server, "KEYS", "*");
	bool found = false;

	for (size_t i = 0; i < keys->elements && !found; i++) {
		redisReply *v =
			REDIS_DO(&fx.server, "GET", keys->element[i]->str);

		found = v->type == REDIS_REPLY_STRING &&
		        memmem(v->str, v->len, text.p, text.n);
		freeReplyObject(v);
	}
	freeReplyObject(keys);
	return found;
}

static enum err give_mark(void *arg, struct buf *out)
{
	const struct str *mark = arg;

	buf_str(out, *mark);
	return OK;
}

/* Until Redis has all that the one who fills has sent: in order, so that what
 * is sent last tells it. */
static void settle(void)
{
	static unsigned nth;
	char text[32];
	struct str mark = {text, (size_t)snprintf(text, sizeof(text), "mark %u",
	                                          ++nth)};
	const struct cache_want want = {.key = mark,
	                                .ttl_ms = TTL_MS,
	                                .now_ms = mono_ms(),
	                                .deadline_ms = mono_ms() + LONG_MS,
	                                .load = give_mark,
	                                .arg = &mark};
	AUTO(cache_value) v = NULL;

	assert_int_equal(cache_load(cached_cache(fx.filling), &want, &v, NULL),
	                 OK);
	while (!in_redis(mark))
		nap();
}

static void a_fill_that_the_erasure_overtakes_is_not_kept(void **state)
{
	struct fill f = {.key = ADA, .tag = STR("board")};

	(void)state;
	fx.read_n = 0;
	fx.go_on = false;
	assert_int_equal(fixture_write(add, NULL), OK);
	assert_int_equal(pthread_create(&f.thread, NULL, fill, &f), 0);
	wait_read(1);
	erase_ada();
	let_go();
	assert_int_equal(pthread_join(f.thread, NULL), 0);
	/* It has read the row: without a race there is nothing to see here. */
	assert_int_equal(f.e, OK);
	assert_int_equal(f.xp, 100);
	settle();
	assert_false(is_there(fx.filling, ADA));
	assert_false(is_there(fx.erasing, ADA));
	assert_false(in_redis(ADA));
}

static void a_fill_that_nothing_overtakes_is(void **state)
{
	struct fill f = {.key = ADA, .tag = STR("board")};

	(void)state;
	fx.go_on = true;
	assert_int_equal(pthread_create(&f.thread, NULL, fill, &f), 0);
	assert_int_equal(pthread_join(f.thread, NULL), 0);
	settle();
	assert_true(is_there(fx.filling, ADA));
	assert_true(in_redis(ADA));
	erase_ada();
	assert_false(is_there(fx.erasing, ADA));
	assert_false(in_redis(ADA));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fill_that_nothing_overtakes_is),
		cmocka_unit_test(a_fill_that_the_erasure_overtakes_is_not_kept),
	};

	return cmocka_run_group_tests(tests, up, down);
}
