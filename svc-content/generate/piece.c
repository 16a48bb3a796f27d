#include "svc-content/generate/piece.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/codec/mp.h"
#include "common/service/cached.h"
#include "svc-content/erase.h"
#include "svc-content/generate/make.h"
#include "svc-content/llm/llm.h"

/* Keys carry the form of the value, so that a new form is never read as old. */
#define FORM        STR("piece 1")
#define FLIGHT_FORM STR("pieces 1")
#define FAILED_FORM STR("failed 1")

#define FALLBACK_NOTE \
	STR("No language model could answer: this was made offline.")

/* Left of the deadline for the offline provider and the way back. */
#define RESERVE_MS 3000
/* For the database, to say what a person may have. */
#define HOLD_MS 2000
/* How often one joins what others make in vain, before giving up. */
#define ROUNDS_MAX 4

const char *source_name(enum source s)
{
	static const char *const names[] = {[SOURCE_NONE] = "offline",
	                                    [SOURCE_LLM] = "llm",
	                                    [SOURCE_CACHE] = "cache",
	                                    [SOURCE_OFFLINE] = "offline"};

	return names[s];
}

static bool asks_providers(const struct fetch *f)
{
	return llm_providers(f->ct->llm) > 0;
}

/* --- keys ---------------------------------------------------------------------------- */

static enum err set_key(const struct fetch *f, struct piece *p)
{
	const struct template *t = template_row(p->shape->template);
	bool fold = asks_providers(f);
	const struct str offline = STR("offline");
	char digest[TEXT_DIGEST_MAX];
	enum err e = template_user(p->shape->template, p->lang, p->slots,
	                           p->slots_n, fold, f->cx->arena, &p->user);
	const struct str parts[] = {FORM, str_from(t->name),
	                            str_from(t->version),
	                            fold ? str_from(f->ct->gen.chain) : offline,
	                            p->user};

	if (e)
		return e;
	p->key = arena_str(f->cx->arena,
	                   text_digest(parts, COUNTOF(parts), digest));
	return p->key.p ? OK : ERR_NOMEM;
}

static struct str failed_key(const struct piece *p, char out[TEXT_DIGEST_MAX])
{
	const struct str parts[] = {FAILED_FORM, p->key};

	return text_digest(parts, COUNTOF(parts), out);
}

static struct cache_want want_of(const struct fetch *f, const struct piece *p,
                                 char tag[TEXT_DIGEST_MAX])
{
	struct cache_want w = {
		.key = p->key,
		.ttl_ms = asks_providers(f) || p->keep_offline ? p->ttl_ms : 0,
		.stale_ms = asks_providers(f) ? f->ct->gen.stale_ms : 0,
		.now_ms = mono_ms(),
		.deadline_ms = f->cx->deadline_ms,
		.tags_n = 1,
	};

	w.tags[0] = content_topic_tag(p->topic_key, tag);
	return w;
}

/* --- what failed lately ----------------------------------------------------------------- */

static bool failed_lately(const struct fetch *f, const struct piece *p)
{
	char key[TEXT_DIGEST_MAX];
	AUTO(cache_value) v = NULL;

	return cache_peek(f->ct->cache, failed_key(p, key), mono_ms(), &v,
	                  NULL) == CACHE_HIT;
}

static void note_failure(const struct fetch *f, const struct piece *p)
{
	char key[TEXT_DIGEST_MAX], tag[TEXT_DIGEST_MAX];
	struct cache_want w = want_of(f, p, tag);

	w.key = failed_key(p, key);
	w.ttl_ms = f->ct->gen.failed_ms;
	w.stale_ms = 0;
	cache_store(f->ct->cache, &w, STR("1"));
}

/* --- values ------------------------------------------------------------------------------ */

/* In the cache a body has the letter of who made it before it. */
static void pack_value(struct buf *b, enum source s, struct str body)
{
	buf_char(b, s == SOURCE_LLM ? 'L' : 'O');
	buf_str(b, body);
}

