#include "svc-content/jobs/store.h"

#include "svc-content/stmts.h"

/* --- opening ------------------------------------------------------------------ */

static void keep_id(char out[UUID_MAX], struct str id)
{
	size_t n = id.n < UUID_MAX - 1 ? id.n : UUID_MAX - 1;

	memcpy(out, id.p, n);
	out[n] = '\0';
}

struct finding {
	struct job *out;
	bool found;
};

static enum err take_recent(void *arg, const struct db_row *row)
{
	struct finding *f = arg;

	keep_id(f->out->id, db_row_str(row, 0));
	f->out->state = (enum job_state)db_row_i64(row, 1);
	f->out->seq = db_row_i64(row, 2);
	f->out->run = db_row_i64(row, 3);
	f->out->lease = db_row_i64(row, 4);
	f->found = true;
	return OK;
}

/* That runs, or is done not long ago. */
static enum err find_recent(struct db *db, const struct job_ask *a,
                            struct job *out, bool *found)
{
	struct finding f = {out, false};
	const struct db_val v[] = {DB_STR(a->sub), DB_STR(a->digest),
	                           DB_I64(a->now - a->join_ms)};
	const struct db_sink sink = {take_recent, &f};
	enum err e = db_run(db, STMT(JOB_RECENT), v, COUNTOF(v), &sink);

	*found = f.found;
	return e;
}

static enum err add(struct db *db, const struct job_ask *a, struct job *out,
                    bool *added)
{
	int64_t changed = 0;
	enum err e;

	*out = (struct job){.run = 1, .lease = a->now + a->lease_ms};
	(void)uuid7(out->id);
	const struct db_val v[] = {
		DB_TEXT(out->id),    DB_STR(a->sub),
		DB_STR(a->method),   DB_STR(a->digest),
		DB_BLOB(a->request), DB_STR(a->lang),
		DB_I64(out->lease),  DB_I64(a->now + a->keep_ms),
		DB_I64(a->now),
	};

	e = db_change(db, STMT(JOB_ADD), v, COUNTOF(v), &changed);
	*added = changed == 1;
	return e;
}

static enum err has_room(struct db *db, struct ctx *cx, const struct job_ask *a)
{
	const struct db_val v[] = {DB_STR(a->sub), DB_I64(a->now)};
	int64_t n = 0;
	enum err e = db_get_i64(db, STMT(JOB_COUNT), v, COUNTOF(v), &n);

	if (e || n < a->most)
		return e;
	return ctx_fail(cx, ERR_RATE_LIMITED,
	                "You have %lld generations running. Wait for one of "
	                "them.",
	                (long long)n);
}

enum err job_open(struct db *db, struct ctx *cx, const struct job_ask *a,
                  struct job *out, bool *ours)
{
	bool found = false;
	enum err e = find_recent(db, a, out, &found);

	*ours = false;
	if (!e && !found)
		e = has_room(db, cx, a);
	if (!e && !found)
		e = add(db, a, out, ours);
	/* Somebody was quicker, and is committed. */
	if (!e && !found && !*ours)
		e = find_recent(db, a, out, &found);
	return e || found || *ours ? e : ERR_CONFLICT;
}

/* --- reading ------------------------------------------------------------------- */

struct reading {
	struct ctx *cx;
	struct job *out;
	bool found;
};

static enum err take_job(void *arg, const struct db_row *row)
{
	struct reading *r = arg;
	struct job *j = r->out;

	j->state = (enum job_state)db_row_i64(row, 0);
	j->seq = db_row_i64(row, 1);
	j->run = db_row_i64(row, 2);
	j->lease = db_row_i64(row, 3);
	j->request = arena_str(r->cx->arena, db_row_str(row, 4));
	j->lang = arena_str(r->cx->arena, db_row_str(row, 5));
	j->method = arena_str(r->cx->arena, db_row_str(row, 6));
	j->outcome = arena_str(r->cx->arena, db_row_str(row, 7));
	r->found = true;
	return j->request.p && j->lang.p && j->method.p && j->outcome.p
	               ? OK
	               : ERR_NOMEM;
}

enum err job_find(struct db *db, struct ctx *cx, const struct job_key *k,
                  struct job *out)
{
	struct reading r = {cx, out, false};
	const struct db_val v[] = {DB_STR(k->id), DB_STR(k->sub),
	                           DB_STR(k->method), DB_I64(k->now)};
	const struct db_sink sink = {take_job, &r};
	enum err e;

