/*
 * Generations that are asked for as events: what is told and kept of them, who
 * joins, who goes on, and what becomes of one whose process has died.
 */
#include "svc-content/erase.h"
#include "svc-content/jobs/jobs.h"
#include "svc-content/jobs/store.h"
#include "svc-content/migrations.h"
#include "svc-content/stmts.h"
#include "tests/store/store.h"

#include "common/codec/json.h"
#include "common/service/erase.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define ADA      STR("0190a000-0000-7000-8000-00000000ada0")
#define BOB      STR("0190a000-0000-7000-8000-00000000b0b0")
#define PARTS    3
#define LEASE_MS 600000 /* nothing here waits for it */

/* A process, as far as jobs go. */
struct process {
	struct jobs *jobs;
	sem_t gate; /* a part is made for each post */
	atomic_uint runs, made;
	atomic_bool fails; /* behind the first part */
};

static struct {
	struct store store;
	struct db_pool *pool;
	struct idem *idem;
	struct arena *a;
	struct ctx cx;
	pthread_mutex_t lock;
	pthread_cond_t told;
	atomic_uint tells;
} fx;

/* --- what is generated -------------------------------------------------------------- */

struct make_in {
	struct str topic;
};

static const struct field fields[] = {
	{"topic", FROM_BODY, FIELD_LINE, true, 1, 200, NULL, 0,
         offsetof(struct make_in, topic)},
};

static void pack_part(struct buf *b, struct str topic, unsigned i)
{
	mp_map(b, 2);
	mp_kv_str(b, "of", topic);
	mp_kv_i64(b, "number", i);
}

/* {parts: [...], count, topic}; a part that is there is not made. */
static enum err make(struct content *ct, struct ctx *cx, const void *in,
                     const struct sink *sink, struct reply *out)
{
	struct process *p = (struct process *)(void *)ct;
	const struct make_in *ask = in;
	struct buf *b = &out->body;

	p->runs++;
	sink_progress(sink, "started", 0, PARTS);
	mp_map(b, 3);
	mp_kv_array(b, "parts", PARTS);
	for (unsigned i = 0; i < PARTS; i++) {
		AUTO_BUF part = {0};
		struct str packed;

		if (sink_have(sink, "part", i, &packed)) {
			mp_raw(b, packed);
			continue;
		}
		(void)sem_wait(&p->gate);
		if (i == 1 && p->fails)
			return ctx_fail(cx, ERR_QUOTA, "All is spent.");
		p->made++;
		pack_part(&part, ask->topic, i);
		sink_item(sink, "part", i, buf_view(&part));
		mp_raw(b, buf_view(&part));
	}
	mp_kv_i64(b, "count", PARTS);
	mp_kv_str(b, "topic", ask->topic);
	return OK;
}

/* [..] of two, of which nothing is told before. */
static enum err list(struct content *ct, struct ctx *cx, const void *in,
                     const struct sink *sink, struct reply *out)
{
	(void)ct;
	(void)cx;
	(void)in;
	sink_item(sink, "whole", 0, STR("\x01"));
	mp_array(&out->body, 2);
	mp_text(&out->body, "one");
	mp_text(&out->body, "two");
	return OK;
}

static enum err never(void *state, struct ctx *cx, const void *in,
                      struct reply *out)
{
	(void)state;
	(void)cx;
	(void)in;
	(void)out;
	return ERR_INTERNAL;
}

static const struct method methods[] = {
	{"test.make", LANE_DB, CALL_USER, AGAIN_READ, fields, 1,
         sizeof(struct make_in), never, NULL},
	{"test.list", LANE_DB, CALL_USER, AGAIN_READ, fields, 1,
         sizeof(struct make_in), never, NULL},
	{"test.plain", LANE_DB, CALL_USER, AGAIN_READ, fields, 1,
         sizeof(struct make_in), never, NULL},
};
#define MAKE  (&methods[0])
#define LIST  (&methods[1])
#define PLAIN (&methods[2])

static const struct job_kind kinds[] = {
	{STR("test.make"), "parts", "part", make},
	{STR("test.list"), "", "", list},
};

/* --- processes ------------------------------------------------------------------------ */

static void tell(void *arg, struct str id)
{
	(void)arg;
	(void)id;
	pthread_mutex_lock(&fx.lock);
	fx.tells++;
	pthread_cond_broadcast(&fx.told);
	pthread_mutex_unlock(&fx.lock);
}

