#include "svc-content/migrations.h"
#include "svc-content/records.h"
#include "svc-content/text.h"
#include "tests/store/store.h"

#include "common/base/uuid.h"
#include "common/codec/mp.h"

#include <stdatomic.h>
#include <stdlib.h>

#define NOON INT64_C(1767268800000) /* 2026-01-01T12:00:00Z */
#define DAY  INT64_C(86400000)
#define ADA  STR("0190a000-0000-7000-8000-00000000ada0")
#define BOB  STR("0190a000-0000-7000-8000-00000000b0b0")

static struct {
	struct store store;
	struct content ct;
	struct arena *a;
} fixture;

#define COUNT(table, where)                                                 \
	{                                                                   \
		"test." #table where, "SELECT COUNT(*) FROM " #table where, \
			"SELECT COUNT(*) FROM content." #table where        \
	}

static const struct db_stmt count_results = COUNT(results, "");
static const struct db_stmt count_earning = COUNT(results, " WHERE earns = 1");
static const struct db_stmt count_attempts = COUNT(attempts, "");
static const struct db_stmt count_questions = COUNT(questions, "");
static const struct db_stmt count_presented = COUNT(presentations, "");
static const struct db_stmt count_parts = COUNT(presentation_subtopics, "");
static const struct db_stmt count_quiz_events =
	COUNT(outbox, " WHERE type = 'quiz.submitted' AND target = 'gdpr'");
static const struct db_stmt count_finish_events =
	COUNT(outbox, " WHERE type = 'topic.finished' AND target = 'gdpr'");

static int64_t count(const struct db_stmt *st)
{
	return store_i64(fixture.ct.pool, st);
}

static int up(void **state)
{
	(void)state;
	store_open(&fixture.store, "content");
	fixture.ct.pool = store_pool(&fixture.store);
	fixture.ct.events = event_store_new("content");
	if (!fixture.ct.events)
		return -1;
	return db_migrate(fixture.ct.pool, content_migrations,
	                  CONTENT_MIGRATIONS)
	               ? -1
	               : 0;
}

static int down(void **state)
{
	(void)state;
	db_pool_free(fixture.ct.pool);
	event_store_free(fixture.ct.events);
	store_close(&fixture.store);
	return 0;
}

static enum err empty(struct db *db, void *arg)
{
	static const struct db_stmt tables[] = {
#define EMPTY(t) \
	{"test.empty." #t, "DELETE FROM " #t, "DELETE FROM content." #t}
		EMPTY(presentations), EMPTY(presentation_subtopics),
		EMPTY(questions),     EMPTY(attempts),
		EMPTY(results),       EMPTY(mastery),
		EMPTY(earned),        EMPTY(finished),
		EMPTY(outbox),        EMPTY(outbox_seq),
#undef EMPTY
	};
	enum err e = OK;

	(void)arg;
	for (size_t i = 0; i < COUNTOF(tables) && !e; i++)
		e = db_run(db, &tables[i], NULL, 0, NULL);
	return e;
}

static int each(void **state)
{
	struct ctx cx = store_ctx(60000);

	(void)state;
	fixture.a = arena_new((size_t)16 << 20);
	return !fixture.a || db_write(fixture.ct.pool, &cx, empty, NULL) ? -1
	                                                                 : 0;
}

static int after(void **state)
{
	(void)state;
	arena_free(fixture.a);
	return 0;
}

static struct ctx test_ctx(void)
{
	struct ctx cx = store_ctx(60000);

	cx.arena = fixture.a;
	return cx;
}

static struct named named(const char *text)
{
	struct named n = {.text = str_from(text)};

	assert_int_equal(text_key(fixture.a, n.text, &n.key), OK);
	return n;
}

/* --- the transactions that handlers run ------------------------------------------ */

struct job {
	struct ctx *cx;
	const struct attempt *at;
	const struct presentation *p;
	const struct submission *s;
	struct submitted out;
};

static enum err attempt_job(struct db *db, void *arg)
{
	return records_attempt(db, ((struct job *)arg)->at);
}

static enum err present_job(struct db *db, void *arg)
{
	struct job *j = arg;

	return records_present(db, j->cx, j->p);
}

static enum err submit_job(struct db *db, void *arg)
{
	struct job *j = arg;

