#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/trace.h"
#include "common/base/utf8.h"
#include "common/bus/entry.h"
#include "common/codec/mp.h"
#include "tests/alloc_fault.h"

#include <stdio.h>
#include <stdlib.h>

static const struct ctx somebody = {
	.rid = {"req-1", 5},
	.tp = {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 55},
	.sub = {"0190b6a0-0000-7000-8000-000000000001", 36},
	.hnd = {"ada", 3},
	.sid = {"s1", 2},
	.role = ROLE_USER,
	.tier = TIER_PREMIUM,
	.scopes = SCOPE_READ | SCOPE_GENERATE,
	.auth_time_s = 1700000000,
	.ip = {"192.0.2.7", 9},
	.ua = {"curl/8", 6},
	.lang = {"fa", 2},
	.idk = {"key-1", 5},
};

static const struct entry call = {
	.op = {"quiz.submit", 11},
	.query = {"\x81\xa1q\x01", 4},
	.path = {"\x81\xa1p\x02", 4},
	.body = {"\x91\x03", 2},
};

#define GOLDEN_REQUEST                                                         \
	"\xde\x00\x12\xa1v\x01\xa2op\xabquiz.submit\xa3rid\xa5req-1\xa2tp\xd9" \
	"\x37"                                                                 \
	"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"              \
	"\xa3sub\xd9\x24"                                                      \
	"0190b6a0-0000-7000-8000-000000000001"                                 \
	"\xa3hnd\xa3"                                                          \
	"ada\xa3sid\xa2s1\xa2ip\xa9"                                           \
	"192.0.2.7\xa2ua\xa6"                                                  \
	"curl/8"                                                               \
	"\xa4lang\xa2"                                                         \
	"fa\xa3idk\xa5key-1\xa4role\xa4user\xa4tier\xa7premium"                \
	"\xa3scp\x05\xa2"                                                      \
	"at\xce\x65\x53\xf1\x00\xa1q\x81\xa1q\x01\xa1p\x81"                    \
	"\xa1p\x02\xa1"                                                        \
	"b\x91\x03"

static void same_person(const struct ctx *a, const struct ctx *b)
{
	assert_true(str_eq(a->rid, b->rid));
	assert_true(str_eq(a->tp, b->tp));
	assert_true(str_eq(a->sub, b->sub));
	assert_true(str_eq(a->hnd, b->hnd));
	assert_true(str_eq(a->sid, b->sid));
	assert_true(str_eq(a->ip, b->ip));
	assert_true(str_eq(a->ua, b->ua));
	assert_true(str_eq(a->lang, b->lang));
	assert_true(str_eq(a->idk, b->idk));
	assert_int_equal(a->role, b->role);
	assert_int_equal(a->tier, b->tier);
	assert_int_equal(a->scopes, b->scopes);
	assert_true(a->auth_time_s == b->auth_time_s);
}

static void a_request_of_version_1_decodes_for_ever(void **state)
{
	struct ctx cx = {.service = "s", .deadline_ms = 5, .principal = "p"};
	struct entry e;

	(void)state;
	assert_int_equal(entry_read(STR(GOLDEN_REQUEST), &cx, &e), OK);
	same_person(&cx, &somebody);
	assert_true(str_eq(e.op, call.op));
	assert_true(str_eq(e.query, call.query));
	assert_true(str_eq(e.path, call.path));
	assert_true(str_eq(e.body, call.body));
	/* What belongs to the caller stays. */
	assert_string_equal(cx.service, "s");
	assert_string_equal(cx.principal, "p");
	assert_int_equal(cx.deadline_ms, 5);
}

static void a_request_packs_to_the_bytes_of_version_1(void **state)
{
	AUTO_BUF b = {0};

	(void)state;
	entry_pack(&b, &somebody, &call);
	assert_true(str_eq(buf_view(&b), STR(GOLDEN_REQUEST)));
}

static void a_guest_needs_a_request_id_and_a_method_only(void **state)
{
	const struct ctx guest = {.rid = STR("r")};
	const struct entry ping = {.op = STR("ping")};
	AUTO_BUF b = {0};
	struct ctx cx = somebody;
	struct entry e = call;

	(void)state;
	entry_pack(&b, &guest, &ping);
	assert_true(str_eq(buf_view(&b), STR("\x83\xa1v\x01\xa2op\xa4ping"
	                                     "\xa3rid\xa1r")));
	assert_int_equal(entry_read(buf_view(&b), &cx, &e), OK);
	same_person(&cx, &guest);
	assert_int_equal(e.body.n + e.query.n + e.path.n, 0);
}

