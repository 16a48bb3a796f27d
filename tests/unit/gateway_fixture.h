/*
 * A gateway in this process, three services that do what a test's query asks
 * for, and a client that sends bytes.
 *
 * The services answer with what reached them, as {"op", "rid", "tp", "sub",
 * "hnd", "role", "lang", "idk", "q", "p", "b"}.  ?mode= (or the topic of a
 * body) changes that:
 *   hold     no answer until the stack stops
 *   busy     ERR_BUSY, come again in 7 s
 *   faults   ERR_INVALID with a fault at /topic
 *   broken   ERR_INTERNAL with words that no client may see
 *   store    a code of the stores
 *   garbage  bytes that are no reply
 *   big      200 000 bytes of text
 *   empty    204
 *   made     201 with a header
 *   tokens   200, and 500 tokens of the model were used
 *   flow N TEXT   a stream of TEXT that says its length is N; - says none
 *   CONFLICT and every other name of err.def: that error
 *
 * Asked how they are they tell their `health`, which is "up" after a start.
 * An administrator's "service." methods are answered as their `figures` say:
 *   NULL     numbers: 3 of each that a gateway asks for, and a cache
 *   hold     no answer until the stack stops
 *   garbage  bytes that are no reply
 *   words    text, nil, NaN and maps where numbers are wanted
 *   error    ERR_INTERNAL
 */
#ifndef TESTS_GATEWAY_FIXTURE_H
#define TESTS_GATEWAY_FIXTURE_H

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/bus/entry.h"
#include "common/bus/stream.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"
#include "gateway/gateway.h"
#include "gateway/survey.h"

#include <arpa/inet.h>
#include <math.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HELD_MAX 16

/* sub, handle, role, scopes and key_id of each API key. */
static const struct {
	const char *key, *sub, *hnd, *role, *scp, *key_id;
} people[] = {
	{"sk_alice", "01900000-0000-7000-8000-00000000000a", "alice", "user",
         "read write generate", "01900000-0000-7000-8000-0000000000ca"},
	{"sk_bob", "01900000-0000-7000-8000-00000000000b", "bob", "user",
         "read write generate", "01900000-0000-7000-8000-0000000000cb"},
	{"sk_admin", "01900000-0000-7000-8000-00000000000c", "root1", "admin",
         "read write generate admin", "01900000-0000-7000-8000-0000000000cc"},
	{"sk_reader", "01900000-0000-7000-8000-00000000000d", "reader", "user",
         "read", "01900000-0000-7000-8000-0000000000cd"},
};

struct fake {
	enum bus_peer self;
	struct bus_server *server;
	struct bus_item *held[HELD_MAX];
	_Atomic unsigned held_n;
	_Atomic unsigned calls;
	_Atomic unsigned asked; /* how it is */
	/* What it then says of its database; NULL: nothing that is health. */
	const char *_Atomic database;
	const char *_Atomic figures;
	const char *_Atomic mode;  /* where a request says none; or NULL */
	_Atomic unsigned operated; /* "service.control", by an administrator */
	/* Asked before all else what clients ask: true when it has answered. */
	bool (*own)(struct fake *f, struct bus_item *it, struct ctx *cx,
	            const struct entry *en);
};

struct stack {
	struct settings conf;
	struct metrics *metrics;
	struct health *health;
	char urls[PEER_COUNT][96];
	struct fake fakes[PEER_COUNT];
	struct gateway *gateway;
};

/* --- services ------------------------------------------------------------------ */

static inline void end_with(struct bus_item *it, const struct ctx *cx,
                            enum err e, struct reply *r)
{
	AUTO_BUF b = {0};

	reply_pack(&b, cx, e, r);
	buf_fini(&r->body);
	bus_item_end(it, buf_view(&b));
}

