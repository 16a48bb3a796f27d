/*
 * cookie - finds one cookie in a Cookie header (RFC 6265, 5.4), and how the
 * session's is called and set (design D29).
 *
 * Read as browsers write it: pairs apart by ';', a name up to the first '=',
 * blanks around both dropped.  A quotation mark does not hide a ';', so no other
 * cookie can swallow ours; one pair of marks around a value is dropped.
 *
 * Visitor: somebody without a login who likes or rates; kae_visitor, in the two
 *          forms of a name as the session's, but believed in clear from anywhere,
 *          since it vouches for nothing else (visitor.h).
 * Names:   over HTTPS __Host-kae_session, which a browser takes from this very
 *          host only and with Secure alone, so that neither another name of the
 *          domain nor somebody on a wire in clear can plant one; in clear, on
 *          this machine, kae_session.  Each is believed on its own way only.
 * Twice:   the same name twice is one too many: which is meant nobody knows.
 * Bounds:  COOKIE_VALUE_MAX bytes of value; of the header what head.h takes.
 * Owns:    nothing; slices of the header.
 * Threads: any.
 */
#ifndef GATEWAY_COOKIE_H
#define GATEWAY_COOKIE_H

#include "common/base/attr.h"
#include "common/base/buf.h"
#include "common/base/str.h"

#define COOKIE_VALUE_MAX ((size_t)4096)

#define SESSION_COOKIE       "__Host-kae_session"
#define SESSION_COOKIE_PLAIN "kae_session"

#define VISITOR_COOKIE       "__Host-kae_visitor"
#define VISITOR_COOKIE_PLAIN "kae_visitor"

enum cookie { COOKIE_NONE, COOKIE_ONE, COOKIE_BAD };
/* *out only with COOKIE_ONE.  BAD: twice, too long, or with bytes that a value
 * may not have.  An empty value is none. */
enum cookie cookie_find(struct str header, struct str name,
                        struct str *out) MUST_CHECK;

struct str session_cookie_name(bool https);
/* The value of Set-Cookie.  An empty token: away with it. */
void session_cookie_write(struct buf *out, bool https, struct str token,
                          int64_t seconds);
/* Likewise of a visitor (visitor.h); links from other sites bring it. */
struct str visitor_cookie_name(bool https);
void visitor_cookie_write(struct buf *out, bool https, struct str value,
                          int64_t seconds);

#endif
