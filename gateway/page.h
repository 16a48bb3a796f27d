/*
 * page - our own pages for people: the catalogue of problems, the API.
 *
 * Plain HTML that needs nothing from anywhere else, no script, and no style but
 * that of /docs/style.css, so that the policy in PAGE_POLICY holds.
 */
#ifndef GATEWAY_PAGE_H
#define GATEWAY_PAGE_H

#include "common/base/buf.h"

#define PAGE_STYLE "/docs/style.css"
#define PAGE_POLICY                                                                  \
	"default-src 'none'; style-src 'self'; object-src 'none'; base-uri 'none'; " \
	"form-action 'none'; frame-ancestors 'none'"

void page_begin(struct buf *out, struct str title);
/* Escapes what HTML would read, also within an attribute's quotes. */
void page_text(struct buf *out, struct str text);
void page_end(struct buf *out);

#endif
