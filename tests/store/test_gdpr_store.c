/*
 * The store of svc-gdpr on the database that KAE_TEST_DATABASE_URL names, or on
 * SQLite in a folder of its own.
 */
#include "svc-gdpr/apply.h"
#include "svc-gdpr/board.h"
#include "svc-gdpr/migrations.h"

#include "common/base/clock.h"
#include "common/base/uuid.h"
#include "common/codec/mp.h"
#include "tests/store/gdpr_fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOON   INT64_C(1767268800000) /* 2026-01-01T12:00:00Z */
#define DAY_MS INT64_C(86400000)

/* --- small helpers ----------------------------------------------------------- */

struct send {
	const char *source, *type, *sub, *id;
	struct str body;
	int64_t at;
};

static enum err send_fn(struct db *db, void *arg)
{
	const struct send *s = arg;
	struct event ev = {.source = str_from(s->source),
	                   .sub = str_from(s->sub),
	                   .type = str_from(s->type),
	                   .body = s->body,
	                   .seq = 1,
	                   .at = s->at};

	memcpy(ev.id, s->id, strlen(s->id) + 1);
	return gdpr_apply(NULL, db, &ev);
}

static enum err send(const struct send *s)
{
	struct send copy = *s;
	char id[UUID_MAX];

	if (!copy.id) {
		(void)uuid7(id);
		copy.id = id;
	}
	return fixture_write(send_fn, &copy);
}

/* On any thread, where an assert of cmocka belongs to the first. */
static void must_send(const struct send *s)
{
	enum err e = send(s);

	if (e) {
		(void)fprintf(stderr, "%s: %s\n", s->type, err_name(e));
		abort();
	}
}

static void register_as(const char *sub, const char *handle, int64_t at)
{
	AUTO_BUF b = {0};

	mp_map(&b, 2);
	mp_kv_text(&b, "hnd", handle);
	mp_kv_i64(&b, "at", at);
	must_send(&(struct send){"auth", "user.registered", sub, NULL,
	                         buf_view(&b), at});
}

static void pack_quiz(struct buf *b, int64_t score, int64_t total, bool earns,
                      int64_t at)
{
	mp_map(b, 7);
	mp_kv_text(b, "topic", "Graphs");
	mp_kv_text(b, "subtopic", "Trees");
	mp_kv_f64(b, "percent", 100.0 * (double)score / (double)total);
	mp_kv_i64(b, "score", score);
	mp_kv_i64(b, "total", total);
	mp_kv_bool(b, "earns", earns);
	mp_kv_i64(b, "at", at);
}

static void quiz_with_id(const char *sub, const char *id, int64_t score,
                         int64_t total, bool earns, int64_t at)
{
	AUTO_BUF b = {0};

	pack_quiz(&b, score, total, earns, at);
	must_send(&(struct send){"content", "quiz.submitted", sub, id,
	                         buf_view(&b), at});
}

static void quiz(const char *sub, int64_t score, int64_t total, int64_t at)
{
	quiz_with_id(sub, NULL, score, total, true, at);
}

static void topic(const char *sub, int64_t at)
{
	AUTO_BUF b = {0};

	mp_map(&b, 2);
	mp_kv_text(&b, "topic", "Graphs");
	mp_kv_i64(&b, "at", at);
	must_send(&(struct send){"content", "topic.finished", sub, NULL,
	                         buf_view(&b), at});
}

struct look {
	const char *sub;
	struct person p;
	int64_t rank, broken;
};

static enum err look_fn(struct db *db, void *arg)
{
	struct look *l = arg;
	enum err e = board_rank(db, str_from(l->sub), (struct str){0}, &l->p,
	                        &l->rank);

	if (l->p.rank_key == PERSON_UNRANKED)
		l->rank = 0; /* which it would have */
	if (!e)
		e = person_unlocked(db, str_from(l->sub), &l->p);
	if (!e)
		e = person_check(db, &l->broken);
	return e;
}

