#include "gateway/sse.h"

#include "common/codec/json.h"

static bool is_word(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    !(c >= '0' && c <= '9') && c != '-' && c != '_')
			return false;
	}
	return s.n > 0;
}

bool sse_event(struct buf *out, struct str job, int64_t seq, struct str type,
               struct str packed)
{
	size_t before = out->n;

	if (seq < 0 || !is_word(type) || (seq && !is_word(job)))
		return false;
	if (seq)
		buf_printf(out, "id: %.*s.%lld\n", STR_FMT(job),
		           (long long)seq);
	buf_printf(out, "event: %.*s\ndata: ", STR_FMT(type));
	/* JSON as we write it has no line end in it. */
	if (!mp_to_json(packed, out) && !out->failed) {
		out->n = before;
		return false;
	}
	buf_str(out, STR("\n\n"));
	return true;
}

void sse_text(struct buf *out, const char *type, struct str json)
{
	buf_printf(out, "event: %s\ndata: ", type);
	buf_str(out, json);
	buf_str(out, STR("\n\n"));
}

void sse_comment(struct buf *out)
{
	buf_str(out, STR(":\n\n"));
}
