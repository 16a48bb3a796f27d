/*
 * The model of Redis against Redis: the same commands, drawn from a seed, on
 * both, and the same answers and messages.  Only what depends on the time or on
 * the process is compared loosely: PTTL by seconds, TIME and INFO by their form,
 * errors by their first word, which is what the remote tier goes by.
 */
#include "common/cache/remote_store.h"
#include "tests/sim/redis_model.h"
#include "tests/sim/sim.h"
#include "tests/unit/redis_server.h"

#include <inttypes.h>
#include <stdlib.h>

#define STEPS     400
#define SEEDS     10
#define WORDS     24
#define LATE_MS   3000
#define EPOCH_NEW "00000000000000ab"

static const char hash[] = "kae:1:{m}:g", nothing[] = "kae:1:{m}:-",
		  channel[] = "kae:1:{m}:forget";
static const char *const values[] = {"kae:1:{m}:v:a", "kae:1:{m}:v:b",
                                     "kae:1:{m}:v:c"};
static const char *const slots[] = {"1", "22", "333", "16384"};

/* Both sides, and what was published on each. */
struct pair {
	struct redis_server server;
	redisContext *asks, *listens;
	struct redis_model *model;
	struct redis_session session;
	struct buf heard;
	struct sim_rng rng;
};

struct command {
	size_t n;
	const char *words[WORDS];
	char text[WORDS][48];
};

/* --- the model's side --------------------------------------------------------------- */

static uint64_t now_ms(void *arg)
{
	(void)arg;
	return (uint64_t)wall_ms();
}

static unsigned publish(void *arg, struct str where, struct str payload)
{
	struct pair *p = arg;

	redis_model_message(where, payload, &p->heard);
	return 1;
}

static void raised(void *arg, unsigned slot)
{
	(void)arg;
	assert_true(slot <= CACHE_SLOT_ALL);
}

/* As the reader takes it apart; the caller frees it. */
static redisReply *parse(const struct buf *b)
{
	redisReader *reader = redisReaderCreate();
	void *reply = NULL;

	assert_non_null(reader);
	assert_int_equal(redisReaderFeed(reader, b->p, b->n), REDIS_OK);
	assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
	assert_non_null(reply);
	redisReaderFree(reader);
	return reply;
}

static redisReply *ask_model(struct pair *p, const struct command *c)
{
	struct str words[WORDS];
	AUTO_BUF out = {0};

	for (size_t i = 0; i < c->n; i++)
		words[i] = str_from(c->words[i]);
	redis_model_run(p->model, &p->session, c->n, words, &out);
	return parse(&out);
}

/* --- comparing ----------------------------------------------------------------------- */

static size_t first_word(const redisReply *r)
{
	size_t n = 0;

	while (n < r->len && r->str[n] != ' ')
		n++;
	return n;
}

/* NOLINTNEXTLINE(misc-no-recursion): answers are as deep as scripts make them */
static void assert_same(const redisReply *is, const redisReply *should)
{
	size_t n = should->len;

	assert_int_equal(is->type, should->type);
	switch (should->type) {
	case REDIS_REPLY_INTEGER:
		assert_true(llabs(is->integer - should->integer) < LATE_MS);
		/* Counts and generations are small, times are not. */
		if (should->integer < 1000)
			assert_true(is->integer == should->integer);
		break;
	case REDIS_REPLY_ARRAY:
		assert_int_equal(is->elements, should->elements);
		for (size_t i = 0; i < should->elements; i++)
			assert_same(is->element[i], should->element[i]);
		break;
	case REDIS_REPLY_ERROR:
		n = first_word(should);
		assert_int_equal(first_word(is), n);
		assert_memory_equal(is->str, should->str, n);
		break;
	case REDIS_REPLY_NIL:
		break;
	default:
		assert_int_equal(is->len, should->len);
		assert_memory_equal(is->str, should->str, n);
	}
}

/* HGETALL has no order. */
static int by_name(const void *a, const void *b)
{
	const redisReply *const *x = a, *const *y = b;

	return strcmp((*x)->str, (*y)->str);
}

static void sort_fields(redisReply *r)
{
	if (r->type == REDIS_REPLY_ARRAY)
		qsort(r->element, r->elements / 2, 2 * sizeof(void *), by_name);
}

static void both(struct pair *p, const struct command *c, bool sorted)
{
	const char *words[WORDS];
	redisReply *should, *is = ask_model(p, c);

	memcpy(words, c->words, sizeof(words));
	should = redisCommandArgv(p->asks, (int)c->n, words, NULL);
	assert_non_null(should);
	if (sorted) {
		sort_fields(should);
		sort_fields(is);
	}
	assert_same(is, should);
	freeReplyObject(is);
	freeReplyObject(should);
}

/* --- commands, as the remote tier sends them ------------------------------------------- */