static inline void echo(struct buf *b, const struct ctx *cx,
                        const struct entry *en)
{
	mp_map(b, 11);
	mp_kv_str(b, "op", en->op);
	mp_kv_str(b, "rid", cx->rid);
	mp_kv_str(b, "tp", cx->tp);
	mp_kv_str(b, "sub", cx->sub);
	mp_kv_str(b, "hnd", cx->hnd);
	mp_kv_text(b, "role", role_name(cx->role));
	mp_kv_str(b, "lang", cx->lang);
	mp_kv_str(b, "idk", cx->idk);
	mp_text(b, "q");
	en->query.n ? mp_raw(b, en->query) : mp_nil(b);
	mp_text(b, "p");
	en->path.n ? mp_raw(b, en->path) : mp_nil(b);
	mp_text(b, "b");
	en->body.n ? mp_raw(b, en->body) : mp_nil(b);
}

static inline void big(struct buf *b)
{
	AUTO_BUF text = {0};

	for (int i = 0; i < 20000; i++)
		buf_str(&text, STR("0123456789"));
	mp_map(b, 1);
	mp_kv_str(b, "text", buf_view(&text));
}

static inline enum err err_named(struct str name)
{
	for (int i = 1; i < ERR_COUNT; i++)
		if (str_eq(str_from(err_name((enum err)i)), name))
			return (enum err)i;
	return OK;
}

static inline enum err keep_part(void *to, struct str bytes)
{
	buf_str(to, bytes);
	return OK;
}

static inline void answer_flow(struct bus_item *it, const struct ctx *cx,
                               struct str mode)
{
	AUTO_BUF all = {0};
	struct reply r = {.part = keep_part, .to = &all};
	int64_t n = 0;

	(void)str_cut(&mode, ' ');
	if (str_to_i64(str_cut(&mode, ' '), &n)) {
		mp_map(&r.body, 1);
		mp_kv_i64(&r.body, "length", n);
	}
	r.headers_n = 1;
	r.headers[0].name = STR("Content-Disposition");
	r.headers[0].value = cx->form.n ? cx->form : STR("json");
	(void)!stream_begin(cx, &r);
	buf_str(&all, mode);
	buf_fini(&r.body);
	bus_item_end(it, buf_view(&all));
}

static inline void answer_mode(struct fake *f, struct bus_item *it,
                               struct ctx *cx, const struct entry *en)
{
	struct str own = str_from(f->mode);
	struct str mode = mp_find_str(en->query, "mode",
	                              mp_find_str(en->body, "topic", own));
	struct reply r = {0};
	enum err e = err_named(mode);

	if (str_eq(mode, STR("hold"))) {
		f->held[f->held_n % HELD_MAX] = it;
		f->held_n++;
		return;
	}
	if (str_eq(mode, STR("garbage"))) {
		bus_item_end(it, STR("\xc1\xc1nonsense"));
		return;
	}
	if (str_starts(mode, STR("flow"))) {
		answer_flow(it, cx, mode);
		return;
	}
	if (str_eq(mode, STR("busy"))) {
		e = ctx_fail(cx, ERR_BUSY, "full");
		cx->problem.retry_after_s = 7;
	} else if (str_eq(mode, STR("quota"))) {
		e = ctx_fail(cx, ERR_QUOTA, "All 100 are used.");
		cx->problem.retry_after_s = 3600;
		cx->problem.quota = (struct quota_problem){"daily", TIER_FREE,
		                                           100, 100, 3600};
	} else if (str_eq(mode, STR("faults"))) {
		e = ctx_fault(cx, "/topic", "TOO_LONG", "is too long");
	} else if (str_eq(mode, STR("broken"))) {
		e = ctx_fail(cx, ERR_INTERNAL, "secret column names");
	} else if (str_eq(mode, STR("store"))) {
		e = ctx_fail(cx, ERR_DB_DUPLICATE, "duplicate in xp_ledger");
	} else if (str_eq(mode, STR("big"))) {
		big(&r.body);
	} else if (str_eq(mode, STR("empty"))) {
		r.status = 204;
	} else if (!e) {
		echo(&r.body, cx, en);
	}
	if (str_eq(mode, STR("made"))) {
		r.status = 201;
		r.headers_n = 1;
		r.headers[0].name = STR("Location");
		r.headers[0].value = STR("/made/1");
	}
	if (str_eq(mode, STR("file"))) {
		buf_clear(&r.body);
		mp_text(&r.body, "a,\"b\"\r\n");
		r.headers_n = 1;
		r.headers[0].name = STR("Content-Type");
		r.headers[0].value = STR("text/csv; charset=utf-8");
	}
	if (str_eq(mode, STR("tokens"))) {
		r.headers_n = 1;
		r.headers[0].name = STR("KAE-Tokens");
		r.headers[0].value = STR("500");
	}
	end_with(it, cx, e, &r);
}

