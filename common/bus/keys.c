/*
 * keys - who we are, whom we may call, and the secrets that prove it.
 */
#include "common/bus/bus.h"

#include <sodium.h>

#define SECRET_MIN 32

static const char *const peer_names[PEER_COUNT] = {
	[PEER_GATEWAY] = "gateway",
	[PEER_AUTH] = "auth",
	[PEER_CONTENT] = "content",
	[PEER_GDPR] = "gdpr",
};

/* Row calls column.  The NetworkPolicies are made from this table. */
static const bool edges[PEER_COUNT][PEER_COUNT] = {
	[PEER_GATEWAY] =
		{[PEER_AUTH] = true, [PEER_CONTENT] = true, [PEER_GDPR] = true},
	[PEER_AUTH] = {[PEER_GDPR] = true},
	[PEER_CONTENT] = {[PEER_GDPR] = true},
	[PEER_GDPR] = {[PEER_AUTH] = true, [PEER_CONTENT] = true},
};

const char *bus_peer_name(enum bus_peer p)
{
	return (unsigned)p < PEER_COUNT ? peer_names[p] : "unknown";
}

bool bus_edge_allowed(enum bus_peer from, enum bus_peer to)
{
	return (unsigned)from < PEER_COUNT && (unsigned)to < PEER_COUNT &&
	       edges[from][to];
}

bool bus_keys_parse(struct str text, struct bus_keys *out)
{
	struct bus_keys keys = {0};
	struct str rest = text;
	bool fine = text.n > 0;

	while (fine && rest.n) {
		struct str secret = str_trim(str_cut(&rest, ','));

		fine = secret.n >= SECRET_MIN && keys.n < COUNTOF(keys.key);
		if (!fine)
			break;
		/* Hashing takes any text to the size that BLAKE2b wants. */
		(void)crypto_generichash(keys.key[keys.n], 32,
		                         (const unsigned char *)secret.p,
		                         secret.n, NULL, 0);
		keys.n++;
	}
	if (fine)
		*out = keys;
	explicit_bzero(&keys, sizeof(keys));
	return fine;
}
