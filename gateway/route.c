#include "gateway/route.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define AGAIN_RETRY true
#define AGAIN_ONCE  false
#define STATE_BUILT true
#define STATE_LATER false

const struct route routes[] = {
#define ROUTE(verb, path, who, scope, body, rate, ms, csrf, again, keep, \
              service, call, built)                                      \
	{VERB_##verb,    path, ACCESS_##who, SCOPE_##scope, body,        \
	 RATE_##rate,    ms,   CSRF_##csrf,  AGAIN_##again, KEEP_##keep, \
	 PEER_##service, call, STATE_##built},
#include "gateway/routes.def"
#undef ROUTE
};
const size_t routes_n = COUNTOF(routes);

static const char *const verbs[] = {
	[VERB_GET] = "GET",         [VERB_POST] = "POST",
	[VERB_PUT] = "PUT",         [VERB_PATCH] = "PATCH",
	[VERB_DELETE] = "DELETE",   [VERB_HEAD] = "HEAD",
	[VERB_OPTIONS] = "OPTIONS", [VERB_OTHER] = "other",
};

enum verb verb_from_str(struct str s)
{
	for (unsigned i = 0; i < VERB_OTHER; i++)
		if (str_eq(str_from(verbs[i]), s))
			return (enum verb)i;
	return VERB_OTHER;
}

const char *verb_name(enum verb v)
{
	return verbs[v];
}

const char *access_name(enum access a)
{
	static const char *const names[] = {
		[ACCESS_ANYONE] = "anyone",
		[ACCESS_USER] = "user",
		[ACCESS_ADMIN] = "admin",
		[ACCESS_INTERNAL] = "internal",
	};

	return names[a];
}

const char *rate_name(enum rate r)
{
	static const char *const names[RATE_COUNT] = {
		[RATE_HEALTH] = "health",     [RATE_READ] = "read",
		[RATE_WRITE] = "write",       [RATE_LOGIN] = "login",
		[RATE_GENERATE] = "generate", [RATE_EXPORT] = "export",
		[RATE_PRIVACY] = "privacy",   [RATE_ADMIN] = "admin",
		[RATE_INGEST] = "ingest",
	};

	return names[r];
}

const char *route_reason(const struct route *r)
{
	static const struct {
		enum verb verb;
		const char *path, *reason;
	} open[] = {
#define ANYONE(verb, path, reason) {VERB_##verb, path, reason},
#include "gateway/anyone.def"
#undef ANYONE
	};

	for (size_t i = 0; i < COUNTOF(open); i++)
		if (open[i].verb == r->verb &&
		    strcmp(open[i].path, r->path) == 0)
			return open[i].reason;
	return NULL;
}

struct named {
	enum verb verb;
	const char *path;
};

static bool is_named(const struct named *list, size_t n, const struct route *r)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].verb == r->verb &&
		    strcmp(list[i].path, r->path) == 0)
			return true;
	return false;
}

bool route_needs_body(const struct route *r)
{
	static const struct named needs[] = {
#define NEEDS(verb, path) {VERB_##verb, path},
#include "gateway/needs.def"
#undef NEEDS
	};

	return is_named(needs, COUNTOF(needs), r);
}

bool route_heeds_login(const struct route *r)
{
	static const struct named heeds[] = {
#define HEEDS(verb, path, by) {VERB_##verb, path},
#include "gateway/heeds.def"
#undef HEEDS
	};

	return is_named(heeds, COUNTOF(heeds), r);
}

bool route_heeds_cookie(const struct route *r)
{
	static const struct named heeds[] = {
#define BY_COOKIE(verb, path) {VERB_##verb, path},
#define BY_HEADER(verb, path)
#define HEEDS(verb, path, by) BY_##by(verb, path)
#include "gateway/heeds.def"
#undef HEEDS
#undef BY_HEADER
#undef BY_COOKIE
	};

	return r->access != ACCESS_ANYONE || is_named(heeds, COUNTOF(heeds), r);
}

bool route_takes_files(const struct route *r)
{
	static const struct named uploads[] = {
#define UPLOAD(verb, path) {VERB_##verb, path},
#include "gateway/uploads.def"
#undef UPLOAD
	};

	return is_named(uploads, COUNTOF(uploads), r);
}

enum stream route_streams(const struct route *r)
{
	static const struct {
		struct named row;
		enum stream stream;
	} streams[] = {
#define STREAM(verb, path, stream) {{VERB_##verb, path}, STREAM_##stream},
#include "gateway/streams.def"
#undef STREAM
	};

	for (size_t i = 0; i < COUNTOF(streams); i++)
		if (is_named(&streams[i].row, 1, r))
			return streams[i].stream;
	return STREAM_NONE;
}

bool route_gives_csv(const struct route *r)
{
	static const struct named tables[] = {
#define CSV(verb, path) {VERB_##verb, path},
#include "gateway/csv.def"
#undef CSV
	};

	return is_named(tables, COUNTOF(tables), r);
}

/* --- the tree -------------------------------------------------------------- */

struct node {
	struct str segment; /* literal, or the name of a parameter */
	struct node *literals, *param;
	size_t literals_n;
	const struct route *verbs[VERB_ROUTED];
};

struct route_tree {
	struct node root;
};

