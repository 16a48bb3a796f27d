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

/*
 * The bytes of the network of ip, within out; IPv4 in an IPv6 address is IPv4.
 * What is no address stays as it is, so that it is a network of its own.
 */
struct str net_of(struct str ip, unsigned char out[NET_BYTES_MAX]);

#endif
