#include "gateway/forwarded.h"

#include <arpa/inet.h>
#include <stdlib.h>

/* --- addresses --------------------------------------------------------------- */

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

bool addr_eq(const struct addr *a, const struct addr *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool addr_is_v4(const struct addr *a)
{
	return memcmp(a->b, v4_prefix, sizeof(v4_prefix)) == 0;
}

bool addr_is_loopback(const struct addr *a)
{
	static const uint8_t v6[16] = {[15] = 1};

	return addr_is_v4(a) ? a->b[sizeof(v4_prefix)] == 127
	                     : memcmp(a->b, v6, sizeof(v6)) == 0;
}

static bool parse_bare(struct str text, struct addr *out)
{
	char z[ADDR_TEXT_MAX];
	struct addr a;

	if (text.n == 0 || text.n >= sizeof(z) || memchr(text.p, '\0', text.n))
		return false;
	memcpy(z, text.p, text.n);
	z[text.n] = '\0';
	if (inet_pton(AF_INET6, z, a.b) != 1) {
		memcpy(a.b, v4_prefix, sizeof(v4_prefix));
		if (inet_pton(AF_INET, z, a.b + sizeof(v4_prefix)) != 1)
			return false;
	}
	*out = a;
	return true;
}

/* Digits, or a name that hides it (RFC 7239 6.2); its value is of no use. */
static bool is_port(struct str s)
{
	static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ._-";

	if (s.n == 0 || s.n > 32)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!memchr(allowed, s.p[i], sizeof(allowed) - 1))
			return false;
	return true;
}

bool addr_parse(struct str text, struct addr *out)
{
	struct str host = text;
	const char *colon;

	if (text.n && text.p[0] == '[') {
		const char *end = memchr(text.p, ']', text.n);
		struct str port;

		if (!end)
			return false;
		host = (struct str){text.p + 1, (size_t)(end - text.p) - 1};
		port = (struct str){end + 1, text.n - host.n - 2};
		if (port.n && (port.p[0] != ':' ||
		               !is_port((struct str){port.p + 1, port.n - 1})))
			return false;
		return memchr(host.p, ':', host.n) && parse_bare(host, out);
	}
	/* One colon divides an IPv4 address from its port; more are IPv6. */
	colon = text.n ? memchr(text.p, ':', text.n) : NULL;
	if (colon &&
	    !memchr(colon + 1, ':', text.n - (size_t)(colon + 1 - text.p))) {
		struct str port = {colon + 1,
		                   text.n - (size_t)(colon + 1 - text.p)};

		if (!is_port(port))
			return false;
		host.n = (size_t)(colon - text.p);
	}
	return parse_bare(host, out);
}

bool addr_from(const struct sockaddr *sa, struct addr *out)
{
	if (sa && sa->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof(in));
		memcpy(out->b, v4_prefix, sizeof(v4_prefix));
		memcpy(out->b + sizeof(v4_prefix), &in.sin_addr, 4);
	} else if (sa && sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof(in6));
		memcpy(out->b, &in6.sin6_addr, sizeof(out->b));
	} else {
		return false;
	}
	return true;
}

struct str addr_text(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	bool v4 = addr_is_v4(a);

	if (!inet_ntop(v4 ? AF_INET : AF_INET6,
	               v4 ? a->b + sizeof(v4_prefix) : a->b, out,
	               ADDR_TEXT_MAX))
		out[0] = '\0';
	return str_from(out);
}

struct addr addr_network(const struct addr *a)
{
	struct addr net = *a;

	if (!addr_is_v4(a))
		memset(net.b + 8, 0, 8);
	return net;
}

/* --- whom we trust ------------------------------------------------------------- */

struct network {
	struct addr base;
	unsigned bits;
};

struct proxies {
	size_t n;
	struct network each[PROXIES_MAX];
};

