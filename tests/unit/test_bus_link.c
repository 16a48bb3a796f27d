/* link and wheel - two ends in memory, and the timers of calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/bus/link.h"
#include "common/bus/wheel.h"
#include "tests/alloc_fault.h"

#include <stdlib.h>

static const struct bus_keys none;

struct pair {
	struct link c, s;
};

static struct str bytes_of(nng_msg *m)
{
	return (struct str){nng_msg_body(m), nng_msg_len(m)};
}

/* One frame from a to b, or none.  Returns how many items it had. */
static int carry(struct link *a, struct link *b, uint64_t now_ms)
{
	enum err e;
	nng_msg *m = link_next(a, now_ms, &e);
	struct str items = {0};
	struct item it;
	int n = 0;

	assert_int_equal(e, OK);
	if (!m)
		return -1;
	assert_int_equal(link_accept(b, bytes_of(m), wall_ms(), &items),
	                 FRAME_OK);
	while (item_next(&items, &it))
		n++;
	nng_msg_free(m);
	return n;
}

static void meet(struct pair *p)
{
	link_init(&p->c, PEER_GATEWAY, false, PEER_AUTH, &none);
	link_init(&p->s, PEER_AUTH, true, PEER_AUTH, &none);
	link_reset(&p->c);
	link_reset(&p->s);
	assert_int_equal(carry(&p->c, &p->s, 0), -1); /* not before greeted */
	assert_int_equal(carry(&p->s, &p->c, 0), 0);
	assert_int_equal(carry(&p->c, &p->s, 0), 0);
	assert_true(p->c.met && p->s.met);
}

static void part(struct pair *p)
{
	link_fini(&p->c);
	link_fini(&p->s);
}

static void put(struct link *l, enum item_kind kind, uint64_t cid, size_t n)
{
	static char bytes[BUS_PART_MAX];
	struct item it = {.kind = kind,
	                  .cid = cid,
	                  .arg = kind == ITEM_REQUEST ? 1000 : 0,
	                  .bytes = {bytes, n}};

	assert_int_equal(link_put(l, &it, 0), OK);
}

static void at_most_32_frames_are_unacknowledged(void **state)
{
	struct pair p;
	enum err e;

	(void)state;
	meet(&p);
	for (unsigned i = 0; i < BUS_WINDOW; i++) {
		nng_msg *m;

		put(&p.c, ITEM_REQUEST, i + 1, 10);
		m = link_next(&p.c, 5, &e);
		assert_non_null(m);
		nng_msg_free(m); /* nobody hears it */
	}
	put(&p.c, ITEM_REQUEST, 99, 10);
	assert_false(link_has_work(&p.c));
	assert_null(link_next(&p.c, 5, &e));
	assert_int_equal(link_oldest_ms(&p.c), 5);
	part(&p);
}

static void an_acknowledgement_opens_the_window(void **state)
{
	struct pair p;

	(void)state;
	meet(&p);
	for (unsigned i = 0; i < 10 * BUS_WINDOW; i++) {
		put(&p.c, ITEM_REQUEST, i + 1, 10);
		assert_int_equal(carry(&p.c, &p.s, 1), 1);
		assert_int_equal(carry(&p.s, &p.c, 1), 0); /* at once */
		assert_int_equal(carry(&p.s, &p.c, 1), -1);
		/* An acknowledgement is not acknowledged. */
		assert_int_equal(carry(&p.c, &p.s, 1), -1);
	}
	assert_true(link_is_quiet(&p.c));
	part(&p);
}

static void the_client_acknowledges_lazily(void **state)
{
	struct pair p;

	(void)state;
	meet(&p);
	for (unsigned i = 1; i < LINK_ACK_LAZY; i++) {
		put(&p.s, ITEM_REPLY, i, 10);
		assert_int_equal(carry(&p.s, &p.c, 1), 1);
		assert_int_equal(carry(&p.c, &p.s, 1), -1);
	}
	put(&p.s, ITEM_REPLY, 9, 10);
	assert_int_equal(carry(&p.s, &p.c, 1), 1);
	assert_int_equal(carry(&p.c, &p.s, 1), 0);
	assert_true(link_is_quiet(&p.s));
	part(&p);
}

static void full_frames_wait_in_order(void **state)
{
	struct pair p;
	uint64_t next = 1, frames = 0;
	enum err e;

	(void)state;
	meet(&p);
	for (unsigned i = 0; i < 1000; i++)
		put(&p.c, ITEM_REQUEST, i + 1, 100);
	while (link_has_work(&p.c)) {
		nng_msg *m = link_next(&p.c, 1, &e);
		struct str items;
		struct item it;

		assert_int_equal(link_accept(&p.s, bytes_of(m), wall_ms(),
		                             &items),
		                 FRAME_OK);
		while (item_next(&items, &it))
			assert_int_equal(it.cid, next++);
		assert_true(nng_msg_len(m) <= FRAME_MAX);
		nng_msg_free(m);
		frames++;
	}
	assert_int_equal(next, 1001);
	assert_true(frames <= 5);
	part(&p);
}

