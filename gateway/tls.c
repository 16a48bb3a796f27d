#include "gateway/tls.h"

#include "common/base/file.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>

/* The order is of our liking; the client's counts, which knows whether it has
 * AES in hardware. */
const char tls_priorities[] =
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:"
	"-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:"
	"-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:"
	"-MAC-ALL:+AEAD";

/* --- files --------------------------------------------------------------------- */

struct chain {
	gnutls_x509_crt_t *certs;
	unsigned n;
};

static void chain_fini(struct chain *c)
{
	for (unsigned i = 0; i < c->n; i++)
		gnutls_x509_crt_deinit(c->certs[i]);
	gnutls_free(c->certs);
	*c = (struct chain){NULL, 0};
}

static bool say(char why[TLS_WHY_MAX], const char *setting, const char *path,
                const char *words)
{
	(void)snprintf(why, TLS_WHY_MAX, "%s: %s %s", setting, path, words);
	return false;
}

/* What GnuTLS says of a file is of use only where it is short of memory or the
 * key has a password; all else is one fault for who reads it. */
static bool say_rc(char why[TLS_WHY_MAX], const char *setting, const char *path,
                   int rc, const char *words)
{
	if (rc == GNUTLS_E_MEMORY_ERROR)
		words = "cannot be read: out of memory";
	return say(why, setting, path, words);
}

static bool read_file(const char *setting, const char *path, struct buf *out,
                      char why[TLS_WHY_MAX])
{
	if (file_read(path, TLS_FILE_MAX, out))
		return true;
	(void)snprintf(why, TLS_WHY_MAX, "%s: cannot read %s: %s", setting,
	               path, strerror(errno));
	return false;
}

static gnutls_datum_t datum(const struct buf *b)
{
	return (gnutls_datum_t){(unsigned char *)b->p, (unsigned)b->n};
}

static bool read_chain(const char *path, struct chain *out,
                       char why[TLS_WHY_MAX])
{
	AUTO_BUF text = {0};
	gnutls_datum_t pem;
	int rc;

	if (!read_file("SSL_CERTFILE", path, &text, why))
		return false;
	pem = datum(&text);
	rc = gnutls_x509_crt_list_import2(&out->certs, &out->n, &pem,
	                                  GNUTLS_X509_FMT_PEM,
	                                  GNUTLS_X509_CRT_LIST_SORT);
	if (rc < 0) {
		*out = (struct chain){NULL, 0};
		return say_rc(why, "SSL_CERTFILE", path, rc,
		              "holds no chain of PEM certificates");
	}
	return true;
}

static bool read_key(const char *path, gnutls_x509_privkey_t key,
                     char why[TLS_WHY_MAX])
{
	AUTO_BUF text = {0};
	gnutls_datum_t pem;
	bool ok = read_file("SSL_KEYFILE", path, &text, why);
	int rc;

	if (ok) {
		pem = datum(&text);
		rc = gnutls_x509_privkey_import2(key, &pem, GNUTLS_X509_FMT_PEM,
		                                 NULL, 0);
		if (rc == GNUTLS_E_DECRYPTION_FAILED)
			ok = say(why, "SSL_KEYFILE", path, "has a password");
		else if (rc < 0)
			ok = say_rc(why, "SSL_KEYFILE", path, rc,
			            "holds no PEM private key");
	}
	if (text.p)
		explicit_bzero(text.p, text.cap);
	return ok;
}

/* --- credentials ------------------------------------------------------------------ */

static void describe(struct tls *t, gnutls_x509_crt_t own)
{
	unsigned char serial[(TLS_SERIAL_MAX - 1) / 2];
	size_t n = sizeof(serial), hex_n = sizeof(t->serial);
	gnutls_datum_t bytes = {serial, 0};

	t->not_before_s = gnutls_x509_crt_get_activation_time(own);
	t->not_after_s = gnutls_x509_crt_get_expiration_time(own);
	if (gnutls_x509_crt_get_serial(own, serial, &n) < 0)
		return;
	bytes.size = (unsigned)n;
	if (gnutls_hex_encode(&bytes, t->serial, &hex_n) < 0)
		t->serial[0] = '\0';
}

