#include "svc-auth/signing.h"

#include "svc-auth/es256.h"
#include "svc-auth/stmts.h"

#include "common/base/b64.h"
#include "common/base/guard.h"
#include "common/base/log.h"
#include "common/codec/mp.h"

#include <stdio.h>
#include <stdlib.h>

/* The number of the database lock under which keys are made and rotated. */
#define SIGNING_LOCK 0x6b61655f7369676e /* "kae_sign" */

enum key_state { KEY_NEXT, KEY_ACTIVE, KEY_RETIRED };

/* A row of signing_keys. */
struct key_row {
	char kid[ES256_KID_MAX];
	enum key_state state;
	unsigned char x[ES256_COORD], y[ES256_COORD];
	unsigned char sealed[SEAL_MAX];
	size_t sealed_n;
	int64_t active_ms, until_ms;
};

struct ring {
	size_t n;
	struct key_row key[SIGNING_KEYS_MAX];
};

struct signing {
	struct signing_conf conf;
	pthread_mutex_t lock; /* of what follows */
	char kid[ES256_KID_MAX];
	char pem[ES256_PEM_MAX];
	size_t pem_n;
	struct buf jwks;
};

/* --- rows ----------------------------------------------------------------- */

static const struct {
	const char *name;
	enum key_state state;
} states[] = {
	{"next", KEY_NEXT},
	{"active", KEY_ACTIVE},
	{"retired", KEY_RETIRED},
};

static bool state_from_str(struct str s, enum key_state *out)
{
	for (size_t i = 0; i < COUNTOF(states); i++) {
		if (str_eq(s, str_from(states[i].name))) {
			*out = states[i].state;
			return true;
		}
	}
	return false;
}

static bool take_bytes(struct str s, unsigned char *out, size_t n)
{
	if (s.n != n)
		return false;
	memcpy(out, s.p, n);
	return true;
}

static enum err take_row(void *arg, const struct db_row *row)
{
	struct ring *r = arg;
	struct str kid = db_row_str(row, 0), sealed = db_row_str(row, 4);
	struct key_row *k;

	if (r->n == SIGNING_KEYS_MAX)
		return ERR_INTERNAL;
	k = &r->key[r->n];
	if (kid.n >= sizeof(k->kid) || sealed.n > sizeof(k->sealed) ||
	    !state_from_str(db_row_str(row, 1), &k->state) ||
	    !take_bytes(db_row_str(row, 2), k->x, sizeof(k->x)) ||
	    !take_bytes(db_row_str(row, 3), k->y, sizeof(k->y)))
		return ERR_INTERNAL;
	(void)snprintf(k->kid, sizeof(k->kid), "%.*s", STR_FMT(kid));
	memcpy(k->sealed, sealed.p, sealed.n);
	k->sealed_n = sealed.n;
	k->active_ms = db_row_i64(row, 5);
	k->until_ms = db_row_i64(row, 6);
	r->n++;
	return OK;
}

/* A db_fn: arg is a struct ring. */
static enum err read_ring(struct db *db, void *arg)
{
	struct ring *r = arg;
	const struct db_sink sink = {take_row, r};

	r->n = 0;
	return db_run(db, STMT(SIGN_LIST), NULL, 0, &sink);
}

static const struct key_row *in_state(const struct ring *r, enum key_state st)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->key[i].state == st)
			return &r->key[i];
	return NULL;
}

/* --- making and rotating -------------------------------------------------- */

/* A key made before the transaction that may need it, since a transaction
 * function may run twice. */
struct candidate {
	struct es256 key;
	unsigned char sealed[SEAL_MAX];
	size_t sealed_n;
};

struct rotation {
	const struct signing_conf *conf;
	int64_t now_ms;
	struct candidate *fresh; /* two of them */
	struct ring *ring;
	bool changed;
};

static bool candidate_make(struct candidate *c, const struct seal_key *k)
{
	return es256_generate(&c->key) &&
	       seal(k, (struct str){c->key.pem, c->key.pem_n},
	            str_from(c->key.kid), c->sealed, &c->sealed_n);
}

static bool still_signs(const struct key_row *active,
                        const struct signing_conf *conf, int64_t now_ms)
{
	return active && active->active_ms + conf->key_ttl_ms > now_ms;
}

static bool due(const struct ring *r, const struct signing_conf *conf,
                int64_t now_ms)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->key[i].state == KEY_RETIRED &&
		    r->key[i].until_ms < now_ms)
			return true;
	return !in_state(r, KEY_NEXT) ||
	       !still_signs(in_state(r, KEY_ACTIVE), conf, now_ms);
}

