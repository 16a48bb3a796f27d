#include "gateway/jwt.h"
#include "svc-auth/token.h"
#include "tests/alloc_fault.h"
#include "tests/jwt_maker.h"

#include <jwt.h>
#include <openssl/hmac.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW MAKER_NOW

static const struct jwt_policy policy = {{"knowalledge", 11},
                                         {"knowalledge", 11}};

struct fixture {
	struct maker ours, other;
	struct buf pem; /* public, of ours */
	struct jwt_keys *keys;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	AUTO_BUF jwks = {0};

	if (!f || !maker_init(&f->ours) || !maker_init(&f->other))
		return -1;
	maker_public_pem(&f->ours, &f->pem);
	buf_char(&f->pem, '\0');
	f->pem.n--;
	maker_jwks(&f->ours, 1, &jwks);
	*state = f;
	return jwt_keys_read(buf_view(&jwks), &f->keys) ? -1 : 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	jwt_keys_free(f->keys);
	buf_fini(&f->pem);
	maker_fini(&f->ours);
	maker_fini(&f->other);
	free(f);
	return 0;
}

static enum err verify(const struct fixture *f, struct str token)
{
	struct jwt_claims c = {.issued_s = -7};
	enum err e = jwt_verify(f->keys, &policy, token, NOW, &c);

	/* The output is written on OK only. */
	assert_true(!e || c.issued_s == -7);
	return e;
}

/* libjwt's word on the same token, with the algorithm that it reports pinned,
 * which it leaves to its caller. */
static bool libjwt_accepts(const struct fixture *f, struct str token)
{
	char *text = strndup(token.p, token.n);
	jwt_t *t = NULL;
	bool ok = text &&
	          jwt_decode(&t, text, (const unsigned char *)f->pem.p,
	                     (int)f->pem.n) == 0 &&
	          jwt_get_alg(t) == JWT_ALG_ES256;

	jwt_free(t);
	free(text);
	return ok;
}

/* Where libjwt is right it must say the same. */
enum libjwt { AGREES, DIFFERS };

static void check(const struct fixture *f, const char *name, struct str token,
                  enum err want, enum libjwt libjwt)
{
	enum err e = verify(f, token);

	if (e != want)
		fail_msg("%s: %s instead of %s", name, e ? err_name(e) : "OK",
		         want ? err_name(want) : "OK");
	if (libjwt == AGREES && libjwt_accepts(f, token) != (want == OK))
		fail_msg("%s: libjwt says otherwise", name);
}

/* --- the corpus ----------------------------------------------------------- */

static void a_token_of_our_issuer_is_accepted_whole(void **state)
{
	const struct fixture *f = *state;
	const struct token_claims want = {.issuer = policy.issuer,
	                                  .audience = policy.audience,
	                                  .sub = MAKER_SUB,
	                                  .hnd = "Alice",
	                                  .sid = MAKER_SID,
	                                  .key = MAKER_KEY,
	                                  .role = ROLE_ADMIN,
	                                  .tier = TIER_PREMIUM,
	                                  .scopes = SCOPE_READ | SCOPE_ADMIN,
	                                  .auth_time_s = NOW - 9,
	                                  .issued_s = NOW - 3,
	                                  .expires_s = NOW + 1};
	AUTO_BUF token = {0};
	struct jwt_claims c;

	assert_int_equal(token_issue(&want, f->ours.key.kid,
	                             (struct str){f->ours.key.pem,
	                                          f->ours.key.pem_n},
	                             &token),
	                 OK);
	assert_int_equal(
		jwt_verify(f->keys, &policy, buf_view(&token), NOW, &c), OK);
	assert_string_equal(c.who.sub, MAKER_SUB);
	assert_string_equal(c.who.hnd, "Alice");
	assert_string_equal(c.who.sid, MAKER_SID);
	assert_string_equal(c.key, MAKER_KEY);
	assert_int_equal(strlen(c.who.jti), 36);
	assert_int_equal(c.who.role, ROLE_ADMIN);
	assert_int_equal(c.who.tier, TIER_PREMIUM);
	assert_int_equal(c.who.scopes, SCOPE_READ | SCOPE_ADMIN);
	assert_int_equal(c.who.auth_time_s, NOW - 9);
	assert_int_equal(c.issued_s, NOW - 3);
	assert_int_equal(c.who.expires_s, NOW + 1);
	check(f, "issued", buf_view(&token), OK, AGREES);
}

