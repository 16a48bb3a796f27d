/* frame - what is read is what was written, and nothing else is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/bus/frame.h"

#include <stdio.h>
#include <stdlib.h>

#define GOLDEN_SECRET "golden frames are to be kept for ever"

/* Every frame of version 1 that was ever released. */
static const char *const golden[] = {
	"greeting",      "answer",      "request",       "replies",
	"request_parts", "reply_parts", "credit_cancel", "push_drain",
	"ack",           "bye",         "signed",
};

static char *read_golden(const char *name, size_t *n)
{
	char path[128], line[128];
	char *out = malloc(4096);
	FILE *f;

	(void)snprintf(path, sizeof(path), "tests/golden/bus_v1_%s.hex", name);
	f = fopen(path, "r");
	if (!f)
		fail_msg("cannot open %s (run from the repository)", path);
	*n = 0;
	while (fgets(line, sizeof(line), f)) {
		for (char *p = line; *line != '#' && p[0] > ' '; p += 2) {
			char two[3] = {p[0], p[1], '\0'};

			out[(*n)++] = (char)strtoul(two, NULL, 16);
		}
	}
	(void)fclose(f);
	return out;
}

/* Writes what was read; returns its size. */
static size_t write_again(char *out, const struct frame_head *h,
                          struct str items, const struct bus_keys *keys)
{
	size_t n = frame_head_size(h->is_signed);
	struct item it;

	frame_head_put(out, h);
	while (item_next(&items, &it)) {
		item_head_put(out + n, &it);
		memcpy(out + n + ITEM_HEAD, it.bytes.p, it.bytes.n);
		n += ITEM_HEAD + it.bytes.n;
	}
	if (h->is_signed)
		frame_sign(out, n, keys->all.key[0]);
	return n;
}

static void golden_frames_decode_and_encode_to_the_same_bytes(void **state)
{
	struct bus_keys keys = {0};

	(void)state;
	assert_true(bus_keys_parse(STR(GOLDEN_SECRET), &keys));
	for (size_t i = 0; i < COUNTOF(golden); i++) {
		size_t n = 0;
		char *p = read_golden(golden[i], &n);
		char *again = malloc(n);
		struct frame_head h;
		struct str items;

		assert_int_equal(frame_read((struct str){p, n}, &h, &items),
		                 FRAME_OK);
		assert_int_equal(h.at_ms, 1767225600123);
		if (h.is_signed)
			assert_true(
				frame_is_signed((struct str){p, n}, &keys.all));
		assert_int_equal(write_again(again, &h, items, &keys), n);
		assert_memory_equal(again, p, n);
		free(again);
		free(p);
	}
}

static void golden_items_mean_what_they_meant(void **state)
{
	size_t n = 0;
	char *p = read_golden("replies", &n);
	struct frame_head h;
	struct str items;
	struct item it;

	(void)state;
	assert_int_equal(frame_read((struct str){p, n}, &h, &items), FRAME_OK);
	assert_int_equal(h.from, PEER_AUTH);
	assert_true(h.boot == 0x99aabbccddeeff01 &&
	            h.nonce == 0x1122334455667788);
	assert_true(h.seq == 2 && h.ack == 2 && !h.bye && !h.is_signed);
	assert_true(item_next(&items, &it));
	assert_int_equal(it.kind, ITEM_REPLY);
	assert_true(it.cid == 0x1000007 && it.bytes.n == 6);
	assert_true(item_next(&items, &it));
	assert_int_equal(it.kind, ITEM_REFUSE);
	assert_true(it.cid == 0x1000008 && it.code == 32);
	assert_false(item_next(&items, &it));
	free(p);
}