	*out = (struct job){.state = JOB_RUNNING};
	e = db_run(db, STMT(JOB_GET), v, COUNTOF(v), &sink);
	keep_id(out->id, k->id);
	return e || r.found ? e : ERR_NOT_FOUND;
}

struct walking {
	job_event_fn *fn;
	void *arg;
};

static enum err each_event(void *arg, const struct db_row *row)
{
	const struct walking *w = arg;
	const struct job_event ev = {
		.seq = db_row_i64(row, 0),
		.type = db_row_str(row, 1),
		.place = db_row_i64(row, 2),
		.data = db_row_str(row, 3),
	};

	return w->fn(w->arg, &ev);
}

enum err job_after(struct db *db, struct str id, int64_t after,
                   job_event_fn *fn, void *arg)
{
	struct walking w = {fn, arg};
	const struct db_val v[] = {DB_STR(id), DB_I64(after),
	                           DB_I64(JOB_BATCH)};
	const struct db_sink sink = {each_event, &w};

	return db_run(db, STMT(JOB_EVENTS_AFTER), v, COUNTOF(v), &sink);
}

enum err job_items(struct db *db, struct str id, job_event_fn *fn, void *arg)
{
	struct walking w = {fn, arg};
	const struct db_val v[] = {DB_STR(id)};
	const struct db_sink sink = {each_event, &w};

	return db_run(db, STMT(JOB_ITEMS), v, COUNTOF(v), &sink);
}

/* --- a run's own ------------------------------------------------------------------ */

/* The row is this run's and runs, or ERR_CONFLICT. */
static enum err change_own(struct db *db, const struct db_stmt *st,
                           const struct db_val *v, size_t n)
{
	int64_t changed = 0;
	enum err e = db_change(db, st, v, n, &changed);

	return e || changed == 1 ? e : ERR_CONFLICT;
}

enum err job_take(struct db *db, const struct job *j, struct job_run *r,
                  bool *got)
{
	int64_t changed = 0;
	const struct db_val v[] = {DB_TEXT(j->id), DB_I64(j->run),
	                           DB_I64(r->now), DB_I64(r->now + r->lease_ms),
	                           DB_I64(r->now + r->keep_ms)};
	enum err e = db_change(db, STMT(JOB_TAKE), v, COUNTOF(v), &changed);

	*got = changed == 1;
	keep_id(r->id, str_from(j->id));
	r->run = j->run + 1;
	return e;
}

enum err job_append(struct db *db, const struct job_run *r,
                    const struct job_event *v, size_t n)
{
	enum err e = OK;

	/* First: it locks the job, and its events with it. */
	if (n) {
		const struct db_val step[] = {DB_TEXT(r->id), DB_I64(r->run),
		                              DB_I64(v[n - 1].seq),
		                              DB_I64(r->now + r->lease_ms),
		                              DB_I64(r->now + r->keep_ms)};

		e = change_own(db, STMT(JOB_STEP), step, COUNTOF(step));
	}
	for (size_t i = 0; i < n && !e; i++) {
		const struct db_val row[] = {DB_TEXT(r->id), DB_I64(v[i].seq),
		                             DB_STR(v[i].type),
		                             DB_I64(v[i].place),
		                             DB_BLOB(v[i].data)};

		e = db_run(db, STMT(JOB_EVENT_ADD), row, COUNTOF(row), NULL);
	}
	return e;
}

enum err job_end(struct db *db, const struct job_run *r, enum job_state state,
                 struct str outcome, int64_t seq)
{
	const struct db_val v[] = {
		DB_TEXT(r->id),
		DB_I64(r->run),
		DB_I64(state),
		DB_I64(seq),
		DB_I64(r->now),
		DB_I64(r->now + r->keep_ms),
		outcome.n ? DB_BLOB(outcome) : DB_NULL,
	};

	return change_own(db, STMT(JOB_END), v, COUNTOF(v));
}

enum err job_renew(struct db *db, const struct job_run *r)
{
	const struct db_val v[] = {DB_TEXT(r->id), DB_I64(r->run),
	                           DB_I64(r->now + r->lease_ms),
	                           DB_I64(r->now + r->keep_ms)};

	return change_own(db, STMT(JOB_RENEW), v, COUNTOF(v));
}

enum err job_purge(struct db *db, int64_t now, int64_t most, int64_t *n)
{
	const struct db_val v[] = {DB_I64(now), DB_I64(most)};

	return db_change(db, STMT(JOB_PURGE), v, COUNTOF(v), n);
}
