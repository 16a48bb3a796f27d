#include "gateway/identity.h"

#include "gateway/authwire.h"
#include "gateway/credcache.h"
#include "gateway/revfeed.h"
#include "gateway/waiter.h"

#include "common/base/clock.h"

#include <sodium.h>
#include <stdlib.h>

#define CALL_MS         2000   /* deadline of the calls made here */
#define KEYS_REFRESH_MS 300000 /* so that a retired key is forgotten */
#define KEYS_RETRY_MS   250    /* while there are none: at start */

/* A key can be revoked between svc-auth's look and its answer here, by a clock
 * that is not ours. */
#define SKEW_MS 5000

/* An API key that svc-auth is being asked about. */
struct flight {
	struct identity *id;
	bool used;
	uint64_t call;
	struct digest d;
	uint64_t revision; /* when it was asked */
};

struct identity {
	struct identity_bus bus;
	struct jwt_policy policy;
	uint64_t max_stale_ms;
	struct credcache *cache;
	struct revfeed *feed;
	const struct revoked *revoked; /* of the feed */
	struct jwt_keys *keys;         /* NULL before the first answer */
	struct arena *arena;           /* of reading replies */

	struct waiters waiting, finished;
	struct flight flights[IDENTITY_CALLS_MAX];

	uint64_t now_ms; /* of the call or turn under way */
	struct str tp;   /* of the check under way; else empty */
	bool fetching, fetch_failed;
	uint64_t fetch_call, fetched_ms; /* when the last fetch was sent */

	struct identity_stats stats;
};

/* --- life ----------------------------------------------------------------- */

static enum err bus_call_fn(void *bus, const struct bus_call *call,
                            uint64_t *id)
{
	return bus_client_call(bus, call, id);
}

static void bus_cancel_fn(void *bus, uint64_t id)
{
	bus_client_cancel(bus, id);
}

static int64_t bus_wall_fn(void *bus)
{
	(void)bus;
	return wall_ms();
}

struct identity *identity_new(const struct settings *conf,
                              struct bus_client *bus)
{
	const struct identity_bus over = {bus_call_fn, bus_cancel_fn,
	                                  bus_wall_fn, bus};

	return identity_new_over(conf, &over);
}

struct identity *identity_new_over(const struct settings *conf,
                                   const struct identity_bus *bus)
{
	AUTO(identity) id = NULL;

	if (sodium_init() < 0)
		return NULL;
	id = calloc(1, sizeof(*id));
	if (!id)
		return NULL;
	id->bus = *bus;
	id->policy =
		(struct jwt_policy){conf->token_issuer, conf->token_audience};
	id->max_stale_ms = conf->revocation_max_stale_s * 1000;
	id->cache = credcache_new((size_t)conf->auth_cache_entries);
	id->feed = revfeed_new(bus);
	id->arena = arena_new(AUTHWIRE_ARENA_MAX);
	if (!id->cache || !id->feed || !id->arena)
		return NULL;
	id->revoked = revfeed_list(id->feed);
	return STEAL(id);
}

void identity_free(struct identity *id)
{
	if (!id)
		return;
	if (id->fetching)
		id->bus.cancel(id->bus.bus, id->fetch_call);
	for (size_t i = 0; i < IDENTITY_CALLS_MAX; i++)
		if (id->flights[i].used)
			id->bus.cancel(id->bus.bus, id->flights[i].call);
	waiters_free(&id->waiting);
	waiters_free(&id->finished);
	credcache_free(id->cache);
	revfeed_free(id->feed);
	jwt_keys_free(id->keys);
	arena_free(id->arena);
	free(id);
}

/* --- verdicts ------------------------------------------------------------- */

/* Holds c against the revocations.  ERR_NOT_FOUND: an API key of a person
 * whose rights have changed, to be asked about again. */
static enum err held_against(const struct identity *id, const struct cred *v)
{
	const struct jwt_claims *c = &v->c;
	const struct revoked *r = id->revoked;
	bool is_key = c->who.expires_s == 0;
	int64_t sub_at = revoked_at(r, REVOKED_SUB, str_from(c->who.sub));

