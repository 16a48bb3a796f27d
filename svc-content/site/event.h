/*
 * event - one event of a browser, reduced to what is kept of it (fields.def).
 *
 * Cleaning: of a text, words with an @ and runs of 20 and more letters and digits
 *          (keys, tokens, ids) become "…", a word is cut at ? and #, and the
 *          whole at its bound: what an error says may hold what somebody typed
 *          or an address with a secret in it.
 * Owns:    nothing; texts live in the arena or are static.
 * Threads: any.
 */
#ifndef SVC_CONTENT_SITE_EVENT_H
#define SVC_CONTENT_SITE_EVENT_H

#include "common/base/ctx.h"

enum site_type {
#define EVENT(id, name) SITE_##id,
#define TAKE(event, member, column)
#include "svc-content/site/fields.def"
#undef TAKE
#undef EVENT
	SITE_TYPES
};

enum site_column {
	SITE_COL_NAME, /* texts */
	SITE_COL_MESSAGE,
	SITE_COL_DURATION, /* milliseconds */
	SITE_COL_FCP,
	SITE_COL_LCP,
	SITE_COL_TTFB,
	SITE_COL_STATUS, /* integers */
	SITE_COL_RATING,
	SITE_COLUMNS
};

#define SITE_NAME_MAX    100
#define SITE_MESSAGE_MAX 200
#define SITE_SESSION_MAX 128

struct site_event {
	enum site_type type;
	bool has[SITE_COLUMNS];
	struct str text[SITE_COL_MESSAGE + 1];
	double number[SITE_COLUMNS]; /* of the others */
	bool failed;
	struct str session;   /* the browser's own, or empty */
	struct str timestamp; /* msgpack, as sent, or empty */
	const char *device, *browser;
};

/* False: none that is known. */
bool site_type_from_str(struct str s, enum site_type *out);
const char *site_type_name(enum site_type t);

/* data: msgpack of a map, or empty; ua may be empty.  ERR_NOMEM. */
enum err site_event_read(struct arena *a, enum site_type type, struct str data,
                         struct str ua, struct site_event *out) MUST_CHECK;

/* Mobile, Tablet or Desktop; Chrome, Safari, Firefox, Edge or Other. */
const char *site_device(struct str ua);
const char *site_browser(struct str ua);
/* At most max bytes. */
enum err site_clean(struct arena *a, struct str text, size_t max,
                    struct str *out) MUST_CHECK;

#endif
