/*
 * Opening a connection: which servers a URL names, and in which order.
 *
 * Why:     libpq's asynchronous connect has no time-out of its own, so that one
 *          silent server of a list keeps it from all others.  Here each server
 *          (each address of each host) gets its share of the time, one after
 *          another as the URL lists them; libpq decides whether one will do
 *          (target_session_attrs, TLS, login).
 * Bounds:  PG_HOSTS_MAX hosts, PG_ADDRS_MAX addresses each.  A server that did
 *          not answer is asked after all others for SILENT_MS.
 * Threads: any; what is remembered of silent servers is under the pool's lock.
 */
#include "common/db/postgres.h"

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#define CONNECT_MS 5000 /* for a server, where the URL has no connect_timeout */
#define SILENT_MS  15000
#define WORDS_MAX  400

/* One address to try; NULL: as the URL says. */
struct target {
	const char *host, *port;
	char addr[PG_ADDR_MAX]; /* "": as the host says */
};

/* What pg_open() knows while it tries. */
struct opening {
	struct db_pool *pool;
	struct str url;
	uint64_t until_ms, each_ms;
	char *hosts[PG_HOSTS_MAX], *ports[PG_HOSTS_MAX];
	char *host_text, *port_text;
	unsigned hosts_n;
	unsigned left; /* targets to come, as far as is known */
	struct target late[PG_LATE_MAX]; /* silent a moment ago */
	unsigned late_n;
	struct buf words; /* why not, for the log */
	char state[6];    /* the last SQLSTATE */
	bool starting;    /* a server is there, and not ready yet */
	struct pg *g;
};

static void ignore_notice(void *arg, const PGresult *r)
{
	(void)arg;
	(void)r;
}

/*
 * The SQLSTATE in a verbose message, "FATAL:  53300: words"; or "".  A digit
 * tells it from the severity, which is a word in the server's language.
 */
