#include "common/service/service.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/service/figures.h"
#include "tests/alloc_fault.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define METHODS_DEF "tests/unit/service_methods.def"
#define METHODS_TABLE
#include "common/service/methods.h"

#define LONG_MS 20000

/* --- a service that keeps notes and tells another of them ---------------------------- */

static const struct db_migration migrations[] = {
	{1, "notes",
         "CREATE TABLE note (sub TEXT NOT NULL, text TEXT NOT NULL);" EVENT_TABLES_SQLITE
                 EVENT_TRACE_SQLITE IDEM_TABLE_SQLITE,
         ""},
};
static const struct db_stmt note_add = {
	"note.add", "INSERT INTO note (sub, text) VALUES ($1, $2)", NULL};
static const struct db_stmt note_count = {"note.count",
                                          "SELECT count(*) FROM note", NULL};

/* What a test decides, and what it learns.  One service at a time has it. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	enum err start_says;
	unsigned start_fails; /* so often, then OK */
	unsigned starts, stops, changes, applied;
	unsigned told; /* empty pushes of content that the gateway got */
	bool shut;
	unsigned inside;
} test = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static void set(bool shut)
{
	GUARD(&test.lock);

	test.shut = shut;
	pthread_cond_broadcast(&test.moved);
}

static void pass_gate(void)
{
	GUARD(&test.lock);

	test.inside++;
	pthread_cond_broadcast(&test.moved);
	while (test.shut)
		pthread_cond_wait(&test.moved, &test.lock);
}

static void wait_inside(unsigned n)
{
	GUARD(&test.lock);

	while (test.inside < n)
		pthread_cond_wait(&test.moved, &test.lock);
}

static unsigned read_counter(const unsigned *c)
{
	GUARD(&test.lock);

	return *c;
}

struct state {
	struct service *sv;
};

static enum err start(struct service *sv, void **state)
{
	struct state *st;
	GUARD(&test.lock);

	test.starts++;
	if (test.start_fails) {
		test.start_fails--;
		return test.start_says;
	}
	st = calloc(1, sizeof(*st));
	if (!st)
		return ERR_NOMEM;
	st->sv = sv;
	*state = st;
	return OK;
}

static void stop(void *state)
{
	GUARD(&test.lock);

	test.stops++;
	free(state);
}

struct add {
	struct event_store *events;
	const struct ctx *cx;
	struct str text;
};

static enum err add(struct db *db, void *arg, struct reply *out)
{
	const struct add *a = arg;
	const struct db_val v[] = {DB_STR(a->cx->sub), DB_STR(a->text)};
	enum err e = db_run(db, &note_add, v, COUNTOF(v), NULL);

	out->status = 201;
	return e ? e
	         : event_emit(a->events, db, PEER_GDPR, a->cx->sub,
	                      STR("note.added"), STR("\x80"), wall_ms());
}

enum err method_note_add(void *state, struct ctx *cx, const void *in,
                         struct reply *out)
{
	struct service *sv = ((struct state *)state)->sv;
	struct add a = {service_events(sv), cx,
	                ((const struct note_add_in *)in)->text};
	enum err e = idem_write(service_idem(sv), cx, add, &a, out);

	if (!e)
		service_kick(sv);
	return e;
}

static enum err count(struct db *db, void *arg)
{
	return db_get_i64(db, &note_count, NULL, 0, arg);
}

enum err method_note_count(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	int64_t n = 0;
	enum err e = db_read(service_pool(((struct state *)state)->sv), cx,
	                     count, &n);

	(void)in;
	mp_map(&out->body, 1);
	mp_kv_i64(&out->body, "count", n);
	return e;
}

/* Has an effect, says methods.def, and does not care about keys. */
enum err method_note_forget(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	(void)state;
	(void)cx;
	(void)in;
	mp_map(&out->body, 0);
	return OK;
}

enum err method_wait(void *state, struct ctx *cx, const void *in,
                     struct reply *out)
{
	(void)state;
	(void)cx;
	(void)in;
	(void)out;
	pass_gate();
	return OK;
}