static void begin(struct process *p, unsigned threads, unsigned join_ms)
{
	*p = (struct process){.jobs = NULL};
	(void)sem_init(&p->gate, 0, 0);
	p->jobs = jobs_new(&(struct jobs_conf){
		.pool = fx.pool,
		.idem = fx.idem,
		.content = (struct content *)(void *)p,
		.methods = methods,
		.methods_n = COUNTOF(methods),
		.kinds = kinds,
		.kinds_n = COUNTOF(kinds),
		.threads = threads,
		.waiting = 1,
		.per_person = 2,
		.run_ms = 60000,
		.lease_ms = LEASE_MS,
		.keep_ms = 3600000,
		.join_ms = join_ms,
		.tell = tell,
	});
	assert_non_null(p->jobs);
}

static void post(struct process *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		(void)sem_post(&p->gate);
}

static void end(struct process *p)
{
	post(p, 100);
	jobs_free(p->jobs);
	(void)sem_destroy(&p->gate);
}

static int up(void **state)
{
	(void)state;
	store_open(&fx.store, "content");
	fx.pool = store_pool(&fx.store);
	fx.idem = idem_new(&(struct idem_conf){
		.service = "content", .pool = fx.pool, .retention_ms = 60000});
	(void)pthread_mutex_init(&fx.lock, NULL);
	(void)pthread_cond_init(&fx.told, NULL);
	return !fx.idem || db_migrate(fx.pool, content_migrations,
	                              CONTENT_MIGRATIONS)
	               ? -1
	               : 0;
}

static int down(void **state)
{
	(void)state;
	idem_free(fx.idem);
	db_pool_free(fx.pool);
	store_close(&fx.store);
	return 0;
}

static enum err empty(struct db *db, void *arg)
{
	static const struct db_stmt jobs = {"test.empty", "DELETE FROM jobs",
	                                    "DELETE FROM content.jobs"};

	(void)arg;
	return db_run(db, &jobs, NULL, 0, NULL);
}

static int each(void **state)
{
	struct ctx cx = store_ctx(60000);

	(void)state;
	fx.a = arena_new((size_t)16 << 20);
	fx.tells = 0;
	return !fx.a || db_write(fx.pool, &cx, empty, NULL) ? -1 : 0;
}

static int after(void **state)
{
	(void)state;
	arena_free(fx.a);
	return 0;
}

/* --- asking ------------------------------------------------------------------------------ */

static struct ctx *asks(struct str sub)
{
	fx.cx = store_ctx(60000);
	fx.cx.arena = fx.a;
	fx.cx.sub = sub;
	fx.cx.rid = STR("test");
	fx.cx.lang = STR("en");
	fx.cx.role = ROLE_USER;
	return &fx.cx;
}

struct opened {
	enum err e;
	unsigned status;
	char job[UUID_MAX];
	int64_t after;
};

static struct opened open_as(struct process *p, struct ctx *cx,
                             const struct method *m, const char *topic)
{
	struct opened o = {.status = 0};
	struct reply out = {.status = 0};
	AUTO_BUF body = {0};
	struct str job;

	mp_map(&body, 1);
	mp_kv_text(&body, "topic", topic);
	o.e = jobs_open(p->jobs, cx, m, buf_view(&body), &out);
	o.status = out.status;
	job = mp_find_str(buf_view(&out.body), "job", STR(""));
	(void)snprintf(o.job, sizeof(o.job), "%.*s", STR_FMT(job));
	o.after = mp_find_i64(buf_view(&out.body), "after", -1);
	buf_fini(&out.body);
	return o;
}

static struct opened open_ok(struct process *p, const char *topic)
{
	struct opened o = open_as(p, asks(ADA), MAKE, topic);

	assert_int_equal(o.e, OK);
	assert_int_equal(strlen(o.job), UUID_MAX - 1);
	return o;
}

static struct opened go_on(struct process *p, struct str sub,
                           const struct method *m, const char *job, int64_t n)
{
	struct ctx *cx = asks(sub);
	AUTO_BUF id = {0};

	buf_printf(&id, "%s.%lld", job, (long long)n);
	cx->last_event = arena_str(fx.a, buf_view(&id));
	return open_as(p, cx, m, "whatever");
}

