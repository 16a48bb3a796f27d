#include "gateway/accept.h"

#include "gateway/weight.h"

static const struct {
	const char *content_type;
	struct str type, subtype;
} forms_of[FORM_COUNT] = {
	[FORM_JSON] = {"application/json", STR("application"), STR("json")},
	[FORM_HTML] = {"text/html; charset=utf-8", STR("text"), STR("html")},
	[FORM_CSS] = {"text/css; charset=utf-8", STR("text"), STR("css")},
	[FORM_CSV] = {"text/csv; charset=utf-8", STR("text"), STR("csv")},
	[FORM_EVENTS] = {"text/event-stream", STR("text"), STR("event-stream")},
};

const char *form_type(enum form f)
{
	return forms_of[f].content_type;
}

/* What a range may ask of us besides its type: all of it is UTF-8. */
static bool parameters_fit(struct str parameters)
{
	while (parameters.n) {
		struct str value = str_trim(str_cut(&parameters, ';'));
		struct str name = str_trim(str_cut(&value, '='));

		if (name.n == 0)
			continue;
		if (str_ieq(name, STR("q")))
			return true; /* extensions of Accept follow it */
		if (!str_ieq(name, STR("charset")) ||
		    !str_ieq(str_trim(value), STR("utf-8")))
			return false;
	}
	return true;
}

/* How closely a range names the form: 0 not at all, 3 by type and subtype. */
static int closeness(struct str range, enum form f)
{
	struct str subtype = range, type = str_cut(&subtype, '/');

	if (str_eq(type, STR("*")))
		return str_eq(subtype, STR("*")) ? 1 : 0;
	if (!str_ieq(type, forms_of[f].type))
		return 0;
	if (str_eq(subtype, STR("*")))
		return 2;
	return str_ieq(subtype, forms_of[f].subtype) ? 3 : 0;
}

static bool readable(struct str range, struct str parameters)
{
	const char *slash = range.n ? memchr(range.p, '/', range.n) : NULL;

	return slash && slash != range.p && slash != range.p + range.n - 1 &&
	       weight_of(parameters) >= 0;
}

static bool says_anything(struct str accept)
{
	while (accept.n) {
		struct str parameters = str_cut(&accept, ',');

		if (readable(str_trim(str_cut(&parameters, ';')), parameters))
			return true;
	}
	return false;
}

/* 0: not taken. */
static int weight_for(struct str accept, enum form f)
{
	int best = 0, weight = 0;

	while (accept.n) {
		struct str parameters = str_cut(&accept, ',');
		struct str range = str_trim(str_cut(&parameters, ';'));
		int close;

		if (!readable(range, parameters) || !parameters_fit(parameters))
			continue;
		close = closeness(range, f);
		if (close > best) {
			best = close;
			weight = weight_of(parameters);
		}
	}
	return weight;
}

bool accept_choose(struct str accept, unsigned forms, enum form *out)
{
	bool all = !says_anything(accept);
	int best = 0;

	for (unsigned f = 0; f < FORM_COUNT; f++) {
		int weight;

		if (!(forms & 1U << f))
			continue;
		weight = all ? 1 : weight_for(accept, (enum form)f);
		if (weight > best) {
			best = weight;
			*out = (enum form)f;
		}
	}
	return best > 0;
}
