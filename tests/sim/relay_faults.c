/*
 * What happens in a simulated world: people cause events, and things go wrong.
 */
#include "tests/sim/relay_world.h"

#include "common/base/clock.h"
#include "common/codec/mp.h"

#include <assert.h>
#include <stdio.h>

#define FAULTS_MS   30000 /* at most */
#define MINUTE_MS   60000
#define LATENCY_MS  2
#define EVENTS_MAX  4 /* in one transaction */
#define BIG_BYTES   30000
#define SET_BACK_MS 3600000

/* --- what a world has in store --------------------------------------------------- */

/* Most worlds lack most faults, so that those they have meet unmasked. */
static unsigned some(struct world *w, unsigned most)
{
	return sim_chance(&w->rng, 500)
	               ? 0
	               : (unsigned)sim_between(&w->rng, 1, most);
}

static void emit_some(struct world *w, void *arg, uint64_t n);
static void mishap(struct world *w, void *arg, uint64_t n);

static void name_sub(struct world *w, char out[8], bool none)
{
	if (none)
		out[0] = '\0';
	else
		(void)snprintf(out, 8, "s%u",
		               (unsigned)sim_below(&w->rng, w->subs));
}

void faults_draw(struct world *w)
{
	struct sim_rng *r = &w->rng;
	unsigned emissions = (unsigned)sim_between(r, 1, 40);

	w->faults = (struct faults){
		.lose_request = some(w, 400),
		.lose_reply = some(w, 400),
		.duplicate = some(w, 400),
		.garbage = some(w, 200),
		.shuffle = some(w, 300),
		.delay_ms = some(w, sim_chance(r, 200) ? 8000 : 400),
		.fail_begin = some(w, 200),
		.fail_statement = some(w, 30),
		.fail_commit = some(w, 200),
		.unknown_commit = some(w, 200),
		.run_again = some(w, 300),
		.stall = some(w, 30),
		.stall_ms = some(w, 8000),
		.crash = some(w, 30),
		.kills = sim_chance(r, 500),
		.freezes = sim_chance(r, 300),
		.outage = sim_chance(r, 100),
		.clock_steps = sim_chance(r, 300),
		.clock_skew = sim_chance(r, 500),
		.cuts = sim_chance(r, 300),
	};
	w->replicas = sim_between(r, 1, REPLICAS_MAX);
	w->lease_ms = (unsigned)sim_between(r, 200, 5000);
	w->subs = (unsigned)sim_between(r, 1, 8);
	w->faults_end = sim_between(r, 1000, FAULTS_MS);
	if (w->faults.outage)
		w->faults_end += MINUTE_MS;
	name_sub(w, w->poison, sim_chance(r, 700));
	name_sub(w, w->refused, sim_chance(r, 800));
	for (unsigned i = 0; i < emissions; i++)
		world_at(w, sim_below(r, w->faults_end), emit_some, NULL, 0);
	for (uint64_t at = 0; at < w->faults_end;
	     at += sim_between(r, 100, 3000))
		world_at(w, at, mishap, NULL, 0);
}

/* --- mishaps --------------------------------------------------------------------- */

static struct proc *any_proc(struct world *w)
{
	return &w->procs[sim_below(&w->rng, w->procs_n)];
}

static void freeze(struct world *w)
{
	struct proc *p = any_proc(w);

	if (!p->up)
		return;
	p->frozen_until = w->now + sim_between(&w->rng, 10, 12000);
	world_say(w, "%s is frozen for %llu ms", p->owner,
	          (unsigned long long)(p->frozen_until - w->now));
}

static void service_back(struct world *w, void *arg, uint64_t n)
{
	(void)arg;
	w->service_down[n] = false;
	for (size_t i = 0; i < w->procs_n; i++)
		if (w->procs[i].service == &w->services->of[n] &&
		    !w->procs[i].up)
			proc_start(w, &w->procs[i]);
}

static void service_down(struct world *w)
{
	size_t n = sim_below(&w->rng, SERVICES);

	if (w->service_down[n])
		return;
	world_say(w, "%s is down for a minute", w->services->of[n].name);
	w->service_down[n] = true;
	for (size_t i = 0; i < w->procs_n; i++)
		if (w->procs[i].service == &w->services->of[n])
			proc_kill(w, &w->procs[i]);
	world_at(w, w->now + MINUTE_MS, service_back, NULL, n);
}

static void database_back(struct world *w, void *arg, uint64_t n)
{
	(void)arg;
	w->database_down[n] = false;
}

static void database_down(struct world *w)
{
	size_t n = sim_below(&w->rng, SERVICES);

	world_say(w, "the database of %s is away", w->services->of[n].name);
	w->database_down[n] = true;
	world_at(w, w->now + sim_between(&w->rng, 10, 5000), database_back,
	         NULL, n);
}