static void a_frame_cut_anywhere_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNTOF(golden); i++) {
		size_t n = 0;
		char *p = read_golden(golden[i], &n);

		for (size_t cut = 0; cut < n; cut++) {
			/* A copy of this size: reading past it is seen. */
			char *part = malloc(cut ? cut : 1);
			struct frame_head h;
			struct str items = {0};
			enum frame_fault f;

			memcpy(part, p, cut);
			f = frame_read((struct str){part, cut}, &h, &items);
			/* Cut between two items it is a shorter frame; only
			 * the MAC and the sequence can tell. */
			if (!f)
				assert_true(items.n < n && cut >= FRAME_HEAD);
			else
				assert_true(f == FRAME_SHORT ||
				            f == FRAME_BAD_HEAD);
			free(part);
		}
		free(p);
	}
}

static void any_changed_bit_breaks_the_mac(void **state)
{
	struct bus_keys keys = {0}, other = {0}, both = {0};
	size_t n = 0;
	char *p = read_golden("signed", &n);

	(void)state;
	assert_true(bus_keys_parse(STR(GOLDEN_SECRET), &keys));
	assert_true(bus_keys_parse(STR("another secret of thirty-two chars"),
	                           &other));
	assert_true(bus_keys_parse(
		STR("another secret of thirty-two chars, " GOLDEN_SECRET),
		&both));
	assert_false(frame_is_signed((struct str){p, n}, &other.all));
	assert_true(frame_is_signed((struct str){p, n}, &both.all));
	for (size_t bit = 0; bit < n * 8; bit++) {
		p[bit / 8] = (char)(p[bit / 8] ^ 1 << bit % 8);
		assert_false(frame_is_signed((struct str){p, n}, &keys.all));
		p[bit / 8] = (char)(p[bit / 8] ^ 1 << bit % 8);
	}
	assert_false(frame_is_signed((struct str){p, n - 1}, &keys.all));
	assert_false(frame_is_signed((struct str){p, FRAME_HEAD}, &keys.all));
	free(p);
}

/* One byte of a golden frame replaced. */
static void impossible_fields_are_refused(void **state)
{
	static const struct {
		const char *frame;
		size_t at;
		unsigned char value;
		enum frame_fault want;
	} cases[] = {
		{"request", 0, 'k', FRAME_BAD_VERSION},
		{"request", 1, 0, FRAME_BAD_VERSION},
		{"request", 1, 2, FRAME_BAD_VERSION},
		{"request", 2, PEER_COUNT, FRAME_BAD_HEAD},
		{"request", 2, 0xff, FRAME_BAD_HEAD},
		{"request", 3, 4, FRAME_BAD_HEAD},
		{"request", 3, 2, FRAME_BAD_HEAD},     /* a bye with items */
		{"request", 27, 0, FRAME_BAD_HEAD},    /* seq 0 */
		{"request", 36, 0x80, FRAME_BAD_HEAD}, /* before 1970 */
		{"request", FRAME_HEAD, 0x7f, FRAME_OVERSIZE},
		{"request", FRAME_HEAD + 3, 13, FRAME_SHORT},
		{"request", FRAME_HEAD + 3, 11, FRAME_SHORT},
		{"request", FRAME_HEAD + 4, 0, FRAME_BAD_ITEM},
		{"request", FRAME_HEAD + 4, ITEM_KINDS, FRAME_BAD_ITEM},
		{"request", FRAME_HEAD + 4, 0xff, FRAME_BAD_ITEM},
		{"request", FRAME_HEAD + 4, ITEM_PUSH, FRAME_BAD_ITEM},
		{"request", FRAME_HEAD + 4, ITEM_CANCEL, FRAME_BAD_ITEM},
		{"request", FRAME_HEAD + 5, 1, FRAME_BAD_ITEM},
		{"request", FRAME_HEAD + 7, 1, FRAME_BAD_ITEM},
		{"request_parts", FRAME_HEAD + 5, 4, FRAME_BAD_ITEM},
		{"credit_cancel", FRAME_HEAD + 5, 1, FRAME_BAD_ITEM},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		size_t n = 0;
		char *p = read_golden(cases[i].frame, &n);
		struct frame_head h;
		struct str items;
		enum frame_fault f;

		p[cases[i].at] = (char)cases[i].value;
		f = frame_read((struct str){p, n}, &h, &items);
		if (f != cases[i].want)
			fail_msg("case %zu: %s", i, frame_fault_name(f));
		free(p);
	}
}

