#include "svc-auth/audit_failed.h"

#include <stdio.h>

bool audit_failed_init(struct audit_failed *f)
{
	memset(f->v, 0, sizeof(f->v));
	return pthread_mutex_init(&f->lock, NULL) == 0;
}

void audit_failed_fini(struct audit_failed *f)
{
	(void)pthread_mutex_destroy(&f->lock);
}

static void copy(char *out, size_t max, struct str s)
{
	(void)snprintf(out, max, "%.*s", s.n < max ? (int)s.n : (int)max - 1,
	               s.n ? s.p : "");
}

static bool is_used(const struct failed_login *e)
{
	return e->method[0] != '\0';
}

static bool is_of(const struct failed_login *e, struct str sub,
                  struct str prefix, const char *method)
{
	return is_used(e) && str_eq(str_from(e->sub), sub) &&
	       str_eq(str_from(e->prefix), prefix) &&
	       strcmp(e->method, method) == 0;
}

/* The entry, a new one, or the last: it is for what finds no room. */
static struct failed_login *find(struct failed_login *v, struct str sub,
                                 struct str prefix, const char *method)
{
	struct failed_login *room = NULL, *rest = &v[FAILED_MAX - 1];

	for (size_t i = 0; i < FAILED_MAX - 1; i++) {
		if (is_of(&v[i], sub, prefix, method))
			return &v[i];
		if (!room && !is_used(&v[i]))
			room = &v[i];
	}
	if (!room) {
		copy(rest->method, sizeof(rest->method), str_from(method));
		return rest;
	}
	copy(room->sub, sizeof(room->sub), sub);
	copy(room->prefix, sizeof(room->prefix), prefix);
	copy(room->method, sizeof(room->method), str_from(method));
	return room;
}

void audit_failed_note(struct audit_failed *f, const struct ctx *cx,
                       struct str sub, const char *method, int64_t now_ms)
{
	char text[NET_TEXT_MAX];
	struct str prefix = net_text(cx->ip, text);
	GUARD(&f->lock);
	struct failed_login *v = sub.n ? f->v + FAILED_MAX : f->v;
	struct failed_login *e = find(v, sub, prefix, method);

	copy(e->ip, sizeof(e->ip), cx->ip);
	copy(e->rid, sizeof(e->rid), cx->rid);
	(void)agent_cut(cx->ua, e->agent);
	e->count++;
	e->at_ms = now_ms;
}

size_t audit_failed_due(struct audit_failed *f, int64_t now_ms, bool all,
                        struct failed_login *out)
{
	GUARD(&f->lock);
	struct failed_login *v = f->v;
	size_t n = 0;

	for (size_t i = 0; i < COUNTOF(f->v); i++) {
		bool rests = now_ms - v[i].told_ms < FAILED_EVERY_MS &&
		             now_ms >= v[i].told_ms;

		if (!is_used(&v[i]) || (rests && !all))
			continue;
		v[i].slot = i;
		if (v[i].count > 0)
			out[n++] = v[i];
		else
			memset(&v[i], 0, sizeof(v[i]));
	}
	return n;
}

void audit_failed_told(struct audit_failed *f, const struct failed_login *told,
                       size_t n, int64_t now_ms)
{
	GUARD(&f->lock);

	for (size_t k = 0; k < n; k++) {
		struct failed_login *e = &f->v[told[k].slot];

		e->count -= told[k].count;
		e->told_ms = now_ms;
	}
}
