#include "svc-auth/es256.h"

#include "common/base/b64.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sodium.h>
#include <stdio.h>

AUTO_TYPE(pkey, EVP_PKEY *, EVP_PKEY_free)
AUTO_TYPE(bio, BIO *, BIO_free_all)
AUTO_TYPE(bignum, BIGNUM *, BN_free)

static bool coordinate(const EVP_PKEY *key, const char *name,
                       unsigned char out[ES256_COORD])
{
	AUTO(bignum) n = NULL;

	return EVP_PKEY_get_bn_param(key, name, &n) == 1 &&
	       BN_bn2binpad(n, out, ES256_COORD) == ES256_COORD;
}

static bool pem(EVP_PKEY *key, struct es256 *out)
{
	/* Secure memory is wiped when it is freed. */
	AUTO(bio) bio = BIO_new(BIO_s_secmem());
	char *text = NULL;
	long n;

	if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL,
	                                          NULL) != 1)
		return false;
	n = BIO_get_mem_data(bio, &text);
	if (n <= 0 || n >= ES256_PEM_MAX)
		return false;
	memcpy(out->pem, text, (size_t)n);
	out->pem[n] = '\0';
	out->pem_n = (size_t)n;
	return true;
}

/* RFC 7638: the members in this order, without blanks. */
static void thumbprint(struct es256 *k)
{
	unsigned char hash[crypto_hash_sha256_BYTES];
	char x[B64_LEN(ES256_COORD) + 1], y[B64_LEN(ES256_COORD) + 1];
	char json[160];

	(void)b64url(k->x, sizeof(k->x), x);
	(void)b64url(k->y, sizeof(k->y), y);
	(void)snprintf(
		json, sizeof(json),
		"{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}",
		x, y);
	(void)crypto_hash_sha256(hash, (const unsigned char *)json,
	                         strlen(json));
	(void)b64url(hash, sizeof(hash), k->kid);
}

bool es256_generate(struct es256 *out)
{
	AUTO(pkey) key = EVP_EC_gen("P-256");

	if (!key || !coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, out->x) ||
	    !coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, out->y) ||
	    !pem(key, out))
		return false;
	thumbprint(out);
	return true;
}

void es256_wipe(struct es256 *k)
{
	explicit_bzero(k, sizeof(*k));
}