/* The answer to who follows, as JSON text in the arena. */
static enum err follow(struct process *p, struct str sub, const char *job,
                       int64_t n, struct str *text)
{
	struct reply out = {.status = 0};
	AUTO_BUF json = {0};
	enum err e = jobs_follow(p->jobs, asks(sub), str_from(job), n, &out);

	if (!e)
		MUST(mp_to_json(buf_view(&out.body), &json));
	*text = arena_str(fx.a, buf_view(&json));
	buf_fini(&out.body);
	return e;
}

static bool has(struct str text, const char *part)
{
	return memmem(text.p, text.n, part, strlen(part)) != NULL;
}

static unsigned count(struct str text, const char *part)
{
	unsigned n = 0;
	const char *at;

	while ((at = memmem(text.p, text.n, part, strlen(part)))) {
		text.n -= (size_t)(at + 1 - text.p);
		text.p = at + 1;
		n++;
	}
	return n;
}

/* Waits until what a follower gets has all of it. */
static struct str until(struct process *p, const char *job, const char *part)
{
	const uint64_t late = mono_ms() + 60000;
	struct str text;

	for (;;) {
		unsigned tells = fx.tells;
		struct timespec t;

		assert_int_equal(follow(p, ADA, job, 0, &text), OK);
		if (has(text, part))
			return text;
		if (mono_ms() > late)
			fail_msg("%s never came: %.*s", part, STR_FMT(text));
		(void)clock_gettime(CLOCK_REALTIME, &t);
		t.tv_nsec += 20000000;
		t.tv_sec += t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		pthread_mutex_lock(&fx.lock);
		if (tells == fx.tells)
			(void)pthread_cond_timedwait(&fx.told, &fx.lock, &t);
		pthread_mutex_unlock(&fx.lock);
	}
}

static void sql(const char *sqlite, const char *postgres)
{
	store_exec(fx.pool, store_is_postgres(&fx.store) ? postgres : sqlite);
}

/* --- tests --------------------------------------------------------------------------------- */

static void items_are_told_before_the_answer_is_there(void **state)
{
	struct process p;
	struct opened o;
	struct str text;

	(void)state;
	begin(&p, 1, 30000);
	o = open_ok(&p, "t");
	assert_int_equal(o.after, 0);
	text = until(&p, o.job, "progress");
	assert_false(has(text, "item"));
	post(&p, 1);
	text = until(&p, o.job, "\"item\"");
	assert_true(has(text, "{\"index\":0,\"item\":{\"of\":\"t\","
	                      "\"number\":0}}"));
	assert_true(has(text, "\"state\":\"running\""));
	assert_int_equal(p.made, 1);
	post(&p, 2);
	text = until(&p, o.job, "\"state\":\"done\"");
	assert_string_equal(
		text.p,
		"{\"state\":\"done\",\"events\":["
		"[1,\"progress\",{\"done\":0,\"total\":3}],"
		"[2,\"item\",{\"index\":0,\"item\":{\"of\":\"t\",\"number\":0}}],"
		"[3,\"item\",{\"index\":1,\"item\":{\"of\":\"t\",\"number\":1}}],"
		"[4,\"item\",{\"index\":2,\"item\":{\"of\":\"t\",\"number\":2}}],"
		"[5,\"progress\",{\"done\":3,\"total\":3}],"
		"[6,\"done\",{\"count\":3,\"topic\":\"t\"}]]}");
	end(&p);
}

static void a_list_is_told_one_by_one_at_its_end(void **state)
{
	struct process p;
	struct opened o;

	(void)state;
	begin(&p, 1, 30000);
	o = open_as(&p, asks(ADA), LIST, "t");
	assert_int_equal(o.e, OK);
	assert_string_equal(until(&p, o.job, "\"state\":\"done\"").p,
	                    "{\"state\":\"done\",\"events\":["
	                    "[1,\"item\",{\"index\":0,\"item\":\"one\"}],"
	                    "[2,\"item\",{\"index\":1,\"item\":\"two\"}],"
	                    "[3,\"progress\",{\"done\":2,\"total\":2}],"
	                    "[4,\"done\",{}]]}");
	assert_int_equal(open_as(&p, asks(ADA), PLAIN, "t").e,
	                 ERR_NOT_ACCEPTABLE);
	end(&p);
}

