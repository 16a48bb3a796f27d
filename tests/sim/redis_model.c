#include "tests/sim/redis_model.h"

#include "common/cache/remote_store.h"
#include "tests/sim/fiber.h"
#include "tests/sim/heap.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#define KEYS_MAX   256
#define FIELDS_MAX 96
#define FIELD_MAX  16
#define VALUE_MAX  512

struct field {
	char name[FIELD_MAX];
	char value[48];
	size_t name_n, value_n;
};

/* A string, or a hash when it has fields. */
struct item {
	char key[VALUE_MAX];
	size_t key_n;
	uint64_t expires_ms; /* 0: never */
	bool is_hash;
	struct buf value;
	struct field *fields; /* FIELDS_MAX of them */
	size_t fields_n;
};

struct redis_data {
	size_t n;
	struct item *items[KEYS_MAX];
};

struct redis_model {
	struct redis_hooks hooks;
	struct redis_data *data;
	char run[41];
	unsigned mood;
	bool known[SCRIPTS];
	char sha[SCRIPTS][41];
};

/* One command: its words and where its answer goes. */
struct call {
	struct redis_model *m;
	struct redis_session *session;
	size_t n;
	const struct str *words;
	struct buf *out;
};

/* --- answers --------------------------------------------------------------------- */

static void say_bulk(struct buf *out, struct str s)
{
	buf_printf(out, "$%zu\r\n", s.n);
	buf_str(out, s);
	buf_str(out, STR("\r\n"));
}

static void say_nil(struct buf *out)
{
	buf_str(out, STR("$-1\r\n"));
}

static void say_array(struct buf *out, size_t n)
{
	buf_printf(out, "*%zu\r\n", n);
}

static void say_integer(struct buf *out, int64_t v)
{
	buf_printf(out, ":%" PRId64 "\r\n", v);
}

static void say_error(struct buf *out, const char *what)
{
	buf_printf(out, "-%s\r\n", what);
}

/* --- data ------------------------------------------------------------------------ */

static void item_free(struct item *e)
{
	buf_fini(&e->value);
	heap_world_free(e->fields);
	heap_world_free(e);
}

static struct item *item_new(struct str key)
{
	struct item *e = heap_world_new(sizeof(*e));

	assert(key.n < sizeof(e->key));
	memcpy(e->key, key.p, key.n);
	e->key_n = key.n;
	return e;
}

static void drop_item(struct redis_data *d, size_t i)
{
	item_free(d->items[i]);
	d->items[i] = d->items[--d->n];
}

void redis_data_free(struct redis_data *d)
{
	if (!d)
		return;
	while (d->n > 0)
		drop_item(d, d->n - 1);
	heap_world_free(d);
}

static struct redis_data *copy_data(const struct redis_data *from)
{
	struct redis_data *d = heap_world_new(sizeof(*d));

	for (size_t i = 0; i < from->n; i++) {
		const struct item *was = from->items[i];
		struct item *e = item_new((struct str){was->key, was->key_n});

		e->expires_ms = was->expires_ms;
		e->is_hash = was->is_hash;
		buf_str(&e->value, buf_view(&was->value));
		e->fields_n = was->fields_n;
		if (was->is_hash) {
			e->fields =
				heap_world_new(FIELDS_MAX * sizeof(*e->fields));
			memcpy(e->fields, was->fields,
			       was->fields_n * sizeof(*e->fields));
		}
		d->items[d->n++] = e;
	}
	return d;
}

/* Where it is; d->n: nowhere.  What has expired goes. */
static size_t find(struct redis_model *m, struct str key)
{
	struct redis_data *d = m->data;

	for (size_t i = 0; i < d->n; i++) {
		struct item *e = d->items[i];

		if (!str_eq((struct str){e->key, e->key_n}, key))
			continue;
		if (!e->expires_ms ||
		    m->hooks.now_ms(m->hooks.arg) < e->expires_ms)
			return i;
		drop_item(d, i);
		return d->n;
	}
	return d->n;
}

