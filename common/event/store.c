#include "common/event/store.h"

#include "common/base/clock.h"
#include "common/base/uuid.h"
#include "common/codec/mp.h"

#include <stdlib.h>

/* The oldest row of a subject: what its receiver wants next. */
#define HEADS                                                                   \
	"SELECT h.sub AS sub, h.seq AS seq, h.shard AS shard, h.at AS at "      \
	"FROM @outbox AS h WHERE h.target = $1 AND h.shard >= $2 AND "          \
	"NOT EXISTS (SELECT 1 FROM @outbox AS p WHERE p.target = h.target AND " \
	"p.sub = h.sub AND p.seq < h.seq) "
#define DUE(owned)                                                  \
	"SELECT o.id, o.sub, o.seq, o.type, o.body, o.at, o.shard " \
	"FROM @outbox AS o JOIN (" HEADS owned                      \
	"ORDER BY h.shard, h.at LIMIT $4) AS d ON o.sub = d.sub "   \
	"WHERE o.target = $1 AND o.seq < d.seq + 64 "               \
	"ORDER BY d.shard, d.at, o.sub, o.seq LIMIT $5"
#define ALL_SHARDS                                                   \
	"(VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), " \
	"(10), (11), (12), (13), (14), (15))"
_Static_assert(EVENT_SHARDS == 16, "ALL_SHARDS lists them");
_Static_assert(EVENT_BATCH == 64, "DUE takes as many of each subject");

static const struct db_stmt rows[ES_COUNT] = {
	/* The row lock makes emitters of one subject commit in order of seq. */
	[ES_NEXT_SEQ] = {"event.next_seq",
                         "INSERT INTO @outbox_seq AS s (target, sub, seq) "
                         "VALUES ($1, $2, 1) ON CONFLICT (target, sub) "
                         "DO UPDATE SET seq = s.seq + 1 RETURNING seq",
                         NULL},
	[ES_INSERT] = {"event.insert",
                       "INSERT INTO @outbox "
                       "(id, target, sub, seq, shard, type, body, at) "
                       "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                       NULL},
	/* These two apply at most once also when two replicas of a receiver
         * meet: the second waits for the first's row, then changes none. */
	[ES_INBOX_FIRST] = {"event.inbox_first",
                            "INSERT INTO @inbox (source, sub, seq) "
                            "VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                            NULL},
	[ES_INBOX_NEXT] = {"event.inbox_next",
                           "UPDATE @inbox SET seq = $3 WHERE source = $1 "
                           "AND sub = $2 AND seq = $3 - 1",
                           NULL},
	[ES_INBOX_LAST] = {"event.inbox_last",
                           "SELECT seq FROM @inbox "
                           "WHERE source = $1 AND sub = $2",
                           NULL},
	/* Times are the server's, so that clocks of replicas need not agree. */
	[ES_LEASE] = {"event.lease", "SELECT $1, $2",
                      "INSERT INTO @outbox_lease AS l (shard, owner, until) "
                      "SELECT s.column1, $1, "
                      "(extract(epoch FROM now()) * 1000)::bigint + $2 "
                      "FROM " ALL_SHARDS " AS s ON CONFLICT (shard) "
                      "DO UPDATE SET owner = excluded.owner, "
                      "until = excluded.until WHERE l.owner = excluded.owner "
                      "OR l.until < (extract(epoch FROM now()) * 1000)::bigint "
                      "RETURNING shard"},
	[ES_RELEASE] = {"event.release",
                        "DELETE FROM @outbox_lease WHERE owner = $1", NULL},
	[ES_DUE] = {"event.due", DUE(""),
                    DUE("AND h.shard IN (SELECT l.shard FROM @outbox_lease "
                        "AS l WHERE l.owner = $3) ")},
	[ES_ACKED] = {"event.acked",
                      "DELETE FROM @outbox "
                      "WHERE target = $1 AND sub = $2 AND seq <= $3",
                      NULL},
	[ES_BACKLOG] = {"event.backlog",
                        "SELECT count(*), min(at) FROM @outbox", NULL},
};

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

uint64_t event_hash(struct str s)
{
	uint64_t h = 0xcbf29ce484222325U;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3U;
	return h;
}

enum err event_emit(struct event_store *s, struct db *db, enum bus_peer target,
                    struct str sub, struct str type, struct str body,
                    int64_t now_ms)
{
	const struct str to = str_from(bus_peer_name(target));
	const struct db_val key[] = {DB_STR(to), DB_STR(sub)};
	char id[UUID_MAX];
	int64_t seq = 0;
	enum err e;

	if (sub.n == 0 || type.n == 0 || !mp_valid(body))
		return ERR_INTERNAL;
	e = db_get_i64(db, &s->st[ES_NEXT_SEQ], key, COUNTOF(key), &seq);
	if (!e) {
		const struct db_val v[] = {
			DB_STR(uuid7(id)),
			DB_STR(to),
			DB_STR(sub),
			DB_I64(seq),
			DB_I64((int64_t)(event_hash(sub) % EVENT_SHARDS)),
			DB_STR(type),
			DB_BLOB(body),
			DB_I64(now_ms),
		};

		e = db_run(db, &s->st[ES_INSERT], v, COUNTOF(v), NULL);
	}
	return e;
}

enum err event_accept(struct event_store *s, struct db *db,
                      const struct event *ev, enum event_verdict *verdict,
                      int64_t *want)
{
	const struct db_val v[] = {DB_STR(ev->source), DB_STR(ev->sub),
	                           DB_I64(ev->seq)};
	const struct db_stmt *advance =
		&s->st[ev->seq == 1 ? ES_INBOX_FIRST : ES_INBOX_NEXT];
	int64_t changed = 0, last = 0;
	enum err e;

	if (ev->seq < 1)
		return ERR_INVALID;
	e = db_change(db, advance, v, COUNTOF(v), &changed);
	if (!e && changed) {
		*verdict = EVENT_APPLY;
		*want = ev->seq + 1;
		return OK;
	}
	if (!e)
		e = db_get_i64(db, &s->st[ES_INBOX_LAST], v, 2, &last);
	if (e && e != ERR_NOT_FOUND)
		return e;
	*verdict = ev->seq <= last ? EVENT_REPEAT : EVENT_AHEAD;
	*want = last + 1;
	return OK;
}