static void the_same_request_joins_and_another_does_not(void **state)
{
	struct process p;
	struct opened first, again, other, bobs;

	(void)state;
	begin(&p, 4, 30000);
	first = open_ok(&p, "t");
	again = open_ok(&p, "t");
	other = open_ok(&p, "u");
	bobs = open_as(&p, asks(BOB), MAKE, "t");
	assert_string_equal(again.job, first.job);
	assert_string_not_equal(other.job, first.job);
	assert_string_not_equal(bobs.job, first.job);
	post(&p, 3 * PARTS);
	(void)until(&p, first.job, "\"state\":\"done\"");
	assert_string_equal(open_ok(&p, "t").job, first.job);
	end(&p);
	assert_int_equal(p.runs, 3);
}

static void what_is_done_for_long_is_made_anew(void **state)
{
	struct process p;
	struct opened first;

	(void)state;
	begin(&p, 1, 0);
	first = open_ok(&p, "t");
	post(&p, 2 * PARTS);
	(void)until(&p, first.job, "\"state\":\"done\"");
	assert_string_not_equal(open_ok(&p, "t").job, first.job);
	end(&p);
}

static struct process at_once;
static char at_once_job[STORE_THREADS_MAX][UUID_MAX];
static atomic_uint at_once_n;

static void *open_one(void *arg)
{
	AUTO(arena) a = arena_new(1 << 20);
	struct ctx cx = store_ctx(60000);
	struct opened o;

	(void)arg;
	cx.arena = a;
	cx.sub = ADA;
	cx.rid = cx.lang = STR("en");
	o = open_as(&at_once, &cx, MAKE, "same");
	MUST(o.e == OK);
	memcpy(at_once_job[at_once_n++], o.job, UUID_MAX);
	return NULL;
}

static void many_at_once_are_one(void **state)
{
	(void)state;
	begin(&at_once, 40, 30000);
	at_once_n = 0;
	store_threads(16, open_one, NULL);
	post(&at_once, PARTS);
	(void)until(&at_once, at_once_job[0], "\"state\":\"done\"");
	for (unsigned i = 1; i < 16; i++)
		assert_string_equal(at_once_job[i], at_once_job[0]);
	assert_int_equal(at_once.runs, 1);
	assert_int_equal(at_once.made, PARTS);
	end(&at_once);
}

static void who_comes_back_gets_what_is_behind(void **state)
{
	static const char unknown[] = "0190a000-0000-7000-8000-000000000001";
	struct process p;
	struct opened o, again;
	struct str text;

	(void)state;
	begin(&p, 1, 0);
	o = open_ok(&p, "t");
	post(&p, PARTS);
	(void)until(&p, o.job, "\"state\":\"done\"");
	again = go_on(&p, ADA, MAKE, o.job, 4);
	assert_int_equal(again.e, OK);
	assert_string_equal(again.job, o.job);
	assert_int_equal(again.after, 4);
	assert_int_equal(follow(&p, ADA, o.job, 4, &text), OK);
	assert_int_equal(count(text, "[5,") + count(text, "[6,"), 2);
	assert_int_equal(count(text, "\"item\""), 0);
	again = go_on(&p, ADA, MAKE, o.job, 6);
	assert_int_equal(again.status, 204);
	assert_int_equal(go_on(&p, ADA, MAKE, o.job, 7).e, ERR_NOT_FOUND);
	assert_int_equal(go_on(&p, BOB, MAKE, o.job, 4).e, ERR_NOT_FOUND);
	assert_int_equal(go_on(&p, ADA, LIST, o.job, 4).e, ERR_NOT_FOUND);
	assert_int_equal(go_on(&p, ADA, MAKE, unknown, 1).e, ERR_NOT_FOUND);
	assert_int_equal(follow(&p, BOB, o.job, 0, &text), ERR_NOT_FOUND);
	assert_int_equal(follow(&p, ADA, "x", 0, &text), ERR_NOT_FOUND);
	assert_int_equal(p.runs, 1);
	end(&p);
}

