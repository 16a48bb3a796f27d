#include "svc-auth/preferences.h"

#include "common/codec/json.h"

#include <stdio.h>

#define POINTER_MAX 72

enum type { WORD, TAG, FLAG };

static const struct preference {
	const char *name;
	enum type type;
	const char *choices;
} table[] = {
#define PREFERENCE(name, type, choices) {name, type, choices},
#include "svc-auth/preferences.def"
#undef PREFERENCE
};

static bool is_choice(struct str s, const char *choices)
{
	struct str rest = str_from(choices);

	while (rest.n)
		if (str_eq(str_cut(&rest, ','), s))
			return true;
	return false;
}

/* Letters, digits and hyphens, two at least. */
static bool is_tag(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    !(c >= '0' && c <= '9') && c != '-')
			return false;
	}
	return s.n >= 2 && s.n <= PREFERENCE_MAX;
}

/* NULL when it is fine, else what it has to be. */
static const char *judge(const struct preference *p, struct str value)
{
	struct mp m = mp_open(value);
	struct str text;
	bool flag;

	switch (p->type) {
	case FLAG:
		return mp_get_bool(&m, &flag) ? NULL : "true or false";
	case WORD:
		return mp_get_str(&m, &text) && is_choice(text, p->choices)
		               ? NULL
		               : p->choices;
	case TAG:
		break;
	}
	return mp_get_str(&m, &text) && is_tag(text) ? NULL : "a language tag";
}

static bool is_nil(struct str value)
{
	struct mp m = mp_open(value);

	return mp_get_nil(&m);
}

static bool is_known(struct str name)
{
	for (size_t i = 0; i < COUNTOF(table); i++)
		if (str_eq(name, str_from(table[i].name)))
			return true;
	return false;
}

static enum err strangers(struct ctx *cx, const char *at, struct str change)
{
	struct mp m = mp_open(change);
	struct str name;
	uint32_t n;

	if (!mp_get_map(&m, &n))
		return ctx_fault(cx, at, "TYPE",
		                 "preferences must be an object.");
	for (; n > 0; n--) {
		if (!mp_get_str(&m, &name) || !is_known(name))
			return ctx_fault(cx, at, "UNKNOWN",
			                 "preferences has theme, language and "
			                 "notifications, and nothing else.");
		if (!mp_skip(&m, NULL))
			return ERR_INVALID;
	}
	return OK;
}

/* Those that have a value. */
static enum err write_set(const struct str value[COUNTOF(table)],
                          struct buf *out)
{
	size_t set = 0;

	for (size_t i = 0; i < COUNTOF(table); i++)
		set += value[i].p != NULL;
	mp_map(out, set);
	for (size_t i = 0; i < COUNTOF(table); i++) {
		if (!value[i].p)
			continue;
		mp_text(out, table[i].name);
		mp_raw(out, value[i]);
	}
	return out->failed ? ERR_NOMEM : OK;
}

enum err preferences_merge(struct ctx *cx, const char *at, struct str was,
                           struct str change, struct buf *out)
{
	struct str value[COUNTOF(table)];
	enum err e = strangers(cx, at, change);

	if (e)
		return e;
	for (size_t i = 0; i < COUNTOF(table); i++) {
		const struct preference *p = &table[i];
		char pointer[POINTER_MAX];
		const char *why = NULL;

		value[i] = (struct str){NULL, 0};
		if (mp_find(change, p->name, &value[i])) {
			if (is_nil(value[i]))
				value[i].p = NULL;
			else
				why = judge(p, value[i]);
		} else if (was.n) {
			(void)!mp_find(was, p->name, &value[i]);
		}
		if (why) {
			(void)snprintf(pointer, sizeof(pointer), "%s/%s", at,
			               p->name);
			e = ctx_fault(cx, pointer, "VALUE", "It must be %s.",
			              why);
		}
	}
	if (e)
		return e;
	return write_set(value, out);
}

enum err preferences_from_json(struct str json, struct buf *out)
{
	AUTO_BUF stored = {0};
	struct json_error why;
	struct str value[COUNTOF(table)];

	if (json.n && !json_to_mp(json, &stored, &why))
		return why.nomem ? ERR_NOMEM : ERR_INTERNAL;
	for (size_t i = 0; i < COUNTOF(table); i++) {
		value[i] = (struct str){NULL, 0};
		if (json.n)
			(void)!mp_find(buf_view(&stored), table[i].name,
			               &value[i]);
	}
	return write_set(value, out);
}
