/*
 * pack - the parts that bodies (piece.h) and replies have in common.
 *
 * A body is either an array of its own, or [pairs, warnings]: pairs is a bin with
 * key and value after key and value, which a reply puts into its map as they
 * are; warnings are kept apart, since a reply may add some of its own.
 */
#ifndef SVC_CONTENT_GENERATE_PACK_H
#define SVC_CONTENT_GENERATE_PACK_H

#include "svc-content/generate/piece.h"

#include "common/codec/mp.h"

void pack_body(struct buf *body, const struct buf *pairs,
               const struct warnings *w);
/* False when it is none: our mistake. */
bool pack_open(struct str body, struct str *pairs,
               struct str *warnings) MUST_CHECK;
/* The body of what a reply had as a map: all but the pairs `without` and
 * "source"; *s: what that says.  False when it is none, or without memory. */
bool pack_again(struct str map, struct str without, struct buf *body,
                enum source *s) MUST_CHECK;
/* "warnings": those and one more (empty: none); nil where there is none. */
void pack_warnings(struct buf *b, struct str warnings, struct str more);

/* The answer's source from those of its parts: made by a model, if any part
 * was; else offline, if any part was; else from the cache. */
enum source pack_source(const struct piece *p, size_t n);

/* Of a body's language, else of the request. */
static inline struct str pack_language(const struct ctx *cx, struct str given)
{
	return given.n ? given : cx->lang;
}

extern const struct shape shape_outline, shape_lesson, shape_quiz, shape_advice;

#endif
