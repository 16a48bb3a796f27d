#include "svc-content/material.h"

#include "common/base/attr.h"

struct name {
	const char *word;
	int value;
};

static int named(struct str s, const struct name *names, size_t n, int fallback)
{
	for (size_t i = 0; i < n; i++)
		if (str_ieq(s, str_from(names[i].word)))
			return names[i].value;
	return fallback;
}

enum level level_from(struct str s)
{
	static const struct name names[] = {
		{"juniorLevel", LEVEL_JUNIOR},
		{"junior", LEVEL_JUNIOR},
		{"elementary school", LEVEL_JUNIOR},
		{"middle school", LEVEL_JUNIOR},
		{"highSchoolLevel", LEVEL_SCHOOL},
		{"high school", LEVEL_SCHOOL},
		{"undergradLevel", LEVEL_UNDERGRAD},
		{"undergraduate", LEVEL_UNDERGRAD},
		{"university", LEVEL_UNDERGRAD},
		{"college", LEVEL_UNDERGRAD},
	};

	return (enum level)named(s, names, COUNTOF(names), LEVEL_SCHOOL);
}

enum detail detail_from(struct str s)
{
	static const struct name names[] = {
		{"lowDetail", DETAIL_LOW},       {"brief", DETAIL_LOW},
		{"mediumDetail", DETAIL_MEDIUM}, {"highDetail", DETAIL_HIGH},
		{"detailed", DETAIL_HIGH},
	};

	return (enum detail)named(s, names, COUNTOF(names), DETAIL_MEDIUM);
}

enum style style_from(struct str s)
{
	static const struct name names[] = {
		{"Visual", STYLE_VISUAL},
		{"Auditory", STYLE_AUDITORY},
		{"Kinesthetic", STYLE_KINESTHETIC},
		{"Reading/Writing", STYLE_READING},
	};

	return (enum style)named(s, names, COUNTOF(names), STYLE_GENERAL);
}

const char *level_words(enum level l)
{
	static const char *const words[LEVEL_COUNT] = {"middle school",
	                                               "high school",
	                                               "undergraduate"};

	return words[l];
}