	return records_submit(db, &fixture.ct, j->cx, j->s, &j->out);
}

static enum err write_submit(struct ctx *cx, const struct submission *s,
                             struct submitted *out)
{
	struct job j = {.cx = cx, .s = s};
	enum err e = db_write(fixture.ct.pool, cx, submit_job, &j);

	*out = j.out;
	return e;
}

/* --- what the tests do ---------------------------------------------------------- */

static struct attempt *hand_out(struct str sub, const char *topic,
                                const char *subtopic, size_t n, int64_t now_ms)
{
	static const char *const right[] = {"alpha", "beta", "gamma"};
	struct attempt *at = arena_alloc(fixture.a, sizeof(*at));
	struct ctx cx = test_ctx();

	assert_non_null(at);
	*at = (struct attempt){.sub = sub,
	                       .topic = named(topic),
	                       .subtopic = named(subtopic),
	                       .n = n,
	                       .now_ms = now_ms};
	uuid7(at->id);
	for (size_t i = 0; i < n; i++) {
		uuid7(at->questions[i].id);
		at->questions[i].correct = str_from(right[i % 3]);
		at->questions[i].correct_index = i % OPTIONS_N;
	}
	assert_int_equal(db_write(fixture.ct.pool, &cx, attempt_job,
	                          &(struct job){.at = at}),
	                 OK);
	return at;
}

static struct submission answers(const struct attempt *at, size_t right,
                                 struct answer *v)
{
	for (size_t i = 0; i < at->n; i++)
		v[i] = (struct answer){
			.question_id = str_from(at->questions[i].id),
			.option = i < right ? at->questions[i].correct
		                            : STR("something else")};
	return (struct submission){.sub = at->sub,
	                           .attempt_id = str_from(at->id),
	                           .answers = v,
	                           .answers_n = at->n,
	                           .difficulty = STR("medium"),
	                           .now_ms = NOON};
}

static struct submission score(struct str sub, const char *topic,
                               const char *subtopic, int64_t got, int64_t total,
                               int64_t now_ms)
{
	char *digest = arena_alloc(fixture.a, TEXT_DIGEST_MAX);
	char numbers[32];
	struct submission s = {.sub = sub,
	                       .topic = named(topic),
	                       .subtopic = named(subtopic),
	                       .score = got,
	                       .total = total,
	                       .difficulty = STR("medium"),
	                       .now_ms = now_ms};
	struct str parts[3];

	assert_non_null(digest);
	(void)snprintf(numbers, sizeof(numbers), "%lld/%lld", (long long)got,
	               (long long)total);
	parts[0] = s.topic.key;
	parts[1] = s.subtopic.key;
	parts[2] = str_from(numbers);
	s.body = text_digest(parts, COUNTOF(parts), digest);
	return s;
}

static struct submitted submit(const struct submission *s, enum err want)
{
	struct ctx cx = test_ctx();
	struct submitted out = {.score = -1};

	assert_int_equal(write_submit(&cx, s, &out), want);
	return out;
}

static void present(struct str sub, const char *topic,
                    const char *const *subtopics, size_t n, int64_t now_ms)
{
	struct str keys[FOCUS_MAX];
	struct presentation p = {.sub = sub,
	                         .topic = named(topic),
	                         .subtopic_keys = keys,
	                         .n = n,
	                         .now_ms = now_ms};
	struct ctx cx = test_ctx();

	for (size_t i = 0; i < n; i++)
		keys[i] = named(subtopics[i]).key;
	assert_int_equal(db_write(fixture.ct.pool, &cx, present_job,
	                          &(struct job){.cx = &cx, .p = &p}),
	                 OK);
}

struct seen {
	size_t n;
	int64_t level, at;
	char subtopic[64];
};

static void seen_restart(void *arg)
{
	((struct seen *)arg)->n = 0;
}

static enum err seen_row(void *arg, const struct db_row *row)
{
	struct seen *s = arg;
	struct str sub = db_row_str(row, 1);