static void the_id_of_a_token_travels_beside_that_of_its_session(void **state)
{
	struct ctx cx = somebody, back = {0};
	AUTO_BUF b = {0};
	struct entry e;

	(void)state;
	cx.jti = STR("0190b6a0-0000-7000-8000-000000000002");
	entry_pack(&b, &cx, &call);
	assert_int_equal(entry_read(buf_view(&b), &back, &e), OK);
	same_person(&cx, &back);
	assert_true(str_eq(back.jti, cx.jti));
}

static void an_agent_is_cut_between_characters_or_left_out(void **state)
{
	char ua[ENTRY_UA_MAX + 10];
	struct ctx cx = somebody, back = {0};
	struct entry e;

	(void)state;
	memset(ua, 'u', sizeof(ua));
	ua[ENTRY_UA_MAX - 1] = '\xc3';
	ua[ENTRY_UA_MAX] = '\xa9';
	for (int i = 0; i < 2; i++) {
		AUTO_BUF b = {0};

		cx.ua = (struct str){ua, sizeof(ua)};
		entry_pack(&b, &cx, &call);
		assert_int_equal(entry_read(buf_view(&b), &back, &e), OK);
		assert_int_equal(back.ua.n, i ? 0 : ENTRY_UA_MAX - 1);
		ua[3] = '\xff'; /* Latin-1 is no UTF-8 */
	}
}

static void same_text(struct str a, struct str b)
{
	assert_true(str_eq(a, b));
	assert_int_equal(a.p == NULL, b.p == NULL);
}

/* What entry_hand() gives is what is read of the packed bytes. */
static void handed_as_read(const struct ctx *from)
{
	struct ctx read = {0}, hand = {0};
	AUTO_BUF b = {0};
	struct entry e;

	entry_pack(&b, from, &call);
	assert_int_equal(entry_read(buf_view(&b), &read, &e), OK);
	entry_hand(from, &hand);
	same_person(&hand, &read);
	same_text(hand.ua, read.ua);
	same_text(hand.sub, read.sub);
	same_text(hand.jti, read.jti);
	same_text(hand.form, read.form);
	same_text(hand.track, read.track);
	same_text(hand.visitor, read.visitor);
	same_text(hand.last_event, read.last_event);
}

static void what_is_handed_over_is_what_would_be_read(void **state)
{
	char ua[ENTRY_UA_MAX + 10];
	const struct ctx guest = {.rid = STR("r"), .sub = STR("")};
	struct ctx all = somebody;

	(void)state;
	all.jti = STR("j");
	all.form = STR("html");
	all.track = STR("no");
	all.visitor = STR("v");
	all.last_event = STR("j.7");
	handed_as_read(&somebody);
	handed_as_read(&guest);
	handed_as_read(&all);
	memset(ua, 'u', sizeof(ua));
	all.ua = (struct str){ua, sizeof(ua)};
	handed_as_read(&all);
	ua[3] = '\xff';
	handed_as_read(&all);
}