static enum err applied(void *arg, struct db *db, const struct event *ev)
{
	(void)arg;
	(void)db;
	GUARD(&test.lock);

	test.applied += str_eq(ev->type, STR("note.added"));
	return OK;
}

static const struct service_def content_def = {
	.self = PEER_CONTENT,
	.name = "content",
	.methods = methods,
	.methods_n = COUNTOF(methods),
	.migrations = migrations,
	.migrations_n = COUNTOF(migrations),
	.slow_threads = 1,
	.start = start,
	.stop = stop,
};

static const struct service_def gdpr_def = {
	.self = PEER_GDPR,
	.name = "gdpr",
	.methods = methods,
	.methods_n = COUNTOF(methods),
	.migrations = migrations,
	.migrations_n = COUNTOF(migrations),
	.start = start,
	.stop = stop,
	.apply = applied,
};

/* --- where it runs ------------------------------------------------------------------ */

struct rig {
	char dir[64];
	struct settings conf;
	struct metrics *metrics;
	struct health *health;
	struct figures *figures;
	struct service_env env;
	struct bus_caller *gateway;
	unsigned nr;
	char url[PEER_COUNT][64];
};

static void changed(void *arg)
{
	(void)arg;
	GUARD(&test.lock);

	test.changes++;
	pthread_cond_broadcast(&test.moved);
}

static void pushed(void *arg, enum bus_peer from, struct str bytes)
{
	(void)arg;
	GUARD(&test.lock);

	test.told += from == PEER_CONTENT && bytes.n == 0;
}

