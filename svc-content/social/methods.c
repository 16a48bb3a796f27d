/* The routes of /api/social/graphs (contract 2.2.6). */
#include "svc-content/methods.h"
#include "svc-content/content.h"
#include "svc-content/restricted.h"
#include "svc-content/social/day.h"
#include "svc-content/social/social.h"
#include "svc-content/social/visitor.h"
#include "svc-content/stmts.h"

#include "common/base/clock.h"
#include "common/base/net.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static enum err packed(const struct reply *out)
{
	return out->body.failed ? ERR_NOMEM : OK;
}

static enum err named(struct ctx *cx, struct str id)
{
	return graph_id_valid(id)
	               ? OK
	               : ctx_fail(cx, ERR_NOT_FOUND,
	                          "A graph's id has 16 lower-case hexadecimal "
	                          "digits: POST /api/social/graphs/id tells "
	                          "it.");
}

/* --- the id, and a view --------------------------------------------------------- */

struct looking {
	struct ctx *cx;
	struct str topic;
	int64_t now_ms;
};

/* What a looker is known by today: the account, or network and browser. */
static struct str looker(const struct ctx *cx, const struct day_key *k,
                         char out[DAY_HASH])
{
	char net[NET_TEXT_MAX];
	const struct str person[] = {STR("person"), cx->sub};
	const struct str guest[] = {STR("guest"), net_text(cx->ip, net),
	                            cx->ua};

	return cx->sub.n ? day_hash(k, person, COUNTOF(person), out)
	                 : day_hash(k, guest, COUNTOF(guest), out);
}

/* An idem_fn. */
static enum err look(struct db *db, void *arg, struct reply *out)
{
	struct looking *l = arg;
	struct str id;
	char text[GRAPH_ID], who[DAY_HASH];
	struct day_key k;
	bool restricted = false;
	enum err e = OK;

	id = graph_id(l->topic, text);
	if (l->cx->sub.n)
		e = restricted_is(db, l->cx->sub, &restricted);
	if (!e && !restricted) {
		e = day_key_get(db, l->now_ms, &k);
		if (!e)
			e = social_view(db, id, k.day, looker(l->cx, &k, who));
	}
	if (e)
		return e;
	mp_map(&out->body, 3);
	mp_kv_bool(&out->body, "success", true);
	mp_kv_str(&out->body, "graph_id", id);
	mp_kv_str(&out->body, "topic", l->topic);
	return packed(out);
}

enum err method_graph_id(void *state, struct ctx *cx, const void *in,
                         struct reply *out)
{
	const struct graph_id_in *r = in;
	struct content *ct = state;
	struct looking l = {cx, r->topic, wall_ms()};

	return idem_write(ct->idem, cx, look, &l, out);
}

/* --- what everybody sees, and one's own ------------------------------------------ */

struct stats {
	struct ctx *cx;
	struct str graph;
	struct graph_sums sums;
	struct own_reaction own;
};

/* The genuine visitor of the request, or empty. */
static enum err visitor_of(struct db *db, const struct ctx *cx,
                           char id[VISITOR_ID])
{
	struct visitor_key k;
	enum err e;

	id[0] = '\0';
	if (!cx->visitor.n)
		return OK;
	e = visitor_key_get(db, &k);
	if (!e)
		(void)visitor_read(&k, cx->visitor, wall_ms() / 1000, id);
	return e == ERR_NOT_FOUND ? OK : e;
}

static enum err read_stats(struct db *db, void *arg)
{
	struct stats *s = arg;
	struct reactor who = {.sub = s->cx->sub};
	char id[VISITOR_ID];
	enum err e = social_sums(db, s->graph, &s->sums);

	if (!e && !who.sub.n) {
		e = visitor_of(db, s->cx, id);
		who.visitor = str_from(id);
	}
	if (e || (!who.sub.n && !who.visitor.n))
		return e;
	return social_own(db, s->graph, &who, &s->own);
}

static void put_rating(struct buf *b, int64_t hundredths)
{
	if (hundredths == 0)
		mp_kv_nil(b, "rating");
	else if (hundredths % 100 == 0)
		mp_kv_i64(b, "rating", hundredths / 100);
	else
		mp_kv_f64(b, "rating", (double)hundredths / 100);
}

