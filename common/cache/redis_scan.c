#include "common/cache/redis_scan.h"

#include "common/base/clock.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>

#define STEP           "500" /* keys that the server looks at in one SCAN */
#define WAIT_S         2
#define NAME_MAX_BYTES 80

AUTO_TYPE(redis_conn, redisContext *, redisFree)
AUTO_TYPE(redis_answer, redisReply *, freeReplyObject)

struct scan {
	redisContext *c;
	redis_scan_fn *fn;
	void *arg;
	uint64_t deadline_ms, keys;
};

static redisReply *ask(redisContext *c, int n, const char **words)
{
	size_t lengths[6];

	for (int i = 0; i < n; i++)
		lengths[i] = strlen(words[i]);
	return redisCommandArgv(c, n, words, lengths);
}

static bool do_it(redisContext *c, int n, const char **words)
{
	AUTO(redis_answer) r = ask(c, n, words);

	return r && r->type != REDIS_REPLY_ERROR;
}

static bool greet(redisContext *c, const struct redis_url *u)
{
	const char *both[] = {"AUTH", u->user, u->password};
	const char *one[] = {"AUTH", u->password};
	const char *name[] = {"CLIENT", "SETNAME", "kae-scan"};
	char db[12];
	const char *select[] = {"SELECT", db};

	(void)snprintf(db, sizeof(db), "%u", u->db);
	if (u->password[0] &&
	    !(u->user[0] ? do_it(c, 3, both) : do_it(c, 2, one)))
		return false;
	return do_it(c, 2, select) && do_it(c, 3, name);
}

static redisContext *open_to(const struct redis_url *u)
{
	const struct timeval wait = {.tv_sec = WAIT_S};
	redisContext *c =
		u->is_path ? redisConnectUnixWithTimeout(u->host, wait)
			   : redisConnectWithTimeout(
				     u->host, (int)strtol(u->port, NULL, 10),
				     wait);

	if (c && !c->err && redisSetTimeout(c, wait) == REDIS_OK && greet(c, u))
		return c;
	if (c)
		redisFree(c);
	return NULL;
}

static bool read_key(struct scan *s, const redisReply *key)
{
	const char *words[] = {"GET", key->str};
	const char *drop[] = {"UNLINK", key->str};
	const size_t lengths[] = {3, key->len}, drop_lengths[] = {6, key->len};
	AUTO(redis_answer) r = redisCommandArgv(s->c, 2, words, lengths);
	AUTO(redis_answer) dropped = NULL;
	struct str value = {0};

	if (!r)
		return false;
	if (r->type == REDIS_REPLY_STRING)
		value = (struct str){r->str, r->len};
	s->keys++;
	if (!s->fn(s->arg, (struct str){key->str, key->len}, value))
		return true;
	dropped = redisCommandArgv(s->c, 2, drop, drop_lengths);
	return dropped && dropped->type != REDIS_REPLY_ERROR;
}

/* One SCAN and what it lists; cursor is where the next goes on. */
static enum err step(struct scan *s, const char *match, char cursor[32])
{
	const char *words[] = {"SCAN", cursor, "MATCH", match, "COUNT", STEP};
	AUTO(redis_answer) r = ask(s->c, 6, words);
	const redisReply *list;

	if (!r || r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
	    r->element[0]->type != REDIS_REPLY_STRING ||
	    r->element[1]->type != REDIS_REPLY_ARRAY)
		return ERR_UNAVAILABLE;
	(void)snprintf(cursor, 32, "%s", r->element[0]->str);
	list = r->element[1];
	for (size_t i = 0; i < list->elements; i++) {
		if (mono_ms() >= s->deadline_ms)
			return ERR_TIMEOUT;
		if (list->element[i]->type != REDIS_REPLY_STRING ||
		    !read_key(s, list->element[i]))
			return ERR_UNAVAILABLE;
	}
	return OK;
}

enum err redis_scan(const struct redis_url *url, const char *prefix,
                    uint64_t deadline_ms, redis_scan_fn *fn, void *arg,
                    uint64_t *keys)
{
	AUTO(redis_conn) c = open_to(url);
	struct scan s = {c, fn, arg, deadline_ms, 0};
	char match[NAME_MAX_BYTES], cursor[32] = "0";
	enum err e = c ? OK : ERR_UNAVAILABLE;

	(void)snprintf(match, sizeof(match), "%s*", prefix);
	do {
		if (!e)
			e = step(&s, match, cursor);
	} while (!e && strcmp(cursor, "0") != 0);
	*keys = s.keys;
	return e;
}