static const struct claim_case {
	const char *key, *value, *extra;
	enum err want;
	enum libjwt libjwt;
} claim_cases[] = {
	{NULL, NULL, "", OK, AGREES},
	{NULL, NULL, ",\"more\":[1,{\"a\":null}]", OK, AGREES},
	{"iss", "\"somebody\"", "", ERR_BAD_TOKEN, DIFFERS},
	{"iss", NULL, "", ERR_BAD_TOKEN, DIFFERS},
	{"iss", "1", "", ERR_BAD_TOKEN, DIFFERS},
	{"aud", "\"other\"", "", ERR_BAD_TOKEN, DIFFERS},
	{"aud", "[\"knowalledge\"]", "", ERR_BAD_TOKEN, DIFFERS},
	{"aud", NULL, "", ERR_BAD_TOKEN, DIFFERS},
	{"sub", NULL, "", ERR_BAD_TOKEN, DIFFERS},
	{"sub", "\"alice\"", "", ERR_BAD_TOKEN, DIFFERS},
	{"sub", "\"01900000-0000-7000-8000-00000000000Z\"", "", ERR_BAD_TOKEN,
         DIFFERS},
	{"hnd", NULL, "", ERR_BAD_TOKEN, DIFFERS},
	{"hnd", "\"\"", "", ERR_BAD_TOKEN, DIFFERS},
	{"hnd",
         "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
         "", ERR_BAD_TOKEN, DIFFERS},
	{"hnd", "{\"a\":1}", "", ERR_BAD_TOKEN, DIFFERS},
	{"sid", NULL, "", ERR_BAD_TOKEN, DIFFERS},
	{"jti", NULL, "", ERR_BAD_TOKEN, DIFFERS},
	{"jti", "7", "", ERR_BAD_TOKEN, DIFFERS},
	{"key", NULL, "", OK, AGREES},
	{"key", "\"x\"", "", ERR_BAD_TOKEN, DIFFERS},
	{"key", "null", "", ERR_BAD_TOKEN, DIFFERS},
	{"iat", NULL, "", ERR_BAD_TOKEN, DIFFERS},
	{"iat", "\"1799999990\"", "", ERR_BAD_TOKEN, DIFFERS},
	{"iat", "1800000030", "", OK, AGREES},
	{"iat", "1800000031", "", ERR_BAD_TOKEN, DIFFERS},
	{"iat", "-1", "", ERR_BAD_TOKEN, DIFFERS},
	{"exp", NULL, "", ERR_BAD_TOKEN, DIFFERS},
	{"exp", "1800000001", "", OK, AGREES},
	{"exp", "1800000000", "", ERR_EXPIRED, DIFFERS},
	{"exp", "1799999999", "", ERR_EXPIRED, DIFFERS},
	{"exp", "\"1800000100\"", "", ERR_BAD_TOKEN, DIFFERS},
	{"exp", "1800000100.5", "", ERR_BAD_TOKEN, DIFFERS},
	{"exp", "9223372036854775807", "", ERR_BAD_TOKEN, DIFFERS},
	{"exp", "18446744073709551615", "", ERR_BAD_TOKEN, DIFFERS},
	{"exp", "true", "", ERR_BAD_TOKEN, DIFFERS},
	{"auth_time", NULL, "", ERR_BAD_TOKEN, DIFFERS},
	{"scp", NULL, "", ERR_BAD_TOKEN, DIFFERS},
	{"scp", "\"\"", "", OK, AGREES},
	{"scp", "[\"read\"]", "", ERR_BAD_TOKEN, DIFFERS},
	{"scp", "\"read everything\"", "", ERR_BAD_TOKEN, DIFFERS},
	{"token_use", NULL, "", ERR_BAD_TOKEN, DIFFERS},
	{"token_use", "\"refresh\"", "", ERR_BAD_TOKEN, DIFFERS},
	{"role", NULL, "", ERR_BAD_TOKEN, DIFFERS},
	{"role", "\"service\"", "", ERR_BAD_TOKEN, DIFFERS},
	{"role", "\"guest\"", "", ERR_BAD_TOKEN, DIFFERS},
	{"role", "\"Admin\"", "", ERR_BAD_TOKEN, DIFFERS},
	{"tier", NULL, "", ERR_BAD_TOKEN, DIFFERS},
	{"tier", "\"gold\"", "", ERR_BAD_TOKEN, DIFFERS},
	{NULL, NULL, ",\"nbf\":1800000030", OK, AGREES},
	{NULL, NULL, ",\"nbf\":1800000031", ERR_BAD_TOKEN, DIFFERS},
	{NULL, NULL, ",\"nbf\":\"0\"", ERR_BAD_TOKEN, DIFFERS},
	{NULL, NULL, ",\"exp\":1800000100", ERR_BAD_TOKEN, DIFFERS},
	{NULL, NULL, ",\"role\":\"admin\"", ERR_BAD_TOKEN, DIFFERS},
	{NULL, NULL, ",\"\\u0072ole\":\"admin\"", ERR_BAD_TOKEN, DIFFERS},
	{NULL, NULL, ",\"x\":\"\\u0000\"", ERR_BAD_TOKEN, DIFFERS},
	{NULL, NULL, ",\"x\":\"\xff\"", ERR_BAD_TOKEN, DIFFERS},
	{NULL, NULL, "}{", ERR_BAD_TOKEN, DIFFERS},
	{NULL, NULL, ",", ERR_BAD_TOKEN, DIFFERS},
};

