/*
 * fuzz_credential - the first line is an Authorization header, the second an
 * X-API-Key, in which "$T" is a good token and "$K" a good key.  Nobody gets in
 * without one of them; with both only as the same person; a header of another
 * scheme is refused whatever else there is; and asking again, when the verdict
 * is remembered, is answered alike.
 */
#include "gateway/identity.h"
#include "tests/jwt_maker.h"

#include "common/bus/entry.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

#define KEY   "sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define CALLS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct call {
	uint64_t id;
	bus_reply_fn *fn;
	void *arg;
	struct buf bytes;
};

struct world {
	struct maker maker;
	struct settings conf;
	struct buf token;
	struct identity *id;
	uint64_t now_ms, ids;
	struct call calls[CALLS];
	size_t n;
	bool done;
	enum err e;
	struct who who;
};

static enum err on_call(void *bus, const struct bus_call *call, uint64_t *id)
{
	struct world *w = bus;

	if (w->n == CALLS)
		return ERR_BUSY;
	w->calls[w->n] =
		(struct call){++w->ids, call->on_reply, call->arg, {0}};
	buf_str(&w->calls[w->n++].bytes, call->bytes);
	*id = w->ids;
	return OK;
}

static void on_cancel(void *bus, uint64_t id)
{
	struct world *w = bus;

	for (size_t i = 0; i < w->n; i++) {
		if (w->calls[i].id != id)
			continue;
		buf_fini(&w->calls[i].bytes);
		w->calls[i] = w->calls[--w->n];
	}
}

static int64_t on_wall(void *bus)
{
	(void)bus;
	return (int64_t)MAKER_NOW * 1000;
}

static enum err verify(struct str body, struct buf *out)
{
	unsigned char want[crypto_hash_sha256_BYTES];
	struct str field, hash = {NULL, 0};
	struct mp m;

	assert(mp_find(body, "hash", &field));
	m = mp_open(field);
	assert(mp_get_bin(&m, &hash));
	(void)crypto_hash_sha256(want, (const unsigned char *)KEY,
	                         sizeof(KEY) - 1);
	if (!str_eq(hash, (struct str){(const char *)want, sizeof(want)}))
		return ERR_BAD_KEY;
	mp_map(out, 7);
	mp_kv_text(out, "sub", MAKER_SUB);
	mp_kv_text(out, "hnd", "alice");
	mp_kv_text(out, "role", "user");
	mp_kv_text(out, "tier", "free");
	mp_kv_text(out, "scp", "read");
	mp_kv_text(out, "key_id", MAKER_KEY);
	mp_kv_i64(out, "at", MAKER_NOW - 1);
	return OK;
}

/* svc-auth, with one person who has a token and a key. */
static void answer(struct world *w)
{
	struct call c = w->calls[0];
	struct reply reply = {0};
	struct entry en = {0};
	struct ctx cx = {0};
	AUTO_BUF bytes = {0};
	enum err e = OK;

	memmove(w->calls, w->calls + 1, --w->n * sizeof(c));
	assert(entry_read(buf_view(&c.bytes), &cx, &en) == OK);
	if (str_eq(en.op, STR("auth.jwks"))) {
		maker_jwks(&w->maker, 1, &reply.body);
	} else if (str_eq(en.op, STR("auth.revocations"))) {
		mp_map(&reply.body, 2);
		mp_kv_i64(&reply.body, "seq", 0);
		mp_kv_array(&reply.body, "items", 0);
	} else {
		assert(str_eq(en.op, STR("auth.verify_key")));
		e = verify(en.body, &reply.body);
	}
	cx = (struct ctx){0};
	reply_pack(&bytes, &cx, e, &reply);
	c.fn(c.arg, OK, buf_view(&bytes), false);
	buf_fini(&reply.body);
	buf_fini(&c.bytes);
}

static void turn(struct world *w)
{
	w->now_ms += 10000; /* every cooldown is over */
	identity_turn(w->id, w->now_ms);
	while (w->n)
		answer(w);
	identity_turn(w->id, w->now_ms);
}