static void bounds_hold_at_their_edges(void **state)
{
	size_t size = FRAME_MAX + ITEM_HEAD;
	char *p = calloc(1, size);
	struct frame_head h = {.from = PEER_GATEWAY, .boot = 1, .seq = 1};
	struct item it = {.kind = ITEM_CANCEL, .cid = 1};
	struct str items;

	(void)state;
	frame_head_put(p, &h);
	for (size_t i = 0; i <= BUS_FRAME_ITEMS; i++)
		item_head_put(p + FRAME_HEAD + i * ITEM_HEAD, &it);
	assert_int_equal(frame_read((struct str){p, FRAME_HEAD +
	                                                    BUS_FRAME_ITEMS *
	                                                            ITEM_HEAD},
	                            &h, &items),
	                 FRAME_OK);
	assert_int_equal(
		frame_read((struct str){p, FRAME_HEAD + (BUS_FRAME_ITEMS + 1) *
	                                                        ITEM_HEAD},
	                   &h, &items),
		FRAME_OVERSIZE);
	it = (struct item){.kind = ITEM_REQUEST,
	                   .cid = 1,
	                   .bytes = {p, BUS_PART_MAX}};
	item_head_put(p + FRAME_HEAD, &it);
	assert_int_equal(frame_read((struct str){p, FRAME_HEAD + ITEM_HEAD +
	                                                    BUS_PART_MAX},
	                            &h, &items),
	                 FRAME_OK);
	it.bytes.n++;
	item_head_put(p + FRAME_HEAD, &it);
	assert_int_equal(frame_read((struct str){p, FRAME_HEAD + ITEM_HEAD +
	                                                    BUS_PART_MAX + 1},
	                            &h, &items),
	                 FRAME_OVERSIZE);
	assert_int_equal(frame_read((struct str){p, FRAME_HEAD + 1 +
	                                                    BUS_FRAME_MAX},
	                            &h, &items),
	                 FRAME_OVERSIZE);
	free(p);
}

static void waiting_is_taken_off_requests_only(void **state)
{
	char p[4 * ITEM_HEAD];
	struct item in[] = {
		{.kind = ITEM_REQUEST, .cid = 1, .arg = 100},
		{.kind = ITEM_PART, .cid = 2, .flags = ITEM_FIRST, .arg = 30},
		{.kind = ITEM_CREDIT, .cid = 3, .arg = 1000},
		{.kind = ITEM_PART, .cid = 4, .arg = 7},
	};
	static const uint32_t want[] = {60, 0, 1000, 7};
	struct str rest = {p, sizeof(p)};
	struct item out;

	(void)state;
	for (size_t i = 0; i < COUNTOF(in); i++)
		item_head_put(p + i * ITEM_HEAD, &in[i]);
	items_age(p, sizeof(p), 40);
	for (size_t i = 0; i < COUNTOF(in); i++) {
		assert_true(item_next(&rest, &out));
		assert_int_equal(out.arg, want[i]);
	}
}

static void keys_need_two_or_fewer_secrets_of_length(void **state)
{
	static const struct {
		const char *text;
		size_t n; /* 0: refused */
	} cases[] = {
		{"", 0},
		{"short", 0},
		{"0123456789abcdef0123456789abcde", 0},
		{"0123456789abcdef0123456789abcdef", 1},
		{"0123456789abcdef0123456789abcdef,short", 0},
		{",0123456789abcdef0123456789abcdef", 0},
		{"0123456789abcdef0123456789abcdef,"
	         " fedcba9876543210fedcba9876543210",
	         2},
		{"0123456789abcdef0123456789abcdef,"
	         "fedcba9876543210fedcba9876543210,"
	         "fedcba9876543210fedcba9876543210",
	         0},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct bus_keys k = {.all.n = 9};
		bool ok = bus_keys_parse(str_from(cases[i].text), &k);

		assert_int_equal(ok, cases[i].n != 0);
		assert_int_equal(k.all.n, ok ? cases[i].n : 9);
	}
}

