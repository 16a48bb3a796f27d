#include "svc-content/site/event.h"

#include "common/codec/mp.h"
#include "svc-content/text.h"

#define MS_MAX       3600000.0 /* an hour; more is a clock that jumped */
#define SECRET_LEAST 20

static const char *const names[SITE_TYPES] = {
#define EVENT(id, name) [SITE_##id] = (name),
#define TAKE(event, member, column)
#include "svc-content/site/fields.def"
#undef TAKE
#undef EVENT
};

static const struct {
	enum site_type type;
	const char *member;
	enum site_column column;
} takes[] = {
#define EVENT(id, name)
#define TAKE(event, member, column) {SITE_##event, member, SITE_COL_##column},
#include "svc-content/site/fields.def"
#undef TAKE
#undef EVENT
};

static const struct {
	double min, max;
} bounds[SITE_COLUMNS] = {
	[SITE_COL_DURATION] = {0, MS_MAX}, [SITE_COL_FCP] = {0, MS_MAX},
	[SITE_COL_LCP] = {0, MS_MAX},      [SITE_COL_TTFB] = {0, MS_MAX},
	[SITE_COL_STATUS] = {0, 599},      [SITE_COL_RATING] = {0, 10},
};

bool site_type_from_str(struct str s, enum site_type *out)
{
	for (size_t i = 0; i < SITE_TYPES; i++)
		if (str_eq(s, str_from(names[i]))) {
			*out = (enum site_type)i;
			return true;
		}
	return false;
}

const char *site_type_name(enum site_type t)
{
	return names[t];
}

/* --- the browser ---------------------------------------------------------------- */

const char *site_device(struct str ua)
{
	return text_has(ua, STR("Mobile"))   ? "Mobile"
	       : text_has(ua, STR("Tablet")) ? "Tablet"
	                                     : "Desktop";
}

const char *site_browser(struct str ua)
{
	/* Each calls itself by the names below it as well. */
	return text_has(ua, STR("Edg"))       ? "Edge"
	       : text_has(ua, STR("Chrome"))  ? "Chrome"
	       : text_has(ua, STR("Firefox")) ? "Firefox"
	       : text_has(ua, STR("Safari"))  ? "Safari"
	                                      : "Other";
}

/* --- texts ---------------------------------------------------------------------- */