static inline void fake_keys(struct buf *b)
{
	/* Any point of the curve will do: the generator is one. */
	mp_map(b, 1);
	mp_kv_array(b, "keys", 1);
	mp_map(b, 7);
	mp_kv_text(b, "kty", "EC");
	mp_kv_text(b, "crv", "P-256");
	mp_kv_text(b, "x", "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY");
	mp_kv_text(b, "y", "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU");
	mp_kv_text(b, "kid", "k1");
	mp_kv_text(b, "alg", "ES256");
	mp_kv_text(b, "use", "sig");
}

static inline enum err fake_verify(struct buf *b, struct str body)
{
	struct str field, hash = STR("");
	struct mp m;

	if (mp_find(body, "hash", &field)) {
		m = mp_open(field);
		(void)!mp_get_bin(&m, &hash);
	}
	for (size_t i = 0; i < COUNTOF(people); i++) {
		unsigned char want[32];

		(void)crypto_hash_sha256(want,
		                         (const unsigned char *)people[i].key,
		                         strlen(people[i].key));
		if (!str_eq(hash, (struct str){(const char *)want, 32}))
			continue;
		mp_map(b, 7);
		mp_kv_text(b, "sub", people[i].sub);
		mp_kv_text(b, "hnd", people[i].hnd);
		mp_kv_text(b, "role", people[i].role);
		mp_kv_text(b, "tier", "free");
		mp_kv_text(b, "scp", people[i].scp);
		mp_kv_text(b, "key_id", people[i].key_id);
		mp_kv_i64(b, "at", wall_ms() / 1000 - 60);
		return OK;
	}
	return ERR_BAD_KEY;
}

/* As a service tells it, with words that no client may see. */
static inline void fake_health(struct fake *f, struct buf *b)
{
	const char *database = f->database;

	f->asked++;
	mp_map(b, database ? 3 : 0);
	if (!database)
		return;
	mp_kv_bool(b, "ready", true);
	mp_kv_text(b, "status",
	           strcmp(database, "up") == 0 ? "ready" : "degraded");
	mp_kv_map(b, "checks", 1);
	mp_kv_map(b, "database", 2);
	mp_kv_text(b, "status", database);
	mp_kv_text(b, "message", "secret-host:5432");
}

/* True when the call is one that the gateway makes for itself. */
static inline bool answer_gateway(struct fake *f, struct bus_item *it,
                                  struct ctx *cx, const struct entry *en)
{
	struct reply r = {0};
	enum err e = OK;

	if (cx->sub.n || cx->ip.n)
		return false; /* on behalf of a client */
	if (str_eq(en->op, STR("service.health"))) {
		fake_health(f, &r.body);
	} else if (f->self != PEER_AUTH) {
		return false;
	} else if (str_eq(en->op, STR("auth.jwks"))) {
		fake_keys(&r.body);
	} else if (str_eq(en->op, STR("auth.revocations"))) {
		mp_map(&r.body, 2);
		mp_kv_i64(&r.body, "seq", 0);
		mp_kv_array(&r.body, "items", 0);
	} else if (str_eq(en->op, STR("auth.verify_key"))) {
		e = fake_verify(&r.body, en->body);
	} else {
		return false;
	}
	end_with(it, cx, e, &r);
	return true;
}

