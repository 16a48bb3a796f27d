#include "gateway/language.h"

#include "common/base/attr.h"

static const struct str supported[] = {
	STR("en"), STR("es"), STR("fr"), STR("de"), STR("zh"),
	STR("ja"), STR("ar"), STR("he"), STR("fa"), STR("ur"),
};

/* Thousandths of a weight: "1", "0.8", "0.857"; -1 when it is not one. */
static int weight(struct str s)
{
	int v = 0, unit = 1000;

	s = str_trim(s);
	if (s.n == 0 || s.n > 5 || (s.n > 1 && s.p[1] != '.'))
		return -1;
	for (size_t i = 0; i < s.n; i++) {
		if (i == 1)
			continue; /* the point */
		if (s.p[i] < '0' || s.p[i] > '9')
			return -1;
		v += (s.p[i] - '0') * unit;
		unit /= 10;
	}
	return v <= 1000 ? v : -1;
}

static const struct str *find(struct str range)
{
	struct str primary = str_cut(&range, '-');

	for (size_t i = 0; i < COUNTOF(supported); i++)
		if (str_ieq(supported[i], primary))
			return &supported[i];
	return NULL;
}

/* The q parameter of a range; 1 where there is none. */
static int weight_of(struct str parameters)
{
	while (parameters.n) {
		struct str value = str_cut(&parameters, ';');
		struct str name = str_trim(str_cut(&value, '='));

		if (str_ieq(name, STR("q")))
			return weight(value);
	}
	return 1000;
}

struct str language_choose(struct str accept_language)
{
	const struct str *best = &supported[0];
	int best_weight = 0;

	for (int i = 0; accept_language.n && i < LANGUAGE_RANGES_MAX; i++) {
		struct str rest = str_cut(&accept_language, ',');
		const struct str *lang = find(str_trim(str_cut(&rest, ';')));
		int q = lang ? weight_of(rest) : 0;

		if (lang && q > best_weight) {
			best = lang;
			best_weight = q;
		}
	}
	return *best;
}
