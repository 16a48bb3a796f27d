#include "gateway/secure.h"

#define HOST_MAX     ((size_t)255)
#define LOCATION_MAX (HEAD_REQUEST_MAX + HOST_MAX + 16)

bool secure_check(const struct settings *conf, FILE *complaints)
{
	bool ok = !conf->force_https || conf->ssl_certfile.n ||
	          conf->trusted_proxies.n;

	if (!ok)
		(void)fprintf(complaints,
		              "FORCE_HTTPS: needs SSL_CERTFILE or "
		              "TRUSTED_PROXIES, without which nothing is known "
		              "to come by HTTPS\n");
	return ok;
}

void secure_look(struct req *rq)
{
	const struct head *h = &rq->head;

	rq->https = rq->conn->tls ||
	            forwarded_https(rq->loop->site->proxies, &rq->conn->peer,
	                            &h->forwarded, &h->x_forwarded_for,
	                            &h->x_forwarded_proto);
}

static bool is_exempt(const struct req *rq)
{
	static const char *const health[] = {"health", "ready", "api_health"};
	const struct route *r = rq->route;

	if (addr_is_loopback(&rq->client))
		return true;
	for (size_t i = 0; r && i < COUNTOF(health); i++)
		if (strcmp(r->call, health[i]) == 0)
			return true;
	return false;
}

/* Without its port, which is the one for what comes in clear; empty: it is no
 * host that an address can be made of. */
static struct str host_of(struct str host)
{
	static const char name[] = "abcdefghijklmnopqrstuvwxyz0123456789.-_";
	const char *end = host.n ? memchr(host.p, ']', host.n) : NULL;
	struct str bare = host, port = {"", 0};
	bool v6 = host.n && host.p[0] == '[';

	if (v6 && end)
		bare.n = (size_t)(end - host.p) + 1;
	else
		bare = str_cut(&host, ':');
	if (v6)
		port = (struct str){bare.p + bare.n, host.n - bare.n};
	if (bare.n == 0 || bare.n > HOST_MAX || (v6 && !end) ||
	    (port.n && port.p[0] != ':'))
		return (struct str){"", 0};
	for (size_t i = v6; i < bare.n - v6; i++)
		if (!strchr(v6 ? "0123456789abcdefABCDEF:." : name,
		            v6 ? bare.p[i] : bare.p[i] | 0x20))
			return (struct str){"", 0};
	return bare;
}

/* Bytes that a browser may send and a header should not hold. */
static void add_target(struct buf *out, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c > 0x20 && c < 0x7f && !strchr("\"<>\\^`{|}", c))
			buf_char(out, (char)c);
		else
			buf_printf(out, "%%%02X", c);
	}
}

/* Where the same is by HTTPS; NULL: nowhere that we know of. */
static const char *location(const struct req *rq)
{
	const struct head *h = &rq->head;
	struct str host = host_of(h->host);
	AUTO_BUF to = {.max = LOCATION_MAX};

	if (host.n == 0)
		return NULL;
	buf_printf(&to, "https://%.*s", STR_FMT(host));
	add_target(&to, h->path);
	if (h->has_query) {
		buf_char(&to, '?');
		add_target(&to, h->query);
	}
	return to.failed ? NULL : arena_str(rq->cx.arena, buf_view(&to)).p;
}

/* Pages, which people ask for; a program that calls the API in clear would do
 * so for ever if it were led on (ASVS 5.0, 4.1.2). */
static bool may_lead(const struct req *rq)
{
	const struct head *h = &rq->head;

	return !str_starts(h->path, STR("/api/")) &&
	       (rq->verb == VERB_GET || rq->verb == VERB_HEAD) &&
	       h->authorization.n == 0 && h->api_key.n == 0 &&
	       !head_has_body(h);
}

enum err secure_demand(struct req *rq)
{
	const char *to;

	if (rq->https || !rq->loop->site->conf->force_https || is_exempt(rq))
		return OK;
	to = may_lead(rq) ? location(rq) : NULL;
	if (!to)
		return ERR_HTTPS_NEEDED;
	rq->status = 308;
	rq->extra[0].name = "Location";
	rq->extra[0].value = to;
	rq->extra_n = 1;
	return OK;
}