static void what_is_no_request_is_refused(void **state)
{
#define HEAD "\xa1v\x01\xa2op\xa1m\xa3rid\xa1r"
	static const struct str cases[] = {
		STR(""),
		STR("\x90"),
		STR("\xc1"),
		STR("\x80"),
		STR("\x82\xa1v\x01\xa2op\xa1m"),             /* no rid */
		STR("\x82\xa1v\x01\xa3rid\xa1r"),            /* no op */
		STR("\x82\xa2op\xa1m\xa3rid\xa1r"),          /* no version */
		STR("\x83\xa1v\x02\xa2op\xa1m\xa3rid\xa1r"), /* another one */
		STR("\x83\xa1v\xa1"
	            "1\xa2op\xa1m\xa3rid\xa1r"),
		STR("\x83\xa1v\x01\xa2op\xa0\xa3rid\xa1r"), /* empty op */
		STR("\x83\xa1v\x01\xa2op\xa1m\xa3rid\xa0"), /* empty rid */
		STR("\x83\xa1v\x01\xa2op\xa1m\xa3rid\xa3"
	            "a\nb"),
		STR("\x83\xa1v\x01\xa2op\xa1m\xa3rid\xa3"
	            "a b"),
		STR("\x83\xa1v\x01\xa2op\xa1m\xa3rid\xa2\xc3\xa9"),
		STR("\x83\xa1v\x01\xa2op\xa1m\xa3rid\x07"),
		STR("\x83" HEAD "\x00"),      /* behind the entry */
		STR("\x84" HEAD),             /* cut */
		STR("\x84" HEAD "\xa1v\x01"), /* twice */
		STR("\x84" HEAD "\xa3rid\xa1s"),
		STR("\x84" HEAD "\xa2op\xa1n"),
		STR("\x85" HEAD "\xa1q\x80\xa1q\x80"),
		STR("\x85" HEAD "\xa4role\xa4user\xa4role\xa5"
	            "admin"),
		STR("\x85" HEAD "\xa3sub\xa1x\xa3sub\xa1y"),
		STR("\x84" HEAD "\xa1q\x90"), /* no map */
		STR("\x84" HEAD "\xa1p\xa1x"),
		STR("\x84" HEAD "\xa1"
	            "b\xc1"),
		STR("\x84" HEAD "\xa4role\xa4root"),
		STR("\x84" HEAD "\xa4role\x01"),
		STR("\x84" HEAD "\xa4tier\xa4gold"),
		STR("\x84" HEAD "\xa3scp\xff"), /* negative */
		STR("\x84" HEAD "\xa3scp\xa4read"),
		STR("\x84" HEAD "\xa2"
	            "at\xc0"),
		STR("\x84" HEAD "\xa3sub\xc0"),
		STR("\x84" HEAD "\xa3sub\xa1\xff"), /* not UTF-8 */
		STR("\x84" HEAD "\x01\x02"),        /* key is no text */
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct ctx cx = somebody;
		struct entry e = call;

		assert_int_equal(entry_read(cases[i], &cx, &e), ERR_INVALID);
		same_person(&cx, &somebody);
		assert_true(str_eq(e.op, call.op));
	}
}

static void keys_and_scopes_of_later_versions_are_passed_over(void **state)
{
	struct ctx cx = {0};
	struct entry e;

	(void)state;
	assert_int_equal(
		entry_read(STR("\x85" HEAD "\xa5later\x92\x01\x80"
	                       "\xa3scp\xcf\xff\xff\xff\xff\0\0\0\x01"),
	                   &cx, &e),
		OK);
	assert_int_equal(cx.scopes, 1);
}

static void every_text_is_bounded(void **state)
{
	static const struct {
		const char *key;
		size_t max;
	} cases[] = {
		{"sub", ENTRY_SUB_MAX},
		{"hnd", ENTRY_HND_MAX},
		{"sid", ENTRY_SID_MAX},
		{"ip", ENTRY_IP_MAX},
		{"ua", ENTRY_UA_MAX},
		{"idk", ENTRY_IDK_MAX},
		{"tp", 128},
		{"lang", 16},
		{"form", 16},
	};
	char text[300];

	(void)state;
	memset(text, 'x', sizeof(text));
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		for (size_t over = 0; over < 2; over++) {
			AUTO_BUF b = {0};
			struct ctx cx = {0};
			struct entry e;

			mp_map(&b, 4);
			mp_raw(&b, STR(HEAD));
			mp_kv_str(&b, cases[i].key,
			          (struct str){text, cases[i].max + over});
			assert_int_equal(entry_read(buf_view(&b), &cx, &e),
			                 over ? ERR_INVALID : OK);
		}
	}
}

static void every_cut_of_a_request_is_refused(void **state)
{
	static const char whole[] = GOLDEN_REQUEST;

	(void)state;
	for (size_t n = 0; n < sizeof(whole) - 1; n++) {
		char *copy = malloc(n + 1);
		struct ctx cx = {0};
		struct entry e;

		assert_non_null(copy);
		memcpy(copy, whole, n);
		assert_int_equal(entry_read((struct str){copy, n}, &cx, &e),
		                 ERR_INVALID);
		free(copy);
	}
}