static void step_clock(struct world *w)
{
	struct service *s = &w->services->of[sim_below(&w->rng, SERVICES)];

	s->clock_step_ms = sim_chance(&w->rng, 300)
	                           ? -SET_BACK_MS
	                           : (int64_t)sim_below(&w->rng, 20000) - 10000;
	world_say(w, "the clock of the database of %s is off by %lld ms",
	          s->name, (long long)s->clock_step_ms);
}

static void mishap(struct world *w, void *arg, uint64_t n)
{
	const struct faults *f = &w->faults;

	(void)arg;
	(void)n;
	switch (sim_below(&w->rng, 6)) {
	case 0:
		if (f->kills)
			proc_kill(w, any_proc(w));
		break;
	case 1:
		if (f->freezes)
			freeze(w);
		break;
	case 2:
		if (f->outage)
			service_down(w);
		break;
	case 3:
		if (f->clock_steps)
			step_clock(w);
		break;
	case 4:
		if (f->fail_begin)
			database_down(w);
		break;
	default:
		if (f->cuts) {
			bool *c = &w->cut[sim_below(&w->rng, SERVICES)]
			                 [sim_below(&w->rng, SERVICES)];
			*c = !*c;
		}
	}
}

void faults_end(struct world *w)
{
	world_say(w, "it is calm");
	w->calm = true;
	for (size_t a = 0; a < SERVICES; a++) {
		w->database_down[a] = false;
		for (size_t b = 0; b < SERVICES; b++)
			w->cut[a][b] = false;
		if (w->service_down[a])
			service_back(w, NULL, a);
	}
	/* Whoever has a lease now may be the one who dies with it. */
	if (sim_chance(&w->rng, 500))
		for (size_t i = 0; i < w->procs_n; i += w->replicas)
			proc_kill(
				w,
				&w->procs[i + sim_below(&w->rng, w->replicas)]);
}

/* --- inside a transaction ---------------------------------------------------------- */

static bool happens(struct world *w, unsigned per_mille)
{
	return !w->calm && sim_chance(&w->rng, per_mille);
}

static void take_time(struct world *w)
{
	uint64_t ms = sim_below(&w->rng, LATENCY_MS + 1);

	if (happens(w, w->faults.stall))
		ms += sim_between(&w->rng, 0, w->faults.stall_ms);
	if (w->strand)
		strand_sleep(w, w->now + ms);
}

static enum err before(struct world *w, struct proc *p)
{
	take_time(w);
	if (happens(w, w->faults.crash))
		proc_kill(w, p);
	if (p->dead || w->database_down[p->service - w->services->of] ||
	    happens(w, w->faults.fail_begin))
		return ERR_DATABASE;
	return OK;
}

/* A process that dies while it commits may have committed. */
static enum err at_commit(struct world *w, struct proc *p)
{
	if (happens(w, w->faults.crash)) {
		proc_kill(w, p);
		return sim_chance(&w->rng, 500) ? OK : ERR_DATABASE;
	}
	return happens(w, w->faults.fail_commit) ? ERR_DATABASE : OK;
}

static enum err after(struct world *w, struct proc *p)
{
	if (happens(w, w->faults.crash))
		proc_kill(w, p);
	if (p->dead)
		return ERR_DATABASE;
	take_time(w);
	return p->dead || happens(w, w->faults.unknown_commit) ? ERR_PEER_LOST
	                                                       : OK;
}

enum err faults_at(void *arg, enum db_point point)
{
	static const enum err of_statements[] = {ERR_DATABASE, ERR_TIMEOUT,
	                                         ERR_NOMEM, ERR_CONFLICT};
	struct proc *p = arg;
	struct world *w = p->world;

	switch (point) {
	case POINT_BEFORE:
		return before(w, p);
	case POINT_STATEMENT:
		return happens(w, w->faults.fail_statement)
		               ? of_statements[sim_below(&w->rng, 4)]
		               : OK;
	case POINT_AGAIN:
		return happens(w, w->faults.run_again) ? ERR_CONFLICT : OK;
	case POINT_COMMIT:
		return at_commit(w, p);
	case POINT_AFTER:
		return after(w, p);
	}
	return ERR_INTERNAL;
}

/* --- the work ------------------------------------------------------------------------ */

/* n is the order in which they were committed. */
const char work_tables[] =
	"CREATE TABLE cause (n INTEGER PRIMARY KEY AUTOINCREMENT, "
	"target TEXT NOT NULL, sub TEXT NOT NULL, xp INTEGER NOT NULL);"
	"CREATE TABLE ledger (n INTEGER PRIMARY KEY AUTOINCREMENT, "
	"source TEXT NOT NULL, sub TEXT NOT NULL, seq INTEGER NOT NULL, "
	"xp INTEGER NOT NULL);"
	"CREATE TABLE balance (sub TEXT PRIMARY KEY, xp INTEGER NOT NULL);";

