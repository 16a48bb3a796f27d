/*
 * fuzz_traceparent - what is taken for a traceparent has ids that are not zero
 * and no version ff, and what we pass on of it is read as the same again.
 */
#include "common/base/trace.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct str in = {(const char *)data, size};
	char text[TRACE_PARENT_MAX], again[TRACE_PARENT_MAX];
	struct trace_parent p, q;
	struct str out;

	if (!trace_parse(in, &p))
		return 0;
	assert(size >= 55 && memcmp(data, "ff", 2) != 0);
	assert((p.id[0] | p.id[1]) != 0 && p.span != 0);
	assert(size == 55 || (memcmp(data, "00", 2) != 0 && data[55] == '-'));
	out = trace_write(&p, text);
	assert(out.n == 55 && memcmp(text + 3, data + 3, 50) == 0);
	assert(trace_parse(out, &q));
	assert(p.sampled == q.sampled && p.span == q.span);
	assert(str_eq(trace_write(&q, again), out));
	assert(str_eq(trace_id_of(out), (struct str){in.p + 3, 32}));
	return 0;
}
