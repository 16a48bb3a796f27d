#include "svc-content/jobs/jobs.h"

#include "svc-content/jobs/run.h"
#include "svc-content/text.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/service/idem_hash.h"

#include <stdlib.h>

#define RUN_ARENA_MAX  ((size_t)32 << 20)
#define PURGE_EVERY_MS 60000
#define PURGE_BATCH    200

const struct job_kind job_kinds[] = {
#define JOB(method, items, kind, fn) {STR(method), items, kind, generate_##fn},
#include "svc-content/jobs/jobs.def"
#undef JOB
};
const size_t job_kinds_n = COUNTOF(job_kinds);

/* NULL: it cannot be asked for as events. */
static const struct job_kind *kind_of(const struct jobs *js, struct str method)
{
	for (size_t i = 0; i < js->conf.kinds_n; i++)
		if (str_eq(js->conf.kinds[i].method, method))
			return &js->conf.kinds[i];
	return NULL;
}

bool jobs_event_id(struct str text, struct str *id, int64_t *number)
{
	struct str rest = text;

	*id = str_cut(&rest, '.');
	return uuid_valid(*id) && rest.n > 0 && rest.p[0] >= '0' &&
	       rest.p[0] <= '9' && str_to_i64(rest, number) && *number >= 0;
}

/* --- those that live here ------------------------------------------------------------- */

/* A place for one more, or ERR_BUSY. */
static enum err reserve(struct jobs *js)
{
	unsigned most = js->conf.threads + js->conf.waiting;

	if (atomic_fetch_add(&js->busy, 1) < most)
		return OK;
	atomic_fetch_sub(&js->busy, 1);
	return ERR_BUSY;
}

static void release(struct jobs *js)
{
	atomic_fetch_sub(&js->busy, 1);
}

static void run_free(struct run *r)
{
	arena_free(r->arena); /* the run lies in it */
}

void jobs_ended(struct run *r)
{
	struct jobs *js = r->js;

	{
		GUARD(&js->lock);

		*(r->prev ? &r->prev->next : &js->runs) = r->next;
		if (r->next)
			r->next->prev = r->prev;
	}
	run_free(r);
	release(js);
}

static bool copy(struct arena *a, struct str *s)
{
	*s = arena_str(a, *s);
	return s->p != NULL;
}

/* Who asks, for longer than the request; and nothing else of it. */
static bool copy_ctx(struct run *r, const struct ctx *cx)
{
	struct ctx *c = &r->cx;
	struct str *texts[] = {&c->rid, &c->tp, &c->sub, &c->hnd, &c->sid,
	                       &c->jti, &c->ip, &c->ua,  &c->lang};

	*c = (struct ctx){
		.service = "content",
		.arena = r->arena,
		.deadline_ms = mono_ms() + r->js->conf.run_ms,
		.rid = cx->rid,
		.tp = cx->tp,
		.sub = cx->sub,
		.hnd = cx->hnd,
		.sid = cx->sid,
		.jti = cx->jti,
		.role = cx->role,
		.tier = cx->tier,
		.scopes = cx->scopes,
		.auth_time_s = cx->auth_time_s,
		.principal = cx->principal,
		.ip = cx->ip,
		.ua = cx->ua,
		.lang = cx->lang,
	};
	for (size_t i = 0; i < COUNTOF(texts); i++)
		if (!copy(r->arena, texts[i]))
			return false;
	return true;
}

static struct run *run_new(struct jobs *js, const struct ctx *cx,
                           const struct method *m, const struct job *j)
{
	struct arena *a = arena_new(RUN_ARENA_MAX);
	struct run *r = a ? arena_alloc(a, sizeof(*r)) : NULL;

	if (!r) {
		arena_free(a);
		return NULL;
	}
	*r = (struct run){.js = js,
	                  .arena = a,
	                  .m = m,
	                  .kind = kind_of(js, str_from(m->name)),
	                  .body = j->request,
	                  .seq = j->seq,
	                  .done = -1,
	                  .total = -1};
	if (!copy_ctx(r, cx) || !copy(a, &r->body)) {
		run_free(r);
		return NULL;
	}
	r->job = (struct lane_job){.deadline_ms = r->cx.deadline_ms,
	                           .run = run_work,
	                           .drop = run_drop};
	return r;
}

