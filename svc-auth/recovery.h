/*
 * recovery - the codes that get somebody in whose authenticator is lost.
 *
 *     JBSW-Y3DP-EHPK-3PXP-7Q2A-MZ4K    120 bits in base32, six groups of four
 *
 * Why:     ASVS 5.0 6.5.4 asks for 20 bits, 6.5.2 for a salted hash below 112.
 *          120 cannot be guessed even from a copy of the database, where they
 *          lie as a hash that is keyed (root_key.h) and bound to the
 *          person.
 * Bounds:  RECOVERY_CODES of them at a time; each is good once.
 * Owns:    nothing.  Texts are the caller's to wipe.
 * Threads: any.
 */
#ifndef SVC_AUTH_RECOVERY_H
#define SVC_AUTH_RECOVERY_H

#include "common/base/seal.h"

#define RECOVERY_CODES 10
#define RECOVERY_BYTES 15
#define RECOVERY_PLAIN 24 /* letters */
#define RECOVERY_MAX   30 /* with hyphens and NUL */
#define RECOVERY_HASH  32

void recovery_make(char out[RECOVERY_MAX]);
/*
 * Letters and digits of what somebody typed: without blanks and hyphens, upper
 * case.  Empty when more than RECOVERY_PLAIN are left; p is out.
 */
struct str code_fold(struct str typed, char out[RECOVERY_PLAIN + 1]);
/* folded is RECOVERY_PLAIN characters of code_fold(). */
void recovery_hash(const struct seal_key *k, struct str sub, struct str folded,
                   unsigned char out[RECOVERY_HASH]);

#endif
