#define METHODS_TABLE
#include "svc-auth/methods.h"

#include "svc-auth/erase.h"
#include "svc-auth/life.h"
#include "svc-auth/migrations.h"
#include "svc-auth/password.h"
#include "svc-auth/service.h"
#include "svc-auth/signing.h"
#include "svc-auth/stmts.h"

static const struct retention_rule retention[] = {
#define KEEP(category, table, id) {RETENTION_##category, table, STMT(id), NULL},
#include "svc-auth/retention.def"
#undef KEEP
};

const struct service_def auth_service = {
	.self = PEER_AUTH,
	.name = "auth",
	.methods = methods,
	.methods_n = COUNTOF(methods),
	.migrations = auth_migrations,
	.migrations_n = AUTH_MIGRATIONS,
	.slow_lane = password_lane,
	.retention = retention,
	.retention_n = COUNTOF(retention),
	.root_probe = signing_probe,
	.start = auth_start,
	.stop = auth_stop,
	.erase = &auth_erase,
};
