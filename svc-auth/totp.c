#include "svc-auth/totp.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

#define ISSUER "KnowAllEdge"

struct str base32(const unsigned char *p, size_t n, char *out)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	uint32_t bits = 0;
	unsigned have = 0;
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		bits = (bits << 8 | p[i]) & 0xfff;
		for (have += 8; have >= 5; have -= 5)
			out[at++] = letters[bits >> (have - 5) & 31];
	}
	if (have)
		out[at++] = letters[bits << (5 - have) & 31];
	out[at] = '\0';
	return (struct str){out, at};
}

bool hotp(const unsigned char *key, size_t n, uint64_t counter, unsigned digits,
          uint32_t *out)
{
	unsigned char message[8], mac[EVP_MAX_MD_SIZE];
	unsigned mac_n = 0, at;
	uint32_t modulus = 1, v;

	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (unsigned char)(counter >> (56 - 8 * i));
	if (!HMAC(EVP_sha1(), key, (int)n, message, sizeof(message), mac,
	          &mac_n) ||
	    mac_n != 20)
		return false;
	at = mac[19] & 15; /* RFC 4226, 5.3: dynamic truncation */
	v = ((uint32_t)mac[at] & 0x7f) << 24 | (uint32_t)mac[at + 1] << 16 |
	    (uint32_t)mac[at + 2] << 8 | mac[at + 3];
	for (unsigned i = 0; i < digits; i++)
		modulus *= 10;
	*out = v % modulus;
	return true;
}

static bool number(struct str code, uint32_t *out)
{
	uint32_t v = 0;

	if (code.n != TOTP_DIGITS)
		return false;
	for (size_t i = 0; i < code.n; i++) {
		if (code.p[i] < '0' || code.p[i] > '9')
			return false;
		v = v * 10 + (uint32_t)(code.p[i] - '0');
	}
	*out = v;
	return true;
}

bool totp_match(const unsigned char secret[TOTP_SECRET], struct str code,
                int64_t now_ms, int64_t last, int64_t *step)
{
	int64_t now = now_ms / TOTP_STEP_MS, found = -1;
	uint32_t want = 0, is = 0;

	if (!number(code, &want))
		return false;
	for (int64_t s = now - TOTP_WINDOW; s <= now + TOTP_WINDOW; s++) {
		if (s < 0 ||
		    !hotp(secret, TOTP_SECRET, (uint64_t)s, TOTP_DIGITS, &is))
			continue;
		if (is == want && s > last)
			found = s;
	}
	if (found < 0)
		return false;
	*step = found;
	return true;
}

struct str totp_uri(const unsigned char secret[TOTP_SECRET], struct str handle,
                    char out[TOTP_URI_MAX])
{
	char text[BASE32_LEN(TOTP_SECRET) + 1];
	int n;

	(void)base32(secret, TOTP_SECRET, text);
	n = snprintf(out, TOTP_URI_MAX,
	             "otpauth://totp/" ISSUER ":%.*s?secret=%s&issuer=" ISSUER
	             "&algorithm=SHA1&digits=%d&period=%d",
	             STR_FMT(handle), text, TOTP_DIGITS, TOTP_STEP_MS / 1000);
	explicit_bzero(text, sizeof(text));
	return (struct str){out, n > 0 && n < TOTP_URI_MAX ? (size_t)n : 0};
}