#define S32 "0123456789abcdef0123456789abcdef"
#define T32 "fedcba9876543210fedcba9876543210"

static void pairs_need_a_secret_for_every_partner(void **state)
{
	static const struct {
		const char *text;
		enum bus_peer self;
		bool ok;
	} cases[] = {
		/* gdpr is called by all, and calls auth and content. */
		{"gateway=" S32 ",auth=" S32 ",content=" S32, PEER_GDPR, true},
		{" gateway = " S32 ", auth=" S32 ",content=" S32 ",auth=" T32,
	         PEER_GDPR, true},
		{"gateway=" S32 ",auth=" S32, PEER_GDPR, false},
		{"gateway=" S32 ",gdpr=" S32, PEER_AUTH, true},
		{"gateway=" S32 ",gdpr=" S32 ",content=" S32, PEER_AUTH, true},
		{"auth=" S32 ",content=" S32 ",gdpr=" S32, PEER_GATEWAY, true},
		{"auth=" S32 ",gdpr=" S32, PEER_GATEWAY, false},
		{"", PEER_AUTH, false},
		{S32, PEER_AUTH, false},
		{"gateway=short,gdpr=" S32, PEER_AUTH, false},
		{"gateway=" S32 ",gdpr=" S32 ",nobody=" S32, PEER_AUTH, false},
		{"gateway=" S32 ",gdpr=" S32 ",gdpr=" S32 ",gdpr=" S32,
	         PEER_AUTH, false},
		{"gateway=" S32 ",,gdpr=" S32, PEER_AUTH, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct bus_keys k = {0};

		/* Without the key for the greeting it is never enough. */
		assert_non_null(bus_keys_parse_pairs(str_from(cases[i].text),
		                                     cases[i].self, &k));
		assert_true(bus_keys_parse(STR(T32), &k));
		if (!bus_keys_parse_pairs(str_from(cases[i].text),
		                          cases[i].self, &k) != cases[i].ok)
			fail_msg("case %zu", i);
		assert_int_equal(k.with[PEER_GATEWAY].n > 0,
		                 cases[i].ok && cases[i].self != PEER_GATEWAY);
	}
}

static void the_gateway_calls_all_and_nobody_calls_it(void **state)
{
	static const char want[PEER_COUNT][PEER_COUNT + 1] = {
		"-acg", /* gateway */
		"---g", /* auth */
		"---g", /* content */
		"-ac-", /* gdpr */
	};

	(void)state;
	for (unsigned f = 0; f < PEER_COUNT; f++)
		for (unsigned t = 0; t < PEER_COUNT; t++)
			assert_int_equal(bus_edge_allowed((enum bus_peer)f,
			                                  (enum bus_peer)t),
			                 want[f][t] != '-');
	assert_false(bus_edge_allowed(PEER_COUNT, PEER_AUTH));
	assert_string_equal(bus_peer_name(PEER_GDPR), "gdpr");
	assert_string_equal(bus_peer_name(PEER_COUNT), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			golden_frames_decode_and_encode_to_the_same_bytes),
		cmocka_unit_test(golden_items_mean_what_they_meant),
		cmocka_unit_test(a_frame_cut_anywhere_is_refused),
		cmocka_unit_test(any_changed_bit_breaks_the_mac),
		cmocka_unit_test(impossible_fields_are_refused),
		cmocka_unit_test(bounds_hold_at_their_edges),
		cmocka_unit_test(waiting_is_taken_off_requests_only),
		cmocka_unit_test(keys_need_two_or_fewer_secrets_of_length),
		cmocka_unit_test(pairs_need_a_secret_for_every_partner),
		cmocka_unit_test(the_gateway_calls_all_and_nobody_calls_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