/* --- replies ---------------------------------------------------------------- */

static void a_success_comes_back(void **state)
{
	AUTO(arena) a = arena_new(4096);
	struct ctx cx = {.arena = a};
	struct reply r = {.status = 201, .headers_n = 1};
	struct reply_view v;
	AUTO_BUF b = {0};

	(void)state;
	mp_map(&r.body, 1);
	mp_kv_bool(&r.body, "ok", true);
	r.headers[0].name = STR("Location");
	r.headers[0].value = STR("/x");
	reply_pack(&b, &cx, OK, &r);
	assert_true(str_eq(buf_view(&b), STR("\x83\xa2st\xcc\xc9\xa1"
	                                     "b\x81\xa2ok\xc3\xa1h\x81\xa8"
	                                     "Location\xa2/x")));
	assert_int_equal(reply_read(buf_view(&b), &cx, &v), OK);
	assert_int_equal(v.err, OK);
	assert_int_equal(v.status, 201);
	assert_true(str_eq(v.body, buf_view(&r.body)));
	assert_int_equal(v.headers_n, 1);
	assert_true(str_eq(v.headers[0].name, STR("Location")));
	assert_true(str_eq(v.headers[0].value, STR("/x")));
	buf_fini(&r.body);
}

static void a_success_is_handed_over_if_it_would_be_read(void **state)
{
	static const struct {
		struct str name, value;
		bool good;
	} cases[] = {
		{STR("Location"), STR("/x"), true},
		{STR("Location"), STR(""), true},
		{STR(""), STR("/x"), false},
		{STR("No token"), STR("/x"), false},
		{STR("Location"), STR("/x\r\nSet-Cookie: a"), false},
		{STR("Location"), STR("/\xff"), false},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct ctx cx = {.spent = {.handler = 7}};
		struct reply r = {.headers_n = 1};
		struct reply_view read, hand;
		AUTO_BUF b = {0};

		mp_bool(&r.body, true);
		r.headers[0].name = cases[i].name;
		r.headers[0].value = cases[i].value;
		reply_pack(&b, &cx, OK, &r);
		assert_int_equal(reply_read(buf_view(&b), &cx, &read) == OK,
		                 cases[i].good);
		assert_int_equal(reply_hand(&cx, &r, &hand), cases[i].good);
		if (cases[i].good) {
			assert_int_equal(hand.err, read.err);
			assert_int_equal(hand.status, read.status);
			assert_true(str_eq(hand.body, read.body));
			assert_int_equal(hand.headers_n, read.headers_n);
			same_text(hand.headers[0].name, read.headers[0].name);
			assert_true(str_eq(hand.headers[0].value,
			                   read.headers[0].value));
			assert_memory_equal(&hand.times, &read.times,
			                    sizeof(hand.times));
		}
		buf_fini(&r.body);
	}
}

static void an_empty_success_is_200_without_a_body(void **state)
{
	struct ctx cx = {0};
	const struct reply r = {.status = 0};
	struct reply_view v;
	AUTO_BUF b = {0};

	(void)state;
	reply_pack(&b, &cx, OK, &r);
	assert_int_equal(reply_read(buf_view(&b), &cx, &v), OK);
	assert_int_equal(v.status, 200);
	assert_int_equal(v.body.n, 0);
}

static void a_challenge_goes_with_its_own_problem_alone(void **state)
{
	static const enum err said[] = {ERR_FACTOR_NEEDED, ERR_BUSY};

	(void)state;
	for (size_t i = 0; i < COUNTOF(said); i++) {
		AUTO(arena) a = arena_new(1 << 16);
		struct ctx cx = {.arena = a};
		struct reply_view v = {0};
		AUTO_BUF b = {0};

		(void)ctx_fail(&cx, ERR_FACTOR_NEEDED, "a code");
		memcpy(cx.problem.challenge, "lc_x", 5);
		reply_pack(&b, &cx, said[i], NULL);
		assert_int_equal(reply_read(buf_view(&b), &cx, &v), OK);
		assert_string_equal(v.problem.challenge, i ? "" : "lc_x");
	}
}

