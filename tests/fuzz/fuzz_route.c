/*
 * fuzz_route - a request line, and which row of routes.def answers it: the tree
 * finds what a walk over the table finds, with the same parameters, and never a
 * row that is for no client.
 */
#include "gateway/head.h"
#include "gateway/route.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Whether a pattern has a path, segment by segment; shape then says of each
 * whether it is a parameter.  Where several have it the first literal wins.
 */
static bool fits(const char *pattern, struct str path,
                 char shape[ROUTE_DEPTH_MAX + 1])
{
	struct str p = str_from(pattern), s = path;
	size_t n = 0;

	memset(shape, 0, ROUTE_DEPTH_MAX + 1);
	if (s.n == 0 || s.p[0] != '/')
		return false;
	for (;;) {
		struct str want, got;
		bool more;

		(void)str_cut(&p, '/'); /* what stands before a '/' is empty */
		(void)str_cut(&s, '/');
		want = p;
		got = s;
		want.n =
			p.n && memchr(p.p, '/', p.n)
				? (size_t)((const char *)memchr(p.p, '/', p.n) -
		                           p.p)
				: p.n;
		got.n = s.n && memchr(s.p, '/', s.n)
		                ? (size_t)((const char *)memchr(s.p, '/', s.n) -
		                           s.p)
		                : s.n;
		if (want.n && want.p[0] == '{') {
			if (got.n == 0)
				return false;
			shape[n++] = 'p';
		} else if (str_eq(want, got)) {
			shape[n++] = 'l';
		} else {
			return false;
		}
		more = want.n < p.n;
		if (more != (got.n < s.n))
			return false;
		if (!more)
			return true;
		p = (struct str){p.p + want.n, p.n - want.n};
		s = (struct str){s.p + got.n, s.n - got.n};
	}
}

/* What the table itself says of a path. */
static bool look_up(struct str path, const struct route *out[VERB_ROUTED],
                    char best[ROUTE_DEPTH_MAX + 1])
{
	char shape[ROUTE_DEPTH_MAX + 1];

	best[0] = '\0';
	memset(out, 0, VERB_ROUTED * sizeof(out[0]));
	for (size_t i = 0; i < routes_n; i++) {
		const struct route *r = &routes[i];

		if (r->access == ACCESS_INTERNAL || !fits(r->path, path, shape))
			continue;
		/* 'l' is before 'p'. */
		if (!best[0] || strcmp(shape, best) < 0) {
			memcpy(best, shape, sizeof(shape));
			memset(out, 0, VERB_ROUTED * sizeof(out[0]));
		}
		if (strcmp(shape, best) == 0)
			out[r->verb] = r;
	}
	return best[0] != '\0';
}

static void parameters_are_slices(const struct route_match *m, struct str path,
                                  const char *shape)
{
	size_t n = 0;

	for (const char *s = shape; *s; s++)
		n += *s == 'p';
	assert(m->params_n == n);
	for (size_t i = 0; i < n; i++) {
		struct str v = m->params[i].value;

		assert(m->params[i].name.n && v.n);
		assert(v.p > path.p && v.p + v.n <= path.p + path.n);
		assert(v.p[-1] == '/' && !memchr(v.p, '/', v.n));
		assert(v.p + v.n == path.p + path.n || v.p[v.n] == '/');
	}
}

static void allow_is_what_there_is(const struct route_match *m)
{
	char text[ROUTE_ALLOW_MAX];
	struct str rest = route_allow(m, text);
	unsigned listed = 0, there = 0;

	while (rest.n) {
		struct str name = str_trim(str_cut(&rest, ','));
		enum verb v = verb_from_str(name);

		assert(v == VERB_OPTIONS || route_for(m, v));
		listed++;
	}
	for (int v = 0; v < VERB_OTHER; v++)
		there += v == VERB_OPTIONS || route_for(m, (enum verb)v);
	assert(listed == there);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct route_tree *tree;
	const struct route *want[VERB_ROUTED];
	char shape[ROUTE_DEPTH_MAX + 1];
	struct str target = {(const char *)data, size};
	struct str method = str_cut(&target, ' ');
	struct route_match m = {0};
	struct head h = {0};
	enum verb verb = verb_from_str(method);

	if (!tree)
		tree = route_tree_new(routes, routes_n);
	if (!tree)
		return 0;
	assert(verb == VERB_OTHER || str_eq(method, str_from(verb_name(verb))));
	head_target(&h, method, target, STR("HTTP/1.1"));
	if (h.err) {
		assert(h.reason);
		return 0;
	}
	assert(method.n + target.n <= HEAD_REQUEST_MAX);
	if (!look_up(h.path, want, shape)) {
		assert(!route_find(tree, h.path, &m));
		return 0;
	}
	assert(route_find(tree, h.path, &m));
	assert(memcmp(m.verbs, want, sizeof(want)) == 0);
	parameters_are_slices(&m, h.path, shape);
	allow_is_what_there_is(&m);
	return 0;
}
