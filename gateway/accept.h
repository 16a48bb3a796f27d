/*
 * accept - the forms an answer can have, and which of them a client takes (RFC
 * 9110, 12.5.1).
 *
 * Why:     a person's browser and a program ask for the same address and are
 *          both to be served; who takes no form that there is gets 406 before
 *          any work is done.  An error is never refused: a client that cannot
 *          read its body still has the status.
 * Bounds:  the header's length, which head.h bounds.
 * Owns:    nothing.
 * Threads: any.
 */
#ifndef GATEWAY_ACCEPT_H
#define GATEWAY_ACCEPT_H

#include "common/base/str.h"

/* In the order of our preference. */
enum form {
	FORM_JSON,
	FORM_HTML,
	FORM_CSS,
	FORM_CSV,
	FORM_EVENTS,
	FORM_COUNT,
};

/* Sets of forms. */
#define FORMS_JSON  1U
#define FORMS_PAGE  3U /* JSON for programs, HTML for people */
#define FORMS_HTML  2U
#define FORMS_CSS   4U
#define FORMS_TABLE 9U     /* JSON, or a table in CSV */
#define FORMS_LIVE  17U    /* JSON, or events as they happen */
#define FORMS_FILE  0x100U /* whatever the file is; nothing to choose */

const char *form_type(enum form f); /* a Content-Type */

/*
 * The form of the set with the greatest weight.  Of several ranges that fit a
 * form the most specific counts; a header that says nothing readable takes
 * everything.  False: none is taken.
 */
bool accept_choose(struct str accept, unsigned forms, enum form *out);

#endif
