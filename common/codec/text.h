/*
 * text - which characters people may send where, over Unicode code points.
 *
 * Why:     a topic or a name is shown to others, logged and put into prompts.
 *          Characters that are invisible, that turn the direction of what
 *          follows, or that open a tag do harm in each of these places; letters
 *          of every script do none.  So a few ranges are refused, and no table
 *          of Unicode categories is needed that would age with each version.
 *          ZWJ and ZWNJ are kept: Persian and emoji need them.
 * Threads: any.
 */
#ifndef CODEC_TEXT_H
#define CODEC_TEXT_H

#include "common/base/attr.h"
#include "common/base/str.h"

/* White_Space of Unicode. */
bool text_is_space(uint32_t cp);
/*
 * False for controls, '<', '>', line and paragraph separators, bidirectional
 * embeddings, overrides and isolates, U+FEFF, noncharacters and private use.
 */
bool text_is_line(uint32_t cp);
/* s without white space at both ends; s as it is when it is not UTF-8. */
struct str text_trim(struct str s);
/*
 * True when s is UTF-8 without U+0000 and, with line, only of characters that
 * text_is_line().  *length: code points.
 */
bool text_check(struct str s, bool line, size_t *length) MUST_CHECK;

#endif
