#include "common/service/lane.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#define FAR_MS (UINT64_MAX / 2)

/* Workers stop here while it is shut. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	bool shut;
	unsigned inside;
};

static void gate_set(struct gate *g, bool shut)
{
	GUARD(&g->lock);

	g->shut = shut;
	pthread_cond_broadcast(&g->moved);
}

static void gate_pass(struct gate *g)
{
	GUARD(&g->lock);

	g->inside++;
	pthread_cond_broadcast(&g->moved);
	while (g->shut)
		pthread_cond_wait(&g->moved, &g->lock);
}

static void gate_wait_inside(struct gate *g, unsigned n)
{
	GUARD(&g->lock);

	while (g->inside < n)
		pthread_cond_wait(&g->moved, &g->lock);
}

struct job {
	struct lane_job job;
	struct gate *gate;
	atomic_int runs, drops;
	enum err why;
	atomic_uint *clock; /* orders runs */
	unsigned at;
};

static void on_run(struct lane_job *lj)
{
	struct job *j = (struct job *)(void *)lj;

	if (j->gate)
		gate_pass(j->gate);
	if (j->clock)
		j->at = atomic_fetch_add(j->clock, 1);
	atomic_fetch_add(&j->runs, 1);
}

static void on_drop(struct lane_job *lj, enum err why)
{
	struct job *j = (struct job *)(void *)lj;

	j->why = why;
	atomic_fetch_add(&j->drops, 1);
}

static struct job new_job(struct gate *g, uint64_t deadline_ms)
{
	return (struct job){.job = {.deadline_ms = deadline_ms,
	                            .run = on_run,
	                            .drop = on_drop},
	                    .gate = g};
}

static void wait_for(atomic_int *what, int n)
{
	while (atomic_load(what) < n)
		(void)usleep(200);
}

#define GATE                                                                 \
	{                                                                    \
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, true, 0 \
	}

static struct lane_pool *lane_of(unsigned threads, unsigned queue_max)
{
	return lane_new(&(struct lane_conf){
		.name = "test", .threads = threads, .queue_max = queue_max});
}

static void jobs_run_in_order_of_arrival(void **state)
{
	AUTO(lane) l = lane_of(1, 100);
	struct gate g = GATE;
	struct job first = new_job(&g, FAR_MS), jobs[50];
	atomic_uint clock = 0;
	struct lane_stats st;

	(void)state;
	assert_int_equal(lane_push(l, &first.job), OK);
	for (size_t i = 0; i < COUNTOF(jobs); i++) {
		jobs[i] = new_job(NULL, FAR_MS);
		jobs[i].clock = &clock;
		assert_int_equal(lane_push(l, &jobs[i].job), OK);
	}
	gate_wait_inside(&g, 1);
	lane_stats(l, &st);
	assert_int_equal(st.queued, COUNTOF(jobs));
	assert_int_equal(st.busy, 1);
	gate_set(&g, false);
	for (size_t i = 0; i < COUNTOF(jobs); i++) {
		wait_for(&jobs[i].runs, 1);
		assert_int_equal(jobs[i].at, i);
		assert_int_equal(atomic_load(&jobs[i].drops), 0);
	}
}

static void as_many_run_at_once_as_there_are_threads(void **state)
{
	AUTO(lane) l = lane_of(3, 10);
	struct gate g = GATE;
	struct job jobs[4];

	(void)state;
	for (size_t i = 0; i < COUNTOF(jobs); i++) {
		jobs[i] = new_job(&g, FAR_MS);
		assert_int_equal(lane_push(l, &jobs[i].job), OK);
	}
	gate_wait_inside(&g, 3);
	assert_int_equal(g.inside, 3);
	gate_set(&g, false);
	for (size_t i = 0; i < COUNTOF(jobs); i++)
		wait_for(&jobs[i].runs, 1);
}