static void a_quota_that_is_spent_comes_back_with_its_problem(void **state)
{
	static const enum err said[] = {ERR_QUOTA, ERR_BUSY};

	(void)state;
	for (size_t i = 0; i < COUNTOF(said); i++) {
		AUTO(arena) a = arena_new(1 << 16);
		struct ctx cx = {.arena = a};
		struct reply_view v = {0};
		AUTO_BUF b = {0};

		(void)ctx_fail(&cx, ERR_QUOTA, "spent");
		cx.problem.quota = (struct quota_problem){"monthly", TIER_BASIC,
		                                          INT64_MAX, 20, 99};
		reply_pack(&b, &cx, said[i], NULL);
		assert_int_equal(reply_read(buf_view(&b), &cx, &v), OK);
		assert_string_equal(v.problem.quota.period, i ? "" : "monthly");
		if (i)
			continue;
		assert_int_equal(v.problem.quota.tier, TIER_BASIC);
		assert_int_equal(v.problem.quota.usage, INT64_MAX);
		assert_int_equal(v.problem.quota.limit, 20);
		assert_int_equal(v.problem.quota.reset_s, 99);
	}
}

/* e {c, qu: what} */
static enum err read_with_quota(const char *period, const char *tier,
                                int64_t usage, size_t items)
{
	AUTO(arena) a = arena_new(1 << 16);
	struct ctx cx = {.arena = a};
	struct reply_view v = {0};
	AUTO_BUF b = {0};

	mp_map(&b, 2);
	mp_kv_i64(&b, "st", 429);
	mp_kv_map(&b, "e", 2);
	mp_kv_i64(&b, "c", ERR_QUOTA);
	mp_kv_array(&b, "qu", items);
	mp_text(&b, period);
	mp_text(&b, tier);
	mp_i64(&b, usage);
	for (size_t i = 3; i < items; i++)
		mp_i64(&b, 1);
	return reply_read(buf_view(&b), &cx, &v);
}

static void a_quota_that_makes_no_sense_is_no_reply(void **state)
{
	(void)state;
	assert_int_equal(read_with_quota("daily", "free", 1, 5), OK);
	assert_int_equal(read_with_quota("fortnightly", "free", 1, 5),
	                 ERR_PEER_LOST);
	assert_int_equal(read_with_quota("daily", "gold", 1, 5), ERR_PEER_LOST);
	assert_int_equal(read_with_quota("daily", "free", -1, 5),
	                 ERR_PEER_LOST);
	assert_int_equal(read_with_quota("daily", "free", 1, 4), ERR_PEER_LOST);
	assert_int_equal(read_with_quota("daily", "free", 1, 6), ERR_PEER_LOST);
}

static void a_problem_comes_back_with_its_faults(void **state)
{
	AUTO(arena) a = arena_new(1 << 16);
	struct ctx cx = {.arena = a};
	struct reply_view v;
	AUTO_BUF b = {0};

	(void)state;
	(void)ctx_fault(&cx, "/topic", "REQUIRED", "topic is required.");
	(void)ctx_fault(&cx, "?limit", "RANGE", "limit is %d.", 5);
	cx.problem.retry_after_s = 30;
	reply_pack(&b, &cx, ERR_INVALID, NULL);
	cx.problem = (struct problem){.code = OK};
	assert_int_equal(reply_read(buf_view(&b), &cx, &v), OK);
	assert_int_equal(v.err, ERR_INVALID);
	assert_int_equal(v.status, 400);
	assert_int_equal(v.problem.code, ERR_INVALID);
	assert_string_equal(v.problem.detail, "topic is required.");
	assert_int_equal(v.problem.retry_after_s, 30);
	assert_int_equal(v.problem.faults_n, 2);
	assert_string_equal(v.problem.faults[1].pointer, "?limit");
	assert_string_equal(v.problem.faults[1].code, "RANGE");
	assert_string_equal(v.problem.faults[1].message, "limit is 5.");
}

static void words_of_another_problem_are_not_sent(void **state)
{
	AUTO(arena) a = arena_new(4096);
	struct ctx cx = {.arena = a};
	struct reply_view v;
	AUTO_BUF b = {0};

	(void)state;
	(void)ctx_fail(&cx, ERR_CONFLICT, "an export is running");
	reply_pack(&b, &cx, ERR_DATABASE, NULL);
	assert_int_equal(reply_read(buf_view(&b), &cx, &v), OK);
	assert_int_equal(v.status, 503);
	assert_string_equal(v.problem.detail, err_text(ERR_DATABASE));
}