/* Takes a reservation.  What cannot begin is abandoned at once or in time. */
static void start(struct jobs *js, const struct ctx *cx, const struct method *m,
                  const struct job *j, const struct job_run *at)
{
	struct run *r = run_new(js, cx, m, j);

	if (!r) {
		release(js);
		return;
	}
	r->at = *at;
	{
		GUARD(&js->lock);

		r->next = js->runs;
		if (r->next)
			r->next->prev = r;
		js->runs = r;
	}
	if (lane_push(js->lane, &r->job) != OK)
		run_drop(&r->job, ERR_BUSY);
}

static struct job_run run_at(const struct jobs *js, const struct job *j)
{
	struct job_run at = {.run = j->run,
	                     .now = wall_ms(),
	                     .lease_ms = (int64_t)js->conf.lease_ms,
	                     .keep_ms = (int64_t)js->conf.keep_ms};

	memcpy(at.id, j->id, sizeof(at.id));
	return at;
}

/* --- asking for one ----------------------------------------------------------------------- */

struct opening {
	struct jobs *js;
	struct ctx *cx;
	struct job_ask ask;
	struct job job;
	bool ours;
};

static enum err say(struct reply *out, const char *id, int64_t after)
{
	mp_map(&out->body, 2);
	mp_kv_text(&out->body, "job", id);
	mp_kv_i64(&out->body, "after", after);
	return out->body.failed ? ERR_NOMEM : OK;
}

/* An idem_fn. */
static enum err open_job(struct db *db, void *arg, struct reply *out)
{
	struct opening *o = arg;
	enum err e;

	o->ask.now = wall_ms();
	e = job_open(db, o->cx, &o->ask, &o->job, &o->ours);
	return e ? e : say(out, o->job.id, 0);
}

/* What makes two requests the same. */
static enum err digest(const struct ctx *cx, const struct method *m,
                       struct str body, char out[TEXT_DIGEST_MAX],
                       struct str *text)
{
	const struct effect ef = {.method = m->name, .body = body};
	unsigned char print[IDEM_HASH];
	const struct str parts[] = {STR("job 1"),
	                            cx->lang,
	                            {(const char *)print, sizeof(print)}};

	if (!idem_hash_print(NULL, cx, &ef, print))
		return ERR_INVALID;
	*text = text_digest(parts, COUNTOF(parts), out);
	return OK;
}

static enum err begin(struct jobs *js, struct ctx *cx, const struct method *m,
                      struct str body, struct reply *out)
{
	const struct jobs_conf *conf = &js->conf;
	char hex[TEXT_DIGEST_MAX];
	struct opening o = {
		.js = js,
		.cx = cx,
		.ask = {.sub = cx->sub,
	                .method = str_from(m->name),
	                .request = body,
	                .lang = cx->lang,
	                .lease_ms = (int64_t)conf->lease_ms,
	                .keep_ms = (int64_t)conf->keep_ms,
	                .join_ms = (int64_t)conf->join_ms,
	                .most = conf->per_person},
	};
	enum err e = digest(cx, m, body, hex, &o.ask.digest);

	if (!e)
		e = reserve(js);
	if (e)
		return e;
	e = idem_write(conf->idem, cx, open_job, &o, out);
	if (e || out->replayed || !o.ours) {
		release(js);
		return e;
	}
	o.job.request = body;
	const struct job_run at = run_at(js, &o.job);

	start(js, cx, m, &o.job, &at);
	return OK;
}

/* --- going on with one ------------------------------------------------------------------------ */

static const struct method *method_of(const struct jobs *js, struct str name)
{
	for (size_t i = 0; i < js->conf.methods_n; i++)
		if (str_eq(str_from(js->conf.methods[i].name), name))
			return &js->conf.methods[i];
	return NULL;
}

struct taking {
	const struct job *j;
	struct job_run at;
	bool got;
};

static enum err take(struct db *db, void *arg)
{
	struct taking *t = arg;

	t->at.now = wall_ms();
	return job_take(db, t->j, &t->at, &t->got);
}

/* The next run of a job that nobody works on begins here, if there is room. */
static enum err take_over(struct jobs *js, struct ctx *cx, const struct job *j)
{
	const struct method *m = method_of(js, j->method);
	struct taking t = {.j = j, .at = run_at(js, j)};
	struct ctx person = *cx;
	enum err e = m && kind_of(js, j->method) ? reserve(js) : ERR_NOT_FOUND;

