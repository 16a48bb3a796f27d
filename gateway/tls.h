/*
 * tls - the certificate that HTTPS clients see, and what we do with a session.
 *
 * Why:     libmicrohttpd reads a certificate once, when its daemon starts.  Here
 *          each connection is given the one of the moment as it begins
 *          (tls_begin()), before its handshake, and keeps it to its end; so a
 *          new certificate needs no restart and disturbs nobody.
 * Form:    TLS 1.2 and 1.3, forward secrecy and authenticated ciphers only
 *          (RFC 9325).  ALPN says http/1.1.
 * Bounds:  files of at most TLS_FILE_MAX bytes; chains as long as GnuTLS
 *          verifies, 16.
 * Owns:    a struct tls holds copies; GnuTLS borrows them as long as a session
 *          lasts, so it must outlive the connections that it was given to
 *          (live.h counts them).
 * Threads: read-only once made; a session is its loop's.
 */
#ifndef GATEWAY_TLS_H
#define GATEWAY_TLS_H

#include "common/base/attr.h"
#include "common/base/str.h"

#include <gnutls/abstract.h>
#include <microhttpd.h>

#define TLS_FILE_MAX   ((size_t)64 << 10)
#define TLS_WHY_MAX    700 /* two paths of 512 do not both go wrong */
#define TLS_SERIAL_MAX 44  /* 20 bytes as hex, and a NUL */

struct tls {
	gnutls_certificate_credentials_t cred;
	int64_t not_before_s, not_after_s; /* of our own certificate; epoch */
	char serial[TLS_SERIAL_MAX];       /* hex, for the log */
};

/*
 * Reads a chain and its key, both PEM and NUL terminated paths.  NULL with one
 * line in why, which names the setting.  A certificate that has expired is
 * taken: whether it may be used is for who asks.
 */
struct tls *tls_new(const char *certfile, const char *keyfile,
                    char why[TLS_WHY_MAX]);
void tls_free(struct tls *t); /* NULL is fine */
AUTO_TYPE(tls, struct tls *, tls_free)

/* NULL: of now it is good; else what is wrong, as words behind a name. */
const char *tls_why_not_now(const struct tls *t, int64_t now_s);

/* --- what libmicrohttpd is given ------------------------------------------- */

extern const char tls_priorities[];
/* For MHD_OPTION_HTTPS_CERT_CALLBACK2: refuses, since who has begun has its own
 * credentials and never gets here. */
int tls_no_certificate(gnutls_session_t s,
                       const struct gnutls_cert_retr_st *info,
                       gnutls_pcert_st **certs, unsigned *certs_n,
                       gnutls_ocsp_data_st **ocsp, unsigned *ocsp_n,
                       gnutls_privkey_t *key, unsigned *flags);

/* --- a session --------------------------------------------------------------- */

/* The session of a connection; NULL: it is in clear. */
gnutls_session_t tls_session_of(struct MHD_Connection *mhd);
/* Before its first byte is read.  False: it cannot be used. */
bool tls_begin(gnutls_session_t s, const struct tls *t) MUST_CHECK;
/* Its handshake is behind it. */
bool tls_is_settled(gnutls_session_t s);
/* Records of data that have come since then, of a settled one; it begins anew
 * where the client changes its keys. */
uint64_t tls_records(gnutls_session_t s);
/* As much as the socket takes at once; past libmicrohttpd, so only while that
 * sends nothing. */
void tls_send(gnutls_session_t s, struct str bytes);
/* Tells the client that nothing more comes; never waits. */
void tls_say_end(gnutls_session_t s);

#endif
