#include "common/bus/tls.h"

#include "common/base/file.h"
#include "common/base/log.h"

#include <errno.h>

static enum err refuse(const char *what, const char *file, const char *why)
{
	log_error(NULL, "bus.tls_unusable", LOG_TEXT("setting", what),
	          LOG_TEXT("file", file ? file : ""), LOG_TEXT("reason", why));
	return ERR_INVALID;
}

/* A PEM file as text. */
static enum err read_pem(const char *what, const char *path, struct buf *out)
{
	if (!path)
		return refuse(what, path, "not set");
	if (!file_read(path, TLS_FILE_MAX, out)) {
		if (errno == ENOMEM)
			return ERR_NOMEM;
		return refuse(what, path,
		              errno == EFBIG ? "is no PEM file"
		                             : "cannot be read");
	}
	if (out->n == 0 || memchr(out->p, '\0', out->n))
		return refuse(what, path, "is no PEM file");
	return OK;
}

static enum err from_nng(int rc, const char *what, const char *file)
{
	if (rc == 0)
		return OK;
	return rc == NNG_ENOMEM ? ERR_NOMEM
	                        : refuse(what, file, nng_strerror(rc));
}

static enum err fill(nng_tls_config *c, const struct bus_tls *files,
                     struct buf *cert, struct buf *key, struct buf *ca)
{
	enum err e = read_pem("BUS_TLS_CA", files->ca, ca);

	if (!e)
		e = from_nng(nng_tls_config_ca_chain(c, ca->p, NULL),
		             "BUS_TLS_CA", files->ca);
	if (!e)
		e = read_pem("BUS_TLS_CERT", files->cert, cert);
	if (!e)
		e = read_pem("BUS_TLS_KEY", files->key, key);
	if (!e)
		e = from_nng(nng_tls_config_own_cert(c, cert->p, key->p, NULL),
		             "BUS_TLS_CERT", files->cert);
	return e;
}

enum err tls_config_new(const struct bus_tls *files, const char *server,
                        nng_tls_config **out)
{
	AUTO(nng_tls_config) c = NULL;
	AUTO_BUF cert = {0};
	AUTO_BUF key = {0};
	AUTO_BUF ca = {0};
	int rc;
	enum err e;

	if (strcmp(nng_tls_engine_name(), "none") == 0)
		return refuse("tls+tcp://", NULL, "nng was built without TLS");
	rc = nng_tls_config_alloc(&c, server ? NNG_TLS_MODE_CLIENT
	                                     : NNG_TLS_MODE_SERVER);
	if (rc == 0)
		rc = nng_tls_config_auth_mode(c, NNG_TLS_AUTH_MODE_REQUIRED);
	if (rc == 0 && server)
		rc = nng_tls_config_server_name(c, server);
	e = from_nng(rc, "tls+tcp://", NULL);
	if (!e)
		e = fill(c, files, &cert, &key, &ca);
	if (key.p)
		explicit_bzero(key.p, key.n);
	if (!e)
		*out = STEAL(c);
	return e;
}
