#include "common/codec/mp.h"

#include "common/base/clock.h"

#include <assert.h>
#include <msgpack/pack.h>

/* --- packing ------------------------------------------------------------- */

static int append(void *data, const char *p, size_t n)
{
	struct buf *b = data;

	buf_add(b, p, n);
	return b->failed ? -1 : 0;
}

/* A packer is two pointers: making one for each value costs nothing. */
static msgpack_packer packer(struct buf *b)
{
	return (msgpack_packer){b, append};
}

/* msgpack counts in 32 bits; more is a failure of the buf like any other. */
static bool fits(struct buf *b, size_t n)
{
	if (n > UINT32_MAX)
		b->failed = true;
	return !b->failed;
}

void mp_nil(struct buf *b)
{
	msgpack_packer pk = packer(b);

	(void)msgpack_pack_nil(&pk);
}

void mp_bool(struct buf *b, bool v)
{
	msgpack_packer pk = packer(b);

	(void)(v ? msgpack_pack_true(&pk) : msgpack_pack_false(&pk));
}

void mp_i64(struct buf *b, int64_t v)
{
	msgpack_packer pk = packer(b);

	(void)msgpack_pack_int64(&pk, v);
}

void mp_u64(struct buf *b, uint64_t v)
{
	msgpack_packer pk = packer(b);

	(void)msgpack_pack_uint64(&pk, v);
}

void mp_f64(struct buf *b, double v)
{
	msgpack_packer pk = packer(b);

	(void)msgpack_pack_double(&pk, v);
}

/*
 * Room is made for header and body at once, so that a failure never leaves a
 * header that promises bytes which are not there.
 */
void mp_str(struct buf *b, struct str s)
{
	msgpack_packer pk = packer(b);

	if (!s.p)
		mp_nil(b);
	else if (fits(b, s.n) && buf_reserve(b, s.n + 5) &&
	         msgpack_pack_str(&pk, s.n) == 0)
		buf_str(b, s);
}

void mp_str_head(struct buf *b, size_t n)
{
	msgpack_packer pk = packer(b);

	if (fits(b, n))
		(void)msgpack_pack_str(&pk, n);
}

void mp_text(struct buf *b, const char *z)
{
	mp_str(b, str_from(z));
}

void mp_bin(struct buf *b, struct str s)
{
	msgpack_packer pk = packer(b);

	if (fits(b, s.n) && buf_reserve(b, s.n + 5) &&
	    msgpack_pack_bin(&pk, s.n) == 0)
		buf_str(b, s);
}

void mp_map(struct buf *b, size_t pairs)
{
	msgpack_packer pk = packer(b);

	if (fits(b, pairs))
		(void)msgpack_pack_map(&pk, pairs);
}

void mp_array(struct buf *b, size_t items)
{
	msgpack_packer pk = packer(b);

	if (fits(b, items))
		(void)msgpack_pack_array(&pk, items);
}

void mp_raw(struct buf *b, struct str msgpack)
{
	buf_str(b, msgpack);
}

void mp_kv_time(struct buf *b, const char *key, int64_t epoch_ms)
{
	char text[CLOCK_ISO_MAX];

	mp_str(b, str_from(key));
	if (epoch_ms)
		mp_str(b, clock_iso(epoch_ms, text));
	else
		mp_nil(b);
}

/* --- reading ------------------------------------------------------------- */

/* What each first byte from 0xc0 to 0xdf says. */
enum form { NUMBER, SIGNED, FLOATING, SIZED, COUNTED, FIXED, NOTHING };
static const struct form_row {
	unsigned char type; /* enum mp_type */
	unsigned char form; /* enum form */
	unsigned char n;    /* bytes of the number, size or count; FIXED: v */
	unsigned char more; /* bytes beyond those that v counts */
} forms[32] = {
	[0x00] = {MP_NIL, FIXED, 0, 0},
	[0x01] = {MP_BAD, NOTHING, 0, 0}, /* never used, by the standard */
	[0x02] = {MP_BOOL, FIXED, 0, 0},
	[0x03] = {MP_BOOL, FIXED, 1, 0},
	[0x04] = {MP_BIN, SIZED, 1, 0},
	[0x05] = {MP_BIN, SIZED, 2, 0},
	[0x06] = {MP_BIN, SIZED, 4, 0},
	[0x07] = {MP_EXT, SIZED, 1, 1}, /* one byte of type before the data */
	[0x08] = {MP_EXT, SIZED, 2, 1},
	[0x09] = {MP_EXT, SIZED, 4, 1},
	[0x0a] = {MP_FLOAT, FLOATING, 4, 0},
	[0x0b] = {MP_FLOAT, FLOATING, 8, 0},
	[0x0c] = {MP_INT, NUMBER, 1, 0},
	[0x0d] = {MP_INT, NUMBER, 2, 0},
	[0x0e] = {MP_INT, NUMBER, 4, 0},
	[0x0f] = {MP_INT, NUMBER, 8, 0},
	[0x10] = {MP_INT, SIGNED, 1, 0},
	[0x11] = {MP_INT, SIGNED, 2, 0},
	[0x12] = {MP_INT, SIGNED, 4, 0},
	[0x13] = {MP_INT, SIGNED, 8, 0},
	[0x14] = {MP_EXT, FIXED, 1, 1},
	[0x15] = {MP_EXT, FIXED, 2, 1},
	[0x16] = {MP_EXT, FIXED, 4, 1},
	[0x17] = {MP_EXT, FIXED, 8, 1},
	[0x18] = {MP_EXT, FIXED, 16, 1},
	[0x19] = {MP_STR, SIZED, 1, 0},
	[0x1a] = {MP_STR, SIZED, 2, 0},
	[0x1b] = {MP_STR, SIZED, 4, 0},
	[0x1c] = {MP_ARRAY, COUNTED, 2, 0},
	[0x1d] = {MP_ARRAY, COUNTED, 4, 0},
	[0x1e] = {MP_MAP, COUNTED, 2, 0},
	[0x1f] = {MP_MAP, COUNTED, 4, 0},
};

