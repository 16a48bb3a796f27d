/*
 * jwt_maker - makes tokens for tests, good ones and any other kind.
 *
 * It signs with OpenSSL directly, so that a test can write headers and claims
 * that our own issuer would never write.
 */
#ifndef TESTS_JWT_MAKER_H
#define TESTS_JWT_MAKER_H

#include "svc-auth/es256.h"

#include "common/base/b64.h"
#include "common/base/buf.h"
#include "common/codec/mp.h"

#include <openssl/bio.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#define MAKER_NOW 1800000000 /* seconds; what tests take for now */
#define MAKER_SUB "01900000-0000-7000-8000-000000000001"
#define MAKER_SID "01900000-0000-7000-8000-000000000002"
#define MAKER_JTI "01900000-0000-7000-8000-000000000003"
#define MAKER_KEY "01900000-0000-7000-8000-000000000004"

struct maker {
	struct es256 key;
	EVP_PKEY *pkey;
};

static inline bool maker_init(struct maker *m)
{
	BIO *bio;

	if (!es256_generate(&m->key))
		return false;
	bio = BIO_new_mem_buf(m->key.pem, (int)m->key.pem_n);
	m->pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	(void)BIO_free(bio);
	return m->pkey != NULL;
}

static inline void maker_fini(struct maker *m)
{
	EVP_PKEY_free(m->pkey);
	es256_wipe(&m->key);
}

static inline void maker_b64(struct buf *out, const void *p, size_t n)
{
	char text[8192];

	buf_str(out, b64url(p, n, text));
}

/* The public key as PEM, as libjwt wants it. */
static inline void maker_public_pem(const struct maker *m, struct buf *out)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	long n;

	if (!bio || PEM_write_bio_PUBKEY(bio, m->pkey) != 1)
		out->failed = true;
	n = bio ? BIO_get_mem_data(bio, &text) : 0;
	buf_add(out, text, (size_t)n);
	(void)BIO_free(bio);
}

/* r and s of an ES256 signature over text. */
static inline bool maker_sign(const struct maker *m, struct str text,
                              unsigned char raw[64])
{
	unsigned char der[80];
	const unsigned char *p = der;
	size_t n = sizeof(der);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	ECDSA_SIG *sig = NULL;
	bool ok = md &&
	          EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, m->pkey) ==
	                  1 &&
	          EVP_DigestSign(md, der, &n, (const unsigned char *)text.p,
	                         text.n) == 1;

	EVP_MD_CTX_free(md);
	if (ok)
		sig = d2i_ECDSA_SIG(NULL, &p, (long)n);
	ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32) == 32 &&
	     BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32) == 32;
	ECDSA_SIG_free(sig);
	return ok;
}

static inline void maker_token(const struct maker *m, struct str header,
                               struct str claims, struct buf *out)
{
	unsigned char raw[64];

	maker_b64(out, header.p, header.n);
	buf_char(out, '.');
	maker_b64(out, claims.p, claims.n);
	if (!maker_sign(m, buf_view(out), raw))
		out->failed = true;
	buf_char(out, '.');
	maker_b64(out, raw, sizeof(raw));
}

static inline void maker_header(const struct maker *m, struct buf *out)
{
	buf_printf(out, "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%s\"}",
	           m->key.kid);
}

/*
 * The claims of a good token.  One may be replaced: key names it, value is its
 * JSON, NULL leaves it out.  extra is put in at the end, such as ",\"a\":1".
 */
static inline void maker_claims(struct buf *out, const char *key,
                                const char *value, const char *extra)
{
	static const struct {
		const char *key, *value;
	} base[] = {
		{"iss", "\"knowalledge\""},   {"aud", "\"knowalledge\""},
		{"sub", "\"" MAKER_SUB "\""}, {"hnd", "\"Alice\""},
		{"sid", "\"" MAKER_SID "\""}, {"jti", "\"" MAKER_JTI "\""},
		{"iat", "1799999990"},        {"exp", "1800000100"},
		{"auth_time", "1799999980"},  {"scp", "\"read write\""},
		{"role", "\"user\""},         {"tier", "\"free\""},
		{"token_use", "\"access\""},  {"key", "\"" MAKER_KEY "\""},
	};
	const char *comma = "";

	buf_char(out, '{');
	for (size_t i = 0; i < COUNTOF(base); i++) {
		bool ours = key && strcmp(key, base[i].key) == 0;
		const char *v = ours ? value : base[i].value;

		if (!v)
			continue;
		buf_printf(out, "%s\"%s\":%s", comma, base[i].key, v);
		comma = ",";
	}
	buf_str(out, str_from(extra));
	buf_char(out, '}');
}

/* The JWKS that svc-auth would publish, as msgpack. */
static inline void maker_jwks(const struct maker *m, size_t n, struct buf *out)
{
	char x[64], y[64];

	mp_map(out, 1);
	mp_kv_array(out, "keys", n);
	for (size_t i = 0; i < n; i++) {
		mp_map(out, 7);
		mp_kv_text(out, "kty", "EC");
		mp_kv_text(out, "crv", "P-256");
		mp_kv_str(out, "x", b64url(m[i].key.x, 32, x));
		mp_kv_str(out, "y", b64url(m[i].key.y, 32, y));
		mp_kv_text(out, "kid", m[i].key.kid);
		mp_kv_text(out, "alg", "ES256");
		mp_kv_text(out, "use", "sig");
	}
}

#endif
