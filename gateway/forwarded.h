/*
 * forwarded - whose request it is when a proxy brings it (RFC 7239).
 *
 * Why:     limits, logs and audit count by address, so an address that a client
 *          can choose is worse than none.  X-Forwarded-For and Forwarded are
 *          looked at only where the connection comes from one of
 *          TRUSTED_PROXIES, and then from the right: each hop that we trust
 *          tells who called it; the first that we do not trust is the client.
 *          What stands to the left of it the client wrote itself.
 * Doubt:   an element that is no address ("unknown", "_hidden", an open quote)
 *          ends the walk at the hop that named it.  Where both headers are
 *          there and name two clients, a client forged the one that the proxy
 *          does not write: neither is believed and the proxy's own address
 *          stands.
 * Scheme:  how the client came is told by the hop that names it: proto= in its
 *          element of Forwarded, or the value of X-Forwarded-Proto as far from
 *          the right as the walk went (a proxy that writes one value and not a
 *          list has written it for all).  Where both headers speak they must
 *          agree; whoever says nothing does not say https.
 * Bounds:  FORWARDED_LINES lines of each header and FORWARDED_HOPS hops, the
 *          last ones; PROXIES_MAX networks.
 * Owns:    a struct proxies its networks; the rest is values.
 * Threads: read-only once made.
 */
#ifndef GATEWAY_FORWARDED_H
#define GATEWAY_FORWARDED_H

#include "common/base/attr.h"
#include "common/base/str.h"

struct sockaddr;

#define FORWARDED_LINES 8
#define FORWARDED_HOPS  16
#define PROXIES_MAX     256
#define ADDR_TEXT_MAX   46 /* INET6_ADDRSTRLEN */

/* IPv4 as ::ffff:a.b.c.d, so that both forms of one client are one. */
struct addr {
	uint8_t b[16];
};

bool addr_eq(const struct addr *a, const struct addr *b);
bool addr_is_v4(const struct addr *a);
bool addr_is_loopback(const struct addr *a);
/* "192.0.2.1", "2001:db8::1", with or without [] and a port. */
bool addr_parse(struct str text, struct addr *out) MUST_CHECK;
/* False where it is of neither family (a path) or absent. */
bool addr_from(const struct sockaddr *sa, struct addr *out);
/* The form of RFC 5952, IPv4 dotted; NUL terminated. */
struct str addr_text(const struct addr *a, char out[ADDR_TEXT_MAX]);
/* What limits count by: the address, of IPv6 the /64, which one client has
 * all of. */
struct addr addr_network(const struct addr *a);

struct proxies;
/*
 * Addresses and networks ("10.0.0.0/8, fd00::/8"), comma separated.  NULL: *why
 * says what is wrong, or there is no memory.
 */
struct proxies *proxies_new(struct str list, const char **why);
void proxies_free(struct proxies *p);
AUTO_TYPE(proxies, struct proxies *, proxies_free)
bool proxies_trust(const struct proxies *p, const struct addr *a);

/* The lines of one header, in the order sent; the last FORWARDED_LINES. */
struct forwarded_lines {
	size_t n;
	struct str line[FORWARDED_LINES];
};
void forwarded_add(struct forwarded_lines *l, struct str line);

/* Who asks over a connection from peer. */
struct addr forwarded_client(const struct proxies *p, const struct addr *peer,
                             const struct forwarded_lines *forwarded,
                             const struct forwarded_lines *x_forwarded_for);
/* Whether that client came by HTTPS, as far as those that we trust say. */
bool forwarded_https(const struct proxies *p, const struct addr *peer,
                     const struct forwarded_lines *forwarded,
                     const struct forwarded_lines *x_forwarded_for,
                     const struct forwarded_lines *x_forwarded_proto);

#endif
