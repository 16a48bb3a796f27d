/*
 * tls - mutual certificates of tls+tcp:// links.
 *
 * A client takes only a certificate that the CA has signed and that names the
 * service it calls (bus_peer_name(), as CN or DNS name): whatever address a name
 * server gives out, only svc-auth is "auth".  A service takes any that the CA
 * has signed; nng does not tell it the name, so who may claim to be the gateway
 * is for BUS_PEER_KEYS to prove (docs/bus.md).
 *
 * Bounds:  files of at most TLS_FILE_MAX bytes.
 * Owns:    a config is the caller's; nng holds its own reference once it is set.
 * Threads: any.
 */
#ifndef BUS_TLS_H
#define BUS_TLS_H

#include "common/bus/bus.h"

#include <nng/nng.h>

#include <nng/supplemental/tls/tls.h>

#define TLS_FILE_MAX ((size_t)64 << 10)

AUTO_TYPE(nng_tls_config, nng_tls_config *, nng_tls_config_free)

/*
 * server: the name that the other end must have; NULL: we listen.  ERR_INVALID
 * with a line on the log when a file is missing or is not what it should be, or
 * when nng was built without TLS.
 */
enum err tls_config_new(const struct bus_tls *files, const char *server,
                        nng_tls_config **out) MUST_CHECK;

#endif