static void put_ratings(struct buf *b, const struct graph_sums *s)
{
	mp_kv_f64(b, "average_rating", social_average(s));
	mp_kv_i64(b, "total_ratings", s->ratings);
}

enum err method_graph_stats(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	const struct graph_stats_in *r = in;
	struct content *ct = state;
	struct stats s = {.cx = cx, .graph = r->id};
	struct buf *b = &out->body;
	enum err e = named(cx, r->id);

	if (!e)
		e = db_read(ct->pool, cx, read_stats, &s);
	if (e)
		return e;
	mp_map(b, 3);
	mp_kv_bool(b, "success", true);
	mp_kv_map(b, "stats", 5);
	mp_kv_i64(b, "likes", s.sums.likes);
	put_ratings(b, &s.sums);
	mp_kv_i64(b, "views", s.sums.views);
	mp_kv_i64(b, "shares", s.sums.shares);
	mp_kv_map(b, "user_interaction", 2);
	mp_kv_bool(b, "liked", s.own.liked);
	put_rating(b, s.own.rating);
	return packed(out);
}

/* --- reacting ------------------------------------------------------------------- */

struct reaction_job {
	struct ctx *cx;
	struct reacting r;
	char visitor[VISITOR_ID];
	char cookie[VISITOR_COOKIE_MAX + 24]; /* "<seconds> <value>" */
};

/* A new visitor, whose cookie goes out with the answer. */
static enum err admit(struct db *db, struct reaction_job *j, struct reply *out)
{
	char value[VISITOR_COOKIE_MAX];
	struct visitor_key k;
	struct str made;
	enum err e = visitor_key_need(db, j->r.now_ms, &k);
	int n;

	if (e)
		return e;
	made = visitor_make(&k, j->r.now_ms / 1000, j->visitor, value);
	n = snprintf(j->cookie, sizeof(j->cookie), "%" PRId64 " %.*s",
	             VISITOR_S, STR_FMT(made));
	out->headers[out->headers_n].name = STR(VISITOR_HEADER);
	out->headers[out->headers_n++].value =
		(struct str){j->cookie, (size_t)n};
	return OK;
}

/* Who reacts; nobody: a guest who takes back what they have not said. */
static enum err find_reactor(struct db *db, struct reaction_job *j,
                             struct reply *out)
{
	struct reactor *who = &j->r.who;
	enum err e = visitor_of(db, j->cx, j->visitor);

	*who = (struct reactor){.sub = j->cx->sub};
	if (!e && who->sub.n) {
		e = restricted_refuse(db, who->sub);
		if (!e && j->visitor[0])
			e = social_yield(db, j->r.graph, str_from(j->visitor));
		return e;
	}
	if (!e && !j->visitor[0] && j->r.value)
		e = admit(db, j, out);
	who->visitor = str_from(j->visitor);
	return e;
}

static void say(struct buf *b, const struct reacting *r,
                const struct graph_sums *s)
{
	switch (r->what) {
	case REACTION_LIKE:
		mp_map(b, 3);
		mp_kv_bool(b, "liked", r->value != 0);
		mp_kv_i64(b, "likes", s->likes);
		break;
	case REACTION_RATING:
		mp_map(b, 4);
		put_rating(b, r->value);
		put_ratings(b, s);
		break;
	case REACTION_SHARE:
		mp_map(b, 2);
		mp_kv_i64(b, "shares", s->shares);
		break;
	}
	mp_kv_bool(b, "success", true);
}

/* An idem_fn. */
static enum err react(struct db *db, void *arg, struct reply *out)
{
	struct reaction_job *j = arg;
	struct graph_sums sums;
	enum err e = find_reactor(db, j, out);

	if (!e && (j->r.who.sub.n || j->r.who.visitor.n))
		e = social_react(db, &j->r);
	if (!e)
		e = social_sums(db, j->r.graph, &sums);
	if (e)
		return e;
	say(&out->body, &j->r, &sums);
	return packed(out);
}