static enum err insert(struct db *db, const struct candidate *c,
                       const char *state, int64_t now_ms, bool active)
{
	const struct str x = {(const char *)c->key.x, sizeof(c->key.x)};
	const struct str y = {(const char *)c->key.y, sizeof(c->key.y)};
	const struct str sealed = {(const char *)c->sealed, c->sealed_n};
	const struct db_val v[] = {
		DB_TEXT(c->key.kid),
		DB_TEXT(state),
		DB_BLOB(x),
		DB_BLOB(y),
		DB_BLOB(sealed),
		DB_I64(now_ms),
		active ? DB_I64(now_ms) : DB_NULL,
	};

	return db_run(db, STMT(SIGN_ADD), v, COUNTOF(v), NULL);
}

/* Brings a new active key if it is time; *used_next tells that `next` became it. */
static enum err advance(struct db *db, const struct rotation *r,
                        bool *used_next)
{
	const struct key_row *active = in_state(r->ring, KEY_ACTIVE);
	const struct db_val until[] = {
		DB_I64(r->now_ms + r->conf->token_ttl_ms + SIGNING_GRACE_MS)};
	const struct db_val now[] = {DB_I64(r->now_ms)};
	enum err e = OK;

	if (still_signs(active, r->conf, r->now_ms))
		return OK;
	*used_next = in_state(r->ring, KEY_NEXT) != NULL;
	if (active)
		e = db_run(db, STMT(SIGN_RETIRE), until, 1, NULL);
	if (!e && *used_next)
		return db_run(db, STMT(SIGN_PROMOTE), now, 1, NULL);
	if (!e)
		e = insert(db, &r->fresh[0], "active", r->now_ms, true);
	return e;
}

/* A db_fn: looks again under the lock, because another replica may have been
 * faster. */
static enum err rotate(struct db *db, void *arg)
{
	struct rotation *r = arg;
	const struct db_val now[] = {DB_I64(r->now_ms)};
	bool used_next = false;
	enum err e = db_lock(db, SIGNING_LOCK);

	if (!e)
		e = read_ring(db, r->ring);
	if (!e)
		r->changed = due(r->ring, r->conf, r->now_ms);
	if (!e)
		e = advance(db, r, &used_next);
	if (!e && (used_next || !in_state(r->ring, KEY_NEXT)))
		e = insert(db, &r->fresh[1], "next", r->now_ms, false);
	if (!e)
		e = db_run(db, STMT(SIGN_PRUNE), now, 1, NULL);
	if (!e)
		e = read_ring(db, r->ring);
	return e;
}

static enum err rotate_now(struct signing *s, struct ctx *cx, int64_t now_ms,
                           struct ring *ring)
{
	struct candidate fresh[2];
	struct rotation r = {&s->conf, now_ms, fresh, ring, false};
	enum err e = ERR_NOMEM;

	if (candidate_make(&fresh[0], &s->conf.seal) &&
	    candidate_make(&fresh[1], &s->conf.seal))
		e = db_write(s->conf.pool, cx, rotate, &r);
	explicit_bzero(fresh, sizeof(fresh));
	/* Two replicas without a lock between them meet at the unique index:
	 * whoever lost finds the other's keys there. */
	if (e == ERR_DB_DUPLICATE)
		e = db_read(s->conf.pool, cx, read_ring, ring);
	if (!e && r.changed)
		log_info(cx, "auth.signing_keys_made",
		         LOG_U64("published", ring->n));
	return e;
}

/* --- what is in memory ---------------------------------------------------- */

static void pack_coord(struct buf *b, const char *name,
                       const unsigned char *coord)
{
	char text[B64_LEN(ES256_COORD) + 1];

	mp_kv_str(b, name, b64url(coord, ES256_COORD, text));
}

static void pack_jwks(const struct ring *r, struct buf *b)
{
	mp_map(b, 1);
	mp_kv_array(b, "keys", r->n);
	for (size_t i = 0; i < r->n; i++) {
		const struct key_row *k = &r->key[i];

		mp_map(b, 7);
		mp_kv_text(b, "kty", "EC");
		mp_kv_text(b, "crv", "P-256");
		pack_coord(b, "x", k->x);
		pack_coord(b, "y", k->y);
		mp_kv_text(b, "kid", k->kid);
		mp_kv_text(b, "alg", "ES256");
		mp_kv_text(b, "use", "sig");
	}
}

static bool open_row(const struct signing *s, const struct key_row *k,
                     unsigned char pem[SEAL_PLAIN_MAX], size_t *n)
{
	const struct str sealed = {(const char *)k->sealed, k->sealed_n};

	return unseal(&s->conf.seal, sealed, str_from(k->kid), pem, n) &&
	       *n > 0 && *n < ES256_PEM_MAX;
}

/* Both keys that may sign are opened, so that one that was altered is
 * found now and not at the next rotation. */