/* The gate of the dead one opens late: what it writes is refused. */
static void another_process_goes_on_with_what_is_there(void **state)
{
	struct process dead, next;
	struct opened o;
	struct str text;

	(void)state;
	begin(&dead, 1, 30000);
	begin(&next, 1, 30000);
	o = open_ok(&dead, "t");
	post(&dead, 1);
	(void)until(&dead, o.job, "\"item\"");
	/* While its lease goes on nobody takes it. */
	assert_int_equal(follow(&next, ADA, o.job, 0, &text), OK);
	assert_int_equal(next.runs, 0);
	sql("UPDATE jobs SET lease = 0", "UPDATE content.jobs SET lease = 0");
	post(&next, PARTS - 1);
	text = until(&next, o.job, "\"state\":\"done\"");
	assert_int_equal(next.runs, 1);
	assert_int_equal(next.made, PARTS - 1);
	end(&dead);
	assert_int_equal(follow(&next, ADA, o.job, 0, &text), OK);
	assert_int_equal(count(text, "\"item\",{"), PARTS);
	assert_int_equal(count(text, "\"done\",{"), 1);
	end(&next);
}

static void one_that_is_abandoned_is_joined_by_the_same_request(void **state)
{
	struct process dead, next;
	struct opened o, again;

	(void)state;
	begin(&dead, 1, 30000);
	begin(&next, 1, 30000);
	o = open_ok(&dead, "t");
	(void)until(&dead, o.job, "progress");
	sql("UPDATE jobs SET lease = 0", "UPDATE content.jobs SET lease = 0");
	again = open_ok(&next, "t");
	assert_string_equal(again.job, o.job);
	post(&next, PARTS);
	(void)until(&next, o.job, "\"state\":\"done\"");
	assert_int_equal(next.runs, 1);
	end(&dead);
	end(&next);
}

static void a_failure_is_told_and_can_be_gone_on_from(void **state)
{
	struct process p;
	struct opened o, again;
	struct str text;

	(void)state;
	begin(&p, 1, 30000);
	p.fails = true;
	o = open_ok(&p, "t");
	post(&p, 2);
	text = until(&p, o.job, "\"state\":\"failed\"");
	assert_true(has(text, "\"error\":"));
	assert_int_equal(p.made, 1);
	/* Who comes without the event begins anew. */
	again = open_ok(&p, "t");
	assert_string_not_equal(again.job, o.job);
	post(&p, 2);
	(void)until(&p, again.job, "\"state\":\"failed\"");
	p.fails = false;
	p.made = 0;
	again = go_on(&p, ADA, MAKE, o.job, 1);
	assert_int_equal(again.e, OK);
	post(&p, 2);
	text = until(&p, o.job, "\"state\":\"done\"");
	assert_int_equal(p.made, 2);
	assert_int_equal(count(text, "\"item\",{"), PARTS);
	end(&p);
}

static void there_is_room_for_so_many(void **state)
{
	struct process p;

	(void)state;
	begin(&p, 2, 30000);
	(void)open_ok(&p, "1");
	(void)open_ok(&p, "2");
	assert_int_equal(open_as(&p, asks(ADA), MAKE, "3").e, ERR_RATE_LIMITED);
	assert_int_equal(open_as(&p, asks(BOB), MAKE, "1").e, OK);
	assert_int_equal(open_as(&p, asks(BOB), MAKE, "2").e, ERR_BUSY);
	end(&p);
}

static void what_is_too_old_goes(void **state)
{
	static const struct db_stmt rows = {
		"test.rows",
		"SELECT (SELECT COUNT(*) FROM jobs) + "
		"(SELECT COUNT(*) FROM job_events)",
		"SELECT (SELECT COUNT(*) FROM content.jobs) + "
		"(SELECT COUNT(*) FROM content.job_events)"};
	struct process p;
	struct opened o;
	struct str text;

	(void)state;
	begin(&p, 1, 30000);
	o = open_ok(&p, "t");
	post(&p, PARTS);
	(void)until(&p, o.job, "\"state\":\"done\"");
	jobs_tend(p.jobs, wall_ms() + 3500000);
	assert_int_equal(store_i64(fx.pool, &rows), 7);
	jobs_tend(p.jobs, wall_ms() + 3700000);
	assert_int_equal(store_i64(fx.pool, &rows), 0);
	assert_int_equal(follow(&p, ADA, o.job, 0, &text), ERR_NOT_FOUND);
	end(&p);
}

static void a_lease_goes_on_while_the_process_lives(void **state)
{
	static const struct db_stmt lease = {"test.lease",
	                                     "SELECT lease FROM jobs",
	                                     "SELECT lease FROM content.jobs"};
	const int64_t later = wall_ms() + 3 * LEASE_MS;
	struct process p;
	struct opened o;

	(void)state;
	begin(&p, 1, 30000);
	o = open_ok(&p, "t");
	/* Its own writes move the lease, too: now it waits. */
	(void)until(&p, o.job, "progress");
	assert_true(store_i64(fx.pool, &lease) < later);
	jobs_tend(p.jobs, later);
	assert_int_equal(store_i64(fx.pool, &lease), later + LEASE_MS);
	end(&p);
}

