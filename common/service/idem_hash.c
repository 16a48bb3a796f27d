#include "common/service/idem_hash.h"

#include "common/base/net.h"
#include "common/codec/mp.h"

#include <sodium.h>

typedef crypto_generichash_state hash_state;

static void begin(hash_state *h, const unsigned char *key)
{
	(void)crypto_generichash_init(h, key, key ? IDEM_HASH : 0, IDEM_HASH);
}

static void add(hash_state *h, const void *p, size_t n)
{
	(void)crypto_generichash_update(h, p, n);
}

static void end(hash_state *h, unsigned char out[IDEM_HASH])
{
	(void)crypto_generichash_final(h, out, IDEM_HASH);
}

static void add_u64(hash_state *h, uint64_t v)
{
	unsigned char b[8];

	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = (unsigned char)(v >> (8 * i));
	add(h, b, sizeof(b));
}

static void add_str(hash_state *h, struct str s)
{
	add_u64(h, s.n);
	if (s.n)
		add(h, s.p, s.n);
}

/* --- whose key -------------------------------------------------------------- */

void idem_hash_id(const unsigned char *key, const struct ctx *cx,
                  const struct effect *ef, unsigned char out[IDEM_HASH])
{
	bool person = cx->sub.n > 0;
	unsigned char net[NET_BYTES_MAX];
	hash_state h;

	begin(&h, key);
	add_u64(&h, person);
	add_str(&h, person ? cx->sub : net_of(cx->ip, net));
	add_str(&h, ef->session ? cx->sid : STR(""));
	add_str(&h, str_from(ef->method));
	add_str(&h, cx->idk);
	/* Events are no answer to who wants all at once. */
	if (cx->form.n)
		add_str(&h, cx->form);
	end(&h, out);
}

/* --- what was asked ---------------------------------------------------------- */

static bool add_value(hash_state *h, struct mp *m, unsigned depth);

/* NOLINTNEXTLINE(misc-no-recursion) MP_DEPTH_MAX bounds it */
static bool add_pairs(hash_state *h, struct mp *m, uint64_t n, unsigned depth)
{
	unsigned char sum[IDEM_HASH] = {0}, one[IDEM_HASH];

	for (uint64_t i = 0; i < n; i++) {
		hash_state pair;

		begin(&pair, NULL);
		for (int half = 0; half < 2; half++)
			if (!add_value(&pair, m, depth))
				return false;
		end(&pair, one);
		sodium_add(sum, one, sizeof(sum));
	}
	add(h, sum, sizeof(sum));
	return true;
}

/* NOLINTNEXTLINE(misc-no-recursion) MP_DEPTH_MAX bounds it */
static bool add_value(hash_state *h, struct mp *m, unsigned depth)
{
	struct mp_item it;

	if (depth == MP_DEPTH_MAX || !mp_next(m, &it))
		return false;
	add_u64(h, it.type);
	add_u64(h, it.v);
	switch ((int)it.type) {
	case MP_STR:
	case MP_BIN:
	case MP_EXT:
		if (it.v)
			add(h, it.bytes, it.v);
		return true;
	case MP_ARRAY:
		for (uint64_t i = 0; i < it.v; i++)
			if (!add_value(h, m, depth + 1))
				return false;
		return true;
	case MP_MAP:
		return add_pairs(h, m, it.v, depth + 1);
	default:
		return true;
	}
}

static bool add_input(hash_state *h, struct str input)
{
	struct mp m = mp_open(input);

	add_u64(h, input.n > 0);
	return input.n == 0 || (add_value(h, &m, 0) && m.p == m.end);
}

bool idem_hash_print(const unsigned char *key, const struct ctx *cx,
                     const struct effect *ef, unsigned char out[IDEM_HASH])
{
	hash_state h;
	bool ok;

	begin(&h, key);
	add_str(&h, str_from(ef->method));
	add_u64(&h, cx->role);
	add_u64(&h, cx->scopes);
	ok = add_input(&h, ef->query) && add_input(&h, ef->path) &&
	     add_input(&h, ef->body);
	end(&h, out);
	return ok;
}
