#include "common/base/net.h"

#include <arpa/inet.h>

#define NET4_BYTES       3 /* of an IPv4 address: a /24 */
#define NET6_BYTES       8 /* of an IPv6 address: a /64 */
#define TEXT_ADDRESS_MAX 64

struct str net_of(struct str ip, unsigned char out[NET_BYTES_MAX])
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
	char text[TEXT_ADDRESS_MAX];

	if (ip.n >= sizeof(text))
		return ip;
	if (ip.n)
		memcpy(text, ip.p, ip.n);
	text[ip.n] = '\0';
	if (inet_pton(AF_INET, text, out) == 1)
		return (struct str){(const char *)out, NET4_BYTES};
	if (inet_pton(AF_INET6, text, out) != 1)
		return ip;
	if (memcmp(out, mapped, sizeof(mapped)) == 0)
		return (struct str){(const char *)out + sizeof(mapped),
		                    NET4_BYTES};
	return (struct str){(const char *)out, NET6_BYTES};
}
