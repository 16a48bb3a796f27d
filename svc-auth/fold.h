/*
 * fold - a text with what people do not mean by it taken away: case, accents,
 * width, invisible characters.  So "PÄSSWORD" and a full-width "password" are
 * one word.  For comparing with lists and names only: what is hashed is always
 * the text as it was typed.
 *
 * Bounds:  FOLD_TEXT_MAX code points go in, FOLD_MAX come out.
 * Owns:    nothing.  A folded secret is the caller's to wipe: FOLDED does.
 * Threads: any.
 */
#ifndef SVC_AUTH_FOLD_H
#define SVC_AUTH_FOLD_H

#include "common/base/attr.h"
#include "common/base/str.h"

#include <stdint.h>

#define FOLD_TEXT_MAX 256
#define FOLD_MAX      (FOLD_TEXT_MAX * 18) /* one can become 18 (U+FDFA) */

struct folded {
	size_t n;
	int32_t cp[FOLD_MAX];
};

/* False for what is no UTF-8 or too long; then out->n is 0. */
bool fold(struct str s, struct folded *out);

void folded_wipe(struct folded *f);
#define FOLDED __attribute__((cleanup(folded_wipe))) struct folded

#endif