static void make_token(struct world *w)
{
	AUTO_BUF header = {0};
	AUTO_BUF claims = {0};

	maker_header(&w->maker, &header);
	maker_claims(&claims, NULL, NULL, "");
	maker_token(&w->maker, buf_view(&header), buf_view(&claims), &w->token);
	if (w->token.failed)
		abort();
}

static struct world *world(void)
{
	static struct world w;
	const struct identity_bus bus = {on_call, on_cancel, on_wall, &w};

	if (w.id)
		return &w;
	w.conf = (struct settings){.token_issuer = STR("knowalledge"),
	                           .token_audience = STR("knowalledge"),
	                           .auth_cache_entries = 64,
	                           .revocation_max_stale_s = 60};
	w.now_ms = 1000000;
	if (sodium_init() < 0 || !maker_init(&w.maker))
		abort();
	make_token(&w);
	w.id = identity_new_over(&w.conf, &bus);
	if (!w.id)
		abort();
	turn(&w);
	assert(identity_ready(w.id));
	return &w;
}

static void told(void *arg, enum err e, const struct who *who)
{
	struct world *w = arg;

	assert(!w->done);
	w->done = true;
	w->e = e;
	if (!e)
		w->who = *who;
}

static enum err ask(struct world *w, struct str header, struct str key)
{
	const struct credentials c = {.authorization = header, .api_key = key};
	enum err e;

	w->done = false;
	e = identity_check(w->id, &c, w->now_ms, w->now_ms + 5000, &w->who,
	                   told, w);
	if (e != ERR_BUSY) {
		assert(!w->done);
		return e;
	}
	while (w->n)
		answer(w);
	identity_turn(w->id, w->now_ms);
	assert(w->done);
	return w->e;
}

static void fill(struct buf *out, struct str line, struct str token)
{
	for (size_t i = 0; i < line.n; i++) {
		if (line.p[i] != '$' || i + 1 == line.n) {
			buf_char(out, line.p[i]);
			continue;
		}
		i++;
		buf_str(out, line.p[i] == 'T' ? token : STR(KEY));
	}
}

/* What a header says by its grammar: 0 nothing, 1 another scheme, 2 a token. */
static int says(struct str header, struct str *token)
{
	struct str h = str_trim(header);
	size_t scheme = 0;

	if (h.n == 0)
		return 0;
	while (scheme < h.n && h.p[scheme] != ' ')
		scheme++;
	*token = str_trim((struct str){h.p + scheme, h.n - scheme});
	if (!str_ieq((struct str){h.p, scheme}, STR("bearer")))
		return 1;
	return token->n && !str_eq(*token, STR("null")) &&
	                       !str_eq(*token, STR("undefined"))
	               ? 2
	               : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = world();
	struct str key_line = {(const char *)data, size};
	struct str line = str_cut(&key_line, '\n'), token = {0}, good;
	AUTO_BUF header = {0};
	AUTO_BUF key = {0};
	bool has_token, has_key, token_good, key_good;
	enum err e, again;
	int kind;

	turn(w);
	good = buf_view(&w->token);
	fill(&header, line, good);
	fill(&key, key_line, good);
	if (header.n == 0) /* as an absent header is */
		buf_fini(&header);
	kind = says(buf_view(&header), &token);
	has_token = kind == 2;
	has_key = str_trim(buf_view(&key)).n > 0;
	token_good = has_token && str_eq(token, good);
	key_good = str_eq(str_trim(buf_view(&key)), STR(KEY));
	e = ask(w, buf_view(&header), buf_view(&key));
	again = ask(w, buf_view(&header), buf_view(&key));
	assert(e == again && e != ERR_BUSY && e != ERR_UNAVAILABLE);
	if (kind == 1)
		assert(e == ERR_BAD_LOGIN);
	else if (!has_token && !has_key)
		assert(e == ERR_LOGIN_NEEDED);
	else
		assert((e == OK) ==
		       ((!has_token || token_good) && (!has_key || key_good)));
	assert(e == OK || err_http(e) == 401);
	if (e == OK)
		assert(strcmp(w->who.sub, MAKER_SUB) == 0);
	return 0;
}