static void add(struct command *c, const char *word)
{
	assert_true(c->n < WORDS);
	c->words[c->n++] = word;
}

static void add_u64(struct command *c, uint64_t v)
{
	(void)snprintf(c->text[c->n], sizeof(c->text[0]), "%" PRIu64, v);
	add(c, c->text[c->n]);
}

static const char *any(struct pair *p, const char *const words[], size_t n)
{
	return words[sim_below(&p->rng, n)];
}

/* Whole or by its name, which it may not know yet. */
static void begin_script(struct pair *p, struct command *c, enum store_script s,
                         const char *key)
{
	static char sha[SCRIPTS][41];
	bool whole = sim_chance(&p->rng, 300);

	assert_true(store_script_sha(s, sha[s]));
	add(c, whole ? "EVAL" : "EVALSHA");
	add(c, whole ? store_script_text(s).p : sha[s]);
	add(c, "2");
	add(c, hash);
	add(c, key);
}

static void do_begin(struct pair *p)
{
	static const char *const runs[] = {"run1", "run2"};
	static const char *const refused[] = {"", "", EPOCH_NEW};
	struct command c = {0};

	begin_script(p, &c, SCRIPT_BEGIN, nothing);
	add(&c, any(p, runs, COUNTOF(runs)));
	add(&c, EPOCH_NEW);
	add(&c, any(p, refused, COUNTOF(refused)));
	add(&c, channel);
	add(&c, "16384");
	both(p, &c, true);
}

static void do_set(struct pair *p)
{
	static const char *const gens[] = {"0", "0", "1", "2", "3"};
	struct command c = {0};

	begin_script(p, &c, SCRIPT_SET, any(p, values, COUNTOF(values)));
	add(&c, "a value with \r\n in it");
	add_u64(&c, 60000);
	/* In time, late, too late, and by a clock that is ahead. */
	add_u64(&c,
	        (uint64_t)wall_ms() + 20000 - 19000 * sim_below(&p->rng, 6));
	add(&c, "e");
	add(&c, sim_chance(&p->rng, 800) ? EPOCH_NEW : "0000000000000001");
	for (size_t i = sim_below(&p->rng, COUNTOF(slots)); i-- > 0;) {
		add(&c, slots[i]);
		add(&c, any(p, gens, COUNTOF(gens)));
	}
	both(p, &c, false);
}

static void do_forget(struct pair *p)
{
	struct command c = {0};

	begin_script(p, &c, SCRIPT_FORGET,
	             sim_chance(&p->rng, 500)
	                     ? nothing
	                     : any(p, values, COUNTOF(values)));
	add(&c, channel);
	for (size_t i = 1 + sim_below(&p->rng, 2); i-- > 0;)
		add(&c, any(p, slots, COUNTOF(slots)));
	both(p, &c, false);
}

static void do_words(struct pair *p, size_t n, const char *const words[])
{
	struct command c = {0};

	for (size_t i = 0; i < n; i++)
		add(&c, words[i]);
	both(p, &c, false);
}
#define DO(p, ...)                                            \
	do_words(p,                                           \
	         sizeof((const char *const[]){__VA_ARGS__}) / \
	                 sizeof(const char *),                \
	         (const char *const[]){__VA_ARGS__})

static void do_get(struct pair *p)
{
	const char *value = any(p, values, COUNTOF(values));

	DO(p, "PTTL", value);
	DO(p, "GETRANGE", value, "0", "1048688");
	DO(p, "GETRANGE", value, "0", "4");
	DO(p, "HMGET", hash, "e", "16384", "22");
	DO(p, "HMGET", value, "e");
	DO(p, "GET", any(p, (const char *const[]){hash, value}, 2));
}

/* Something else by our name, or nothing at all. */
static void do_harm(struct pair *p)
{
	const char *key = sim_chance(&p->rng, 500)
	                          ? hash
	                          : any(p, values, COUNTOF(values));

	if (sim_chance(&p->rng, 300))
		DO(p, "SET", key, "stranger");
	else
		DO(p, "UNLINK", key);
}

static void do_something(struct pair *p)
{
	static void (*const things[])(struct pair *) = {
		do_begin, do_set, do_set,    do_set,    do_set, do_get,
		do_get,   do_get, do_forget, do_forget, do_harm};

	things[sim_below(&p->rng, COUNTOF(things))](p);
	DO(p, "DBSIZE");
	DO(p, "PING", "17");
}

/* --- tests ------------------------------------------------------------------------------ */

static int open_pair(void **state)
{
	static const struct redis_data *nothing_yet;
	static struct pair p;
	const struct redis_hooks hooks = {&p, now_ms, publish, raised};
	const char run[41] = "0123456789012345678901234567890123456789";

	memset(&p, 0, sizeof(p));
	redis_start(&p.server);
	p.asks = redisConnectUnix(p.server.path);
	p.listens = redisConnectUnix(p.server.path);
	assert_true(p.asks && !p.asks->err && p.listens && !p.listens->err);
	p.model = redis_model_new(&hooks);
	redis_model_start(p.model, run, nothing_yet);
	*state = &p;
	return 0;
}