static enum err take_value(const struct fetch *f, struct piece *p,
                           struct str value, bool fresh)
{
	if (value.n < 2)
		return ERR_INTERNAL;
	p->body =
		arena_str(f->cx->arena, (struct str){value.p + 1, value.n - 1});
	p->source = !fresh              ? SOURCE_CACHE
	            : value.p[0] == 'L' ? SOURCE_LLM
	                                : SOURCE_OFFLINE;
	return p->body.p ? OK : ERR_NOMEM;
}

static void ready(const struct fetch *f, size_t i)
{
	if (f->ready)
		f->ready(f->arg, i);
}

static enum err peek(struct fetch *f, struct piece *p)
{
	AUTO(cache_value) v = NULL;

	if (cached_peek(f->cx, f->ct->cache, p->key, &v, &f->info) != CACHE_HIT)
		return OK;
	f->cached = true;
	return take_value(f, p, cache_bytes(v), false);
}

static void count(const struct fetch *f)
{
	for (size_t i = 0; f->ct->generated && i < f->n; i++) {
		const struct piece *p = &f->pieces[i];
		const char *values[] = {p->shape->route,
		                        source_name(p->source)};

		metric_add(metric_series(f->ct->generated, values), 1);
	}
}

/* Not in memory: perhaps in the shared tier. */
static void look_ahead(const struct fetch *f, const struct piece *p)
{
	char tag[TEXT_DIGEST_MAX];
	struct cache_want w;

	if (!cached_fetch_may(f->cx))
		return;
	w = want_of(f, p, tag);
	cached_fetch_say(f->cx, f->ct->cache, &w);
}

bool pieces_peek(struct fetch *f)
{
	struct piece *p = &f->pieces[0];

	if (set_key(f, p) || peek(f, p))
		return false;
	if (p->source == SOURCE_NONE) {
		look_ahead(f, p);
		return false;
	}
	count(f);
	return true;
}

/* --- the quota ---------------------------------------------------------------------------- */

/* Nobody can count now: what costs nothing is given all the same. */
static bool uncountable(enum err e)
{
	return e == ERR_DATABASE || e == ERR_UNAVAILABLE || e == ERR_TIMEOUT;
}

static enum err hold(struct fetch *f, uint64_t tokens)
{
	const struct quota_ask ask = {f->pieces[0].shape->route, tokens};
	struct ctx cx = *f->cx;
	uint64_t soon_ms = mono_ms() + HOLD_MS;
	enum err e;

	if (f->hold || !f->ct->quota)
		return OK;
	f->hold = arena_alloc(cx.arena, sizeof(*f->hold));
	if (!f->hold)
		return ERR_NOMEM;
	if (cx.deadline_ms > soon_ms)
		cx.deadline_ms = soon_ms;
	e = quota_hold(f->ct->quota, &cx, &ask, f->hold);
	f->cx->spent = cx.spent;
	if (!e) {
		f->warning = str_from(f->hold->warning);
		return OK;
	}
	f->hold = NULL;
	if (tokens == 0 && uncountable(e)) {
		log_warn(f->cx, "quota.uncounted",
		         LOG_TEXT("error", err_name(e)));
		return OK;
	}
	f->cx->problem = cx.problem;
	return e;
}

static void settle(struct fetch *f)
{
	enum err e = f->hold ? quota_settle(f->ct->quota, f->cx, f->hold) : OK;

	if (e)
		log_warn(f->cx, "quota.unsettled",
		         LOG_TEXT("error", err_name(e)));
}

/* --- offline ------------------------------------------------------------------------------- */

static enum err offline(struct fetch *f, struct piece *const *pieces, size_t n)
{
	enum err e = hold(f, 0);

	if (!e)
		e = pieces[0]->shape->offline(f->ct, f->cx->arena, pieces, n);
	for (size_t i = 0; i < n && !e; i++)
		pieces[i]->source = SOURCE_OFFLINE;
	return e;
}

/* In place of a provider. */
static enum err fall_back(struct fetch *f)
{
	struct piece *left[PIECES_MAX];
	size_t n = 0;
	enum err e;

