#include "gateway/jwt.h"

#include "common/base/b64.h"
#include "common/base/uuid.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdio.h>
#include <stdlib.h>

#define COORD   32
#define KID_MAX 64
/* SEQUENCE of two INTEGERs of at most 33 bytes. */
#define DER_MAX 80

AUTO_TYPE(pkey, EVP_PKEY *, EVP_PKEY_free)
AUTO_TYPE(pkey_ctx, EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
AUTO_TYPE(md_ctx, EVP_MD_CTX *, EVP_MD_CTX_free)
AUTO_TYPE(ecdsa_sig, ECDSA_SIG *, ECDSA_SIG_free)
AUTO_TYPE(bignum, BIGNUM *, BN_free)

struct jwt_keys {
	size_t n;
	struct {
		char kid[KID_MAX + 1];
		EVP_PKEY *key;
	} v[JWT_KEYS_MAX];
};

/* --- keys ----------------------------------------------------------------- */

/* NULL unless x and y are a point of the curve. */
static EVP_PKEY *key_from_point(const unsigned char point[1 + 2 * COORD])
{
	AUTO(pkey_ctx) cx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	AUTO(pkey) key = NULL;
	unsigned char copy[1 + 2 * COORD];
	char group[] = "prime256v1";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
	                                         group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy,
	                                          sizeof(copy)),
		OSSL_PARAM_construct_end(),
	};

	memcpy(copy, point, sizeof(copy));
	if (!cx || EVP_PKEY_fromdata_init(cx) != 1 ||
	    EVP_PKEY_fromdata(cx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		return NULL;
	return STEAL(key);
}

static bool coordinate(struct str jwk, const char *name,
                       unsigned char out[COORD])
{
	struct str text = mp_find_str(jwk, name, STR(""));
	size_t n = 0;

	return b64url_decode(text, out, COORD, &n) && n == COORD;
}

static bool says(struct str map, const char *key, struct str want)
{
	return str_eq(mp_find_str(map, key, STR("")), want);
}

/* Adds the key if it is one that we can use. */
static void add_key(struct jwt_keys *k, struct str jwk)
{
	unsigned char point[1 + 2 * COORD] = {4}; /* uncompressed */
	struct str kid = mp_find_str(jwk, "kid", STR(""));
	EVP_PKEY *key;

	if (k->n == JWT_KEYS_MAX || kid.n == 0 || kid.n > KID_MAX ||
	    !says(jwk, "kty", STR("EC")) || !says(jwk, "crv", STR("P-256")) ||
	    !says(jwk, "alg", STR("ES256")) ||
	    !coordinate(jwk, "x", point + 1) ||
	    !coordinate(jwk, "y", point + 1 + COORD))
		return;
	key = key_from_point(point);
	if (!key)
		return;
	(void)snprintf(k->v[k->n].kid, sizeof(k->v[0].kid), "%.*s",
	               STR_FMT(kid));
	k->v[k->n].key = key;
	k->n++;
}

enum err jwt_keys_read(struct str jwks, struct jwt_keys **out)
{
	AUTO(jwt_keys) k = calloc(1, sizeof(*k));
	struct str list, jwk;
	uint32_t n = 0;
	struct mp m;

	if (!k)
		return ERR_NOMEM;
	if (!mp_find(jwks, "keys", &list))
		return ERR_INVALID;
	m = mp_open(list);
	if (!mp_get_array(&m, &n))
		return ERR_INVALID;
	for (uint32_t i = 0; i < n; i++) {
		if (!mp_skip(&m, &jwk))
			return ERR_INVALID;
		add_key(k, jwk);
	}
	if (k->n == 0)
		return ERR_INVALID;
	*out = STEAL(k);
	return OK;
}

void jwt_keys_free(struct jwt_keys *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < k->n; i++)
		EVP_PKEY_free(k->v[i].key);
	free(k);
}