static void every_claim_is_needed_once_and_of_its_type(void **state)
{
	const struct fixture *f = *state;
	AUTO_BUF header = {0};

	maker_header(&f->ours, &header);
	for (size_t i = 0; i < COUNTOF(claim_cases); i++) {
		const struct claim_case *c = &claim_cases[i];
		AUTO_BUF claims = {0}, token = {0}, name = {0};

		buf_printf(&name, "%s=%s%s", c->key ? c->key : "",
		           c->value ? c->value : "", c->extra);
		buf_char(&name, '\0');
		maker_claims(&claims, c->key, c->value, c->extra);
		maker_token(&f->ours, buf_view(&header), buf_view(&claims),
		            &token);
		assert_false(token.failed);
		check(f, name.p, buf_view(&token), c->want, c->libjwt);
	}
}

/* KID stands for our key's id. */
static const struct {
	const char *json;
	enum err want;
	enum libjwt libjwt;
} header_cases[] = {
	{"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"KID\"}", OK, AGREES},
	{"{\"alg\":\"none\",\"typ\":\"JWT\",\"kid\":\"KID\"}", ERR_BAD_TOKEN,
         AGREES},
	{"{\"alg\":\"None\",\"typ\":\"JWT\",\"kid\":\"KID\"}", ERR_BAD_TOKEN,
         AGREES},
	{"{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"KID\"}", ERR_BAD_TOKEN,
         AGREES},
	{"{\"alg\":\"ES384\",\"typ\":\"JWT\",\"kid\":\"KID\"}", ERR_BAD_TOKEN,
         AGREES},
	{"{\"alg\":\"es256\",\"typ\":\"JWT\",\"kid\":\"KID\"}", ERR_BAD_TOKEN,
         DIFFERS},
	{"{\"alg\":\"ES256\",\"alg\":\"none\",\"typ\":\"JWT\",\"kid\":\"KID\"}",
         ERR_BAD_TOKEN, DIFFERS},
	{"{\"typ\":\"JWT\",\"kid\":\"KID\"}", ERR_BAD_TOKEN, AGREES},
	{"{\"alg\":\"ES256\",\"kid\":\"KID\"}", ERR_BAD_TOKEN, DIFFERS},
	{"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"KID\"}", OK, DIFFERS},
	{"{\"alg\":\"ES256\",\"typ\":\"jwt\",\"kid\":\"KID\"}", ERR_BAD_TOKEN,
         DIFFERS},
	{"{\"alg\":\"ES256\",\"typ\":\"id+jwt\",\"kid\":\"KID\"}",
         ERR_BAD_TOKEN, DIFFERS},
	{"{\"alg\":\"ES256\",\"typ\":\"JWT\"}", ERR_BAD_TOKEN, DIFFERS},
	{"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":7}", ERR_BAD_TOKEN,
         DIFFERS},
	{"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"nobody\"}",
         ERR_NOT_FOUND, DIFFERS},
	{"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"KIDx\"}", ERR_NOT_FOUND,
         DIFFERS},
	{"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"../../KID\"}",
         ERR_NOT_FOUND, DIFFERS},
	{"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
         ERR_BAD_TOKEN, DIFFERS},
	{"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"KID\",\"crit\":[\"b64\"],\"b64\":false}",
         ERR_BAD_TOKEN, DIFFERS},
	/* Where a key may be found is not the token's to say. */
	{"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"KID\",\"jku\":\"http://x/\",\"jwk\":{},\"x5u\":\"http://x/\"}",
         OK, AGREES},
	{"[]", ERR_BAD_TOKEN, AGREES},
	{"\"ES256\"", ERR_BAD_TOKEN, AGREES},
	{"{", ERR_BAD_TOKEN, AGREES},
	{" ", ERR_BAD_TOKEN, AGREES},
};

