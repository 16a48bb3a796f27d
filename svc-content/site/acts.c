/* What administrators do with the web analytics, and the audit log is told of:
 * look at one person, and throw old events away. */
#include "svc-content/methods.h"
#include "svc-content/site/consent.h"
#include "svc-content/site/site.h"
#include "svc-content/stmts.h"

#include "common/base/clock.h"
#include "common/event/audit.h"

#include <inttypes.h>
#include <stdio.h>

static enum err packed(const struct reply *out)
{
	return out->body.failed ? ERR_NOMEM : OK;
}

/* --- one person's way -------------------------------------------------------------- */

struct journey {
	struct content *ct;
	struct ctx *cx;
	struct str user, sub;
	int64_t events, sessions, first, last, days;
	struct buf types, rows;
	size_t types_n, rows_n;
};

static enum err take_sub(void *arg, const struct db_row *row)
{
	struct journey *j = arg;

	j->sub = arena_str(j->cx->arena, db_row_str(row, 0));
	return j->sub.p ? OK : ERR_NOMEM;
}

static enum err take_trace(void *arg, const struct db_row *row)
{
	struct journey *j = arg;

	j->events = db_row_i64(row, 0);
	j->sessions = db_row_i64(row, 1);
	j->first = db_row_i64(row, 2);
	j->last = db_row_i64(row, 3);
	j->days = db_row_i64(row, 4);
	return OK;
}

static enum err take_type(void *arg, const struct db_row *row)
{
	struct journey *j = arg;

	mp_str(&j->types, db_row_str(row, 0));
	mp_i64(&j->types, db_row_i64(row, 1));
	j->types_n++;
	return j->types.failed ? ERR_NOMEM : OK;
}

static enum err take_step(void *arg, const struct db_row *row)
{
	struct journey *j = arg;
	struct site_row r;

	site_row_read(row, &r);
	site_row_put(&j->rows, &r);
	j->rows_n++;
	return j->rows.failed ? ERR_NOMEM : OK;
}

static enum err note_look(struct db *db, struct journey *j)
{
	const struct audit_note note = {.event = AUDIT_IS(DATA_ACCESS),
	                                .sub = j->sub,
	                                .resource_type = "analytics"};

	return audit_emit(j->ct->events, db, j->cx, &note);
}

/* A transaction that writes: the look is noted or there is none. */
static enum err read_journey(struct db *db, void *arg)
{
	struct journey *j = arg;
	char hnd[SITE_HANDLE_MAX];
	const struct db_val name[] = {DB_STR(site_handle(j->user, hnd))};
	const struct db_sink sub = {take_sub, j}, trace = {take_trace, j},
			     type = {take_type, j}, step = {take_step, j};
	enum err e = db_run(db, STMT(SITE_WHOSE), name, 1, &sub);
	struct db_val v;

	buf_clear(&j->types);
	buf_clear(&j->rows);
	j->types_n = j->rows_n = 0;
	if (e || !j->sub.n)
		return e ? e : ERR_NOT_FOUND;
	v = DB_STR(j->sub);
	e = db_run(db, STMT(SITE_TRACE), &v, 1, &trace);
	if (!e && j->events == 0)
		e = ERR_NOT_FOUND;
	if (!e)
		e = db_run(db, STMT(SITE_TRACE_TYPES), &v, 1, &type);
	if (!e)
		e = db_run(db, STMT(SITE_JOURNEY), &v, 1, &step);
	return e ? e : note_look(db, j);
}

static void put_journey(struct buf *b, struct journey *j)
{
	mp_map(b, 9);
	mp_kv_str(b, "user_id", j->user);
	mp_kv_i64(b, "total_events", j->events);
	mp_kv_i64(b, "total_sessions", j->sessions);
	mp_kv_time(b, "first_seen", j->first);
	mp_kv_time(b, "last_seen", j->last);
	mp_kv_i64(b, "days_active", j->days);
	mp_kv_f64(b, "events_per_session",
	          j->sessions
	                  ? site_round((double)j->events / (double)j->sessions)
	                  : 0);
	mp_kv_map(b, "event_counts", j->types_n);
	mp_raw(b, buf_view(&j->types));
	mp_kv_array(b, "journey", j->rows_n);
	mp_raw(b, buf_view(&j->rows));
}

enum err method_site_user_journey(void *state, struct ctx *cx, const void *in,
                                  struct reply *out)
{
	const struct site_user_journey_in *r = in;
	struct content *ct = state;
	struct journey j = {.ct = ct, .cx = cx, .user = r->user_id};
	enum err e = db_write(ct->pool, cx, read_journey, &j);

	if (!e) {
		put_journey(&out->body, &j);
		e = packed(out);
		content_kick(ct);
	} else if (e == ERR_NOT_FOUND) {
		e = ctx_fail(cx, e,
		             "There are no events of such a person: only those "
		             "who agreed to analytics have any.");
	}
	buf_fini(&j.types);
	buf_fini(&j.rows);
	return e;
}

/* --- throwing away ------------------------------------------------------------------ */

struct cleanup {
	struct content *ct;
	struct ctx *cx;
	int64_t days, before;
};

/* An idem_fn. */
static enum err clean(struct db *db, void *arg, struct reply *out)
{
	struct cleanup *c = arg;
	const struct db_val v[] = {DB_I64(c->before)};
	char words[96];
	int64_t n = 0;
	enum err e = db_change(db, STMT(SITE_CLEAN), v, COUNTOF(v), &n);

	if (!e) {
		const struct audit_note note = {
			.event = AUDIT_IS(ANALYTICS_CLEANED),
			.resource_type = "analytics",
			.data = {{"days", {NULL, 0}, c->days},
		                 {"deleted", {NULL, 0}, n}},
		};

		e = audit_emit(c->ct->events, db, c->cx, &note);
	}
	if (e)
		return e;
	(void)snprintf(words, sizeof(words),
	               "Deleted %" PRId64 " events older than %" PRId64
	               " days.",
	               n, c->days);
	mp_map(&out->body, 3);
	mp_kv_bool(&out->body, "success", true);
	mp_kv_text(&out->body, "message", words);
	mp_kv_i64(&out->body, "deleted", n);
	return packed(out);
}

enum err method_site_cleanup(void *state, struct ctx *cx, const void *in,
                             struct reply *out)
{
	const struct site_cleanup_in *r = in;
	struct content *ct = state;
	struct cleanup c = {ct, cx, r->days, site_since(r->days)};
	enum err e = idem_write(ct->idem, cx, clean, &c, out);

	if (!e && !out->replayed)
		content_kick(ct);
	return e;
}
