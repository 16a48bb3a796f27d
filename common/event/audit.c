#include "common/event/audit.h"

#include "common/base/clock.h"
#include "common/base/utf8.h"
#include "common/codec/mp.h"

static const struct {
	const char *name;
	enum audit_category category;
} events[AUDIT_EVENT_COUNT] = {
#define AUDIT_EVENT(id, name, category) {name, AUDIT_##category},
#include "common/event/audit_events.def"
#undef AUDIT_EVENT
};

static const char *const categories[] = {
	[AUDIT_AUTH] = "auth",
	[AUDIT_DATA_ACCESS] = "data_access",
	[AUDIT_DATA_MODIFICATION] = "data_modification",
	[AUDIT_ADMIN] = "admin",
};

static const char *const outcomes[] = {
	[AUDIT_OK] = "ok",
	[AUDIT_FAILED] = "failed",
	[AUDIT_DENIED] = "denied",
};

const char *audit_event_name(enum audit_event ev)
{
	return events[ev].name;
}

bool audit_event_from_str(struct str s, enum audit_event *out)
{
	for (size_t i = 0; i < COUNTOF(events); i++) {
		if (str_eq(s, str_from(events[i].name))) {
			*out = (enum audit_event)i;
			return true;
		}
	}
	return false;
}

enum audit_category audit_event_category(enum audit_event ev)
{
	return events[ev].category;
}

const char *audit_category_name(enum audit_category c)
{
	return categories[c];
}

const char *audit_outcome_name(enum audit_outcome o)
{
	return outcomes[o];
}

/* What a database would refuse as text must not hold up the events behind it:
 * bytes that are not UTF-8 or 0 end the text. */
static struct str cut(struct str s)
{
	struct str bounded = {s.p, s.n < AUDIT_TEXT_MAX ? s.n : AUDIT_TEXT_MAX};
	size_t at = 0, good = 0;
	uint32_t cp;

	while (utf8_next(bounded, &at, &cp) && cp != 0)
		good = at;
	return (struct str){s.p ? s.p : "", good};
}

static void pack_data(struct buf *b, const struct audit_note *note)
{
	size_t n = 0;

	while (n < AUDIT_DATA_MAX && note->data[n].name)
		n++;
	mp_kv_map(b, "data", n);
	for (size_t i = 0; i < n; i++) {
		const struct audit_datum *d = &note->data[i];

		if (d->text.p)
			mp_kv_str(b, d->name, cut(d->text));
		else
			mp_kv_i64(b, d->name, d->number);
	}
}

void audit_pack(struct buf *b, const struct ctx *cx,
                const struct audit_note *note)
{
	bool told = note->actor.n > 0;

	mp_map(b, 12);
	mp_kv_text(b, "ev", audit_event_name(note->event));
	mp_kv_text(b, "cat",
	           audit_category_name(audit_event_category(note->event)));
	mp_kv_text(b, "out", audit_outcome_name(note->outcome));
	mp_kv_str(b, "act", cut(told ? note->actor : cx->sub));
	mp_kv_text(b, "role", role_name(told ? note->role : cx->role));
	mp_kv_text(b, "rt", note->resource_type ? note->resource_type : "");
	mp_kv_str(b, "ri", cut(note->resource_id));
	mp_kv_str(b, "rid", cut(cx->rid));
	mp_kv_str(b, "ip", cut(cx->ip));
	mp_kv_str(b, "ua", cut(cx->ua));
	mp_kv_i64(b, "at", note->at_ms ? note->at_ms : wall_ms());
	pack_data(b, note);
}

enum err audit_emit(struct event_store *s, struct db *db, const struct ctx *cx,
                    const struct audit_note *note)
{
	struct str sub = note->sub.n ? note->sub : AUDIT_NOBODY;
	AUTO_BUF body = {0};

	audit_pack(&body, cx, note);
	if (body.failed)
		return ERR_NOMEM;
	return event_emit(s, db, PEER_GDPR, sub, AUDIT_TYPE, buf_view(&body),
	                  note->at_ms ? note->at_ms : wall_ms());
}