	for (size_t i = 0; i < f->n; i++)
		if (f->pieces[i].source == SOURCE_NONE)
			left[n++] = &f->pieces[i];
	if (n == 0)
		return OK;
	sink_progress(f->sink, "offline", f->n - n, f->n);
	for (size_t i = 0; i < n && asks_providers(f); i++)
		left[i]->note = FALLBACK_NOTE;
	e = offline(f, left, n);
	for (size_t i = 0; i < n && !e; i++)
		ready(f, (size_t)(left[i] - f->pieces));
	return e;
}

/* --- providers ------------------------------------------------------------------------------ */

struct loading {
	struct fetch *f;
	struct piece *missing[PIECES_MAX];
	size_t n;
	bool ran;     /* it was not somebody else's load */
	bool refused; /* by the quota: not the providers' failure */
};

static void made(void *arg, size_t i)
{
	const struct loading *l = arg;

	ready(l->f, (size_t)(l->missing[i] - l->f->pieces));
}

static uint64_t deadline_of(const struct fetch *f)
{
	uint64_t now_ms = mono_ms();
	uint64_t left_ms = clock_left(f->cx->deadline_ms, now_ms);
	uint64_t reserve_ms =
		left_ms / 4 < RESERVE_MS ? left_ms / 4 : RESERVE_MS;
	uint64_t ms = left_ms - reserve_ms;

	return now_ms + (ms < f->ct->gen.answer_ms ? ms : f->ct->gen.answer_ms);
}

/* Those that failed lately are not asked for; some may be made. */
static enum err ask_providers(struct loading *l)
{
	struct fetch *f = l->f;
	struct make m = {.ct = f->ct,
	                 .cx = f->cx,
	                 .sink = f->sink,
	                 .deadline_ms = deadline_of(f),
	                 .made = made,
	                 .arg = l};
	struct piece *ask[PIECES_MAX];
	enum err e;

	for (size_t i = 0; i < l->n; i++)
		if (!failed_lately(f, l->missing[i]))
			ask[m.n++] = l->missing[i];
	if (m.n == 0 || !llm_ready(f->ct->llm, 0, false))
		return OK;
	memcpy(l->missing, ask, m.n * sizeof(ask[0]));
	l->n = m.n;
	m.pieces = l->missing;
	e = hold(f, make_estimate((const struct piece *const *)ask, m.n));
	l->refused = e || (f->hold && f->hold->offline);
	if (l->refused)
		return e;
	m.hold = f->hold;
	e = make_pieces(&m);
	settle(f);
	for (size_t i = 0; i < l->n && !e; i++)
		if (l->missing[i]->source == SOURCE_NONE)
			note_failure(f, l->missing[i]);
	return e;
}

/* The error of a load that came to nothing: joiners try themselves where it is
 * about the one who ran it, and the cache serves what is over its time where the
 * providers are to blame. */
static enum err load_one(void *arg, struct buf *out)
{
	struct loading *l = arg;
	struct piece *p = l->missing[0];
	enum err e;

	l->ran = true;
	if (asks_providers(l->f)) {
		e = ask_providers(l);
		if (!e && p->source == SOURCE_NONE)
			e = l->refused ? ERR_QUOTA : ERR_UNAVAILABLE;
	} else {
		e = offline(l->f, l->missing, 1);
	}
	if (!e)
		pack_value(out, p->source, p->body);
	return e;
}

/* Whether to try again what somebody else's load did not give. */
static bool may_retry(const struct loading *l, enum err e)
{
	return e && !l->ran && e != ERR_UNAVAILABLE &&
	       mono_ms() < l->f->cx->deadline_ms;
}

/* Whether an error means that the offline provider answers. */
static bool is_failure(const struct loading *l, enum err e)
{
	if (l->ran && l->refused)
		return uncountable(e) || (l->f->hold && l->f->hold->offline);
	return e == ERR_UNAVAILABLE || e == ERR_TIMEOUT || e == ERR_BUSY ||
	       (e == ERR_QUOTA && !l->ran);
}

static enum err fetch_one(struct fetch *f)
{
	struct piece *p = &f->pieces[0];
	struct loading l = {.f = f, .missing = {p}, .n = 1};
	char tag[TEXT_DIGEST_MAX];
	struct cache_want w = want_of(f, p, tag);
	enum err e = ERR_BUSY;