static void codes_that_stay_inside_are_internal_errors(void **state)
{
	AUTO(arena) a = arena_new(4096);
	struct ctx cx = {.arena = a};
	struct reply_view v;
	AUTO_BUF b = {0};

	(void)state;
	(void)ctx_fail(&cx, ERR_DB_DUPLICATE, "unique constraint accounts");
	reply_pack(&b, &cx, ERR_DB_DUPLICATE, NULL);
	assert_int_equal(reply_read(buf_view(&b), &cx, &v), OK);
	assert_int_equal(v.err, ERR_INTERNAL);
	assert_int_equal(v.status, 500);
	assert_string_equal(v.problem.detail, err_text(ERR_INTERNAL));
}

static void a_body_that_could_not_be_packed_is_an_error(void **state)
{
	AUTO(arena) a = arena_new(4096);
	struct ctx cx = {.arena = a};
	const struct reply r = {.body = {.failed = true}};
	struct reply_view v;
	AUTO_BUF b = {0};

	(void)state;
	reply_pack(&b, &cx, OK, &r);
	assert_int_equal(reply_read(buf_view(&b), &cx, &v), OK);
	assert_int_equal(v.err, ERR_NOMEM);
}

static void what_is_no_reply_is_a_lost_peer(void **state)
{
#define FAULT           \
	"\x93\xa1p\xa1" \
	"c\xa1m"
	static const struct str cases[] = {
		STR(""),
		STR("\x90"),
		STR("\x80"),
		STR("\x81\xa2st\x05"),
		STR("\x81\xa2st\xcd\x03\xe8"), /* 1000 */
		STR("\x81\xa2st\xcc\x65"),     /* 101 */
		STR("\x81\xa2st\xcc\xc8\x00"), /* behind the reply */
		STR("\x82\xa2st\xcc\xc8\xa1"
	            "b"),
		STR("\x82\xa2st\xcc\xc8\xa1"
	            "e\x80"), /* no code */
		STR("\x82\xa2st\xcc\xc8\xa1"
	            "e\x81\xa1"
	            "c\x00"),
		STR("\x82\xa2st\xcc\xc8\xa1"
	            "e\x81\xa1"
	            "c\xa1x"),
		STR("\x82\xa2st\xcc\xc8\xa1"
	            "e\x82\xa1"
	            "c\x01\xa1"
	            "d\x05"),
		STR("\x82\xa2st\xcc\xc8\xa1"
	            "e\x82\xa1"
	            "c\x01\xa2ra\xff"),
		STR("\x82\xa2st\xcc\xc8\xa1"
	            "e\x82\xa1"
	            "c\x01\xa1"
	            "f\x91\x90"),
		STR("\x82\xa2st\xcc\xc8\xa1"
	            "e\x83\xa1"
	            "c\x01\xa1"
	            "f\x91" FAULT "\xa1"
	            "f\x91" FAULT), /* faults twice */
		STR("\x82\xa2st\xcc\xc8\xa1"
	            "e\x82\xa1"
	            "c\x01\xa1"
	            "f\xdc\x00\x11" FAULT FAULT FAULT FAULT FAULT FAULT FAULT
	                    FAULT FAULT FAULT FAULT FAULT FAULT FAULT FAULT
	                            FAULT FAULT),
		/* both a body and an error */
		STR("\x83\xa2st\xcc\xc8\xa1"
	            "b\x80\xa1"
	            "e\x81\xa1"
	            "c\x01"),
		/* headers that would write headers */
		STR("\x82\xa2st\xcc\xc8\xa1h\x81\xa1X\xa3"
	            "a\r\n"),
		STR("\x82\xa2st\xcc\xc8\xa1h\x81\xa3X:Y\xa1"
	            "a"),
		STR("\x82\xa2st\xcc\xc8\xa1h\x81\xa0\xa1"
	            "a"),
		STR("\x82\xa2st\xcc\xc8\xa1h\x81\xa2X\0\xa1"
	            "a"),
		STR("\x82\xa2st\xcc\xc8\xa1h\x81\xa1X\xa2"
	            "a\0"),
		STR("\x82\xa2st\xcc\xc8\xa1h\x81\xa1X\x05"),
		/* times that are none */
		STR("\x82\xa2st\xcc\xc8\xa1t\x05"),
		STR("\x82\xa2st\xcc\xc8\xa1t\x93\1\2\3"),
		STR("\x82\xa2st\xcc\xc8\xa1t\x94\1\2\3\xff"),
		STR("\x82\xa2st\xcc\xc8\xa1t\x95\1\2\3\4"),
		STR("\x82\xa2st\xcc\xc8\xa1h\x89"
	            "\xa1X\xa0\xa1X\xa0\xa1X\xa0\xa1X\xa0\xa1X\xa0"
	            "\xa1X\xa0\xa1X\xa0\xa1X\xa0\xa1X\xa0"),
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		AUTO(arena) a = arena_new(1 << 16);
		struct ctx cx = {.arena = a};
		struct reply_view v = {.status = 7};

		assert_int_equal(reply_read(cases[i], &cx, &v), ERR_PEER_LOST);
		assert_int_equal(v.status, 7);
	}
}

