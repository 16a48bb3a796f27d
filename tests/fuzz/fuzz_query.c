/*
 * fuzz_query - a query string is refused in words, or becomes a msgpack map of
 * at most QUERY_MAX texts whose names differ; so do path parameters.
 */
#include "common/base/utf8.h"
#include "common/codec/mp.h"
#include "gateway/query.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_map_of_texts(struct str bytes, size_t longest)
{
	struct str names[QUERY_MAX];
	struct mp m = mp_open(bytes);
	uint32_t n = 0;

	assert(mp_valid(bytes) && mp_get_map(&m, &n));
	assert(n >= 1 && n <= QUERY_MAX);
	for (uint32_t i = 0; i < n; i++) {
		struct str value;

		assert(mp_get_str(&m, &names[i]) && mp_get_str(&m, &value));
		assert(utf8_valid(names[i]) && utf8_valid(value));
		assert(names[i].n + value.n <= longest);
		assert(!memchr(names[i].p, '\0', names[i].n));
		for (uint32_t k = 0; k < i; k++)
			assert(!str_eq(names[k], names[i]));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};
	const struct route_param param = {STR("id"), in};
	AUTO(arena) a = arena_new(1 << 20);
	struct ctx cx = {.arena = a};
	AUTO_BUF query = {0};
	AUTO_BUF path = {0};
	enum err e;

	if (!a)
		return 0;
	e = query_pack(&cx, in, &query);
	assert(e == OK || e == ERR_INVALID || e == ERR_NOMEM);
	if (e)
		assert(query.n == 0 &&
		       (e == ERR_NOMEM || cx.problem.detail[0]));
	else if (query.n)
		is_map_of_texts(buf_view(&query), size);
	e = query_pack_params(&cx, &param, 1, &path);
	if (!e)
		is_map_of_texts(buf_view(&path), size + 2);
	return 0;
}
