#include "tests/store/store.h"

#include "common/base/arena.h"
#include "common/base/guard.h"
#include "common/base/uuid.h"
#include "common/codec/mp.h"
#include "common/event/event.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Sanitizers are slow, and keep what was freed. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BACKLOG     INT64_C(4000)
#define CAN_MEASURE false
#else
#define BACKLOG     INT64_C(40000) /* with KAE_FULL BACKLOG_FULL */
#define CAN_MEASURE true
#endif
#define BACKLOG_FULL   INT64_C(100000)
#define BACKLOG_MEMORY ((size_t)8 << 20)

/* Two services, each with a database of its own: content emits, gdpr applies. */
static struct store from, to;
static struct db_pool *out, *in;
static struct event_store *outbox, *inbox;

static const struct db_migration out_tables = {
	1, "outbox", EVENT_TABLES_SQLITE EVENT_TRACE_SQLITE,
	EVENT_TABLES_POSTGRES("test_ev_out")
		EVENT_TRACE_POSTGRES("test_ev_out")};
static const struct db_migration in_tables = {
	1, "inbox",
	EVENT_TABLES_SQLITE EVENT_TRACE_SQLITE
	"CREATE TABLE effect (n INTEGER PRIMARY KEY AUTOINCREMENT, "
	"id TEXT NOT NULL UNIQUE, sub TEXT NOT NULL, seq INTEGER NOT NULL);",
	EVENT_TABLES_POSTGRES("test_ev_in") EVENT_TRACE_POSTGRES(
		"test_ev_in") "CREATE TABLE test_ev_in.effect (n bigserial "
			      "PRIMARY KEY, id text NOT NULL UNIQUE, "
			      "sub text NOT NULL, seq bigint NOT NULL);"};

enum { EFFECT, EFFECTS, DISORDER, CLEAR_IN, CLEAR_EFFECT, IN_COUNT };
static const struct db_stmt in_rows[IN_COUNT] = {
	[EFFECT] = {"t.effect",
                    "INSERT INTO @effect (id, sub, seq) VALUES ($1, $2, $3)",
                    NULL},
	[EFFECTS] = {"t.effects", "SELECT count(*) FROM @effect", NULL},
	/* Rows that do not follow the one applied before them. */
	[DISORDER] = {"t.disorder",
                      "SELECT count(*) FROM (SELECT seq, lag(seq) OVER "
                      "(PARTITION BY sub ORDER BY n) AS before FROM @effect) "
                      "AS e WHERE seq <> coalesce(before, 0) + 1",
                      NULL},
	[CLEAR_IN] = {"t.clear_in", "DELETE FROM @inbox", NULL},
	[CLEAR_EFFECT] = {"t.clear_effect", "DELETE FROM @effect", NULL},
};
enum { ROWS, CLEAR_OUT, CLEAR_SEQ, CLEAR_LEASE, SKIP_ONE, FILL, OUT_COUNT };
static const struct db_stmt out_rows[OUT_COUNT] = {
	[ROWS] = {"t.rows", "SELECT count(*) FROM @outbox", NULL},
	[CLEAR_OUT] = {"t.clear_out", "DELETE FROM @outbox", NULL},
	[CLEAR_SEQ] = {"t.clear_seq", "DELETE FROM @outbox_seq", NULL},
	[CLEAR_LEASE] = {"t.clear_lease", "DELETE FROM @outbox_lease", NULL},
	[SKIP_ONE] = {"t.skip_one", "DELETE FROM @outbox WHERE seq <= 2", NULL},
	/* $1 events of $2 subjects, by turns; the body is {"topic": "music"}. */
	[FILL] = {"t.fill",
                  "WITH RECURSIVE k (i) AS (SELECT 0 UNION ALL SELECT i + 1 "
                  "FROM k WHERE i + 1 < $1) INSERT INTO outbox "
                  "(id, target, sub, seq, shard, type, body, at) "
                  "SELECT printf('00000000-0000-7000-8000-%012x', i), 'gdpr', "
                  "printf('u%06d', i % $2), i / $2 + 1, i % $2 % 16, "
                  "'quiz.submitted', X'81A5746F706963A56D75736963', 1 FROM k",
                  "INSERT INTO @outbox "
                  "(id, target, sub, seq, shard, type, body, at) "
                  "SELECT '00000000-0000-7000-8000-' || "
                  "lpad(to_hex(i), 12, '0'), 'gdpr', "
                  "'u' || lpad((i % $2)::text, 6, '0'), i / $2 + 1, "
                  "i % $2 % 16, 'quiz.submitted', "
                  "'\\x81a5746f706963a56d75736963'::bytea, 1 "
                  "FROM generate_series(0, $1 - 1) AS k (i)"},
};
static struct db_stmt *ist, *ost;