static bool parse_network(struct str text, struct network *out)
{
	struct str rest = text, host = str_cut(&rest, '/');
	bool ranged = host.n < text.n;
	struct network net = {.bits = 128};
	int64_t bits = 0;

	if (!parse_bare(host, &net.base))
		return false;
	if (ranged) {
		/* IPv4 written as IPv6 has the bits of IPv6. */
		bool v4 = !memchr(host.p, ':', host.n);

		if (rest.n == 0 || rest.p[0] == '-' || rest.p[0] == '+' ||
		    !str_to_i64(rest, &bits) || bits > (v4 ? 32 : 128))
			return false;
		net.bits = (unsigned)bits + (v4 ? 96 : 0);
	}
	*out = net;
	return true;
}

struct proxies *proxies_new(struct str list, const char **why)
{
	AUTO(proxies) p = calloc(1, sizeof(*p));

	*why = "there is no memory";
	while (p && list.n) {
		struct str one = str_trim(str_cut(&list, ','));

		if (one.n == 0)
			continue;
		*why = "TRUSTED_PROXIES names more networks than 256";
		if (p->n == PROXIES_MAX)
			return NULL;
		*why = "TRUSTED_PROXIES must be addresses or networks such as "
		       "10.0.0.0/8, comma separated";
		if (!parse_network(one, &p->each[p->n]))
			return NULL;
		p->n++;
	}
	return STEAL(p);
}

void proxies_free(struct proxies *p)
{
	free(p);
}

static bool is_inside(const struct network *net, const struct addr *a)
{
	unsigned whole = net->bits / 8, rest = net->bits % 8;
	uint8_t mask = (uint8_t)(0xff00U >> rest);

	if (memcmp(net->base.b, a->b, whole) != 0)
		return false;
	return rest == 0 || ((net->base.b[whole] ^ a->b[whole]) & mask) == 0;
}

bool proxies_trust(const struct proxies *p, const struct addr *a)
{
	for (size_t i = 0; i < p->n; i++)
		if (is_inside(&p->each[i], a))
			return true;
	return false;
}

/* --- what the headers tell ------------------------------------------------------- */

void forwarded_add(struct forwarded_lines *l, struct str line)
{
	if (l->n == FORWARDED_LINES) {
		memmove(l->line, l->line + 1,
		        (FORWARDED_LINES - 1) * sizeof(l->line[0]));
		l->n--;
	}
	l->line[l->n++] = line;
}

/* The last hops, the newest at (n - 1) % FORWARDED_HOPS. */
struct hops {
	size_t n;
	struct hop {
		bool known; /* false: something that is no address */
		struct addr addr;
		struct str proto; /* how it came; empty: nobody says */
	} each[FORWARDED_HOPS];
};

static void push(struct hops *h, struct str text, struct str proto)
{
	struct hop *hop = &h->each[h->n++ % FORWARDED_HOPS];

	hop->known = addr_parse(str_trim(text), &hop->addr);
	hop->proto = proto;
}

static void read_x_forwarded_for(struct str line, struct hops *h)
{
	while (line.n)
		push(h, str_cut(&line, ','), (struct str){"", 0});
}

/*
 * Cuts *rest at the first sep that is in no quoted string.  A quote that never
 * ends takes all the rest with it, which is then no address.
 */
static struct str cut_unquoted(struct str *rest, char sep)
{
	struct str s = *rest;
	bool quoted = false;
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (quoted && s.p[i] == '\\')
			i++;
		else if (s.p[i] == '"')
			quoted = !quoted;
		else if (!quoted && s.p[i] == sep)
			break;
	}
	if (i >= s.n) {
		*rest = (struct str){s.p + s.n, 0};
		return s;
	}
	*rest = (struct str){s.p + i + 1, s.n - i - 1};
	return (struct str){s.p, i};
}

/* The value of what is called want; empty when there is none, two, or a broken
 * one. */
static struct str value_of(struct str want, struct str element)
{
	struct str found = {"", 0};
	unsigned n = 0;

	while (element.n) {
		struct str value = str_trim(cut_unquoted(&element, ';'));
		struct str name = str_cut(&value, '=');

		if (!str_ieq(name, want))
			continue;
		n++;
		if (value.n >= 2 && value.p[0] == '"' &&
		    value.p[value.n - 1] == '"') {
			value.p++;
			value.n -= 2;
		}
		found = value;
	}
	return n == 1 ? found : (struct str){"", 0};
}

