#include "svc-content/jobs/run.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <sodium.h>

#define WRITE_MS 10000

struct ctx jobs_ctx(struct arena *a)
{
	return (struct ctx){.service = "content",
	                    .arena = a,
	                    .rid = STR("jobs"),
	                    .deadline_ms = mono_ms() + WRITE_MS};
}

/* --- events ----------------------------------------------------------------------- */

/* What is to be told at once, and the end of the job if it is one. */
struct telling {
	struct run *r;
	struct job_event v[JOB_ITEMS_MAX + 2];
	size_t n;
	bool ends;
	enum job_state state;
	struct str outcome;
};

static enum err write_down(struct db *db, void *arg)
{
	struct telling *t = arg;
	struct run *r = t->r;
	int64_t last = r->seq + (int64_t)t->n;
	enum err e;

	r->at.now = wall_ms();
	e = job_append(db, &r->at, t->v, t->n);
	return e || !t->ends ? e
	                     : job_end(db, &r->at, t->state, t->outcome, last);
}

static enum err tell(struct telling *t)
{
	struct run *r = t->r;
	const struct jobs_conf *conf = &r->js->conf;
	struct ctx cx = jobs_ctx(r->arena);
	enum err e = OK;

	if (r->lost)
		return ERR_CONFLICT;
	if (t->n == 0 && !t->ends)
		return OK;
	cx.rid = r->cx.rid;
	e = db_write(conf->pool, &cx, write_down, t);
	if (e) {
		/* What is not written is told at the end, or by another run. */
		r->lost = e == ERR_CONFLICT;
		log_warn(&r->cx, "job.untold", LOG_TEXT("error", err_name(e)));
		return e;
	}
	r->seq += (int64_t)t->n;
	conf->tell(conf->arg, str_from(r->at.id));
	return OK;
}

/* Adds an event, of which data is the run's from now on. */
static enum err add(struct telling *t, struct str type, int64_t place,
                    const struct buf *data)
{
	struct run *r = t->r;
	struct job_event *ev = &t->v[t->n];

	if (data->failed)
		return ERR_NOMEM;
	ev->seq = r->seq + (int64_t)t->n + 1;
	ev->type = type;
	ev->place = place;
	ev->data = arena_str(r->arena, buf_view(data));
	if (!ev->data.p)
		return ERR_NOMEM;
	t->n++;
	return OK;
}

static enum err add_progress(struct telling *t, int64_t done, int64_t total)
{
	struct run *r = t->r;
	AUTO_BUF data = {0};
	enum err e;

	if ((r->done == done && r->total == total) || r->seq > JOB_EVENTS_MAX)
		return OK;
	mp_map(&data, 2);
	mp_kv_i64(&data, "done", done);
	mp_kv_i64(&data, "total", total);
	e = add(t, STR("progress"), -1, &data);
	if (!e) {
		r->done = done;
		r->total = total;
	}
	return e;
}

static void hash_of(struct str packed, unsigned char out[RUN_HASH])
{
	(void)crypto_generichash(out, RUN_HASH, (const unsigned char *)packed.p,
	                         packed.n, NULL, 0);
}

static bool is_told(const struct run *r, size_t place, struct str packed)
{
	unsigned char hash[RUN_HASH];

	hash_of(packed, hash);
	return r->places[place].told &&
	       memcmp(hash, r->places[place].hash, sizeof(hash)) == 0;
}

/* Nothing where it has been told as it is. */
static enum err add_item(struct telling *t, size_t place, struct str packed)
{
	AUTO_BUF data = {0};

	if (place >= JOB_ITEMS_MAX)
		return ERR_INTERNAL;
	if (is_told(t->r, place, packed))
		return OK;
	mp_map(&data, 2);
	mp_kv_i64(&data, "index", (int64_t)place);
	mp_text(&data, "item");
	mp_raw(&data, packed);
	return add(t, STR("item"), (int64_t)place, &data);
}

static void note_told(struct run *r, size_t place, struct str packed)
{
	hash_of(packed, r->places[place].hash);
	r->places[place].told = true;
}

/* --- what the handler tells --------------------------------------------------------- */

static void on_progress(void *arg, const char *stage, size_t done, size_t all)
{
	struct telling t = {.r = arg};

	(void)stage;
	if (!add_progress(&t, (int64_t)done, (int64_t)all))
		(void)!tell(&t);
}

static void on_item(void *arg, const char *kind, size_t index,
                    struct str packed)
{
	struct run *r = arg;
	struct telling t = {.r = r};

	/* What is told as a whole is told at the end, one by one. */
	if (strcmp(kind, r->kind->kind) == 0 && !add_item(&t, index, packed) &&
	    !tell(&t) && t.n)
		note_told(r, index, packed);
}

static bool on_have(void *arg, const char *kind, size_t index,
                    struct str *packed)
{
	const struct run *r = arg;