static enum err run_stmt(struct db *db, void *arg)
{
	return db_run(db, arg, NULL, 0, NULL);
}

static void run(struct db_pool *p, struct db_stmt *st)
{
	struct ctx cx = store_ctx(20000);

	assert_int_equal(db_write(p, &cx, run_stmt, st), OK);
}

struct with_values {
	const struct db_stmt *st;
	const struct db_val *v;
	size_t n;
};

static enum err run_with(struct db *db, void *arg)
{
	const struct with_values *a = arg;

	return db_run(db, a->st, a->v, a->n, NULL);
}

static int each(void **state)
{
	(void)state;
	run(in, &ist[CLEAR_IN]);
	run(in, &ist[CLEAR_EFFECT]);
	run(out, &ost[CLEAR_OUT]);
	run(out, &ost[CLEAR_SEQ]);
	run(out, &ost[CLEAR_LEASE]);
	return 0;
}

/* --- emitting ----------------------------------------------------------------- */

struct emission {
	const char *sub;
	unsigned n;
	enum err then;
};

static enum err emit(struct db *db, void *arg)
{
	const struct emission *a = arg;
	AUTO_BUF body = {0};
	enum err e = OK;

	mp_map(&body, 1);
	mp_kv_text(&body, "topic", "music");
	for (unsigned i = 0; i < a->n && !e; i++)
		e = event_emit(outbox, db, PEER_GDPR, str_from(a->sub),
		               STR("quiz.submitted"), buf_view(&body),
		               wall_ms());
	return e ? e : a->then;
}

static void emit_n(const char *sub, unsigned n)
{
	struct emission a = {sub, n, OK};
	struct ctx cx = store_ctx(20000);

	MUST(db_write(out, &cx, emit, &a) == OK);
}

/* --- applying ----------------------------------------------------------------- */

static enum err effect(void *arg, struct db *db, const struct event *ev)
{
	const struct db_val v[] = {DB_TEXT(ev->id), DB_STR(ev->sub),
	                           DB_I64(ev->seq)};
	const char *poison = *(const char **)arg;

	if (poison && str_eq(ev->sub, str_from(poison)))
		return ERR_INVALID;
	MUST(str_eq(ev->source, STR("content")));
	MUST(str_eq(mp_find_str(ev->body, "topic", STR("")), STR("music")));
	return db_run(db, &ist[EFFECT], v, COUNTOF(v), NULL);
}

static enum err deliver_to(const char *principal, struct str body,
                           const char *poison, struct buf *reply)
{
	AUTO(arena) a = arena_new(1 << 22);
	struct ctx cx = store_ctx(20000);

	MUST(a);
	cx.arena = a;
	cx.principal = principal;
	return event_apply(inbox, in, &cx, body, effect, &poison, reply);
}

/* --- a wire that can fail ------------------------------------------------------- */

struct wire {
	pthread_mutex_t lock;
	_Atomic int calls, drop_requests, drop_replies, inside, most_inside;
	_Atomic int away;
	const char *poison;
	const char *unreadable; /* a sub; the receiver refuses the whole call */
	int64_t slow;           /* more events than this take too long */
	int64_t most_events;
	size_t most_rss;
};

static uint32_t events_in(struct str body)
{
	struct str list;
	struct mp m;
	uint32_t n = 0;

	MUST(mp_find(body, "events", &list));
	m = mp_open(list);
	MUST(mp_get_array(&m, &n));
	return n;
}

/* Pages of memory that this process has. */
static size_t rss(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long all = 0, resident = 0;

	MUST(f && fscanf(f, "%lu %lu", &all, &resident) == 2);
	(void)fclose(f);
	return resident;
}

/* What a receiver makes of a call before it looks at the events. */
static enum err receive(struct wire *w, struct str body)
{
	int64_t n = events_in(body);
	size_t now = rss();