	if (c->key[0] && revoked_at(r, REVOKED_KEY, str_from(c->key)) >= 0)
		return is_key ? ERR_BAD_KEY : ERR_EXPIRED;
	if (is_key)
		return sub_at >= c->issued_s * 1000 - SKEW_MS ? ERR_NOT_FOUND
		                                              : OK;
	if (revoked_at(r, REVOKED_JTI, str_from(c->who.jti)) >= 0 ||
	    revoked_at(r, REVOKED_JTI, str_from(c->who.sid)) >= 0 ||
	    sub_at >= c->issued_s * 1000)
		return ERR_EXPIRED;
	return OK;
}

static void remember(struct identity *id, const struct digest *d,
                     const struct cred *v)
{
	credcache_put(id->cache, d, v, id->now_ms);
}

static void remember_refusal(struct identity *id, const struct digest *d,
                             enum err e)
{
	const struct cred v = {.verdict = e,
	                       .until_ms = id->now_ms + IDENTITY_REFUSED_MS};

	remember(id, d, &v);
}

/* From memory; ERR_NOT_FOUND: not there. */
static enum err recall(struct identity *id, struct side *s)
{
	struct cred *v = credcache_get(id->cache, &s->d, id->now_ms);
	uint64_t revision = revoked_revision(id->revoked);

	if (!v)
		return ERR_NOT_FOUND;
	if (v->verdict)
		return v->verdict;
	if (v->revision != revision) {
		enum err e = held_against(id, v);

		if (e) {
			credcache_drop(id->cache, &s->d);
			id->stats.revoked++;
			return e;
		}
		v->revision = revision;
	}
	/* The wall clock may have been set since it was verified. */
	if (v->c.who.expires_s &&
	    v->c.who.expires_s <= id->bus.wall_ms(id->bus.bus) / 1000) {
		credcache_drop(id->cache, &s->d);
		return ERR_EXPIRED;
	}
	s->who = v->c.who;
	return OK;
}

/* ERR_NOT_FOUND: its kid is not known. */
static enum err verify_token(struct identity *id, struct side *s,
                             struct str token)
{
	int64_t wall_ms = id->bus.wall_ms(id->bus.bus);
	struct cred v = {.revision = revoked_revision(id->revoked)};
	enum err e =
		jwt_verify(id->keys, &id->policy, token, wall_ms / 1000, &v.c);

	if (!e)
		e = held_against(id, &v);
	if (!e) {
		v.until_ms = id->now_ms +
		             (uint64_t)(v.c.who.expires_s * 1000 - wall_ms);
		remember(id, &s->d, &v);
		s->who = v.c.who;
	} else if (e == ERR_BAD_TOKEN || e == ERR_EXPIRED) {
		remember_refusal(id, &s->d, e);
	}
	return e;
}

/* --- finishing ------------------------------------------------------------ */

/* The first that is not OK; else OK with the first that is given. */
static enum err first_of(const struct side side[CRED_KINDS],
                         const struct side **out)
{
	static const enum cred_kind told[] = {CRED_KEY, CRED_TOKEN,
	                                      CRED_COOKIE};
	static const enum cred_kind says[] = {CRED_COOKIE, CRED_KEY,
	                                      CRED_TOKEN};

	for (size_t i = 0; i < CRED_KINDS; i++)
		if (side[told[i]].given && side[told[i]].e)
			return side[told[i]].e;
	for (size_t i = 0; i < CRED_KINDS; i++)
		if (side[says[i]].given)
			*out = &side[says[i]];
	return OK;
}

/* All verdicts into one (design D29). */
static enum err combine(const struct side side[CRED_KINDS], struct who *who)
{
	const struct side *first = NULL;
	enum err e = first_of(side, &first);

	for (size_t i = 0; !e && i < CRED_KINDS; i++)
		if (side[i].given &&
		    strcmp(side[i].who.sub, first->who.sub) != 0)
			e = ERR_DENIED;
	if (e)
		return e;
	*who = first->who;
	who->by_cookie = first == &side[CRED_COOKIE];
	for (size_t i = 0; i < CRED_KINDS; i++) {
		const struct side *s = &side[i];

		if (!s->given || s == first)
			continue;
		/* No more than what all allow. */
		who->scopes &= s->who.scopes;
		if (s->who.role < who->role)
			who->role = s->who.role;
	}
	return OK;
}

static enum err verdict(struct identity *id, const struct side side[CRED_KINDS],
                        struct who *who)
{
	enum err e = combine(side, who);

	id->stats.refused += e != OK;
	return e;
}

