/*
 * submit - what a quiz that is handed in costs in the two services that write of
 * it: svc-content's transaction with its outbox row, then svc-gdpr's of the event.
 *
 *     KAE_TEST_DATABASE_URL=postgresql://... submit [threads] [seconds]
 *
 * pgbench/submit.sql is the same statements.  Each thread has learners of its own
 * and hands in one quiz after the other; time begins when each has done so once and
 * so has its connections.  One line: pairs of transactions a second and this
 * process's CPU for each.
 */
#include "common/base/clock.h"
#include "common/codec/mp.h"
#include "common/event/erased.h"
#include "svc-content/content.h"
#include "svc-content/migrations.h"
#include "svc-content/records.h"
#include "svc-content/text.h"
#include "svc-gdpr/apply.h"
#include "svc-gdpr/migrations.h"
#include "tests/bench/cpu.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define THREADS_MAX 64
#define LEARNERS    1000 /* of all threads, as in submit.sql */

struct bench {
	struct content content;
	struct db_pool *gdpr;
	struct event_store *outbox, *inbox;
	struct erased *gone[2];
	_Atomic bool end;
	_Atomic uint64_t ready, done, failed;
	unsigned threads;
};

/* Who has no handle is not on the board. */
static const struct db_stmt LEARN = {
	"bench.learners", NULL,
	"INSERT INTO gdpr.person (sub, handle, created_at, updated_at) "
	"SELECT 'learner-' || i, 'handle-' || i, 0, 0 "
	"FROM generate_series(0, $1) i ON CONFLICT DO NOTHING"};

static enum err learners(struct db *db, void *arg)
{
	const struct db_val v = DB_I64(LEARNERS);

	(void)arg;
	return db_run(db, &LEARN, &v, 1, NULL);
}

struct quiz {
	struct bench *b;
	struct ctx *cx;
	struct submission s;
	struct submitted out;
};

static enum err hand_in(struct db *db, void *arg)
{
	struct quiz *q = arg;
	enum err e = erased_check(q->b->gone[0], db, q->s.sub);

	return e ? e
	         : records_submit(db, &q->b->content, q->cx, &q->s, &q->out);
}

/* As the relay packs it. */
static void pack_event(struct buf *b, const struct quiz *q, int64_t seq)
{
	char id[UUID_MAX];

	mp_map(b, 2);
	mp_kv_text(b, "src", "content");
	mp_kv_array(b, "events", 1);
	mp_map(b, 6);
	mp_kv_str(b, "id", uuid7(id));
	mp_kv_str(b, "sub", q->s.sub);
	mp_kv_i64(b, "seq", seq);
	mp_kv_text(b, "type", "quiz.submitted");
	mp_kv_i64(b, "at", q->s.now_ms);
	mp_kv_map(b, "b", 4);
	mp_kv_i64(b, "score", q->s.score);
	mp_kv_i64(b, "total", q->s.total);
	mp_kv_bool(b, "earns", q->out.earns);
	mp_kv_i64(b, "at", q->s.now_ms);
}

static enum err one(struct bench *b, struct arena *arena, unsigned learner,
                    int64_t seq)
{
	struct ctx cx = {.service = "bench",
	                 .rid = STR("bench"),
	                 .principal = "content",
	                 .arena = arena,
	                 .deadline_ms = mono_ms() + 10000};
	char sub[32], word[40], digest[TEXT_DIGEST_MAX];
	struct quiz q = {.b = b,
	                 .cx = &cx,
	                 .s = {.score = 9,
	                       .total = 10,
	                       .difficulty = STR("medium"),
	                       .now_ms = wall_ms()}};
	AUTO_BUF body = {0}, reply = {0};
	enum err e;

	(void)snprintf(sub, sizeof(sub), "learner-%u", learner);
	(void)snprintf(word, sizeof(word), "subtopic %lld", (long long)seq);
	q.s.sub = str_from(sub);
	q.s.topic.text = q.s.topic.key = STR("graphs");
	q.s.subtopic.text = q.s.subtopic.key = str_from(word);
	q.s.body = text_digest(&q.s.subtopic.key, 1, digest);
	e = db_write(b->content.pool, &cx, hand_in, &q);
	if (e)
		return e;
	pack_event(&body, &q, seq);
	return event_apply_last(b->inbox, b->gdpr, &cx, buf_view(&body),
	                        gdpr_apply, gdpr_apply_last, NULL, &reply);
}