/* Looks at a person, and demands the proof of all balances. */
static struct look look(const char *sub)
{
	struct look l = {.sub = sub};

	assert_int_equal(fixture_read(look_fn, &l), OK);
	assert_int_equal(l.broken, 0);
	return l;
}

/* --- awards ------------------------------------------------------------------ */

static void nobody_is_all_zeros(void **state)
{
	struct look l = look("nobody");

	(void)state;
	assert_false(l.p.exists);
	assert_int_equal(l.p.tally.xp, 0);
	assert_int_equal(l.p.rank_key, PERSON_UNRANKED);
}

static void account_alone_has_no_rank(void **state)
{
	struct look l;

	(void)state;
	register_as("a", "ada", NOON);
	l = look("a");
	assert_true(l.p.exists);
	assert_string_equal(l.p.handle, "ada");
	assert_int_equal(l.p.created_at, NOON);
	assert_int_equal(l.p.active_at, 0);
	assert_int_equal(l.p.tally.streak.days, 0);
	assert_int_equal(l.rank, 0);
}

static void quiz_and_topic_give_what_the_contract_says(void **state)
{
	struct look l;

	(void)state;
	register_as("a", "ada", NOON);
	quiz("a", 2, 3, NOON + 1);
	l = look("a");
	assert_int_equal(l.p.tally.xp, 133);
	assert_int_equal(l.p.tally.quizzes, 1);
	assert_int_equal(l.p.tally.streak.days, 1);
	assert_int_equal(l.p.active_at, NOON + 1);
	assert_int_equal(l.rank, 1);

	topic("a", NOON + DAY_MS);
	l = look("a");
	assert_int_equal(l.p.tally.xp, 133 + 50 + 50); /* first_steps */
	assert_int_equal(l.p.tally.topics, 1);
	assert_int_equal(l.p.tally.streak.days, 2);
	assert_int_equal(l.p.achievements, 1);
	assert_int_equal(l.p.tally.unlocked_at[ACHIEVEMENT_first_steps],
	                 NOON + DAY_MS);
}

static void same_event_counts_once(void **state)
{
	struct look l;

	(void)state;
	for (int i = 0; i < 3; i++)
		quiz_with_id("a", "0190a000-0000-7000-8000-000000000001", 1, 1,
		             true, NOON);
	l = look("a");
	assert_int_equal(l.p.tally.xp, 200);
	assert_int_equal(l.p.tally.quizzes, 1);
}

static void practice_counts_and_pays_nothing(void **state)
{
	struct look l;

	(void)state;
	quiz_with_id("a", NULL, 1, 1, false, NOON);
	l = look("a");
	assert_int_equal(l.p.tally.xp, 0);
	assert_int_equal(l.p.tally.quizzes, 1);
	assert_int_equal(l.p.tally.streak.days, 1);
}

static void late_days_do_not_break_a_streak(void **state)
{
	static const int days[] = {0, 1, 3, 4, 2, 4, 0, -1};
	struct look l;

	(void)state;
	for (size_t i = 0; i < COUNTOF(days); i++)
		quiz("a", 0, 1, NOON + days[i] * DAY_MS);
	l = look("a");
	assert_int_equal(l.p.tally.streak.days, 6);
	assert_int_equal(l.p.tally.longest, 6);
	assert_int_equal(l.p.active_at, NOON + 4 * DAY_MS);
}

static void seven_days_unlock_the_streak(void **state)
{
	struct look l;

	(void)state;
	for (int i = 0; i < 7; i++)
		quiz("a", 0, 1, NOON + i * DAY_MS);
	l = look("a");
	assert_int_equal(l.p.tally.xp, 300);
	assert_int_equal(l.p.tally.unlocked_at[ACHIEVEMENT_streak_warrior],
	                 NOON + 6 * DAY_MS);
}

static void a_day_that_has_not_come_is_today(void **state)
{
	struct look l;

	(void)state;
	quiz("a", 1, 1, wall_ms() + 400 * DAY_MS);
	l = look("a");
	assert_true(l.p.active_at <= wall_ms());
	assert_true(l.p.tally.streak.last <= clock_utc_day(wall_ms()));
}