	if (s->n++ == 0) {
		s->level = db_row_i64(row, 2);
		s->at = db_row_i64(row, 3);
		(void)snprintf(s->subtopic, sizeof(s->subtopic), "%.*s",
		               STR_FMT(sub));
	}
	return OK;
}

static struct seen progress(struct str sub, const char *topic)
{
	struct seen s = {.n = 0};
	struct ctx cx = test_ctx();
	struct str key = topic ? named(topic).key : STR("");

	assert_int_equal(records_progress(&fixture.ct, &cx, sub, key, seen_row,
	                                  seen_restart, &s),
	                 OK);
	return s;
}

/* --- attempts ------------------------------------------------------------------------ */

static void an_attempt_is_graded_once(void **state)
{
	struct attempt *at = hand_out(ADA, "Calculus", "Limits", 3, NOON);
	struct answer v[3];
	struct submission s = answers(at, 2, v);
	struct submitted first = submit(&s, OK), again;

	(void)state;
	assert_int_equal(first.score, 2);
	assert_int_equal(first.total, 3);
	assert_int_equal(first.mastery, 2);
	assert_true(first.earns);
	assert_false(first.repeat);
	s = answers(at, 3, v); /* better answers come too late */
	s.now_ms = NOON + DAY;
	again = submit(&s, OK);
	assert_true(again.repeat);
	assert_int_equal(again.score, 2);
	assert_int_equal(again.mastery, 2);
	assert_true(again.earns);
	assert_int_equal(count(&count_results), 1);
	assert_int_equal(count(&count_quiz_events), 1);
}

static void options_may_be_named_by_index(void **state)
{
	struct attempt *at = hand_out(ADA, "Calculus", "Limits", 3, NOON);
	struct answer v[3];
	struct submission s = answers(at, 0, v);

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		v[i].option = (struct str){NULL, 0};
		v[i].index = (int64_t)i;
	}
	assert_int_equal(submit(&s, OK).score, 3);
}

static void missing_answers_are_wrong_answers(void **state)
{
	struct attempt *at = hand_out(ADA, "Calculus", "Limits", 3, NOON);
	struct answer v[3];
	struct submission s = answers(at, 3, v);
	struct submitted out;

	(void)state;
	s.answers_n = 1;
	out = submit(&s, OK);
	assert_int_equal(out.score, 1);
	assert_int_equal(out.mastery, 1);
}

static void nobody_submits_for_another(void **state)
{
	struct attempt *at = hand_out(ADA, "Calculus", "Limits", 3, NOON);
	struct answer v[3];
	struct submission s = answers(at, 3, v);

	(void)state;
	s.sub = BOB;
	submit(&s, ERR_NOT_FOUND);
	s.sub = ADA;
	s.attempt_id = STR("no such attempt");
	submit(&s, ERR_NOT_FOUND);
	assert_int_equal(count(&count_results), 0);
	assert_int_equal(count(&count_quiz_events), 0);
}

static void strange_answers_change_nothing(void **state)
{
	struct attempt *at = hand_out(ADA, "Calculus", "Limits", 3, NOON);
	struct answer v[3];
	struct submission s = answers(at, 3, v);

	(void)state;
	v[1].question_id = v[0].question_id; /* one twice */
	assert_int_equal(submit(&s, ERR_INVALID).bad_answer, 1);
	s = answers(at, 3, v);
	v[2].question_id = STR("of another quiz");
	assert_int_equal(submit(&s, ERR_INVALID).bad_answer, 2);
	assert_int_equal(count(&count_results), 0);
	assert_int_equal(progress(ADA, NULL).n, 0);
	s = answers(at, 3, v); /* and it can still be submitted */
	assert_int_equal(submit(&s, OK).score, 3);
}

static void forgotten_attempts_go_and_submitted_ones_stay(void **state)
{
	struct attempt *old = hand_out(ADA, "Calculus", "Limits", 3, NOON);
	struct attempt *done = hand_out(ADA, "Calculus", "Limits", 3, NOON);
	struct answer v[3];
	struct submission s = answers(done, 3, v);

	(void)state;
	submit(&s, OK);
	hand_out(BOB, "Calculus", "Limits", 3, NOON + 8 * DAY);
	assert_int_equal(count(&count_attempts), 3);
	hand_out(ADA, "Calculus", "Limits", 3, NOON + 8 * DAY);
	assert_int_equal(count(&count_attempts), 3);
	assert_int_equal(count(&count_questions), 9);
	s = answers(old, 3, v);
	submit(&s, ERR_NOT_FOUND);
}