	if (strcmp(kind, r->kind->kind) != 0 || index >= JOB_ITEMS_MAX ||
	    !r->places[index].packed.n)
		return false;
	*packed = r->places[index].packed;
	return true;
}

/* --- what an earlier run has told ------------------------------------------------------ */

static enum err take_item(void *arg, const struct job_event *ev)
{
	struct run *r = arg;
	struct str packed;

	if (ev->place < 0 || ev->place >= JOB_ITEMS_MAX ||
	    !mp_find(ev->data, "item", &packed))
		return OK;
	packed = arena_str(r->arena, packed);
	if (!packed.p)
		return ERR_NOMEM;
	r->places[ev->place].packed = packed;
	note_told(r, (size_t)ev->place, packed);
	return OK;
}

static enum err read_items(struct db *db, void *arg)
{
	struct run *r = arg;

	return job_items(db, str_from(r->at.id), take_item, r);
}

/* --- the end ------------------------------------------------------------------------------ */

/* The items that were not told, or otherwise, and the rest of the answer. */
static enum err add_answer(struct telling *t, struct str answer)
{
	const char *name = t->r->kind->items;
	AUTO_BUF rest = {0};
	struct str list, packed;
	struct mp m;
	uint32_t n;
	enum err e = OK;

	if (!answer_items(answer, name, &list))
		return ERR_INTERNAL;
	m = mp_open(list);
	if (!mp_get_array(&m, &n) || n > JOB_ITEMS_MAX)
		return ERR_INTERNAL;
	for (uint32_t i = 0; i < n && !e; i++)
		e = mp_skip(&m, &packed) ? add_item(t, i, packed)
		                         : ERR_INTERNAL;
	if (!e)
		e = add_progress(t, n, n);
	if (!e && !answer_rest(answer, name, &rest))
		e = ERR_INTERNAL;
	return e ? e : add(t, STR("done"), -1, &rest);
}

static enum err finish(struct run *r, struct str answer)
{
	struct telling *t = arena_alloc(r->arena, sizeof(*t));
	enum err e;

	if (!t)
		return ERR_NOMEM;
	*t = (struct telling){.r = r, .ends = true, .state = JOB_DONE};
	e = add_answer(t, answer);
	return e ? e : tell(t);
}

/* Why, as any answer says it. */
static void fail(struct run *r, enum err e)
{
	struct telling t = {.r = r, .ends = true, .state = JOB_FAILED};
	AUTO_BUF outcome = {0};

	if (err_http(e) == 500)
		log_error(&r->cx, "job.failed", LOG_TEXT("method", r->m->name),
		          LOG_TEXT("error", err_name(e)));
	r->cx.spent = (struct hop_times){0};
	reply_pack(&outcome, &r->cx, e, NULL);
	t.outcome = buf_view(&outcome);
	if (!outcome.failed)
		(void)!tell(&t);
}

static enum err renew(struct db *db, void *arg)
{
	struct run *r = arg;
	struct job_run at = r->at;

	at.now = wall_ms();
	at.lease_ms = 0;
	return job_renew(db, &at);
}

/* For whoever asks next, at once. */
static void give_up(struct run *r)
{
	struct ctx cx = jobs_ctx(r->arena);

	if (!r->lost && db_write(r->js->conf.pool, &cx, renew, r) == OK)
		r->js->conf.tell(r->js->conf.arg, str_from(r->at.id));
}

static enum err run_method(struct run *r, struct reply *out)
{
	const struct method *m = r->m;
	void *in = arena_alloc(r->arena, m->in_size);
	static const struct str none;
	struct ctx cx = jobs_ctx(r->arena);
	enum err e = in ? OK : ERR_NOMEM;

	if (!e && r->at.run > 1)
		e = db_read(r->js->conf.pool, &cx, read_items, r);
	if (e)
		return e;
	memset(in, 0, m->in_size);
	e = fields_read(&r->cx, m->fields, m->fields_n, r->body, none, none,
	                in);
	if (!e)
		e = r->kind->run(r->js->conf.content, &r->cx, in, &r->sink,
		                 out);
	return !e && out->body.failed ? ERR_NOMEM : e;
}

void run_work(struct lane_job *job)
{
	struct run *r = (struct run *)(void *)job;
	struct reply out = {.status = 0};
	enum err e;

	r->sink = (struct sink){.progress = on_progress,
	                        .item = on_item,
	                        .have = on_have,
	                        .arg = r};
	e = run_method(r, &out);
	if (!e)
		e = finish(r, buf_view(&out.body));
	/* What the end has interrupted another replica may finish. */
	if (e && (atomic_load(&r->js->ending) || e == ERR_DATABASE))
		give_up(r);
	else if (e)
		fail(r, e);
	buf_fini(&out.body);
	jobs_ended(r);
}

void run_drop(struct lane_job *job, enum err why)
{
	struct run *r = (struct run *)(void *)job;

	log_warn(&r->cx, "job.dropped", LOG_TEXT("error", err_name(why)));
	give_up(r);
	jobs_ended(r);
}
