/*
 * identity - who is asking: verifies bearer tokens and API keys at the edge
 * (design D24 to D28).
 *
 * Tokens are ES256 JWTs, checked here with keys parsed once: algorithm pinned,
 * typ, iss, aud, token_use, exp, nbf, kid and every claim that D26 names.  An unknown kid
 * asks svc-auth at most once per IDENTITY_COOLDOWN_MS.  API keys are hashed
 * here (SHA-256) and the hash is asked of svc-auth: a key never travels.
 * Verified credentials are remembered by their hash until they expire (keys:
 * 1 s), refusals for 1 s, in a bounded table that evicts.
 *
 * Revocation: svc-auth pushes new rows and is polled every 250 ms; the list
 * must be loaded once before identity_ready().  Without news for 1 s admin and
 * GDPR routes are refused (identity_stale), for REVOCATION_MAX_STALE_S all are.
 *
 * Session ids: a token's sid is that of its session; for an API key sid is
 * IDENTITY_KEY_SID and the key's id, so that all can tell the two apart.
 *
 * Bounds:  AUTH_CACHE_ENTRIES verdicts, IDENTITY_CALLS_MAX calls, one key fetch
 *          at a time and per cooldown, IDENTITY_WAITERS_MAX waiting requests.
 *          Beyond them the answer is ERR_UNAVAILABLE at once, so a flood of
 *          random credentials costs neither memory nor svc-auth.
 * Threads: one gateway loop owns it.  Callbacks come from bus_client_turn() or
 * identity_turn().
 */
#ifndef GATEWAY_IDENTITY_H
#define GATEWAY_IDENTITY_H

#include "common/base/conf.h"
#include "common/base/ctx.h"
#include "common/bus/bus.h"

#define IDENTITY_KEY_SID     "key:"
#define IDENTITY_COOLDOWN_MS 5000
#define IDENTITY_POLL_MS     250
#define IDENTITY_FRESH_MS    1000
#define IDENTITY_KEY_MS      1000 /* an API key is believed this long */
#define IDENTITY_REFUSED_MS  1000 /* a refusal is remembered this long */
#define IDENTITY_CALLS_MAX   64   /* API keys asked of svc-auth at once */
#define IDENTITY_WAITERS_MAX 1024 /* requests that wait for an answer */

struct who {
	char sub[40], hnd[72], sid[48], jti[40]; /* jti empty: an API key */
	enum role role;
	enum tier tier;
	uint32_t scopes;
	int64_t auth_time_s, expires_s; /* expires_s 0: an API key */
	/* Nothing but a cookie says so, which a browser sends by itself. */
	bool by_cookie;
};

struct identity;

struct identity *identity_new(const struct settings *conf,
                              struct bus_client *bus);
/* What identity needs of the bus and the clock; tests put their own here. */
struct identity_bus {
	enum err (*call)(void *bus, const struct bus_call *call, uint64_t *id);
	void (*cancel)(void *bus, uint64_t id);
	int64_t (*wall_ms)(void *bus);
	void *bus;
};
struct identity *identity_new_over(const struct settings *conf,
                                   const struct identity_bus *bus);
void identity_free(struct identity *id);
AUTO_TYPE(identity, struct identity *, identity_free)

/* The credentials of one request; empty where absent.  `Bearer null`, `Bearer
 * undefined` and an empty bearer count as absent. */
struct credentials {
	struct str authorization; /* header value, whole */
	struct str api_key;       /* X-API-Key */
	struct str cookie;        /* of the session: an access token */
	struct str tp;            /* traceparent of a call to svc-auth */
};

/*
 * OK with *who: known at once.  ERR_LOGIN_NEEDED: no credentials.  Other
 * errors: refused (401 codes, also when but one of several is not valid;
 * ERR_DENIED when all are, for different people; ERR_UNAVAILABLE when svc-auth is needed and away, or the revocation
 * list is too old).  ERR_BUSY is never a verdict: it means that `done` will be
 * called later, before deadline_ms, unless identity_forget(arg) comes first.
 */
typedef void identity_fn(void *arg, enum err e, const struct who *who);
enum err identity_check(struct identity *id, const struct credentials *c,
                        uint64_t now_ms, uint64_t deadline_ms, struct who *who,
                        identity_fn *done, void *arg) MUST_CHECK;
void identity_forget(struct identity *id, void *arg);

bool identity_ready(const struct identity *id);
/* No word from svc-auth for longer than IDENTITY_FRESH_MS. */
bool identity_stale(const struct identity *id, uint64_t now_ms);
void identity_push(struct identity *id, struct str bytes, uint64_t now_ms);
void identity_turn(struct identity *id, uint64_t now_ms);
uint64_t identity_timeout_ms(const struct identity *id, uint64_t now_ms);

struct identity_stats {
	uint64_t hits, misses, refused, key_fetches, evicted, revoked;
	uint64_t entries, revocations;
	uint64_t age_ms; /* since the last word from svc-auth */
};
void identity_stats(const struct identity *id, uint64_t now_ms,
                    struct identity_stats *out);

#endif