static int close_pair(void **state)
{
	struct pair *p = *state;

	redisFree(p->asks);
	redisFree(p->listens);
	redis_model_free(p->model);
	buf_fini(&p->heard);
	redis_end(&p->server);
	return 0;
}

static void answers_are_the_same(void **state)
{
	struct pair *p = *state;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		p->rng = sim_rng(seed);
		REDIS_TELL(&p->server, "FLUSHALL");
		REDIS_TELL(&p->server, "SCRIPT", "FLUSH");
		redis_model_flush(p->model);
		redis_model_flush_scripts(p->model);
		for (int i = 0; i < STEPS; i++)
			do_something(p);
	}
}

/* What was heard, one after the other, until the answer to a last PING. */
static void messages_are_the_same(void **state)
{
	struct pair *p = *state;
	const struct command subscribe = {2, {"SUBSCRIBE", channel}, {{0}}};
	const struct command ping = {2, {"PING", "17"}, {{0}}};
	redisReader *reader = redisReaderCreate();
	struct redis_session mine = p->session;
	redisReply *should = redisCommand(p->listens, "SUBSCRIBE %s", channel);
	redisReply *is = ask_model(p, &subscribe);
	bool over = false;

	assert_non_null(reader);
	assert_same(is, should);
	freeReplyObject(is);
	freeReplyObject(should);
	p->session = mine; /* that one goes on asking */
	buf_clear(&p->heard);
	p->rng = sim_rng(99);
	for (int i = 0; i < STEPS; i++)
		do_something(p);
	p->session.subscribed = true;
	is = ask_model(p, &ping);
	p->session.subscribed = false;
	assert_int_equal(redisReaderFeed(reader, p->heard.p, p->heard.n),
	                 REDIS_OK);
	assert_int_equal(redisAppendCommand(p->listens, "PING 17"), REDIS_OK);
	while (!over) {
		void *heard = NULL, *said = NULL;

		assert_int_equal(redisGetReply(p->listens, &heard), REDIS_OK);
		assert_int_equal(redisReaderGetReply(reader, &said), REDIS_OK);
		over = said == NULL;
		assert_same(over ? is : said, heard);
		freeReplyObject(heard);
		freeReplyObject(said);
	}
	freeReplyObject(is);
	redisReaderFree(reader);
}

static void a_server_that_takes_no_writes_is_the_same(void **state)
{
	struct pair *p = *state;

	p->rng = sim_rng(7);
	REDIS_TELL(&p->server, "CONFIG", "SET", "maxmemory", "1");
	redis_model_mood(p->model, REDIS_FULL);
	for (int i = 0; i < STEPS; i++) {
		do_begin(p);
		do_set(p);
		do_forget(p);
		do_get(p);
	}
	REDIS_TELL(&p->server, "CONFIG", "SET", "maxmemory", "0");
	REDIS_TELL(&p->server, "REPLICAOF", "127.0.0.1", "1");
	redis_model_mood(p->model, REDIS_READONLY);
	for (int i = 0; i < STEPS; i++) {
		do_begin(p);
		do_set(p);
		do_forget(p);
		do_get(p);
		DO(p, "UNLINK", nothing);
	}
}

static void time_and_info_have_the_same_form(void **state)
{
	struct pair *p = *state;
	const struct command time = {1, {"TIME"}, {{0}}};
	const struct command info = {2, {"INFO", "server"}, {{0}}};
	uint64_t ours = 0, theirs = 0;
	redisReply *should = redisCommand(p->asks, "TIME");
	redisReply *is = ask_model(p, &time);

	assert_int_equal(is->type, should->type);
	assert_int_equal(is->elements, should->elements);
	assert_true(reply_time(is, &ours) && reply_time(should, &theirs));
	assert_true(theirs - ours < LATE_MS || ours - theirs < LATE_MS);
	freeReplyObject(is);
	freeReplyObject(should);
	should = redisCommand(p->asks, "INFO server");
	is = ask_model(p, &info);
	assert_int_equal(is->type, should->type);
	assert_int_equal(info_field(reply_text(is), STR("run_id")).n, 40);
	assert_int_equal(info_field(reply_text(should), STR("run_id")).n, 40);
	freeReplyObject(is);
	freeReplyObject(should);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_and_info_have_the_same_form),
		cmocka_unit_test(answers_are_the_same),
		cmocka_unit_test(messages_are_the_same),
		cmocka_unit_test(a_server_that_takes_no_writes_is_the_same),
	};

	return cmocka_run_group_tests_name("redis_model", tests, open_pair,
	                                   close_pair);
}