static enum err run(struct content *ct, struct ctx *cx, struct str graph,
                    enum reaction what, int64_t value, struct reply *out)
{
	/* In the arena: the header of the reply points there. */
	struct reaction_job *j = arena_alloc(cx->arena, sizeof(*j));
	enum err e = named(cx, graph);

	if (e)
		return e;
	if (!j)
		return ERR_NOMEM;
	*j = (struct reaction_job){.cx = cx,
	                           .r = {.graph = graph,
	                                 .what = what,
	                                 .value = value,
	                                 .now_ms = wall_ms()}};
	return idem_write(ct->idem, cx, react, j, out);
}

enum err method_graph_like(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	const struct graph_like_in *r = in;

	return run(state, cx, r->id, REACTION_LIKE, r->liked, out);
}

/* null takes a rating back, and nothing at all is a mistake. */
static bool is_named_in(const struct ctx *cx, const char *member)
{
	struct str ignored;

	return !cx->effect || mp_find(cx->effect->body, member, &ignored);
}

enum err method_graph_rate(void *state, struct ctx *cx, const void *in,
                           struct reply *out)
{
	const struct graph_rate_in *r = in;

	if (!is_named_in(cx, "rating"))
		return ctx_fault(cx, "/rating", "REQUIRED",
		                 "rating is required: 1 to 5, or null to take "
		                 "it back.");
	return run(state, cx, r->id, REACTION_RATING, llround(r->rating * 100),
	           out);
}

enum err method_graph_share(void *state, struct ctx *cx, const void *in,
                            struct reply *out)
{
	const struct graph_share_in *r = in;

	return run(state, cx, r->id, REACTION_SHARE, 1, out);
}

/* --- lists ---------------------------------------------------------------------- */

struct listing {
	struct buf rows;
	size_t n;
	bool trending;
};

static enum err add_row(void *arg, const struct db_row *row)
{
	struct listing *l = arg;
	struct buf *b = &l->rows;
	const struct graph_sums s = {db_row_i64(row, 1), db_row_i64(row, 2),
	                             db_row_i64(row, 3), db_row_i64(row, 4),
	                             db_row_i64(row, 5)};

	mp_map(b, l->trending ? 7 : 5);
	mp_kv_str(b, "graph_id", db_row_str(row, 0));
	mp_kv_i64(b, "likes", s.likes);
	put_ratings(b, &s);
	mp_kv_i64(b, "views", s.views);
	if (l->trending) {
		mp_kv_i64(b, "shares", s.shares);
		mp_kv_f64(b, "score",
		          (double)(200 * s.likes + s.rating_sum) / 100);
	}
	l->n++;
	return b->failed ? ERR_NOMEM : OK;
}

static enum err list(struct content *ct, struct ctx *cx,
                     const struct db_stmt *st, const struct db_val *v, size_t n,
                     const char *name, struct reply *out)
{
	struct listing l = {.trending = st == STMT(GRAPHS_TRENDING)};
	const struct db_sink sink = {add_row, &l};
	struct buf *b = &out->body;
	enum err e = db_ask(ct->pool, cx, st, v, n, &sink);

	if (!e) {
		mp_map(b, 2);
		mp_kv_bool(b, "success", true);
		mp_kv_array(b, name, l.n);
		mp_raw(b, buf_view(&l.rows));
		e = packed(out);
	}
	buf_fini(&l.rows);
	return e;
}

enum err method_graphs_trending(void *state, struct ctx *cx, const void *in,
                                struct reply *out)
{
	const struct graphs_trending_in *r = in;
	const struct db_val v[] = {DB_I64(r->limit)};

	return list(state, cx, STMT(GRAPHS_TRENDING), v, COUNTOF(v), "trending",
	            out);
}

enum err method_graphs_top_rated(void *state, struct ctx *cx, const void *in,
                                 struct reply *out)
{
	const struct graphs_top_rated_in *r = in;
	const struct db_val v[] = {DB_I64(r->limit), DB_I64(r->min_ratings)};

	return list(state, cx, STMT(GRAPHS_TOP), v, COUNTOF(v), "top_rated",
	            out);
}
