#include "common/event/store.h"

#include "common/base/clock.h"
#include "common/base/trace.h"
#include "common/base/uuid.h"
#include "common/codec/mp.h"

#include <stdlib.h>

/*
 * The first rows of the subjects that come after $2, without looking at what is
 * behind them: a step of `h` leaps from a subject to the next in the index
 * (target, sub, seq), until the rows of those behind it come to $4.  So a look
 * costs what it brings back, whether the backlog is of one subject or of a
 * hundred thousand.  $5 rows of each subject at most, together and in order.
 */
#define BEHIND(sub)                                               \
	" FROM @outbox AS n WHERE n.target = $1 AND n.sub > " sub \
	" ORDER BY n.sub, n.seq LIMIT 1)"
#define FIRST "(SELECT n.sub" BEHIND("$2") ", (SELECT n.seq" BEHIND("$2")
#define NEXT  "(SELECT n.sub" BEHIND("h.sub") ", (SELECT n.seq" BEHIND("h.sub")
#define OWNED                                                 \
	"o.shard IN (SELECT l.shard FROM @outbox_lease AS l " \
	"WHERE l.owner = $3)"
#define DUE(owned, rows)                                                  \
	"WITH RECURSIVE h (sub, seq, before) AS ("                        \
	"SELECT " FIRST ", CAST(0 AS BIGINT) UNION ALL SELECT " NEXT ", " \
	"h.before + (SELECT count(*) FROM @outbox AS o "                  \
	"WHERE o.target = $1 AND o.sub = h.sub AND o.seq >= h.seq "       \
	"AND o.seq < h.seq + $5 AND " owned                               \
	") FROM h WHERE h.sub IS NOT NULL AND h.before < $4) "            \
	"SELECT o.id, o.sub, o.seq, o.type, o.body, o.at, o.tp "          \
	"FROM h CROSS JOIN " rows " AND h.before < $4 AND " owned         \
	" ORDER BY o.sub, o.seq"
/*
 * Both are told to look up the rows of one h after the other: left to itself
 * either planner reads the whole table now and then, whatever it knows of it.
 * SQLite takes CROSS JOIN for an order, PostgreSQL needs a LIMIT inside.
 */
#define ROWS_SQLITE                                           \
	"@outbox AS o WHERE o.target = $1 AND o.sub = h.sub " \
	"AND o.seq >= h.seq AND o.seq < h.seq + $5"
#define ROWS_POSTGRES                                                  \
	"LATERAL (SELECT * FROM @outbox AS r WHERE r.target = $1 "     \
	"AND r.sub = h.sub AND r.seq >= h.seq AND r.seq < h.seq + $5 " \
	"ORDER BY r.seq LIMIT $5) AS o WHERE true"
#define ALL_SHARDS                                                   \
	"(VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), " \
	"(10), (11), (12), (13), (14), (15))"
_Static_assert(EVENT_SHARDS == 16, "ALL_SHARDS lists them");
#define NOW "(extract(epoch FROM now()) * 1000)::bigint"