static void what_waited_has_less_time_left(void **state)
{
	struct pair p;
	enum err e;
	nng_msg *m;
	struct str items;
	struct item it;

	(void)state;
	meet(&p);
	put(&p.c, ITEM_REQUEST, 1, 10); /* 1000 ms, at 0 */
	m = link_next(&p.c, 400, &e);
	assert_int_equal(link_accept(&p.s, bytes_of(m), wall_ms(), &items),
	                 FRAME_OK);
	assert_true(item_next(&items, &it));
	assert_int_equal(it.arg, 600);
	nng_msg_free(m);
	part(&p);
}

static void parts_share_frames_fairly_and_stop_without_credit(void **state)
{
	static char bytes[1 << 20];
	struct pair p;
	struct bulk b[3];
	size_t got[4] = {0};
	enum err e;

	(void)state;
	meet(&p);
	for (unsigned i = 0; i < 3; i++) {
		b[i] = (struct bulk){.cid = i + 1,
		                     .left = {bytes, sizeof(bytes)},
		                     .credit = BUS_CREDIT,
		                     .deadline_ms = 1000};
		link_bulk(&p.c, &b[i]);
	}
	for (unsigned f = 0; link_has_work(&p.c); f++) {
		nng_msg *m;
		struct str items;
		struct item it;

		put(&p.c, ITEM_REQUEST, 100 + f, 10); /* goes with them */
		m = link_next(&p.c, 1, &e);
		assert_int_equal(frame_read(bytes_of(m),
		                            &(struct frame_head){0}, &items),
		                 FRAME_OK);
		assert_true(item_next(&items, &it));
		assert_int_equal(it.cid, 100 + f);
		while (item_next(&items, &it)) {
			assert_int_equal(it.kind, ITEM_PART);
			assert_int_equal(it.flags & ITEM_FIRST,
			                 got[it.cid] == 0 ? ITEM_FIRST : 0);
			got[it.cid] += it.bytes.n;
		}
		nng_msg_free(m);
		for (unsigned i = 1; i < 3; i++) {
			size_t d = got[i] > got[i + 1] ? got[i] - got[i + 1]
			                               : got[i + 1] - got[i];

			assert_true(d <= BUS_PART_MAX);
		}
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(got[i + 1], BUS_CREDIT);
		assert_null(link_bulk_done(&p.c));
	}
	/* Credit for one: only it goes on, to its end. */
	link_bulk_credit(&p.c, &b[1], SIZE_MAX);
	while (link_has_work(&p.c))
		nng_msg_free(link_next(&p.c, 1, &e));
	assert_ptr_equal(link_bulk_done(&p.c), &b[1]);
	assert_int_equal(b[1].left.n, 0);
	link_bulk_drop(&b[0]);
	link_bulk_drop(&b[2]);
	link_bulk_drop(&b[2]);
	part(&p);
}

static void small_items_cannot_starve_a_large_one(void **state)
{
	static char bytes[200000];
	struct pair p;
	struct bulk b = {.cid = 1,
	                 .left = {bytes, sizeof(bytes)},
	                 .credit = BUS_CREDIT};
	enum err e;

	(void)state;
	meet(&p);
	link_bulk(&p.c, &b);
	/* There is always a full frame waiting. */
	for (unsigned i = 0; i < 6 * BUS_FRAME_ITEMS; i++)
		put(&p.c, ITEM_REQUEST, i + 10, 10);
	for (unsigned f = 0; f < 4; f++)
		nng_msg_free(link_next(&p.c, 1, &e));
	assert_int_equal(b.left.n, 0);
	assert_ptr_equal(link_bulk_done(&p.c), &b);
	part(&p);
}

static void a_bye_is_the_last_word(void **state)
{
	struct pair p;
	struct str items;
	enum err e;
	nng_msg *m;

	(void)state;
	meet(&p);
	put(&p.c, ITEM_REQUEST, 1, 10);
	link_bye(&p.c);
	assert_int_equal(carry(&p.c, &p.s, 1), 0);
	assert_true(p.s.heard_bye);
	put(&p.c, ITEM_REQUEST, 2, 10);
	assert_false(link_has_work(&p.c));
	link_bye(&p.c);
	assert_false(link_has_work(&p.c));
	/* And one that goes on talking is refused. */
	p.c.mute = p.c.bye = false;
	put(&p.c, ITEM_REQUEST, 3, 10);
	m = link_next(&p.c, 1, &e);
	assert_int_equal(link_accept(&p.s, bytes_of(m), wall_ms(), &items),
	                 FRAME_REPLAY);
	nng_msg_free(m);
	part(&p);
}

