#define METHODS_TABLE
#include "svc-auth/methods.h"

#include "svc-auth/life.h"
#include "svc-auth/migrations.h"
#include "svc-auth/password.h"
#include "svc-auth/service.h"

const struct service_def auth_service = {
	.self = PEER_AUTH,
	.name = "auth",
	.methods = methods,
	.methods_n = COUNTOF(methods),
	.migrations = auth_migrations,
	.migrations_n = AUTH_MIGRATIONS,
	.slow_lane = password_lane,
	.start = auth_start,
	.stop = auth_stop,
};