static void a_full_lane_refuses_at_once(void **state)
{
	AUTO(lane) l = lane_of(1, 2);
	struct gate g = GATE;
	struct job jobs[4];
	struct lane_stats st;

	(void)state;
	for (size_t i = 0; i < COUNTOF(jobs); i++)
		jobs[i] = new_job(&g, FAR_MS);
	assert_int_equal(lane_push(l, &jobs[0].job), OK);
	gate_wait_inside(&g, 1);
	assert_int_equal(lane_push(l, &jobs[1].job), OK);
	assert_int_equal(lane_push(l, &jobs[2].job), OK);
	assert_int_equal(lane_push(l, &jobs[3].job), ERR_BUSY);
	gate_set(&g, false);
	wait_for(&jobs[2].runs, 1);
	/* What was refused is the caller's: it may come again. */
	assert_int_equal(lane_push(l, &jobs[3].job), OK);
	wait_for(&jobs[3].runs, 1);
	lane_stats(l, &st);
	assert_int_equal(st.refused, 1);
}

static void a_job_whose_deadline_passed_in_the_queue_is_not_run(void **state)
{
	AUTO(lane) l = lane_of(1, 10);
	struct gate g = GATE;
	struct job first = new_job(&g, FAR_MS);
	struct job late = new_job(NULL, mono_ms() + 5);
	struct job in_time = new_job(NULL, FAR_MS);
	struct lane_stats st;

	(void)state;
	assert_int_equal(lane_push(l, &first.job), OK);
	assert_int_equal(lane_push(l, &late.job), OK);
	assert_int_equal(lane_push(l, &in_time.job), OK);
	while (mono_ms() < late.job.deadline_ms)
		(void)usleep(500);
	gate_set(&g, false);
	wait_for(&in_time.runs, 1);
	assert_int_equal(atomic_load(&late.runs), 0);
	assert_int_equal(atomic_load(&late.drops), 1);
	assert_int_equal(late.why, ERR_TIMEOUT);
	lane_stats(l, &st);
	assert_int_equal(st.expired, 1);
}

/* Until it runs: on a busy machine a job may be refused before a thread of the
 * lane has its first turn. */
static void push_until_inside(struct lane_pool *l, struct job *j)
{
	struct gate *g = j->gate;

	for (bool inside = false; !inside;) {
		atomic_store(&j->drops, 0);
		assert_int_equal(lane_push(l, &j->job), OK);
		while (!inside && atomic_load(&j->drops) == 0) {
			(void)usleep(200);
			GUARD(&g->lock);

			inside = g->inside > 0;
		}
	}
}

static void a_job_that_waited_for_too_long_is_refused_as_busy(void **state)
{
	AUTO(lane)
	l = lane_new(&(struct lane_conf){.name = "test",
	                                 .threads = 1,
	                                 .queue_max = 10,
	                                 .wait_max_ms = 1});
	struct gate g = GATE;
	struct job first = new_job(&g, FAR_MS), late = new_job(NULL, FAR_MS);
	struct lane_stats st;
	uint64_t refused;

	(void)state;
	push_until_inside(l, &first);
	lane_stats(l, &st);
	refused = st.refused;
	assert_int_equal(lane_push(l, &late.job), OK);
	while (mono_us() <= late.job.queued_us + 2000)
		(void)usleep(500);
	gate_set(&g, false);
	wait_for(&late.drops, 1);
	assert_int_equal(atomic_load(&late.runs), 0);
	assert_int_equal(late.why, ERR_BUSY);
	lane_stats(l, &st);
	assert_int_equal(st.refused, refused + 1);
	assert_int_equal(st.expired, 0);
}

static void *open_soon(void *arg)
{
	(void)usleep(20000);
	gate_set(arg, false);
	return NULL;
}