	if (n > w->most_events)
		w->most_events = n;
	if (now > w->most_rss)
		w->most_rss = now;
	if (w->slow && n > w->slow)
		return ERR_TIMEOUT;
	return w->unreadable && memmem(body.p, body.n, w->unreadable,
	                               strlen(w->unreadable))
	               ? ERR_INVALID
	               : OK;
}

static enum err wire_send(void *arg, enum bus_peer target, struct str body,
                          uint64_t deadline_ms, struct buf *reply)
{
	struct wire *w = arg;
	AUTO_BUF lost = {0};
	enum err e;

	(void)deadline_ms;
	atomic_fetch_add(&w->calls, 1);
	if (target != PEER_GDPR || atomic_load(&w->away) ||
	    atomic_fetch_sub(&w->drop_requests, 1) > 0)
		return ERR_UNAVAILABLE;
	e = receive(w, body);
	if (e)
		return e;
	if (atomic_fetch_add(&w->inside, 1) > 0)
		atomic_store(&w->most_inside, 2);
	if (atomic_fetch_sub(&w->drop_replies, 1) > 0) {
		e = deliver_to("content", body, w->poison, &lost);
		e = e ? e : ERR_PEER_LOST;
	} else {
		e = deliver_to("content", body, w->poison, reply);
	}
	atomic_fetch_sub(&w->inside, 1);
	return e;
}

static struct event_relay *relay_on(struct wire *w, const char *owner,
                                    unsigned lease_ms)
{
	const struct event_relay_conf conf = {.store = outbox,
	                                      .pool = out,
	                                      .service = "content",
	                                      .owner = owner,
	                                      .lease_ms = lease_ms,
	                                      .send = wire_send,
	                                      .send_arg = w};
	struct event_relay *r = event_relay_new(&conf);

	assert_non_null(r);
	return r;
}

static bool comes_to_within(struct db_pool *p, const struct db_stmt *st,
                            int64_t want, uint64_t ms)
{
	uint64_t end = mono_ms() + ms;
	/* Counting a long backlog often would be most of the work. */
	const struct timespec t = {.tv_nsec = ms > 10000 ? 250000000 : 5000000};

	while (store_i64(p, st) != want) {
		if (mono_ms() > end)
			return false;
		(void)nanosleep(&t, NULL);
	}
	return true;
}

/* True when the count has come up within ten seconds. */
static bool comes_to(struct db_pool *p, const struct db_stmt *st, int64_t want)
{
	return comes_to_within(p, st, want, 10000);
}

static void expect_all(int64_t n)
{
	assert_true(comes_to(in, &ist[EFFECTS], n));
	assert_true(comes_to(out, &ost[ROWS], 0));
	assert_int_equal(store_i64(in, &ist[EFFECTS]), n);
	assert_int_equal(store_i64(in, &ist[DISORDER]), 0);
}

/* The relay counts after it has deleted: the rows are gone a moment before. */
static struct event_stats stats_when_acked(struct event_relay *r, uint64_t n)
{
	uint64_t end = mono_ms() + 10000;
	struct event_stats s;

	do
		event_relay_stats(r, &s);
	while (s.acked < n && mono_ms() < end);
	return s;
}

/* --- the outbox ----------------------------------------------------------------- */

static void an_event_of_a_rolled_back_transaction_is_not_there(void **state)
{
	struct emission a = {"u1", 3, ERR_NOT_FOUND};
	struct ctx cx = store_ctx(20000);

	(void)state;
	assert_int_equal(db_write(out, &cx, emit, &a), ERR_NOT_FOUND);
	assert_int_equal(store_i64(out, &ost[ROWS]), 0);
	emit_n("u1", 1);
	assert_int_equal(store_i64(out, &ost[ROWS]), 1);
}

static enum err emit_bad(struct db *db, void *arg)
{
	const struct str *f = arg;

	return event_emit(outbox, db, PEER_GDPR, f[0], f[1], f[2], 0);
}

static void an_event_must_be_whole(void **state)
{
	struct str bad[][3] = {{STR(""), STR("t"), STR("\x80")},
	                       {STR("u"), STR(""), STR("\x80")},
	                       {STR("u"), STR("t"), STR("")},
	                       {STR("u"), STR("t"), STR("\x81")}};
	struct ctx cx = store_ctx(20000);

	(void)state;
	for (size_t i = 0; i < COUNTOF(bad); i++)
		assert_int_equal(db_write(out, &cx, emit_bad, bad[i]),
		                 ERR_INTERNAL);
}

