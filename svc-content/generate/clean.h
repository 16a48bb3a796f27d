/*
 * clean - makes plain text of what a language model wrote: output is text, never
 * HTML, and leads nowhere (design D39).
 *
 *   <script>...</script>, <style>...</style>   dropped, with what they hold
 *   <img src=x>, <!-- -->, <a href="...">      dropped: tags that say something
 *   <p>, </p>, vector<int>                     kept, as ‹p›: names of things
 *   [words](address), ![words](address)        words
 *   https://..., www...., javascript:..., data:...   dropped
 *   # Heading, **bold**, ``` fences            without their marks
 *   control and invisible characters           dropped; blanks collapsed
 *
 * It may go over its own output and changes nothing then.
 *
 * Errors:  ERR_NOMEM; ERR_INVALID when s is not UTF-8, is longer than 32 KiB, or
 *          what it hides is nested deeper than anybody writes.
 * Threads: any.
 */
#ifndef SVC_CONTENT_GENERATE_CLEAN_H
#define SVC_CONTENT_GENERATE_CLEAN_H

#include "common/base/arena.h"
#include "common/base/err.h"

/* lines: line breaks stay, one at a time; else the text becomes one line. */
enum err clean_text(struct arena *a, struct str s, bool lines,
                    struct str *out) MUST_CHECK;

#endif
