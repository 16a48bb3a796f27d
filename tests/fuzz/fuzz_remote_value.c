/*
 * fuzz_remote_value - what lies in the shared store by our name, and what comes
 * on its channel, is refused or understood: a value that is understood stays
 * inside of what was read and encodes to the same bytes.
 */
#include "common/cache/remote_store.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool claim)
{
	if (!claim)
		abort();
}

static void value(struct str in)
{
	struct stored v;
	AUTO_BUF again = {0};

	if (!stored_decode(in, &v))
		return;
	check(v.marks.n <= REMOTE_SLOTS_MAX);
	check(v.bytes.n <= in.n && v.bytes.n <= REMOTE_VALUE_MAX);
	check(v.bytes.n == 0 ||
	      (v.bytes.p >= in.p && v.bytes.p + v.bytes.n == in.p + in.n));
	stored_encode(&again, &v);
	check(str_eq(buf_view(&again), in));
}

static void message(struct str in)
{
	struct message m;

	if (message_decode(in, &m))
		check(m.slot <= CACHE_SLOT_ALL);
}

static void info(struct str in)
{
	struct str s = info_field(in, STR("run_id"));

	check(s.n == 0 || (s.p >= in.p && s.p + s.n <= in.p + in.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};

	value(in);
	message(in);
	info(in);
	return 0;
}