static struct item *get(struct redis_model *m, struct str key)
{
	size_t i = find(m, key);

	return i < m->data->n ? m->data->items[i] : NULL;
}

static void unlink_key(struct redis_model *m, struct str key)
{
	size_t i = find(m, key);

	if (i < m->data->n)
		drop_item(m->data, i);
}

static struct item *make(struct redis_model *m, struct str key)
{
	struct item *e = item_new(key);

	assert(m->data->n < KEYS_MAX);
	m->data->items[m->data->n++] = e;
	return e;
}

static struct field *field_of(const struct item *e, struct str name)
{
	for (size_t i = 0; e && i < e->fields_n; i++)
		if (str_eq((struct str){e->fields[i].name, e->fields[i].name_n},
		           name))
			return &e->fields[i];
	return NULL;
}

static struct str field_value(const struct item *e, struct str name)
{
	const struct field *f = field_of(e, name);

	return f ? (struct str){f->value, f->value_n} : (struct str){NULL, 0};
}

static void set_field(struct redis_model *m, struct str key, struct str name,
                      struct str value)
{
	struct item *e = get(m, key);
	struct field *f;

	if (!e) {
		e = make(m, key);
		e->is_hash = true;
		e->fields = heap_world_new(FIELDS_MAX * sizeof(*e->fields));
	}
	f = field_of(e, name);
	if (!f) {
		assert(e->fields_n < FIELDS_MAX && name.n < FIELD_MAX);
		f = &e->fields[e->fields_n++];
		memcpy(f->name, name.p, name.n);
		f->name_n = name.n;
	}
	assert(value.n < sizeof(f->value));
	memcpy(f->value, value.p, value.n);
	f->value_n = value.n;
}

/* --- commands -------------------------------------------------------------------- */

static const char read_only[] =
	"READONLY You can't write against a read only replica.";

static void run_info(const struct call *c)
{
	AUTO_BUF text = {0};

	buf_printf(&text, "# Server\r\nredis_version:7.0.15\r\nrun_id:%s\r\n",
	           c->m->run);
	say_bulk(c->out, buf_view(&text));
}

static void run_time(const struct call *c)
{
	uint64_t now_ms = c->m->hooks.now_ms(c->m->hooks.arg);
	char text[24];
	int n = snprintf(text, sizeof(text), "%" PRIu64, now_ms / 1000);

	say_array(c->out, 2);
	say_bulk(c->out, (struct str){text, (size_t)n});
	n = snprintf(text, sizeof(text), "%" PRIu64, now_ms % 1000 * 1000);
	say_bulk(c->out, (struct str){text, (size_t)n});
}

static void run_dbsize(const struct call *c)
{
	say_integer(c->out, (int64_t)c->m->data->n);
}

static void run_unlink(const struct call *c)
{
	size_t before = c->m->data->n;

	if (c->m->mood & REDIS_READONLY) {
		say_error(c->out, read_only);
		return;
	}
	unlink_key(c->m, c->words[1]);
	say_integer(c->out, (int64_t)(before - c->m->data->n));
}

static void run_ping(const struct call *c)
{
	struct str with = c->n > 1 ? c->words[1] : STR("");

	if (c->session->subscribed) {
		say_array(c->out, 2);
		say_bulk(c->out, STR("pong"));
		say_bulk(c->out, with);
	} else if (c->n > 1) {
		say_bulk(c->out, with);
	} else {
		buf_str(c->out, STR("+PONG\r\n"));
	}
}

static void run_subscribe(const struct call *c)
{
	struct redis_session *s = c->session;

	assert(c->n == 2 && c->words[1].n < sizeof(s->channel));
	memcpy(s->channel, c->words[1].p, c->words[1].n);
	s->channel_n = c->words[1].n;
	s->subscribed = true;
	say_array(c->out, 3);
	say_bulk(c->out, STR("subscribe"));
	say_bulk(c->out, c->words[1]);
	say_integer(c->out, 1);
}

static const char wrong_type[] =
	"WRONGTYPE Operation against a key holding the wrong kind of value";