static void fill(struct buf *out, const char *json, const char *kid)
{
	const char *at = strstr(json, "KID");

	buf_add(out, json, at ? (size_t)(at - json) : strlen(json));
	if (!at)
		return;
	buf_str(out, str_from(kid));
	buf_str(out, str_from(at + 3));
}

static void make(const struct maker *m, const char *json, const char *kid,
                 struct buf *token)
{
	AUTO_BUF header = {0}, claims = {0};

	fill(&header, json, kid);
	maker_claims(&claims, NULL, NULL, "");
	maker_token(m, buf_view(&header), buf_view(&claims), token);
}

static void only_our_header_is_taken(void **state)
{
	const struct fixture *f = *state;

	for (size_t i = 0; i < COUNTOF(header_cases); i++) {
		const char *json = header_cases[i].json;
		AUTO_BUF token = {0};

		make(&f->ours, json, f->ours.key.kid, &token);
		check(f, json, buf_view(&token), header_cases[i].want,
		      header_cases[i].libjwt);
	}
}

static void good_token(const struct maker *m, const char *kid,
                       struct buf *token)
{
	make(m, "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"KID\"}", kid,
	     token);
}

/* The public key is no secret: an HMAC with it proves nothing. */
static void hs256_with_the_public_key_is_refused(void **state)
{
	const struct fixture *f = *state;
	unsigned char mac[32];
	unsigned int n = sizeof(mac);
	AUTO_BUF header = {0}, claims = {0}, token = {0};

	fill(&header, "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"KID\"}",
	     f->ours.key.kid);
	maker_claims(&claims, NULL, NULL, "");
	maker_b64(&token, header.p, header.n);
	buf_char(&token, '.');
	maker_b64(&token, claims.p, claims.n);
	assert_non_null(HMAC(EVP_sha256(), f->pem.p, (int)f->pem.n,
	                     (const unsigned char *)token.p, token.n, mac, &n));
	buf_char(&token, '.');
	maker_b64(&token, mac, sizeof(mac));
	/* libjwt takes the HMAC; only the pinned algorithm saves it. */
	check(f, "HS256", buf_view(&token), ERR_BAD_TOKEN, AGREES);
}

static void an_unsigned_token_is_refused(void **state)
{
	const struct fixture *f = *state;
	static const char header[] = "{\"alg\":\"none\",\"typ\":\"JWT\"}";
	AUTO_BUF claims = {0}, token = {0};

	maker_claims(&claims, NULL, NULL, "");
	maker_b64(&token, header, sizeof(header) - 1);
	buf_char(&token, '.');
	maker_b64(&token, claims.p, claims.n);
	buf_char(&token, '.');
	check(f, "alg none", buf_view(&token), ERR_BAD_TOKEN, AGREES);
}

static void another_key_under_our_kid_is_refused(void **state)
{
	const struct fixture *f = *state;
	AUTO_BUF token = {0};

	good_token(&f->other, f->ours.key.kid, &token);
	check(f, "other key", buf_view(&token), ERR_BAD_TOKEN, AGREES);
}

/* Any single changed character, and any cut, ends the token. */
static void every_altered_byte_is_noticed(void **state)
{
	const struct fixture *f = *state;
	AUTO_BUF token = {0};

	good_token(&f->ours, f->ours.key.kid, &token);
	assert_int_equal(verify(f, buf_view(&token)), OK);
	for (size_t i = 0; i < token.n; i++) {
		char was = token.p[i];

		token.p[i] = was == 'A' ? 'B' : 'A';
		assert_int_not_equal(verify(f, buf_view(&token)), OK);
		token.p[i] = was;
	}
	for (size_t n = 0; n < token.n; n++)
		assert_int_not_equal(verify(f, (struct str){token.p, n}), OK);
}

