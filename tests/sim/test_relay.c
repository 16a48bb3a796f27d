/*
 * The relay and the inbox under everything that can go wrong: worlds drawn from
 * seeds (relay_world.h; KAE_SEED=n tells the story of one), and each statement,
 * commit and allocation failing in its turn.
 */
#include "tests/sim/relay_world.h"

#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/codec/mp.h"
#include "common/event/relay.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define TURNS_MAX 200 /* in which everything must have arrived */
#define TURN_MS   500

static struct services services;

static bool one_world(uint64_t seed, bool tell)
{
	return world_run(&services, seed, tell);
}

static void every_event_is_applied_once_and_in_order(void **state)
{
	static const struct sim_plan plan = {"test_relay", 2000, 100000,
	                                     one_world};

	(void)state;
	sim_seeds(&plan);
}

/* --- one fault at a time ------------------------------------------------------------ */

/* content tells gdpr, without a network; every place where a transaction can
 * fail is counted. */
struct line {
	struct service *from, *to;
	struct db_pool out, in;
	uint64_t now;
	unsigned points;       /* passed so far */
	unsigned first, fails; /* these of them fail: from first on */
};

static enum err at_line(void *arg, enum db_point point)
{
	struct line *l = arg;
	unsigned n = ++l->points;

	if (n < l->first || n - l->first >= l->fails)
		return OK;
	return point == POINT_AFTER ? ERR_PEER_LOST : ERR_DATABASE;
}

static enum err effect(void *arg, struct db *db, const struct event *ev)
{
	static const struct db_stmt add = {
		"ledger.add",
		"INSERT INTO ledger (source, sub, seq, xp) "
		"VALUES ($1, $2, $3, $4)",
		NULL};
	const struct db_val row[] = {DB_STR(ev->source), DB_STR(ev->sub),
	                             DB_I64(ev->seq), DB_I64(1)};

	(void)arg;
	return db_run(db, &add, row, COUNTOF(row), NULL);
}

static enum err send_on_line(void *arg, enum bus_peer target, struct str body,
                             uint64_t deadline_ms, struct buf *reply)
{
	struct line *l = arg;
	AUTO(arena) a = arena_new(1 << 20);
	struct ctx cx = {.service = "gdpr",
	                 .arena = a,
	                 .rid = STR("sim"),
	                 .deadline_ms = deadline_ms,
	                 .principal = l->from->name};

	if (target != l->to->peer)
		return ERR_UNAVAILABLE;
	return a ? event_apply(l->to->store, &l->in, &cx, body, effect, l,
	                       reply)
	         : ERR_NOMEM;
}

static enum err emit_three(struct db *db, void *arg)
{
	const struct line *l = arg;
	enum err e = OK;

	for (int i = 0; i < 3 && !e; i++)
		e = event_emit(l->from->store, db, PEER_GDPR,
		               i == 1 ? STR("u2") : STR("u1"), STR("earned"),
		               STR("\x80"), wall_ms());
	return e;
}

static void line_open(struct line *l)
{
	struct ctx cx = {.service = "content", .rid = STR("sim")};

	*l = (struct line){.from = &services.of[1], .to = &services.of[2]};
	l->out = (struct db_pool){l->from->db, at_line, l};
	l->in = (struct db_pool){l->to->db, at_line, l};
	sim_db_clear(l->from->db);
	sim_db_clear(l->to->db);
	world_set_time(0);
	sim_db_set_clock(l->from->db, EPOCH_MS);
	cx.deadline_ms = UINT64_MAX;
	assert_int_equal(db_write(&l->out, &cx, emit_three, l), OK);
	l->points = 0;
}

static void line_turn(struct line *l, struct relay *r)
{
	(void)relay_turn(r);
	l->now += TURN_MS;
	world_set_time(l->now);
	sim_db_set_clock(l->from->db, EPOCH_MS + (int64_t)l->now);
}

static struct relay *line_relay(struct line *l)
{
	const struct event_relay_conf conf = {.store = l->from->store,
	                                      .pool = &l->out,
	                                      .service = l->from->name,
	                                      .owner = "r1",
	                                      .send = send_on_line,
	                                      .send_arg = l};

	return relay_new(&conf);
}

static void line_arrives(struct line *l, struct relay *r)
{
	unsigned turns = 0;

	while (sim_db_i64(l->from->db, "SELECT count(*) FROM outbox") &&
	       turns++ < TURNS_MAX)
		line_turn(l, r);
	assert_true(turns < TURNS_MAX);
	assert_int_equal(sim_db_i64(l->to->db, "SELECT count(*) FROM ledger"),
	                 3);
	assert_int_equal(
		sim_db_i64(l->to->db,
	                   "SELECT count(*) FROM ledger AS a WHERE seq <> "
	                   "(SELECT count(*) FROM ledger AS b WHERE "
	                   "b.sub = a.sub AND b.n <= a.n)"),
		0);
}

/* In each run the next point fails, and as many after it as `fails` says. */
static void sweep_points(unsigned fails)
{
	for (unsigned first = 1;; first++) {
		struct line l;
		AUTO(relay) r = NULL;
		bool was_met;

		line_open(&l);
		l.first = first;
		l.fails = fails;
		r = line_relay(&l);
		assert_non_null(r);
		for (int i = 0; i < 3; i++)
			line_turn(&l, r);
		was_met = l.points >= first;
		l.fails = 0;
		line_arrives(&l, r);
		relay_end(r);
		assert_int_equal(sim_db_i64(l.from->db, "SELECT count(*) FROM "
		                                        "outbox_lease"),
		                 0);
		if (!was_met)
			return;
	}
}

static void each_statement_and_commit_may_fail(void **state)
{
	(void)state;
	sweep_points(1);
}

static void the_database_may_go_away_anywhere(void **state)
{
	(void)state;
	sweep_points(40);
}

static void failures_of_the_outbox_are_counted(void **state)
{
	struct line l;
	AUTO(relay) r = NULL;
	struct event_stats s;

	(void)state;
	line_open(&l);
	l.first = 1;
	l.fails = 1;
	r = line_relay(&l);
	assert_non_null(r);
	line_turn(&l, r);
	line_arrives(&l, r);
	relay_stats(r, &s);
	assert_true(s.errors > 0);
	assert_int_equal(s.failed, 0);
	assert_int_equal(s.acked, 3);
}

static void each_allocation_may_fail(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned n = 1; failed; n++) {
		struct line l;
		AUTO(relay) r = NULL;

		line_open(&l);
		alloc_fault_arm(n);
		r = line_relay(&l);
		if (r)
			line_turn(&l, r);
		failed = alloc_fault_disarm();
		if (!r)
			r = line_relay(&l);
		assert_non_null(r);
		line_arrives(&l, r);
	}
}

static int quiet(void **state)
{
	(void)state;
	log_threshold = LOG_ERROR - 1;
	return 0;
}

static int loud(void **state)
{
	(void)state;
	log_threshold = LOG_INFO;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, quiet, loud)
		T(each_statement_and_commit_may_fail),
		T(the_database_may_go_away_anywhere),
		T(failures_of_the_outbox_are_counted),
		T(each_allocation_may_fail),
		T(every_event_is_applied_once_and_in_order),
	};
	int failed;

	if (!services_open(&services))
		return 1;
	failed = cmocka_run_group_tests_name("relay", tests, NULL, NULL);
	services_close(&services);
	return failed;
}