static void what_was_not_handed_over_has_not_left(void **state)
{
	struct pair p;
	uint64_t first, second;
	enum err e;

	(void)state;
	meet(&p);
	put(&p.c, ITEM_REQUEST, 1, 10);
	first = link_ordinal(&p.c);
	assert_true(first > p.c.left);
	nng_msg_free(link_next(&p.c, 1, &e));
	assert_true(first <= p.c.left);
	link_unsend(&p.c);
	assert_true(first > p.c.left);
	link_reset(&p.c);
	link_reset(&p.s);
	assert_int_equal(carry(&p.s, &p.c, 0), 0);
	put(&p.c, ITEM_REQUEST, 2, 10);
	second = link_ordinal(&p.c);
	assert_true(second > p.c.left);
	assert_int_equal(carry(&p.c, &p.s, 0), 1);
	assert_true(second <= p.c.left);
	part(&p);
}

/* The queue of full frames is the link's own memory. */
static void each_failing_allocation_leaves_the_link_whole(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned n = 1; failed; n++) {
		struct pair p;
		unsigned in = 0;
		int out = 0, got;
		struct item it = {.kind = ITEM_REQUEST, .arg = 1};

		meet(&p);
		alloc_fault_arm(n);
		for (it.cid = 1; it.cid <= 3000; it.cid++)
			in += link_put(&p.c, &it, 0) == OK;
		failed = alloc_fault_disarm();
		assert_true(failed || in == 3000);
		while ((got = carry(&p.c, &p.s, 0)) >= 0)
			out += got;
		assert_int_equal(out, in);
		part(&p);
	}
}

/* --- wheel ------------------------------------------------------------------- */

static void timers_come_due_once_and_not_early(void **state)
{
	enum { MANY = 2000 };
	struct wheel *w = malloc(sizeof(*w));
	struct wheel_node *n = calloc(MANY, sizeof(*n));
	uint64_t now = 1000003, left = MANY;

	(void)state;
	srandom(7);
	wheel_init(w, now);
	assert_true(wheel_timeout_ms(w, now) == UINT64_MAX);
	for (unsigned i = 0; i < MANY; i++) {
		n[i].due_ms = now + (uint64_t)random() % 20000;
		wheel_add(w, &n[i]);
	}
	for (unsigned i = 0; i < MANY; i += 4) {
		wheel_del(w, &n[i]);
		wheel_del(w, &n[i]);
		left--;
	}
	while (left) {
		uint64_t wait = wheel_timeout_ms(w, now);
		struct wheel_node *d;

		assert_true(wait != UINT64_MAX);
		now += wait ? wait : 1;
		while ((d = wheel_due(w, now)) != NULL) {
			assert_true(d->due_ms <= now);
			assert_true(now - d->due_ms <= 2 * WHEEL_TICK_MS);
			assert_true((d - n) % 4 != 0);
			left--;
		}
	}
	assert_true(wheel_timeout_ms(w, now) == UINT64_MAX);
	free(n);
	free(w);
}

static void a_stall_of_many_rounds_loses_no_timer(void **state)
{
	struct wheel *w = malloc(sizeof(*w));
	struct wheel_node n[3] = {{.due_ms = 5},
	                          {.due_ms = 9000},
	                          {.due_ms = 100000}};

	(void)state;
	wheel_init(w, 0);
	for (unsigned i = 0; i < 3; i++)
		wheel_add(w, &n[i]);
	for (unsigned i = 0; i < 3; i++)
		assert_non_null(wheel_due(w, 1000000));
	assert_null(wheel_due(w, 1000000));
	n[0].due_ms = 3; /* long past: at the next look */
	wheel_add(w, &n[0]);
	assert_non_null(wheel_due(w, 1000000 + 2 * WHEEL_TICK_MS));
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_most_32_frames_are_unacknowledged),
		cmocka_unit_test(an_acknowledgement_opens_the_window),
		cmocka_unit_test(the_client_acknowledges_lazily),
		cmocka_unit_test(full_frames_wait_in_order),
		cmocka_unit_test(what_waited_has_less_time_left),
		cmocka_unit_test(
			parts_share_frames_fairly_and_stop_without_credit),
		cmocka_unit_test(small_items_cannot_starve_a_large_one),
		cmocka_unit_test(a_bye_is_the_last_word),
		cmocka_unit_test(what_was_not_handed_over_has_not_left),
		cmocka_unit_test(each_failing_allocation_leaves_the_link_whole),
		cmocka_unit_test(timers_come_due_once_and_not_early),
		cmocka_unit_test(a_stall_of_many_rounds_loses_no_timer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
