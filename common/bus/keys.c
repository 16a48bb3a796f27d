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

/* Adds one; false when it is too short or one too many. */
static bool add_secret(struct bus_secret *s, struct str text)
{
	if (text.n < SECRET_MIN || s->n == COUNTOF(s->key))
		return false;
	/* Hashing takes any text to the size that BLAKE2b wants. */
	(void)crypto_generichash(s->key[s->n], sizeof(s->key[0]),
	                         (const unsigned char *)text.p, text.n, NULL,
	                         0);
	s->n++;
	return true;
}

bool bus_keys_parse(struct str text, struct bus_keys *out)
{
	struct bus_secret all = {0};
	bool fine = text.n > 0;

	while (fine && text.n)
		fine = add_secret(&all, str_trim(str_cut(&text, ',')));
	if (fine)
		out->all = all;
	explicit_bzero(&all, sizeof(all));
	return fine;
}

static bool peer_named(struct str name, enum bus_peer *out)
{
	for (enum bus_peer p = 0; p < PEER_COUNT; p++) {
		if (str_eq(name, str_from(peer_names[p]))) {
			*out = p;
			return true;
		}
	}
	return false;
}

static const char *parse_pairs(struct str text, enum bus_peer self,
                               struct bus_secret with[PEER_COUNT])
{
	while (text.n) {
		struct str secret = str_cut(&text, ',');
		struct str name = str_trim(str_cut(&secret, '='));
		enum bus_peer p;

		if (!peer_named(name, &p))
			return "must be peer=secret, comma separated, with "
			       "gateway, auth, content or gdpr as peers";
		if (!add_secret(&with[p], str_trim(secret)))
			return "a peer has one or two secrets of at least 32 "
			       "characters";
	}
	/* One that is missing could be claimed by whoever has BUS_KEY. */
	for (enum bus_peer p = 0; p < PEER_COUNT; p++)
		if (with[p].n == 0 && (edges[self][p] || edges[p][self]))
			return "must have a secret for each program that this "
			       "one talks to";
	return NULL;
}

const char *bus_keys_parse_pairs(struct str text, enum bus_peer self,
                                 struct bus_keys *out)
{
	struct bus_secret with[PEER_COUNT] = {{0}};
	const char *why = "needs BUS_KEY too, which signs the greeting";

	if (out->all.n)
		why = parse_pairs(text, self, with);
	if (!why)
		memcpy(out->with, with, sizeof(with));
	explicit_bzero(with, sizeof(with));
	return why;
}

bool bus_keys_same(const struct bus_keys *a, const struct bus_keys *b)
{
	return memcmp(&a->all, &b->all, sizeof(a->all)) == 0 &&
	       memcmp(a->with, b->with, sizeof(a->with)) == 0;
}
