/* How an answer leaves: its headers, and the two ways to the socket. */
#include "gateway/req.h"

#include "common/base/clock.h"
#include "common/base/decimal.h"
#include "common/base/log.h"
#include "gateway/etag.h"
#include "gateway/page.h"
#include "gateway/problem.h"
#include "gateway/secure.h"

#include <assert.h>
#include <stdio.h>
#include <sys/socket.h>

#define LINES_MAX 46

struct line {
	const char *name, *value;
};

struct lines {
	struct line v[LINES_MAX];
	size_t n;
	char allow[ROUTE_ALLOW_MAX], retry_after[12], etag[ETAG_MAX];
	bool may_pack, packed; /* compressed if asked for; compressed */
	bool same;             /* 304: the client has these bytes */
	/* Of the tightest limit. */
	char quota[DECIMAL_MAX], left[DECIMAL_MAX], reset[DECIMAL_MAX];
	char limit_policy[LIMIT_HEADER_MAX], limit[LIMIT_HEADER_MAX];
};

/* On every answer (contract 1.2, tightened). */
static const struct line always[] = {
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"},
	{"Referrer-Policy", "no-referrer"},
	{"Permissions-Policy",
         "geolocation=(), microphone=(), camera=(), payment=()"},
	{"X-Permitted-Cross-Domain-Policies", "none"},
};

#define HSTS   "Strict-Transport-Security"
#define POLICY "Content-Security-Policy"
#define POLICY_NONE                                                \
	"default-src 'none'; object-src 'none'; base-uri 'none'; " \
	"form-action 'none'; frame-ancestors 'none'"
/* Of what people wrote and a service made a page of: nothing runs or loads. */
#define POLICY_SANDBOX                                     \
	"sandbox; default-src 'none'; object-src 'none'; " \
	"base-uri 'none'; form-action 'none'; "            \
	"frame-ancestors 'none'"

void answer_always(struct buf *out, bool hsts)
{
	for (size_t i = 0; i < COUNTOF(always); i++)
		buf_printf(out, "%s: %s\r\n", always[i].name, always[i].value);
	buf_printf(out, "%s: %s\r\n", POLICY, POLICY_NONE);
	if (hsts)
		buf_printf(out, "%s: %s\r\n", HSTS, SECURE_HSTS);
}

static void add(struct lines *l, const char *name, const char *value)
{
	if (l->n < LINES_MAX)
		l->v[l->n++] = (struct line){name, value};
}

static void add_cors(const struct req *rq, struct lines *l)
{
	enum cors_verdict v = cors_check(rq->loop->live->cors, rq->head.origin);
	const char *origin = "*";

	if (v == CORS_NO)
		return;
	if (v == CORS_EXACT) {
		origin = arena_str(rq->cx.arena, rq->head.origin).p;
		if (!origin)
			return;
		add(l, "Access-Control-Allow-Credentials", "true");
	}
	add(l, "Access-Control-Allow-Origin", origin);
	if (rq->verb == VERB_OPTIONS && rq->head.cors_method.n) {
		add(l, "Access-Control-Allow-Methods", CORS_METHODS);
		add(l, "Access-Control-Allow-Headers", CORS_HEADERS);
		add(l, "Access-Control-Max-Age", CORS_MAX_AGE);
	} else {
		add(l, "Access-Control-Expose-Headers", CORS_EXPOSED);
	}
}

static void add_problem(struct req *rq, struct lines *l)
{
	unsigned retry_after =
		problem_retry_after(rq->err, rq->cx.problem.code == rq->err
	                                             ? &rq->cx.problem
	                                             : NULL);

	if (retry_after) {
		(void)snprintf(l->retry_after, sizeof(l->retry_after), "%u",
		               retry_after);
		add(l, "Retry-After", l->retry_after);
	}
	if (rq->status == 401)
		add(l, "WWW-Authenticate", "Bearer realm=\"knowalledge\"");
}

/* How the client stands with its limits: the names of old, and the draft's. */
static void add_limits(const struct req *rq, struct lines *l)
{
	const struct limit_item *it = limit_tightest(&rq->limit);

	if (!it)
		return;
	(void)decimal_write(l->quota, it->quota);
	(void)decimal_write(l->left, it->left);
	(void)decimal_write(l->reset, it->reset_s);
	add(l, "X-RateLimit-Limit", l->quota);
	add(l, "X-RateLimit-Remaining", l->left);
	add(l, "X-RateLimit-Reset", l->reset);
	limit_write_policy(&rq->limit, l->limit_policy);
	limit_write_left(&rq->limit, l->limit);
	add(l, "RateLimit-Policy", l->limit_policy);
	add(l, "RateLimit", l->limit);
}

static bool may_keep(const struct req *rq)
{
	return !rq->err && rq->route && rq->route->keep == KEEP_PUBLIC &&
	       rq->status == 200;
}

static struct str plain_body_of(const struct req *rq)
{
	return rq->page.n ? rq->page : buf_view(&rq->out);
}

