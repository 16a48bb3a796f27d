#include "local/network_policies.h"

#include "common/bus/bus.h"

#define BUS_PORT(peer) (7000 + (int)(peer))

/* What a program reaches besides its peers, wherever that is: the base knows no
 * addresses, an overlay may name them. */
enum { TO_DATABASE = 1, TO_CACHE = 2, TO_INTERNET = 4 };

static const struct program {
	const char *name;
	int admin_port, http_port; /* http_port 0: none */
	unsigned to;
} programs[PEER_COUNT] = {
	[PEER_GATEWAY] = {"gateway", 9400, 5000, TO_CACHE},
	[PEER_AUTH] = {"auth", 9401, 0, TO_DATABASE | TO_CACHE},
	/* Language models are asked over HTTPS. */
	[PEER_CONTENT] = {"content", 9402, 0,
                          TO_DATABASE | TO_CACHE | TO_INTERNET},
	[PEER_GDPR] = {"gdpr", 9403, 0, TO_DATABASE | TO_CACHE},
};

static const struct {
	unsigned bit;
	const char *what;
	int port;
} elsewhere[] = {
	{TO_DATABASE, "PostgreSQL", 5432},
	{TO_CACHE, "Redis or Valkey", 6379},
	{TO_INTERNET, "language models", 443},
};

static void head(FILE *f, const char *name)
{
	(void)fprintf(f,
	              "---\n"
	              "apiVersion: networking.k8s.io/v1\n"
	              "kind: NetworkPolicy\n"
	              "metadata:\n"
	              "  name: %s\n"
	              "spec:\n",
	              name);
}

/* Nothing at all but names, for what has no rule of its own. */
static void deny_the_rest(FILE *f)
{
	head(f, "default-deny");
	(void)fputs("  podSelector: {}\n"
	            "  policyTypes: [Ingress, Egress]\n"
	            "  egress:\n"
	            "    - ports: # DNS\n"
	            "        - {protocol: UDP, port: 53}\n"
	            "        - {protocol: TCP, port: 53}\n",
	            f);
}

static void peers_in(FILE *f, enum bus_peer self)
{
	bool any = false;

	for (int p = 0; p < PEER_COUNT; p++) {
		if (!bus_edge_allowed((enum bus_peer)p, self))
			continue;
		if (!any)
			(void)fputs("    - from:\n", f);
		any = true;
		(void)fprintf(f,
		              "        - podSelector: {matchLabels: "
		              "{app.kubernetes.io/name: %s}}\n",
		              programs[p].name);
	}
	if (any)
		(void)fprintf(f,
		              "      ports:\n"
		              "        - {protocol: TCP, port: %d}\n",
		              BUS_PORT(self));
}

static void peers_out(FILE *f, enum bus_peer self)
{
	for (int p = 0; p < PEER_COUNT; p++)
		if (bus_edge_allowed(self, (enum bus_peer)p))
			(void)fprintf(f,
			              "    - to:\n"
			              "        - podSelector: {matchLabels: "
			              "{app.kubernetes.io/name: %s}}\n"
			              "      ports:\n"
			              "        - {protocol: TCP, port: %d}\n",
			              programs[p].name, BUS_PORT(p));
}

static void program(FILE *f, enum bus_peer self)
{
	const struct program *p = &programs[self];

	head(f, p->name);
	(void)fprintf(f,
	              "  podSelector: {matchLabels: {app.kubernetes.io/name: "
	              "%s}}\n"
	              "  policyTypes: [Ingress, Egress]\n"
	              "  ingress:\n",
	              p->name);
	if (p->http_port)
		(void)fprintf(f,
		              "    - ports: # from anywhere: the ingress "
		              "controller\n"
		              "        - {protocol: TCP, port: %d}\n",
		              p->http_port);
	peers_in(f, self);
	(void)fprintf(f,
	              "    - from: # Prometheus\n"
	              "        - namespaceSelector: {matchLabels: "
	              "{kubernetes.io/metadata.name: monitoring}}\n"
	              "      ports:\n"
	              "        - {protocol: TCP, port: %d}\n"
	              "  egress:\n",
	              p->admin_port);
	peers_out(f, self);
	for (size_t i = 0; i < COUNTOF(elsewhere); i++)
		if (p->to & elsewhere[i].bit)
			(void)fprintf(f,
			              "    - ports: # %s\n"
			              "        - {protocol: TCP, port: %d}\n",
			              elsewhere[i].what, elsewhere[i].port);
}

void network_policies(FILE *f)
{
	(void)fputs(
		"# Made by `make docs` from the edges of common/bus/keys.c: "
		"who calls whom there\n"
		"# is let through here, and nothing else.  The kubelet's "
		"probes come from the node\n"
		"# and need no rule.\n",
		f);
	deny_the_rest(f);
	for (int p = 0; p < PEER_COUNT; p++)
		program(f, (enum bus_peer)p);
}