static int set_up(void **state)
{
	static unsigned nr;
	struct rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	(void)snprintf(r->dir, sizeof(r->dir), "/tmp/kae-service-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	assert_int_equal(setenv("DATA_DIR", r->dir, 1), 0);
	assert_int_equal(setenv("ENVIRONMENT", "testing", 1), 0);
	assert_true(conf_load(&r->conf, FOR_SERVICES, stderr));
	r->metrics = metrics_new();
	r->health = health_new();
	r->figures = figures_new(r->metrics);
	assert_non_null(r->figures);
	r->nr = nr++;
	r->env = (struct service_env){.conf = &r->conf,
	                              .metrics = r->metrics,
	                              .health = r->health,
	                              .figures = r->figures,
	                              .changed = changed};
	r->gateway = bus_caller_new(&(
		struct bus_client_conf){.self = PEER_GATEWAY, .push = pushed});
	assert_non_null(r->gateway);
	for (enum bus_peer p = PEER_AUTH; p < PEER_COUNT; p++) {
		(void)snprintf(r->url[p], sizeof(r->url[p]),
		               "inproc://service-%u-%s", r->nr,
		               bus_peer_name(p));
		assert_int_equal(
			bus_caller_add(r->gateway, p, str_from(r->url[p])), OK);
	}
	r->env.urls[PEER_GDPR] = r->url[PEER_GDPR];
	test.start_says = OK;
	test.start_fails = test.starts = test.stops = test.changes = 0;
	test.applied = test.inside = test.told = 0;
	test.shut = false;
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;
	struct dirent *e;
	char path[400];
	DIR *d;

	bus_caller_free(r->gateway);
	figures_free(r->figures);
	metrics_free(r->metrics);
	health_free(r->health);
	conf_fini(&r->conf);
	d = opendir(r->dir);
	while (d && (e = readdir(d))) {
		(void)snprintf(path, sizeof(path), "%s/%s", r->dir, e->d_name);
		(void)unlink(path);
	}
	if (d)
		(void)closedir(d);
	assert_int_equal(rmdir(r->dir), 0);
	free(r);
	return 0;
}

static struct service *begin(struct rig *r, const struct service_def *def)
{
	struct service *sv = NULL;

	r->env.listen = r->url[def->self];
	assert_int_equal(service_start(def, &r->env, &sv), OK);
	return sv;
}

/* Ready, and the callers have found it. */
static void wait_ready(const struct rig *r, const struct service *sv,
                       enum bus_peer self)
{
	uint64_t until_ms = mono_ms() + LONG_MS;

	while (!service_ready(sv) || bus_caller_up(r->gateway, self) == 0) {
		assert_false(service_failed(sv));
		assert_true(mono_ms() < until_ms);
		(void)usleep(500);
	}
}

/* What the gateway is answered; *number from the body's "count". */
static enum err call_keyed(struct rig *r, enum bus_peer to, const char *op,
                           const char *key, int64_t *number)
{
	AUTO(arena) arena = arena_new(1 << 16);
	AUTO_BUF bytes = {0};
	AUTO_BUF body = {0};
	AUTO_BUF reply = {0};
	struct ctx cx = {.arena = arena,
	                 .rid = STR("r-1"),
	                 .sub = STR("s-1"),
	                 .role = ROLE_USER,
	                 .idk = str_from(key)};
	struct reply_view v = {0};
	enum err e;

	mp_map(&body, 1);
	mp_kv_text(&body, "text", "a note");
	entry_pack(&bytes, &cx,
	           &(struct entry){.op = str_from(op),
	                           .body = buf_view(&body)});
	e = bus_caller_call(r->gateway,
	                    &(struct bus_call){.to = to,
	                                       .deadline_ms =
	                                               mono_ms() + LONG_MS,
	                                       .bytes = buf_view(&bytes)},
	                    &reply);
	if (e)
		return e;
	assert_int_equal(reply_read(buf_view(&reply), &cx, &v), OK);
	if (number)
		*number = mp_find_i64(v.body, "count", -1);
	return v.err;
}

static enum err call(struct rig *r, enum bus_peer to, const char *op,
                     int64_t *number)
{
	return call_keyed(r, to, op, "", number);
}

static bool shows(struct rig *r, const char *what)
{
	AUTO_BUF out = {0};

	(void)health_render(r->health,
	                    &(struct health_ask){.part = "content",
	                                         .now_ms = (int64_t)mono_ms()},
	                    &out);
	metrics_render(r->metrics, &out);
	buf_char(&out, '\0');
	assert_false(out.failed);
	return strstr(out.p, what);
}

/* --- tests ---------------------------------------------------------------------------- */

static void a_service_migrates_and_serves(void **state)
{
	struct rig *r = *state;
	struct service *sv = begin(r, &content_def);
	int64_t n = -1;

	wait_ready(r, sv, PEER_CONTENT);
	assert_int_equal(call(r, PEER_CONTENT, "note.add", NULL), OK);
	assert_int_equal(call(r, PEER_CONTENT, "note.add", NULL), OK);
	assert_int_equal(call(r, PEER_CONTENT, "note.count", &n), OK);
	assert_int_equal(n, 2);
	service_stop(sv, 1000);
	assert_int_equal(test.stops, 1);
	/* Started again it has what it had. */
	sv = begin(r, &content_def);
	wait_ready(r, sv, PEER_CONTENT);
	assert_int_equal(call(r, PEER_CONTENT, "note.count", &n), OK);
	assert_int_equal(n, 2);
	service_stop(sv, 1000);
}

static void a_key_lets_a_call_have_one_effect(void **state)
{
	struct rig *r = *state;
	struct service *sv = begin(r, &content_def);
	int64_t n = -1;

	wait_ready(r, sv, PEER_CONTENT);
	for (int i = 0; i < 3; i++)
		assert_int_equal(
			call_keyed(r, PEER_CONTENT, "note.add", "k", NULL), OK);
	assert_int_equal(call_keyed(r, PEER_CONTENT, "note.add", "l", NULL),
	                 OK);
	assert_int_equal(call(r, PEER_CONTENT, "note.count", &n), OK);
	assert_int_equal(n, 2);
	assert_true(shows(r, "kae_idempotency_requests_total{service="
	                     "\"content\",result=\"stored\"} 2"));
	assert_true(shows(r, "kae_idempotency_requests_total{service="
	                     "\"content\",result=\"replayed\"} 2"));
	service_stop(sv, 1000);
}

static void an_effect_that_forgets_the_key_is_our_mistake(void **state)
{
	struct rig *r = *state;
	struct service *sv = begin(r, &content_def);

	wait_ready(r, sv, PEER_CONTENT);
	assert_int_equal(call(r, PEER_CONTENT, "note.forget", NULL),
	                 ERR_INTERNAL);
	assert_int_equal(call_keyed(r, PEER_CONTENT, "note.forget", "k", NULL),
	                 ERR_INTERNAL);
	service_stop(sv, 1000);
}

static void before_it_is_ready_callers_are_refused_at_once(void **state)
{
	struct rig *r = *state;
	struct service *sv;

	test.start_says = ERR_DATABASE;
	test.start_fails = UINT32_MAX;
	sv = begin(r, &content_def);
	/* Refused by the service, which listens, not for want of one. */
	while (bus_caller_up(r->gateway, PEER_CONTENT) == 0)
		(void)usleep(500);
	assert_int_equal(call(r, PEER_CONTENT, "note.count", NULL),
	                 ERR_UNAVAILABLE);
	assert_false(service_ready(sv));
	assert_false(service_failed(sv));
	service_stop(sv, 0);
	assert_int_equal(test.stops, 0);
}

/* What it tells the gateway, which asks for itself: its status, and whether
 * its database is usable. */
static enum err ask_health(struct rig *r, char status[16], bool *database)
{
	AUTO(arena) arena = arena_new(1 << 16);
	AUTO_BUF bytes = {0};
	AUTO_BUF reply = {0};
	struct ctx cx = {.arena = arena, .rid = STR("r-1")};
	struct reply_view v = {0};
	struct str checks = STR(""), db = STR("");
	enum err e;

	entry_pack(&bytes, &cx, &(struct entry){.op = STR("service.health")});
	e = bus_caller_call(r->gateway,
	                    &(struct bus_call){.to = PEER_CONTENT,
	                                       .deadline_ms =
	                                               mono_ms() + LONG_MS,
	                                       .bytes = buf_view(&bytes)},
	                    &reply);
	if (e)
		return e;
	assert_int_equal(reply_read(buf_view(&reply), &cx, &v), OK);
	(void)snprintf(status, 16, "%.*s",
	               STR_FMT(mp_find_str(v.body, "status", STR(""))));
	*database = mp_find(v.body, "checks", &checks) &&
	            mp_find(checks, "database", &db) &&
	            str_eq(mp_find_str(db, "status", STR("")), STR("up"));
	return v.err;
}

static void health_is_told_before_it_is_ready_too(void **state)
{
	struct rig *r = *state;
	struct service *sv;
	char status[16];
	bool database = false;

	test.start_says = ERR_DATABASE;
	test.start_fails = 3;
	sv = begin(r, &content_def);
	while (bus_caller_up(r->gateway, PEER_CONTENT) == 0)
		(void)usleep(500);
	assert_int_equal(ask_health(r, status, &database), OK);
	assert_string_equal(status, "starting");
	wait_ready(r, sv, PEER_CONTENT);
	/* Its peer gdpr does not run. */
	do
		assert_int_equal(ask_health(r, status, &database), OK);
	while (strcmp(status, "degraded") != 0);
	assert_true(database);
	service_stop(sv, 1000);
}

static void a_database_that_is_away_is_tried_again(void **state)
{
	struct rig *r = *state;
	struct service *sv;

	test.start_says = ERR_DATABASE;
	test.start_fails = 2;
	sv = begin(r, &content_def);
	wait_ready(r, sv, PEER_CONTENT);
	assert_int_equal(read_counter(&test.starts), 3);
	assert_int_equal(call(r, PEER_CONTENT, "note.count", NULL), OK);
	service_stop(sv, 1000);
}

static void whom_it_refused_is_told_when_it_has_started(void **state)
{
	struct rig *r = *state;
	uint64_t until_ms = mono_ms() + LONG_MS;
	struct service *sv;
	char status[16];
	bool database = false;

	test.start_says = ERR_DATABASE;
	test.start_fails = UINT32_MAX;
	sv = begin(r, &content_def);
	/* Answered, so it has heard of the gateway. */
	assert_int_equal(ask_health(r, status, &database), OK);
	assert_int_equal(read_counter(&test.told), 0);
	pthread_mutex_lock(&test.lock);
	test.start_fails = 0;
	pthread_mutex_unlock(&test.lock);
	while (read_counter(&test.told) == 0) {
		assert_true(mono_ms() < until_ms);
		(void)usleep(500);
	}
	assert_true(service_ready(sv));
	assert_int_equal(read_counter(&test.told), 1);
	service_stop(sv, 1000);
}

static void what_will_never_work_is_given_up(void **state)
{
	struct rig *r = *state;
	struct service *sv;
	uint64_t until_ms = mono_ms() + LONG_MS;

	test.start_says = ERR_INVALID;
	test.start_fails = UINT32_MAX;
	sv = begin(r, &content_def);
	while (!service_failed(sv)) {
		assert_true(mono_ms() < until_ms);
		(void)usleep(500);
	}
	while (read_counter(&test.changes) == 0)
		(void)usleep(500);
	assert_int_equal(read_counter(&test.starts), 1);
	service_stop(sv, 0);
}

static void a_taken_address_is_told(void **state)
{
	struct rig *r = *state;
	struct service *sv = begin(r, &content_def), *second = NULL;

	assert_int_equal(service_start(&content_def, &r->env, &second),
	                 ERR_EXISTS);
	assert_null(second);
	service_stop(sv, 1000);
}

static void an_address_or_database_that_is_none_is_told(void **state)
{
	struct rig *r = *state;
	struct settings odd = r->conf;
	struct service *sv = NULL;

	r->env.listen = "nonsense";
	assert_int_equal(service_start(&content_def, &r->env, &sv),
	                 ERR_INVALID);
	odd.database_url = STR("mysql://host/db");
	r->env.conf = &odd;
	r->env.listen = r->url[PEER_CONTENT];
	assert_int_equal(service_start(&content_def, &r->env, &sv),
	                 ERR_INVALID);
	assert_null(sv);
}

struct waiter {
	struct rig *r;
	enum err e;
};

static void *call_wait(void *arg)
{
	struct waiter *c = arg;

	c->e = call(c->r, PEER_CONTENT, "wait", NULL);
	return NULL;
}

static void *drain(void *arg)
{
	service_drain(arg, LONG_MS);
	return NULL;
}

static void a_drain_finishes_what_runs_and_takes_nothing_new(void **state)
{
	struct rig *r = *state;
	struct service *sv = begin(r, &content_def);
	struct waiter c = {.r = r};
	pthread_t caller, drainer;
	enum err e = OK;

	wait_ready(r, sv, PEER_CONTENT);
	set(true);
	assert_int_equal(pthread_create(&caller, NULL, call_wait, &c), 0);
	wait_inside(1);
	assert_int_equal(pthread_create(&drainer, NULL, drain, sv), 0);
	while (service_ready(sv))
		(void)usleep(500);
	while (!e) /* the last to be taken may still be answered */
		e = call(r, PEER_CONTENT, "note.count", NULL);
	assert_int_equal(e, ERR_UNAVAILABLE);
	set(false);
	pthread_join(drainer, NULL);
	pthread_join(caller, NULL);
	assert_int_equal(c.e, OK);
	service_stop(sv, 0);
}

static void *open_late(void *arg)
{
	(void)arg;
	(void)usleep(100000);
	set(false);
	return NULL;
}

static void what_waits_when_the_grace_is_over_is_refused(void **state)
{
	struct rig *r = *state;
	struct service *sv = begin(r, &content_def);
	struct waiter running = {.r = r}, waiting = {.r = r};
	struct buf text = {0};
	pthread_t a, b, opener;

	wait_ready(r, sv, PEER_CONTENT);
	set(true);
	assert_int_equal(pthread_create(&a, NULL, call_wait, &running), 0);
	wait_inside(1);
	assert_int_equal(pthread_create(&b, NULL, call_wait, &waiting), 0);
	for (bool queued = false; !queued;) {
		(void)usleep(500);
		buf_clear(&text);
		metrics_render(r->metrics, &text);
		buf_char(&text, '\0');
		queued = strstr(text.p, "kae_lane_queued{service=\"content\","
		                        "lane=\"slow\"} 1");
	}
	buf_fini(&text);
	/* What runs is waited for, past the grace. */
	assert_int_equal(pthread_create(&opener, NULL, open_late, NULL), 0);
	service_stop(sv, 0);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	pthread_join(opener, NULL);
	assert_int_equal(running.e, OK);
	assert_int_equal(waiting.e, ERR_UNAVAILABLE);
	assert_int_equal(test.inside, 1);
}

static void events_reach_the_other_service_once(void **state)
{
	struct rig *r = *state;
	struct service *gdpr = begin(r, &gdpr_def);
	struct service *content = begin(r, &content_def);
	uint64_t until_ms = mono_ms() + LONG_MS;

	wait_ready(r, gdpr, PEER_GDPR);
	wait_ready(r, content, PEER_CONTENT);
	for (int i = 0; i < 3; i++)
		assert_int_equal(call(r, PEER_CONTENT, "note.add", NULL), OK);
	while (read_counter(&test.applied) < 3) {
		assert_true(mono_ms() < until_ms);
		(void)usleep(1000);
	}
	service_stop(content, 1000);
	service_stop(gdpr, 1000);
	assert_int_equal(test.applied, 3);
}

static void health_and_metrics_show_it_until_it_is_gone(void **state)
{
	struct rig *r = *state;
	struct service *sv = begin(r, &content_def);

	wait_ready(r, sv, PEER_CONTENT);
	assert_int_equal(call(r, PEER_CONTENT, "note.count", NULL), OK);
	assert_int_equal(call(r, PEER_CONTENT, "nothing", NULL), ERR_NOT_BUILT);
	assert_true(shows(r, "\"ready\":true"));
	assert_true(shows(r, "\"database\":{\"status\":\"up\""));
	assert_true(shows(r, "\"gdpr\":{\"status\":\"down\""));
	assert_true(shows(r, "db_pool_size{service=\"content\"} 10"));
	assert_true(shows(r, "kae_method_duration_seconds_count{service="
	                     "\"content\",method=\"note.count\","
	                     "outcome=\"ok\"} 1"));
	assert_true(shows(r, "kae_method_duration_seconds_count{service="
	                     "\"content\",method=\"unknown\","
	                     "outcome=\"failed\"} 1"));
	service_drain(sv, 1000);
	assert_true(shows(r, "\"status\":\"draining\""));
	assert_true(shows(r, "db_pool_size{service=\"content\"} 10"));
	service_stop(sv, 0);
	assert_false(shows(r, "db_pool_size{service=\"content\"}"));
	assert_false(shows(r, "\"database\""));
}

static void every_allocation_of_a_start_may_fail(void **state)
{
	struct rig *r = *state;
	unsigned n = 1;

	r->env.listen = r->url[PEER_CONTENT];
	for (;; n++) {
		struct service *sv = NULL;
		enum err e;
		bool failed;

		alloc_fault_arm(n);
		e = service_start(&content_def, &r->env, &sv);
		failed = alloc_fault_disarm();
		assert_true(e == OK || e == ERR_NOMEM);
		service_stop(sv, 0);
		if (!failed)
			break;
	}
	assert_true(n > 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_service_migrates_and_serves),
		TEST(a_key_lets_a_call_have_one_effect),
		TEST(an_effect_that_forgets_the_key_is_our_mistake),
		TEST(before_it_is_ready_callers_are_refused_at_once),
		TEST(health_is_told_before_it_is_ready_too),
		TEST(a_database_that_is_away_is_tried_again),
		TEST(whom_it_refused_is_told_when_it_has_started),
		TEST(what_will_never_work_is_given_up),
		TEST(a_taken_address_is_told),
		TEST(an_address_or_database_that_is_none_is_told),
		TEST(a_drain_finishes_what_runs_and_takes_nothing_new),
		TEST(what_waits_when_the_grace_is_over_is_refused),
		TEST(events_reach_the_other_service_once),
		TEST(health_and_metrics_show_it_until_it_is_gone),
		TEST(every_allocation_of_a_start_may_fail),
	};

	bus_global_init();
	/* What is refused here is logged there. */
	atomic_store(&log_threshold, -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