static void stop_drops_what_waits_and_waits_for_what_runs(void **state)
{
	AUTO(lane) l = lane_of(1, 10);
	struct gate g = GATE;
	struct job running = new_job(&g, FAR_MS),
		   waiting = new_job(NULL, FAR_MS);
	struct job after = new_job(NULL, FAR_MS);
	pthread_t t;

	(void)state;
	assert_int_equal(lane_push(l, &running.job), OK);
	gate_wait_inside(&g, 1);
	assert_int_equal(lane_push(l, &waiting.job), OK);
	assert_int_equal(pthread_create(&t, NULL, open_soon, &g), 0);
	lane_stop(l);
	assert_int_equal(atomic_load(&running.runs), 1);
	assert_int_equal(atomic_load(&waiting.runs), 0);
	assert_int_equal(atomic_load(&waiting.drops), 1);
	assert_int_equal(waiting.why, ERR_UNAVAILABLE);
	assert_int_equal(lane_push(l, &after.job), ERR_UNAVAILABLE);
	lane_stop(l);
	pthread_join(t, NULL);
}

/* A job that takes others along. */
struct gatherer {
	struct lane_job job; /* first */
	struct lane_pool *l;
	unsigned max, n;
	struct lane_job *others[8];
	struct lane_stats while_running;
	atomic_int runs;
};

static void on_gather(struct lane_job *lj)
{
	struct gatherer *g = (struct gatherer *)(void *)lj;

	g->n = lane_more(g->l, g->others, g->max);
	lane_stats(g->l, &g->while_running);
	for (unsigned i = 0; i < g->n; i++)
		g->others[i]->run(g->others[i]);
	lane_ran(g->l, g->n);
	atomic_fetch_add(&g->runs, 1);
}

static struct gatherer gatherer_of(struct lane_pool *l, unsigned max)
{
	return (struct gatherer){.job = {.deadline_ms = FAR_MS,
	                                 .joins = true,
	                                 .run = on_gather,
	                                 .drop = on_drop},
	                         .l = l,
	                         .max = max};
}

static void a_worker_takes_along_those_that_join(void **state)
{
	static const bool joins[] = {true, true, true, false, true};
	AUTO(lane) l = lane_of(1, 10);
	struct gate g = GATE;
	struct job first = new_job(&g, FAR_MS), jobs[COUNTOF(joins)];
	struct gatherer two = gatherer_of(l, 2), many = gatherer_of(l, 8);
	struct lane_stats st;

	(void)state;
	assert_int_equal(lane_push(l, &first.job), OK);
	gate_wait_inside(&g, 1);
	assert_int_equal(lane_push(l, &two.job), OK);
	for (size_t i = 0; i < COUNTOF(joins); i++) {
		jobs[i] = new_job(NULL, FAR_MS);
		jobs[i].job.joins = joins[i];
	}
	/* Two of three, and then as many as there are before the one that
	 * does not join. */
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(lane_push(l, &jobs[i].job), OK);
	assert_int_equal(lane_push(l, &many.job), OK);
	for (size_t i = 3; i < COUNTOF(joins); i++)
		assert_int_equal(lane_push(l, &jobs[i].job), OK);
	gate_set(&g, false);
	for (size_t i = 0; i < COUNTOF(joins); i++)
		wait_for(&jobs[i].runs, 1);
	lane_stop(l);
	assert_int_equal(two.n, 2);
	assert_ptr_equal(two.others[0], &jobs[0].job);
	assert_ptr_equal(two.others[1], &jobs[1].job);
	/* One thread is busy, however many it has taken along. */
	assert_int_equal(two.while_running.busy, 1);
	assert_int_equal(many.n, 0);
	lane_stats(l, &st);
	assert_int_equal(st.busy, 0);
	assert_int_equal(st.queued, 0);
	assert_int_equal(st.done, 3 + COUNTOF(joins));
}

