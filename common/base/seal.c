#include "common/base/seal.h"

#include <assert.h>

#define VERSION 1
#define NONCE   crypto_aead_xchacha20poly1305_ietf_NPUBBYTES

void seal_key_from_text(struct str text, struct seal_key *out)
{
	static const unsigned char
		label[crypto_generichash_blake2b_PERSONALBYTES] =
			"kae-signing-kek";

	(void)crypto_generichash_blake2b_salt_personal(
		out->k, sizeof(out->k), (const unsigned char *)text.p, text.n,
		NULL, 0, NULL, label);
}

void seal_key_for(const struct seal_key *from, const char *use,
                  struct seal_key *out)
{
	unsigned char label[crypto_generichash_blake2b_PERSONALBYTES] = {0};
	size_t n = strlen(use);

	assert(n <= sizeof(label));
	for (size_t i = 0; i < n; i++)
		label[i] = (unsigned char)use[i];
	(void)crypto_generichash_blake2b_salt_personal(out->k, sizeof(out->k),
	                                               NULL, 0, from->k,
	                                               sizeof(from->k), NULL,
	                                               label);
}

/* out has room for plain.n + SEAL_OVERHEAD bytes. */
static size_t seal_into(const struct seal_key *k, struct str plain,
                        struct str label, unsigned char *out)
{
	unsigned long long made = 0;

	out[0] = VERSION;
	randombytes_buf(out + 1, NONCE);
	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(
		out + 1 + NONCE, &made, (const unsigned char *)plain.p, plain.n,
		(const unsigned char *)label.p, label.n, NULL, out + 1, k->k);
	return 1 + NONCE + (size_t)made;
}

/* out has room for sealed.n - SEAL_OVERHEAD bytes. */
static bool unseal_into(const struct seal_key *k, struct str sealed,
                        struct str label, unsigned char *out, size_t *n)
{
	const unsigned char *p = (const unsigned char *)sealed.p;
	unsigned long long got = 0;

	if (p[0] != VERSION ||
	    crypto_aead_xchacha20poly1305_ietf_decrypt(
		    out, &got, NULL, p + 1 + NONCE, sealed.n - 1 - NONCE,
		    (const unsigned char *)label.p, label.n, p + 1, k->k))
		return false;
	*n = (size_t)got;
	return true;
}

bool seal(const struct seal_key *k, struct str plain, struct str label,
          unsigned char out[SEAL_MAX], size_t *n)
{
	if (plain.n > SEAL_PLAIN_MAX)
		return false;
	*n = seal_into(k, plain, label, out);
	return true;
}

bool unseal(const struct seal_key *k, struct str sealed, struct str label,
            unsigned char out[SEAL_PLAIN_MAX], size_t *n)
{
	return sealed.n >= SEAL_OVERHEAD && sealed.n <= SEAL_MAX &&
	       unseal_into(k, sealed, label, out, n);
}

bool seal_buf(const struct seal_key *k, struct str plain, struct str label,
              struct buf *out)
{
	if (!buf_reserve(out, plain.n + SEAL_OVERHEAD))
		return false;
	out->n += seal_into(k, plain, label, (unsigned char *)out->p + out->n);
	return true;
}

bool unseal_buf(const struct seal_key *k, struct str sealed, struct str label,
                struct buf *out)
{
	size_t n = 0;

	if (sealed.n < SEAL_OVERHEAD || !buf_reserve(out, sealed.n) ||
	    !unseal_into(k, sealed, label, (unsigned char *)out->p + out->n,
	                 &n))
		return false;
	out->n += n;
	return true;
}