/* --- the inbox ------------------------------------------------------------------ */

struct sent {
	const char *sub;
	int64_t seq;
};

/* Fresh ids each time: what counts is seq. */
static void pack(struct buf *b, const char *src, const struct sent *s, size_t n)
{
	char id[UUID_MAX];

	mp_map(b, 2);
	mp_kv_text(b, "src", src);
	mp_kv_array(b, "events", n);
	for (size_t i = 0; i < n; i++) {
		mp_map(b, 6);
		mp_kv_str(b, "id", uuid7(id));
		mp_kv_text(b, "sub", s[i].sub);
		mp_kv_text(b, "type", "quiz.submitted");
		mp_kv_i64(b, "seq", s[i].seq);
		mp_kv_i64(b, "at", 1);
		mp_kv_map(b, "b", 1);
		mp_kv_text(b, "topic", "music");
	}
}

/* ok and want of a subject in the reply. */
static void acked(struct str reply, const char *sub, int64_t ok, int64_t want)
{
	struct str list, item;
	struct mp m;
	uint32_t n;

	assert_true(mp_find(reply, "acks", &list));
	m = mp_open(list);
	assert_true(mp_get_array(&m, &n));
	while (n-- > 0) {
		assert_true(mp_skip(&m, &item));
		if (!str_eq(mp_find_str(item, "sub", STR("")), str_from(sub)))
			continue;
		assert_int_equal(mp_find_i64(item, "ok", -1), ok);
		assert_int_equal(mp_find_i64(item, "want", -1), want);
		return;
	}
	fail_msg("%s is not acknowledged", sub);
}

static void apply_sent(const struct sent *s, size_t n, struct buf *reply)
{
	AUTO_BUF body = {0};

	buf_clear(reply);
	pack(&body, "content", s, n);
	MUST(deliver_to("content", buf_view(&body), "poison", reply) == OK);
}

static void a_repeat_is_acknowledged_and_not_applied(void **state)
{
	const struct sent s[] = {{"u1", 1}, {"u1", 2}, {"u1", 2}, {"u1", 1}};
	AUTO_BUF reply = {0};

	(void)state;
	apply_sent(s, 4, &reply);
	acked(buf_view(&reply), "u1", 2, 3);
	apply_sent(s, 2, &reply);
	acked(buf_view(&reply), "u1", 2, 3);
	assert_int_equal(store_i64(in, &ist[EFFECTS]), 2);
}

static void a_gap_is_asked_for(void **state)
{
	const struct sent s[] = {{"u1", 1}, {"u1", 3}, {"u2", 2}};
	AUTO_BUF reply = {0};

	(void)state;
	apply_sent(s, 3, &reply);
	acked(buf_view(&reply), "u1", 1, 2);
	acked(buf_view(&reply), "u2", 0, 1);
	assert_int_equal(store_i64(in, &ist[EFFECTS]), 1);
}

static void an_event_that_fails_holds_up_its_subject_only(void **state)
{
	const struct sent s[] = {
		{"u1", 1}, {"poison", 1}, {"u2", 1}, {"poison", 2}, {"u1", 2}};
	AUTO_BUF reply = {0};

	(void)state;
	apply_sent(s, 5, &reply);
	acked(buf_view(&reply), "u1", 2, 3);
	acked(buf_view(&reply), "u2", 1, 2);
	acked(buf_view(&reply), "poison", 0, 1);
	assert_int_equal(store_i64(in, &ist[EFFECTS]), 3);
}

static void another_service_cannot_speak_for_the_sender(void **state)
{
	const struct sent s[] = {{"u1", 1}};
	AUTO_BUF body = {0}, reply = {0};

	(void)state;
	pack(&body, "content", s, 1);
	assert_int_equal(deliver_to("auth", buf_view(&body), NULL, &reply),
	                 ERR_DENIED);
	assert_int_equal(deliver_to(NULL, buf_view(&body), NULL, &reply),
	                 ERR_DENIED);
	assert_int_equal(store_i64(in, &ist[EFFECTS]), 0);
}

