#include "svc-gdpr/receipt.h"

#include "svc-gdpr/stmts.h"

#include "common/base/b64.h"
#include "common/base/log.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"

#include <stdio.h>
#include <stdlib.h>

#define KEY_LOCK 0x6b61655f72637074 /* "kae_rcpt" */
#define X_MAX    (B64_LEN(RECEIPT_PUBLIC) + 1)

/* --- keys -------------------------------------------------------------------------- */

void receipt_key_wipe(struct receipt_key *k)
{
	explicit_bzero(k, sizeof(*k));
}

/* RFC 8037, 2 and RFC 7638: the members in this order, without blanks. */
static void thumbprint(const unsigned char x[RECEIPT_PUBLIC],
                       char kid[RECEIPT_KID_MAX])
{
	unsigned char hash[crypto_hash_sha256_BYTES];
	char x64[X_MAX], json[128];

	(void)snprintf(json, sizeof(json),
	               "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%s\"}",
	               b64url(x, RECEIPT_PUBLIC, x64).p);
	(void)crypto_hash_sha256(hash, (const unsigned char *)json,
	                         strlen(json));
	(void)b64url(hash, sizeof(hash), kid);
}

static struct str bytes(const unsigned char *p, size_t n)
{
	return (struct str){(const char *)p, n};
}

static enum err make_key(struct db *db, const struct seal_key *seal_with,
                         int64_t now_ms, struct receipt_key *k)
{
	unsigned char sealed[SEAL_MAX];
	size_t n = 0;

	(void)crypto_sign_ed25519_keypair(k->x, k->secret);
	thumbprint(k->x, k->kid);
	if (!seal(seal_with, bytes(k->secret, sizeof(k->secret)),
	          str_from(k->kid), sealed, &n))
		return ERR_INTERNAL;
	{
		const struct db_val v[] = {DB_TEXT(k->kid),
		                           DB_BLOB(bytes(k->x, sizeof(k->x))),
		                           DB_BLOB(bytes(sealed, n)),
		                           DB_I64(now_ms)};

		return db_run(db, STMT(RECEIPT_KEY_ADD), v, COUNTOF(v), NULL);
	}
}

struct loading {
	const struct seal_key *seal;
	struct receipt_key *key;
	bool found, opened;
};

static enum err take_key(void *arg, const struct db_row *row)
{
	struct loading *l = arg;
	unsigned char plain[SEAL_PLAIN_MAX];
	struct str kid = db_row_str(row, 0), x = db_row_str(row, 1);
	size_t n = 0;

	if (l->found || db_row_str(row, 2).n == 0)
		return OK;
	l->found = true;
	if (kid.n >= RECEIPT_KID_MAX || x.n != RECEIPT_PUBLIC)
		return ERR_INTERNAL;
	(void)snprintf(l->key->kid, RECEIPT_KID_MAX, "%.*s", STR_FMT(kid));
	memcpy(l->key->x, x.p, x.n);
	l->opened = unseal(l->seal, db_row_str(row, 2), kid, plain, &n) &&
	            n == sizeof(l->key->secret);
	if (l->opened)
		memcpy(l->key->secret, plain, n);
	explicit_bzero(plain, sizeof(plain));
	return OK;
}

enum err receipt_key_load(struct db *db, const struct seal_key *seal_with,
                          int64_t now_ms, struct receipt_key *out)
{
	struct loading l = {.seal = seal_with, .key = out};
	const struct db_sink sink = {take_key, &l};
	/* Replicas must not make one each. */
	enum err e = db_lock(db, KEY_LOCK);

	if (!e)
		e = db_run(db, STMT(RECEIPT_KEYS), NULL, 0, &sink);
	if (e)
		return e;
	if (!l.found)
		return make_key(db, seal_with, now_ms, out);
	if (!l.opened)
		log_error(db_cx(db), "erase.key_sealed_otherwise",
		          LOG_TEXT("kid", out->kid));
	return l.opened ? OK : ERR_INTERNAL;
}

struct packing {
	struct buf keys;
	uint32_t n;
};

static enum err pack_key(void *arg, const struct db_row *row)
{
	struct packing *p = arg;
	struct str x = db_row_str(row, 1);
	char x64[X_MAX];

	if (x.n != RECEIPT_PUBLIC)
		return ERR_INTERNAL;
	p->n++;
	mp_map(&p->keys, 6);
	mp_kv_text(&p->keys, "kty", "OKP");
	mp_kv_text(&p->keys, "crv", "Ed25519");
	mp_kv_text(&p->keys, "alg", "EdDSA");
	mp_kv_text(&p->keys, "use", "sig");
	mp_kv_str(&p->keys, "kid", db_row_str(row, 0));
	mp_kv_str(&p->keys, "x", b64url(x.p, x.n, x64));
	return p->keys.failed ? ERR_NOMEM : OK;
}