static void settle(struct identity *id, struct waiter *w)
{
	for (size_t i = 0; i < CRED_KINDS; i++)
		if (w->side[i].waiting)
			return;
	waiters_remove(&id->waiting, w);
	waiters_add(&id->finished, w);
}

/* Calls back; what is called may ask or forget again, so each step starts from
 * the head of the list. */
static void deliver(struct identity *id)
{
	while (id->finished.first) {
		struct waiter *w = id->finished.first;
		struct who who = {0};
		enum err e = verdict(id, w->side, &who);
		identity_fn *done = w->done;
		void *arg = w->arg;

		waiters_remove(&id->finished, w);
		waiter_free(w);
		done(arg, e, e ? NULL : &who);
	}
}

/* --- signing keys --------------------------------------------------------- */

static void retry_side(struct identity *id, struct side *s, struct str token,
                       bool fetched)
{
	enum err e = ERR_UNAVAILABLE;

	if (!s->waiting)
		return;
	if (fetched)
		e = verify_token(id, s, token);
	s->e = e == ERR_NOT_FOUND ? ERR_BAD_TOKEN : e;
	s->waiting = false;
	if (e == ERR_NOT_FOUND)
		remember_refusal(id, &s->d, ERR_BAD_TOKEN);
}

static void retry_tokens(struct identity *id, bool fetched)
{
	for (struct waiter *w = id->waiting.first, *next; w; w = next) {
		struct str token = {w->text, w->token_n};
		struct str cookie = {w->text + w->token_n, w->cookie_n};

		next = w->next;
		if (!w->side[CRED_TOKEN].waiting &&
		    !w->side[CRED_COOKIE].waiting)
			continue;
		retry_side(id, &w->side[CRED_TOKEN], token, fetched);
		retry_side(id, &w->side[CRED_COOKIE], cookie, fetched);
		settle(id, w);
	}
}

static void on_keys(void *arg, enum err e, struct str bytes, bool more)
{
	struct identity *id = arg;
	struct jwt_keys *fresh = NULL;
	struct str body;

	(void)more;
	id->fetching = false;
	if (!e)
		e = authwire_body(bytes, id->arena, &body);
	if (!e)
		e = jwt_keys_read(body, &fresh);
	arena_reset(id->arena);
	id->fetch_failed = e != OK;
	if (!e) {
		jwt_keys_free(id->keys);
		id->keys = fresh;
	}
	retry_tokens(id, !e);
	deliver(id);
}

static void fetch_keys(struct identity *id)
{
	id->fetched_ms = id->now_ms;
	id->stats.key_fetches++;
	id->fetching =
		!authwire_ask(&id->bus, id->tp, "auth.jwks", (struct str){0},
	                      CALL_MS, on_keys, id, &id->fetch_call);
	id->fetch_failed = !id->fetching;
}

static uint64_t next_fetch_ms(const struct identity *id)
{
	if (id->fetching)
		return UINT64_MAX;
	if (!id->keys)
		return id->stats.key_fetches ? id->fetched_ms + KEYS_RETRY_MS
		                             : 0;
	return id->fetched_ms +
	       (id->fetch_failed ? IDENTITY_COOLDOWN_MS : KEYS_REFRESH_MS);
}

/* A token names a kid that we do not have.  OK: wait for the keys. */
static enum err want_keys(struct identity *id)
{
	if (!id->fetching &&
	    id->now_ms >= id->fetched_ms + IDENTITY_COOLDOWN_MS)
		fetch_keys(id);
	if (id->fetching)
		return OK;
	/* Just asked: either there is no such key, or we cannot know. */
	return id->fetch_failed ? ERR_UNAVAILABLE : ERR_BAD_TOKEN;
}

/* --- API keys ------------------------------------------------------------- */

static void answer_keys(struct identity *id, const struct digest *d, enum err e,
                        const struct who *who)
{
	for (struct waiter *w = id->waiting.first, *next; w; w = next) {
		struct side *s = &w->side[CRED_KEY];

		next = w->next;
		if (!s->waiting || memcmp(&s->d, d, sizeof(*d)) != 0)
			continue;
		s->waiting = false;
		s->e = e;
		s->who = *who;
		settle(id, w);
	}
}

/* What svc-auth said of an API key. */
static enum err key_verdict(struct identity *id, const struct flight *f,
                            enum err e, struct str bytes, struct cred *v)
{
	struct str body;