static void a_malformed_call_applies_nothing(void **state)
{
	const struct sent good[] = {{"u1", 1}, {"u1", 2}};
	const struct sent bad[] = {{"u1", 0}, {"", 1}, {"u1", -5}};
	AUTO_BUF whole = {0};

	(void)state;
	pack(&whole, "content", good, 2);
	/* Every way of cutting it short. */
	for (size_t n = 0; n < whole.n; n++) {
		AUTO_BUF reply = {0};
		struct str cut = {whole.p, n};

		assert_int_not_equal(deliver_to("content", cut, NULL, &reply),
		                     OK);
		assert_int_equal(reply.n, 0);
	}
	for (size_t i = 0; i < COUNTOF(bad); i++) {
		AUTO_BUF body = {0}, reply = {0};

		pack(&body, "content", &bad[i], 1);
		assert_int_equal(deliver_to("content", buf_view(&body), NULL,
		                            &reply),
		                 ERR_INVALID);
	}
	assert_int_equal(store_i64(in, &ist[EFFECTS]), 0);
}

static void no_events_are_no_acks(void **state)
{
	AUTO_BUF reply = {0};

	(void)state;
	apply_sent(NULL, 0, &reply);
	assert_true(mp_valid(buf_view(&reply)));
}

static void *apply_1_to_50(void *arg)
{
	for (int64_t seq = 1; seq <= 50; seq++) {
		const struct sent s = {"u1", seq};
		AUTO_BUF reply = {0};

		(void)arg;
		apply_sent(&s, 1, &reply);
	}
	return NULL;
}

static void replicas_that_meet_apply_once(void **state)
{
	(void)state;
	store_threads(4, apply_1_to_50, NULL);
	assert_int_equal(store_i64(in, &ist[EFFECTS]), 50);
	assert_int_equal(store_i64(in, &ist[DISORDER]), 0);
}

/* --- the relay ------------------------------------------------------------------ */

static void events_arrive_in_order_per_subject(void **state)
{
	struct wire w = {0};
	struct event_relay *r;
	struct event_stats s;

	(void)state;
	emit_n("u1", 150);
	emit_n("u2", 3);
	r = relay_on(&w, "r1", 0);
	emit_n("u1", 40);
	emit_n("u3", 7);
	event_kick(r);
	expect_all(200);
	s = stats_when_acked(r, 200);
	assert_int_equal(s.sent, 200);
	assert_int_equal(s.acked, 200);
	assert_int_equal(s.repeated, 0);
	event_relay_free(r);
}

static void *emit_20(void *arg)
{
	_Atomic unsigned *n = arg;
	char sub[16];

	(void)snprintf(sub, sizeof(sub), "u%u", atomic_fetch_add(n, 1) % 3);
	for (int i = 0; i < 20; i++)
		emit_n(sub, 1);
	return NULL;
}

static void emitters_that_meet_keep_the_order(void **state)
{
	struct wire w = {0};
	struct event_relay *r = relay_on(&w, "r1", 0);
	_Atomic unsigned n = 0;

	(void)state;
	store_threads(6, emit_20, &n);
	event_kick(r);
	expect_all(120);
	event_relay_free(r);
}

static void an_event_is_applied_once_though_its_answer_was_lost(void **state)
{
	struct wire w = {.drop_replies = 3};
	struct event_relay *r;
	struct event_stats s;

	(void)state;
	emit_n("u1", 5);
	emit_n("u2", 5);
	r = relay_on(&w, "r1", 0);
	expect_all(10);
	s = stats_when_acked(r, 10);
	assert_true(s.failed >= 3);
	assert_int_equal(s.repeated, 30);
	assert_int_equal(s.acked, 10);
	event_relay_free(r);
}

static void a_receiver_that_is_away_is_tried_until_it_is_back(void **state)
{
	struct wire w = {.away = 1};
	struct event_relay *r;
	struct event_stats s;
	uint64_t start = mono_ms(), end = start + 10000;

	(void)state;
	emit_n("u1", 5);
	r = relay_on(&w, "r1", 0);
	do {
		event_kick(r); /* a kick does not shorten a pause */
		event_relay_stats(r, &s);
	} while (s.failed < 3 && mono_ms() < end);
	assert_true(s.failed >= 3);
	assert_true(mono_ms() - start >= 25 + 50);
	assert_int_equal(store_i64(out, &ost[ROWS]), 5);
	atomic_store(&w.away, 0);
	expect_all(5);
	event_relay_free(r);
}