static void a_reply_says_where_its_time_went(void **state)
{
	AUTO(arena) a = arena_new(4096);
	const struct hop_times want = {1, 70000, 3, UINT32_MAX};
	struct ctx cx = {.arena = a, .spent = want};
	struct reply_view v;
	AUTO_BUF ok = {0}, problem = {0};

	(void)state;
	reply_pack(&ok, &cx, OK, NULL);
	assert_int_equal(reply_read(buf_view(&ok), &cx, &v), OK);
	assert_memory_equal(&v.times, &want, sizeof(want));
	reply_pack(&problem, &cx, ERR_TIMEOUT, NULL);
	assert_int_equal(reply_read(buf_view(&problem), &cx, &v), OK);
	assert_int_equal(v.err, ERR_TIMEOUT);
	assert_memory_equal(&v.times, &want, sizeof(want));
	/* A later version tells more. */
	assert_int_equal(reply_read(STR("\x82\xa2st\xcc\xc8\xa1t\x96"
	                                "\1\2\3\4\xa1x\x90"),
	                            &cx, &v),
	                 OK);
	assert_int_equal(v.times.cache, 4);
}

static void the_span_is_found_where_it_stands_and_nowhere_else(void **state)
{
	struct ctx cx = somebody;
	AUTO_BUF b = {0}, none = {0};
	size_t at;

	(void)state;
	/* A client may choose its request ID to look like one. */
	cx.rid = cx.tp;
	entry_pack(&b, &cx, &call);
	at = entry_span_at(buf_view(&b));
	assert_memory_equal(b.p + at, cx.tp.p + TRACE_SPAN_AT, 16);
	assert_true(memmem(b.p, at, cx.tp.p, cx.tp.n) != NULL);
	trace_put_span(7, b.p + at);
	assert_int_equal(entry_read(buf_view(&b), &cx, &(struct entry){0}), OK);
	assert_true(str_eq(cx.rid, somebody.tp));
	assert_memory_equal(cx.tp.p + TRACE_SPAN_AT, "0000000000000007", 16);
	cx.tp = STR("no traceparent");
	entry_pack(&none, &cx, &call);
	assert_int_equal(entry_span_at(buf_view(&none)), 0);
	assert_int_equal(entry_span_at(STR("")), 0);
}

static void a_code_of_a_later_version_is_internal(void **state)
{
	AUTO(arena) a = arena_new(4096);
	struct ctx cx = {.arena = a};
	struct reply_view v;

	(void)state;
	assert_int_equal(reply_read(STR("\x82\xa2st\xcd\x01\xf4\xa1"
	                                "e\x81\xa1"
	                                "c\xcd\x7f\xff"),
	                            &cx, &v),
	                 OK);
	assert_int_equal(v.err, ERR_INTERNAL);
}

static void long_words_are_cut_between_characters(void **state)
{
	AUTO(arena) a = arena_new(1 << 16);
	struct ctx cx = {.arena = a};
	char words[600];
	struct reply_view v;
	AUTO_BUF b = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(words); i++)
		words[i] = "\xe6\xa9\x9f"[i % 3];
	mp_map(&b, 2);
	mp_kv_i64(&b, "st", 400);
	mp_kv_map(&b, "e", 2);
	mp_kv_i64(&b, "c", ERR_INVALID);
	mp_kv_str(&b, "d", (struct str){words, sizeof(words)});
	assert_int_equal(reply_read(buf_view(&b), &cx, &v), OK);
	assert_int_equal(strlen(v.problem.detail), 255);
	assert_true(utf8_valid(str_from(v.problem.detail)));
}

