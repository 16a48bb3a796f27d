#include "common/obs/health.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/codec/json.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CONNECTION_MEMORY ((size_t)16 << 10)
#define LISTEN_BACKLOG    64

struct admin {
	struct MHD_Daemon *daemon;
	struct metrics *metrics;
	struct health *health;
	int fd; /* until the daemon owns it; -1 then */
	unsigned port;
};

/* --- answers --------------------------------------------------------------- */

static const char json_type[] = "application/json";
static const char problem_type[] = "application/problem+json";
static const char html_type[] = "text/html; charset=utf-8";
/* It loads nothing and brings its style along. */
static const char html_policy[] =
	"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
	"form-action 'none'; frame-ancestors 'none'";
static const char metrics_type[] = "text/plain; version=0.0.4; charset=utf-8";

struct answer {
	unsigned status;
	const char *type;
	struct buf body;
};

static void problem(struct answer *a, enum err e, const char *detail)
{
	a->status = err_http(e);
	a->type = problem_type;
	buf_clear(&a->body);
	buf_str(&a->body, STR("{\"title\":"));
	json_add_str(&a->body, str_from(err_title(e)));
	buf_printf(&a->body, ",\"status\":%u,\"error_code\":", a->status);
	json_add_str(&a->body, str_from(err_code(e)));
	buf_str(&a->body, STR(",\"detail\":"));
	json_add_str(&a->body, str_from(detail));
	buf_str(&a->body, STR("}\n"));
}

/* What is asked for: what follows the page's path, and ?verbose. */
struct question {
	const char *rest;
	bool verbose;
};

static void live(struct admin *ad, const struct question *q, struct answer *a)
{
	(void)ad;
	(void)q;
	buf_str(&a->body, STR("{\"status\":\"alive\"}\n"));
}

static void ready(struct admin *ad, const struct question *q, struct answer *a)
{
	const struct health_ask ask = {.part = *q->rest ? q->rest : NULL,
	                               .now_ms = (int64_t)mono_ms(),
	                               .verbose = q->verbose};

	if (ask.part && !health_has(ad->health, ask.part)) {
		problem(a, ERR_NOT_FOUND, "This program has no such part.");
		return;
	}
	if (!health_render(ad->health, &ask, &a->body))
		a->status = MHD_HTTP_SERVICE_UNAVAILABLE;
}

static void show_metrics(struct admin *ad, const struct question *q,
                         struct answer *a)
{
	(void)q;
	a->type = metrics_type;
	metrics_render(ad->metrics, &a->body);
	health_metrics(ad->health, (int64_t)mono_ms(), &a->body);
}

static void show_status(struct admin *ad, const struct question *q,
                        struct answer *a)
{
	(void)q;
	a->type = html_type;
	if (!health_show(ad->health, &a->body))
		problem(a, ERR_NOT_FOUND, "This program has no such page.");
}

/* A path that ends in '/' takes what follows it as rest. */
static const struct page {
	const char *path;
	void (*show)(struct admin *ad, const struct question *q,
	             struct answer *a);
} pages[] = {
	{"/livez", live},           {"/healthz", live},
	{"/readyz", ready},         {"/readyz/", ready},
	{"/metrics", show_metrics}, {"/status", show_status},
};

static const struct page *find_page(const char *url, const char **rest)
{
	for (size_t i = 0; i < COUNTOF(pages); i++) {
		size_t n = strlen(pages[i].path);
		bool takes_rest = pages[i].path[n - 1] == '/';

		if (strncmp(url, pages[i].path, n) == 0 &&
		    takes_rest == (url[n] != '\0')) {
			*rest = url + n;
			return &pages[i];
		}
	}
	return NULL;
}

static void show(struct admin *ad, const char *url, bool verbose,
                 struct answer *a)
{
	struct question q = {.rest = "", .verbose = verbose};
	const struct page *page = find_page(url, &q.rest);

	if (page)
		page->show(ad, &q, a);
	else
		problem(a, ERR_NOT_FOUND, err_text(ERR_NOT_FOUND));
}

/* --- libmicrohttpd --------------------------------------------------------- */

static bool headers(struct MHD_Response *r, const struct answer *a)
{
	return MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE,
	                               a->type) == MHD_YES &&
	       MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL,
	                               "no-store") == MHD_YES &&
	       (a->type != html_type ||
	        MHD_add_response_header(r,
	                                MHD_HTTP_HEADER_CONTENT_SECURITY_POLICY,
	                                html_policy) == MHD_YES) &&
	       (a->status != MHD_HTTP_METHOD_NOT_ALLOWED ||
	        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW,
	                                "GET, HEAD") == MHD_YES);
}

/* Takes the body.  MHD_NO closes the connection, which is all that is left to
 * do without memory. */
static enum MHD_Result queue(struct MHD_Connection *c, struct answer *a)
{
	struct MHD_Response *r = NULL;
	enum MHD_Result ok = MHD_NO;