static void a_subject_that_cannot_go_on_holds_up_no_other(void **state)
{
	struct wire w = {.poison = "poison"};
	struct event_relay *r;

	(void)state;
	emit_n("poison", 70);
	emit_n("u1", 70);
	r = relay_on(&w, "r1", 0);
	assert_true(comes_to(in, &ist[EFFECTS], 70));
	assert_true(comes_to(out, &ost[ROWS], 70));
	event_relay_free(r);
	w.poison = NULL; /* mended; a relay of the next start sends it */
	r = relay_on(&w, "r2", 0);
	expect_all(140);
	event_relay_free(r);
}

static void what_the_receiver_wants_from_before_the_outbox_is_told(void **state)
{
	struct wire w = {0};
	struct event_relay *r;
	struct event_stats s;
	uint64_t end = mono_ms() + 10000;

	(void)state;
	emit_n("u1", 4);
	run(out, &ost[SKIP_ONE]);
	emit_n("u2", 0);
	r = relay_on(&w, "r1", 0);
	do
		event_relay_stats(r, &s);
	while (s.lost < 1 && mono_ms() < end);
	assert_int_equal(s.lost, 1);
	assert_int_equal(store_i64(out, &ost[ROWS]), 2);
	assert_int_equal(store_i64(in, &ist[EFFECTS]), 0);
	event_relay_free(r);
}

static void an_event_that_is_refused_as_a_whole_waits_alone(void **state)
{
	struct wire w = {.unreadable = "u500"};
	struct event_relay *r;
	struct event_stats s;
	char sub[16];

	(void)state;
	for (int i = 1; i <= 9; i++) {
		(void)snprintf(sub, sizeof(sub), "u%d00", i);
		emit_n(sub, 3);
	}
	r = relay_on(&w, "r1", 0);
	assert_true(comes_to(in, &ist[EFFECTS], 24));
	assert_true(comes_to(out, &ost[ROWS], 3));
	event_relay_free(r);
	w.unreadable = NULL;
	r = relay_on(&w, "r2", 0);
	expect_all(27);
	s = stats_when_acked(r, 27 - 24);
	assert_int_equal(s.failed, 0);
	event_relay_free(r);
}

static void a_call_takes_no_more_than_its_receiver_can(void **state)
{
	struct wire w = {.slow = 7};
	struct event_relay *r;

	(void)state;
	emit_n("u1", 100);
	r = relay_on(&w, "r1", 0);
	expect_all(100);
	event_relay_free(r);
	assert_int_equal(w.most_events, 100); /* the first try */
}

static int64_t backlog_size(void)
{
	return getenv("KAE_FULL") ? BACKLOG_FULL : BACKLOG;
}

static void fill_backlog(int64_t n, int64_t subjects)
{
	const struct db_val v[] = {DB_I64(n), DB_I64(subjects)};
	struct with_values fill = {&ost[FILL], v, COUNTOF(v)};
	struct ctx cx = store_ctx(60000);

	assert_int_equal(db_write(out, &cx, run_with, &fill), OK);
}

static void drain_backlog(int64_t n, int64_t subjects)
{
	struct wire w = {0};
	uint64_t start, ms;
	size_t before;
	struct event_relay *r;
	struct event_stats s;

	fill_backlog(n, subjects);
	before = rss();
	start = mono_ms();
	r = relay_on(&w, "r1", 0);
	assert_true(comes_to_within(out, &ost[ROWS], 0, 250000));
	ms = mono_ms() - start;
	expect_all(n);
	s = stats_when_acked(r, (uint64_t)n);
	event_relay_free(r);
	print_message("%d events of %d subjects: %llu/s, %zu KiB more memory\n",
	              (int)n, (int)subjects,
	              (unsigned long long)((uint64_t)n * 1000 / (ms ? ms : 1)),
	              (w.most_rss - before) * 4);
	assert_int_equal(s.sent, n);
	assert_int_equal(s.acked, n);
	assert_int_equal(w.most_events, EVENT_BATCH);
	assert_true(!CAN_MEASURE ||
	            w.most_rss < before + BACKLOG_MEMORY / 4096);
}