static bool fill(struct tls *t, const char *certfile, const char *keyfile,
                 struct chain *chain, gnutls_x509_privkey_t key,
                 char why[TLS_WHY_MAX])
{
	int rc;

	if (!read_chain(certfile, chain, why) || !read_key(keyfile, key, why))
		return false;
	rc = gnutls_certificate_set_x509_key(t->cred, chain->certs,
	                                     (int)chain->n, key);
	if (rc < 0)
		return say_rc(why, "SSL_KEYFILE", keyfile, rc,
		              rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH
		                      ? "is not the key of the certificate in "
		                        "SSL_CERTFILE"
		                      : "does not go with SSL_CERTFILE");
	describe(t, chain->certs[0]);
	return true;
}

struct tls *tls_new(const char *certfile, const char *keyfile,
                    char why[TLS_WHY_MAX])
{
	AUTO(tls) t = calloc(1, sizeof(*t));
	struct chain chain = {NULL, 0};
	gnutls_x509_privkey_t key = NULL;
	bool ok = false;

	(void)snprintf(why, TLS_WHY_MAX, "SSL_CERTFILE: out of memory");
	if (t && gnutls_certificate_allocate_credentials(&t->cred) >= 0 &&
	    gnutls_x509_privkey_init(&key) >= 0)
		ok = fill(t, certfile, keyfile, &chain, key, why);
	if (key)
		gnutls_x509_privkey_deinit(key);
	chain_fini(&chain);
	return ok ? STEAL(t) : NULL;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	if (t->cred)
		gnutls_certificate_free_credentials(t->cred);
	free(t);
}

const char *tls_why_not_now(const struct tls *t, int64_t now_s)
{
	if (now_s >= t->not_after_s)
		return "has expired";
	if (now_s < t->not_before_s)
		return "is not valid yet";
	return NULL;
}

int tls_no_certificate(gnutls_session_t s,
                       const struct gnutls_cert_retr_st *info,
                       gnutls_pcert_st **certs, unsigned *certs_n,
                       gnutls_ocsp_data_st **ocsp, unsigned *ocsp_n,
                       gnutls_privkey_t *key, unsigned *flags)
{
	(void)s;
	(void)info;
	(void)certs;
	(void)certs_n;
	(void)ocsp;
	(void)ocsp_n;
	(void)key;
	(void)flags;
	return -1;
}

/* --- a session ------------------------------------------------------------------- */

gnutls_session_t tls_session_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd,
	                                MHD_CONNECTION_INFO_GNUTLS_SESSION);

	return info ? info->tls_session : NULL;
}

bool tls_begin(gnutls_session_t s, const struct tls *t)
{
	static unsigned char http11[] = "http/1.1";
	const gnutls_datum_t protocol = {http11, sizeof(http11) - 1};

	/* The second replaces what libmicrohttpd has set. */
	return gnutls_alpn_set_protocols(s, &protocol, 1, 0) >= 0 &&
	       gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, t->cred) >= 0;
}

bool tls_is_settled(gnutls_session_t s)
{
	/* Describes what was agreed on, and is NULL until that is. */
	char *agreed = gnutls_session_get_desc(s);
	bool settled = agreed != NULL;

	gnutls_free(agreed);
	return settled;
}

uint64_t tls_records(gnutls_session_t s)
{
	unsigned char number[8] = {0};
	uint64_t n = 0;

	(void)gnutls_record_get_state(s, 1, NULL, NULL, NULL, number);
	for (size_t i = 0; i < sizeof(number); i++)
		n = n << 8 | number[i];
	/* Up to TLS 1.2 the last word of the handshake is the first record
	 * under the same keys. */
	if (n && gnutls_protocol_get_version(s) <= GNUTLS_TLS1_2)
		n--;
	return n;
}

void tls_send(gnutls_session_t s, struct str bytes)
{
	while (bytes.n) {
		ssize_t n = gnutls_record_send(s, bytes.p, bytes.n);

		if (n <= 0)
			return;
		bytes.p += n;
		bytes.n -= (size_t)n;
	}
}

void tls_say_end(gnutls_session_t s)
{
	(void)gnutls_bye(s, GNUTLS_SHUT_WR);
}
