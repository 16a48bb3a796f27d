/*
 * mp - msgpack as we use it: packing through msgpack-c, reading in place.
 *
 * Packing: mp_* append to a buf by way of msgpack-c's packer.
 *
 * Reading: a cursor over borrowed bytes.  Reading never allocates, so neither
 * a declared length nor nesting can cost memory (a tree decoder pays 24 bytes
 * for each element that a five-byte header promises).
 *
 * Errors:  reading functions return false and leave the cursor where it was
 *          when the next value is of another type, or the bytes end or are not
 *          msgpack.  Packing failures stick in the buf.
 * Threads: one at a time per buf or cursor.
 */
#ifndef CODEC_MP_H
#define CODEC_MP_H

#include "common/base/attr.h"
#include "common/base/buf.h"

#define MP_DEPTH_MAX 64 /* mp_skip() and mp_valid() refuse deeper nesting */

void mp_nil(struct buf *b);
void mp_bool(struct buf *b, bool v);
void mp_i64(struct buf *b, int64_t v); /* shortest form */
void mp_u64(struct buf *b, uint64_t v);
void mp_f64(struct buf *b, double v);
void mp_str(struct buf *b, struct str s);  /* p NULL packs nil */
void mp_str_head(struct buf *b, size_t n); /* header only: n bytes follow */
void mp_text(struct buf *b, const char *z);
void mp_bin(struct buf *b, struct str s);
void mp_map(struct buf *b, size_t pairs);   /* header only */
void mp_array(struct buf *b, size_t items); /* header only */
void mp_raw(struct buf *b, struct str msgpack);
/* Key and value in one call; the caller counts pairs.  They are inline because
 * most keys are literals, whose lengths the compiler then knows. */
static inline void mp_kv_str(struct buf *b, const char *key, struct str v)
{
	mp_str(b, str_from(key));
	mp_str(b, v);
}

static inline void mp_kv_text(struct buf *b, const char *key, const char *z)
{
	mp_str(b, str_from(key));
	mp_text(b, z);
}

static inline void mp_kv_i64(struct buf *b, const char *key, int64_t v)
{
	mp_str(b, str_from(key));
	mp_i64(b, v);
}

static inline void mp_kv_f64(struct buf *b, const char *key, double v)
{
	mp_str(b, str_from(key));
	mp_f64(b, v);
}

static inline void mp_kv_bool(struct buf *b, const char *key, bool v)
{
	mp_str(b, str_from(key));
	mp_bool(b, v);
}

static inline void mp_kv_nil(struct buf *b, const char *key)
{
	mp_str(b, str_from(key));
	mp_nil(b);
}

static inline void mp_kv_map(struct buf *b, const char *key, size_t pairs)
{
	mp_str(b, str_from(key));
	mp_map(b, pairs);
}

static inline void mp_kv_array(struct buf *b, const char *key, size_t items)
{
	mp_str(b, str_from(key));
	mp_array(b, items);
}

/* Epoch milliseconds as ISO 8601 with Z; 0 packs nil. */
void mp_kv_time(struct buf *b, const char *key, int64_t epoch_ms);

enum mp_type {
	MP_NIL,
	MP_BOOL,
	MP_INT,
	MP_UINT, /* UINT: beyond INT64_MAX only */
	MP_FLOAT,
	MP_STR,
	MP_BIN,
	MP_ARRAY,
	MP_MAP,
	MP_EXT,
	MP_END,
	MP_BAD,
};

struct mp { /* the bytes not read yet */
	const char *p, *end;
};

static inline struct mp mp_open(struct str s)
{
	return (struct mp){s.p, s.p ? s.p + s.n : s.p};
}

enum mp_type mp_peek(const struct mp *m); /* MP_END when nothing is left */
/*
 * Takes the next value whatever it is, of a container only the header, for
 * readers that would else look at each header twice.  v is the number (bits of
 * an int64_t or a double; 0 or 1), the bytes of text, or the items of an array,
 * or pairs of a map; bytes begins at the text, bin or ext.
 */
struct mp_item {
	enum mp_type type;
	uint64_t v;
	const char *bytes;
};
bool mp_next(struct mp *m, struct mp_item *out) MUST_CHECK;
bool mp_get_nil(struct mp *m) MUST_CHECK;
bool mp_get_bool(struct mp *m, bool *out) MUST_CHECK;
bool mp_get_i64(struct mp *m, int64_t *out) MUST_CHECK;
bool mp_get_u64(struct mp *m, uint64_t *out) MUST_CHECK; /* not negative */
bool mp_get_f64(struct mp *m, double *out) MUST_CHECK; /* takes integers too */
bool mp_get_str(struct mp *m, struct str *out) MUST_CHECK; /* a slice */
bool mp_get_bin(struct mp *m, struct str *out) MUST_CHECK;
bool mp_get_array(struct mp *m, uint32_t *items) MUST_CHECK;
bool mp_get_map(struct mp *m, uint32_t *pairs) MUST_CHECK;
/* One whole value of any type; out, if given, is its bytes. */
bool mp_skip(struct mp *m, struct str *out) MUST_CHECK;
/* The value of a text key in the map that s holds, as its bytes. */
bool mp_find(struct str map, const char *key, struct str *out) MUST_CHECK;
/* Typed looks into a map; the fallback where the key is absent or mistyped. */
struct str mp_find_str(struct str map, const char *key, struct str fallback);
int64_t mp_find_i64(struct str map, const char *key, int64_t fallback);
bool mp_find_bool(struct str map, const char *key, bool fallback);
/* True when s is exactly one well-formed value. */
bool mp_valid(struct str s);

#endif