static void odd_forms_are_refused(void **state)
{
	static const char *const forms[] = {
		"",
		".",
		"..",
		"...",
		"a",
		"a.b",
		"a.b.",
		".b.c",
		"a..c",
		"a.b.c",
		"a.b.c.d",
		"null",
		"a b",
		"\n.\n.\n",
		"=.=.=",
		"e30.e30.e30",
		"e30=.e30=.e30=",
	};
	const struct fixture *f = *state;

	for (size_t i = 0; i < COUNTOF(forms); i++)
		check(f, forms[i], str_from(forms[i]), ERR_BAD_TOKEN, DIFFERS);
}

/* Changes the good token by `how`, in ways that lax decoders overlook. */
static void base64_is_strict(void **state)
{
	const struct fixture *f = *state;
	AUTO_BUF good = {0}, bad = {0};
	size_t dot;

	good_token(&f->ours, f->ours.key.kid, &good);
	dot = (size_t)((char *)memchr(good.p, '.', good.n) - good.p);

	buf_str(&bad, buf_view(&good));
	buf_str(&bad, STR("="));
	check(f, "padding", buf_view(&bad), ERR_BAD_TOKEN, DIFFERS);
	bad.n = good.n;
	buf_str(&bad, STR("\n"));
	check(f, "newline", buf_view(&bad), ERR_BAD_TOKEN, DIFFERS);
	bad.n = good.n;
	buf_add(&bad, "", 1);
	check(f, "NUL", buf_view(&bad), ERR_BAD_TOKEN, DIFFERS);
	bad.n = good.n;
	buf_str(&bad, STR(".e30"));
	check(f, "fourth part", buf_view(&bad), ERR_BAD_TOKEN, DIFFERS);
	/* 86 characters carry 516 bits, four more than the signature has:
	 * the last character has 16 spellings in a lax decoder. */
	bad.n = good.n;
	bad.p[bad.n - 1]++;
	check(f, "spare bits", buf_view(&bad), ERR_BAD_TOKEN, DIFFERS);
	buf_clear(&bad);
	buf_add(&bad, good.p, dot);
	buf_str(&bad, STR("=="));
	buf_add(&bad, good.p + dot, good.n - dot);
	check(f, "padded header", buf_view(&bad), ERR_BAD_TOKEN, DIFFERS);
}

static void signatures_out_of_range_are_refused(void **state)
{
	static const struct {
		const char *name;
		unsigned char fill;
		size_t n;
	} cases[] = {
		{"zero", 0, 64},    {"all ones", 0xff, 64},
		{"short", 1, 63},   {"long", 1, 65},
		{"half", 1, 32},    {"DER length", 1, 70},
		{"one byte", 1, 1}, {"two sets", 1, 128},
	};
	const struct fixture *f = *state;
	AUTO_BUF good = {0};

	good_token(&f->ours, f->ours.key.kid, &good);
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		unsigned char raw[128];
		AUTO_BUF bad = {0};

		memset(raw, cases[i].fill, sizeof(raw));
		buf_add(&bad, good.p, good.n - 86);
		maker_b64(&bad, raw, cases[i].n);
		check(f, cases[i].name, buf_view(&bad), ERR_BAD_TOKEN, AGREES);
	}
}

static void a_huge_token_is_refused_before_it_is_read(void **state)
{
	const struct fixture *f = *state;
	AUTO_BUF header = {0}, claims = {0}, token = {0}, extra = {0};

	buf_str(&extra, STR(",\"x\":\""));
	for (int i = 0; i < JWT_MAX; i++)
		buf_char(&extra, 'x');
	buf_str(&extra, STR("\""));
	buf_char(&extra, '\0');
	maker_header(&f->ours, &header);
	maker_claims(&claims, NULL, NULL, extra.p);
	maker_token(&f->ours, buf_view(&header), buf_view(&claims), &token);
	assert_true(token.n > JWT_MAX);
	check(f, "huge", buf_view(&token), ERR_BAD_TOKEN, DIFFERS);
}

/* --- keys ----------------------------------------------------------------- */

