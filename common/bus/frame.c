#include "common/bus/frame.h"

#include <sodium.h>

static const char *const fault_names[FRAME_FAULTS] = {
	[FRAME_OK] = "ok",
	[FRAME_SHORT] = "short",
	[FRAME_OVERSIZE] = "oversize",
	[FRAME_BAD_VERSION] = "bad_version",
	[FRAME_BAD_HEAD] = "bad_head",
	[FRAME_BAD_ITEM] = "bad_item",
	[FRAME_BAD_MAC] = "bad_mac",
	[FRAME_BAD_TIME] = "bad_time",
	[FRAME_REPLAY] = "replay",
	[FRAME_BAD_EDGE] = "bad_edge",
};

const char *frame_fault_name(enum frame_fault f)
{
	return (unsigned)f < FRAME_FAULTS ? fault_names[f] : "unknown";
}

/* What each kind may look like: one row decides, no code elsewhere. */
static const struct {
	bool cid;       /* belongs to a request */
	bool bytes;     /* carries bytes */
	bool arg;       /* uses arg */
	bool code;      /* uses code */
	unsigned flags; /* that may be set */
} kinds[ITEM_KINDS] = {
	[ITEM_REQUEST] = {.cid = true, .bytes = true, .arg = true},
	[ITEM_REPLY] = {.cid = true, .bytes = true},
	[ITEM_PART] = {.cid = true,
                       .bytes = true,
                       .arg = true,
                       .flags = ITEM_FIRST | ITEM_LAST},
	[ITEM_CREDIT] = {.cid = true, .arg = true},
	[ITEM_CANCEL] = {.cid = true},
	[ITEM_REFUSE] = {.cid = true, .code = true},
	[ITEM_PUSH] = {.bytes = true},
	[ITEM_DRAIN] = {0},
};

static void put32(char *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(char *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof(v));
}