static void quiz_may_come_before_the_account(void **state)
{
	struct look l;

	(void)state;
	quiz("a", 1, 1, NOON + 5);
	l = look("a");
	assert_string_equal(l.p.handle, "");
	assert_int_equal(l.p.rank_key, PERSON_UNRANKED);
	register_as("a", "ada", NOON);
	l = look("a");
	assert_string_equal(l.p.handle, "ada");
	assert_int_equal(l.p.created_at, NOON);
	assert_int_equal(l.rank, 1);
}

static void nonsense_is_taken_and_changes_nothing(void **state)
{
	AUTO_BUF none = {0};
	AUTO_BUF wrong = {0};
	AUTO_BUF nul = {0};
	char longest[200];

	(void)state;
	mp_map(&none, 0);
	mp_map(&wrong, 4);
	mp_kv_i64(&wrong, "hnd", 5);
	mp_kv_i64(&wrong, "score", 7);
	mp_kv_i64(&wrong, "total", 3);
	mp_kv_f64(&wrong, "percent", 1e300);
	mp_map(&nul, 2);
	mp_kv_str(&nul, "hnd", (struct str){"a\0b", 3});
	mp_kv_text(&nul, "percent", "100");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	const struct send cases[] = {
		{"auth", "user.registered", "a", NULL, {0}, NOON},
		{"auth", "user.registered", "a", NULL, STR("\xc1"), NOON},
		{"auth", "user.registered", "a", NULL, buf_view(&none), NOON},
		{"auth", "user.registered", "a", NULL, buf_view(&wrong), NOON},
		{"auth", "user.registered", "a", NULL, buf_view(&nul), NOON},
		{"content", "quiz.submitted", "a", NULL, {0}, NOON},
		{"content", "quiz.submitted", "a", NULL, buf_view(&none), NOON},
		{"content", "quiz.submitted", "a", NULL, buf_view(&wrong), 0},
		{"content", "quiz.submitted", "a", NULL, buf_view(&nul), NOON},
		{"content", "user.registered", "a", NULL, buf_view(&none),
	         NOON},
		{"auth", "topic.finished", "a", NULL, buf_view(&none), NOON},
		{"content", "topic.finished", "", NULL, buf_view(&none), NOON},
		{"content", "topic.finished", longest, NULL, buf_view(&none),
	         NOON},
		{"content", "topic.finished", "\xff", NULL, buf_view(&none),
	         NOON},
		{"content", "quiz.invented", "a", NULL, buf_view(&none), NOON},
	};

	for (size_t i = 0; i < COUNTOF(cases); i++)
		if (send(&cases[i]))
			fail_msg("case %zu", i);
	assert_false(look("a").p.exists);
}

static enum err send_then_fail(struct db *db, void *arg)
{
	enum err e = send_fn(db, arg);

	return e ? e : ERR_CONFLICT;
}

static void what_is_rolled_back_leaves_nothing(void **state)
{
	AUTO_BUF b = {0};
	struct send s = {"content", "topic.finished",
	                 "a",       "0190a000-0000-7000-8000-000000000002",
	                 {0},       NOON};

	(void)state;
	mp_map(&b, 0);
	s.body = buf_view(&b);
	register_as("a", "ada", NOON);
	assert_int_not_equal(fixture_write(send_then_fail, &s), OK);
	assert_int_equal(look("a").p.tally.xp, 0);
	assert_int_equal(send(&s), OK);
	assert_int_equal(look("a").p.tally.xp, 100);
}

/* --- many at once -------------------------------------------------------------- */

#define THREADS 4
#define EACH    25

static void *work(void *arg)
{
	unsigned me = *(unsigned *)arg;

	for (unsigned i = 0; i < EACH; i++) {
		char sub[8];

		(void)snprintf(sub, sizeof(sub), "p%u", (i + me) % 5);
		if (i % 5 == me)
			register_as(sub, sub, NOON);
		quiz(sub, 1, 2, NOON + i);
	}
	return NULL;
}

