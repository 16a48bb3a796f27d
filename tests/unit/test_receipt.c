#include "svc-gdpr/receipt.h"

#include "common/base/attr.h"
#include "common/base/b64.h"
#include "common/base/clock.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* RFC 8037, appendix A: the key, its thumbprint, and a JWS of it. */
#define X   "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define KID "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"

static struct receipt_key fresh(void)
{
	struct receipt_key k = {0};

	assert_int_equal(crypto_sign_ed25519_keypair(k.x, k.secret), 0);
	return k;
}

/* The set with this key alone; gives the key its kid. */
static void set_of(struct receipt_key *k, struct buf *out)
{
	unsigned char hash[crypto_hash_sha256_BYTES];
	char x[64], json[128];

	(void)b64url(k->x, sizeof(k->x), x);
	(void)snprintf(json, sizeof(json),
	               "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%s\"}", x);
	(void)crypto_hash_sha256(hash, (const unsigned char *)json,
	                         strlen(json));
	(void)b64url(hash, sizeof(hash), k->kid);
	mp_map(out, 1);
	mp_kv_array(out, "keys", 1);
	mp_map(out, 3);
	mp_kv_text(out, "kty", "OKP");
	mp_kv_text(out, "crv", "Ed25519");
	mp_kv_text(out, "x", x);
}

static void what_was_signed_is_genuine_and_nothing_else(void **state)
{
	struct receipt_key k = fresh(), other = fresh();
	AUTO_BUF keys = {0}, others = {0}, payload = {0}, jws = {0}, out = {0};

	(void)state;
	set_of(&k, &keys);
	set_of(&other, &others);
	mp_map(&payload, 1);
	mp_kv_text(&payload, "receipt_id", "x");
	assert_int_equal(receipt_sign(&k, buf_view(&payload), &jws), OK);
	assert_null(receipt_verify(buf_view(&jws), buf_view(&keys), &out));
	assert_true(str_eq(buf_view(&out), STR("{\"receipt_id\":\"x\"}")));
	assert_non_null(
		receipt_verify(buf_view(&jws), buf_view(&others), &out));
	for (size_t i = 0; i < jws.n; i++) {
		char kept = jws.p[i];

		jws.p[i] = kept == 'A' ? 'B' : 'A';
		if (!receipt_verify(buf_view(&jws), buf_view(&keys), &out))
			fail_msg("byte %zu may be changed", i);
		jws.p[i] = kept;
		assert_non_null(receipt_verify((struct str){jws.p, i},
		                               buf_view(&keys), &out));
	}
}

static void a_kid_is_the_thumbprint_of_rfc_8037(void **state)
{
	/* Signed by nobody, but the key is found first. */
	const struct str jwk =
		STR("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X "\"}");
	const char *head = "{\"alg\":\"EdDSA\",\"kid\":\"" KID "\"}";
	char head64[128], sig64[128];
	unsigned char sig[crypto_sign_ed25519_BYTES] = {0};
	AUTO_BUF mp = {0}, jws = {0}, out = {0};
	struct json_error at;

	(void)state;
	assert_true(json_to_mp(jwk, &mp, &at));
	(void)b64url(head, strlen(head), head64);
	(void)b64url(sig, sizeof(sig), sig64);
	buf_printf(&jws, "%s.e30.%s", head64, sig64);
	assert_string_equal(receipt_verify(buf_view(&jws), buf_view(&mp), &out),
	                    "the signature is not valid");
}

static void a_month_is_one_of_the_calendar(void **state)
{
	static const struct {
		const char *from, *to;
		int64_t from_ms;
	} cases[] = {
		{"2026-01-15T12:00:00.000Z", "2026-02-15T12:00:00.000Z",
	         1768478400000},
		{"2026-01-31T12:00:00.000Z", "2026-02-28T12:00:00.000Z",
	         1769860800000},
		{"2028-01-31T12:00:00.000Z", "2028-02-29T12:00:00.000Z",
	         1832932800000},
		{"2026-02-28T12:00:00.000Z", "2026-03-28T12:00:00.000Z",
	         1772280000000},
		{"2026-12-31T23:59:59.999Z", "2027-01-31T23:59:59.999Z",
	         1798761599999},
	};
	char text[CLOCK_ISO_MAX];

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		assert_string_equal(clock_iso(cases[i].from_ms, text).p,
		                    cases[i].from);
		assert_string_equal(
			clock_iso(clock_month_later(cases[i].from_ms), text).p,
			cases[i].to);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_signed_is_genuine_and_nothing_else),
		cmocka_unit_test(a_kid_is_the_thumbprint_of_rfc_8037),
		cmocka_unit_test(a_month_is_one_of_the_calendar),
	};

	return sodium_init() < 0 ? 1
	                         : cmocka_run_group_tests(tests, NULL, NULL);
}
