#include "svc-gdpr/audit.h"

#include "common/base/b64.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/utf8.h"
#include "common/base/uuid.h"
#include "common/codec/mp.h"
#include "svc-gdpr/audit_tables.h"
#include "svc-gdpr/stmts.h"

#include <inttypes.h>
#include <stdio.h>

#define WORD_MAX 64 /* bytes of a name: an event, a role, a resource's type */
#define DAY_MS   INT64_C(86400000)

/* --- what is hashed --------------------------------------------------------- */

static void net(crypto_hash_sha256_state *h, struct str s)
{
	char head[24];
	int n = snprintf(head, sizeof(head), "%zu:", s.n);

	(void)crypto_hash_sha256_update(h, (const unsigned char *)head,
	                                (unsigned long long)n);
	if (s.n)
		(void)crypto_hash_sha256_update(h, (const unsigned char *)s.p,
		                                s.n);
	(void)crypto_hash_sha256_update(h, (const unsigned char *)",", 1);
}

static void net_i64(crypto_hash_sha256_state *h, int64_t v)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%" PRId64, v);

	net(h, (struct str){text, (size_t)n});
}

void audit_hash(const unsigned char before[AUDIT_HASH],
                const struct audit_row *row, unsigned char out[AUDIT_HASH])
{
	const struct str texts[] = {
		row->event,   row->category, row->source, row->outcome,
		row->subject, row->actor,    row->role,   row->resource_type,
	};
	char text[2 * AUDIT_HASH + 1];
	crypto_hash_sha256_state h;

	(void)crypto_hash_sha256_init(&h);
	net(&h, STR("kae-audit-1"));
	net(&h, hex(before, AUDIT_HASH, text));
	net_i64(&h, row->seq);
	net(&h, row->id);
	net_i64(&h, row->at);
	for (size_t i = 0; i < COUNTOF(texts); i++)
		net(&h, texts[i]);
	net(&h, row->detail.n == AUDIT_HASH
	                ? hex(row->detail.p, AUDIT_HASH, text)
	                : row->detail);
	(void)crypto_hash_sha256_final(&h, out);
}

void audit_commit(struct str salt, struct str body,
                  unsigned char out[AUDIT_HASH])
{
	crypto_hash_sha256_state h;

	(void)crypto_hash_sha256_init(&h);
	net(&h, STR("kae-audit-detail-1"));
	net(&h, salt);
	net(&h, body);
	(void)crypto_hash_sha256_final(&h, out);
}

/* --- the head ----------------------------------------------------------------- */

/* The end of the log in a transaction that has locked it. */
struct end {
	int64_t seq, from; /* from: as it was */
	unsigned char hash[AUDIT_HASH];
	bool found;
};

static enum err take_head(void *arg, const struct db_row *row)
{
	struct end *end = arg;
	struct str hash = db_row_str(row, 1);

	if (hash.n != AUDIT_HASH)
		return ERR_INTERNAL;
	end->found = true;
	end->seq = end->from = db_row_i64(row, 0);
	memcpy(end->hash, hash.p, AUDIT_HASH);
	return OK;
}

static enum err open_end(struct db *db, struct end *end)
{
	const struct db_sink sink = {take_head, end};
	enum err e;

	*end = (struct end){0};
	e = db_run(db, STMT(AUDIT_HEAD), NULL, 0, &sink);
	return !e && !end->found ? ERR_INTERNAL : e;
}

static enum err close_end(struct db *db, const struct end *end)
{
	const struct str hash = {(const char *)end->hash, AUDIT_HASH};
	const struct db_val v[] = {DB_I64(end->seq), DB_BLOB(hash)};
	int64_t moved = 0;
	enum err e;

	if (end->seq == end->from)
		return OK;
	e = db_change(db, STMT(AUDIT_HEAD_SET), v, COUNTOF(v), &moved);
	return !e && moved != 1 ? ERR_INTERNAL : e;
}

/* --- pseudonyms --------------------------------------------------------------- */

struct pseudonym {
	struct str sub; /* whose: borrowed */
	size_t n;       /* 0: there is none */
	char text[AUDIT_PSEUDONYM + 1];
};

static struct str shown(const struct pseudonym *p)
{
	return (struct str){p->text, p->n};
}

static enum err take_pseudonym(void *arg, const struct db_row *row)
{
	struct pseudonym *p = arg;
	struct str text = db_row_str(row, 0);

	if (text.n != AUDIT_PSEUDONYM)
		return ERR_INTERNAL;
	memcpy(p->text, text.p, text.n);
	p->n = text.n;
	return OK;
}

static enum err find_pseudonym(struct db *db, struct str sub,
                               struct pseudonym *p)
{
	const struct db_val v[] = {DB_STR(sub)};
	const struct db_sink sink = {take_pseudonym, p};

