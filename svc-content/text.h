/*
 * text - what we ask of texts that people wrote: a key to compare them by, the
 * number of their words and sentences, and fingerprints.
 *
 * Why:     "Calculus ", "calculus" and full-width letters are one topic in
 *          every table, but are shown as they were written.  So tables hold a
 *          key (NFKC, case folded, default-ignorable characters dropped,
 *          blanks collapsed; Unicode tables from utf8proc) beside the text.
 * Owns:    nothing; results live in the arena.
 * Threads: any.
 */
#ifndef SVC_CONTENT_TEXT_H
#define SVC_CONTENT_TEXT_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"

/* ERR_INVALID when s is not UTF-8; a text of nothing but blanks folds to "". */
enum err text_key(struct arena *a, struct str s, struct str *key) MUST_CHECK;
/* A failed or over-full buf is ERR_NOMEM. */
enum err text_keep(struct arena *a, const struct buf *b,
                   struct str *out) MUST_CHECK;

size_t text_words(struct str s); /* runs of anything but white space */
/* Runs of words that end in . ! ? (then a blank or the end), or in a full stop
 * of Chinese, Japanese, Arabic or Urdu. */
size_t text_sentences(struct str s);
/* ASCII case ignored; an empty needle is found nowhere. */
bool text_has(struct str s, struct str needle);
/* The same, but needle must stand between word borders. */
bool text_has_word(struct str s, struct str needle);
/* The next word (letters, digits, - and bytes beyond ASCII) of *rest. */
struct str text_word(struct str *rest);
/* Words too common to tell anything: "the", "which", "used" ... */
bool text_common(struct str word);

/* Same bytes, same number, on every machine; not for secrets. */
uint64_t text_hash(struct str s, uint64_t seed);

#define TEXT_DIGEST_MAX 65
/* SHA-256 over the parts with their lengths, as hex. */
struct str text_digest(const struct str *parts, size_t n,
                       char out[TEXT_DIGEST_MAX]);

/*
 * Appends form with {t}, {s}, {x} replaced by t, s and x; what they hold is
 * never read as a form.
 */
struct blanks {
	struct str t, s, x;
};
void text_fill(struct buf *b, const char *form, const struct blanks *in);

#endif