enum err receipt_keys_pack(struct db *db, struct buf *out)
{
	struct packing p = {0};
	const struct db_sink sink = {pack_key, &p};
	enum err e = db_run(db, STMT(RECEIPT_KEYS), NULL, 0, &sink);

	if (!e) {
		mp_map(out, 1);
		mp_kv_array(out, "keys", p.n);
		mp_raw(out, buf_view(&p.keys));
	}
	buf_fini(&p.keys);
	return !e && out->failed ? ERR_NOMEM : e;
}

/* --- signing ------------------------------------------------------------------------- */

static bool add_b64(struct buf *out, struct str s)
{
	char *text = malloc(B64_LEN(s.n) + 1);

	if (!text)
		return false;
	buf_str(out, b64url(s.p, s.n, text));
	free(text);
	return !out->failed;
}

enum err receipt_sign(const struct receipt_key *k, struct str payload,
                      struct buf *jws)
{
	unsigned char sig[crypto_sign_ed25519_BYTES];
	AUTO_BUF head = {0}, json = {0}, text = {0};

	buf_printf(
		&head,
		"{\"alg\":\"EdDSA\",\"kid\":\"%s\",\"typ\":\"erasure-receipt\"}",
		k->kid);
	if (!mp_to_json(payload, &json))
		return json.failed ? ERR_NOMEM : ERR_INTERNAL;
	if (head.failed || !add_b64(&text, buf_view(&head)))
		return ERR_NOMEM;
	buf_char(&text, '.');
	if (!add_b64(&text, buf_view(&json)))
		return ERR_NOMEM;
	(void)crypto_sign_ed25519_detached(sig, NULL,
	                                   (const unsigned char *)text.p,
	                                   text.n, k->secret);
	buf_char(&text, '.');
	if (!add_b64(&text, bytes(sig, sizeof(sig))))
		return ERR_NOMEM;
	buf_str(jws, buf_view(&text));
	return jws->failed ? ERR_NOMEM : OK;
}

/* --- verifying --------------------------------------------------------------------------- */

static bool decode(struct str text, struct buf *out)
{
	size_t n = 0;

	if (text.n == 0 || !buf_reserve(out, text.n) ||
	    !b64url_decode(text, out->p, text.n, &n))
		return false;
	out->n = n;
	return true;
}

/* The key of that kid; its kid must be its thumbprint. */
static bool find_key(struct str jwks, struct str kid,
                     unsigned char x[RECEIPT_PUBLIC])
{
	struct str list = jwks, key;
	struct mp m;
	uint32_t n = 1;
	char own[RECEIPT_KID_MAX];
	size_t got = 0;

	if (mp_find(jwks, "keys", &list)) {
		m = mp_open(list);
		if (!mp_get_array(&m, &n))
			return false;
	} else {
		m = mp_open(jwks);
	}
	for (; n > 0 && mp_skip(&m, &key); n--) {
		if (!str_eq(mp_find_str(key, "crv", STR("")), STR("Ed25519")) ||
		    !b64url_decode(mp_find_str(key, "x", STR("")), x,
		                   RECEIPT_PUBLIC, &got) ||
		    got != RECEIPT_PUBLIC)
			continue;
		thumbprint(x, own);
		if (str_eq(str_from(own), kid))
			return true;
	}
	return false;
}

static const char *verify_with(struct str jwks, struct str head,
                               struct str signed_text, struct str sig)
{
	AUTO_BUF mp = {0};
	struct json_error at;
	unsigned char x[RECEIPT_PUBLIC];

	if (!json_to_mp(head, &mp, &at))
		return "its header is not JSON";
	if (!str_eq(mp_find_str(buf_view(&mp), "alg", STR("")), STR("EdDSA")))
		return "it is not signed by EdDSA";
	if (!find_key(jwks, mp_find_str(buf_view(&mp), "kid", STR("")), x))
		return "the key that it names is not among those given";
	if (sig.n != crypto_sign_ed25519_BYTES ||
	    crypto_sign_ed25519_verify_detached(
		    (const unsigned char *)sig.p,
		    (const unsigned char *)signed_text.p, signed_text.n, x))
		return "the signature is not valid";
	return NULL;
}

const char *receipt_verify(struct str jws, struct str jwks, struct buf *out)
{
	AUTO_BUF head = {0}, payload = {0}, sig = {0}, mp = {0};
	struct str rest = jws, h = str_cut(&rest, '.');
	struct str p = str_cut(&rest, '.');
	struct json_error at;
	const char *why;

	if (!decode(h, &head) || !decode(p, &payload) || !decode(rest, &sig))
		return "it is no compact JWS";
	why = verify_with(jwks, buf_view(&head),
	                  (struct str){jws.p, h.n + 1 + p.n}, buf_view(&sig));
	if (why)
		return why;
	if (!json_to_mp(buf_view(&payload), &mp, &at))
		return "its payload is not JSON";
	buf_str(out, buf_view(&payload));
	return out->failed ? "out of memory" : NULL;
}
