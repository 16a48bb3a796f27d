/*
 * language - which of our languages a client reads best (RFC 9110, 12.5.4).
 *
 * Bounds:  looks at the first LANGUAGE_RANGES_MAX ranges of a header.
 * Owns:    nothing; the result is static text.
 */
#ifndef GATEWAY_LANGUAGE_H
#define GATEWAY_LANGUAGE_H

#include "common/base/str.h"

#define LANGUAGE_RANGES_MAX 32

/*
 * "fr" for "fr-CH, en;q=0.9".  Greatest weight wins, then the earlier range;
 * "*" and what cannot be read count for nothing.  "en" when nothing fits.
 */
struct str language_choose(struct str accept_language);

#endif