static bool of_token(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static bool is_secret(struct str run)
{
	for (size_t i = 0; i < run.n; i++)
		if (run.p[i] >= '0' && run.p[i] <= '9')
			return run.n >= SECRET_LEAST;
	return false;
}

static void add_word(struct buf *b, struct str word)
{
	size_t at = 0;

	if (memchr(word.p, '@', word.n)) {
		buf_str(b, STR("…"));
		return;
	}
	while (at < word.n && word.p[at] != '?' && word.p[at] != '#') {
		size_t n = 0;
		struct str run;

		while (at + n < word.n && of_token(word.p[at + n]))
			n++;
		run = (struct str){word.p + at, n ? n : 1};
		buf_str(b, n && is_secret(run) ? STR("…") : run);
		at += run.n;
	}
}

static bool is_blank(char c)
{
	return (unsigned char)c <= ' ' || c == 0x7f;
}

enum err site_clean(struct arena *a, struct str text, size_t max,
                    struct str *out)
{
	AUTO_BUF b = {0};
	size_t at = 0, n;

	/* What is beyond four times the bound would be cut anyway. */
	if (text.n > 4 * max)
		text.n = 4 * max;
	while (at < text.n) {
		struct str word = {text.p + at, 0};

		while (at + word.n < text.n && !is_blank(word.p[word.n]))
			word.n++;
		at += word.n + 1;
		if (word.n == 0)
			continue;
		if (b.n)
			buf_char(&b, ' ');
		add_word(&b, word);
	}
	for (n = b.n; n > max ||
	              (n < b.n && n && ((unsigned char)b.p[n] & 0xc0) == 0x80);)
		n--;
	if (b.failed)
		return ERR_NOMEM;
	*out = arena_str(a, (struct str){n ? b.p : "", n});
	return out->p ? OK : ERR_NOMEM;
}

/* --- reading -------------------------------------------------------------------- */

static enum err take_text(struct arena *a, struct site_event *ev,
                          enum site_column c, struct str value)
{
	struct mp m = mp_open(value);
	struct str s;
	enum err e;

	if (!mp_get_str(&m, &s))
		return OK;
	e = site_clean(a, s,
	               c == SITE_COL_NAME ? SITE_NAME_MAX : SITE_MESSAGE_MAX,
	               &ev->text[c]);
	ev->has[c] = !e && ev->text[c].n > 0;
	return e;
}

static void take_number(struct site_event *ev, enum site_column c,
                        struct str value)
{
	struct mp m = mp_open(value);
	double v;

	if (!mp_get_f64(&m, &v) || !(v >= bounds[c].min && v <= bounds[c].max))
		return;
	ev->number[c] = v;
	ev->has[c] = true;
}

static bool says_no(struct str data, const char *member)
{
	return !mp_find_bool(data, member, true);
}

/* An error that is there: text, or anything but null and false. */
static bool says_error(struct str data)
{
	struct str value;
	struct mp m;
	bool on;

	if (!mp_find(data, "error", &value))
		return false;
	m = mp_open(value);
	if (mp_get_nil(&m))
		return false;
	return mp_get_bool(&m, &on) ? on : true;
}

static bool has_failed(const struct site_event *ev, struct str data)
{
	switch (ev->type) {
	case SITE_ERROR:
		return true;
	case SITE_API_CALL:
		return says_no(data, "success") || says_error(data) ||
		       (ev->has[SITE_COL_STATUS] &&
		        ev->number[SITE_COL_STATUS] >= 400);
	case SITE_TASK_COMPLETION:
		return says_no(data, "success");
	case SITE_PAGE_LOAD:
	case SITE_FIRST_INTERACTION:
	case SITE_INTERACTION:
	case SITE_SATISFACTION:
	case SITE_FCP:
	case SITE_LCP:
	case SITE_TYPES:
		break;
	}
	return false;
}

static enum err take_all(struct arena *a, struct str data,
                         struct site_event *ev)
{
	struct str metrics = {NULL, 0}, value;
	enum err e = OK;

	if (!mp_find(data, "metrics", &metrics))
		metrics = (struct str){NULL, 0};
	for (size_t i = 0; i < COUNTOF(takes) && !e; i++) {
		enum site_column c = takes[i].column;

		if (takes[i].type != ev->type || ev->has[c] ||
		    (!mp_find(data, takes[i].member, &value) &&
		     !mp_find(metrics, takes[i].member, &value)))
			continue;
		if (c <= SITE_COL_MESSAGE)
			e = take_text(a, ev, c, value);
		else
			take_number(ev, c, value);
	}
	return e;
}

enum err site_event_read(struct arena *a, enum site_type type, struct str data,
                         struct str ua, struct site_event *out)
{
	struct site_event ev = {.type = type,
	                        .device = site_device(ua),
	                        .browser = site_browser(ua)};
	enum err e = take_all(a, data, &ev);

	if (e)
		return e;
	/* An error that does not say what it is, is one all the same. */
	if (type == SITE_ERROR && !ev.has[SITE_COL_MESSAGE]) {
		ev.text[SITE_COL_MESSAGE] = STR("unknown");
		ev.has[SITE_COL_MESSAGE] = true;
	}
	ev.failed = has_failed(&ev, data);
	ev.session = mp_find_str(data, "sessionId", STR(""));
	if (ev.session.n > SITE_SESSION_MAX)
		ev.session = STR("");
	if (!mp_find(data, "timestamp", &ev.timestamp))
		ev.timestamp = STR("");
	*out = ev;
	return OK;
}