static inline void fake_figure(struct buf *b, size_t i, bool words)
{
	switch (words ? i % 4 : 4) {
	case 0:
		mp_text(b, "9");
		break;
	case 1:
		mp_nil(b);
		break;
	case 2:
		mp_f64(b, (double)NAN);
		break;
	case 3:
		mp_map(b, 0);
		break;
	default:
		mp_f64(b, 3);
		break;
	}
}

/* True when an administrator has asked for the service itself. */
static inline bool answer_admin(struct fake *f, struct bus_item *it,
                                struct ctx *cx, const struct entry *en)
{
	const char *figures = f->figures;
	struct reply r = {0};

	if (cx->role != ROLE_ADMIN || !str_starts(en->op, STR("service.")))
		return false;
	f->operated += str_eq(en->op, STR("service.control"));
	if (figures && strcmp(figures, "hold") == 0) {
		f->held[f->held_n++ % HELD_MAX] = it;
		return true;
	}
	if (figures && strcmp(figures, "garbage") == 0) {
		bus_item_end(it, STR("\xc1"));
		return true;
	}
	mp_map(&r.body, SURVEY_NUMBERS + 2);
	mp_kv_bool(&r.body, "cached", true);
	mp_kv_bool(&r.body, "shared", false);
	for (size_t i = 0; i < SURVEY_NUMBERS; i++) {
		mp_text(&r.body, survey_figure((enum survey_number)i));
		fake_figure(&r.body, i, figures && *figures == 'w');
	}
	end_with(it, cx, figures && *figures == 'e' ? ERR_INTERNAL : OK, &r);
	return true;
}

static inline void on_item(void *arg, struct bus_item *it)
{
	struct fake *f = arg;
	AUTO(arena) a = arena_new(65536);
	struct ctx cx = {.service = "fake", .arena = a};
	struct entry en = {0};

	if (entry_read(bus_item_bytes(it), &cx, &en) != OK) {
		bus_item_refuse(it, ERR_INVALID);
		return;
	}
	if (answer_gateway(f, it, &cx, &en) || answer_admin(f, it, &cx, &en))
		return;
	f->calls++;
	if (!f->own || !f->own(f, it, &cx, &en))
		answer_mode(f, it, &cx, &en);
}

static inline void fake_start(struct stack *s, enum bus_peer p)
{
	struct fake *f = &s->fakes[p];
	const struct bus_server_conf conf = {
		.self = p,
		.on_item = on_item,
		.arg = f,
	};

	f->self = p;
	f->database = "up";
	f->server = bus_server_new(&conf);
	assert_non_null(f->server);
	assert_int_equal(bus_server_listen(f->server, str_from(s->urls[p])),
	                 OK);
}

static inline void fake_stop(struct fake *f)
{
	for (unsigned i = 0; i < f->held_n && i < HELD_MAX; i++)
		bus_item_refuse(f->held[i], ERR_UNAVAILABLE);
	f->held_n = 0;
	bus_server_free(f->server);
	f->server = NULL;
}

/* --- the stack ------------------------------------------------------------------ */

struct stack_want {
	const char *name, *value; /* a setting */
};

static inline bool wait_until(bool (*done)(const void *arg), const void *arg,
                              uint64_t ms)
{
	uint64_t until = mono_ms() + ms;

	while (!done(arg)) {
		if (mono_ms() > until)
			return false;
		(void)poll(NULL, 0, 2);
	}
	return true;
}

/* A call of a client's, by a fake that was asked to. */
static inline bool is_held(const void *fake)
{
	return ((const struct fake *)fake)->held_n > 0;
}

static inline bool is_ready(const void *g)
{
	return gateway_ready(g);
}

static inline struct stack *stack_new(const struct stack_want *want, size_t n)
{
	static unsigned serial;
	struct stack *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	(void)setenv("ENVIRONMENT", "development", 1);
	(void)setenv("PORT", "0", 1);
	(void)setenv("RATE_LIMIT_ENABLED", "false", 1);
	(void)setenv("BUS_SUSPECT_MS", "5000", 1); /* slow machines */
	for (size_t i = 0; i < n; i++)
		(void)setenv(want[i].name, want[i].value, 1);
	assert_true(conf_load(&s->conf, FOR_GATEWAY, stderr));
	for (size_t i = 0; i < n; i++)
		(void)unsetenv(want[i].name);
	s->metrics = metrics_new();
	s->health = health_new();
	serial++;
	for (int p = PEER_AUTH; p < PEER_COUNT; p++)
		(void)snprintf(s->urls[p], sizeof(s->urls[p]),
		               "inproc://gw-%d-%u-%d", getpid(), serial, p);
	return s;
}

