#include "gateway/language.h"

#include "common/base/attr.h"
#include "gateway/weight.h"

static const struct str supported[] = {
	STR("en"), STR("es"), STR("fr"), STR("de"), STR("zh"),
	STR("ja"), STR("ar"), STR("he"), STR("fa"), STR("ur"),
};

static const struct str *find(struct str range)
{
	struct str primary = str_cut(&range, '-');

	for (size_t i = 0; i < COUNTOF(supported); i++)
		if (str_ieq(supported[i], primary))
			return &supported[i];
	return NULL;
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