static void a_jwks_without_a_usable_key_is_refused(void **state)
{
	static const struct {
		const char *name, *key, *value;
	} wrong[] = {
		{"other type", "kty", "RSA"},
		{"other curve", "crv", "P-384"},
		{"other algorithm", "alg", "ES384"},
		{"no kid", "kid", ""},
		{"x is no base64url", "x", "!!"},
		{"x is short", "x", "AAAA"},
		{"not on the curve", "y",
	         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"},
	};
	const struct fixture *f = *state;
	struct jwt_keys *k = NULL;

	for (size_t i = 0; i < COUNTOF(wrong); i++) {
		static const char *const names[] = {"kty", "crv", "x",
		                                    "y",   "kid", "alg"};
		char x[64], y[64];
		const char *values[] = {
			"EC",
			"P-256",
			b64url(f->ours.key.x, 32, x).p,
			b64url(f->ours.key.y, 32, y).p,
			"k",
			"ES256",
		};
		AUTO_BUF jwks = {0};

		mp_map(&jwks, 1);
		mp_kv_array(&jwks, "keys", 1);
		mp_map(&jwks, COUNTOF(names));
		for (size_t j = 0; j < COUNTOF(names); j++)
			mp_kv_text(&jwks, names[j],
			           strcmp(names[j], wrong[i].key)
			                   ? values[j]
			                   : wrong[i].value);
		if (jwt_keys_read(buf_view(&jwks), &k) != ERR_INVALID)
			fail_msg("%s", wrong[i].name);
	}
	assert_int_equal(jwt_keys_read((struct str){0}, &k), ERR_INVALID);
	assert_int_equal(jwt_keys_read(STR("\x81\xa4keys\x01"), &k),
	                 ERR_INVALID);
	assert_int_equal(jwt_keys_read(STR("\x81\xa4keys\xdd\xff\xff\xff\xff"),
	                               &k),
	                 ERR_INVALID);
	assert_null(k);
}

static void more_keys_than_the_bound_are_left_out(void **state)
{
	const struct fixture *f = *state;
	struct maker *many = calloc(JWT_KEYS_MAX + 8, sizeof(*many));
	AUTO(jwt_keys) k = NULL;
	AUTO_BUF jwks = {0};

	assert_non_null(many);
	for (size_t i = 0; i < JWT_KEYS_MAX + 8; i++)
		many[i] = f->ours;
	maker_jwks(many, JWT_KEYS_MAX + 8, &jwks);
	assert_int_equal(jwt_keys_read(buf_view(&jwks), &k), OK);
	free(many);
}

/* --- memory --------------------------------------------------------------- */

static void every_failing_allocation_is_an_error_and_no_leak(void **state)
{
	const struct fixture *f = *state;
	AUTO_BUF token = {0}, jwks = {0};

	good_token(&f->ours, f->ours.key.kid, &token);
	maker_jwks(&f->ours, 1, &jwks);
	for (unsigned n = 1;; n++) {
		struct jwt_keys *k = NULL;
		struct jwt_claims c;
		enum err keys, e = ERR_NOMEM;
		bool failed;

		alloc_fault_arm(n);
		keys = jwt_keys_read(buf_view(&jwks), &k);
		if (!keys)
			e = jwt_verify(k, &policy, buf_view(&token), NOW, &c);
		failed = alloc_fault_disarm();
		jwt_keys_free(k);
		assert_int_equal(e, failed ? ERR_NOMEM : OK);
		if (!failed)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_of_our_issuer_is_accepted_whole),
		cmocka_unit_test(every_claim_is_needed_once_and_of_its_type),
		cmocka_unit_test(only_our_header_is_taken),
		cmocka_unit_test(hs256_with_the_public_key_is_refused),
		cmocka_unit_test(an_unsigned_token_is_refused),
		cmocka_unit_test(another_key_under_our_kid_is_refused),
		cmocka_unit_test(every_altered_byte_is_noticed),
		cmocka_unit_test(odd_forms_are_refused),
		cmocka_unit_test(base64_is_strict),
		cmocka_unit_test(signatures_out_of_range_are_refused),
		cmocka_unit_test(a_huge_token_is_refused_before_it_is_read),
		cmocka_unit_test(a_jwks_without_a_usable_key_is_refused),
		cmocka_unit_test(more_keys_than_the_bound_are_left_out),
		cmocka_unit_test(
			every_failing_allocation_is_an_error_and_no_leak),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