	if (e)
		return e;
	e = db_write(js->conf.pool, cx, take, &t);
	if (e || !t.got) {
		release(js);
		return e == ERR_DB_DUPLICATE ? OK : e; /* the same runs anew */
	}
	person.lang = j->lang;
	start(js, &person, m, j, &t.at);
	return OK;
}

static bool is_abandoned(const struct job *j)
{
	return j->state == JOB_RUNNING && j->lease <= wall_ms();
}

struct finding {
	struct ctx *cx;
	struct job_key key;
	struct job job;
};

static enum err find(struct db *db, void *arg)
{
	struct finding *f = arg;

	return job_find(db, f->cx, &f->key, &f->job);
}

static enum err go_on(struct jobs *js, struct ctx *cx, const struct method *m,
                      struct reply *out)
{
	struct finding f = {.cx = cx,
	                    .key = {.sub = cx->sub,
	                            .method = str_from(m->name),
	                            .now = wall_ms()}};
	int64_t after = 0;
	enum err e = ERR_NOT_FOUND;

	if (jobs_event_id(cx->last_event, &f.key.id, &after))
		e = db_read_one(js->conf.pool, cx, find, &f);
	if (!e && after > f.job.seq)
		e = ERR_NOT_FOUND;
	if (e == ERR_NOT_FOUND)
		return ctx_fail(cx, e,
		                "There is no such stream of yours here, or not "
		                "any more. Ask without Last-Event-ID.");
	if (!e && f.job.state == JOB_FAILED)
		e = take_over(js, cx, &f.job);
	if (e)
		return e;
	if (f.job.state == JOB_DONE && after == f.job.seq) {
		out->status = 204;
		return OK;
	}
	return say(out, f.job.id, after);
}

enum err jobs_open(struct jobs *js, struct ctx *cx, const struct method *m,
                   struct str body, struct reply *out)
{
	if (!js || !kind_of(js, str_from(m->name)))
		return ERR_NOT_ACCEPTABLE;
	if (cx->sub.n == 0)
		return ERR_LOGIN_NEEDED;
	return cx->last_event.n ? go_on(js, cx, m, out)
	                        : begin(js, cx, m, body, out);
}

/* --- following one ------------------------------------------------------------------------------ */

struct following {
	struct finding f;
	int64_t after;
	struct buf rows;
	size_t n;
};

static enum err pack_event(void *arg, const struct job_event *ev)
{
	struct following *w = arg;

	mp_array(&w->rows, 3);
	mp_i64(&w->rows, ev->seq);
	mp_str(&w->rows, ev->type);
	mp_raw(&w->rows, ev->data);
	w->n++;
	return w->rows.failed ? ERR_NOMEM : OK;
}

static enum err read_events(struct db *db, void *arg)
{
	struct following *w = arg;
	enum err e = find(db, &w->f);

	buf_clear(&w->rows);
	w->n = 0;
	return e ? e : job_after(db, w->f.key.id, w->after, pack_event, w);
}

static const char *state_name(enum job_state s)
{
	static const char *const names[] = {[JOB_RUNNING] = "running",
	                                    [JOB_DONE] = "done",
	                                    [JOB_FAILED] = "failed"};

	return names[s];
}

static enum err pack_following(const struct following *w, struct reply *out)
{
	const struct job *j = &w->f.job;
	struct buf *b = &out->body;
	/* Of a full batch nobody knows whether it is the last. */
	bool full = w->n == JOB_BATCH;
	bool failed = !full && j->state == JOB_FAILED;

	mp_map(b, failed ? 3 : 2);
	mp_kv_text(b, "state", full ? "more" : state_name(j->state));
	mp_kv_array(b, "events", w->n);
	mp_raw(b, buf_view(&w->rows));
	if (failed) {
		mp_text(b, "error");
		mp_bin(b, j->outcome);
	}
	return b->failed ? ERR_NOMEM : OK;
}

enum err jobs_follow(struct jobs *js, struct ctx *cx, struct str id,
                     int64_t after, struct reply *out)
{
	struct following w = {
		.f = {.cx = cx,
	              .key = {.id = id, .sub = cx->sub, .now = wall_ms()}},
		.after = after};
	enum err e;

	if (!js || !uuid_valid(id))
		return ERR_NOT_FOUND;
	e = db_read(js->conf.pool, cx, read_events, &w);
	if (!e && is_abandoned(&w.f.job)) {
		e = take_over(js, cx, &w.f.job);
		if (e == ERR_BUSY)
			e = OK; /* another time, or another replica */
	}
	if (!e)
		e = pack_following(&w, out);
	buf_fini(&w.rows);
	return e;
}