static bool open_signers(const struct signing *s, const struct ring *r,
                         unsigned char pem[SEAL_PLAIN_MAX], size_t *n)
{
	const struct key_row *next = in_state(r, KEY_NEXT);

	return (!next || open_row(s, next, pem, n)) &&
	       open_row(s, in_state(r, KEY_ACTIVE), pem, n);
}

static void install(struct signing *s, const struct key_row *active,
                    struct str pem, struct buf *jwks)
{
	GUARD(&s->lock);
	struct buf old = s->jwks;

	s->jwks = *jwks;
	*jwks = old;
	memcpy(s->kid, active->kid, sizeof(s->kid));
	memcpy(s->pem, pem.p, pem.n);
	s->pem[pem.n] = '\0';
	s->pem_n = pem.n;
}

static enum err use_ring(struct signing *s, struct ctx *cx,
                         const struct ring *r)
{
	const struct key_row *active = in_state(r, KEY_ACTIVE);
	unsigned char pem[SEAL_PLAIN_MAX];
	AUTO_BUF jwks = {0};
	size_t n = 0;
	enum err e = OK;

	if (!active)
		return ERR_INTERNAL;
	pack_jwks(r, &jwks);
	if (jwks.failed)
		return ERR_NOMEM;
	if (open_signers(s, r, pem, &n)) {
		install(s, active, (struct str){(const char *)pem, n}, &jwks);
	} else {
		log_error(
			cx, "auth.signing_key_sealed",
			LOG_TEXT(
				"hint",
				"the signing keys in the database were altered, or its root key was: restore them from one backup"));
		e = ERR_INVALID;
	}
	explicit_bzero(pem, sizeof(pem));
	return e;
}

/* --- a key from before there were root keys ------------------------------- */

struct probe {
	const struct seal_key *key;
	bool any, opens;
};

static enum err try_row(void *arg, const struct db_row *row)
{
	struct probe *p = arg;
	unsigned char pem[SEAL_PLAIN_MAX];
	size_t n = 0;

	p->any = true;
	if (unseal(p->key, db_row_str(row, 4), db_row_str(row, 0), pem, &n))
		p->opens = true;
	explicit_bzero(pem, sizeof(pem));
	return OK;
}

enum err signing_probe(struct db *db, const struct seal_key *key,
                       enum root_claim *out)
{
	struct probe p = {.key = key};
	const struct db_sink sink = {try_row, &p};
	enum err e = db_run(db, STMT(SIGN_LIST), NULL, 0, &sink);

	if (e)
		return e;
	*out = !p.any ? ROOT_UNUSED : p.opens ? ROOT_FITS : ROOT_REFUSES;
	return OK;
}

/* --- public --------------------------------------------------------------- */

enum err signing_turn(struct signing *s, struct ctx *cx, int64_t now_ms)
{
	struct ring *ring = arena_alloc(cx->arena, sizeof(*ring));
	enum err e;

	if (!ring)
		return ERR_NOMEM;
	e = db_read(s->conf.pool, cx, read_ring, ring);
	if (!e && due(ring, &s->conf, now_ms))
		e = rotate_now(s, cx, now_ms, ring);
	return e ? e : use_ring(s, cx, ring);
}

enum err signing_open(const struct signing_conf *conf, struct ctx *cx,
                      int64_t now_ms, struct signing **out)
{
	AUTO(signing) s = calloc(1, sizeof(*s));
	enum err e;

	if (!s)
		return ERR_NOMEM;
	s->conf = *conf;
	if (pthread_mutex_init(&s->lock, NULL)) {
		free(STEAL(s));
		return ERR_NOMEM;
	}
	e = signing_turn(s, cx, now_ms);
	if (e)
		return e;
	*out = STEAL(s);
	return OK;
}

void signing_free(struct signing *s)
{
	if (!s)
		return;
	(void)pthread_mutex_destroy(&s->lock);
	buf_fini(&s->jwks);
	explicit_bzero(s, sizeof(*s));
	free(s);
}

void signing_jwks(struct signing *s, struct buf *out)
{
	GUARD(&s->lock);

	mp_raw(out, buf_view(&s->jwks));
}

enum err signing_issue(struct signing *s, const struct token_claims *c,
                       struct buf *out)
{
	char kid[ES256_KID_MAX], pem[ES256_PEM_MAX];
	size_t n;
	enum err e;

	/* A copy, because signing is too long to hold the lock for. */
	{
		GUARD(&s->lock);

		memcpy(kid, s->kid, sizeof(kid));
		memcpy(pem, s->pem, sizeof(pem));
		n = s->pem_n;
	}
	e = token_issue(c, kid, (struct str){pem, n}, out);
	explicit_bzero(pem, sizeof(pem));
	return e;
}