/* It may be that nobody else comes to drop it, but not that it is run. */
static void what_is_too_late_is_not_taken_along(void **state)
{
	AUTO(lane) l = lane_of(1, 10);
	struct gate g = GATE;
	struct job first = new_job(&g, FAR_MS);
	struct job late = new_job(NULL, mono_ms() + 5);
	struct gatherer many = gatherer_of(l, 8);

	(void)state;
	late.job.joins = true;
	assert_int_equal(lane_push(l, &first.job), OK);
	gate_wait_inside(&g, 1);
	assert_int_equal(lane_push(l, &many.job), OK);
	assert_int_equal(lane_push(l, &late.job), OK);
	while (mono_ms() < late.job.deadline_ms)
		(void)usleep(500);
	gate_set(&g, false);
	wait_for(&late.drops, 1);
	assert_int_equal(late.why, ERR_TIMEOUT);
	assert_int_equal(atomic_load(&late.runs), 0);
	assert_int_equal(many.n, 0);
}

/* The first takes along what joins; what is behind it is another worker's. */
static void what_does_not_join_is_run_beside(void **state)
{
	AUTO(lane) l = lane_of(2, 10);
	struct gate g = GATE;
	struct job held = new_job(&g, FAR_MS), beside = new_job(&g, FAR_MS);
	struct gatherer many = gatherer_of(l, 8);

	(void)state;
	held.job.joins = true;
	assert_int_equal(lane_push(l, &many.job), OK);
	assert_int_equal(lane_push(l, &held.job), OK);
	assert_int_equal(lane_push(l, &beside.job), OK);
	gate_wait_inside(&g, 2);
	gate_set(&g, false);
	wait_for(&held.runs, 1);
	wait_for(&beside.runs, 1);
}

struct pusher {
	struct lane_pool *l;
	struct job jobs[500];
	unsigned taken;
};

static void *push_all(void *arg)
{
	struct pusher *p = arg;

	for (size_t i = 0; i < COUNTOF(p->jobs); i++) {
		p->jobs[i] = new_job(NULL, i % 7 ? FAR_MS : 0);
		if (lane_push(p->l, &p->jobs[i].job) == OK)
			p->taken++;
	}
	return NULL;
}

static void every_job_taken_ends_exactly_once(void **state)
{
	static struct pusher p[4];
	AUTO(lane) l = lane_of(2, 64);
	pthread_t t[COUNTOF(p)];

	(void)state;
	for (size_t i = 0; i < COUNTOF(p); i++) {
		p[i].l = l;
		assert_int_equal(pthread_create(&t[i], NULL, push_all, &p[i]),
		                 0);
	}
	for (size_t i = 0; i < COUNTOF(p); i++)
		pthread_join(t[i], NULL);
	lane_stop(l);
	for (size_t i = 0; i < COUNTOF(p); i++) {
		unsigned ended = 0;

		for (size_t k = 0; k < COUNTOF(p[i].jobs); k++) {
			struct job *j = &p[i].jobs[k];
			int n = atomic_load(&j->runs) + atomic_load(&j->drops);

			assert_in_range(n, 0, 1);
			ended += (unsigned)n;
		}
		assert_int_equal(ended, p[i].taken);
	}
}

static void without_memory_there_is_no_lane(void **state)
{
	struct lane_pool *l;
	unsigned n = 1;

	(void)state;
	for (;; n++) {
		alloc_fault_arm(n);
		l = lane_of(1, 1);
		if (!alloc_fault_disarm())
			break;
		/* The C library may do without a block that failed. */
		lane_free(l);
	}
	assert_non_null(l);
	assert_true(n > 1);
	lane_free(l);
	lane_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_run_in_order_of_arrival),
		cmocka_unit_test(as_many_run_at_once_as_there_are_threads),
		cmocka_unit_test(a_full_lane_refuses_at_once),
		cmocka_unit_test(
			a_job_whose_deadline_passed_in_the_queue_is_not_run),
		cmocka_unit_test(
			a_job_that_waited_for_too_long_is_refused_as_busy),
		cmocka_unit_test(stop_drops_what_waits_and_waits_for_what_runs),
		cmocka_unit_test(a_worker_takes_along_those_that_join),
		cmocka_unit_test(what_is_too_late_is_not_taken_along),
		cmocka_unit_test(what_does_not_join_is_run_beside),
		cmocka_unit_test(every_job_taken_ends_exactly_once),
		cmocka_unit_test(without_memory_there_is_no_lane),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
