#include "common/obs/health.h"

#include "common/base/guard.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#define NAME_MAX_BYTES 32
#define DETAIL_MAX     160

struct part {
	char name[NAME_MAX_BYTES];
	enum health_phase phase;
};

struct check {
	const struct part *part;
	char name[NAME_MAX_BYTES];
	bool critical, down;
	health_check_fn *fn;
	void *arg;
	char list[NAME_MAX_BYTES]; /* "": none */
	health_list_fn *list_fn;
	int64_t down_since_ms; /* while down */
};

/*
 * The lock is held while checks run: they do not block, and so health_forget()
 * waits for the one that is running.
 */
struct health {
	pthread_mutex_t lock;
	size_t parts_n, checks_n;
	struct part parts[HEALTH_PARTS_MAX];
	struct check checks[HEALTH_CHECKS_MAX];
	const struct part *page_part;
	health_page_fn *page_fn; /* NULL: no page */
	void *page_arg;
};

static const char *const state_names[] = {
	[HEALTH_UP] = "up",
	[HEALTH_DEGRADED] = "degraded",
	[HEALTH_DOWN] = "down",
};

const char *health_state_name(enum health_state s)
{
	return s < COUNTOF(state_names) ? state_names[s] : "down";
}

struct health *health_new(void)
{
	struct health *h = calloc(1, sizeof(*h));

	if (h)
		(void)pthread_mutex_init(&h->lock, NULL);
	return h;
}

void health_free(struct health *h)
{
	if (!h)
		return;
	(void)pthread_mutex_destroy(&h->lock);
	free(h);
}

static bool copy_name(char out[NAME_MAX_BYTES], const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= NAME_MAX_BYTES)
		return false;
	memcpy(out, name, n + 1);
	return true;
}

static struct part *find(struct health *h, const char *name)
{
	for (size_t i = 0; i < h->parts_n; i++)
		if (strcmp(h->parts[i].name, name) == 0)
			return &h->parts[i];
	return NULL;
}

static struct part *find_or_make(struct health *h, const char *name)
{
	struct part *p = find(h, name);

	if (p || h->parts_n == HEALTH_PARTS_MAX)
		return p;
	p = &h->parts[h->parts_n];
	if (!copy_name(p->name, name))
		return NULL;
	h->parts_n++;
	p->phase = PHASE_STARTING;
	return p;
}

bool health_check(struct health *h, const char *part, const char *name,
                  bool critical, health_check_fn *fn, void *arg)
{
	struct check *c;
	GUARD(&h->lock);

	if (h->checks_n == HEALTH_CHECKS_MAX)
		return false;
	c = &h->checks[h->checks_n];
	*c = (struct check){
		.part = find_or_make(h, part),
		.critical = critical,
		.fn = fn,
		.arg = arg,
	};
	if (!c->part || !copy_name(c->name, name))
		return false;
	h->checks_n++;
	return true;
}

bool health_list(struct health *h, const char *part, const char *name,
                 const char *list, health_list_fn *fn)
{
	GUARD(&h->lock);

	for (size_t i = 0; i < h->checks_n; i++) {
		struct check *c = &h->checks[i];

		if (strcmp(c->part->name, part) != 0 ||
		    strcmp(c->name, name) != 0)
			continue;
		c->list_fn = fn;
		return copy_name(c->list, list);
	}
	return false;
}

void health_phase(struct health *h, const char *part, enum health_phase p)
{
	struct part *found;
	GUARD(&h->lock);

	found = find_or_make(h, part);
	if (found)
		found->phase = p;
}

void health_forget(struct health *h, const char *part)
{
	size_t kept = 0;
	GUARD(&h->lock);

	for (size_t i = 0; i < h->checks_n; i++)
		if (strcmp(h->checks[i].part->name, part) != 0)
			h->checks[kept++] = h->checks[i];
	h->checks_n = kept;
	if (h->page_fn && strcmp(h->page_part->name, part) == 0)
		h->page_fn = NULL;
}

void health_page(struct health *h, const char *part, health_page_fn *fn,
                 void *arg)
{
	GUARD(&h->lock);

	h->page_part = find_or_make(h, part);
	h->page_fn = h->page_part ? fn : NULL;
	h->page_arg = arg;
}

bool health_show(struct health *h, struct buf *out)
{
	GUARD(&h->lock);

	if (h->page_fn)
		h->page_fn(h->page_arg, out);
	return h->page_fn;
}

bool health_has(struct health *h, const char *part)
{
	GUARD(&h->lock);

	return find(h, part) != NULL;
}

/* --- what is told ------------------------------------------------------------- */

/* From best to worst: the whole is as bad as its worst part. */
enum verdict { READY, DEGRADED, STARTING, DRAINING, DOWN };
static const char *const verdict_names[] = {
	[READY] = "ready",       [DEGRADED] = "degraded",
	[STARTING] = "starting", [DRAINING] = "draining",
	[DOWN] = "down",
};

static bool is_ready(enum verdict v)
{
	return v == READY || v == DEGRADED;
}

static enum verdict worse(enum verdict a, enum verdict b)
{
	return a > b ? a : b;
}

static void put_text(struct buf *out, const char *name, const char *text)
{
	buf_printf(out, "\"%s\":", name);
	json_add_str(out, str_from(text));
}

static enum verdict judge(struct check *c, enum health_state s, int64_t now_ms)
{
	bool down = s != HEALTH_UP && s != HEALTH_DEGRADED;

	if (down && !c->down)
		c->down_since_ms = now_ms;
	c->down = down;
	if (down && c->critical && now_ms - c->down_since_ms >= HEALTH_GRACE_MS)
		return DOWN;
	return s == HEALTH_UP ? READY : DEGRADED;
}