	if (!e)
		e = authwire_body(bytes, id->arena, &body);
	if (!e)
		e = authwire_key(body, &v->c) ? OK : ERR_UNAVAILABLE;
	if (e && e != ERR_BAD_KEY)
		return ERR_UNAVAILABLE;
	if (e) {
		remember_refusal(id, &f->d, e);
		return e;
	}
	v->revision = revoked_revision(id->revoked);
	v->until_ms = id->now_ms + IDENTITY_KEY_MS;
	e = held_against(id, v);
	if (e == ERR_BAD_KEY)
		return e;
	/* Something was revoked while svc-auth looked: the answer holds for the
	 * requests that waited, and is not kept. */
	if (!e && v->revision == f->revision)
		remember(id, &f->d, v);
	return OK;
}

static void on_key(void *arg, enum err e, struct str bytes, bool more)
{
	struct flight *f = arg;
	struct identity *id = f->id;
	struct cred v = {0};

	(void)more;
	f->used = false;
	e = key_verdict(id, f, e, bytes, &v);
	arena_reset(id->arena);
	answer_keys(id, &f->d, e, &v.c.who);
	deliver(id);
}

/* OK: an answer will come.  Requests with the same key share one call. */
static enum err want_key(struct identity *id, const struct digest *d,
                         struct str key)
{
	unsigned char hash[crypto_hash_sha256_BYTES];
	struct flight *spare = NULL;
	AUTO_BUF body = {0};
	enum err e;

	for (size_t i = 0; i < IDENTITY_CALLS_MAX; i++) {
		struct flight *f = &id->flights[i];

		if (!f->used)
			spare = f;
		else if (memcmp(&f->d, d, sizeof(*d)) == 0)
			return OK;
	}
	if (!spare)
		return ERR_UNAVAILABLE;
	*spare = (struct flight){.id = id,
	                         .d = *d,
	                         .revision = revoked_revision(id->revoked)};
	(void)crypto_hash_sha256(hash, (const unsigned char *)key.p, key.n);
	authwire_hash(&body, hash);
	e = body.failed ? ERR_NOMEM
	                : authwire_ask(&id->bus, id->tp, "auth.verify_key",
	                               buf_view(&body), CALL_MS, on_key, spare,
	                               &spare->call);
	spare->used = !e;
	return e ? ERR_UNAVAILABLE : OK;
}

/* --- asking --------------------------------------------------------------- */

/* Fills the side from memory or by itself, or starts to wait. */
static void look_at_token(struct identity *id, struct side *s, struct str token)
{
	s->d = credcache_digest(id->cache, CRED_TOKEN, token);
	s->e = recall(id, s);
	if (s->e != ERR_NOT_FOUND) {
		id->stats.hits++;
		return;
	}
	id->stats.misses++;
	s->e = verify_token(id, s, token);
	if (s->e != ERR_NOT_FOUND)
		return;
	s->e = want_keys(id);
	s->waiting = !s->e;
	if (s->e == ERR_BAD_TOKEN)
		remember_refusal(id, &s->d, s->e);
}

static void look_at_key(struct identity *id, struct side *s, struct str key)
{
	s->d = credcache_digest(id->cache, CRED_KEY, key);
	s->e = recall(id, s);
	if (s->e != ERR_NOT_FOUND) {
		id->stats.hits++;
		return;
	}
	id->stats.misses++;
	s->e = want_key(id, &s->d, key);
	s->waiting = !s->e;
}

static enum err wait_for(struct identity *id, const struct side *side,
                         struct str token, struct str cookie,
                         uint64_t deadline_ms, identity_fn *done, void *arg)
{
	static const struct str none;
	struct waiter *w;

	if (id->waiting.n >= IDENTITY_WAITERS_MAX)
		return ERR_UNAVAILABLE;
	w = waiter_new(side, side[CRED_TOKEN].waiting ? token : none,
	               side[CRED_COOKIE].waiting ? cookie : none);
	if (!w)
		return ERR_UNAVAILABLE;
	w->done = done;
	w->arg = arg;
	w->deadline_ms = deadline_ms;
	waiters_add(&id->waiting, w);
	return ERR_BUSY;
}

