#include "common/service/wiring.h"

#include "common/base/kek.h"
#include "common/base/trace.h"
#include "common/cache/redis_url.h"
#include "common/obs/otlp.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES_MAX 1100

static const struct service_row {
	unsigned who;
	const char *bus_name;
	size_t bus, database;
	const char *inproc;
} rows[PEER_COUNT] = {
	[PEER_AUTH] = {FOR_AUTH, "BUS_AUTH",
                       offsetof(struct settings, bus_auth),
                       offsetof(struct settings, auth_database_url),
                       "inproc://auth"},
	[PEER_CONTENT] = {FOR_CONTENT, "BUS_CONTENT",
                          offsetof(struct settings, bus_content),
                          offsetof(struct settings, content_database_url),
                          "inproc://content"},
	[PEER_GDPR] = {FOR_GDPR, "BUS_GDPR",
                       offsetof(struct settings, bus_gdpr),
                       offsetof(struct settings, gdpr_database_url),
                       "inproc://gdpr"},
};

static struct str text_at(const struct settings *conf, size_t offset)
{
	struct str s;

	memcpy(&s, (const char *)conf + offset, sizeof(s));
	return s;
}

/* --- rules over several settings ------------------------------------------------ */

static bool has_wildcard(struct str origins)
{
	while (origins.n)
		if (str_eq(str_trim(str_cut(&origins, ',')), STR("*")))
			return true;
	return false;
}

static bool tracing_rules(const struct settings *conf, FILE *complaints)
{
	const char *wrong = otlp_check(conf);
	struct sampler ignored;
	bool ok = sampler_parse(conf->traces_sampler, conf->traces_sampler_arg,
	                        &ignored);

	if (!ok)
		(void)fprintf(
			complaints,
			"OTEL_TRACES_SAMPLER: always_on, always_off or "
			"traceidratio, with parentbased_ before it or not; "
			"OTEL_TRACES_SAMPLER_ARG: from 0 to 1\n");
	if (wrong)
		(void)fprintf(complaints, "%s\n", wrong);
	return ok && !wrong;
}

static bool key_rules(const struct settings *conf, unsigned who,
                      FILE *complaints)
{
	struct str text = conf->key_encryption_key;
	AUTO_KEK_RING ring = {0};
	const char *wrong = NULL;

	if (!(who & (FOR_AUTH | FOR_GDPR)))
		return true;
	if (text.n)
		wrong = kek_parse(text, &ring);
	else if (who & FOR_AUTH && conf->env != ENV_DEVELOPMENT)
		wrong = "must be set outside development";
	if (wrong)
		(void)fprintf(complaints, "KEY_ENCRYPTION_KEY: %s\n", wrong);
	return !wrong;
}

bool wiring_rules(const struct settings *conf, unsigned who, FILE *complaints)
{
	struct redis_url redis;
	const char *wrong = NULL;
	bool ok = true;

	if (who & FOR_SERVICES && conf->redis_url.n)
		wrong = redis_url_parse(conf->redis_url, &redis);
	explicit_bzero(&redis, sizeof(redis));
	if (wrong) {
		(void)fprintf(complaints, "REDIS_URL: %s\n", wrong);
		ok = false;
	}
	if (!tracing_rules(conf, complaints))
		ok = false;
	if (!key_rules(conf, who, complaints))
		ok = false;
	if (conf->env == ENV_DEVELOPMENT)
		return ok;
	if (who & FOR_GATEWAY && has_wildcard(conf->cors_origins)) {
		(void)fprintf(complaints, "CORS_ORIGINS: * is refused outside "
		                          "development\n");
		ok = false;
	}
	return ok;
}

/* --- bus ---------------------------------------------------------------------- */

static bool is_bare_tcp(struct str url)
{
	return str_starts(url, STR("tcp://")) ||
	       str_starts(url, STR("tcp4://")) ||
	       str_starts(url, STR("tcp6://"));
}

/* Bare tcp carries neither secrecy nor proof of origin of its own. */
static bool link_allowed(struct str urls, const char *name,
                         const struct settings *conf,
                         const struct bus_keys *keys, FILE *complaints)
{
	if (keys->all.n || conf->env == ENV_DEVELOPMENT)
		return true;
	while (urls.n) {
		if (!is_bare_tcp(str_trim(str_cut(&urls, ','))))
			continue;
		(void)fprintf(complaints,
		              "%s: tcp:// needs BUS_KEY (or tls+tcp://) "
		              "outside development\n",
		              name);
		return false;
	}
	return true;
}

static bool wire_one(struct wiring *w, const struct settings *conf,
                     enum bus_peer p, bool one_process, FILE *complaints)
{
	const struct service_row *row = &rows[p];
	struct str urls = text_at(conf, row->bus);
	struct str first;