/* --- scores that the browser counted ---------------------------------------------------- */

static void mastery_follows_the_percentage(void **state)
{
	static const struct {
		int64_t got, total;
		unsigned mastery;
	} cases[] = {
		{0, 1, 1},    {1, 1, 3},    {49, 100, 1}, {50, 100, 2},
		{79, 100, 2}, {80, 100, 3}, {2, 3, 2},    {1, 3, 1},
		{4, 5, 3},    {1, 2, 2},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct submission s =
			score(ADA, "Topic", "part", cases[i].got,
		              cases[i].total, NOON + (int64_t)i * 60000);

		assert_int_equal(records_mastery(cases[i].got, cases[i].total),
		                 cases[i].mastery);
		submit(&s, OK);
		/* The last one counts, up or down. */
		assert_int_equal(progress(ADA, "topic").level,
		                 cases[i].mastery);
	}
	assert_int_equal(progress(ADA, NULL).n, 1);
}

static void the_same_body_within_thirty_seconds_is_one_submit(void **state)
{
	struct submission s = score(ADA, "Calculus", "Limits", 2, 3, NOON);

	(void)state;
	assert_false(submit(&s, OK).repeat);
	s.now_ms += RECORDS_REPEAT_MS - 1;
	assert_true(submit(&s, OK).repeat);
	assert_int_equal(count(&count_results), 1);
	s.now_ms += RECORDS_REPEAT_MS;
	assert_false(submit(&s, OK).repeat);
	assert_int_equal(count(&count_results), 2);
	assert_int_equal(count(&count_quiz_events), 2);
}

static void another_person_or_score_is_another_submit(void **state)
{
	struct submission s = score(ADA, "Calculus", "Limits", 2, 3, NOON);

	(void)state;
	submit(&s, OK);
	s = score(BOB, "Calculus", "Limits", 2, 3, NOON);
	assert_false(submit(&s, OK).repeat);
	s = score(ADA, "Calculus", "Limits", 3, 3, NOON);
	assert_false(submit(&s, OK).repeat);
	assert_int_equal(count(&count_results), 3);
}

static void a_score_earns_once_per_subtopic_and_utc_day(void **state)
{
	static const struct {
		const char *topic, *subtopic;
		int64_t got, now_ms;
		bool earns;
	} cases[] = {
		{"Calculus", "Limits", 1, NOON, true},
		{"calculus ", "LIMITS", 2, NOON, false},
		{"Calculus", "Limits", 3, NOON + DAY / 2 - 1, false},
		{"Calculus", "Series", 3, NOON, true},
		{"Algebra", "Limits", 3, NOON, true},
		{"Calculus", "Limits", 2, NOON + DAY / 2, true},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct submission s =
			score(ADA, cases[i].topic, cases[i].subtopic,
		              cases[i].got, 3, cases[i].now_ms);

		assert_int_equal(submit(&s, OK).earns, cases[i].earns);
	}
	assert_int_equal(count(&count_earning), 4);
	/* All of them are told, earning or not. */
	assert_int_equal(count(&count_quiz_events), COUNTOF(cases));
}

static void a_graded_quiz_leaves_nothing_to_earn_for_its_score(void **state)
{
	struct attempt *at = hand_out(ADA, "Calculus", "Limits", 3, NOON);
	struct answer v[3];
	struct submission s = answers(at, 3, v);

	(void)state;
	assert_true(submit(&s, OK).earns);
	s = score(ADA, "Calculus", "Limits", 3, 3, NOON);
	assert_false(submit(&s, OK).earns);
}

/* --- finished topics -------------------------------------------------------------------- */

static const char *const parts[] = {"Limits", "Series", "Integrals"};

static void a_topic_is_finished_once(void **state)
{
	(void)state;
	present(ADA, "Calculus", parts, 3, NOON);
	for (size_t i = 0; i < 3; i++) {
		struct submission s =
			score(ADA, "calculus", parts[i], 3, 3, NOON);

		assert_int_equal(submit(&s, OK).finished, i == 2);
	}
	assert_int_equal(count(&count_finish_events), 1);
	for (size_t i = 0; i < 3; i++) {
		struct submission s =
			score(ADA, "Calculus", parts[i], 2, 3, NOON + DAY);

		assert_false(submit(&s, OK).finished);
	}
	assert_int_equal(count(&count_finish_events), 1);
}

