/*
 * receipt - the proof that is given for an erasure: a JWS (RFC 7515, compact)
 * signed by Ed25519 (EdDSA, RFC 8037), which anybody can verify with the public
 * key alone, without us.
 *
 * Keys:    a pair, made when it is needed; its private half lies sealed
 *          (root_key.h).  Public halves are kept for ever, as receipts
 *          are; kid is the RFC 7638 thumbprint.  A pair whose private half was
 *          emptied signs no more: another is made, and what it has signed is
 *          still verified.
 * Threads: the functions with a db inside a transaction function; the others any.
 */
#ifndef SVC_GDPR_RECEIPT_H
#define SVC_GDPR_RECEIPT_H

#include "common/base/seal.h"
#include "common/db/db.h"

#define RECEIPT_KID_MAX 44 /* 43 characters and the NUL */
#define RECEIPT_PUBLIC  crypto_sign_ed25519_PUBLICKEYBYTES

struct receipt_key {
	char kid[RECEIPT_KID_MAX];
	unsigned char x[RECEIPT_PUBLIC];
	unsigned char secret[crypto_sign_ed25519_SECRETKEYBYTES];
};
void receipt_key_wipe(struct receipt_key *k);
static inline void receipt_key_auto(struct receipt_key *k)
{
	receipt_key_wipe(k);
}
#define AUTO_RECEIPT_KEY \
	__attribute__((cleanup(receipt_key_auto))) struct receipt_key

/* The youngest key that can sign, made if there is none.  ERR_INTERNAL, told on the
 * log: it was sealed with another key. */
enum err receipt_key_load(struct db *db, const struct seal_key *seal,
                          int64_t now_ms, struct receipt_key *out) MUST_CHECK;
/* Appends the JWK set of all public keys as msgpack. */
enum err receipt_keys_pack(struct db *db, struct buf *out) MUST_CHECK;

/* payload: msgpack.  Appends the compact JWS.  ERR_NOMEM, ERR_INTERNAL. */
enum err receipt_sign(const struct receipt_key *k, struct str payload,
                      struct buf *jws) MUST_CHECK;
/*
 * NULL and the payload's JSON in out: the signature is that of a key of the set.
 * Else why not.  jwks: msgpack of a JWK or of a set of them.
 */
const char *receipt_verify(struct str jws, struct str jwks,
                           struct buf *out) MUST_CHECK;

#endif