static EVP_PKEY *find_key(const struct jwt_keys *k, struct str kid)
{
	for (size_t i = 0; i < k->n; i++)
		if (str_eq(str_from(k->v[i].kid), kid))
			return k->v[i].key;
	return NULL;
}

/* --- the signature -------------------------------------------------------- */

/* JWS carries r and s as they are, OpenSSL wants them in DER. */
static int signature_to_der(const unsigned char raw[2 * COORD],
                            unsigned char der[DER_MAX])
{
	AUTO(ecdsa_sig) sig = ECDSA_SIG_new();
	AUTO(bignum) r = BN_bin2bn(raw, COORD, NULL);
	AUTO(bignum) s = BN_bin2bn(raw + COORD, COORD, NULL);
	unsigned char *p = der;

	if (!sig || !r || !s || ECDSA_SIG_set0(sig, r, s) != 1)
		return 0;
	r = s = NULL; /* sig owns them now */
	if (i2d_ECDSA_SIG(sig, NULL) > DER_MAX)
		return 0;
	return i2d_ECDSA_SIG(sig, &p);
}

static enum err check_signature(EVP_PKEY *key, struct str what,
                                const unsigned char raw[2 * COORD])
{
	AUTO(md_ctx) md = EVP_MD_CTX_new();
	unsigned char der[DER_MAX];
	int der_n = signature_to_der(raw, der);

	if (!md || der_n <= 0 ||
	    EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) != 1)
		return ERR_NOMEM;
	return EVP_DigestVerify(md, der, (size_t)der_n,
	                        (const unsigned char *)what.p, what.n) == 1
	               ? OK
	               : ERR_BAD_TOKEN;
}

/* --- claims --------------------------------------------------------------- */

/* JSON text to msgpack; what is wrong with it makes a bad token. */
static enum err decode(struct str json, struct buf *out)
{
	struct json_error at = {0};

	if (json_to_mp(json, out, &at))
		return OK;
	return at.nomem || out->failed ? ERR_NOMEM : ERR_BAD_TOKEN;
}

/* A text of 1 to max - 1 bytes without NUL. */
static bool take_text(struct str map, const char *key, char *out, size_t max)
{
	struct str s = mp_find_str(map, key, STR(""));

	if (s.n == 0 || s.n >= max)
		return false;
	(void)snprintf(out, max, "%.*s", STR_FMT(s));
	return true;
}

static bool take_id(struct str map, const char *key, char *out, size_t max)
{
	return take_text(map, key, out, max) && uuid_valid(str_from(out));
}

/* Seconds since the epoch: an integer that is not negative.  The limit keeps
 * sums with it from overflowing; it is the year 9999. */
static bool take_time(struct str map, const char *key, int64_t *out)
{
	*out = mp_find_i64(map, key, -1);
	return *out >= 0 && *out <= 253402300799;
}

static bool take_rights(struct str map, struct who *w)
{
	struct str scp, role = mp_find_str(map, "role", STR(""));
	struct str tier = mp_find_str(map, "tier", STR(""));

	return mp_find(map, "scp", &scp) &&
	       mp_peek(&(struct mp){scp.p, scp.p + scp.n}) == MP_STR &&
	       scopes_from_str(mp_find_str(map, "scp", STR("")), &w->scopes) &&
	       role_from_str(role, &w->role) &&
	       (w->role == ROLE_USER || w->role == ROLE_ADMIN) &&
	       tier_from_str(tier, &w->tier);
}

static bool take_claims(struct str map, struct jwt_claims *c)
{
	struct str key;

	return take_id(map, "sub", c->who.sub, sizeof(c->who.sub)) &&
	       take_text(map, "hnd", c->who.hnd, sizeof(c->who.hnd)) &&
	       take_id(map, "sid", c->who.sid, sizeof(c->who.sid)) &&
	       take_id(map, "jti", c->who.jti, sizeof(c->who.jti)) &&
	       (!mp_find(map, "key", &key) ||
	        take_id(map, "key", c->key, sizeof(c->key))) &&
	       take_rights(map, &c->who) &&
	       take_time(map, "iat", &c->issued_s) &&
	       take_time(map, "exp", &c->who.expires_s) &&
	       take_time(map, "auth_time", &c->who.auth_time_s);
}

