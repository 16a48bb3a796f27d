/*
 * blocklist - words that are too common to be a password (ASVS 6.2.4).
 *
 * Why:     guessing begins with the passwords that most people choose.  A site
 *          without internet cannot ask anybody which these are, so the program
 *          carries them, as a filter that can say yes or no and shows none.
 * Source:  every list of Debian's libdata-password-zxcvbn-perl: 30,000
 *          passwords by how often they were seen in breaches, and the commonest words, names and
 *          titles of English.  The Makefile builds it (blocklist_tool.c).
 * Bounds:  512 KiB.  No listed word is ever missed; of others 1 in two million is
 *          refused without need (tests/unit/test_blocklist.c measures it).
 * Threads: any; it allocates nothing.
 */
#ifndef SVC_AUTH_BLOCKLIST_H
#define SVC_AUTH_BLOCKLIST_H

#include "svc-auth/fold.h"

/* cp, n: of a folded text, or a part of it. */
bool blocklist_has(const int32_t *cp, size_t n);
unsigned blocklist_words(void); /* how many are listed */

#endif