static void nothing_is_lost_when_all_write_at_once(void **state)
{
	pthread_t t[THREADS];
	unsigned ids[THREADS];
	int64_t xp = 0, quizzes = 0;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		ids[i] = i;
		assert_int_equal(pthread_create(&t[i], NULL, work, &ids[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	for (unsigned i = 0; i < 5; i++) {
		char sub[8];
		struct look l;

		(void)snprintf(sub, sizeof(sub), "p%u", i);
		l = look(sub);
		xp += l.p.tally.xp;
		quizzes += l.p.tally.quizzes;
	}
	assert_int_equal(quizzes, THREADS * EACH);
	assert_int_equal(xp, THREADS * EACH * 100);
}

/* --- the board against a sort ---------------------------------------------------- */

#define CROWD 2000

struct soul {
	char sub[8], handle[12];
	int64_t xp, xp_at;
	bool named;
};

static uint64_t below(uint64_t *s, uint64_t n)
{
	uint64_t z = (*s += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % n;
}

static int by_place(const void *a, const void *b)
{
	const struct soul *x = a, *y = b;

	if (x->named != y->named)
		return x->named ? -1 : 1;
	if (x->xp != y->xp)
		return x->xp > y->xp ? -1 : 1;
	if (x->xp_at != y->xp_at)
		return x->xp_at < y->xp_at ? -1 : 1;
	return strcmp(x->handle, y->handle);
}

/* Differences are counted: an assert would jump out of a transaction. */
struct crowd {
	struct soul who[CROWD];
	size_t ranked, rows, wrong;
	uint64_t seed;
};

static void award(struct crowd *c, struct soul *s, struct db *db, enum err *e)
{
	/* Few sizes, few minutes, few instants: many ties of each kind. */
	static const int64_t sizes[] = {0, 100, 100, 200, 7, 199};
	int64_t score = sizes[below(&c->seed, COUNTOF(sizes))];
	int64_t at = NOON + (int64_t)below(&c->seed, 4) * 60000 +
	             (int64_t)below(&c->seed, 3) * 20000 +
	             (int64_t)below(&c->seed, 2) * 40 * DAY_MS;
	char id[UUID_MAX];
	AUTO_BUF b = {0};
	struct send one = {"content", "quiz.submitted",
	                   s->sub,    uuid7(id).p,
	                   {0},       at};

	pack_quiz(&b, score, 200, true, at);
	one.body = buf_view(&b);
	if (!*e)
		*e = send_fn(db, &one);
	s->xp += score;
	if (score > 0 && at > s->xp_at)
		s->xp_at = at;
}

static enum err fill_crowd(struct db *db, void *arg)
{
	struct crowd *c = arg;
	enum err e = OK;

	c->seed = 7;
	c->ranked = 0;
	for (size_t i = 0; !e && i < CROWD; i++) {
		struct soul *s = &c->who[i];
		uint64_t events = below(&c->seed, 4);
		char id[UUID_MAX];
		AUTO_BUF b = {0};
		struct send one = {"auth", "user.registered",
		                   s->sub, uuid7(id).p,
		                   {0},    NOON};

		*s = (struct soul){.named = below(&c->seed, 20) > 0};
		(void)snprintf(s->sub, sizeof(s->sub), "s%zu", i);
		/* Upper case sorts before lower case, byte for byte. */
		(void)snprintf(s->handle, sizeof(s->handle), "%c%zu",
		               "aAzZ_"[below(&c->seed, 5)], i);
		mp_map(&b, 1);
		mp_kv_text(&b, "hnd", s->handle);
		one.body = buf_view(&b);
		if (s->named)
			e = send_fn(db, &one);
		while (events-- > 0)
			award(c, s, db, &e);
		s->named = s->named && s->xp > 0;
		c->ranked += s->named;
	}
	return e;
}

static enum err rank_crowd(struct db *db, void *arg)
{
	struct crowd *c = arg;

	c->wrong = 0;
	for (size_t i = 0; i < CROWD; i++) {
		const struct soul *s = &c->who[i];
		bool ranked = i < c->ranked;
		struct person p;
		int64_t rank = 0;
		enum err e = board_rank(db, str_from(s->sub), (struct str){0},
		                        &p, &rank);

		if (e)
			return e;
		if (!ranked)
			rank = 0; /* which they would have */
		c->wrong += p.tally.xp != s->xp ||
		            (p.rank_key != PERSON_UNRANKED) != ranked ||
		            rank != (ranked ? (int64_t)i + 1 : 0);
	}
	return OK;
}

static enum err same_row(void *arg, const struct board_row *row)
{
	struct crowd *c = arg;
	const struct soul *s = &c->who[c->rows++];

	c->wrong += row->rank != (int64_t)c->rows || row->xp != s->xp ||
	            !str_eq(row->handle, str_from(s->handle));
	return OK;
}

static enum err top_crowd(struct db *db, void *arg)
{
	struct crowd *c = arg;

	c->rows = c->wrong = 0;
	return board_top(db, 100, same_row, c);
}

static enum err fold_fn(struct db *db, void *arg)
{
	(void)arg;
	return board_fold(db);
}

static void ranks_are_those_of_a_sort(void **state)
{
	struct crowd *c = calloc(1, sizeof(*c));

	(void)state;
	assert_non_null(c);
	assert_int_equal(fixture_write(fill_crowd, c), OK);
	qsort(c->who, CROWD, sizeof(c->who[0]), by_place);
	assert_true(c->ranked > CROWD / 2 && c->ranked < CROWD);
	/* Of moves that are not counted in buckets yet, and of buckets alone. */
	assert_int_equal(fixture_read(rank_crowd, c), OK);
	assert_int_equal(c->wrong, 0);
	(void)look("s0");
	assert_int_equal(fixture_write(fold_fn, NULL), OK);
	assert_int_equal(fixture_read(rank_crowd, c), OK);
	assert_int_equal(c->wrong, 0);
	assert_int_equal(fixture_read(top_crowd, c), OK);
	assert_int_equal(c->rows, 100);
	assert_int_equal(c->wrong, 0);
	(void)look("s0");
	free(c);
}

static void a_new_handle_moves_only_ties(void **state)
{
	(void)state;
	register_as("a", "b-first", NOON);
	register_as("b", "c-second", NOON);
	quiz("a", 1, 1, NOON);
	quiz("b", 1, 1, NOON);
	assert_int_equal(look("a").rank, 1);
	assert_int_equal(look("b").rank, 2);
	register_as("b", "a-now-first", NOON);
	assert_int_equal(look("a").rank, 2);
	assert_int_equal(look("b").rank, 1);
}

/* --- a check that can fail ----------------------------------------------------- */

struct spoil {
	const char *what;
	const struct db_stmt *st;
};

static enum err spoil_fn(struct db *db, void *arg)
{
	const struct spoil *s = arg;

	return db_run(db, s->st, NULL, 0, NULL);
}

/* The proof holds of somebody with a topic, counted in buckets or not, and no
 * longer once it is spoiled. */
static void spoils(struct spoil *s, bool fold)
{
	struct look l = {.sub = "a"};

	fixture_empty();
	register_as("a", "ada", NOON);
	topic("a", NOON);
	if (fold)
		assert_int_equal(fixture_write(fold_fn, NULL), OK);
	(void)look("a");
	assert_int_equal(fixture_write(spoil_fn, s), OK);
	assert_int_equal(fixture_read(look_fn, &l), OK);
	if (l.broken == 0)
		fail_msg("%s", s->what);
}

static void the_proof_finds_what_was_tampered_with(void **state)
{
	static const struct {
		const char *what;
		struct db_stmt st;
	} cases[] = {
		{"balance",
	         {"spoil.balance", "UPDATE person SET total_xp = total_xp + 1",
	          "UPDATE gdpr.person SET total_xp = total_xp + 1"}},
		{"ledger",
	         {"spoil.ledger", "DELETE FROM ledger",
	          "DELETE FROM gdpr.ledger"}},
		{"count",
	         {"spoil.count", "UPDATE person SET topics = 0",
	          "UPDATE gdpr.person SET topics = 0"}},
		{"ranked",
	         {"spoil.ranked", "UPDATE person SET rank_key = NULL",
	          "UPDATE gdpr.person SET rank_key = NULL"}},
		{"moves",
	         {"spoil.moves", "DELETE FROM rank_move",
	          "DELETE FROM gdpr.rank_move"}},
		{"a move",
	         {"spoil.move", "UPDATE rank_move SET old_key = new_key",
	          "UPDATE gdpr.rank_move SET old_key = new_key"}},
		{"an empty bucket",
	         {"spoil.empty", "INSERT INTO rank_bucket VALUES (3, 7, 0)",
	          "INSERT INTO gdpr.rank_bucket VALUES (3, 7, 0)"}},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct spoil s = {cases[i].what, &cases[i].st};

		spoils(&s, false);
	}
}

static void the_proof_finds_a_bucket_that_was_tampered_with(void **state)
{
	static const struct {
		const char *what;
		struct db_stmt st;
	} cases[] = {
		{"bucket",
	         {"spoil.bucket",
	          "UPDATE rank_bucket SET people = 2 WHERE level = 3",
	          "UPDATE gdpr.rank_bucket SET people = 2 WHERE level = 3"}},
		{"wider bucket",
	         {"spoil.wider",
	          "UPDATE rank_bucket SET people = 2 WHERE level = 5",
	          "UPDATE gdpr.rank_bucket SET people = 2 WHERE level = 5"}},
		{"widest bucket",
	         {"spoil.widest", "DELETE FROM rank_bucket WHERE level = 4",
	          "DELETE FROM gdpr.rank_bucket WHERE level = 4"}},
		{"bucket of no level",
	         {"spoil.level", "INSERT INTO rank_bucket VALUES (6, 0, 1)",
	          "INSERT INTO gdpr.rank_bucket VALUES (6, 0, 1)"}},
		{"lost bucket",
	         {"spoil.lost", "DELETE FROM rank_bucket WHERE level = 1",
	          "DELETE FROM gdpr.rank_bucket WHERE level = 1"}},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct spoil s = {cases[i].what, &cases[i].st};

		spoils(&s, true);
	}
}

int main(void)
{
#define EACH_EMPTY(f) cmocka_unit_test_setup(f, fixture_each)
	const struct CMUnitTest tests[] = {
		EACH_EMPTY(nobody_is_all_zeros),
		EACH_EMPTY(account_alone_has_no_rank),
		EACH_EMPTY(quiz_and_topic_give_what_the_contract_says),
		EACH_EMPTY(same_event_counts_once),
		EACH_EMPTY(practice_counts_and_pays_nothing),
		EACH_EMPTY(late_days_do_not_break_a_streak),
		EACH_EMPTY(seven_days_unlock_the_streak),
		EACH_EMPTY(a_day_that_has_not_come_is_today),
		EACH_EMPTY(quiz_may_come_before_the_account),
		EACH_EMPTY(nonsense_is_taken_and_changes_nothing),
		EACH_EMPTY(what_is_rolled_back_leaves_nothing),
		EACH_EMPTY(nothing_is_lost_when_all_write_at_once),
		EACH_EMPTY(ranks_are_those_of_a_sort),
		EACH_EMPTY(a_new_handle_moves_only_ties),
		EACH_EMPTY(the_proof_finds_what_was_tampered_with),
		EACH_EMPTY(the_proof_finds_a_bucket_that_was_tampered_with),
	};

	return cmocka_run_group_tests(tests, fixture_up, fixture_down);
}