/* nbf is not among our claims; where it stands it is heeded. */
static bool has_begun(struct str map, int64_t issued_s, int64_t now_s)
{
	struct str nbf;
	int64_t from_s = 0;

	if (mp_find(map, "nbf", &nbf) && !take_time(map, "nbf", &from_s))
		return false;
	return issued_s <= now_s + JWT_LEEWAY_S &&
	       from_s <= now_s + JWT_LEEWAY_S;
}

enum err jwt_claims_read(struct str json, const struct jwt_policy *p,
                         int64_t now_s, struct jwt_claims *out)
{
	struct jwt_claims c = {0};
	AUTO_BUF mp = {.max = 4 * JWT_MAX};
	enum err e = decode(json, &mp);
	struct str map = buf_view(&mp);

	if (e)
		return e;
	if (!says(map, "iss", p->issuer) || !says(map, "aud", p->audience) ||
	    !says(map, "token_use", STR("access")) || !take_claims(map, &c) ||
	    !has_begun(map, c.issued_s, now_s))
		return ERR_BAD_TOKEN;
	if (c.who.expires_s <= now_s)
		return ERR_EXPIRED;
	*out = c;
	return OK;
}

/* --- the token ------------------------------------------------------------ */

struct parts {
	struct str head, claims, signature; /* as base64url */
	struct str signed_part;             /* head '.' claims */
};

static bool split(struct str token, struct parts *out)
{
	struct str rest = token;

	out->head = str_cut(&rest, '.');
	out->claims = str_cut(&rest, '.');
	out->signature = rest;
	out->signed_part =
		(struct str){token.p, out->head.n + 1 + out->claims.n};
	/* A further dot stays in the signature, where it is no base64url. */
	return out->head.n && out->claims.n && out->signature.n;
}

/* The header's kid, as a slice of mp. */
static enum err read_head(struct str json, struct buf *mp, struct str *kid)
{
	struct str map, crit;
	enum err e = decode(json, mp);

	if (e)
		return e;
	map = buf_view(mp);
	*kid = mp_find_str(map, "kid", STR(""));
	if (!says(map, "alg", STR("ES256")) ||
	    !(says(map, "typ", STR("JWT")) ||
	      says(map, "typ", STR("at+jwt"))) ||
	    kid->n == 0 || kid->n > KID_MAX || mp_find(map, "crit", &crit))
		return ERR_BAD_TOKEN;
	return OK;
}

enum err jwt_verify(const struct jwt_keys *k, const struct jwt_policy *p,
                    struct str token, int64_t now_s, struct jwt_claims *out)
{
	char text[JWT_MAX];
	unsigned char raw[2 * COORD];
	AUTO_BUF head = {.max = 4 * JWT_MAX};
	struct parts parts;
	struct str kid = {0};
	EVP_PKEY *key;
	size_t n = 0;
	enum err e;

	if (token.n == 0 || token.n > JWT_MAX || !split(token, &parts) ||
	    !b64url_decode(parts.signature, raw, sizeof(raw), &n) ||
	    n != sizeof(raw) ||
	    !b64url_decode(parts.head, text, sizeof(text), &n))
		return ERR_BAD_TOKEN;
	e = read_head((struct str){text, n}, &head, &kid);
	if (e)
		return e;
	key = find_key(k, kid);
	if (!key)
		return ERR_NOT_FOUND;
	e = check_signature(key, parts.signed_part, raw);
	if (e)
		return e;
	if (!b64url_decode(parts.claims, text, sizeof(text), &n))
		return ERR_BAD_TOKEN;
	return jwt_claims_read((struct str){text, n}, p, now_s, out);
}
