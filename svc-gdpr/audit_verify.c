#include "svc-gdpr/audit_verify.h"

#include "common/base/b64.h"
#include "common/codec/mp.h"
#include "svc-gdpr/stmts.h"

#include <inttypes.h>
#include <stdio.h>

/* --- a place in the chain as text ------------------------------------------- */

bool audit_at_from_str(struct str text, struct audit_at *out)
{
	struct str digits = str_cut(&text, ':');
	size_t n = 0;

	return str_to_i64(digits, &out->seq) && out->seq >= 0 &&
	       text.n == 2 * sizeof(out->hash) &&
	       sodium_hex2bin(out->hash, sizeof(out->hash), text.p, text.n,
	                      NULL, &n, NULL) == 0 &&
	       n == sizeof(out->hash);
}

struct str audit_at_text(const struct audit_at *at, char out[AUDIT_HEAD_MAX])
{
	char text[2 * AUDIT_HASH + 1];
	int n = snprintf(out, AUDIT_HEAD_MAX, "%" PRId64 ":%.*s", at->seq,
	                 STR_FMT(hex(at->hash, AUDIT_HASH, text)));

	return (struct str){out, n > 0 ? (size_t)n : 0};
}

/* --- the walk ------------------------------------------------------------------ */

struct walk {
	struct audit_report *report;
	struct audit_at last;       /* the row before the next one */
	struct audit_at checkpoint; /* seq 0: there is none */
	int64_t stated_at;          /* seq of the row that states it */
	bool stated;                /* it does */
	bool expected;              /* the expected head was met */
	size_t page;                /* rows of this page */
};

static void fault(struct walk *w, int64_t seq, const char *why)
{
	if (w->report->why)
		return;
	w->report->why = why;
	w->report->bad = seq;
}

static bool is_hash(struct str s, const unsigned char hash[AUDIT_HASH])
{
	return str_eq(s, (struct str){(const char *)hash, AUDIT_HASH});
}

static enum err take_at(void *arg, const struct db_row *row)
{
	struct audit_at *at = arg;
	struct str hash = db_row_str(row, 1);

	at->seq = db_row_i64(row, 0);
	/* One of another length is no hash of any row. */
	memset(at->hash, 0xff, sizeof(at->hash));
	if (hash.n == sizeof(at->hash))
		memcpy(at->hash, hash.p, hash.n);
	return OK;
}

static enum err take_checkpoint(void *arg, const struct db_row *row)
{
	struct walk *w = arg;

	w->stated_at = db_row_i64(row, 2);
	return take_at(&w->checkpoint, row);
}

static void check_detail(struct walk *w, const struct audit_row *r,
                         const struct db_row *row)
{
	bool gone = db_row_null(row, 13), erased = db_row_i64(row, 15) == 1;
	unsigned char hash[AUDIT_HASH];

	if (r->detail.n == 0 && !gone)
		fault(w, r->seq, "it has details that the row says nothing of");
	if (r->detail.n > 0 && gone && !erased)
		fault(w, r->seq,
		      "its details are gone, though nobody was erased");
	if (r->detail.n == 0 || gone)
		return;
	audit_commit(db_row_str(row, 13), db_row_str(row, 14), hash);
	if (!is_hash(r->detail, hash))
		fault(w, r->seq, "its details were changed");
}

static void check_statement(struct walk *w, const struct audit_row *r,
                            struct str body)
{
	char text[2 * AUDIT_HASH + 1];
	struct str data;

	w->stated =
		str_eq(r->event,
	               str_from(audit_event_name(AUDIT_IS(AUDIT_PRUNED)))) &&
		mp_find(body, "data", &data) &&
		mp_find_i64(data, "seq", 0) == w->checkpoint.seq &&
		str_eq(mp_find_str(data, "hash", STR("")),
	               hex(w->checkpoint.hash, AUDIT_HASH, text));
}

static void check_expected(struct walk *w)
{
	const struct audit_at *x = w->report->expect;

	if (!x || x->seq != w->last.seq)
		return;
	w->expected = true;
	if (memcmp(x->hash, w->last.hash, AUDIT_HASH) != 0)
		fault(w, x->seq, "it is not the row that is expected here");
}

static enum err take_row(void *arg, const struct db_row *row)
{
	struct walk *w = arg;
	struct audit_row r = {
		.seq = db_row_i64(row, 0),
		.id = db_row_str(row, 1),
		.at = db_row_i64(row, 2),
		.event = db_row_str(row, 3),
		.category = db_row_str(row, 4),
		.source = db_row_str(row, 5),
		.outcome = db_row_str(row, 6),
		.subject = db_row_str(row, 7),
		.actor = db_row_str(row, 8),
		.role = db_row_str(row, 9),
		.resource_type = db_row_str(row, 10),
		.detail = db_row_str(row, 11),
	};
	unsigned char hash[AUDIT_HASH];