static void a_weak_subtopic_or_no_presentation_finishes_nothing(void **state)
{
	struct submission s;

	(void)state;
	s = score(ADA, "Calculus", "Limits", 3, 3, NOON);
	submit(&s, OK);
	present(ADA, "Calculus", parts, 3, NOON);
	s = score(ADA, "Calculus", "Series", 1, 3, NOON);
	submit(&s, OK);
	s = score(ADA, "Calculus", "Integrals", 3, 3, NOON);
	submit(&s, OK);
	s = score(BOB, "Calculus", "Series", 3, 3, NOON);
	submit(&s, OK);
	assert_int_equal(count(&count_finish_events), 0);
	s = score(ADA, "Calculus", "Series", 2, 3, NOON);
	assert_true(submit(&s, OK).finished);
}

static void the_latest_presentation_decides(void **state)
{
	static const char *const fewer[] = {"Limits"};
	struct submission s = score(ADA, "Calculus", "Limits", 3, 3, NOON);

	(void)state;
	present(ADA, "Calculus", parts, 3, NOON);
	present(ADA, "CALCULUS", fewer, 1, NOON + 1);
	assert_int_equal(count(&count_parts), 1);
	assert_true(submit(&s, OK).finished);
}

static void a_presentation_posted_twice_is_one(void **state)
{
	static const char *const reordered[] = {"Series", "LIMITS ",
	                                        "Integrals"};

	(void)state;
	present(ADA, "Calculus", parts, 3, NOON);
	present(ADA, " calculus", reordered, 3, NOON + 5);
	present(ADA, "Calculus", parts, 3, NOON + 9);
	assert_int_equal(count(&count_presented), 1);
	assert_int_equal(count(&count_parts), 3);
}

static void a_subtopic_named_twice_counts_once(void **state)
{
	static const char *const twice[] = {"Limits", "limits"};
	struct submission s = score(ADA, "Calculus", "Limits", 3, 3, NOON);

	(void)state;
	present(ADA, "Calculus", twice, 2, NOON);
	assert_int_equal(count(&count_parts), 1);
	assert_true(submit(&s, OK).finished);
}

/* --- reading ------------------------------------------------------------------------------- */

static void progress_shows_texts_as_written_latest_first(void **state)
{
	struct submission s = score(ADA, "Calculus", "Limits", 3, 3, NOON);
	struct seen seen;

	(void)state;
	submit(&s, OK);
	s = score(ADA, "機械学習", "פרק \xF0\x9F\x8E\xB5", 2, 3, NOON + 1);
	submit(&s, OK);
	s = score(BOB, "Calculus", "Limits", 3, 3, NOON + 2);
	submit(&s, OK);
	seen = progress(ADA, NULL);
	assert_int_equal(seen.n, 2);
	assert_string_equal(seen.subtopic, "פרק \xF0\x9F\x8E\xB5");
	assert_int_equal(seen.at, NOON + 1);
	assert_int_equal(progress(ADA, "CALCULUS").n, 1);
	assert_int_equal(progress(ADA, "nothing").n, 0);
}

static void what_is_done_is_what_is_mastered_well(void **state)
{
	struct submission s = score(ADA, "Calculus", "Limits", 3, 3, NOON);
	struct ctx cx = test_ctx();
	struct mastered *done;
	size_t n;

	(void)state;
	submit(&s, OK);
	s = score(ADA, "Calculus", "Series", 1, 3, NOON);
	submit(&s, OK);
	assert_int_equal(records_done(&fixture.ct, &cx, ADA, STR("calculus"),
	                              &done, &n),
	                 OK);
	assert_int_equal(n, 1);
	assert_true(str_eq(done[0].key, STR("limits")));
	assert_int_equal(done[0].level, 3);
}

/* --- at the same time ------------------------------------------------------------------------ */

#define THREADS 8

struct race {
	struct submission s[THREADS];
	atomic_uint next, ok, repeats, finished;
};

