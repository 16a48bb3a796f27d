#include "gateway/survey.h"

#include "common/base/clock.h"
#include "common/bus/entry.h"
#include "common/codec/mp.h"

#include <math.h>

#define CLASS     (BUS_CLASSES - 1) /* as the gateway's own calls have */
#define ARENA_MAX ((size_t)64 << 10)

static const char *const figures[] = {
#define NUMBER(name, figure) [SURVEY_##name] = (figure),
#include "gateway/survey.def"
#undef NUMBER
};

const char *survey_figure(enum survey_number n)
{
	return figures[n];
}

static double number_in(struct str map, const char *key)
{
	struct str at;
	struct mp m;
	double v;

	if (!mp_find(map, key, &at))
		return 0;
	m = mp_open(at);
	return mp_get_f64(&m, &v) && isfinite(v) ? v : 0;
}

static enum err read_answer(struct str bytes, struct survey_replica *r)
{
	AUTO(arena) a = arena_new(ARENA_MAX);
	struct ctx cx = {.service = "gateway", .arena = a};
	struct reply_view view = {0};
	enum err e = a ? reply_read(bytes, &cx, &view) : ERR_NOMEM;

	if (e || view.err)
		return e ? e : view.err;
	r->cached = mp_find_bool(view.body, "cached", false);
	r->shared = mp_find_bool(view.body, "shared", false);
	for (size_t i = 0; i < SURVEY_NUMBERS; i++)
		r->numbers[i] = number_in(view.body, figures[i]);
	return OK;
}

static void replied(void *arg, enum err e, struct str bytes, bool more)
{
	struct survey_replica *r = arg;
	struct survey *s = r->survey;

	(void)more; /* never with stream = false */
	r->call = 0;
	r->err = e ? e : read_answer(bytes, r);
	if (--s->open == 0)
		s->done(s->arg);
}

static void put_question(struct survey *s, struct survey_replica *r,
                         struct str entry, uint64_t deadline_ms)
{
	const struct bus_call call = {
		.to = r->bus.peer,
		.only = r->bus.url,
		.route_class = CLASS,
		.deadline_ms = deadline_ms,
		.bytes = entry,
		.on_reply = replied,
		.arg = r,
	};

	r->asked = r->bus.state != BUS_DOWN;
	if (!r->asked)
		return;
	r->err = bus_client_call(s->bus, &call, &r->call);
	if (!r->err)
		s->open++;
}

enum err survey_start(const struct survey_ask *ask, struct survey **out)
{
	const size_t max = SURVEY_MAX * sizeof(struct bus_replica);
	struct bus_replica *all = arena_alloc(ask->cx->arena, max);
	const struct entry en = {.op = str_from(ask->op), .body = ask->body};
	uint64_t deadline_ms = mono_ms() + SURVEY_MS;
	AUTO_BUF entry = {0};
	struct survey *s;
	size_t n;

	if (!all)
		return ERR_NOMEM;
	n = bus_client_replicas(ask->bus, all, SURVEY_MAX);
	n = n < SURVEY_MAX ? n : SURVEY_MAX;
	s = arena_alloc(ask->cx->arena,
	                sizeof(*s) + n * sizeof(s->replicas[0]));
	entry_pack(&entry, ask->cx, &en);
	if (!s || entry.failed)
		return ERR_NOMEM;
	*s = (struct survey){.bus = ask->bus,
	                     .done = ask->done,
	                     .arg = ask->arg};
	for (size_t i = 0; i < n; i++)
		if (ask->peers & 1U << all[i].peer)
			s->replicas[s->n++] =
				(struct survey_replica){.survey = s,
			                                .bus = all[i]};
	for (size_t i = 0; i < s->n; i++)
		put_question(s, &s->replicas[i], buf_view(&entry), deadline_ms);
	*out = s;
	return OK;
}

void survey_stop(struct survey *s)
{
	for (size_t i = 0; s && i < s->n; i++)
		if (s->replicas[i].call)
			bus_client_cancel(s->bus, s->replicas[i].call);
}