static struct str body_of(const struct req *rq)
{
	return rq->packed.n ? buf_view(&rq->packed) : plain_body_of(rq);
}

/* What a file of the front end is, and for how long; the size of one that has
 * no such range. */
static void add_file(const struct req *rq, struct lines *l)
{
	const struct front_reply *f = &rq->file;

	if (f->range[0])
		add(l, "Content-Range", f->range);
	if (rq->err)
		return;
	add(l, "ETag", f->etag);
	add(l, "Accept-Ranges", "bytes");
	if (f->modified)
		add(l, "Last-Modified", f->modified);
	if (f->coding)
		add(l, "Content-Encoding", f->coding);
	add(l, "Content-Type", f->type);
}

static bool is_file(const struct req *rq)
{
	return !rq->err && rq->file.type;
}

static bool flows(const struct req *rq)
{
	return !rq->err && (rq->flow.answers || rq->events.answers);
}

static bool is_live(const struct req *rq)
{
	return !rq->err && rq->events.answers;
}

static const char *policy_of(const struct req *rq)
{
	if (is_file(rq))
		return FRONT_POLICY;
	if (flows(rq) && !is_live(rq))
		return POLICY_SANDBOX;
	return !rq->err && rq->form == FORM_HTML ? PAGE_POLICY : POLICY_NONE;
}

static const char *cache_of(const struct req *rq)
{
	if (is_file(rq))
		return rq->file.cache;
	return may_keep(rq) ? "public, max-age=300" : "no-store";
}

static void add_vary(const struct req *rq, struct lines *l)
{
	bool by_form = rq->forms == FORMS_PAGE || rq->forms == FORMS_TABLE ||
	               rq->forms == FORMS_LIVE || rq->file.page;
	bool by_coding = l->may_pack || (is_file(rq) && rq->file.coded);

	add(l, "Vary",
	    by_form     ? by_coding ? "Origin, Accept, Accept-Encoding"
	                            : "Origin, Accept"
	    : by_coding ? "Origin, Accept-Encoding"
	                : "Origin");
}

static void add_headers(struct req *rq, struct lines *l)
{
	bool cache_said = false;

	for (size_t i = 0; i < COUNTOF(always); i++)
		add(l, always[i].name, always[i].value);
	add(l, POLICY, policy_of(rq));
	if (rq->https && rq->loop->site->conf->force_https)
		add(l, HSTS, SECURE_HSTS);
	add_vary(rq, l);
	if (l->packed)
		add(l, "Content-Encoding", "gzip");
	if (l->etag[0])
		add(l, "ETag", l->etag);
	/* The request ID ends with a NUL: rid is cleared with the request. */
	add(l, "X-Request-ID", rq->rid);
	add_cors(rq, l);
	if (rq->set_cookie)
		add(l, "Set-Cookie", rq->set_cookie);
	if (rq->set_visitor)
		add(l, "Set-Cookie", rq->set_visitor);
	add_limits(rq, l);
	if (rq->err)
		add_problem(rq, l);
	if (rq->matched &&
	    (rq->verb == VERB_OPTIONS || rq->err == ERR_BAD_METHOD)) {
		(void)route_allow(&rq->match, l->allow);
		add(l, "Allow", l->allow);
	}
	for (size_t i = 0; !rq->err && i < rq->extra_n; i++) {
		add(l, rq->extra[i].name, rq->extra[i].value);
		cache_said |=
			strcasecmp(rq->extra[i].name, "Cache-Control") == 0;
	}
	if (!cache_said)
		add(l, "Cache-Control", cache_of(rq));
	if (rq->file.type)
		add_file(rq, l);
	if ((body_of(rq).n || flows(rq)) && !is_file(rq))
		add(l, "Content-Type",
		    rq->err     ? PROBLEM_TYPE
		    : rq->media ? rq->media
		                : form_type(rq->form));
	if (is_live(rq)) /* a proxy is not to collect what it passes on */
		add(l, "X-Accel-Buffering", "no");
	if (rq->close)
		add(l, "Connection", "close");
}

/*
 * What svc-auth answers holds secrets beside words that the client may have
 * chosen.  Compressed, its length would tell somebody on the wire how well the
 * words guess the secret, so it is not.
 */
static bool may_pack(const struct req *rq)
{
	size_t n = plain_body_of(rq).n;

	return !rq->err && rq->route && rq->status / 100 == 2 && !is_file(rq) &&
	       (rq->route->service != PEER_AUTH ||
	        rq->route->keep == KEEP_PUBLIC) &&
	       n >= GZIP_MIN && n <= GZIP_MAX;
}

/* The form of the bytes: compressed where the client gladly takes that; without
 * memory they go as they are.  And whether it has them already. */
static void pack(struct req *rq, struct lines *l)
{
	struct str plain = plain_body_of(rq);

	l->may_pack = may_pack(rq);
	l->packed = l->may_pack &&
	            gzip_taken(rq->head.accept_encoding, STR("gzip")) &&
	            gzip_write(rq->loop->gzip, plain, &rq->packed);
	if (is_file(rq))
		l->same = rq->file.same;
	if (!may_keep(rq) || plain.n == 0)
		return;
	(void)etag_of(plain, l->packed ? "gzip" : NULL, l->etag);
	l->same = etag_listed(rq->head.if_none_match, str_from(l->etag));
}