static void *race_one(void *arg)
{
	struct race *r = arg;
	unsigned i = atomic_fetch_add(&r->next, 1);
	AUTO(arena) a = arena_new(1 << 20);
	struct ctx cx = store_ctx(60000);
	struct submitted out;

	cx.arena = a;
	if (a && !write_submit(&cx, &r->s[i], &out)) {
		atomic_fetch_add(&r->ok, 1);
		atomic_fetch_add(&r->repeats, out.repeat);
		atomic_fetch_add(&r->finished, out.finished);
	}
	return NULL;
}

static void copies_that_arrive_together_are_one(void **state)
{
	struct race r = {.next = 0};

	(void)state;
	for (size_t i = 0; i < THREADS; i++)
		r.s[i] = score(ADA, "Calculus", "Limits", 2, 3, NOON);
	store_threads(THREADS, race_one, &r);
	assert_int_equal(atomic_load(&r.ok), THREADS);
	assert_int_equal(atomic_load(&r.repeats), THREADS - 1);
	assert_int_equal(count(&count_results), 1);
	assert_int_equal(count(&count_quiz_events), 1);
}

static void one_attempt_from_many_threads_is_graded_once(void **state)
{
	struct attempt *at = hand_out(ADA, "Calculus", "Limits", 3, NOON);
	struct race r = {.next = 0};
	struct answer v[3];

	(void)state;
	for (size_t i = 0; i < THREADS; i++)
		r.s[i] = answers(at, 3, v);
	store_threads(THREADS, race_one, &r);
	assert_int_equal(atomic_load(&r.ok), THREADS);
	assert_int_equal(atomic_load(&r.repeats), THREADS - 1);
	assert_int_equal(count(&count_quiz_events), 1);
}

static void the_last_subtopics_together_finish_the_topic_once(void **state)
{
	static const char *const names[THREADS] = {"a", "b", "c", "d",
	                                           "e", "f", "g", "h"};
	static const char *const topics[] = {"one",  "two", "three", "four",
	                                     "five", "six", "seven", "eight",
	                                     "nine", "ten"};

	(void)state;
	/* Several times, because only some orders of commits are dangerous. */
	for (size_t t = 0; t < COUNTOF(topics); t++) {
		struct race r = {.next = 0};

		present(ADA, topics[t], names, THREADS, NOON);
		for (size_t i = 0; i < THREADS; i++)
			r.s[i] = score(ADA, topics[t], names[i], 3, 3, NOON);
		store_threads(THREADS, race_one, &r);
		assert_int_equal(atomic_load(&r.ok), THREADS);
		assert_int_equal(atomic_load(&r.finished), 1);
	}
	assert_int_equal(count(&count_finish_events), COUNTOF(topics));
	assert_int_equal(count(&count_quiz_events), THREADS * COUNTOF(topics));
}

#define record_test(f) cmocka_unit_test_setup_teardown(f, each, after)

int main(void)
{
	const struct CMUnitTest tests[] = {
		record_test(an_attempt_is_graded_once),
		record_test(options_may_be_named_by_index),
		record_test(missing_answers_are_wrong_answers),
		record_test(nobody_submits_for_another),
		record_test(strange_answers_change_nothing),
		record_test(forgotten_attempts_go_and_submitted_ones_stay),
		record_test(mastery_follows_the_percentage),
		record_test(the_same_body_within_thirty_seconds_is_one_submit),
		record_test(another_person_or_score_is_another_submit),
		record_test(a_score_earns_once_per_subtopic_and_utc_day),
		record_test(a_graded_quiz_leaves_nothing_to_earn_for_its_score),
		record_test(a_topic_is_finished_once),
		record_test(
			a_weak_subtopic_or_no_presentation_finishes_nothing),
		record_test(the_latest_presentation_decides),
		record_test(a_presentation_posted_twice_is_one),
		record_test(a_subtopic_named_twice_counts_once),
		record_test(progress_shows_texts_as_written_latest_first),
		record_test(what_is_done_is_what_is_mastered_well),
		record_test(copies_that_arrive_together_are_one),
		record_test(one_attempt_from_many_threads_is_graded_once),
		record_test(the_last_subtopics_together_finish_the_topic_once),
	};

	return cmocka_run_group_tests(tests, up, down);
}
