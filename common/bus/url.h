/*
 * url - the addresses of the bus: inproc://name, ipc://path, tcp://host:port
 * and tls+tcp://host:port.
 */
#ifndef BUS_URL_H
#define BUS_URL_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/str.h"

#define BUS_URL_MAX  272
#define IPC_PATH_MAX 107 /* sun_path without its NUL */

enum url_kind { URL_INPROC, URL_IPC, URL_TCP, URL_TLS };

struct bus_url {
	enum url_kind kind;
	char text[BUS_URL_MAX]; /* whole, NUL terminated */
	char host[256];         /* tcp and tls; without [] */
	char port[6];
};

/* ERR_INVALID, told on the log, when it is not one of the above. */
enum err url_parse(struct str text, struct bus_url *out) MUST_CHECK;
/* A tcp host that is a number needs no resolving. */
bool url_is_literal(const struct bus_url *u);
bool url_is_loopback(const struct bus_url *u);
/* u with an address for its host: "tcp://10.0.0.1:7001", "tcp://[::1]:7001";
 * false when it does not fit. */
bool url_at(char *out, size_t size, const struct bus_url *u,
            const char *host) MUST_CHECK;

#endif