static void run_get(const struct call *c)
{
	const struct item *e = get(c->m, c->words[1]);

	if (!e)
		say_nil(c->out);
	else if (e->is_hash)
		say_error(c->out, wrong_type);
	else
		say_bulk(c->out, buf_view(&e->value));
}

/* Of a value from its beginning; a short end is cut, as Redis does. */
static void run_getrange(const struct call *c)
{
	const struct item *e = get(c->m, c->words[1]);
	struct str all = e ? buf_view(&e->value) : STR("");
	int64_t last = 0;

	(void)str_to_i64(c->words[3], &last);
	if (e && e->is_hash) {
		say_error(c->out, wrong_type);
		return;
	}
	if (all.n > (size_t)last + 1)
		all.n = (size_t)last + 1;
	say_bulk(c->out, all);
}

static void run_pttl(const struct call *c)
{
	const struct item *e = get(c->m, c->words[1]);
	uint64_t now_ms = c->m->hooks.now_ms(c->m->hooks.arg);

	if (!e)
		say_integer(c->out, -2);
	else if (!e->expires_ms)
		say_integer(c->out, -1);
	else
		say_integer(c->out, (int64_t)(e->expires_ms - now_ms));
}

static void run_hmget(const struct call *c)
{
	const struct item *e = get(c->m, c->words[1]);

	if (e && !e->is_hash) {
		say_error(c->out, wrong_type);
		return;
	}
	say_array(c->out, c->n - 2);
	for (size_t i = 2; i < c->n; i++) {
		const struct field *f = field_of(e, c->words[i]);

		if (f)
			say_bulk(c->out, (struct str){f->value, f->value_n});
		else
			say_nil(c->out);
	}
}

/* For a test that wants something else to be kept by a name. */
static void run_set(const struct call *c)
{
	struct item *e;

	unlink_key(c->m, c->words[1]);
	e = make(c->m, c->words[1]);
	buf_str(&e->value, c->words[2]);
	if (c->n == 5) {
		int64_t ms = 0;

		(void)str_to_i64(c->words[4], &ms);
		e->expires_ms =
			c->m->hooks.now_ms(c->m->hooks.arg) + (uint64_t)ms;
	}
	buf_str(c->out, STR("+OK\r\n"));
}

/* --- scripts --------------------------------------------------------------------- */

/* KEYS[i] and ARGV[i], counted from 1 as scripts do. */
static struct str key_of(const struct call *c, size_t i)
{
	return c->words[2 + i];
}

static size_t keys_n(const struct call *c)
{
	int64_t n = 0;

	(void)str_to_i64(c->words[2], &n);
	return (size_t)n;
}

static struct str arg_of(const struct call *c, size_t i)
{
	return c->words[2 + keys_n(c) + i];
}

static size_t args_n(const struct call *c)
{
	return c->n - 3 - keys_n(c);
}

static void publish(const struct call *c, struct str channel,
                    struct str payload)
{
	(void)c->m->hooks.publish(c->m->hooks.arg, channel, payload);
}

static void script_begin(const struct call *c)
{
	struct str hash = key_of(c, 1), run = arg_of(c, 1);
	struct item *e = get(c->m, hash);
	const struct field *epoch;
	AUTO_BUF said = {0};

	unlink_key(c->m, key_of(c, 2));
	epoch = e && e->is_hash ? field_of(e, STR("e")) : NULL;
	if (!epoch || epoch->value_n != STORE_EPOCH_MAX - 1 ||
	    !str_eq(field_value(e, STR("r")), run) ||
	    str_eq(field_value(e, STR("e")), arg_of(c, 3))) {
		unlink_key(c->m, hash);
		set_field(c->m, hash, STR("e"), arg_of(c, 2));
		set_field(c->m, hash, STR("r"), run);
		buf_str(&said, arg_of(c, 2));
		buf_char(&said, ' ');
		buf_str(&said, arg_of(c, 5));
		buf_str(&said, STR(" 0"));
		c->m->hooks.raised(c->m->hooks.arg, CACHE_SLOT_ALL);
		publish(c, arg_of(c, 4), buf_view(&said));
	}
	e = get(c->m, hash);
	say_array(c->out, 2 * e->fields_n);
	for (size_t i = 0; i < e->fields_n; i++) {
		const struct field *f = &e->fields[i];

		say_bulk(c->out, (struct str){f->name, f->name_n});
		say_bulk(c->out, (struct str){f->value, f->value_n});
	}
}

