/*
 * audit - what the audit log is told: who did what to whose data.
 *
 * A note becomes an event of type "audit" to svc-gdpr, which keeps the log
 * (svc-gdpr/audit.h), so it is written in the transaction of what it tells of:
 * either both are there or neither, and it arrives also when svc-gdpr is away.
 * svc-gdpr itself calls audit_append() instead.
 *
 * Whose:   `sub` is the person whose account or data it is about: they see it
 *          in their own log, and their erasure takes it apart.  `actor` is who
 *          did it.  Neither is ever part of `data` or of a resource's type;
 *          a resource's id and the data may identify, and are erasable.
 * Secrets: no password, token, key or e-mail address goes into a note.
 * Bounds:  AUDIT_DATA_MAX data; texts longer than AUDIT_TEXT_MAX are cut.
 * Threads: any; audit_emit() inside a db transaction function.
 */
#ifndef EVENT_AUDIT_H
#define EVENT_AUDIT_H

#include "common/event/event.h"

enum audit_category {
	AUDIT_AUTH,
	AUDIT_DATA_ACCESS,
	AUDIT_DATA_MODIFICATION,
	AUDIT_ADMIN,
};

enum audit_event {
#define AUDIT_EVENT(id, name, category) AUDIT_EVENT_##id,
#include "common/event/audit_events.def"
#undef AUDIT_EVENT
	AUDIT_EVENT_COUNT
};
#define AUDIT_IS(id) AUDIT_EVENT_##id /* AUDIT_IS(LOGIN) */

enum audit_outcome { AUDIT_OK, AUDIT_FAILED, AUDIT_DENIED };

const char *audit_event_name(enum audit_event ev);
bool audit_event_from_str(struct str s, enum audit_event *out);
enum audit_category audit_event_category(enum audit_event ev);
const char *audit_category_name(enum audit_category c);
const char *audit_outcome_name(enum audit_outcome o);

#define AUDIT_TYPE     STR("audit")  /* of the event */
#define AUDIT_NOBODY   STR("nobody") /* subject of an event without a person */
#define AUDIT_DATA_MAX 6
#define AUDIT_TEXT_MAX 256 /* bytes; cut between characters */

struct audit_datum {
	const char *name; /* NULL: no more of them */
	struct str text;  /* or, where its p is NULL: */
	int64_t number;
};

struct audit_note {
	enum audit_event event;
	enum audit_outcome outcome;
	struct str sub; /* empty: nobody, or nobody is known */
	/* Who did it.  Empty: who is asking, cx->sub and cx->role.  A login has
	 * to say, since its request comes from a guest. */
	struct str actor;
	enum role role;            /* of actor, where that is given */
	const char *resource_type; /* "api_key"; NULL: none */
	struct str resource_id;
	struct audit_datum data[AUDIT_DATA_MAX];
	int64_t at_ms; /* wall_ms() of the deed; 0: now */
};

/*
 * The body of the event: {ev, cat, out, act, role, rt, ri, rid, ip, ua, at,
 * data}, all there, empty where there is nothing.  Failure sticks in the buf.
 */
void audit_pack(struct buf *b, const struct ctx *cx,
                const struct audit_note *note);
/* Emits it; cx may be that of a service, without a person. */
enum err audit_emit(struct event_store *s, struct db *db, const struct ctx *cx,
                    const struct audit_note *note) MUST_CHECK;

#endif
