#include "svc-auth/recovery.h"

#include "svc-auth/totp.h"

#include <stdio.h>

_Static_assert(BASE32_LEN(RECOVERY_BYTES) == RECOVERY_PLAIN, "whole letters");

void recovery_make(char out[RECOVERY_MAX])
{
	unsigned char raw[RECOVERY_BYTES];
	char text[RECOVERY_PLAIN + 1];

	randombytes_buf(raw, sizeof(raw));
	(void)base32(raw, sizeof(raw), text);
	(void)snprintf(out, RECOVERY_MAX, "%.4s-%.4s-%.4s-%.4s-%.4s-%.4s", text,
	               text + 4, text + 8, text + 12, text + 16, text + 20);
	explicit_bzero(raw, sizeof(raw));
	explicit_bzero(text, sizeof(text));
}

struct str code_fold(struct str typed, char out[RECOVERY_PLAIN + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < typed.n; i++) {
		char c = typed.p[i];

		if (c == ' ' || c == '-')
			continue;
		if (n == RECOVERY_PLAIN) {
			n = 0;
			break;
		}
		out[n++] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
	}
	out[n] = '\0';
	return (struct str){out, n};
}

void recovery_hash(const struct seal_key *k, struct str sub, struct str folded,
                   unsigned char out[RECOVERY_HASH])
{
	static const unsigned char end = 0;
	crypto_generichash_state st;

	_Static_assert(sizeof(k->k) <= crypto_generichash_KEYBYTES_MAX, "key");
	(void)crypto_generichash_init(&st, k->k, sizeof(k->k), RECOVERY_HASH);
	(void)crypto_generichash_update(&st, (const unsigned char *)sub.p,
	                                sub.n);
	(void)crypto_generichash_update(&st, &end, 1);
	(void)crypto_generichash_update(&st, (const unsigned char *)folded.p,
	                                folded.n);
	(void)crypto_generichash_final(&st, out, RECOVERY_HASH);
	explicit_bzero(&st, sizeof(st));
}