static enum err erase_all(struct db *db, void *arg)
{
	const struct erasee who = {.sub = ADA};
	int64_t rows;
	enum err e = OK;

	(void)arg;
	for (size_t i = 0; i < content_erase.erasers_n && !e; i++) {
		const struct eraser *er = &content_erase.erasers[i];
		const struct db_val v[] = {DB_STR(who.sub)};

		e = er->run ? er->run(NULL, db, &who, &rows)
		            : db_change(db, &er->st, v, 1, &rows);
	}
	return e;
}

static void of_who_is_erased_nothing_more_is_written(void **state)
{
	static const struct db_stmt rows = {
		"test.rows_of_erased", "SELECT COUNT(*) FROM job_events",
		"SELECT COUNT(*) FROM content.job_events"};
	struct process p;
	struct opened o;
	struct str text;

	(void)state;
	begin(&p, 1, 30000);
	o = open_ok(&p, "t");
	(void)until(&p, o.job, "progress");
	assert_int_equal(db_write(fx.pool, asks(ADA), erase_all, NULL), OK);
	end(&p);
	assert_int_equal(p.made, PARTS);
	assert_int_equal(store_i64(fx.pool, &rows), 0);
	begin(&p, 1, 0);
	assert_int_equal(follow(&p, ADA, o.job, 0, &text), ERR_NOT_FOUND);
	end(&p);
}

static void what_waits_at_the_end_is_for_others(void **state)
{
	struct process p, next;
	struct opened o;

	(void)state;
	begin(&p, 1, 30000);
	begin(&next, 1, 30000);
	o = open_ok(&p, "first");
	(void)until(&p, o.job, "progress");
	o = open_ok(&p, "second");
	end(&p);
	post(&next, PARTS);
	(void)until(&next, o.job, "\"state\":\"done\"");
	assert_int_equal(p.runs + next.runs, 2);
	end(&next);
}

static void ids_of_events_are_of_one_form(void **state)
{
	static const char uuid[] = "0190a000-0000-7000-8000-00000000ada0";
	static const struct {
		const char *tail;
		int64_t number; /* -1: it is none */
	} cases[] = {
		{".0", 0},    {".1", 1},    {".9223372036854775807", INT64_MAX},
		{".-1", -1},  {".", -1},    {"", -1},
		{".1.2", -1}, {". 1", -1},  {".1 ", -1},
		{".+1", -1},  {".x", -1},   {".9223372036854775808", -1},
		{"..1", -1},  {".0x1", -1}, {"a.1", -1},
	};
	struct str id;
	int64_t n;

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO_BUF text = {0};
		bool good;

		buf_printf(&text, "%s%s", uuid, cases[i].tail);
		good = jobs_event_id(buf_view(&text), &id, &n);
		if (good != (cases[i].number >= 0) ||
		    (good && n != cases[i].number))
			fail_msg("%.*s", STR_FMT(buf_view(&text)));
	}
	assert_false(jobs_event_id(STR(""), &id, &n));
	assert_false(jobs_event_id(STR(".1"), &id, &n));
	assert_false(jobs_event_id(
		STR("0190A000-0000-7000-8000-00000000ADA0.1"), &id, &n));
}

#define T(f) cmocka_unit_test_setup_teardown(f, each, after)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(items_are_told_before_the_answer_is_there),
		T(a_list_is_told_one_by_one_at_its_end),
		T(the_same_request_joins_and_another_does_not),
		T(what_is_done_for_long_is_made_anew),
		T(many_at_once_are_one),
		T(who_comes_back_gets_what_is_behind),
		T(another_process_goes_on_with_what_is_there),
		T(one_that_is_abandoned_is_joined_by_the_same_request),
		T(a_failure_is_told_and_can_be_gone_on_from),
		T(there_is_room_for_so_many),
		T(what_is_too_old_goes),
		T(a_lease_goes_on_while_the_process_lives),
		T(of_who_is_erased_nothing_more_is_written),
		T(what_waits_at_the_end_is_for_others),
		T(ids_of_events_are_of_one_form),
	};

	return cmocka_run_group_tests(tests, up, down);
}
