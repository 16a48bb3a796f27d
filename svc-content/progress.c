/* Handlers that tell people where they stand. */
#include "svc-content/methods.h"
#include "svc-content/records.h"
#include "svc-content/text.h"

struct listing {
	const struct ctx *cx;
	struct buf rows;
	size_t n;
};

static void restart(void *arg)
{
	struct listing *l = arg;

	buf_clear(&l->rows);
	l->n = 0;
}

static enum err add_row(void *arg, const struct db_row *row)
{
	struct listing *l = arg;
	struct buf *b = &l->rows;

	mp_map(b, 5);
	mp_kv_str(b, "user_id", l->cx->hnd);
	mp_kv_str(b, "topic", db_row_str(row, 0));
	mp_kv_str(b, "subtopic", db_row_str(row, 1));
	mp_kv_i64(b, "mastery_level", db_row_i64(row, 2));
	mp_kv_time(b, "last_accessed", db_row_i64(row, 3));
	l->n++;
	return b->failed ? ERR_NOMEM : OK;
}

enum err method_progress(void *state, struct ctx *cx, const void *in,
                         struct reply *out)
{
	const struct progress_in *r = in;
	struct listing l = {.cx = cx};
	struct str key = {NULL, 0};
	enum err e = text_key(cx->arena, r->topic, &key);

	if (!e)
		e = records_progress(state, cx, cx->sub, key, add_row, restart,
		                     &l);
	if (!e) {
		mp_array(&out->body, l.n);
		mp_raw(&out->body, buf_view(&l.rows));
		e = out->body.failed ? ERR_NOMEM : OK;
	}
	buf_fini(&l.rows);
	return e;
}
