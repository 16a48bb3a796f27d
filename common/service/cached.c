#include "common/service/cached.h"

#include "common/base/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_BYTES 32
#define ARENA_BYTES    ((size_t)1 << 20)

void cached_tell(struct reply *out, struct ctx *cx,
                 const struct cache_info *info)
{
	char name[NAME_MAX_BYTES], text[CACHE_STATUS_MAX];
	struct str value;

	if (out->headers_n == REPLY_HEADERS_MAX)
		return;
	(void)snprintf(name, sizeof(name), "kae-%s",
	               cx->service ? cx->service : "cache");
	value = arena_str(cx->arena, cache_status(name, info, text));
	if (!value.p)
		return;
	out->headers[out->headers_n].name = STR("Cache-Status");
	out->headers[out->headers_n++].value = value;
}

static bool copy(struct arena *a, struct str *s)
{
	if (s->n)
		*s = arena_str(a, *s);
	return s->n == 0 || s->p;
}

struct ctx *cached_cx_new(const struct ctx *cx, uint64_t ms)
{
	AUTO(cached_cx) c = calloc(1, sizeof(*c));
	struct str *const texts[] = {&c->rid, &c->tp, &c->sub, &c->hnd,
	                             &c->sid, &c->ip, &c->ua,  &c->lang};

	if (!c)
		return NULL;
	/* Neither its effect nor its problem: those are the request's. */
	*c = (struct ctx){.service = cx->service,
	                  .arena = arena_new(ARENA_BYTES),
	                  .deadline_ms = mono_ms() + ms,
	                  .rid = cx->rid,
	                  .tp = cx->tp,
	                  .sub = cx->sub,
	                  .hnd = cx->hnd,
	                  .sid = cx->sid,
	                  .role = cx->role,
	                  .tier = cx->tier,
	                  .scopes = cx->scopes,
	                  .auth_time_s = cx->auth_time_s,
	                  .principal = cx->principal,
	                  .ip = cx->ip,
	                  .ua = cx->ua,
	                  .lang = cx->lang};
	if (!c->arena)
		return NULL;
	for (size_t i = 0; i < COUNTOF(texts); i++)
		if (!copy(c->arena, texts[i]))
			return NULL;
	return STEAL(c);
}

void cached_cx_free(struct ctx *cx)
{
	if (!cx)
		return;
	arena_free(cx->arena);
	free(cx);
}
