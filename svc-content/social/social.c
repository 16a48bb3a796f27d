#include "svc-content/social/social.h"

#include "common/base/b64.h"
#include "svc-content/stmts.h"

#include <sodium.h>

struct str graph_id(struct str topic, char out[GRAPH_ID])
{
	unsigned char sum[crypto_hash_sha256_BYTES];

	(void)crypto_hash_sha256(sum, (const unsigned char *)topic.p, topic.n);
	return hex(sum, GRAPH_ID / 2, out);
}

bool graph_id_valid(struct str id)
{
	for (size_t i = 0; i < id.n; i++)
		if (!(id.p[i] >= '0' && id.p[i] <= '9') &&
		    !(id.p[i] >= 'a' && id.p[i] <= 'f'))
			return false;
	return id.n == GRAPH_ID - 1;
}

/* --- reactions ---------------------------------------------------------------- */

/* Says it, or takes it back where it was said. */
static const struct {
	const struct db_stmt *say, *unsay;
} ways[] = {
	[REACTION_LIKE] = {STMT(REACT_LIKE), STMT(REACT_UNLIKE)},
	[REACTION_RATING] = {STMT(REACT_RATE), STMT(REACT_UNRATE)},
	[REACTION_SHARE] = {STMT(REACT_SHARE), STMT(REACT_UNSHARE)},
};

enum err social_react(struct db *db, const struct reacting *r)
{
	const struct db_val v[] = {DB_STR(r->graph), DB_STR(r->who.sub),
	                           DB_STR(r->who.visitor), DB_I64(r->now_ms),
	                           DB_I64(r->value)};
	enum err e;

	if (r->value)
		return db_run(db, ways[r->what].say, v,
		              r->what == REACTION_RATING ? 5 : 4, NULL);
	e = db_run(db, ways[r->what].unsay, v, 4, NULL);
	/* A row that says nothing any more is kept by nobody. */
	return e ? e : db_run(db, STMT(REACT_NOTHING), v, 3, NULL);
}

enum err social_yield(struct db *db, struct str graph, struct str visitor)
{
	const struct db_val v[] = {DB_STR(graph), DB_STR(visitor)};

	return db_run(db, STMT(REACT_YIELD), v, COUNTOF(v), NULL);
}

enum err social_view(struct db *db, struct str graph, int64_t day,
                     struct str who)
{
	const struct db_val v[] = {DB_STR(graph), DB_I64(day), DB_STR(who)};
	int64_t added = 0;
	enum err e = db_change(db, STMT(VIEW_ADD), v, COUNTOF(v), &added);

	return e || added == 0 ? e : db_run(db, STMT(VIEW_COUNT), v, 1, NULL);
}

/* --- reading -------------------------------------------------------------------- */

static enum err take_sums(void *arg, const struct db_row *row)
{
	struct graph_sums *s = arg;

	*s = (struct graph_sums){db_row_i64(row, 0), db_row_i64(row, 1),
	                         db_row_i64(row, 2), db_row_i64(row, 3),
	                         db_row_i64(row, 4)};
	return OK;
}

enum err social_sums(struct db *db, struct str graph, struct graph_sums *out)
{
	const struct db_val v[] = {DB_STR(graph)};
	const struct db_sink sink = {take_sums, out};

	*out = (struct graph_sums){0};
	return db_run(db, STMT(GRAPH_GET), v, COUNTOF(v), &sink);
}

static enum err take_own(void *arg, const struct db_row *row)
{
	struct own_reaction *o = arg;

	o->liked = db_row_i64(row, 0) != 0;
	o->rating = db_row_i64(row, 1);
	return OK;
}

enum err social_own(struct db *db, struct str graph, const struct reactor *who,
                    struct own_reaction *out)
{
	const struct db_val v[] = {DB_STR(graph), DB_STR(who->sub),
	                           DB_STR(who->visitor)};
	const struct db_sink sink = {take_own, out};

	*out = (struct own_reaction){0};
	return db_run(db, STMT(REACT_OWN), v, COUNTOF(v), &sink);
}

double social_average(const struct graph_sums *s)
{
	if (s->ratings == 0)
		return 0;
	/* Hundredths, rounded half up. */
	return (double)((2 * s->rating_sum + s->ratings) / (2 * s->ratings)) /
	       100;
}