	if (!a->body.failed)
		r = MHD_create_response_from_buffer(a->body.n, a->body.p,
		                                    MHD_RESPMEM_MUST_FREE);
	if (!r) {
		buf_fini(&a->body);
		return MHD_NO;
	}
	if (headers(r, a))
		ok = MHD_queue_response(c, a->status, r);
	MHD_destroy_response(r);
	return ok;
}

/* With a value or without. */
static bool has_query(struct MHD_Connection *c, const char *name)
{
	return MHD_lookup_connection_value_n(c, MHD_GET_ARGUMENT_KIND, name,
	                                     strlen(name), NULL,
	                                     NULL) == MHD_YES;
}

/*
 * An answer on the first call makes libmicrohttpd close the connection: right
 * for a refusal, whose body is then not read, and dear for everything else.
 */
static enum MHD_Result handle(void *cls, struct MHD_Connection *c,
                              const char *url, const char *method,
                              const char *version, const char *upload,
                              size_t *upload_n, /* NOLINT: MHD's type */
                              void **seen)
{
	struct answer a = {.status = MHD_HTTP_OK, .type = json_type};

	(void)version;
	(void)upload;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 &&
	    strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
		problem(&a, ERR_BAD_METHOD, err_text(ERR_BAD_METHOD));
		return queue(c, &a);
	}
	if (!*seen) {
		*seen = cls;
		return MHD_YES;
	}
	if (*upload_n)
		return MHD_NO; /* GET has no body here */
	show(cls, url, has_query(c, "verbose"), &a);
	return queue(c, &a);
}

/* --- life ------------------------------------------------------------------- */

static enum err bind_error(int why)
{
	switch (why) {
	case EADDRINUSE:
		return ERR_EXISTS;
	case EADDRNOTAVAIL:
	case EACCES:
		return ERR_INVALID;
	default:
		return ERR_INTERNAL;
	}
}

static enum err listen_on(const struct addrinfo *to, int *fd)
{
	const int on = 1;

	*fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
	             0);
	if (*fd < 0)
		return ERR_INTERNAL;
	/* A restart must not wait for old connections to be forgotten. */
	if (setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(*fd, to->ai_addr, to->ai_addrlen) ||
	    listen(*fd, LISTEN_BACKLOG))
		return bind_error(errno);
	return OK;
}

static unsigned port_of(int fd)
{
	struct sockaddr_storage at = {0};
	socklen_t n = sizeof(at);
	char port[8] = "0";
	int64_t v = 0;

	if (getsockname(fd, (struct sockaddr *)&at, &n) == 0 &&
	    getnameinfo((struct sockaddr *)&at, n, NULL, 0, port, sizeof(port),
	                NI_NUMERICSERV) == 0)
		(void)str_to_i64(str_from(port), &v);
	return (unsigned)v;
}

static enum err open_port(struct admin *ad, const struct admin_conf *conf)
{
	const struct addrinfo want = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *to = NULL;
	char port[16];
	enum err e;

	(void)snprintf(port, sizeof(port), "%u", conf->port);
	if (getaddrinfo(conf->bind, port, &want, &to) != 0) {
		log_error(NULL, "admin.failed", LOG_TEXT("bind", conf->bind),
		          LOG_TEXT("cause", "not an address"));
		return ERR_INVALID;
	}
	e = listen_on(to, &ad->fd);
	if (e)
		log_error(NULL, "admin.failed", LOG_TEXT("bind", conf->bind),
		          LOG_U64("port", conf->port),
		          LOG_TEXT("cause", strerror(errno)));
	else
		ad->port = port_of(ad->fd);
	freeaddrinfo(to);
	return e;
}

static enum err start_daemon(struct admin *ad)
{
	ad->daemon = MHD_start_daemon(
		MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL,
		handle, ad, MHD_OPTION_LISTEN_SOCKET, ad->fd,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)ADMIN_CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)ADMIN_IDLE_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
		MHD_OPTION_END);
	/* Whether a failed start closed the socket is not said; closing it twice
	 * could close somebody else's. */
	ad->fd = -1;
	return ad->daemon ? OK : ERR_NOMEM;
}

enum err admin_start(const struct admin_conf *conf, struct admin **out)
{
	AUTO(admin) ad = calloc(1, sizeof(*ad));
	enum err e;

	if (!ad)
		return ERR_NOMEM;
	ad->fd = -1;
	ad->metrics = conf->metrics;
	ad->health = conf->health;
	e = open_port(ad, conf);
	if (!e)
		e = start_daemon(ad);
	if (!e)
		*out = STEAL(ad);
	return e; /* NOLINT: AUTO releases ad, unseen by the analyzer */
}

unsigned admin_port(const struct admin *a)
{
	return a->port;
}

void admin_stop(struct admin *a)
{
	if (!a)
		return;
	if (a->daemon)
		MHD_stop_daemon(a->daemon);
	if (a->fd >= 0)
		(void)close(a->fd);
	free(a);
}