static void words_cut_inside_a_character_still_arrive(void **state)
{
	AUTO(arena) a = arena_new(1 << 16);
	struct ctx cx = {.arena = a};
	struct reply_view v;
	AUTO_BUF b = {0};
	char words[600];

	(void)state;
	for (size_t i = 0; i < sizeof(words); i++)
		words[i] = "\xc3\xa9"[i % 2];
	(void)ctx_fault(&cx, "/a", "RANGE", "%.*s", 599, words);
	(void)ctx_fail(&cx, ERR_INVALID, "%.*s", 599, words);
	assert_false(utf8_valid(str_from(cx.problem.detail)));
	reply_pack(&b, &cx, ERR_INVALID, NULL);
	assert_int_equal(reply_read(buf_view(&b), &cx, &v), OK);
	assert_int_equal(strlen(v.problem.detail), 254);
	assert_int_equal(strlen(v.problem.faults[0].message), 118);
}

static void without_memory_it_fails_and_leaks_nothing(void **state)
{
	AUTO_BUF good = {0};
	AUTO(arena) first = arena_new(1 << 16);
	struct ctx cx = {.arena = first};
	bool more = true;

	(void)state;
	(void)ctx_fault(&cx, "/a", "RANGE", "a is wrong.");
	reply_pack(&good, &cx, ERR_INVALID, NULL);
	for (unsigned nth = 1; more; nth++) {
		AUTO(arena) a = arena_new(1 << 16);
		struct ctx other = {.arena = a};
		AUTO_BUF b = {0};
		struct reply_view v;
		enum err e;

		alloc_fault_arm(nth);
		entry_pack(&b, &somebody, &call);
		e = reply_read(buf_view(&good), &other, &v);
		more = alloc_fault_disarm();
		assert_int_equal(b.failed || e == ERR_NOMEM, more);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_of_version_1_decodes_for_ever),
		cmocka_unit_test(a_request_packs_to_the_bytes_of_version_1),
		cmocka_unit_test(a_guest_needs_a_request_id_and_a_method_only),
		cmocka_unit_test(
			the_id_of_a_token_travels_beside_that_of_its_session),
		cmocka_unit_test(
			an_agent_is_cut_between_characters_or_left_out),
		cmocka_unit_test(what_is_handed_over_is_what_would_be_read),
		cmocka_unit_test(what_is_no_request_is_refused),
		cmocka_unit_test(
			keys_and_scopes_of_later_versions_are_passed_over),
		cmocka_unit_test(every_text_is_bounded),
		cmocka_unit_test(every_cut_of_a_request_is_refused),
		cmocka_unit_test(a_success_comes_back),
		cmocka_unit_test(a_success_is_handed_over_if_it_would_be_read),
		cmocka_unit_test(an_empty_success_is_200_without_a_body),
		cmocka_unit_test(a_challenge_goes_with_its_own_problem_alone),
		cmocka_unit_test(
			a_quota_that_is_spent_comes_back_with_its_problem),
		cmocka_unit_test(a_quota_that_makes_no_sense_is_no_reply),
		cmocka_unit_test(a_problem_comes_back_with_its_faults),
		cmocka_unit_test(words_of_another_problem_are_not_sent),
		cmocka_unit_test(codes_that_stay_inside_are_internal_errors),
		cmocka_unit_test(a_body_that_could_not_be_packed_is_an_error),
		cmocka_unit_test(what_is_no_reply_is_a_lost_peer),
		cmocka_unit_test(a_reply_says_where_its_time_went),
		cmocka_unit_test(
			the_span_is_found_where_it_stands_and_nowhere_else),
		cmocka_unit_test(a_code_of_a_later_version_is_internal),
		cmocka_unit_test(long_words_are_cut_between_characters),
		cmocka_unit_test(words_cut_inside_a_character_still_arrive),
		cmocka_unit_test(without_memory_it_fails_and_leaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