	w.load = load_one;
	w.arg = &l;
	for (unsigned i = 0; i < ROUNDS_MAX && (i == 0 || may_retry(&l, e));
	     i++) {
		AUTO(cache_value) v = NULL;

		w.now_ms = mono_ms();
		e = cached_load(f->cx, f->ct->cache, &w, &v, &f->info);
		f->cached = !e;
		if (!e)
			e = take_value(f, p, cache_bytes(v),
			               f->info.from == CACHE_FROM_LOADER);
	}
	if (!e) {
		if (!f->ready || !l.ran || p->source != SOURCE_LLM)
			ready(f, 0);
		return OK;
	}
	return asks_providers(f) && is_failure(&l, e) ? fall_back(f) : e;
}

/* --- many ------------------------------------------------------------------------------------- */

static enum err give(void *arg, struct buf *out)
{
	const struct piece *p = arg;

	pack_value(out, SOURCE_LLM, p->body);
	return out->failed ? ERR_NOMEM : OK;
}

static void keep(const struct fetch *f, struct piece *p)
{
	char tag[TEXT_DIGEST_MAX];
	struct cache_want w = want_of(f, p, tag);
	AUTO(cache_value) v = NULL;

	w.load = give;
	w.arg = p;
	w.skip = CACHE_SKIP_MEMORY_READ;
	if (cached_load(f->cx, f->ct->cache, &w, &v, NULL))
		log_warn(f->cx, "generate.not_kept", LOG_STR("key", p->key));
}

/* In the shared tier, or over its time: what memory did not give. */
static enum err look_deeper(struct fetch *f, struct piece *p, bool *stale)
{
	char tag[TEXT_DIGEST_MAX];
	struct cache_want w = want_of(f, p, tag);
	AUTO(cache_value) v = NULL;
	struct cache_info info;

	*stale = false;
	if (cached_load(f->cx, f->ct->cache, &w, &v, &info))
		return OK;
	*stale = info.from == CACHE_FROM_STALE;
	return take_value(f, p, cache_bytes(v), false);
}

/* Takes out of l->missing what the cache has; *old: what it has over its time. */
static enum err sift(struct loading *l, struct piece *old)
{
	struct fetch *f = l->f;
	size_t n = 0;
	enum err e = OK;

	for (size_t i = 0; i < l->n && !e; i++) {
		struct piece *p = l->missing[i];
		bool stale = false;

		e = look_deeper(f, p, &stale);
		old[n].source = SOURCE_NONE;
		if (stale) {
			old[n] = *p;
			p->source = SOURCE_NONE;
		}
		if (!e && p->source == SOURCE_NONE)
			l->missing[n++] = p;
		else if (!e)
			ready(f, (size_t)(p - f->pieces));
	}
	l->n = n;
	return e;
}

static enum err make_missing(struct loading *l)
{
	struct piece *old =
		arena_alloc(l->f->cx->arena, PIECES_MAX * sizeof(*old));
	struct piece *before[PIECES_MAX];
	size_t n;
	enum err e = old ? sift(l, old) : ERR_NOMEM;

	n = l->n;
	memcpy(before, l->missing, sizeof(before));
	if (!e && n > 0)
		e = ask_providers(l);
	for (size_t i = 0; i < n && !e; i++) {
		struct piece *p = before[i];

		if (p->source == SOURCE_LLM) {
			keep(l->f, p);
		} else if (p->source == SOURCE_NONE && old[i].source) {
			*p = old[i];
			ready(l->f, (size_t)(p - l->f->pieces));
		}
	}
	return e;
}

/* [value or nil, ...] of all pieces of the fetch. */
static enum err load_many(void *arg, struct buf *out)
{
	struct loading *l = arg;
	struct fetch *f = l->f;
	enum err e;

	l->ran = true;
	e = make_missing(l);
	/* Who cannot pay gets the offline answer, and others try themselves. */
	if (!e && l->refused)
		e = ERR_QUOTA;
	if (e)
		return e;
	mp_array(out, f->n);
	for (size_t i = 0; i < f->n; i++) {
		const struct piece *p = &f->pieces[i];

		if (p->source == SOURCE_NONE) {
			mp_nil(out);
			continue;
		}
		mp_array(out, 2);
		mp_i64(out, p->source);
		mp_bin(out, p->body);
	}
	return out->failed ? ERR_NOMEM : OK;
}