static const struct db_stmt rows[ES_COUNT] = {
	/* The row lock makes emitters of one subject commit in order of seq. */
	[ES_NEXT_SEQ] = {"event.next_seq",
                         "INSERT INTO @outbox_seq AS s (target, sub, seq) "
                         "VALUES ($1, $2, 1) ON CONFLICT (target, sub) "
                         "DO UPDATE SET seq = s.seq + 1",
                         NULL},
	/* After it, in the same transaction; neither needs an answer. */
	[ES_INSERT] = {"event.insert",
                       "INSERT INTO @outbox "
                       "(id, target, sub, seq, shard, type, body, at, tp) "
                       "SELECT $3, $1, $2, s.seq, $4, $5, $6, $7, $8 "
                       "FROM @outbox_seq AS s "
                       "WHERE s.target = $1 AND s.sub = $2",
                       NULL},
	/* These two apply at most once also when two replicas of a receiver
         * meet: the second waits for the first's row, then changes none. */
	[ES_INBOX_FIRST] = {"event.inbox_first",
                            "INSERT INTO @inbox (source, sub, seq) "
                            "VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                            NULL},
	[ES_INBOX_NEXT] = {"event.inbox_next",
                           "UPDATE @inbox SET seq = $3 WHERE source = $1 "
                           "AND sub = $2 AND seq = $4",
                           NULL},
	[ES_INBOX_LAST] = {"event.inbox_last",
                           "SELECT seq FROM @inbox "
                           "WHERE source = $1 AND sub = $2",
                           NULL},
	/* Times are the server's, so that clocks of replicas need not agree.
         * A lease that ends later than anybody asks for is from before the
         * server's clock was set back, and would keep its dead owner's shards
         * for as long. */
	[ES_LEASE] = {"event.lease", "SELECT $1, $2",
                      "INSERT INTO @outbox_lease AS l (shard, owner, until) "
                      "SELECT s.column1, $1, " NOW " + $2 "
                      "FROM " ALL_SHARDS " AS s WHERE true ON CONFLICT (shard) "
                      "DO UPDATE SET owner = excluded.owner, "
                      "until = excluded.until WHERE l.owner = excluded.owner "
                      "OR l.until NOT BETWEEN " NOW " AND " NOW " + 2 * $2 "
                      "RETURNING shard"},
	[ES_RELEASE] = {"event.release",
                        "DELETE FROM @outbox_lease WHERE owner = $1", NULL},
	/* $3 is NULL where there are no leases. */
	[ES_DUE] = {"event.due", DUE("($3 IS NULL OR " OWNED ")", ROWS_SQLITE),
                    DUE(OWNED, ROWS_POSTGRES)},
	[ES_ACKED] = {"event.acked",
                      "DELETE FROM @outbox "
                      "WHERE target = $1 AND sub = $2 AND seq <= $3",
                      NULL},
	[ES_BACKLOG] = {"event.backlog",
                        "SELECT count(*), min(at) FROM @outbox", NULL},
	[ES_FORGET] = {"event.forget_outbox",
                       "DELETE FROM @outbox WHERE sub = $1", NULL},
	[ES_FORGET + 1] = {"event.forget_seq",
                           "DELETE FROM @outbox_seq WHERE sub = $1", NULL},
	[ES_FORGET + 2] = {"event.forget_inbox",
                           "DELETE FROM @inbox WHERE sub = $1", NULL},
};

const char *const event_forget_tables[EVENT_FORGET_TABLES] = {"outbox",
                                                              "outbox_seq",
                                                              "inbox"};

struct event_store *event_store_new(const char *service)
{
	struct event_store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->st = db_stmts_for(rows, ES_COUNT, service);
	if (!s->st) {
		free(s);
		return NULL;
	}
	return s;
}

void event_store_free(struct event_store *s)
{
	if (!s)
		return;
	free(s->st);
	free(s);
}

void event_store_erased(struct event_store *s, struct erased *t)
{
	s->erased = t;
}

enum err event_forget(struct event_store *s, struct db *db, struct str sub,
                      int64_t rows_n[EVENT_FORGET_TABLES])
{
	const struct db_val v[] = {DB_STR(sub)};
	enum err e = OK;

	for (size_t i = 0; !e && i < EVENT_FORGET_TABLES; i++)
		e = db_change(db, &s->st[ES_FORGET + i], v, COUNTOF(v),
		              &rows_n[i]);
	return e;
}

uint64_t event_hash(struct str s)
{
	uint64_t h = 0xcbf29ce484222325U;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3U;
	return h;
}

/* What an event's effect is a child of. */
static struct str cause(const struct ctx *cx, char tp[TRACE_PARENT_MAX])
{
	struct trace_parent ignored;

	if (cx->span)
		return span_tp(cx->span, tp);
	return trace_parse(cx->tp, &ignored) ? cx->tp : STR("");
}

enum err event_emit(struct event_store *s, struct db *db, enum bus_peer target,
                    struct str sub, struct str type, struct str body,
                    int64_t now_ms)
{
	const struct str to = str_from(bus_peer_name(target));
	char id[UUID_MAX], tp[TRACE_PARENT_MAX];
	enum err e;

	/* What the receiver would refuse would wait for ever. */
	if (sub.n == 0 || sub.n > EVENT_NAME_MAX || type.n == 0 ||
	    type.n > EVENT_NAME_MAX || body.n > EVENT_BODY_MAX ||
	    !mp_valid(body))
		return ERR_INTERNAL;
	const struct db_val v[] = {
		DB_STR(to),
		DB_STR(sub),
		DB_STR(uuid7(id)),
		DB_I64((int64_t)(event_hash(sub) % EVENT_SHARDS)),
		DB_STR(type),
		DB_BLOB(body),
		DB_I64(now_ms),
		DB_STR(cause(db_cx(db), tp)),
	};

	e = db_later(db, &s->st[ES_NEXT_SEQ], v, 2, NULL);
	return e ? e : db_later(db, &s->st[ES_INSERT], v, COUNTOF(v), NULL);
}

/* --- the inbox ------------------------------------------------------------- */

static enum err advance(struct event_store *s, struct db *db,
                        const struct event *ev, int64_t from, int64_t to,
                        bool *advanced)
{
	const struct db_val v[] = {DB_STR(ev->source), DB_STR(ev->sub),
	                           DB_I64(to), DB_I64(from - 1)};
	int64_t changed = 0;
	enum err e;

	if (from == 1)
		e = db_change(db, &s->st[ES_INBOX_FIRST], v, 3, &changed);
	else
		e = db_change(db, &s->st[ES_INBOX_NEXT], v, COUNTOF(v),
		              &changed);
	*advanced = changed > 0;
	return e;
}

enum err inbox_accept(struct event_store *s, struct db *db,
                      const struct event *ev, size_t n, size_t *skip,
                      int64_t *want)
{
	const struct db_val v[] = {DB_STR(ev->source), DB_STR(ev->sub)};
	int64_t first = ev->seq, last = first + (int64_t)n - 1, had = 0;
	bool advanced = false;
	enum err e;

	if (first < 1)
		return ERR_INVALID;
	e = advance(s, db, ev, first, last, &advanced);
	if (!e && !advanced) {
		e = db_get_i64(db, &s->st[ES_INBOX_LAST], v, COUNTOF(v), &had);
		if (e == ERR_NOT_FOUND)
			e = OK;
		if (!e && (had >= last || had + 1 < first)) {
			*skip = n;
			*want = had + 1;
			return OK;
		}
		if (!e)
			e = advance(s, db, ev, had + 1, last, &advanced);
	}
	if (e)
		return e;
	/* Another replica came between the two looks. */
	if (!advanced)
		return ERR_CONFLICT;
	*skip = had >= first ? (size_t)(had - first + 1) : 0;
	*want = last + 1;
	return OK;
}

enum err event_accept(struct event_store *s, struct db *db,
                      const struct event *ev, enum event_verdict *verdict,
                      int64_t *want)
{
	size_t skip = 0;
	int64_t next = 0;
	enum err e = inbox_accept(s, db, ev, 1, &skip, &next);

	if (e)
		return e;
	*verdict = skip == 0        ? EVENT_APPLY
	           : next > ev->seq ? EVENT_REPEAT
	                            : EVENT_AHEAD;
	*want = next;
	return OK;
}