static void script_set(const struct call *c)
{
	const struct item *hash = get(c->m, key_of(c, 1));
	uint64_t now_ms = c->m->hooks.now_ms(c->m->hooks.arg);
	int64_t left_ms = 0, asked_ms = 0;
	struct item *e;

	if (hash && !hash->is_hash) {
		say_error(c->out, wrong_type);
		return;
	}
	for (size_t i = 4; i + 1 <= args_n(c); i += 2) {
		struct str is = field_value(hash, arg_of(c, i));

		if (!str_eq(is.p ? is : STR("0"), arg_of(c, i + 1))) {
			say_integer(c->out, 0);
			return;
		}
	}
	(void)str_to_i64(arg_of(c, 2), &left_ms);
	(void)str_to_i64(arg_of(c, 3), &asked_ms);
	if ((int64_t)now_ms > asked_ms)
		left_ms -= (int64_t)now_ms - asked_ms;
	if (left_ms < 1) {
		say_integer(c->out, 0);
		return;
	}
	if (c->m->mood & REDIS_FULL) {
		say_error(c->out, "OOM command not allowed when used memory > "
		                  "'maxmemory'.");
		return;
	}
	if (c->m->mood & REDIS_READONLY) {
		say_error(c->out, read_only);
		return;
	}
	unlink_key(c->m, key_of(c, 2));
	e = make(c->m, key_of(c, 2));
	buf_str(&e->value, arg_of(c, 1));
	e->expires_ms = now_ms + (uint64_t)left_ms;
	say_integer(c->out, 1);
}

static int64_t raise_slot(const struct call *c, struct str epoch,
                          struct str slot)
{
	struct str was = field_value(get(c->m, key_of(c, 1)), slot);
	int64_t gen = 0, n = 0;
	char text[64];
	int len;

	if (was.p)
		(void)str_to_i64(was, &gen);
	gen++;
	len = snprintf(text, sizeof(text), "%" PRId64, gen);
	set_field(c->m, key_of(c, 1), slot, (struct str){text, (size_t)len});
	(void)str_to_i64(slot, &n);
	c->m->hooks.raised(c->m->hooks.arg, (unsigned)n);
	len = snprintf(text, sizeof(text), "%.*s %.*s %" PRId64, (int)epoch.n,
	               epoch.p, (int)slot.n, slot.p, gen);
	publish(c, arg_of(c, 1), (struct str){text, (size_t)len});
	return gen;
}

static void script_forget(const struct call *c)
{
	struct item *e;
	char epoch[STORE_EPOCH_MAX] = "0000000000000000";
	struct str is;

	unlink_key(c->m, key_of(c, 2));
	e = get(c->m, key_of(c, 1));
	if (e && !e->is_hash) {
		say_error(c->out, wrong_type);
		return;
	}
	is = field_value(e, STR("e"));
	if (is.p && is.n == sizeof(epoch) - 1)
		memcpy(epoch, is.p, is.n);
	say_array(c->out, args_n(c));
	say_bulk(c->out, (struct str){epoch, sizeof(epoch) - 1});
	for (size_t i = 2; i <= args_n(c); i++)
		say_integer(c->out,
		            raise_slot(c,
		                       (struct str){epoch, sizeof(epoch) - 1},
		                       arg_of(c, i)));
}

