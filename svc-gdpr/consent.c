#include "svc-gdpr/consent.h"

#include "common/base/net.h"
#include "common/base/utf8.h"
#include "svc-gdpr/pseudonym.h"
#include "svc-gdpr/stmts.h"

#define STORED_POLICY ""
#define STORED_COOKIE "cookie."
#define STORED_ALWAYS "cookie."

const struct consent_type consent_types[CONSENT_COUNT] = {
#define CONSENT(id, kind, name, version) \
	{name, STORED_##kind name, version, CONSENT_##kind},
#include "svc-gdpr/consents.def"
#undef CONSENT
};

bool consent_from_name(struct str name, bool cookie, enum consent *out)
{
	for (size_t i = 0; i < CONSENT_COUNT; i++) {
		const struct consent_type *t = &consent_types[i];

		if ((t->kind != CONSENT_POLICY) == cookie &&
		    str_eq(name, str_from(t->name))) {
			*out = (enum consent)i;
			return true;
		}
	}
	return false;
}

/* --- the state ------------------------------------------------------------ */

static void set_version(struct consent_state *s, struct str version)
{
	size_t n = version.n < sizeof(s->version) ? version.n
	                                          : sizeof(s->version) - 1;

	memset(s->version, 0, sizeof(s->version));
	if (n)
		memcpy(s->version, version.p, n);
}

static enum err read_state(void *arg, const struct db_row *row)
{
	struct consent_state *all = arg;
	struct str stored = db_row_str(row, 0);

	/* One that this binary does not know: a newer replica wrote it. */
	for (size_t i = 0; i < CONSENT_COUNT; i++) {
		if (!str_eq(stored, str_from(consent_types[i].stored)))
			continue;
		all[i].given = db_row_i64(row, 1) != 0;
		set_version(&all[i], db_row_str(row, 2));
		all[i].at = db_row_i64(row, 3);
	}
	return OK;
}

static enum err get_of(struct db *db, const char *person,
                       struct consent_state out[CONSENT_COUNT])
{
	const struct db_val v[] = {DB_TEXT(person)};
	const struct db_sink sink = {read_state, out};

	for (size_t i = 0; i < CONSENT_COUNT; i++) {
		const struct consent_type *t = &consent_types[i];

		out[i] = (struct consent_state){.given = t->kind ==
		                                         CONSENT_ALWAYS};
		set_version(&out[i], str_from(t->version));
	}
	return person[0] ? db_run(db, STMT(CONSENT_NOW), v, COUNTOF(v), &sink)
	                 : OK;
}

enum err consent_get(struct db *db, struct str sub,
                     struct consent_state out[CONSENT_COUNT])
{
	char person[PSEUDONYM_MAX];
	enum err e = pseudonym_get(db, sub, person);

	return e ? e : get_of(db, person, out);
}

/* --- recording ------------------------------------------------------------ */

static bool repeats(const struct consent_change *c,
                    const struct consent_state *was, int64_t now_ms)
{
	return was->at > 0 && was->given == c->given &&
	       now_ms - was->at < CONSENT_REPEAT_MS &&
	       strcmp(was->version, consent_types[c->which].version) == 0;
}

/* What a database refuses as text is left out. */
static struct str storable(struct str s)
{
	bool fine = s.n && utf8_valid(s) && !memchr(s.p, '\0', s.n);

	return fine ? s : STR("");
}

static enum err add(struct db *db, const struct ctx *cx, const char *person,
                    int64_t seq, const char *mechanism,
                    const struct consent_change *c)
{
	const struct consent_type *t = &consent_types[c->which];
	char net[NET_TEXT_MAX];
	const struct db_val row[] = {
		DB_TEXT(person),   DB_I64(seq),         DB_TEXT(t->stored),
		DB_I64(c->given),  DB_TEXT(t->version), DB_TEXT(mechanism),
		DB_I64(c->now.at),
	};
	const struct db_val origin[] = {DB_TEXT(person), DB_I64(seq),
	                                DB_STR(net_text(cx->ip, net)),
	                                DB_STR(storable(cx->ua)),
	                                DB_I64(c->now.at)};
	enum err e = db_run(db, STMT(CONSENT_ADD), row, COUNTOF(row), NULL);

	return e ? e
	         : db_run(db, STMT(CONSENT_ORIGIN_ADD), origin, COUNTOF(origin),
	                  NULL);
}

enum err consent_record(struct db *db, const struct ctx *cx,
                        const char *mechanism, int64_t now_ms,
                        struct consent_change *v, size_t n)
{
	struct consent_state was[CONSENT_COUNT];
	char person[PSEUDONYM_MAX];
	int64_t seq = 0;
	enum err e = pseudonym_lock(db, cx->sub, person);
	const struct db_val who[] = {DB_TEXT(person)};

	if (!e)
		e = get_of(db, person, was);
	if (!e)
		e = db_get_i64(db, STMT(CONSENT_LAST), who, 1, &seq);
	for (size_t i = 0; !e && i < n; i++) {
		struct consent_change *c = &v[i];

		c->now = was[c->which];
		c->recorded = false;
		if (consent_types[c->which].kind == CONSENT_ALWAYS ||
		    repeats(c, &was[c->which], now_ms))
			continue;
		c->now =
			(struct consent_state){.given = c->given, .at = now_ms};
		set_version(&c->now, str_from(consent_types[c->which].version));
		e = add(db, cx, person, ++seq, mechanism, c);
		was[c->which] = c->now;
		c->recorded = true;
	}
	return e;
}

/* --- history -------------------------------------------------------------- */

struct listing {
	consent_row_fn *fn;
	void *arg;
};

static enum err read_history(void *arg, const struct db_row *row)
{
	struct listing *l = arg;
	struct consent_row r = {.seq = db_row_i64(row, 0),
	                        .type = db_row_str(row, 1),
	                        .given = db_row_i64(row, 2) != 0,
	                        .version = db_row_str(row, 3),
	                        .mechanism = db_row_str(row, 4),
	                        .at = db_row_i64(row, 5)};
	const struct str cookie = STR("cookie.");

	if (str_starts(r.type, cookie)) {
		r.cookie = true;
		r.type.p += cookie.n;
		r.type.n -= cookie.n;
	}
	if (!db_row_null(row, 6))
		r.network = db_row_str(row, 6);
	if (!db_row_null(row, 7))
		r.agent = db_row_str(row, 7);
	return l->fn(l->arg, &r);
}

enum err consent_history(struct db *db, struct str sub, int64_t before,
                         int64_t limit, consent_row_fn *fn, void *arg)
{
	char person[PSEUDONYM_MAX];
	struct listing l = {fn, arg};
	const struct db_sink sink = {read_history, &l};
	enum err e = pseudonym_get(db, sub, person);
	const struct db_val v[] = {DB_TEXT(person), DB_I64(before),
	                           DB_I64(limit)};

	if (e || !person[0])
		return e;
	return db_run(db, STMT(CONSENT_HISTORY), v, COUNTOF(v), &sink);
}

enum err consent_erase(struct db *db, struct str sub)
{
	char person[PSEUDONYM_MAX];
	enum err e = pseudonym_get(db, sub, person);
	const struct db_val v[] = {DB_TEXT(person)};

	if (e || !person[0])
		return e;
	e = db_run(db, STMT(CONSENT_ORIGIN_ERASE), v, COUNTOF(v), NULL);
	return e ? e : pseudonym_drop(db, sub);
}