/* Without memory for the real body: one of the same shape that needs none. */
static void say_no_memory(struct req *rq)
{
	const char *title = err_title(ERR_NOMEM), *text = err_text(ERR_NOMEM);
	int n = snprintf(rq->no_memory, sizeof(rq->no_memory),
	                 "{\"type\":\"/problems/%s\",\"title\":\"%s\","
	                 "\"status\":503,\"detail\":\"%s\",\"instance\":\"/\","
	                 "\"error\":\"%s\",\"message\":\"%s\","
	                 "\"error_code\":\"%s\",\"request_id\":\"%.*s\","
	                 "\"retry_after\":1}",
	                 err_code(ERR_NOMEM), title, text, title, text,
	                 err_code(ERR_NOMEM), STR_FMT(rq->cx.rid));

	assert(n > 0 && (size_t)n < sizeof(rq->no_memory));
	rq->err = ERR_NOMEM;
	rq->status = 503;
	rq->page = (struct str){rq->no_memory, (size_t)n};
}

/* Decides status and body, then the headers. */
static void compose(struct req *rq, struct lines *l)
{
	if (atomic_load_explicit(&rq->loop->site->draining,
	                         memory_order_relaxed))
		rq->close = true;
	if (rq->loop->now_ms - rq->conn->began_ms >=
	    rq->loop->site->conf->connection_total_s * 1000)
		rq->close = true;
	/* Codes of the stores never reach a client as they are. */
	if (rq->err == ERR_DB_CONFLICT || rq->err == ERR_DB_DUPLICATE)
		rq->err = ERR_INTERNAL;
	if (rq->err) {
		rq->status = err_http(rq->err);
		rq->page.n = 0;
		buf_clear(&rq->out);
		buf_clear(&rq->packed);
		problem_write(&rq->out, &rq->cx, rq->err, rq->head.path,
		              rq->loop->site->conf->env == ENV_DEVELOPMENT);
	} else if (rq->status == 0) {
		rq->status = rq->out.n || rq->page.n ? 200 : 204;
	}
	if (rq->out.failed)
		say_no_memory(rq);
	pack(rq, l);
	add_headers(rq, l);
	/* Its headers are those of the 200, the length too: libmicrohttpd sends
	 * the body of neither a 304 nor a HEAD. */
	if (l->same)
		rq->status = 304;
	rq->out_sent = rq->verb == VERB_HEAD || l->same ? 0 : body_of(rq).n;
}

/* Takes a void pointer for whatever it is given, and only reads it. */
static struct MHD_Response *response_from(struct str body)
{
	union {
		const char *p;
		void *untouched;
	} bytes = {body.n ? body.p : ""};

	return MHD_create_response_from_buffer(body.n, bytes.untouched,
	                                       MHD_RESPMEM_PERSISTENT);
}

enum MHD_Result answer_queue(struct req *rq)
{
	struct lines l = {.n = 0};
	struct MHD_Response *rs;
	enum MHD_Result ok;

	compose(rq, &l);
	rs = is_live(rq) ? events_response(rq)
	     : flows(rq) ? flow_response(rq)
	                 : response_from(body_of(rq));
	if (!rs)
		return MHD_NO;
	for (size_t i = 0; i < l.n; i++)
		if (MHD_add_response_header(rs, l.v[i].name, l.v[i].value) ==
		    MHD_NO)
			log_warn(&rq->cx, "gateway.header_lost",
			         LOG_TEXT("name", l.v[i].name));
	ok = MHD_queue_response(rq->conn->mhd, rq->status, rs);
	MHD_destroy_response(rs);
	rq->answered = ok == MHD_YES;
	return ok;
}

void answer_refuse(struct req *rq, enum err e)
{
	struct lines l = {.n = 0};
	AUTO_BUF head = {.max = (size_t)64 << 10};
	struct str body;

	rq->err = e;
	rq->close = true;
	compose(rq, &l);
	body = body_of(rq);
	buf_printf(&head, "HTTP/1.1 %u %s\r\n", rq->status, err_title(rq->err));
	for (size_t i = 0; i < l.n; i++)
		buf_printf(&head, "%s: %s\r\n", l.v[i].name, l.v[i].value);
	buf_printf(&head, "Content-Length: %zu\r\n\r\n", body.n);
	if (rq->verb != VERB_HEAD)
		buf_str(&head, body);
	/* What it still sends is dropped for a while, since closing with bytes
	 * unread would reset the connection and could take the answer with it. */
	if (!head.failed)
		conn_send(rq->conn, buf_view(&head));
	conn_end_ours(rq->conn);
	rq->refused = true;
	rq->answered = true;
	rq->refused_at_ms = rq->loop->now_ms;
}
