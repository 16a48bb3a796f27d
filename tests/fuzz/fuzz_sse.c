/*
 * fuzz_sse - the first byte of the input says into which pieces the rest is cut:
 * whatever they are, and whether lines end with LF, CR or CRLF, the events are
 * the same, and none is larger than what came.
 */
#include "svc-content/llm/sse.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct heard {
	struct buf events; /* each with its length before it */
	size_t largest;
};

static bool hear(void *arg, struct str data)
{
	struct heard *h = arg;

	buf_add(&h->events, &data.n, sizeof(data.n));
	buf_str(&h->events, data);
	if (data.n > h->largest)
		h->largest = data.n;
	return true;
}

static void read_in_pieces(struct str in, size_t piece, struct heard *h)
{
	struct sse s = {.has_data = false};

	while (in.n) {
		struct str part = {in.p, piece < in.n ? piece : in.n};

		assert(!sse_feed(&s, part, hear, h));
		in.p += part.n;
		in.n -= part.n;
	}
	assert(!sse_end(&s, hear, h));
	sse_fini(&s);
}

/* With LF alone, and with `ending` in its place. */
static void write_lines(struct str in, struct str ending, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		bool pair =
			in.p[i] == '\r' && i + 1 < in.n && in.p[i + 1] == '\n';

		if (in.p[i] != '\r' && in.p[i] != '\n')
			buf_char(out, in.p[i]);
		else
			buf_str(out, ending);
		i += pair;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct str endings[] = {STR("\n"), STR("\r"), STR("\r\n")};
	struct heard whole = {.largest = 0};
	struct str in;

	if (size == 0 || size > SSE_EVENT_MAX / 2)
		return 0;
	in = (struct str){(const char *)data + 1, size - 1};
	read_in_pieces(in, in.n ? in.n : 1, &whole);
	assert(whole.largest <= in.n);
	for (size_t i = 0; i < COUNTOF(endings); i++) {
		struct heard again = {.largest = 0};
		AUTO_BUF text = {0};

		write_lines(in, endings[i], &text);
		read_in_pieces(buf_view(&text), (size_t)data[0] % 7 + 1,
		               &again);
		assert(str_eq(buf_view(&whole.events),
		              buf_view(&again.events)));
		buf_fini(&again.events);
	}
	buf_fini(&whole.events);
	return 0;
}