static uint64_t big_endian(const char *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | (unsigned char)p[i];
	return v;
}

static uint64_t sign_extend(uint64_t v, unsigned bytes)
{
	uint64_t sign;

	assert(bytes > 0);
	sign = (uint64_t)1 << (8 * bytes - 1);
	return (v ^ sign) - sign;
}

static uint64_t widen_float(uint64_t v)
{
	uint32_t bits = (uint32_t)v;
	uint64_t wide;
	double d;
	float f;

	memcpy(&f, &bits, sizeof(f));
	d = (double)f;
	memcpy(&wide, &d, sizeof(wide));
	return wide;
}

static bool has_bytes(enum mp_type t)
{
	return t == MP_STR || t == MP_BIN || t == MP_EXT;
}

/*
 * Every item takes a byte at least: a header that promises more than is left
 * is refused here, so a caller may size an array by it.
 */
static bool promises_hold(const struct mp_item *h, const char *end)
{
	uint64_t left = (uint64_t)(end - h->bytes);

	if (has_bytes(h->type) || h->type == MP_ARRAY)
		return h->v <= left;
	return h->type != MP_MAP || h->v <= left / 2;
}

/* Apart, so that what reads the usual header of one byte stays small enough to
 * be inlined. */
__attribute__((noinline)) static bool read_wide(const char *p, const char *end,
                                                struct mp_item *h)
{
	const struct form_row *row = &forms[(unsigned char)*p - 0xc0];
	enum form form = (enum form)row->form;
	size_t n = form == FIXED ? 0 : row->n;

	if (form == NOTHING || (size_t)(end - p) < n + 1)
		return false;
	h->type = (enum mp_type)row->type;
	h->v = form == FIXED ? row->n : big_endian(p + 1, n);
	h->v += row->more;
	h->bytes = p + 1 + n;
	if (form == SIGNED)
		h->v = sign_extend(h->v, row->n);
	else if (form == FLOATING && n == 4)
		h->v = widen_float(h->v);
	else if (form == NUMBER && h->v > INT64_MAX)
		h->type = MP_UINT;
	return true;
}

/* The header of the next value; most are one byte. */
static inline bool read_head(const struct mp *m, struct mp_item *h)
{
	unsigned char c;

	if (m->p == m->end)
		return false;
	c = (unsigned char)*m->p;
	h->bytes = m->p + 1;
	if (c < 0x80 || c >= 0xe0) {
		h->type = MP_INT;
		h->v = (uint64_t)(signed char)c;
		return true;
	}
	if (c >= 0xc0)
		return read_wide(m->p, m->end, h) && promises_hold(h, m->end);
	if (c >= 0xa0) {
		h->type = MP_STR;
		h->v = c & 0x1f;
		return h->v <= (uint64_t)(m->end - h->bytes);
	}
	h->type = c >= 0x90 ? MP_ARRAY : MP_MAP;
	h->v = c & 0x0f;
	return promises_hold(h, m->end);
}

enum mp_type mp_peek(const struct mp *m)
{
	struct mp_item h;

	if (m->p == m->end)
		return MP_END;
	return read_head(m, &h) ? h.type : MP_BAD;
}

bool mp_next(struct mp *m, struct mp_item *out)
{
	if (!read_head(m, out))
		return false;
	m->p = out->bytes + (has_bytes(out->type) ? out->v : 0);
	return true;
}

