#include "gateway/authwire.h"

#include "common/base/clock.h"
#include "common/base/uuid.h"
#include "common/bus/entry.h"

#include <stdio.h>

/* All these calls are alike, so they share one latency average. */
#define CLASS (BUS_CLASSES - 1)

enum err authwire_ask(const struct identity_bus *bus, struct str tp,
                      const char *op, struct str body, uint64_t ms,
                      bus_reply_fn *fn, void *arg, uint64_t *call)
{
	char rid[UUID_MAX];
	const struct ctx cx = {.service = "gateway",
	                       .rid = uuid7(rid),
	                       .tp = tp};
	const struct entry e = {.op = str_from(op), .body = body};
	struct bus_call c = {
		.to = PEER_AUTH,
		.route_class = CLASS,
		.retry = true,
		.deadline_ms = mono_ms() + ms,
		.on_reply = fn,
		.arg = arg,
	};
	AUTO_BUF b = {0};

	entry_pack(&b, &cx, &e);
	if (b.failed)
		return ERR_NOMEM;
	c.bytes = buf_view(&b);
	return bus->call(bus->bus, &c, call);
}

void authwire_hash(struct buf *b, const unsigned char hash[32])
{
	mp_map(b, 1);
	mp_text(b, "hash");
	mp_bin(b, (struct str){(const char *)hash, 32});
}

void authwire_since(struct buf *b, int64_t seq)
{
	mp_map(b, 1);
	mp_kv_i64(b, "since", seq);
}

enum err authwire_body(struct str bytes, struct arena *a, struct str *body)
{
	struct ctx cx = {.service = "gateway", .arena = a};
	struct reply_view view = {0};
	enum err e = reply_read(bytes, &cx, &view);

	if (!e)
		e = view.err;
	if (!e)
		*body = view.body;
	return e;
}

static bool take(struct str map, const char *key, char *out, size_t max)
{
	struct str s = mp_find_str(map, key, STR(""));

	if (s.n == 0 || s.n >= max)
		return false;
	(void)snprintf(out, max, "%.*s", STR_FMT(s));
	return true;
}

bool authwire_key(struct str body, struct jwt_claims *out)
{
	struct jwt_claims c = {0};
	struct who *w = &c.who;

	c.issued_s = mp_find_i64(body, "at", -1);
	w->auth_time_s = c.issued_s;
	if (c.issued_s < 0 || !take(body, "sub", w->sub, sizeof(w->sub)) ||
	    !take(body, "hnd", w->hnd, sizeof(w->hnd)) ||
	    !take(body, "key_id", c.key, sizeof(c.key)) ||
	    !uuid_valid(str_from(c.key)) || !uuid_valid(str_from(w->sub)) ||
	    !scopes_from_str(mp_find_str(body, "scp", STR("")), &w->scopes) ||
	    !role_from_str(mp_find_str(body, "role", STR("")), &w->role) ||
	    (w->role != ROLE_USER && w->role != ROLE_ADMIN) ||
	    !tier_from_str(mp_find_str(body, "tier", STR("")), &w->tier))
		return false;
	(void)snprintf(w->sid, sizeof(w->sid), IDENTITY_KEY_SID "%.36s", c.key);
	*out = c;
	return true;
}

bool authwire_revocation(struct mp *m, struct authwire_revocation *out)
{
	struct authwire_revocation r = {0};
	struct str kind;
	uint32_t n = 0;

	if (!mp_get_array(m, &n) || n < 5 || !mp_get_i64(m, &r.seq) ||
	    !mp_get_str(m, &kind) || !mp_get_str(m, &r.id) ||
	    !mp_get_i64(m, &r.at_ms) || !mp_get_i64(m, &r.until_ms))
		return false;
	for (; n > 5; n--) /* a later version may say more */
		if (!mp_skip(m, NULL))
			return false;
	r.known = revoked_kind_from_str(kind, &r.kind);
	*out = r;
	return true;
}
