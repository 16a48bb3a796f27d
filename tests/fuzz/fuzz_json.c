/*
 * fuzz_json - what the JSON reader accepts, it can write and read again to the
 * same bytes; and it accepts what jansson accepts, where the two mean the same.
 */
#include "common/codec/json.h"
#include "common/codec/mp.h"

#include <assert.h>
#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void reads_again(const struct buf *mp)
{
	AUTO_BUF text = {0};
	AUTO_BUF again = {0};
	struct json_error at;

	assert(mp_valid(buf_view(mp)));
	assert(mp_to_json(buf_view(mp), &text));
	assert(json_to_mp(buf_view(&text), &again, &at));
	assert(str_eq(buf_view(mp), buf_view(&again)));
}

/*
 * jansson has no integers beyond INT64_MAX, allows deeper nesting, and takes a
 * NUL byte for the end of the text.
 */
static void agrees(struct str in, bool accepted, const struct json_error *at)
{
	const size_t flags = JSON_DECODE_ANY | JSON_REJECT_DUPLICATES;
	json_error_t why;
	json_t *j;

	if (in.n && memchr(in.p, '\0', in.n))
		return;
	j = json_loadb(in.p, in.n, flags, &why);
	if (accepted && !j)
		assert(json_error_code(&why) == json_error_numeric_overflow);
	if (!accepted && j)
		assert(strstr(at->reason, "nested too deeply"));
	json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};
	struct json_error at = {0};
	AUTO_BUF mp = {0};
	bool ok = json_to_mp(in, &mp, &at);

	if (ok)
		reads_again(&mp);
	else
		assert(at.reason && at.offset <= size && mp.n == 0);
	agrees(in, ok, &at);
	return 0;
}
