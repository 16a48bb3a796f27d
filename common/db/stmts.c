#include "common/db/driver.h"

#include <assert.h>
#include <stdlib.h>

#define SERVICE_MAX 32

/* Names go into statement texts, so they are held to what needs no quotes. */
static bool is_schema_name(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && n <= SERVICE_MAX && s[0] >= 'a' && s[0] <= 'z' &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

/* Appends text with every @ replaced, and a NUL. */
static void expand(struct buf *b, const char *text, struct str for_at)
{
	for (; *text; text++) {
		if (*text == '@')
			buf_str(b, for_at);
		else
			buf_char(b, *text);
	}
	buf_char(b, '\0');
}

struct db_stmt *db_stmts_for(const struct db_stmt *rows, size_t n,
                             const char *service)
{
	AUTO_BUF texts = {0}, schema = {0};
	size_t head = n * sizeof(struct db_stmt);
	struct db_stmt *made;
	const char *at;

	if (!is_schema_name(service))
		return NULL;
	buf_str(&schema, str_from(service));
	buf_char(&schema, '.');
	for (size_t i = 0; i < n; i++) {
		const char *pg = rows[i].postgres;

		expand(&texts, rows[i].sqlite, STR(""));
		expand(&texts, pg ? pg : rows[i].sqlite, buf_view(&schema));
	}
	if (texts.failed || schema.failed)
		return NULL;
	assert(texts.n > 0);
	made = malloc(head + texts.n);
	if (!made)
		return NULL;
	at = memcpy((char *)made + head, texts.p, texts.n);
	for (size_t i = 0; i < n; i++) {
		made[i].name = rows[i].name;
		made[i].sqlite = at;
		at += strlen(at) + 1;
		made[i].postgres = at;
		at += strlen(at) + 1;
	}
	return made;
}
