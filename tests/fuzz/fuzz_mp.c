/*
 * fuzz_mp - the cursor stays inside the bytes and always moves on; what can be
 * written as JSON is JSON to jansson, and is read back as the same value, but
 * for what JSON cannot say: bin is then base64 text, NaN and infinities null,
 * and a whole double may be an integer.
 */
#include "common/codec/json.h"
#include "common/codec/mp.h"

#include <assert.h>
#include <jansson.h>
#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct str in, struct str part)
{
	assert(part.p >= in.p && part.n <= in.n);
	assert((size_t)(part.p - in.p) <= in.n - part.n);
}

/* Reads the next header or value by its type. */
static bool step(struct mp *m, struct str in)
{
	struct str s = {in.p, 0};
	uint32_t count = 0;
	int64_t i = 0;
	uint64_t u = 0;
	double d = 0;
	bool b = false, ok = false;

	switch (mp_peek(m)) {
	case MP_NIL:
		ok = mp_get_nil(m);
		break;
	case MP_BOOL:
		ok = mp_get_bool(m, &b);
		break;
	case MP_INT:
		ok = mp_get_i64(m, &i);
		break;
	case MP_UINT:
		ok = mp_get_u64(m, &u);
		assert(u > INT64_MAX);
		break;
	case MP_FLOAT:
		ok = mp_get_f64(m, &d);
		break;
	case MP_STR:
		ok = mp_get_str(m, &s);
		break;
	case MP_BIN:
		ok = mp_get_bin(m, &s);
		break;
	case MP_ARRAY:
		ok = mp_get_array(m, &count);
		break;
	case MP_MAP:
		ok = mp_get_map(m, &count);
		break;
	case MP_EXT:
		ok = mp_skip(m, &s);
		break;
	case MP_END:
	case MP_BAD:
		return false;
	}
	assert(ok);
	inside(in, s);
	assert(count <= in.n);
	return true;
}

static bool same_number(struct mp *a, struct mp *b)
{
	double x = 0, y = 0;
	uint64_t u = 0, v = 0;

	if (mp_peek(a) == MP_UINT && mp_peek(b) == MP_UINT)
		return mp_get_u64(a, &u) && mp_get_u64(b, &v) && u == v;
	if (mp_peek(a) == MP_FLOAT && mp_peek(b) == MP_NIL)
		return mp_get_f64(a, &x) && mp_get_nil(b) && !isfinite(x);
	return mp_get_f64(a, &x) && mp_get_f64(b, &y) && x == y;
}

static bool same_text(struct mp *a, struct mp *b)
{
	struct str x, y;

	if (mp_peek(a) == MP_STR)
		return mp_get_str(a, &x) && mp_get_str(b, &y) && str_eq(x, y);
	return mp_get_bin(a, &x) && mp_get_str(b, &y) &&
	       y.n == (x.n + 2) / 3 * 4;
}

/* As many values, of which each is the same; containers count what follows. */
static bool same_values(struct str in, struct str back)
{
	struct mp a = mp_open(in), b = mp_open(back);
	uint32_t n = 0, k = 0;
	int64_t i = 0, j = 0;
	bool x = false, y = false, ok = true;

	while (ok && mp_peek(&a) != MP_END) {
		switch (mp_peek(&a)) {
		case MP_NIL:
			ok = mp_get_nil(&a) && mp_get_nil(&b);
			break;
		case MP_BOOL:
			ok = mp_get_bool(&a, &x) && mp_get_bool(&b, &y) &&
			     x == y;
			break;
		case MP_INT:
			ok = mp_get_i64(&a, &i) && mp_get_i64(&b, &j) && i == j;
			break;
		case MP_UINT:
		case MP_FLOAT:
			ok = same_number(&a, &b);
			break;
		case MP_STR:
		case MP_BIN:
			ok = same_text(&a, &b);
			break;
		case MP_ARRAY:
			ok = mp_get_array(&a, &n) && mp_get_array(&b, &k) &&
			     n == k;
			break;
		case MP_MAP:
			ok = mp_get_map(&a, &n) && mp_get_map(&b, &k) && n == k;
			break;
		case MP_EXT:
		case MP_END:
		case MP_BAD:
			ok = false;
			break;
		}
	}
	return ok && mp_peek(&b) == MP_END;
}

/* What our reader refuses of what our writer may be given. */
static bool is_stricter(const struct json_error *at)
{
	static const char *const reasons[] = {
		"a key stands twice in an object",
		"text must not contain \\u0000",
		"the text is nested too deeply",
	};

	for (size_t i = 0; i < COUNTOF(reasons); i++)
		if (strcmp(at->reason, reasons[i]) == 0)
			return true;
	return false;
}

static void reads_back(struct str in, struct str text)
{
	struct json_error at = {0};
	AUTO_BUF back = {0};
	AUTO_BUF again = {0};

	if (!json_to_mp(text, &back, &at)) {
		assert(is_stricter(&at));
		return;
	}
	assert(same_values(in, buf_view(&back)));
	assert(mp_to_json(buf_view(&back), &again));
	assert(str_eq(buf_view(&again), text));
}

static void writes_json(struct str in)
{
	AUTO_BUF text = {0};
	json_error_t why;
	json_t *j;

	if (!mp_to_json(in, &text))
		return;
	assert(mp_valid(in));
	j = json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
	/* jansson has no integers beyond INT64_MAX, nor keys with U+0000. */
	assert(j || json_error_code(&why) == json_error_numeric_overflow ||
	       json_error_code(&why) == json_error_null_byte_in_key);
	json_decref(j);
	reads_back(in, buf_view(&text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size}, value;
	struct mp m = mp_open(in), all = m;
	const char *before;

	do {
		before = m.p;
	} while (step(&m, in) && m.p > before);
	if (mp_skip(&all, &value)) {
		inside(in, value);
		assert(value.n > 0 && mp_valid(value));
		(void)mp_find_str(value, "a", value);
		(void)mp_find_i64(value, "a", 0);
	}
	writes_json(in);
	return 0;
}