static void state_of(const char *message, char out[6])
{
	static const char set[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	for (const char *p = message; (p = strchr(p, ' ')) != NULL; p++) {
		if (strspn(p + 1, set) == 5 && p[6] == ':' &&
		    strcspn(p + 1, "0123456789") < 5) {
			memcpy(out, p + 1, 5);
			out[5] = '\0';
			return;
		}
	}
	out[0] = '\0';
}

/* Words up to the first newline: the rest names source files. */
static struct str first_line(const char *message)
{
	return (struct str){message, strcspn(message, "\n")};
}

static bool wait_socket(PGconn *c, PostgresPollingStatusType want,
                        uint64_t until_ms)
{
	struct pollfd fd = {.fd = PQsocket(c),
	                    .events = want == PGRES_POLLING_READING ? POLLIN
	                                                            : POLLOUT};
	int rc;

	do {
		uint64_t left = clock_left(until_ms, mono_ms());

		rc = poll(&fd, 1, left > 60000 ? 60000 : (int)left);
	} while ((rc < 0 && errno == EINTR) ||
	         (rc == 0 && mono_ms() < until_ms));
	return rc > 0;
}

static bool shake_hands(PGconn *c, uint64_t until_ms)
{
	PostgresPollingStatusType s = PGRES_POLLING_WRITING;

	/* Verbose messages carry the SQLSTATE, which is in no language. */
	(void)PQsetErrorVerbosity(c, PQERRORS_VERBOSE);
	(void)PQsetNoticeReceiver(c, ignore_notice, NULL);
	while (s != PGRES_POLLING_OK) {
		if (s == PGRES_POLLING_FAILED || !wait_socket(c, s, until_ms))
			return false;
		s = PQconnectPoll(c);
	}
	return PQsetnonblocking(c, 1) == 0 && PQenterPipelineMode(c) == 1;
}

/* --- one server ------------------------------------------------------------- */

static struct pg *new_pg(struct db_pool *p, uint64_t deadline_ms)
{
	struct pg *g = calloc(1, sizeof(*g));

	if (g)
		g->db = (struct db){.driver = &db_postgres,
		                    .pool = p,
		                    .cx = &p->cx,
		                    .deadline_ms = deadline_ms,
		                    .opened_ms = mono_ms()};
	return g;
}

static PGconn *start_connect(const struct opening *o, const struct target *t)
{
	/* What stands before dbname the URL may override; what stands behind
	 * it picks one of the URL's servers. */
	const char *keys[16] = {"fallback_application_name",
	                        "keepalives_idle",
	                        "keepalives_interval",
	                        "keepalives_count",
	                        "tcp_user_timeout",
	                        "dbname",
	                        "client_encoding"};
	const char *values[16] = {
		o->pool->conf.service,
		"30",
		"5",
		"3",
		"30000",
		o->url.p,
		"UTF8",
	};
	size_t n = 7;

	if (t->host) {
		keys[n] = "host";
		values[n++] = t->host;
		keys[n] = "port";
		values[n++] = t->port;
	}
	if (*t->addr) {
		keys[n] = "hostaddr";
		values[n++] = t->addr;
	}
	return PQconnectStartParams(keys, values, 1);
}

static uint64_t *silent_slot(struct db_pool *p, const struct target *t)
{
	uint64_t h = 14695981039346656037U; /* FNV-1a */

	for (const char *c = t->addr; *c; c++)
		h = (h ^ (unsigned char)*c) * 1099511628211U;
	for (const char *c = t->port ? t->port : ""; *c; c++)
		h = (h ^ (unsigned char)*c) * 1099511628211U;
	return &((struct pg_shared *)p->shared)->silent_until_ms[h % PG_SILENT];
}

/* A collision costs a server its turn, nothing more. */
static void note_silence(struct db_pool *p, const struct target *t, bool silent)
{
	uint64_t until = silent ? mono_ms() + SILENT_MS : 0;
	GUARD(&p->lock);

	*silent_slot(p, t) = until;
}

static bool was_silent(struct db_pool *p, const struct target *t)
{
	uint64_t now = mono_ms();
	GUARD(&p->lock);

	return *silent_slot(p, t) > now;
}

static void add_words(struct opening *o, const struct target *t, struct str s)
{
	if (o->words.n)
		buf_str(&o->words, STR("; "));
	if (s.n == 0) {
		buf_str(&o->words, str_from(*t->addr  ? t->addr
		                            : t->host ? t->host
		                                      : "server"));
		s = STR(": no answer in time");
	}
	buf_str(&o->words, s);
}

/* Whether another server may do better, as libpq decides it. */
static bool go_on(const char *state)
{
	return *state == '\0' || strncmp(state, "08", 2) == 0 ||
	       strcmp(state, "57P03") == 0;
}

/* OK: o->g is open.  ERR_UNAVAILABLE: try the next. */
static enum err try_target(struct opening *o, const struct target *t)
{
	uint64_t now = mono_ms(), left = clock_left(o->until_ms, now);
	uint64_t share = left / (o->left ? o->left : 1);
	struct pg *g;
	bool late;

	if (o->left)
		o->left--;
	if (left == 0) {
		add_words(o, t, (struct str){NULL, 0});
		return ERR_DATABASE;
	}
	g = new_pg(o->pool, o->until_ms);
	if (!g)
		return ERR_NOMEM;
	g->c = start_connect(o, t);
	if (!g->c) {
		pg_close(&g->db);
		return ERR_NOMEM;
	}
	if (share > o->each_ms)
		share = o->each_ms;
	if (PQstatus(g->c) != CONNECTION_BAD &&
	    shake_hands(g->c, now + share)) {
		note_silence(o->pool, t, false);
		o->g = g;
		return OK;
	}
	late = PQstatus(g->c) != CONNECTION_BAD;
	note_silence(o->pool, t, late && share >= PG_PING_MS);
	state_of(PQerrorMessage(g->c), o->state);
	o->starting |= strcmp(o->state, "57P03") == 0;
	add_words(o, t,
	          late ? (struct str){NULL, 0}
	               : first_line(PQerrorMessage(g->c)));
	pg_close(&g->db);
	return go_on(o->state) ? ERR_UNAVAILABLE : ERR_DATABASE;
}

/* --- all servers ------------------------------------------------------------- */

/* A socket's folder, or a host that libpq is to find for itself. */
static bool has_address(const char *host)
{
	return *host == '/' || *host == '@' || *host == '\0';
}

static enum err try_host(struct opening *o, unsigned i)
{
	struct target t = {.host = o->hosts[i], .port = o->ports[i]};
	struct pg_shared *sh = o->pool->shared;
	uint64_t left = clock_left(o->until_ms, mono_ms());
	struct pg_addrs found;
	enum err e;

	if (has_address(t.host))
		return try_target(o, &t);
	e = pg_resolve(sh->names, t.host, mono_ms() + left / o->left, &found);
	if (e == ERR_NOMEM)
		return e;
	if (e) {
		o->left--;
		if (o->words.n)
			buf_str(&o->words, STR("; "));
		buf_str(&o->words, str_from(t.host));
		buf_str(&o->words, e == ERR_TIMEOUT
		                           ? STR(": name servers are silent")
		                           : STR(": no such host"));
		return ERR_UNAVAILABLE;
	}
	o->left += found.n - 1;
	e = ERR_UNAVAILABLE;
	for (unsigned a = 0; a < found.n && e == ERR_UNAVAILABLE; a++) {
		memcpy(t.addr, found.at[a], sizeof(t.addr));
		if (o->left > 1 && o->late_n < PG_LATE_MAX &&
		    was_silent(o->pool, &t))
			o->late[o->late_n++] = t;
		else
			e = try_target(o, &t);
	}
	return e;
}

static enum err try_all(struct opening *o)
{
	const struct target whole = {0};
	enum err e = ERR_UNAVAILABLE;

	o->left = o->hosts_n;
	if (o->hosts_n == 0)
		return try_target(o, &whole);
	for (unsigned i = 0; i < o->hosts_n && e == ERR_UNAVAILABLE; i++)
		e = try_host(o, i);
	for (unsigned i = 0; i < o->late_n && e == ERR_UNAVAILABLE; i++)
		e = try_target(o, &o->late[i]);
	return e;
}

/* --- what the URL says --------------------------------------------------------- */

static const char *option(const PQconninfoOption *all, const char *name)
{
	while (all->keyword && strcmp(all->keyword, name) != 0)
		all++;
	return all->val ? all->val : "";
}

/* Cuts at commas, in place; 0 when there are more than PG_HOSTS_MAX. */
static unsigned split(char *text, char *out[PG_HOSTS_MAX])
{
	unsigned n = 0;

	for (char *p = text; p; n++) {
		char *comma = strchr(p, ',');

		if (n == PG_HOSTS_MAX)
			return 0;
		out[n] = p;
		if (comma)
			*comma++ = '\0';
		p = comma;
	}
	return n;
}

/*
 * Takes the list of hosts apart, unless libpq must see it whole: it looks at
 * all of them for prefer-standby, and says what is wrong with odd lists.
 */
static bool read_url(struct opening *o)
{
	PQconninfoOption *all = PQconninfoParse(o->url.p, NULL);
	int64_t seconds = 0;
	unsigned ports = 1;

	if (!all)
		return false;
	if (str_to_i64(str_from(option(all, "connect_timeout")), &seconds) &&
	    seconds > 0)
		o->each_ms = (uint64_t)seconds * 1000;
	if (*option(all, "host") && !*option(all, "hostaddr") &&
	    strcmp(option(all, "target_session_attrs"), "prefer-standby") !=
	            0) {
		o->host_text = strdup(option(all, "host"));
		o->port_text = strdup(option(all, "port"));
		if (o->host_text && o->port_text) {
			o->hosts_n = split(o->host_text, o->hosts);
			ports = split(o->port_text, o->ports);
		}
	}
	PQconninfoFree(all);
	for (unsigned i = 1; ports == 1 && i < o->hosts_n; i++)
		o->ports[i] = o->ports[0];
	if (ports != 1 && ports != o->hosts_n)
		o->hosts_n = 0;
	return true;
}

static enum err outcome(struct opening *o, enum err e)
{
	struct db_pool *p = o->pool;

	if (!e || e == ERR_NOMEM)
		return e;
	/* It is there and will have a connection for us, only not now. */
	if (strcmp(o->state, "53300") == 0 || o->starting)
		return ERR_BUSY;
	if (db_pool_may_complain(p))
		log_error(&p->cx, "db.cannot_connect",
		          LOG_TEXT("sqlstate", o->state),
		          LOG_STR("message", buf_view(&o->words)));
	return ERR_DATABASE;
}

enum err pg_open(struct db_pool *p, struct str url, uint64_t deadline_ms,
                 struct db **out)
{
	struct opening o = {.pool = p,
	                    .url = url,
	                    .until_ms = deadline_ms,
	                    .each_ms = CONNECT_MS,
	                    .words = {.max = WORDS_MAX}};
	enum err e = read_url(&o) ? try_all(&o) : ERR_NOMEM;

	e = outcome(&o, e);
	buf_fini(&o.words);
	free(o.host_text);
	free(o.port_text);
	if (!e)
		*out = &o.g->db;
	return e;
}

void pg_close(struct db *db)
{
	struct pg *g = pg_of(db);

	pg_forget_prepared(g);
	PQfinish(g->c);
	free(g);
}
