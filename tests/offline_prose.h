/*
 * offline_prose - faults of English texts that can be told without reading.
 *
 * Why:     judged apart from svc-content/offline/prose.h, which writes them.
 */
#ifndef TESTS_OFFLINE_PROSE_H
#define TESTS_OFFLINE_PROSE_H

#include "common/base/str.h"

/* The next word with what clings to it; empty at the end. */
struct str english_token(struct str *rest);
struct str english_sentence(struct str *rest);
/* "  ", " ,", ".." and the like. */
bool english_bad_run(struct str s);
bool english_doubled(struct str s); /* "the the" */
/* Ends as a sentence, pairs closed, sentences begin with a capital. */
bool english_whole(struct str text);
bool english_articles(struct str text); /* "an hour", "a unit" */

#endif