	if (one_process && !getenv(row->bus_name))
		urls = str_from(row->inproc);
	w->urls[p] = urls.p;
	if (!link_allowed(urls, row->bus_name, conf, &w->keys, complaints))
		return false;
	first = str_trim(str_cut(&urls, ','));
	if (first.n >= WIRING_URL_MAX) {
		(void)fprintf(complaints,
		              "%s: its first URL is longer than %d "
		              "characters\n",
		              row->bus_name, WIRING_URL_MAX - 1);
		return false;
	}
	memcpy(w->listen[p], first.p, first.n);
	w->listen[p][first.n] = '\0';
	return true;
}

static bool has_tls(struct str urls)
{
	while (urls.n)
		if (str_starts(str_trim(str_cut(&urls, ',')),
		               STR("tls+tcp://")))
			return true;
	return false;
}

static bool wire_tls(struct wiring *w, const struct settings *conf,
                     FILE *complaints)
{
	bool wanted = has_tls(conf->bus_listen);
	bool all = conf->bus_tls_cert.n && conf->bus_tls_key.n &&
	           conf->bus_tls_ca.n;

	for (enum bus_peer p = PEER_AUTH; p < PEER_COUNT; p++)
		wanted |= has_tls(text_at(conf, rows[p].bus));
	if (all)
		w->keys.tls = (struct bus_tls){.cert = conf->bus_tls_cert.p,
		                               .key = conf->bus_tls_key.p,
		                               .ca = conf->bus_tls_ca.p};
	if (wanted && !all)
		(void)fprintf(complaints,
		              "tls+tcp:// needs BUS_TLS_CERT, BUS_TLS_KEY and "
		              "BUS_TLS_CA\n");
	return all || !wanted;
}

bool wiring_peer_keys(struct wiring *w, const struct settings *conf,
                      unsigned who, FILE *complaints)
{
	const char *why = "is for programs that run apart";
	enum bus_peer self = PEER_GATEWAY;

	if (conf->bus_peer_keys.n == 0)
		return true;
	for (enum bus_peer p = PEER_AUTH; p < PEER_COUNT; p++)
		if (who == rows[p].who)
			self = p;
	if (self != PEER_GATEWAY || who == FOR_GATEWAY)
		why = bus_keys_parse_pairs(conf->bus_peer_keys, self, &w->keys);
	if (why)
		(void)fprintf(complaints, "BUS_PEER_KEYS: %s\n", why);
	return !why;
}

bool wiring_init(struct wiring *w, const struct settings *conf,
                 bool one_process, FILE *complaints)
{
	bool ok = true;

	*w = (struct wiring){0};
	if (!wire_tls(w, conf, complaints))
		return false;
	if (conf->bus_key.n && !bus_keys_parse(conf->bus_key, &w->keys)) {
		(void)fprintf(complaints,
		              "BUS_KEY: must be one or two secrets of at "
		              "least 32 characters, comma separated\n");
		return false;
	}
	for (enum bus_peer p = PEER_AUTH; p < PEER_COUNT; p++)
		ok &= wire_one(w, conf, p, one_process, complaints);
	/* One service a process, so one address: the others keep theirs. */
	if (conf->bus_listen.n && !one_process) {
		ok &= link_allowed(conf->bus_listen, "BUS_LISTEN", conf,
		                   &w->keys, complaints);
		for (enum bus_peer p = PEER_AUTH; p < PEER_COUNT; p++)
			memcpy(w->listen[p], conf->bus_listen.p,
			       conf->bus_listen.n + 1);
	}
	return ok;
}

void wiring_fini(struct wiring *w)
{
	explicit_bzero(&w->keys, sizeof(w->keys));
}

bool wiring_prepare(const struct wiring *w, enum bus_peer self,
                    FILE *complaints)
{
	struct str path = str_from(w->listen[self]);
	const char *slash;

	if (!str_starts(path, STR("ipc://")))
		return true;
	path = (struct str){path.p + 6, path.n - 6};
	slash = memrchr(path.p, '/', path.n);
	if (!slash || slash == path.p)
		return true;
	path.n = (size_t)(slash - path.p);
	return wiring_folder(path, complaints);
}

/* --- database ----------------------------------------------------------------- */

bool wiring_db_url(const struct settings *conf, enum bus_peer self,
                   struct buf *out)
{
	AUTO_BUF base = {0};
	struct str url = text_at(conf, rows[self].database);

	assert(self != PEER_GATEWAY);
	if (url.n == 0)
		url = conf->database_url;
	if (url.n == 0) {
		buf_printf(&base, "sqlite:///%.*s/knowalledge.db",
		           STR_FMT(conf->data_dir));
		url = buf_view(&base);
	}
	return !base.failed && db_url_for(url, bus_peer_name(self), out);
}