/* What somebody else's load made. */
static enum err share(struct fetch *f, struct str value)
{
	struct mp m = mp_open(value);
	uint32_t n;

	if (!mp_get_array(&m, &n) || n != f->n)
		return ERR_INTERNAL;
	for (size_t i = 0; i < n; i++) {
		struct piece *p = &f->pieces[i];
		struct str body;
		int64_t source;
		uint32_t two;

		if (mp_get_nil(&m))
			continue;
		if (!mp_get_array(&m, &two) || two != 2 ||
		    !mp_get_i64(&m, &source) || !mp_get_bin(&m, &body))
			return ERR_INTERNAL;
		if (p->source != SOURCE_NONE)
			continue;
		p->body = arena_str(f->cx->arena, body);
		p->source = (enum source)source;
		if (!p->body.p)
			return ERR_NOMEM;
		ready(f, i);
	}
	return OK;
}

static enum err flight_key(const struct fetch *f, struct str *out)
{
	struct str parts[PIECES_MAX + 1] = {FLIGHT_FORM};
	char digest[TEXT_DIGEST_MAX];

	for (size_t i = 0; i < f->n; i++)
		parts[i + 1] = f->pieces[i].key;
	*out = arena_str(f->cx->arena, text_digest(parts, f->n + 1, digest));
	return out->p ? OK : ERR_NOMEM;
}

static enum err fetch_missing(struct fetch *f)
{
	struct loading l = {.f = f};
	char tag[TEXT_DIGEST_MAX];
	struct cache_want w = want_of(f, &f->pieces[0], tag);
	enum err e = flight_key(f, &w.key);

	w.load = load_many;
	w.arg = &l;
	w.ttl_ms = w.stale_ms = 0;
	for (unsigned i = 0; i < ROUNDS_MAX && (i == 0 ? !e : may_retry(&l, e));
	     i++) {
		AUTO(cache_value) v = NULL;

		l.n = 0;
		for (size_t k = 0; k < f->n; k++)
			if (f->pieces[k].source == SOURCE_NONE)
				l.missing[l.n++] = &f->pieces[k];
		w.now_ms = mono_ms();
		e = cached_load(f->cx, f->ct->cache, &w, &v, NULL);
		if (!e && !l.ran)
			e = share(f, cache_bytes(v));
	}
	if (e && !is_failure(&l, e))
		return e;
	return fall_back(f);
}

/* What is in memory; *missing: how many are not. */
static enum err peek_all(struct fetch *f, size_t *missing)
{
	enum err e = OK;

	*missing = 0;
	for (size_t i = 0; i < f->n && !e; i++) {
		struct piece *p = &f->pieces[i];

		e = set_key(f, p);
		if (!e && p->source == SOURCE_NONE)
			e = peek(f, p);
		if (e || p->source == SOURCE_NONE)
			++*missing;
		else
			ready(f, i);
	}
	return e;
}

static bool all_failed_lately(const struct fetch *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->pieces[i].source == SOURCE_NONE &&
		    !failed_lately(f, &f->pieces[i]))
			return false;
	return true;
}

static enum err make(struct fetch *f, size_t missing)
{
	enum err e;

	if (llm_ready(f->ct->llm, 0, false) && !all_failed_lately(f) &&
	    ctx_slow(f->cx))
		return ERR_BUSY;
	sink_progress(f->sink, "started", f->n - missing, f->n);
	if (f->n == 1)
		e = fetch_one(f);
	else if (asks_providers(f))
		e = fetch_missing(f);
	else
		e = fall_back(f);
	if (!e)
		settle(f);
	else if (f->hold)
		quota_drop(f->ct->quota, f->cx, f->hold);
	return e;
}

enum err pieces_fetch(struct fetch *f)
{
	size_t missing = 0;
	enum err e = peek_all(f, &missing);

	if (!e && missing)
		e = make(f, missing);
	if (!e)
		count(f);
	return e;
}
