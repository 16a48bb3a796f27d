#include "svc-content/llm/sse.h"

#define BOM STR("\xef\xbb\xbf")

enum go { GO_ON, GO_STOP, GO_TOO_LARGE, GO_NOMEM };

static enum go append(struct buf *b, struct str s)
{
	if (s.n > SSE_EVENT_MAX - b->n)
		return GO_TOO_LARGE;
	buf_str(b, s);
	return b->failed ? GO_NOMEM : GO_ON;
}

static enum go dispatch(struct sse *s, sse_fn *fn, void *arg)
{
	bool more = true;

	if (s->has_data)
		more = fn(arg, buf_view(&s->data));
	buf_clear(&s->data);
	s->has_data = false;
	return more ? GO_ON : GO_STOP;
}

static enum go take_data(struct sse *s, struct str value)
{
	enum go g = GO_ON;

	if (value.n && value.p[0] == ' ') {
		value.p++;
		value.n--;
	}
	if (s->has_data)
		g = append(&s->data, STR("\n"));
	s->has_data = true;
	return g == GO_ON ? append(&s->data, value) : g;
}

static enum go take_line(struct sse *s, struct str line, sse_fn *fn, void *arg)
{
	struct str value = line, name;

	if (!s->begun && str_starts(line, BOM)) {
		value.p += BOM.n;
		value.n -= BOM.n;
	}
	s->begun = true;
	if (value.n == 0)
		return dispatch(s, fn, arg);
	name = str_cut(&value, ':'); /* a comment has the empty name */
	return str_eq(name, STR("data")) ? take_data(s, value) : GO_ON;
}

static enum err outcome(enum go g)
{
	static const enum err of[] = {[GO_ON] = OK,
	                              [GO_STOP] = OK,
	                              [GO_TOO_LARGE] = ERR_TOO_LARGE,
	                              [GO_NOMEM] = ERR_NOMEM};

	return of[g];
}

/* How much of bytes stands before the end of the line; all if there is none. */
static size_t line_length(struct str bytes)
{
	size_t n = 0;

	while (n < bytes.n && bytes.p[n] != '\r' && bytes.p[n] != '\n')
		n++;
	return n;
}

enum err sse_feed(struct sse *s, struct str bytes, sse_fn *fn, void *arg)
{
	enum go g = GO_ON;

	while (bytes.n && g == GO_ON) {
		size_t n;

		if (s->after_cr && bytes.p[0] == '\n') {
			bytes.p++;
			bytes.n--;
		}
		s->after_cr = false;
		n = line_length(bytes);
		g = append(&s->line, (struct str){bytes.p, n});
		if (g != GO_ON || n == bytes.n)
			break;
		s->after_cr = bytes.p[n] == '\r';
		bytes.p += n + 1;
		bytes.n -= n + 1;
		g = take_line(s, buf_view(&s->line), fn, arg);
		buf_clear(&s->line);
	}
	return outcome(g);
}

enum err sse_end(struct sse *s, sse_fn *fn, void *arg)
{
	enum go g = GO_ON;

	if (s->line.n)
		g = take_line(s, buf_view(&s->line), fn, arg);
	buf_clear(&s->line);
	if (g == GO_ON)
		g = dispatch(s, fn, arg);
	return outcome(g);
}

void sse_fini(struct sse *s)
{
	buf_fini(&s->line);
	buf_fini(&s->data);
	*s = (struct sse){.has_data = false};
}
