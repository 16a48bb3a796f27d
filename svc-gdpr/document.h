/*
 * document - what was gathered, as one JSON document or as a page to read.
 *
 * JSON:  docs/export.schema.json says what is in it.  `stores` has every row of
 *        every table under its own names; the members before it show the same
 *        under the names of contract 4.6.1, as far as there is such data.  They
 *        are rows of members.def.
 * HTML:  a table per table.  Every value is escaped; what would steer the
 *        reader's eye (control characters, marks of direction) is written out,
 *        and each value has a direction of its own.
 *
 * Bounds:  one value, and what a spool holds; lists are written as they are
 *          read, each in a pass of its own over its store.
 */
#ifndef SVC_GDPR_DOCUMENT_H
#define SVC_GDPR_DOCUMENT_H

#include "svc-gdpr/gather.h"

struct document {
	const struct gathered *from;
	const struct ctx *cx; /* sub, hnd, rid */
	int64_t now_ms;
	struct spool *to;
	struct buf text; /* on its way there */
};

enum err document_json(struct document *d) MUST_CHECK;
enum err document_html(struct document *d) MUST_CHECK;

/* For the two: what text has goes to the spool when it is worth it. */
enum err document_pass(struct document *d) MUST_CHECK;
/* For tests: appends s so that it is nothing but text in HTML. */
void document_escape(struct buf *out, struct str s);

#endif