static inline enum err stack_run(struct stack *s)
{
	struct gateway_env env = {
		.conf = &s->conf,
		.metrics = s->metrics,
		.health = s->health,
	};

	for (int p = PEER_AUTH; p < PEER_COUNT; p++)
		env.urls[p] = s->urls[p];
	return gateway_start(&env, &s->gateway);
}

static inline struct stack *stack_start(const struct stack_want *want, size_t n)
{
	struct stack *s = stack_new(want, n);

	for (int p = PEER_AUTH; p < PEER_COUNT; p++)
		fake_start(s, (enum bus_peer)p);
	assert_int_equal(stack_run(s), OK);
	assert_true(wait_until(is_ready, s->gateway, 10000));
	return s;
}

static inline void stack_stop(struct stack *s)
{
	gateway_stop(s->gateway, 0);
	for (int p = PEER_AUTH; p < PEER_COUNT; p++)
		if (s->fakes[p].server)
			fake_stop(&s->fakes[p]);
	metrics_free(s->metrics);
	health_free(s->health);
	conf_fini(&s->conf);
	free(s);
}

/* --- a client that sends bytes ---------------------------------------------------- */

struct client {
	int fd;
	struct buf in;
};

static inline struct client client_to(const struct stack *s)
{
	const struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)gateway_port(s->gateway)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct client c = {.fd = socket(AF_INET, SOCK_STREAM, 0)};

	assert_true(c.fd >= 0);
	assert_int_equal(
		connect(c.fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return c;
}

static inline void client_close(struct client *c)
{
	(void)close(c->fd);
	buf_fini(&c->in);
	c->fd = -1;
}

/* What the other side no longer takes is dropped. */
static inline void client_send(struct client *c, struct str bytes)
{
	while (bytes.n) {
		ssize_t n = send(c->fd, bytes.p, bytes.n, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		bytes.p += n;
		bytes.n -= (size_t)n;
	}
}

static inline void client_text(struct client *c, const char *text)
{
	client_send(c, str_from(text));
}

/* False at the end of the stream or after ms without a byte. */
static inline bool client_more(struct client *c, int ms)
{
	struct pollfd fd = {.fd = c->fd, .events = POLLIN};
	ssize_t n;

	if (poll(&fd, 1, ms) <= 0 || !buf_reserve(&c->in, 65536))
		return false;
	n = recv(c->fd, c->in.p + c->in.n, 65536, 0);
	if (n <= 0)
		return false;
	c->in.n += (size_t)n;
	return true;
}

struct answer {
	unsigned status; /* 0: none came */
	struct str head, body;
	struct buf bytes; /* what the two are slices of */
};

static inline void answer_fini(struct answer *a)
{
	buf_fini(&a->bytes);
}

static inline struct str header_of(const struct answer *a, const char *name)
{
	struct str rest = a->head;

	(void)str_cut(&rest, '\n');
	while (rest.n) {
		struct str value = str_cut(&rest, '\n');
		struct str key = str_cut(&value, ':');

		if (str_ieq(key, str_from(name))) {
			if (value.n && value.p[value.n - 1] == '\r')
				value.n--;
			return str_trim(value);
		}
	}
	return (struct str){NULL, 0};
}

/* Takes one whole answer off the stream; without_body: it answers a HEAD. */
static inline struct answer client_answer(struct client *c, bool without_body,
                                          int ms)
{
	struct answer a = {0};
	int64_t length = 0;
	size_t head_n, total;
	char *end;

	while (!(end = c->in.n ? memmem(c->in.p, c->in.n, "\r\n\r\n", 4)
	                       : NULL))
		if (!client_more(c, ms))
			return a;
	head_n = (size_t)(end - c->in.p) + 2;
	total = head_n + 2;
	a.head = (struct str){c->in.p, head_n};
	(void)str_to_i64(header_of(&a, "Content-Length"), &length);
	if (!without_body)
		total += (size_t)length;
	while (c->in.n < total)
		if (!client_more(c, ms))
			return (struct answer){0};
	buf_add(&a.bytes, c->in.p, total);
	a.head = (struct str){a.bytes.p, head_n};
	a.body = (struct str){a.bytes.p + head_n + 2, total - head_n - 2};
	memmove(c->in.p, c->in.p + total, c->in.n - total);
	c->in.n -= total;
	a.status = (unsigned)strtoul(a.head.p + 9, NULL, 10);
	return a;
}

static inline bool client_sees_end(struct client *c, int ms)
{
	struct pollfd fd = {.fd = c->fd, .events = POLLIN};
	char byte;

	return poll(&fd, 1, ms) > 0 && recv(c->fd, &byte, 1, 0) <= 0;
}

/* A request of its own on a connection of its own; headers end in CR LF. */
static inline struct answer ask(const struct stack *s, const char *method,
                                const char *target, const char *headers,
                                const char *body)
{
	struct client c = client_to(s);
	AUTO_BUF b = {0};
	struct answer a;

	buf_printf(&b, "%s %s HTTP/1.1\r\nHost: test\r\n%s", method, target,
	           headers ? headers : "");
	if (body)
		buf_printf(&b, "Content-Length: %zu\r\n\r\n%s", strlen(body),
		           body);
	else
		buf_str(&b, STR("\r\n"));
	client_send(&c, buf_view(&b));
	a = client_answer(&c, strcmp(method, "HEAD") == 0, 20000);
	client_close(&c);
	return a;
}

#define H     "Host: x\r\n"
#define ALICE "X-API-Key: sk_alice\r\n"
#define ADMIN "X-API-Key: sk_admin\r\n"
#define JSON  "Content-Type: application/json\r\n"

/* The body as msgpack in *mp. */
static inline struct str body_of(const struct answer *a, struct buf *mp)
{
	struct json_error at = {0};

	buf_clear(mp);
	if (!json_to_mp(a->body, mp, &at))
		fail_msg("not JSON: %.*s", STR_FMT(a->body));
	return buf_view(mp);
}

static inline void is_problem(const struct answer *a, unsigned status,
                              const char *code)
{
	AUTO_BUF mp = {0};
	struct str map;

	if (a->status != status)
		fail_msg("status %u, not %u: %.*s", a->status, status,
		         STR_FMT(a->body));
	map = body_of(a, &mp);
	assert_true(str_eq(header_of(a, "Content-Type"),
	                   STR("application/problem+json")));
	if (!str_eq(mp_find_str(map, "error_code", STR("")), str_from(code)))
		fail_msg("not %s: %.*s", code, STR_FMT(a->body));
	assert_int_equal(mp_find_i64(map, "status", 0), status);
	assert_true(mp_find_str(map, "type", STR("")).n > 10);
	assert_true(mp_find_str(map, "title", STR("")).n > 0);
	assert_true(str_eq(mp_find_str(map, "error", STR("")),
	                   mp_find_str(map, "title", STR("?"))));
	assert_true(str_eq(mp_find_str(map, "message", STR("")),
	                   mp_find_str(map, "detail", STR("?"))));
	assert_true(str_eq(mp_find_str(map, "request_id", STR("")),
	                   header_of(a, "X-Request-ID")));
}

static inline void problem(const struct stack *s, const char *method,
                           const char *target, const char *headers,
                           const char *body, unsigned status, const char *code)
{
	struct answer a = ask(s, method, target, headers, body);

	is_problem(&a, status, code);
	answer_fini(&a);
}

static inline void quiet(void)
{
	atomic_store(&log_threshold, -1);
}

#endif
