#include "svc-auth/revoke.h"

#include "svc-auth/stmts.h"

#include "common/codec/mp.h"

#include <stdio.h>

static const char *const kinds[] = {
	[REVOKE_JTI] = "jti",
	[REVOKE_KEY] = "key",
	[REVOKE_SUB] = "sub",
};

enum err revoke_add(struct db *db, enum revoke_kind kind, struct str id,
                    int64_t at_ms, int64_t until_ms, struct revoke_batch *batch)
{
	int64_t seq = 0;
	enum err e = db_get_i64(db, STMT(REVOKE_NEXT), NULL, 0, &seq);

	if (!e) {
		const struct db_val v[] = {
			DB_I64(seq),   DB_TEXT(kinds[kind]), DB_STR(id),
			DB_I64(at_ms), DB_I64(until_ms),
		};

		e = db_run(db, STMT(REVOKE_ADD), v, COUNTOF(v), NULL);
	}
	if (e || batch->n == REVOKE_BATCH)
		return e;
	batch->v[batch->n] = (struct revocation){
		.seq = seq, .kind = kind, .at_ms = at_ms, .until_ms = until_ms};
	(void)snprintf(batch->v[batch->n].id, sizeof(batch->v[0].id), "%.*s",
	               STR_FMT(id));
	batch->n++;
	return OK;
}

static void pack_row(struct buf *b, int64_t seq, struct str kind, struct str id,
                     int64_t at_ms, int64_t until_ms)
{
	mp_array(b, 5);
	mp_i64(b, seq);
	mp_str(b, kind);
	mp_str(b, id);
	mp_i64(b, at_ms);
	mp_i64(b, until_ms);
}

void revoke_pack(struct buf *out, const struct revoke_batch *batch)
{
	mp_map(out, 2);
	mp_kv_i64(out, "seq", batch->n ? batch->v[batch->n - 1].seq : 0);
	mp_kv_array(out, "items", batch->n);
	for (size_t i = 0; i < batch->n; i++) {
		const struct revocation *r = &batch->v[i];

		pack_row(out, r->seq, str_from(kinds[r->kind]), str_from(r->id),
		         r->at_ms, r->until_ms);
	}
}

struct page {
	struct buf rows;
	uint32_t n;
	int64_t last;
};

static enum err take_row(void *arg, const struct db_row *row)
{
	struct page *p = arg;

	p->last = db_row_i64(row, 0);
	p->n++;
	pack_row(&p->rows, p->last, db_row_str(row, 1), db_row_str(row, 2),
	         db_row_i64(row, 3), db_row_i64(row, 4));
	return p->rows.failed ? ERR_NOMEM : OK;
}

static enum err read_page(struct db *db, int64_t since, int64_t now_ms,
                          struct page *p, int64_t *seq)
{
	struct db_val v[] = {DB_I64(since), DB_I64(now_ms),
	                     DB_I64(REVOKE_PAGE)};
	const struct db_sink sink = {take_row, p};
	enum err e = db_get_i64(db, STMT(REVOKE_SEQ), NULL, 0, seq);

	if (e)
		return e;
	if (since > *seq)
		v[0].v.i = 0;
	return db_run(db, STMT(REVOKE_SINCE), v, COUNTOF(v), &sink);
}

enum err revoke_since(struct db *db, int64_t since, int64_t now_ms,
                      struct buf *out)
{
	struct page p = {0};
	int64_t seq = 0;
	enum err e = read_page(db, since, now_ms, &p, &seq);
	bool more = p.n == REVOKE_PAGE;

	if (!e) {
		mp_map(out, more ? 3 : 2);
		mp_kv_i64(out, "seq", more ? p.last : seq);
		mp_kv_array(out, "items", p.n);
		mp_raw(out, buf_view(&p.rows));
		if (more)
			mp_kv_bool(out, "more", true);
	}
	buf_fini(&p.rows);
	return e;
}