static void run_script(const struct call *c)
{
	static void (*const bodies[SCRIPTS])(const struct call *) = {
		[SCRIPT_BEGIN] = script_begin,
		[SCRIPT_SET] = script_set,
		[SCRIPT_FORGET] = script_forget,
	};
	bool whole = str_eq(c->words[0], STR("EVAL"));

	for (unsigned i = 0; i < SCRIPTS; i++) {
		struct str name =
			whole ? store_script_text(i) : str_from(c->m->sha[i]);

		if (!str_eq(c->words[1], name))
			continue;
		if (!whole && !c->m->known[i]) {
			say_error(c->out, "NOSCRIPT No matching script. "
			                  "Please use EVAL.");
			return;
		}
		c->m->known[i] = true;
		if ((c->m->mood & REDIS_READONLY) && i != SCRIPT_SET)
			say_error(c->out, read_only);
		else
			bodies[i](c);
		return;
	}
	fiber_fail("a script that the model does not know");
}

void redis_model_run(struct redis_model *m, struct redis_session *s, size_t n,
                     const struct str *words, struct buf *out)
{
	static const struct {
		struct str name;
		void (*run)(const struct call *c);
		size_t min;
	} commands[] = {
		{STR("INFO"), run_info, 1},
		{STR("PING"), run_ping, 1},
		{STR("DBSIZE"), run_dbsize, 1},
		{STR("TIME"), run_time, 1},
		{STR("UNLINK"), run_unlink, 2},
		{STR("SUBSCRIBE"), run_subscribe, 2},
		{STR("GET"), run_get, 2},
		{STR("GETRANGE"), run_getrange, 4},
		{STR("PTTL"), run_pttl, 2},
		{STR("HMGET"), run_hmget, 3},
		{STR("SET"), run_set, 3},
		{STR("EVAL"), run_script, 3},
		{STR("EVALSHA"), run_script, 3},
	};
	const struct call c = {m, s, n, words, out};

	if (m->mood & REDIS_LOADING) {
		say_error(out,
		          "LOADING Redis is loading the dataset in memory");
		return;
	}
	for (size_t i = 0; i < COUNTOF(commands); i++) {
		if (n < commands[i].min || !str_eq(words[0], commands[i].name))
			continue;
		commands[i].run(&c);
		return;
	}
	fiber_fail("a command that the model does not know: %.*s",
	           (int)words[0].n, words[0].p);
}

void redis_model_message(struct str channel, struct str payload,
                         struct buf *out)
{
	say_array(out, 3);
	say_bulk(out, STR("message"));
	say_bulk(out, channel);
	say_bulk(out, payload);
}

/* --- life ------------------------------------------------------------------------ */

struct redis_model *redis_model_new(const struct redis_hooks *hooks)
{
	struct redis_model *m = heap_world_new(sizeof(*m));

	m->hooks = *hooks;
	m->data = heap_world_new(sizeof(*m->data));
	for (unsigned i = 0; i < SCRIPTS; i++) {
		bool known = store_script_sha(i, m->sha[i]);

		assert(known);
	}
	return m;
}

void redis_model_free(struct redis_model *m)
{
	if (!m)
		return;
	redis_data_free(m->data);
	heap_world_free(m);
}

void redis_model_start(struct redis_model *m, const char run[41],
                       const struct redis_data *dump)
{
	static const struct redis_data empty;

	redis_data_free(m->data);
	m->data = copy_data(dump ? dump : &empty);
	memcpy(m->run, run, sizeof(m->run));
	memset(m->known, 0, sizeof(m->known));
	m->mood = REDIS_WELL;
}

struct redis_data *redis_model_dump(const struct redis_model *m)
{
	return copy_data(m->data);
}

void redis_model_mood(struct redis_model *m, unsigned mood)
{
	m->mood = mood;
}

bool redis_model_evict(struct redis_model *m, size_t nth)
{
	if (m->data->n == 0)
		return false;
	drop_item(m->data, nth % m->data->n);
	return true;
}

void redis_model_flush(struct redis_model *m)
{
	while (m->data->n > 0)
		drop_item(m->data, m->data->n - 1);
}

void redis_model_flush_scripts(struct redis_model *m)
{
	memset(m->known, 0, sizeof(m->known));
}

size_t redis_model_keys(const struct redis_model *m)
{
	return m->data->n;
}
