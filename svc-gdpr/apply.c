#include "svc-gdpr/apply.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/utf8.h"
#include "common/codec/mp.h"
#include "svc-gdpr/audit.h"
#include "svc-gdpr/board.h"
#include "svc-gdpr/erasure.h"
#include "svc-gdpr/state.h"

#include <math.h>

#define SUB_MAX 64 /* a UUID, with room */

/* The time of the cause.  A sender whose clock is ahead must not write days
 * that have not come, which would stand above every real one. */
static int64_t cause_at(const struct event *ev)
{
	int64_t now = wall_ms();
	int64_t at = mp_find_i64(ev->body, "at", ev->at);

	if (at <= 0)
		at = ev->at;
	return at <= 0 || at > now ? now : at;
}

static enum err skip(const struct event *ev, const char *why)
{
	log_error(NULL, "event.skipped", LOG_TEXT("id", ev->id),
	          LOG_STR("source", ev->source), LOG_TEXT("reason", why));
	return OK;
}

/* What a database refuses as text would be refused again each time. */
static bool storable(struct str s)
{
	return utf8_valid(s) && !memchr(s.p, '\0', s.n);
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static enum err registered(struct db *db, const struct event *ev)
{
	struct str hnd = mp_find_str(ev->body, "hnd", (struct str){0});
	int64_t at = cause_at(ev);
	struct person p;
	enum err e;

	if (hnd.n == 0 || hnd.n >= sizeof(p.handle) || !storable(hnd))
		return skip(ev, "no possible handle");
	e = person_lock(db, ev->sub, at, &p);
	if (e)
		return e;
	/* The row may be younger than the account: a quiz came first.  Ties go
	 * by handle, so a changed one leaves its place and takes another; the
	 * buckets do not hold handles and stay. */
	memset(p.handle, 0, sizeof(p.handle));
	memcpy(p.handle, hnd.p, hnd.n);
	if (at < p.created_at)
		p.created_at = at;
	p.updated_at = later(p.updated_at, at);
	e = board_place(db, &p);
	return e ? e : person_set(db, ev->sub, &p);
}

/* False when the body is not that of a quiz. */
static bool quiz_xp(struct str body, int64_t *xp)
{
	int64_t score = mp_find_i64(body, "score", -1);
	int64_t total = mp_find_i64(body, "total", 0);
	double percent;
	struct str value;
	struct mp m;

	if (total > 0 && score >= 0 && score <= total) {
		*xp = award_quiz_xp(score, total);
		return true;
	}
	if (!mp_find(body, "percent", &value))
		return false;
	m = mp_open(value);
	if (!mp_get_f64(&m, &percent) || !(percent >= 0 && percent <= 100))
		return false;
	*xp = (int64_t)floor(2 * percent);
	return true;
}

/* person_set() is waited for, so that whatever an event fails with is seen while
 * it is this one's turn. */
static enum err record(struct db *db, const struct event *ev,
                       const struct deed *d, const struct person_past *past,
                       struct person *p)
{
	struct award won;
	enum err e = person_day(db, ev->sub, d->day, past, p);

	if (e)
		return e;
	award_deed(&p->tally, d, &won);
	for (size_t i = 0; !e && i < won.unlocked_n; i++)
		e = person_unlock(db, ev->sub, won.unlocked[i], d->at);
	p->achievements += (int64_t)won.unlocked_n;
	if (won.xp > 0 || won.unlocked_n > 0)
		p->xp_at = later(p->xp_at, d->at);
	p->active_at = later(p->active_at, d->at);
	p->updated_at = later(p->updated_at, d->at);
	if (!e)
		e = board_place(db, p);
	return e ? e : person_set(db, ev->sub, p);
}

static enum err deed(struct db *db, const struct event *ev, struct deed *d)
{
	struct ledger_row row = {str_from(ev->id), ev->sub,
	                         d->kind == DEED_QUIZ ? "quiz" : "topic",
	                         d->earns ? d->xp : 0, 0};
	struct person_past past;
	struct person p;
	bool added = false;
	enum err e;

	d->at = row.at = cause_at(ev);
	d->day = clock_utc_day(d->at);
	e = person_lock(db, ev->sub, d->at, &p);
	if (!e)
		e = person_past_later(db, ev->sub, d->day, &p, &past);
	if (!e)
		e = ledger_add(db, &row, &added);
	if (e || !added)
		return e;
	return record(db, ev, d, &past, &p);
}

static enum err quiz_submitted(struct db *db, const struct event *ev)
{
	struct deed d = {.kind = DEED_QUIZ};

	if (!quiz_xp(ev->body, &d.xp))
		return skip(ev, "no score within 0 and total");
	d.earns = mp_find_bool(ev->body, "earns", false);
	return deed(db, ev, &d);
}

static enum err topic_finished(struct db *db, const struct event *ev)
{
	struct deed d = {.kind = DEED_TOPIC,
	                 .xp = AWARD_TOPIC_XP,
	                 .earns = true};

	return deed(db, ev, &d);
}

static const struct {
	const char *source, *type;
	enum err (*run)(struct db *db, const struct event *ev);
} kinds[] = {
	{"auth", "user.registered", registered},
	{"content", "quiz.submitted", quiz_submitted},
	{"content", "topic.finished", topic_finished},
};

enum err gdpr_apply(void *arg, struct db *db, const struct event *ev)
{
	const struct gdpr_state *st = arg;

	if (st && st->desk && str_eq(ev->source, STR("auth")) &&
	    str_eq(ev->type, STR("user.erased")))
		return erasure_ordered(st->desk, db, ev->body);
	if (ev->sub.n == 0 || ev->sub.n > SUB_MAX || !storable(ev->sub))
		return skip(ev, "no possible subject");
	if (str_eq(ev->type, AUDIT_TYPE))
		return OK; /* gdpr_apply_last() */
	for (size_t i = 0; i < COUNTOF(kinds); i++)
		if (str_eq(ev->type, str_from(kinds[i].type)) &&
		    str_eq(ev->source, str_from(kinds[i].source)))
			return kinds[i].run(db, ev);
	return skip(ev, "not a type that this version knows from this source");
}

/*
 * Moves that wait make no rank wrong, and to fold them costs as much as a few
 * awards however few they are: about one event in sixteen does it, by the last
 * digit of its id, which is random.
 */
static bool folds(const struct event *ev)
{
	size_t n = strlen(ev->id);

	return !str_eq(ev->type, AUDIT_TYPE) && n && ev->id[n - 1] == '0';
}

enum err gdpr_apply_last(void *arg, struct db *db,
                         const struct event *const *ev, size_t n)
{
	bool fold = false;
	enum err e = OK;

	(void)arg;
	for (size_t i = 0; i < n && !fold; i++)
		fold = folds(ev[i]);
	if (fold)
		e = board_fold(db);
	return e ? e : audit_take(db, ev, n);
}