struct finding {
	enum health_state state;
	enum verdict verdict;
	char detail[DETAIL_MAX];
};

static struct finding ask(struct check *c, int64_t now_ms)
{
	struct finding f = {.detail = ""};

	f.state = c->fn(c->arg, f.detail, sizeof(f.detail));
	f.verdict = judge(c, f.state, now_ms);
	return f;
}

static void put_list(const struct check *c, struct buf *out)
{
	buf_char(out, ',');
	json_add_str(out, str_from(c->list));
	buf_str(out, STR(":["));
	c->list_fn(c->arg, out);
	buf_char(out, ']');
}

static enum verdict put_check(struct check *c, const struct health_ask *a,
                              struct buf *out)
{
	struct finding f = ask(c, a->now_ms);

	json_add_str(out, str_from(c->name));
	buf_str(out, STR(":{"));
	put_text(out, "status", health_state_name(f.state));
	buf_printf(out, ",\"critical\":%s", c->critical ? "true" : "false");
	if (c->down)
		buf_printf(out, ",\"down_s\":%" PRId64,
		           (a->now_ms - c->down_since_ms) / 1000);
	if (f.detail[0]) {
		buf_char(out, ',');
		put_text(out, "detail", f.detail);
	}
	if (a->verbose && c->list[0])
		put_list(c, out);
	buf_char(out, '}');
	return f.verdict;
}

static enum verdict verdict_of_phase(enum health_phase p)
{
	static const enum verdict phases[] = {
		[PHASE_STARTING] = STARTING,
		[PHASE_READY] = READY,
		[PHASE_DRAINING] = DRAINING,
	};

	return phases[p];
}

static enum verdict put_part(struct health *h, const struct part *p,
                             const struct health_ask *a, struct buf *out)
{
	enum verdict v = verdict_of_phase(p->phase);
	AUTO_BUF checks = {0};

	for (size_t i = 0; i < h->checks_n; i++) {
		if (h->checks[i].part != p)
			continue;
		if (checks.n)
			buf_char(&checks, ',');
		v = worse(v, put_check(&h->checks[i], a, &checks));
	}
	out->failed |= checks.failed;
	json_add_str(out, str_from(p->name));
	buf_printf(out, ":{\"ready\":%s,", is_ready(v) ? "true" : "false");
	put_text(out, "status", verdict_names[v]);
	buf_str(out, STR(",\"checks\":{"));
	buf_str(out, buf_view(&checks));
	buf_str(out, STR("}}"));
	return v;
}

bool health_render(struct health *h, const struct health_ask *a,
                   struct buf *out)
{
	/* A program of which nothing is known yet is starting. */
	enum verdict v = READY;
	AUTO_BUF parts = {0};
	bool any = false;
	GUARD(&h->lock);

	for (size_t i = 0; i < h->parts_n; i++) {
		if (a->part && strcmp(h->parts[i].name, a->part) != 0)
			continue;
		if (any)
			buf_char(&parts, ',');
		v = worse(v, put_part(h, &h->parts[i], a, &parts));
		any = true;
	}
	if (!any)
		v = STARTING;
	out->failed |= parts.failed;
	buf_printf(out, "{\"ready\":%s,", is_ready(v) ? "true" : "false");
	put_text(out, "status", verdict_names[v]);
	buf_str(out, STR(",\"parts\":{"));
	buf_str(out, buf_view(&parts));
	buf_str(out, STR("}}\n"));
	return is_ready(v);
}

void health_pack(struct health *h, const char *part, int64_t now_ms,
                 struct buf *out)
{
	enum verdict v = STARTING;
	const struct part *p;
	size_t n = 0;
	GUARD(&h->lock);

	p = find(h, part);
	if (p)
		v = verdict_of_phase(p->phase);
	for (size_t i = 0; i < h->checks_n; i++)
		n += h->checks[i].part == p;
	mp_map(out, 3);
	mp_kv_map(out, "checks", n);
	for (size_t i = 0; i < h->checks_n; i++) {
		struct finding f;

		if (h->checks[i].part != p)
			continue;
		f = ask(&h->checks[i], now_ms);
		v = worse(v, f.verdict);
		mp_kv_map(out, h->checks[i].name, 2);
		mp_kv_text(out, "status", health_state_name(f.state));
		mp_kv_text(out, "message", f.detail);
	}
	mp_kv_bool(out, "ready", is_ready(v));
	mp_kv_text(out, "status", verdict_names[v]);
}

void health_metrics(struct health *h, int64_t now_ms, struct buf *out)
{
	AUTO_BUF states = {0};
	GUARD(&h->lock);

	buf_str(out, STR("# HELP kae_ready Whether /readyz says so.\n"
	                 "# TYPE kae_ready gauge\n"));
	for (size_t i = 0; i < h->parts_n; i++) {
		const struct part *p = &h->parts[i];
		enum verdict v = verdict_of_phase(p->phase);

		for (size_t k = 0; k < h->checks_n; k++) {
			struct finding f;

			if (h->checks[k].part != p)
				continue;
			f = ask(&h->checks[k], now_ms);
			v = worse(v, f.verdict);
			buf_printf(&states,
			           "kae_dependency_state{part=\"%s\","
			           "dependency=\"%s\"} %d\n",
			           p->name, h->checks[k].name, (int)f.state);
		}
		buf_printf(out, "kae_ready{part=\"%s\"} %d\n", p->name,
		           is_ready(v));
	}
	buf_str(out, STR("# HELP kae_dependency_state What a part needs: 0 up, "
	                 "1 degraded, 2 down.\n"
	                 "# TYPE kae_dependency_state gauge\n"));
	buf_str(out, buf_view(&states));
	out->failed |= states.failed;
}
