#include "svc-auth/seal.h"

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

bool seal(const struct seal_key *k, struct str plain, struct str label,
          unsigned char out[SEAL_MAX], size_t *n)
{
	unsigned long long made = 0;

	if (plain.n > SEAL_PLAIN_MAX)
		return false;
	out[0] = VERSION;
	randombytes_buf(out + 1, NONCE);
	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(
		out + 1 + NONCE, &made, (const unsigned char *)plain.p, plain.n,
		(const unsigned char *)label.p, label.n, NULL, out + 1, k->k);
	*n = 1 + NONCE + (size_t)made;
	return true;
}

bool unseal(const struct seal_key *k, struct str sealed, struct str label,
            unsigned char out[SEAL_PLAIN_MAX], size_t *n)
{
	const unsigned char *p = (const unsigned char *)sealed.p;
	unsigned long long got = 0;

	if (sealed.n < SEAL_OVERHEAD || sealed.n > SEAL_MAX || p[0] != VERSION)
		return false;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(
		    out, &got, NULL, p + 1 + NONCE, sealed.n - 1 - NONCE,
		    (const unsigned char *)label.p, label.n, p + 1, k->k))
		return false;
	*n = (size_t)got;
	return true;
}