void wiring_db_conf(const struct settings *conf, enum bus_peer self,
                    struct str url, struct db_conf *c)
{
	*c = (struct db_conf){
		.service = bus_peer_name(self),
		.url = url,
		.migration_url = conf->database_migration_url,
		.size = (unsigned)conf->db_pool_size,
		.max_overflow = (unsigned)conf->db_max_overflow,
		.timeout_s = (unsigned)conf->db_pool_timeout_s,
		.recycle_s = (unsigned)conf->db_pool_recycle_s,
		.pre_ping = conf->db_pool_pre_ping,
		.prepare = conf->db_prepare,
		.echo = conf->db_echo,
	};
}

/* --- folders and locks --------------------------------------------------------- */

/* Makes every folder of path, each 0700; errno says why not. */
static bool make_folders(char *path)
{
	for (char *p = path + 1;; p++) {
		char was = *p;

		if (was != '/' && was != '\0')
			continue;
		*p = '\0';
		if (mkdir(path, 0700) != 0 && errno != EEXIST)
			return false;
		*p = was;
		if (was == '\0')
			return true;
	}
}

static bool is_folder(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return false;
	errno = ENOTDIR;
	return S_ISDIR(st.st_mode);
}

bool wiring_folder(struct str path, FILE *complaints)
{
	char z[PATH_BYTES_MAX];
	bool ok;

	errno = ENAMETOOLONG;
	ok = path.n > 0 && path.n < sizeof(z);
	if (ok) {
		memcpy(z, path.p, path.n);
		z[path.n] = '\0';
		ok = make_folders(z) && is_folder(z) &&
		     access(z, W_OK | X_OK) == 0;
	}
	if (!ok)
		(void)fprintf(complaints, "cannot write to folder %.*s: %s\n",
		              STR_FMT(path), strerror(errno));
	return ok;
}

typedef enum err lock_fn(struct str dir, const char *program, char *holder,
                         size_t holder_max);

static bool lock_folder(struct str path, lock_fn *lock, const char *program,
                        FILE *complaints)
{
	char holder[128] = "";
	enum err e;

	if (!wiring_folder(path, complaints))
		return false;
	e = lock(path, program, holder, sizeof(holder));
	if (e == ERR_EXISTS)
		(void)fprintf(complaints, "folder %.*s is in use by %s\n",
		              STR_FMT(path), holder);
	else if (e)
		(void)fprintf(complaints, "cannot lock folder %.*s: %s\n",
		              STR_FMT(path), err_text(e));
	return e == OK;
}

/* The folder of the service's SQLite file, into out; empty on PostgreSQL.
 * False without memory. */
static bool sqlite_folder(const struct settings *conf, enum bus_peer self,
                          struct buf *out)
{
	static const struct str prefix = {"sqlite:///", 10};
	AUTO_BUF url = {0};
	const char *slash;

	if (!wiring_db_url(conf, self, &url))
		return false;
	if (!str_starts(buf_view(&url), prefix))
		return true;
	slash = memrchr(url.p + prefix.n, '/', url.n - prefix.n);
	if (!slash)
		buf_char(out, '.');
	else if (slash == url.p + prefix.n)
		buf_char(out, '/');
	else
		buf_add(out, url.p + prefix.n,
		        (size_t)(slash - url.p) - prefix.n);
	return !out->failed;
}

/* The folders locked so far, so that none is locked twice: a lock does not
 * know that its holder asks again. */
struct held {
	char *paths[PEER_COUNT];
	size_t n;
};

static bool hold(struct held *h, struct str path, lock_fn *lock,
                 const char *program, FILE *complaints)
{
	char z[PATH_BYTES_MAX], *real;

	if (!wiring_folder(path, complaints))
		return false;
	(void)snprintf(z, sizeof(z), "%.*s", STR_FMT(path));
	real = realpath(z, NULL);
	for (size_t i = 0; real && i < h->n; i++) {
		if (strcmp(h->paths[i], real) == 0) {
			free(real);
			return true;
		}
	}
	if (real)
		h->paths[h->n++] = real;
	return lock_folder(path, lock, program, complaints);
}

bool wiring_lock(const struct settings *conf, unsigned who, const char *program,
                 FILE *complaints)
{
	bool alone = who == FOR_ALL, ok = true;
	lock_fn *lock = alone ? db_dir_lock : db_dir_share;
	struct held h = {0};

	if (alone)
		ok = hold(&h, conf->data_dir, lock, program, complaints);
	for (enum bus_peer p = PEER_AUTH; ok && p < PEER_COUNT; p++) {
		AUTO_BUF folder = {0};

		if (!(who & rows[p].who))
			continue;
		ok = sqlite_folder(conf, p, &folder);
		if (!ok)
			(void)fprintf(complaints, "out of memory\n");
		else if (folder.n)
			ok = hold(&h, buf_view(&folder), lock, program,
			          complaints);
	}
	while (h.n)
		free(h.paths[--h.n]);
	return ok;
}