static uint32_t get32(const char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

static uint64_t get64(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "put and get swap bytes");

void frame_head_put(char *p, const struct frame_head *h)
{
	p[0] = 'K';
	p[1] = FRAME_VERSION;
	p[2] = (char)h->from;
	p[3] = (char)((h->is_signed ? FRAME_SIGNED : 0) |
	              (h->bye ? FRAME_BYE : 0));
	put64(p + 4, h->boot);
	put64(p + 12, h->nonce);
	put64(p + 20, h->seq);
	put64(p + 28, h->ack);
	put64(p + 36, (uint64_t)h->at_ms);
	if (h->is_signed)
		memset(p + FRAME_HEAD, 0, FRAME_MAC);
}

/* Over the head and the items, which stand on both sides of the MAC. */
static void mac_of(const char *p, size_t n, const unsigned char key[32],
                   unsigned char out[FRAME_MAC])
{
	crypto_generichash_state st;

	(void)crypto_generichash_init(&st, key, 32, FRAME_MAC);
	(void)crypto_generichash_update(&st, (const unsigned char *)p,
	                                FRAME_HEAD);
	(void)crypto_generichash_update(&st,
	                                (const unsigned char *)p +
	                                        FRAME_HEAD_MAX,
	                                n - FRAME_HEAD_MAX);
	(void)crypto_generichash_final(&st, out, FRAME_MAC);
}

void frame_sign(char *p, size_t n, const unsigned char key[32])
{
	unsigned char mac[FRAME_MAC];

	mac_of(p, n, key, mac);
	memcpy(p + FRAME_HEAD, mac, sizeof(mac));
}

bool frame_is_signed(struct str frame, const struct bus_secret *secret)
{
	unsigned char mac[FRAME_MAC];

	if (frame.n < FRAME_HEAD_MAX || !(frame.p[3] & FRAME_SIGNED))
		return false;
	for (size_t i = 0; i < secret->n; i++) {
		mac_of(frame.p, frame.n, secret->key[i], mac);
		if (sodium_memcmp(mac, frame.p + FRAME_HEAD, sizeof(mac)) == 0)
			return true;
	}
	return false;
}

static void item_head_get(const char *p, struct item *it)
{
	*it = (struct item){
		.kind = (enum item_kind)(unsigned char)p[4],
		.flags = (unsigned char)p[5],
		.code = (unsigned)(unsigned char)p[6] << 8 |
	                (unsigned char)p[7],
		.cid = get64(p + 8),
		.arg = get32(p + 16),
		.bytes = {p + ITEM_HEAD, get32(p)},
	};
}

static enum frame_fault item_check(const struct item *it)
{
	if ((unsigned)it->kind >= ITEM_KINDS || it->kind == 0)
		return FRAME_BAD_ITEM;
	if (it->flags & ~kinds[it->kind].flags)
		return FRAME_BAD_ITEM;
	if (kinds[it->kind].cid != (it->cid != 0))
		return FRAME_BAD_ITEM;
	if (!kinds[it->kind].bytes && it->bytes.n)
		return FRAME_BAD_ITEM;
	if (!kinds[it->kind].arg && it->arg)
		return FRAME_BAD_ITEM;
	if (!kinds[it->kind].code && it->code)
		return FRAME_BAD_ITEM;
	return FRAME_OK;
}

static enum frame_fault items_check(struct str rest)
{
	unsigned count = 0;

	while (rest.n) {
		struct item it;
		enum frame_fault f;

		if (rest.n < ITEM_HEAD)
			return FRAME_SHORT;
		item_head_get(rest.p, &it);
		if (it.bytes.n > BUS_PART_MAX || ++count > BUS_FRAME_ITEMS)
			return FRAME_OVERSIZE;
		if (it.bytes.n > rest.n - ITEM_HEAD)
			return FRAME_SHORT;
		f = item_check(&it);
		if (f)
			return f;
		rest.p += ITEM_HEAD + it.bytes.n;
		rest.n -= ITEM_HEAD + it.bytes.n;
	}
	return FRAME_OK;
}

enum frame_fault frame_read(struct str frame, struct frame_head *head,
                            struct str *items)
{
	struct frame_head h;
	struct str rest;
	enum frame_fault f;
	size_t n;

	if (frame.n < 2)
		return FRAME_SHORT;
	if (frame.p[0] != 'K' || frame.p[1] != FRAME_VERSION)
		return FRAME_BAD_VERSION;
	if (frame.n < FRAME_HEAD)
		return FRAME_SHORT;
	if ((unsigned char)frame.p[2] >= PEER_COUNT ||
	    (frame.p[3] & ~(FRAME_SIGNED | FRAME_BYE)))
		return FRAME_BAD_HEAD;
	h = (struct frame_head){
		.from = (enum bus_peer)frame.p[2],
		.is_signed = frame.p[3] & FRAME_SIGNED,
		.bye = frame.p[3] & FRAME_BYE,
		.boot = get64(frame.p + 4),
		.nonce = get64(frame.p + 12),
		.seq = get64(frame.p + 20),
		.ack = get64(frame.p + 28),
		.at_ms = (int64_t)get64(frame.p + 36),
	};
	n = frame_head_size(h.is_signed);
	if (frame.n < n)
		return FRAME_SHORT;
	if (frame.n - n > BUS_FRAME_MAX)
		return FRAME_OVERSIZE;
	if (h.boot == 0 || h.seq == 0 || h.at_ms < 0 || (h.bye && frame.n > n))
		return FRAME_BAD_HEAD;
	rest = (struct str){frame.p + n, frame.n - n};
	f = items_check(rest);
	if (f)
		return f;
	*head = h;
	*items = rest;
	return FRAME_OK;
}

void item_head_put(char *p, const struct item *it)
{
	put32(p, (uint32_t)it->bytes.n);
	p[4] = (char)it->kind;
	p[5] = (char)it->flags;
	p[6] = (char)(it->code >> 8);
	p[7] = (char)it->code;
	put64(p + 8, it->cid);
	put32(p + 16, it->arg);
}

bool item_next(struct str *items, struct item *out)
{
	if (items->n == 0)
		return false;
	item_head_get(items->p, out);
	items->p += ITEM_HEAD + out->bytes.n;
	items->n -= ITEM_HEAD + out->bytes.n;
	return true;
}

void items_age(char *p, size_t n, uint64_t waited_ms)
{
	struct str rest = {p, n};
	struct item it;

	for (;;) {
		char *head = p + (n - rest.n);

		if (!item_next(&rest, &it))
			return;
		if (it.kind == ITEM_REQUEST ||
		    (it.kind == ITEM_PART && (it.flags & ITEM_FIRST)))
			put32(head + 16, it.arg > waited_ms
			                         ? it.arg - (uint32_t)waited_ms
			                         : 0);
	}
}