struct hand {
	struct bench *b;
	unsigned number;
};

static void *work(void *arg)
{
	const struct hand *h = arg;
	const unsigned each = LEARNERS / h->b->threads;
	struct arena *arena = arena_new(1 << 20);
	bool first = true;

	if (!arena)
		exit(1);
	for (int64_t seq = 1; !atomic_load(&h->b->end); seq++) {
		for (unsigned i = 0; i < each && !atomic_load(&h->b->end);
		     i++) {
			if (one(h->b, arena, h->number * each + i, seq))
				atomic_fetch_add(&h->b->failed, 1);
			atomic_fetch_add(first ? &h->b->ready : &h->b->done, 1);
			first = false;
			arena_reset(arena);
		}
	}
	arena_free(arena);
	return NULL;
}

static void measure(struct bench *b, unsigned seconds)
{
	const struct timespec t = {.tv_sec = seconds};
	const struct timespec soon = {.tv_nsec = 1000000};
	pthread_t th[THREADS_MAX];
	struct hand hands[THREADS_MAX];
	uint64_t began, took, cpu, done;

	for (unsigned i = 0; i < b->threads; i++) {
		hands[i] = (struct hand){b, i};
		if (pthread_create(&th[i], NULL, work, &hands[i]))
			exit(1);
	}
	while (atomic_load(&b->ready) < b->threads)
		(void)nanosleep(&soon, NULL);
	began = mono_us();
	cpu = cpu_us();
	done = atomic_load(&b->done);
	(void)nanosleep(&t, NULL);
	took = mono_us() - began;
	cpu = cpu_us() - cpu;
	done = atomic_load(&b->done) - done;
	atomic_store(&b->end, true);
	for (unsigned i = 0; i < b->threads; i++)
		(void)pthread_join(th[i], NULL);
	(void)printf("%u threads: %.1f submits/s, CPU %.1f us each, %llu "
	             "failed\n",
	             b->threads, (double)done * 1e6 / (double)took,
	             (double)cpu / (double)done, (unsigned long long)b->failed);
}

static enum err open_pool(const char *service, const char *url,
                          const struct db_migration *m, size_t n,
                          struct db_pool **out)
{
	const struct db_conf conf = {.service = service,
	                             .url = str_from(url),
	                             .size = THREADS_MAX,
	                             .timeout_s = 30,
	                             .recycle_s = 3600,
	                             .prepare = true};
	enum err e = db_pool_new(&conf, out);

	return e ? e : db_migrate(*out, m, n);
}

static unsigned number(int argc, char **argv, int i, unsigned otherwise)
{
	return argc > i ? (unsigned)strtoul(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
	const char *url = getenv("KAE_TEST_DATABASE_URL");
	struct bench b = {.threads = number(argc, argv, 1, 8)};
	struct ctx cx = {.service = "bench",
	                 .rid = STR("bench"),
	                 .deadline_ms = mono_ms() + 60000};
	AUTO(db_pool) content = NULL;
	AUTO(db_pool) gdpr = NULL;
	enum err e;

	if (!url || b.threads < 1 || b.threads > THREADS_MAX)
		return 2;
	b.outbox = event_store_new("content");
	b.inbox = event_store_new("gdpr");
	b.gone[0] = erased_new("content");
	b.gone[1] = erased_new("gdpr");
	if (!b.outbox || !b.inbox || !b.gone[0] || !b.gone[1])
		return 1;
	event_store_erased(b.inbox, b.gone[1]);
	e = open_pool("content", url, content_migrations, CONTENT_MIGRATIONS,
	              &content);
	if (!e)
		e = open_pool("gdpr", url, gdpr_migrations, GDPR_MIGRATIONS,
		              &gdpr);
	if (!e)
		e = db_write(gdpr, &cx, learners, NULL);
	b.content.pool = content;
	b.content.events = b.outbox;
	b.gdpr = gdpr;
	if (!e)
		measure(&b, number(argc, argv, 2, 5));
	else
		(void)fprintf(stderr, "submit: %s\n", err_name(e));
	event_store_free(b.outbox);
	event_store_free(b.inbox);
	erased_free(b.gone[0]);
	erased_free(b.gone[1]);
	return e || b.failed ? 1 : 0;
}
