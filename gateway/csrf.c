#include "gateway/csrf.h"

#include "common/base/b64.h"

#include <sodium.h>

#define NONCE_BYTES 32
#define ENDS_BYTES  8

_Static_assert(CSRF_HEX == 2 * NONCE_BYTES, "hex of the nonce");
_Static_assert(CSRF_HEX == 2 * crypto_auth_hmacsha256_BYTES, "of the HMAC");

static void mac(struct str session, const unsigned char nonce[NONCE_BYTES],
                unsigned char out[crypto_auth_hmacsha256_BYTES])
{
	static const char label[] = "kae-csrf-1";
	crypto_auth_hmacsha256_state st;

	(void)crypto_auth_hmacsha256_init(
		&st, (const unsigned char *)(session.n ? session.p : ""),
		session.n);
	(void)crypto_auth_hmacsha256_update(&st, (const unsigned char *)label,
	                                    sizeof(label));
	(void)crypto_auth_hmacsha256_update(&st, nonce, NONCE_BYTES);
	(void)crypto_auth_hmacsha256_final(&st, out);
	explicit_bzero(&st, sizeof(st));
}

struct str csrf_make(struct str session, int64_t ends_s,
                     char out[CSRF_TOKEN + 1])
{
	unsigned char nonce[NONCE_BYTES], sum[crypto_auth_hmacsha256_BYTES];

	randombytes_buf(nonce, sizeof(nonce));
	for (size_t i = 0; i < ENDS_BYTES; i++)
		nonce[i] = (unsigned char)((uint64_t)ends_s >> (56 - 8 * i));
	mac(session, nonce, sum);
	(void)hex(nonce, sizeof(nonce), out);
	out[CSRF_HEX] = '.';
	(void)hex(sum, sizeof(sum), out + CSRF_HEX + 1);
	return (struct str){out, CSRF_TOKEN};
}

static bool unhex(const char *p, unsigned char out[NONCE_BYTES])
{
	for (size_t i = 0; i < CSRF_HEX; i++) {
		char c = p[i];
		int v = c >= '0' && c <= '9'   ? c - '0'
		        : c >= 'a' && c <= 'f' ? c - 'a' + 10
		                               : -1;

		if (v < 0)
			return false;
		out[i / 2] = (unsigned char)(out[i / 2] << 4 | v);
	}
	return true;
}

static int64_t ends_of(const unsigned char nonce[NONCE_BYTES])
{
	uint64_t v = 0;

	for (size_t i = 0; i < ENDS_BYTES; i++)
		v = v << 8 | nonce[i];
	return (int64_t)v;
}

static bool made_for(struct str session, const unsigned char *nonce,
                     const unsigned char *sum)
{
	unsigned char want[crypto_auth_hmacsha256_BYTES];

	mac(session, nonce, want);
	return sodium_memcmp(want, sum, sizeof(want)) == 0;
}

enum err csrf_token_check(struct str session, struct str token, int64_t now_s)
{
	unsigned char nonce[NONCE_BYTES] = {0}, sum[NONCE_BYTES] = {0};

	if (token.n != CSRF_TOKEN || token.p[CSRF_HEX] != '.' ||
	    !unhex(token.p, nonce) || !unhex(token.p + CSRF_HEX + 1, sum))
		return ERR_CSRF_INVALID;
	if (session.n == 0 || made_for((struct str){NULL, 0}, nonce, sum))
		return ERR_CSRF_SESSION;
	if (!made_for(session, nonce, sum))
		return ERR_CSRF_MISMATCH;
	return ends_of(nonce) > now_s ? OK : ERR_CSRF_INVALID;
}

/* Scheme and host of the address that the request came to. */
static bool is_own(const struct csrf_request *r)
{
	struct str scheme = r->https ? STR("https://") : STR("http://");
	struct str rest = r->origin;

	if (rest.n <= scheme.n || r->host.n == 0 ||
	    strncasecmp(rest.p, scheme.p, scheme.n) != 0)
		return false;
	rest = (struct str){rest.p + scheme.n, rest.n - scheme.n};
	return str_ieq(rest, r->host);
}

enum err csrf_check(const struct csrf_request *r, const struct cors *cors,
                    const char **why)
{
	enum err e;

	*why = NULL;
	if (str_eq(r->sec_fetch_site, STR("same-origin")))
		return OK;
	if (r->origin.n &&
	    (is_own(r) || cors_check(cors, r->origin) == CORS_EXACT))
		return OK;
	if (r->origin.n || r->sec_fetch_site.n) {
		*why = "This request comes from a page of another site.";
		return ERR_CSRF_INVALID;
	}
	if (r->token.n == 0)
		return ERR_CSRF_MISSING;
	e = csrf_token_check(r->session, r->token, r->now_s);
	if (e == ERR_CSRF_INVALID)
		*why = "The CSRF token is malformed or too old. Ask for another at /api/csrf-token.";
	return e;
}