static void read_forwarded(struct str line, struct hops *h)
{
	while (line.n) {
		struct str element = cut_unquoted(&line, ',');

		push(h, value_of(STR("for"), element),
		     value_of(STR("proto"), element));
	}
}

static void read_all(const struct forwarded_lines *l,
                     void (*read)(struct str line, struct hops *h),
                     struct hops *h)
{
	for (size_t i = 0; i < l->n; i++)
		read(l->line[i], h);
}

/* From the right, as long as we trust who tells.  depth: how many hops that
 * went. */
static struct addr walk(const struct proxies *p, struct addr at,
                        const struct hops *h, size_t *depth)
{
	size_t oldest = h->n > FORWARDED_HOPS ? h->n - FORWARDED_HOPS : 0;
	size_t i;

	for (i = h->n; i > oldest && proxies_trust(p, &at); i--) {
		const struct hop *hop = &h->each[(i - 1) % FORWARDED_HOPS];

		if (!hop->known)
			break;
		at = hop->addr;
	}
	*depth = h->n - i;
	return at;
}

struct addr forwarded_client(const struct proxies *p, const struct addr *peer,
                             const struct forwarded_lines *forwarded,
                             const struct forwarded_lines *x_forwarded_for)
{
	struct hops std = {.n = 0}, old = {.n = 0};
	struct addr by_std, by_old;
	size_t depth;

	if ((forwarded->n == 0 && x_forwarded_for->n == 0) ||
	    !proxies_trust(p, peer))
		return *peer;
	read_all(forwarded, read_forwarded, &std);
	read_all(x_forwarded_for, read_x_forwarded_for, &old);
	by_std = walk(p, *peer, &std, &depth);
	by_old = walk(p, *peer, &old, &depth);
	if (forwarded->n == 0)
		return by_old;
	if (x_forwarded_for->n == 0 || addr_eq(&by_std, &by_old))
		return by_std;
	return *peer;
}

/* --- the scheme ------------------------------------------------------------------ */

enum scheme { SCHEME_UNTOLD, SCHEME_HTTP, SCHEME_HTTPS };

static enum scheme scheme_of(struct str proto)
{
	if (proto.n == 0)
		return SCHEME_UNTOLD;
	return str_ieq(proto, STR("https")) ? SCHEME_HTTPS : SCHEME_HTTP;
}

/* The one that stands where a walk of depth ended, at least the last. */
static enum scheme scheme_at(const struct hops *h, size_t depth)
{
	size_t kept = h->n < FORWARDED_HOPS ? h->n : FORWARDED_HOPS;

	if (depth == 0)
		depth = 1;
	if (depth > kept)
		depth = kept;
	return kept ? scheme_of(h->each[(h->n - depth) % FORWARDED_HOPS].proto)
	            : SCHEME_UNTOLD;
}

static void read_x_forwarded_proto(struct str line, struct hops *h)
{
	while (line.n)
		push(h, (struct str){"", 0}, str_trim(str_cut(&line, ',')));
}

bool forwarded_https(const struct proxies *p, const struct addr *peer,
                     const struct forwarded_lines *forwarded,
                     const struct forwarded_lines *x_forwarded_for,
                     const struct forwarded_lines *x_forwarded_proto)
{
	struct hops std = {.n = 0}, old = {.n = 0}, protos = {.n = 0};
	enum scheme by_std, by_old;
	size_t depth;

	if ((forwarded->n == 0 && x_forwarded_proto->n == 0) ||
	    !proxies_trust(p, peer))
		return false;
	read_all(forwarded, read_forwarded, &std);
	read_all(x_forwarded_for, read_x_forwarded_for, &old);
	read_all(x_forwarded_proto, read_x_forwarded_proto, &protos);
	(void)walk(p, *peer, &std, &depth);
	by_std = scheme_at(&std, depth);
	(void)walk(p, *peer, &old, &depth);
	by_old = scheme_at(&protos, depth);
	return by_std != SCHEME_HTTP && by_old != SCHEME_HTTP &&
	       (by_std == SCHEME_HTTPS || by_old == SCHEME_HTTPS);
}
