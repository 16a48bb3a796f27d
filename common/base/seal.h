/*
 * seal - signing keys, and answers that show a key or a token, as they lie in
 * the database: encrypted, and bound to the row they belong to (design D26,
 * D20).
 *
 *   1 byte version (1) · 24 bytes nonce · ciphertext · 16 bytes tag
 *
 * Why:     a copy of the database alone must not be able to sign tokens.
 *          XChaCha20-Poly1305 takes random nonces safely; the row's kid is
 *          authenticated with it, so sealed keys cannot be swapped.
 * Bounds:  SEAL_PLAIN_MAX bytes of plain text; what seal_buf() takes is its
 *          caller's to bound.
 * Owns:    nothing; the key is the caller's to wipe.
 * Threads: any.
 */
#ifndef BASE_SEAL_H
#define BASE_SEAL_H

#include "common/base/attr.h"
#include "common/base/buf.h"

#include <sodium.h>

#define SEAL_PLAIN_MAX 1024
#define SEAL_OVERHEAD                                       \
	(1 + crypto_aead_xchacha20poly1305_ietf_NPUBBYTES + \
	 crypto_aead_xchacha20poly1305_ietf_ABYTES)
#define SEAL_MAX (SEAL_PLAIN_MAX + SEAL_OVERHEAD)

struct seal_key {
	unsigned char k[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
};

/*
 * From the text of a key of KEY_ENCRYPTION_KEY, by BLAKE2b with a label of its own, so
 * that the same text used elsewhere gives another key.  The text carries the
 * entropy (at least 32 characters); this is no password hash.
 */
void seal_key_from_text(struct str text, struct seal_key *out);
/* Another key from this one, by a use of at most 16 characters. */
void seal_key_for(const struct seal_key *from, const char *use,
                  struct seal_key *out);
/* False when plain is longer than SEAL_PLAIN_MAX. */
bool seal(const struct seal_key *k, struct str plain, struct str label,
          unsigned char out[SEAL_MAX], size_t *n) MUST_CHECK;
/* False when sealed was made with another key or label, or was altered. */
bool unseal(const struct seal_key *k, struct str sealed, struct str label,
            unsigned char out[SEAL_PLAIN_MAX], size_t *n) MUST_CHECK;
/* The same for any length, appended to out.  False without memory, too: then
 * out->failed is set. */
bool seal_buf(const struct seal_key *k, struct str plain, struct str label,
              struct buf *out) MUST_CHECK;
bool unseal_buf(const struct seal_key *k, struct str sealed, struct str label,
                struct buf *out) MUST_CHECK;

#endif