	*p = (struct pseudonym){.sub = sub};
	return db_run(db, STMT(AUDIT_PERSON), v, COUNTOF(v), &sink);
}

/*
 * Under the lock of the head, so that one person gets one, and none after
 * audit_forget() has committed what a reader of before still saw.  *p may be
 * that of another call in this transaction.
 */
static enum err pseudonym_of(struct db *db, struct str sub, struct pseudonym *p)
{
	unsigned char raw[AUDIT_PSEUDONYM / 2];
	enum err e;

	if (p->n && str_eq(p->sub, sub))
		return OK;
	if (sub.n == 0) {
		*p = (struct pseudonym){.n = 0};
		return OK;
	}
	e = find_pseudonym(db, sub, p);
	if (!e && p->n == 0) {
		randombytes_buf(raw, sizeof(raw));

		const struct db_val v[] = {
			DB_STR(sub), DB_STR(hex(raw, sizeof(raw), p->text))};

		e = db_run(db, STMT(AUDIT_PERSON_ADD), v, COUNTOF(v), NULL);
		p->n = AUDIT_PSEUDONYM;
	}
	return e;
}

static enum err take_count(void *arg, const struct db_row *row)
{
	*(int64_t *)arg = db_row_i64(row, 0);
	return OK;
}

/* Who did it.  An event that comes when they have been erased must not give them
 * a pseudonym again: then it is nobody. */
static enum err actor_of(struct db *db, struct str sub, struct pseudonym *p)
{
	char id[ERASED_ID + 1];
	const struct db_val v[] = {DB_STR(erased_id(sub, id))};
	int64_t erased = 0;
	const struct db_sink sink = {take_count, &erased};
	enum err e = OK;

	if (sub.n && !(p->n && str_eq(p->sub, sub)))
		e = db_run(db, STMT(AUDIT_ERASED), v, COUNTOF(v), &sink);
	return e ? e : pseudonym_of(db, erased ? STR("") : sub, p);
}

/* --- one row -------------------------------------------------------------------- */

/* What an event says, or a note of ours in the same form. */
struct deed {
	struct str id, source;
	struct str sub, body;
	int64_t at;
};

static struct str word(const struct deed *d, const char *key)
{
	return mp_find_str(d->body, key, STR(""));
}

static bool storable(struct str s, size_t min, size_t max)
{
	return s.n >= min && s.n <= max && utf8_valid(s) &&
	       !(s.n && memchr(s.p, '\0', s.n));
}

/* False: what a database refuses would be refused again each time. */
static bool makes_sense(const struct deed *d)
{
	struct str data;
	struct mp m;

	if (!mp_find(d->body, "data", &data))
		return false;
	m = mp_open(data);
	return mp_peek(&m) == MP_MAP && d->body.n <= AUDIT_BODY_MAX &&
	       storable(d->sub, 0, WORD_MAX) &&
	       storable(d->source, 1, WORD_MAX) &&
	       storable(word(d, "ev"), 1, WORD_MAX) &&
	       storable(word(d, "cat"), 1, WORD_MAX) &&
	       storable(word(d, "out"), 1, WORD_MAX) &&
	       storable(word(d, "act"), 0, WORD_MAX) &&
	       storable(word(d, "role"), 1, WORD_MAX) &&
	       storable(word(d, "rt"), 0, WORD_MAX);
}

/* A sender whose clock is ahead must not keep the log from being pruned. */
static int64_t deed_at(const struct deed *d)
{
	int64_t now = wall_ms(), at = mp_find_i64(d->body, "at", d->at);

	return at <= 0 || at > now ? now : at;
}

/* known: nothing else than a request and a resource is told of somebody who is
 * erased. */
static void pack_detail(struct buf *b, const struct deed *d, bool known)
{
	static const char *const texts[] = {"rid", "ri", "ip", "ua"};
	const size_t texts_n = known ? COUNTOF(texts) : 2;
	struct str data = {0};

	mp_map(b, texts_n + 1);
	for (size_t i = 0; i < texts_n; i++)
		mp_kv_str(b, texts[i], word(d, texts[i]));
	mp_text(b, "data");
	if (mp_find(d->body, "data", &data))
		mp_raw(b, data);
}

