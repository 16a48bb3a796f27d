#include "common/privacy/columns.h"

#include <assert.h>

#define PURPOSE(id, name_, words_) \
	[PURPOSE_##id] = {.name = (name_), .words = (words_)},
#define BASIS(id, name, article, words)
#define KEPT(id, name, days, words)
#define ERASE(id, name, words)
const struct privacy_word privacy_purposes[PURPOSE_COUNT] = {
#include "common/privacy/words.def"
};
#undef PURPOSE
#define PURPOSE(id, name, words)
#undef BASIS
#define BASIS(id, name_, article_, words_) \
	[BASIS_##id] = {.name = (name_),   \
	                .words = (words_), \
	                .article = (article_)},
const struct privacy_word privacy_bases[BASIS_COUNT] = {
#include "common/privacy/words.def"
};
#undef BASIS
#define BASIS(id, name, article, words)
#undef KEPT
#define KEPT(id, name_, days_, words_) \
	[KEPT_##id] = {.name = (name_), .words = (words_), .days = (days_)},
const struct privacy_word privacy_kept[KEPT_COUNT] = {
#include "common/privacy/words.def"
};
#undef KEPT
#define KEPT(id, name, days, words)
#undef ERASE
#define ERASE(id, name_, words_) \
	[ERASE_##id] = {.name = (name_), .words = (words_)},
const struct privacy_word privacy_erasures[ERASE_COUNT] = {
#include "common/privacy/words.def"
};

const char *privacy_link_name(enum privacy_link link)
{
	static const char *const names[] = {
		[PRIVACY_NONE] = "",         [PRIVACY_SUB] = "person",
		[PRIVACY_HANDLE] = "handle", [PRIVACY_EMAIL] = "e-mail",
		[PRIVACY_VIA] = "via",       [PRIVACY_CONTENT] = "content",
	};

	assert(link < COUNTOF(names));
	return names[link];
}

const struct privacy_table *privacy_table(const struct privacy_tables *all,
                                          struct str name)
{
	for (size_t i = 0; i < all->n; i++)
		if (str_eq(str_from(all->table[i].name), name))
			return &all->table[i];
	return NULL;
}

const struct privacy_column *privacy_column(const struct privacy_table *t,
                                            struct str name)
{
	for (size_t i = 0; i < t->columns_n; i++)
		if (str_eq(str_from(t->columns[i].name), name))
			return &t->columns[i];
	return NULL;
}