/* --- its own thread -------------------------------------------------------------------------------- */

struct tending {
	struct jobs *js;
	struct job_run *v;
	size_t n;
	int64_t now, gone;
};

static enum err renew_all(struct db *db, void *arg)
{
	const struct tending *t = arg;

	for (size_t i = 0; i < t->n; i++) {
		enum err e;

		t->v[i].now = t->now;
		e = job_renew(db, &t->v[i]);
		/* One that is over, or lost: its run finds out. */
		if (e && e != ERR_CONFLICT)
			return e;
	}
	return OK;
}

static enum err purge(struct db *db, void *arg)
{
	struct tending *t = arg;

	return job_purge(db, t->now, PURGE_BATCH, &t->gone);
}

static size_t living(struct jobs *js, struct job_run *v, size_t most)
{
	GUARD(&js->lock);
	size_t n = 0;

	for (const struct run *r = js->runs; r && n < most; r = r->next)
		v[n++] = r->at;
	return n;
}

void jobs_tend(struct jobs *js, int64_t now)
{
	size_t most = js->conf.threads + js->conf.waiting;
	AUTO(arena) a = arena_new((size_t)1 << 20);
	struct tending t = {.js = js, .now = now};
	struct ctx cx = jobs_ctx(a);
	enum err e = OK;

	t.v = a ? arena_alloc(a, most * sizeof(*t.v)) : NULL;
	if (!t.v)
		return;
	t.n = living(js, t.v, most);
	if (t.n)
		e = db_write(js->conf.pool, &cx, renew_all, &t);
	if (!e && now - js->purged_at >= PURGE_EVERY_MS) {
		js->purged_at = now;
		do
			e = db_write(js->conf.pool, &cx, purge, &t);
		while (!e && t.gone == PURGE_BATCH);
	}
	if (e)
		log_warn(&cx, "jobs.untended", LOG_TEXT("error", err_name(e)));
}

/* False: it is over. */
static bool doze(struct jobs *js, uint64_t ms)
{
	uint64_t until = mono_ms() + ms;
	const struct timespec t = {
		.tv_sec = (time_t)(until / 1000),
		.tv_nsec = (long)(until % 1000) * 1000000,
	};
	GUARD(&js->lock);

	while (!atomic_load(&js->ending) && mono_ms() < until)
		(void)pthread_cond_timedwait(&js->wake, &js->lock, &t);
	return !atomic_load(&js->ending);
}

static void *tend(void *arg)
{
	struct jobs *js = arg;

	while (doze(js, js->conf.lease_ms / 3 + 1))
		jobs_tend(js, wall_ms());
	return NULL;
}

/* --- life ----------------------------------------------------------------------------------------------- */

struct jobs *jobs_new(const struct jobs_conf *conf)
{
	AUTO(jobs) js = calloc(1, sizeof(*js));
	pthread_condattr_t attr;

	if (!js)
		return NULL;
	js->conf = *conf;
	(void)pthread_mutex_init(&js->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&js->wake, &attr);
	(void)pthread_condattr_destroy(&attr);
	js->lane = lane_new(&(struct lane_conf){
		.name = "jobs",
		.threads = conf->threads,
		.queue_max = conf->threads + conf->waiting,
	});
	if (!js->lane || pthread_create(&js->thread, NULL, tend, js) != 0)
		return NULL; /* NOLINT: AUTO frees js, unseen */
	(void)pthread_setname_np(js->thread, "jobs-tend");
	js->tends = true;
	return STEAL(js);
}

void jobs_stats(const struct jobs *js, struct lane_stats *out)
{
	*out = (struct lane_stats){0};
	if (js)
		lane_stats(js->lane, out);
}

void jobs_stop(struct jobs *js)
{
	if (!js)
		return;
	{
		GUARD(&js->lock);

		atomic_store(&js->ending, true);
		(void)pthread_cond_broadcast(&js->wake);
	}
	if (js->lane)
		lane_stop(js->lane);
	if (js->tends)
		(void)pthread_join(js->thread, NULL);
	js->tends = false;
}

void jobs_free(struct jobs *js)
{
	if (!js)
		return;
	jobs_stop(js);
	lane_free(js->lane);
	(void)pthread_cond_destroy(&js->wake);
	(void)pthread_mutex_destroy(&js->lock);
	free(js);
}
