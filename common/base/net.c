#include "common/base/net.h"

#include <arpa/inet.h>
#include <stdio.h>

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

struct str net_text(struct str ip, char out[NET_TEXT_MAX])
{
	unsigned char whole[NET_BYTES_MAX], net[NET_BYTES_MAX] = {0};
	struct str part = net_of(ip, whole);
	bool v4 = part.n == NET4_BYTES;
	char text[INET6_ADDRSTRLEN];
	int n;

	out[0] = '\0';
	if (part.p == ip.p)
		return (struct str){out, 0};
	memcpy(net, part.p, part.n);
	if (!inet_ntop(v4 ? AF_INET : AF_INET6, net, text, sizeof(text)))
		return (struct str){out, 0};
	n = snprintf(out, NET_TEXT_MAX, "%s/%d", text, v4 ? 24 : 64);
	return (struct str){out, (size_t)n};
}
