/*
 * Any bytes as a token, and as the claims inside one whose signature is good.
 *
 * Property: nothing is accepted as a token, since nothing here is signed; and
 * what is accepted as claims says who, with a session and an end, in texts that
 * end where their arrays do.
 */
#include "gateway/jwt.h"

#include "common/base/uuid.h"

#include <assert.h>
#include <stdlib.h>

/* The public half of a key whose private half was thrown away. */
#define X "DQDpd89QaCLo65ysT5uH1NNy14aMmPDDN4Qi0tRKJ-g"
#define Y "j5Ila_ftEIJxbU6T7Q1FfGxvfn1BTyFDJgU_fxvc8sY"
static const char jwks[] = "\x81\xa4keys\x91\x86"
			   "\xa3kty\xa2"
			   "EC"
			   "\xa3"
			   "crv\xa5P-256"
			   "\xa1x\xd9\x2b" X "\xa1y\xd9\x2b" Y "\xa3kid\xa1k"
			   "\xa3"
			   "alg\xa5"
			   "ES256";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct jwt_keys *keys;
	const struct jwt_policy p = {STR("knowalledge"), STR("knowalledge")};
	const struct str in = {(const char *)data, size};
	struct jwt_claims c;
	enum err e;

	if (!keys && jwt_keys_read((struct str){jwks, sizeof(jwks) - 1}, &keys))
		abort();
	e = jwt_verify(keys, &p, in, 1800000000, &c);
	assert(e != OK);
	if (jwt_claims_read(in, &p, 1800000000, &c) == OK) {
		assert(uuid_valid(str_from(c.who.sub)));
		assert(uuid_valid(str_from(c.who.sid)));
		assert(uuid_valid(str_from(c.who.jti)));
		assert(strnlen(c.who.hnd, sizeof(c.who.hnd)) <
		       sizeof(c.who.hnd));
		assert(c.who.expires_s > 1800000000);
		assert(c.who.role == ROLE_USER || c.who.role == ROLE_ADMIN);
	}
	return 0;
}