static const struct db_stmt
	cause_add = {"cause.add",
                     "INSERT INTO cause (target, sub, xp) VALUES ($1, $2, $3)",
                     NULL},
	ledger_add = {"ledger.add",
                      "INSERT INTO ledger (source, sub, seq, xp) "
                      "VALUES ($1, $2, $3, $4)",
                      NULL},
	balance_add = {"balance.add",
                       "INSERT INTO balance (sub, xp) VALUES ($1, $2) "
                       "ON CONFLICT (sub) DO UPDATE SET xp = xp + excluded.xp",
                       NULL};

struct caused {
	char sub[8];
	enum bus_peer target;
	int64_t xp;
	size_t padding;
};

struct emission {
	struct proc *proc;
	size_t n;
	struct caused of[EVENTS_MAX];
};

static enum err emit_one(struct db *db, struct proc *p, const struct caused *c)
{
	static const char zeros[BIG_BYTES];
	const struct str sub = str_from(c->sub);
	const struct db_val v[] = {DB_TEXT(bus_peer_name(c->target)),
	                           DB_STR(sub), DB_I64(c->xp)};
	AUTO_BUF body = {0};
	enum err e = db_run(db, &cause_add, v, COUNTOF(v), NULL);

	mp_map(&body, 2);
	mp_kv_i64(&body, "xp", c->xp);
	mp_text(&body, "pad");
	mp_bin(&body, (struct str){zeros, c->padding});
	return e ? e
	         : event_emit(p->service->store, db, c->target, sub,
	                      STR("earned"), buf_view(&body), wall_ms());
}

static enum err emit_all(struct db *db, void *arg)
{
	const struct emission *m = arg;
	enum err e = OK;

	for (size_t i = 0; i < m->n && !e; i++)
		e = emit_one(db, m->proc, &m->of[i]);
	return e;
}

/* content and gdpr receive, what is not their own. */
static enum bus_peer some_target(struct world *w, const struct proc *p)
{
	if (p->service->peer == PEER_CONTENT)
		return PEER_GDPR;
	if (p->service->peer == PEER_GDPR || sim_chance(&w->rng, 500))
		return PEER_CONTENT;
	return PEER_GDPR;
}

static void emit_some(struct world *w, void *arg, uint64_t n)
{
	struct emission m = {.proc = any_proc(w),
	                     .n = sim_between(&w->rng, 1, EVENTS_MAX)};
	struct ctx cx = {.service = m.proc->service->name, .rid = STR("sim")};
	bool big = sim_chance(&w->rng, 20);
	enum err e;

	(void)arg;
	(void)n;
	for (size_t i = 0; i < m.n; i++) {
		struct caused *c = &m.of[i];

		name_sub(w, c->sub, false);
		c->target = some_target(w, m.proc);
		c->xp = (int64_t)sim_between(&w->rng, 1, 200);
		c->padding = big ? BIG_BYTES : 0;
	}
	if (!m.proc->up || m.proc->dead)
		return;
	w->proc = m.proc;
	cx.deadline_ms = mono_ms() + 5000;
	e = db_write(&m.proc->pool, &cx, emit_all, &m);
	w->proc = NULL;
	w->emissions++;
	world_say(w, "%s commits %zu events: %s", m.proc->owner, m.n,
	          err_name(e));
	if (!e)
		proc_kick(w, m.proc);
}

enum err work_apply(void *arg, struct db *db, const struct event *ev)
{
	const struct proc *p = arg;
	const struct world *w = p->world;
	int64_t xp = mp_find_i64(ev->body, "xp", 0);
	const struct db_val row[] = {DB_STR(ev->source), DB_STR(ev->sub),
	                             DB_I64(ev->seq), DB_I64(xp)};
	const struct db_val sum[] = {DB_STR(ev->sub), DB_I64(xp)};
	enum err e;

	if (!w->calm && str_eq(ev->sub, str_from(w->poison)))
		return ERR_INVALID;
	e = db_run(db, &ledger_add, row, COUNTOF(row), NULL);
	return e ? e : db_run(db, &balance_add, sum, COUNTOF(sum), NULL);
}

/* A receiver that cannot read one of the events refuses them all. */
bool work_refuses(const struct world *w, struct str body)
{
	struct str list, ev;
	struct mp m;
	uint32_t n;

	if (w->calm || !*w->refused || !mp_find(body, "events", &list))
		return false;
	m = mp_open(list);
	if (!mp_get_array(&m, &n))
		return false;
	for (; n > 0 && mp_skip(&m, &ev); n--)
		if (str_eq(mp_find_str(ev, "sub", STR("")),
		           str_from(w->refused)))
			return true;
	return false;
}