/* The bearer token, or empty; false: a scheme that we do not take. */
static bool bearer(struct str header, struct str *out)
{
	struct str rest = str_trim(header), scheme;

	*out = (struct str){0};
	if (rest.n == 0)
		return true;
	scheme = str_cut(&rest, ' ');
	if (!str_ieq(scheme, STR("Bearer")))
		return false;
	rest = str_trim(rest);
	/* What a browser sends that has no token. */
	if (!str_eq(rest, STR("null")) && !str_eq(rest, STR("undefined")))
		*out = rest;
	return true;
}

enum err identity_check(struct identity *id, const struct credentials *c,
                        uint64_t now_ms, uint64_t deadline_ms, struct who *who,
                        identity_fn *done, void *arg)
{
	struct side side[CRED_KINDS];
	struct str key = str_trim(c->api_key), token;

	id->now_ms = now_ms;
	id->tp = c->tp;
	if (!bearer(c->authorization, &token))
		return ERR_BAD_LOGIN;
	/* Not all of it is cleared: what is not given is not read, and this is
	 * the way of every request. */
	for (size_t i = 0; i < CRED_KINDS; i++)
		side[i].given = side[i].waiting = false;
	side[CRED_TOKEN].given = token.n > 0;
	side[CRED_KEY].given = key.n > 0;
	side[CRED_COOKIE].given = c->cookie.n > 0;
	if (token.n == 0 && key.n == 0 && c->cookie.n == 0)
		return ERR_LOGIN_NEEDED;
	if (!identity_ready(id) ||
	    revfeed_age_ms(id->feed, now_ms) > id->max_stale_ms)
		return ERR_UNAVAILABLE;
	if (token.n)
		look_at_token(id, &side[CRED_TOKEN], token);
	if (key.n)
		look_at_key(id, &side[CRED_KEY], key);
	if (c->cookie.n)
		look_at_token(id, &side[CRED_COOKIE], c->cookie);
	id->tp = (struct str){0};
	for (size_t i = 0; i < CRED_KINDS; i++)
		if (side[i].waiting)
			return wait_for(id, side, token, c->cookie, deadline_ms,
			                done, arg);
	return verdict(id, side, who);
}

void identity_forget(struct identity *id, void *arg)
{
	if (!waiters_forget(&id->waiting, arg))
		(void)waiters_forget(&id->finished, arg);
}

void identity_push(struct identity *id, struct str bytes, uint64_t now_ms)
{
	id->now_ms = now_ms;
	revfeed_push(id->feed, bytes, now_ms);
}

/* --- turns ---------------------------------------------------------------- */

static void expire_waiters(struct identity *id)
{
	for (struct waiter *w = id->waiting.first, *next; w; w = next) {
		next = w->next;
		if (w->deadline_ms > id->now_ms)
			continue;
		for (size_t i = 0; i < CRED_KINDS; i++) {
			if (!w->side[i].waiting)
				continue;
			w->side[i].waiting = false;
			w->side[i].e = ERR_UNAVAILABLE;
		}
		settle(id, w);
	}
}

void identity_turn(struct identity *id, uint64_t now_ms)
{
	id->now_ms = now_ms;
	revfeed_turn(id->feed, now_ms);
	if (now_ms >= next_fetch_ms(id))
		fetch_keys(id);
	expire_waiters(id);
	deliver(id);
}

uint64_t identity_timeout_ms(const struct identity *id, uint64_t now_ms)
{
	uint64_t due = next_fetch_ms(id), poll = revfeed_due_ms(id->feed);

	if (poll < due)
		due = poll;
	for (const struct waiter *w = id->waiting.first; w; w = w->next)
		if (w->deadline_ms < due)
			due = w->deadline_ms;
	if (due == UINT64_MAX)
		return UINT64_MAX;
	return clock_left(due, now_ms);
}

bool identity_ready(const struct identity *id)
{
	return revfeed_loaded(id->feed) && id->keys;
}

bool identity_stale(const struct identity *id, uint64_t now_ms)
{
	return revfeed_age_ms(id->feed, now_ms) > IDENTITY_FRESH_MS;
}

void identity_stats(const struct identity *id, uint64_t now_ms,
                    struct identity_stats *out)
{
	struct credcache_stats c = credcache_stats(id->cache);

	*out = id->stats;
	out->entries = c.entries;
	out->evicted = c.evicted;
	out->revocations = revoked_count(id->revoked);
	out->age_ms = revfeed_age_ms(id->feed, now_ms);
}