static void a_backlog_is_drained_in_bounded_memory(void **state)
{
	(void)state;
	drain_backlog(backlog_size(), backlog_size() / 4);
}

static void a_backlog_of_one_subject_is_drained_as_well(void **state)
{
	(void)state;
	drain_backlog(backlog_size() / 4, 1);
}

static void ending_sends_what_is_due(void **state)
{
	struct wire w = {0};
	struct event_relay *r = relay_on(&w, "r1", 0);

	(void)state;
	emit_n("u1", 100);
	event_relay_free(r);
	assert_int_equal(store_i64(in, &ist[EFFECTS]), 100);
	assert_int_equal(store_i64(out, &ost[ROWS]), 0);
}

static void two_relays_do_not_both_send(void **state)
{
	struct wire a = {0}, b = {0};
	struct event_relay *first, *second;

	(void)state;
	emit_n("u0", 1);
	first = relay_on(&a, "r1", 60000);
	expect_all(1); /* it has the leases now */
	second = relay_on(&b, "r2", 60000);
	for (int i = 1; i <= 5; i++) {
		emit_n("u1", 10);
		event_kick(second);
		event_kick(first);
		expect_all(1 + 10 * i);
	}
	assert_int_equal(atomic_load(&b.calls), 0);
	event_relay_free(first); /* gives them up */
	event_relay_free(second);
}

static void a_lease_that_ran_out_is_taken_over(void **state)
{
	struct wire b = {0};
	struct event_relay *r;

	(void)state;
	store_exec(out, "INSERT INTO test_ev_out.outbox_lease "
	                "SELECT g, 'killed', "
	                "(extract(epoch FROM now()) * 1000)::bigint + 300 "
	                "FROM generate_series(0, 15) AS g");
	emit_n("u1", 3);
	r = relay_on(&b, "r2", 200);
	expect_all(3);
	event_relay_free(r);
}

#define POSTGRES_ONLY 2 /* at the end of the list */

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, each)
		T(an_event_of_a_rolled_back_transaction_is_not_there),
		T(an_event_must_be_whole),
		T(a_repeat_is_acknowledged_and_not_applied),
		T(a_gap_is_asked_for),
		T(an_event_that_fails_holds_up_its_subject_only),
		T(another_service_cannot_speak_for_the_sender),
		T(a_malformed_call_applies_nothing),
		T(no_events_are_no_acks),
		T(replicas_that_meet_apply_once),
		T(events_arrive_in_order_per_subject),
		T(emitters_that_meet_keep_the_order),
		T(an_event_is_applied_once_though_its_answer_was_lost),
		T(a_receiver_that_is_away_is_tried_until_it_is_back),
		T(a_subject_that_cannot_go_on_holds_up_no_other),
		T(what_the_receiver_wants_from_before_the_outbox_is_told),
		T(an_event_that_is_refused_as_a_whole_waits_alone),
		T(a_call_takes_no_more_than_its_receiver_can),
		T(a_backlog_is_drained_in_bounded_memory),
		T(a_backlog_of_one_subject_is_drained_as_well),
		T(ending_sends_what_is_due),
		/* A SQLite file is one process's own: it needs no leases. */
		T(two_relays_do_not_both_send),
		T(a_lease_that_ran_out_is_taken_over),
	};
	size_t n = COUNTOF(tests);
	int failed;

	store_open(&from, "test_ev_out");
	store_open(&to, "test_ev_in");
	outbox = event_store_new(from.service);
	inbox = event_store_new(to.service);
	ist = db_stmts_for(in_rows, IN_COUNT, to.service);
	ost = db_stmts_for(out_rows, OUT_COUNT, from.service);
	assert_true(outbox && inbox && ist && ost);
	out = store_pool(&from);
	in = store_pool(&to);
	assert_int_equal(db_migrate(out, &out_tables, 1), OK);
	assert_int_equal(db_migrate(in, &in_tables, 1), OK);
	if (!store_is_postgres(&from))
		n -= POSTGRES_ONLY;
	failed = _cmocka_run_group_tests("event", tests, n, NULL, NULL);
	db_pool_free(out);
	db_pool_free(in);
	event_store_free(outbox);
	event_store_free(inbox);
	free(ist);
	free(ost);
	store_close(&from);
	store_close(&to);
	return failed;
}
