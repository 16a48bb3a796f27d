#include "gateway/revfeed.h"

#include "gateway/authwire.h"

#include "common/base/log.h"

#include <stdlib.h>

#define POLL_CALL_MS 1000 /* an answer that is later would be stale */

struct revfeed {
	struct identity_bus bus;
	struct revoked *list;
	struct arena *arena; /* of reading replies */
	bool polling, loaded, again;
	uint64_t call, polled_ms, due_ms, fresh_ms;
	int64_t seq; /* all up to it is in the list */
};

struct revfeed *revfeed_new(const struct identity_bus *bus)
{
	AUTO(revfeed) f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->bus = *bus;
	f->list = revoked_new();
	f->arena = arena_new(AUTHWIRE_ARENA_MAX);
	if (!f->list || !f->arena)
		return NULL;
	return STEAL(f);
}

void revfeed_free(struct revfeed *f)
{
	if (!f)
		return;
	if (f->polling)
		f->bus.cancel(f->bus.bus, f->call);
	revoked_free(f->list);
	arena_free(f->arena);
	free(f);
}

const struct revoked *revfeed_list(const struct revfeed *f)
{
	return f->list;
}

/* Adds the rows of one message; *first and *last are their sequence. */
static enum err add_rows(struct revfeed *f, struct str items, int64_t *first,
                         int64_t *last)
{
	int64_t wall_ms = f->bus.wall_ms(f->bus.bus);
	struct mp m = mp_open(items);
	struct authwire_revocation row;
	uint32_t n = 0;
	enum err e = OK;

	if (!mp_get_array(&m, &n))
		return ERR_INVALID;
	for (uint32_t i = 0; !e && i < n; i++) {
		if (!authwire_revocation(&m, &row))
			return ERR_INVALID;
		if (i == 0)
			*first = row.seq;
		*last = row.seq;
		/* Kinds of a later version do not concern what this one
		 * believes. */
		if (row.known)
			e = revoked_add(f->list, row.kind, row.id, row.at_ms,
			                row.until_ms, wall_ms);
	}
	return e;
}

static enum err take_poll(struct revfeed *f, struct str body, bool *more)
{
	int64_t first = 0, last = 0, seq = mp_find_i64(body, "seq", -1);
	struct str items;
	enum err e;

	if (seq < 0 || !mp_find(body, "items", &items))
		return ERR_INVALID;
	e = add_rows(f, items, &first, &last);
	if (e)
		return e;
	f->seq = seq;
	*more = mp_find_bool(body, "more", false);
	return OK;
}

static void on_poll(void *arg, enum err e, struct str bytes, bool part)
{
	struct revfeed *f = arg;
	struct str body;
	bool more = false;

	(void)part;
	f->polling = false;
	if (!e)
		e = authwire_body(bytes, f->arena, &body);
	if (!e)
		e = take_poll(f, body, &more);
	arena_reset(f->arena);
	if (e) {
		log_debug(NULL, "identity.poll_failed",
		          LOG_TEXT("error", err_name(e)));
		return;
	}
	if (more || f->again)
		f->due_ms = f->polled_ms;
	f->again = false;
	if (more)
		return;
	f->loaded = true;
	f->fresh_ms = f->polled_ms;
}

void revfeed_turn(struct revfeed *f, uint64_t now_ms)
{
	AUTO_BUF body = {0};

	if (f->polling || now_ms < f->due_ms)
		return;
	f->polled_ms = now_ms;
	f->due_ms = now_ms + IDENTITY_POLL_MS;
	authwire_since(&body, f->seq);
	f->polling = !body.failed &&
	             !authwire_ask(&f->bus, (struct str){0}, "auth.revocations",
	                           buf_view(&body), POLL_CALL_MS, on_poll, f,
	                           &f->call);
}

void revfeed_push(struct revfeed *f, struct str bytes, uint64_t now_ms)
{
	int64_t first = 0, last = 0;
	struct str items;

	if (mp_valid(bytes) && mp_find(bytes, "items", &items) &&
	    !add_rows(f, items, &first, &last) && first == f->seq + 1) {
		f->seq = last;
		return;
	}
	/* Unreadable, or not the next: ask, and if that is under way, which may
	 * have been answered before this was written, ask again after it. */
	f->due_ms = now_ms;
	f->again = f->polling;
}

uint64_t revfeed_due_ms(const struct revfeed *f)
{
	return f->polling ? UINT64_MAX : f->due_ms;
}

bool revfeed_loaded(const struct revfeed *f)
{
	return f->loaded;
}

uint64_t revfeed_age_ms(const struct revfeed *f, uint64_t now_ms)
{
	if (!f->loaded)
		return UINT64_MAX;
	return now_ms > f->fresh_ms ? now_ms - f->fresh_ms : 0;
}