static enum err add_row(struct db *db, struct end *end, struct audit_row *row,
                        bool *added)
{
	unsigned char hash[AUDIT_HASH];
	int64_t changed = 0;
	enum err e;

	row->seq = end->seq + 1;
	audit_hash(end->hash, row, hash);
	{
		const struct db_val v[] = {
			DB_I64(row->seq),
			DB_STR(row->id),
			DB_I64(row->at),
			DB_STR(row->event),
			DB_STR(row->category),
			DB_STR(row->source),
			DB_STR(row->outcome),
			DB_STR(row->subject),
			DB_STR(row->actor),
			DB_STR(row->role),
			DB_STR(row->resource_type),
			DB_BLOB(row->detail),
			DB_BLOB(((struct str){(const char *)hash, AUDIT_HASH})),
		};

		e = db_change(db, STMT(AUDIT_ADD), v, COUNTOF(v), &changed);
	}
	*added = changed == 1;
	if (!e && *added) {
		end->seq = row->seq;
		memcpy(end->hash, hash, AUDIT_HASH);
	}
	return e;
}

/* The row of a deed and its details; who are as for pseudonym_of(). */
struct writer {
	struct end end;
	struct pseudonym subject, actor;
};

static enum err add_deed(struct db *db, struct writer *w, const struct deed *d)
{
	unsigned char salt[AUDIT_SALT], commitment[AUDIT_HASH];
	const struct str salted = {(const char *)salt, sizeof(salt)};
	struct str act = word(d, "act");
	AUTO_BUF body = {0};
	struct audit_row row;
	bool added = false;
	enum err e = pseudonym_of(db, d->sub, &w->subject);

	if (!e && str_eq(act, d->sub))
		w->actor = w->subject;
	else if (!e)
		e = actor_of(db, act, &w->actor);
	if (e)
		return e;
	pack_detail(&body, d, act.n == 0 || w->actor.n);
	if (body.failed)
		return ERR_NOMEM;
	randombytes_buf(salt, sizeof(salt));
	audit_commit(salted, buf_view(&body), commitment);
	row = (struct audit_row){
		.at = deed_at(d),
		.id = d->id,
		.event = word(d, "ev"),
		.category = word(d, "cat"),
		.source = d->source,
		.outcome = word(d, "out"),
		.subject = shown(&w->subject),
		.actor = shown(&w->actor),
		.role = word(d, "role"),
		.resource_type = word(d, "rt"),
		.detail = {(const char *)commitment, sizeof(commitment)},
	};
	e = add_row(db, &w->end, &row, &added);
	if (!e && added) {
		const struct db_val v[] = {DB_I64(row.seq), DB_BLOB(salted),
		                           DB_BLOB(buf_view(&body))};

		e = db_run(db, STMT(AUDIT_DETAIL_ADD), v, COUNTOF(v), NULL);
	}
	return e;
}

/* --- appending -------------------------------------------------------------------- */

static enum err append(struct db *db, struct writer *w, const struct ctx *cx,
                       const struct audit_note *note)
{
	AUTO_BUF body = {0};
	char id[UUID_MAX];
	struct deed d = {.id = uuid7(id),
	                 .source = STR("gdpr"),
	                 .sub = note->sub,
	                 .at = note->at_ms};

	audit_pack(&body, cx, note);
	if (body.failed)
		return ERR_NOMEM;
	d.body = buf_view(&body);
	return makes_sense(&d) ? add_deed(db, w, &d) : ERR_INTERNAL;
}

enum err audit_append(struct db *db, const struct ctx *cx,
                      const struct audit_note *note)
{
	struct writer w = {0};
	enum err e = open_end(db, &w.end);

	if (!e)
		e = append(db, &w, cx, note);
	return e ? e : close_end(db, &w.end);
}

enum err audit_take(struct db *db, const struct event *const *ev, size_t n)
{
	struct writer w = {0};
	bool open = false;
	enum err e = OK;

	for (size_t i = 0; i < n && !e; i++) {
		const struct deed d = {
			.id = str_from(ev[i]->id),
			.source = ev[i]->source,
			.sub = str_eq(ev[i]->sub, AUDIT_NOBODY) ? STR("")
		                                                : ev[i]->sub,
			.body = ev[i]->body,
			.at = ev[i]->at,
		};

		if (!str_eq(ev[i]->type, AUDIT_TYPE))
			continue;
		if (!makes_sense(&d)) {
			log_error(NULL, "event.skipped",
			          LOG_TEXT("id", ev[i]->id),
			          LOG_STR("source", ev[i]->source),
			          LOG_TEXT("reason", "no possible audit row"));
			continue;
		}
		if (!open)
			e = open_end(db, &w.end);
		open = true;
		if (!e)
			e = add_deed(db, &w, &d);
	}
	return e || !open ? e : close_end(db, &w.end);
}

/* --- forgetting --------------------------------------------------------------------- */

static enum err drop_details(struct db *db, const struct pseudonym *p,
                             int64_t *rows)
{
	const struct db_val v[] = {DB_STR(shown(p))};
	int64_t n = 0;
	enum err e = db_change(db, STMT(AUDIT_DETAIL_DROP), v, COUNTOF(v), &n);

	*rows += n;
	return e;
}