	w->page++;
	if (w->report->why)
		return OK;
	if (r.seq != w->last.seq + 1) {
		fault(w, w->last.seq + 1, "the row is missing");
		return OK;
	}
	audit_hash(w->last.hash, &r, hash);
	if (!is_hash(db_row_str(row, 12), hash)) {
		fault(w, r.seq, "the row is not what its hash says");
		return OK;
	}
	check_detail(w, &r, row);
	if (w->stated_at == r.seq && w->checkpoint.seq)
		check_statement(w, &r, db_row_str(row, 14));
	w->report->rows++;
	w->last.seq = r.seq;
	memcpy(w->last.hash, hash, sizeof(hash));
	check_expected(w);
	return OK;
}

static enum err walk_rows(struct db *db, struct walk *w)
{
	const struct db_sink sink = {take_row, w};
	enum err e;

	do {
		const struct db_val v[] = {DB_I64(w->last.seq),
		                           DB_I64(AUDIT_PAGE)};

		w->page = 0;
		e = db_run(db, STMT(AUDIT_WALK), v, COUNTOF(v), &sink);
	} while (!e && w->page == AUDIT_PAGE && !w->report->why);
	return e;
}

/* --- what the walk has to agree with -------------------------------------------- */

static void check_ends(struct walk *w)
{
	struct audit_report *r = w->report;

	if (w->checkpoint.seq && !w->stated)
		fault(w, w->checkpoint.seq,
		      "no row states that the log was pruned up to here");
	if (r->head.seq > w->last.seq)
		fault(w, w->last.seq + 1,
		      "the row is missing: the head is further on");
	if (r->head.seq < w->last.seq)
		fault(w, r->head.seq + 1,
		      "the row is behind the head of the log");
	if (memcmp(r->head.hash, w->last.hash, AUDIT_HASH) != 0)
		fault(w, r->head.seq, "the head is not the hash of this row");
}

/* A head of before the rows were pruned: a checkpoint may lie there. */
static enum err look_behind(struct db *db, struct walk *w)
{
	const struct audit_at *x = w->report->expect;
	struct audit_at there = {.seq = -1};
	const struct db_sink sink = {take_at, &there};
	const struct db_val v[] = {DB_I64(x ? x->seq : 0)};
	enum err e;

	if (!x || w->expected)
		return OK;
	if (x->seq > w->last.seq) {
		fault(w, w->last.seq + 1,
		      "the row is missing: the expected head is further on");
		return OK;
	}
	e = db_run(db, STMT(AUDIT_CHECKPOINT_AT), v, COUNTOF(v), &sink);
	if (e)
		return e;
	if (there.seq < 0)
		fault(w, x->seq,
		      "the row was pruned, and cannot be compared any more");
	else if (memcmp(there.hash, x->hash, AUDIT_HASH) != 0)
		fault(w, x->seq, "it is not the row that is expected here");
	return OK;
}

/* What went is not part of the chain any more, and must not be back. */
static enum err look_before(struct db *db, struct walk *w)
{
	const struct db_val v[] = {DB_I64(w->checkpoint.seq)};
	int64_t seq = 0;
	enum err e = db_get_i64(db, STMT(AUDIT_BEFORE), v, COUNTOF(v), &seq);

	if (e == ERR_NOT_FOUND)
		return OK;
	if (!e)
		fault(w, seq, "the row was pruned, yet it is there");
	return e;
}

enum err audit_verify(struct db *db, void *arg)
{
	struct audit_report *r = arg;
	struct walk w = {.report = r};
	const struct db_sink start = {take_checkpoint, &w};
	const struct db_sink end = {take_at, &r->head};
	enum err e;

	*r = (struct audit_report){.expect = r->expect, .head.seq = -1};
	e = db_run(db, STMT(AUDIT_CHECKPOINT), NULL, 0, &start);
	if (!e)
		e = db_run(db, STMT(AUDIT_HEAD_SEEN), NULL, 0, &end);
	if (e)
		return e;
	if (w.checkpoint.seq)
		e = look_before(db, &w);
	if (e)
		return e;
	w.last = w.checkpoint;
	r->first = w.last.seq + 1;
	check_expected(&w);
	e = walk_rows(db, &w);
	if (!e && !r->why)
		check_ends(&w);
	if (!e && !r->why)
		e = look_behind(db, &w);
	return e;
}