/* Takes the next header if it is of this type. */
static bool take(struct mp *m, enum mp_type type, uint64_t *v)
{
	struct mp_item h;

	if (!read_head(m, &h) || h.type != type)
		return false;
	*v = h.v;
	m->p = h.bytes;
	return true;
}

static bool take_bytes(struct mp *m, enum mp_type type, struct str *out)
{
	uint64_t n;

	if (!take(m, type, &n))
		return false;
	*out = (struct str){m->p, n};
	m->p += n;
	return true;
}

bool mp_get_nil(struct mp *m)
{
	uint64_t v;

	return take(m, MP_NIL, &v);
}

bool mp_get_bool(struct mp *m, bool *out)
{
	uint64_t v;

	if (!take(m, MP_BOOL, &v))
		return false;
	*out = v != 0;
	return true;
}

bool mp_get_i64(struct mp *m, int64_t *out)
{
	uint64_t v;

	if (!take(m, MP_INT, &v))
		return false;
	*out = (int64_t)v;
	return true;
}

bool mp_get_u64(struct mp *m, uint64_t *out)
{
	struct mp at = *m;
	uint64_t v;

	if (!take(&at, MP_UINT, &v) &&
	    (!take(&at, MP_INT, &v) || v > INT64_MAX))
		return false;
	*out = v;
	*m = at;
	return true;
}

bool mp_get_f64(struct mp *m, double *out)
{
	uint64_t v;

	if (take(m, MP_FLOAT, &v))
		memcpy(out, &v, sizeof(v));
	else if (take(m, MP_INT, &v))
		*out = (double)(int64_t)v;
	else if (take(m, MP_UINT, &v))
		*out = (double)v;
	else
		return false;
	return true;
}

bool mp_get_str(struct mp *m, struct str *out)
{
	return take_bytes(m, MP_STR, out);
}

bool mp_get_bin(struct mp *m, struct str *out)
{
	return take_bytes(m, MP_BIN, out);
}

static bool take_count(struct mp *m, enum mp_type type, uint32_t *out)
{
	uint64_t v;

	if (!take(m, type, &v))
		return false;
	*out = (uint32_t)v;
	return true;
}

bool mp_get_array(struct mp *m, uint32_t *items)
{
	return take_count(m, MP_ARRAY, items);
}

bool mp_get_map(struct mp *m, uint32_t *pairs)
{
	return take_count(m, MP_MAP, pairs);
}

bool mp_skip(struct mp *m, struct str *out)
{
	uint64_t due[MP_DEPTH_MAX]; /* values to come at each level around */
	uint64_t left = 1;          /* and at the innermost */
	struct mp at = *m;
	unsigned depth = 0;

	do {
		struct mp_item h;

		if (!mp_next(&at, &h))
			return false;
		left--;
		if (h.type == MP_ARRAY || h.type == MP_MAP) {
			if (depth == MP_DEPTH_MAX)
				return false;
			due[depth++] = left;
			left = h.type == MP_MAP ? 2 * h.v : h.v;
		}
		while (left == 0 && depth)
			left = due[--depth];
	} while (left);
	if (out)
		*out = (struct str){m->p, (size_t)(at.p - m->p)};
	*m = at;
	return true;
}

bool mp_find(struct str map, const char *key, struct str *out)
{
	struct str want = str_from(key), value;
	struct mp m = mp_open(map);
	uint32_t pairs;

	if (!mp_get_map(&m, &pairs))
		return false;
	for (uint32_t i = 0; i < pairs; i++) {
		struct str name = {NULL, 0};
		bool text = mp_get_str(&m, &name);

		if (!text && !mp_skip(&m, NULL))
			return false;
		if (!mp_skip(&m, &value))
			return false;
		if (text && str_eq(name, want)) {
			*out = value;
			return true;
		}
	}
	return false;
}

/* A cursor on the value of key; an empty one where it is absent. */
static struct mp find(struct str map, const char *key)
{
	struct str v = {NULL, 0};

	(void)!mp_find(map, key, &v);
	return mp_open(v);
}

struct str mp_find_str(struct str map, const char *key, struct str fallback)
{
	struct mp m = find(map, key);
	struct str v;

	return mp_get_str(&m, &v) ? v : fallback;
}

int64_t mp_find_i64(struct str map, const char *key, int64_t fallback)
{
	struct mp m = find(map, key);
	int64_t v;

	return mp_get_i64(&m, &v) ? v : fallback;
}

bool mp_find_bool(struct str map, const char *key, bool fallback)
{
	struct mp m = find(map, key);
	bool v;

	return mp_get_bool(&m, &v) ? v : fallback;
}

bool mp_valid(struct str s)
{
	struct mp m = mp_open(s);

	return mp_skip(&m, NULL) && m.p == m.end;
}