static enum err tell_erased(struct db *db, struct end *end,
                            const struct pseudonym *p)
{
	const enum audit_event ev = AUDIT_IS(ACCOUNT_ERASED);
	char id[UUID_MAX];
	struct audit_row row = {
		.at = wall_ms(),
		.id = uuid7(id),
		.event = str_from(audit_event_name(ev)),
		.category =
			str_from(audit_category_name(audit_event_category(ev))),
		.source = STR("gdpr"),
		.outcome = str_from(audit_outcome_name(AUDIT_OK)),
		.subject = shown(p),
		.actor = STR(""),
		.role = str_from(role_name(ROLE_SERVICE)),
		.resource_type = STR(""),
		.detail = STR(""),
	};
	bool added = false;
	enum err e = add_row(db, end, &row, &added);

	return !e && !added ? ERR_INTERNAL : e;
}

enum err audit_forget(struct db *db, const struct ctx *cx, struct str sub,
                      int64_t *rows)
{
	const struct db_val who[] = {DB_STR(sub)};
	struct pseudonym p;
	int64_t n = 0;
	struct end end;
	enum err e = find_pseudonym(db, sub, &p);

	(void)cx;
	/* Most of them while nobody waits for the head; then those that were
	 * appended meanwhile, and after which there are no more. */
	if (!e && p.n)
		e = drop_details(db, &p, &n);
	if (!e)
		e = open_end(db, &end);
	if (!e)
		e = find_pseudonym(db, sub, &p);
	if (!e && p.n) {
		e = drop_details(db, &p, &n);
		if (!e)
			e = tell_erased(db, &end, &p);
		if (!e)
			e = db_run(db, STMT(AUDIT_PERSON_DROP), who,
			           COUNTOF(who), NULL);
		if (!e)
			e = close_end(db, &end);
	}
	if (!e && rows)
		*rows = n;
	return e;
}

/* --- pruning ------------------------------------------------------------------------- */

struct oldest {
	int64_t before_ms;
	int64_t seq, n; /* the last that may go; how many may */
	bool over;
	unsigned char hash[AUDIT_HASH];
};

static enum err take_old(void *arg, const struct db_row *row)
{
	struct oldest *o = arg;
	struct str hash = db_row_str(row, 2);

	o->over = o->over || db_row_i64(row, 1) >= o->before_ms ||
	          hash.n != AUDIT_HASH;
	if (o->over)
		return OK;
	o->seq = db_row_i64(row, 0);
	o->n++;
	memcpy(o->hash, hash.p, AUDIT_HASH);
	return OK;
}

static enum err cut(struct db *db, const struct oldest *o, int64_t log_seq,
                    int64_t now_ms)
{
	const struct str hash = {(const char *)o->hash, AUDIT_HASH};
	const struct db_val v[] = {DB_I64(o->seq), DB_BLOB(hash),
	                           DB_I64(log_seq), DB_I64(now_ms)};
	enum err e =
		db_run(db, STMT(AUDIT_CHECKPOINT_ADD), v, COUNTOF(v), NULL);

	if (!e)
		e = db_run(db, STMT(AUDIT_DETAIL_CUT), v, 1, NULL);
	return e ? e : db_run(db, STMT(AUDIT_CUT), v, 1, NULL);
}

enum err audit_prune(struct db *db, const struct ctx *cx, int64_t now_ms,
                     int64_t most, int64_t *pruned)
{
	/* A day more than the triggers ask for: clocks differ. */
	struct oldest o = {.before_ms =
	                           now_ms - (AUDIT_KEEP_DAYS + 1) * DAY_MS};
	const struct db_sink sink = {take_old, &o};
	const struct db_val v[] = {DB_I64(most)};
	char text[2 * AUDIT_HASH + 1];
	struct writer w = {0};
	enum err e;

	*pruned = 0;
	if (most < 1 || most > AUDIT_PRUNE_MAX)
		return ERR_INTERNAL;
	e = open_end(db, &w.end);
	if (!e)
		e = db_run(db, STMT(AUDIT_OLDEST), v, COUNTOF(v), &sink);
	if (e || o.n == 0)
		return e;
	{
		const struct audit_note note = {
			.event = AUDIT_IS(AUDIT_PRUNED),
			.resource_type = "audit_log",
			.data = {{.name = "seq", .number = o.seq},
		                 {"hash", hex(o.hash, AUDIT_HASH, text), 0},
		                 {.name = "rows", .number = o.n}},
			.at_ms = now_ms,
		};

		e = append(db, &w, cx, &note);
	}
	if (!e)
		e = cut(db, &o, w.end.seq, now_ms);
	if (!e)
		e = close_end(db, &w.end);
	if (!e)
		*pruned = o.n;
	return e;
}
