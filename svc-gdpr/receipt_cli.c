#include "svc-gdpr/receipt_cli.h"

#include "svc-gdpr/receipt.h"

#include "common/base/clock.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"

#include <stdlib.h>

#define FILE_MAX ((size_t)4 << 20)
#define ASK_MS   10000

enum { GENUINE = 0, FALSE_ONE = 1, UNREADABLE = 2 };

static bool read_file(const char *path, struct buf *out)
{
	FILE *f = fopen(path, "re");
	char part[4096];
	size_t n;
	bool ok = f != NULL;

	while (ok && (n = fread(part, 1, sizeof(part), f)) > 0) {
		buf_add(out, part, n);
		ok = !out->failed && out->n <= FILE_MAX;
	}
	ok = ok && !ferror(f);
	if (f)
		(void)fclose(f);
	while (out->n && strchr(" \t\r\n", out->p[out->n - 1]))
		out->n--;
	return ok && out->n > 0;
}

/* The receipt alone, or within the answer that brought it. */
static struct str receipt_in(struct str text, struct buf *mp)
{
	struct json_error at;

	if (text.p[0] != '{')
		return text;
	return json_to_mp(text, mp, &at)
	               ? mp_find_str(buf_view(mp), "receipt", STR(""))
	               : STR("");
}

/* A db_fn. */
static enum err read_keys(struct db *db, void *arg)
{
	struct buf *b = arg;

	buf_clear(b);
	return receipt_keys_pack(db, b);
}

static bool keys_of_database(struct program_env *env, struct buf *out)
{
	AUTO(db_pool) pool = NULL;
	AUTO(arena) arena = arena_new((size_t)1 << 20);
	AUTO_BUF url = {0};
	struct ctx cx = {.service = "gdpr",
	                 .arena = arena,
	                 .rid = STR("verify-receipt"),
	                 .deadline_ms = mono_ms() + ASK_MS};
	struct db_conf c;

	if (!arena || !program_settings(env) ||
	    !wiring_db_url(&env->conf, PEER_GDPR, &url))
		return false;
	wiring_db_conf(&env->conf, PEER_GDPR, buf_view(&url), &c);
	return !db_pool_new(&c, &pool) && !db_read(pool, &cx, read_keys, out);
}

static bool keys_of_file(const char *path, struct buf *out)
{
	AUTO_BUF text = {0};
	struct json_error at;

	return read_file(path, &text) && json_to_mp(buf_view(&text), out, &at);
}

static int unreadable(const char *what)
{
	(void)fprintf(stderr, "%s cannot be read\n", what);
	return UNREADABLE;
}

int receipt_cli(struct program_env *env, int n, char **words)
{
	AUTO_BUF text = {0}, answer = {0}, keys = {0}, payload = {0};
	bool given = n == 3 && strcmp(words[1], "--key") == 0;
	const char *why;

	if (n != 1 && !given) {
		(void)fprintf(stderr,
		              "usage: %s --verify-receipt FILE [--key FILE]\n",
		              env->program->name);
		return UNREADABLE;
	}
	if (!read_file(words[0], &text))
		return unreadable(words[0]);
	if (!(given ? keys_of_file(words[2], &keys)
	            : keys_of_database(env, &keys)))
		return unreadable(given ? words[2] : "the database");
	why = receipt_verify(receipt_in(buf_view(&text), &answer),
	                     buf_view(&keys), &payload);
	if (why) {
		(void)fprintf(stderr, "not genuine: %s\n", why);
		return FALSE_ONE;
	}
	(void)fprintf(stderr, "genuine\n");
	(void)printf("%.*s\n", STR_FMT(buf_view(&payload)));
	return GENUINE;
}