static int compare(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* As deep as the longest path of the table. */
/* NOLINTNEXTLINE(misc-no-recursion) ROUTE_DEPTH_MAX bounds it */
static void node_fini(struct node *nd)
{
	for (size_t i = 0; i < nd->literals_n; i++)
		node_fini(&nd->literals[i]);
	free(nd->literals);
	if (nd->param)
		node_fini(nd->param);
	free(nd->param);
}

void route_tree_free(struct route_tree *t)
{
	if (!t)
		return;
	node_fini(&t->root);
	free(t);
}

static struct node *param_child(struct node *nd, struct str name)
{
	if (!nd->param) {
		nd->param = calloc(1, sizeof(*nd->param));
		if (nd->param)
			nd->param->segment = name;
	}
	return nd->param;
}

static struct node *find_literal(const struct node *nd, struct str segment,
                                 size_t *at)
{
	size_t lo = 0, hi = nd->literals_n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = compare(nd->literals[mid].segment, segment);

		if (c == 0)
			return &nd->literals[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*at = lo;
	return NULL;
}

/* Kept in order by inserting: the tree is built once, from some 150 rows. */
static struct node *literal_child(struct node *nd, struct str segment)
{
	size_t at = 0;
	struct node *child = find_literal(nd, segment, &at), *grown;

	if (child)
		return child;
	grown = realloc(nd->literals, (nd->literals_n + 1) * sizeof(*grown));
	if (!grown)
		return NULL;
	nd->literals = grown;
	memmove(grown + at + 1, grown + at,
	        (nd->literals_n - at) * sizeof(*grown));
	nd->literals_n++;
	grown[at] = (struct node){.segment = segment};
	return &grown[at];
}

/* The child for one segment of a pattern, made if it is not there. */
static struct node *child_for(struct node *nd, struct str segment)
{
	if (segment.p[0] != '{')
		return literal_child(nd, segment);
	return param_child(nd, (struct str){segment.p + 1, segment.n - 2});
}

static bool insert(struct route_tree *t, const struct route *r)
{
	struct str rest = str_from(r->path + 1);
	struct node *nd = &t->root;
	size_t depth = 0;

	/* Also bounds the parameters: walk() has room for as many. */
	while (rest.n && nd) {
		struct str segment = str_cut(&rest, '/');

		depth++;
		assert(segment.n && depth <= ROUTE_DEPTH_MAX);
		nd = child_for(nd, segment);
	}
	if (!nd)
		return false;
	assert(r->path[0] == '/' && !nd->verbs[r->verb]);
	nd->verbs[r->verb] = r;
	return true;
}

struct route_tree *route_tree_new(const struct route *table, size_t n)
{
	AUTO(route_tree) t = calloc(1, sizeof(*t));
	bool ok = t != NULL;

	/* An internal row is kept for the documents.  Here it is as if it were
	 * not there: no 405 and no Allow tells of it. */
	for (size_t i = 0; ok && i < n; i++)
		ok = table[i].access == ACCESS_INTERNAL || insert(t, &table[i]);
	return ok ? STEAL(t) : NULL; /* NOLINT: AUTO frees t, unseen */
}

static bool ends_here(const struct node *nd)
{
	for (size_t i = 0; i < VERB_ROUTED; i++)
		if (nd->verbs[i])
			return true;
	return false;
}

/*
 * Tries the literal child first and comes back for the parameter: a path may
 * begin like a literal and still belong to a parameter ("/graphs/id/stats").
 * The depth of the tree bounds both the recursion and the detours.
 */
/* NOLINTNEXTLINE(misc-no-recursion) ROUTE_DEPTH_MAX bounds it */
static const struct node *walk(const struct node *nd, struct str rest,
                               struct route_match *m)
{
	struct str segment;
	const struct node *child, *found;
	size_t at, params_n = m->params_n;

	if (!rest.p)
		return ends_here(nd) ? nd : NULL;
	segment = str_cut(&rest, '/');
	if (segment.p + segment.n == rest.p)
		rest.p =
			NULL; /* no slash followed: this was the last segment */
	child = find_literal(nd, segment, &at);
	found = child ? walk(child, rest, m) : NULL;
	if (found || !nd->param || segment.n == 0)
		return found;
	m->params_n = params_n;
	m->params[m->params_n++] =
		(struct route_param){nd->param->segment, segment};
	return walk(nd->param, rest, m);
}

bool route_find(const struct route_tree *t, struct str path,
                struct route_match *out)
{
	struct route_match m = {0};
	const struct node *nd;

	if (path.n == 0 || path.p[0] != '/')
		return false;
	path.p++;
	path.n--;
	if (path.n == 0)
		nd = ends_here(&t->root) ? &t->root : NULL;
	else
		nd = walk(&t->root, path, &m);
	if (!nd)
		return false;
	memcpy(m.verbs, nd->verbs, sizeof(m.verbs));
	*out = m;
	return true;
}

const struct route *route_for(const struct route_match *m, enum verb v)
{
	if (v == VERB_HEAD)
		v = VERB_GET;
	return v < VERB_ROUTED ? m->verbs[v] : NULL;
}

struct str route_allow(const struct route_match *m, char out[ROUTE_ALLOW_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < VERB_ROUTED; i++)
		if (m->verbs[i])
			n += (size_t)snprintf(out + n, ROUTE_ALLOW_MAX - n,
			                      "%s, ", verbs[i]);
	if (m->verbs[VERB_GET])
		n += (size_t)snprintf(out + n, ROUTE_ALLOW_MAX - n, "HEAD, ");
	n += (size_t)snprintf(out + n, ROUTE_ALLOW_MAX - n, "OPTIONS");
	return (struct str){out, n};
}
