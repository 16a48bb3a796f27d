/*
 * es256 - a fresh P-256 key pair as we keep it: the private half as PEM for
 * libjwt, the public half as coordinates for the JWKS.
 *
 * The kid is the key's RFC 7638 thumbprint: two replicas cannot give one name
 * to two keys.
 *
 * Owns:    nothing; es256_wipe() when done.
 * Threads: any.
 */
#ifndef SVC_AUTH_ES256_H
#define SVC_AUTH_ES256_H

#include "common/base/attr.h"
#include "common/base/str.h"

#define ES256_COORD   32
#define ES256_PEM_MAX 512
#define ES256_KID_MAX 44 /* 43 characters and the NUL */

struct es256 {
	char kid[ES256_KID_MAX];
	unsigned char x[ES256_COORD], y[ES256_COORD];
	char pem[ES256_PEM_MAX]; /* PKCS#8 */
	size_t pem_n;
};

/* False without memory or randomness. */
bool es256_generate(struct es256 *out) MUST_CHECK;
void es256_wipe(struct es256 *k);
static inline void es256_auto(struct es256 *k)
{
	es256_wipe(k);
}
#define AUTO_ES256 __attribute__((cleanup(es256_auto))) struct es256

#endif
