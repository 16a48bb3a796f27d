/*
 * fuzz_mp - the cursor stays inside the bytes and always moves on; what can be
 * written as JSON is JSON to jansson.
 */
#include "common/codec/json.h"
#include "common/codec/mp.h"

#include <assert.h>
#include <jansson.h>

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
