/*
 * net - the network that a client's address is in: what is counted or kept for
 * somebody who is not known otherwise (/24 of IPv4, /64 of IPv6, which one
 * client has all of).
 *
 * Threads: any.
 */
#ifndef BASE_NET_H
#define BASE_NET_H

#include "common/base/str.h"

#define NET_BYTES_MAX 16
#define NET_TEXT_MAX  52 /* of an IPv6 network, with the NUL */

/*
 * The bytes of the network of ip, within out; IPv4 in an IPv6 address is IPv4.
 * What is no address stays as it is, so that it is a network of its own.
 */
struct str net_of(struct str ip, unsigned char out[NET_BYTES_MAX]);
/* "203.0.113.0/24" or "2001:db8:1:2::/64", NUL terminated; empty for what is no
 * address. */
struct str net_text(struct str ip, char out[NET_TEXT_MAX]);

#endif
